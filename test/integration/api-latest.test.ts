// The latest steps and users: how much of the partitions' ends is looked at, however many partitions there are.
import { expect } from 'vitest';
import { latestSteps, latestUsers } from '../../src/queries/history.ts';
import { AT_MS, cloudEvent, statusChanged, userCreated } from '../support/records.ts';
import { test, type World } from '../support/world.ts';

/** All together have 20,000 at most, unless each has 20 only. One partition with 700 steps, of many that have none. */
async function partitions({ sql, service, log }: World, n: number): Promise<void> {
  const { source, stop } = await service();
  const moved = (i: number) => {
    const timestamp = new Date(AT_MS + i * 60_000).toISOString();
    return cloudEvent('USER_STATUS_CHANGED', statusChanged({ timestamp }), { id: `moved ${i}` });
  };
  log.append(cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'created' }));
  log.append(...Array.from({ length: 699 }, (_, i) => moved(i)));
  await source.drain();
  await stop();
  await sql`
    insert into positions (topic, partition, next_offset, first_offset, cluster_id)
    select 'quiet', p, 0, 0, 'k' from generate_series(1, ${n}::int - (select count(*)::int from positions where topic <> '#redrive')) p`;
}
const scanned = async ({ db }: World) => {
  const steps = await latestSteps(db, {}, { limit: 700, mostBytes: 1_000 });
  const { items: users, ...scan } = await latestUsers(db, undefined, 10);
  expect(scan).toEqual({ scanned: steps.scanned, complete: steps.complete });
  expect(users).toHaveLength(1);
  return { items: steps.items.length, scanned: steps.scanned, complete: steps.complete };
};

test.for([
  { of: 'few', partitions: 40, rows: 500 },
  { of: 'many', partitions: 100, rows: 200 },
  { of: 'very many', partitions: 2_000, rows: 20 },
])(
  'of a partition among $partitions ($of) the last $rows are looked at, and it is said that there are more',
  async ({ partitions: n, rows }, { world }) => {
    await partitions(world, n);
    expect(await scanned(world)).toEqual({ items: rows, scanned: rows, complete: false });
  },
);
