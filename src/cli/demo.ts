// demo.ts — `demo`: the whole system at work on this machine, and whether it did what it should.
//
//    servers up ─▶ service up ─▶ two services send ─▶ all handled ─▶ what is late is sent ─▶ compare ─▶ look around ─▶ stop
//
// Owns:          that order, what is shown meanwhile, the comparison of expected and real counts.
// Does not own:  the load and its expected counts (dev/load.ts), sending (producers.ts), what it plays on (stage.ts), how a
//                trace is read and drawn (trace-tree.ts).
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Counts, createLoad, type Load, noCounts, SHARES, type Shares, USER_STATES } from '../../dev/load.ts';
import type { Config } from '../config.ts';
import { OUTCOMES } from '../events.ts';
import type { Tallies } from '../tallies.ts';
import { act, EXIT, examples, type Run } from './command.ts';
import type { At } from './connection.ts';
import { type Column, count, plural, quoted } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import { type Stopping, stopOnSignals } from './signals.ts';

type Options = Shares & {
  events?: number;
  users?: number;
  rate?: number;
  for?: number;
  seed?: number;
  files?: true;
  stay?: true;
  producersOnly?: true;
};

const EVENTS = 60_000;
const EVENTS_PER_USER = 6;

export function registerDemo(program: Command): void {
  const share = (name: string, what: string, value: number) =>
    new Option(`--${name} <share>`, what).argParser(toShare).default(value, `${value * 100}%`);
  program
    .command('demo')
    .description('shows it at work: servers up, two services send good and bad events, the counts are compared')
    .option('--events <n>', `how many (default: ${EVENTS})`, toCount)
    .option('--users <n>', `about how many users (default: one for ${EVENTS_PER_USER} events)`, toCount)
    .option('--rate <n/s>', 'events per second (default: full speed)', toRate)
    .option('--for <time>', 'send for so long (90s, 5m) instead of a number of events', toSeconds)
    .option('--seed <n>', 'the same seed gives the same events (default: 7; with --producers-only a new one)', toCount)
    .addOption(share('bad', 'of the events: unreadable', SHARES.bad))
    .addOption(share('duplicates', 'of the events: sent twice', SHARES.duplicates))
    .addOption(share('late', 'of the events: older than what was handled before them', SHARES.late))
    .addOption(share('unkeyed', 'of the users: sent as NestJS does, without a key', SHARES.unkeyed))
    .option('--files', 'without Kafka: events go through files, as where there is no Java')
    .option('--stay', 'stay up until ctrl-C, as on a terminal')
    .option('--producers-only', 'start nothing: send to KAFKA_BROKERS, compare in DB_*, for a service that runs there')
    .addHelpText('after', examples('demo', 'demo --events 1000000', 'demo --rate 500/s --for 5m --bad 5%'))
    .action(act(demo));
}

async function demo(run: Run, options: Options): Promise<number> {
  const stopping = stopOnSignals(run.out.say);
  const seed = options.seed ?? (options.producersOnly ? Date.now() % 1_000_000 : 7);
  if (options.producersOnly) {
    const config = await run.settings(['kafka', 'database']);
    const { OTEL_EXPORTER_OTLP_ENDPOINT: traces, JAEGER_URL: jaeger } = process.env;
    const result = await play(run, { config, options, seed, stopping, traces, assertAlive() {} });
    const code = show(run, result, stopping);
    if (jaeger !== undefined && !stopping.signal.aborted)
      await showTrace(run, { jaeger, id: result.trace, stays: true });
    return code;
  }
  const stays = options.stay ?? (process.stdout.isTTY === true && !run.out.json);
  const { setStage } = await import('./stage.ts');
  const stage = await setStage(stopping, { files: options.files === true, stays }, run.out.say);
  if (stage === undefined) return stopping.exitCode() ?? EXIT.failed;
  try {
    const { readConfig } = await import('../config.ts');
    const config = readConfig(stage.settings, { file: null });
    const { OTEL_EXPORTER_OTLP_ENDPOINT: traces, JAEGER_URL: jaeger } = stage.settings;
    const result = await play(run, { config, options, seed, stopping, traces, assertAlive: stage.assertAlive });
    const code = show(run, result, stopping);
    if (!stopping.signal.aborted) await showTrace(run, { jaeger, id: result.trace, stays });
    if (!stays) {
      if (!stopping.signal.aborted)
        run.out.say('what to look at: on a terminal, or with --stay, all of it stays up until ctrl-C (npm run demo)');
      return code;
    }
    if (stopping.signal.aborted) return code;
    whatNext(run, stage, result.load);
    await Promise.race([stopping.asked, ended(stage.assertAlive)]);
    return code;
  } finally {
    await stage.close();
  }
}

type Play = {
  config: Config;
  options: Options;
  seed: number;
  stopping: Stopping;
  /** Where the producers' traces go; undefined: they begin none. */
  traces: string | undefined;
  assertAlive: () => void;
};
type Played = {
  load: Load;
  seed: number;
  expected: Counts;
  got: Counts;
  seconds: number;
  lag: bigint;
  /** One that is worth a look. */
  trace: string | undefined;
};

/** Sends the load and watches until it is handled; what was handled before is left out of the counts. */
async function play(run: Run, { config, options, seed, stopping, traces, assertAlive }: Play): Promise<Played> {
  const [{ withDatabase }, { openProducers, sendAll }] = await Promise.all([
    import('./connection.ts'),
    import('./producers.ts'),
  ]);
  const { signal } = stopping;
  const events = options.for === undefined ? (options.events ?? EVENTS) : Number.POSITIVE_INFINITY;
  const users = options.users ?? Math.ceil((options.events ?? EVENTS) / EVENTS_PER_USER);
  const load = createLoad({ ...options, seed, events, users, atMs: Date.now() });

  return await withDatabase(config, async (at) => {
    const before = await readCounts(at);
    const producers = await openProducers(config, traces);
    run.out.say(`sending ${Number.isFinite(events) ? plural(events, 'event') : 'events'} (seed ${seed})`);
    const startMs = performance.now();
    const progress = createProgress(Number.isFinite(events) ? events : null, run.out.json);
    const watch = watcher(at, before, progress, assertAlive, signal);
    try {
      const until =
        options.for === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(options.for * 1_000)]);
      await watch.during(sendAll(producers, load.more, options.rate ?? null, until));
      await watch.untilHandled(load.expected());
      if (!signal.aborted) await watch.during(sendAll(producers, once(load.late()), null, signal));
      const got = await watch.untilHandled(load.expected());
      const seconds = (performance.now() - startMs) / 1_000;
      const lag = await lagOf(at, producers.ends);
      // After hours the history may be too long to be looked through before Postgres ends the query.
      const trace = await longestTrace(at, producers.traces).catch(() => undefined);
      return { load, seed, expected: load.expected(), got, seconds, lag, trace };
    } finally {
      progress.end();
      await producers.close();
    }
  });
}

const LOOK_EVERY_MS = 200;
/** Longer than the sweep that finds what a crash forgot (10 s): then nothing more will come. */
const GIVE_UP_AFTER_MS = 30_000;

function watcher(at: At, before: Counts, progress: Progress, assertAlive: () => void, signal: AbortSignal) {
  async function look(): Promise<Counts> {
    assertAlive();
    const counts = difference(await readCounts(at), before);
    progress.show({ done: counts.records, text: inWords(counts), facts: counts });
    return counts;
  }
  async function during(work: Promise<void>): Promise<void> {
    let isOver = false;
    work = work.finally(() => {
      isOver = true;
    });
    work.catch(() => {}); // awaited below; it may fail while we look
    while (!isOver) {
      await look();
      await Promise.race([work, sleep(LOOK_EVERY_MS)]);
    }
    await work;
  }
  /** Or until nothing moves any more. */
  async function untilHandled(expected: Counts): Promise<Counts> {
    let last = await look();
    let movedMs = performance.now();
    while (!signal.aborted && !isEqual(last, expected) && performance.now() - movedMs < GIVE_UP_AFTER_MS) {
      await sleep(LOOK_EVERY_MS / 4);
      const now = await look();
      if (!isEqual(now, last)) movedMs = performance.now();
      last = now;
    }
    return last;
  }
  return { during, untilHandled };
}

/** From the running totals in the positions: no table is counted. */
async function readCounts({ db }: At): Promise<Counts> {
  const { readTallies } = await import('../positions.ts');
  return countsOf(await readTallies(db));
}

function countsOf(tallies: Tallies): Counts {
  const counts = noCounts();
  counts.records = tallies.records ?? 0;
  for (const state of USER_STATES) counts.states[state] = tallies[`state|${state}`] ?? 0;
  for (const [key, total] of Object.entries(tallies)) {
    const outcome = OUTCOMES.find((outcome) => key.startsWith('event|') && key.endsWith(`|${outcome}`));
    if (outcome !== undefined) counts.outcomes[outcome] += total;
  }
  return counts;
}

function difference(now: Counts, before: Counts): Counts {
  const counts = noCounts();
  counts.records = now.records - before.records;
  for (const outcome of OUTCOMES) counts.outcomes[outcome] = now.outcomes[outcome] - before.outcomes[outcome];
  for (const state of USER_STATES) counts.states[state] = now.states[state] - before.states[state];
  return counts;
}

function isEqual(a: Counts, b: Counts): boolean {
  return differences(a, b).length === 0 && a.records === b.records;
}
function differences(expected: Counts, got: Counts): string[] {
  return [
    ...OUTCOMES.filter((outcome) => expected.outcomes[outcome] !== got.outcomes[outcome]),
    ...USER_STATES.filter((state) => expected.states[state] !== got.states[state]),
  ];
}

/** How many of the records that were sent are not behind a saved position. */
async function lagOf({ db }: At, ends: ReadonlyMap<string, bigint>): Promise<bigint> {
  const { readPositions } = await import('../positions.ts');
  const sent = [...ends.keys()].map((key) => {
    const at = key.lastIndexOf('/');
    return { topic: key.slice(0, at), partition: Number(key.slice(at + 1)) };
  });
  const next = new Map((await readPositions(db, sent)).map((row) => [`${row.topic}/${row.partition}`, row.next]));
  let lag = 0n;
  for (const [key, end] of ends) {
    const behind = end - (next.get(key) ?? 0n);
    if (behind > 0n) lag += behind;
  }
  return lag;
}

/** Of an event that was applied, the one with the longest way from its producer to its row: it waited for its customer. */
async function longestTrace({ sql }: At, begun: ReadonlyMap<string, number>): Promise<string | undefined> {
  if (begun.size === 0) return undefined;
  const rows = await sql<{ id: string; recordedAt: string }[]>`
    select trace_id as id, recorded_at as "recordedAt" from history
     where trace_id = any(${[...begun.keys()]}::text[]) and outcome = 'applied'`;
  const tookMs = ({ id, recordedAt }: { id: string; recordedAt: string }) =>
    Date.parse(recordedAt) - (begun.get(id) as number);
  return rows.reduce<{ id: string; recordedAt: string } | undefined>(
    (best, row) => (best === undefined || tookMs(row) > tookMs(best) ? row : best),
    undefined,
  )?.id;
}

function inWords({ outcomes, states }: Counts): string {
  const list = (counts: Readonly<Record<string, number>>, names: readonly string[]) =>
    names.map((name) => `${name} ${count(counts[name] as number)}`).join(' ');
  return `${list(outcomes, SHOWN_OUTCOMES)} | ${list(states, USER_STATES)}`;
}
const SHOWN_OUTCOMES = ['applied', 'skipped', 'duplicate', 'stale', 'rejected', 'waiting', 'dead'] as const;

/** The comparison. Returns the exit code. */
function show({ out }: Run, { load, seed, expected, got, seconds, lag }: Played, stopping: Stopping): number {
  const differ = differences(expected, got);
  const rate = Math.round(got.records / seconds);
  const { users, customers } = load.facts();
  const interrupted = stopping.exitCode();
  type Row = { name: string; expected: number; got: number };
  const rowsOf = (names: readonly string[], of: (counts: Counts) => Readonly<Record<string, number>>): Row[] =>
    names.map((name) => ({ name, expected: of(expected)[name] as number, got: of(got)[name] as number }));
  const columnsOf = (head: string): Column<Row>[] => [
    { head: head.padEnd(12), of: ({ name }) => name },
    { head: 'expected', of: ({ expected }) => expected, right: true },
    { head: 'got'.padStart(8), of: ({ got }) => got, right: true },
    { head: '', of: (row) => (row.expected === row.got ? '' : '<- differs') },
  ];
  if (!out.json) {
    out.many(
      rowsOf(SHOWN_OUTCOMES, ({ outcomes }) => outcomes),
      columnsOf('events'),
      '',
    );
    out.many(
      rowsOf(USER_STATES, ({ states }) => states),
      columnsOf('users'),
      '',
    );
  }
  const what = `${plural(got.records, 'event')} of ${plural(users, 'user')} and ${plural(customers, 'customer')}`;
  out.one(
    { expected, got, seconds, rate, lag, seed, differ, interrupted: interrupted !== undefined },
    () => `${what} in ${seconds.toFixed(1)} s: ${count(rate)} events/s, lag ${count(lag)}`,
  );
  if (interrupted !== undefined) {
    out.say(`interrupted: ${count(expected.records)} were sent, ${count(got.records)} handled`);
    return interrupted;
  }
  if (differ.length > 0) out.say(`not as expected: ${differ.join(', ')}`);
  else if (lag > 0n) out.say(`not as expected: lag ${lag}`);
  else out.say('as expected');
  return differ.length === 0 && lag === 0n ? EXIT.done : EXIT.failed;
}

type Shown = { jaeger: string | undefined; id: string | undefined; stays: boolean };

/** What is wrong with Jaeger is told and changes nothing else. */
async function showTrace({ out }: Run, shown: Shown): Promise<void> {
  try {
    out.say(await inTrace(shown));
  } catch (error) {
    out.say(`no trace to show: Jaeger at ${shown.jaeger} does not answer as it should (${(error as Error).message})`);
  }
}

/** Where to see one trace; as a text where there is no page for it, or nobody has the time to open one. */
async function inTrace({ jaeger, id, stays }: Shown): Promise<string> {
  if (jaeger === undefined)
    return 'to see a trace from producer to row: `npm run stack -- --jaeger` builds a Jaeger, once; then run this again';
  if (id === undefined) return 'no trace to show: no event that began one was found applied';
  const { hasPages, readWithBatches, drawTree } = await import('./trace-tree.ts');
  if (stays && (await hasPages(jaeger)))
    return `one trace, from its producer to the row: ${new URL(`/trace/${id}`, jaeger)}`;
  const [first, ...batches] = await readWithBatches(jaeger, id);
  if (first === undefined) return `no trace to show: ${id} has not reached Jaeger`;
  return [
    `\none trace, from its producer to the row: ${id}\n${drawTree(first)}`,
    ...batches.map((batch) => {
      const isDrain = batch.some(({ name }) => name === 'customer_service.redrive');
      const what = isDrain ? 'the drain that ran it when it no longer had to wait' : 'the batch that read it';
      return `${what}: ${batch[0]?.traceId}\n${drawTree(batch)}`;
    }),
    ...(stays ? [`the same as JSON: curl -s ${new URL(`/api/v3/traces/${id}`, jaeger)}`] : []),
  ].join('\n');
}

/** With what is up now, and ids that are there. */
function whatNext({ out }: Run, stage: { envFile: string; url: string; log: string }, load: Load): void {
  const { busy, waiting, missing } = load.examples();
  const { relative } = { relative: stage.envFile.replace(`${process.cwd()}/`, '') };
  const command = `npx user-lifecycle --env-file ${quoted(relative)}`;
  const lines = [
    ['all of it, on one screen', 'status'],
    ['what could not be read', 'dead-letters list --group'],
    ...(busy === undefined ? [] : [['a user with a past', `users history ${quoted(busy)}`]]),
    ...(waiting === undefined
      ? []
      : [['one that waits for its customer', `dead-letters list --waiting --user ${quoted(waiting)}`]]),
    ...(missing === undefined
      ? []
      : [['until the customer comes', `send CUSTOMER_CREATED --customer ${missing} --wait`]]),
  ];
  out.say(
    [
      '',
      `still up. The console: ${stage.url}`,
      `its log: ${stage.log}`,
      'or in another terminal:',
      ...lines.map(([why, what]) => `  ${command} ${what}   # ${why}`),
      `or: set -a; source ${quoted(relative)}; set +a`,
      'ctrl-C stops all of it',
    ].join('\n'),
  );
}

/** Rejects when the service has ended by itself. */
async function ended(assertAlive: () => void): Promise<never> {
  for (;;) {
    assertAlive();
    await sleep(500);
  }
}

function once<T>(all: readonly T[]): (most: number) => T[] {
  const rest = [...all];
  return (most) => rest.splice(0, most);
}

// What options may be.

function toCount(text: string): number {
  const number = Number(text.replaceAll(/[_,]/g, ''));
  if (!Number.isSafeInteger(number) || number < 0) throw new InvalidArgumentError('Expected a whole number.');
  return number;
}
function toRate(text: string): number {
  const number = Number(/^(\d+(?:\.\d+)?)(?:\/s)?$/.exec(text)?.[1]);
  if (!(number > 0)) throw new InvalidArgumentError('Expected events per second: 500/s.');
  return number;
}
function toSeconds(text: string): number {
  const [, number, unit] = /^(\d+)(s|m|h)$/.exec(text) ?? [];
  if (unit === undefined) throw new InvalidArgumentError('Expected a time: 90s, 5m, 1h.');
  return Number(number) * { s: 1, m: 60, h: 3_600 }[unit as 's' | 'm' | 'h'];
}
function toShare(text: string): number {
  const [, number, percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? [];
  const share = Number(number) / (percent === '%' ? 100 : 1);
  if (!(share >= 0 && share <= 0.5)) throw new InvalidArgumentError('Expected a share from 0% to 50%: 1% or 0.01.');
  return share;
}
