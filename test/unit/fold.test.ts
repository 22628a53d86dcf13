// A history folded is the row again, and whatever is not as the history leads to is found. Pages and queries: test/integration.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as today from '../../machines/index.ts';
import { MACHINE, type Machine, machineOf } from '../../machines/index.ts';
import type { UserEvent } from '../../src/events.ts';
import { differencesOfRow, differencesOfStep, fold, type Step } from '../../src/fold.ts';
import { put, type UserRow } from '../../src/put.ts';
import { differencesOfUser } from '../../src/verify.ts';
import { type Partition, partition, USER } from '../support/events.ts';
import { AT_MS } from '../support/records.ts';

type Sent = { event: UserEvent; forced?: boolean; customerKnown?: boolean };

/** What the service would have saved: the row, and the history as it is read back. What would wait is not put. */
function save(sent: readonly Sent[], machineAt: (i: number) => Machine = () => MACHINE) {
  let row: UserRow | undefined;
  const steps: Step[] = [];
  sent.forEach(({ event, forced = false, customerKnown = true }, i) => {
    const machine = machineAt(i);
    const result = put(row, event, customerKnown, { forced, machine });
    if ('reason' in result) return;
    row = result.row;
    const { outcome, version, from, to, transition, drift, facts } = result.settled;
    const { topic, partition, generation } = event.place;
    steps.push({
      ...{ version: version as number, type: event.type, outcome, from, to, transition, drift },
      ...{ payload: JSON.parse(event.text), facts: JSON.parse(JSON.stringify(facts)) },
      ...{ topic, partition, generation, offset: String(event.record.offset) },
      ...{ occurredAtMs: event.occurredAtMs, recordedAtMs: event.occurredAtMs, machineVersion: machine.version },
    });
  });
  return { row, steps };
}
const saved = (row: UserRow | undefined, steps: Step[]) => ({ userId: USER, steps, saved: row, queued: 0 });
const differences = (row: UserRow | undefined, steps: Step[], machine = MACHINE) =>
  differencesOfUser(saved(row, steps), machine);

// Streams of one user over two sources

const said = fc.record({
  kind: fc.constantFrom('created', 'status', 'status', 'status', 'role', 'role', 'role', 'again', 'deleted'),
  source: fc.nat(1),
  status: fc.constantFrom('PENDING', 'ACTIVE', 'ACTIVE', 'SUSPENDED', 'INACTIVE'),
  role: fc.constantFrom('SME_USER', 'SME_OWNER', 'INSTITUTION_ADMIN', 'CUSTOMER_ADMIN'),
  previous: fc.constantFrom('ACTIVE', 'SME_USER', 'UNKNOWN'),
  /** Their clocks disagree. */
  at: fc.integer({ min: -20, max: 20 }),
  /** An hour before its record. */
  ahead: fc.constantFrom(false, false, false, true),
  forced: fc.constantFrom(false, false, true),
});
type Said = typeof said extends fc.Arbitrary<infer T> ? T : never;

function make(list: readonly Said[]): Sent[] {
  const sources = [partition(0), partition(1, { generation: 2 })] as const;
  const sent: Sent[] = [{ event: sources[0].created({ userType: 'SME_USER' }, { at: 0 }) }];
  for (const each of list) {
    const { source, at, ahead, forced } = each;
    const when = { at, ...(ahead ? { timestampMs: AT_MS - 3_600_000 } : {}) };
    sent.push({ event: eventOf(sources[source as 0 | 1], each, when, sent.at(-1)?.event as UserEvent), forced });
  }
  return sent;
}
function eventOf(p: Partition, { kind, status, role, previous }: Said, when: object, last: UserEvent): UserEvent {
  if (kind === 'created') return p.created({ name: 'Other' }, when);
  if (kind === 'status') return p.status(status as 'ACTIVE', { ...when, previousStatus: previous });
  if (kind === 'role') return p.role(role as 'SME_USER', { ...when, previousRole: previous });
  if (kind === 'deleted') return p.deleted(when);
  // The event before it, sent a second time, by whichever partition.
  const again = p.status('ACTIVE', when);
  return { ...last, place: again.place, source: again.source, record: again.record } as UserEvent;
}
const streams = fc.array(said, { maxLength: 30 });

describe('a history, folded', () => {
  test('is the row that its events led to, and each step what was saved of it', () => {
    const met = new Set<string>();
    fc.assert(
      fc.property(streams, (list) => {
        const { row, steps } = save(make(list));
        const wrong: string[] = [];
        const folded = fold(USER, steps, MACHINE, (step, refolded, wroteIt) => {
          expect(wroteIt).toBe(true);
          wrong.push(...differencesOfStep(step, refolded));
          met.add(step.outcome);
          for (const fact of Object.keys(step.facts)) met.add(fact);
          if (step.drift) met.add('drift');
        });
        expect(folded).toEqual(row);
        expect(wrong).toEqual([]);
        expect(differences(row, steps)).toBeUndefined();
      }),
      { numRuns: 1_000 },
    );
    // A run that never met it shows nothing.
    expect([...met].sort()).toEqual(
      [
        ...['applied', 'duplicate', 'rejected', 'skipped', 'stale', 'drift'],
        ...['hash', 'atMs', 'customerKnown', 'roleIsNewer', 'statusIsNewer', 'forced'],
      ].sort(),
    );
  });

  test('of nothing is no user', () => {
    expect(fold(USER, [], MACHINE)).toBeUndefined();
  });
});

/** One event of everything that a row and a step can hold. */
function rich() {
  const [a, b, c] = [partition(0), partition(1, { generation: 2 }), partition(2)] as const;
  return save([
    { event: a.created({ userType: 'SME_USER' }, { at: 0 }) },
    { event: b.role('SME_OWNER', { at: 50, previousRole: 'CUSTOMER_USER' }) }, // 2: drifted
    { event: a.status('ACTIVE', { at: 10 }) }, // 3: roleIsNewer
    { event: a.status('SUSPENDED', { at: 20, timestampMs: AT_MS - 3_600_000 }) }, // 4: its clock is ahead: atMs
    { event: c.status('ACTIVE', { at: -9_999 }), forced: true }, // 5: late, and applied all the same
    { event: c.status('PENDING', { at: -9_999 }) }, // 6: stale
    { event: b.role('INSTITUTION_ADMIN', { at: -5_000 }) }, // 7: statusIsNewer
    { event: a.created({}, { at: 60 }) }, // 8: skipped
    { event: a.deleted({ at: 70 }) },
    { event: a.status('ACTIVE', { at: 80 }) }, // 10: rejected
  ]);
}

describe('what was changed afterwards is found', () => {
  test('the story is sound, and has all that is changed below', () => {
    const { row, steps } = rich();
    expect(differences(row, steps)).toBeUndefined();
    expect(steps.map(({ outcome, to }) => `${outcome} ${to}`)).toEqual([
      ...['applied pending', 'applied pending', 'applied roleChanged', 'applied suspended', 'applied roleChanged'],
      ...['stale roleChanged', 'applied roleChanged', 'skipped roleChanged', 'applied deleted', 'rejected deleted'],
    ]);
    expect(steps.map(({ facts: { hash, ...facts } }) => Object.keys(facts).join())).toEqual(
      ['customerKnown', '', 'roleIsNewer', 'atMs', 'forced,roleIsNewer', '', 'statusIsNewer', '', '', ''].map((keys) =>
        expect.stringContaining(keys.split(',')[0] as string),
      ),
    );
    expect(Object.values(row as UserRow)).not.toContain(null);
  });

  /** Of each field another value of its kind. */
  const OTHER: { [F in Exclude<keyof UserRow, 'rev' | 'waiting' | 'machineVersion'>]: UserRow[F] } = {
    ...{ userId: 'auth0|u2', state: 'active', version: 11, customerId: 'c2', email: 'eve@example.com', name: 'Eve' },
    ...{ role: 'CUSTOMER_USER', userType: 'SME', isCompanyOwner: false, sourceRole: 'other' },
    ...{ statusAtMs: 1, statusSource: 'user-events/9', statusOffset: '99' },
    ...{ roleAtMs: 1, roleSource: 'user-events/9', roleOffset: '99', ring: '\\x0123456789abcdef' },
    ...{ createdAt: '2025-01-31 09:30:00.001+00', deletedAt: null },
  };
  test.each(Object.keys(OTHER) as (keyof typeof OTHER)[])('%s of the row', (field) => {
    const { row, steps } = rich();
    const changed = { ...(row as UserRow), [field]: OTHER[field] };
    expect(changed[field]).not.toEqual(row?.[field]);
    expect(differences(changed, steps)).toEqual({ missing: null, fields: [field], steps: 0, first: null });
  });

  test('one bit of the ring', () => {
    const { row, steps } = rich();
    const ring = (row as UserRow).ring.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'));
    expect(differences({ ...(row as UserRow), ring }, steps)).toMatchObject({ fields: ['ring'] });
  });

  test('every field of a row is changed by these tests', () => {
    const { row } = rich();
    expect(Object.keys(row as UserRow).sort()).toEqual(
      [...Object.keys(OTHER), 'rev', 'waiting', 'machineVersion'].sort(),
    );
  });

  test('how many wait: counted from what waits, whatever the row says', () => {
    const { row, steps } = rich();
    expect(differencesOfUser({ ...saved(row, steps), queued: 3 }, MACHINE)).toMatchObject({ fields: ['waiting'] });
    const waiting = { ...(row as UserRow), waiting: 3 };
    expect(differencesOfUser({ ...saved(waiting, steps), queued: 3 }, MACHINE)).toBeUndefined();
  });

  test('rev, and the way a time is written, are no difference', () => {
    const { row, steps } = rich();
    const other = { ...(row as UserRow), rev: 99, createdAt: '2025-01-31 11:30:00+02' };
    expect(differences(other, steps)).toBeUndefined();
  });

  /** What the machine decided: every step, changed in each. */
  test.each([
    ['outcome', ({ outcome }: Step) => ({ outcome: outcome === 'stale' ? 'applied' : 'stale' })],
    ['version', ({ version }: Step) => ({ version: version + 1 })],
    ['from', ({ from }: Step) => ({ from: from === 'active' ? 'pending' : 'active' })],
    ['to', ({ to }: Step) => ({ to: to === 'active' ? 'pending' : 'active' })],
    ['transition', ({ transition }: Step) => ({ transition: transition === null ? 'a|B|0' : null })],
    ['drift', ({ drift }: Step) => ({ drift: !drift })],
  ] as const)('%s of any step, which is named', (field, change) => {
    const { row, steps } = rich();
    steps.forEach((step, i) => {
      const changed = steps.with(i, { ...step, ...change(step) });
      expect(differences(row, changed)).toMatchObject({
        missing: null,
        fields: [],
        steps: 1,
        first: { step: i + 1, type: step.type, topic: step.topic, offset: step.offset, fields: [field] },
      });
    });
  });

  /** What the machine was told: a step in which it counts, from 1. */
  test.each([
    ['type', 3, { type: 'USER_DELETED' }],
    ['payload', 1, { payload: { userType: 'SME_USER', email: 'eve@example.com', name: 'Eve', role: 'OWNER' } }],
    ['hash', 1, { facts: { hash: '0123456789abcdef', customerKnown: true } }],
    ['atMs', 4, { facts: { hash: 'same' } }],
    ['customerKnown', 1, { facts: { hash: 'same' } }],
    ['roleIsNewer', 3, { facts: { hash: 'same' } }],
    ['statusIsNewer', 7, { facts: { hash: 'same' } }],
    ['forced', 5, { facts: { hash: 'same', roleIsNewer: true } }],
    ['topic', 7, { topic: 'other' }],
    ['partition', 7, { partition: 7 }],
    ['generation', 7, { generation: 0 }],
    ['offset', 7, { offset: '77' }],
    ['occurredAtMs', 9, { occurredAtMs: AT_MS }],
  ] as [string, number, Partial<Step>][])('%s of step %i', (_, number, over) => {
    const { row, steps } = rich();
    const step = steps[number - 1] as Step;
    const facts = { ...step.facts, ...over.facts };
    if (over.facts?.hash === 'same') Object.assign(over.facts, { hash: step.facts.hash });
    const changed = steps.with(number - 1, { ...step, facts, ...over });
    expect(differences(row, changed)).toBeDefined();
  });

  test.each(['customerKnown', 'roleIsNewer', 'statusIsNewer', 'forced'] as const)('%s where it was not so', (fact) => {
    const { row, steps } = rich();
    const step = steps[7] as Step;
    const changed = steps.with(7, { ...step, facts: { ...step.facts, [fact]: true } });
    expect(differences(row, changed)).toMatchObject({ fields: [], steps: 1, first: { step: 8, fields: ['facts'] } });
  });

  test('a step that is gone, wherever it was; the number of the first that does not fit is told', () => {
    const { row, steps } = rich();
    steps.forEach((_, i) => {
      const found = differences(row, steps.toSpliced(i, 1));
      // Without its creation there is no user at all.
      expect(found?.fields).toContain(i === 0 ? 'state' : 'version');
      if (i < steps.length - 1)
        expect(found?.first).toMatchObject({ step: i + 1, fields: expect.arrayContaining(['version']) });
    });
  });

  test('a row without a history, a history without a row', () => {
    const { row, steps } = rich();
    expect(differences(row, [])).toEqual({ missing: 'history', fields: [], steps: 0, first: null });
    expect(differences(undefined, steps)).toEqual({ missing: 'row', fields: [], steps: 0, first: null });
  });
});

/** Today's under another number, in which ACTIVE leads to `suspended`. */
function version(number: number, over: { past?: Record<number, Machine>; turned?: boolean } = {}): Machine {
  const machine = machineOf({ ...today, VERSION: number, PAST: {} });
  const step: Machine['table']['step'] = (...args) => {
    const result = MACHINE.table.step(...args);
    return result?.state === 'active' ? { ...result, state: 'suspended' } : result;
  };
  return { ...machine, past: over.past ?? {}, table: over.turned ? { ...machine.table, step } : machine.table };
}

describe('a history of several versions', () => {
  const one = version(1);
  const two = version(2, { turned: true, past: { 1: one } });
  const sent = () => {
    const p = partition();
    return [
      { event: p.created() },
      { event: p.status('ACTIVE') },
      { event: p.status('PENDING') },
      { event: p.status('ACTIVE') },
    ];
  };

  test('is folded with the machine that wrote each step, where that is kept', () => {
    const { row, steps } = save(sent(), (i) => (i < 2 ? one : two));
    expect(steps.map(({ to }) => to)).toEqual(['pending', 'active', 'pending', 'suspended']);
    expect(fold(USER, steps, two)).toEqual(row);
    expect(differences(row, steps, two)).toBeUndefined();
    // The same steps, and the past forgotten: what the old machine did is taken for what the new one does.
    const wrote: boolean[] = [];
    fold(USER, steps, { ...two, past: {} }, (_, __, wroteIt) => wrote.push(wroteIt));
    expect(wrote).toEqual([false, false, true, true]);
  });

  test('without its past, what an older machine wrote is not compared step by step; the row is', () => {
    const { row, steps } = save(sent().slice(0, 2), () => one);
    expect(differences(row, steps, { ...two, past: {} })).toEqual({
      missing: null,
      fields: ['state'],
      steps: 0,
      first: null,
    });
    expect(differences(row, steps, two)).toBeUndefined();
    // A gap is one, whoever wrote around it.
    expect(differences(undefined, steps.slice(1), { ...two, past: {} })).toMatchObject({
      first: { step: 1, fields: ['version'] },
    });
  });

  test('a past machine does not go on with a user that a newer one had already', () => {
    const { row, steps } = save(sent(), (i) => (i < 3 ? two : one));
    // A rolling deploy lets old processes wait, so this order is damage: it is folded on with the newer one.
    expect(fold(USER, steps, two)?.state).toBe('suspended');
    expect(row?.machineVersion).toBe(2);
  });

  test('a machine of a module with a PAST is compiled with it', () => {
    const module = { ...today, VERSION: 2, PAST: { 1: { ...today, VERSION: 1 } } };
    const { hash } = machineOf({ ...today, VERSION: 1, PAST: {} });
    expect(machineOf(module).past[1]).toMatchObject({ version: 1, hash });
  });
});

describe('a machine that throws', () => {
  const throws: Machine = {
    ...MACHINE,
    table: {
      ...MACHINE.table,
      step(state, context, event) {
        if (event.type === 'USER_ROLE_CHANGED') throw new TypeError('no such role');
        return MACHINE.table.step(state, context, event);
      },
    },
  };

  test('makes its step dead, and the fold goes on from the row before it', () => {
    const { steps } = rich();
    const told: string[] = [];
    const row = fold(USER, steps, throws, (_, { outcome, from, to, version }) =>
      told.push(`${outcome} ${from} ${to} ${version}`),
    );
    expect(told.slice(0, 3)).toEqual([
      'applied absent pending 1',
      'dead pending null null',
      'applied pending active 2',
    ]);
    expect(row?.version).toBe(steps.length - 2);
  });

  test('a creation that is not taken: dead or waiting, and no user', () => {
    const { steps } = rich();
    const [creation] = steps as [Step];
    const told: string[] = [];
    const tell = (_: Step, { outcome }: { outcome: string }) => void told.push(outcome);
    const step = () => {
      throw new Error('never');
    };
    expect(fold(USER, [creation], { ...MACHINE, table: { ...MACHINE.table, step } }, tell)).toBeUndefined();
    const refused = { ...creation, facts: { hash: creation.facts.hash } };
    expect(fold(USER, [refused], MACHINE, tell)).toBeUndefined();
    expect(told).toEqual(['dead', 'waiting']);
  });

  test('a row that no migration brings up to the machine differs in its machineVersion', () => {
    const { row, steps } = save([{ event: partition().created() }]);
    const migrations = {
      [today.VERSION]: () => {
        throw new Error('no way');
      },
    };
    const next = { ...version(today.VERSION + 1), migrations };
    expect(differencesOfRow(row as UserRow, fold(USER, steps, next) as UserRow, next)).toEqual(['machineVersion']);
  });
});
