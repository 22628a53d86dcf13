// machine.ts — `machine export`: the user machine for other tools. It needs no settings.
import type { Command } from 'commander';
import { oneOf } from './arguments.ts';
import { act, examples } from './command.ts';
import { plural } from './output.ts';

const FORMATS = ['mermaid', 'json'] as const;

export function registerMachine(program: Command): void {
  const group = program
    .command('machine')
    .description('the machine that every user follows: export')
    .addHelpText('after', examples('machine export'));
  group
    .command('export')
    .description('its states and transitions')
    .option('--format <format>', 'mermaid or json', oneOf(FORMATS))
    .addHelpText('after', examples('machine export > machine.mmd', 'machine export --format json'))
    .action(
      act(async ({ out }, { format }: { format?: (typeof FORMATS)[number] }) => {
        const { picture, toMermaid } = await import('../../machines/picture.ts');
        const drawn = picture();
        // --json alone asks for JSON; with a format it is that format's text that is asked for.
        if ((format ?? (out.json ? 'json' : 'mermaid')) === 'mermaid') process.stdout.write(toMermaid(drawn));
        else out.one(drawn, () => JSON.stringify(drawn, null, 2));
        const { id, version, hash, states, transitions } = drawn;
        out.say(
          `${id} ${hash}, version ${version}: ${plural(states.length, 'state')}, ${plural(transitions.length, 'transition')}`,
        );
        out.next('machine export --format json');
      }),
    );
}
