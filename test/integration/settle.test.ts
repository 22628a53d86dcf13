// What operators decide about many dead letters: in each user's order, rehearsed first, however often it is interrupted.
import { describe, expect } from 'vitest';
import type { Db } from '../../db/client.ts';
import { decoder } from '../../src/decode.ts';
import { countWaiting, type WaitingFilter } from '../../src/give-up.ts';
import { cancelJob, type Job, JobTaken, readJob } from '../../src/jobs.ts';
import { hold, markForRedrive, release } from '../../src/operate.ts';
import type { Draining } from '../../src/redrive.ts';
import {
  countMatching,
  EditRefused,
  editDeadLetter,
  type Filter,
  previewDiscard,
  previewGivingUp,
  previewRedrive,
  runSettling,
  type Settlement,
  startDiscard,
  startGivingUp,
  startRedrive,
} from '../../src/settle.ts';
import { AT_MS, cloudEvent, customerCreated, roleChanged, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const later = (minutes: number) => new Date(AT_MS + minutes * 60_000).toISOString();
const customer = (id: string) => cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: id }), { id });
const created = (
  userId: string,
  over: { partition?: number; name?: string; customerAccountId?: string | undefined } = {},
) =>
  cloudEvent(
    'USER_CREATED',
    userCreated({ userId, name: over.name ?? 'Ada', customerAccountId: over.customerAccountId }),
    {
      id: `${userId} created`,
      partition: over.partition ?? 0,
    },
  );
/** `by` 'poison': Postgres refuses it. */
const moved = (
  userId: string,
  newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING',
  {
    minutes = 0,
    partition = 0,
    by = 'ann',
    padding,
  }: { minutes?: number; partition?: number; by?: string; padding?: string } = {},
) =>
  cloudEvent(
    'USER_STATUS_CHANGED',
    {
      ...statusChanged({ userId, newStatus, changedBy: by, timestamp: later(minutes) }),
      ...(padding ? { padding } : {}),
    },
    { id: `${userId} ${newStatus} ${minutes}`, partition },
  );
const LARGE = 'x'.repeat(2_000);
const SMALL_RECORDS = { MAX_RECORD_BYTES: '1024' };

function draining({ db, log }: World): Draining & { db: Db } {
  const saver = { instance: 'test', clusterId: log.clusterId, group: null, serviceVersion: 'test', traceId: null };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db, saver, decode, waitingPerUser: 10_000 };
}
async function refusePoison({ sql }: World) {
  await sql.unsafe(`alter table history add constraint broken check (event ->> 'changedBy' is distinct from 'poison')`);
}
async function acceptPoison({ sql }: World) {
  await sql`alter table history drop constraint broken`;
}
async function stories(world: World, userId: string) {
  const rows = await world.sql`select type, outcome, to_state from history where user_id = ${userId} order by version`;
  return rows.map(({ outcome, to_state }) => `${outcome} ${to_state}`);
}
async function statuses({ sql }: World): Promise<Record<string, number>> {
  const rows = await sql`select status, count(*)::int as n from dead_letters group by status`;
  return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
}
async function deadLetters({ sql }: World) {
  return [...(await sql`select id::int as id, code, status, user_id as "userId" from dead_letters order by id`)];
}
async function redriveAll(world: World, filter: Filter = {}, options: { force?: boolean } = {}) {
  const job = await startRedrive(world.db, { filter, who: 'ops', reason: 'repaired', ...options });
  return await runSettling(draining(world), job);
}
/** So many users, each with an event that Postgres refuses and one that waits behind it. */
async function manyPoisoned(world: World, users: number) {
  const { source, stop } = await world.service();
  await refusePoison(world);
  const ids = Array.from({ length: users }, (_, n) => `u${String(n).padStart(4, '0')}`);
  world.log.append(...ids.map((id) => created(id)));
  // One in a batch: a hundred that fail alike would halt the partition.
  for (const id of ids) world.log.append(moved(id, 'SUSPENDED', { by: 'poison' }), moved(id, 'ACTIVE', { minutes: 1 }));
  await source.drain(100);
  expect(await statuses(world)).toEqual({ open: users });
  await acceptPoison(world);
  await stop(); // its own drains would take part
}
/** So many users, each with an event that was too large to be read and can be now. They are settled in steps of 100. */
async function manyTooLarge(world: World, users: number) {
  const { source, stop } = await world.service(SMALL_RECORDS);
  const ids = Array.from({ length: users }, (_, n) => `u${String(n).padStart(4, '0')}`);
  world.log.append(...ids.map((id) => created(id)), ...ids.map((id) => moved(id, 'SUSPENDED', { padding: LARGE })));
  await source.drain();
  expect(await statuses(world)).toEqual({ open: users });
  await stop();
}

describe('many dead letters', () => {
  test("go back in their user's order, whichever of them died first", async ({ world }) => {
    const { source } = await world.service(SMALL_RECORDS);
    world.log.append(created('u1'));
    await source.drain();
    world.log.append(moved('u1', 'ACTIVE', { minutes: 2, padding: LARGE }));
    await source.drain();
    world.log.append(moved('u1', 'SUSPENDED', { minutes: 1, partition: 1, padding: LARGE }));
    await source.assign();
    await source.drain();
    expect(await deadLetters(world)).toMatchObject([
      { code: 'size', userId: null },
      { code: 'size', userId: null },
    ]);
    const { job, outcomes } = await redriveAll(world);
    expect(outcomes).toEqual({ applied: 2 });
    expect(job).toMatchObject({ state: 'done', total: 2, done: 2, failed: 0 });
    expect(await stories(world, 'u1')).toEqual(['applied pending', 'applied suspended', 'applied active']);
  });

  test('go in that order too where more than a step lies between the two, and the rehearsal says the same', async ({
    world,
  }) => {
    const { source, stop } = await world.service(SMALL_RECORDS);
    const between = Array.from({ length: 120 }, (_, n) => `v${n}`);
    world.log.append(created('u1'), ...between.map((id) => created(id)));
    await source.drain();
    world.log.append(moved('u1', 'SUSPENDED', { minutes: 9, partition: 1, padding: LARGE }));
    await source.assign();
    await source.drain();
    world.log.append(...between.map((id) => moved(id, 'ACTIVE', { padding: LARGE })));
    world.log.append(moved('u1', 'ACTIVE', { minutes: 1, padding: LARGE }));
    await source.drain();
    await stop();
    const rehearsed = await previewRedrive(draining(world), {}, { who: 'ann' });
    expect(rehearsed).toEqual({ matched: 122, outcomes: { applied: 122 }, others: {} });
    const { job, outcomes } = await redriveAll(world);
    expect({ outcomes, done: job.done, total: job.total }).toEqual({
      outcomes: { applied: 122 },
      done: 122,
      total: 122,
    });
    expect(await stories(world, 'u1')).toEqual(['applied pending', 'applied active', 'applied suspended']);
  });

  test("a customer's that Postgres refuses still is open again, and stops no other", async ({ world }) => {
    await world.sql`alter table customers add constraint broken check (name <> 'poison')`;
    const { source, stop } = await world.service(SMALL_RECORDS);
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c1', name: 'poison' }), { id: 'c1' }),
      created('u1'),
      moved('u1', 'ACTIVE', { padding: LARGE }),
    );
    await source.drain();
    await stop();
    const { job, outcomes } = await redriveAll(world);
    expect({ outcomes, state: job.state }).toEqual({ outcomes: { dead: 1, applied: 1 }, state: 'done' });
    expect(await statuses(world)).toEqual({ open: 1, resolved: 1 });
  });

  test('that were marked already are forced where the last word is to force them', async ({ world }) => {
    const { source, stop } = await world.service(SMALL_RECORDS);
    world.log.append(
      created('u1'),
      moved('u1', 'SUSPENDED', { padding: LARGE }),
      moved('u1', 'ACTIVE', { minutes: 1 }),
    );
    await source.drain();
    await stop();
    await hold(world.db, { kind: 'user', id: 'u1', reason: 'test', byWhom: 'ops' });
    expect((await redriveAll(world)).outcomes).toEqual({ waiting: 1 });
    expect((await redriveAll(world, {}, { force: true })).outcomes).toEqual({ waiting: 1 });
    await release(world.db, { kind: 'user', id: 'u1', byWhom: 'ops' });
    expect((await world.drain('u1')).map(({ outcome }) => outcome)).toEqual(['applied']);
  });

  test('given up by a process that dies before its drain leave nothing counted as waiting', async ({ world }) => {
    const { source, stop } = await world.service();
    await refusePoison(world);
    world.log.append(created('u1'), moved('u1', 'ACTIVE', { by: 'poison' }));
    await source.drain();
    await stop();
    const job = await startDiscard(world.db, { filter: {}, who: 'ops', reason: 'test' });
    const dying = { ...draining(world), decode: draining(world).decode };
    // The drain's transactions fail, as if the process had ended behind the first.
    await world.sql`create function no_drain() returns trigger language plpgsql as $$ begin raise exception 'gone' using errcode = '57P01'; end $$`;
    await world.sql`create trigger no_drain before insert or update on history for each statement execute function no_drain()`;
    await runSettling(dying, job).catch(() => undefined);
    await world.sql`drop trigger no_drain on history`;
    expect([...(await world.sql`select waiting from users`)]).toEqual([{ waiting: 0 }]);
  });

  test('of thousands of events go in bounded steps, and what waited behind them follows', async ({ world }) => {
    await manyPoisoned(world, 600);
    const steps: Job[] = [];
    const told: Settlement[] = [];
    const job = await startRedrive(world.db, { filter: { code: 'sql' }, who: 'ops' });
    const ended = await runSettling(draining(world), job, {
      step: (job) => steps.push(job),
      tell: (each) => told.push(each),
    });
    expect(ended).toMatchObject({
      outcomes: { applied: 600 },
      others: { applied: 600 },
      job: { done: 600, failed: 0 },
    });
    expect(steps.map(({ done }) => done)).toEqual([500, 600]);
    expect(told).toHaveLength(600);
    expect(told[0]).toMatchObject({
      userId: 'u0000',
      outcome: 'applied',
      from: 'pending',
      to: 'suspended',
      code: 'sql',
    });
    expect(await statuses(world)).toEqual({ resolved: 600 });
  });

  test('that die again are open again, counted as failed, and not taken twice by the same job', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    world.log.append(created('u1'), moved('u1', 'ACTIVE', { by: 'poison' }));
    await source.drain();
    const { job, outcomes } = await redriveAll(world);
    expect(outcomes).toEqual({ dead: 1 });
    expect(job).toMatchObject({ done: 1, failed: 1, state: 'done' });
    expect([...(await world.sql`select attempts, status from dead_letters`)]).toEqual([
      { attempts: 2, status: 'open' },
    ]);
  });

  test('of a user on hold stay eligible until the release', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    world.log.append(created('u1'), moved('u1', 'ACTIVE', { by: 'poison' }));
    await source.drain();
    await acceptPoison(world);
    await hold(world.db, { kind: 'user', id: 'u1', reason: 'test', byWhom: 'ops' });
    expect((await redriveAll(world)).outcomes).toEqual({ waiting: 1 });
    expect(await statuses(world)).toEqual({ redriving: 1 });
  });

  test("a customer's own wakes those who waited for it", async ({ world }) => {
    const { source, stop } = await world.service(SMALL_RECORDS);
    const large = { ...customerCreated({ customerAccountId: 'c1' }), padding: LARGE };
    world.log.append(cloudEvent('CUSTOMER_CREATED', large, { id: 'c1' }), created('u1', { customerAccountId: 'c1' }));
    await source.drain();
    await stop(); // its own drains would take part
    const { outcomes, others } = await redriveAll(world);
    expect({ outcomes, others }).toEqual({ outcomes: { applied: 1 }, others: { applied: 1 } });
    expect(await stories(world, 'u1')).toEqual(['applied pending']);
  });

  test('are given up by a discard, and what waited behind them goes on', async ({ world }) => {
    await manyPoisoned(world, 3);
    const job = await startDiscard(world.db, {
      filter: { type: 'USER_STATUS_CHANGED' },
      who: 'ops',
      reason: 'test data',
    });
    const { outcomes, others } = await runSettling(draining(world), job);
    expect({ outcomes, others }).toEqual({ outcomes: { discarded: 3 }, others: { applied: 3 } });
    expect([...(await world.sql`select distinct status, note, by_whom from dead_letters`)]).toEqual([
      { status: 'discarded', note: 'test data', by_whom: 'ops' },
    ]);
  });
});

describe('events that wait', () => {
  async function waitingForNobody(world: World, each: number) {
    const { source } = await world.service();
    for (const id of ['u1', 'u2']) {
      world.log.append(created(id, { customerAccountId: 'nobody' }));
      for (let n = 1; n < each; n++) world.log.append(moved(id, n % 2 ? 'ACTIVE' : 'SUSPENDED', { minutes: n }));
    }
    world.log.append(created('u3'));
    await source.drain();
    await hold(world.db, { kind: 'user', id: 'u3', reason: 'test', byWhom: 'ops' });
    world.log.append(moved('u3', 'ACTIVE'), roleOf('u3'), moved('u3', 'SUSPENDED', { minutes: 3 }));
    await source.drain();
  }
  const roleOf = (userId: string) => cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId }), { id: `${userId} role` });
  async function giveUp(world: World, filter: WaitingFilter) {
    const job = await startGivingUp(world.db, { filter, who: 'ops', reason: 'never comes' });
    return await runSettling(draining(world), job);
  }

  test('are given up by what they wait for, in bounded steps, and stay in the accounting', async ({ world }) => {
    await waitingForNobody(world, 1_100);
    expect(await countWaiting(world.db, { customer: 'nobody' })).toEqual({ events: 2, users: 2 });
    const { job, outcomes } = await giveUp(world, { user: 'u1' });
    expect({ outcomes, state: job.state, done: job.done, total: job.total }).toEqual({
      ...{ outcomes: { discarded: 1_100 }, state: 'done' },
      ...{ done: 1_100, total: 1_100 },
    });
    expect([...(await world.sql`select distinct code, status, by_whom, note, blocks from dead_letters`)]).toEqual([
      { code: 'given-up', status: 'discarded', by_whom: 'ops', note: 'never comes', blocks: false },
    ]);
    expect([...(await world.sql`select user_id, count(*)::int as n from waiting group by 1 order by 1`)]).toEqual([
      { user_id: 'u2', n: 1_100 },
      { user_id: 'u3', n: 3 },
    ]);
  });

  test('one from the middle: what waits behind it goes on when it may, as if it had not been sent', async ({
    world,
  }) => {
    await waitingForNobody(world, 1);
    const { outcomes, others } = await giveUp(world, { user: 'u3', type: 'USER_ROLE_CHANGED' });
    expect({ outcomes, others }).toEqual({ outcomes: { discarded: 1 }, others: {} });
    expect([...(await world.sql`select waiting from users`)]).toEqual([{ waiting: 2 }]);
    await release(world.db, { kind: 'user', id: 'u3', byWhom: 'ops' });
    await world.drain('u3');
    expect(await stories(world, 'u3')).toEqual(['applied pending', 'applied active', 'applied suspended']);
  });

  test('a rehearsal says how many, and what would go on then; nothing is written', async ({ world }) => {
    const { source, stop } = await world.service();
    world.log.append(created('u1'), moved('u1', 'ACTIVE'));
    await source.drain();
    await refusePoison(world);
    world.log.append(moved('u1', 'SUSPENDED', { minutes: 1, by: 'poison' }), moved('u1', 'PENDING', { minutes: 2 }));
    await source.drain();
    await stop();
    const before = await world.digest();
    const rehearsing = { who: 'ann' };
    expect(await previewDiscard(draining(world), { code: 'sql' }, rehearsing)).toEqual({
      ...{ matched: 1, outcomes: { discarded: 1 } },
      others: { applied: 1 },
    });
    expect(await previewGivingUp(draining(world), { waitsFor: 'dead-letter' }, rehearsing)).toMatchObject({
      ...{ matched: 1, outcomes: { discarded: 1 }, others: {} },
    });
    expect(await world.digest()).toEqual(before);
  });

  test('very many of one user are rehearsed and given up too, beside those of others', async ({ world }) => {
    await waitingForNobody(world, 1_100);
    const rehearsed = await previewGivingUp(draining(world), {}, { who: 'ann' });
    expect(rehearsed).toMatchObject({ matched: 2_203, outcomes: { discarded: 2_203 } });
    expect((await giveUp(world, {})).job).toMatchObject({ total: 2_203, done: 2_203, state: 'done' });
    expect([...(await world.sql`select user_id, waiting from users`)]).toEqual([{ user_id: 'u3', waiting: 0 }]);
  });

  test('are given up while their user is being created: it is not left counting what does not wait', async ({
    world,
  }) => {
    const { source } = await world.service();
    world.log.append(moved('u1', 'ACTIVE'));
    await source.drain();
    expect(await countWaiting(world.db, { user: 'u1' })).toEqual({ events: 1, users: 1 });
    world.log.append(created('u1'));
    const block = await world.blockSaves('user-events');
    const saving = source.drain();
    await block.reached(); // it has read that one waits
    expect((await giveUp(world, { user: 'u1' })).outcomes).toEqual({ discarded: 1 });
    await block.release();
    await saving;
    await until(async () =>
      expect([...(await world.sql`select user_id, waiting from users`)]).toEqual([{ user_id: 'u1', waiting: 0 }]),
    );
  });

  test('a drain that releases them meanwhile and the discard agree: each ends in one place', async ({ world }) => {
    await waitingForNobody(world, 20);
    await release(world.db, { kind: 'user', id: 'u3', byWhom: 'ops' });
    world.log.append(customer('nobody'));
    const { source } = await world.service();
    await Promise.all([giveUp(world, {}), source.drain(), world.drain('u3')]);
    await until(async () => expect([...(await world.sql`select 1 from waiting`)]).toEqual([]));
  });
});

describe('a filter takes what fits, and nothing else', () => {
  test('by id, code, type, user, customer, topic, time, and the oldest so many', async ({ world }) => {
    const { source } = await world.service();
    await refusePoison(world);
    world.log.append(
      customer('c1'),
      created('u1', { customerAccountId: 'c1' }),
      created('u2'),
      moved('u1', 'ACTIVE', { by: 'poison' }),
      moved('u2', 'NOPE' as never),
      cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId: 'u2', changedBy: 'poison' }), { id: 'role' }),
    );
    await source.drain();
    const [first, second, third] = (await deadLetters(world)).map(({ id }) => id as number);
    const matched = async (filter: Filter) => {
      const told: number[] = [];
      await previewRedrive(draining(world), filter, { who: 'ops', tell: ({ id }) => told.push(id) });
      expect(await countMatching(world.db, filter)).toMatchObject({ deadLetters: told.length });
      return told.toSorted((a, b) => a - b);
    };
    const byUser = await world.sql`select id::int as id, user_id from dead_letters order by id`;
    const of = (userId: string) => byUser.filter(({ user_id }) => user_id === userId).map(({ id }) => id);
    expect(await matched({})).toEqual([first, second, third]);
    expect(await matched({ ids: [second as number] })).toEqual([second]);
    expect(await matched({ code: 'schema' })).toHaveLength(1);
    expect(await matched({ type: 'USER_ROLE_CHANGED' })).toHaveLength(1);
    expect(await matched({ user: 'u2' })).toEqual(of('u2'));
    expect(await matched({ customer: 'c1' })).toEqual(of('u1'));
    expect(await matched({ topic: 'elsewhere' })).toEqual([]);
    expect(await matched({ before: '2020-01-01T00:00:00Z' })).toEqual([]);
    expect(await matched({ before: new Date(Date.now() + 60_000).toISOString() })).toHaveLength(3);
    expect(await matched({ limit: 2 })).toEqual([first, second]);
    expect(await matched({ code: 'sql', user: 'u1' })).toEqual(of('u1'));
  });

  test('what is settled already is not touched', async ({ world }) => {
    await manyPoisoned(world, 2);
    expect((await redriveAll(world, { user: 'u0000' })).job).toMatchObject({ total: 1, done: 1 });
    expect((await redriveAll(world)).job).toMatchObject({ total: 1, done: 1 });
    expect((await redriveAll(world)).job).toMatchObject({ total: 0, done: 0, state: 'done' });
  });
});

describe('a rehearsal', () => {
  test('tells what each would become, and writes nothing but its audit row', async ({ world }) => {
    const { source, stop } = await world.service();
    await refusePoison(world);
    for (const id of ['u1', 'u2', 'u3', 'u4']) world.log.append(created(id));
    world.log.append(
      ...['u1', 'u2', 'u3', 'u4'].map((id) => moved(id, 'SUSPENDED', { by: 'poison' })),
      moved('u1', 'ACTIVE', { minutes: 1 }),
    );
    await source.drain();
    await stop();
    await world.sql`alter table history drop constraint broken`;
    await world.sql.unsafe(
      `alter table history add constraint broken check (event ->> 'changedBy' is distinct from 'poison' or user_id <> 'u4')`,
    );
    await hold(world.db, { kind: 'user', id: 'u2', reason: 'test', byWhom: 'ops' });
    const before = await world.digest();
    const told: Settlement[] = [];
    const rehearsed = await previewRedrive(draining(world), {}, { who: 'ann', tell: (each) => told.push(each) });
    expect(rehearsed).toEqual({ matched: 4, outcomes: { applied: 2, waiting: 1, dead: 1 }, others: { applied: 1 } });
    expect(told.map(({ userId, outcome, to }) => [userId, outcome, to])).toEqual([
      ['u1', 'applied', 'suspended'],
      ['u2', 'waiting', null],
      ['u3', 'applied', 'suspended'],
      ['u4', 'dead', null],
    ]);
    expect(await world.digest()).toEqual(before);
    expect([
      ...(await world.sql`select who, verb, dry_run, result -> 'outcomes' as outcomes from audit where verb = 'redrive'`),
    ]).toEqual([{ who: 'ann', verb: 'redrive', dry_run: true, outcomes: { applied: 2, waiting: 1, dead: 1 } }]);

    const { outcomes, others } = await redriveAll(world);
    expect({ outcomes, others }).toEqual({ outcomes: rehearsed.outcomes, others: rehearsed.others });
  });

  test('shows that one is late, and forcing it is a choice that stands in its history row and in the audit', async ({
    world,
  }) => {
    const { source } = await world.service(SMALL_RECORDS);
    world.log.append(
      created('u1'),
      moved('u1', 'SUSPENDED', { padding: LARGE }),
      moved('u1', 'ACTIVE', { minutes: 1 }),
    );
    await source.drain();
    const rehearse = async (force: boolean) =>
      (await previewRedrive(draining(world), {}, { who: 'ops', force })).outcomes;
    expect(await rehearse(false)).toEqual({ stale: 1 });
    expect(await rehearse(true)).toEqual({ applied: 1 });

    const { outcomes } = await redriveAll(world, {}, { force: true });
    expect(outcomes).toEqual({ applied: 1 });
    expect(await stories(world, 'u1')).toEqual(['applied pending', 'applied active', 'applied suspended']);
    const [row] = await world.sql`select facts from history where version = 3`;
    expect(row?.facts).toMatchObject({ forced: true });
    expect([...(await world.sql`select scope, dry_run from audit where verb = 'redrive' and not dry_run`)]).toEqual([
      { scope: { force: true, reason: 'repaired' }, dry_run: false },
    ]);
  });

  test('one that was forced is no newer than it was: another late one is late still', async ({ world }) => {
    const { source } = await world.service(SMALL_RECORDS);
    const late = (newStatus: 'SUSPENDED' | 'PENDING', minutes: number) =>
      moved('u1', newStatus, { minutes, padding: LARGE });
    world.log.append(created('u1'), late('SUSPENDED', 0), late('PENDING', 1), moved('u1', 'ACTIVE', { minutes: 2 }));
    await source.drain();
    const [first] = await deadLetters(world);
    expect((await redriveAll(world, { ids: [first?.id as number] }, { force: true })).outcomes).toEqual({ applied: 1 });
    expect((await redriveAll(world)).outcomes).toEqual({ stale: 1 });
    expect(await stories(world, 'u1')).toEqual([
      ...['applied pending', 'applied active'],
      ...['applied suspended', 'stale suspended'],
    ]);
  });

  test('of what can not be redriven without its user being known shows that too', async ({ world }) => {
    const { source } = await world.service(SMALL_RECORDS);
    world.log.append(created('u1'), moved('u1', 'ACTIVE', { padding: LARGE }));
    await source.drain();
    const told: Settlement[] = [];
    await previewRedrive(draining(world), {}, { who: 'ops', tell: (each) => told.push(each) });
    expect(told).toMatchObject([{ userId: 'u1', type: 'USER_STATUS_CHANGED', outcome: 'applied', to: 'active' }]);
    expect(await deadLetters(world)).toMatchObject([{ userId: null, status: 'open' }]);
  });
});

describe('interrupted, run twice, run by two people', () => {
  test('a job goes on from where it was', async ({ world }) => {
    await manyTooLarge(world, 600);
    const stopping = new AbortController();
    const job = await startRedrive(world.db, { filter: {}, who: 'ops' });
    const first = await runSettling(draining(world), job, {
      step: ({ done }) => done > 0 && stopping.abort(),
      signal: stopping.signal,
    });
    expect(first.job).toMatchObject({ state: 'running', done: 500, total: 600 });
    const again = await readJob(world.db, job.id);
    const second = await runSettling(draining(world), again as Job);
    expect(second.job).toMatchObject({ state: 'done', done: 600 });
    expect(second.outcomes).toEqual({ applied: 100 });
    expect(await statuses(world)).toEqual({ resolved: 600 });
  });

  test('a step that was done, but not counted, is done again without effect', async ({ world }) => {
    await manyPoisoned(world, 3);
    const job = await startRedrive(world.db, { filter: {}, who: 'ops' });
    const stopping = new AbortController();
    await runSettling(draining(world), job, { step: () => stopping.abort(), signal: stopping.signal });
    await world.sql`update jobs set done = 0, cursor = ''`; // as a crash before the job's own row leaves it
    const { job: ended } = await runSettling(draining(world), (await readJob(world.db, job.id)) as Job);
    expect(ended).toMatchObject({ state: 'done' });
    expect([...(await world.sql`select user_id, version, waiting from users order by 1`)]).toEqual(
      ['u0000', 'u0001', 'u0002'].map((user_id) => ({ user_id, version: 3, waiting: 0 })),
    );
  });

  test('two jobs over the same dead letters settle each of them once', async ({ world }) => {
    await manyPoisoned(world, 120);
    const ended = await Promise.all([redriveAll(world), redriveAll(world), redriveAll(world, { code: 'sql' })]);
    for (const { job } of ended) expect(job.state).toBe('done');
    expect(await statuses(world)).toEqual({ resolved: 120 });
    expect([...(await world.sql`select distinct version, waiting from users`)]).toEqual([{ version: 3, waiting: 0 }]);
  });

  test('of two processes that run one job, one ends and the other is told', async ({ world }) => {
    await manyTooLarge(world, 250);
    const job = await startRedrive(world.db, { filter: {}, who: 'ops' });
    const steps = [0, 0];
    const both = await Promise.allSettled(
      steps.map((_, i) => {
        const step = () => {
          steps[i] = (steps[i] ?? 0) + 1;
        };
        return runSettling(draining(world), job, { step });
      }),
    );
    const taken = both.filter((each) => each.status === 'rejected');
    expect(taken).toHaveLength(1);
    expect(Math.min(...steps)).toBe(0); // it is told at its first step
    expect(taken[0]?.reason).toBeInstanceOf(JobTaken);
    const ended = await readJob(world.db, job.id);
    expect(ended).toMatchObject({ state: 'done', failed: 0 });
    expect(ended?.done).toBeLessThanOrEqual(250); // what one has settled, the other does not count
    expect(await statuses(world)).toEqual({ resolved: 250 });
  });

  test('what died again meanwhile is left alone by the one who comes too late to it', async ({ world }) => {
    await manyPoisoned(world, 1);
    const [dead] = await deadLetters(world);
    const mark = (failedUpTo: string) => markForRedrive(world.db, [dead?.id as number], { byWhom: 'ops', failedUpTo });
    await mark('2020-01-01T00:00:00Z');
    expect(await statuses(world)).toEqual({ open: 1 });
    await mark(new Date(Date.now() + 60_000).toISOString());
    expect(await statuses(world)).toEqual({ redriving: 1 });
  });

  test('a cancelled job stops before its next step, and its audit row says so', async ({ world }) => {
    await manyTooLarge(world, 1_200);
    const job = await startRedrive(world.db, { filter: {}, who: 'ops' });
    let cancelled: Promise<unknown> | undefined;
    const ended = await runSettling(draining(world), job, {
      step: ({ done }) => {
        if (done > 0) cancelled ??= cancelJob(world.db, job.id, 'bob');
      },
    }).catch((error) => error);
    await cancelled;
    expect(ended).toBeInstanceOf(JobTaken);
    const left = await statuses(world);
    expect(left.open).toBeGreaterThan(0);
    expect(left.resolved).toBeGreaterThan(0);
    expect(Object.keys(left)).toHaveLength(2);
    expect([
      ...(await world.sql`select who, verb, result -> 'state' as state from audit where verb in ('redrive', 'cancel') order by id`),
    ]).toEqual([
      { who: 'ops', verb: 'redrive', state: 'cancelled' },
      { who: 'bob', verb: 'cancel', state: null },
    ]);
  });

  test('while a service goes on saving events of the same users', async ({ world }) => {
    await manyPoisoned(world, 200);
    const { source } = await world.service();
    for (let n = 0; n < 200; n++)
      world.log.append(moved(`u${String(n).padStart(4, '0')}`, 'SUSPENDED', { minutes: 5 + n }));
    const [{ job }] = await Promise.all([redriveAll(world), source.drain(7)]);
    expect(job).toMatchObject({ state: 'done', failed: 0 });
    await until(async () =>
      expect([...(await world.sql`select distinct version, waiting, state from users`)]).toEqual([
        { version: 4, waiting: 0, state: 'suspended' },
      ]),
    );
  });
});

describe('an edited payload', () => {
  const edited = (over: object) => Buffer.from(JSON.stringify({ ...statusChanged({ userId: 'u1' }), ...over }));
  const BY = { who: 'ann', reason: 'their word for ACTIVE' };

  async function oneBroken(world: World) {
    const { source } = await world.service();
    world.log.append(created('u1'), moved('u1', 'ENABLED' as never));
    await source.drain();
    const [dead] = await deadLetters(world);
    expect(dead).toMatchObject({ code: 'schema', userId: 'u1' });
    return dead?.id as number;
  }

  test('is what is redriven; the original stays, with who and why', async ({ world }) => {
    const id = await oneBroken(world);
    const [original] = await world.sql`select encode(value, 'hex') as value from dead_letters`;
    await editDeadLetter(draining(world), id, edited({ newStatus: 'ACTIVE' }), BY);
    expect((await redriveAll(world)).outcomes).toEqual({ applied: 1 });
    expect(await stories(world, 'u1')).toEqual(['applied pending', 'applied active']);
    const [row] = await world.sql`select encode(value, 'hex') as value, edited_value, status from dead_letters`;
    expect(row).toMatchObject({ ...original, status: 'resolved', edited_value: edited({ newStatus: 'ACTIVE' }) });
    expect([...(await world.sql`select who, scope, result from audit where verb = 'edit'`)]).toEqual([
      { who: 'ann', scope: { id, reason: BY.reason }, result: { bytes: edited({ newStatus: 'ACTIVE' }).length } },
    ]);
  });

  test('can be taken back: then it is redriven as it was received', async ({ world }) => {
    const id = await oneBroken(world);
    await editDeadLetter(draining(world), id, edited({ newStatus: 'ACTIVE' }), BY);
    await editDeadLetter(draining(world), id, null, BY);
    expect((await redriveAll(world)).outcomes).toEqual({ dead: 1 });
  });

  test.for([
    ['that can not be read either', { newStatus: 'STILL' }, /schema.*newStatus: expected one of/],
    ['of another user', { userId: 'u2' }, /names another user/],
  ] as const)('%s is refused, and nothing is changed', async ([, over, why], { world }) => {
    const id = await oneBroken(world);
    const before = await world.digest();
    const refused = await editDeadLetter(draining(world), id, edited(over), BY).catch((error) => error);
    expect(refused).toBeInstanceOf(EditRefused);
    expect(refused.message).toMatch(why);
    expect(await world.digest()).toEqual(before);
    expect([...(await world.sql`select 1 from audit where verb = 'edit'`)]).toEqual([]);
  });

  test('of one that is settled is refused', async ({ world }) => {
    const id = await oneBroken(world);
    await editDeadLetter(draining(world), id, edited({ newStatus: 'ACTIVE' }), BY);
    await redriveAll(world);
    await expect(editDeadLetter(draining(world), id, edited({ newStatus: 'SUSPENDED' }), BY)).rejects.toThrow(
      /is resolved/,
    );
    await expect(editDeadLetter(draining(world), 999, null, BY)).rejects.toThrow(/no dead letter 999/);
  });
});
