// A deploy of a changed machine with two real versions side by side, forward and back; and the tutorial that teaches it, typed.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { SETTINGS } from '../support/flood.ts';
import { startProcess } from '../support/process.ts';
import { type Arrival, AT_MS, cloudEvent, roleChanged, statusChanged, userCreated } from '../support/records.ts';
import { makeVersions, typedCommands } from '../support/versions.ts';
import { createWorld, test, until, type World } from '../support/world.ts';

const versions = makeVersions();
beforeAll(versions.change);
afterAll(versions.remove);

/** A user's events come by two keys in turn, so by two partitions as a rule: one of either version. */
function* rounds(users: readonly string[], from: number, to: number): Generator<Arrival[]> {
  for (let round = from; round < to; round++) yield users.map((user) => event(user, round));
}
function event(userId: string, round: number): Arrival {
  const over = { id: `${userId}-${round}`, key: `${userId}-${round % 2}` };
  const timestamp = new Date(AT_MS + round * 1_000).toISOString();
  if (round === 0) return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), over);
  if (round % 5 === 0) {
    const newRole = (Number(userId.replace(/\D+/, '')) + round) % 2 ? 'SME_USER' : 'INSTITUTION_ADMIN';
    return cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId, newRole, timestamp }), over);
  }
  const newStatus = round % 3 ? 'SUSPENDED' : 'ACTIVE';
  return cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus, timestamp }), over);
}
function statusEvent(userId: string, newStatus: string, round: number): Arrival {
  const timestamp = new Date(AT_MS + round * 1_000).toISOString();
  const payload = { ...statusChanged({ userId, timestamp }), newStatus };
  return cloudEvent('USER_STATUS_CHANGED', payload, { id: `${userId}-${round}`, key: `${userId}-${round % 2}` });
}
async function pour(world: World, users: readonly string[], from: number, to: number): Promise<void> {
  for (const events of rounds(users, from, to)) await world.produce(events);
}
const named = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}${i}`);

/** Each version has a database user of its own, and Postgres itself watches what they write. */
async function watched(world: World) {
  const { DB_DATABASE: name } = world.settings;
  const users = { v1: `${name}_v1`, v2: `${name}_v2` };
  for (const user of Object.values(users)) await world.sql.unsafe(`create role ${user} superuser login password 'x'`);
  await world.sql.unsafe(`
    create table spoiled (by_whom text, user_id text, before jsonb, after jsonb);
    create function watch_users() returns trigger language plpgsql as $$ begin
      if session_user in ('${users.v1}', '${users.v2}') and new.machine_version < old.machine_version
         or session_user = '${users.v1}' and old.machine_version > 1
            and to_jsonb(new) - '{waiting,rev,updated_at}'::text[] <> to_jsonb(old) - '{waiting,rev,updated_at}'::text[]
      then insert into spoiled values (session_user, old.user_id, to_jsonb(old), to_jsonb(new)); end if;
      return new; end $$;
    create trigger watch_users before update on users for each row execute function watch_users();
    create table waited (by_whom text, reason text);
    create function watch_waiting() returns trigger language plpgsql as $$ begin
      insert into waited values (session_user, new.reason); return new; end $$;
    create trigger watch_waiting before insert on waiting for each row execute function watch_waiting()`);
  return {
    start(version: 'v1' | 'v2') {
      const settings = { ...world.settings, ...SETTINGS, DB_USER: users[version], DB_PASSWORD: 'x' };
      return startProcess(settings, [], undefined, join(versions[version], 'src/main.ts'));
    },
    async waited(version: 'v1' | 'v2', reason: string): Promise<number> {
      const [row] = await world.sql`
        select count(*)::int as n from waited where by_whom = ${users[version]} and reason = ${reason}`;
      return row?.n;
    },
    /** The database goes with its world, roles do not. */
    async [Symbol.asyncDispose]() {
      for (const user of Object.values(users)) await world.sql.unsafe(`drop role ${user}`);
    },
  };
}

const type = (world: World, where: 'v1' | 'v2', command: string) =>
  versions.type({ in: where, command: `npx user-lifecycle ${command}` }, world.settings);

async function handled(world: World): Promise<number> {
  const [row] = await world.sql`select count(*)::int as n from history`;
  return row?.n;
}
async function read(world: World): Promise<number> {
  const [row] = await world.sql`select sum(next_offset)::int as n from positions where topic = ${world.topic}`;
  return row?.n;
}
async function savedBy(world: World, { pid }: { pid: number }): Promise<number> {
  const rows = await world.sql`select 1 from positions where topic = ${world.topic} and owner like ${`%-${pid}-%`}`;
  return rows.length;
}

/** No version wrote in another's place, and every source's events went in their order. */
async function expectNothingSpoiled(world: World): Promise<void> {
  expect([...(await world.sql`select * from spoiled`)]).toEqual([]);
  expect(await world.sql`select code from dead_letters`).toHaveLength(0);
  const back = await world.sql`
    select user_id, version from (select user_id, version, machine_version, max(machine_version) over (partition by user_id order by version) as newest from history) x
     where machine_version < newest`;
  expect([...back]).toEqual([]);
  const disordered = await world.sql`
    select user_id, version from (select user_id, version, "offset", max("offset") over (partition by user_id, topic, partition order by version) as last from history) x
     where "offset" < last`;
  expect([...disordered]).toEqual([]);
}

async function notLocked(world: World) {
  const rows = await world.sql`
    select u.user_id, state, waiting, (select json_agg(concat(type, ' ', outcome, ' ', to_state, ' v', machine_version) order by version)
                                         from history h where h.user_id = u.user_id) as story,
           (select json_agg(w.reason) from waiting w where w.user_id = u.user_id) as reasons,
           (select json_agg(d.code) from dead_letters d where d.user_id = u.user_id) as dead
      from users u where state <> 'locked' and user_id like 'fresh%' order by 1`;
  return [...rows];
}

describe('a rolling deploy', () => {
  test('forward: what the new version wrote waits where the old one meets it, and goes in order when that is gone', async ({
    world,
  }) => {
    await world.createTopic(4);
    await using watch = await watched(world);
    const [busy, idle, fresh] = [named('busy', 120), named('idle', 40), named('fresh', 40)];
    const one = watch.start('v1');
    await one.says('started');
    await pour(world, [...busy, ...idle], 0, 6);
    await until(async () => expect(await handled(world)).toBe(160 * 6), 30_000);

    const two = watch.start('v2');
    await two.says('started');
    let round = 6;
    await until(async () => {
      // A slow machine is not given more than it can save meanwhile.
      if ((await read(world)) > 160 * 6 + 120 * (round - 6) - 10 * 120) await pour(world, busy, round, ++round);
      expect([await savedBy(world, one), await savedBy(world, two)]).toEqual([2, 2]);
      expect(await watch.waited('v1', 'machine')).toBeGreaterThan(50);
    }, 30_000);
    expect(await watch.waited('v2', 'machine')).toBe(0);
    // The rest flows: version 1 goes on with whom no version 2 has met.
    await pour(world, fresh, 0, 1);
    await until(async () => {
      const by =
        await world.sql`select distinct machine_version as v from history where user_id like 'fresh%' order by 1`;
      expect([...by]).toEqual([{ v: 1 }, { v: 2 }]);
    }, 40_000);

    one.signal('SIGTERM');
    await pour(world, busy, round, round + 3);
    round += 3;
    expect(await one.ended).toEqual({ code: 0, signal: null });
    await until(async () => expect(await handled(world)).toBe(160 * 6 + 40 + 120 * (round - 6)), 40_000);
    expect(await world.sql`select 1 from waiting`).toHaveLength(0);
    await expectNothingSpoiled(world);
    const versions = await world.sql`
      select left(user_id, 4) as who, array_agg(distinct machine_version)::text as v from users group by 1 order by 1`;
    expect([...versions]).toMatchObject([{ who: 'busy', v: '{2}' }, { who: 'fres' }, { who: 'idle', v: '{1}' }]);

    // Now nobody is left who does not know the word.
    await world.produce(fresh.map((userId) => statusEvent(userId, 'ACTIVE', 100)));
    // They come by two partitions, and whoever is still pending can not be locked: then it would be rejected.
    const active = () => world.sql`select 1 from users where user_id like 'fresh%' and state = 'active'`;
    await until(async () => expect(await active()).toHaveLength(fresh.length), 40_000);
    await world.produce(fresh.map((userId) => statusEvent(userId, 'LOCKED', 101)));
    await until(async () => expect(await notLocked(world)).toEqual([]), 40_000);
    const changes = [
      { version: 1, from: 'suspended', to: 'locked', users: 20 },
      { version: 1, from: 'suspended', to: 'suspended', users: 20 },
    ];
    for (const how of ['--dry-run', '--yes']) {
      const { code, out } = await type(world, 'v2', `machine migrate ${how} --json`);
      // Of `fresh` there may be some that version 1 created.
      const ofIdle = JSON.parse(out).changes.filter(({ from }: { from: string }) => from === 'suspended');
      expect({ code, ofIdle }).toEqual({ code: 0, ofIdle: changes });
    }
    expect(await world.sql`select distinct machine_version as v from users`).toEqual([{ v: 2 }]);
    const verified = await type(world, 'v2', 'verify');
    expect(verified, verified.out).toMatchObject({ code: 0, out: expect.stringContaining('200 equal · 0 differ') });
  }, 120_000);

  test('back: the old version alone lets them wait, serves all others, and spoils nothing; each way out lets them go', async ({
    world,
  }) => {
    await world.createTopic(4);
    await using watch = await watched(world);
    const [old, fresh] = [named('old', 60), named('fresh', 60)];
    let two = watch.start('v2');
    await two.says('started');
    await pour(world, old, 0, 4);
    await world.produce(old.map((userId) => statusEvent(userId, 'ACTIVE', 10)));
    await world.produce(old.slice(0, 20).map((userId) => statusEvent(userId, 'LOCKED', 11)));
    await until(async () => expect(await handled(world)).toBe(60 * 5 + 20), 30_000);
    const one = watch.start('v1');
    await one.says('started');
    two.signal('SIGTERM');
    expect(await two.ended).toEqual({ code: 0, signal: null });

    const rows = () =>
      world.sql`select to_jsonb(u) - '{waiting,rev,updated_at}'::text[] as row from users u where user_id like 'old%' order by user_id`;
    const before = await rows();
    await world.produce(old.map((userId) => statusEvent(userId, 'SUSPENDED', 20)));
    await world.produce(old.map((userId) => statusEvent(userId, 'ACTIVE', 21)));
    await pour(world, fresh, 0, 4);
    await until(async () => expect(await watch.waited('v1', 'machine')).toBe(120), 30_000);
    await until(async () => expect(await handled(world)).toBe(320 + 240), 30_000);
    expect(await world.sql`select distinct machine_version as v from users where user_id like 'fresh%'`).toEqual([
      { v: 1 },
    ]);
    expect(await rows()).toEqual(before);
    const listed = await type(world, 'v1', 'dlq list --waiting --limit 1');
    expect(listed.out).toMatch(/^\d+ +USER_STATUS_CHANGED +old\d+ +machine /m);

    // One way out: the new version again.
    two = watch.start('v2');
    await until(async () => expect(await world.sql`select 1 from waiting`).toHaveLength(0), 40_000);
    two.signal('SIGTERM');
    expect(await two.ended).toEqual({ code: 0, signal: null });
    await expectNothingSpoiled(world);
    expect(await type(world, 'v2', 'verify')).toMatchObject({ code: 0, out: expect.stringContaining('· 0 differ ·') });

    // The other: their rows again, as the old version understands their history.
    await world.produce(old.map((userId) => statusEvent(userId, 'SUSPENDED', 30)));
    await until(async () => expect(await watch.waited('v1', 'machine')).toBe(180), 30_000);
    const rebuilt = await type(world, 'v1', 'rebuild --newer --yes');
    expect(rebuilt).toMatchObject({ code: 0, out: expect.stringMatching(/^60 users looked at · 60 changed\n/) });
    await until(async () => expect(await world.sql`select 1 from waiting`).toHaveLength(0), 30_000);
    expect(await world.sql`select distinct machine_version as v from users`).toEqual([{ v: 1 }]);
    expect(await world.sql`select distinct state from users where user_id like 'old%'`).toEqual([
      { state: 'suspended' },
    ]);
    expect(await type(world, 'v1', 'verify')).toMatchObject({
      code: 0,
      out: expect.stringContaining('120 equal · 0 differ'),
    });
  }, 120_000);
});

test('the tutorial: every command prints what is shown', async () => {
  // Other files use the same topic.
  const world = await createWorld({ KAFKA_TOPICS: 'user-events', KAFKA_FROM: 'latest' });
  const start = async (version: 'v1' | 'v2') => {
    const service = startProcess(
      { ...world.settings, ...SETTINGS },
      [],
      undefined,
      join(versions[version], 'src/main.ts'),
    );
    await service.says('started');
    return service;
  };
  try {
    let running = await start('v1');
    const instead = async (version: 'v1' | 'v2') => {
      const next = await start(version);
      running.signal('SIGTERM');
      expect(await running.ended).toEqual({ code: 0, signal: null });
      running = next;
    };
    for (const typed of typedCommands()) {
      if (!typed.command.startsWith('npx user-lifecycle')) continue; // test/machines/readme.test.ts
      if (typed.command.includes('LOCKED')) await instead('v2');
      if (typed.command.includes('--previous-status LOCKED')) await instead('v1');
      if (typed.command.includes('history ann'))
        await until(async () => expect(await world.sql`select 1 from waiting`).toHaveLength(0));
      const { code, out, err } = await versions.type(typed, world.settings);
      expect(withoutChance(out), err).toBe(withoutChance(typed.output));
      expect(code, err).toBe(0);
    }
  } finally {
    await world.close();
  }
}, 120_000);

/** Without places, times, durations and hashes. */
function withoutChance(text: string): string {
  return text
    .replaceAll(/user-events\[\d+\]@\d+/g, 'user-events[…]@…') // other tests send there too
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'YYYY-MM-DD hh:mm:ss')
    .replaceAll(/\d+ ms\b/g, '… ms')
    .replaceAll(/\([0-9a-f]{8}\)/g, '(…)')
    .replaceAll(/\d+ partitions/g, '… partitions')
    .replaceAll(/ {2,}/g, '  '); // columns are as wide as the widest
}
