// machine.ts — `machine export`: the user machine for other tools, without any settings. `machine migrate`: all users saved by
// older versions of it brought up to this one.
import type { Command } from 'commander';
import type { Picture } from '../../machines/picture.ts';
import type { Direction } from '../drawing/layout.ts';
import type { Change } from '../migrate.ts';
import { oneOf } from './arguments.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import { confirm } from './confirm.ts';
import type { At } from './connection.ts';
import { runJob } from './jobs.ts';
import { count, type Output, plural, table } from './output.ts';
import { createProgress } from './progress.ts';
import { stopOnSignals } from './signals.ts';

const FORMATS = ['mermaid', 'svg', 'json'] as const;
type Format = (typeof FORMATS)[number];
const DIRECTIONS = ['LR', 'TB'] as const satisfies readonly Direction[];

export function registerMachine(program: Command): void {
  const group = program
    .command('machine')
    .description('the machine that every user follows: export, migrate')
    .addHelpText('after', examples('machine export', 'machine migrate --dry-run'));
  registerExport(group);
  registerMigrate(group);
}

function registerExport(group: Command): void {
  group
    .command('export')
    .description('its states and transitions, as a text, a picture or data')
    .option('--format <format>', 'mermaid (the default), svg or json', oneOf(FORMATS))
    .option(
      '--direction <direction>',
      'of the svg: LR, from left to right, or TB, from top to bottom',
      oneOf(DIRECTIONS),
    )
    .addHelpText('after', examples('machine export > machine.mmd', 'machine export --format svg > machine.svg'))
    .action(
      act(async ({ out }, { format, direction }: { format?: Format; direction?: Direction }) => {
        const { picture, toMermaid } = await import('../../machines/picture.ts');
        const drawn = picture();
        // --json alone asks for JSON; with a format it is that format's text that is asked for.
        const asked = format ?? (out.json ? 'json' : 'mermaid');
        if (direction !== undefined && asked !== 'svg')
          throw new Failure(`--direction is for --format svg; ${asked} has no places.`, EXIT.usage);
        if (asked === 'mermaid') process.stdout.write(toMermaid(drawn));
        else if (asked === 'svg') process.stdout.write(await drawing(drawn, direction));
        else out.one(drawn, () => JSON.stringify(drawn, null, 2));
        const { id, version, hash, states, transitions } = drawn;
        out.say(
          `${id} ${hash}, version ${version}: ${plural(states.length, 'state')}, ${plural(transitions.length, 'transition')}`,
        );
        if (asked !== 'svg') out.next('machine export --format svg > machine.svg');
      }),
    );
}

async function drawing(drawn: Picture, direction: Direction = 'LR'): Promise<string> {
  const [{ layout }, { toSvg }] = await Promise.all([import('../drawing/layout.ts'), import('../drawing/svg.ts')]);
  return toSvg(drawn, await layout(drawn, direction));
}

type Options = { dryRun?: true; yes?: true; actor?: string };

function registerMigrate(group: Command): void {
  group
    .command('migrate')
    .description('brings all users that an older version saved up to this one, as their next event would')
    .option('--dry-run', 'how many users would go which way; nothing is written')
    .option('--yes', 'without being asked')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('machine migrate --dry-run', 'machine migrate --yes'))
    .action(
      act(({ out, database }, options: Options) =>
        database((at) => (options.dryRun ? rehearse : migrate)(at, out, options)),
      ),
    );
}

async function migrate(at: At, out: Output, { yes, actor }: Options): Promise<number> {
  const [{ startMigration }, { VERSION }, { actorOf }] = await Promise.all([
    import('../migrate.ts'),
    import('../../machines/index.ts'),
    import('./connection.ts'),
  ]);
  const question = `Bring all users of older versions up to machine version ${VERSION}? Processes of an older version then let their events wait.`;
  const refused = await confirm(question, yes);
  if (refused !== undefined) return refused;
  const job = await startMigration(at.db, actorOf(actor));
  const lines: { value: object; text: string }[] = [];
  const quiet: Output = { ...out, one: (value, text) => void lines.push({ value, text: text() }), next() {} };
  const code = await runJob(at, quiet, job);
  const [told, [line]] = [await resultOf(at, job.id), lines];
  if (line === undefined) return code;
  out.one({ ...line.value, ...told }, () => `${line.text} users${told ? `\n${inWords(told, VERSION)}` : ''}`);
  if (told === undefined) return code;
  sayFailed(out, told);
  out.next('verify');
  return code;
}

type Told = { changes: Change[]; failedUsers: string[] };

/** What the job wrote down at its end. Undefined: it did not get there. */
async function resultOf({ sql }: At, jobId: number): Promise<Told | undefined> {
  const [row] = await sql<{ result: Told | null }[]>`select result from audit where job_id = ${jobId}::bigint`;
  if (row?.result?.changes === undefined) return undefined;
  const { changes, failedUsers } = row.result;
  return { changes, failedUsers };
}

async function rehearse(at: At, out: Output, { actor }: Options): Promise<number> {
  const [{ countUsers, rehearseMigration }, { VERSION: version }, { actorOf }] = await Promise.all([
    import('../migrate.ts'),
    import('../../machines/index.ts'),
    import('./connection.ts'),
  ]);
  const stopping = stopOnSignals(out.say);
  const progress = createProgress(await countUsers(at.db), out.json);
  const { users, changes, failed } = await rehearseMigration(at.db, actorOf(actor), {
    signal: stopping.signal,
    step: (done) => progress.show({ done, text: '', facts: {} }),
  }).finally(() => progress.end());
  const interrupted = stopping.exitCode();
  if (interrupted !== undefined) return interrupted;
  const told = { changes, failedUsers: failed };
  out.one({ version, users, ...told }, () => inWords(told, version));
  sayFailed(out, told);
  out.say('Nothing was changed.');
  out.next('machine migrate');
  return failed.length > 0 ? EXIT.someDead : EXIT.done;
}

function inWords({ changes }: Told, version: number): string {
  if (changes.length === 0) return `No user is of an older version than ${version}.`;
  return table(changes, COLUMNS).trimEnd();
}
const COLUMNS = [
  { head: 'VERSION', of: ({ version }: Change) => version, right: true as const },
  { head: 'STATE', of: ({ from }: Change) => from },
  { head: 'BECOMES', of: ({ from, to }: Change) => (to === null ? 'fails' : to === from ? 'the same' : to) },
  { head: 'USERS', of: ({ users }: Change) => users, right: true as const },
];

function sayFailed({ say }: Output, { changes, failedUsers }: Told): void {
  const failed = changes.reduce((sum, { to, users }) => (to === null ? sum + users : sum), 0);
  if (failed === 0) return;
  const more = failed > failedUsers.length ? `, and ${count(failed - failedUsers.length)} more` : '';
  say(
    `Of ${plural(failed, 'user')} the migration fails: ${failedUsers.join(', ')}${more}. They stay as they are; their next event becomes a dead letter \`transition\`. Mend it in machines/migrations.ts, and run this again.`,
  );
}
