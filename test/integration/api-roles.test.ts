// Who may what: every operation of the API asked by nobody, by a viewer, by an operator, and with a token that is none.
import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer as createHttp } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as contract from '../../src/api/contract.ts';
import { openapi } from '../../src/api/openapi.ts';
import { type Asked, ask, expectFits, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, type Lines, type MemoryService, type World } from '../support/world.ts';

const TOKENS = { viewer: 'a-viewer-token-of-24-signs', operator: 'an-operator-token-of-26-s' };
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const SETTINGS = { AUTH_MODE: 'token', AUTH_VIEWER_TOKEN: TOKENS.viewer, AUTH_OPERATOR_TOKEN: TOKENS.operator };

let world: World & Lines;
let service: MemoryService;
beforeAll(async () => {
  world = await createWorld();
  service = await world.service(SETTINGS);
  world.log.append(
    cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
    cloudEvent('USER_STATUS_CHANGED', { ...statusChanged(), newStatus: 'FROZEN' }, { id: 'e2' }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u2' }), { id: 'e3' }),
  );
  await service.source.drain();
});
afterAll(async () => {
  await world.expectSound();
  await world.close();
});

type Operation = { method: string; path: string; needs: string };
const operations: Operation[] = Object.entries(
  ((await openapi()) as { paths: Record<string, Record<string, { description?: string; security: unknown[] }>> }).paths,
).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, { description, security }]) => ({
    method: method.toUpperCase(),
    path: path
      .replace('{kind}', 'user')
      .replace('{topic}', 't')
      .replaceAll(/\{\w+\}/g, '1'),
    needs: security.length === 0 ? 'nobody' : (/role (\w+)/.exec(description ?? '')?.[1] as string),
  })),
);
/** Whatever the body: who may not come in does not learn whether it would do. */
const asked = ({ method }: Operation, headers: Record<string, string>): Asked => ({
  method,
  headers: { ...OWN, ...headers },
  ...(method === 'POST' ? { body: {} } : {}),
});
const without = (operation: Operation) => ask(service.url, operation.path, asked(operation, {}));
const as = (token: string, operation: Operation) => ask(service.url, operation.path, asked(operation, bearer(token)));
/** The stream does not end by itself. */
const isStream = ({ path }: Operation) => path.endsWith('/stream');

test('there is something to test, and each operation needs a role or says that it is for everybody', () => {
  expect(operations.length).toBeGreaterThan(30);
  expect(operations.filter(({ needs }) => needs === 'nobody').map(({ path }) => path)).toEqual([
    '/api/v1/session',
    '/api/v1/login',
    '/api/v1/logout',
  ]);
  expect(
    operations.filter(({ method, needs }) => method !== 'GET' && needs === 'viewer').map(({ path }) => path),
  ).toEqual(['/api/v1/what-if']);
});

describe.each(operations.filter(({ needs }) => needs !== 'nobody'))('$method $path', (operation) => {
  test('nobody gets in, nor somebody with a wrong token', async () => {
    const nobody = await without(operation);
    expectProblem(nobody, 'unauthenticated', 401);
    expect(nobody.headers.get('www-authenticate')).toBe('Bearer');
    expectProblem(await as(`${TOKENS.operator}x`, operation), 'unauthenticated', 401);
    expectProblem(await as(TOKENS.operator.slice(0, -1), operation), 'unauthenticated', 401);
  });

  test(`a viewer ${operation.needs === 'viewer' ? 'gets in' : 'does not'}, an operator does`, async () => {
    if (isStream(operation)) return;
    const viewer = await as(TOKENS.viewer, operation);
    if (operation.needs === 'operator') expectProblem(viewer, 'forbidden', 403);
    else expect([401, 403, 500, 503]).not.toContain(viewer.status);
    expect([401, 403, 500, 503]).not.toContain((await as(TOKENS.operator, operation)).status);
  });
});

describe('a session of a browser', () => {
  const login = (token: string, headers: Record<string, string> = OWN) =>
    ask(service.url, '/api/v1/login', { method: 'POST', headers, body: { token } });
  const cookieOf = (answer: { headers: Headers }) => answer.headers.get('set-cookie') ?? '';

  test('a token in, a cookie out, which no script sees and no other page sends', async () => {
    const answer = await login(TOKENS.viewer);
    expectFits(contract.Session, answer.json);
    expect(answer.json).toMatchObject({ mode: 'token', role: 'viewer', who: 'viewer', mayReveal: false });
    expect(cookieOf(answer)).toMatch(/^customer-service=[\w.-]+; Path=\/; Expires=.*; HttpOnly; SameSite=Strict$/);
    expect(cookieOf(answer)).not.toContain(TOKENS.viewer);
    const cookie = cookieOf(answer).split(';')[0] as string;
    const session = await ask(service.url, '/api/v1/session', { headers: { cookie } });
    expect(session.json).toMatchObject({ role: 'viewer' });
    expect((await ask(service.url, '/api/v1/users', { headers: { cookie } })).status).toBe(200);
    const logout = await ask(service.url, '/api/v1/logout', { method: 'POST', headers: { ...OWN, cookie } });
    expect(cookieOf(logout)).toMatch(/^customer-service=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970/);
  });

  test('a wrong token, no token: nobody', async () => {
    expectProblem(await login('wrong'), 'unauthenticated', 401);
    expectProblem(await login(''), 'invalid-request', 400);
    const { json } = await ask(service.url, '/api/v1/session');
    expectFits(contract.Session, json);
    expect(json).toMatchObject({ role: null, who: null, mayReveal: false });
  });

  test('a cookie that was changed, sealed by somebody else, or has ended is none', async () => {
    const [value] = (cookieOf(await login(TOKENS.viewer)).split('=')[1] as string).split(';');
    const [text = '', seal = ''] = (value as string).split('.');
    const claims = JSON.parse(Buffer.from(text, 'base64url').toString());
    const encoded = (over: object) => Buffer.from(JSON.stringify({ ...claims, ...over })).toString('base64url');
    const more = encoded({ role: 'operator' });
    const theirs = createHmac('sha256', 'for-development-on-one-machine').update(more).digest('base64url');
    for (const cookie of [
      `${more}.${seal}`,
      `${more}.${theirs}`,
      `${text}.`,
      text,
      'x.y',
      `${text}.${seal}x`,
      '%00.%00',
    ]) {
      const answer = await ask(service.url, '/api/v1/users', { headers: { cookie: `customer-service=${cookie}` } });
      expectProblem(answer, 'unauthenticated', 401);
    }
  });

  test('it ends when the token is changed', async () => {
    const cookie = cookieOf(await login(TOKENS.viewer)).split(';')[0] as string;
    const other = await world.service({ ...SETTINGS, AUTH_VIEWER_TOKEN: 'another-viewer-token-24-s' });
    expectProblem(await ask(other.url, '/api/v1/users', { headers: { cookie } }), 'unauthenticated', 401);
    const same = await world.service(SETTINGS);
    expect((await ask(same.url, '/api/v1/users', { headers: { cookie } })).status).toBe(200);
    await Promise.all([other.stop(), same.stop()]);
  });

  test('an act with a cookie needs the header that no other page can send', async () => {
    const cookie = cookieOf(await login(TOKENS.operator)).split(';')[0] as string;
    const hold = (headers: Record<string, string>) =>
      ask(service.url, '/api/v1/holds', {
        method: 'POST',
        headers,
        body: { kind: 'user', id: 'auth0|csrf', reason: 'x' },
      });
    expectProblem(await hold({ cookie }), 'forbidden', 403);
    expectProblem(await hold({ cookie, 'x-requested-with': 'XMLHttpRequest' }), 'forbidden', 403);
    expectProblem(await login(TOKENS.viewer, {}), 'forbidden', 403);
    expect(await world.sql`select 1 from holds`).toHaveLength(0);
    expect((await hold({ cookie, ...OWN })).status).toBe(201);
    expect((await hold(bearer(TOKENS.operator))).status).toBe(409);
    expect(await world.sql`select who from audit where verb = 'hold'`).toMatchObject([
      { who: 'operator' },
      { who: 'operator' },
    ]);
  });
});

describe('personal data', () => {
  const reveal = (path: string, token: string, url = service.url) =>
    ask(url, `/api/v1${path}?reveal=true`, { headers: bearer(token) });
  const PATHS = [
    '/users/auth0%7Cu1',
    '/users/auth0%7Cu1/history',
    '/users/auth0%7Cu1/at',
    '/dead-letters/1',
    '/waiting/1',
  ];

  test.each(PATHS)('%s: only an operator sees it, and each time is written down', async (path) => {
    const before = (await world.sql`select 1 from audit where verb = 'reveal'`).length;
    expectProblem(await reveal(path, TOKENS.viewer), 'forbidden', 403);
    const masked = await ask(service.url, `/api/v1${path}`, { headers: bearer(TOKENS.operator) });
    expect(masked.text).not.toMatch(/admin@example|ada@example|Ada Lovelace/);
    expect((await world.sql`select 1 from audit where verb = 'reveal'`).length).toBe(before);
    const revealed = await reveal(path, TOKENS.operator);
    expect(revealed.status).toBe(200);
    expect(revealed.text).toMatch(/admin@example|ada@example/);
    const rows = await world.sql`select who, scope from audit where verb = 'reveal' order by id`;
    expect(rows.slice(before)).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toMatch(/@example/);
  });

  test('AUTH_PAYLOADS=all: viewers too; off: nobody, payloads are not there at all, and can not be edited', async () => {
    const all = await world.service({ ...SETTINGS, AUTH_PAYLOADS: 'all' });
    expect((await reveal('/users/auth0%7Cu1', TOKENS.viewer, all.url)).text).toContain('ada@example.com');
    const off = await world.service({ ...SETTINGS, AUTH_PAYLOADS: 'off' });
    for (const path of PATHS) expectProblem(await reveal(path, TOKENS.operator, off.url), 'forbidden', 403);
    const headers = bearer(TOKENS.operator);
    const letter = await ask(off.url, '/api/v1/dead-letters/1', { headers });
    expectFits(contract.DeadLetterView, letter.json);
    expect(letter.json.content).toMatchObject({ masked: true, key: null, value: null, headers: [], editedValue: null });
    const history = await ask(off.url, '/api/v1/users/auth0%7Cu1/history', { headers });
    expect(history.json).toMatchObject({ items: [{ event: {} }] });
    const edit = { method: 'POST', headers, body: { value: null, reason: 'x' } };
    expectProblem(await ask(off.url, '/api/v1/dead-letters/1/edit', edit), 'not-found', 404);
    await Promise.all([all.stop(), off.stop()]);
  });
});

describe('without tokens (AUTH_MODE=none)', () => {
  test('on this machine everybody is an operator, but a foreign name that leads here is not answered', async () => {
    const local = await world.service();
    const { json } = await ask(local.url, '/api/v1/session');
    expect(json).toMatchObject({ mode: 'none', role: 'operator', who: 'local', mayReveal: true });
    const { port } = new URL(local.url);
    for (const host of [`localhost:${port}`, '127.0.0.1', '[::1]:80', 'console.localhost'])
      expect((await asHost(port, host)).status).toBe(200);
    for (const sign of ['forwarded', 'via', 'x-real-ip', 'x-forwarded-for'])
      expect((await asHost(port, '127.0.0.1', { [sign]: '10.0.0.1' })).status).toBe(403);
    for (const host of ['evil.example', `evil.example:${port}`, 'localhost.evil.example', '10.0.0.1'])
      expect((await asHost(port, host)).status).toBe(403);
    const act = { method: 'POST', body: { kind: 'user', id: 'x', reason: 'x' } };
    expectProblem(await ask(local.url, '/api/v1/holds', act), 'forbidden', 403);
    await local.stop();
  });

  test('behind the path of a proxy the log says that what a proxy asks is refused', async () => {
    const behind = await world.service({ HTTP_BASE_PATH: '/console/' });
    expect(world.lines.map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^HTTP_BASE_PATH is set and AUTH_MODE is none: .*Set AUTH_MODE/),
    );
    await behind.stop();
  });

  test('where other machines reach it, health and metrics alone are there, and the log says why', async () => {
    const open = await world.service({ HTTP_HOST: '0.0.0.0', HASH_SECRET: 'a secret of 16 characters' });
    const url = open.url.replace('0.0.0.0', '127.0.0.1');
    expect((await ask(url, '/livez')).status).toBe(200);
    for (const path of ['/api/v1/session', '/api/v1/users', '/', '/openapi.json'])
      expectProblem(await ask(url, path, { headers: { accept: 'text/html' } }), 'not-found', 404);
    expect(world.lines.map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^AUTH_MODE is none, .*health checks and metrics alone/),
    );
    await open.stop();
  });

  /** fetch() does not let a Host be set. */
  async function asHost(port: string, host: string, more: Record<string, string> = {}): Promise<{ status: number }> {
    const { request } = await import('node:http');
    return await new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port, path: '/api/v1/users', headers: { host, ...more } }, (answer) => {
        answer.resume();
        resolve({ status: answer.statusCode as number });
      })
        .on('error', reject)
        .end();
    });
  }
});

describe('with tokens of an identity provider (AUTH_MODE=oidc)', () => {
  const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
  let issuer = '';
  let isAway = false;
  const provider = createHttp(async (request, response) => {
    if (isAway) return void request.socket.destroy();
    const jwk = { ...(await exportJWK(keys.publicKey)), kid: '1', alg: 'RS256', use: 'sig' };
    const isKeys = request.url === '/keys';
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(isKeys ? { keys: [jwk] } : { issuer, jwks_uri: `${issuer}keys` }));
  });
  let oidc: MemoryService;
  beforeAll(async () => {
    await new Promise<void>((listening) => provider.listen(0, '127.0.0.1', listening));
    issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/`;
    oidc = await world.service({
      AUTH_MODE: 'oidc',
      AUTH_OIDC_ISSUER: issuer,
      AUTH_OIDC_AUDIENCE: 'customer-service',
      AUTH_OIDC_ROLE_CLAIM: 'realm_access.roles',
    });
  });
  afterAll(async () => {
    await oidc.stop();
    provider.close();
  });
  type Claims = {
    roles?: unknown;
    iss?: string;
    aud?: string;
    exp?: number;
    sub?: string | undefined;
    key?: KeyObject;
    alg?: string;
  };
  function token({
    roles = ['operator'],
    iss = issuer,
    aud = 'customer-service',
    exp = Date.now() / 1_000 + 60,
    sub = 'ann',
    key = keys.privateKey,
    alg = 'RS256',
  }: Claims = {}) {
    return new SignJWT({ realm_access: { roles } })
      .setProtectedHeader({ alg, kid: '1' })
      .setIssuer(iss)
      .setAudience(aud)
      .setSubject(sub)
      .setExpirationTime(Math.floor(exp))
      .sign(key);
  }
  const session = async (claims: Claims) => ask(oidc.url, '/api/v1/users', { headers: bearer(await token(claims)) });

  test('the claim says the role; the audit says who', async () => {
    expect((await session({ roles: 'viewer' })).status).toBe(200);
    expectProblem(await session({ roles: ['admin'] }), 'forbidden', 403);
    expectProblem(await session({ roles: [] }), 'forbidden', 403);
    const headers = bearer(await token());
    const hold = { method: 'POST', headers, body: { kind: 'user', id: 'auth0|oidc', reason: 'x' } };
    expect((await ask(oidc.url, '/api/v1/holds', hold)).json).toMatchObject({ byWhom: 'ann' });
    expect(await world.sql`select who from audit where scope ->> 'id' = 'auth0|oidc'`).toEqual([{ who: 'ann' }]);
  });

  test('one that is of another issuer, for somebody else, too old, or signed by another key is refused', async () => {
    expectProblem(await session({ iss: 'https://evil.example/' }), 'unauthenticated', 401);
    expectProblem(await session({ aud: 'other-service' }), 'unauthenticated', 401);
    expectProblem(await session({ exp: Date.now() / 1_000 - 10 }), 'unauthenticated', 401);
    expectProblem(await session({ key: other.privateKey }), 'unauthenticated', 401);
    const [, payload] = (await token()).split('.');
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.`;
    expectProblem(await ask(oidc.url, '/api/v1/users', { headers: bearer(none) }), 'unauthenticated', 401);
    const pem = keys.publicKey.export({ type: 'spki', format: 'pem' });
    const text = `${Buffer.from('{"alg":"HS256","kid":"1"}').toString('base64url')}.${payload}`;
    const confused = `${text}.${createHmac('sha256', pem).update(text).digest('base64url')}`;
    expectProblem(await ask(oidc.url, '/api/v1/users', { headers: bearer(confused) }), 'unauthenticated', 401);
    expectProblem(await ask(oidc.url, '/api/v1/users', { headers: bearer('x') }), 'unauthenticated', 401);
  });

  test('a login lasts no longer than its token', async () => {
    const login = { method: 'POST', headers: OWN, body: { token: await token({ exp: Date.now() / 1_000 + 90 }) } };
    const answer = await ask(oidc.url, '/api/v1/login', login);
    const expires = Date.parse(/Expires=([^;]+)/.exec(answer.headers.get('set-cookie') ?? '')?.[1] ?? '');
    expect(expires - Date.now()).toBeLessThan(95_000);
    expect(expires - Date.now()).toBeGreaterThan(60_000);
  });

  test('while the provider is away nobody new gets in, and the answer says so', async () => {
    isAway = true;
    const fresh = await world.service({
      AUTH_MODE: 'oidc',
      AUTH_OIDC_ISSUER: issuer,
      AUTH_OIDC_AUDIENCE: 'customer-service',
    });
    const answer = await ask(fresh.url, '/api/v1/users', { headers: bearer(await token()) });
    expect(expectProblem(answer, 'unavailable', 503).detail).toMatch(/identity provider/);
    expect(answer.headers.get('retry-after')).toBe('10');
    isAway = false;
    expectProblem(await ask(fresh.url, '/api/v1/users', { headers: bearer(await token()) }), 'forbidden', 403); // claim `roles`
    await fresh.stop();
  });
});
