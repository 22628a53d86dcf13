// All users of an older machine version brought up at once: beside a running service, killed, twice, and where a migration fails.
import { describe, expect, vi } from 'vitest';
import * as today from '../../machines/index.ts';
import { machineOf, VERSION } from '../../machines/index.ts';
import { cancelJob, type Job, JobTaken, readJob } from '../../src/jobs.ts';
import { rehearseMigration, runMigration, startMigration } from '../../src/migrate.ts';
import { runProgram } from '../support/program.ts';
import { type Arrival, AT_MS, cloudEvent, roleChanged, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, test, until, type World } from '../support/world.ts';

/** The version before today's, of which this file makes rows: it said `enabled` for `active`, and kept names in capitals. */
const OLD = VERSION - 1;
vi.mock('../../machines/migrations.ts', async () => {
  const { VERSION } = await import('../../machines/user.ts');
  const fromOld: today.Migration = ({ state, context }) => {
    if (context.name === 'POISON') throw new TypeError('a name that no version can read');
    if (context.name === 'LOST') return { state: 'nowhere', context };
    return { state: state === 'enabled' ? 'active' : state, context: { ...context, name: nameOf(context.name) } };
  };
  const nameOf = (name: string) => name.slice(0, 1) + name.slice(1).toLowerCase();
  return { MIGRATIONS: { [VERSION - 1]: fromOld }, PAST: {} };
});

const saver = { instance: 'test', clusterId: 'memory', group: null, serviceVersion: 'test', traceId: null };
const TOPIC = 'user-events';
const later = (seconds: number) => new Date(AT_MS + seconds * 1_000).toISOString();
let sent = 0;
const id = () => `e${sent++}`;
const created = (userId: string, partition = 0): Arrival =>
  cloudEvent('USER_CREATED', userCreated({ userId, name: 'Ada', customerAccountId: undefined }), {
    id: id(),
    partition,
  });
const moved = (userId: string, newStatus: 'ACTIVE' | 'SUSPENDED', at: number, partition = 0): Arrival =>
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus, timestamp: later(at) }), {
    id: id(),
    partition,
  });
const promoted = (userId: string, newRole: 'SME_USER' | 'INSTITUTION_ADMIN', at: number, partition = 0): Arrival =>
  cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId, newRole, timestamp: later(at) }), { id: id(), partition });
/** "u0042": in id order as in number order. */
const users = (n: number) => Array.from({ length: n }, (_, i) => `u${String(i).padStart(4, '0')}`);

/** These users as the old version would have saved them, tallies and all. */
let aged = 100;
async function age(world: World, ids?: readonly string[]): Promise<void> {
  await world.sql.begin(async (sql) => {
    const rows = await sql<{ state: string; was: string }[]>`
      update users u set machine_version = ${OLD}, rev = u.rev + 1, name = upper(u.name),
                         state = case u.state when 'active' then 'enabled' else u.state end
        from (select user_id, state from users where ${ids === undefined}::boolean or user_id = any(string_to_array(${(ids ?? []).join()}, ',')) for update) o
       where u.user_id = o.user_id and u.machine_version = ${VERSION} returning u.state, o.state as was`;
    const n = rows.filter(({ state, was }) => state !== was).length;
    await sql`insert into positions (topic, partition, next_offset, first_offset, cluster_id, tallies)
              values ('#redrive', ${aged++}, 0, 0, '', ${JSON.stringify({ 'state|enabled': n, 'state|active': -n })}::text::jsonb)`;
  });
}

async function migrate(world: World, watching: { step?: (job: Job) => void; signal?: AbortSignal } = {}) {
  return await runMigration(world.db, saver, await startMigration(world.db, 'ann'), watching);
}
async function statesOf(world: World) {
  return [
    ...(await world.sql`select state, machine_version as version, count(*)::int as n from users group by 1, 2 order by 1, 2`),
  ];
}
/** `n` users, half of them active. */
async function populate(world: World, n: number, settings: Record<string, string> = {}) {
  const service = await world.service(settings);
  const ids = users(n);
  world.log.append(
    ...ids.map((user) => created(user)),
    ...ids.flatMap((user, i) => (i % 2 ? [moved(user, 'ACTIVE', 1)] : [])),
  );
  await service.source.drain();
  return { ...service, ids };
}

/** A transaction that holds the lock which `statement` takes, until it is let go or the test ends. */
async function held(world: World, statement: string) {
  const [taken, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const holding = world.sql.begin(async (sql) => {
    await sql.unsafe(statement);
    taken.resolve();
    await released.promise;
  });
  await Promise.race([taken.promise, holding]);
  const release = async () => {
    released.resolve();
    await holding;
  };
  return { release, [Symbol.asyncDispose]: release };
}
/** Until a statement like this waits for a lock. */
async function waitsFor(world: World, like: string): Promise<void> {
  await until(async () => {
    const [row] = await world.sql`
      select count(*)::int as n from pg_locks l join pg_stat_activity a using (pid)
       where not l.granted and a.datname = current_database() and a.query like ${like}`;
    expect(row?.n).toBeGreaterThan(0);
  });
}

describe('all users of an older version', () => {
  test('are of this one afterwards, in the states that its migration says, and are counted there', async ({
    world,
  }) => {
    const { ids } = await populate(world, 2_500);
    await age(world);
    expect(await statesOf(world)).toEqual([
      { state: 'enabled', version: OLD, n: 1_250 },
      { state: 'pending', version: OLD, n: 1_250 },
    ]);
    const steps: number[] = [];
    const { job, changes, failed } = await migrate(world, { step: ({ done }) => void steps.push(done) });
    expect(steps).toEqual([1_000, 2_000, 2_500]);
    expect(job).toMatchObject({ kind: 'migrate', state: 'done', total: 2_500, done: 2_500, failed: 0 });
    expect(job.scope).toEqual({ version: VERSION });
    expect({ changes, failed }).toEqual({
      changes: [
        { version: OLD, from: 'enabled', to: 'active', users: 1_250 },
        { version: OLD, from: 'pending', to: 'pending', users: 1_250 },
      ],
      failed: [],
    });
    expect(await statesOf(world)).toEqual([
      { state: 'active', version: VERSION, n: 1_250 },
      { state: 'pending', version: VERSION, n: 1_250 },
    ]);
    expect(await world.sql`select distinct name from users`).toEqual([{ name: 'Ada' }]);
    expect([...(await world.sql`select who, verb, dry_run, result from audit where job_id = ${job.id}`)]).toEqual([
      {
        who: 'ann',
        verb: 'migrate',
        dry_run: false,
        result: { state: 'done', done: 2_500, failed: 0, changes, failedUsers: [] },
      },
    ]);
    expect(ids).toHaveLength(2_500);
  });

  test('once: a second run finds nothing, and writes no user', async ({ world }) => {
    await populate(world, 10);
    await age(world);
    await migrate(world);
    const before = await world.sql`select user_id, rev, updated_at from users order by 1`;
    expect(await migrate(world)).toMatchObject({ job: { done: 10, state: 'done' }, changes: [], failed: [] });
    expect(await world.sql`select user_id, rev, updated_at from users order by 1`).toEqual(before);
  });

  test('those of a newer version are left as they are', async ({ world }) => {
    await populate(world, 4);
    await age(world, ['u0001']);
    await world.sql`update users set machine_version = ${VERSION + 1}, state = 'frozen' where user_id = 'u0003'`;
    expect(await migrate(world)).toMatchObject({
      job: { done: 4, total: 4 },
      changes: [{ version: OLD, from: 'enabled', to: 'active', users: 1 }],
    });
    expect(await world.sql`select state, machine_version as version from users where user_id = 'u0003'`).toEqual([
      { state: 'frozen', version: VERSION + 1 },
    ]);
    await world.sql`update users set machine_version = ${VERSION}, state = 'active' where user_id = 'u0003'`;
  });

  test('keep what waits for them, and it goes on from the migrated state', async ({ world }) => {
    const service = await populate(world, 4);
    await age(world);
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('user', 'u0001', 'test', 'test')`;
    world.log.append(moved('u0001', 'SUSPENDED', 5), moved('u0001', 'ACTIVE', 6));
    await service.source.drain();
    expect(await world.sql`select waiting, state from users where user_id = 'u0001'`).toEqual([
      { waiting: 2, state: 'enabled' },
    ]);
    await migrate(world);
    expect(await world.sql`select waiting, state from users where user_id = 'u0001'`).toEqual([
      { waiting: 2, state: 'active' },
    ]);
    await world.expectSound();
    await world.sql`delete from holds`;
    await world.drain('u0001');
    const rows =
      await world.sql`select outcome, from_state, to_state from history where user_id = 'u0001' and version > 2 order by version`;
    expect([...rows]).toEqual([
      { outcome: 'applied', from_state: 'active', to_state: 'suspended' },
      { outcome: 'applied', from_state: 'suspended', to_state: 'active' },
    ]);
  });

  test('a machine of another file, two versions on: every step between', async ({ world }) => {
    await populate(world, 3);
    await age(world, ['u0000']);
    const two = VERSION + 2;
    const machine = machineOf({
      ...today,
      VERSION: two,
      MIGRATIONS: {
        ...today.MIGRATIONS,
        [VERSION + 1]: (user: today.Saved) => ({ ...user, state: user.state === 'active' ? 'suspended' : user.state }),
      },
    });
    const job = await startMigration(world.db, 'ann', machine);
    expect((await runMigration(world.db, saver, job, {}, machine)).changes).toEqual([
      { version: OLD, from: 'pending', to: 'pending', users: 1 },
      { version: VERSION, from: 'active', to: 'suspended', users: 1 },
      { version: VERSION, from: 'pending', to: 'pending', users: 1 },
    ]);
    expect(await world.sql`select distinct machine_version as v from users`).toEqual([{ v: two }]);
    await world.sql`update users set machine_version = ${VERSION}`;
    await world.sql`update users set state = 'active' where state = 'suspended'`;
    await world.sql`update positions set tallies = '{}' where topic = '#redrive' and partition < 100`;
  });

  test('a job of another version is not gone on with: half would be of each', async ({ world }) => {
    await populate(world, 1);
    const other = machineOf({ ...today, VERSION: VERSION + 1 });
    const job = await startMigration(world.db, 'ann', other);
    const refused = await runMigration(world.db, saver, job, {}).catch((error) => error);
    expect(refused).toBeInstanceOf(JobTaken);
    expect(refused.message).toContain(`up to machine version ${VERSION + 1}, and this is version ${VERSION}`);
    expect(await readJob(world.db, job.id)).toMatchObject({ state: 'running', done: 0 });
  });
});

describe('a migration that fails for some', () => {
  async function withPoison(world: World) {
    const service = await populate(world, 6);
    await age(world);
    await world.sql`update users set name = 'POISON' where user_id in ('u0001', 'u0002')`;
    await world.sql`update users set name = 'LOST' where user_id = 'u0003'`;
    return service;
  }
  async function mend(world: World) {
    await world.sql`update users set name = 'ADA' where name in ('POISON', 'LOST')`;
  }

  test('leaves those as they are and names them; all others are brought up', async ({ world }) => {
    await withPoison(world);
    const before = await world.sql`select * from users where name in ('POISON', 'LOST') order by user_id`;
    const { job, changes, failed } = await migrate(world);
    expect(job).toMatchObject({ state: 'done', done: 6, failed: 3 });
    expect(failed).toEqual(['u0001', 'u0002', 'u0003']);
    expect(changes).toEqual([
      { version: OLD, from: 'enabled', to: 'active', users: 1 },
      { version: OLD, from: 'enabled', to: null, users: 2 },
      { version: OLD, from: 'pending', to: 'pending', users: 2 },
      { version: OLD, from: 'pending', to: null, users: 1 },
    ]);
    expect(await world.sql`select * from users where name in ('POISON', 'LOST') order by user_id`).toEqual(before);
    // Mended, the next run brings up the rest.
    await mend(world);
    expect(await migrate(world)).toMatchObject({ job: { failed: 0 }, failed: [] });
  });

  test('and their next event is a dead letter, behind which later ones wait; after the repair all of it goes', async ({
    world,
  }) => {
    const { source } = await withPoison(world);
    await migrate(world);
    world.log.append(moved('u0001', 'SUSPENDED', 5), moved('u0001', 'ACTIVE', 6), moved('u0005', 'SUSPENDED', 5));
    await source.drain();
    const [dead] = await world.sql`select id::int as id, code, blocks, user_id from dead_letters`;
    expect(dead).toMatchObject({ code: 'transition', blocks: true, user_id: 'u0001' });
    expect(await world.sql`select reason from waiting`).toEqual([{ reason: 'dead-letter' }]);
    expect(await world.sql`select waiting from users where user_id = 'u0001'`).toEqual([{ waiting: 2 }]);
    await mend(world);
    await world.sql`update dead_letters set status = 'redriving'`;
    await world.drain('u0001');
    expect(await world.sql`select state, waiting, version from users where user_id = 'u0001'`).toEqual([
      { state: 'active', waiting: 0, version: 4 },
    ]);
    await migrate(world);
  });
});

describe('beside a running service', () => {
  test('a batch that was computed from the old row finds it migrated, and is run again on it', async ({ world }) => {
    const { source, ids, facts } = await populate(world, 20);
    await age(world);
    world.log.append(...ids.map((user) => moved(user, 'SUSPENDED', 5)));
    const block = await world.blockSaves(TOPIC);
    const delivered = source.deliver(TOPIC);
    await block.reached();
    // All rows change under it.
    expect((await migrate(world)).changes).toMatchObject([{ users: 10 }, { users: 10 }]);
    await block.release();
    expect(await delivered).toMatchObject({ what: 'saved' });
    expect(await statesOf(world)).toEqual([{ state: 'suspended', version: VERSION, n: 20 }]);
    expect(
      await world.sql`select distinct from_state as from from history where version = 3 or (version = 2 and to_state = 'suspended') order by 1`,
    ).toEqual([{ from: 'active' }, { from: 'pending' }]);
    for (const { counts } of facts().partitions) expect(counts).toMatchObject({ conflicts: 0, fenced: 0 });
  });

  test('what an event has migrated meanwhile is seen under the lock, and left', async ({ world }) => {
    // What it remembers would be a conflict: then its first try locks nothing.
    const { source, ids } = await populate(world, 20, { USERS_IN_MEMORY: '0' });
    await age(world);
    // A save that has written its users and waits for something else of its own.
    await world.sql`create function hold_on() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(7); return new; end $$`;
    await world.sql`create trigger hold_on before insert on history for each row execute function hold_on()`;
    await using lock = await held(world, 'select pg_advisory_xact_lock(7)');
    world.log.append(...ids.slice(0, 5).map((user) => moved(user, 'SUSPENDED', 5)));
    const delivered = source.deliver(TOPIC);
    await waitsFor(world, '%insert into history%');
    const migrated = migrate(world);
    await waitsFor(world, '%for no key update%');
    await lock.release();
    expect(await delivered).toMatchObject({ what: 'saved' });
    expect((await migrated).changes).toEqual([
      { version: OLD, from: 'enabled', to: 'active', users: 8 },
      { version: OLD, from: 'pending', to: 'pending', users: 7 },
    ]);
    expect(await statesOf(world)).toEqual([
      { state: 'active', version: VERSION, n: 8 },
      { state: 'pending', version: VERSION, n: 7 },
      { state: 'suspended', version: VERSION, n: 5 },
    ]);
  });

  test('many rounds, nothing arranged: no event is lost, none counts twice, whoever meets a user first', async ({
    world,
  }) => {
    const service = await populate(world, 60);
    const { source, ids } = service;
    const ROUNDS = 15;
    let [byMigration, waited] = [0, 0];
    for (let round = 1; round <= ROUNDS; round++) {
      await age(world);
      world.log.append(...ids.map((user) => moved(user, round % 2 ? 'SUSPENDED' : 'ACTIVE', 10 * round)));
      world.log.append(
        ...ids.toReversed().map((user) => promoted(user, round % 2 ? 'SME_USER' : 'INSTITUTION_ADMIN', 10 * round, 1)),
      );
      const deliver = async (partition: number) => {
        for (let n = 0; n < 4; n++) await source.deliver(TOPIC, partition, { records: 15 });
      };
      const [{ changes }] = await Promise.all([migrate(world), deliver(0), deliver(1)]);
      byMigration += changes.reduce((sum, { users }) => sum + users, 0);
      const [row] = await world.sql`select count(*)::int as n from waiting`;
      waited += row?.n;
      expect(await world.sql`select 1 from users where machine_version <> ${VERSION}`).toHaveLength(0);
    }
    await source.drain();
    await until(async () => expect(await world.sql`select 1 from waiting`).toHaveLength(0));
    const versions =
      await world.sql`select distinct version - case when user_id ~ '[13579]$' then 1 else 0 end as v from users`;
    expect([...versions]).toEqual([{ v: 1 + 2 * ROUNDS }]);
    expect(await world.sql`select 1 from dead_letters`).toHaveLength(0);
    expect([byMigration > 0, waited]).toEqual([true, 0]);
  });
});

describe('interrupted', () => {
  test('a signal stops it after the step in hand; it goes on from there, and no user is written twice', async ({
    world,
  }) => {
    await populate(world, 2_100);
    await age(world);
    const revs = await world.sql`select user_id, rev::int + 1 as rev from users order by 1`;
    const stopping = new AbortController();
    const { job, changes } = await migrate(world, { step: () => stopping.abort(), signal: stopping.signal });
    expect(job).toMatchObject({ state: 'running', done: 1_000, cursor: 'u0999', endedAt: null });
    expect(changes.map(({ users }) => users)).toEqual([500, 500]);
    const rest = await runMigration(world.db, saver, (await readJob(world.db, job.id)) as Job, {});
    expect(rest).toMatchObject({ job: { state: 'done', done: 2_100 } });
    expect(await world.sql`select user_id, rev::int as rev from users order by 1`).toEqual(revs);
  });

  test('resumed, its numbers are those of the whole job; who went which way is told of the last run alone', async ({
    world,
  }) => {
    const { ids } = await populate(world, 2_500);
    await world.sql`update users set name = 'Poison' where user_id in ('u0001', 'u2001')`;
    await age(world);
    const stopping = new AbortController();
    const job = await startMigration(world.db, 'ann');
    const first = await runMigration(world.db, saver, job, { step: () => stopping.abort(), signal: stopping.signal });
    expect(first).toMatchObject({ job: { state: 'running', done: 1_000, failed: 1 }, failed: ['u0001'] });
    const second = await runMigration(world.db, saver, (await readJob(world.db, job.id)) as Job, {});
    expect(second).toMatchObject({ job: { state: 'done', done: 2_500, failed: 2 }, failed: ['u2001'] });
    expect(second.changes.reduce((sum, { users }) => sum + users, 0)).toBe(ids.length - 1_000);
    const [audit] = await world.sql`select result from audit where job_id = ${job.id}`;
    expect(audit?.result).toEqual({ state: 'done', done: 2_500, failed: 2 });
    await world.sql`update users set name = 'Ada', machine_version = ${VERSION} where name = 'POISON'`;
    await world.sql`
      insert into positions (topic, partition, next_offset, first_offset, cluster_id, tallies)
      values ('#redrive', ${aged++}, 0, 0, '', '{"state|enabled": -2, "state|active": 2}')`;
    await world.sql`update users set state = 'active' where state = 'enabled'`;
  });

  test('cancelled by somebody: its next step does nothing, what was done stays done', async ({ world }) => {
    await populate(world, 1_100);
    await age(world);
    const stopping = new AbortController();
    const { job } = await migrate(world, { step: () => stopping.abort(), signal: stopping.signal });
    await cancelJob(world.db, job.id, 'bob');
    const gone = await runMigration(world.db, saver, job, {}).catch((error) => error);
    expect(gone).toBeInstanceOf(JobTaken);
    expect(gone.message).toBe(`job ${job.id} is cancelled`);
    expect(await readJob(world.db, job.id)).toMatchObject({ state: 'cancelled', done: 1_000 });
    const [row] = await world.sql`select count(*)::int as n from users where machine_version = ${VERSION}`;
    expect(row?.n).toBe(1_000);
    await migrate(world);
  });

  test('run by two at once: one gets on, the other finds out, and each user is written once', async ({ world }) => {
    await populate(world, 3_000);
    await age(world);
    const revs = await world.sql`select user_id, rev::int + 1 as rev from users order by 1`;
    const job = await startMigration(world.db, 'ann');
    const ended = await Promise.allSettled([1, 2].map(() => runMigration(world.db, saver, job, {})));
    const lost = ended.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(lost.map(({ reason }) => reason instanceof JobTaken)).toEqual([true]);
    expect(await readJob(world.db, job.id)).toMatchObject({ state: 'done', done: 3_000, failed: 0 });
    expect(await world.sql`select user_id, rev::int as rev from users order by 1`).toEqual(revs);
  });

  test('two jobs at once: both end, and each user is written once', async ({ world }) => {
    await populate(world, 3_000);
    await age(world);
    const revs = await world.sql`select user_id, rev::int + 1 as rev from users order by 1`;
    const both = await Promise.all([migrate(world), migrate(world)]);
    expect(both.map(({ job }) => [job.state, job.done])).toEqual(Array(2).fill(['done', 3_000]));
    const written = both.flatMap(({ changes }) => changes).reduce((sum, { users }) => sum + users, 0);
    expect(written).toBe(3_000);
    expect(await world.sql`select user_id, rev::int as rev from users order by 1`).toEqual(revs);
  });
});

describe('a rehearsal', () => {
  test('counts what would go which way, and writes nothing but that it was made', async ({ world }) => {
    await populate(world, 1_500);
    await age(world);
    await world.sql`update users set name = 'POISON' where user_id = 'u0002'`;
    const [before, tallies] = [await world.digest(), await world.sql`select * from positions order by 1, 2`];
    const seen: number[] = [];
    const found = await rehearseMigration(world.db, 'ann', { step: (n) => void seen.push(n) });
    expect(found).toEqual({
      users: 1_500,
      changes: [
        { version: OLD, from: 'enabled', to: 'active', users: 750 },
        { version: OLD, from: 'pending', to: 'pending', users: 749 },
        { version: OLD, from: 'pending', to: null, users: 1 },
      ],
      failed: ['u0002'],
    });
    expect(seen).toEqual([1_000, 1_500]);
    expect(await world.digest()).toEqual(before);
    expect(await world.sql`select * from positions order by 1, 2`).toEqual(tallies);
    expect(await world.sql`select 1 from jobs`).toHaveLength(0);
    expect([...(await world.sql`select who, verb, dry_run, result from audit`)]).toEqual([
      { who: 'ann', verb: 'migrate', dry_run: true, result: found },
    ]);
    await world.sql`update users set name = 'ADA' where user_id = 'u0002'`;
    await migrate(world);
  });
});

describe('a rehearsal that is interrupted', () => {
  test('says so in its audit row; one that came to its end does not', async ({ world }) => {
    await populate(world, 1_500);
    await age(world);
    const stopping = new AbortController();
    const step = (users: number) => users === 1_000 && stopping.abort();
    const rehearsed = await rehearseMigration(world.db, 'ann', { step, signal: stopping.signal });
    expect(rehearsed).toMatchObject({ users: 1_000, interrupted: true });
    const late = new AbortController();
    const lateStep = (users: number) => users === 1_500 && late.abort();
    await rehearseMigration(world.db, 'ann', { step: lateStep, signal: late.signal });
    const audit = await world.sql`
      select result ->> 'users' as users, result -> 'interrupted' as interrupted from audit order by id`;
    expect([...audit]).toEqual([
      { users: '1000', interrupted: true },
      { users: '1500', interrupted: null },
    ]);
    await migrate(world);
  });
});

describe('as a command', () => {
  /** Users without a history, saved by the old version: enough for many steps. */
  async function seed(world: World, n: number): Promise<void> {
    await world.sql.unsafe(`
      insert into users (user_id, state, version, role, user_type, is_company_owner, source_role, email, name, ring, waiting, rev,
                         machine_version, created_at)
      select 'u' || lpad(i::text, 6, '0'), 'active', 1, 'CUSTOMER_USER', 'SME', false, 'USER', 'a@b.c', 'Ada', '', 0, 1, ${OLD}, now()
        from generate_series(1, ${n}) i`);
    await world.sql`insert into positions (topic, partition, next_offset, first_offset, cluster_id, tallies)
                    values ('#redrive', 100, 0, 0, '', ${JSON.stringify({ 'state|active': n })}::text::jsonb)`;
  }
  async function cli(world: World, ...args: string[]) {
    const program = runProgram(args, world.settings);
    const { code } = await program.ended;
    return { code, ...program.text };
  }
  async function withSeeded(
    n: number,
    act: (world: World) => Promise<void>,
    settings: Record<string, string> = {},
  ): Promise<void> {
    const world = await createWorld(settings);
    try {
      await seed(world, n);
      await act(world);
      // Without histories there is no fold; what can be said is said.
      expect(await world.sql`select distinct state, machine_version as v, waiting, version from users`).toEqual([
        { state: 'active', v: VERSION, waiting: 0, version: 1 },
      ]);
    } finally {
      await world.close();
    }
  }

  test('killed in the middle of a step, it goes on where it was: every user is written once', async () => {
    await withSeeded(20_000, async (world) => {
      await using lock = await held(world, "select 1 from users where user_id = 'u010500' for update");
      const program = runProgram(['machine', 'migrate', '--yes', '--actor', 'ann'], world.settings);
      await until(async () => {
        const [job] = await world.sql`select done::int as done from jobs`;
        expect(job?.done).toBe(10_000);
      });
      await waitsFor(world, '%for no key update%');
      program.signal('SIGKILL');
      expect(await program.ended).toMatchObject({ signal: 'SIGKILL' });
      await lock.release();
      const [job] = await world.sql`select id, cursor, state from jobs`;
      expect(job).toMatchObject({ cursor: 'u010000', state: 'running' });

      const resumed = await cli(world, 'jobs', 'resume', String(job?.id));
      expect(resumed).toMatchObject({ code: 0, out: expect.stringContaining('20,000 of 20,000') });
      expect(await world.sql`select distinct rev::int as rev from users`).toEqual([{ rev: 2 }]);
      expect(await readJob(world.db, Number(job?.id))).toMatchObject({ state: 'done', done: 20_000 });
    });
  });

  test('a row that somebody holds for longer than the lock timeout is waited for', async () => {
    await withSeeded(
      20,
      async (world) => {
        await using lock = await held(world, "select 1 from users where user_id = 'u000007' for update");
        const program = runProgram(['machine', 'migrate', '--yes'], world.settings);
        const seen = new Set<string>();
        await until(async () => {
          const rows = await world.sql`
            select query_start::text as at from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like '%for no key update%'`;
          for (const { at } of rows) seen.add(at);
          expect(seen.size).toBeGreaterThan(2);
        });
        await lock.release();
        expect(await program.ended).toMatchObject({ code: 0 });
      },
      { DB_LOCK_TIMEOUT_MS: '100' },
    );
  });

  test('it is asked first; a rehearsal says what would be; the act says what was; again there is nothing to do', async () => {
    await withSeeded(1_200, async (world) => {
      expect(await cli(world, 'machine', 'migrate')).toMatchObject({
        code: 2,
        out: '',
        err: expect.stringContaining('say --yes. Nothing was changed.'),
      });
      const changed = `VERSION  STATE   BECOMES   USERS\n      ${OLD}  active  the same  1,200\n`;
      const rehearsed = await cli(world, 'machine', 'migrate', '--dry-run', '--actor', 'ann');
      expect(rehearsed).toMatchObject({ code: 0, out: changed, err: expect.stringContaining('Nothing was changed.') });
      expect(await world.sql`select who, dry_run from audit`).toEqual([{ who: 'ann', dry_run: true }]);
      expect(await world.sql`select distinct machine_version as v from users`).toEqual([{ v: OLD }]);
      const done = await cli(world, 'machine', 'migrate', '--yes');
      expect(done).toMatchObject({ code: 0, out: expect.stringMatching(/^job \d+ · 1,200 of 1,200 users\n/) });
      expect(done.out.slice(done.out.indexOf('\n') + 1)).toBe(changed);
      const again = await cli(world, 'machine', 'migrate', '--yes', '--json');
      expect(JSON.parse(again.out)).toMatchObject({
        ...{ kind: 'migrate', state: 'done', done: '1200', total: '1200', failed: '0', changes: [], failedUsers: [] },
      });
    });
  });

  test('those that fail are named, with exit code 3', async () => {
    await withSeeded(30, async (world) => {
      await world.sql`update users set state = 'nowhere' where user_id <= 'u000025'`;
      for (const args of [['--dry-run'], ['--yes']]) {
        const { code, out, err } = await cli(world, 'machine', 'migrate', ...args);
        expect(code).toBe(3);
        expect(out).toMatch(/nowhere +fails +25\n/);
        expect(err).toMatch(/^Of 25 users the migration fails: u000001, u000002, .*u000020, and 5 more\. They stay/m);
      }
      await world.sql`update users set state = 'active'`;
      expect(await cli(world, 'machine', 'migrate', '--yes')).toMatchObject({ code: 0 });
    });
  });
});
