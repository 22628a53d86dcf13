// What the end of a hold would do, told before: its numbers are what the release then does, and nothing is written.
import { describe, expect } from 'vitest';
import type { Db } from '../../db/client.ts';
import * as contract from '../../src/api/contract.ts';
import { decoder } from '../../src/decode.ts';
import { hold } from '../../src/operate.ts';
import type { Draining } from '../../src/redrive.ts';
import { previewRelease } from '../../src/rehearse-release.ts';
import type { Settlement } from '../../src/settle.ts';
import { ask, expectFits, expectProblem, OWN } from '../support/api.ts';
import { runProgram } from '../support/program.ts';
import { type Arrival, AT_MS, cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { type MemoryService, test, until, type World } from '../support/world.ts';

const created = (userId: string, customerAccountId?: string) =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId }), { id: `${userId} created` });
/** `n`: which of its events, and how many minutes later. */
const moved = (userId: string, n: number, over: object = {}) => {
  const timestamp = new Date(AT_MS + n * 60_000).toISOString();
  const payload = { ...statusChanged({ userId, newStatus: n % 2 ? 'ACTIVE' : 'SUSPENDED', timestamp }), ...over };
  return cloudEvent('USER_STATUS_CHANGED', payload, { id: `${userId} ${n}` });
};
async function sent({ log }: World, { source }: MemoryService, ...arrivals: Arrival[]): Promise<void> {
  log.append(...arrivals);
  await source.drain();
}
function draining({ db, log }: World): Draining & { db: Db } {
  const saver = { instance: 'test', clusterId: log.clusterId, group: null, serviceVersion: 'test', traceId: null };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db, saver, decode, waitingPerUser: 10_000 };
}
const post = (service: MemoryService, path: string, body: object) =>
  ask(service.url, `/api/v1${path}`, { method: 'POST', headers: OWN, body });

/** Two users of a customer on hold, a third that is on hold itself too, and a fourth whose creation waits for the customer's release. */
async function heldCustomer(world: World): Promise<MemoryService> {
  const service = await world.service();
  await sent(
    world,
    service,
    cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c1' }), { id: 'c1' }),
    ...['u1', 'u2', 'u3'].map((userId) => created(userId, 'c1')),
    created('other'),
  );
  await world.sql.unsafe(`alter table history add constraint broken check (event_id <> 'u2 1') not valid`);
  await hold(world.db, { kind: 'customer', id: 'c1', reason: 'import', byWhom: 'ann' });
  await hold(world.db, { kind: 'user', id: 'u3', reason: 'import', byWhom: 'ann' });
  await sent(
    world,
    service,
    ...[moved('u1', 1), moved('u1', 2), moved('u1', 2, { timestamp: new Date(AT_MS).toISOString() })],
    ...[moved('u2', 1), moved('u2', 2), moved('u2', 3)],
    ...[moved('u3', 1), moved('other', 1), created('u4', 'c1')],
  );
  return service;
}
const WOULD = { applied: 3, skipped: 1, dead: 1, waiting: 3 };

describe('a release is told before', () => {
  test('and what it would do is what it then does; until then nothing has changed but the audit', async ({ world }) => {
    const service = await heldCustomer(world);
    const before = await world.digest();
    const waiting = await world.sql<{ id: number; userId: string }[]>`
      select id::int as id, user_id as "userId" from waiting order by id`;
    expect(waiting).toHaveLength(8);

    const dry = await post(service, '/holds/customer/c1/release', { dryRun: true });
    expect(dry.status).toBe(200);
    expectFits(contract.ReleasePreview, dry.json);
    expect(dry.json).toMatchObject({ matched: 8, users: 4, outcomes: WOULD, others: {}, note: null });
    const told = new Map(dry.json.items.map((item) => [item.id, item]));
    expect([...told.keys()].sort((a, b) => a - b)).toEqual(waiting.map(({ id }) => id));
    for (const { id, userId } of waiting) expect(told.get(id)).toMatchObject({ userId });
    expect(dry.json.items.filter(({ outcome }) => outcome === 'dead')).toMatchObject([{ userId: 'u2', code: 'sql' }]);
    expect(dry.json.items).toContainEqual(expect.objectContaining({ userId: 'u4', from: 'absent', to: 'pending' }));
    expect(await world.digest()).toEqual(before);
    expect(await world.sql`select verb, dry_run, scope, result from audit order by id desc limit 1`).toEqual([
      {
        ...{ verb: 'release', dry_run: true, scope: { kind: 'customer', id: 'c1' } },
        result: { matched: 8, users: 4, outcomes: WOULD, others: {} },
      },
    ]);

    const released = await post(service, '/holds/customer/c1/release', {});
    expect(released.status).toBe(202);
    expectFits(contract.HoldRow, released.json);
    await until(async () => {
      const went = await world.sql`
        select outcome, count(*)::int as n
          from (select outcome from history where recorded_at > (select max(at) from audit where dry_run) and user_id like 'u%'
                union all select 'dead' from dead_letters union all select 'waiting' from waiting) all_of_them group by 1`;
      expect(Object.fromEntries(went.map(({ outcome, n }) => [outcome, n]))).toEqual(WOULD);
    });
    expectProblem(await post(service, '/holds/customer/c1/release', {}), 'not-found', 404);
    expectProblem(await post(service, '/holds/customer/c1/release', { dryRun: true }), 'not-found', 404);
    await world.sql.unsafe('alter table history drop constraint broken');
  });

  test('on the command line with the same numbers', async ({ world }) => {
    await heldCustomer(world);
    const program = runProgram(['release', 'customer', 'c1', '--dry-run'], world.settings);
    const { code } = await program.ended;
    expect(program.text.out, program.text.err).toMatch(
      /^customer c1 would be released · 5 events would go: applied 3, skipped 1, dead 1 · 3 would wait on · nothing was written/,
    );
    expect(code).not.toBe(0); // one would be a dead letter
    const none = runProgram(['release', 'user', 'nobody', '--dry-run'], world.settings);
    expect((await none.ended).code).toBe(1);
    await world.sql.unsafe('alter table history drop constraint broken');
  });

  test('with the dead letters that are up for a redrive, and go too, beside what waits', async ({ world }) => {
    const service = await world.service();
    await sent(world, service, created('u1'));
    await world.sql.unsafe(`alter table history add constraint broken check (event_id <> 'u1 1') not valid`);
    await sent(world, service, moved('u1', 1));
    await world.sql.unsafe('alter table history drop constraint broken');
    await hold(world.db, { kind: 'user', id: 'u1', reason: 'look', byWhom: 'ann' });
    await sent(world, service, moved('u1', 2));
    await world.sql`update dead_letters set status = 'redriving'`;
    expect(await previewRelease(draining(world), { kind: 'user', id: 'u1' }, { who: 'ann' })).toEqual({
      ...{ matched: 1, users: 1, outcomes: { applied: 1 }, others: { applied: 1 } },
    });
    await world.sql`update dead_letters set status = 'open'`;
  });
});

describe('the rehearsal of a release stops, and says so', () => {
  test('behind the first 2,000 events of a user; users with much go one by one', async ({ world }) => {
    const service = await world.service();
    await sent(
      world,
      service,
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c1' }), { id: 'c1' }),
      ...[created('u1', 'c1'), created('u2', 'c1')],
    );
    await hold(world.db, { kind: 'customer', id: 'c1', reason: 'import', byWhom: 'ann' });
    await sent(world, service, moved('u2', 1), ...Array.from({ length: 2_300 }, (_, n) => moved('u1', n)));
    const told: Settlement[] = [];
    const c1 = { kind: 'customer', id: 'c1' } as const;
    const rehearsed = await previewRelease(draining(world), c1, { who: 'ann', tell: (each) => void told.push(each) });
    expect(rehearsed).toMatchObject({ matched: 2_001, users: 2, others: {}, more: true });
    expect(told).toHaveLength(2_001);
    expect(new Set(told.map(({ id }) => id)).size).toBe(2_001);

    const enough = new AbortController();
    const watching = { who: 'ann', tell: () => enough.abort(), signal: enough.signal };
    expect(await previewRelease(draining(world), c1, watching)).toMatchObject({ matched: 2_000, interrupted: true });
    await service.stop();
  });

  test('behind the first 2,000 that would wait on', async ({ world }) => {
    const service = await world.service();
    await sent(world, service, ...Array.from({ length: 2_100 }, (_, n) => moved('u1', n)));
    await hold(world.db, { kind: 'user', id: 'u1', reason: 'look', byWhom: 'ann' });
    expect(await previewRelease(draining(world), { kind: 'user', id: 'u1' }, { who: 'ann' })).toEqual({
      ...{ matched: 2_000, users: 1, outcomes: { waiting: 2_000 }, others: {}, more: true },
    });
  });
});
