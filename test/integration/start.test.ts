// Starting: on an empty database, by several at once, with as few rights as possible, and where a new group begins.
import { afterEach, describe, expect } from 'vitest';
import { migrate } from '../../db/client.ts';
import { type Arrival, cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, type Lines, test, until, type World } from '../support/world.ts';

const worlds: World[] = [];
async function emptyWorld(): Promise<World & Lines> {
  const world = await createWorld({}, { empty: true });
  worlds.push(world);
  return world;
}
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

function event(n: number): Arrival {
  const payload = userCreated({ userId: `u${n}`, customerAccountId: undefined });
  return cloudEvent('USER_CREATED', payload, { id: `e${n}`, key: `u${n}` });
}

describe('an empty database', () => {
  test('several processes start at once: each finds it migrated, once', async () => {
    const world = await emptyWorld();
    const services = await Promise.all(Array.from({ length: 4 }, () => world.service()));
    world.log.append(event(1), event(2));
    await Promise.all(services.map(({ source }) => source.drain()));
    expect(await world.sql`select user_id, version from users order by 1`).toEqual([
      { user_id: 'u1', version: 1 },
      { user_id: 'u2', version: 1 },
    ]);
    await world.expectSound();
  });

  test('DB_MIGRATE=false: says what to do, and changes nothing', async () => {
    const world = await emptyWorld();
    await expect(world.service({ DB_MIGRATE: 'false' })).rejects.toThrow(/npm run db:migrate.*DB_MIGRATE=true/);
    expect(await world.sql`select 1 from pg_tables where schemaname = 'public'`).toHaveLength(0);
  });
});

describe('rights', () => {
  // What the service needs, and no more: docs/operations.md lists the same.
  const GRANTS = `
    grant usage on schema public to %;
    grant select, insert, update on users, customers, positions, dead_letters to %;
    grant select, insert on history, losses to %;
    grant select, insert, delete on waiting, holds to %;
    grant select, insert, update on jobs, audit to %;
    grant select, insert, update, delete on idempotency to %;
    grant select on accounting to %`;

  async function roles(world: World) {
    const name = world.settings.DB_DATABASE as string;
    const [owner, user] = [`${name}_owner`, `${name}_user`];
    for (const role of [owner, user]) await world.sql.unsafe(`create role ${role} login password 'a password'`);
    await world.sql.unsafe(`grant create on database ${name} to ${owner}; grant create on schema public to ${owner}`);
    return {
      owner: { DB_OWNER_USER: owner, DB_OWNER_PASSWORD: 'a password' },
      user: { DB_USER: user, DB_PASSWORD: 'a password' },
      grants: GRANTS.replaceAll('%', user),
      async drop() {
        await world.sql.unsafe(`drop owned by ${owner}, ${user}; drop role ${owner}, ${user}`);
      },
    };
  }

  test('DB_OWNER_USER migrates, DB_USER works with grants on rows alone', async () => {
    const world = await emptyWorld();
    const { owner, user, grants, drop } = await roles(world);
    const { database } = world.config({ ...user, ...owner });
    await migrate({ ...database, user: owner.DB_OWNER_USER, password: owner.DB_OWNER_PASSWORD });
    await world.sql.unsafe(grants);

    const service = await world.service({ ...user, ...owner, DB_MIGRATE: 'true' });
    world.log.append(
      cloudEvent('USER_CREATED', userCreated(), { id: '1' }), // waits, is released
      cloudEvent('SOMETHING_ELSE', userCreated(), { id: '2' }), // a dead letter
    );
    await service.source.drain();
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: '3', partition: 1 }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: '4' }),
    );
    await service.source.drain();
    service.tick();
    await until(async () => expect(await world.sql`select state from users`).toEqual([{ state: 'active' }]));
    await world.expectSound();

    // Not even these rights can alter what happened.
    const mine = await world.sql.reserve();
    await mine.unsafe(`set role ${user.DB_USER}`);
    for (const statement of [
      'update history set drift = true',
      'delete from history',
      'truncate history',
      'drop table users',
    ])
      await expect(mine.unsafe(statement), statement).rejects.toMatchObject({ code: '42501' });
    await mine.unsafe('reset role');
    mine.release();
    await service.stop();
    await drop();
  });

  test('DB_USER may not migrate and nobody else does: it ends, and says who may', async () => {
    const world = await emptyWorld();
    const { user, drop } = await roles(world);
    await expect(world.service({ ...user, DB_MIGRATE: 'true' })).rejects.toThrow(/DB_OWNER_USER/);
    await drop();
  });
});

describe('where a new group begins', () => {
  const read = async (world: World) => {
    const rows = await world.sql`select user_id from users order by length(user_id), user_id`;
    return rows.map(({ user_id }) => user_id);
  };

  test('KAFKA_FROM=latest counts at the very first start, and never again', async ({ world }) => {
    await world.createTopic(2);
    await world.produce([event(1), event(2), event(3), event(4)]);
    const latest = { KAFKA_FROM: 'latest' };
    const first = await world.kafkaService(latest);
    await world.produce([event(5), event(6)]);
    await until(async () => expect(await read(world)).toEqual(['u5', 'u6']));
    await first.stop();

    await world.produce([event(7), event(8)]);
    const second = await world.kafkaService(latest);
    await until(async () => expect(await read(world)).toEqual(['u5', 'u6', 'u7', 'u8']));
    await second.stop();
    expect(world.lines.filter(({ msg }) => String(msg).includes('KAFKA_FROM decides'))).toHaveLength(1);
  });

  test('by default at the beginning', async ({ world }) => {
    await world.createTopic(2);
    await world.produce([event(1), event(2), event(3), event(4)]);
    await world.kafkaService();
    await until(async () => expect(await read(world)).toEqual(['u1', 'u2', 'u3', 'u4']));
  });
});
