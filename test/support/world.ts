// world.ts — a test's own world: a database cloned from the template, services on it, and questions about the tables.
//
// Signals, not sleep: `until` waits for a sentence to become true; the timers of a service in memory (the look at the
// positions, the sweep) are turned by the test with `tick`; `blockSaves` holds a partition's save at its fence.
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Admin } from 'kafkajs';
import postgres from 'postgres';
import { test as base, expect, inject } from 'vitest';
import { type Database, type Db, openDatabase } from '../../db/client.ts';
import { type Config, readConfig } from '../../src/config.ts';
import { decoder } from '../../src/decode.ts';
import { EVENT_TYPES } from '../../src/events.ts';
import { createLog, type Log } from '../../src/log.ts';
import { type Service, startService } from '../../src/main.ts';
import { drain } from '../../src/redrive.ts';
import type { Result } from '../../src/run.ts';
import { connectProducer, type Producer } from '../../src/sources/kafka-client.ts';
import { kafkaSettings } from '../../src/sources/open.ts';
import { type Difference, verify } from '../../src/verify.ts';
import { createMemoryLog, createMemorySource, type MemoryLog, type MemorySource } from './memory-source.ts';
import type { Arrival } from './records.ts';
import { TEMPLATE } from './servers.ts';

const { Kafka, logLevel } = kafkajs;

/** The topics by which a service reads what producers send; a world of its own has one topic of its own. */
export const ALL_TOPICS = ['user-events', ...EVENT_TYPES].join();

export type World = {
  /** Settings of a service in this world: its own database and group; no Redis unless asked for. */
  settings: Record<string, string>;
  config(over?: Record<string, string>): Config;
  sql: postgres.Sql;
  /** For the functions of `operate.ts` and others that take one. */
  db: Db;
  /** The log that memory services of this world read. */
  log: MemoryLog;
  /** A service on the log in memory: the test delivers its batches. It has no Kafka, but everything else. */
  service(over?: Record<string, string>, source?: MemorySource): Promise<MemoryService>;
  /** A topic of this world's own, which `settings` of Kafka services name. */
  topic: string;
  /** Makes that topic. */
  createTopic(partitions: number): Promise<void>;
  /** How many records it holds. Throws while a partition has no leader. */
  logLength(): Promise<number>;
  /** Sends records to it: to the partition of their key, in order. */
  produce(arrivals: readonly Arrival[]): Promise<void>;
  /** Ends the connection of `produce`; the next one makes another. */
  hangUp(): Promise<void>;
  /** A service on the real Kafka of the shared servers, reading `topic`. */
  kafkaService(over?: Record<string, string>): Promise<Service>;
  /** What a wake does for one user, awaited: releases what may go. */
  drain(userId: string): Promise<Result[]>;
  /** The next saves of a partition stop at their fence, having read all they need, until `release`. `meanwhile`: a statement
   *  that takes effect then. */
  blockSaves(topic: string, partition?: number, meanwhile?: string): Promise<Block>;
  /** All tables as they must be whatever the batches, the owners and the cache were: rev, owners and clock columns aside. */
  digest(): Promise<Record<string, unknown[]>>;
  /** *Nothing vanishes*, tallies, versions, and what `verify` compares: what holds at all times, over all tables. */
  expectSound(): Promise<void>;
  close(): Promise<void>;
};
export type MemoryService = Service & {
  source: MemorySource;
  /** Its look at the positions (every 5 s) and its sweep (every 10 s), now. */
  tick(): void;
};
export type Block = {
  /** Resolves when `saves` of them stand at the fence. */
  reached(saves?: number): Promise<void>;
  release(): Promise<void>;
};

/** What a service logged, for the tests that ask. */
export type Lines = { lines: Record<string, unknown>[] };

/** `servers`: the settings of servers that the test started itself; those, and `empty`, begin without tables. */
export async function createWorld(
  over: Record<string, string> = {},
  { servers, empty = servers !== undefined }: { servers?: Record<string, string>; empty?: boolean } = {},
): Promise<World & Lines> {
  const shared = servers ?? inject('settings');
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
      fetch_types: false, // db/client.ts says why
      onnotice: () => {},
    });
  const admin = connect('postgres');
  await admin.unsafe(empty ? `create database ${name}` : `create database ${name} template ${TEMPLATE}`);
  const sql = connect(name);
  const { REDIS_URL: _, ...withoutRedis } = shared;
  const settings: Record<string, string> = {
    ...withoutRedis,
    DB_DATABASE: name,
    KAFKA_GROUP_ID: name,
    KAFKA_TOPICS: name,
    HTTP_PORT: '0',
    DB_MIGRATE: String(empty),
    LOG_EVENTS: 'all',
    LOG_LEVEL: 'debug',
    ...over,
  };
  const services: Service[] = [];
  const lines: Record<string, unknown>[] = [];
  const log = createMemoryLog();
  const config = (more: Record<string, string> = {}) => readConfig({ ...settings, ...more }, { file: null });
  let producer: Promise<Producer> | undefined;
  let tools: Database | undefined;
  const database_ = () => (tools ??= openDatabase(config().database));

  async function hangUp(): Promise<void> {
    await (await producer)?.close();
    producer = undefined;
  }
  async function start(more: Record<string, string>, source?: MemorySource): Promise<Service> {
    const chosen = config(more);
    // An abort stops the service also when it has started: the deadline is of the start alone.
    const late = new AbortController();
    const deadline = setTimeout(() => late.abort(new Error('the service did not start within 30 s')), 30_000);
    try {
      const service = await startService(chosen, logInto(lines, chosen), late.signal, { source });
      services.push(service);
      return service;
    } finally {
      clearTimeout(deadline);
    }
  }

  return {
    settings,
    config,
    sql,
    log,
    lines,
    topic: name,
    get db() {
      return database_().db;
    },
    async service(more = {}, source = createMemorySource(log)) {
      const timers: (() => void)[] = [];
      const service = await heldTimers.run(timers, () => start(more, source));
      return Object.assign(service, {
        source,
        tick: () => {
          for (const act of timers) act();
        },
      });
    },
    kafkaService: (more = {}) => start(more),
    createTopic: (numPartitions) =>
      withAdmin(config(), async (admin) => {
        await admin.createTopics({ waitForLeaders: true, topics: [{ topic: name, numPartitions }] });
      }),
    logLength: () =>
      withAdmin(config(), async (admin) => {
        const partitions = await admin.fetchTopicOffsets(name);
        return partitions.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0);
      }),
    async produce(arrivals) {
      producer ??= connectProducer(kafkaSettings(config()), quiet);
      await (await producer).send(
        arrivals.map(({ key, value, headers }) => ({
          topic: name,
          key,
          value,
          headers: headers.map(([header, content]) => [header, content ?? ''] as const),
        })),
      );
    },
    hangUp,
    async drain(userId) {
      const { kafka, limits } = config();
      const saver = {
        instance: 'test',
        clusterId: log.clusterId,
        group: kafka.groupId,
        serviceVersion: 'test',
        traceId: null,
      };
      const decode = decoder({ keys: kafka.keys, ...limits });
      const draining = { db: database_().db, saver, decode, waitingPerUser: limits.waitingPerUser };
      const all: Result[] = [];
      await drain(draining, [userId], (_, results) => all.push(...results));
      return all;
    },
    blockSaves: (topic, partition = 0, meanwhile = 'select 1') => blockSaves(sql, topic, partition, meanwhile),
    digest: () => digest(sql),
    expectSound: () => expectSound(sql),
    async close() {
      await Promise.all(services.map((service) => service.stop()));
      await hangUp();
      await tools?.close();
      await sql.end();
      await admin.unsafe(`drop database ${name} with (force)`);
      await admin.end();
    },
  };
}

/** A test with a world of its own, which must be sound at the end. */
export const test = base.extend<{ world: World & Lines }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern which fixtures this one needs.
  world: async ({}, use) => {
    const world = await createWorld();
    try {
      await use(world);
      await world.expectSound();
    } finally {
      await world.close();
    }
  },
});

/** Tries until it does not throw. What still throws after `withinMs` is the failure. */
export async function until<T>(check: () => T | Promise<T>, withinMs = 15_000): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await sleep(10);
  }
}

async function withAdmin<T>({ kafka }: Config, act: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers: [...kafka.brokers], logLevel: logLevel.NOTHING }).admin();
  try {
    await admin.connect();
    return await act(admin);
  } finally {
    await admin.disconnect();
  }
}

const quiet = createLog({ level: 'silent' });

function logInto(lines: Record<string, unknown>[], config: Config): Log {
  return createLog(
    { level: config.log.level, pretty: false },
    {},
    { write: (line) => void lines.push(JSON.parse(line)) },
  );
}

// The intervals that a service in memory starts are kept for `tick` instead of run.
const heldTimers = new AsyncLocalStorage<(() => void)[]>();
const realSetInterval = globalThis.setInterval;
globalThis.setInterval = ((act: () => void, ms?: number, ...args: unknown[]) => {
  const held = heldTimers.getStore();
  if (held === undefined || ms === undefined || ms < 5_000) return realSetInterval(act as never, ms, ...args);
  held.push(act);
  return realSetInterval(() => {}, 2 ** 31 - 1).unref();
}) as typeof setInterval;

async function blockSaves(sql: postgres.Sql, topic: string, partition: number, meanwhile: string): Promise<Block> {
  const locked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const ended = sql.begin(async (tx) => {
    const rows = await tx`select 1 from positions where topic = ${topic} and partition = ${partition} for update`;
    if (rows.length === 0) locked.reject(new Error(`there is no position of ${topic}/${partition} to lock yet`));
    await tx.unsafe(meanwhile);
    locked.resolve();
    await released.promise;
  });
  await locked.promise;
  return {
    async reached(saves = 1) {
      await until(async () => {
        // Behind the first one the others wait for its place in the queue of the row.
        const [row] = await sql`
          select count(distinct l.pid)::int as n from pg_locks l join pg_stat_activity a using (pid)
           where not l.granted and a.datname = current_database() and a.query like '%positions%'`;
        expect(row?.n).toBeGreaterThanOrEqual(saves);
      });
    },
    async release() {
      released.resolve();
      await ended;
    },
  };
}

async function digest(sql: postgres.Sql): Promise<Record<string, unknown[]>> {
  const rows = async (table: string, ...leftOut: string[]) => {
    const found = await sql.unsafe(
      `select (to_jsonb(t) - string_to_array($1, ','))::text as row from ${table} t order by 1`,
      [leftOut.join(',')],
    );
    return found.map(({ row }) => row as string);
  };
  return {
    users: await rows('users', 'rev', 'updated_at'),
    customers: await rows('customers', 'rev', 'created_at', 'updated_at'),
    history: await rows('history', 'recorded_at'),
    waiting: await rows('waiting', 'id', 'since', 'reason'),
    deadLetters: await rows('dead_letters', 'id', 'first_failed_at', 'last_failed_at', 'instance', 'consumer_group'),
  };
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
  // Every user is what its history leads to, every customer what one of its events said.
  const differences: Difference[] = [];
  const tell = (difference: Difference) => void differences.push(difference);
  const { users, equal, newer } = await verify(sql, {}, { tell, patienceMs: 0 });
  expect(differences).toEqual([]);
  expect(equal + newer).toBe(users);
}
