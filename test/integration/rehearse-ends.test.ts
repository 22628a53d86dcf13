// A rehearsal that tries exactly as many events as it may: whether more would go is found out, not supposed.
import { describe, expect } from 'vitest';
import type { Db } from '../../db/client.ts';
import { decoder } from '../../src/decode.ts';
import { hold } from '../../src/operate.ts';
import type { Draining } from '../../src/redrive.ts';
import { previewRelease } from '../../src/rehearse-release.ts';
import { previewGivingUp } from '../../src/settle.ts';
import { type Arrival, AT_MS, cloudEvent, roleChanged, statusChanged, userCreated } from '../support/records.ts';
import { test, type World } from '../support/world.ts';

/** As many as one user's rehearsal tries. */
const MOST = 2_000;
const WHO = { who: 'ann' };
const HOLD = { kind: 'user', id: 'u1' } as const;

const created = cloudEvent('USER_CREATED', userCreated({ userId: 'u1', customerAccountId: undefined }), { id: 'c' });
/** So many of one user, of which none can be refused. */
const moves = (n: number): Arrival[] =>
  Array.from({ length: n }, (_, i) => {
    const timestamp = new Date(AT_MS + i * 60_000).toISOString();
    const payload = statusChanged({ userId: 'u1', newStatus: i % 2 ? 'ACTIVE' : 'SUSPENDED', timestamp });
    return cloudEvent('USER_STATUS_CHANGED', payload, { id: `moved ${i}` });
  });
const role = (): Arrival => cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId: 'u1' }), { id: 'role' });

/** These wait, for the end of a hold. */
async function held(world: World, ...events: Arrival[]): Promise<Draining & { db: Db }> {
  const { source, stop } = await world.service();
  world.log.append(created);
  await source.drain();
  await hold(world.db, { ...HOLD, reason: 'look', byWhom: 'ann' });
  world.log.append(...events);
  await source.drain();
  await stop();
  const saver = {
    ...{ instance: 'test', clusterId: world.log.clusterId, group: null, serviceVersion: 'test', traceId: null },
  };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db: world.db, saver, decode, waitingPerUser: 10_000 };
}

describe('the end of a hold', () => {
  test('of exactly as many as are tried: all is told, and nothing more is spoken of', async ({ world }) => {
    const draining = await held(world, ...moves(MOST));
    expect(await previewRelease(draining, HOLD, WHO)).toEqual({
      ...{ matched: MOST, users: 1, outcomes: { applied: MOST }, others: {} },
    });
  });

  test('of one more: there is more', async ({ world }) => {
    const draining = await held(world, ...moves(MOST + 1));
    expect(await previewRelease(draining, HOLD, WHO)).toMatchObject({ matched: MOST, more: true });
  });

  test('of one more that Postgres refuses: there is more', async ({ world }) => {
    const draining = await held(world, ...moves(MOST), role());
    await world.sql.unsafe(`alter table history add constraint broken check (event_id <> 'role') not valid`);
    expect(await previewRelease(draining, HOLD, WHO)).toMatchObject({ matched: MOST, more: true });
    await world.sql.unsafe('alter table history drop constraint broken');
  });
});

describe('giving up', () => {
  test('exactly as many as are tried: nothing more is spoken of', async ({ world }) => {
    const draining = await held(world, ...moves(MOST));
    expect(await previewGivingUp(draining, {}, WHO)).toEqual({
      ...{ matched: MOST, outcomes: { discarded: MOST }, others: {} },
    });
  });

  test('as many, while something else would go then: there is more', async ({ world }) => {
    const draining = await held(world, ...moves(MOST), role());
    await world.sql`delete from holds`;
    expect(await previewGivingUp(draining, { type: 'USER_STATUS_CHANGED' }, WHO)).toEqual({
      ...{ matched: MOST, outcomes: { discarded: MOST }, others: {}, more: true },
    });
  });
});
