// partitions.ts — the partitions this process works on: what each is at, and what an error makes it do.
//
// Owns:          the expected position of every assigned partition, its mode, and the loop that does not give up:
//
//                  running ── save failed (Postgres away, slow, a conflict) ─▶ waiting ── works again ─▶ running
//                  running ── defect, gap twice, all fail alike, a person ──▶ halted ── a person ─────▶ running
//
//                A waiting partition heals by itself: its batch is fetched again; a halted one needs a person
//                (`user-lifecycle partitions list` says which answers there are) and is not fetched meanwhile. Others go on.
// Does not own:  how a batch is handled (pipeline.ts), where it comes from (sources/), what a gap is (position.ts).
//
// The position in Postgres is the truth and the fence is the guarantee; what is expected here is only a memory of it,
// dropped after every failure, read again from the row. Whether a partition is fetched only the source knows: it is asked,
// never guessed from what it was told.
import type { Db } from '../db/client.ts';
import { classify, describe, Fenced, Halt } from './errors.ts';
import { sourceName } from './events.ts';
import type { Log } from './log.ts';
import { halt } from './operate.ts';
import type { Pipeline, Work } from './pipeline.ts';
import { judge, judgeStart, type Log as LogEnds, portion } from './position.ts';
import { makePositions, type Position, readPositions } from './positions.ts';
import { CONFLICT, INFRASTRUCTURE, inTime, sleep, waitMs } from './retry.ts';
import type { Poisons } from './run.ts';
import type { Assigned, Batch, Mailbox, Source, Start, Taken, TopicPartition } from './sources/source.ts';
import { placeOf, whereItFailed } from './spans.ts';

export type PartitionsOptions = {
  db: Db;
  handle: Pipeline;
  findPoisons(work: Work, known: Poisons): Promise<Poisons>;
  /** What is remembered of users may be old. */
  forgetUsers(): void;
  /** The database went back in time: what is cached may be ahead of it. */
  rewound(): void;
  /** The positions are known; `clusterId`: whose log is read. */
  assigned(clusterId: string): void;
  /** At most this many records in one save (P6). */
  maxBatchRecords: number;
  log: Log;
};

type Partition = TopicPartition & {
  /** What the row is believed to say; undefined: read it first. */
  row: Position | undefined;
  /** The furthest that was known to be saved; a row below it means that the database went back in time. */
  furthest: { next: bigint; generation: number } | undefined;
  busy: boolean;
  /** Fenced saves in a row: 5, and somebody else works on this partition. */
  fenced: number;
  /** Unexplained gaps in a row: 2, and a person must look. */
  gaps: number;
  /** Failures since the last save, and how many records one save may have: halved when Postgres is slow. */
  failures: number;
  limit: number;
  loggedAtMs: number;
  counts: { fenced: number; conflicts: number; retries: number; replayed: number; gaps: number };
  waitingSince: { reason: string; since: Date } | undefined;
  /** Its row runs again after a halt, but its log was not judged since: it is not fetched. */
  unjudged: boolean;
  /** ms since 1970. `savedAtMs`: the last save here. `savedRecordMs`: the timestamp of the last record of it that has one.
   *  `caughtUpAtMs`: when a save last reached the log's end, as its batch knew it. */
  progress: {
    assignedAtMs: number;
    savedAtMs: number | null;
    savedRecordMs: number | null;
    caughtUpAtMs: number | null;
  };
};

export type PartitionFacts = TopicPartition & {
  /** The position, as last known; null: not read yet. */
  next: bigint | null;
  /** `settling`: where it starts, or whether it may after a halt, is not known yet. */
  state: 'settling' | 'running' | 'halted' | 'waiting';
  reason: string | null;
  counts: Partition['counts'];
} & Partition['progress'];

export type Partitions = Mailbox & {
  /** Reads the rows of all assigned partitions; where one differs from what is expected, or from what the source does, the source is
   *  told. One that was halted goes on only in a log that fits. Rejects where Postgres can not be asked: the next look follows. */
  check(source: Source): Promise<void>;
  facts(): PartitionFacts[];
};

const FENCED_IN_A_ROW = 5;
const GAPS_IN_A_ROW = 2;
const BEHIND_IN_A_ROW = 5;
/** So long a failing batch is tried again in place. kafkajs fetches nothing more from a broker meanwhile. */
const PATIENCE_MS = 1_000;
const LOG_RETRIES_EVERY_MS = 10_000;
/** Less than the time between two looks, so that each asks anew. */
const LOG_WITHIN_MS = 4_000;

export function createPartitions(options: PartitionsOptions): Partitions {
  const { db, log } = options;
  const partitions = new Map<string, Partition>();
  /** Those whose log is being asked. */
  const asking = new Set<Partition>();

  return { assigned, revoked, take, check, facts };

  async function assigned(logs: readonly Assigned[], signal: AbortSignal): Promise<readonly Start[]> {
    options.forgetUsers();
    for (const { topic, partition } of logs) {
      const key = `${topic}/${partition}`;
      const known = partitions.get(key);
      if (known === undefined) partitions.set(key, newPartition(topic, partition));
      else Object.assign(known, { row: undefined, fenced: 0, gaps: 0, unjudged: false });
    }
    for (let attempt = 1; ; attempt++) {
      try {
        const starts = await startPositions(logs);
        if (logs[0] !== undefined) options.assigned(logs[0].clusterId);
        return starts;
      } catch (error) {
        log.error({ ...describe(error), attempt }, 'the positions could not be read: is Postgres there? Trying again.');
        await sleep(waitMs(INFRASTRUCTURE, attempt), signal);
        signal.throwIfAborted();
      }
    }
  }

  async function startPositions(logs: readonly Assigned[]): Promise<Start[]> {
    const made = await makePositions(
      db,
      logs.map((each) => ({ ...each, at: each.logStart })),
    );
    for (const [topic, of] of Map.groupBy(made, ({ topic }) => topic)) {
      const starts = of.map(({ partition }) => `${partition}@${logOf({ topic, partition })?.logStart}`);
      log.info(
        { 'messaging.destination.name': topic, starts },
        'partitions seen for the first time: they start at the log start',
      );
    }
    const starts: Start[] = [];
    for (const row of await readPositions(db, logs)) {
      const seen = logOf(row);
      const reason = row.state === 'halted' || seen === undefined ? undefined : judgeStart(row, seen);
      const partition = partitions.get(`${row.topic}/${row.partition}`);
      // A batch of before the rebalance may be saved meanwhile: it knows more than the row that was read.
      if (partition !== undefined && !partition.busy) believe(partition, row);
      if (reason !== undefined) await haltPartition(row, row, reason);
      starts.push({
        topic: row.topic,
        partition: row.partition,
        at: row.next,
        halted: row.state === 'halted' || reason !== undefined,
      });
    }
    return starts;

    function logOf({ topic, partition }: TopicPartition): Assigned | undefined {
      return logs.find((each) => each.topic === topic && each.partition === partition);
    }
  }

  function revoked(gone: readonly TopicPartition[]): void {
    for (const { topic, partition } of gone) partitions.delete(`${topic}/${partition}`);
    options.forgetUsers();
  }

  async function take(batch: Batch, signal: AbortSignal): Promise<Taken> {
    const key = `${batch.topic}/${batch.partition}`;
    const partition = partitions.get(key) ?? newPartition(batch.topic, batch.partition);
    partition.busy = true;
    try {
      return await work(partition, batch, signal);
    } finally {
      partition.busy = false;
    }
  }

  /** The loop that does not give up: a part of the batch after the other, each saved before the next. What fails is tried
   *  again here for a moment, then by the source with a fresh fetch, so that nobody else waits for this partition. */
  async function work(partition: Partition, batch: Batch, signal: AbortSignal): Promise<Taken> {
    const startedAtMs = Date.now();
    let poisons: Poisons = new Map();
    let generation: number | undefined;
    for (;;) {
      if (signal.aborted) return { what: 'abandoned' };
      let tried: Work | undefined;
      try {
        const row = await rowOf(partition);
        generation ??= row.generation;
        // Another log by now: these records are of the one before.
        if (row.generation !== generation) return { what: 'seek', next: row.next };
        if (row.state === 'halted') return { what: 'halted', reason: row.haltedReason ?? 'by an operator' };
        const verdict = judge(batch, row.next);
        if (verdict.what === 'seek') return await notContiguous(partition, batch, row);
        partition.gaps = 0;
        if (verdict.replayed > 0) partition.counts.replayed += verdict.replayed;
        if (verdict.what === 'replayed') return { what: 'saved', next: verdict.next };

        const part = portion(verdict, Math.min(partition.limit, options.maxBatchRecords));
        tried = {
          place: row,
          source: sourceName(row),
          leaderEpoch: batch.leaderEpoch,
          from: part.from,
          to: part.to,
          records: part.records,
        };
        await options.handle(tried, poisons);
        believe(partition, { ...row, next: part.to });
        noteSave(partition.progress, part, batch.highWatermark);
        Object.assign(partition, {
          fenced: 0,
          failures: 0,
          waitingSince: undefined,
          limit: Math.min(partition.limit * 2, Number.MAX_SAFE_INTEGER),
        });
        if (part.to === verdict.to) return { what: 'saved', next: part.to };
      } catch (error) {
        partition.row = undefined; // whether it was saved is read from the row, never guessed
        partition.failures++;
        const acted = await whereItFailed(error, () => act(error, tried));
        if (acted !== undefined) return acted;
      }
    }

    /** Undefined: try again now. */
    async function act(error: unknown, tried: Work | undefined): Promise<Taken | undefined> {
      switch (classify(error).class) {
        case 'fenced':
          options.forgetUsers();
          partition.counts.fenced++;
          partition.fenced++;
          log.warn(
            { ...placeOf(batch), ...describe(error) },
            'fenced: somebody else saved this position; reading it again',
          );
          return partition.fenced >= FENCED_IN_A_ROW ? { what: 'rejoin' } : undefined;
        case 'conflict':
          partition.counts.conflicts++;
          if (partition.failures > CONFLICT.tries) return await wait(error, tried);
          await sleep(waitMs(CONFLICT, partition.failures), signal);
          return undefined;
        case 'poison':
          return tried === undefined ? await haltFor(error, tried) : await lookForPoison(error, tried);
        case 'defect':
          return await haltFor(error, tried);
        case 'slow':
          partition.limit = Math.max(1, Math.ceil((tried?.records.length ?? 2) / 2));
          return await wait(error, tried);
        default:
          return await wait(error, tried);
      }
    }

    async function lookForPoison(error: unknown, tried: Work): Promise<Taken | undefined> {
      try {
        const found = await options.findPoisons(tried, poisons);
        if (found === poisons) return await haltFor(error, tried);
        poisons = found;
        return undefined;
      } catch (failure) {
        return classify(failure).class === 'defect' ? await haltFor(failure, tried) : await wait(failure, tried);
      }
    }

    /** As infrastructure: nothing is lost, it is tried again for ever. */
    async function wait(error: unknown, tried: Work | undefined): Promise<Taken | undefined> {
      const { code, known } = classify(error);
      partition.counts.retries++;
      partition.waitingSince ??= { reason: code, since: new Date() };
      if (Date.now() - partition.loggedAtMs >= LOG_RETRIES_EVERY_MS) {
        partition.loggedAtMs = Date.now();
        const attempt = { 'customer_service.failures': partition.failures };
        const text = known ? 'database error' : 'unknown error, please report it';
        log.error(
          { ...placeOf(batch), ...offsets(tried), ...describe(error), ...attempt },
          `${text}: nothing is lost, the partition waits and tries again`,
        );
      }
      const ms = waitMs(INFRASTRUCTURE, partition.failures);
      if (Date.now() + ms - startedAtMs > PATIENCE_MS) return { what: 'wait', ms };
      await sleep(ms, signal);
      return undefined;
    }

    async function haltFor(error: unknown, tried: Work | undefined): Promise<Taken | undefined> {
      const { 'exception.message': message, 'error.type': type } = describe(error);
      const where = tried === undefined ? '' : ` at offsets ${tried.from} to ${tried.to - 1n}`;
      const reason = error instanceof Halt ? error.message : `defect ${type}${where}: ${message}`;
      try {
        return await haltPartition(partition, await rowOf(partition), reason);
      } catch (failure) {
        partition.row = undefined;
        return await wait(failure, tried); // nobody could see a halt that is not written
      }
    }
  }

  async function rowOf(partition: Partition): Promise<Position> {
    if (partition.row !== undefined) return partition.row;
    const [row] = await inTime(readPositions(db, [partition]));
    if (row === undefined) throw new Error(`there is no position of ${partition.topic}/${partition.partition} yet`);
    believe(partition, row);
    return row;
  }

  function believe(partition: Partition, row: Position): void {
    const { furthest } = partition;
    if (furthest !== undefined && furthest.generation === row.generation && row.next < furthest.next) {
      const lines = { ...placeOf(row), position: String(row.next), expected: String(furthest.next) };
      log.warn(
        lines,
        'the database went back in time: everything remembered is dropped, reading again from its position',
      );
      options.forgetUsers();
      options.rewound();
    }
    partition.furthest = { next: row.next, generation: row.generation };
    partition.row = row;
  }

  async function notContiguous(partition: Partition, batch: Batch, row: Position): Promise<Taken> {
    partition.counts.gaps++;
    partition.gaps++;
    const isBehind = row.next > batch.fetchedOffset;
    const lines = { ...placeOf(batch), fetched: String(batch.fetchedOffset), position: String(row.next) };
    log.warn(
      lines,
      `the log was fetched from ${isBehind ? 'below' : 'beyond'} the saved position: fetching again from there`,
    );
    if (partition.gaps < (isBehind ? BEHIND_IN_A_ROW : GAPS_IN_A_ROW)) return { what: 'seek', next: row.next };
    const reason = isBehind
      ? `truncated: the log is fetched from ${batch.fetchedOffset} again and again, the position is ${row.next}. Was the topic re-created?`
      : `gap: twice fetched from ${batch.fetchedOffset}, the position is ${row.next}. Is the log still there, or who moves offsets? Nothing was skipped.`;
    return haltPartition(partition, row, reason);
  }

  /** Rejects where the halt could not be written: then nobody could see or end it, and it is none. */
  async function haltPartition(partition: TopicPartition, row: Position, reason: string): Promise<Taken> {
    if (!(await halt(db, row, reason))) throw new Fenced('somebody else moved or halted the position meanwhile');
    log.error(
      { ...placeOf(partition), reason },
      'halted: this partition stops until a person decides (`user-lifecycle partitions list` says how); the others go on',
    );
    const known = partitions.get(`${partition.topic}/${partition.partition}`);
    if (known !== undefined) known.row = { ...row, state: 'halted', haltedReason: reason };
    return { what: 'halted', reason };
  }

  async function check(source: Source): Promise<void> {
    const resumed: [Partition, Position][] = [];
    const idle = [...partitions.values()].filter((partition) => !partition.busy);
    const expected = new Map(idle.map((partition) => [`${partition.topic}/${partition.partition}`, partition.row]));
    const rows = await readPositions(db, idle);
    const halted = haltedIn(source);
    for (const row of rows) {
      const key = `${row.topic}/${row.partition}`;
      const partition = partitions.get(key);
      const before = expected.get(key);
      // Somebody works on it by now: the fence tells it more than this row can.
      if (partition === undefined || partition.busy || partition.row !== before) continue;
      const toDo = compare(row, before, halted.has(key));
      believe(partition, row);
      partition.unjudged = toDo === 'judge';
      if (toDo === 'stop') source.pause(row);
      else if (toDo === 'seek') seek(source, row, 'the saved position is another than expected: going on from it');
      else if (toDo === 'judge') {
        if (!halted.has(key)) source.pause(row);
        partition.waitingSince = undefined; // the halt ended that
        resumed.push([partition, row]);
      }
    }
    for (const [partition, row] of resumed) await judgeResumed(source, partition, row);
  }

  /** A person looked at the log before the row was let run again, but it may have become another one since, as at a start. */
  async function judgeResumed(source: Source, partition: Partition, row: Position): Promise<void> {
    if (asking.has(partition)) return;
    asking.add(partition);
    try {
      const seen = await askLog(source, row);
      const key = `${row.topic}/${row.partition}`;
      // Assigned anew, halted again or moved meanwhile: that is newer.
      const isOurs = partitions.get(key) === partition && !partition.busy && haltedIn(source).has(key);
      if (seen === undefined || !isOurs || !isSame(row, partition.row)) return;
      const reason = judgeStart(row, seen);
      if (reason !== undefined) await haltPartition(partition, row, reason);
      else {
        partition.unjudged = false;
        seek(source, row, 'a person let this partition run again: going on from its position');
      }
    } finally {
      asking.delete(partition);
    }
  }

  /** Undefined: it can not be asked now. */
  async function askLog(source: Source, row: Position): Promise<LogEnds | undefined> {
    let why: object = { 'error.type': 'no-such-log' };
    try {
      const seen = await inTime(source.logOf(row), LOG_WITHIN_MS);
      if (seen !== undefined) return seen;
    } catch (error) {
      why = describe(error);
    }
    log.warn(
      { ...placeOf(row), ...why },
      'a person let this partition run again, but where its log begins and ends can not be asked: it stays stopped, and is asked again in 5 s',
    );
    return undefined;
  }

  function seek(source: Source, row: Position, text: string): void {
    log.info({ ...placeOf(row), position: String(row.next) }, text);
    options.forgetUsers();
    source.seek(row, row.next);
  }

  function facts(): PartitionFacts[] {
    return [...partitions.values()].map((of) => ({
      topic: of.topic,
      partition: of.partition,
      next: of.row?.next ?? of.furthest?.next ?? null,
      state: stateOf(of),
      reason: of.row?.state === 'halted' ? of.row.haltedReason : (of.waitingSince?.reason ?? null),
      counts: of.counts,
      ...of.progress,
    }));
  }
}

type Seen = Pick<Position, 'next' | 'generation' | 'state'>;
/** What a look at a partition's row leads to. `before`: what the row was believed to say; undefined: it is read anew before the next
 *  save anyway. `isHalted`: the source does not fetch the partition until it is told to, whatever was believed.
 *  `judge`: it goes on if its log fits; also where a person halted it and let it run again between two looks. */
export function compare(row: Seen, before: Seen | undefined, isHalted: boolean): 'nothing' | 'stop' | 'seek' | 'judge' {
  if (row.state === 'halted') return isHalted ? 'nothing' : 'stop';
  const wasMoved = before !== undefined && (before.state === 'halted' || before.generation !== row.generation);
  if (isHalted || wasMoved) return 'judge';
  return before === undefined || isSame(row, before) ? 'nothing' : 'seek';
}

function isSame(row: Seen, other: Seen | undefined): boolean {
  return row.next === other?.next && row.generation === other.generation && row.state === other.state;
}

/** What the source does not fetch until it is told to: "topic/partition". */
function haltedIn(source: Source): Set<string> {
  const halted = source.facts().assigned.filter((one) => one.halted);
  return new Set(halted.map(({ topic, partition }) => `${topic}/${partition}`));
}

function stateOf({ row, furthest, waitingSince, unjudged }: Partition): PartitionFacts['state'] {
  if (row?.state === 'halted') return 'halted';
  if (waitingSince !== undefined) return 'waiting';
  return unjudged || (row ?? furthest) === undefined ? 'settling' : 'running';
}

function newPartition(topic: string, partition: number): Partition {
  return {
    topic,
    partition,
    row: undefined,
    furthest: undefined,
    busy: false,
    fenced: 0,
    gaps: 0,
    failures: 0,
    limit: Number.MAX_SAFE_INTEGER,
    loggedAtMs: 0,
    waitingSince: undefined,
    unjudged: false,
    counts: { fenced: 0, conflicts: 0, retries: 0, replayed: 0, gaps: 0 },
    progress: { assignedAtMs: Date.now(), savedAtMs: null, savedRecordMs: null, caughtUpAtMs: null },
  };
}

function noteSave(
  progress: Partition['progress'],
  { to, records }: { to: bigint; records: Batch['records'] },
  highWatermark: bigint,
): void {
  progress.savedAtMs = Date.now();
  // A record without a timestamp has -1.
  const recordMs = records.at(-1)?.timestampMs ?? -1;
  if (recordMs >= 0) progress.savedRecordMs = recordMs;
  if (to >= highWatermark) progress.caughtUpAtMs = progress.savedAtMs;
}

function offsets(work: Work | undefined) {
  return work === undefined ? {} : { first_offset: String(work.from), last_offset: String(work.to - 1n) };
}
