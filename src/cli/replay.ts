// replay.ts — `replay --machine <file>`: what would have become of every event with another machine. Nothing is written.
//
// Owns:          the file that the machine comes from, the words. Does not own: the folding and what counts as a change (src/replay.ts).
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Command, InvalidArgumentError } from 'commander';
import type { Machine } from '../../machines/index.ts';
import type { Selection } from '../history.ts';
import type { Kind, Redefined, Replayed } from '../replay.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { count, type Output, place, plural, quoted } from './output.ts';
import { createProgress } from './progress.ts';
import { age } from './selection.ts';
import { stopOnSignals } from './signals.ts';
import { addChoice, countEvents, readingLong, selectionOf } from './verify.ts';

type Options = Selection & { machine: string; since?: number; examples: number; failOnChange?: true };

export function registerReplay(program: Command): void {
  const command = program
    .command('replay')
    .description(
      'what if: folds the histories with the machine of a file and says what would be otherwise; changes nothing',
    )
    .requiredOption(
      '--machine <file>',
      'a changed copy of machines/user.ts beside it, or the index.ts of another folder of machines',
    );
  addChoice(command)
    .option('--since <time>', 'only events recorded since, and users that have such: 30d, 2025-01-31', moment)
    .option('--examples <n>', 'so many of each kind of change', few, 3)
    .option('--fail-on-change', 'end with 1 where anything would be otherwise')
    .addHelpText(
      'after',
      examples(
        'replay --machine machines/user.next.ts',
        'replay --machine machines/user.next.ts --since 30d --fail-on-change',
      ),
    )
    .action(
      act(async (run, options: Options) => {
        const selection = selectionOf(options);
        const machine = await machineFrom(options.machine);
        return await readingLong(run, (at) => replayAll(at, run.out, { ...options, selection, machine }));
      }),
    );
}

/** ms since 1970 */
function moment(text: string): number {
  if (/^\d{1,6}[smhd]$/.test(text)) return Date.now() - age(text);
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms))
    throw new InvalidArgumentError('A time like 12h or 30d ago, or a date like 2025-01-31T09:30:00Z.');
  return ms;
}
function few(text: string): number {
  const n = Number(text);
  if (!/^\d+$/.test(text) || n < 1 || n > 100) throw new InvalidArgumentError('A whole number from 1 to 100.');
  return n;
}

/** Throws a Failure that says what is wrong with the file. */
export async function machineFrom(file: string): Promise<Machine> {
  const { machineOf } = await import('../../machines/index.ts');
  let module: object;
  try {
    module = await import(pathToFileURL(resolve(file)).href);
  } catch (error) {
    throw new Failure(`${file} can not be imported: ${reasonOf(error)}`, EXIT.usage);
  }
  try {
    return machineOf(module);
  } catch (error) {
    throw new Failure(`${file} is no machine. ${reasonOf(error)}`, EXIT.usage);
  }
}

/** Node names the place of a syntax error in its stack alone. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [, at] = /^(?:file:\/\/)?(\/.*:\d+)$/m.exec(error.stack?.split('\n')[0] ?? '') ?? [];
  const said = `${error.message}${at === undefined ? '' : ` (${at})`}`;
  const lies = /'xstate'/.test(error.message) ? ' It has to lie where xstate is found, as in machines/.' : '';
  return `${said}${lies}`;
}

type Asked = Omit<Options, 'machine'> & { selection: Selection; machine: Machine };

async function replayAll(at: At, out: Output, asked: Asked): Promise<number> {
  const { selection, machine, since, failOnChange } = asked;
  const [{ MACHINE }, { hasChanged, redefined, replay }] = await Promise.all([
    import('../../machines/index.ts'),
    import('../replay.ts'),
  ]);
  const stopping = stopOnSignals(out.say);
  const progress = createProgress(await countEvents(at, selection), out.json);
  const replayed = await replay(at.sql, selection, {
    ...{ machine, sinceMs: since, examples: asked.examples, signal: stopping.signal },
    progress: ({ users, changed }, read) =>
      progress.show({
        done: read,
        text: `${plural(users, 'user')}, ${count(changed)} change`,
        facts: { users, changed },
      }),
  }).finally(() => progress.end());
  if (selection.user !== undefined && replayed.users === 0)
    throw new Failure(`There is no history of a user ${selection.user}${since === undefined ? '' : ' since then'}.`);

  const definition = redefined(MACHINE, machine);
  const { kinds, ...sums } = replayed;
  if (out.json)
    out.many(
      kinds.map((kind) => ({ what: 'kind', ...kind })),
      [],
      '',
    );
  const names = { before: nameOf(MACHINE), now: nameOf(machine) };
  out.one({ what: 'summary', machine: names, ...sums, definition }, () => inWords(replayed, definition, names));
  if (!out.json && kinds.length > 0) out.many(kinds.slice(0, MOST_KINDS), COLUMNS, '');
  sayTheRest(out, replayed, { MACHINE, machine });
  const user = kinds[0]?.examples[0]?.userId ?? replayed.ends[0]?.examples[0];
  if (user !== undefined) out.next(`users history ${quoted(user)}`);
  return stopping.exitCode() ?? (failOnChange && hasChanged(replayed) ? EXIT.failed : EXIT.done);
}

type Named = { version: number; hash: string };
function nameOf({ version, hash }: Machine): Named {
  return { version, hash };
}

function inWords(replayed: Replayed, definition: Redefined, { before, now }: { before: Named; now: Named }): string {
  const { users, steps, changed, kinds } = replayed;
  const name = ({ version, hash }: Named) => `${version} (${hash})`;
  // Not one that is only reached because an earlier one changed.
  const first = kinds.find((kind) => kind.now.from === kind.recorded.from) ?? kinds[0];
  const example = first?.examples[0];
  return [
    `machine ${name(before)} -> ${name(now)} · ${plural(users, 'user')} · ${plural(steps, 'event')} · nothing written`,
    ...statesAndEdges(definition),
    `users     ${endsOf(replayed)}`,
    ...migrations(replayed),
    `outcomes  ${changed === 0 ? 'none' : count(changed)} of ${count(steps)} change`,
    ...(first === undefined || example === undefined
      ? []
      : [
          `first     ${example.userId} #${example.step} ${first.type} at ${place(example)}: ${recordedOf(first)} -> ${nowOf(first)}`,
        ]),
  ].join('\n');
}

/** "states    + locked", "edges     + active|USER_STATUS_CHANGED|3" */
function statesAndEdges({ states, branches }: Redefined): string[] {
  const lines = (head: string, entries: string[]) =>
    entries.map((entry, i) => `${(i === 0 ? head : '').padEnd(10)}${entry}`);
  const some = (entries: string[]) =>
    entries.length <= MOST_EDGES
      ? entries
      : [...entries.slice(0, MOST_EDGES), `… ${count(entries.length - MOST_EDGES)} more`];
  return [
    ...lines(
      'states',
      some([...states.added.map((state) => `+ ${state}`), ...states.removed.map((state) => `- ${state}`)]),
    ),
    ...lines(
      'edges',
      some([
        ...branches.added.map((id) => `+ ${id}`),
        ...branches.removed.map((id) => `- ${id}`),
        ...branches.changed.map(({ id, before, now }) => `~ ${id}: ${before} -> ${now}`),
      ]),
    ),
  ];
}

/** "97,829 same · 375 end elsewhere: suspended -> roleChanged 371, active -> suspended 4" */
function endsOf({ same, elsewhere, otherwise, unsound, ends, fields }: Replayed): string {
  const most = ends.slice(0, MOST_ENDS).map(({ recorded, now, count: n }) => `${recorded} -> ${now} ${count(n)}`);
  return [
    `${count(same)} same`,
    ...(elsewhere > 0
      ? [`${count(elsewhere)} end elsewhere: ${most.join(', ')}${ends.length > MOST_ENDS ? ', …' : ''}`]
      : []),
    ...(otherwise > 0
      ? [
          `${count(otherwise)} with other fields: ${Object.entries(fields)
            .map(([field, n]) => `${field} ${count(n)}`)
            .join(', ')}`,
        ]
      : []),
    ...(unsound > 0 ? [`${count(unsound)} not comparable`] : []),
  ].join(' · ');
}

function migrations({ migratedElsewhere, migrationFails }: Replayed): string[] {
  return [
    ...(migratedElsewhere > 0
      ? [`migration ${plural(migratedElsewhere, 'user')}: the migration leads elsewhere than the history`]
      : []),
    ...(migrationFails > 0 ? [`migration ${plural(migrationFails, 'user')}: the migration fails`] : []),
  ];
}

function sayTheRest(
  out: Output,
  replayed: Replayed,
  { MACHINE, machine }: { MACHINE: Machine; machine: Machine },
): void {
  const { kinds, changedBeyond, unsound, migrationFails, interrupted } = replayed;
  if (!out.json && kinds.length > MOST_KINDS)
    out.say(`${plural(kinds.length - MOST_KINDS, 'more kind')} of change: --json shows them`);
  if (changedBeyond > 0)
    out.say(`${plural(changedBeyond, 'event')} more change, in kinds beyond the first ${count(kinds.length)}`);
  if (unsound > migrationFails)
    out.say('Users without a row, or without a history, can not be compared: `verify` says which.');
  if (machine.version === MACHINE.version && machine.hash !== MACHINE.hash)
    out.say(`Both say version ${machine.version}: raise VERSION before this one runs.`);
  if (interrupted) out.say('interrupted: what was not read yet is not in it');
}

/** What a table shows; --json has all. */
const MOST_KINDS = 20;
const MOST_EDGES = 20;
const MOST_ENDS = 5;

const COLUMNS = [
  { head: 'EVENTS', of: (kind: Kind) => kind.count, right: true as const },
  { head: 'EVENT', of: (kind: Kind) => kind.type },
  { head: 'IN', of: (kind: Kind) => kind.recorded.from },
  { head: 'RECORDED', of: recordedOf },
  { head: 'NOW', of: nowOf },
  { head: 'FOR EXAMPLE', of: (kind: Kind) => kind.examples.map(({ userId, step }) => `${userId} #${step}`).join(', ') },
];

/** "applied stays", "applied suspended", "rejected" */
function recordedOf({ recorded }: Kind): string {
  return wordOf(recorded);
}
/** The same; where the user is elsewhere by then, from where: "applied suspended (from roleChanged)". */
function nowOf({ recorded, now }: Kind): string {
  return now.from === recorded.from ? wordOf(now) : `${wordOf(now)} (from ${now.from})`;
}
function wordOf({ outcome, from, to }: Kind['now']): string {
  return outcome === 'applied' ? `applied ${to === from ? 'stays' : to}` : outcome;
}
