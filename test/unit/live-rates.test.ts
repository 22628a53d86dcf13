import { describe, expect, test } from 'vitest';
import { between, createWindow, outcomesIn, type Reading, usersIn } from '../../src/api/rates.ts';

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

describe('rates of a longer stretch', () => {
  /** A reading every half second, or every 5 s where nobody looks: 100 records and 3 activations a second. */
  function readings(window: ReturnType<typeof createWindow>, from: number, to: number, every = 0.5) {
    for (let s = from; s <= to; s += every)
      window.add(reading(s, { records: s * 100, [`transition|${ACTIVATE}`]: s * 3 }));
  }

  test.each([60, 300, 900])('of the last %d s: what happened before does not count', (seconds) => {
    const window = createWindow();
    window.add(reading(0, { records: 0 }));
    window.add(reading(5, { records: 1_000_000, [`transition|${ACTIVATE}`]: 1_000_000 }));
    for (let s = 5; s <= 2_000; s += 0.5)
      window.add(reading(s, { records: 1_000_000 + s, [`transition|${ACTIVATE}`]: 1_000_000 + s }));
    const { window: of, records, edges } = window.rates(seconds);
    expect(of).toBeGreaterThan(seconds - 6);
    expect(of).toBeLessThanOrEqual(seconds);
    expect({ records, edges }).toEqual({ records: 1, edges: { [ACTIVATE]: 1 } });
  });

  test('is never longer than a quarter of an hour, whatever is asked for: no more is remembered', () => {
    const window = createWindow();
    readings(window, 0, 3_000);
    expect(window.rates(86_400).window).toBeLessThanOrEqual(910);
  });

  test('is as long where nobody looks, and it is read every 5 s', () => {
    const window = createWindow();
    readings(window, 0.4, 1_000, 5);
    expect(window.rates(900)).toMatchObject({ window: 900, records: 100, edges: { [ACTIVATE]: 3 } });
    expect(window.rates(60)).toMatchObject({ window: 60, records: 100 });
  });

  test('with fewer readings than that: of what there is, which it says', () => {
    const window = createWindow();
    expect(window.rates(60)).toMatchObject({ window: 1, records: 0, edges: {} });
    readings(window, 100, 142);
    for (const seconds of [60, 300, 900])
      expect(window.rates(seconds)).toMatchObject({ window: 42, records: 100, edges: { [ACTIVATE]: 3 } });
    expect(window.rates()).toMatchObject({ window: 10 });
  });

  test('after a restart it begins anew: of nothing before the first reading, however large the totals are', () => {
    readings(createWindow(), 0, 900);
    const window = createWindow();
    readings(window, 905, 925);
    expect(window.rates(900)).toMatchObject({ window: 20, records: 100 });
  });

  test('of a database that was restored to a former time, what is remembered of later is dropped', () => {
    const window = createWindow();
    readings(window, 0, 500);
    for (let s = 501; s <= 541; s++) window.add(reading(s, { records: s, [`transition|${ACTIVATE}`]: 7 * s }));
    for (const seconds of [60, 900])
      expect(window.rates(seconds)).toMatchObject({ window: 40, records: 1, edges: { [ACTIVATE]: 7 } });
  });

  test('by a clock that was set back it begins anew: nothing is read in the future', () => {
    const window = createWindow();
    readings(window, 10_000, 10_100);
    for (let s = 0; s <= 30; s += 0.5) window.add(reading(s, { records: 2_000_000 + s * 50 }));
    expect(window.rates(900)).toMatchObject({ window: 30, records: 50 });
    expect(window.rates()).toMatchObject({ window: 10, records: 50 });
  });

  test('nothing was read for longer than that: no rate is told of another time', () => {
    const window = createWindow();
    readings(window, 0, 100);
    window.add(reading(700, { records: 1_000_000 }));
    expect(window.rates(300)).toMatchObject({ window: 1, records: 0 });
    window.add(reading(705, { records: 1_000_050 }));
    expect(window.rates(300)).toMatchObject({ window: 5, records: 10 });
    expect(window.rates(900).window).toBe(705);
  });
});

test('users by state: of those that have any', () => {
  expect(usersIn({ records: 9, 'state|active': 3, 'state|pending': 0, 'event|x|dead': 1 })).toEqual({ active: 3 });
});

test('a sample is what happened between two readings', () => {
  const first = reading(0, { records: 10, 'event|USER_CREATED|applied': 9, 'event|USER_CREATED|waiting': 1 });
  const last = reading(5.02, { records: 30, 'event|USER_CREATED|applied': 30, 'event|USER_CREATED|waiting': 0 });
  expect(between(first, last)).toEqual({
    ...{ at: '2025-01-31T00:00:05.020Z', seconds: 5.02, records: 20 },
    outcomes: { ...outcomesIn({}), applied: 21 },
  });
});
