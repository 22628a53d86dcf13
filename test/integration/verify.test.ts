// Is what was saved what the histories lead to? What is sound is found to be so while a service writes, and every damage is named.
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { readHistories, readHistoriesOf, type Selection, type UserHistory } from '../../src/history.ts';
import { type Difference, isEqual, type Verified, type VerifyOptions, verify } from '../../src/verify.ts';
import { type Ended, interruptWhileReading, runProgram } from '../support/program.ts';
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
import { createWorld, test, until, type World } from '../support/world.ts';

// Events

let sent = 0;
const send = (type: string, payload: object, partition = 0): Arrival =>
  cloudEvent(type, payload, { partition, id: `e${sent++}` });
const later = (seconds: number) => new Date(AT_MS + seconds * 1_000).toISOString();
const customer = (id: string, seconds = 0, { name = 'Engines Ltd', partition = 0 } = {}) =>
  send('CUSTOMER_CREATED', customerCreated({ customerAccountId: id, name, timestamp: later(seconds) }), partition);
const created = (userId: string, customerAccountId?: string) =>
  send('USER_CREATED', userCreated({ userId, customerAccountId, userType: 'SME_USER' }));
const status = (userId: string, newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING', seconds = 1, partition = 0) =>
  send('USER_STATUS_CHANGED', statusChanged({ userId, newStatus, timestamp: later(seconds) }), partition);
const role = (userId: string, seconds = 1, partition = 0) =>
  send('USER_ROLE_CHANGED', roleChanged({ userId, timestamp: later(seconds) }), partition);
const deleted = (userId: string) => send('USER_DELETED', userDeleted({ userId, timestamp: later(99) }));

async function told(world: World, selection: Selection = {}, options: VerifyOptions = {}) {
  const differences: Difference[] = [];
  const sums = await verify(world.sql, selection, {
    patienceMs: 0,
    ...options,
    tell: (each) => differences.push(each),
  });
  return { sums, differences };
}
async function allOf(pages: AsyncGenerator<UserHistory[]>): Promise<UserHistory[]> {
  const all: UserHistory[] = [];
  for await (const page of pages) all.push(...page);
  return all;
}

describe('while a service writes', () => {
  test('nothing differs, whichever page a save comes between', async ({ world }) => {
    const { source } = await world.service();
    const users = Array.from({ length: 40 }, (_, n) => `auth0|u${n}`);
    world.log.append(customer('c1'), ...users.slice(0, 20).map((userId) => created(userId, 'c1')));
    for (let round = 1; round <= 20; round++)
      for (const [n, userId] of users.entries()) {
        if (round === 10 && n >= 20) world.log.append(created(userId, n % 2 ? 'c1' : 'unknown'));
        world.log.append(
          n % 3 ? status(userId, round % 2 ? 'ACTIVE' : 'SUSPENDED', round, n % 2) : role(userId, round, n % 2),
        );
      }
    let isOver = false;
    const writing = source.drain(5).then(() => {
      isOver = true;
    });
    const verified: Verified[] = [];
    const differences: Difference[] = [];
    while (!isOver)
      for (const stepsPerPage of [1, 7, 100]) {
        const { sums, differences: found } = await told(world, {}, { stepsPerPage });
        verified.push(sums);
        differences.push(...found);
      }
    await writing;
    expect(differences).toEqual([]);
    expect(verified.every(isEqual)).toBe(true);
    // It did see the users come and their histories grow.
    expect(new Set(verified.map(({ steps }) => steps)).size).toBeGreaterThan(3);
  });
});

describe('a count of what waits that is behind', () => {
  test('is no difference where it catches up; one that does not, is', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created('u1'), created('u2'));
    await source.drain();
    await world.sql`update users set waiting = 1`;
    const pages = Promise.withResolvers<void>();
    const verifying = told(world, {}, { patienceMs: 60_000, progress: () => pages.resolve() });
    await pages.promise;
    await world.sql`update users set waiting = 0 where user_id = 'u1'`;
    await world.sql`update users set waiting = 0, name = 'x' where user_id = 'u2'`;
    const { sums, differences } = await verifying;
    expect(differences).toMatchObject([{ userId: 'u2', fields: ['name'] }]);
    expect(sums).toMatchObject({ users: 2, equal: 1, differing: 1 });

    await world.sql`update users set name = 'Ada Lovelace', waiting = 1 where user_id = 'u2'`;
    expect((await told(world, {}, { patienceMs: 600 })).differences).toMatchObject([
      { userId: 'u2', fields: ['waiting'] },
    ]);
    await world.sql`update users set waiting = 0`;
  });

  test('is no difference either where more are behind than are remembered', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(...Array.from({ length: 9 }, (_, n) => created(`u${n}`)));
    await source.drain();
    await world.sql`update users set waiting = 1`;
    let pages = 0;
    const catchUp = () => {
      if (++pages === 1) void world.sql`update users set waiting = 0 where user_id <> 'u5'`.execute();
    };
    const options = { patienceMs: 3_000, mostBehind: 2, stepsPerPage: 3, progress: catchUp };
    const { sums, differences } = await told(world, {}, options);
    expect(differences).toMatchObject([{ userId: 'u5', fields: ['waiting'] }]);
    expect(sums).toMatchObject({ users: 9, equal: 8, differing: 1 });
    await world.sql`update users set waiting = 0`;
  });

  test('is told at once where the reading is interrupted', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created('u1'));
    await source.drain();
    await world.sql`update users set waiting = 1`;
    const interrupting = new AbortController();
    const { sums, differences } = await told(
      world,
      {},
      {
        ...{ patienceMs: 60_000, progress: () => interrupting.abort(), signal: interrupting.signal },
      },
    );
    expect(differences).toMatchObject([{ userId: 'u1', fields: ['waiting'] }]);
    expect(sums).toMatchObject({ differing: 1, interrupted: true, customers: null });
    await world.sql`update users set waiting = 0`;
  });
});

describe('while another table takes the place of `users`', () => {
  test('no user has no row, though it was written since the reading began', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created('u1'), created('u2'));
    await source.drain();
    // As a rebuild swaps them, with rows that it has written under its lock.
    const locked = Promise.withResolvers<void>();
    const swapping = world.sql.begin(async (sql) => {
      await sql`create table users_rebuilt (like users including all)`;
      await sql`lock table users in access exclusive mode`;
      locked.resolve();
      await until(async () => {
        const waiting = await world.sql`
          select 1 from pg_locks where relation = 'users'::regclass::oid and not granted and database = (select oid from pg_database where datname = current_database())`;
        expect(waiting).not.toHaveLength(0);
      });
      await sql`insert into users_rebuilt select * from users`;
      await sql`drop table users`;
      await sql`alter table users_rebuilt rename to users`;
    });
    await locked.promise;
    const { sums, differences } = await told(world);
    await swapping;
    expect(differences).toEqual([]);
    expect(sums).toMatchObject({ users: 2, equal: 2 });
  });
});

// One world for what only reads, or is undone after each test.

let world: World;
beforeAll(async () => {
  world = await createWorld();
  const { source } = await world.service();
  world.log.append(
    ...[customer('c1'), customer('c2', 5), customer('c2', 9, { name: 'Renamed Ltd' }), customer('c3')],
    customer('c2', 1, { partition: 1 }), // stale
    ...[created('u1', 'c1'), status('u1', 'ACTIVE', 1), role('u1', 2), status('u1', 'ACTIVE', 3)],
    ...[created('u2', 'c2'), status('u2', 'SUSPENDED', 1), deleted('u2'), status('u2', 'ACTIVE', 9)],
    ...[created('u3'), role('u3', 4, 1), status('u3', 'ACTIVE', 2), status('u3', 'ACTIVE', 1, 1)],
    ...[created('u4', 'c1'), cloudEvent('USER_DELETED.v2', userDeleted({ userId: 'u4' })), status('u4', 'ACTIVE')],
    ...[created('u5', 'unknown'), status('u5', 'ACTIVE')],
    ...Array.from({ length: 9 }, (_, n) => [created('u6', 'c1'), status('u6', n % 2 ? 'ACTIVE' : 'PENDING', n)]).flat(),
    created('u7'),
  );
  await source.drain();
  await world.expectSound();
  await world.sql`alter table history disable trigger history_append_only`;
  for (const table of TABLES) await world.sql.unsafe(`create table kept_${table} as table ${table}`);
}, 60_000);
const TABLES = ['users', 'customers', 'history', 'positions'];
afterEach(async () => {
  if (world === undefined) return;
  for (const table of TABLES)
    await world.sql.unsafe(`delete from ${table}; insert into ${table} select * from kept_${table}`);
});
afterAll(() => world.close());

describe('what is sound', () => {
  test('is counted: users, events, customers, partitions', async () => {
    const { sums, differences } = await told(world);
    expect(differences).toEqual([]);
    expect(sums).toEqual({
      ...{ users: 6, steps: 32, equal: 6, differing: 0, newer: 0, interrupted: false },
      ...{ customers: { checked: 3, differing: 0 }, partitions: { checked: 2, differing: 0 } },
    });
    expect(isEqual(sums)).toBe(true);
  });

  test('is found to be so where nothing may be written', async () => {
    const { settings } = world;
    await world.sql.unsafe(`alter database ${settings.DB_DATABASE} set default_transaction_read_only = on`);
    try {
      const { code, err } = await cli('verify');
      expect(code, err).toBe(0);
    } finally {
      await world.sql.unsafe(`alter database ${settings.DB_DATABASE} reset default_transaction_read_only`);
    }
  });
});

describe('every damage is found, and named', () => {
  const ofUser = (userId: string, fields: string[], more: object = {}) => ({
    ...{ what: 'user', userId, missing: null, fields, steps: 0, first: null, ...more },
  });
  test.each([
    ['a state', `update users set state = 'active' where user_id = 'u2'`, [ofUser('u2', ['state'])]],
    ['a role', `update users set role = 'CUSTOMER_USER' where user_id = 'u3'`, [ofUser('u3', ['role'])]],
    [
      'a byte of the ring',
      `update users set ring = set_byte(ring, 9, 1) where user_id = 'u1'`,
      [ofUser('u1', ['ring'])],
    ],
    [
      'a mark',
      `update users set status_offset = status_offset - 1 where user_id = 'u6'`,
      [ofUser('u6', ['statusOffset'])],
    ],
    ['a mark of nobody', `update users set role_at_ms = null where user_id = 'u1'`, [ofUser('u1', ['roleAtMs'])]],
    ['a time', `update users set deleted_at = null where user_id = 'u2'`, [ofUser('u2', ['deletedAt'])]],
    ['a count of what waits', `update users set waiting = 3 where user_id = 'u4'`, [ofUser('u4', ['waiting'])]],
    ['a count where nothing waits', `update users set waiting = 1 where user_id = 'u1'`, [ofUser('u1', ['waiting'])]],
    [
      'two of them',
      `update users set name = 'x' where user_id in ('u1', 'u7')`,
      [ofUser('u1', ['name']), ofUser('u7', ['name'])],
    ],
    ['a missing row', `delete from users where user_id = 'u1'`, [ofUser('u1', [], { missing: 'row' })]],
    ['a missing row, the last', `delete from users where user_id = 'u7'`, [ofUser('u7', [], { missing: 'row' })]],
    [
      'a row too many',
      `insert into users select r.* from users u, jsonb_populate_record(u, '{"user_id": "u65"}') r where u.user_id = 'u1'`,
      [ofUser('u65', [], { missing: 'history' })],
    ],
    [
      'a row too many, behind all',
      `insert into users select r.* from users u, jsonb_populate_record(u, '{"user_id": "u9"}') r where u.user_id = 'u1'`,
      [ofUser('u9', [], { missing: 'history' })],
    ],
    [
      'an outcome in the history',
      `update history set outcome = 'skipped' where user_id = 'u1' and version = 3`,
      [
        ofUser('u1', [], {
          steps: 1,
          first: expect.objectContaining({
            ...{ step: 3, type: 'USER_ROLE_CHANGED', topic: 'user-events', partition: 0, fields: ['outcome'] },
            ...{
              folded: expect.objectContaining({ outcome: 'applied' }),
              saved: expect.objectContaining({ outcome: 'skipped' }),
            },
          }),
        }),
      ],
    ],
    [
      'an event in the history',
      `update history set event = jsonb_set(event::jsonb, '{newStatus}', '"PENDING"')::json where user_id = 'u1' and version = 2`,
      [
        ofUser('u1', [], {
          steps: 3,
          first: expect.objectContaining({ step: 2, fields: ['outcome', 'to', 'transition'] }),
        }),
      ],
    ],
    [
      'a gap in a history',
      `delete from history where user_id = 'u6' and version = 4`,
      [
        ofUser('u6', ['version', 'ring'], {
          steps: 14,
          first: expect.objectContaining({ step: 4, fields: expect.arrayContaining(['version']) }),
        }),
        { what: 'partition', topic: 'user-events', partition: 0, missing: '1' },
      ],
    ],
    [
      'the end of a history',
      `delete from history where user_id = 'u3' and version = 4`,
      [
        ofUser('u3', expect.arrayContaining(['version', 'ring']) as never),
        { what: 'partition', topic: 'user-events', partition: 1, missing: '1' },
      ],
    ],
    [
      "a customer's name",
      `update customers set name = 'Other Ltd' where customer_id = 'c2'`,
      [{ what: 'customer', customerId: 'c2', missing: null, fields: ['name'] }],
    ],
    [
      "a customer's time",
      `update customers set at_ms = at_ms - 1 where customer_id = 'c2'`,
      [{ what: 'customer', customerId: 'c2', missing: null, fields: ['atMs'] }],
    ],
    [
      'a customer by an event that did not count',
      `update customers set source = 'user-events/1', source_offset = 0 where customer_id = 'c2'`,
      [{ what: 'customer', customerId: 'c2', missing: null, fields: ['source'] }],
    ],
    [
      'a customer that is gone',
      `delete from customers where customer_id = 'c3'`,
      [{ what: 'customer', customerId: 'c3', missing: 'row', fields: [] }],
    ],
    [
      'a customer of nobody',
      `insert into customers (customer_id, name, at_ms, source, source_offset, rev) values ('c9', 'x', 0, 'x/0', 0, 1)`,
      [{ what: 'customer', customerId: 'c9', missing: 'history', fields: [] }],
    ],
    [
      'a record that vanished',
      `update positions set tallies = jsonb_set(tallies, '{records}', to_jsonb((tallies ->> 'records')::int + 2)) where partition = 1`,
      [{ what: 'partition', topic: 'user-events', partition: 1, missing: '2' }],
    ],
  ] as [string, string, object[]][])('%s', async (_, damage, expected) => {
    await world.sql.unsafe(damage);
    for (const stepsPerPage of [1, 4, 1_000]) {
      const { sums, differences } = await told(world, {}, { stepsPerPage });
      expect(differences).toEqual(expected);
      expect(isEqual(sums)).toBe(false);
      expect(sums.users).toBe(sums.equal + sums.differing);
    }
  });

  test('all histories gone, all rows gone: each user is named, page by page', async () => {
    await world.sql`delete from history where user_id is not null`;
    for (const stepsPerPage of [1, 2, 1_000]) {
      const { differences } = await told(world, {}, { stepsPerPage });
      const users = differences.filter((each) => each.what === 'user');
      expect(users.map(({ userId, missing }) => `${userId} ${missing}`)).toEqual(
        ['u1', 'u2', 'u3', 'u4', 'u6', 'u7'].map((userId) => `${userId} history`),
      );
    }
    await world.sql`insert into history select * from kept_history where user_id is not null`;
    await world.sql`delete from users`;
    const { differences } = await told(world, {}, { stepsPerPage: 3 });
    expect(differences).toHaveLength(6);
    expect(differences).toEqual(differences.map((each) => ({ ...each, missing: 'row' })));
  });
});

describe('what a newer machine wrote', () => {
  test('is counted, and not compared', async () => {
    await world.sql`update users set machine_version = 99, state = 'frozen' where user_id = 'u1'`;
    await world.sql`update history set machine_version = 99 where user_id = 'u2' and version = 4`;
    const { sums, differences } = await told(world);
    expect(differences).toEqual([]);
    expect(sums).toMatchObject({ users: 6, equal: 4, newer: 2, steps: 24 });
  });
});

describe('pages', () => {
  const shape = (users: UserHistory[]) =>
    users.map(({ userId, steps, saved, queued }) => [
      userId,
      steps.map(({ version }) => version),
      saved?.version,
      queued,
    ]);

  test('give every user whole and once, in order, wherever they end', async () => {
    const whole = shape(await allOf(readHistories(world.sql, {})));
    expect(whole.map(([userId]) => userId)).toEqual(['u1', 'u2', 'u3', 'u4', 'u6', 'u7']);
    expect(whole[4]).toEqual(['u6', Array.from({ length: 18 }, (_, n) => n + 1), 18, 0]);
    expect(whole[3]).toEqual(['u4', [1], 1, 2]); // a dead letter that blocks, and what waits behind it
    for (let stepsPerPage = 1; stepsPerPage <= 33; stepsPerPage++)
      expect(shape(await allOf(readHistories(world.sql, {}, { stepsPerPage })))).toEqual(whole);
  });

  test('hold so many steps, and those of the last user of the page before', async () => {
    for await (const page of readHistories(world.sql, {}, { stepsPerPage: 5 }))
      for (const { userId, steps } of page) if (userId !== 'u6') expect(steps.length).toBeLessThanOrEqual(5);
  });

  test('end at a number of bytes too: an event may be large', async () => {
    await world.sql`
      update history set event = (left(event::text, -1) || ', "pad": "' || repeat('x', 4000000) || '"}')::json where user_id = 'u6'`;
    const pages: number[] = [];
    const read: string[] = [];
    for await (const page of readHistories(world.sql, {})) {
      pages.push(page.length);
      read.push(...page.map(({ userId }) => userId));
    }
    expect(read).toEqual(['u1', 'u2', 'u3', 'u4', 'u6', 'u7']);
    // Behind u4 the page was full, however few steps those are.
    expect(pages).toEqual([4, 1, 1]);
  });

  test('of a selection are the same, left-out users aside', async () => {
    const ids = async (selection: Selection, stepsPerPage: number) =>
      (await allOf(readHistories(world.sql, selection, { stepsPerPage }))).map(({ userId }) => userId);
    for (const stepsPerPage of [1, 5, 1_000]) {
      expect(await ids({ user: 'u6' }, stepsPerPage)).toEqual(['u6']);
      expect(await ids({ user: 'nobody' }, stepsPerPage)).toEqual([]);
      expect(await ids({ customer: 'c1' }, stepsPerPage)).toEqual(['u1', 'u4', 'u6']);
      expect(await ids({ sample: 1 }, stepsPerPage)).toEqual(['u1', 'u2', 'u3', 'u4', 'u6', 'u7']);
      const half = await ids({ sample: 0.5 }, stepsPerPage);
      expect(half).toEqual(await ids({ sample: 0.5 }, 7));
      expect(half.length).toBeGreaterThan(0);
      expect(half.length).toBeLessThan(6);
      expect(await ids({ sample: 0.5, customer: 'c1' }, stepsPerPage)).toEqual(
        half.filter((userId) => ['u1', 'u4', 'u6'].includes(userId)),
      );
    }
  });

  test('of one user whose row is gone have its history', async () => {
    await world.sql`delete from users where user_id = 'u1'`;
    expect((await told(world, { user: 'u1' })).differences).toMatchObject([{ userId: 'u1', missing: 'row' }]);
    await world.sql`delete from history where user_id = 'u2'`;
    expect((await told(world, { user: 'u2' })).differences).toMatchObject([{ userId: 'u2', missing: 'history' }]);
  });

  test('a part of the users says nothing of customers and partitions', async () => {
    await world.sql`update customers set name = 'x'`;
    const { sums, differences } = await told(world, { sample: 1 });
    expect(differences).toEqual([]);
    expect(sums).toMatchObject({ users: 6, customers: null, partitions: null });
  });

  test('inside a transaction of the caller: the same steps', async () => {
    const histories = await readHistoriesOf(world.db, ['u6', 'u1', 'nobody']);
    const read = await allOf(readHistories(world.sql, { customer: 'c1' }));
    expect([...histories.keys()].sort()).toEqual(['u1', 'u6']);
    for (const [userId, steps] of histories) expect(steps).toEqual(read.find((user) => user.userId === userId)?.steps);
  });

  test('leave no connection taken, however early the reader goes', async () => {
    for (let n = 0; n < 10; n++) for await (const _ of readHistories(world.sql, {}, { stepsPerPage: 1 })) break;
    const [row] = await world.sql`
      select count(*)::int as n from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`;
    expect(row?.n).toBe(0);
  });

  test('what Postgres throws comes through, and the next reading works', async () => {
    await world.sql`alter table users rename to away`;
    await expect(allOf(readHistories(world.sql, {}))).rejects.toMatchObject({ code: '42P01' });
    await world.sql`alter table away rename to users`;
    expect(await allOf(readHistories(world.sql, {}))).toHaveLength(6);
  });
});

// The command

async function cli(...args: string[]): Promise<Ended & { out: string; err: string }> {
  const program = runProgram(args, world.settings);
  const ended = await program.ended;
  return { ...ended, ...program.text };
}

describe('user-lifecycle verify', () => {
  test('ends with 0 and one line where nothing differs', async () => {
    const { code, out, err } = await cli('verify');
    expect(err).toBe('');
    expect(out).toBe(
      '6 users · 32 events checked · 6 equal · 0 differ · 3 customers, equal · 2 partitions, nothing missing\n',
    );
    expect(code).toBe(0);
  });

  test('names what differs, and ends with 1', async () => {
    await world.sql`update users set state = 'active' where user_id = 'u2'`;
    await world.sql`update history set to_state = 'active' where user_id = 'u3' and version = 3`;
    await world.sql`update customers set name = 'x' where customer_id = 'c1'`;
    const { code, out, err } = await cli('verify');
    const [summary, head, ...lines] = out.trimEnd().split('\n');
    expect(summary).toContain('4 equal · 2 differ · 3 customers, 1 differs');
    expect(head).toMatch(/^DIFFERS +IN +FIRST EVENT$/);
    expect(lines.map((line) => line.replace(/ {2,}/g, ' | '))).toEqual([
      'u2 | state | -',
      'u3 | 1 event | #3 USER_ROLE_CHANGED at user-events[1]@1: folded roleChanged, saved active',
      'customer c1 | name | -',
    ]);
    expect(err).toContain('rebuild --user u2 --dry-run');
    expect(code).toBe(1);
    // Nothing personal.
    expect(out + err).not.toMatch(/Ada|example\.com/);
  });

  test('shows so many; the rest is counted', async () => {
    await world.sql`update users set name = 'x'`;
    const { out, err } = await cli('verify', '--limit', '2');
    expect(out.trimEnd().split('\n')).toHaveLength(4);
    expect(err).toContain('4 more differences');
  });

  test('--json: an object for each, then the sums', async () => {
    await world.sql`update users set state = 'active' where user_id = 'u2'`;
    const { code, out } = await cli('verify', '--customer', 'c2', '--json');
    const lines = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toEqual([
      { what: 'user', userId: 'u2', missing: null, fields: ['state'], steps: 0, first: null },
      expect.objectContaining({ what: 'summary', users: 1, differing: 1, customers: null, partitions: null }),
    ]);
    expect(code).toBe(1);
  });

  test('of a part says what was not looked at; of nobody it fails', async () => {
    expect(await cli('verify', '--user', 'u1')).toMatchObject({
      code: 0,
      err: expect.stringContaining('were not looked at'),
    });
    expect(await cli('verify', '--user', 'nobody')).toMatchObject({
      code: 1,
      err: expect.stringContaining('There is no user nobody'),
    });
    expect(await cli('verify', '--sample', '2')).toMatchObject({ code: 2 });
    expect(await cli('verify', '--user', 'u1', '--sample', '2%')).toMatchObject({ code: 2 });
  });

  test('interrupted, it says so, and ends with 130', async () => {
    const program = await interruptWhileReading(world, ['verify']);
    expect(await program.ended).toEqual({ code: 130, signal: null });
    expect(program.text.err).toContain('interrupted: what was not read yet was not compared');
  });
});
