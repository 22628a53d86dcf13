// Three layers with a real Redis and a real Postgres: whatever Redis does, the answer is that of Postgres.
import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Database, type DatabaseSettings, migrate, openDatabase } from '../../db/client.ts';
import { type Server, type Servers, startServers } from '../../dev/servers.ts';
import { type Customers, createCustomers } from '../../src/customers.ts';
import { createCodec } from '../../src/redis.ts';

const SECRET = 'a secret all processes share';
const PREFIX = 'customer-service:customers:';
const NAMESPACE_KEY = `${PREFIX}namespace`;

vi.setConfig({ testTimeout: 60_000 });

let servers: Servers;
let server: Server;
let database: Database;
let admin: Redis;
const opened: Customers[] = [];

beforeAll(async () => {
  servers = await startServers({ kafka: false, redis: true, durable: false, require: true });
  server = servers.redis as Server;
  const settings = databaseSettings();
  await migrate(settings);
  database = openDatabase(settings);
  admin = new Redis(servers.settings.REDIS_URL as string, { retryStrategy: () => 20, maxRetriesPerRequest: null });
  admin.on('error', () => {});
}, 180_000);
afterAll(async () => {
  admin?.disconnect();
  await database?.close();
  await servers?.stop();
}, 60_000);
afterEach(async () => {
  await Promise.all(opened.splice(0).map((customers) => customers.close()));
  await server?.start();
});

function databaseSettings(): DatabaseSettings {
  const { DB_HOST, DB_PORT, DB_DATABASE, DB_USER, DB_PASSWORD } = servers.settings;
  return {
    ...{ host: DB_HOST as string, port: Number(DB_PORT), database: DB_DATABASE as string, user: DB_USER as string },
    ...{ password: DB_PASSWORD, ssl: 'off', connections: 2, applicationName: 'customers.test' },
    ...{ statementTimeoutMs: 4_000, lockTimeoutMs: 2_000, idleInTransactionMs: 5_000 },
  };
}

/** A process: customers of its own over the shared servers, what it logged, and the queries it made. */
async function open({ url = servers.settings.REDIS_URL as string, connected = true } = {}) {
  const lines: { level: 'warn' | 'info'; facts: Record<string, unknown>; text: string }[] = [];
  const log = {
    info: (facts: object, text: string) => void lines.push({ level: 'info', facts: { ...facts }, text }),
    warn: (facts: object, text: string) => void lines.push({ level: 'warn', facts: { ...facts }, text }),
  };
  const customers = createCustomers({
    ...{ redisUrl: url, secret: SECRET, log },
    ...{ l1Size: 1_000, l1TtlMs: 60_000, redisTtlMs: 3_600_000 },
  });
  opened.push(customers);
  const asked: string[][] = [];
  const read = async (ids: readonly string[]) => {
    asked.push([...ids]);
    const rows = await database.sql`select customer_id from customers where customer_id = any(${[...ids]}::text[])`;
    return rows.map((row) => row.customer_id as string);
  };
  const redis = () => {
    const facts = customers.facts().redis;
    if (facts.state === 'off') throw new Error('it has a Redis');
    return facts;
  };
  const until = {
    ok: () => soon(() => expect(redis().state).toBe('ok')),
    away: () => soon(() => expect(redis().state).toBe('away')),
  };
  const known = async (...ids: string[]) => [...(await customers.known(ids, read))].sort();
  const timed = async (...ids: string[]) => {
    const startMs = performance.now();
    const found = await known(...ids);
    return { found, tookMs: performance.now() - startMs };
  };
  if (connected) await until.ok();
  return { customers, known, timed, read, asked, lines, redis, until };
}

/** Waits for something that others bring about. */
const soon = <T>(condition: () => T | Promise<T>) => vi.waitFor(condition, { timeout: 15_000, interval: 3 });

/** New customers of a name that no other test uses; `nobody` does not exist. */
let worlds = 0;
async function world(existing = 3) {
  const name = `w${++worlds}-${process.pid}`;
  const ids = Array.from({ length: existing }, (_, i) => `${name}-${i}`);
  await create(...ids);
  return { ids, id: ids[0] as string, other: ids[1] as string, nobody: `${name}-nobody` };
}
async function create(...ids: string[]): Promise<void> {
  const rows = ids.map((customer_id) => ({
    customer_id,
    name: 'n',
    at_ms: 1,
    source: 's/0',
    source_offset: '0',
    rev: 1,
  }));
  if (rows.length > 0) await database.sql`insert into customers ${database.sql(rows)}`;
}
async function entryName(id: string): Promise<string> {
  return createCodec(SECRET).name((await admin.get(NAMESPACE_KEY)) as string, id);
}
async function entryOf(id: string): Promise<string> {
  return createCodec(SECRET).entry((await admin.get(NAMESPACE_KEY)) as string, id);
}
const untilWritten = (...ids: string[]) =>
  soon(async () => {
    for (const id of ids) expect(await admin.get(await entryName(id))).toBe(await entryOf(id));
  });
async function calls(command: string): Promise<number> {
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await admin.info('commandstats'))?.[1] ?? 0);
}

describe('a batch asks little', () => {
  test('one MGET and one query, however many customers', async () => {
    const { ids, nobody } = await world(200);
    const { known, asked } = await open();
    const before = await calls('mget');
    expect(await known(...ids, ...ids, nobody, nobody)).toEqual([...ids].sort());
    expect(await calls('mget')).toBe(before + 1);
    expect(asked).toEqual([[...ids, nobody]]);
  });
  test('what one process learned another does not ask Postgres for', async () => {
    const { ids, nobody } = await world();
    const first = await open();
    await first.known(...ids);
    await untilWritten(...ids);
    const second = await open();
    expect(await second.known(...ids, nobody)).toEqual(ids);
    expect(second.asked).toEqual([[nobody]]);
    expect(second.redis()).toMatchObject({ hits: 3, misses: 1, errors: 0, rejected: 0 });
  });
  test('what it remembers itself it does not ask Redis for', async () => {
    const { ids } = await world();
    const { known } = await open();
    await known(...ids);
    const before = await calls('mget');
    expect(await known(...ids)).toEqual(ids);
    expect(await calls('mget')).toBe(before);
  });
  test('entries end by themselves', async () => {
    const { ids, id } = await world();
    const { known } = await open();
    await known(...ids);
    await untilWritten(...ids);
    const ttlMs = await admin.pttl(await entryName(id));
    expect(ttlMs).toBeGreaterThan(0.85 * 3_600_000);
    expect(ttlMs).toBeLessThanOrEqual(3_600_000);
  });
});

describe('the customer comes later', () => {
  test('an unknown customer is asked of Postgres in every batch, and nothing of it is kept', async () => {
    const { nobody } = await world();
    const { known, asked } = await open();
    for (let batch = 0; batch < 3; batch++) expect(await known(nobody)).toEqual([]);
    expect(asked).toEqual([[nobody], [nobody], [nobody]]);
    expect(await admin.exists(await entryName(nobody))).toBe(0);
  });
  test('once created it is known at once, here without asking and elsewhere from Redis', async () => {
    const { nobody: late } = await world();
    const here = await open();
    const elsewhere = await open();
    expect([await here.known(late), await elsewhere.known(late)]).toEqual([[], []]);
    await create(late);
    here.customers.remember([{ customerId: late }, { customerId: late }]);
    expect(await here.known(late)).toEqual([late]);
    await untilWritten(late);
    expect(await elsewhere.known(late)).toEqual([late]);
    expect([here.asked, elsewhere.asked]).toEqual([[[late]], [[late]]]);
  });
});

describe('the database knows better', () => {
  test('after a conflict its answer overwrites both layers, for everybody', async () => {
    const { ids, id } = await world();
    const first = await open();
    await first.known(...ids);
    await untilWritten(...ids);
    await database.sql`delete from customers where customer_id = ${id}`;
    expect(await first.customers.knownForSure(ids, first.read)).toEqual(new Set(ids.slice(1)));
    await soon(async () => expect(await admin.exists(await entryName(id))).toBe(0));
    const second = await open();
    expect(await first.known(...ids)).toEqual(ids.slice(1));
    expect(await second.known(...ids)).toEqual(ids.slice(1));
  });
  test('after a rewind no process believes what was remembered before', async () => {
    const { ids, id, nobody } = await world();
    const first = await open();
    const second = await open();
    await first.known(...ids);
    await untilWritten(...ids);
    expect(await second.known(...ids)).toEqual(ids);
    const before = await admin.get(NAMESPACE_KEY);
    await database.sql`delete from customers where customer_id = ${id}`;
    first.customers.rewind();
    expect(await first.known(...ids)).toEqual(ids.slice(1));
    await soon(async () => expect(await admin.get(NAMESPACE_KEY)).not.toBe(before));
    await second.known(nobody); // its next MGET
    expect(await second.known(...ids)).toEqual(ids.slice(1));
    const third = await open();
    expect(await third.known(...ids)).toEqual(ids.slice(1));
  });
  test('a look-up under way while the database is rewound is not remembered', async () => {
    const { ids } = await world();
    const first = await open();
    await first.known(...ids);
    await untilWritten(...ids);
    const second = await open();
    const asking = second.known(...ids);
    second.customers.rewind();
    await asking;
    expect(second.asked).toEqual([]);
    await second.known(...ids);
    expect(second.asked).toEqual([ids]);
  });
  test('a process that was cut off while another told of a rewind follows when it is back', async () => {
    const { ids } = await world();
    const { known, asked, lines } = await open();
    await known(...ids);
    await admin.set(NAMESPACE_KEY, 'Z'.repeat(22));
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await soon(() => expect(lines.map((line) => line.level)).toEqual(['warn', 'info']));
    await known(...ids);
    expect(asked).toEqual([ids, ids]);
  });
  test('a rewind while Redis is away is made up for when it is back', async () => {
    const { ids, id } = await world();
    const first = await open();
    await first.known(...ids);
    await untilWritten(...ids);
    const [before, name, entry] = [await admin.get(NAMESPACE_KEY), await entryName(id), await entryOf(id)];
    await server.stop();
    await first.until.away();
    await database.sql`delete from customers where customer_id = ${id}`;
    first.customers.rewind();
    await server.start();
    await admin.mset(NAMESPACE_KEY, before as string, name, entry); // as if Redis had kept its data
    await first.until.ok();
    await soon(async () => expect(await admin.get(NAMESPACE_KEY)).not.toBe(before));
    expect(await first.known(...ids)).toEqual(ids.slice(1));
  });
});

describe('a poisoned cache', () => {
  const POISONS: [string, (id: string, other: string) => Promise<string | Buffer>][] = [
    ['another customer’s entry', (_, other) => entryOf(other)],
    [
      'an entry made with another secret',
      async (id) => createCodec('guessed').entry((await admin.get(NAMESPACE_KEY)) as string, id),
    ],
    ['an entry of another namespace', async (id) => createCodec(SECRET).entry('A'.repeat(22), id)],
    ['an entry of another schema version', async (id) => (await entryOf(id)).replace(/^1/, '2')],
    ['cyclic nonsense', async () => '{"$ref":"#"}'],
    ['nothing', async () => ''],
    ['1 MB', async () => Buffer.alloc(1_000_000, 'x')],
  ];
  test.each(POISONS)('%s: ignored, counted, read from Postgres, written over', async (_, poison) => {
    const { ids, id, other, nobody } = await world();
    await admin.set(await entryName(id), await poison(id, other));
    await admin.set(await entryName(nobody), await poison(nobody, other));
    const { known, asked, redis } = await open();
    expect(await known(...ids, nobody)).toEqual(ids);
    expect(asked).toEqual([[...ids, nobody]]);
    expect(redis()).toMatchObject({ state: 'ok', rejected: 2, hits: 0, errors: 0 });
    await untilWritten(id);
    expect(await known(nobody)).toEqual([]);
  });
  test('a list where an entry belongs: read from Postgres, written over', async () => {
    const { ids, id } = await world();
    await admin.rpush(await entryName(id), 'x');
    const { known, asked } = await open();
    expect(await known(...ids)).toEqual(ids);
    expect(asked).toEqual([ids]);
    await untilWritten(id);
  });
  test.each([5, 100])('%i MB: costs at most one stalled look-up, then it is written over', async (megabytes) => {
    const { ids, id } = await world();
    const name = await entryName(id);
    for (let i = 0; i < megabytes; i += 5) await admin.append(name, Buffer.alloc(5_000_000, 'x'));
    const { known, until } = await open();
    expect(await known(...ids)).toEqual(ids);
    await untilWritten(id);
    await until.ok();
  });
  test.each([
    ['a list', () => admin.rpush(NAMESPACE_KEY, 'x')],
    ['nonsense', () => admin.set(NAMESPACE_KEY, '*')],
    ['5 MB', () => admin.set(NAMESPACE_KEY, Buffer.alloc(5_000_000, 'x'))],
    ['nothing (flushed)', () => admin.flushall()],
  ])('%s in place of the namespace: a fresh one, found by running and new processes', async (_, poison) => {
    const { ids, nobody } = await world();
    const running = await open();
    const before = await admin.get(NAMESPACE_KEY);
    await admin.del(NAMESPACE_KEY);
    await poison();
    const fresh = await open();
    expect(await admin.get(NAMESPACE_KEY)).toMatch(/^[\w-]{22}$/);
    expect(await admin.get(NAMESPACE_KEY)).not.toBe(before);
    await running.known(nobody);
    await soon(async () => {
      running.customers.remember(ids.map((customerId) => ({ customerId })));
      for (const id of ids) expect(await admin.get(await entryName(id))).toBe(await entryOf(id));
    });
    expect(await fresh.known(...ids)).toEqual(ids);
    expect(fresh.asked).toEqual([]);
  });
  test('an id full of Redis’ own characters touches only its own entry', async () => {
    const hostile = [`*${process.pid}`, `{a}:namespace${process.pid}`, `../:[?]${process.pid}`, `:${process.pid}`];
    await create(...hostile);
    const namespace = await admin.get(NAMESPACE_KEY);
    const { known, asked } = await open();
    expect(await known(...hostile)).toEqual([...hostile].sort());
    await untilWritten(...hostile);
    const other = await open();
    expect(await other.known(...hostile)).toEqual([...hostile].sort());
    expect([asked, other.asked]).toEqual([[hostile], []]);
    expect(await admin.get(NAMESPACE_KEY)).toBe(namespace);
  });
});

describe('Redis away', () => {
  test('stopped: right and quick, told once; started again: used again by itself, told once', async () => {
    const { ids, nobody } = await world(30);
    const { known, timed, asked, lines, until } = await open();
    await known(ids[0] as string);
    await server.stop();
    let together = 0;
    for (const id of ids.slice(1)) {
      const { found, tookMs } = await timed(id, nobody);
      expect(found).toEqual([id]);
      together += tookMs;
    }
    expect(together).toBeLessThan(1_000); // 0.03 s; 2.9 s if each of them waited
    expect(asked).toHaveLength(30);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ level: 'warn', facts: { redis: 'away' } });
    expect(lines[0]?.text).toContain('Check that it runs');
    await server.start();
    await until.ok();
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatchObject({ level: 'info', facts: { redis: 'ok' } });
    const other = await world();
    await known(...other.ids);
    await untilWritten(...other.ids);
    const second = await open();
    await second.known(...other.ids);
    expect(second.asked).toEqual([]);
  });
  test('killed in the middle of an MGET: the batch gets its answer', async () => {
    const { ids } = await world();
    const { known, lines, until } = await open();
    await admin.call('CLIENT', 'PAUSE', '2000');
    const asking = known(...ids);
    await server.stop('SIGKILL');
    expect(await asking).toEqual(ids);
    await soon(() => expect(lines).toHaveLength(1));
    await server.start();
    await until.ok();
  });
  test('away from the start: nothing waits, told once, used when it comes', async () => {
    const { ids } = await world();
    await server.stop();
    const { known, lines, until } = await open({ connected: false });
    expect(await known(...ids)).toEqual(ids);
    await soon(() => expect(lines).toHaveLength(1));
    expect(lines[0]).toMatchObject({ level: 'warn', facts: { why: 'ECONNREFUSED' } });
    await server.start();
    await until.ok();
    expect(lines.map((line) => line.level)).toEqual(['warn', 'info']);
  });
  test('stalled: one look-up waits 100 ms, the next ones do not; used again when it answers', async () => {
    const { id, nobody } = await world();
    const { timed, known, lines, until, redis } = await open();
    await admin.call('CLIENT', 'PAUSE', '2500');
    const first = await timed(nobody); // unknown: nothing to write, so nothing but the look-up meets the stall
    expect(first.tookMs).toBeGreaterThan(95);
    expect(first.tookMs).toBeLessThan(600);
    let together = 0;
    for (let batch = 0; batch < 19; batch++) together += (await timed(nobody)).tookMs;
    expect(await known(id)).toEqual([id]);
    expect(together).toBeLessThan(1_000); // 0.02 s; 1.9 s if each of them waited
    expect(redis().errors).toBeGreaterThan(0);
    await until.ok();
    expect(lines.map((line) => line.level)).toEqual(['warn', 'info']);
    expect(lines[0]?.facts.why).toBe('SLOW');
  });
  test('this process busy for longer than the limit: not taken for a stall', async () => {
    const { ids } = await world();
    const { known } = await open();
    await known(...ids);
    await untilWritten(...ids);
    const { known: again, asked, redis, lines } = await open();
    await admin.ping(); // goes on where sockets are read: the timers come first after that
    const asking = again(...ids); // the MGET is on its way
    for (const untilMs = performance.now() + 250; performance.now() < untilMs; );
    expect(await asking).toEqual(ids);
    expect(asked).toEqual([]);
    expect([redis().errors, lines]).toEqual([0, []]);
  });
  test.each([
    ['out of memory', 'OOM', ['config', 'set', 'maxmemory', '1'], ['config', 'set', 'maxmemory', '0']],
    ['a replica now', 'READONLY', ['replicaof', '127.0.0.1', '1'], ['replicaof', 'no', 'one']],
  ])('%s: Postgres answers, told once with what to do; healed: used again', async (_, why, spoil, heal) => {
    const { ids, other } = await world();
    const { known, lines, until, redis } = await open();
    await admin.call(spoil[0] as string, ...spoil.slice(1));
    try {
      for (const id of ids) expect(await known(id)).toEqual([id]);
      await until.away();
      expect(await known(other)).toEqual([other]);
      expect(redis().why).toBe(why);
      expect(lines.map((line) => line.facts.why)).toEqual([why]);
    } finally {
      await admin.call(heal[0] as string, ...heal.slice(1));
    }
    await until.ok();
    expect(lines.map((line) => line.level)).toEqual(['warn', 'info']);
  });
  test('a wrong password: Postgres answers, told once with what to do, the password nowhere', async () => {
    const { ids } = await world();
    const url = (servers.settings.REDIS_URL as string).replace('//', '//somebody:hunter2@');
    const { known, lines } = await open({ url, connected: false });
    expect(await known(...ids)).toEqual(ids);
    await soon(() => expect(lines).toHaveLength(1));
    expect(lines[0]).toMatchObject({ level: 'warn', facts: { why: 'WRONGPASS' } });
    expect(JSON.stringify(lines)).not.toContain('hunter2');
  });
  test.each([
    ['never answers', () => ''],
    ['speaks HTTP', () => 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['answers OK to everything', () => '+OK\r\n'.repeat(8)],
    ['closes at once', () => null],
  ])('something that %s on its port: right and quick', async (_, answer) => {
    const { ids } = await world(20);
    const stranger = await listen(answer);
    try {
      const { timed, redis } = await open({ url: stranger.url, connected: false });
      await stranger.met;
      let together = 0;
      for (const id of ids) {
        const { found, tookMs } = await timed(id);
        expect(found).toEqual([id]);
        together += tookMs;
      }
      expect(together).toBeLessThan(1_000); // 2 s if each of them waited
      expect(redis()).toMatchObject({ state: 'away', hits: 0 });
    } finally {
      await stranger.close();
    }
  });
  test('no customer’s id is in any line or fact', async () => {
    const { ids, id, other } = await world();
    const { known, lines, until, customers } = await open();
    await admin.set(await entryName(id), await entryOf(other));
    await known(...ids);
    await admin.config('SET', 'maxmemory', '1');
    customers.remember(ids.map((customerId) => ({ customerId })));
    await until.away();
    await admin.config('SET', 'maxmemory', '0');
    await until.ok();
    expect(lines).toHaveLength(2);
    expect(JSON.stringify([lines, customers.facts()])).not.toContain(id.slice(0, -2));
  });
});

describe('closing', () => {
  test('what is on its way to Redis still arrives; afterwards Postgres answers', async () => {
    const { ids, other } = await world();
    const { customers, known, asked } = await open();
    customers.remember(ids.map((customerId) => ({ customerId })));
    await customers.close();
    await untilWritten(...ids);
    customers.rewind();
    expect(await known(other)).toEqual([other]);
    expect(asked).toEqual([[other]]);
  });
  test('while Redis is away it does not hang', async () => {
    await server.stop();
    const { customers } = await open({ connected: false });
    await customers.close();
    await server.start();
  });
});

/** Something else than Redis on a port. `answer`: to each piece of input; null closes. */
async function listen(answer: () => string | null) {
  const { promise: met, resolve: meet } = Promise.withResolvers<void>();
  const sockets = new Set<import('node:net').Socket>();
  const stranger = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', () => {
      meet();
      const words = answer();
      if (words === null) socket.destroy();
      else if (words !== '') socket.write(words);
    });
  });
  await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
  const { port } = stranger.address() as import('node:net').AddressInfo;
  async function close(): Promise<void> {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => stranger.close(resolve));
  }
  return { url: `redis://127.0.0.1:${port}`, met, close };
}
