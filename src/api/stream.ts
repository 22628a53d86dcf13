// stream.ts — GET /stream: the live numbers as server-sent events, for as many pages as are open.
//
// Owns:          who is connected, and how far each is. Does not own: the numbers (live.ts), what is new of them (board.ts), who may look.
//
// X1  The first event is `snapshot`: all of Stats. Each later one is named for a channel, and its data is a part of Stats: `at` and that
//     channel (board.ts, L2, says what is in it). While Postgres was never reached there is only `health`.
// X2  All that is new for a page goes out as one piece with one `id` at its end: "<server>/<number>". Whoever comes back with it is told
//     what changed since; with another server's, or one that is too old, it gets a snapshot.
// X3  To whom the socket is full nothing is written until it drains: then what is new by then, each value once. So a page costs the
//     piece that is on its way, and no more (P6). Who takes nothing for a minute is let go.
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { Type } from 'typebox';
import { type App, Query } from './app.ts';
import { CHANNELS, type Channel, type Part } from './board.ts';
import type { Live } from './live.ts';
import { Refused } from './problems.ts';

export type StreamOptions = {
  /** Open at once; beyond, 503. Default 200. */
  mostClients?: number;
  clock?: () => number;
};

const HEARTBEAT_MS = 15_000; // proxies end what is silent for 30 or 60 s
const TAKES_NOTHING_MS = 60_000;
/** Then it is ended, and whoever still may look comes back. */
const LONGEST_MS = 60 * 60_000;
const RETRY_MS = 3_000;

type Client = {
  to: ServerResponse;
  channels: ReadonlySet<Channel>;
  /** Asked for, and what there is has been read: before that nothing is told. */
  isReady: boolean;
  /** The number of the newest change it was told of; null: it needs a snapshot. */
  has: number | null;
  /** The same of `health`, as long as there can be no snapshot. */
  hasHealth: number;
  /** Its socket takes no more at the moment. */
  isFull: boolean;
  openedMs: number;
  wroteMs: number;
};

const ONE = `(?:${CHANNELS.join('|')})`;
const Asked = Query({
  channels: Type.Optional(
    Type.String({ pattern: `^${ONE}(?:,${ONE})*$`, description: `Some of ${CHANNELS.join(', ')}, by commas. All.` }),
  ),
});
const ROUTE = {
  config: { role: 'viewer' },
  schema: {
    summary: 'The numbers that change, as server-sent events: all of them, then what changes.',
    querystring: Asked,
  },
  exposeHeadRoute: false, // it would never end
} as const;
const HEALTH: ReadonlySet<Channel> = new Set(['health']);

/** Adds the route to `app`, which gives it its prefix, and asks who may look. */
export function streamRoutes(app: App, live: Live, { mostClients = 200, clock = Date.now }: StreamOptions = {}): void {
  const { board } = live;
  const clients = new Set<Client>();
  const pieces = new Map<string, string>();
  let piecesOf = board.seq;
  let unsubscribe = () => {};

  app.get('/stream', ROUTE, (request, reply) => {
    if (clients.size >= mostClients)
      throw new Refused('unavailable', `${mostClients} streams are open, which is the limit.`, {
        retryAfterSeconds: 30,
      });
    const channels = new Set((request.query.channels?.split(',') as Channel[] | undefined) ?? CHANNELS);
    const to = reply.hijack().raw;
    to.writeHead(200, {
      ...(reply.getHeaders() as OutgoingHttpHeaders),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no', // nginx gathers what it passes on
    });
    const now = clock();
    join({
      ...{ to, channels, isReady: false, has: resumedFrom(request.headers['last-event-id']), hasHealth: 0 },
      ...{ isFull: !to.write(`retry: ${RETRY_MS}\n\n`), openedMs: now, wroteMs: now },
    });
  });
  app.addHook('preClose', async () => {
    for (const { to } of clients) to.end();
  });

  function join(client: Client): void {
    const { to } = client;
    to.on('drain', () => {
      client.isFull = false;
      tellNews(client);
    });
    to.on('error', () => {}); // `close` follows
    to.on('close', () => {
      clients.delete(client);
      if (clients.size === 0) unsubscribe();
    });
    clients.add(client);
    if (clients.size === 1) unsubscribe = live.subscribe(tellAll);
    // Where nothing can be read, what there is must do.
    const ready = () => {
      client.isReady = true;
      tellNews(client);
    };
    live.stats().then(ready, ready);
  }

  function tellAll(): void {
    for (const client of clients) tellNews(client);
  }

  function tellNews(client: Client): void {
    const now = clock();
    const { to, isReady, isFull, openedMs, wroteMs } = client;
    if (to.destroyed || to.writableEnded) return;
    if (isFull) {
      if (now - wroteMs > TAKES_NOTHING_MS) to.destroy();
      return;
    }
    if (now - openedMs > LONGEST_MS) return void to.end();
    const piece = isReady ? pieceFor(client) : '';
    if (piece !== '') write(client, piece, now);
    else if (now - wroteMs >= HEARTBEAT_MS) write(client, signOfLife(client), now);
  }

  function write(client: Client, text: string, now: number): void {
    client.wroteMs = now;
    client.isFull = !client.to.write(text);
  }

  /** A comment, which proxies see and pages do not; so `health` as it is comes with it. */
  function signOfLife({ channels }: Client): string {
    return `:\n\n${channels.has('health') ? eventsOf(board.since(0, HEALTH)) : ''}`;
  }

  /** What is new for it; it has that from then on. Written once for all who have as much. */
  function pieceFor(client: Client): string {
    if (piecesOf !== board.seq) pieces.clear();
    piecesOf = board.seq;
    const { channels, hasHealth } = client;
    if (!board.isComplete) {
      client.hasHealth = board.seq;
      return once(`health ${hasHealth}`, () => eventsOf(board.since(hasHealth, HEALTH)));
    }
    const has = client.has !== null && client.has >= board.floor ? client.has : null;
    client.has = board.seq;
    const id = `id: ${board.server}/${board.seq}\n\n`;
    if (has === null) return once('snapshot', () => `event: snapshot\ndata: ${JSON.stringify(board.stats())}\n${id}`);
    return once(`${has} ${[...channels]}`, () => eventsOf(board.since(has, channels), id));
  }

  function once(key: string, make: () => string): string {
    const piece = pieces.get(key) ?? make();
    pieces.set(key, piece);
    return piece;
  }

  /** What a page had when its connection ended. null: nothing of ours. */
  function resumedFrom(lastEventId: string | string[] | undefined): number | null {
    const [, server, seq] = /^(.*)\/(\d{1,15})$/.exec(String(lastEventId)) ?? [];
    return server === board.server && Number(seq) <= board.seq ? Number(seq) : null;
  }
}

/** `end`: of the last one, instead of an empty line. */
function eventsOf(parts: readonly Part[], end = '\n'): string {
  const events = parts.map(({ channel, json }) => `event: ${channel}\ndata: ${json}\n`);
  return events.length === 0 ? '' : events.join('\n') + end;
}
