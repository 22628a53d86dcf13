// Over how long the flow is, and how the users of a state developed, as the page tells it.
import { describe, expect, test } from 'vitest';
import { shorterThan, stretchInWords, stretchOf } from '../../console/src/machine/stretch.ts';
import { developed, lineThrough, type Point, pointsOf } from '../../console/src/machine/users-line.ts';
import type { Sample } from '../../src/api/contract.ts';

const AT_MS = Date.UTC(2025, 0, 31);
const MINUTE = 60_000;

describe('the stretch in the address', () => {
  test('is one of four; anything else is the shortest', () => {
    expect(['60', '300', '900', '10'].map(stretchOf)).toEqual([60, 300, 900, 10]);
    expect([undefined, '', '59', '060', 'x', '3600'].map(stretchOf)).toEqual([10, 10, 10, 10, 10, 10]);
  });
  test('has a name', () => {
    expect(([10, 60, 300, 900] as const).map(stretchInWords)).toEqual(['10 s', '1 min', '5 min', '15 min']);
  });
  test('is said as it truly is where the service is not that old', () => {
    expect(shorterThan(60, { window: 42 })).toBe('42 s');
    expect(shorterThan(900, { window: 250 })).toBe('4 min');
    expect(shorterThan(60, { window: 3 })).toBe('3 s');
  });
  test('and not where it is about as long: of former readings, one in 5 s is remembered', () => {
    expect([
      shorterThan(60, { window: 55 }),
      shorterThan(900, { window: 895 }),
      shorterThan(10, { window: 10 }),
    ]).toEqual([undefined, undefined, undefined]);
    expect(shorterThan(60, undefined)).toBeUndefined();
  });
});

/** One every 5 s; users in one of three, as the service sends them. */
const samples = (active: readonly number[], { from = 0 } = {}): Sample[] =>
  active.flatMap((n, i) =>
    [0, 5, 10].map(
      (s) =>
        ({
          at: new Date(AT_MS + (from + i * 15 + s) * 1_000).toISOString(),
          ...(s === 0 && { counts: n === 0 ? {} : { active: n } }),
        }) as Sample,
    ),
  );
const points = (...users: number[]): Point[] => users.map((n, i) => ({ atMs: AT_MS + i * MINUTE, users: n }));

describe('the users of a state', () => {
  test('are those of the samples that have them, then those of now; a state that is not named has none', () => {
    expect(pointsOf('active', samples([3, 0]), { active: 5 })).toEqual([
      { atMs: AT_MS, users: 3 },
      { atMs: AT_MS + 15_000, users: 0 },
      { atMs: AT_MS + 25_000, users: 5 },
    ]);
    expect(pointsOf('active', samples([3]).slice(0, 1), { active: 4 })).toEqual([{ atMs: AT_MS, users: 4 }]);
    expect(pointsOf('active', [], { active: 4 })).toEqual([]);
  });
  test('are those of a quarter of an hour', () => {
    const found = pointsOf('active', samples(Array.from({ length: 66 }, (_, i) => i)), { active: 66 });
    expect((found.at(-1)?.atMs ?? 0) - (found[0]?.atMs ?? 0)).toBeLessThanOrEqual(15 * MINUTE);
    expect(found[0]?.users).toBe(6);
    expect(found.at(-1)?.users).toBe(66);
  });
  test('are told in a sentence', () => {
    expect(developed(points(1_204, ...Array.from({ length: 11 }, () => 1_250), 1_310))).toBe(
      'from 1,204 to 1,310 in 12 min',
    );
    expect(developed(points(5, 9, 5))).toBe('from 5 to 5 in 2 min, between 5 and 9');
    expect(developed(points(7, 2, 9, 8))).toBe('from 7 to 8 in 3 min, between 2 and 9');
    expect(developed(points(4, 4, 4))).toBe('4 all the time, for 2 min');
    expect([developed(points(4)), developed([])]).toEqual([undefined, undefined]);
  });
});

describe('the line', () => {
  const SIZE = { width: 300, height: 40 };
  test('goes from the left to the right border, with the most at the top and the least at the bottom', () => {
    const quarter = [0, 15, 30].map((s, i) => ({ atMs: AT_MS + s * 1_000, users: [10, 30, 20][i] as number }));
    expect(lineThrough(quarter, SIZE)).toBe('M0 40L150 0L300 20');
  });
  test('lies in the middle where nothing changes', () => {
    const still = [0, 15].map((s) => ({ atMs: AT_MS + s * 1_000, users: 88_412 }));
    expect(lineThrough(still, SIZE)).toBe('M0 20L300 20');
  });
  test('has a gap where nothing was measured', () => {
    const late = [0, 15, 135, 150].map((s, i) => ({ atMs: AT_MS + s * 1_000, users: i }));
    expect(lineThrough(late, SIZE)).toMatch(/^M[^M]*L[^M]*M[^M]*L[^M]*$/);
  });
  test('of fewer than two points is none', () => {
    expect([lineThrough(points(3), SIZE), lineThrough([], SIZE)]).toEqual(['', '']);
  });
});
