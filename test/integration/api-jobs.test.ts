// What a rehearsal by the API may cost, and which jobs go on by it.
import { expect } from 'vitest';
import type { Preview } from '../../src/api/contract.ts';
import { type Job, startJob } from '../../src/jobs.ts';
import { type Asked, ask, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const post = (url: string, path: string, body: object | undefined, more: Asked = {}) =>
  ask(url, `/api/v1${path}`, { method: 'POST', headers: OWN, ...(body === undefined ? {} : { body }), ...more });
const rehearsals = async ({ sql }: World) =>
  (await sql`select result from audit where dry_run`).map(({ result }) => result);

test('a rehearsal ends behind 5,000, shows 200 of them, and says that there are more', async ({ world }) => {
  const { source, url } = await world.service();
  for (let n = 0; n < 5_050; n++) world.log.append(rawRecord(`{"${n}`));
  await source.drain();
  const answer = await post(url, '/dead-letters/discard', { all: true, reason: 'x', dryRun: true });
  const { matched, outcomes, note, items } = answer.json as Preview;
  expect({ matched, outcomes, shown: items.length }).toEqual({
    ...{ matched: 5_000, outcomes: { discarded: 5_000 }, shown: 200 },
  });
  expect(note).toBe('Only the first 5000 were tried: there are more.');
});

test('a rehearsal ends when whoever asked for it has gone', async ({ world }) => {
  const { source, url } = await world.service();
  for (let n = 10; n < 50; n++)
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ userId: `u${n}`, customerAccountId: undefined }), { id: `c${n}` }),
      cloudEvent('USER_STATUS_CHANGED', { ...statusChanged({ userId: `u${n}` }), newStatus: 'NO' }, { id: `s${n}` }),
    );
  await source.drain();
  const leaving = new AbortController();
  await world.sql.begin(async (tx) => {
    await tx`select 1 from users where user_id = 'u10' for update`; // the first portion waits for it
    const asked = fetch(`${url}/api/v1/dead-letters/redrive`, {
      method: 'POST',
      headers: { ...OWN, 'content-type': 'application/json' },
      body: JSON.stringify({ all: true, dryRun: true }),
      signal: leaving.signal,
    });
    asked.catch(() => {});
    await until(async () =>
      expect(
        await world.sql`select 1 from pg_locks l join pg_stat_activity a using (pid)
                          where not l.granted and a.datname = current_database()`,
      ).not.toEqual([]),
    );
    leaving.abort();
    await expect(asked).rejects.toThrow();
    // The service has noticed by then: it closed the one before it took this.
    expect((await ask(url, '/api/v1/session', { headers: { connection: 'close' } })).status).toBe(200);
  });
  await until(async () => expect(await rehearsals(world)).toMatchObject([{ matched: 20, interrupted: true }]));
});

/** A job that its process left. */
const left = ({ db }: World, kind: Job['kind']) => startJob(db, { kind, scope: {}, options: {}, total: 0, who: 'ann' });

test('a job that is no redrive and no discard goes on by the command line alone: nothing begins', async ({ world }) => {
  const { url } = await world.service();
  for (const kind of ['migrate', 'rebuild'] as const) {
    const { id } = await left(world, kind);
    const { detail } = expectProblem(await post(url, `/jobs/${id}/resume`, undefined), 'conflict', 409);
    expect(detail).toBe(`A ${kind} does not go on here: \`user-lifecycle jobs resume\`.`);
  }
  expect(await world.sql`select 1 from audit where verb = 'resume'`).toHaveLength(0);
  expect(await world.sql`select distinct state from jobs`).toEqual([{ state: 'running' }]);
});

test('whoever was refused takes no place of a job', async ({ world }) => {
  const { url } = await world.service();
  const { id } = await left(world, 'redrive');
  expect((await ask(url, `/api/v1/jobs/${id}/cancel`, { method: 'POST', headers: OWN })).status).toBe(200);
  for (let n = 0; n < 3; n++) {
    expect(expectProblem(await post(url, `/jobs/${id}/resume`, undefined), 'conflict', 409).detail).toBe(
      `Job ${id} is cancelled already.`,
    );
    expectProblem(await post(url, '/jobs/999/resume', undefined), 'not-found', 404);
  }
  expect((await post(url, '/dead-letters/redrive', { all: true, dryRun: true })).status).toBe(200);
});
