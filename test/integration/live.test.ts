// The console's live numbers: what a page has, added up from its stream, is what the tables say; whatever the page, the network
// or Postgres do meanwhile.
//
// Time is turned by the test: `pass` lets the beats and samples of so long come.
import net from 'node:net';
import { type SQL, sql } from 'drizzle-orm';
import Fastify from 'fastify';
import { afterEach, beforeEach, describe, expect, test as plainTest } from 'vitest';
import { openDatabase } from '../../db/client.ts';
import { type App, checked } from '../../src/api/app.ts';
import type { PartitionRow, Stats } from '../../src/api/contract.ts';
import { createLive, type Live, type LiveFacts, NothingRead } from '../../src/api/live.ts';
import type { LogEnd } from '../../src/api/log-ends.ts';
import { refusedFor, sendProblem } from '../../src/api/problems.ts';
import { type StreamOptions, streamRoutes } from '../../src/api/stream.ts';
import { endJob, startJob, stepJob } from '../../src/jobs.ts';
import { createLog } from '../../src/log.ts';
import type { Service } from '../../src/main.ts';
import { halt, hold, resume } from '../../src/operate.ts';
import type { Overview } from '../../src/overview.ts';
import type { PartitionFacts } from '../../src/partitions.ts';
import {
  cloudEvent,
  customerCreated,
  nestRecord,
  rawRecord,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { openPage, type Page } from '../support/sse.ts';
import { createWorld, test, until, type World } from '../support/world.ts';

// ---- somebody who looks -------------------------------------------------------------------------------------------------------

const WELL: Overview = {
  ...{ status: 'ok', version: 'test', redis: 'off', member: 'memory', rebalances: 0, saveRetries: 0, partitions: [] },
  live: { status: 'ok', checks: {} },
  ready: {
    status: 'ok',
    checks: { database: { ok: true, detail: 'writable' }, group: { ok: true, detail: 'joined' } },
  },
  startup: { status: 'ok', checks: {} },
  secondsSince: { progress: 0, fetch: null, heartbeat: null, commit: null, databaseCheck: 0 },
};
const customers: LiveFacts['customers'] = () => ({
  memory: { size: 0, hits: 90, misses: 10 },
  redis: { state: 'off' },
  postgres: { known: 0, unknown: 0 },
});

type Looking = {
  live: Live;
  url: string;
  /** Time passes, with all the beats and samples that belong to it; each time until what they read is there. */
  pass(ms: number): Promise<void>;
  open(query?: string, options?: Parameters<typeof openPage>[1]): Promise<Page>;
  /** Statements that were sent to Postgres so far. */
  asked(): number;
  app: App;
};

const opened: { close(): Promise<unknown> }[] = [];
beforeEach(() => void opened.splice(0));
afterEach(async () => void (await Promise.all(opened.map((one) => one.close()))));

/** The live side alone, on the tables of `world` and what `service` knows. */
async function look(
  world: Pick<World, 'db'>,
  { service, ...over }: Partial<LiveFacts> & { service?: Service } = {},
  options: StreamOptions = {},
): Promise<Looking> {
  let now = Date.now();
  let asked = 0;
  const pending = new Set<Promise<unknown>>();
  const timers = new Set<{ ms: number; dueMs: number; act: () => void }>();
  const counting = new Proxy(world.db, {
    get(db, name) {
      const value = Reflect.get(db, name);
      if (name !== 'execute') return value;
      return (...given: unknown[]) => {
        asked++;
        const answer = Promise.resolve(value.apply(db, given)); // Drizzle asks anew for each `then`
        const settled: Promise<unknown> = answer.then(
          () => pending.delete(settled),
          () => pending.delete(settled),
        );
        pending.add(settled);
        return answer;
      };
    },
  });
  const clock = () => now;
  const live = createLive(
    {
      ...{ db: counting, instance: 'one', customers, health: () => WELL },
      source: () => service?.facts().source ?? { ...NO_SOURCE },
      partitions: () => service?.facts().partitions ?? [],
      ...{ lag: () => [], timings: { take: () => ({ delayMs: null, batchMs: null, batchRecords: null }) } },
      ...over,
    },
    {
      clock,
      every(ms, act) {
        const timer = { ms, dueMs: now + ms, act };
        timers.add(timer);
        return () => void timers.delete(timer);
      },
    },
  );
  const { app, url } = await serve(live, { clock, ...options });
  return {
    ...{ live, app, url, asked: () => asked },
    open: (query = '', of = {}) => openPage(`${url}/stream${query}`, of),
    async pass(ms) {
      for (const end = now + ms; now < end; ) {
        now += 100;
        for (const timer of timers) {
          if (timer.dueMs > now) continue;
          timer.dueMs += timer.ms;
          timer.act();
        }
        while (pending.size > 0) await Promise.all(pending);
        await new Promise(setImmediate);
      }
    },
  };
}
const NO_SOURCE = {
  ...{
    joined: true,
    stopping: false,
    crashed: null,
    dead: null,
    lastProgressAtMs: 0,
    rebalances: 0,
    member: null,
    assigned: [],
  },
  ...{ lastFetchAtMs: null, lastHeartbeatAtMs: null, lastCommitAtMs: null, lastAnswerAtMs: null },
};

async function serve(live: Live, options: StreamOptions): Promise<{ app: App; url: string }> {
  const app = Fastify({ forceCloseConnections: true }) as unknown as App;
  app.setValidatorCompiler(checked);
  app.setErrorHandler((error, request, reply) =>
    sendProblem(request, reply, '/', refusedFor(error, createLog({ level: 'silent' }))),
  );
  streamRoutes(app, live, options);
  opened.push({
    close: async () => {
      live.stop();
      await app.close();
    },
  });
  return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) };
}

// ---- what happens meanwhile ---------------------------------------------------------------------------------------------------

const EVENTS = [
  cloudEvent('CUSTOMER_CREATED', customerCreated()),
  ...['u1', 'u2', 'u3', 'u4', 'u5'].map((userId) =>
    cloudEvent('USER_CREATED', userCreated({ userId }), { id: userId }),
  ),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u1' }), { id: 'a1' }),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u2' }), { id: 'a2' }),
  cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId: 'u2', newRole: 'SME_USER' }), { id: 'r2' }),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u3', newStatus: 'SUSPENDED' }), { id: 's3' }),
  cloudEvent('USER_DELETED', userDeleted({ userId: 'u4' }), { id: 'd4' }),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u4' }), { id: 'rejected' }),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u1' }), { id: 'skipped' }),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u1' }), { id: 'a1' }), // sent twice
  cloudEvent('USER_CREATED', userCreated({ userId: 'w1', customerAccountId: 'c9' }), { id: 'w1' }),
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'nobody' }), { id: 'w2' }),
  rawRecord('{"userId":'),
  rawRecord(null),
];

/** What the tables say of what a page has. */
async function counted({ sql }: World): Promise<Partial<Record<keyof Stats, unknown>>> {
  const sums = async (query: string) => {
    const rows = await sql.unsafe<{ name: string; n: number }[]>(query);
    return Object.fromEntries(rows.map(({ name, n }) => [name, n]));
  };
  return {
    counts: await sums('select state as name, count(*)::int as n from users group by 1'),
    transitions: await sums(
      "select transition as name, count(*)::int as n from history where outcome = 'applied' and transition is not null group by 1",
    ),
    outcomes: await sums(`select name, count(*)::int as n from (
      select outcome as name from history union all select 'waiting' from waiting union all
      select 'dead' from dead_letters where status <> 'resolved') x group by 1`),
    dead: await sums("select code as name, count(*)::int as n from dead_letters where status = 'open' group by 1"),
    waiting: {
      total: (await sql`select count(*)::int as n from waiting`)[0]?.n,
      reasons: await sums('select reason as name, count(*)::int as n from waiting group by 1'),
    },
  };
}
function without0(sums: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(sums).filter(([, n]) => n !== 0));
}
function shown({ counts, transitions, outcomes, dead, waiting }: Stats) {
  return {
    ...{ counts: without0(counts), transitions: without0(transitions), outcomes: without0(outcomes) },
    ...{ dead, waiting },
  };
}

describe('a page', () => {
  test('that was there before the first event has in the end what the tables say', async ({ world }) => {
    const service = await world.service();
    const { open, pass, live } = await look(world, { service });
    const page = await open();
    await until(() => expect(page.has?.counts).toMatchObject({ active: 0 }));

    for (const event of EVENTS) {
      world.log.append(event);
      await service.source.drain();
      await pass(500);
    }
    await hold(world.db, { kind: 'user', id: 'u5', reason: 'bad import', byWhom: 'ann' });
    world.log.append(cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u5' }), { id: 'h5' }));
    await service.source.drain();
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c9' }))); // w1 need not wait any more
    await service.source.drain();
    await until(async () => expect(await world.sql`select 1 from users where user_id = 'w1'`).toHaveLength(1));
    await pass(2_000);

    await until(async () => expect(page.has && shown(page.has)).toEqual(await counted(world)));
    expect(page.has?.outcomes).toMatchObject({
      applied: 13,
      skipped: 1,
      duplicate: 1,
      rejected: 1,
      waiting: 2,
      dead: 2,
    });
    expect(page.has?.waiting).toEqual({ total: 2, reasons: { user: 1, hold: 1 } });
    expect(page.has?.holds).toMatchObject([
      { kind: 'user', id: 'u5', reason: 'bad import', byWhom: 'ann', waiting: 1 },
    ]);
    const n = EVENTS.length + 2;
    expect(page.has?.lag).toMatchObject([
      {
        topic: 'user-events',
        partition: 0,
        position: `${n}`,
        records: `${n}`,
        state: 'running',
        why: null,
        committed: null,
      },
    ]);
    // Everything came as deltas, and they lead to what somebody gets who comes now.
    expect(page.events.filter(({ name }) => name === 'snapshot')).toHaveLength(1);
    await until(async () => expect(page.has).toEqual({ ...(await live.stats()), at: expect.anything() }));
  });
});

/** Drops and refuses whatever comes while it is cut. */
async function openProxy(to: { host: string; port: number }) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((from) => {
    const on = net.connect(to);
    for (const socket of [from, on]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        from.destroy();
        on.destroy();
      });
    }
    from.pipe(on).pipe(from);
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  await listen(0);
  const { port } = server.address() as net.AddressInfo;
  const cut = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  opened.push({ close: cut });
  return { port, cut, mend: () => listen(port) };
}

/** `world`, whose Postgres the test can take away from those who look. */
async function throughProxy(world: World) {
  const { database: settings } = world.config();
  const proxy = await openProxy(settings);
  const database = openDatabase({ ...settings, host: '127.0.0.1', port: proxy.port });
  opened.push(database);
  return { proxy, db: database.db };
}

describe('Postgres away', () => {
  test('the stream stays and says so; nothing is told as new; then it goes on', async ({ world }) => {
    const service = await world.service();
    world.log.append(...EVENTS.slice(0, 3));
    await service.source.drain();
    const { proxy, db } = await throughProxy(world);
    const { open, pass, live } = await look({ db }, { service });
    const page = await open();
    await until(() => expect(page.has?.counts).toMatchObject({ pending: 2 }));
    expect(page.has?.health).toMatchObject({ postgres: 'ok', reasons: [] });

    await proxy.cut();
    await pass(1_000);
    await until(() => expect(page.has?.health.postgres).toBe('away'));
    expect(page.has?.health).toMatchObject({
      status: 'failing',
      reasons: [expect.stringContaining('these numbers are old')],
    });
    const readAt = (await live.stats()).at;
    const came = page.events.length;
    world.log.append(...EVENTS.slice(3, 6)); // the service itself still has it
    await service.source.drain();
    await pass(3_000);
    expect(page.events.slice(came).map(({ name }) => name)).toEqual([]);
    expect((await live.stats()).at).toBe(readAt);

    await proxy.mend();
    await until(async () => {
      await pass(500);
      expect(page.has?.health).toMatchObject({ postgres: 'ok', status: 'ok', reasons: [] });
    });
    await until(() => expect(page.has?.counts).toMatchObject({ pending: 5 }));
    expect(page.events.filter(({ name }) => name === 'snapshot')).toHaveLength(1);
  });

  test('from the start: the page hears why, and gets its snapshot when there is one', async ({ world }) => {
    await world.service();
    const { proxy, db } = await throughProxy(world);
    await proxy.cut();
    const { open, pass, live } = await look({ db });
    await expect(live.stats()).rejects.toThrow(NothingRead);
    await expect(live.partitions()).rejects.toThrow(NothingRead);
    const page = await open();
    await until(() => expect(page.events).toMatchObject([{ name: 'health', data: { health: { postgres: 'away' } } }]));
    await proxy.mend();
    await until(async () => {
      await pass(500);
      expect(page.has?.health.postgres).toBe('ok');
    });
  });
});

describe('partitions', () => {
  test('of other processes are there: what Kafka was asked, and what nobody knows', async ({ world }) => {
    const other = await world.service();
    world.log.append(
      ...EVENTS.slice(0, 6),
      nestRecord('USER_CREATED', userCreated({ userId: 'u9' })),
      nestRecord('USER_CREATED', userCreated({ userId: 'u8' }), { partition: 1 }),
    );
    await other.source.drain();
    const end = { logStart: 2n, logEnd: 9n, committed: 4n };
    const ends: LogEnd[] = [{ topic: 'user-events', partition: 0, ...end }];
    let looks = 0;
    const { live, pass, open } = await look(world, {
      logs: async () => {
        looks++;
        return ends;
      },
    });
    expect(looks).toBe(0);
    const row = { generation: 0, owner: expect.any(String), savedAt: expect.any(String), state: 'running', why: null };
    const unknown = { logStart: null, high: null, lag: null, lagSeconds: null, committed: null };
    expect(await live.partitions()).toMatchObject([
      {
        ...row,
        topic: 'USER_CREATED',
        partition: 0,
        position: '1',
        ...unknown,
        records: '1',
        unkeyed: '1',
        rate: null,
      },
      { ...row, topic: 'USER_CREATED', partition: 1, position: '1', ...unknown },
      {
        ...row,
        topic: 'user-events',
        position: '6',
        logStart: '2',
        high: '9',
        lag: '3',
        lagSeconds: null,
        committed: '4',
        unkeyed: '0',
      },
    ]);

    // It catches up to where the log ended at the first look, while that grows.
    const page = await open();
    await pass(5_000);
    world.log.append(...EVENTS.slice(6, 10));
    await other.source.drain();
    Object.assign(ends[0] as LogEnd, { logEnd: 12n });
    await pass(15_000);
    await until(() => expect(page.has?.lag.at(-1)).toMatchObject({ position: '10', high: '12', lag: '2', rate: 0 }));
    expect(page.has?.lag.at(-1)?.lagSeconds).toBeGreaterThan(10);
    expect(looks).toBe(3); // at once, and every 10 s
    page.leave();
    await until(() => expect(page.ended).resolves.toBeUndefined());
    await pass(60_000);
    expect(looks).toBe(3); // nobody looks
  });

  test('that stand still say for what', async ({ world }) => {
    const service = await world.service();
    world.log.append(...EVENTS.slice(0, 6), nestRecord('USER_CREATED', userCreated({ userId: 'u9' })));
    await service.source.drain();
    const [one, two] = service.facts().partitions as [PartitionFacts, PartitionFacts];
    const fetched = { highWatermark: 8n, paused: false, halted: false };
    const assigned = [one, two].map(({ topic, partition }) => ({ topic, partition, ...fetched }));
    const { open, pass } = await look(world, {
      source: () => ({ ...NO_SOURCE, assigned }),
      partitions: () => [{ ...one, state: 'waiting', reason: 'ECONNREFUSED' }, two],
      lag: () => [{ topic: one.topic, partition: one.partition, records: 2, seconds: 31.27 }],
    });
    const page = await open();
    const rowOf = ({ topic }: PartitionFacts) => page.has?.lag.find((row) => row.topic === topic);
    await until(() => expect(rowOf(one)?.state).toBe('paused'));
    expect(rowOf(one)).toMatchObject({ why: expect.stringContaining('ECONNREFUSED'), lag: '2', lagSeconds: 31.3 });
    expect(rowOf(two)).toMatchObject({ state: 'running', why: null });
    await halt(world.db, { topic: two.topic, partition: 0, generation: 0 }, 'gap: who moves offsets?');
    await pass(1_000);
    await until(() => expect(rowOf(two)).toMatchObject({ state: 'halted', why: 'gap: who moves offsets?' }));
    await resume(world.db, { topic: two.topic, partition: 0, byWhom: 'ann' });
  });
});

describe('what is left to people', () => {
  test('a held customer says how many events of its users wait; a job that runs is in front, with when it will be done', async ({
    world,
  }) => {
    const service = await world.service();
    world.log.append(
      ...EVENTS.slice(0, 3),
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c2' })),
    );
    await service.source.drain();
    await hold(world.db, { kind: 'customer', id: 'c1', reason: 'import', byWhom: 'ann' });
    await hold(world.db, { kind: 'customer', id: 'c2', reason: 'import', byWhom: 'ann' });
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u1' }), { id: 'h1' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'u2' }), { id: 'h2' }),
      cloudEvent('USER_CREATED', userCreated({ userId: 'new', customerAccountId: 'c2' }), { id: 'h3' }),
    );
    await service.source.drain();
    const started = { kind: 'redrive', scope: {}, options: {}, who: 'ann', total: 100 } as const;
    const runs = await startJob(world.db, started);
    for (let n = 0; n < 25; n++) await endJob(world.db, await startJob(world.db, started));
    const here = { id: runs.id, sinceMs: Date.now() - 9_000, doneBefore: 0 };
    await stepJob(world.db, runs, { cursor: '20', done: 20, failed: 1 });
    const { live, pass } = await look(world, { jobsHere: () => [here] });
    await pass(1_000);
    const { holds, jobs } = await live.stats();
    expect(holds.map(({ id, waiting }) => [id, waiting]).sort()).toEqual([
      ['c1', 2],
      ['c2', 1],
    ]);
    expect(jobs).toHaveLength(20);
    expect(jobs[0]).toMatchObject({ id: runs.id, state: 'running', done: 20, failed: 1, total: 100, startedBy: 'ann' });
    expect(jobs[0]?.rate).toBeGreaterThan(1.5);
    expect(jobs[0]?.rate).toBeLessThanOrEqual(2);
    expect(jobs[0]?.secondsLeft).toBeGreaterThanOrEqual(40);
    expect(jobs[1]).toMatchObject({ state: 'done', rate: null, secondsLeft: null });
    expect(jobs[1]?.id).toBeGreaterThan(jobs[2]?.id as number);
  });

  plainTest('is counted up to a thousand of each, and no further', async () => {
    const world = await createWorld();
    try {
      await world.sql`
        insert into dead_letters (topic, partition, generation, "offset", stage, code, message, headers, sha256, size, record_ms,
                                  cluster_id, blocks, service_version, machine_version, instance, status)
        select 't', 0, 0, i, 'decode', case when i <= 3 then 'rare' else 'json' end, '', '[]', '', 0, 0, '', false, '1', 1, 'i',
               case when i = 1 then 'discarded' when i = 2 then 'redriving' else 'open' end
          from generate_series(1, 1500) i`;
      const { live } = await look(world);
      expect((await live.stats()).dead).toEqual({ rare: 2, json: 1_001 });
    } finally {
      await Promise.all(opened.splice(0).map((one) => one.close()));
      await world.close();
    }
  });
});

describe('what it costs', () => {
  test('thirty pages are read for as one is; nobody, every 5 s', async ({ world }) => {
    await world.service();
    const { open, pass, asked } = await look(world);
    const during = async (ms: number) => {
      const before = asked();
      await pass(ms);
      return asked() - before;
    };
    const [MOMENT, OPEN] = [2, 4]; // statements
    expect(await during(60_000)).toBe(12 * MOMENT);
    const pages = [await open()];
    const forOne = await during(10_000);
    expect(forOne).toBeGreaterThan(5 * (MOMENT + OPEN));
    const most = 21 * MOMENT + 11 * OPEN;
    expect(forOne).toBeLessThanOrEqual(most);
    while (pages.length < 30) pages.push(await open());
    expect(await during(10_000)).toBeLessThanOrEqual(most);
    for (const page of pages) page.leave();
    await Promise.all(pages.map((page) => page.ended));
    await until(async () => expect(await during(10_000)).toBe(2 * MOMENT));
  });

  test('a slow answer is asked for less often, so that looking never becomes the work', async ({ world }) => {
    await world.service();
    const slow = new Proxy(world.db, {
      get: (db, name) =>
        name === 'execute'
          ? async (query: SQL) => {
              await db.execute(sql`select pg_sleep(0.3)`);
              return await db.execute(query);
            }
          : Reflect.get(db, name),
    });
    const { open, pass, asked } = await look({ db: slow });
    await open();
    await until(() => expect(asked()).toBeGreaterThan(0));
    await pass(2_000); // the first answers
    const before = asked();
    await pass(12_000);
    expect(asked() - before).toBeLessThanOrEqual((2 * 12) / (4 * 0.3) + (4 * 12) / (20 * 0.3) + 6);
  });
});

describe('the charts', () => {
  test('have a sample for every 5 s, whether or not somebody looked, that add up to all that happened', async ({
    world,
  }) => {
    const service = await world.service();
    const { open, pass, live } = await look(world, { service });
    await pass(5_000);
    for (let n = 0; n < EVENTS.length; n++) {
      world.log.append(EVENTS[n] as (typeof EVENTS)[number]);
      await service.source.drain();
      await pass(1_000);
      if (n === 8) await open();
    }
    await pass(5_000);
    const { series, outcomes } = await live.stats();
    expect(series.map(({ seconds }) => Math.round(seconds))).toEqual([5, 5, 5, 5]);
    expect(series.reduce((sum, { records }) => sum + records, 0)).toBe(EVENTS.length);
    for (const outcome of ['applied', 'skipped', 'duplicate', 'rejected', 'dead', 'waiting'])
      expect([outcome, series.reduce((sum, sample) => sum + (sample.outcomes[outcome] as number), 0)]).toEqual([
        outcome,
        outcomes[outcome],
      ]);
  });
});

describe('the flow of a longer stretch', () => {
  test('tells what a page of the last 10 s does not any more, and of how long it is; the stream stays as it is', async ({
    world,
  }) => {
    const service = await world.service();
    const { open, pass, live } = await look(world, { service });
    const page = await open();
    await pass(5_000);
    world.log.append(...EVENTS);
    await service.source.drain();
    await pass(25_000);
    const { flow: latest, transitions } = await live.stats();
    expect(latest).toMatchObject({ window: 10, records: 0, edges: {} });
    for (const window of [60, 300, 900] as const) {
      const { flow } = await live.stats({ window });
      expect(flow.window).toBeGreaterThanOrEqual(29);
      expect(flow.window).toBeLessThanOrEqual(31);
      expect(flow.records).toBeCloseTo(EVENTS.length / flow.window, 1);
      expect(Object.keys(flow.edges).sort()).toEqual(Object.keys(transitions).sort());
      for (const [id, n] of Object.entries(transitions)) expect(flow.edges[id]).toBeCloseTo(n / flow.window, 1);
    }
    await pass(60_000);
    const { flow: minute } = await live.stats({ window: 60 });
    expect(minute.window).toBeGreaterThan(54);
    expect(minute.window).toBeLessThanOrEqual(60);
    expect(minute).toMatchObject({ records: 0, edges: {} });
    expect((await live.stats({ window: 300 })).flow.edges).not.toEqual({});
    await until(() => expect(page.has?.flow).toMatchObject({ window: 10, edges: {} }));
  });

  test('is of this process alone: after a restart it begins anew, and says so', async ({ world }) => {
    const service = await world.service();
    world.log.append(...EVENTS);
    await service.source.drain();
    const { pass, live } = await look(world, { service });
    await pass(20_000);
    const { flow, transitions } = await live.stats({ window: 900 });
    expect(transitions).not.toEqual({});
    expect(flow).toMatchObject({ records: 0, edges: {} });
    expect(flow.window).toBeLessThanOrEqual(20);
  });

  test('of a database that was restored to a former time: nothing of what was later', async ({ world }) => {
    const service = await world.service();
    world.log.append(...EVENTS.slice(0, 6));
    await service.source.drain();
    const dump = () => world.sql`select topic, partition, tallies from positions`;
    const restore = async (dumped: Awaited<ReturnType<typeof dump>>) => {
      for (const { topic, partition, tallies } of dumped)
        await world.sql`update positions set tallies = ${world.sql.json(tallies)} where topic = ${topic} and partition = ${partition}`;
    };
    const former = await dump();
    const { pass, live } = await look(world, { service });
    await pass(10_000);
    world.log.append(...EVENTS.slice(6));
    await service.source.drain();
    await pass(60_000);
    expect((await live.stats({ window: 900 })).flow.edges).not.toEqual({});
    const later = await dump();
    await restore(former);
    await pass(10_000);
    const { flow, transitions } = await live.stats({ window: 900 });
    expect(Object.values(transitions).reduce((sum, n) => sum + n, 0)).toBe(5);
    expect(flow).toMatchObject({ records: 0, edges: {} });
    expect(flow.window).toBeLessThanOrEqual(10);
    await restore(later); // the rest of it was not restored
  });

  test('for lines of how many users there were, every third sample has them', async ({ world }) => {
    const service = await world.service();
    const { pass, live } = await look(world, { service });
    await pass(5_000);
    world.log.append(...EVENTS);
    await service.source.drain();
    await pass(35_000);
    const { series, counts } = await live.stats();
    expect(series.map((sample) => sample.counts !== undefined)).toEqual([true, false, false, true, false, false, true]);
    expect(series.at(-1)?.counts).toEqual(without0(counts));
    expect((await live.stats({ samples: 2 })).series).toEqual(series.slice(-2));
  });
});

describe('the whole service', () => {
  test('streams from its own address, with how long events and batches took', async ({ world }) => {
    const service = await world.service();
    const page = await openPage(`${service.url}/api/v1/stream`);
    expect(page.status).toBe(200);
    await until(() => expect(page.has).toBeDefined());
    service.tick();
    await until(() => expect(service.facts().partitions).toEqual([]));
    world.log.append(...EVENTS.map((event) => ({ ...event, timestampMs: Date.now() - 2_000 })));
    await service.source.drain();
    await until(async () => expect(page.has && shown(page.has)).toEqual(await counted(world)));
    expect(page.has).toMatchObject({ health: { kafka: 'off', redis: 'off', postgres: 'ok' } });
    await until(() => {
      service.tick();
      const samples = page.has?.series.filter(({ records }) => records > 0) ?? [];
      expect(samples).toHaveLength(1);
      expect(samples[0]).toMatchObject({ records: EVENTS.length, batchRecords: EVENTS.length });
      expect(samples[0]?.delayMs?.p50).toBeGreaterThan(1_900);
      expect(samples[0]?.delayMs?.p99).toBeLessThan(12_000);
      expect(samples[0]?.batchMs?.p50).toBeGreaterThan(0);
    });
    const stopped = service.stop();
    await page.ended;
    await stopped;
  });

  test('knows of every partition of Kafka where its log ends and what the group has committed', async ({ world }) => {
    await world.createTopic(3);
    const { url } = await world.kafkaService();
    await world.produce(EVENTS.slice(0, 6).map((event, i) => ({ ...event, key: Buffer.from(`key ${i}`) })));
    await until(async () => {
      const { items } = (await (await fetch(`${url}/api/v1/partitions`)).json()) as { items: PartitionRow[] };
      expect(items.map(({ topic, partition }) => [topic, partition])).toEqual([0, 1, 2].map((n) => [world.topic, n]));
      expect(items.reduce((sum, { position }) => sum + Number(position), 0)).toBe(6);
      for (const { position, high, lag, state, committed } of items) {
        expect({ high, lag, state }).toEqual({ high: position, lag: '0', state: 'running' });
        if (position !== '0') expect(committed).toBe(position);
      }
    }, 30_000);
  });
});
