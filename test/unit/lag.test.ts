import { describe, expect, test } from 'vitest';
import { createLag, type LagOptions } from '../../src/lag.ts';

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const START = Date.UTC(2025, 0, 31);
type Assigned = ReturnType<LagOptions['source']>['assigned'][number];
type Partition = ReturnType<LagOptions['partitions']>[number];

/** One partition, assigned a moment ago, at the end of its log. */
function setup() {
  const place = { topic: 'user-events', partition: 3 };
  const world = {
    now: START,
    assigned: [{ ...place, highWatermark: 10n, paused: false }] as Assigned[],
    partitions: [
      { ...place, next: 10n, savedRecordMs: null, savedAtMs: null, caughtUpAtMs: null, assignedAtMs: START },
    ] as Partition[],
  };
  const lag = createLag({ source: () => world, partitions: () => world.partitions, clock: () => world.now });
  /** Time passes, with a look every 5 s. */
  const pass = (ms: number) => {
    for (const end = world.now + ms; world.now < end; ) {
      world.now += Math.min(5 * SECOND, end - world.now);
      lag.look();
    }
  };
  const source = (part: Partial<Assigned>) => Object.assign(world.assigned[0] as Assigned, part);
  const partition = (part: Partial<Partition>) => Object.assign(world.partitions[0] as Partition, part);
  const facts = () => lag.facts().map(({ records, seconds }) => [records, seconds]);
  return { world, lag, pass, source, partition, facts };
}

describe('lag in records', () => {
  test('the log’s end minus the saved position; never below 0', () => {
    const { lag, partition, facts } = setup();
    partition({ next: 4n });
    expect(lag.facts()).toMatchObject([{ topic: 'user-events', partition: 3, records: 6 }]);
    partition({ next: 12n }); // saved a batch that is newer than the last look at the end
    expect(facts()).toEqual([[0, 0]]);
  });

  test('what is not known yet is left out, not 0', () => {
    const { source, partition, facts } = setup();
    partition({ next: null });
    expect(facts()).toEqual([]);
    partition({ next: 4n });
    source({ highWatermark: null });
    expect(facts()).toEqual([]);
  });
});

describe('lag in seconds', () => {
  test('none without lag, however long nothing comes', () => {
    const { pass, facts } = setup();
    pass(2 * HOUR);
    expect(facts()).toEqual([[0, 0]]);
  });

  test('quiet for two hours, a record comes while it is halted: seconds count from the last look without lag', () => {
    const { pass, source, partition, facts } = setup();
    partition({ savedRecordMs: START, savedAtMs: START, caughtUpAtMs: START });
    pass(2 * HOUR);
    source({ highWatermark: 11n, paused: true });
    pass(10 * SECOND);
    expect(facts()).toEqual([[1, 10]]);
  });

  test('grows while it is stalled, falls to 0 when the end is reached', () => {
    const { pass, source, partition, facts, world } = setup();
    pass(5 * SECOND);
    source({ highWatermark: 15n });
    pass(60 * SECOND);
    expect(facts()).toEqual([[5, 60]]);
    pass(60 * SECOND);
    expect(facts()).toEqual([[5, 120]]);
    partition({ next: 15n, caughtUpAtMs: world.now });
    expect(facts()).toEqual([[0, 0]]);
  });

  test('a save that reached the end counts as a look', () => {
    const { pass, source, partition, facts, world } = setup();
    pass(5 * SECOND);
    source({ highWatermark: 15n });
    pass(60 * SECOND);
    partition({ next: 15n, caughtUpAtMs: world.now });
    world.now += 1 * SECOND;
    source({ highWatermark: 20n });
    expect(facts()).toEqual([[5, 1]]);
  });

  test('a busy partition that is never seen at the end is as far behind as its records are old', () => {
    const { world, source, partition, lag, facts } = setup();
    lag.look();
    for (let n = 1n; n <= 240n; n++) {
      world.now += 5 * SECOND;
      source({ highWatermark: 10n + n * 100n });
      partition({ next: n * 100n, savedRecordMs: world.now - 1 * SECOND, savedAtMs: world.now });
      lag.look();
    }
    expect(facts()).toEqual([[10, 1]]);
  });

  test('none for a log that ends with what holds no data: the position moves over it with the next record', () => {
    const { pass, source, facts } = setup();
    source({ highWatermark: 13n, empty: { from: 10n, to: 13n } });
    pass(60 * SECOND);
    expect(facts()).toEqual([[0, 0]]);
    source({ highWatermark: 15n });
    pass(10 * SECOND);
    expect(facts()).toEqual([[2, 10]]);
    source({ empty: { from: 11n, to: 15n } }); // of records behind the position it says nothing
    expect(facts()).toEqual([[5, 10]]);
  });

  test('a backlog from the start: as old as the last saved record, before that as long as it is assigned', () => {
    const { pass, source, partition, facts, world } = setup();
    source({ highWatermark: 100n });
    pass(30 * SECOND);
    expect(facts()).toEqual([[90, 30]]);
    partition({ next: 50n, savedRecordMs: world.now - 24 * HOUR, savedAtMs: world.now });
    expect(facts()).toEqual([[50, 24 * 3_600]]);
    partition({ savedRecordMs: world.now + 5 * SECOND }); // a producer's clock
    expect(facts()).toEqual([[50, 0]]);
  });
});

describe('only what is assigned', () => {
  test('a partition that was taken away is gone at once, wherever it is still known', () => {
    const { world, facts } = setup();
    const { assigned } = world;
    world.assigned = [];
    expect(facts()).toEqual([]);
    Object.assign(world, { assigned, partitions: [] });
    expect(facts()).toEqual([]);
  });

  test('when it comes back, what was seen before counts no more', () => {
    const { world, pass, source, facts, partition } = setup();
    pass(HOUR);
    const { assigned } = world;
    world.assigned = [];
    pass(HOUR);
    world.assigned = assigned;
    source({ highWatermark: 11n });
    partition({ assignedAtMs: world.now });
    pass(5 * SECOND);
    expect(facts()).toEqual([[1, 5]]);
  });
});
