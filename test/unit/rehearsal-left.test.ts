// A rehearsal asked for by somebody who has left by the time it would begin. What one tells: test/integration/api-acts.test.ts.
import Fastify from 'fastify';
import { expect, onTestFinished, test } from 'vitest';
import { type App, checked, type Reach } from '../../src/api/app.ts';
import type { Refused } from '../../src/api/problems.ts';
import { settlingRoutes } from '../../src/api/settling.ts';

/** The routes alone. Whether dead letter 7 is open is answered when the test says so; whatever is asked after that is noted. */
async function setup() {
  const [looked, mayGoOn, left] = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  const ended = Promise.withResolvers<Refused>();
  const asked: unknown[] = [];
  const look = {
    async execute() {
      looked?.resolve();
      await mayGoOn?.promise;
      return [{ status: 'open' }];
    },
  };
  const places = { taken: 0, given: 0 };
  const rehearsing = { execute: async (question: unknown) => void asked.push(question) };
  const acts = {
    db: look,
    runner: {
      occupy() {
        places.taken++;
        return () => void places.given++;
      },
    },
    draining: async () => ({ db: rehearsing }),
  };
  const app = Fastify({ forceCloseConnections: true }) as unknown as App;
  app.setValidatorCompiler(checked);
  app.setErrorHandler(async (error) => ended.resolve(error as Refused));
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request, reply) => {
    request.caller = { role: 'operator', who: 'ann', mayReveal: true };
    reply.raw.once('close', () => left?.resolve());
  });
  settlingRoutes(app, { acts } as unknown as Reach);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => app.close());
  return { url, looked, mayGoOn, left, ended: ended.promise, asked, places };
}

test.each([
  ['redrive', {}],
  ['discard', { reason: 'tried out' }],
])('%s: nothing is asked of Postgres any more, and the place is given back', async (act, more) => {
  const { url, looked, mayGoOn, left, ended, asked, places } = await setup();
  const leaving = new AbortController();
  const answer = fetch(`${url}/dead-letters/${act}`, {
    ...{ method: 'POST', headers: { 'content-type': 'application/json' }, signal: leaving.signal },
    body: JSON.stringify({ ids: [7], dryRun: true, ...more }),
  });
  await looked?.promise;
  leaving.abort();
  await expect(answer).rejects.toThrow('aborted');
  await left?.promise;
  mayGoOn?.resolve();
  expect((await ended).message).toBe('Whoever asked has gone.');
  expect(asked).toEqual([]);
  expect(places).toEqual({ taken: 1, given: 1 });
});
