// After a crash: kill -9 in the middle of a load, again and again. Nothing is lost, nothing counts twice.
import { describe, expect } from 'vitest';
import { dice, expectAllArrived, FLOOD, handled, pour, SETTINGS } from '../support/flood.ts';
import { startProcess } from '../support/process.ts';
import { test, until } from '../support/world.ts';

const SEED = Number(process.env.SEED ?? 20_250_131);
describe('kill -9', () => {
  test(`three times while 20,000 events arrive (SEED=${SEED})`, async ({ world }) => {
    const settings = { ...world.settings, ...SETTINGS };
    const between = dice(SEED);
    await world.createTopic(4);
    let service = startProcess(settings);
    await service.says('started');
    const pouring = pour(world, FLOOD);
    for (const part of [0.1, 0.4, 0.7]) {
      const total = FLOOD.users * FLOOD.each;
      const killAt = between(part * total, (part + 0.15) * total);
      await until(async () => expect(await handled(world)).toBeGreaterThan(killAt), 40_000);
      service.signal('SIGKILL');
      expect(await service.ended).toEqual({ code: null, signal: 'SIGKILL' });
      expect(await handled(world)).toBeLessThan(total); // it was in the middle
      service = startProcess(settings);
    }
    await pouring;
    await expectAllArrived(world, FLOOD);
  }, 120_000);
});
