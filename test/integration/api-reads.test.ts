// What the API answers to questions: every route on real rows, page by page, and what it says where there is nothing.

import type { TSchema } from 'typebox';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as contract from '../../src/api/contract.ts';
import { actsOn, groupDeadLetters } from '../../src/queries/dead-letters.ts';
import { groupWaiting } from '../../src/queries/waiting.ts';
import { ask, expectFits, expectProblem } from '../support/api.ts';
import {
  cloudEvent,
  customerCreated,
  nestRecord,
  rawRecord,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { createWorld, type MemoryService, until, type World } from '../support/world.ts';

let world: World;
let service: MemoryService;
const api = (path: string) => ask(service.url, `/api/v1${path}`);
async function get<T extends TSchema>(path: string, schema: T) {
  const answer = await api(path);
  expect(answer.text).not.toBe('');
  expect({ path, status: answer.status, ...(answer.status === 200 ? {} : { text: answer.text }) }).toEqual({
    path,
    status: 200,
  });
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expectFits(schema, answer.json);
  return answer.json as import('typebox').Static<T>;
}
const page = <T extends TSchema>(item: T) => contract.pageOf(item);
const at = (minute: number) => new Date(Date.UTC(2025, 0, 31, 9, minute)).toISOString();

/** u1 has a long story; u2 waits for a customer; u3 is held up by a dead letter; u4 to u9 are there. */
beforeAll(async () => {
  world = await createWorld();
  service = await world.service();
  let n = 0;
  const event = (type: string, payload: object, over: object = {}) =>
    cloudEvent(type, payload, { id: `e${n++}`, ...over });
  world.log.append(
    event('CUSTOMER_CREATED', customerCreated({ timestamp: at(0) })),
    event('USER_CREATED', userCreated({ timestamp: at(1) })),
    event('USER_CREATED', userCreated({ timestamp: at(2) })),
    event('USER_STATUS_CHANGED', statusChanged({ timestamp: at(3) })),
    event(
      'USER_ROLE_CHANGED',
      roleChanged({ timestamp: at(4), newRole: 'SME_USER', previousRole: 'INSTITUTION_USER' }),
    ),
    event('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED', timestamp: at(5), previousStatus: 'ACTIVE' })),
    event('USER_CREATED', userCreated({ userId: 'auth0|u2', customerAccountId: 'c2', timestamp: at(1) })),
    event('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u2', timestamp: at(2) })),
    event('USER_CREATED', userCreated({ userId: 'auth0|u3', customerAccountId: undefined, timestamp: at(1) })),
    event('USER_DELETED.v2', { userId: 'auth0|u3', timestamp: at(2), deletedBy: 'Grace Hopper' }),
    event('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|u3', timestamp: at(3) })),
    rawRecord('{"email":"ada@example.com"', { key: 'k' }),
    nestRecord('USER_DELETED', userDeleted({ userId: 'auth0|u9' })),
  );
  for (let i = 4; i < 9; i++)
    world.log.append(
      event('USER_CREATED', userCreated({ userId: `auth0|u${i}`, email: `u${i}@x.io`, timestamp: at(i) }), {
        partition: 1,
      }),
    );
  await service.source.drain();
});
afterAll(() => world.close());

describe('users', () => {
  test('a list goes page by page, by id, and ends', async () => {
    const ids: string[] = [];
    let cursor = '';
    let pages = 0;
    do {
      const { items, nextCursor } = await get(`/users?limit=3${cursor}`, page(contract.UserItem));
      ids.push(...items.map(({ userId }) => userId));
      cursor = nextCursor === undefined ? '' : `&cursor=${nextCursor}`;
      pages++;
    } while (cursor !== '');
    expect(ids).toEqual(['auth0|u1', 'auth0|u3', 'auth0|u4', 'auth0|u5', 'auth0|u6', 'auth0|u7', 'auth0|u8']);
    expect(pages).toBe(3);
  });

  test.each([
    ['?q=auth0%7Cu4', ['auth0|u4']],
    ['?q=auth0%7C&limit=2', ['auth0|u1', 'auth0|u3']],
    ['?q=U5@X.io', ['auth0|u5']],
    ['?q=u5@x.i', []],
    ['?customer=c1&limit=2', ['auth0|u1', 'auth0|u4']],
    ['?state=suspended', ['auth0|u1']],
    ['?state=suspended&customer=other', []],
  ])('%s finds %j', async (query, ids) => {
    const { items } = await get(`/users${query}`, page(contract.UserItem));
    expect(items.map(({ userId }) => userId)).toEqual(ids);
  });

  test('one: the row, what waits, what blocks, and what its machine takes next', async () => {
    const { user, waiting, waitingCount, deadLetters, source, next } = await get(
      '/users/auth0%7Cu3',
      contract.UserView,
    );
    expect(user).toMatchObject({ userId: 'auth0|u3', state: 'pending', email: 'a***@example.com', name: 'A***' });
    expect({ waitingCount, reasons: waiting.map(({ reason }) => reason) }).toEqual({
      waitingCount: 1,
      reasons: ['dead-letter'],
    });
    expect(deadLetters).toMatchObject([{ code: 'unknown-version', blocks: true }]);
    expect(source).toMatchObject({ topic: 'user-events', partition: 0 });
    expect(next.map(({ transition }) => transition)).toContain('pending|USER_DELETED|0');
  });

  test('one that does not exist yet is there with what waits for it; one of whom nothing is known is not found', async () => {
    const { user, waitingCount, next } = await get('/users/auth0%7Cu2', contract.UserView);
    expect({ user, waitingCount, next: next.map(({ event }) => event) }).toEqual({
      user: null,
      waitingCount: 2,
      next: ['USER_CREATED'],
    });
    expectProblem(await api('/users/nobody'), 'not-found', 404);
  });

  test('its history is the newest first, page by page, and says why what did nothing did nothing', async () => {
    const first = await get('/users/auth0%7Cu1/history?limit=3', page(contract.HistoryItem));
    expect(first.items.map(({ version, outcome }) => `${version} ${outcome}`)).toEqual([
      '5 applied',
      '4 applied',
      '3 applied',
    ]);
    expect(first.items[1]?.note).toMatch(/^Drift: .*INSTITUTION_USER/);
    const rest = await get(`/users/auth0%7Cu1/history?limit=3&cursor=${first.nextCursor}`, page(contract.HistoryItem));
    expect(rest.items.map(({ version, note }) => [version, note])).toEqual([
      [2, 'The user exists already.'],
      [1, null],
    ]);
    expect(rest.nextCursor).toBeUndefined();
    expect(rest.items[1]?.event).toMatchObject({ userId: 'auth0|u1', email: 'a***@example.com', name: 'A***' });
    const { items } = await get('/users/auth0%7Cu1/history?outcome=skipped', page(contract.HistoryItem));
    expect(items.map(({ version }) => version)).toEqual([2]);
    const none = await get('/users/auth0%7Cu1/history?to=2001-01-01T00:00:00Z', page(contract.HistoryItem));
    expect(none.items).toEqual([]);
  });

  test('as of a step: the row then, the row before, and what changed between them', async () => {
    const now = await get('/users/auth0%7Cu1/at', contract.UserAt);
    expect(now).toMatchObject({ version: 5, steps: 5, fold: { equal: true, differences: [], firstDifference: null } });
    expect(now.changed.sort()).toEqual(['state', 'statusAtMs', 'statusOffset', 'version']);
    const then = await get('/users/auth0%7Cu1/at?version=3', contract.UserAt);
    expect(then.row).toMatchObject({ state: 'active', version: 3, email: 'a***@example.com' });
    expect(then.before).toMatchObject({ state: 'pending', version: 2 });
    expect(await get('/users/auth0%7Cu1/at?version=0', contract.UserAt)).toMatchObject({
      version: 0,
      row: null,
      before: null,
    });
    const recorded = await get('/users/auth0%7Cu1/history?limit=1', page(contract.HistoryItem));
    const time = encodeURIComponent(recorded.items[0]?.recordedAt ?? '');
    expect(await get(`/users/auth0%7Cu1/at?time=${time}`, contract.UserAt)).toMatchObject({ version: 5 });
    expectProblem(await api('/users/auth0%7Cu1/at?version=6'), 'not-found', 404);
    expectProblem(await api(`/users/auth0%7Cu1/at?version=1&time=${time}`), 'invalid-request', 400);
  });

  test('what happened last, of users and of events', async () => {
    const users = await get('/recent/users', contract.Recent(contract.UserItem));
    expect(users).toMatchObject({ complete: true, scanned: 12 });
    expect(users.items).toHaveLength(7);
    const suspended = await get('/recent/users?state=suspended', contract.Recent(contract.UserItem));
    expect(suspended.items.map(({ userId }) => userId)).toEqual(['auth0|u1']);
    const moved = await get(
      '/recent/events?transition=pending%7CUSER_STATUS_CHANGED%7C2',
      contract.Recent(contract.HistoryItem),
    );
    expect(moved.items.map(({ userId, to }) => [userId, to])).toEqual([['auth0|u1', 'active']]);
    const skipped = await get('/recent/events?outcome=skipped&limit=1', contract.Recent(contract.HistoryItem));
    expect(skipped.items).toMatchObject([{ userId: 'auth0|u1', version: 2 }]);
  });
});

test('customers', async () => {
  const { items } = await get('/customers?q=c', page(contract.CustomerItem));
  expect(items.map(({ customerId }) => customerId)).toEqual(['c1']);
  expect(await get('/customers/c1', contract.CustomerView)).toMatchObject({
    customer: { name: 'Engines Ltd' },
    users: 6,
    waiting: 0,
  });
  expect(await get('/customers/c2', contract.CustomerView)).toMatchObject({ customer: null, users: 0, waiting: 1 });
  expectProblem(await api('/customers/c3'), 'not-found', 404);
});

describe('dead letters', () => {
  test('a list, the newest first, and groups with what waits behind', async () => {
    const { items } = await get('/dead-letters', page(contract.DeadLetterItem));
    expect(items.map(({ code }) => code)).toEqual(['unknown-version', 'json']);
    const groups = await get('/dead-letters/groups', contract.DeadLetterGroups);
    expect(groups.items.map(({ code, count, behind }) => [code, count, behind])).toEqual([
      ['json', 1, 0],
      ['unknown-version', 1, 1],
    ]);
    expect((await get('/dead-letters?status=resolved', page(contract.DeadLetterItem))).items).toEqual([]);
    expect((await get('/dead-letters?user=auth0%7Cu3&code=json', page(contract.DeadLetterItem))).items).toEqual([]);
  });

  test('one: what can be done about it, and its content without personal data', async () => {
    const { items } = await get('/dead-letters', page(contract.DeadLetterItem));
    const [versioned, broken] = items;
    const shown = await get(`/dead-letters/${versioned?.id}`, contract.DeadLetterView);
    expect(shown).toMatchObject({ behind: 1, userState: 'pending', content: { masked: true, base64: false } });
    expect(JSON.parse(shown.content.value ?? '')).toEqual({ userId: 'auth0|u3', timestamp: at(2), deletedBy: 'G***' });
    expect(shown.content.headers).toContainEqual({ name: 'ce_type', value: 'USER_DELETED.v2' });
    const unreadable = await get(`/dead-letters/${broken?.id}`, contract.DeadLetterView);
    expect(unreadable.content).toMatchObject({ masked: true, key: 'k***', value: '***', size: 26 });
    expectProblem(await api('/dead-letters/999'), 'not-found', 404);
  });
});

test('what waits: a list, groups, one', async () => {
  const { items } = await get('/waiting', page(contract.WaitingItem));
  expect(items.map(({ reason, userId }) => [reason, userId])).toEqual([
    ['customer', 'auth0|u2'],
    ['order', 'auth0|u2'],
    ['dead-letter', 'auth0|u3'],
    ['user', 'auth0|u9'],
  ]);
  expect(items[0]?.note).toBe('Its customer c2 is unknown: it goes when CUSTOMER_CREATED of it arrives.');
  expect((await get('/waiting?customer=c2', page(contract.WaitingItem))).items).toHaveLength(1);
  expect((await get('/waiting/groups?reason=user', contract.WaitingGroups)).items).toMatchObject([
    { type: 'USER_DELETED', count: 1 },
  ]);
  const one = await get(`/waiting/${items[0]?.id}`, contract.WaitingView);
  expect(JSON.parse(one.content.value ?? '')).toMatchObject({
    userId: 'auth0|u2',
    email: 'a***@example.com',
    customerName: 'E***',
  });
  expectProblem(await api('/waiting/999'), 'not-found', 404);
});

test('groups are of the newest rows, and say where there are more', async () => {
  const dead = await groupDeadLetters(world.db, {}, { mostGrouped: 1 });
  expect(dead).toMatchObject({ complete: false, items: [{ code: 'unknown-version', count: 1, behind: 1 }] });
  expect(await groupDeadLetters(world.db, { code: 'json' }, { mostGrouped: 1 })).toEqual({
    complete: false,
    items: [],
  });
  expect(await groupDeadLetters(world.db, {}, { mostGrouped: 2 })).toMatchObject({ complete: true });
  const waiting = await groupWaiting(world.db, {}, { mostGrouped: 1 });
  expect(waiting).toMatchObject({ complete: false, items: [{ reason: 'user', count: 1, users: 1 }] });
  // A user's own are found, however old.
  expect(await groupWaiting(world.db, { user: 'auth0|u3' }, { mostGrouped: 1 })).toMatchObject({
    ...{ complete: true, items: [{ reason: 'dead-letter', count: 1 }] },
  });
  expect(await groupWaiting(world.db, {}, { mostGrouped: 4 })).toMatchObject({ complete: true });
});

test('what was done with a dead letter is looked for among the last 20,000 acts', async () => {
  const done = () => actsOn(world.db, 4_711);
  await world.sql`
    insert into audit (who, verb, scope, dry_run) values ('ann', 'discard', '{"ids":[1,4711],"reason":"x"}', false)`;
  const others = (n: number) => world.sql`
    insert into audit (who, verb, scope, dry_run) select 'ann', 'hold', '{}', false from generate_series(1, ${n}::int)`;
  await others(19_999);
  expect(await done()).toMatchObject([{ who: 'ann', verb: 'discard', reason: 'x' }]);
  await others(1);
  expect(await done()).toEqual([]);
});

describe('the live numbers', () => {
  test.each([10, 60, 300, 900])(
    'with the flow of the last %d s, as far as this process is that old',
    async (window) => {
      const { flow, counts } = await get(`/stats?window=${window}`, contract.Stats);
      expect(flow.window).toBeGreaterThanOrEqual(1);
      expect(flow.window).toBeLessThanOrEqual(window);
      expect(counts).toMatchObject({ suspended: 1 });
    },
  );
  test.each(['window=59', 'window=0', 'window=1h', 'window=', 'samples=-1', 'samples=201', 'since=60'])(
    '%s is refused, with what may be asked',
    async (query) => {
      const { errors } = expectProblem(await api(`/stats?${query}`), 'invalid-request', 400);
      expect(errors).not.toEqual([]);
    },
  );
  test('without samples, for whoever asks again and again', async () => {
    await until(async () => {
      service.tick();
      expect((await get('/stats', contract.Stats)).series).not.toEqual([]);
    });
    expect((await get('/stats?window=60&samples=0', contract.Stats)).series).toEqual([]);
    expect((await get('/stats?samples=1', contract.Stats)).series).toHaveLength(1);
  });
});

test('machine, session, live numbers, holds, partitions, jobs, audit', async () => {
  await get('/machine', contract.MachineView);
  await get('/session', contract.Session);
  await get('/stats', contract.Stats);
  await get('/holds', contract.Holds);
  const { items } = await get('/partitions', contract.Partitions);
  expect(items.map(({ topic, partition, position }) => `${topic}/${partition}@${position}`)).toContain(
    'user-events/0@12',
  );
  await get('/jobs', page(contract.JobRow));
  await get('/audit', page(contract.AuditItem));
});
