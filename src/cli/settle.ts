// settle.ts — `dead-letters redrive|discard`: what is done about one, about many, or about all; and what that lets go.
//
// Owns:          what is asked before, the order of an operator's steps, and the words about the result.
// Does not own:  which ones fit, what becomes of them (src/settle.ts), how a job runs on (jobs.ts).
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { Command } from 'commander';
import type { Db } from '../../db/client.ts';
import type { Job } from '../jobs.ts';
import type { Draining } from '../redrive.ts';
import type { WaitingReason } from '../run.ts';
import type { Filter, Rehearsed, Settlement, Sums } from '../settle.ts';
import { oneOf } from './arguments.ts';
import { inOneLine } from './audit.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import { confirm } from './confirm.ts';
import type { At } from './connection.ts';
import { inWords as wentInWords } from './draining.ts';
import { exitCodeOf, runJob, sumsInWords, total } from './jobs.ts';
import { count, type Output, place, plural, quoted } from './output.ts';
import { addSelection, filterOf, onlyId, type Selection, whereOf } from './selection.ts';
import { stopOnSignals } from './signals.ts';

type Options = Selection & { reason?: string; actor?: string; yes?: true; dryRun?: true };
type Redriving = Options & { force?: true; edit?: string; asReceived?: true };
type Discarding = Options & { waiting?: true; for?: WaitingReason };

/** Of src/run.ts, which is loaded by the action only. */
export const WAITS_FOR = [
  ...(['customer', 'user', 'dead-letter', 'hold', 'order', 'machine'] as const),
] satisfies WaitingReason[];

export function registerSettle(group: Command): void {
  addSelection(group.command('redrive'))
    .description("puts them through the machine again, each in its place of its user's order")
    .option('--dry-run', 'what would become of each; nothing is written')
    .option('--force', 'even those whose user has seen a newer event since; needs --reason')
    .option('--edit <file>', 'of one: this JSON in the place of its value, - for stdin; needs --reason')
    .option('--as-received', 'of one: what was edited is dropped')
    .option('--reason <text>', 'why; kept with them')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .option('--yes', 'many at once without being asked')
    .addHelpText(
      'after',
      examples(
        'dlq redrive 812',
        'dlq redrive --code transition --dry-run',
        'dlq redrive --customer acme --older-than 2h --yes',
        "dlq redrive 812 --edit fixed.json --reason 'wrong currency'",
      ),
    )
    .action(
      act(({ out, database }, ids: string[], options: Redriving) => {
        const filter = filterOf(ids, options);
        checkRedrive(filter, options);
        return database((at) => redrive(at, out, filter, options));
      }),
    );
  addSelection(group.command('discard'))
    .description('gives them up: they stay as rows, and nothing waits behind them any more')
    .option('--dry-run', 'what that would let go; nothing is written')
    .option('--waiting', 'events that wait instead of dead letters, by the numbers of `list --waiting`')
    .option('--for <what>', `with --waiting, those that wait for this: ${WAITS_FOR.join(', ')}`, oneOf(WAITS_FOR))
    .option('--reason <text>', 'why; kept with them; needed')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .option('--yes', 'many at once without being asked')
    .addHelpText(
      'after',
      examples(
        "dlq discard 813 --reason 'test data'",
        "dlq discard --code json --older-than 3d --reason 'known' --yes",
        'dlq discard --waiting --for customer --older-than 3d --dry-run',
      ),
    )
    .action(
      act(({ out, database }, ids: string[], options: Discarding) => {
        const filter = filterOf(ids, options, { isNarrowed: options.for !== undefined });
        checkDiscard(options);
        return database((at) => (options.waiting ? giveUp : discard)(at, out, filter, options));
      }),
    );
}

function checkRedrive(filter: Filter, { force, edit, asReceived, reason }: Redriving): void {
  if (force && reason === undefined) throw usage('--force puts an old event over newer ones: say why with --reason.');
  if (edit !== undefined && reason === undefined)
    throw usage('--edit changes what a producer sent: say why with --reason.');
  if (edit !== undefined && asReceived) throw usage('--edit or --as-received, not both.');
  if ((edit !== undefined || asReceived) && onlyId(filter) === undefined)
    throw usage('--edit and --as-received are for one dead letter: say its number, and nothing else.');
}
function checkDiscard({ dryRun, reason, waiting, code, limit, for: what }: Discarding): void {
  if (reason === undefined && !dryRun) throw usage('What is given up does not come back: say why with --reason.');
  if (what !== undefined && !waiting) throw usage('--for is about events that wait: say --waiting too.');
  if (waiting && code !== undefined) throw usage('What waits has no code: --for says what it waits for.');
  if (waiting && limit !== undefined) throw usage('What waits goes user by user: leave --limit out.');
}
function usage(text: string): Failure {
  return new Failure(text, EXIT.usage);
}

async function redrive(at: At, out: Output, filter: Filter, options: Redriving): Promise<number> {
  const { countMatching, previewRedrive, startRedrive } = await import('../settle.ts');
  const value = await payloadOf(options);
  const one = onlyId(filter);
  const force = options.force === true;
  const { reason } = options;
  return await carryOut(at, out, options, {
    verb: 'Redrive',
    what: 'dead letter',
    where: `${whereOf(filter)}${force ? ', over newer events too' : ''}`,
    one,
    count: () => countMatching(at.db, filter).then(({ deadLetters, users }) => ({ n: deadLetters, users })),
    rehearse: (draining, rehearsing) => {
      const preview = (db: Db) => previewRedrive({ ...draining, db }, filter, { ...rehearsing, force });
      if (value === undefined) return preview(draining.db);
      return previewEdited(draining, one as number, { value, reason, who: rehearsing.who }, preview);
    },
    start: async (draining, who) => {
      if (value !== undefined) await edit(draining, one as number, { value, reason, who });
      return await startRedrive(at.db, { filter, who, reason, force });
    },
  });
}

async function discard(at: At, out: Output, filter: Filter, options: Discarding): Promise<number> {
  const { countMatching, previewDiscard, startDiscard } = await import('../settle.ts');
  return await carryOut(at, out, options, {
    verb: 'Discard',
    what: 'dead letter',
    where: whereOf(filter),
    one: onlyId(filter),
    count: () => countMatching(at.db, filter).then(({ deadLetters, users }) => ({ n: deadLetters, users })),
    rehearse: (draining, rehearsing) => previewDiscard(draining, filter, rehearsing),
    start: (_, who) => startDiscard(at.db, { filter, who, reason: options.reason as string }),
  });
}

/** Events that wait, which have numbers of their own. */
async function giveUp(at: At, out: Output, given: Filter, options: Discarding): Promise<number> {
  const [{ previewGivingUp, startGivingUp }, { countWaiting }] = await Promise.all([
    import('../settle.ts'),
    import('../give-up.ts'),
  ]);
  const filter = { ...given, ...(options.for === undefined ? {} : { waitsFor: options.for }) };
  const asking = onlyId(given) === undefined ? options : { ...options, yes: true as const };
  return await carryOut(at, out, asking, {
    verb: 'Discard',
    what: 'waiting event',
    where: whereOf({ ...given, ...(options.for && { 'waits for': options.for }) }, 'waits since'),
    one: undefined,
    made: true,
    count: () => countWaiting(at.db, filter).then(({ events, users }) => ({ n: events, users })),
    rehearse: (draining, rehearsing) => previewGivingUp(draining, filter, rehearsing),
    start: (_, who) => startGivingUp(at.db, { filter, who, reason: options.reason as string }),
  });
}

type Local = Draining & { db: Db };
type Rehearsing = { who: string; tell(each: Settlement): void; signal: AbortSignal };

/** One of the three things that can be done. */
type Act = {
  verb: 'Redrive' | 'Discard';
  /** Of what: "dead letter". */
  what: string;
  /** Of which, in words: " where code = json". */
  where: string;
  /** The one dead letter that was said by its number. */
  one: number | undefined;
  /** The dead letters come to be by the act itself: in a rehearsal they have no number. */
  made?: true;
  count(): Promise<{ n: number; users: number }>;
  rehearse(draining: Local, rehearsing: Rehearsing): Promise<Rehearsed>;
  start(draining: Local, who: string): Promise<Job>;
};

/** One at once, as it was said; many after a question. */
async function carryOut(at: At, out: Output, options: Options, act: Act): Promise<number> {
  const { actorOf, drainingOf } = await import('./connection.ts');
  if (act.one !== undefined) await assertOpen(at.sql, act.one);
  const draining = { ...(await drainingOf(at)), db: at.db };
  const who = actorOf(options.actor);
  if (options.dryRun) return await rehearse(draining, out, who, act);
  if (act.one === undefined) {
    const { n, users } = await act.count();
    if (n === 0) {
      out.say(`${noneOf(act)}: nothing to do.`);
      out.next('dlq list --group');
      return EXIT.done;
    }
    const ofUsers = users === 0 ? '' : ` of ${plural(users, 'user')}`;
    const refused = await confirm(`${act.verb} ${plural(n, act.what)}${ofUsers}${act.where}?`, options.yes);
    if (refused !== undefined) return refused;
  }
  const job = await act.start(draining, who);
  return act.one === undefined ? await runJob(at, out, job) : await settleOne(draining, out, job, act.one);
}

async function settleOne(draining: Local, out: Output, job: Job, id: number): Promise<number> {
  const { runSettling } = await import('../settle.ts');
  const told: Settlement[] = [];
  const sums = await runSettling(draining, job, { tell: (each) => void told.push(each) });
  const became = told.find((each) => each.id === id);
  if (became === undefined) throw new Failure(`Dead letter ${id} was settled by somebody else meanwhile.`);
  if (became.outcome === 'discarded') showDiscarded(out, became, sums);
  else showRedriven(out, became, sums);
  return exitCodeOf(sums);
}

function showRedriven(out: Output, became: Settlement, { others }: Sums): void {
  const { id, outcome, userId } = became;
  const n = total(others);
  out.one({ ...shown(became), others: n }, () =>
    [
      id,
      ...partsOf(became),
      ...(outcome === 'waiting' ? ['it goes as soon as what lies before it has gone, or its user may'] : []),
      ...(n > 0 ? [`${plural(n, 'other event')} went with it`] : []),
    ].join(' · '),
  );
  if (outcome === 'dead') out.next(`dlq show ${id} --payload`, `dlq discard ${id} --reason '…'`);
  else if (userId !== null) out.next(`users history ${quoted(userId)}`);
  else out.next('dlq list');
}

function showDiscarded(out: Output, { id, userId }: Settlement, { others }: Sums): void {
  const events = total(others);
  out.one({ id: String(id), status: 'discarded', userId, events, outcomes: others }, () =>
    [`${id} · discarded`, ...(userId === null ? [] : [wentInWords({ users: 1, events, outcomes: others })])].join(
      ' · ',
    ),
  );
  if (userId === null) out.next('dlq list');
  else out.next(`users show ${quoted(userId)}`, 'dlq list');
}

/** What would become of each, one by one, and the sums. Ends with the code that the act itself would end with. */
async function rehearse(draining: Local, out: Output, who: string, act: Act): Promise<number> {
  const stopping = stopOnSignals(out.say);
  const { matched, outcomes, others, more } = await act.rehearse(draining, {
    who,
    signal: stopping.signal,
    tell: (each) =>
      out.one({ ...shown(each), ...(act.made && { id: null }) }, () =>
        [...(act.made ? [] : [each.id]), partsOf(each).join(' · ')].join(' '),
      ),
  });
  const n = total(others);
  const interrupted = stopping.exitCode();
  out.say(
    [
      ...(interrupted === undefined ? [] : ['interrupted']),
      matched === 0 ? noneOf(act) : `of ${count(matched)}: ${sumsInWords(outcomes)}`,
      ...(n === 0
        ? []
        : [`${plural(n, 'other event')} would go with ${matched === 1 ? 'it' : 'them'}: ${sumsInWords(others)}`]),
      ...(more ? ['of a user or a customer with very much only the first 2,000 events were tried'] : []),
      'nothing was written',
    ].join(' · '),
  );
  return interrupted ?? exitCodeOf({ outcomes, others });
}

function noneOf({ what, where, made }: Act): string {
  return `No ${made ? '' : 'open '}${what}${where}`;
}

/** `value` null: as it was received. */
type Edit = { value: Buffer | null; reason: string | undefined; who: string };

async function edit(draining: Local, id: number, { value, reason = 'as received again', who }: Edit): Promise<void> {
  const { EditRefused, editDeadLetter } = await import('../settle.ts');
  await editDeadLetter(draining, id, value, { who, reason }).catch((error) => {
    if (error instanceof EditRefused) throw new Failure(`${capital(error.message)}. Nothing was changed.`);
    throw error;
  });
}

/** The edit and the rehearsal in one transaction, which is rolled back: with it goes the rehearsal's row of `audit`, so here is
 *  another. */
async function previewEdited(
  draining: Local,
  id: number,
  change: Edit,
  preview: (db: Db) => Promise<Rehearsed>,
): Promise<Rehearsed> {
  const [{ writeAudit }, { rolledBack }] = await Promise.all([import('../audit.ts'), import('../rolled-back.ts')]);
  const seen = await rolledBack(draining.db, async (tx) => {
    const db = tx as unknown as Db;
    await edit({ ...draining, db }, id, change);
    return await preview(db);
  });
  const scope = {
    ids: [id],
    ...(change.value === null ? { asReceived: true } : { edit: true }),
    reason: change.reason,
  };
  await writeAudit(draining.db, { who: change.who, verb: 'redrive', scope, dryRun: true }, seen);
  return seen;
}

/** The value to redrive with; null: as received; undefined: as it is. */
async function payloadOf({ edit, asReceived }: Redriving): Promise<Buffer | null | undefined> {
  if (asReceived) return null;
  if (edit === undefined) return undefined;
  const bytes =
    edit === '-' ? await buffer(process.stdin) : await readFile(edit).catch((error) => error as NodeJS.ErrnoException);
  if (!Buffer.isBuffer(bytes)) throw usage(`--edit: ${edit} can not be read (${bytes.code}).`);
  // An editor ends a file with a newline, which a producer would not have sent.
  const end = bytes.at(-1) === 0x0a ? (bytes.at(-2) === 0x0d ? -2 : -1) : bytes.length;
  return bytes.subarray(0, end);
}

/** "user-events[4]@99140", "applied", "suspended -> active" */
function partsOf({ from, to, outcome, code, message, ...at }: Settlement): string[] {
  return [
    place(at),
    outcome,
    ...(outcome === 'applied' && from !== null ? [`${from} -> ${to}`] : []),
    ...(outcome === 'dead' ? [`${code}: ${inOneLine(message ?? '')}`] : []),
  ];
}
function shown({ from: fromState, to: toState, ...settlement }: Settlement) {
  return { ...settlement, id: String(settlement.id), fromState, toState };
}

/** One that can be settled. Throws a Failure that says why not. */
async function assertOpen(sql: At['sql'], id: number): Promise<void> {
  const [row] = await sql<{ status: string }[]>`select status from dead_letters where id = ${id}::bigint`;
  if (row === undefined) throw new Failure(`There is no dead letter ${id}. \`dlq list --status all\` shows them.`);
  if (row.status !== 'open' && row.status !== 'redriving')
    throw new Failure(`Dead letter ${id} is ${row.status} already: nothing was changed.`);
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
