// log-ends.ts — how far the partitions of other processes are behind: from looks at the ends of all logs, and the saved positions.
//
// Owns:          what the looks said. Does not own: the looks (sources/), the partitions of this process (../lag.ts knows more of them).
//
// Y1  Seconds: none at the log's end; else since the newest look whose end was reached since. Before that they are unknown (null).
// Y2  What was not looked at for long is unknown.
// Y3  A log that became shorter is another one: what earlier looks said is dropped.
import type { PartitionStatus } from '../sources/kafka-client.ts';
import type { TopicPartition } from '../sources/source.ts';

export type LogEnd = Pick<PartitionStatus, 'topic' | 'partition' | 'logStart' | 'logEnd' | 'committed'>;
export type Ends = {
  saw(ends: readonly LogEnd[], atMs: number): void;
  /** Of a partition whose position is `next`. Undefined: unknown. */
  of(
    partition: TopicPartition,
    next: bigint,
  ): { start: bigint; end: bigint; committed: bigint | null; seconds: number | null } | undefined;
};

const OLD_AFTER_MS = 60_000;
const MOST_LOOKS = 90; // P6. One every 10 s: a quarter of an hour; what is further behind keeps its oldest look

type Known = {
  start: bigint;
  end: bigint;
  committed: bigint | null;
  ahead: { end: bigint; atMs: number }[];
  reachedMs: number | null;
};

export function createEnds(clock: () => number): Ends {
  const known = new Map<string, Known>();
  let sawAtMs = Number.NEGATIVE_INFINITY;

  return {
    saw(ends, atMs) {
      sawAtMs = atMs;
      for (const { topic, partition, logStart: start, logEnd: end, committed } of ends) {
        const key = `${topic}/${partition}`;
        const before = known.get(key);
        const { ahead = [], reachedMs = null } = before !== undefined && before.end <= end ? before : {};
        if (ahead.length === MOST_LOOKS) ahead.splice(1, 1);
        known.set(key, { start, end, committed, ahead: [...ahead, { end, atMs }], reachedMs });
      }
    },
    of({ topic, partition }, next) {
      const its = known.get(`${topic}/${partition}`);
      if (its === undefined || clock() - sawAtMs > OLD_AFTER_MS) return undefined;
      while (its.ahead[0] !== undefined && its.ahead[0].end <= next) its.reachedMs = its.ahead.shift()?.atMs as number;
      const { start, end, committed, reachedMs } = its;
      if (next >= end) return { start, end, committed, seconds: 0 };
      return { start, end, committed, seconds: reachedMs === null ? null : Math.max(0, clock() - reachedMs) / 1_000 };
    },
  };
}
