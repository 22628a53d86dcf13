// Saved users of an older machine version: brought up to this one where an event is put to them, whole or not at all.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as today from '../../machines/index.ts';
import { type Machine, type Migration, machineOf, NOBODY, type State } from '../../machines/index.ts';
import { putOrBury } from '../../src/bury.ts';
import type { UserEvent } from '../../src/events.ts';
import { differencesOfRow, fold, type Step } from '../../src/fold.ts';
import { put, type Settled, type UserRow, upToDate } from '../../src/put.ts';
import { route } from '../../src/route.ts';
import { run } from '../../src/run.ts';
import { tally } from '../../src/tallies.ts';
import { partition, USER } from '../support/events.ts';

/** Today's definition under another number, with these steps to it. */
function version(number: number, migrations: Record<number, Migration> = {}, past: Record<number, object> = {}) {
  return machineOf({ ...today, VERSION: number, MIGRATIONS: migrations, PAST: past });
}
const rename =
  (from: string, to: string): Migration =>
  (user) =>
    user.state === from ? { ...user, state: to } : user;

/** An institution's admin that version 1 suspended. */
const SAVED: UserRow = {
  ...NOBODY,
  ...{ userId: USER, customerId: 'c1', email: 'ada@example.com', name: 'Ada', sourceRole: 'OWNER' },
  ...{ role: 'CUSTOMER_ADMIN', userType: 'FINANCIAL_INSTITUTION', isCompanyOwner: true },
  ...{ state: 'suspended', version: 2, ring: '\\x', waiting: 0, rev: 7, machineVersion: 1 },
  ...{ statusAtMs: null, statusSource: null, statusOffset: null, roleAtMs: null, roleSource: null, roleOffset: null },
  ...{ createdAt: '2025-01-31T09:30:00.000Z', deletedAt: null },
};

function settledBy(row: UserRow, event: UserEvent, machine: Machine): { row: UserRow; settled: Settled } {
  const result = put(row, event, true, { machine });
  if ('reason' in result) throw new Error(`waits for its ${result.reason}`);
  return result;
}
const talliesOf = (...results: Settled[]) => tally({ results, records: 0, unkeyed: 0 });
const stateTallies = (...results: Settled[]) =>
  Object.fromEntries(Object.entries(talliesOf(...results)).filter(([key]) => key.startsWith('state|')));

describe('an event of a user that an older version saved', () => {
  const promote: Migration = ({ state, context }) => ({
    state: state === 'suspended' ? 'pending' : state,
    context: { ...context, role: 'CUSTOMER_USER', isCompanyOwner: false },
  });
  const two = version(2, { 1: promote });

  test('meets the state and the context of today, and leaves the row at this version', () => {
    const { row, settled } = settledBy(SAVED, partition().status('ACTIVE'), two);
    expect(settled).toMatchObject({ outcome: 'applied', from: 'pending', to: 'active', migratedFrom: 'suspended' });
    expect(row).toMatchObject({ state: 'active', role: 'CUSTOMER_USER', isCompanyOwner: false, machineVersion: 2 });
    expect(row.version).toBe(SAVED.version + 1);
  });

  test('what the migration does not name stays: marks, ring, what waits, the rev', () => {
    const marked = { ...SAVED, statusAtMs: 5, statusSource: 'user-events/3', statusOffset: '9', waiting: 4 };
    expect(upToDate(marked, two)).toEqual({
      ...marked,
      ...{ state: 'pending', role: 'CUSTOMER_USER', isCompanyOwner: false, machineVersion: 2 },
    });
  });

  test('guards see the migrated context: the role is not the same any more', () => {
    expect(settledBy(SAVED, partition().role('CUSTOMER_ADMIN'), version(2)).settled.outcome).toBe('skipped');
    expect(settledBy(SAVED, partition().role('CUSTOMER_ADMIN'), two).settled.outcome).toBe('applied');
  });

  test('the saved row itself is left as it was: it may be remembered', () => {
    const before = structuredClone(SAVED);
    const careless: Migration = (user) => {
      user.context.name = 'Somebody';
      user.state = 'pending';
      return user;
    };
    expect(upToDate(SAVED, version(2, { 1: careless }))).toMatchObject({ name: 'Somebody', state: 'pending' });
    expect(SAVED).toEqual(before);
  });

  test('a duplicate, a rejected and a skipped one bring it up too: each writes the row', () => {
    const p = partition();
    const event = p.status('SUSPENDED');
    const dead = { ...SAVED, state: 'active' as const };
    const toDeleted = version(2, { 1: rename('active', 'deleted') });
    expect(settledBy({ ...SAVED, ring: `\\x${event.hash}` }, event, two)).toMatchObject({
      settled: { outcome: 'duplicate', from: 'pending', to: 'pending', migratedFrom: 'suspended' },
      row: { state: 'pending', machineVersion: 2, role: 'CUSTOMER_USER' },
    });
    expect(settledBy(dead, event, toDeleted)).toMatchObject({
      settled: { outcome: 'rejected', from: 'deleted', migratedFrom: 'active' },
      row: { state: 'deleted', machineVersion: 2 },
    });
    expect(settledBy(SAVED, p.status('PENDING'), two)).toMatchObject({
      settled: { outcome: 'skipped', from: 'pending', to: 'pending', migratedFrom: 'suspended' },
      row: { state: 'pending', machineVersion: 2 },
    });
  });

  test('a late one too, though it is stale', () => {
    const late = { ...SAVED, statusAtMs: Number.MAX_SAFE_INTEGER, statusSource: 'user-events/9', statusOffset: '0' };
    expect(settledBy(late, partition().status('ACTIVE'), two)).toMatchObject({
      settled: { outcome: 'stale', migratedFrom: 'suspended' },
      row: { state: 'pending', machineVersion: 2 },
    });
  });

  test('the next one is migrated no more', () => {
    const p = partition();
    const first = settledBy(SAVED, p.status('PENDING'), two);
    expect(settledBy(first.row, p.status('ACTIVE'), two).settled.migratedFrom).toBeNull();
  });

  test('where no state changes, there is nothing to correct', () => {
    const raised = settledBy(SAVED, partition().status('SUSPENDED'), version(2));
    expect(raised).toMatchObject({ settled: { migratedFrom: null }, row: { machineVersion: 2, state: 'suspended' } });
    expect(stateTallies(raised.settled)).toEqual({});
  });
});

describe('the running totals', () => {
  test('follow a user through migration and event: it is counted in one state, the last', () => {
    const two = version(2, { 1: rename('suspended', 'pending') });
    const p = partition();
    const first = settledBy(SAVED, p.status('ACTIVE'), two);
    const second = settledBy(first.row, p.status('SUSPENDED'), two);
    expect(stateTallies(first.settled)).toEqual({ 'state|suspended': -1, 'state|active': 1 });
    expect(stateTallies(first.settled, second.settled)).toEqual({}); // suspended again
  });

  test('no user is won or lost by any migration and any events', () => {
    const states = ['pending', 'active', 'suspended', 'roleChanged', 'deleted'] as const;
    const change = fc.record({ from: fc.constantFrom(...states), to: fc.constantFrom(...states) });
    fc.assert(
      fc.property(
        fc.constantFrom(...states),
        fc.array(change, { maxLength: 4 }),
        fc.array(fc.constantFrom('PENDING', 'ACTIVE', 'SUSPENDED', 'role', 'created', 'deleted'), { maxLength: 6 }),
        (state, changes, words) => {
          const machine = version(
            changes.length + 1,
            Object.fromEntries(changes.map(({ from, to }, i) => [i + 1, rename(from, to)])),
          );
          const p = partition();
          let row: UserRow = { ...SAVED, state };
          const results = words.map((word) => {
            const event =
              word === 'role'
                ? p.role('SME_USER')
                : word === 'created' || word === 'deleted'
                  ? p[word]()
                  : p.status(word as 'PENDING');
            const result = settledBy(row, event, machine);
            row = result.row;
            return result.settled;
          });
          const moved = row.state === state ? {} : { [`state|${state}`]: -1, [`state|${row.state}`]: 1 };
          expect(stateTallies(...results)).toEqual(moved);
        },
      ),
    );
  });
});

describe('several versions behind', () => {
  test('every step between is taken, in order; a version without a function changes nothing (G2)', () => {
    const four = version(4, { 1: rename('suspended', 'pending'), 3: rename('pending', 'active') });
    expect(upToDate(SAVED, four)).toMatchObject({ state: 'active', machineVersion: 4 });
    expect(upToDate({ ...SAVED, machineVersion: 2 }, four)).toMatchObject({ state: 'suspended', machineVersion: 4 });
    expect(settledBy(SAVED, partition().status('ACTIVE'), four).settled).toMatchObject({
      ...{ outcome: 'skipped', from: 'active', migratedFrom: 'suspended' },
    });
  });

  test('a state that only versions between had is passed through', () => {
    const three = version(3, { 1: rename('suspended', 'frozen'), 2: rename('frozen', 'pending') });
    expect(upToDate(SAVED, three)).toMatchObject({ state: 'pending', machineVersion: 3 });
  });

  test('one step at a time or all at once: the same row', () => {
    const state = fc.constantFrom<State>('pending', 'active', 'suspended', 'roleChanged', 'deleted');
    const step = fc.option(
      fc.record({ map: fc.dictionary(state, state), name: fc.string(), isCompanyOwner: fc.boolean() }),
      { nil: undefined },
    );
    fc.assert(
      fc.property(state, fc.array(step, { minLength: 1, maxLength: 5 }), fc.nat(4), (state, steps, cut) => {
        const migrations = Object.fromEntries(
          steps.flatMap((given, i) => {
            const migration: Migration = (user) => ({
              state: given?.map[user.state as State] ?? user.state,
              context: { ...user.context, name: `${user.context.name}${given?.name}`, isCompanyOwner: false },
            });
            return given === undefined ? [] : [[i + 1, migration]];
          }),
        );
        const last = steps.length + 1;
        const row = { ...SAVED, state } as UserRow;
        const atOnce = upToDate(row, version(last, migrations));
        let inSteps = row;
        for (let number = 2; number <= last; number++) inSteps = upToDate(inSteps, version(number, migrations));
        expect(inSteps).toEqual(atOnce);
        const between = upToDate(row, version(1 + Math.min(cut, steps.length), migrations));
        expect(upToDate(between, version(last, migrations))).toEqual(atOnce);
      }),
    );
  });
});

describe('a migration that fails', () => {
  const throws = version(2, {
    1: () => {
      throw new TypeError('Ada can not be migrated');
    },
  });

  test('makes the event a dead letter behind which the user waits, and quotes nothing', () => {
    const event = partition().status('ACTIVE');
    const dead = putOrBury(SAVED, event, true, { machine: throws });
    expect(dead).toMatchObject({ outcome: 'dead', stage: 'run', code: 'transition', class: 'TypeError', blocks: true });
    expect(dead).toMatchObject({ userId: USER, userVersion: SAVED.version });
    expect(JSON.stringify({ ...dead, event: undefined })).not.toContain('Ada');
  });

  test('leaves the row as it was', () => {
    const before = structuredClone(SAVED);
    putOrBury(SAVED, partition().status('ACTIVE'), true, { machine: throws });
    expect(SAVED).toEqual(before);
    expect(() => upToDate(SAVED, throws)).toThrow(TypeError);
  });

  test.each(['absent', 'frozen', ''])('as one that leads to "%s", which is no state of a user', (to) => {
    const machine = version(2, { 1: rename('suspended', to) });
    expect(() => upToDate(SAVED, machine)).toThrow(
      `a user of machine version 1 in state "suspended" has no state in version 2: its migration leads to "${to}"`,
    );
    expect(putOrBury(SAVED, partition().status('ACTIVE'), true, { machine })).toMatchObject({ code: 'transition' });
  });

  test('as a state that is gone and has no migration', () => {
    const lost = { ...SAVED, state: 'frozen' as 'pending' };
    expect(() => upToDate(lost, version(2))).toThrow('in state "frozen" has no state in version 2');
  });
});

describe('a row of a newer version', () => {
  const newer: UserRow = { ...SAVED, machineVersion: 3, state: 'frozen' as 'pending' };

  test('is never touched: it is the same object, whatever the migrations say', () => {
    expect(upToDate(newer, version(2, { 1: rename('suspended', 'pending') }))).toBe(newer);
    expect(upToDate({ ...newer, machineVersion: 2 }, version(2))).toMatchObject({ state: 'frozen' });
  });

  test('its events wait, of every kind, and all that is written is the count of those', () => {
    const p = partition();
    const row = { ...newer, machineVersion: today.VERSION + 1 };
    const events = [p.status('ACTIVE'), p.role('SME_USER'), p.created(), p.deleted()];
    const users = new Map([[USER, { row, waiting: 0, blocking: 0, creationWaits: false }]]);
    const around = {
      customers: new Map(),
      known: new Set<string>(),
      holds: { users: new Set(), customers: new Set() },
    };
    const ran = run(route(events), { users, ...around } as never, { waitingPerUser: 10 });
    expect(ran.results.map((result) => 'reason' in result && result.reason)).toEqual(Array(4).fill('machine'));
    expect(ran.users).toEqual([{ row: { ...row, waiting: 4, rev: row.rev + 1 }, readRev: row.rev }]);
    expect(Object.keys(ran.tallies).filter((key) => !/\|waiting$|^records$/.test(key))).toEqual([]);
  });
});

describe('the fold of a history over two versions', () => {
  /** A row of history, as it is read. */
  function step(event: UserEvent, { settled }: { settled: Settled }, machineVersion: number): Step {
    return {
      ...{ type: event.type, payload: event.payload, outcome: settled.outcome, version: settled.version as number },
      ...{ from: settled.from, to: settled.to, transition: settled.transition, drift: settled.drift },
      ...{ facts: settled.facts, topic: 'user-events', partition: 0, generation: 0, machineVersion },
      ...{ offset: String(event.record.offset), occurredAtMs: event.occurredAtMs, recordedAtMs: event.occurredAtMs },
    };
  }
  /** Version 1 took it to `suspended`; then it was migrated, and version 2 went on with it. */
  function lived(two: Machine) {
    const one = version(1);
    const p = partition();
    let row: UserRow | undefined;
    const steps = [p.created(), p.status('ACTIVE'), p.status('SUSPENDED')].map((event) => {
      const result = put(row, event, true, { machine: one }) as { row: UserRow; settled: Settled };
      row = result.row;
      return step(event, result, 1);
    });
    const migrated = upToDate(row as UserRow, two);
    const last = p.role('SME_USER');
    const result = settledBy(migrated, last, two);
    return { steps, row: row as UserRow, migrated, all: [...steps, step(last, result, 2)], after: result.row };
  }

  test('leads to the migrated row where the old definition is kept: whatever the migration decides', () => {
    const two = version(2, { 1: rename('suspended', 'active') }, { 1: { ...today, VERSION: 1 } });
    const { steps, row, migrated, all, after } = lived(two);
    // As it was saved by version 1, as `machine migrate` left it, and after its next event.
    const folded = fold(USER, steps, two) as UserRow;
    expect(differencesOfRow(row, folded, two)).toEqual([]);
    expect(differencesOfRow(migrated, folded, two)).toEqual([]);
    const wrong: unknown[] = [];
    const whole = fold(USER, all, two, (step, refolded, wroteIt) => {
      if (!wroteIt || step.outcome !== refolded.outcome || step.to !== refolded.to) wrong.push([step, refolded]);
    });
    expect(differencesOfRow(after, whole as UserRow, two)).toEqual([]);
    expect(wrong).toEqual([]);
  });

  test('does not where today’s definition takes the old events elsewhere and the old one is not kept', () => {
    const two = version(2, { 1: rename('suspended', 'active') });
    const { row, steps } = lived(two);
    expect(differencesOfRow(row, fold(USER, steps, two) as UserRow, two)).toEqual(['state']);
  });
});
