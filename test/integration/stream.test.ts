// The stream itself, whatever its numbers are: who comes back, who is slow, who stays too long, and how it ends.
//
// Real connections on loopback; the board is written by the test, and time passes when the test says so.
import net from 'node:net';
import Fastify from 'fastify';
import { afterEach, describe, expect, test } from 'vitest';
import { type App, checked } from '../../src/api/app.ts';
import { createBoard } from '../../src/api/board.ts';
import type { Channels, Stats } from '../../src/api/contract.ts';
import type { Live } from '../../src/api/live.ts';
import { refusedFor, sendProblem } from '../../src/api/problems.ts';
import { streamRoutes } from '../../src/api/stream.ts';
import { createLog } from '../../src/log.ts';
import { openPage } from '../support/sse.ts';
import { until } from '../support/world.ts';

const AT_MS = Date.UTC(2025, 0, 31);
const NOTHING: Channels = {
  ...{
    counts: {},
    transitions: {},
    flow: { window: 10, records: 0, outcomes: {}, edges: {} },
    outcomes: {},
    lag: [],
    dead: {},
  },
  ...{ waiting: { total: 0, reasons: {} }, holds: [], jobs: [] },
  health: { status: 'ok', kafka: 'ok', postgres: 'ok', redis: 'ok', reasons: [], member: null, cacheHitRate: null },
};

const open: App[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

async function setup({ server = 'one', mostClients = 200 } = {}) {
  const board = createBoard({ server, machineHash: 'abc' });
  for (const channel of Object.keys(NOTHING) as (keyof Channels)[]) board.put(channel, NOTHING[channel], AT_MS);
  const listeners = new Set<() => void>();
  const world = { now: AT_MS };
  const live: Live = {
    board,
    stats: async () => board.stats(),
    partitions: async () => [],
    subscribe(onBeat) {
      listeners.add(onBeat);
      return () => void listeners.delete(onBeat);
    },
    stop() {},
  };
  const app = Fastify({ forceCloseConnections: true }) as unknown as App;
  open.push(app);
  app.setValidatorCompiler(checked);
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, '/', refusedFor(error, SILENT)));
  const sockets: net.Socket[] = [];
  app.server.on('connection', (socket) => sockets.push(socket));
  streamRoutes(app, live, { mostClients, clock: () => world.now });
  const url = `${await app.listen({ host: '127.0.0.1', port: 0 })}/stream`;
  const beat = () => {
    for (const listener of listeners) listener();
  };
  /** A page whose snapshot is there. */
  const page = async (query = '', of: Parameters<typeof openPage>[1] = {}) => {
    const opened = await openPage(`${url}${query}`, of);
    await until(() => expect(opened.has).toBeDefined());
    return opened;
  };
  const put = (counts: Record<string, number>) => {
    board.put('counts', counts, world.now);
    beat();
  };
  return { board, app, url, world, beat, page, put, listeners, sockets };
}
const SILENT = createLog({ level: 'silent' });

describe('what comes', () => {
  test('first all of it; then what changed, with when that was read', async () => {
    const { page, put, board, world, beat } = await setup();
    const one = await page();
    expect(one.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(one.headers.get('cache-control')).toBe('no-store');
    expect(one.headers.get('x-accel-buffering')).toBe('no');
    expect(one.retryMs).toBe(3_000);
    expect(one.events).toEqual([{ name: 'snapshot', data: board.stats(), id: `one/${board.seq}` }]);

    world.now += 1_000;
    put({ pending: 1, active: 2 });
    beat();
    world.now += 1_000;
    put({ pending: 1, active: 3 });
    await until(() => expect(one.events).toHaveLength(3));
    expect(one.events.slice(1).map(({ name, data }) => [name, data])).toEqual([
      ['counts', { at: '2025-01-31T00:00:01.000Z', counts: { pending: 1, active: 2 } }],
      ['counts', { at: '2025-01-31T00:00:02.000Z', counts: { active: 3 } }],
    ]);
  });

  test('only of the channels that were asked for; an unknown one is refused', async () => {
    const { page, put, board, beat, url } = await setup();
    const one = await page('?channels=outcomes,dead');
    put({ active: 1 });
    board.put('outcomes', { applied: 7 }, AT_MS);
    beat();
    await until(() => expect(one.events).toHaveLength(2));
    expect(one.events[1]).toMatchObject({ name: 'outcomes', data: { outcomes: { applied: 7 } } });

    const refused = await openPage(`${url}?channels=outcomes,events`);
    expect(refused.status).toBe(400);
    expect(JSON.parse(refused.body)).toMatchObject({ type: '/problems/invalid-request' });
  });

  test('a sign of life after 15 s without news, and not before: one that a page can see', async () => {
    const { page, put, world, beat, board } = await setup();
    const [one, other] = [await page(), await page('?channels=counts')];
    world.now += 14_000;
    put({ active: 1 });
    await until(() => expect(one.events).toHaveLength(2));
    world.now += 14_000;
    beat();
    world.now += 1_000;
    beat();
    beat();
    await until(() => expect([one.comments, other.comments]).toEqual([1, 1]));
    expect(one.events[2]).toMatchObject({ name: 'health', data: { health: board.stats().health }, id: undefined });
    expect(other.events).toHaveLength(2);
  });
});

describe('who comes back', () => {
  test('is told what changed meanwhile, and nothing else', async () => {
    const { page, put, board, url } = await setup();
    const before = await page();
    put({ active: 1, pending: 1 });
    await until(() => expect(before.events).toHaveLength(2));
    before.leave();
    await before.ended;
    for (let n = 2; n < 3_000; n++) put({ active: n, pending: 1 });
    const { lastEventId, has } = before as { lastEventId: string; has: Stats };
    const after = await openPage(url, { lastEventId, has });
    await until(() => expect(after.events).toHaveLength(1));
    expect(after.events).toMatchObject([{ name: 'counts', data: { counts: { active: 2_999 } } }]);
    expect(after.has?.counts).toEqual(board.stats().counts);
    put({ active: 5, pending: 6 });
    await until(() => expect(after.has?.counts).toEqual({ active: 5, pending: 6 }));
  });

  test.each([
    ['another server', 'two/5'],
    ['a number that was never given', 'one/999999'],
    ['something else', 'x'],
    ['nothing', ''],
  ])('with the id of %s: a snapshot', async (_, lastEventId) => {
    const { page } = await setup();
    const one = await page('', { lastEventId });
    expect(one.events).toMatchObject([{ name: 'snapshot' }]);
  });

  test('after a row has gone: a snapshot, as all others get', async () => {
    const { page, board, beat, url } = await setup();
    board.put(
      'lag',
      [
        { ...ROW, partition: 0 },
        { ...ROW, partition: 1 },
      ],
      AT_MS,
    );
    const [one, gone] = [await page(), await page()];
    gone.leave();
    await gone.ended;
    board.put('lag', [{ ...ROW, partition: 1 }], AT_MS);
    beat();
    const back = await openPage(url, { lastEventId: gone.lastEventId as string, has: gone.has as Stats });
    await until(() => {
      for (const page of [one, back]) expect(page.events.at(-1)).toMatchObject({ name: 'snapshot' });
      for (const page of [one, back]) expect(page.has?.lag).toMatchObject([{ partition: 1 }]);
    });
  });
});
const ROW = {
  ...{
    topic: 'user-events',
    partition: 0,
    generation: 0,
    owner: null,
    position: '7',
    logStart: null,
    committed: null,
    high: null,
    lag: null,
  },
  ...{
    lagSeconds: null,
    rate: null,
    state: 'running' as const,
    why: null,
    savedAt: null,
    unkeyed: null,
    records: null,
  },
};

describe('who is slow', () => {
  /** 100 KB, of which every value changes each time. */
  const large = (n: number) =>
    Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`state-with-a-long-name-to-fill-the-socket-${i}`, n]));
  const ROUNDS = 300;

  /** Asks for the stream and reads nothing of it. */
  async function deaf(url: string): Promise<net.Socket> {
    const { hostname, port, pathname } = new URL(url);
    const socket = net.connect(Number(port), hostname).pause();
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    socket.write(`GET ${pathname} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
    return socket;
  }

  test('costs one piece of memory however much happens, and hears the last word of everything', async () => {
    const { url, put, sockets, listeners, page, board } = await setup();
    const socket = await deaf(url);
    await until(() => expect(listeners.size).toBe(1));
    const quick = await page();
    let most = 0;
    for (let n = 1; n <= ROUNDS; n++) {
      put(large(n));
      await new Promise(setImmediate);
      most = Math.max(most, ...sockets.map(({ writableLength }) => writableLength));
    }
    const piece = JSON.stringify(large(ROUNDS)).length;
    expect(most).toBeLessThan(3 * piece);
    await until(() => expect(quick.has?.counts).toEqual(large(ROUNDS)));

    let text = '';
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    socket.resume();
    await until(() => expect(text.slice(-100)).toContain(`id: one/${board.seq}`));
    const pieces = text.split('event: counts\n').length - 1;
    expect(pieces).toBeLessThan(ROUNDS / 3);
    expect(text.slice(text.lastIndexOf('event: counts'))).toContain(`-1999":${ROUNDS}`);
    socket.destroy();
  });

  test('and takes nothing for a minute is let go, and its place is free', async () => {
    const { url, put, world, beat, listeners } = await setup({ mostClients: 1 });
    const socket = await deaf(url);
    await until(() => expect(listeners.size).toBe(1));
    const closed = new Promise<void>((resolve) => socket.on('error', () => {}).on('close', () => resolve()));
    for (let n = 1; n <= ROUNDS; n++) {
      put(large(n));
      await new Promise(setImmediate);
    }
    world.now += 59_000;
    beat();
    expect(listeners.size).toBe(1);
    world.now += 2_000;
    beat();
    await until(() => expect(listeners.size).toBe(0));
    socket.resume();
    await closed;
    expect((await openPage(url)).status).toBe(200);
  });
});

describe('limits', () => {
  test('more than may be open are refused with a problem; who leaves makes room', async () => {
    const { page, url, listeners } = await setup({ mostClients: 2 });
    const [one, two] = [await page(), await page()];
    const refused = await openPage(url);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('30');
    expect(refused.headers.get('content-type')).toContain('application/problem+json');
    expect(JSON.parse(refused.body)).toMatchObject({ type: '/problems/unavailable', status: 503 });
    one.leave();
    await until(async () => {
      const again = await openPage(url);
      again.leave();
      expect(again.status).toBe(200);
    });
    two.leave();
    await until(() => expect(listeners.size).toBe(0)); // nothing is gathered for nobody
  });

  test('after an hour a stream ends, and goes on as another: whoever may not look any more is asked', async () => {
    const { page, put, world, beat, url } = await setup();
    const one = await page();
    world.now += 59 * 60_000;
    beat();
    put({ active: 1 });
    await until(() => expect(one.has?.counts).toEqual({ active: 1 }));
    world.now += 2 * 60_000;
    put({ active: 2 });
    await one.ended;
    const after = await openPage(url, { lastEventId: one.lastEventId as string, has: one.has as Stats });
    await until(() => expect(after.has?.counts).toEqual({ active: 2 }));
    expect(after.events.map(({ name }) => name)).toEqual(['counts']);
  });

  test('a HEAD is no stream', async () => {
    const { url } = await setup();
    expect((await fetch(url, { method: 'HEAD' })).status).toBe(404);
  });
});

test('a stop ends the streams in order, and waits for none', async () => {
  const { app, page, listeners } = await setup();
  const pages = [await page(), await page()];
  await app.close();
  await Promise.all(pages.map(({ ended }) => ended));
  expect(pages.map(({ wasCut }) => wasCut)).toEqual([false, false]);
  await until(() => expect(listeners.size).toBe(0));
});
