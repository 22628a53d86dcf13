// source.ts — the port between a log of records and the pipeline: what a source must promise, and nothing of how.
//
// A source promises:
//   S1  Within a partition records come in offset order, one batch at a time; several partitions may run at once.
//   S2  `fetchedOffset` is the offset it asked the log for; every record at or above it and up to `lastOffset` that holds
//       data is in `records`. Between `skippedFrom` and `fetchedOffset` it knows that the log holds no data.
//   S3  It goes on at the offset that `take` returns, and calls it committed only afterwards. What `take` abandoned it
//       delivers again, from wherever `seek` or the saved position says.
//   S4  It starts a partition at the position `assigned` returns, which is a hint: `take` checks every batch against
//       the saved row.
//   S5  `stop` ends after the batches in flight have ended. It never drops a batch that was handed over.
import type { SourceRecord } from '../events.ts';
import type { Log } from '../position.ts';

export type Batch = {
  topic: string;
  partition: number;
  /** The offset asked for. */
  fetchedOffset: bigint;
  /** The source knows that the log holds no data from here up to `fetchedOffset` (markers, aborted transactions,
   *  compaction: it skipped them by itself). Equal to `fetchedOffset` where it skipped nothing. */
  skippedFrom: bigint;
  records: readonly SourceRecord[];
  /** The last offset this batch covers, records without data included. The next position is `lastOffset + 1`. */
  lastOffset: bigint;
  /** The log's end: the offset the next record will get. */
  highWatermark: bigint;
  leaderEpoch: number | null;
};

export type TopicPartition = { topic: string; partition: number };

/** What the source calls; `src/partitions.ts` implements it. */
export type Mailbox = {
  /** These partitions are assigned to this process, beside those that were before: the offset to start each at. Throws
   *  only when `signal` is aborted. */
  assigned(partitions: readonly Assigned[], signal: AbortSignal): Promise<readonly Start[]>;
  /** Partitions were taken away: whatever is remembered of them is dropped. */
  revoked(partitions: readonly TopicPartition[]): void;
  /** One batch. Waits as long as needed (Postgres away), unless `signal` is aborted. Never rejects. */
  take(batch: Batch, signal: AbortSignal): Promise<Taken>;
};

/** What the source knows of an assigned partition: log start and end, and who keeps the log. */
export type Assigned = TopicPartition & {
  clusterId: string;
  logStart: bigint;
  logEnd: bigint;
  committed: bigint | null;
};
export type Start = TopicPartition & { at: bigint; halted: boolean };

/** What became of a batch.
 *  `saved`: go on at `next`, commit it. `seek`: fetch again at `next`, commit nothing. `halted`: stop fetching this
 *  partition until `Source.seek`. `wait`: nothing was saved; fetch again from the last position in `ms`, others meanwhile. `rejoin`: fenced again and again, somebody else works on this partition: leave the group
 *  and join it again. `abandoned`: the signal was aborted; nothing was saved, nothing may be assumed. */
export type Taken =
  | { what: 'saved'; next: bigint }
  | { what: 'seek'; next: bigint }
  | { what: 'halted'; reason: string }
  | { what: 'wait'; ms: number }
  | { what: 'rejoin' }
  | { what: 'abandoned' };

/** Facts for health and status; from memory, no I/O. */
export type SourceFacts = {
  joined: boolean;
  stopping: boolean;
  /** Why the last try failed; another one is under way. Null once it succeeded. */
  crashed: string | null;
  /** Why it ended for good: only a restart of the process brings it back. */
  dead: string | null;
  /** The newest of a fetch, a heartbeat, the end of a batch, and the begin of a try to join. */
  lastProgressAtMs: number;
  /** ms since 1970; null: never yet, or not of this kind of source. They outlive a crash of the consumer. */
  lastFetchAtMs: number | null;
  lastHeartbeatAtMs: number | null;
  lastCommitAtMs: number | null;
  /** A broker answered the consumer, whatever it was asked. */
  lastAnswerAtMs: number | null;
  /** Assignments received since the start. */
  rebalances: number;
  /** Group generation and member, where the source has a group. */
  member: string | null;
  /** `highWatermark`: the log's end, as known at the latest batch or look; a look comes every 15 s at the latest. `empty`: the
   *  log is known to hold no data from here to there (aborted transactions, markers): whoever is at or behind its begin is not
   *  behind for that. `paused`: not fetched now. `halted`: nor before `seek`. */
  assigned: readonly (TopicPartition & {
    highWatermark: bigint | null;
    paused: boolean;
    halted: boolean;
    empty?: { from: bigint; to: bigint } | undefined;
  })[];
};

/** Told of every request to a broker that was answered: `apiName` is Kafka's own (Fetch, OffsetCommit), `broker` is
 *  "host:port". Must not throw. */
export type Watch = {
  requested(apiName: string, broker: string, seconds: number): void;
  /** A commit of `next` has ended. Times: ms since 1970. */
  committed(commit: TopicPartition & { next: bigint; startMs: number; endMs: number }): void;
};

export type Source = {
  start(mailbox: Mailbox): Promise<void>;
  /** Ends after the batches in flight; no new one is handed over. */
  stop(): Promise<void>;
  /** The saved row of a partition differs from what was expected, or a halted one runs again: fetch from `at`. Nothing happens
   *  while its start is still asked for; the same for `pause`. What came of it is seen in `facts`. */
  seek(partition: TopicPartition, at: bigint): void;
  pause(partition: TopicPartition): void;
  facts(): SourceFacts;
  /** Asks where the log of a partition begins and ends now, and who keeps it; assigned to this process or not. Undefined: there is
   *  no such log. Rejects where it can not be asked. */
  logOf(partition: TopicPartition): Promise<Log | undefined>;
  /** Resolves when the source has nothing more to give (a file's end; never, for Kafka). Rejects when it has ended for good
   *  after its start: the process is of no use any more. */
  ended: Promise<void>;
};
