// What operators do by the API: rehearsed, done in the background, once however often it is sent, and written down.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as contract from '../../src/api/contract.ts';
import { type Answer, type Asked, ask, expectFits, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, type Lines, type MemoryService, until, type World } from '../support/world.ts';

let world: World & Lines;
let service: MemoryService;
beforeEach(async () => {
  world = await createWorld();
  service = await world.service();
});
afterEach(async () => {
  await world.expectSound();
  await world.close();
});

const api = (path: string, asked: Asked = {}) =>
  ask(service.url, `/api/v1${path}`, { ...asked, headers: { ...OWN, ...asked.headers } });
const post = (path: string, body: object | undefined, headers: Record<string, string> = {}) =>
  api(path, { method: 'POST', headers, ...(body === undefined ? {} : { body }) });

let n = 0;
function event(type: string, payload: object, over: object = {}) {
  return cloudEvent(type, payload, { id: `e${n++}`, ...over });
}
const user = (userId: string, over: object = {}) =>
  event('USER_CREATED', userCreated({ userId, customerAccountId: undefined, ...over }));
/** A dead letter that can be redriven: only Postgres refuses it, until `mend`. */
async function breakOne(userId: string): Promise<number> {
  world.log.append(user(userId));
  await service.source.drain();
  await world.sql.unsafe(`alter table history add constraint broken check (to_state <> 'suspended') not valid`);
  world.log.append(
    event('USER_STATUS_CHANGED', statusChanged({ userId, newStatus: 'SUSPENDED' })),
    event('USER_STATUS_CHANGED', statusChanged({ userId, newStatus: 'ACTIVE', timestamp: '2025-01-31T10:00:00Z' })),
  );
  await service.source.drain();
  const [row] = await world.sql<{ id: string }[]>`select id from dead_letters where user_id = ${userId}`;
  return Number(row?.id);
}
const mend = () => world.sql.unsafe('alter table history drop constraint broken');

async function ended(answer: Answer): Promise<contract.JobRow> {
  expect({ status: answer.status, text: answer.status === 202 ? '' : answer.text }).toEqual({ status: 202, text: '' });
  expectFits(contract.JobRow, answer.json);
  const location = answer.headers.get('location');
  expect(location).toBe(`/api/v1/jobs/${answer.json.id}`);
  return await until(async () => {
    const job = (await ask(service.url, location as string)).json as contract.JobRow;
    expect(job.state).not.toBe('running');
    return job;
  });
}
const audit = async () => {
  const { json } = await api('/audit');
  return (json as { items: contract.AuditItem[] }).items.map(({ verb, who, dryRun, result }) => ({
    verb,
    who,
    dryRun,
    result,
  }));
};

describe('redrive', () => {
  test('a dry run says what would become of each and changes nothing; the act does it, in the background', async () => {
    const id = await breakOne('auth0|u1');
    await mend();
    const dry = await post('/dead-letters/redrive', { ids: [id], dryRun: true });
    expect(dry.status).toBe(200);
    expectFits(contract.Preview, dry.json);
    expect(dry.json).toMatchObject({ matched: 1, outcomes: { applied: 1 }, others: { applied: 1 }, note: null });
    expect(dry.json.items).toMatchObject([{ id, code: 'sql', outcome: 'applied', from: 'pending', to: 'suspended' }]);
    expect((await api(`/dead-letters/${id}`)).json).toMatchObject({ status: 'open' });

    const job = await ended(await post('/dead-letters/redrive', { filter: { code: 'sql' } }));
    expect(job).toMatchObject({
      kind: 'redrive',
      state: 'done',
      total: 1,
      done: 1,
      failed: 0,
      startedBy: 'local',
      rate: null,
    });
    expect((await api(`/dead-letters/${id}`)).json).toMatchObject({ status: 'resolved', acts: [] });
    expect(await audit()).toEqual([
      {
        verb: 'redrive',
        who: 'local',
        dryRun: false,
        result: expect.objectContaining({ state: 'done', outcomes: { applied: 1 } }),
      },
      { verb: 'redrive', who: 'local', dryRun: true, result: expect.objectContaining({ matched: 1 }) },
    ]);
    expectProblem(await post('/dead-letters/redrive', { ids: [id] }), 'conflict', 409);
    expectProblem(await post('/dead-letters/redrive', { ids: [999] }), 'not-found', 404);
  });

  test.each([
    ['nothing said', {}, '/filter'],
    ['an empty filter without all', { filter: {} }, '/filter'],
    ['all beside something', { all: true, ids: [1] }, '/all'],
    ['ids and a filter', { ids: [1], filter: { code: 'sql' } }, '/filter'],
    ['force without a reason', { all: true, force: true }, '/reason'],
    ['a misspelt filter', { filter: { kode: 'sql' } }, '/filter'],
    ['a reason that is no text', { all: true, reason: 7 }, '/reason'],
  ])('%s is refused, and nothing begins', async (_, body, pointer) => {
    const problem = expectProblem(await post('/dead-letters/redrive', body), 'invalid-request', 400);
    expect(problem.errors?.map((error) => error.pointer)).toContain(pointer);
    expect(await world.sql`select 1 from jobs`).toHaveLength(0);
  });

  test('all of them, with `all: true`', async () => {
    await breakOne('auth0|u1');
    await mend();
    expect(await ended(await post('/dead-letters/redrive', { all: true }))).toMatchObject({ done: 1 });
  });
});

describe('discard', () => {
  test('needs a reason, which stays with the dead letter, and lets its user go on', async () => {
    const id = await breakOne('auth0|u1');
    await mend();
    expectProblem(await post('/dead-letters/discard', { ids: [id] }), 'invalid-request', 400);
    const dry = await post('/dead-letters/discard', { ids: [id], dryRun: true, reason: 'test data' });
    expect(dry.json).toMatchObject({ matched: 1, outcomes: { discarded: 1 }, others: { applied: 1 } });
    await ended(await post('/dead-letters/discard', { ids: [id], reason: 'test data' }));
    const { json } = await api(`/dead-letters/${id}`);
    expectFits(contract.DeadLetterView, json);
    expect(json).toMatchObject({ status: 'discarded', note: 'test data', byWhom: 'local', behind: 0 });
    expect(json.acts).toMatchObject([{ verb: 'discard', who: 'local', reason: 'test data' }]);
  });

  test('of what waits: a dry run names each by its own number; the act gives them up', async () => {
    world.log.append(
      user('auth0|u1', { customerAccountId: 'c9' }),
      event('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u2' })),
    );
    await service.source.drain();
    const waiting = (await api('/waiting')).json as { items: contract.WaitingItem[] };
    const [creation] = waiting.items;
    const body = { filter: { reason: 'customer' }, reason: 'nobody creates it' };
    const dry = await post('/waiting/discard', { ...body, dryRun: true });
    expectFits(contract.Preview, dry.json);
    expect(dry.json.items).toMatchObject([{ id: creation?.id, userId: 'auth0|u1', code: 'given-up' }]);
    await ended(await post('/waiting/discard', body));
    const left = (await api('/waiting')).json as { items: contract.WaitingItem[] };
    expect(left.items.map(({ userId }) => userId)).toEqual(['auth0|u2']);
  });
});

describe('edit', () => {
  test('another payload stands in the place of the first for the next redrive; the original stays', async () => {
    world.log.append(user('auth0|u1'), event('USER_STATUS_CHANGED', { ...statusChanged(), newStatus: 'FROZEN' }));
    await service.source.drain();
    const [row] = await world.sql<{ id: string }[]>`select id from dead_letters`;
    const edit = (value: unknown, reason = 'FROZEN means SUSPENDED') =>
      post(`/dead-letters/${row?.id}/edit`, { value, reason });
    expectProblem(await edit('{"userId":'), 'conflict', 409);
    expectProblem(await edit(JSON.stringify(statusChanged({ userId: 'auth0|u7' }))), 'conflict', 409);
    const edited = await edit(JSON.stringify(statusChanged({ newStatus: 'SUSPENDED' })));
    expect(edited.status).toBe(200);
    expectFits(contract.DeadLetterView, edited.json);
    expect(edited.json).toMatchObject({ edited: true, acts: [{ verb: 'edit', reason: 'FROZEN means SUSPENDED' }] });
    expect(edited.json.content.value).toContain('FROZEN');
    expect(edited.json.content.editedValue).toContain('SUSPENDED');
    expectProblem(await post('/dead-letters/999/edit', { value: null, reason: 'x' }), 'not-found', 404);
    expect(await ended(await post('/dead-letters/redrive', { ids: [Number(row?.id)] }))).toMatchObject({
      done: 1,
      failed: 0,
    });
    expect((await api('/users/auth0%7Cu1')).json).toMatchObject({ user: { state: 'suspended' } });
  });
});

describe('holds', () => {
  test('of a customer: its users wait, others flow; the end of it lets them go by themselves', async () => {
    world.log.append(
      event('CUSTOMER_CREATED', customerCreated()),
      user('auth0|u1', { customerAccountId: 'c1' }),
      user('auth0|u2'),
    );
    await service.source.drain();
    const held = await post('/holds', { kind: 'customer', id: 'c1', reason: 'bad import' });
    expect(held.status).toBe(201);
    expectFits(contract.HoldRow, held.json);
    expect(held.json).toMatchObject({ kind: 'customer', id: 'c1', reason: 'bad import', byWhom: 'local', waiting: 0 });
    expectProblem(await post('/holds', { kind: 'customer', id: 'c1', reason: 'again' }), 'conflict', 409);

    world.log.append(
      event('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u1' })),
      event('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u2' })),
    );
    await service.source.drain();
    const stateOf = async (id: string) =>
      ((await api(`/users/${encodeURIComponent(id)}`)).json as contract.UserView).user?.state;
    expect([await stateOf('auth0|u1'), await stateOf('auth0|u2')]).toEqual(['pending', 'active']);
    expect((await api('/holds')).json).toMatchObject({ items: [{ id: 'c1', waiting: 1 }] });
    expect((await api('/customers/c1')).json).toMatchObject({ hold: { id: 'c1' }, waiting: 1 });

    const released = await api('/holds/customer/c1', { method: 'DELETE' });
    expect(released.status).toBe(200);
    expectFits(contract.HoldRow, released.json);
    await until(async () => expect(await stateOf('auth0|u1')).toBe('active'));
    expectProblem(await api('/holds/customer/c1', { method: 'DELETE' }), 'not-found', 404);
  });
});

test('a halted partition runs again from where it stopped, and says what it was halted for until then', async () => {
  world.log.append(user('auth0|u1'));
  await service.source.drain();
  await world.sql`update positions set state = 'halted', halted_reason = 'gap: test' where topic = 'user-events'`;
  await until(async () => {
    const { items } = (await api('/partitions')).json as { items: contract.PartitionRow[] };
    expect(items).toMatchObject([{ state: 'halted', why: 'gap: test' }]);
  });
  const resumed = await post('/partitions/user-events/0/resume', { reason: 'looked at' });
  expect(resumed.status).toBe(200);
  expectFits(contract.PartitionRow, resumed.json);
  expect(resumed.json).toMatchObject({ state: 'running', why: null, position: '1' });
  expectProblem(await post('/partitions/user-events/0/resume', { reason: 'again' }), 'conflict', 409);
  expectProblem(await post('/partitions/user-events/77/resume', { reason: 'x' }), 'not-found', 404);
});

describe('jobs', () => {
  /** A job that its process left. */
  async function left(): Promise<number> {
    const id = await breakOne('auth0|u1');
    await mend();
    const { startDiscard } = await import('../../src/settle.ts');
    return (await startDiscard(world.db, { filter: { ids: [id] }, who: 'ann', reason: 'x' })).id;
  }

  test('one that was left is gone on with; one that has ended is not', async () => {
    const id = await left();
    expect(await ended(await post(`/jobs/${id}/resume`, undefined))).toMatchObject({
      state: 'done',
      done: 1,
      startedBy: 'ann',
    });
    expectProblem(await post(`/jobs/${id}/resume`, undefined), 'conflict', 409);
    expectProblem(await post(`/jobs/${id}/cancel`, undefined), 'conflict', 409);
    expectProblem(await post('/jobs/999/resume', undefined), 'not-found', 404);
    expectProblem(await api('/jobs/999'), 'not-found', 404);
  });

  test('one that two go on with at once runs once', async () => {
    const id = await left();
    const both: Promise<Answer>[] = [];
    await world.sql.begin(async (tx) => {
      await tx`select 1 from jobs for update`;
      both.push(post(`/jobs/${id}/resume`, undefined), post(`/jobs/${id}/resume`, undefined));
      expectProblem(await Promise.race(both), 'conflict', 409);
    });
    const [accepted, ...more] = (await Promise.all(both)).filter(({ status }) => status === 202);
    expect(more).toEqual([]);
    expect(await ended(accepted as Answer)).toMatchObject({ state: 'done', done: 1 });
    expect(await world.sql`select 1 from audit where verb = 'resume'`).toHaveLength(1);
  });

  test('of very many numbers shows the first 20 in lists, and keeps them all', async () => {
    const ids = Array.from({ length: 25 }, (_, i) => i + 1);
    const { startDiscard } = await import('../../src/settle.ts');
    const { id } = await startDiscard(world.db, { filter: { ids }, who: 'ann', reason: 'x' });
    await startDiscard(world.db, { filter: { ids: [7] }, who: 'ann', reason: 'x' });
    const short = { ids: ids.slice(0, 20), idsCount: 25 };
    const { jobs } = (await api('/stats')).json as contract.Stats;
    const listed = (await api('/jobs')).json as { items: contract.JobRow[] };
    for (const rows of [jobs, listed.items]) expect(rows.map(({ scope }) => scope)).toEqual([{ ids: [7] }, short]);
    const acts = (await api('/audit')).json as { items: contract.AuditItem[] };
    expect(acts.items.map(({ scope }) => scope)).toEqual([
      { ids: [7], reason: 'x' },
      { ...short, reason: 'x' },
    ]);
    expect((await api(`/jobs/${id}`)).json).toMatchObject({ scope: { ids } });
  });

  test('one that is cancelled keeps what was done', async () => {
    const id = await left();
    const cancelled = await post(`/jobs/${id}/cancel`, undefined);
    expectFits(contract.JobRow, cancelled.json);
    expect(cancelled.json).toMatchObject({ state: 'cancelled', done: 0 });
  });

  test('no more than two at once; a stop ends them after the step in hand, and another process goes on', async () => {
    const id = await breakOne('auth0|u1');
    await mend();
    const jobs: Answer[] = [];
    await world.sql.begin(async (tx) => {
      await tx`select 1 from users where user_id = 'auth0|u1' for update`; // their step waits for it
      for (let i = 0; i < 2; i++) jobs.push(await post('/dead-letters/redrive', { ids: [id] }));
      expectProblem(await post('/dead-letters/redrive', { ids: [id] }), 'conflict', 409);
      expectProblem(await post('/dead-letters/redrive', { ids: [id], dryRun: true }), 'conflict', 409);
    });
    expect(jobs.map(({ status }) => status)).toEqual([202, 202]);
    await service.stop();
    service = await world.service();
    for (const job of jobs) {
      const now = (await api(`/jobs/${(job.json as contract.JobRow).id}`)).json as contract.JobRow;
      if (now.state === 'running') await ended(await post(`/jobs/${now.id}/resume`, undefined));
    }
    expect(await world.sql`select distinct state from jobs`).toEqual([{ state: 'done' }]);
    expect((await api(`/dead-letters/${id}`)).json).toMatchObject({ status: 'resolved' });
  });
});

describe('an act that is sent again', () => {
  const body = { kind: 'user', id: 'auth0|u1', reason: 'x' };

  test('with its key gets the first answer, and is done once', async () => {
    const first = await post('/holds', body, { 'idempotency-key': 'k1' });
    const again = await post('/holds', body, { 'idempotency-key': 'k1' });
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.text).toBe(first.text);
    expect([first, again].map(({ headers }) => headers.get('idempotency-replayed'))).toEqual([null, 'true']);
    expect(await audit()).toHaveLength(1);
  });

  test('with its key and something else is a conflict', async () => {
    await post('/holds', body, { 'idempotency-key': 'k1' });
    expectProblem(await post('/holds', { ...body, reason: 'y' }, { 'idempotency-key': 'k1' }), 'conflict', 409);
    expectProblem(await post('/dead-letters/redrive', { all: true }, { 'idempotency-key': 'k1' }), 'conflict', 409);
  });

  test('many at once with one key: it is done once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => post('/holds', body, { 'idempotency-key': 'k1' })),
    );
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThanOrEqual(1);
    expect(answers.filter(({ status }) => status !== 201 && status !== 409)).toEqual([]);
    expect(await audit()).toHaveLength(1);
  });

  test('after a hold too many may be sent again with the same key', async () => {
    await world.sql`
      insert into holds (kind, id, reason, by_whom) select 'user', 'h' || n, 'x', 'test' from generate_series(1, 10000) n`;
    const problem = expectProblem(await post('/holds', body, { 'idempotency-key': 'k1' }), 'conflict', 409);
    expect(problem.detail).toBe('There are 10000 holds already: release some first.');
    await world.sql`delete from holds where id = 'h1'`;
    expect((await post('/holds', body, { 'idempotency-key': 'k1' })).status).toBe(201);
  });

  test('after it was refused may be sent again with the same key: nothing was done', async () => {
    await post('/holds', body);
    expectProblem(await post('/holds', body, { 'idempotency-key': 'k1' }), 'conflict', 409);
    await api('/holds/user/auth0%7Cu1', { method: 'DELETE' });
    expect((await post('/holds', body, { 'idempotency-key': 'k1' })).status).toBe(201);
  });

  test('where the answer was cut off, whoever comes again is told that it may have been done', async () => {
    await post('/holds', body, { 'idempotency-key': 'k1' });
    await world.sql`update idempotency set status = null, reply = null`; // as a process leaves it that ends in between
    const problem = expectProblem(await post('/holds', body, { 'idempotency-key': 'k1' }), 'conflict', 409);
    expect(problem.detail).toMatch(/`audit` says whether/);
    // Postgres ends the connection in the middle: nobody knows what it did.
    await world.sql.unsafe(`
      create function end_connection() returns trigger language plpgsql as $$
        begin perform pg_terminate_backend(pg_backend_pid()), pg_sleep(60); return new; end $$;
      create trigger cut before insert on holds for each row when (new.id = 'auth0|u2') execute function end_connection()`);
    const again = () => post('/holds', { ...body, id: 'auth0|u2' }, { 'idempotency-key': 'k2' });
    expectProblem(await again(), 'unavailable', 503);
    await world.sql.unsafe('drop function end_connection cascade');
    expect(expectProblem(await again(), 'conflict', 409).detail).toMatch(/`audit` says whether/);
  });

  test('a job too: where to look comes again', async () => {
    const first = await post('/dead-letters/redrive', { all: true }, { 'idempotency-key': 'k2' });
    const again = await post('/dead-letters/redrive', { all: true }, { 'idempotency-key': 'k2' });
    expect([again.status, again.headers.get('location')]).toEqual([202, first.headers.get('location')]);
    await ended(first);
    expect(await world.sql`select 1 from jobs`).toHaveLength(1);
  });

  test('a key is kept for a day, and one of another person is another key', async () => {
    await post('/holds', body, { 'idempotency-key': 'k1' });
    await world.sql`update idempotency set at = now() - interval '25 hours'`;
    expectProblem(await post('/holds', body, { 'idempotency-key': 'k1' }), 'conflict', 409); // done anew: held already
    await post('/holds', { ...body, id: 'auth0|u2' }, { 'idempotency-key': 'k3' });
    expect(await world.sql`select key from idempotency`).toEqual([{ key: 'k3' }]);
    await world.sql`update idempotency set who = 'somebody else'`;
    expect((await post('/holds', { ...body, id: 'auth0|u3' }, { 'idempotency-key': 'k3' })).status).toBe(201);
  });
});

describe('what if', () => {
  test('events on a copy of a user: what each would do, and nothing is saved', async () => {
    world.log.append(user('auth0|u1'), event('USER_STATUS_CHANGED', statusChanged({ newStatus: 'PENDING' })));
    await service.source.drain();
    const answer = await post('/what-if', {
      userId: 'auth0|u1',
      events: [
        { type: 'USER_STATUS_CHANGED', payload: statusChanged({ timestamp: '2025-01-01T00:00:00Z' }) },
        { type: 'USER_STATUS_CHANGED', payload: statusChanged({ timestamp: undefined as never }) },
        { type: 'USER_STATUS_CHANGED', payload: { newStatus: 'FROZEN' } },
        { type: 'USER_DELETED', payload: { userType: 'SME_OWNER' } },
        { type: 'USER_STATUS_CHANGED', payload: statusChanged({ timestamp: undefined as never }) },
      ],
    });
    expect({ status: answer.status, text: answer.status === 200 ? '' : answer.text }).toEqual({
      status: 200,
      text: '',
    });
    expectFits(contract.WhatIfResult, answer.json);
    expect(answer.json.start).toMatchObject({ state: 'pending', row: { email: 'a***@example.com' } });
    expect(answer.json.steps.map(({ outcome, from, to }) => `${outcome} ${from} ${to}`)).toEqual([
      'stale pending pending',
      'applied pending active',
      'dead active null',
      'applied active deleted',
      'rejected deleted deleted',
    ]);
    expect(answer.json.steps[2]?.note).toMatch(/^schema: /);
    expect(answer.json.steps[3]?.changed).toEqual(['state', 'version', 'deletedAt']);
    expect((await api('/users/auth0%7Cu1')).json).toMatchObject({ user: { state: 'pending', version: 2 } });
    expect(await audit()).toEqual([]);
  });

  test('a creation waits for its customer, as it really is or as it is said to be', async () => {
    const created = {
      type: 'USER_CREATED',
      payload: userCreated({ userId: undefined as never, timestamp: undefined as never }),
    };
    const outcomes = async (body: object) => {
      const { json } = await post('/what-if', {
        events: [created, { type: 'USER_DELETED', payload: { userType: 'x' } }],
        ...body,
      });
      expectFits(contract.WhatIfResult, json);
      return json.steps.map(({ outcome, note }) => [outcome, note]);
    };
    expect(await outcomes({})).toEqual([
      ['waiting', 'Its customer is unknown: it would wait for CUSTOMER_CREATED.'],
      ['waiting', 'The user does not exist: it would wait for USER_CREATED.'],
    ]);
    expect(await outcomes({ customerKnown: true })).toEqual([
      ['applied', null],
      ['applied', null],
    ]);
    world.log.append(event('CUSTOMER_CREATED', customerCreated()));
    await service.source.drain();
    expect((await outcomes({}))[0]).toEqual(['applied', null]);
    expect((await outcomes({ customerKnown: false }))[0]?.[0]).toBe('waiting');
  });

  test('a user that is not there, or events of two users, are refused', async () => {
    const events = [{ type: 'USER_DELETED', payload: { userId: 'auth0|u2' } }];
    expectProblem(await post('/what-if', { userId: 'auth0|u1', events }), 'invalid-request', 400);
    expectProblem(await post('/what-if', { userId: 'auth0|u2', events }), 'not-found', 404);
    expectProblem(await post('/what-if', { events: [] }), 'invalid-request', 400);
  });
});
