import { describe, expect, test } from 'vitest';
import { route } from '../../src/route.ts';
import { partition, USER } from '../support/events.ts';

describe('a batch, by user', () => {
  test('each user’s events stay in the order of their offsets, users in the order in which they come', () => {
    const p = partition();
    const [a1, b1, a2, a3] = [p.created(), p.created({}, { userId: 'auth0|u2' }), p.status('ACTIVE'), p.deleted()];
    const { users, records } = route([a1, b1, a2, a3]);
    expect([...users]).toEqual([
      [USER, [a1, a2, a3]],
      ['auth0|u2', [b1]],
    ]);
    expect(records).toBe(4);
  });

  test('customers are apart: they take effect first', () => {
    const p = partition();
    const [user, one, two] = [p.created(), p.customer('c1'), p.customer('c2')];
    const routed = route([user, one, two]);
    expect([[...routed.users.keys()], routed.customers]).toEqual([[USER], [one, two]]);
  });

  test('a dead letter that blocks stands among its user’s events, any other stops nobody', () => {
    const p = partition();
    const [first, blocks, garbage, last] = [
      p.status('ACTIVE'),
      p.unknownVersion('USER_DELETED'),
      p.garbage(),
      p.deleted(),
    ];
    const nobody = { ...p.unknownVersion('USER_DELETED'), userId: null };
    const named = { ...p.garbage(), userId: USER };
    const routed = route([first, blocks, garbage, last, nobody, named]);
    expect(routed.users.get(USER)).toEqual([first, blocks, last]);
    expect(routed.unreadable).toEqual([garbage, nobody, named]);
  });

  test('records without a usable key are counted, readable or not', () => {
    const p = partition();
    const events = [p.created(), { ...p.status('ACTIVE'), keyed: false }, { ...p.garbage(), keyed: false }];
    expect(route(events)).toMatchObject({ unkeyed: 2, records: 3 });
  });

  test('an empty batch', () => {
    const { users, ...rest } = route([]);
    expect([users.size, rest]).toEqual([0, { customers: [], unreadable: [], unkeyed: 0, records: 0 }]);
  });

  test.each(['__proto__', 'constructor', 'toString'])('a user called %s is a user like any other', (userId) => {
    const event = partition().status('ACTIVE', { userId });
    expect(route([event]).users.get(userId)).toEqual([event]);
  });
});
