// lag.ts — how far this process is behind on each of its partitions: in records, and in seconds.
//
// Owns:          when a partition was last seen without lag.
// Does not own:  the log's end (the source), the position (partitions.ts), what follows from it (health.ts, metrics).
//
// L1  Records: the log's end as last known, minus the saved position; what Kafka was told (commits) does not count.
// L2  Seconds: since the newest moment without lag, of the looks and of the saves that reached the end. Where there was
//     none: the age of the last saved record, else the time since the assignment. It grows while nothing is saved.
// L3  Only what is assigned now is in it, and what is not yet known (no position, no end) is left out.
import type { PartitionFacts } from './partitions.ts';
import type { SourceFacts, TopicPartition } from './sources/source.ts';

export type LagFacts = TopicPartition & { records: number; seconds: number };
export type Lag = {
  /** To be called every few seconds: a partition without new records has no other moment to be seen without lag. */
  look(): void;
  facts(): LagFacts[];
};
type Of = Pick<PartitionFacts, 'topic' | 'partition' | 'next' | 'savedRecordMs' | 'caughtUpAtMs' | 'assignedAtMs'>;
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
        const ms = records === 0 ? 0 : clock() - (withoutLagMs(key, of) ?? of.savedRecordMs ?? of.assignedAtMs);
        return { topic: of.topic, partition: of.partition, records, seconds: Math.max(0, ms) / 1_000 };
      }),
  };

  function withoutLagMs(key: string, { caughtUpAtMs }: Of): number | undefined {
    const moments = [seenWithoutLagMs.get(key), caughtUpAtMs ?? undefined].filter((at) => at !== undefined);
    return moments.length === 0 ? undefined : Math.max(...moments);
  }

  function assigned(): { key: string; of: Of; records: number }[] {
    const known = new Map(partitions().map((of) => [`${of.topic}/${of.partition}`, of]));
    return source().assigned.flatMap(({ topic, partition, highWatermark }) => {
      const key = `${topic}/${partition}`;
      const of = known.get(key);
      if (of === undefined || of.next === null || highWatermark === null) return [];
      const records = highWatermark > of.next ? Number(highWatermark - of.next) : 0;
      return [{ key, of, records }];
    });
  }
}
