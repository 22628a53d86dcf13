// What the probes say while something is really broken: asked over HTTP, of a process as it is deployed.
//
// A probe that lies costs more than the outage: /livez restarts healthy processes, /readyz hides broken ones.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../dev/child.ts';
import { type Server, type Servers, startServers } from '../../dev/servers.ts';
import type { Report } from '../../src/health.ts';
import { createLog } from '../../src/log.ts';
import { halt, resume } from '../../src/operate.ts';
import type { Overview, PartitionOverview } from '../../src/overview.ts';
import { kafkaSource } from '../../src/sources/kafka.ts';
import { withAdmin } from '../../src/sources/kafka-client.ts';
import { kafkaSettings } from '../../src/sources/open.ts';
import type { Watch } from '../../src/sources/source.ts';
import { handled, SETTINGS } from '../support/flood.ts';
import { createMemorySource } from '../support/memory-source.ts';
import { type Running, startProcess } from '../support/process.ts';
import { type Arrival, cloudEvent, userCreated } from '../support/records.ts';
import { createWorld, type Lines, until, type World } from '../support/world.ts';

const SECOND = 1_000;
/** Of SETTINGS: so long a member may be silent, and a rebalance may take. */
const SESSION_MS = Number(SETTINGS.KAFKA_SESSION_TIMEOUT_MS);
const REBALANCE_MS = Number(SETTINGS.KAFKA_REBALANCE_TIMEOUT_MS);
const quiet = createLog({ level: 'silent' });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ durable: false, require: true });
}, 120_000);
afterAll(() => servers?.stop(), 60_000);

const worlds: World[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
});

async function setup(over: Record<string, string> = {}, partitions = 1): Promise<World & Lines> {
  const world = await createWorld({ ...SETTINGS, ...over }, { servers: servers.settings });
  worlds.push(world);
  await world.createTopic(partitions);
  return world;
}

/** A process that is ready, and its address. */
async function start(world: World, over: Record<string, string> = {}): Promise<{ service: Running; url: string }> {
  const service = startProcess({ ...world.settings, ...over });
  const url = String((await service.says('started')).url);
  await saysReady(url);
  return { service, url };
}

type Answer = { status: number; report: Report };

/** As a prober does: no answer within a second is a failure. */
async function probe(url: string, path: '/livez' | '/readyz' | '/startupz'): Promise<Answer> {
  const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(1 * SECOND) });
  return { status: response.status, report: (await response.json()) as Report };
}

/** Which checks fail, once `path` answers 503 for exactly that; it must within `withinMs`. */
async function fails(url: string, path: '/readyz' | '/startupz' | '/livez', checks: string[], withinMs: number) {
  await until(async () => {
    const { status, report } = await probe(url, path);
    expect([status, report.status, failing(report)]).toEqual([503, 'failing', checks]);
  }, withinMs);
}
const failing = ({ checks }: Report) => Object.entries(checks).flatMap(([name, { ok }]) => (ok ? [] : name));

async function saysReady(url: string, withinMs = 15 * SECOND): Promise<void> {
  await until(async () => expect(await probe(url, '/readyz')).toMatchObject({ status: 200 }), withinMs);
}

/** Asks /livez ten times a second until `end`, which fails unless each answer was 200. */
function watchLife(url: string): { end(): Promise<void> } {
  const stopping = new AbortController();
  const answers: unknown[] = [];
  const asking = (async () => {
    while (!stopping.signal.aborted) {
      answers.push(await probe(url, '/livez').then(({ status }) => status, String));
      await sleep(100, undefined, { signal: stopping.signal }).catch(() => {});
    }
  })();
  return {
    async end() {
      stopping.abort();
      await asking;
      expect(answers.length).toBeGreaterThan(0);
      expect(new Set(answers)).toEqual(new Set([200]));
    },
  };
}

/** `act` while the server is away; it comes back whatever happens. */
async function without(server: Server, act: () => Promise<void>): Promise<void> {
  await server.stop(server === servers.postgres ? 'immediate' : 'SIGKILL');
  try {
    await act();
  } finally {
    await server.start();
  }
}

async function pageOf(url: string): Promise<Overview> {
  const response = await fetch(`${url}/healthz?verbose`, { signal: AbortSignal.timeout(1 * SECOND) });
  expect(response.status).toBe(200);
  return (await response.json()) as Overview;
}
async function partitionOf(url: string, partition: number): Promise<PartitionOverview> {
  return (await pageOf(url)).partitions.find((one) => one.partition === partition) as PartitionOverview;
}

let sent = 0;
/** So many users, each created. */
function users(n: number): Arrival[] {
  return Array.from({ length: n }, () => {
    const userId = `u${++sent}`;
    return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), {
      id: userId,
      key: userId,
    });
  });
}
const allHandled = (world: World, n: number) => until(async () => expect(await handled(world)).toBe(n));

describe('Postgres away', () => {
  test('alive throughout, not ready within 10 s, ready again by itself, and nothing is lost', async () => {
    const world = await setup();
    const { url } = await start(world);
    await world.produce(users(2));
    await allHandled(world, 2);
    const life = watchLife(url);
    await without(servers.postgres, async () => {
      await fails(url, '/readyz', ['database'], 10 * SECOND);
      await world.produce(users(3));
      // How far it is behind is known without Postgres.
      await until(async () => expect(await partitionOf(url, 0)).toMatchObject({ state: 'waiting', lagRecords: 3 }));
      const { lagSeconds: before } = await partitionOf(url, 0);
      await until(async () => expect((await partitionOf(url, 0)).lagSeconds).toBeGreaterThan((before as number) + 2));
    });
    await saysReady(url);
    await allHandled(world, 5);
    await until(async () => expect(await partitionOf(url, 0)).toMatchObject({ lagRecords: 0, lagSeconds: 0 }));
    await life.end();
  });

  test('from the start: the start is not over until it comes', async () => {
    const world = await setup();
    const url = `http://127.0.0.1:${await freePort()}`;
    let life: ReturnType<typeof watchLife> | undefined;
    await without(servers.postgres, async () => {
      startProcess({ ...world.settings, HTTP_PORT: new URL(url).port });
      await fails(url, '/startupz', ['schema', 'join'], 10 * SECOND);
      await fails(url, '/readyz', ['group', 'database'], 10 * SECOND);
      life = watchLife(url);
      // One that waits can be stopped.
      const other = startProcess(world.settings);
      await other.says('waiting for Postgres');
      other.signal('SIGTERM');
      expect(await other.ended).toEqual({ code: 0, signal: null });
    });
    await until(async () => expect(await probe(url, '/startupz')).toMatchObject({ status: 200 }), 20 * SECOND);
    await saysReady(url);
    await life?.end();
  });
});

describe('the broker away', () => {
  test('killed: alive for longer than a session, not ready, ready again by itself', async () => {
    const world = await setup();
    const { service, url } = await start(world);
    const life = watchLife(url);
    await without(servers.kafka as Server, async () => {
      await fails(url, '/readyz', ['group'], SESSION_MS + REBALANCE_MS);
      await service.says('the consumer ended, another is built');
      await sleep(SESSION_MS + 1 * SECOND); // what must not happen needs its time
      await fails(url, '/readyz', ['group'], 1 * SECOND);
    });
    await saysReady(url, 30 * SECOND);
    await world.produce(users(1));
    await allHandled(world, 1);
    await life.end();
  });

  test('connected, but without an answer: the same', async ({ skip }) => {
    const { pid } = servers.kafka as Server;
    if (pid === undefined) return skip('a container is not paused here');
    const world = await setup();
    const { url } = await start(world);
    const life = watchLife(url);
    process.kill(pid, 'SIGSTOP');
    try {
      await fails(url, '/readyz', ['group'], SESSION_MS + REBALANCE_MS);
      await sleep(SESSION_MS + 1 * SECOND);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await saysReady(url, 30 * SECOND);
    await life.end();
  });
});

describe('Redis away', () => {
  test('ready, and says that it is slower', async () => {
    const world = await setup({ REDIS_URL: servers.settings.REDIS_URL as string });
    const { url } = await start(world);
    const says = async (status: string, withinMs: number) =>
      until(async () => {
        const answer = await probe(url, '/readyz');
        expect([answer.status, answer.report.status]).toEqual([200, status]);
      }, withinMs);
    await says('ok', 10 * SECOND);
    const life = watchLife(url);
    await without(servers.redis as Server, async () => {
      await says('degraded', 10 * SECOND);
      expect(await pageOf(url)).toMatchObject({ status: 'degraded', redis: 'away' });
    });
    await says('ok', 15 * SECOND);
    await life.end();
  });
});

describe('the consumer', () => {
  test('without a partition it is a healthy standby', async () => {
    const world = await setup();
    const { url: first } = await start(world);
    const { url: second } = await start(world);
    await until(async () => {
      const answers = await Promise.all([first, second].map((url) => probe(url, '/readyz')));
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      const details = answers.map(({ report }) => report.checks.group?.detail.replace(/, last fetch.*/, ''));
      expect(details.sort()).toEqual(['joined, 0 partitions', 'joined, 1 partition']);
    }, 20 * SECOND);
    for (const url of [first, second]) expect((await probe(url, '/livez')).status).toBe(200);
  });

  test('crashed and built again: alive, not ready meanwhile', async () => {
    const world = await setup();
    const { service, url } = await start(world);
    const life = watchLife(url);
    const before = (await pageOf(url)).rebalances;
    // Each save meets a fence that says no, as if somebody else worked on the partition: it leaves and joins again.
    await world.sql.unsafe(`
      create function refuse() returns trigger language plpgsql as 'begin return null; end';
      create trigger refuse before update on positions for each row execute function refuse()`);
    await world.produce(users(1));
    await fails(url, '/readyz', ['group'], 15 * SECOND);
    await service.says('the consumer ended, another is built');
    await world.sql`drop trigger refuse on positions`;
    await saysReady(url);
    await allHandled(world, 1);
    expect((await pageOf(url)).rebalances).toBeGreaterThan(before);
    await life.end();
  });

  test('joining for long, because another member does not let go: the brokers are known to answer', async () => {
    const slow = { KAFKA_SESSION_TIMEOUT_MS: '40000', KAFKA_REBALANCE_TIMEOUT_MS: '40000' };
    const world = await setup(slow);
    const { service } = await start(world);
    const requests: string[] = [];
    const watch: Watch = { requested: (name, broker) => void requests.push(`${name} ${broker}`), committed: () => {} };
    const source = kafkaSource(kafkaSettings(world.config()), quiet, watch);
    service.signal('SIGSTOP');
    const joined = source.start({
      assigned: async () => [],
      revoked: () => {},
      take: async () => ({ what: 'abandoned' }),
    });
    // In a group that is rebalancing nobody fetches or beats; what is asked beside it comes every 15 s.
    await until(() => {
      const { joined, dead, crashed, lastProgressAtMs, lastAnswerAtMs } = source.facts();
      expect({ joined, dead, crashed }).toEqual({ joined: false, dead: null, crashed: null });
      expect(Date.now() - lastProgressAtMs).toBeGreaterThan(14 * SECOND);
      expect(Date.now() - (lastAnswerAtMs as number)).toBeLessThan(2 * SECOND);
    }, 25 * SECOND);
    service.signal('SIGCONT');
    await joined;
    await until(() => expect(source.facts()).toMatchObject({ joined: true, rebalances: 1 }));
    const { KAFKA_BROKERS: broker } = world.settings;
    await until(() => expect(requests).toEqual(expect.arrayContaining([`JoinGroup ${broker}`, `Heartbeat ${broker}`])));
    await source.stop();
  });

  test('ended for good: not alive, so that somebody restarts it', async () => {
    const world = await setup();
    const source = createMemorySource(world.log);
    const { url } = await world.service({}, source);
    await saysReady(url);
    Object.assign(source.facts(), { joined: false, dead: 'it can not go on' });
    await fails(url, '/livez', ['progress'], 1 * SECOND);
    await fails(url, '/readyz', ['group'], 1 * SECOND);
  });

  test('refused by what only a person can change: its source says that it has ended', async () => {
    const world = await setup();
    const settings = { ...kafkaSettings(world.config()), topics: [`${world.topic}-compacted`] };
    const configEntries = [{ name: 'cleanup.policy', value: 'compact' }];
    await withAdmin(settings, quiet, (admin) =>
      admin.createTopics({ topics: [{ topic: settings.topics[0] as string, configEntries }] }),
    );
    const source = kafkaSource(settings, quiet);
    expect(source.facts().dead).toBeNull();
    await expect(source.start({} as never)).rejects.toThrow('compact');
    expect(source.facts()).toMatchObject({ joined: false, dead: expect.stringContaining('compact') });
    await source.stop();
  });
});

describe('the event loop stands still', () => {
  test('no answer within a second; afterwards alive again', async () => {
    const world = await setup();
    const blockLoop = new URL('../support/block-loop.ts', import.meta.url);
    const { service, url } = await start(world, { NODE_OPTIONS: `--import ${blockLoop}` });
    service.signal('SIGUSR2');
    await until(() => expect(probe(url, '/livez')).rejects.toThrow('timeout'), 3 * SECOND);
    await until(async () => expect(await probe(url, '/livez')).toMatchObject({ status: 200 }), 6 * SECOND);
    await saysReady(url);
  });
});

describe('lag', () => {
  /** Log end and position of a partition, from where they are kept. */
  async function truth(world: World, partition: number): Promise<{ end: number; next: number }> {
    const settings = kafkaSettings(world.config());
    const ends = await withAdmin(settings, quiet, (admin) => admin.fetchTopicOffsets(world.topic));
    const [row] = await world.sql`select next_offset::int as next from positions where partition = ${partition}`;
    return { end: Number(ends.find((one) => one.partition === partition)?.high), next: row?.next };
  }

  test('of a halted partition: exact, older every second, never a reason to restart; none once it has caught up', async () => {
    const world = await setup({}, 2);
    const { url } = await start(world);
    await world.produce(users(20));
    await allHandled(world, 20);
    const place = { topic: world.topic, partition: 1 };
    expect(await halt(world.db, { ...place, generation: 0 }, 'by ops')).toBe(true);
    await until(async () =>
      expect(await partitionOf(url, 1)).toMatchObject({ state: 'halted', why: 'by ops', paused: true, lagRecords: 0 }),
    );

    await world.produce(users(30));
    const { end, next } = await truth(world, 1);
    expect(end - next).toBeGreaterThan(5);
    // Nothing is fetched any more: the end is looked at every 15 s.
    await until(async () => expect((await partitionOf(url, 1)).lagRecords).toBe(end - next), 20 * SECOND);
    const { secondsSince } = await pageOf(url);
    expect(secondsSince).toMatchObject(
      Object.fromEntries(Object.keys(secondsSince).map((of) => [of, expect.any(Number)])),
    );
    const { position, highWatermark, lagSeconds: before } = await partitionOf(url, 1);
    expect([position, highWatermark]).toEqual([String(next), String(end)]);
    await until(async () => expect((await partitionOf(url, 1)).lagSeconds).toBeGreaterThan((before as number) + 2));
    expect(await partitionOf(url, 0)).toMatchObject({ state: 'running', lagRecords: 0, lagSeconds: 0 });
    const { status, report } = await probe(url, '/readyz');
    expect([status, report.checks.partitions?.detail]).toEqual([200, '1 of 2 halted']);
    expect(report.checks.lag?.detail).toContain(`${end - next} records behind`);
    expect((await probe(url, '/livez')).status).toBe(200);

    expect(await resume(world.db, { ...place, byWhom: 'test' })).toBe(BigInt(next));
    await until(async () => expect(await partitionOf(url, 1)).toMatchObject({ lagRecords: 0, lagSeconds: 0 }));
    await allHandled(world, 50);
  });

  test('of a partition that was taken away: gone, and told by its new owner', async () => {
    const world = await setup({}, 2);
    const { url: first } = await start(world);
    await until(async () => expect((await pageOf(first)).partitions).toHaveLength(2));
    const { url: second } = await start(world);
    await until(async () => {
      const pages = await Promise.all([first, second].map(pageOf));
      const lags = pages.map(({ partitions }) =>
        partitions.map(({ partition, lagRecords }) => [partition, lagRecords]),
      );
      expect(lags.map((of) => of.length)).toEqual([1, 1]);
      expect(lags.flat().sort()).toEqual([
        [0, 0],
        [1, 0],
      ]);
    }, 20 * SECOND);
  });
});
