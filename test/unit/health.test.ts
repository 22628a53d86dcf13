import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createServer } from '../../src/api/server.ts';
import { createHealth, type DatabaseFacts, type HealthOptions, watchDatabase } from '../../src/health.ts';
import type { LagFacts } from '../../src/lag.ts';
import { createLog } from '../../src/log.ts';
import type { PartitionFacts } from '../../src/partitions.ts';
import type { SourceFacts } from '../../src/sources/source.ts';

const SECOND = 1000;
const PLACE = { topic: 'user-events', partition: 0 };
const ASSIGNED = { ...PLACE, highWatermark: 10n, paused: false, halted: false };
type State = PartitionFacts['state'];

function partitionFacts(state: State, partition: number, over: Partial<PartitionFacts> = {}): PartitionFacts {
  return {
    ...{ topic: 'user-events', partition, next: 10n, state, reason: null },
    counts: { fenced: 0, conflicts: 0, retries: 0, replayed: 0, gaps: 0 },
    ...{ assignedAtMs: 1_000_000, savedAtMs: null, savedRecordMs: null, caughtUpAtMs: null },
    ...over,
  };
}

/** A healthy process; a test changes what it is about. */
function setup() {
  const world = {
    now: 1_000_000,
    source: {
      joined: true,
      stopping: false,
      crashed: null,
      dead: null,
      lastProgressAtMs: 1_000_000,
      ...{ lastFetchAtMs: null, lastHeartbeatAtMs: null, lastCommitAtMs: null, lastAnswerAtMs: null, rebalances: 0 },
      member: 'm',
      assigned: [ASSIGNED],
    } as SourceFacts,
    partitions: ['running'] as State[],
    saves: {} as Partial<PartitionFacts>,
    lag: [] as LagFacts[],
    isMigrated: true,
    database: { writableAtMs: 1_000_000, failed: null } as DatabaseFacts,
    redis: true,
  };
  const options: HealthOptions = {
    source: () => world.source,
    partitions: () => world.partitions.map((state, i) => partitionFacts(state, i, world.saves)),
    lag: () => world.lag,
    database: () => world.database,
    isMigrated: () => world.isMigrated,
    redis: () => world.redis,
    sessionTimeoutMs: 8 * SECOND,
    rebalanceTimeoutMs: 15 * SECOND,
    clock: () => world.now,
  };
  const health = createHealth(options);
  const source = (part: Partial<SourceFacts>) => {
    world.source = { ...world.source, ...part };
  };
  /** Time passes; the database goes on being checked. */
  const pass = (ms: number) => {
    world.now += ms;
    if (world.database.failed === null) world.database = { ...world.database, writableAtMs: world.now };
  };
  return { world, options, health, source, pass };
}

const failing = (report: { checks: Record<string, { ok: boolean }> }) =>
  Object.entries(report.checks).flatMap(([name, { ok }]) => (ok ? [] : name));

describe('a process that is stuck is restarted', () => {
  test('no fetch, heartbeat or batch for more than a minute', () => {
    const { health, pass } = setup();
    pass(60 * SECOND);
    expect(health.live().status).toBe('ok');
    pass(1);
    expect(health.live()).toEqual({
      status: 'failing',
      checks: { progress: { ok: false, detail: 'no fetch, heartbeat or batch for 60 s' } },
    });
  });

  test('with a long session timeout: three of them', () => {
    const { world, options } = setup();
    const health = createHealth({ ...options, sessionTimeoutMs: 30 * SECOND, rebalanceTimeoutMs: 60 * SECOND });
    world.now += 90 * SECOND;
    expect(health.live().status).toBe('ok');
    world.now += 1;
    expect(health.live().status).toBe('failing');
  });

  test('it has ended for good', () => {
    const { health, source } = setup();
    source({ dead: 'Refused: broker-1.internal', joined: false });
    for (const { status, checks } of [health.live(), health.ready()]) {
      expect(status).toBe('failing');
      expect(JSON.stringify(checks)).toContain('it has ended for good, the log says why');
      expect(JSON.stringify(checks)).not.toContain('internal');
    }
  });

  test('but not while the brokers are silent: nobody is helped by that', () => {
    const { health, source, pass, world } = setup();
    source({ lastAnswerAtMs: world.now });
    pass(300 * SECOND);
    expect(health.live().checks).toEqual({ progress: { ok: true, detail: 'no word from the brokers' } });
    expect(failing(health.ready())).toEqual(['group']);
    source({ lastAnswerAtMs: world.now });
    expect(failing(health.live())).toEqual(['progress']);
  });

  test('a join that does not end although the brokers answer', () => {
    const { health, source, pass, world } = setup();
    source({ joined: false });
    pass(120 * SECOND);
    source({ lastAnswerAtMs: world.now });
    expect(health.live().status).toBe('ok');
    pass(1);
    expect(health.live().checks).toEqual({
      progress: { ok: false, detail: 'joining for 120 s although the brokers answer' },
    });
  });

  test('with a long rebalance timeout: four of them', () => {
    const { options, world, source } = setup();
    const health = createHealth({ ...options, rebalanceTimeoutMs: 60 * SECOND });
    source({ joined: false });
    world.now += 240 * SECOND;
    source({ lastAnswerAtMs: world.now });
    expect(health.live().status).toBe('ok');
    world.now += 1;
    expect(health.live().status).toBe('failing');
  });
});

describe('an outage elsewhere restarts nobody', () => {
  test.each([
    ['the brokers are away: not a member', { joined: false }],
    ['the brokers went away while it joined', { joined: false, lastAnswerAtMs: 1_000_000 }],
    ['the consumer crashed and is built again', { joined: false, crashed: 'broker away' }],
    ['everything is paused', { assigned: [{ ...ASSIGNED, paused: true }] }],
    ['it is stopping', { stopping: true }],
  ])('%s, for an hour', (_, facts) => {
    const { health, source, pass } = setup();
    source(facts);
    pass(3600 * SECOND);
    expect(health.live().status).toBe('ok');
  });

  test('Postgres and Redis away: alive', () => {
    const { health, world } = setup();
    world.database = { writableAtMs: null, failed: 'the database can not be reached' };
    world.redis = false;
    world.partitions = ['halted'];
    expect(health.live().status).toBe('ok');
  });

  test('a consumer that is built again and again while the brokers answer: each try counts', () => {
    const { health, source, pass, world } = setup();
    for (let minute = 0; minute < 60; minute++) {
      source({ joined: false, crashed: 'no coordinator', lastProgressAtMs: world.now, lastAnswerAtMs: world.now });
      pass(60 * SECOND);
      expect([health.live().status, health.ready().status]).toEqual(['ok', 'failing']);
    }
  });

  test('lag, whatever it is', () => {
    const { health, world } = setup();
    world.lag = [{ ...PLACE, records: 1e9, seconds: 1e6 }];
    expect([health.live().status, health.ready().status]).toEqual(['ok', 'ok']);
  });

  test('one paused partition does not hide that the others are stuck', () => {
    const { health, source, pass } = setup();
    source({ assigned: [{ ...ASSIGNED, paused: true }, ASSIGNED] });
    pass(3600 * SECOND);
    expect(health.live().status).toBe('failing');
  });
});

describe('ready means: it can do its work now', () => {
  test('everything well: each check says so', () => {
    expect(setup().health.ready()).toEqual({
      status: 'ok',
      checks: {
        group: { ok: true, detail: 'joined, 1 partition' },
        partitions: { ok: true, detail: 'none halted' },
        database: { ok: true, detail: 'writable' },
        redis: { ok: true, detail: 'up' },
        lag: { ok: true, detail: 'none' },
      },
    });
  });

  test('how old the last fetch is, and how far it is behind, stand beside what decides', () => {
    const { health, source, world, pass } = setup();
    source({ lastFetchAtMs: 998_000, assigned: [ASSIGNED, ASSIGNED] });
    world.lag = [
      { ...PLACE, records: 3, seconds: 1.5 },
      { ...PLACE, partition: 1, records: 4, seconds: 70.9 },
    ];
    world.partitions = ['running', 'running'];
    const { checks } = health.ready();
    expect(checks.group?.detail).toBe('joined, 2 partitions, last fetch 2 s ago');
    expect(checks.lag).toEqual({
      ok: true,
      detail: '7 records behind; the slowest partition is 70 s behind and has saved nothing yet',
    });
    world.saves = { savedAtMs: world.now };
    pass(3 * SECOND);
    expect(health.ready().checks.lag?.detail).toContain('is 70 s behind and saved last 3 s ago');
  });

  test('joined, but no word from the brokers for longer than a session: no', () => {
    const { health, source, pass, world } = setup();
    source({ lastAnswerAtMs: world.now });
    pass(8 * SECOND);
    expect(health.ready().status).toBe('ok');
    pass(1);
    expect(health.ready().checks.group).toEqual({ ok: false, detail: 'no word from the brokers for 8 s' });
    expect(health.live().status).toBe('ok');
  });

  test('joined without partitions is a healthy standby', () => {
    const { health, source, world } = setup();
    source({ assigned: [] });
    world.partitions = [];
    expect(health.ready().status).toBe('ok');
  });

  test('before it joined: no', () => {
    const { health, source } = setup();
    source({ joined: false, assigned: [] });
    expect(failing(health.ready())).toEqual(['group']);
    source({ joined: true });
    expect(health.ready().status).toBe('ok');
  });

  test('a consumer that crashed: no, at once, and without the words of its error', () => {
    const { health, source } = setup();
    health.ready();
    source({ joined: false, crashed: 'KafkaJSConnectionError: broker-1.internal' });
    expect(failing(health.ready())).toEqual(['group']);
    expect(JSON.stringify(health.ready())).not.toContain('internal');
  });

  test('a rebalance may last as long as its timeout', () => {
    const { health, source, pass } = setup();
    health.ready();
    source({ joined: false });
    pass(15 * SECOND);
    expect(health.ready().status).toBe('ok');
    pass(1);
    expect(failing(health.ready())).toEqual(['group']);
  });

  test('stopping: no', () => {
    const { health, source } = setup();
    source({ stopping: true });
    expect(failing(health.ready())).toEqual(['group']);
  });

  test('database not writable, never checked, or not checked for long: no', () => {
    const { health, world } = setup();
    for (const facts of [
      { writableAtMs: world.now, failed: 'the database is read-only' },
      { writableAtMs: null, failed: null },
      { writableAtMs: world.now - 15 * SECOND - 1, failed: null },
    ]) {
      world.database = facts;
      expect(failing(health.ready())).toEqual(['database']);
    }
  });

  test('no partition was told its start: for as long as a rebalance may last', () => {
    const { health, world, source, pass } = setup();
    Object.assign(world, { partitions: ['settling'], saves: { next: null } });
    const look = () => {
      source({ lastProgressAtMs: world.now });
      return failing(health.ready());
    };
    expect(look()).toEqual([]);
    pass(15 * SECOND);
    expect(look()).toEqual([]);
    pass(1 * SECOND);
    expect(look()).toEqual(['partitions']);
    world.saves = { next: 10n };
    expect(look()).toEqual([]);
  });

  test('some partitions halted: yes, and it says how many; all: no', () => {
    const { health, world } = setup();
    world.partitions = ['halted', 'running', 'waiting'];
    expect(health.ready()).toMatchObject({ status: 'ok', checks: { partitions: { detail: '1 of 3 halted' } } });
    world.partitions = ['halted', 'halted'];
    expect(failing(health.ready())).toEqual(['partitions']);
  });

  test('Redis away: degraded, still ready', () => {
    const { health, world } = setup();
    world.redis = false;
    expect(health.ready()).toMatchObject({ status: 'degraded', checks: { redis: { ok: false } } });
  });
});

describe('the start is over', () => {
  test('when the schema is checked and the group was joined once; before that it says which is missing', () => {
    const { health, world, source } = setup();
    world.isMigrated = false;
    source({ joined: false });
    expect(failing(health.started())).toEqual(['schema', 'join']);
    world.isMigrated = true;
    expect(failing(health.started())).toEqual(['join']);
    source({ joined: true });
    expect(health.started()).toMatchObject({ status: 'ok', checks: { schema: { ok: true }, join: { ok: true } } });
  });

  test('and stays over, also when nobody asked while it was joined', () => {
    const { health, source } = setup();
    source({ joined: false, rebalances: 1 });
    expect(health.started().status).toBe('ok');
  });
});

describe('the page for people', () => {
  test('has everything, with offsets as text', () => {
    const { health, source, world, pass } = setup();
    source({ lastFetchAtMs: 999_500, rebalances: 2, assigned: [ASSIGNED, { ...ASSIGNED, partition: 1 }] });
    world.lag = [{ ...PLACE, records: 6, seconds: 9 }];
    world.saves = { next: 4n, savedAtMs: 1_000_000, counts: { ...partitionFacts('running', 0).counts, retries: 2 } };
    pass(2 * SECOND);
    expect(health.overview()).toEqual({
      status: 'ok',
      version: expect.any(String),
      live: health.live(),
      ready: health.ready(),
      startup: health.started(),
      redis: 'ok',
      member: 'm',
      rebalances: 2,
      secondsSince: { progress: 2, fetch: 2.5, heartbeat: null, commit: null, databaseCheck: 0 },
      saveRetries: 2,
      partitions: [
        {
          ...{ ...PLACE, state: 'running', why: null, paused: false },
          ...{ position: '4', highWatermark: '10', lagRecords: 6, lagSeconds: 9, lastSaveSeconds: 2 },
        },
        // Assigned a moment ago: nothing is known of it.
        {
          ...{ ...PLACE, partition: 1, state: 'settling', why: null, paused: false },
          ...{ position: null, highWatermark: '10', lagRecords: null, lagSeconds: null, lastSaveSeconds: null },
        },
      ],
    });
  });

  test('the kind of a halt, never its words', () => {
    const { health, world } = setup();
    world.partitions = ['halted'];
    world.saves = { reason: 'defect 22P02 at offsets 4 to 9: auth0|u1 at 10.0.0.1' };
    const page = health.overview();
    expect(page.partitions).toMatchObject([{ state: 'halted', why: 'defect 22P02 at offsets 4 to 9' }]);
    expect(JSON.stringify(page)).not.toMatch(/auth0|10\.0/);
  });

  test.each([
    ['failing', { dead: 'gone' }],
    ['failing', { joined: false, crashed: 'away' }],
    ['degraded', {}],
  ])('its status is the worst: %s', (status, facts) => {
    const { health, source, world } = setup();
    world.redis = false;
    source(facts);
    expect(health.overview().status).toBe(status);
  });
});

describe('the database is checked in the background', () => {
  beforeEach(() => void vi.useFakeTimers({ now: 1_000_000 }));
  afterEach(() => void vi.useRealTimers());

  /** Each question is answered by the test. */
  function watched() {
    const asked: PromiseWithResolvers<boolean>[] = [];
    const watch = watchDatabase(() => {
      const question = Promise.withResolvers<boolean>();
      asked.push(question);
      return question.promise;
    });
    return { watch, asked, pass: (ms: number) => vi.advanceTimersByTimeAsync(ms) };
  }

  test('away and back: it says so by itself', async () => {
    const { watch, asked, pass } = watched();
    expect(watch.facts()).toEqual({ writableAtMs: null, failed: null });
    asked[0]?.resolve(true);
    await pass(5 * SECOND);
    expect(watch.facts()).toEqual({ writableAtMs: 1_000_000, failed: null });
    asked[1]?.reject(new Error('connect ECONNREFUSED 10.0.0.1:5432'));
    await pass(5 * SECOND);
    expect(watch.facts().failed).toBe('the database can not be reached');
    asked[2]?.resolve(true);
    await pass(0);
    expect(watch.facts()).toEqual({ writableAtMs: 1_010_000, failed: null });
    watch.stop();
  });

  test('a standby or an old primary is not writable', async () => {
    const { watch, asked, pass } = watched();
    asked[0]?.resolve(false);
    await pass(0);
    expect(watch.facts().failed).toBe('the database is read-only');
    watch.stop();
  });

  test('one that hangs is noticed after 3 s, and gets no queue of questions', async () => {
    const { watch, asked, pass } = watched();
    await pass(2.9 * SECOND);
    expect(watch.facts().failed).toBeNull();
    await pass(0.2 * SECOND);
    expect(watch.facts().failed).toBe('the database does not answer');
    await pass(22 * SECOND);
    expect(asked).toHaveLength(1);
    await pass(5 * SECOND);
    expect(asked).toHaveLength(2);
    watch.stop();
  });

  test('a question lost on a dead connection does not hide that the database is back', async () => {
    const { watch, asked, pass } = watched();
    await pass(30 * SECOND);
    asked[1]?.resolve(true);
    await pass(0);
    expect(watch.facts().failed).toBeNull();
    asked[0]?.reject(new Error('read ETIMEDOUT'));
    await pass(0);
    expect(watch.facts().failed).toBeNull();
    watch.stop();
  });

  test('stopped, it asks no more', async () => {
    const { watch, asked, pass } = watched();
    asked[0]?.resolve(true);
    watch.stop();
    await pass(60 * SECOND);
    expect(asked).toHaveLength(1);
  });
});

describe('over HTTP', () => {
  function served() {
    const { world, health, source } = setup();
    const lines: string[] = [];
    const log = createLog({ level: 'info', pretty: false }, {}, { write: (line) => void lines.push(line) });
    const at = { host: '127.0.0.1', port: 0 };
    const metrics = async () => '# HELP up\n';
    return {
      ...{ world, source, lines, health, log },
      server: createServer({ ...at, health, log }),
      measured: createServer({ ...at, health, log, metrics }),
    };
  }

  test('200 with the checks while all is well, 503 with the reason when not', async () => {
    const { server, world } = served();
    for (const url of ['/livez', '/readyz', '/startupz']) {
      const { statusCode, headers, body } = await server.app.inject(url);
      expect([statusCode, headers['cache-control']]).toEqual([200, 'no-store']);
      expect(JSON.parse(body)).toMatchObject({ status: 'ok' });
    }
    world.database = { writableAtMs: null, failed: 'the database can not be reached' };
    const { statusCode, body } = await server.app.inject('/readyz');
    expect(statusCode).toBe(503);
    expect(JSON.parse(body).checks.database).toEqual({ ok: false, detail: 'the database can not be reached' });
    expect((await server.app.inject('/livez')).statusCode).toBe(200);
  });

  test('degraded is 200: machines read the status alone', async () => {
    const { server, world } = served();
    world.redis = false;
    expect((await server.app.inject('/readyz')).statusCode).toBe(200);
  });

  test('the page for people is 200 whatever it says, and short unless asked', async () => {
    const { server, source, health } = served();
    source({ dead: 'gone' });
    const short = await server.app.inject('/healthz');
    expect([short.statusCode, short.json()]).toEqual([200, { status: 'failing' }]);
    const long = await server.app.inject('/healthz?verbose');
    expect([long.statusCode, long.json()]).toEqual([200, JSON.parse(JSON.stringify(health.overview()))]);
    expect(long.headers['cache-control']).toBe('no-store');
  });

  test('metrics: the text as Prometheus wants it; without any there is no such page', async () => {
    const { server, measured } = served();
    const { statusCode, headers, body } = await measured.app.inject('/metrics');
    expect([statusCode, headers['content-type'], body]).toEqual([
      ...[200, 'text/plain; version=0.0.4; charset=utf-8', '# HELP up\n'],
    ]);
    expect((await server.app.inject('/metrics')).statusCode).toBe(404);
  });

  test.each([
    ['GET', '/', 404, 'not-found'],
    ['GET', '/users/auth0%7C64f1', 404, 'not-found'],
    ['POST', '/livez', 404, 'not-found'],
    ['GET', '/%zz', 400, 'invalid-request'],
  ] as const)('%s %s: %i as problem+json, without the request in it', async (method, url, status, type) => {
    const { server } = served();
    const { statusCode, headers, body } = await server.app.inject({ method, url });
    expect(statusCode).toBe(status);
    expect(headers['content-type']).toMatch(/^application\/problem\+json/);
    expect(JSON.parse(body)).toMatchObject({ type: `/problems/${type}`, title: expect.any(String), status });
    expect(body).not.toContain('64f1');
  });

  test('a defect of ours: 500 without a stack; the log has it', async () => {
    const { server, lines } = served();
    server.app.get('/broken', () => {
      throw new TypeError('x is not a function');
    });
    const { statusCode, body } = await server.app.inject('/broken');
    expect(statusCode).toBe(500);
    expect(body).not.toContain('function');
    expect(lines.join('')).toContain('x is not a function');
  });

  test('health checks are not logged', async () => {
    const { server, lines } = served();
    await server.app.inject('/livez');
    expect(lines).toEqual([]);
  });

  test('it listens, says where, and closes though a client keeps its connection', async () => {
    const { server } = served();
    const url = new URL(await server.listen());
    const client = connect(Number(url.port), url.hostname);
    await new Promise((resolve) => client.once('connect', resolve));
    const ended = new Promise((resolve) => client.once('close', resolve));
    expect((await fetch(new URL('/livez', url))).status).toBe(200);
    await server.close();
    await ended;
  });

  test('a port in use: the settings to change are named', async () => {
    const { server, health } = served();
    const url = new URL(await server.listen());
    const second = createServer({
      host: '127.0.0.1',
      port: Number(url.port),
      health,
      log: createLog({ level: 'silent', pretty: false }),
    });
    await expect(second.listen()).rejects.toThrow(`HTTP_PORT ${url.port}`);
    await second.close();
    await server.close();
  });
});
