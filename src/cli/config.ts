// config.ts — `config print`: every setting as it would be used, and where it came from. Never a secret.
import type { Command } from 'commander';
import { act, examples } from './command.ts';
import { fromEnvFile } from './env-file.ts';

export function registerConfig(program: Command): void {
  const group = program
    .command('config')
    .description('the settings: print')
    .addHelpText('after', examples('config print'));
  group
    .command('print')
    .description('each setting, its value (secrets redacted), and where it came from')
    .addHelpText('after', examples('config print', '--env-file production.env config print --json'))
    .action(
      act(async ({ out, settings }) => {
        const { describeConfig } = await import('../config.ts');
        const config = await settings([]);
        const rows = describeConfig(config).map((row) => ({ ...row, from: fromFile(row) }));
        out.many(
          rows,
          [
            { head: 'SETTING', of: (row) => row.name },
            { head: 'VALUE', of: (row) => row.value || '-' },
            { head: 'FROM', of: (row) => row.from },
          ],
          'No settings.',
        );
        for (const warning of config.warnings) out.say(warning);
        const missing = rows.filter(
          ({ name, value }) => value === '' && (name === 'KAFKA_BROKERS' || name === 'DB_HOST'),
        );
        if (missing.length > 0 && config.file.folder === undefined)
          out.say(`\`start\` needs ${missing.map(({ name }) => name).join(' and ')}.`);
        out.next('start');
      }),
    );
}

/** What --env-file added stands in the environment now; it is named for where it really came from. */
function fromFile({ name, from }: { name: string; from: string }): string {
  const file = fromEnvFile.get(name) ?? fromEnvFile.get(`${name}_FILE`);
  return file !== undefined && from.startsWith('environment') ? from.replace('environment', file) : from;
}
