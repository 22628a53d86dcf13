// What one question may cost, and what an answer may give away.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HistoryItem, WaitingItem } from '../../src/api/contract.ts';
import { type Answer, ask, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, nestRecord, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, type MemoryService, until, type World } from '../support/world.ts';

const VIEWER = 'a-viewer-token-of-24-signs';
const OPERATOR = 'an-operator-token-of-26-s';
let world: World;
let service: MemoryService;
const as = (token: string, path: string) =>
  ask(service.url, `/api/v1${path}`, { headers: { authorization: `Bearer ${token}` } });

beforeAll(async () => {
  world = await createWorld();
  service = await world.service({ AUTH_MODE: 'token', AUTH_VIEWER_TOKEN: VIEWER, AUTH_OPERATOR_TOKEN: OPERATOR });
  const note = 'x'.repeat(100_000);
  world.log.append(
    cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'a' }),
    cloudEvent('USER_STATUS_CHANGED', { ...statusChanged({}), note }, { id: 'b' }),
  );
  await service.source.drain();
});
afterAll(() => world.close());

describe('an e-mail address', () => {
  const path = '/users?q=ADA%40example.com';

  test('finds its user for who may see it, and that stands in the audit, without the address', async () => {
    expect((await as(OPERATOR, path)).json).toMatchObject({ items: [{ userId: 'auth0|u1' }] });
    const [row] = await world.sql`select who, verb, scope from audit order by id desc limit 1`;
    expect(row).toEqual({ who: 'operator', verb: 'reveal', scope: { search: 'e-mail' } });
  });

  test('is no question for others: a viewer can not find out whether somebody is a user', async () => {
    expectProblem(await as(VIEWER, path), 'forbidden', 403);
  });
});

test('a list shows an event of more than 32 kB as too large, and is itself small', async () => {
  for (const list of ['/users/auth0%7Cu1/history', '/recent/events']) {
    const { text, json } = await as(VIEWER, list);
    expect(text.length).toBeLessThan(20_000);
    const [newest, oldest] = (json as { items: { event: object }[] }).items;
    expect(newest?.event).toEqual({ tooLarge: expect.stringContaining('users history') });
    expect(oldest?.event).toMatchObject({ userId: 'auth0|u1' });
  }
});

test('the cursor of one user’s history is none of another’s', async () => {
  const { nextCursor } = (await as(VIEWER, '/users/auth0%7Cu1/history?limit=1')).json as { nextCursor: string };
  expect((await as(VIEWER, `/users/auth0%7Cu1/history?cursor=${nextCursor}`)).status).toBe(200);
  const other = await as(VIEWER, `/users/auth0%7Cu2/history?cursor=${nextCursor}`);
  expect(expectProblem(other, 'invalid-request', 400).detail).toMatch(/^The cursor is of another/);
});

test('what a guess could be tried on is shown to nobody but who may see the rest', async () => {
  world.log.append(nestRecord('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED' })), rawRecord('{"email"'));
  await service.source.drain();
  const list = '/users/auth0%7Cu1/history';
  const first = (answer: Answer) => (answer.json as { items: HistoryItem[] }).items[0];
  for (const path of [list, '/recent/events']) {
    const masked = first(await as(OPERATOR, path));
    expect(masked).toMatchObject({ dialect: 'nest', eventId: null });
    expect(masked?.facts).not.toHaveProperty('hash');
  }
  const revealed = first(await as(OPERATOR, `${list}?reveal=true`));
  expect(revealed?.eventId).toMatch(new RegExp(`^${revealed?.facts.hash}`));
  const [{ id } = { id: 0 }] = await world.sql<{ id: number }[]>`select id::int from dead_letters where code = 'json'`;
  expect((await as(OPERATOR, `/dead-letters/${id}`)).json).toMatchObject({ sha256: null });
  expect((await as(OPERATOR, `/dead-letters/${id}?reveal=true`)).json).toMatchObject({
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

test('nor is it of what waits, and of what was given up: their ids are made of their content too', async () => {
  world.log.append(nestRecord('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u7' })));
  await service.source.drain();
  const made = expect.stringMatching(/^[0-9a-f]{16}/);
  const user = '/users/auth0%7Cu7';
  const [waits] = ((await as(VIEWER, '/waiting?user=auth0%7Cu7')).json as { items: WaitingItem[] }).items;
  expect(waits).toMatchObject({ dialect: 'nest', eventId: null });
  const one = `/waiting/${waits?.id}`;
  expect((await as(OPERATOR, one)).json).toMatchObject({ eventId: null });
  expect((await as(OPERATOR, user)).json).toMatchObject({ waiting: [{ eventId: null }] });
  expect((await as(OPERATOR, `${one}?reveal=true`)).json).toMatchObject({ eventId: made });
  expect((await as(OPERATOR, `${user}?reveal=true`)).json).toMatchObject({ waiting: [{ eventId: made }] });

  expect((await act('/waiting/discard', 'give-up', { ids: [waits?.id], reason: 'x' })).status).toBe(202);
  const id = await until(async () => {
    const [row] = await world.sql<{ id: number }[]>`select id::int from dead_letters where code = 'given-up'`;
    expect(row).toBeDefined();
    return row?.id;
  });
  expect((await as(OPERATOR, `/dead-letters/${id}`)).json).toMatchObject({ dialect: 'nest', eventId: null });
  expect((await as(OPERATOR, `/dead-letters/${id}?reveal=true`)).json).toMatchObject({ eventId: made });
});

test('a moment that does not exist is refused', async () => {
  expectProblem(await as(VIEWER, '/users/auth0%7Cu1/at?time=2099-12-31T23:59:60Z'), 'invalid-request', 400);
});

/** While nobody can read what waits, which answers say too. */
async function unread<T>(use: () => Promise<T>): Promise<T> {
  const locked = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const holding = world.sql.begin(async (tx) => {
    await tx`lock table waiting in access exclusive mode`;
    locked.resolve();
    await over.promise;
  });
  await locked.promise;
  const answer = await use();
  over.resolve();
  await holding;
  return answer;
}
const act = (path: string, key: string, body: object) =>
  ask(service.url, `/api/v1${path}`, {
    method: 'POST',
    headers: { ...OWN, authorization: `Bearer ${OPERATOR}`, 'idempotency-key': key },
    body,
  });

test('where the answer to an act that was done could not be read, its key is not given back', async () => {
  const hold = () => act('/holds', 'once', { kind: 'user', id: 'auth0|u1', reason: 'look' });
  const first = await unread(hold);
  expect(expectProblem(first, 'unavailable', 503).detail).toMatch(/^The act was done/);
  expect(await world.sql`select id from holds`).toEqual([{ id: 'auth0|u1' }]);
  expect((await hold()).text).toContain('`audit` says whether it was done');
});

test('an edit whose answer could not be read is told as done, and is not done again', async () => {
  world.log.append(cloudEvent('USER_STATUS_CHANGED', { ...statusChanged(), newStatus: 'FROZEN' }, { id: 'c' }));
  await service.source.drain();
  const [{ id } = { id: 0 }] = await world.sql<{ id: number }[]>`select id::int from dead_letters where event_id = 'c'`;
  const body = { value: JSON.stringify(statusChanged({ newStatus: 'SUSPENDED' })), reason: 'FROZEN means SUSPENDED' };
  const edit = () => act(`/dead-letters/${id}/edit`, 'edit', body);
  expect(expectProblem(await unread(edit), 'unavailable', 503).detail).toMatch(/^The act was done/);
  expectProblem(await edit(), 'conflict', 409);
  expect(await world.sql`select verb from audit where verb = 'edit'`).toHaveLength(1);
});
