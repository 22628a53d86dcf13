// server.ts — the one HTTP server of the service: health checks, metrics, the API and the console.
//
// Owns:          the frame (a problem for every error, limits, headers of safety, the base path), when it listens and closes.
// Does not own:  what the routes answer: health.ts, metrics.ts, api.ts, console.ts.
//
// S1  Health checks and metrics do no I/O and need no token: they are reached off loopback, also where nothing else is served.
// S2  Everything else is asked first who it is (auth.ts), and is not there at all where nobody could be asked.
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Health, Report } from '../health.ts';
import type { Log } from '../log.ts';
import { checked } from './app.ts';
import { isForPage, serveConsole } from './console.ts';
import { Refused, refusedFor, sendProblem } from './problems.ts';

export type ServerOptions = {
  host: string;
  port: number;
  /** Under which path a proxy shows it; begins and ends with a slash. */
  basePath?: string;
  health: Health;
  log: Log;
  /** The text of a scrape; undefined: there are none, and no such page. */
  metrics?: (() => Promise<string>) | undefined;
  /** Undefined: neither the API nor the console is served. */
  api?: { register(app: FastifyInstance): void } | undefined;
};
export type Server = {
  app: FastifyInstance;
  /** Resolves with the URL: with port 0 the free one that was taken. */
  listen(): Promise<string>;
  /** Ends open connections too: a browser's idle one would keep the process alive. */
  close(): Promise<void>;
};

/** A question is answered by then, or has failed: its statements end after 3 s, and a server that hangs says nothing. */
const ANSWER_AT_MOST_MS = 10_000;

export function createServer({ host, port, basePath = '/', health, log, metrics, api }: ServerOptions): Server {
  const app = Fastify({
    logger: false, // health checks are not logged; what goes wrong is, below
    forceCloseConnections: true,
    requestTimeout: 10_000,
    handlerTimeout: ANSWER_AT_MOST_MS,
    bodyLimit: 64 * 1024,
    routerOptions: { maxParamLength: 2_000 }, // 512 characters, percent-encoded
    rewriteUrl: ({ url = '/' }) => withoutBase(url, basePath),
    // A URL that can not be decoded: no hook is asked.
    frameworkErrors: (_error, request, reply) =>
      void sendProblem(
        request,
        reply.headers(SAFE),
        basePath,
        new Refused('invalid-request', 'The address can not be read.'),
      ),
  });
  app.decorateRequest('isUncertain', false);
  app.setValidatorCompiler(checked);
  app.setSerializerCompiler(() => JSON.stringify); // app.ts, R2
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers(SAFE);
  });
  app.setNotFoundHandler((request, reply) => {
    if (sendPage !== undefined && isForPage(request)) return sendPage(reply);
    return sendProblem(request, reply, basePath, new Refused('not-found', ''));
  });
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, basePath, refusedFor(error, log)));

  app.get('/livez', (_request, reply) => send(reply, health.live()));
  app.get('/readyz', (_request, reply) => send(reply, health.ready()));
  app.get('/startupz', (_request, reply) => send(reply, health.started()));
  // For people: always 200, whatever it says.
  app.get('/healthz', (request, reply) => {
    const page = health.overview();
    reply.header('cache-control', 'no-store');
    return 'verbose' in (request.query as object) ? page : { status: page.status };
  });
  if (metrics !== undefined)
    app.get('/metrics', async (_request, reply) => {
      const text = await metrics();
      return reply.header('cache-control', 'no-store').type(METRICS_TYPE).send(text);
    });
  api?.register(app);
  const sendPage = api && serveConsole(app, basePath);

  return {
    app,
    listen: async () => {
      try {
        return await app.listen({ host, port });
      } catch (error) {
        throw new Error(`HTTP_HOST ${host}, HTTP_PORT ${port}: can not listen`, { cause: error });
      }
    },
    close: () => app.close(),
  };
}

/** A proxy may pass its path on, or take it away. */
function withoutBase(url: string, basePath: string): string {
  if (basePath !== '/' && url.startsWith(basePath)) return url.slice(basePath.length - 1);
  return url === basePath.slice(0, -1) && basePath !== '/' ? '/' : url;
}

/** Nothing of it is a page, a part of another page, or anything but what it says it is; pages have their own policy (console.ts). */
const SAFE = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
};

/** Prometheus' text format. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Machines read the status alone, people the rest. */
function send(reply: FastifyReply, report: Report): FastifyReply {
  return reply
    .code(report.status === 'failing' ? 503 : 200)
    .header('cache-control', 'no-store')
    .send(report);
}
