// The frame of the API: what it says when it can not, hostile texts, pages of a list, what is away, and the console's files.
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTcp } from 'node:net';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createApi } from '../../src/api/api.ts';
import * as contract from '../../src/api/contract.ts';
import { NothingRead } from '../../src/api/live.ts';
import { openapi } from '../../src/api/openapi.ts';
import { PROBLEMS } from '../../src/api/problems.ts';
import { createServer } from '../../src/api/server.ts';
import type { Health } from '../../src/health.ts';
import { createLog } from '../../src/log.ts';
import { type Asked, ask, expectFits, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, rawRecord, userCreated } from '../support/records.ts';
import { createWorld, type Lines, type MemoryService, type World } from '../support/world.ts';

let world: World & Lines;
let service: MemoryService;
const api = (path: string, asked: Asked = {}) =>
  ask(service.url, `/api/v1${path}`, { ...asked, headers: { ...OWN, ...asked.headers } });
beforeAll(async () => {
  world = await createWorld();
  service = await world.service();
  for (let i = 0; i < 6; i++)
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ userId: `u${i}`, customerAccountId: undefined }), { id: `e${i}` }),
    );
  await service.source.drain();
});
afterAll(async () => {
  await world.expectSound();
  await world.close();
});

describe('a request that does not fit', () => {
  test.each([
    ['/users?limit=0', '/limit', 'must be >= 1'],
    ['/users?limit=201', '/limit', 'must be <= 200'],
    ['/users?limit=many', '/limit', 'must be integer'],
    ['/users?limt=5', '/limt', 'is not known here'],
    ['/users?q=a&q=b', '/q', 'must be string'],
    ['/users?q=%00', '/q', 'has characters that may not stand here'],
    ['/users?cursor=%C3%A4', '/cursor', 'has characters that may not stand here'],
    ['/users/u1/history?outcome=lost', '/outcome', 'is none of what may stand here'],
    ['/users/u1/history?from=yesterday', '/from', 'must match format "date-time"'],
    ['/users/%00', '/id', 'has characters that may not stand here'],
    ['/dead-letters/one', '/id', 'must be integer'],
    ['/dead-letters/9007199254740993', '/id', 'must be <= 9007199254740991'],
    ['/dead-letters?status=closed', '/status', 'is none of what may stand here'],
  ])('%s: %s %s', async (path, pointer, detail) => {
    const problem = expectProblem(await api(path), 'invalid-request', 400);
    expect(problem.errors).toContainEqual({ pointer, detail });
  });

  test('a body: each field that does not fit, by its place', async () => {
    const body = { kind: 'group', id: '', reason: 'x'.repeat(501), more: 1 };
    const problem = expectProblem(await api('/holds', { method: 'POST', body }), 'invalid-request', 400);
    expect(problem.errors?.map(({ pointer }) => pointer).sort()).toEqual(['/', '/id', '/kind', '/more', '/reason']);
  });

  test.each([
    ['no JSON', '{"kind":', {}, 'invalid-request', 400],
    ['no body', undefined, {}, 'invalid-request', 400],
    ['a body of another type', 'kind=user', { 'content-type': 'text/plain' }, 'invalid-request', 400],
    ['too much', JSON.stringify({ reason: 'x'.repeat(70_000) }), {}, 'too-large', 413],
    [
      'a key that is none',
      { kind: 'user', id: 'x', reason: 'x' },
      { 'idempotency-key': 'a b' },
      'invalid-request',
      400,
    ],
  ] as const)('%s', async (_, body, headers, type, status) => {
    expectProblem(await api('/holds', { method: 'POST', body, headers: { ...headers } }), type, status);
    expect(await world.sql`select 1 from holds`).toHaveLength(0);
  });

  test('a value that no column can hold or compare is the fault of whoever sent it', async () => {
    expectProblem(await api('/users/u1/history?from=0000-01-01T00:00:00Z'), 'invalid-request', 400);
  });

  test('there is nothing at an address, and no such method', async () => {
    expectProblem(await api('/nothing'), 'not-found', 404);
    expectProblem(await api('/users', { method: 'DELETE' }), 'not-found', 404);
    expectProblem(await ask(service.url, '/%'), 'invalid-request', 400);
  });

  test('a problem carries the trace id of whoever asked, and links to a page about its type', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const problem = expectProblem(await api('/users/nobody', { headers: { traceparent } }), 'not-found', 404);
    expect(problem.instance).toBe('urn:trace:4bf92f3577b34da6a3ce929d0e0e4736');
    for (const type of Object.keys(PROBLEMS)) {
      const page = await ask(service.url, `/problems/${type}`, { headers: { accept: 'text/html' } });
      expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
      expect((await ask(service.url, `/problems/${type}`)).json).toMatchObject({ type });
    }
    expectProblem(await ask(service.url, '/problems/constructor'), 'not-found', 404);
  });
});

describe('a cursor', () => {
  const cursorOf = async (path: string) => ((await api(path)).json as { nextCursor: string }).nextCursor;

  test('of another list, another filter, or nobody is refused', async () => {
    const cursor = await cursorOf('/users?limit=2');
    expect((await api(`/users?limit=3&cursor=${cursor}`)).status).toBe(200); // the size of a page is no filter
    for (const path of [
      `/users?state=pending&cursor=${cursor}`,
      `/customers?cursor=${cursor}`,
      `/users/u1/history?cursor=${cursor}`,
    ])
      expect(expectProblem(await api(path), 'invalid-request', 400).detail).toMatch(/^The cursor is of another/);
    const bound = JSON.parse(Buffer.from(cursor, 'base64url').toString())[0];
    for (const key of [null, 7, {}, [], 'x\0'])
      expectProblem(
        await api(`/users?cursor=${Buffer.from(JSON.stringify([bound, key])).toString('base64url')}`),
        'invalid-request',
        400,
      );
    for (const text of ['', 'AAAA', 'bnVsbA', 'W10'])
      expectProblem(await api(`/users?cursor=${text}`), 'invalid-request', 400);
  });

  test('rows that come meanwhile neither repeat nor hide one', async () => {
    const cursor = await cursorOf('/users?limit=2');
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ userId: 'u00', customerAccountId: undefined }), { id: 'e-u00' }),
    );
    await service.source.drain();
    const { items } = (await api(`/users?limit=2&cursor=${cursor}`)).json as { items: contract.UserItem[] };
    expect(items.map(({ userId }) => userId)).toEqual(['u2', 'u3']);
  });
});

describe('hostile texts arrive as they are, and do nothing', () => {
  const TEXTS = {
    html: '<script>alert(1)</script><img src=x onerror=alert(1)>',
    'right to left': '\u202eevil\u202c \u0627\u0644\u0639',
    escapes: '\x1b[31m\x07 "quoted" \\ back',
    sql: "'; drop table users; --",
    emoji: '👩‍👩‍👧 👍🏽',
  };

  test.each(Object.entries(TEXTS))('%s, in a name', async (name, text) => {
    const userId = `hostile-${name.replaceAll(' ', '-')}`;
    const created = userCreated({ userId, name: text, email: `${userId}@x.io`, customerAccountId: undefined });
    world.log.append(cloudEvent('USER_CREATED', created, { id: userId }));
    await service.source.drain();
    const { json } = await api(`/users/${userId}?reveal=true`);
    expectFits(contract.UserView, json);
    expect(json.user?.name).toBe(text);
    const masked = ((await api(`/users/${userId}`)).json as contract.UserView).user?.name as string;
    expect(masked).toBe(`${[...text][0]}***`);
    expect(masked.isWellFormed()).toBe(true);
    const history = (await api(`/users/${userId}/history?reveal=true`)).json as { items: contract.HistoryItem[] };
    expect(history.items[0]?.event.name).toBe(text);
  });

  test('NUL, half of a surrogate pair, bytes that are no text, 1 MB: of a dead letter, and masked', async () => {
    const values = {
      nul: JSON.stringify({ ...userCreated(), name: 'a\0b' }),
      surrogate: `{"type":"USER_CREATED","name":"\\ud800"}`,
      bytes: Buffer.from([0xff, 0xfe, 0x00]),
      large: JSON.stringify({ type: 'NOTHING', text: 'x'.repeat(999_000) }),
      deep: `${'['.repeat(60)}"ada@example.com"${']'.repeat(60)}`,
      prototype: '{"__proto__":{"email":"ada@example.com"}}',
    };
    for (const value of Object.values(values)) {
      world.log.append(
        rawRecord(value, {
          partition: 7,
          key: 'ada@example.com',
          headers: [
            ['x-e-mail', 'ada@example.com'],
            ['<b>', null],
          ],
        }),
      );
      await service.source.drain();
      const [letter] = ((await api('/dead-letters?limit=1')).json as { items: contract.DeadLetterItem[] }).items;
      const masked = await api(`/dead-letters/${letter?.id}`);
      expectFits(contract.DeadLetterView, masked.json);
      expect(masked.text).not.toMatch(/ada@example|xxxx/);
      const { json } = await api(`/dead-letters/${letter?.id}?reveal=true`);
      expectFits(contract.DeadLetterView, json);
      const { value: shown, base64, key, headers } = json.content;
      expect(Buffer.from(shown as string, base64 ? 'base64' : 'utf8')).toEqual(Buffer.from(value));
      expect(key).toBe('ada@example.com');
      expect(headers).toEqual([
        { name: 'x-e-mail', value: 'ada@example.com' },
        { name: '<b>', value: null },
      ]);
    }
  });

  test('in a reason: what an operator typed comes back as it was, half of a pair aside', async () => {
    for (const [i, reason] of [...Object.values(TEXTS), '\ud800 half'].entries()) {
      const { status, json } = await api('/holds', { method: 'POST', body: { kind: 'user', id: `h${i}`, reason } });
      expect(status).toBe(201);
      expect((json as contract.HoldRow).reason).toBe(reason.toWellFormed());
      await api(`/holds/user/h${i}`, { method: 'DELETE' });
    }
    const nul = { kind: 'user', id: 'h', reason: 'a\0b' };
    expectProblem(await api('/holds', { method: 'POST', body: nul }), 'invalid-request', 400);
  });
});

describe('what is away or slow', () => {
  const silent = createLog({ level: 'silent' });
  const live = {
    stats: () => Promise.reject(new NothingRead('')),
    partitions: () => Promise.reject(new NothingRead('')),
    board: {},
    stop() {},
  };
  async function without<T>(over: Record<string, string>, use: (url: string) => Promise<T>): Promise<T> {
    const config = world.config(over);
    const draining = async () => ({ saver: {}, decode: () => {}, waitingPerUser: 1 }) as never;
    const logOf = async () => undefined;
    const made = createApi({ config, log: silent, live: () => live as never, wake: { users() {} }, draining, logOf });
    const server = createServer({ ...config.http, health: {} as Health, log: silent, api: made });
    try {
      return await use(await server.listen());
    } finally {
      await server.close();
      await made?.stop();
      await made?.close();
    }
  }

  test('Postgres is not there: each route says so, and when to ask again', async () => {
    await without({ DB_PORT: '1' }, async (url) => {
      for (const path of [
        '/users',
        '/users/u1',
        '/users/u1/history',
        '/users/u1/at',
        '/recent/users',
        '/customers',
        '/dead-letters/groups',
        '/waiting/1',
        '/holds',
        '/jobs',
        '/audit',
        '/stats',
        '/partitions',
        '/users/u1?reveal=true',
      ]) {
        const answer = await ask(url, `/api/v1${path}`);
        expect(expectProblem(answer, 'unavailable', 503).detail).toMatch(/Postgres/);
        expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      }
      const act = {
        method: 'POST',
        headers: { ...OWN, 'idempotency-key': 'k' },
        body: { kind: 'user', id: 'x', reason: 'x' },
      };
      expectProblem(await ask(url, '/api/v1/holds', act), 'unavailable', 503);
      expect((await ask(url, '/api/v1/session')).status).toBe(200);
    });
  });

  test('Postgres takes connections and says nothing: an answer comes all the same', async () => {
    const mute = createTcp(() => {}).listen(0, '127.0.0.1');
    await new Promise((listening) => mute.once('listening', listening));
    await without({ DB_PORT: String((mute.address() as AddressInfo).port) }, async (url) => {
      const answer = await ask(url, '/api/v1/users');
      expect(expectProblem(answer, 'unavailable', 503).detail).toMatch(/no answer|can not be reached/);
    });
    mute.close();
  }, 30_000);

  test('a question that takes longer than 3 s is ended, and says how to narrow it; locked rows are another thing', async () => {
    const own = await createWorld();
    const slow = await own.service();
    own.log.append(cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }));
    await slow.source.drain();
    await own.sql.begin(async (tx) => {
      await tx`lock table users in access exclusive mode`;
      const answer = await ask(slow.url, '/api/v1/users');
      expect(expectProblem(answer, 'unavailable', 503).detail).toMatch(/locked/);
    });
    await own.sql.unsafe(
      'alter table users rename to all_users; create view users as select * from all_users where pg_sleep(5) is not null',
    );
    const startedMs = performance.now();
    const answer = await ask(slow.url, '/api/v1/users?state=pending');
    expectProblem(answer, 'heavy', 503);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    // Four at once: the last ones would wait for 18 s.
    const askedMs = performance.now();
    const all = await Promise.all(Array.from({ length: 24 }, () => ask(slow.url, '/api/v1/users?state=pending')));
    expect(new Set(all.map(({ status }) => status))).toEqual(new Set([503]));
    expect(performance.now() - askedMs).toBeLessThan(13_000);
    await own.close();
  });

  test('questions take turns, those that nobody hears any more are not asked, and the live numbers wait for none', async () => {
    const own = await createWorld();
    const busy = await own.service();
    own.log.append(cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }));
    await busy.source.drain();
    await own.sql.unsafe(`create sequence asked; alter table users rename to all_users; create view users as
      select * from all_users where case when nextval('asked') > 0 then pg_sleep(2) is not null end`);
    const question = (signal: AbortSignal | null = null) => fetch(`${busy.url}/api/v1/users`, { signal });
    const first = Array.from({ length: 4 }, () => question());
    await vi.waitFor(async () => {
      expect(await own.sql`select last_value::int as n from asked`).toEqual([{ n: 4 }]);
    });
    const gone = new AbortController();
    const more = Array.from({ length: 13 }, () => question(gone.signal).catch(() => undefined));
    const refused = await Promise.race(more);
    expect([refused?.status, refused?.headers.get('retry-after')]).toEqual([503, '5']);
    expect(await refused?.json()).toMatchObject({ type: '/problems/unavailable' });
    expect((await ask(busy.url, '/api/v1/stats')).status).toBe(200);
    gone.abort();
    expect((await Promise.all(more)).filter((answer) => answer !== undefined)).toEqual([refused]);
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await question()).status).toBe(200);
    expect(await own.sql`select last_value::int as n from asked`).toEqual([{ n: 5 }]);
    await own.close();
  });
});

describe('what is served beside the API', () => {
  test('the contract: committed, and the same as is served', async () => {
    const { json, headers } = await ask(service.url, '/openapi.json');
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(json).toEqual(await openapi());
    expect(json).toEqual(JSON.parse(readFileSync(new URL('../../docs/openapi.json', import.meta.url), 'utf8')));
  });

  test('the console, under every path that is no file and no part of the API, with a policy that lets nothing else in', async () => {
    for (const path of ['/', '/index.html', '/users/auth0%7C42?version=3', '/dead-letters']) {
      const { status, text, headers } = await ask(service.url, path, { headers: { accept: 'text/html,*/*' } });
      expect(status).toBe(200);
      expect(text).toMatch(/^<!doctype html>/i);
      expect(headers.get('cache-control')).toBe('no-cache');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      const policy = headers.get('content-security-policy');
      expect(policy).toMatch(/default-src 'self'.*frame-ancestors 'none'.*base-uri 'none'/);
      expect(policy).not.toMatch(/unsafe|\*|http/);
    }
    expectProblem(await ask(service.url, '/users/u1', { headers: { accept: 'application/json' } }), 'not-found', 404);
    expectProblem(await ask(service.url, '/assets/none.js', { headers: { accept: '*/*' } }), 'not-found', 404);
    expectProblem(await ask(service.url, '/assets/..%2f..%2f..%2fpackage.json'), 'not-found', 404);
  });

  test('answers of the API are not kept, not framed, not taken for anything else', async () => {
    const { headers } = await api('/users');
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('content-security-policy')).toBe("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('access-control-allow-origin')).toBeNull();
  });

  test('under a path of a proxy, which passes it on or takes it away', async () => {
    const under = await world.service({ HTTP_BASE_PATH: '/customers/console/' });
    const pages = ['', '/', '/index.html', '/users/u1'].map((page) => `/customers/console${page}`);
    for (const path of [...pages, '/', '/index.html']) {
      const { status, text } = await ask(under.url, path, { headers: { accept: 'text/html' } });
      expect(status).toBe(200);
      if (existsSync(new URL('../../console/dist/index.html', import.meta.url)))
        expect(text).toContain('<meta name="base" content="/customers/console/">');
    }
    expect((await ask(under.url, '/customers/console/api/v1/session')).status).toBe(200);
    expect((await ask(under.url, '/api/v1/session')).status).toBe(200);
    expect((await ask(under.url, '/customers/console/livez')).status).toBe(200);
    const { json } = await ask(under.url, '/customers/console/api/v1/users/nobody');
    expect(json).toMatchObject({ type: '/customers/console/problems/not-found' });
    await under.stop();
  });

  test('nothing that was sent stands in the log when something fails', async () => {
    await api('/users?q=ada%40example.com');
    await api('/users/%00ada');
    await api('/holds', { method: 'POST', body: { kind: 'user', id: 'ada@example.com', reason: 'ada@example.com\0' } });
    expect(JSON.stringify(world.lines)).not.toContain('ada@example.com');
  });
});

test('a stop does not wait for a browser that keeps its connection', async () => {
  const own = await world.service();
  await new Promise<void>((resolve, reject) => {
    request(`${own.url}/api/v1/session`, { headers: { connection: 'keep-alive' } }, (answer) => {
      answer.resume();
      answer.on('end', resolve);
    })
      .on('error', reject)
      .end();
  });
  const startedMs = performance.now();
  await own.stop();
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});
