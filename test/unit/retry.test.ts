import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { CONFLICT, INFRASTRUCTURE, inTime, sleep, waitMs } from '../../src/retry.ts';

const { random } = Math;
afterEach(() => {
  Math.random = random;
  vi.useRealTimers();
});
/** The wait without jitter. */
function flat(budget: { firstMs: number; longestMs: number }, attempt: number): number {
  Math.random = () => 0.5;
  return waitMs(budget, attempt);
}

describe('how long to wait', () => {
  test('Postgres away: 100 ms, doubling, 5 s at most, for ever', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 8, 1_000_000].map((attempt) => flat(INFRASTRUCTURE, attempt));
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
  });

  test('somebody was faster: 10 ms apart, 50 ms at most', () => {
    expect([1, 2, 3, 4, 20].map((attempt) => flat(CONFLICT, attempt))).toEqual([10, 20, 40, 50, 50]);
    expect(CONFLICT.tries).toBe(20);
  });

  test('a quarter more or less, so that rivals do not march in step', () => {
    Math.random = () => 0;
    expect(waitMs(INFRASTRUCTURE, 1)).toBe(75);
    Math.random = () => 0.999_999;
    expect(waitMs(INFRASTRUCTURE, 1)).toBeCloseTo(125, 2);
  });
});

describe('sleep', () => {
  beforeEach(() => void vi.useFakeTimers());

  test('lasts as long as said', async () => {
    const woken = vi.fn();
    const slept = sleep(100).then(woken);
    await vi.advanceTimersByTimeAsync(99);
    expect(woken).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await slept;
    expect(woken).toHaveBeenCalled();
  });

  test('ends at once when it is told to stop, and leaves no timer behind', async () => {
    const stopping = new AbortController();
    const slept = sleep(60_000, stopping.signal);
    stopping.abort();
    await slept;
    expect(vi.getTimerCount()).toBe(0);
  });

  test('does not begin when it was stopped before', async () => {
    await sleep(60_000, AbortSignal.abort());
    expect(vi.getTimerCount()).toBe(0);
  });

  test('leaves no listener behind on a signal that lives as long as the process', async () => {
    const { signal } = new AbortController();
    const removed = vi.spyOn(signal, 'removeEventListener');
    const slept = sleep(10, signal);
    await vi.advanceTimersByTimeAsync(10);
    await slept;
    expect(removed).toHaveBeenCalledTimes(1);
  });
});

describe('an attempt that never ends', () => {
  test('is given up like a lost connection, and its late answer is nobody’s', async () => {
    vi.useFakeTimers();
    const { promise, resolve } = Promise.withResolvers<string>();
    const attempt = expect(inTime(promise, 1_000)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await vi.advanceTimersByTimeAsync(1_000);
    await attempt;
    resolve('late');
    vi.useRealTimers();
  });

  test('in time it is what it is', async () => {
    expect(await inTime(Promise.resolve('saved'), 1_000)).toBe('saved');
    await expect(inTime(Promise.reject(new Error('no')), 1_000)).rejects.toThrow('no');
  });
});
