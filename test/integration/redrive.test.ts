// What an operator redrives, and what the drain must survive.
import { describe, expect } from 'vitest';
import { markForRedrive } from '../../src/operate.ts';
import { cloudEvent, customerCreated, plain, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const customer = (id: string) => cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: id }), { id });
const created = (userId: string, customerAccountId: string, name = 'Ann') =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId, name }), { id: `${userId} created` });
const moved = (userId: string, n: number) =>
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus: n % 2 === 0 ? 'ACTIVE' : 'SUSPENDED' }), {
    id: `${userId} ${n}`,
  });

async function deadLetters(world: World) {
  return [...(await world.sql`select id::int as id, code, status, type, attempts from dead_letters order by id`)];
}

describe('a creation that died', () => {
  test('is applied when it is redriven after the repair, customer and all, and what waited behind it follows', async ({
    world,
  }) => {
    await world.sql`alter table users add constraint broken check (name <> 'poison')`;
    const { source } = await world.service();
    world.log.append(customer('c1'), created('u1', 'c1', 'poison'), moved('u1', 0));
    await source.drain();
    const [{ id } = { id: 0 }] = await deadLetters(world);
    expect(await deadLetters(world)).toMatchObject([{ code: 'sql', status: 'open', type: 'USER_CREATED' }]);
    await world.sql`alter table users drop constraint broken`;

    await markForRedrive(world.db, [id], { byWhom: 'test' });
    await world.drain('u1');
    await until(async () => expect(await deadLetters(world)).toMatchObject([{ status: 'resolved' }]));
    expect([...(await world.sql`select customer_id, state, waiting from users`)]).toEqual([
      { customer_id: 'c1', state: 'active', waiting: 0 },
    ]);
    await world.expectSound();
  });

  test('of a customer on hold waits for the release', async ({ world }) => {
    await world.sql`alter table users add constraint broken check (name <> 'poison')`;
    const { source } = await world.service();
    world.log.append(customer('c1'), created('u1', 'c1', 'poison'));
    await source.drain();
    await world.sql`alter table users drop constraint broken`;
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('customer', 'c1', 'test', 'test')`;
    const [{ id } = { id: 0 }] = await deadLetters(world);
    await markForRedrive(world.db, [id], { byWhom: 'test' });
    expect(await world.drain('u1')).toEqual([]);
    expect(await deadLetters(world)).toMatchObject([{ status: 'redriving' }]);
    await world.sql`delete from holds`;
    expect(await world.drain('u1')).toHaveLength(1);
    await world.expectSound();
  });
});

describe('what died unreadable', () => {
  test('is counted under what could be read, however often it is redriven', async ({ world }) => {
    const { source } = await world.service({ MAX_RECORD_BYTES: '1024' });
    const payload = { ...userCreated({ userId: 'u1' }), email: 1, padding: 'x'.repeat(2_000) };
    world.log.append(plain('USER_CREATED', payload as never));
    await source.drain();
    expect(await deadLetters(world)).toMatchObject([{ code: 'size', type: null }]);
    const [{ id } = { id: 0 }] = await deadLetters(world);
    const { redriveDeadLetter } = await import('../../src/redrive.ts');
    const { decoder } = await import('../../src/decode.ts');
    const draining = {
      db: world.db,
      saver: { instance: 'test', clusterId: 'memory', group: null, serviceVersion: 'test', traceId: null },
      decode: decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 }),
      waitingPerUser: 10_000,
    };
    for (let n = 2; n <= 3; n++) {
      await markForRedrive(world.db, [id], { byWhom: 'test' });
      const redriven = await redriveDeadLetter(draining, id);
      if (redriven !== undefined && 'userId' in redriven) await world.drain(redriven.userId);
      expect(await deadLetters(world)).toMatchObject([
        { code: 'schema', type: 'USER_CREATED', status: 'open', attempts: n },
      ]);
      await world.expectSound();
    }
  });
});

describe('of a user that does not exist', () => {
  test('what can still not be read is open again at once; what can be waits for the user', async ({ world }) => {
    const { source } = await world.service();
    const broken = statusChanged({ userId: 'u1', newStatus: 'NOPE' as never });
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', broken, { id: 'a' }),
      cloudEvent('USER_STATUS_CHANGED', broken, { id: 'b' }),
    );
    await source.drain();
    const ids = (await deadLetters(world)).map(({ id }) => id as number);
    const mended = Buffer.from(JSON.stringify(statusChanged({ userId: 'u1' }))).toString('hex');
    await world.sql`update dead_letters set edited_value = decode(${mended}, 'hex') where id = ${ids[0] as number}`;
    await markForRedrive(world.db, ids, { byWhom: 'test' });
    expect((await world.drain('u1')).map(({ outcome }) => outcome)).toEqual(['dead']);
    expect(await deadLetters(world)).toMatchObject([
      { status: 'redriving', attempts: 1 },
      { status: 'open', attempts: 2 },
    ]);
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ userId: 'u1', customerAccountId: undefined }), { id: 'c' }),
    );
    await source.drain();
    await until(async () => expect((await deadLetters(world))[0]).toMatchObject({ status: 'resolved' }));
  });
});

describe('a drain ends', () => {
  test('where the first of more than it takes at once may not go', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created('u1', 'nobody'), ...Array.from({ length: 600 }, (_, n) => moved('u1', n)));
    await source.drain();
    expect(await world.drain('u1')).toEqual([]);
    expect([...(await world.sql`select count(*)::int as n from waiting`)]).toEqual([{ n: 601 }]);
    await world.expectSound();
  });

  test('with large events too: a few megabytes at a time, all of them in the end', async ({ world }) => {
    const { source } = await world.service();
    const large = Array.from({ length: 30 }, (_, n) => {
      const payload = {
        ...statusChanged({ userId: 'u1', newStatus: n % 2 === 0 ? 'ACTIVE' : 'SUSPENDED' }),
        padding: 'x'.repeat(900_000),
      };
      return cloudEvent('USER_STATUS_CHANGED', payload as never, { id: `large ${n}` });
    });
    world.log.append(...large);
    await source.drain(5);
    world.log.append(customer('c1'), created('u1', 'c1'));
    await source.drain();
    await until(async () =>
      expect([...(await world.sql`select version, waiting from users`)]).toEqual([{ version: 31, waiting: 0 }]),
    );
    await world.expectSound();
  });
});
