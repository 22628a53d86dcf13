// Lists of numbers: what a delivered batch means, given the saved position.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { SourceRecord } from '../../src/events.ts';
import { type Delivered, judge, judgeStart, portion } from '../../src/position.ts';

const record = (offset: bigint): SourceRecord => ({ offset, timestampMs: -1, key: null, value: null, headers: [] });
/** Offsets that hold data; the batch was asked for at `fetched` and ends at `last`. */
function batch(
  offsets: readonly number[],
  { fetched = offsets[0] ?? 0, last, skipped }: { fetched?: number; last?: number; skipped?: number } = {},
): Delivered {
  return {
    ...{ fetchedOffset: BigInt(fetched), skippedFrom: BigInt(skipped ?? fetched) },
    lastOffset: BigInt(last ?? offsets.at(-1) ?? fetched),
    records: offsets.map((offset) => record(BigInt(offset))),
  };
}
/** "process 3 4 → 5, 2 replayed": the records, the position after it. */
function says(delivered: Delivered, next: number): string {
  const verdict = judge(delivered, BigInt(next));
  if (verdict.what !== 'process') return `${verdict.what} → ${verdict.next}`;
  expect(verdict.from).toBe(BigInt(next));
  const offsets = verdict.records.map(({ offset }) => offset);
  return `process ${offsets.join(' ')} → ${verdict.to}, ${verdict.replayed} replayed`;
}

describe('a batch', () => {
  test.each<[string, Delivered, number, string]>([
    ['contiguous', batch([3, 4, 5]), 3, 'process 3 4 5 → 6, 0 replayed'],
    ['the first of all', batch([0]), 0, 'process 0 → 1, 0 replayed'],
    ['holes inside it: markers, compaction', batch([3, 7, 9]), 3, 'process 3 7 9 → 10, 0 replayed'],
    ['holes at its end', batch([3, 4], { last: 8 }), 3, 'process 3 4 → 9, 0 replayed'],
    ['a hole at its beginning', batch([5, 6], { fetched: 3 }), 3, 'process 5 6 → 7, 0 replayed'],
    ['no data at all: markers only', batch([], { fetched: 3, last: 6 }), 3, 'process  → 7, 0 replayed'],

    ['re-delivered in part', batch([3, 4, 5]), 4, 'process 4 5 → 6, 1 replayed'],
    ['re-delivered but its last', batch([3, 4, 5]), 5, 'process 5 → 6, 2 replayed'],
    ['re-delivered, what is left holds no data', batch([3, 4], { last: 8 }), 6, 'process  → 9, 2 replayed'],
    ['re-delivered whole', batch([3, 4, 5]), 6, 'replayed → 6'],
    ['re-delivered whole, holes at its end', batch([3, 4], { last: 8 }), 9, 'replayed → 9'],
    ['re-delivered from far back: fetch again at the position', batch([3, 4, 5]), 7, 'seek → 7'],

    [
      'beyond, and the log is known to be empty between',
      batch([9, 10], { skipped: 4 }),
      4,
      'process 9 10 → 11, 0 replayed',
    ],
    [
      'beyond, known to be empty from before the position',
      batch([9, 10], { skipped: 2 }),
      4,
      'process 9 10 → 11, 0 replayed',
    ],
    ['beyond, known to be empty from behind the position only', batch([9, 10], { skipped: 5 }), 4, 'seek → 4'],
    ['beyond, unexplained: somebody moved the reader', batch([9, 10]), 4, 'seek → 4'],
    ['one beyond', batch([5]), 4, 'seek → 4'],
    ['empty and behind', batch([], { fetched: 3, last: 2 }), 3, 'replayed → 3'],
    [
      'beyond 2^53',
      { ...batch([]), fetchedOffset: 2n ** 60n, skippedFrom: 2n ** 60n, lastOffset: 2n ** 60n },
      4,
      'seek → 4',
    ],
  ])('%s', (_, delivered, next, expected) => {
    expect(says(delivered, next)).toBe(expected);
  });

  test('what is processed begins at the position, ends with the batch, and leaves out nothing above', () => {
    const offsets = fc.uniqueArray(fc.nat(30), { maxLength: 12 }).map((list) => list.sort((a, b) => a - b));
    const some = fc.record({ offsets, before: fc.nat(3), behind: fc.nat(3), skipped: fc.nat(3), next: fc.nat(35) });
    fc.assert(
      fc.property(some, ({ offsets, before, behind, skipped, next }) => {
        const fetched = Math.max(0, (offsets[0] ?? 0) - before);
        const last = (offsets.at(-1) ?? fetched) + behind;
        const verdict = judge(batch(offsets, { fetched, last, skipped: Math.max(0, fetched - skipped) }), BigInt(next));
        if (verdict.what === 'seek') {
          expect(next > last + 1 || next < fetched).toBe(true);
          return;
        }
        if (verdict.what === 'replayed') {
          expect(next).toBe(last + 1);
          return;
        }
        expect([verdict.from, verdict.to]).toEqual([BigInt(next), BigInt(last + 1)]);
        expect(verdict.records.map(({ offset }) => Number(offset))).toEqual(offsets.filter((offset) => offset >= next));
        expect(verdict.replayed + verdict.records.length).toBe(offsets.length);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a batch in portions', () => {
  const verdictOf = (offsets: readonly number[], last: number) => {
    const verdict = judge(batch(offsets, { last }), BigInt(offsets[0] as number));
    if (verdict.what !== 'process') throw new Error('not to be processed');
    return verdict;
  };

  test.each([
    [[3, 4, 5], 5, 2, [3, 4], 5],
    [[3, 7, 9], 12, 2, [3, 7], 8],
    [[3, 7, 9], 12, 1, [3], 4],
    [[3, 7, 9], 12, 3, [3, 7, 9], 13],
    [[3, 7, 9], 12, 99, [3, 7, 9], 13],
  ])('of %j up to %i, at most %i: %j, then at %i', (offsets, last, limit, records, to) => {
    const part = portion(verdictOf(offsets, last), limit);
    expect(part.records.map(({ offset }) => Number(offset))).toEqual(records);
    expect([part.from, part.to]).toEqual([BigInt(offsets[0] as number), BigInt(to)]);
  });

  test('without records there is nothing to divide', () => {
    const verdict = { what: 'process', records: [], from: 3n, to: 7n, replayed: 0 } as const;
    expect(portion(verdict, 1)).toBe(verdict);
  });

  test('one after the other they are the whole', () => {
    const offsets = fc
      .uniqueArray(fc.nat(40), { minLength: 1, maxLength: 20 })
      .map((list) => list.sort((a, b) => a - b));
    fc.assert(
      fc.property(offsets, fc.nat(3), fc.integer({ min: 1, max: 6 }), (offsets, behind, limit) => {
        const delivered = batch(offsets, { last: (offsets.at(-1) as number) + behind });
        const seen: bigint[] = [];
        let next = BigInt(offsets[0] as number);
        for (let verdict = judge(delivered, next); verdict.what === 'process'; verdict = judge(delivered, next)) {
          const part = portion(verdict, limit);
          expect(part.records.length).toBeLessThanOrEqual(limit);
          expect(part.to).toBeGreaterThan(next);
          seen.push(...part.records.map(({ offset }) => offset));
          next = part.to;
        }
        expect(seen).toEqual(offsets.map(BigInt));
        expect(next).toBe(delivered.lastOffset + 1n);
      }),
    );
  });
});

describe('a partition that was assigned', () => {
  const log = { clusterId: 'k1', logStart: 10n, logEnd: 20n };
  const starts = (next: bigint, clusterId = 'k1') => judgeStart({ next, clusterId }, log);

  test.each([10n, 11n, 19n, 20n])('may start at %s of 10 to 20', (next) => {
    expect(starts(next)).toBeUndefined();
  });

  test('data was lost below the log’s start: halts, naming exactly what', () => {
    expect(starts(7n)).toMatch(/^lost: offsets 7 to 9 are not in the log any more/);
    expect(starts(9n)).toMatch(/^lost: offsets 9 to 9 /);
  });

  test('the log ends before the position: halts', () => {
    expect(starts(21n)).toMatch(/^truncated: the log ends at 20, the position is 21\./);
  });

  test('it is another cluster’s log: halts, whatever the numbers', () => {
    expect(starts(15n, 'k0')).toMatch(/^cluster: the position was saved for the log of k0, this is k1\./);
    expect(starts(7n, 'k0')).toMatch(/^cluster:/);
  });
});
