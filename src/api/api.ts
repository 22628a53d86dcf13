// api.ts — everything under /api/v1, and the documents about it: what it reaches, and who is asked before.
//
// Owns:          the routes' order, their frame (roles, no caching), opening and closing what they reach.
// Does not own:  what a route answers (the files beside this one), errors (problems.ts).
//
// I1  Reads have a pool of their own, of at most 4 connections whose statements end after 3 s, and the live numbers one beside it:
//     however often somebody asks, the pipeline's connections stay the pipeline's. The acts of operators have another, of 5 (two jobs
//     of two, and one beside): a slow look must not delay them, nor they the pipeline. All are opened when they are first needed.
// I2  As many questions as there are connections are at work, 12 more wait, the next ones are refused: what nobody hears any more is
//     not asked (turns.ts).
import cookie from '@fastify/cookie';
import type { FastifyInstance } from 'fastify';
import { type Database, openDatabase } from '../../db/client.ts';
import type { Config } from '../config.ts';
import type { Log } from '../log.ts';
import type { Draining } from '../redrive.ts';
import type { Wake } from '../wake.ts';
import { type Acts, createActs } from './acts.ts';
import type { App, Reach } from './app.ts';
import { type Auth, createAuth } from './auth.ts';
import { customerRoutes } from './customers.ts';
import { deadLetterRoutes } from './dead-letters.ts';
import { documentRoutes } from './documents.ts';
import { exportRoute } from './export.ts';
import type { Live } from './live.ts';
import { machineRoutes } from './machine.ts';
import { describeRoutes } from './openapi.ts';
import { operationRoutes } from './operations.ts';
import { onceEach } from './repeats.ts';
import { sessionRoutes } from './session.ts';
import { editRoute, settlingRoutes } from './settling.ts';
import { streamRoutes } from './stream.ts';
import { createTurns } from './turns.ts';
import { userRoutes } from './users.ts';
import { waitingRoutes } from './waiting.ts';
import { whatIfRoute } from './what-if.ts';

export type ApiOptions = {
  config: Config;
  log: Log;
  live: (read: Database['db'], jobsHere: () => ReturnType<Reach['acts']['runner']['here']>) => Live;
  wake: Pick<Wake, 'users'>;
  draining: () => Promise<Omit<Draining, 'db'>>;
  logOf: Acts['logOf'];
};
export type Api = {
  register(app: FastifyInstance): void;
  /** No new step of a job begins; resolves when those in hand have ended. */
  stop(): Promise<void>;
  close(): Promise<void>;
};

/** The numbers that everybody looks at wait for nobody's slow question. */
const LOOKING = { connections: 1, statementTimeoutMs: 3_000, lockTimeoutMs: 1_000 };
const READING = { connections: 4, statementTimeoutMs: 3_000, lockTimeoutMs: 1_000 };
/** The last one that waits has its answer before the server gives up (server.ts), also where each takes all of its 3 s. */
const TURNS = { atOnce: READING.connections, most: 16 };
/** What is answered from memory, and what has turns of its own: a question of an export that waits for another's (export.ts, E2) would keep
 *  a turn of others without a connection. */
const UNASKED: ReadonlySet<string> = new Set(
  ['machine', 'stats', 'partitions', 'stream', 'dead-letters/export'].map((of) => `/api/v1/${of}`),
);

/** Undefined: nobody may use it here (AUTH_MODE), and nothing is opened. */
export function createApi({ config, log, live: createLive, wake, draining, logOf }: ApiOptions): Api | undefined {
  const auth = createAuth({
    ...config.auth,
    host: config.http.host,
    basePath: config.http.basePath,
    secret: config.hashSecret as string,
  });
  if (!auth.isServed) return undefined;
  const applicationName = `${config.database.applicationName}-api`;
  const reads = openDatabase({ ...config.database, ...READING, applicationName });
  const acts = createActs({ config, log, wake, draining, logOf });
  const looks = openDatabase({ ...config.database, ...LOOKING, applicationName });
  const live = createLive(looks.db, () => acts.runner.here());
  const { basePath } = config.http;
  const jaegerUrl = config.tracing.jaegerUiUrl?.replace(/\/+$/, '') ?? null;
  const reach: Reach = { read: reads.db, readSql: reads.sql, live, acts, basePath, jaegerUrl, payloads: auth.payloads };
  return {
    register: (app) => registerApi(app, reach, auth),
    async stop() {
      live.stop();
      await acts.runner.stop();
    },
    async close() {
      await Promise.all([acts.close(), reads.close(), looks.close()]);
    },
  };
}

/** The routes, whatever is behind `reach`, and the documents about them, which tell nothing of anybody. */
export function registerApi(root: FastifyInstance, reach: Reach, auth: Auth): void {
  describeRoutes(root);
  root.register(async (app) => documentRoutes(app));
  root.register(cookie);
  root.register(
    async (scope) => {
      const app = scope as unknown as App;
      app.decorateRequest('caller', null);
      app.decorateRequest('refusal', null);
      const turns = createTurns(TURNS);
      app.addHook('onRoute', (route) => {
        const { config, url, method, handler } = route;
        if (config?.role === undefined) throw new Error(`${url} says no role (auth.ts, J1)`);
        const isReading = method === 'GET' || method === 'HEAD' || config.reads === true;
        if (!isReading || config.role === 'public' || UNASKED.has(url)) return;
        route.handler = function (request, reply) {
          return turns.take(reply.raw, async () => handler.call(this, request, reply));
        };
      });
      app.addHook('onRequest', async (request, reply) => {
        reply.header('cache-control', 'no-store');
        await auth.recognise(request);
        auth.admit(request);
      });
      onceEach(app, reach.acts.db);
      sessionRoutes(app, reach, auth);
      machineRoutes(app);
      userRoutes(app, reach);
      customerRoutes(app, reach);
      deadLetterRoutes(app, reach);
      exportRoute(app, reach);
      waitingRoutes(app, reach);
      operationRoutes(app, reach);
      settlingRoutes(app, reach);
      if (reach.payloads !== 'off') editRoute(app, reach);
      whatIfRoute(app, reach);
      streamRoutes(app, reach.live);
    },
    { prefix: '/api/v1' },
  );
}
