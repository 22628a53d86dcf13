// live.ts — the numbers that change while somebody looks: gathered once, for all who look.
//
// Owns:          when what is read, what is kept of it (a quarter of an hour of samples), and the value of each channel.
// Does not own:  how they travel (stream.ts), who has which already (board.ts), the statements (../queries/live.ts).
//
// V1  However many look, what is read is the same: tallies and positions twice a second, what is left to people once a second, the ends
//     of the logs every 10 s. While nobody looks, the tallies every 5 s, for the charts. Nothing that grows is counted.
// V2  Where Postgres is away, `health` says so, and nothing is told as new: values keep the time at which they were read.
import type { Db } from '../../db/client.ts';
import { outside } from '../../db/scope.ts';
import { HASH, STATES } from '../../machines/index.ts';
import type { CustomersFacts } from '../customers.ts';
import type { LagFacts } from '../lag.ts';
import type { Overview } from '../overview.ts';
import type { PartitionFacts } from '../partitions.ts';
import { type Moment, type Open, type PositionSeen, readMoment, readOpen } from '../queries/live.ts';
import type { SourceFacts } from '../sources/source.ts';
import { type Board, createBoard } from './board.ts';
import type { Dependencies, FlowWindow, PartitionRow, Stats } from './contract.ts';
import { type JobHere, jobRow } from './job-row.ts';
import { createEnds, type Ends, type LogEnd } from './log-ends.ts';
import { createQuestion } from './question.ts';
import { below, between, createWindow, outcomesIn, type Reading, usersIn, type Window } from './rates.ts';
import type { Timings } from './timings.ts';

/** All from memory but `db` and `logs`. */
export type LiveFacts = {
  db: Db;
  /** This process: where it differs from the one before, a page fetches everything anew. */
  instance: string;
  /** Of this process. */
  source: () => SourceFacts;
  partitions: () => readonly PartitionFacts[];
  lag: () => readonly LagFacts[];
  /** The one that is around the pipeline. */
  timings: Pick<Timings, 'take'>;
  health: () => Overview;
  customers: () => CustomersFacts;
  /** Of all partitions of the topics that are read, whoever has them (sources/open.ts: openLogs). Undefined: there is no Kafka. */
  logs?: (() => Promise<readonly LogEnd[]>) | undefined;
  /** Jobs that this process runs now. */
  jobsHere?: (() => Iterable<JobHere>) | undefined;
};

/** How time passes. */
export type Beats = {
  clock: () => number;
  /** Calls `act` every `ms`; returns how to end it. */
  every: (ms: number, act: () => void) => () => void;
};

export type Live = {
  /** All of it, at most a second old. Rejects with NothingRead where Postgres was never reached; where it is away since, these are
   *  the last values, and `health` says so. `window`: of so many seconds is `flow`, as far as they are remembered. */
  stats(asked?: { window?: FlowWindow | undefined; samples?: number | undefined }): Promise<Stats>;
  /** The partitions of all processes. Rejects as `stats`. */
  partitions(): Promise<PartitionRow[]>;
  /** As long as there is one, everything is gathered once or twice a second. `onBeat` is called twice a second, news or not. Returns
   *  how to end it. */
  subscribe(onBeat: () => void): () => void;
  /** What streams send. */
  board: Board;
  stop(): void;
};

/** Postgres was not reached yet: the API answers 503. */
export class NothingRead extends Error {
  override name = 'NothingRead';
}

const BEAT_MS = 500;
const SAMPLE_EVERY_MS = 5_000;
const LOGS_EVERY_MS = 10_000;
/** Of the samples, one in three has the users by state: a snapshot of 200 samples is 6 kB larger for it, and with all of them it
 *  would be 19. */
const COUNTS_IN_ONE_OF = 3;

export function createLive(facts: LiveFacts, beats: Beats = { clock: Date.now, every: everyMs }): Live {
  const { clock, every } = beats;
  const { db, logs: askLogs = async () => [] } = facts;
  const board = createBoard({ server: facts.instance, machineHash: HASH });
  const window = createWindow();
  const ends = createEnds(clock);
  const listeners = new Set<() => void>();
  let endBeat = () => {};
  let sampled: Reading | undefined;
  let sampleNo = 0;

  const moment = createQuestion({
    ask: () => outside(() => readMoment(db)),
    answered: putMoment,
    ...{ everyMs: 400, oneIn: 4, withinMs: 3_000, clock }, // of a beat of 500 ms
  });
  const open = createQuestion({
    ask: () => outside(() => readOpen(db)),
    answered: putOpen,
    ...{ everyMs: 900, oneIn: 20, withinMs: 3_000, clock },
  });
  const logs = createQuestion({
    ask: askLogs,
    answered: (of, atMs) => ends.saw(of, atMs),
    ...{ everyMs: LOGS_EVERY_MS, oneIn: 20, withinMs: 8_000, clock },
  });
  const endSampling = every(SAMPLE_EVERY_MS, () => void sample());

  return {
    async stats({ window: seconds = 10, samples } = {}) {
      await gather();
      if (!board.isComplete) throw nothingRead();
      const stats = board.stats(samples);
      return seconds === 10 ? stats : { ...stats, flow: window.rates(seconds) };
    },
    async partitions() {
      await gather();
      const seen = moment.answer()?.value;
      if (seen === undefined) throw nothingRead();
      return rowsOf(seen);
    },
    subscribe(onBeat) {
      listeners.add(onBeat);
      if (listeners.size === 1) {
        endBeat = every(BEAT_MS, beat);
        beat();
      }
      return () => {
        if (listeners.delete(onBeat) && listeners.size === 0) endBeat();
      };
    },
    board,
    stop() {
      endSampling();
      endBeat();
      listeners.clear();
    },
  };

  /** What is older than a second is read; what Kafka says is waited for only where there is nothing else to tell. */
  async function gather(): Promise<void> {
    const asked = logs.ask();
    await Promise.all([moment.fresh(1_000), open.fresh(2_000), logs.answer() ?? Promise.race([asked, inASecond()])]);
    putOwn();
  }

  /** Once a beat everybody is told all that is new: a write costs more than what it says. */
  function beat(): void {
    void open.ask();
    void logs.ask();
    void moment.ask().then(() => {
      const isLate = clock() - (moment.answer()?.atMs ?? 0) > 2 * BEAT_MS;
      if (isLate || readFailed() !== null) putOwn(); // else it was, with the answer
      for (const listener of listeners) listener();
    });
  }

  // ---- what is put up when --------------------------------------------------------------------------------------------------

  function putMoment({ tallies, positions }: Moment, atMs: number): void {
    window.add({ atMs, tallies, positions: new Map(positions.map((of) => [keyOf(of), BigInt(of.records)])) });
    board.put('counts', { ...NO_USERS, ...below(tallies, 'state|') }, atMs);
    board.put('transitions', below(tallies, 'transition|'), atMs);
    board.put('outcomes', outcomesIn(tallies), atMs);
    board.put('flow', window.rates(), atMs);
    putWaiting();
    putOwn();
  }

  function putOpen({ dead, holds, jobs }: Open, atMs: number): void {
    board.put('dead', dead, atMs);
    board.put('holds', holds, atMs);
    const here = new Map([...(facts.jobsHere?.() ?? [])].map((job) => [job.id, job]));
    const rows = jobs.map((job) => jobRow(job, here.get(job.id), atMs));
    board.put('jobs', rows, atMs);
    putWaiting();
  }

  function putWaiting(): void {
    const [seen, left] = [moment.answer(), open.answer()];
    if (seen === undefined || left === undefined) return;
    const { waiting: total = 0 } = outcomesIn(seen.value.tallies);
    board.put('waiting', { total: Math.max(0, total), reasons: left.value.reasons }, Math.min(seen.atMs, left.atMs));
  }

  /** What this process knows by itself, also while Postgres is away: why its partitions wait, and how its servers are. */
  function putOwn(): void {
    board.put('health', dependencies(facts, readFailed()), clock());
    const seen = moment.answer();
    if (seen !== undefined) board.put('lag', rowsOf(seen.value), seen.atMs);
  }

  function readFailed(): string | null {
    return moment.failed() ?? open.failed();
  }
  function nothingRead(): NothingRead {
    return new NothingRead(`nothing was read from Postgres yet (${readFailed() ?? 'no answer'})`);
  }

  function rowsOf({ positions }: Moment): PartitionRow[] {
    const mine = new Map(facts.partitions().map((of) => [keyOf(of), of]));
    const assigned = new Map(facts.source().assigned.map((of) => [keyOf(of), of]));
    const lags = new Map(facts.lag().map((of) => [keyOf(of), of]));
    return positions.map((position) => {
      const key = keyOf(position);
      const own = { partition: mine.get(key), assigned: assigned.get(key), lag: lags.get(key) };
      return partitionRow(position, own, ends, window);
    });
  }

  async function sample(): Promise<void> {
    await moment.fresh(1_000);
    const seen = moment.answer();
    if (seen === undefined || moment.failed() !== null) return; // the next one covers this time too
    const { value, atMs } = seen;
    const reading = { atMs, tallies: value.tallies, positions: new Map() };
    const before = sampled;
    sampled = reading;
    const took = facts.timings.take();
    if (before === undefined || before.atMs === atMs) return;
    const counts = sampleNo++ % COUNTS_IN_ONE_OF === 0 ? { counts: usersIn(value.tallies) } : {};
    board.addSample({ ...between(before, reading), ...counts, lag: totalLag(rowsOf(value)), ...took });
  }
}

// ---- a channel's value, from what was read ------------------------------------------------------------------------------------

const NO_USERS = Object.fromEntries(STATES.filter((state) => state !== 'absent').map((state) => [state, 0]));

type Own = {
  partition: PartitionFacts | undefined;
  assigned: SourceFacts['assigned'][number] | undefined;
  lag: LagFacts | undefined;
};

/** Of this process' partitions it knows itself where the log ends and why it waits; of others', as far as it was asked. */
function partitionRow(position: PositionSeen, own: Own, ends: Ends, window: Window): PartitionRow {
  const { topic, partition, generation, owner, next } = position;
  const asked = ends.of(position, next);
  const high = own.assigned?.highWatermark ?? asked?.end ?? null;
  const empty = own.assigned?.empty;
  const reached = empty !== undefined && next >= empty.from && next < empty.to ? empty.to : next;
  const lag = high === null ? null : high > reached ? high - reached : 0n;
  const seconds = own.assigned === undefined ? asked?.seconds : own.lag?.seconds;
  return {
    ...{ topic, partition, generation, owner },
    position: String(next),
    committed: text(asked?.committed),
    logStart: text(asked?.start),
    high: text(high),
    lag: text(lag),
    lagSeconds: lag === 0n ? 0 : tenths(seconds),
    rate: window.rateOf(keyOf(position)),
    ...stateOf(position, own.assigned === undefined ? undefined : own.partition),
    savedAt: owner === null ? null : position.updatedAt,
    unkeyed: String(position.unkeyed),
    records: String(position.records),
  };
}

function stateOf(
  { state, haltedReason }: PositionSeen,
  own: PartitionFacts | undefined,
): Pick<PartitionRow, 'state' | 'why'> {
  if (state === 'halted') return { state, why: haltedReason ?? 'by an operator' };
  if (own?.state === 'waiting') return { state: 'paused', why: whyItWaits(own.reason ?? '_OTHER') };
  if (own?.state === 'settling')
    return {
      state: 'paused',
      why: 'where it starts, or goes on after a halt, is not known yet: Postgres and Kafka are asked for it',
    };
  return { state: 'running', why: null };
}

function whyItWaits(code: string): string {
  if (code === 'conflict') return 'another process writes the same users; it is tried again';
  if (code === '57014') return 'Postgres took too long (57014); smaller batches are tried';
  return `Postgres did not take the last batch (${code}); it is tried again`;
}

/** Of the topics of which something is known: a topic that is not read any more keeps its rows. null: a part of it is unknown. */
export function totalLag(rows: readonly PartitionRow[]): number | null {
  const topics = new Set(rows.filter(({ lag }) => lag !== null).map(({ topic }) => topic));
  if (topics.size === 0) return null;
  let total = 0;
  for (const { topic, lag } of rows) {
    if (!topics.has(topic)) continue;
    if (lag === null) return null;
    total += Number(lag);
  }
  return total;
}

/** `readFailed`: the code of what the live numbers could not be read for. Every reason is a sentence of ours (health.ts, H2). */
export function dependencies(
  facts: Pick<LiveFacts, 'health' | 'customers' | 'logs'>,
  readFailed: string | null,
): Dependencies {
  const { status, live, ready, startup, redis, member } = facts.health();
  const { database, group } = ready.checks;
  const checks = Object.entries({ ...live.checks, ...startup.checks, ...ready.checks });
  const reasons = checks.filter(([, { ok }]) => !ok).map(([name, { detail }]) => `${name}: ${detail}`);
  if (readFailed !== null) reasons.unshift(`these numbers are old: they can not be read from Postgres (${readFailed})`);
  return {
    status: readFailed === null ? status : 'failing',
    kafka: facts.logs === undefined ? 'off' : group?.ok ? 'ok' : 'away',
    postgres: readFailed === null && database?.ok ? 'ok' : 'away',
    redis,
    reasons,
    member,
    cacheHitRate: hitRate(facts.customers()),
  };
}

/** Of the questions whether a customer exists, those that memory or Redis answered; since the start. */
function hitRate({ memory, redis }: CustomersFacts): number | null {
  const asked = memory.hits + memory.misses;
  const hits = memory.hits + (redis.state === 'off' ? 0 : redis.hits);
  return asked === 0 ? null : Math.round((hits / asked) * 1_000) / 1_000;
}

function keyOf({ topic, partition }: { topic: string; partition: number }): string {
  return `${topic}/${partition}`;
}
function text(n: bigint | null | undefined): string | null {
  return n == null ? null : String(n);
}
function tenths(n: number | null | undefined): number | null {
  return n == null ? null : Math.round(n * 10) / 10;
}
/** Neither keeps a process alive that has nothing else to do. */
function everyMs(ms: number, act: () => void): () => void {
  const timer = setInterval(act, ms).unref();
  return () => clearInterval(timer);
}
function inASecond(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1_000).unref());
}
