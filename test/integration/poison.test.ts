// What Postgres refuses: a record only Postgres sees through, a row nobody can be blamed for, a database that is broken.
import { describe, expect } from 'vitest';
import { discard, markForRedrive, resume } from '../../src/operate.ts';
import { type Arrival, cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

/** A user without a customer; its later events: `moved`. */
function created(userId: string, name = 'Ada', over: object = {}): Arrival {
  const { customerAccountId: _, ...payload } = userCreated({ userId, name });
  return cloudEvent('USER_CREATED', { ...payload, ...over }, { id: `${userId} created` });
}
function moved(
  userId: string,
  newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING' = 'ACTIVE',
  id = newStatus as string,
): Arrival {
  return cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus }), { id: `${userId} ${id}` });
}

const refusePoison = (world: World) =>
  world.sql.unsafe(`alter table users add constraint no_poison check (name <> 'poison')`);
const acceptPoison = (world: World) => world.sql.unsafe('alter table users drop constraint no_poison');

async function states(world: World) {
  const rows = await world.sql`select user_id, state from users order by user_id`;
  return Object.fromEntries(rows.map(({ user_id, state }) => [user_id, state]));
}
async function deadLetters(world: World) {
  return [
    ...(await world.sql`select user_id, "offset", stage, code, class, blocks, status from dead_letters order by "offset"`),
  ];
}
async function count(world: World, table: 'waiting' | 'dead_letters' | 'users' | 'history') {
  const [row] = await world.sql`select count(*)::int as n from ${world.sql(table)}`;
  return row?.n;
}

describe('a record only Postgres refuses', () => {
  for (const [where, position] of Object.entries({ first: 0, 'in the middle': 2, last: 4 }))
    test(`${where} in the batch: it is a dead letter, its user waits, the others are saved`, async ({ world }) => {
      const { source } = await world.service();
      await refusePoison(world);
      const arrivals = ['a', 'b', 'c', 'd'].flatMap((id) => [created(id)]);
      arrivals.splice(position, 0, created('x', 'poison'));
      world.log.append(...arrivals, moved('x'), moved('a'));
      await source.drain();
      expect(source.at('user-events')).toBe(7n);
      expect(await states(world)).toEqual({ a: 'active', b: 'pending', c: 'pending', d: 'pending' });
      expect(await deadLetters(world)).toEqual([
        {
          user_id: 'x',
          offset: String(position),
          stage: 'save',
          code: 'sql',
          class: '23514',
          blocks: true,
          status: 'open',
        },
      ]);
      expect(await world.sql`select user_id, reason from waiting`).toEqual([{ user_id: 'x', reason: 'dead-letter' }]);
    });

  test('is found also where its customer is created in the same batch', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }),
      created('a', 'Ada', { customerAccountId: 'c1' }),
      created('x', 'poison', { customerAccountId: 'c1' }),
      created('b', 'Bob', { customerAccountId: 'c1' }),
    );
    await source.drain();
    expect(await states(world)).toEqual({ a: 'pending', b: 'pending' });
    expect(await deadLetters(world)).toMatchObject([{ user_id: 'x', code: 'sql' }]);
  });

  test('may be a customer', async ({ world }) => {
    const { source } = await world.service();
    await world.sql.unsafe(`alter table customers add check (name <> 'poison')`);
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'poison' }), { id: 'c' }),
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c2' }), { id: 'c2' }),
      created('a', 'Ada', { customerAccountId: 'c1' }),
      created('b', 'Bob', { customerAccountId: 'c2' }),
    );
    await source.drain();
    expect(await states(world)).toEqual({ b: 'pending' });
    expect(await deadLetters(world)).toMatchObject([{ user_id: null, offset: '0', code: 'sql', blocks: false }]);
    expect(await world.sql`select user_id, reason from waiting`).toEqual([{ user_id: 'a', reason: 'customer' }]);
  });

  test('is the one event, not the ones of the same user before it', async ({ world }) => {
    const { source } = await world.service();
    await world.sql.unsafe(`alter table users add check (state <> 'suspended')`);
    world.log.append(created('a'), moved('a'), moved('a', 'SUSPENDED'), moved('a', 'SUSPENDED', 'again'), created('b'));
    await source.drain();
    expect(await states(world)).toEqual({ a: 'active', b: 'pending' });
    expect(await deadLetters(world)).toMatchObject([{ user_id: 'a', offset: '2', code: 'sql' }]);
    expect(await count(world, 'waiting')).toBe(1);
  });

  test('may be refused by history alone', async ({ world }) => {
    const { source } = await world.service();
    await world.sql.unsafe(`alter table history add check (event ->> 'name' <> 'poison')`);
    world.log.append(created('a'), created('x', 'poison'), moved('x'), created('b'));
    await source.drain();
    expect(await states(world)).toEqual({ a: 'pending', b: 'pending' });
    expect(await deadLetters(world)).toMatchObject([{ user_id: 'x', code: 'sql' }]);
    expect(await count(world, 'waiting')).toBe(1);
  });

  test('among many: each is found, the others are saved', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    const isBad = (n: number) => n % 7 === 3;
    const ids = Array.from({ length: 100 }, (_, n) => n);
    world.log.append(...ids.map((n) => created(`u${n}`, isBad(n) ? 'poison' : 'Ada')));
    await source.drain();
    expect((await deadLetters(world)).map(({ offset }) => Number(offset))).toEqual(ids.filter(isBad));
    expect(await count(world, 'users')).toBe(ids.filter((n) => !isBad(n)).length);
  });

  test('goes through when it is redriven after the repair, and what waited behind it follows', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    world.log.append(created('x', 'poison'), moved('x'));
    await source.drain();
    await acceptPoison(world);
    const [dead] = await world.sql`select id::int from dead_letters`;
    await markForRedrive(world.db, [dead?.id], { byWhom: 'ops' });
    expect((await world.drain('x')).map(({ outcome }) => outcome)).toEqual(['applied', 'applied']);
    expect(await states(world)).toEqual({ x: 'active' });
    expect(await deadLetters(world)).toMatchObject([{ status: 'resolved' }]);
  });

  test('redriven without a repair it is an open dead letter again, and the user still waits', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    world.log.append(created('x', 'poison'), moved('x'));
    await source.drain();
    const [dead] = await world.sql`select id::int from dead_letters`;
    await markForRedrive(world.db, [dead?.id], { byWhom: 'ops' });
    await world.drain('x');
    expect(await deadLetters(world)).toMatchObject([{ status: 'open', code: 'sql', class: '23514' }]);
    expect(await world.sql`select attempts from dead_letters`).toEqual([{ attempts: 2 }]);
    expect(await count(world, 'waiting')).toBe(1);
  });

  test('that waited becomes a dead letter when it is released, and stops no other user', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    world.log.append(
      ...ids.map((id) => created(id, id === 'c' || id === 'd' ? 'poison' : 'Ada', { customerAccountId: 'c1' })),
      moved('d'),
      moved('e'),
    );
    await source.drain();
    expect(await count(world, 'waiting')).toBe(8);
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }));
    await source.drain();
    await until(async () => {
      expect(await states(world)).toEqual({ a: 'pending', b: 'pending', e: 'active', f: 'pending' });
      expect(await deadLetters(world)).toMatchObject([
        { user_id: 'c', stage: 'save', code: 'sql', class: '23514', blocks: true },
        { user_id: 'd', stage: 'save', code: 'sql', class: '23514', blocks: true },
      ]);
    });
    expect(await world.sql`select user_id from waiting`).toEqual([{ user_id: 'd' }]);
  });
});

describe('not the fault of a record', () => {
  test('a refusal that no record explains halts the partition, without dead letters', async ({ world }) => {
    const { source } = await world.service();
    await world.sql.unsafe('alter table positions add constraint no_further check (next_offset < 3)');
    world.log.append(created('a'), created('b'), created('c'));
    await source.drain();
    expect(source.halted).toEqual(new Set(['user-events/0']));
    expect(await world.sql`select state, next_offset, halted_reason from positions`).toMatchObject([
      { state: 'halted', next_offset: '0', halted_reason: expect.stringContaining('23514') },
    ]);
    expect(await count(world, 'dead_letters')).toBe(0);
  });

  test('a table that refuses every user: halted, without dead letters, and on after the repair', async ({ world }) => {
    const service = await world.service();
    await refusePoison(world);
    const ids = Array.from({ length: 120 }, (_, n) => `u${n}`);
    world.log.append(...ids.map((id) => created(id, 'poison')), created('good'));
    await service.source.drain();
    expect(await world.sql`select state, next_offset from positions`).toEqual([{ state: 'halted', next_offset: '0' }]);
    expect([await count(world, 'dead_letters'), await count(world, 'users')]).toEqual([0, 0]);
    await acceptPoison(world);
    await goOn(service, world);
    await service.source.drain();
    expect(await count(world, 'users')).toBe(121);
  });

  test('a column is missing: halted, no dead letter, other partitions too, and on after the repair', async ({
    world,
  }) => {
    const service = await world.service();
    const { source } = service;
    await world.sql.unsafe('alter table users rename column source_role to gone');
    world.log.append(created('a'), cloudEvent('CUSTOMER_CREATED', customerCreated(), { partition: 1 }));
    await source.drain();
    // The customer's batch needs no such column: only who is concerned halts.
    expect(await world.sql`select partition, state, halted_reason from positions order by partition`).toEqual([
      { partition: 0, state: 'halted', halted_reason: expect.stringContaining('42703') },
      { partition: 1, state: 'running', halted_reason: null },
    ]);
    expect(await count(world, 'dead_letters')).toBe(0);
    expect(service.facts().partitions).toMatchObject([{ state: 'halted', next: 0n }, { state: 'running' }]);
    await world.sql.unsafe('alter table users rename column gone to source_role');
    await goOn(service, world);
    await source.drain();
    expect(await states(world)).toEqual({ a: 'pending' });
  });

  test('a row that nobody may read: halted, and named', async ({ world }) => {
    const { source } = await world.service();
    await world.sql.unsafe('drop table holds');
    world.log.append(created('a'));
    await source.drain();
    expect(await world.sql`select halted_reason from positions`).toEqual([
      { halted_reason: expect.stringContaining('42P01') },
    ]);
  });

  test('a batch that takes too long is halved until it fits', async ({ world }) => {
    const { source } = await world.service({ DB_STATEMENT_TIMEOUT_MS: '400', DB_LOCK_TIMEOUT_MS: '300' });
    await world.sql.unsafe(`
      create function slow() returns trigger language plpgsql as $$
        begin if (select count(*) from fresh) > 12 then perform pg_sleep(30); end if; return null; end $$;
      create trigger slow after insert on history referencing new table as fresh for each statement execute function slow()`);
    world.log.append(...Array.from({ length: 40 }, (_, n) => created(`u${n}`)));
    await source.drain();
    expect(await count(world, 'users')).toBe(40);
    expect(await count(world, 'dead_letters')).toBe(0);
  });

  test('a lock held by somebody: the partition waits and tells, the others go on, nothing is lost', async ({
    world,
  }) => {
    const { source, facts } = await world.service({ DB_LOCK_TIMEOUT_MS: '100' });
    world.log.append(created('a'), cloudEvent('CUSTOMER_CREATED', customerCreated(), { partition: 1 }));
    const release = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const locking = world.sql.begin(async (tx) => {
      await tx`lock table users in exclusive mode`;
      locked.resolve();
      await release.promise;
    });
    await locked.promise;
    await source.assign();
    const delivery = source.deliver('user-events', 0);
    await until(() => expect(facts().partitions[0]).toMatchObject({ state: 'waiting', reason: '55P03' }));
    expect(await source.deliver('user-events', 1)).toEqual({ what: 'saved', next: 1n });
    release.resolve();
    await locking;
    expect(await delivery).toEqual({ what: 'saved', next: 1n });
    expect(facts().partitions[0]).toMatchObject({ state: 'running', reason: null });
    expect(await count(world, 'dead_letters')).toBe(0);
  });
});

async function goOn(service: Awaited<ReturnType<World['service']>>, world: World): Promise<void> {
  expect(await resume(world.db, { topic: 'user-events', partition: 0, byWhom: 'test' })).toBe(0n);
  service.tick();
  await until(() => expect(service.source.halted.size).toBe(0));
}

describe('discarded', () => {
  test('a dead letter that nobody waits behind leaves its user free at once', async ({ world }) => {
    const { source } = await world.service();
    await world.sql.unsafe(`alter table users add check (state <> 'suspended')`);
    world.log.append(created('a'), moved('a', 'SUSPENDED'));
    await source.drain();
    const [dead] = await world.sql`select id::int from dead_letters`;
    await discard(world.db, [dead?.id], { byWhom: 'ops', note: 'not wanted' });
    await world.drain('a');
    expect(await world.sql`select waiting, state from users`).toEqual([{ waiting: 0, state: 'pending' }]);
    world.log.append(moved('a'));
    await source.drain();
    expect(await states(world)).toEqual({ a: 'active' });
  });
});
