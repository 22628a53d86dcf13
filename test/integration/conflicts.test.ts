// The same user by two partitions at once: whoever writes second reads again what the first one wrote, under a lock.
import { describe, expect } from 'vitest';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const TOPIC = 'user-events';
const later = (minutes: number) => new Date(AT_MS + minutes * 60_000).toISOString();
let sent = 0;
const id = () => `e${sent++}`;

function created(userId: string, partition = 0, name = 'Ada'): Arrival {
  return cloudEvent('USER_CREATED', userCreated({ userId, name, customerAccountId: undefined }), {
    id: id(),
    partition,
  });
}
function moved(userId: string, newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING', partition: number, minutes = 0): Arrival {
  const payload = statusChanged({ userId, newStatus, timestamp: later(minutes) });
  return cloudEvent('USER_STATUS_CHANGED', payload, { id: id(), partition });
}
function promoted(userId: string, newRole: 'SME_USER' | 'INSTITUTION_ADMIN', partition: number, minutes = 0): Arrival {
  const payload = roleChanged({ userId, newRole, timestamp: later(minutes) });
  return cloudEvent('USER_ROLE_CHANGED', payload, { id: id(), partition });
}

/** Delivers what both partitions hold so that both saves were computed from the same rows; `first` saves first. */
async function collide(world: World, source: Awaited<ReturnType<World['service']>>['source'], first: 0 | 1) {
  await source.assign();
  const blocks = [await world.blockSaves(TOPIC, 0), await world.blockSaves(TOPIC, 1)];
  const deliveries = [source.deliver(TOPIC, 0), source.deliver(TOPIC, 1)];
  await blocks[0]?.reached(2);
  await blocks[first]?.release();
  await deliveries[first];
  await blocks[1 - first]?.release();
  return await Promise.all(deliveries);
}

describe('two partitions write the same user', () => {
  for (const first of [0, 1] as const)
    test(`both computed from the same row, partition ${first} saves first: both are saved, one after the other`, async ({
      world,
    }) => {
      const service = await world.service();
      world.log.append(created('u1'), moved('u1', 'SUSPENDED', 1, 1), created('u2'));
      await service.source.drain();
      await until(async () => expect(await world.sql`select 1 from waiting`).toHaveLength(0));
      const [before] = await world.sql`select rev::int, version from users where user_id = 'u1'`;

      world.log.append(
        moved('u1', 'ACTIVE', 0, 2),
        promoted('u1', 'INSTITUTION_ADMIN', 1, 3),
        moved('u2', 'ACTIVE', 0),
      );
      expect(await collide(world, service.source, first)).toMatchObject([{ what: 'saved' }, { what: 'saved' }]);
      expect(await world.sql`select state, role, user_type, version, rev::int from users where user_id = 'u1'`).toEqual(
        [
          {
            state: 'roleChanged',
            role: 'CUSTOMER_ADMIN',
            user_type: 'FINANCIAL_INSTITUTION',
            version: before?.version + 2,
            rev: before?.rev + 2,
          },
        ],
      );
      // The second try was enough: nobody had to wait, nobody was fenced.
      for (const { counts } of service.facts().partitions)
        expect(counts).toMatchObject({ conflicts: 0, fenced: 0, retries: 0 });
    });

  test('many users, many rounds, nothing arranged: no gap, no loss, whatever meets', async ({ world }) => {
    const service = await world.service();
    const users = Array.from({ length: 25 }, (_, n) => `u${n}`);
    world.log.append(...users.map((user) => created(user)));
    await service.source.drain();
    const ROUNDS = 12;
    for (let round = 0; round < ROUNDS; round++) {
      const status = round % 2 ? 'SUSPENDED' : 'ACTIVE';
      const role = round % 2 ? 'SME_USER' : 'INSTITUTION_ADMIN';
      // In opposite orders: rows are locked in id order all the same.
      world.log.append(...users.map((user) => moved(user, status, 0, round)));
      world.log.append(...users.toReversed().map((user) => promoted(user, role, 1, round)));
      await Promise.all([service.source.deliver(TOPIC, 0), service.source.deliver(TOPIC, 1)]);
    }
    await service.source.drain();
    expect(await world.sql`select distinct state, version from users`).toEqual([
      { state: 'suspended', version: 1 + 2 * ROUNDS },
    ]);
    expect(await world.sql`select 1 from dead_letters`).toHaveLength(0);
  });

  test('rows are locked in id order in a table as small as a new one, whatever order they lie in', async ({
    world,
  }) => {
    const service = await world.service();
    const users = Array.from({ length: 60 }, (_, n) => `u${10 + n}`);
    for (const user of users.toReversed()) {
      world.log.append(created(user));
      await service.source.drain();
    }
    await world.sql`analyze users`;
    world.log.append(...users.map((user) => moved(user, 'ACTIVE', 0)));

    const saved = await world.sql.begin(async (holder) => {
      await holder`select from users where user_id = 'u10' for no key update`;
      const delivery = service.source.deliver(TOPIC, 0);
      await until(async () =>
        expect(
          await world.sql`
          select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        ).toHaveLength(1),
      );
      // Who waits for the first row has none of the others: two such saves can not wait for each other.
      const free = await holder`select user_id from users order by user_id for no key update skip locked`;
      expect(free.map(({ user_id }) => user_id)).toEqual(users);
      return { delivery };
    });
    expect(await saved.delivery).toMatchObject({ what: 'saved' });
  });

  test('two processes, three partitions: the same', async ({ world }) => {
    const [one, two] = [await world.service(), await world.service()];
    const users = Array.from({ length: 10 }, (_, n) => `u${n}`);
    world.log.append(...users.map((user) => created(user)));
    await one.source.drain();
    for (let round = 1; round <= 8; round++)
      for (const partition of [0, 1, 2])
        world.log.append(
          ...users.map((user) => moved(user, round % 2 ? 'ACTIVE' : 'SUSPENDED', partition, round * 3 + partition)),
        );
    await Promise.all([one.source.assign(), two.source.assign()]);
    const part = async (service: typeof one, partition: number) => {
      for (let n = 0; n < 16; n++) await service.source.deliver(TOPIC, partition, { records: 5 });
    };
    await Promise.all([part(one, 0), part(two, 1), part(one, 2)]);
    await Promise.all([one.source.drain(), two.source.drain()]);
    expect(await world.sql`select distinct version, state from users`).toEqual([{ version: 25, state: 'suspended' }]);
  });
});

describe('what is remembered is old', () => {
  test('another process wrote the row: the remembered one is dropped, the result is right', async ({ world }) => {
    const [one, two] = [await world.service(), await world.service()];
    world.log.append(created('u1'), moved('u1', 'ACTIVE', 0));
    await one.source.deliver(TOPIC, 0); // remembers the user as active, written by partition 0
    world.log.append(
      cloudEvent('USER_DELETED', userDeleted({ userId: 'u1', timestamp: later(1) }), { id: id(), partition: 1 }),
    );
    await two.source.deliver(TOPIC, 1);
    world.log.append(moved('u1', 'SUSPENDED', 0, 2));
    await one.source.deliver(TOPIC, 0);
    expect(await world.sql`select state, version from users`).toEqual([{ state: 'deleted', version: 4 }]);
    expect(await world.sql`select outcome from history order by version desc limit 1`).toEqual([
      { outcome: 'rejected' },
    ]);
  });

  test('the drain wrote the row: the next batch goes on from there', async ({ world }) => {
    const [one, two] = [await world.service(), await world.service()];
    world.log.append(created('u1'));
    await one.source.deliver(TOPIC, 0);
    // Two waits behind nothing that one knows of: an event of the future user order, put by hand through a hold.
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('user', 'u1', 'test', 'test')`;
    world.log.append(moved('u1', 'SUSPENDED', 1, 1));
    await two.source.deliver(TOPIC, 1);
    await world.sql`delete from holds`;
    two.tick();
    await until(async () => expect(await world.sql`select state from users`).toEqual([{ state: 'suspended' }]));
    world.log.append(moved('u1', 'ACTIVE', 0, 2));
    await one.source.deliver(TOPIC, 0);
    expect(await world.sql`select state, version, waiting from users`).toEqual([
      { state: 'active', version: 3, waiting: 0 },
    ]);
  });
});

describe('somebody else was first', () => {
  for (const first of [0, 1] as const)
    test(`the same user created by two partitions at once, ${first} first: one applied, one skipped`, async ({
      world,
    }) => {
      const { source } = await world.service();
      world.log.append(created('u1', 0, 'Zero'), created('u2', 0), created('u1', 1, 'One'), created('u3', 1));
      expect(await collide(world, source, first)).toMatchObject([{ what: 'saved' }, { what: 'saved' }]);
      expect(await world.sql`select name, version from users where user_id = 'u1'`).toEqual([
        { name: first === 0 ? 'Zero' : 'One', version: 2 },
      ]);
      expect(await world.sql`select partition, outcome from history where user_id = 'u1' order by version`).toEqual([
        { partition: first, outcome: 'applied' },
        { partition: 1 - first, outcome: 'skipped' },
      ]);
    });

  for (const first of [0, 1] as const)
    test(`the same customer by two partitions at once, ${first} first: the later name stays`, async ({ world }) => {
      const { source } = await world.service();
      const customer = (name: string, partition: number, minutes: number) =>
        cloudEvent('CUSTOMER_CREATED', customerCreated({ name, timestamp: later(minutes) }), { id: id(), partition });
      world.log.append(customer('Older', 0, 1), customer('Newer', 1, 2));
      expect(await collide(world, source, first)).toMatchObject([{ what: 'saved' }, { what: 'saved' }]);
      expect(await world.sql`select name, rev::int from customers`).toEqual([{ name: 'Newer', rev: 2 }]);
      expect(await world.sql`select outcome from history where partition = 0`).toEqual([
        { outcome: first === 0 ? 'applied' : 'stale' },
      ]);
    });
});
