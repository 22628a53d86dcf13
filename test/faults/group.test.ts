// Two owners, for real: processes of one group join, leave and are paused under load. Each event counts once.
import { describe, expect } from 'vitest';
import { expectAllArrived, FLOOD, handled, pour, SETTINGS } from '../support/flood.ts';
import { startProcess } from '../support/process.ts';
import { test, until, type World } from '../support/world.ts';

/** Of which partitions a process was the last to save. */
async function ownedBy(world: World, { pid }: { pid: number }): Promise<number> {
  const rows = await world.sql`select 1 from positions where topic = ${world.topic} and owner like ${`%-${pid}-%`}`;
  return rows.length;
}

describe('two processes in one group', () => {
  test('one joins under load, and leaves again by SIGTERM: the partitions are split, none counts twice', async ({
    world,
  }) => {
    const settings = { ...world.settings, ...SETTINGS };
    await world.createTopic(4);
    const first = startProcess(settings);
    await first.says('started');
    const pouring = pour(world, FLOOD);
    await until(async () => expect(await handled(world)).toBeGreaterThan(500), 30_000);

    const second = startProcess(settings);
    await second.says('started');
    // Whatever is left to do is done by both.
    const more = pour(world, FLOOD);
    await until(async () => {
      expect(await ownedBy(world, first)).toBe(2);
      expect(await ownedBy(world, second)).toBe(2);
    }, 30_000);

    const at = performance.now();
    second.signal('SIGTERM');
    expect(await second.ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - at).toBeLessThan(10_000);
    expect(second.lines.map(({ msg }) => msg)).toContain('stopped');
    await Promise.all([pouring, more]);
    await until(async () => expect(await ownedBy(world, first)).toBe(4), 30_000);

    // Every event of the second pouring is the same as one of the first.
    const total = FLOOD.users * FLOOD.each;
    await until(async () => expect(await handled(world)).toBe(2 * (total + 10)), 60_000);
    expect(await world.sql`select distinct version from users`).toEqual([{ version: 2 * FLOOD.each }]);
    await world.expectSound();
    first.signal('SIGTERM');
    expect(await first.ended).toEqual({ code: 0, signal: null });
  }, 120_000);
});

describe('a paused owner', () => {
  test('paused inside its transaction: the other one takes over in time, and it saves nothing when it wakes up', async ({
    world,
  }) => {
    const settings = { ...world.settings, ...SETTINGS };
    await world.createTopic(1);
    const paused = startProcess(settings);
    await paused.says('started');
    await world.produce([]); // connects the producer
    const pouring = pour(world, { users: 100, each: 40 });
    await until(async () => expect(await handled(world)).toBeGreaterThan(50), 30_000);

    // Its statements wait for this lock; once they have it, nobody is there to send the COMMIT.
    const block = await world.blockSaves(world.topic);
    await block.reached();
    paused.signal('SIGSTOP');
    await block.release();
    const [before] = await world.sql`select next_offset::int as next from positions`;

    const other = startProcess(settings);
    await until(async () => expect(await ownedBy(world, other)).toBe(1), 30_000);
    const [after] = await world.sql`select next_offset::int as next from positions`;
    expect(after?.next).toBeGreaterThan(before?.next);

    paused.signal('SIGCONT');
    await pouring;
    await expectAllArrived(world, { users: 100, each: 40 });
    // It is well again: both stop in order.
    for (const service of [paused, other]) {
      service.signal('SIGTERM');
      expect(await service.ended).toEqual({ code: 0, signal: null });
    }
  }, 120_000);
});
