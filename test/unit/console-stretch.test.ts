// Over how long the flow is, and how the users of a state developed, as the page tells it.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { link } from '../../console/src/live.ts';
import { flowOf, follow, shorterThan, stretchInWords, stretchOf } from '../../console/src/machine/stretch.ts';
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

describe('the flow of a longer stretch', () => {
  type Question = { left: boolean; answer: (records: number) => Promise<unknown>; fail: () => Promise<unknown> };
  const questions: Question[] = [];
  const become = (is: 'open' | 'away') => {
    link.value = { is, sinceMs: Date.now() };
  };
  const pass = (s: number) => vi.advanceTimersByTimeAsync(s * 1_000);
  const shown = () => flowOf(60).value?.records;
  const isOpen = () => questions.filter(({ left }) => !left);
  let end: (() => void) | undefined;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('fetch', (_: string, { signal }: { signal: AbortSignal }) => {
      const { promise, resolve, reject } = Promise.withResolvers<Response>();
      const over = async (settle: () => void) => {
        question.left = true;
        settle();
        await pass(0);
      };
      const question: Question = {
        left: false,
        answer: (records) => over(() => resolve(Response.json({ flow: { window: 60, records } }))),
        fail: () => over(() => reject(new TypeError('network'))),
      };
      signal.addEventListener('abort', () => void over(() => reject(signal.reason)));
      questions.push(question);
      return promise;
    });
    become('open');
    end = follow(60);
  });
  afterEach(() => {
    end?.();
    questions.length = 0;
    become('away');
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  test('is asked for every 5 s, and stays until the next answer comes', async () => {
    await questions[0]?.answer(1);
    expect(shown()).toBe(1);
    await pass(5);
    expect([questions.length, shown()]).toEqual([2, 1]);
    await questions[1]?.answer(2);
    expect(shown()).toBe(2);
  });

  test('is unknown where the answer takes longer; it is waited for, with no other question beside it', async () => {
    await questions[0]?.answer(1);
    await pass(5);
    await pass(4);
    expect(shown()).toBe(1);
    await pass(1);
    expect(shown()).toBeUndefined();
    await pass(10);
    expect([questions.length, isOpen().length]).toEqual([2, 1]);
    await questions[1]?.answer(2);
    expect(shown()).toBe(2);
    await pass(5);
    expect(questions).toHaveLength(3);
  });

  test('is asked for anew where no answer comes at all; one that comes late is not shown', async () => {
    await pass(29);
    expect(questions).toHaveLength(1);
    await pass(1);
    expect([questions.length, isOpen().length]).toEqual([2, 1]);
    await questions[0]?.answer(1);
    await pass(5);
    expect([questions.length, shown()]).toEqual([2, undefined]);
    await questions[1]?.answer(2);
    expect(shown()).toBe(2);
  });

  test('is unknown where it can not be had', async () => {
    await questions[0]?.answer(1);
    await pass(5);
    await questions[1]?.fail();
    expect(shown()).toBeUndefined();
  });

  test('is not asked for while the service is away, and is unknown when it is back until it has been asked', async () => {
    await questions[0]?.answer(1);
    become('away');
    await pass(60);
    expect([questions.length, shown()]).toEqual([1, 1]); // drawn grey
    become('open');
    expect([questions.length, shown()]).toEqual([2, undefined]);
  });

  test('is asked for once however many show it, and no more when the last one has gone', async () => {
    const second = follow(60);
    expect(questions).toHaveLength(1);
    end?.();
    end = second;
    await questions[0]?.answer(1);
    await pass(5);
    expect([questions.length, shown()]).toEqual([2, 1]);
    second?.();
    end = undefined;
    expect([isOpen().length, shown()]).toEqual([0, undefined]);
    await pass(60);
    expect(questions).toHaveLength(2);
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
