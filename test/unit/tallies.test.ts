// What one result adds to the totals. That the sums are what counting gives: streams.test.ts.
import { describe, expect, test } from 'vitest';
import type { Decoded } from '../../src/events.ts';
import type { UserRow } from '../../src/put.ts';
import { route } from '../../src/route.ts';
import { type Result, type RunOptions, run } from '../../src/run.ts';
import { add, type Tallies, tally, tallyResult } from '../../src/tallies.ts';
import { partition, USER } from '../support/events.ts';

function ranOf(events: readonly Decoded[], row?: UserRow, over: Partial<RunOptions> = {}) {
  const loaded = {
    users: new Map([[USER, { row, waiting: 0, blocking: 0, creationWaits: false }]]),
    ...{
      customers: new Map(),
      known: new Set(['c1']),
      holds: { users: new Set<string>(), customers: new Set<string>() },
    },
  };
  return run(route(events), loaded, { waitingPerUser: 9, ...over });
}
const created = () => ranOf([partition().created()]).users[0]?.row as UserRow;

describe('a batch adds', () => {
  test('records, events by type and outcome, transitions, and the net change of users per state', () => {
    const p = partition();
    const events = [p.created(), p.status('ACTIVE', { previousStatus: 'SUSPENDED' }), p.status('ACTIVE'), p.deleted()];
    expect(tally(ranOf(events))).toEqual({
      records: 4,
      'event|USER_CREATED|applied': 1,
      'event|USER_STATUS_CHANGED|applied': 1,
      'event|USER_STATUS_CHANGED|skipped': 1,
      'event|USER_DELETED|applied': 1,
      'transition|absent|USER_CREATED|0': 1,
      'transition|pending|USER_STATUS_CHANGED|2': 1,
      'transition|active|USER_DELETED|0': 1,
      'drift|USER_STATUS_CHANGED': 1,
      'state|deleted': 1,
    });
  });

  test('a user that moves leaves its state', () => {
    expect(tally(ranOf([partition().status('ACTIVE')], created()))).toMatchObject({
      'state|pending': -1,
      'state|active': 1,
    });
  });

  test('a user that stays moves nobody: a role written in place', () => {
    expect(tally(ranOf([partition().role('SME_USER')], created()))).toEqual({
      records: 1,
      'event|USER_ROLE_CHANGED|applied': 1,
      'transition|pending|USER_ROLE_CHANGED|1': 1,
    });
  });

  test('a customer has no transition and no state', () => {
    expect(tally(ranOf([partition().customer('c9')]))).toEqual({ records: 1, 'event|CUSTOMER_CREATED|applied': 1 });
  });

  test('what waits, and dead letters by their code, those without a type too', () => {
    const p = partition();
    expect(tally(ranOf([p.status('ACTIVE'), p.garbage(), p.unknownVersion('USER_DELETED')]))).toEqual({
      records: 3,
      'event|USER_STATUS_CHANGED|waiting': 1,
      'event|_OTHER|dead': 1,
      'event|USER_DELETED|dead': 1,
      'dead|json': 1,
      'dead|unknown-version': 1,
    });
  });

  test('records without a key, where there are any', () => {
    expect(tally(ranOf([{ ...partition().created(), keyed: false }]))).toMatchObject({ unkeyed: 1 });
    expect(tally(ranOf([partition().created()]))).not.toHaveProperty('unkeyed');
    expect(tally(ranOf([]))).toEqual({});
  });
});

describe('they are stocks', () => {
  test('a result taken away again leaves nothing', () => {
    const p = partition();
    const { results } = ranOf([p.created(), p.status('ACTIVE'), p.garbage(), p.role('SME_USER')]);
    const tallies: Tallies = {};
    for (const result of results) tallyResult(tallies, result, 1);
    expect(Object.keys(tallies).length).toBeGreaterThan(5);
    for (const result of results as Result[]) tallyResult(tallies, result, -1);
    expect(tallies).toEqual({});
  });

  test('a sum of 0 is no key', () => {
    const tallies: Tallies = {};
    add(tallies, 'a', 1);
    add(tallies, 'a', 2);
    expect(tallies).toEqual({ a: 3 });
    add(tallies, 'a', -3);
    expect(tallies).toEqual({});
  });
});
