// server.ts — the one HTTP server of the service: health checks, metrics, later the API.
//
// Owns:          the frame (interfaces.md B1, B3): problem+json for every error, limits, when it listens and closes.
// Does not own:  what the routes answer. It reads and never starts, stops or changes anything.
//
// No route does I/O, and none needs a token: health checks and metrics may be reached off loopback (interfaces.md B6).
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Health, Report } from '../health.ts';
import type { Log } from '../log.ts';

export type ServerOptions = {
  host: string;
  port: number;
  health: Health;
  log: Log;
  /** The text of a scrape; undefined: there are none, and no such page. */
  metrics?: (() => Promise<string>) | undefined;
};
export type Server = {
  app: FastifyInstance;
  /** Resolves with the URL: with port 0 the free one that was taken. */
  listen(): Promise<string>;
  /** Ends open connections too: a browser's idle one would keep the process alive. */
  close(): Promise<void>;
};

export function createServer({ host, port, health, log, metrics }: ServerOptions): Server {
  const app = Fastify({
    // Health checks are not logged, and nothing else is served yet.
    logger: false,
    forceCloseConnections: true,
    requestTimeout: 10_000,
    bodyLimit: 64 * 1024,
    // A URL that can not be decoded.
    frameworkErrors: (_error, _request, reply) => void sendProblem(reply, 400),
  });
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, 404));
  app.setErrorHandler((error, _request, reply) => {
    const status = statusOf(error);
    if (status >= 500) log.error({ err: error }, 'a request failed');
    return sendProblem(reply, status);
  });

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

/** Prometheus' text format. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Machines read the status alone, people the rest. */
function send(reply: FastifyReply, report: Report): FastifyReply {
  return reply
    .code(report.status === 'failing' ? 503 : 200)
    .header('cache-control', 'no-store')
    .send(report);
}

const PROBLEMS = {
  400: ['invalid-request', 'The request can not be read'],
  404: ['not-found', 'There is nothing at this address'],
  413: ['too-large', 'The request is too large'],
  500: ['internal', 'Something went wrong on our side; the log says what'],
} as const;

/** RFC 9457. Never the request's own text, never a stack. */
function sendProblem(reply: FastifyReply, status: keyof typeof PROBLEMS): FastifyReply {
  const [type, title] = PROBLEMS[status];
  return reply
    .code(status)
    .type('application/problem+json')
    .send({ type: `/problems/${type}`, title, status });
}

function statusOf(error: unknown): keyof typeof PROBLEMS {
  const { statusCode = 500 } = error as { statusCode?: number };
  if (statusCode === 404 || statusCode === 413) return statusCode;
  return statusCode >= 400 && statusCode < 500 ? 400 : 500;
}
