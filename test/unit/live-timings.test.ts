import { describe, expect, test } from 'vitest';
import { createTimings } from '../../src/api/timings.ts';
import type { Work } from '../../src/pipeline.ts';
import type { Ran } from '../../src/run.ts';
import { at } from '../support/records.ts';

const NOW = Date.UTC(2025, 0, 31);

/** A pipeline that takes `ms` for each batch. */
function setup() {
  const world = { lapMs: 0, ms: 10, fails: false };
  const timings = createTimings({ clock: () => NOW, lap: () => world.lapMs });
  const ran = {} as Ran;
  const handle = timings.around(async () => {
    world.lapMs += world.ms;
    if (world.fails) throw new Error('not saved');
    return ran;
  });
  /** A batch whose records are `ages` ms old; null: without a timestamp. */
  const batch = (...ages: (number | null)[]): Work => ({
    ...{ place: at('user-events'), source: 'user-events/0', from: 0n, to: BigInt(ages.length), leaderEpoch: null },
    records: ages.map((age, i) => ({
      ...{ offset: BigInt(i), timestampMs: age === null ? -1 : NOW - age, key: null, value: null, headers: [] },
    })),
  });
  return { world, timings, handle, batch, ran };
}
const within5 = (value: number) => ({
  asymmetricMatch: (is: number) => Math.abs(is / value - 1) < 0.06,
  toString: () => `${value} ± 5 %`,
});

describe('how long it took', () => {
  test('nothing was saved: nothing is known', () => {
    expect(setup().timings.take()).toEqual({ delayMs: null, batchMs: null, batchRecords: null });
  });

  test('percentiles of the batches, and of the events by how many there are', async () => {
    const { world, timings, handle, batch } = setup();
    for (let n = 1; n <= 100; n++) {
      world.ms = n;
      await handle(n === 1 ? batch(...Array(900).fill(50)) : batch(4_000));
    }
    expect(timings.take()).toMatchObject({
      batchMs: { p50: within5(50), p95: within5(95), p99: within5(99) },
      delayMs: { p50: within5(50), p95: within5(4_000), p99: within5(4_000) },
      batchRecords: 9.99,
    });
  });

  test('the records of a large batch are told by a few of them, from its oldest to its newest', async () => {
    const { timings, handle, batch } = setup();
    await handle(batch(...Array.from({ length: 1_000 }, (_, i) => 10_000 - 10 * i)));
    const { delayMs } = timings.take();
    expect(delayMs?.p50).toBeGreaterThan(4_000);
    expect(delayMs?.p50).toBeLessThan(6_000);
    expect(delayMs?.p99).toBeGreaterThan(9_000);
  });

  test('each only once: what was taken is forgotten', async () => {
    const { timings, handle, batch } = setup();
    await handle(batch(5));
    timings.take();
    expect(timings.take()).toEqual({ delayMs: null, batchMs: null, batchRecords: null });
  });

  test('what was not saved has taken no time; the answer and the error are those of the pipeline', async () => {
    const { world, timings, handle, batch, ran } = setup();
    expect(await handle(batch(5))).toBe(ran);
    timings.take();
    world.fails = true;
    await expect(handle(batch(5))).rejects.toThrow('not saved');
    expect(timings.take().batchMs).toBeNull();
  });

  test('a record without a timestamp, from the future, or of last year does no harm', async () => {
    const { timings, handle, batch } = setup();
    await handle(batch(null));
    expect(timings.take()).toMatchObject({ delayMs: null, batchRecords: 1 });
    await handle(batch(-5_000));
    expect(timings.take().delayMs?.p99).toBeLessThanOrEqual(0.1);
    await handle(batch(365 * 24 * 3_600_000));
    expect(timings.take().delayMs?.p50).toEqual(within5(365 * 24 * 3_600_000));
    await handle(batch(NOW));
    expect(timings.take().delayMs?.p50).toBeGreaterThan(700 * 24 * 3_600_000);
  });
});
