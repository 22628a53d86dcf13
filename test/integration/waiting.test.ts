// The customer comes later, the user comes later, somebody holds: what waits is released by itself, once each, in order.
import { describe, expect } from 'vitest';
import { discard, hold, markForRedrive, release, resume } from '../../src/operate.ts';
import type { MemorySource } from '../support/memory-source.ts';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  nestRecord,
  roleChanged,
  statusChanged,
  userCreated,
} from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const TOPIC = 'user-events';
/** Minutes after the other events. */
const later = (minutes: number) => new Date(AT_MS + minutes * 60_000).toISOString();

function customer(id = 'c1', partition = 0): Arrival {
  return cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: id }), {
    id: `customer ${id}`,
    partition,
  });
}
function created(userId: string, partition = 0, customerId: string | null = 'c1'): Arrival {
  return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: customerId ?? undefined }), {
    id: `${userId} created`,
    partition,
  });
}
let sent = 0;
function moved(userId: string, newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING', partition = 0, minutes = 0): Arrival {
  const timestamp = later(minutes);
  const payload = statusChanged({ userId, newStatus, timestamp });
  return cloudEvent('USER_STATUS_CHANGED', payload, { id: `moved ${sent++}`, partition });
}

/** A user's history in one line: "USER_CREATED applied pending, …". */
async function story(world: World, userId: string) {
  const rows = await world.sql`select type, outcome, to_state from history where user_id = ${userId} order by version`;
  return rows.map(({ type, outcome, to_state }) => `${type} ${outcome} ${to_state}`);
}
async function waits(world: World) {
  const rows = await world.sql`select user_id, reason from waiting order by topic, partition, "offset"`;
  return rows.map(({ user_id, reason }) => `${user_id} ${reason}`);
}
async function nothingWaits(world: World) {
  await until(async () => expect(await waits(world)).toEqual([]));
}
async function state(world: World, userId: string) {
  const [row] = await world.sql`select state, waiting from users where user_id = ${userId}`;
  return row && `${row.state} ${row.waiting}`;
}
/** A user of partition 2 with something to drain. Append it before `assign`; once it is drained, so is all that was started
 *  before: a service drains one after the other. */
function lastOfAll(): { arrivals: Arrival[]; isDrained(world: World, source: MemorySource): Promise<void> } {
  const userId = `last${sent++}`;
  return {
    arrivals: [moved(userId, 'ACTIVE', 2), created(userId, 2, null)],
    async isDrained(world, source) {
      await source.deliver(TOPIC, 2);
      await until(async () => expect(await state(world, userId)).toBe('active 0'));
    },
  };
}
/** Locks in the test's hand may take longer than the service would wait for them. */
const PATIENT = {
  DB_LOCK_TIMEOUT_MS: '20000',
  DB_STATEMENT_TIMEOUT_MS: '30000',
  DB_IDLE_IN_TRANSACTION_MS: '30000',
  KAFKA_SESSION_TIMEOUT_MS: '60000',
  KAFKA_REBALANCE_TIMEOUT_MS: '60000',
};

describe('the customer comes later', () => {
  test('in the same batch, behind its user: nothing waits', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created('u1'), customer());
    await source.drain();
    expect(await state(world, 'u1')).toBe('pending 0');
  });

  test('in a later batch: the user is created, and what came meanwhile is applied in order', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(moved('u1', 'SUSPENDED'), created('u1'), moved('u1', 'ACTIVE'), moved('u1', 'SUSPENDED'));
    await source.drain();
    expect(await waits(world)).toEqual(['u1 user', 'u1 customer', 'u1 order', 'u1 order']);
    world.log.append(customer(), moved('u1', 'PENDING'));
    await source.drain();
    await nothingWaits(world);
    expect(await story(world, 'u1')).toEqual([
      'USER_CREATED applied pending',
      'USER_STATUS_CHANGED applied suspended',
      'USER_STATUS_CHANGED applied active',
      'USER_STATUS_CHANGED applied suspended',
      'USER_STATUS_CHANGED applied pending',
    ]);
  });

  test('by another partition: every one of its users is created', async ({ world }) => {
    const { source } = await world.service();
    const ids = Array.from({ length: 120 }, (_, n) => `u${n}`);
    world.log.append(...ids.map((id) => created(id)), ...ids.map((id) => moved(id, 'ACTIVE')));
    await source.drain();
    expect(await waits(world)).toHaveLength(240);
    world.log.append(customer('c2', 1), customer('c1', 1));
    await source.drain();
    await nothingWaits(world);
    expect(await world.sql`select state, count(*)::int as n from users group by 1`).toEqual([
      { state: 'active', n: 120 },
    ]);
  });

  // T1 puts the user's events to wait while T2 creates the customer. Both have read the tables before either has saved, so
  // neither sees the other, whichever saves first.
  for (const order of ['the waiting first', 'the customer first', 'both at once'] as const)
    test(`at the same time, ${order}: the user is created`, async ({ world }) => {
      const { source } = await world.service(PATIENT);
      const last = lastOfAll();
      world.log.append(created('u1', 0), moved('u1', 'ACTIVE', 0), customer('c1', 1), ...last.arrivals);
      await source.assign();
      const [t1, t2] = [await world.blockSaves(TOPIC, 0), await world.blockSaves(TOPIC, 1)];
      const waiting = source.deliver(TOPIC, 0);
      const creating = source.deliver(TOPIC, 1);
      await t1.reached(2);
      if (order === 'the waiting first') await t1.release().then(() => waiting);
      if (order === 'the customer first') await t2.release().then(() => creating);
      if (order !== 'both at once') await last.isDrained(world, source);
      if (order === 'the waiting first') expect(await waits(world)).toEqual(['u1 customer', 'u1 order']);
      await Promise.all([t1.release(), t2.release(), waiting, creating]);
      await nothingWaits(world);
      expect(await state(world, 'u1')).toBe('active 0');
    });

  test('never: it waits for ever, and holds up nobody else', async ({ world }) => {
    const service = await world.service();
    world.log.append(created('u1', 0, 'nobody'), created('u2', 0, null), moved('u2', 'ACTIVE'));
    await service.source.drain();
    service.tick();
    await service.stop();
    expect(await waits(world)).toEqual(['u1 customer']);
    expect(await state(world, 'u2')).toBe('active 0');
  });
});

describe('the user comes later', () => {
  test('status and role by other topics first: applied in the order of their timestamps', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      nestRecord('USER_ROLE_CHANGED', roleChanged({ userId: 'u1', newRole: 'INSTITUTION_ADMIN', timestamp: later(2) })),
      nestRecord('USER_STATUS_CHANGED', statusChanged({ userId: 'u1', newStatus: 'ACTIVE', timestamp: later(1) })),
    );
    await source.drain();
    expect(await waits(world)).toEqual(['u1 user', 'u1 order']);
    world.log.append(nestRecord('USER_CREATED', userCreated({ userId: 'u1', customerAccountId: undefined })));
    await source.drain();
    await nothingWaits(world);
    expect(await story(world, 'u1')).toEqual([
      'USER_CREATED applied pending',
      'USER_STATUS_CHANGED applied active',
      'USER_ROLE_CHANGED applied roleChanged',
    ]);
  });

  // T1 puts a status to wait, T2 creates the user; neither sees the other.
  for (const order of ['the waiting first', 'the user first', 'both at once'] as const)
    test(`at the same time, ${order}: the status is applied`, async ({ world }) => {
      const { source } = await world.service(PATIENT);
      const last = lastOfAll();
      world.log.append(moved('u1', 'ACTIVE', 0), created('u1', 1, null), ...last.arrivals);
      await source.assign();
      const [t1, t2] = [await world.blockSaves(TOPIC, 0), await world.blockSaves(TOPIC, 1)];
      const waiting = source.deliver(TOPIC, 0);
      const creating = source.deliver(TOPIC, 1);
      await t1.reached(2);
      if (order === 'the waiting first') await t1.release().then(() => waiting);
      if (order === 'the user first') await t2.release().then(() => creating);
      if (order !== 'both at once') await last.isDrained(world, source);
      await Promise.all([t1.release(), t2.release(), waiting, creating]);
      await nothingWaits(world);
      expect(await story(world, 'u1')).toEqual(['USER_CREATED applied pending', 'USER_STATUS_CHANGED applied active']);
    });

  test('the next event of a source never passes the one that waits, though the row does not count it yet', async ({
    world,
  }) => {
    const { source } = await world.service(PATIENT);
    const last = lastOfAll();
    world.log.append(moved('u1', 'ACTIVE', 0), created('u1', 1, null), ...last.arrivals);
    await source.assign();
    const [t1, t2] = [await world.blockSaves(TOPIC, 0), await world.blockSaves(TOPIC, 1)];
    const waiting = source.deliver(TOPIC, 0);
    const creating = source.deliver(TOPIC, 1);
    await t1.reached(2);
    // Held: no drain may put it right before the next event comes.
    await hold(world.db, { kind: 'user', id: 'u1', reason: 'test', byWhom: 'test' });
    await Promise.all([t1.release(), t2.release(), waiting, creating]);
    await last.isDrained(world, source);
    expect(await waits(world)).toEqual(['u1 user']);
    await release(world.db, { kind: 'user', id: 'u1', byWhom: 'test' });
    world.log.append(moved('u1', 'SUSPENDED', 0));
    await source.drain();
    await nothingWaits(world);
    expect((await story(world, 'u1')).slice(1)).toEqual([
      'USER_STATUS_CHANGED applied active',
      'USER_STATUS_CHANGED applied suspended',
    ]);
  });
});

describe('held', () => {
  for (const [kind, id] of [
    ['user', 'u1'],
    ['customer', 'c1'],
  ] as const)
    test(`a ${kind}: its events wait, others go on; released, they are applied in order`, async ({ world }) => {
      const service = await world.service();
      const { source } = service;
      world.log.append(customer('c1'), customer('c2'), created('u1'), created('u2', 0, 'c2'));
      await source.drain();
      expect(await hold(world.db, { kind, id, reason: 'looks odd', byWhom: 'ops' })).toBe(true);
      expect(await hold(world.db, { kind, id, reason: 'again', byWhom: 'ops' })).toBe(false);
      world.log.append(moved('u1', 'ACTIVE'), moved('u2', 'ACTIVE'), moved('u1', 'SUSPENDED'));
      await source.drain();
      expect(await waits(world)).toEqual(['u1 hold', 'u1 hold']);
      expect(await state(world, 'u2')).toBe('active 0');
      expect(await world.drain('u1')).toEqual([]); // nor does a drain release it
      expect(await release(world.db, { kind, id, byWhom: 'test' })).toBe(true);
      service.tick();
      await nothingWaits(world);
      expect((await story(world, 'u1')).slice(1)).toEqual([
        'USER_STATUS_CHANGED applied active',
        'USER_STATUS_CHANGED applied suspended',
      ]);
    });

  test('a customer with a user still to be created: it is not created', async ({ world }) => {
    const { source } = await world.service();
    await hold(world.db, { kind: 'customer', id: 'c1', reason: 'r', byWhom: 'ops' });
    world.log.append(customer(), created('u1'), moved('u1', 'ACTIVE'));
    await source.drain();
    expect(await waits(world)).toEqual(['u1 hold', 'u1 order']);
    await release(world.db, { kind: 'customer', id: 'c1', byWhom: 'test' });
    await world.drain('u1');
    expect(await state(world, 'u1')).toBe('active 0');
  });

  test('between the load and the save of a batch: the next batch waits', async ({ world }) => {
    const { source } = await world.service(PATIENT);
    world.log.append(created('u1', 0, null), moved('u1', 'ACTIVE'));
    await source.assign();
    const block = await world.blockSaves(TOPIC);
    const delivery = source.deliver(TOPIC, 0, { records: 1 });
    await block.reached();
    await hold(world.db, { kind: 'user', id: 'u1', reason: 'r', byWhom: 'ops' });
    await block.release();
    await delivery;
    await source.drain();
    expect(await waits(world)).toEqual(['u1 hold']);
  });
});

describe('several drains at once', () => {
  test('two processes and an operator release the same events: each counts once', async ({ world }) => {
    const services = [await world.service(), await world.service()];
    const ids = Array.from({ length: 60 }, (_, n) => `u${n}`);
    world.log.append(
      ...ids.map((id) => created(id)),
      ...ids.flatMap((id) => [moved(id, 'ACTIVE'), moved(id, 'PENDING')]),
    );
    await services[0]?.source.drain();
    world.log.append(customer('c1', 1));
    await services[0]?.source.deliver(TOPIC, 1);
    for (const { tick } of services) tick();
    await Promise.all(ids.map((id) => world.drain(id)));
    await nothingWaits(world);
    expect(await world.sql`select state, version, count(*)::int as n from users group by 1, 2`).toEqual([
      { state: 'pending', version: 3, n: 60 },
    ]);
  });

  test('while batches of the same user go on: no gap, no misorder', async ({ world }) => {
    const [one, two] = [await world.service(), await world.service()];
    world.log.append(
      created('u1'),
      ...Array.from({ length: 30 }, (_, n) => moved('u1', n % 2 ? 'ACTIVE' : 'SUSPENDED')),
    );
    await one.source.drain();
    world.log.append(
      customer('c1', 1),
      ...Array.from({ length: 40 }, (_, n) => moved('u1', n % 2 ? 'ACTIVE' : 'SUSPENDED', 2, 5)),
    );
    await Promise.all([
      two.source.deliver(TOPIC, 1),
      one.source.drain(3),
      ...Array.from({ length: 5 }, () => world.drain('u1')),
    ]);
    await nothingWaits(world);
    const offsets =
      await world.sql`select "offset"::int from history where user_id = 'u1' and partition = 2 order by version`;
    expect(offsets.map(({ offset }) => offset)).toEqual(Array.from({ length: 40 }, (_, n) => n));
  });
});

describe('a crash before the drain', () => {
  test('what it would have released is found by the next owner', async ({ world }) => {
    const first = await world.service({ DB_LOCK_TIMEOUT_MS: '200' });
    world.log.append(created('u1'), moved('u1', 'ACTIVE'));
    await first.source.drain();
    // Its drain can not get at the user's events before it ends.
    const release = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const lock = world.sql.begin(async (tx) => {
      await tx`lock table waiting in access exclusive mode`;
      locked.resolve();
      await release.promise;
    });
    await locked.promise;
    world.log.append(customer('c1', 1));
    await first.source.deliver(TOPIC, 1);
    await first.stop();
    release.resolve();
    await lock;
    expect(await waits(world)).toEqual(['u1 customer', 'u1 order']);

    const second = await world.service();
    await second.source.assign(); // its first sweep
    await nothingWaits(world);
    expect(await state(world, 'u1')).toBe('active 0');
  });

  test('and by its own next sweep, when the drain failed', async ({ world }) => {
    const service = await world.service({ DB_LOCK_TIMEOUT_MS: '200' });
    world.log.append(created('u1'));
    await service.source.drain();
    await world.sql.unsafe('alter table history rename column facts to gone');
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'x' }), { partition: 1 }));
    await world.sql`insert into customers (customer_id, name, at_ms, source, source_offset, rev) values ('c1', 'x', 0, 'test', 0, 1)`;
    service.tick();
    await until(() => expect(world.lines.map(({ msg }) => msg)).toContainEqual(expect.stringContaining('can not go')));
    await world.sql.unsafe('alter table history rename column gone to facts');
    service.tick();
    await nothingWaits(world);
    expect(await state(world, 'u1')).toBe('pending 0');
    await service.source.drain(); // its own event, or the customer would have no history
  });
});

describe('too much waits', () => {
  test('for one user: further events are dead letters, behind which it waits; nobody else notices', async ({
    world,
  }) => {
    const { source } = await world.service({ WAITING_PER_USER: '3' });
    world.log.append(
      created('u1'),
      ...Array.from({ length: 4 }, (_, n) => moved('u1', n % 2 ? 'SUSPENDED' : 'ACTIVE')),
    );
    world.log.append(created('u2', 0, null), moved('u2', 'ACTIVE'));
    await source.drain();
    expect(await waits(world)).toEqual(['u1 customer', 'u1 order', 'u1 order']);
    const dead = await world.sql`select id::int, code, blocks, "offset"::int from dead_letters order by "offset"`;
    expect(dead.map(({ code, blocks, offset }) => [code, blocks, offset])).toEqual([
      ['waiting-full', true, 3],
      ['waiting-full', true, 4],
    ]);
    expect(await state(world, 'u2')).toBe('active 0');

    // What lies before them goes, what lies behind waits.
    world.log.append(customer('c1', 1));
    await source.drain();
    await nothingWaits(world);
    expect(await state(world, 'u1')).toBe('suspended 2');
    world.log.append(moved('u1', 'PENDING'));
    await source.drain();
    expect(await waits(world)).toEqual(['u1 dead-letter']);

    // The second one redriven stays behind the first one, until that is settled.
    await markForRedrive(world.db, [dead[1]?.id], { byWhom: 'ops' });
    expect(await world.drain('u1')).toEqual([]);
    await discard(world.db, [dead[0]?.id], { byWhom: 'ops', note: 'not needed' });
    expect((await world.drain('u1')).map(({ outcome }) => outcome)).toEqual(['skipped', 'applied']);
    expect(await state(world, 'u1')).toBe('pending 0');
    expect((await world.sql`select status from dead_letters order by "offset"`).map(({ status }) => status)).toEqual([
      'discarded',
      'resolved',
    ]);
  });

  test('in total: what would put more to wait halts, what heals it goes on', async ({ world }) => {
    const service = await world.service({ WAITING_IN_TOTAL: '4', WAITING_PER_USER: '4' });
    const { source } = service;
    world.log.append(...['a', 'b', 'c', 'd', 'e'].map((id) => created(id)));
    await source.drain();
    const halted = async () =>
      (await world.sql`select halted_reason as reason from positions where state = 'halted'`)[0]?.reason;
    // The count is looked at every 5 s.
    await until(async () => {
      service.tick();
      world.log.append(moved('x', 'ACTIVE', 0));
      await source.drain();
      expect(await halted()).toMatch(/^waiting: \d+ events wait, the limit is 4/);
    });
    // The customer's own partition is not halted, and its event lets the five go.
    world.log.append(customer('c1', 1));
    await source.drain();
    expect(source.at(TOPIC, 1)).toBe(1n);
    await until(async () => expect(await state(world, 'e')).toBe('pending 0'));
    // The user x comes too.
    world.log.append(created('x', 1, null));
    await source.drain();
    await until(async () => {
      service.tick();
      await resume(world.db, { topic: TOPIC, partition: 0, byWhom: 'test' });
      await source.drain();
      expect(await halted()).toBeUndefined();
      expect(source.at(TOPIC, 0)).toBe(BigInt(world.log.records(TOPIC, 0).length));
    });
    await nothingWaits(world);
    expect(await state(world, 'x')).toBe('active 0');
  });
});

describe('a dead letter that blocks', () => {
  test('by the timestamps: what lies before it goes, what lies behind it waits, redriven it takes its place', async ({
    world,
  }) => {
    const { source } = await world.service();
    await world.sql.unsafe(`alter table users add constraint no_suspended check (state <> 'suspended')`);
    world.log.append(created('u1', 0, null), moved('u1', 'SUSPENDED', 0, 10));
    await source.drain();
    // From another source: before and after the dead letter.
    world.log.append(moved('u1', 'ACTIVE', 1, 5), moved('u1', 'PENDING', 1, 20));
    await source.drain();
    await until(async () => expect(await waits(world)).toHaveLength(1));
    expect(await story(world, 'u1')).toEqual(['USER_CREATED applied pending', 'USER_STATUS_CHANGED applied active']);

    await world.sql.unsafe('alter table users drop constraint no_suspended');
    const [dead] = await world.sql`select id::int from dead_letters`;
    await markForRedrive(world.db, [dead?.id], { byWhom: 'ops' });
    await Promise.all([world.drain('u1'), world.drain('u1')]); // a double click
    expect((await story(world, 'u1')).slice(2)).toEqual([
      'USER_STATUS_CHANGED applied suspended',
      'USER_STATUS_CHANGED applied pending',
    ]);
    expect(await markForRedrive(world.db, [dead?.id], { byWhom: 'ops' })).toMatchObject([{ status: 'resolved' }]);
    expect(await world.drain('u1')).toEqual([]);
    // History has it under the record's own coordinates.
    expect(await world.sql`select "offset"::int from history where partition = 0 order by version`).toEqual([
      { offset: 0 },
      { offset: 1 },
    ]);
  });
});

describe('very much waits for one user', () => {
  test('1,200 events go in several transactions, in order', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      created('u1'),
      ...Array.from({ length: 1_199 }, (_, n) => moved('u1', n % 2 ? 'SUSPENDED' : 'ACTIVE', n % 3, n)),
    );
    await source.drain(250);
    expect(await waits(world)).toHaveLength(1_200);
    world.log.append(customer('c1', 3));
    await source.drain();
    await nothingWaits(world);
    expect(await state(world, 'u1')).toBe('active 0');
    const order = await world.sql`select occurred_at, row_number() over (order by version)::int as place from history
                                   where user_id = 'u1' order by occurred_at, place`;
    expect(order.slice(1).every(({ place }, n) => place === n + 2)).toBe(true);
    expect(await world.sql`select version from users`).toEqual([{ version: 1_200 }]);
  });
});
