// lag.ts — how far this process is behind on each of its partitions: in records, and in seconds.
//
// Owns:          when a partition was last seen without lag.
// Does not own:  the log's end (the source), the position (partitions.ts), what follows from it (health.ts, metrics).
//
// L1  Records: the log's end as last known, minus the saved position, or the end of what is known to hold no data behind it: the
//     position moves over that with the next record. What Kafka was told (commits) does not count.
// L2  Seconds: since the newest moment without lag, of the looks and of the saves that reached the end; or the age of the last
//     saved record, if that is less or there was no such moment: all before it are saved. Neither: since the assignment. So it
//     grows while nothing is saved, and a partition that is busy, or works off a backlog, is as far behind as its records are old.
// L3  Only what is assigned now is in it, and what is not yet known (no position, no end) is left out.
import type { PartitionFacts } from './partitions.ts';
import type { SourceFacts, TopicPartition } from './sources/source.ts';

export type LagFacts = TopicPartition & { records: number; seconds: number };
export type Lag = {
  /** To be called every few seconds: a partition without new records has no other moment to be seen without lag. */
  look(): void;
  facts(): LagFacts[];
};
type Of = Pick<
  PartitionFacts,
  keyof TopicPartition | 'next' | 'savedRecordMs' | 'savedAtMs' | 'caughtUpAtMs' | 'assignedAtMs'
>;
export type LagOptions = {
  source: () => Pick<SourceFacts, 'assigned'>;
  partitions: () => readonly Of[];
  clock?: () => number;
};

export function createLag({ source, partitions, clock = Date.now }: LagOptions): Lag {
  let seenWithoutLagMs = new Map<string, number>();

  return {
    look() {
      const now = clock();
      const before = seenWithoutLagMs;
      seenWithoutLagMs = new Map();
      for (const { key, records } of assigned()) {
        const at = records === 0 ? now : before.get(key);
        if (at !== undefined) seenWithoutLagMs.set(key, at);
      }
    },
    facts: () =>
      assigned().map(({ key, of, records }) => {
        const ms = records === 0 ? 0 : clock() - notBehindMs(key, of);
        return { topic: of.topic, partition: of.partition, records, seconds: Math.max(0, ms) / 1_000 };
      }),
  };

  /** The newest moment of which it is known that all before it was saved (L2). */
  function notBehindMs(key: string, of: Of): number {
    const { savedRecordMs, savedAtMs, assignedAtMs } = of;
    // Never later than the save itself, whatever the producer's clock said.
    const savedUpToMs = savedRecordMs === null || savedAtMs === null ? undefined : Math.min(savedRecordMs, savedAtMs);
    const at = withoutLagMs(key, of);
    return at === undefined ? (savedUpToMs ?? assignedAtMs) : Math.max(at, savedUpToMs ?? at);
  }

  function withoutLagMs(key: string, { caughtUpAtMs }: Of): number | undefined {
    const moments = [seenWithoutLagMs.get(key), caughtUpAtMs ?? undefined].filter((at) => at !== undefined);
    return moments.length === 0 ? undefined : Math.max(...moments);
  }

  function assigned(): { key: string; of: Of; records: number }[] {
    const known = new Map(partitions().map((of) => [`${of.topic}/${of.partition}`, of]));
    return source().assigned.flatMap(({ topic, partition, highWatermark, empty }) => {
      const key = `${topic}/${partition}`;
      const of = known.get(key);
      if (of === undefined || of.next === null || highWatermark === null) return [];
      const next = empty !== undefined && of.next >= empty.from && empty.to > of.next ? empty.to : of.next;
      const records = highWatermark > next ? Number(highWatermark - next) : 0;
      return [{ key, of, records }];
    });
  }
}
