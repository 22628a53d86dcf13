// What a rehearsal keeps from others, and where it stops: it holds its locks until it is rolled back.
import { describe, expect, onTestFinished } from 'vitest';
import { type Db, openDatabase } from '../../db/client.ts';
import { decoder } from '../../src/decode.ts';
import type { Draining } from '../../src/redrive.ts';
import { previewDiscard, previewGivingUp, previewRedrive, runSettling, startRedrive } from '../../src/settle.ts';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  roleChanged,
  statusChanged,
  userCreated,
} from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const LARGE = 'x'.repeat(2_000);
const SMALL_RECORDS = { MAX_RECORD_BYTES: '1024' };
const created = (userId: string, customerAccountId?: string) =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId }), { id: `${userId} created` });
/** `n`: which of its events, and how many minutes later. */
const moved = (userId: string, n: number, over: object = {}, partition = 0) => {
  const timestamp = new Date(AT_MS + n * 60_000).toISOString();
  const payload = { ...statusChanged({ userId, newStatus: n % 2 ? 'ACTIVE' : 'SUSPENDED', timestamp }), ...over };
  return cloudEvent('USER_STATUS_CHANGED', payload, { id: `${userId} ${n}`, partition });
};
const unknown = (userId: string) =>
  cloudEvent('USER_STATUS_CHANGED.v2', statusChanged({ userId }), { id: `${userId} unknown` });

function draining({ db, log }: World): Draining & { db: Db } {
  const saver = { instance: 'test', clusterId: log.clusterId, group: null, serviceVersion: 'test', traceId: null };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db, saver, decode, waitingPerUser: 10_000 };
}
const results = async ({ sql }: World) =>
  (await sql`select result from audit where dry_run`).map(({ result }) => result);

/** A statement's locks, until the test lets go of them. */
async function held({ sql }: World, statement: string): Promise<AsyncDisposable> {
  const [taken, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holding = sql.begin(async (tx) => {
    await tx.unsafe(statement);
    taken.resolve();
    await released.promise;
  });
  await Promise.race([taken.promise, holding]);
  return {
    async [Symbol.asyncDispose]() {
      released.resolve();
      await holding;
    },
  };
}

/** A dead letter that creates a customer, and so many users who wait for it. */
async function customerOf(world: World, users: number) {
  const { source, stop } = await world.service(SMALL_RECORDS);
  const customer = { ...customerCreated({ customerAccountId: 'c1' }), padding: LARGE };
  world.log.append(
    cloudEvent('CUSTOMER_CREATED', customer, { id: 'c1' }),
    ...Array.from({ length: users }, (_, n) => created(`u${n}`, 'c1')),
  );
  await source.drain();
  await stop();
}

/** Who asked leaves as the first event is read. */
function leavingAtFirstEvent(world: World) {
  const stopping = new AbortController();
  const own = draining(world);
  const decode: typeof own.decode = (...record) => {
    stopping.abort();
    return own.decode(...record);
  };
  return { draining: { ...own, decode }, signal: stopping.signal };
}

describe('a rehearsal stops, and says so', () => {
  test('behind the first 2,000 events that a customer lets go', async ({ world }) => {
    await customerOf(world, 2_300);
    const before = await world.digest();
    const rehearsed = await previewRedrive(draining(world), {}, { who: 'ann' });
    expect(rehearsed).toEqual({ matched: 1, outcomes: { applied: 1 }, others: { applied: 2_000 }, more: true });
    expect(await results(world)).toEqual([rehearsed]);
    expect(await world.digest()).toEqual(before);
    const job = await startRedrive(world.db, { filter: {}, who: 'ann' });
    const { outcomes, others } = await runSettling(draining(world), job);
    expect({ outcomes, others }).toEqual({ outcomes: { applied: 1 }, others: { applied: 2_300 } });
  });

  test('behind the first 2,000 dead letters of a user; of none behind those it says that they would wait', async ({
    world,
  }) => {
    const { source, stop } = await world.service();
    world.log.append(created('u1'), created('u2'), moved('u2', 1, { newStatus: 'NOPE' }));
    for (let n = 0; n < 2_400; n++) world.log.append(moved('u1', n, { newStatus: 'NOPE' }, n < 2_100 ? 0 : 1));
    await source.assign();
    await source.drain();
    await stop();
    await world.sql`
      update dead_letters set edited_value = convert_to(replace(convert_from(value, 'UTF8'), 'NOPE', 'PENDING'), 'UTF8')`;
    const told: string[] = [];
    const rehearsed = await previewRedrive(
      draining(world),
      {},
      { who: 'ann', tell: ({ outcome, userId }) => told.push(`${userId} ${outcome}`) },
    );
    expect(rehearsed).toEqual({ matched: 2_001, outcomes: { skipped: 2_001 }, others: {}, more: true });
    expect(new Set(told)).toEqual(new Set(['u1 skipped', 'u2 skipped']));
    expect(await previewRedrive(draining(world), { user: 'u2' }, { who: 'ann' })).toEqual({
      ...{ matched: 1, outcomes: { skipped: 1 }, others: {} },
    });
    expect(await previewDiscard(draining(world), { user: 'u1' }, { who: 'ann' })).toEqual({
      ...{ matched: 2_300, outcomes: { discarded: 2_300 }, others: {}, more: true },
    });
  });

  test('where it is interrupted; one that came to its end does not say it', async ({ world }) => {
    const { source, stop } = await world.service();
    for (let n = 0; n < 60; n++) world.log.append(created(`u${n}`), moved(`u${n}`, 1, { newStatus: 'NOPE' }));
    await source.drain();
    await stop();
    const stopping = new AbortController();
    const watching = { who: 'ann', tell: () => stopping.abort(), signal: stopping.signal };
    const rehearsed = await previewRedrive(draining(world), {}, watching);
    expect(rehearsed).toEqual({ matched: 20, outcomes: { dead: 20 }, others: {}, interrupted: true });
    const late = new AbortController();
    let n = 0;
    const whole = { who: 'ann', tell: () => void (++n === 60 && late.abort()), signal: late.signal };
    expect(await previewRedrive(draining(world), {}, whole)).toEqual({
      ...{ matched: 60, outcomes: { dead: 60 }, others: {} },
    });
    expect(await results(world)).toMatchObject([{ interrupted: true, matched: 20 }, { matched: 60 }]);
    expect((await results(world))[1]).not.toHaveProperty('interrupted');
  });
});

describe('giving up what waits of users that do not exist yet is rehearsed', () => {
  /** So many events of each, and no creation. */
  async function absent(world: World, users: number, events: number) {
    const { source, stop } = await world.service();
    for (let user = 0; user < users; user++) for (let n = 0; n < events; n++) world.log.append(moved(`u${user}`, n));
    await source.drain();
    await stop();
  }

  test('up to 2,000 events of one user', async ({ world }) => {
    await absent(world, 1, 2_300);
    expect(await previewGivingUp(draining(world), {}, { who: 'ann' })).toEqual({
      ...{ matched: 2_000, outcomes: { discarded: 2_000 }, others: {}, more: true },
    });
    expect(await previewGivingUp(draining(world), { type: 'NONE' }, { who: 'ann' })).toEqual({
      ...{ matched: 0, outcomes: {}, others: {} },
    });
    expect(await world.sql`select count(*)::int as n from waiting`).toEqual([{ n: 2_300 }]);
  });

  test('one by one, where they have much', async ({ world }) => {
    await absent(world, 2, 600);
    const stopping = new AbortController();
    const watching = { who: 'ann', tell: () => stopping.abort(), signal: stopping.signal };
    expect(await previewGivingUp(draining(world), {}, watching)).toMatchObject({ matched: 600, interrupted: true });
  });

  test('and ends in between where nobody waits for it any more', async ({ world }) => {
    await absent(world, 1, 1_500);
    const { draining, signal } = leavingAtFirstEvent(world);
    const rehearsed = await previewGivingUp(draining, {}, { who: 'ann', signal });
    expect(rehearsed).toMatchObject({ matched: 1_000, interrupted: true });
  });

  test('and says no such thing where nobody waits for it any more, and nothing was left', async ({ world }) => {
    await absent(world, 1, 300);
    const { draining, signal } = leavingAtFirstEvent(world);
    expect(await previewGivingUp(draining, {}, { who: 'ann', signal })).toEqual({
      ...{ matched: 300, outcomes: { discarded: 300 }, others: {} },
    });
  });
});

describe('giving up what waits of a user whose hold has ended is rehearsed', () => {
  /** Users on hold, so that all of these wait; then the hold ends, and nobody has let them go yet. */
  async function letGo(world: World, ...events: Arrival[]) {
    const { source, stop } = await world.service();
    world.log.append(created('u0'));
    await source.drain();
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('user', 'u0', 'x', 'ann'), ('user', 'u1', 'x', 'ann')`;
    world.log.append(...events);
    await source.drain();
    await stop();
    await world.sql`delete from holds`;
  }

  test('as it would be done: where it was interrupted, nothing goes that would be given up', async ({ world }) => {
    await letGo(world, ...Array.from({ length: 1_200 }, (_, n) => moved('u1', n)), created('u1'));
    const { draining, signal } = leavingAtFirstEvent(world);
    expect(await previewGivingUp(draining, {}, { who: 'ann', signal })).toEqual({
      ...{ matched: 1_000, outcomes: { discarded: 1_000 }, others: {}, more: true, interrupted: true },
    });
  });

  test('up to 2,000 events, those given up and those that go then together', async ({ world }) => {
    const roleOf = (n: number) => {
      const timestamp = new Date(AT_MS + n * 60_000).toISOString();
      return cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId: 'u0', timestamp }), { id: `role ${n}` });
    };
    await letGo(
      world,
      ...Array.from({ length: 1_700 }, (_, n) => moved('u0', n)),
      ...Array.from({ length: 600 }, (_, n) => roleOf(n)),
    );
    const rehearsed = await previewGivingUp(draining(world), { type: 'USER_STATUS_CHANGED' }, { who: 'ann' });
    expect(rehearsed).toMatchObject({ matched: 1_700, outcomes: { discarded: 1_700 }, more: true });
    expect(Object.values(rehearsed.others).reduce((sum, n) => sum + n, 0)).toBe(300);
  });
});

describe('others go on', () => {
  test('whoever adds to the totals meanwhile: a rehearsal adds nothing', async ({ world }) => {
    await customerOf(world, 3);
    const { source, stop } = await world.service(SMALL_RECORDS);
    world.log.append(created('v1'), unknown('v1'), moved('v1', 1), moved('v1', 2, { padding: LARGE }));
    await source.drain();
    await stop();
    await world.sql`
      insert into positions (topic, partition, next_offset, first_offset, cluster_id)
      select '#redrive', n, 0, 0, '' from generate_series(0, 15) n on conflict do nothing`;
    await using _ = await held(world, `select 1 from positions where topic = '#redrive' for update`);
    const rehearsed = await previewRedrive(draining(world), {}, { who: 'ann' });
    expect(rehearsed).toMatchObject({
      matched: 3,
      outcomes: { applied: 1, dead: 1, waiting: 1 },
      others: { applied: 3 },
    });
    expect(await previewDiscard(draining(world), { user: 'v1' }, { who: 'ann' })).toMatchObject({
      ...{ outcomes: { discarded: 1 }, others: { applied: 1 } },
    });
    expect(await previewGivingUp(draining(world), { user: 'v1' }, { who: 'ann' })).toMatchObject({
      ...{ matched: 1, outcomes: { discarded: 1 } },
    });
  });

  test('users with much that waits are rehearsed one by one: the lock of one is not kept for the other', async ({
    world,
  }) => {
    const { source, stop } = await world.service();
    for (const userId of ['u1', 'u2']) {
      world.log.append(created(userId), unknown(userId));
      for (let n = 0; n < 600; n++) world.log.append(moved(userId, n));
    }
    await source.drain();
    await stop();
    const first = Promise.withResolvers<string | null>();
    await using lock = await held(world, `select 1 from users where user_id = 'u2' for update`);
    const patient = openDatabase({ ...world.config().database, lockTimeoutMs: 60_000, statementTimeoutMs: 0 });
    onTestFinished(() => patient.close());
    const rehearsing = previewDiscard(
      { ...draining(world), db: patient.db },
      {},
      { who: 'ann', tell: ({ userId }) => first.resolve(userId) },
    );
    rehearsing.catch(first.reject);
    expect(await first.promise).toBe('u1'); // while the other can not be had
    await until(async () =>
      expect(
        await world.sql`select 1 from pg_locks l join pg_stat_activity a using (pid)
                          where not l.granted and a.datname = current_database()`,
      ).not.toEqual([]),
    );
    await using _ = await held(world, `select 1 from users where user_id = 'u1' for update nowait`);
    await lock[Symbol.asyncDispose]();
    expect(await rehearsing).toMatchObject({ matched: 2, others: { applied: 1_200 } });
  });
});
