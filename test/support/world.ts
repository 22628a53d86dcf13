// world.ts — a test's own world: a database cloned from the template, services on it, and questions about the tables.
import { randomBytes } from 'node:crypto';
import postgres from 'postgres';
import { expect, inject } from 'vitest';
import { type Config, readConfig } from '../../src/config.ts';
import { createLog, type Log } from '../../src/log.ts';
import { type Service, startService } from '../../src/main.ts';
import { createMemoryLog, createMemorySource, type MemoryLog, type MemorySource } from './memory-source.ts';
import { TEMPLATE } from './servers.ts';

export type World = {
  /** Settings of a service in this world: its own database and group; no Redis unless asked for. */
  settings: Record<string, string>;
  config(over?: Record<string, string>): Config;
  sql: postgres.Sql;
  /** The log that memory services of this world read. */
  log: MemoryLog;
  /** A service on the log in memory: the test delivers its batches. It has no Kafka, but everything else. */
  service(over?: Record<string, string>): Promise<MemoryService>;
  /** A service on the real Kafka of the shared servers. */
  kafkaService(over?: Record<string, string>): Promise<Service>;
  /** *Nothing vanishes*, tallies and versions: the sentences that hold at all times, over all tables. */
  expectSound(): Promise<void>;
  close(): Promise<void>;
};
export type MemoryService = Service & { source: MemorySource };

/** What a service logged, for the tests that ask. */
export type Lines = { lines: Record<string, unknown>[] };

export async function createWorld(over: Record<string, string> = {}): Promise<World & Lines> {
  const shared = inject('settings');
  const name = `world_${randomBytes(6).toString('hex')}`;
  const { database } = readConfig(shared, { need: ['database'], file: null });
  const connect = (to: string) =>
    postgres({
      ...database,
      database: to,
      username: database.user,
      password: database.password ?? '',
      ssl: false,
      max: 4,
      onnotice: () => {},
    });
  const admin = connect('postgres');
  await admin.unsafe(`create database ${name} template ${TEMPLATE}`);
  const sql = connect(name);
  const { REDIS_URL: _, ...withoutRedis } = shared;
  const settings = {
    ...{ ...withoutRedis, DB_DATABASE: name, KAFKA_GROUP_ID: name, DB_MIGRATE: 'false', HTTP_PORT: '0' },
    ...{ LOG_EVENTS: 'all', LOG_LEVEL: 'debug', ...over },
  };
  const services: Service[] = [];
  const lines: Record<string, unknown>[] = [];
  const log = createMemoryLog();
  const config = (more: Record<string, string> = {}) => readConfig({ ...settings, ...more }, { file: null });

  async function start(more: Record<string, string>, source?: MemorySource): Promise<Service> {
    const chosen = config(more);
    const service = await startService(chosen, logInto(lines, chosen), new AbortController().signal, source);
    services.push(service);
    return service;
  }

  return {
    ...{ settings, config, sql, log, lines },
    async service(more = {}) {
      const source = createMemorySource(log);
      return Object.assign(await start(more, source), { source });
    },
    kafkaService: (more = {}) => start(more),
    expectSound: () => expectSound(sql),
    async close() {
      await Promise.all(services.map((service) => service.stop()));
      await sql.end();
      await admin.unsafe(`drop database ${name} with (force)`);
      await admin.end();
    },
  };
}

function logInto(lines: Record<string, unknown>[], config: Config): Log {
  return createLog(
    { level: config.log.level, pretty: false },
    {},
    { write: (line) => void lines.push(JSON.parse(line)) },
  );
}

/** The sentences that hold in every database of this service, whatever happened to it. */
export async function expectSound(sql: postgres.Sql): Promise<void> {
  // Nothing vanishes: every record handled is in exactly one place.
  expect(await sql`select topic, partition, missing from accounting where missing <> 0`).toEqual([]);
  expect(
    await sql`
    select topic, partition, "offset" from (
      select topic, partition, generation, "offset" from history union all
      select topic, partition, generation, "offset" from waiting union all
      select topic, partition, generation, "offset" from dead_letters where status <> 'resolved') x
     group by topic, partition, generation, "offset" having count(*) > 1`,
  ).toEqual([]);
  // Versions of a user have no gap, and its row is at the last one.
  expect(
    await sql`
    select u.user_id, u.version, h.n, h.last from users u
     cross join lateral (select count(*) as n, max(version) as last from history where user_id = u.user_id) h
     where u.version <> h.n or u.version <> h.last`,
  ).toEqual([]);
  // `users.waiting` counts what waits and what blocks.
  expect(
    await sql`
    select u.user_id, u.waiting, w.n, d.n from users u
     cross join lateral (select count(*) as n from waiting where user_id = u.user_id) w
     cross join lateral (select count(*) as n from dead_letters
                          where user_id = u.user_id and blocks and status in ('open', 'redriving')) d
     where u.waiting <> w.n + d.n`,
  ).toEqual([]);
  // The tallies' sums are what count(*) says.
  const tallies = await sql<{ key: string; total: string }[]>`
    select key, sum(value::bigint) as total from positions cross join jsonb_each_text(tallies)
     where key like 'event|%' or key like 'state|%' or key like 'transition|%' or key like 'dead|%'
     group by key having sum(value::bigint) <> 0 order by key collate "C"`;
  const counted = await sql<{ key: string; total: string }[]>`
    select * from (
      select 'event|' || type || '|' || outcome as key, count(*) as total from history group by 1 union all
      select 'transition|' || transition, count(*) from history where outcome = 'applied' and transition is not null group by 1 union all
      select 'event|' || type || '|waiting', count(*) from waiting group by 1 union all
      select 'event|' || coalesce(type, '_OTHER') || '|dead', count(*) from dead_letters where status <> 'resolved' group by 1 union all
      select 'dead|' || code, count(*) from dead_letters where status <> 'resolved' group by 1 union all
      select 'state|' || state, count(*) from users group by 1) x
     order by key collate "C"`;
  expect([...tallies]).toEqual([...counted]);
}
