// position.ts — what a delivered batch means, given the saved position: pure arithmetic about replays and gaps.
//
// Owns:          the table below. Does not own: reading the position, seeking, halting (partitions.ts, the source).
//
//   fetched = next                          contiguous: process
//   fetched < next                          re-delivery: drop the records below, process the rest from next
//   fetched > next, up to what was skipped  the log held no data there (markers, compaction): process
//   fetched > next otherwise                somebody moved the reader: fetch again at next; twice running: halt
import type { SourceRecord } from './events.ts';

export type Delivered = {
  fetchedOffset: bigint;
  /** How far the source knows the log to be empty below `fetchedOffset`, counted from the position it last had. */
  skippedFrom: bigint;
  records: readonly SourceRecord[];
  lastOffset: bigint;
};

export type Verdict =
  | { what: 'process'; records: readonly SourceRecord[]; from: bigint; to: bigint; replayed: number }
  /** All of it was saved before: nothing to do but go on at `next`. */
  | { what: 'replayed'; next: bigint; replayed: number }
  | { what: 'seek'; next: bigint };

/** `next`: the saved position. Never throws. Rule: docs/architecture.md, "The fence". */
export function judge(batch: Delivered, next: bigint): Verdict {
  const to = batch.lastOffset + 1n;
  if (next >= to)
    return next === to ? { what: 'replayed', next, replayed: batch.records.length } : { what: 'seek', next };
  if (batch.fetchedOffset > next && batch.skippedFrom > next) return { what: 'seek', next };
  const records = batch.records.filter((record) => record.offset >= next);
  return { what: 'process', records, from: next, to, replayed: batch.records.length - records.length };
}

/** The first part of what is to be processed, at most `limit` records; what is left is processed after its save. */
export function portion(
  verdict: Extract<Verdict, { what: 'process' }>,
  limit: number,
): Extract<Verdict, { what: 'process' }> {
  const last = verdict.records[limit - 1];
  if (last === undefined || limit >= verdict.records.length) return verdict;
  return { ...verdict, records: verdict.records.slice(0, limit), to: last.offset + 1n };
}

/** What the log says of an assigned partition, against its saved row. */
export type Log = { clusterId: string; logStart: bigint; logEnd: bigint };

/** May a partition start at its saved position? A reason to halt, in words, with what to do; undefined: yes.
 *  A topic that was made anew in the same cluster and grew past the position is not seen here. */
export function judgeStart({ next, clusterId }: { next: bigint; clusterId: string }, log: Log): string | undefined {
  if (clusterId !== log.clusterId)
    return `cluster: the position was saved for the log of ${clusterId}, this is ${log.clusterId}. Point the service at the right cluster.`;
  if (next < log.logStart)
    return `lost: offsets ${next} to ${log.logStart - 1n} are not in the log any more (retention, deleted records). Restore them or accept the loss.`;
  if (next > log.logEnd)
    return `truncated: the log ends at ${log.logEnd}, the position is ${next}. The topic was re-created or truncated: restore it.`;
  return undefined;
}
