// The users' rows again from the history: what is damaged is repaired, and services that write meanwhile lose nothing.
import type postgres from 'postgres';
import { describe, expect, onTestFinished } from 'vitest';
import { migrate, openDatabase } from '../../db/client.ts';
import { MACHINE, type Machine } from '../../machines/index.ts';
import { rebuildSome } from '../../src/rebuild.ts';
import { type Owner, rebuildAll, rehearseAll, type Told } from '../../src/rebuild-all.ts';
import { type Program, runProgram } from '../support/program.ts';
import {
  type Arrival,
  cloudEvent,
  customerCreated,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { createWorld, test, until, type World } from '../support/world.ts';

const TOPIC = 'user-events';
const SAVER = { instance: 'test', clusterId: 'memory', group: null, serviceVersion: 'test', traceId: null };
const WHO = { who: 'test' };

// Events of some users

let n = 0;
const customer = (id: string) => cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: id }), { id });
const created = (userId: string, customerAccountId = 'c1') =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId }), { id: `${userId} created` });
const moved = (userId: string, newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING') =>
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus }), { id: `e${n++}` });
const role = (userId: string) => cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId }), { id: `e${n++}` });
const deleted = (userId: string) => cloudEvent('USER_DELETED', userDeleted({ userId }), { id: `e${n++}` });
const flip = (userId: string, i: number) => moved(userId, i % 2 === 0 ? 'ACTIVE' : 'SUSPENDED');

/** u0 to u7 of customer c1, in several states; of w1 an event waits for its customer, of w2 one behind a dead letter. */
const SOME: Arrival[] = [
  customer('c1'),
  customer('c2'),
  ...['u0', 'u1', 'u2', 'u3', 'u4', 'u5'].map((id) => created(id)),
  ...['u6', 'u7', 'w2'].map((id) => created(id, 'c2')),
  ...['u1', 'u2', 'u3', 'u4', 'u6'].map((id) => moved(id, 'ACTIVE')),
  ...['u3', 'u6'].map((id) => moved(id, 'SUSPENDED')),
  ...[role('u4'), role('u5'), deleted('u5')],
  created('w1', 'nobody'),
  cloudEvent('USER_STATUS_CHANGED.v2', statusChanged({ userId: 'w2' }), { id: 'ahead' }), // a dead letter
  moved('w2', 'ACTIVE'),
];

async function fed(world: World, ...more: Arrival[]) {
  const service = await world.service();
  world.log.append(...SOME, ...more);
  await service.source.drain();
  await until(async () => expect(await rows(world, 'u7')).toHaveLength(1));
  return service;
}

/** As `rebuild` opens it. */
function ownerOf(world: World): Owner {
  const database = openDatabase({ ...world.config().database, connections: 3, statementTimeoutMs: 0 });
  onTestFinished(() => database.close());
  return { db: database.db, sql: database.sql };
}

type Row = { user_id: string; state: string; rev: string; updated_at: Date; name: string; waiting: number };
const rows = async (world: World, ...ids: string[]): Promise<Row[]> => [
  ...(await world.sql<Row[]>`select * from users where user_id = any(${`{${ids}}`}::text[]) order by user_id`),
];
const rebuildTable = async (world: World) => {
  const [table] = await world.sql`select to_regclass('users_rebuilt') as name`;
  return table?.name;
};

/** Somebody reads in a transaction that stays open, until `free`. */
async function inUse(world: World): Promise<{ free: () => Promise<void> }> {
  const somebody = await world.sql.reserve();
  await somebody`begin`;
  await somebody`select 1 from users limit 1`;
  let freed: Promise<void> | undefined;
  return { free: () => (freed ??= somebody`commit`.then(() => somebody.release())) };
}

/** Every kind of damage that somebody may do by hand. */
async function damage({ sql }: World): Promise<void> {
  await sql`update users set state = 'suspended', name = 'somebody else' where user_id = 'u1'`;
  await sql`update users set ring = '\\x', version = 1 where user_id = 'u2'`;
  await sql`update users set status_at_ms = 1, status_offset = 0, role_source = 'x/1' where user_id = 'u3'`;
  await sql`update users set created_at = now(), customer_id = 'c2', waiting = 7 where user_id = 'u4'`;
  await sql`update users set deleted_at = null, is_company_owner = not is_company_owner where user_id = 'u5'`;
  await sql`delete from users where user_id = 'u6'`;
  await sql`
    insert into users select x.* from users u, jsonb_populate_record(u, '{"user_id":"x1"}') x where u.user_id = 'u7'`;
}

describe('damage is repaired', () => {
  test('of all users: rows as before, tallies too, the others as they are', async ({ world }) => {
    await fed(world);
    const [before, untouched] = [await world.digest(), await rows(world, 'u0', 'u7', 'w2')];
    const damagedRevs = new Map((await rows(world, 'u1', 'u2', 'u3', 'u4', 'u5')).map((row) => [row.user_id, row.rev]));
    await damage(world);
    await world.sql`update positions set tallies = tallies || '{"state|active": 70, "state|frozen": 3}' where partition = 0`;

    const done = await rebuildAll(ownerOf(world), WHO);
    expect(done).toMatchObject({ looked: 10, users: 9, changed: 5, made: 1, gone: 1, refused: 0 });
    expect(done?.fields).toMatchObject({
      state: 1,
      name: 1,
      ring: 1,
      version: 1,
      statusAtMs: 1,
      createdAt: 1,
      waiting: 1,
    });
    expect(done?.examples).toMatchObject({
      state: ['u1'],
      waiting: ['u4'],
      deletedAt: ['u5'],
      made: ['u6'],
      gone: ['x1'],
    });
    expect(await world.digest()).toEqual(before);
    expect(await rows(world, 'u0', 'u7', 'w2')).toEqual(untouched);
    for (const { user_id, rev } of await rows(world, 'u1', 'u2', 'u3', 'u4', 'u5'))
      expect([user_id, Number(rev)]).toEqual([user_id, Number(damagedRevs.get(user_id)) + 1]);
    expect(await rebuildTable(world)).toBeNull();
    expect(await world.sql`select who, verb, scope, dry_run, result ->> 'changed' as changed from audit`).toEqual([
      { who: 'test', verb: 'rebuild', scope: { all: true }, dry_run: false, changed: '5' },
    ]);
  });

  test('of one user, and of those of a customer', async ({ world }) => {
    await fed(world);
    const before = await world.digest();
    await damage(world);
    const { db } = ownerOf(world);
    expect(await rebuildSome(db, SAVER, { customer: 'c1' }, WHO)).toMatchObject({
      looked: 5,
      changed: 4,
      made: 0,
      gone: 0,
    });
    for (const user of ['u4', 'u6', 'x1']) await rebuildSome(db, SAVER, { user }, WHO);
    expect(await world.digest()).toEqual(before);
    expect(await rebuildSome(db, SAVER, { user: 'u6' }, WHO)).toMatchObject({ looked: 1, changed: 0, made: 0 });
    expect(await world.sql`select scope, result ->> 'changed' as changed from audit order by id limit 2`).toEqual([
      { scope: { customer: 'c1' }, changed: '4' },
      { scope: { user: 'u4' }, changed: '1' },
    ]);
  });

  test('of nobody, in a rehearsal: it is told, and only the audit row is written', async ({ world }) => {
    await fed(world);
    const before = await world.digest();
    await damage(world);
    const damaged = await world.digest();
    const owner = ownerOf(world);
    expect(await rehearseAll(owner, WHO)).toMatchObject({ looked: 10, changed: 5, made: 1, gone: 1 });
    expect(await rebuildSome(owner.db, SAVER, { customer: 'c1' }, { ...WHO, dryRun: true })).toMatchObject({
      changed: 4,
    });
    expect(await world.digest()).toEqual(damaged);
    expect(await world.sql`select dry_run, result ->> 'changed' as changed from audit order by id`).toEqual([
      { dry_run: true, changed: '5' },
      { dry_run: true, changed: '4' },
    ]);
    await rebuildAll(owner, WHO);
    expect(await world.digest()).toEqual(before);
  });
});

describe('interrupted', () => {
  test.for([true, false])('of some users, its audit row says so; rehearsed: %s', async (dryRun, { world }) => {
    await fed(world);
    const { db } = ownerOf(world);
    await world.sql`update users set customer_id = 'c1'`;
    await world.sql`
      insert into users select x.* from users u, generate_series(1, 600) n,
             jsonb_populate_record(u, jsonb_build_object('user_id', 'x' || n)) x where u.user_id = 'u7'`;
    const stopping = new AbortController();
    const step = () => stopping.abort();
    const sums = await rebuildSome(db, SAVER, { customer: 'c1' }, { ...WHO, dryRun, step, signal: stopping.signal });
    expect(sums).toMatchObject({ looked: 500, interrupted: true });
    expect(await rebuildSome(db, SAVER, { customer: 'c1' }, { ...WHO, dryRun })).not.toHaveProperty('interrupted');
    const audit = await world.sql`select result -> 'interrupted' as interrupted from audit order by id`;
    expect([...audit]).toEqual([{ interrupted: true }, { interrupted: null }]);
    await rebuildAll(ownerOf(world), WHO);
  });
});

describe('a service that writes meanwhile', () => {
  test('loses no save, whenever it is: while the table is filled, between the passes, at the lock', async ({
    world,
  }) => {
    const { source, tick } = await fed(world);
    // Of what the machine does not look at: what it decides on a damaged state stays in the history.
    await world.sql`update users set name = 'somebody else' where user_id in ('u1', 'u2', 'u3')`;
    await world.sql`delete from users where user_id = 'u6'`;
    const events: Record<string, Arrival[]> = {
      filled: [moved('u7', 'ACTIVE'), created('new1'), flip('u1', 1), flip('u6', 0)],
      pass: [moved('u7', 'SUSPENDED'), created('new2'), flip('u3', 0)],
      locked: [role('u7'), created('new3', 'c2'), flip('u2', 1), deleted('u0')],
    };
    const told: string[] = [];
    let atTheLock: Promise<unknown> | undefined;
    const done = await rebuildAll(ownerOf(world), {
      ...WHO,
      async told({ what }: Told) {
        if (told.includes(what)) return;
        told.push(what);
        world.log.append(...(events[what] as Arrival[]));
        const delivered = source.deliver(TOPIC);
        if (what !== 'locked') return void (await delivered);
        atTheLock = delivered;
        await until(async () =>
          expect(
            await world.sql`select 1 from pg_locks where not granted and relation = 'users'::regclass`,
          ).not.toHaveLength(0),
        );
      },
    });
    expect(told).toEqual(['filled', 'pass', 'locked']);
    expect(await atTheLock).toMatchObject({ what: 'saved' });
    expect(done).toMatchObject({ passes: 2, again: 6 });
    tick(); // u6 was missing when an event of it came: the sweep finds what waits
    await until(async () => {
      const states = (await rows(world, 'u0', 'u6', 'u7', 'new1', 'new2', 'new3')).map((r) => [r.user_id, r.state]);
      expect(Object.fromEntries(states)).toEqual({
        ...{ u0: 'deleted', u6: 'active', u7: 'suspended' },
        ...{ new1: 'pending', new2: 'pending', new3: 'pending' },
      });
      expect(await rows(world, 'u6')).toMatchObject([{ waiting: 0 }]);
    });
  });

  test('in a transaction that was open when the reading began: its rows are not taken for old', async ({ world }) => {
    await fed(world);
    const [{ rev } = { rev: '' }] = await rows(world, 'u7');
    const [written, commit] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const open = world.sql.begin(async (tx) => {
      await tx`select pg_current_xact_id()`;
      // As a save that is bisected, or a nested transaction, would.
      await tx.savepoint((nested) => nested`update users set rev = rev + 1 where user_id = 'u7'`);
      written.resolve();
      await commit.promise;
    });
    try {
      await written.promise;
      // Others begin and end beside it.
      for (let i = 0; i < 5; i++) await world.sql`select pg_current_xact_id()`;
      await rebuildAll(ownerOf(world), {
        ...WHO,
        async told({ what }) {
          if (what !== 'filled') return;
          commit.resolve();
          await open;
        },
      });
    } finally {
      commit.resolve();
      await open;
    }
    expect(Number((await rows(world, 'u7'))[0]?.rev)).toBe(Number(rev) + 1);
  });

  test('can not write a remembered row over a rebuilt one', async ({ world }) => {
    const { source } = await fed(world);
    await world.sql`update users set name = 'somebody else', role = 'CUSTOMER_USER' where user_id = 'u1'`;
    await world.sql`update users set name = 'somebody else' where user_id = 'u2'`;
    await source.assign();
    const service = await world.service(); // which has not read them yet
    world.log.append(flip('u1', 1), flip('u2', 1));
    await service.source.drain(); // and remembers what it has made of them
    expect(await rows(world, 'u1', 'u2')).toMatchObject([{ name: 'somebody else' }, { name: 'somebody else' }]);
    const owner = ownerOf(world);
    await rebuildSome(owner.db, SAVER, { user: 'u1' }, WHO);
    await rebuildAll(owner, WHO);
    world.log.append(flip('u1', 0), flip('u2', 0));
    await service.source.drain();
    expect(await rows(world, 'u1', 'u2')).toMatchObject([
      { state: 'active', name: 'Ada Lovelace' },
      { state: 'active', name: 'Ada Lovelace' },
    ]);
  });

  test('goes on while somebody has the table: each try lets go of it', async ({ world }) => {
    const { source } = await fed(world);
    const { free } = await inUse(world);
    const blocked: (string | null)[] = [];
    try {
      const done = await rebuildAll(ownerOf(world), {
        ...WHO,
        async told(step) {
          if (step.what !== 'blocked') return;
          blocked.push(step.by);
          world.log.append(flip('u7', blocked.length));
          expect(await source.deliver(TOPIC)).toMatchObject({ what: 'saved' });
          if (blocked.length === 2) await free();
        },
      });
      expect(done).toMatchObject({ passes: 4, again: 2 });
    } finally {
      await free();
    }
    expect(blocked).toHaveLength(2);
    expect(blocked[0]).toMatch(/^process \d+ \(.*\), for \d+ s$/);
  });

  test('with another one, at full speed, through many rebuilds', async ({ world }) => {
    const users = Array.from({ length: 400 }, (_, i) => `user${i}`);
    const services = [await fed(world, ...users.map((id) => created(id))), await world.service()];
    let isOver = false;
    const writing = services.map(async ({ source }, s) => {
      await source.assign();
      for (let i = 0; !isOver; i++) {
        const batch = Array.from({ length: 20 }, (_, k) =>
          flip(users[(i * 37 + k * 11 + s * 5) % 400] as string, i + k),
        );
        world.log.append(...batch.map((arrival) => ({ ...arrival, place: { ...arrival.place, partition: s + 1 } })));
        await source.assign();
        await source.deliver(TOPIC, s + 1);
      }
    });
    const owner = ownerOf(world);
    let again = 0;
    try {
      for (let i = 0; i < 6; i++) {
        await world.sql`update users set name = 'somebody else' where user_id like ${`user${i}%`}`;
        again += (await rebuildAll(owner, WHO))?.again ?? 0;
      }
    } finally {
      isOver = true;
    }
    await Promise.all(writing);
    expect(again).toBeGreaterThan(20);
    await Promise.all(services.map(({ source }) => source.drain()));
    expect(await world.sql`select 1 from users where name = 'somebody else'`).toHaveLength(0);
  });
});

describe('the new table', () => {
  /** All that the catalogue says of it, read otherwise than by the rebuild itself. */
  async function catalogue(sql: postgres.Sql): Promise<Record<string, unknown>> {
    const one = async (query: string) => [...(await sql.unsafe(query))].map((row) => JSON.stringify(row)).sort();
    const ofTable = `= 'users'::regclass`;
    return {
      columns:
        await one(`select row_number() over (order by ordinal_position), column_name, data_type, collation_name, is_nullable, column_default, is_identity, is_generated
                            from information_schema.columns where table_name = 'users'`),
      indexes: await one(`select indexname, indexdef from pg_indexes where tablename = 'users'`),
      constraints: await one(
        `select conname, contype, convalidated, pg_get_constraintdef(oid) as def from pg_constraint where conrelid ${ofTable}`,
      ),
      table:
        await one(`select relname, relowner::regrole, reloptions, relpersistence, relreplident, obj_description(oid) as comment,
                               (select array_agg(a::text order by a::text) from unnest(relacl) a) as acl from pg_class where oid ${ofTable}`),
      rights: await one(
        `select grantee, privilege_type, is_grantable, column_name from information_schema.column_privileges where table_name = 'users'`,
      ),
      type: await one(
        `select typname, typowner::regrole from pg_type where oid in (select reltype from pg_class where oid ${ofTable})`,
      ),
      comments: await one(`select objsubid, description from pg_description where objoid ${ofTable}`),
    };
  }

  test('is the old one to the catalogue, to a role with few rights, and to the migrations', async () => {
    const world = await createWorld({}, { empty: true });
    const name = world.settings.DB_DATABASE as string;
    const [ownerRole, userRole, reader] = [`${name}_owner`, `${name}_user`, `${name}_reader`];
    try {
      for (const role of [ownerRole, userRole, reader])
        await world.sql.unsafe(`create role ${role} login password 'a password'`);
      await world.sql.unsafe(
        `grant create on database ${name} to ${ownerRole}; grant create on schema public to ${ownerRole}`,
      );
      const { database } = world.config();
      const asOwner = { ...database, user: ownerRole, password: 'a password' };
      await migrate(asOwner);
      await world.sql.unsafe(`
        grant select, insert, update on users, customers, positions, dead_letters to ${userRole};
        grant select, insert on history to ${userRole}; grant select, insert, delete on waiting, holds to ${userRole};
        grant select on accounting to ${userRole};
        grant select on users to ${reader} with grant option; grant update (name, email) on users to ${reader};
        alter table users set (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_enabled = false);
        alter table users add constraint users_named check (name <> 'nobody'), drop column updated_at, add column updated_at timestamptz not null default now();
        create index users_by_customer on users (customer_id) where state <> 'deleted';
        create index "Users twice" on users (customer_id) where state <> 'deleted';
        comment on table users is 'It''s "users"'; comment on column users.ring is 'the last 16';
        alter default privileges for role ${ownerRole} grant all on tables to ${reader}`);
      const service = await world.service({ DB_USER: userRole, DB_PASSWORD: 'a password', DB_MIGRATE: 'false' });
      world.log.append(...SOME);
      await service.source.drain();
      const [before, rowsBefore] = [await catalogue(world.sql), await world.digest()];

      await world.sql`update users set name = 'x', updated_at = '2020-01-01' where user_id = 'u1'`;
      const ran = runProgram(['rebuild', '--all', '--yes', '--json', '--actor', 'ann'], {
        ...world.settings,
        ...{ DB_USER: userRole, DB_PASSWORD: 'a password', DB_OWNER_USER: ownerRole, DB_OWNER_PASSWORD: 'a password' },
      });
      expect(await ran.ended, ran.text.err).toMatchObject({ code: 0 });
      expect(JSON.parse(ran.text.out)).toMatchObject({ looked: 9, changed: 1, fields: { name: 1 } });
      expect(await catalogue(world.sql)).toEqual(before);
      expect(await world.digest()).toEqual(rowsBefore);

      await migrate(asOwner);
      world.log.append(flip('u1', 1), created('later'));
      await service.source.drain();
      expect(await rows(world, 'u1', 'later')).toMatchObject([{ state: 'pending' }, { state: 'suspended' }]);
      await world.expectSound();
      await service.stop();
      // Whoever does not own the table is told who may.
      const refused = runProgram(['rebuild', '--all', '--yes'], {
        ...world.settings,
        DB_USER: userRole,
        DB_PASSWORD: 'a password',
      });
      expect(await refused.ended).toMatchObject({ code: 1 });
      expect(refused.text.err).toMatch(/does not own the table users.*DB_OWNER_USER/);
      await world.sql.unsafe(`alter default privileges for role ${ownerRole} revoke all on tables from ${reader}`);
      await world.sql.unsafe(
        `drop owned by ${ownerRole}, ${userRole}, ${reader}; drop role ${ownerRole}, ${userRole}, ${reader}`,
      );
    } finally {
      await world.close();
    }
  });

  test.each([
    ['a view', 'create view active as select * from users', /active/],
    [
      'a trigger',
      'create function f() returns trigger language plpgsql as $$ begin return new; end $$; create trigger t before update on users for each row execute function f()',
      /trigger t/,
    ],
    ['a publication', 'create publication p for table users', /publication p/],
    [
      'a column whose values no history knows',
      'alter table users add column nickname text',
      /values of column nickname/,
    ],
    ['rows of it that not all may see', 'alter table users enable row level security', /kind/],
  ])('is not made where something would be lost with the old one: %s', async (_, statement, what) => {
    const world = await createWorld();
    try {
      await world.sql.unsafe(statement);
      const told: Told[] = [];
      await expect(rebuildAll(ownerOf(world), { ...WHO, told: (step) => void told.push(step) })).rejects.toThrow(what);
      expect(told).toEqual([]); // before anything is read
      expect(await rebuildTable(world)).toBeNull();
    } finally {
      await world.close();
    }
  });

  test('does not take the place where the old one was changed meanwhile', async ({ world }) => {
    await fed(world);
    const addColumn = async ({ what }: Told) => {
      if (what === 'pass') await world.sql`alter table users add column nickname text`;
    };
    await expect(rebuildAll(ownerOf(world), { ...WHO, told: addColumn })).rejects.toThrow(/nickname/);
    expect(await rebuildTable(world)).toBeNull();
    expect(await rows(world, 'u1')).toMatchObject([{ nickname: null }]);
  });

  test('does not take the place where it is not the one that was filled', async ({ world }) => {
    await fed(world);
    const replace = async ({ what }: Told) => {
      if (what === 'pass')
        await world.sql.unsafe('drop table users_rebuilt; create table users_rebuilt (like users including all)');
    };
    await expect(rebuildAll(ownerOf(world), { ...WHO, told: replace })).rejects.toThrow(/another run/);
    expect(await rows(world, 'u1')).toHaveLength(1);
    expect(await rebuildTable(world)).toBe('users_rebuilt'); // the other run's
    await rebuildAll(ownerOf(world), WHO);
  });

  test('is dropped where it is given up', async ({ world }) => {
    await fed(world);
    await damage(world);
    const damaged = await world.digest();
    for (const when of ['filled', 'pass'] as const) {
      const giveUp = new AbortController();
      const told = ({ what }: Told) => void (what === when && giveUp.abort());
      expect(await rebuildAll(ownerOf(world), { ...WHO, signal: giveUp.signal, told })).toBeUndefined();
      expect(await rebuildTable(world)).toBeNull();
    }
    expect(await world.digest()).toEqual(damaged);
    await rebuildAll(ownerOf(world), WHO);
  });
});

describe('another machine', () => {
  /** Today's, but for what a step of its table leads to. */
  function withStep(step: (state: string, type: string) => 'throw' | 'refuse' | undefined): Machine {
    const { table } = MACHINE;
    return {
      ...MACHINE,
      table: {
        ...table,
        step(state, context, event) {
          const otherwise = step(state, event.type);
          if (otherwise === 'throw') throw new Error('not this one');
          return otherwise === 'refuse' ? undefined : table.step(state, context, event);
        },
      },
    };
  }

  test('that does not take a history whole leaves its row as it is', async ({ world }) => {
    await fed(world);
    const [before, owner] = [await world.digest(), ownerOf(world)];
    const machine = withStep((_, type) => (type === 'USER_ROLE_CHANGED' ? 'throw' : undefined));
    const expected = { looked: 9, changed: 0, refused: 2, examples: { refused: ['u4', 'u5'] } };
    expect(await rehearseAll(owner, { ...WHO, machine })).toMatchObject(expected);
    expect(await rebuildAll(owner, { ...WHO, machine })).toMatchObject(expected);
    expect(await rebuildSome(owner.db, SAVER, { user: 'u4' }, { ...WHO, machine })).toMatchObject({
      looked: 1,
      refused: 1,
    });
    expect(await world.digest()).toEqual(before);
  });

  test('that leads elsewhere moves the tallies with the rows', async ({ world }) => {
    await fed(world);
    const owner = ownerOf(world);
    const machine = withStep((_, type) => (type === 'USER_DELETED' ? 'refuse' : undefined));
    const states = async () => {
      const tallies = await world.sql`
        select key, sum(value::int)::int as n from positions cross join jsonb_each_text(tallies) where key like 'state|%'
         group by key having sum(value::int) <> 0 order by key`;
      const counted =
        await world.sql`select 'state|' || state as key, count(*)::int as n from users group by state order by 1`;
      expect([...tallies]).toEqual([...counted]);
      return Object.fromEntries([...counted].map(({ key, n }) => [key, n]));
    };
    const before = await states();
    expect(await rebuildSome(owner.db, SAVER, { user: 'u5' }, { ...WHO, machine })).toMatchObject({
      changed: 1,
      fields: { state: 1, deletedAt: 1 },
    });
    expect(await states()).toEqual({
      ...before,
      'state|deleted': undefined,
      'state|pending': before['state|pending'] + 1,
    });
    expect(await rebuildAll(owner, WHO)).toMatchObject({ changed: 1 });
    expect(await states()).toEqual(before);
    expect(await rebuildAll(owner, { ...WHO, machine })).toMatchObject({ changed: 1 });
    await states();
    await rebuildAll(owner, WHO);
  });

  test('that was newer keeps its rows, unless they are asked for', async ({ world }) => {
    await fed(world);
    await world.sql`update users set state = 'frozen', machine_version = 99 where user_id in ('u1', 'w2')`;
    await world.sql`
      update positions set tallies = tallies || jsonb_build_object('state|frozen', 2) ||
             (select jsonb_object_agg('state|' || to_state, (tallies ->> ('state|' || to_state))::int - n)
                from (select to_state, count(*)::int as n from (select distinct on (user_id) to_state from history where user_id in ('u1', 'w2')
                       order by user_id, version desc) last group by 1) was)
       where partition = 0 and topic = ${TOPIC}`;
    const before = await world.digest();
    const owner = ownerOf(world);
    const kept = { changed: 0, made: 0, gone: 0, refused: 0 };
    for (const dryRun of [true, false]) {
      const options = { ...WHO, dryRun };
      expect(await rebuildSome(owner.db, SAVER, { user: 'u1' }, options)).toMatchObject({
        looked: 1,
        newer: 1,
        ...kept,
      });
      const [{ customer_id } = { customer_id: '' }] =
        await world.sql`select customer_id from users where user_id = 'u1'`;
      expect(await rebuildSome(owner.db, SAVER, { customer: customer_id }, options)).toMatchObject({
        newer: 1,
        ...kept,
      });
    }
    expect(await rehearseAll(owner, WHO)).toMatchObject({ newer: 2, ...kept, examples: { newer: ['u1', 'w2'] } });
    expect(await rebuildAll(owner, WHO)).toMatchObject({ newer: 2, ...kept });
    expect(await world.digest()).toEqual(before);
    expect(await rebuildSome(owner.db, SAVER, { newer: true }, WHO)).toMatchObject({ looked: 2, changed: 2, newer: 0 });
  });

  test('that was newer: its rows come back, and what waited for it goes', async ({ world }) => {
    const { source } = await fed(world);
    const before = await world.digest();
    // As version 2 has migrated them, with its tallies.
    await world.sql`update users set state = 'frozen', machine_version = 2, rev = rev + 1 where user_id in ('u1', 'u2')`;
    await world.sql`
      update positions set tallies = tallies || jsonb_build_object('state|frozen', 2, 'state|active', (tallies ->> 'state|active')::int - 2)
       where partition = 0 and topic = ${TOPIC}`;
    const { db } = ownerOf(world);
    world.log.append(flip('u1', 1));
    await source.drain();
    expect(await rows(world, 'u1')).toMatchObject([{ state: 'frozen', waiting: 1 }]);
    expect(await world.sql`select user_id, reason from waiting where user_id = 'u1'`).toEqual([
      { user_id: 'u1', reason: 'machine' },
    ]);

    const sums = await rebuildSome(db, SAVER, { newer: true }, WHO);
    expect(sums).toMatchObject({ looked: 2, changed: 2, fields: { state: 2, machineVersion: 2 }, queued: 1 });
    await world.drain('u1'); // or the service's own, if that was still to come
    expect(await rows(world, 'u1', 'u2')).toMatchObject([{ state: 'suspended' }, { state: 'active' }]);
    expect((await world.digest()).users?.filter((row) => !String(row).includes('"u1"'))).toEqual(
      before.users?.filter((row) => !String(row).includes('"u1"')),
    );
    expect(await rebuildSome(db, SAVER, { newer: true }, WHO)).toMatchObject({ looked: 0 });
  });
});

describe('user-lifecycle rebuild', () => {
  const run = async (world: World, ...args: string[]) => {
    const program = runProgram(['rebuild', ...args], world.settings);
    const tooLong = setTimeout(() => program.signal('SIGKILL'), 30_000);
    const { code } = await program.ended;
    clearTimeout(tooLong);
    return { code, out: program.text.out, err: program.text.err };
  };

  test('asks, and names what was looked at and changed', async ({ world }) => {
    await fed(world);
    await damage(world);
    expect(await run(world)).toMatchObject({ code: 2, err: expect.stringContaining('One of --user') });
    expect(await run(world, '--all', '--user', 'u1')).toMatchObject({ code: 2 });
    expect(await run(world, '--all')).toMatchObject({ code: 2, err: expect.stringContaining('say --yes') });
    expect(await run(world, '--user', 'nobody', '--yes')).toMatchObject({
      code: 1,
      err: expect.stringContaining('no user nobody'),
    });

    const rehearsed = await run(world, '--all', '--dry-run');
    expect(rehearsed).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^10 users looked at · 5 would be changed · 1 missing/),
    });
    const one = await run(world, '--user', 'u1', '--yes', '--actor', 'ann');
    expect(one).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^1 user looked at · 1 changed\nstate +1: u1\nname +1: u1\n/),
    });
    const all = await run(world, '--all', '--yes', '--actor', 'ann');
    expect(all).toMatchObject({
      code: 0,
      out: expect.stringMatching(/4 changed · 1 missing made[\s\S]*table locked +\d+ ms/),
    });
    expect(await run(world, '--all', '--yes')).toMatchObject({
      code: 0,
      out: expect.stringContaining('all rows are what their history says'),
    });
    expect(await world.sql`select who, scope, dry_run from audit order by id`).toMatchObject([
      { scope: { user: 'nobody' } },
      { scope: { all: true }, dry_run: true },
      { who: 'ann', scope: { user: 'u1' }, dry_run: false },
      { who: 'ann', scope: { all: true }, dry_run: false },
      { scope: { all: true } },
    ]);
  });

  /** A rebuild that has filled its table and can not get the old one, because somebody has it. */
  async function whileBlocked(
    world: World,
    act: (blocked: { program: Program; free: () => Promise<void> }) => Promise<void>,
  ): Promise<void> {
    const { free } = await inUse(world);
    const program = runProgram(['rebuild', '--all', '--yes', '--actor', 'ann'], world.settings);
    try {
      await program.says(/in use by process \d+/);
      await act({ program, free });
    } finally {
      program.signal('SIGKILL');
      await free();
    }
  }

  test('one at a time: the second one says whose it is', async ({ world }) => {
    await fed(world);
    await damage(world);
    await whileBlocked(world, async ({ program, free }) => {
      expect(await run(world, '--all', '--yes')).toMatchObject({
        code: 1,
        err: expect.stringMatching(/One at a time: "user-lifecycle rebuild by ann"/),
      });
      await free();
      expect(await program.ended).toMatchObject({ code: 0 });
    });
  });

  test('killed before the swap: the service does not notice, and the next one begins anew', async ({ world }) => {
    const { source } = await fed(world);
    await damage(world);
    await whileBlocked(world, async ({ program, free }) => {
      program.signal('SIGKILL');
      await program.ended;
      world.log.append(flip('u7', 0));
      expect(await source.deliver(TOPIC)).toMatchObject({ what: 'saved' });
      await free();
    });
    expect(await rebuildTable(world)).toBe('users_rebuilt');
    await until(async () => expect(await run(world, '--all', '--yes')).toMatchObject({ code: 0 }));
    expect(await rebuildTable(world)).toBeNull();
    expect(await rows(world, 'u1', 'u7')).toMatchObject([{ name: 'Ada Lovelace' }, { state: 'active' }]);
  });

  test('ctrl-C ends it, and nothing was changed', async ({ world }) => {
    await fed(world);
    await whileBlocked(world, async ({ program }) => {
      program.signal('SIGINT');
      expect(await program.ended).toMatchObject({ code: 130 });
      expect(program.text.err).toContain('nothing was changed');
      expect(await rebuildTable(world)).toBeNull();
    });
  });
});
