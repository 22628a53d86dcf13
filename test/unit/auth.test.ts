// Who gets in, by itself: how long a session lasts, how tokens are compared, which acts and which callers are refused.
import cookie from '@fastify/cookie';
import Fastify from 'fastify';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { registerApi } from '../../src/api/api.ts';
import type { Reach } from '../../src/api/app.ts';
import { type AuthSettings, createAuth } from '../../src/api/auth.ts';
import { refusedFor, sendProblem } from '../../src/api/problems.ts';
import { createLog } from '../../src/log.ts';

const compared = vi.hoisted(() => [] as [number, number][]);
vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof import('node:crypto')>();
  return {
    ...crypto,
    timingSafeEqual(a: Buffer, b: Buffer) {
      compared.push([a.length, b.length]);
      return crypto.timingSafeEqual(a, b);
    },
  };
});
beforeEach(() => {
  compared.length = 0;
});

const TOKENS = { viewer: 'a-viewer-token-of-24-signs', operator: 'an-operator-token-of-26-s' };
const SETTINGS: AuthSettings = {
  ...{ mode: 'token', viewerToken: TOKENS.viewer, operatorToken: TOKENS.operator },
  ...{ oidcIssuer: undefined, oidcAudience: undefined, oidcRoleClaim: 'roles', payloads: 'operators' },
  ...{ host: '127.0.0.1', basePath: '/', secret: 'a secret of 16 characters' },
};
const silent = createLog({ level: 'silent' });
const ACTS = ['POST', 'PUT', 'PATCH', 'DELETE'] as const;
const OWN = { 'x-requested-with': 'customer-service-console' };

/** A route for viewers, an act by each method, and the way in. `at.ms`: the time. */
function setup(over: Partial<AuthSettings> = {}) {
  const at = { ms: Date.UTC(2025, 0, 31) };
  const auth = createAuth({ ...SETTINGS, ...over }, () => at.ms);
  const app = Fastify();
  app.register(cookie);
  app.decorateRequest('caller', null).decorateRequest('refusal', null).decorateRequest('isUncertain', false);
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, '/', refusedFor(error, silent)));
  app.addHook('onRequest', async (request) => {
    await auth.recognise(request);
    auth.admit(request);
  });
  app.register(async (routes) => {
    routes.get('/look', { config: { role: 'viewer' } }, async ({ caller }) => caller);
    routes.route({ method: [...ACTS], url: '/act', config: { role: 'operator' }, handler: async () => ({}) });
    routes.post('/login', { config: { role: 'public' } }, async ({ body }, reply) => {
      await auth.login((body as { token: string }).token, reply);
      return {};
    });
  });
  const login = async (headers: Record<string, string> = {}) => {
    const body = { token: TOKENS.viewer };
    const answer = await app.inject({ method: 'POST', url: '/login', headers: { ...OWN, ...headers }, body });
    return String(answer.headers['set-cookie']);
  };
  const look = async (headers: Record<string, string>) =>
    (await app.inject({ method: 'GET', url: '/look', headers })).statusCode;
  return { app, at, login, look };
}

describe('a session', () => {
  test('ends after twelve hours, also for a browser that keeps its cookie longer', async () => {
    const { at, login, look } = setup();
    const [kept = ''] = (await login()).split(';');
    at.ms += (12 * 60 - 1) * 60_000;
    expect(await look({ cookie: kept })).toBe(200);
    at.ms += 60_000;
    expect(await look({ cookie: kept })).toBe(401);
  });

  test('that began behind a proxy that speaks https goes over such lines alone', async () => {
    const { login } = setup();
    expect(await login({ 'x-forwarded-proto': 'https' })).toMatch(/; Secure(;|$)/);
    expect(await login()).not.toMatch(/Secure/);
  });
});

describe('how long the comparison of a token or a seal takes says nothing about it', () => {
  test.each([
    ['nothing alike', 'x'],
    ['all but the end', TOKENS.viewer.slice(0, -1)],
    ['more than all', `${TOKENS.operator}x`],
  ])('a token with %s', async (_, token) => {
    const { look } = setup();
    expect(await look({ authorization: `Bearer ${token}` })).toBe(401);
    expect(compared).toEqual([
      [64, 64],
      [64, 64],
    ]);
  });

  test('a seal of any length', async () => {
    const { login, look } = setup();
    const [kept = ''] = (await login()).split(';');
    compared.length = 0;
    expect(await look({ cookie: kept.slice(0, -5) })).toBe(401);
    expect(await look({ cookie: `${kept.split('.')[0]}.` })).toBe(401);
    expect(compared).toEqual([
      [64, 64],
      [64, 64],
    ]);
  });
});

test.each(ACTS)('%s: no other page can act with the cookie of an operator', async (method) => {
  const { app } = setup();
  const body = { token: TOKENS.operator };
  const answer = await app.inject({ method: 'POST', url: '/login', headers: OWN, body });
  const [own = ''] = String(answer.headers['set-cookie']).split(';');
  const act = async (headers: Record<string, string>) =>
    (await app.inject({ method, url: '/act', headers: { cookie: own, ...headers } })).statusCode;
  expect(await act({})).toBe(403);
  expect(await act({ 'x-requested-with': 'XMLHttpRequest' })).toBe(403);
  expect(await act(OWN)).toBe(200);
});

describe('without tokens', () => {
  test.each([
    ...['forwarded', 'via', 'x-real-ip'],
    ...['for', 'host', 'proto', 'port', 'prefix', 'server'].map((of) => `x-forwarded-${of}`),
  ])('nobody is an operator by way of a proxy that says %s', async (sign) => {
    const { app, look } = setup({ mode: 'none' });
    expect(await look({ host: 'localhost' })).toBe(200);
    expect(await look({ host: 'localhost', [sign]: 'x' })).toBe(403);
    const login = { method: 'POST', url: '/login', body: { token: 'x' } } as const;
    expect((await app.inject({ ...login, headers: { ...OWN, host: 'localhost', [sign]: 'x' } })).statusCode).toBe(403);
  });

  test('under a foreign name nothing is said, not even to whom nothing is secret', async () => {
    const { app, look } = setup({ mode: 'none' });
    const headers = { ...OWN, host: 'evil.example' };
    const login = await app.inject({ method: 'POST', url: '/login', headers, body: { token: 'x' } });
    expect([login.statusCode, await look(headers)]).toEqual([403, 403]);
  });
});

test('a route that does not say who may use it does not come up', async () => {
  const app = Fastify();
  app.addHook('onRoute', (route) => {
    if (route.url === '/api/v1/customers') delete route.config?.role;
  });
  registerApi(app, { acts: {}, live: { board: {} } } as Reach, createAuth(SETTINGS));
  await expect(async () => await app.ready()).rejects.toThrow('/api/v1/customers says no role');
});
