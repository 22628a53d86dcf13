import { describe, expect, test } from 'vitest';
import { between, createWindow, outcomesIn, type Reading } from '../../src/api/rates.ts';

const AT_MS = Date.UTC(2025, 0, 31);
const ACTIVATE = 'pending|USER_STATUS_CHANGED|0';

function reading(seconds: number, tallies: Reading['tallies'], positions: Record<string, bigint> = {}): Reading {
  return { atMs: AT_MS + seconds * 1_000, tallies, positions: new Map(Object.entries(positions)) };
}

describe('rates', () => {
  test('are over the last 10 s: what happened before does not count', () => {
    const window = createWindow();
    window.add(reading(0, { records: 0 }));
    for (let s = 1; s <= 30; s++) window.add(reading(s / 2, { records: Math.min(s, 10) * 100 })); // until 5 s, then nothing
    expect(window.rates()).toMatchObject({ window: 10, records: 0 });
  });

  test('are per second, by outcome over all types, and by transition: those that moved', () => {
    const window = createWindow();
    window.add(
      reading(0, { records: 10, 'event|USER_CREATED|applied': 10, [`transition|${ACTIVATE}`]: 3, 'transition|x': 1 }),
    );
    window.add(
      reading(10, {
        ...{ records: 130, 'event|USER_CREATED|applied': 60, 'event|USER_DELETED|applied': 70, 'event|_OTHER|dead': 5 },
        ...{ [`transition|${ACTIVATE}`]: 28, 'transition|x': 1 },
      }),
    );
    const { records, outcomes, edges } = window.rates();
    expect(records).toBe(12);
    expect(outcomes).toEqual({ applied: 12, dead: 0.5, skipped: 0, duplicate: 0, stale: 0, rejected: 0, waiting: 0 });
    expect(edges).toEqual({ [ACTIVATE]: 2.5 });
  });

  test('of a drain: what waited and went counts as what it became, and a stock that shrinks has no rate', () => {
    const window = createWindow();
    window.add(reading(0, { 'event|USER_CREATED|waiting': 100 }));
    window.add(reading(10, { 'event|USER_CREATED|waiting': 0, 'event|USER_CREATED|applied': 100 }));
    expect(window.rates().outcomes).toMatchObject({ applied: 10, waiting: 0 });
  });

  test('are known after the second reading, over what there is', () => {
    const window = createWindow();
    expect(window.rates()).toMatchObject({ records: 0, edges: {} });
    window.add(reading(0, { records: 0 }));
    expect(window.rates()).toMatchObject({ records: 0 });
    window.add(reading(2, { records: 50 }));
    expect(window.rates()).toMatchObject({ window: 2, records: 25 });
  });

  test('begin anew when the database was restored to a former time', () => {
    const window = createWindow();
    window.add(reading(0, { records: 1_000 }));
    window.add(reading(5, { records: 400 }));
    expect(window.rates().records).toBe(0);
    window.add(reading(6, { records: 410 }));
    expect(window.rates().records).toBe(10);
  });

  test('of one partition; unknown as long as it was seen once', () => {
    const window = createWindow();
    window.add(reading(0, {}, { 'a/0': 100n }));
    window.add(reading(10, {}, { 'a/0': 2n ** 60n + 100n, 'a/1': 5n }));
    expect(window.rateOf('a/0')).toBe(2 ** 60 / 10);
    expect(window.rateOf('a/1')).toBeNull();
    expect(window.rateOf('b/0')).toBeNull();
  });
});

test('a sample is what happened between two readings', () => {
  const first = reading(0, { records: 10, 'event|USER_CREATED|applied': 9, 'event|USER_CREATED|waiting': 1 });
  const last = reading(5.02, { records: 30, 'event|USER_CREATED|applied': 30, 'event|USER_CREATED|waiting': 0 });
  expect(between(first, last)).toEqual({
    ...{ at: '2025-01-31T00:00:05.020Z', seconds: 5.02, records: 20 },
    outcomes: { ...outcomesIn({}), applied: 21 },
  });
});
