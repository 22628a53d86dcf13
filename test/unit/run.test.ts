// What becomes of an event, and of its user: every rule that `run` decides. Properties of whole streams: streams.test.ts;
// all interleavings: model.test.ts; the machine itself: test/machines.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NOBODY, VERSION } from '../../machines/index.ts';
import type { Buried } from '../../src/bury.ts';
import { BrokenInvariant } from '../../src/errors.ts';
import type { Decoded } from '../../src/events.ts';
import { type CustomerRow, isStale, put, type Settled, type UserRow } from '../../src/put.ts';
import { type Routed, route } from '../../src/route.ts';
import { type Loaded, type Ran, type Result, type RunOptions, run } from '../../src/run.ts';
import { countOutcomes, partition, throwing, USER } from '../support/events.ts';
import { AT_MS } from '../support/records.ts';

type Saved = {
  /** Undefined: the user does not exist. Else: what is not the plain active user below. */
  user?: Partial<UserRow> | undefined;
  waiting?: number;
  blocking?: number;
  creationWaits?: boolean;
  customers?: readonly string[];
  rows?: readonly CustomerRow[];
  heldUsers?: readonly string[];
  heldCustomers?: readonly string[];
};

/** An owner of c1, active since AT, by nobody's event. */
const ACTIVE: UserRow = {
  ...NOBODY,
  ...{ userId: USER, customerId: 'c1', email: 'ada@example.com', name: 'Ada', sourceRole: 'OWNER' },
  ...{ role: 'CUSTOMER_ADMIN', userType: 'SME', isCompanyOwner: true },
  ...{ state: 'active', version: 2, ring: '\\x', waiting: 0, rev: 7, machineVersion: VERSION },
  ...{ statusAtMs: null, statusSource: null, statusOffset: null, roleAtMs: null, roleSource: null, roleOffset: null },
  ...{ createdAt: '2025-01-31T09:30:00.000Z', deletedAt: null },
};
const CUSTOMER: CustomerRow = {
  customerId: 'c1',
  name: 'Engines Ltd',
  atMs: AT_MS,
  source: 'user-events/9',
  offset: '0',
  rev: 3,
};

function setup(saved: Saved = {}, over: Partial<RunOptions> = {}) {
  const { user, waiting = 0, blocking = 0, creationWaits = false, customers = ['c1'], rows = [] } = saved;
  const row = user && { ...ACTIVE, ...user };
  const loaded: Loaded = {
    users: new Map([[USER, { row, waiting: waiting + blocking, blocking, creationWaits }]]),
    customers: new Map(rows.map((each) => [each.customerId, each])),
    known: new Set(customers),
    holds: { users: new Set(saved.heldUsers), customers: new Set(saved.heldCustomers) },
  };
  const options = { waitingPerUser: 10_000, ...over };
  return {
    loaded,
    run: (...events: readonly Decoded[]): Ran => run(route(events), loaded, options),
    /** "applied", "waiting order", "dead transition": one per event, in the order of the batch. */
    outcomes(...events: readonly Decoded[]): string[] {
      const { results } = run(route(events), loaded, options);
      return events.map((event) => word(results.find((result) => result.event === event)));
    },
  };
}
function word(result: Result | undefined): string {
  if (result === undefined) return 'nothing';
  if (result.outcome === 'waiting') return `waiting ${result.reason}`;
  return result.outcome === 'dead' ? `dead ${result.code}` : result.outcome;
}
const rowOf = (ran: Ran, userId = USER) => ran.users.find(({ row }) => row.userId === userId)?.row;
const settledOf = (ran: Ran, at = 0) => ran.results[at] as Settled;
/** Saved as it came out, read again. */
const savedBy = (ran: Ran): Saved => ({ user: rowOf(ran) as UserRow });

describe('a user is created once, by its own event only', () => {
  test.each([
    ['SME_USER', 'CUSTOMER_USER', 'SME', false],
    ['SME_OWNER', 'CUSTOMER_ADMIN', 'SME', true],
    ['INSTITUTION_USER', 'CUSTOMER_USER', 'FINANCIAL_INSTITUTION', false],
    ['INSTITUTION_ADMIN', 'CUSTOMER_ADMIN', 'FINANCIAL_INSTITUTION', true],
  ] as const)('as %s: %s of type %s, owner: %s', (userType, role, type, isCompanyOwner) => {
    const ran = setup().run(partition().created({ userType, role: 'their word' }));
    expect(rowOf(ran)).toMatchObject({ role, userType: type, isCompanyOwner, sourceRole: 'their word' });
  });

  test('with all that its event says; the producer’s copy of the customer’s name is not ours', () => {
    const { users, results } = setup().run(partition(3).created({ customerName: 'somebody else' }, { at: 5 }));
    expect(users).toEqual([{ row: expect.any(Object), readRev: null }]);
    expect(users[0]?.row).toMatchObject({
      ...{ userId: USER, customerId: 'c1', email: 'ada@example.com', name: 'Ada Lovelace', sourceRole: 'OWNER' },
      ...{ state: 'pending', version: 1, rev: 1, waiting: 0, machineVersion: VERSION },
      ...{ statusAtMs: null, roleAtMs: null, createdAt: '2025-01-31T09:30:05.000Z', deletedAt: null },
    });
    expect(results).toMatchObject([
      {
        outcome: 'applied',
        version: 1,
        from: 'absent',
        to: 'pending',
        transition: 'absent|USER_CREATED|0',
        customerId: 'c1',
      },
    ]);
    expect(JSON.stringify(users)).not.toContain('somebody else');
  });

  test('an existing user is skipped, silently, whatever the event says', () => {
    const event = partition().created({ name: 'Somebody', email: 'x@example.com', userType: 'SME_USER' });
    const ran = setup({ user: {} }).run(event);
    expect(settledOf(ran)).toMatchObject({ outcome: 'skipped', drift: false, version: 3 });
    expect(rowOf(ran)).toEqual({ ...ACTIVE, version: 3, rev: 8, ring: `\\x${event.hash}` });
  });

  test('an existing user is skipped even if the customer of the event is unknown', () => {
    expect(setup({ user: {}, customers: [] }).outcomes(partition().created())).toEqual(['skipped']);
  });

  test('twice in one batch: created, then skipped', () => {
    const p = partition();
    expect(setup().outcomes(p.created(), p.created({ name: 'Other' }))).toEqual(['applied', 'skipped']);
  });

  test('without a customer in the event it has none, and waits for none', () => {
    const ran = setup({ customers: [] }).run(partition().created({ customerAccountId: undefined }));
    expect(rowOf(ran)).toMatchObject({ customerId: null, state: 'pending' });
    expect(settledOf(ran)).toMatchObject({ customerId: null, facts: { customerKnown: true } });
  });
});

describe('the customer comes later', () => {
  test('an unknown customer: the creation waits, and nobody is created', () => {
    const { users, results } = setup({ customers: [] }).run(partition().created());
    expect([users, results]).toMatchObject([[], [{ outcome: 'waiting', reason: 'customer' }]]);
  });

  test('what follows the creation waits behind it', () => {
    const p = partition();
    const events = [p.created(), p.status('ACTIVE'), p.deleted(), p.created()];
    expect(setup({ customers: [] }).outcomes(...events)).toEqual([
      'waiting customer',
      ...['waiting order', 'waiting order', 'waiting order'],
    ]);
  });

  test.each([
    ['a status', (p: ReturnType<typeof partition>) => p.status('ACTIVE')],
    ['a role', (p: ReturnType<typeof partition>) => p.role('SME_USER')],
    ['a deletion', (p: ReturnType<typeof partition>) => p.deleted()],
  ])('%s of a user nobody knows waits for the user', (_, event) => {
    const { users, results } = setup().run(event(partition()));
    expect([users, results]).toMatchObject([[], [{ outcome: 'waiting', reason: 'user' }]]);
  });

  test('a customer of the same batch is there before its users, wherever it stands', () => {
    const p = partition();
    const events = [p.created(), p.status('ACTIVE'), p.customer('c1')];
    expect(setup({ customers: [] }).outcomes(...events)).toEqual(['applied', 'applied', 'applied']);
  });

  test('the creation alone may pass those that wait for it; its row starts with their count', () => {
    const p = partition();
    const ran = setup({ waiting: 2 }).run(p.created(), p.status('ACTIVE'));
    expect(ran.results.map(word)).toEqual(['applied', 'waiting order']);
    expect(rowOf(ran)).toMatchObject({ state: 'pending', version: 1, waiting: 3, rev: 1 });
  });

  test('a second creation does not overtake one that waits', () => {
    expect(setup({ waiting: 1, creationWaits: true }).outcomes(partition().created())).toEqual(['waiting order']);
  });

  test('a creation does not overtake a dead letter that is a creation', () => {
    const dead = { blocking: 1, creationWaits: true };
    expect(setup(dead).outcomes(partition().created())).toEqual(['waiting dead-letter']);
  });
});

describe('late events: within a source the offset is the truth, between sources the time', () => {
  const old = { statusAtMs: AT_MS + 10_000, statusSource: 'user-events/0', statusOffset: '5' };

  test('older, from another source: stale; the user is as before', () => {
    const event = partition(1).status('SUSPENDED', { at: 9 });
    const ran = setup({ user: old }).run(event);
    expect(settledOf(ran)).toMatchObject({
      outcome: 'stale',
      from: 'active',
      to: 'active',
      transition: null,
      drift: false,
    });
    expect(rowOf(ran)).toEqual({ ...ACTIVE, ...old, version: 3, rev: 8, ring: `\\x${event.hash}` });
  });

  test('older by its clock but later in the same partition: applied; the mark’s time does not go down', () => {
    const ran = setup({ user: old }).run(partition(0).status('SUSPENDED', { at: 1, offset: 6 }));
    expect(settledOf(ran).outcome).toBe('applied');
    expect(rowOf(ran)).toMatchObject({ state: 'suspended', ...old, statusOffset: '6' });
  });

  test.each([4, 5])('redriven from before the mark in its own partition (offset %i of 5): stale', (offset) => {
    expect(setup({ user: old }).outcomes(partition(0).status('SUSPENDED', { at: 99, offset }))).toEqual(['stale']);
  });

  test('the same millisecond from two sources: applied', () => {
    const ran = setup({ user: old }).run(partition(1).status('SUSPENDED', { at: 10, offset: 2 }));
    expect(settledOf(ran).outcome).toBe('applied');
    expect(rowOf(ran)).toMatchObject({ statusSource: 'user-events/1', statusOffset: '2' });
  });

  test('newer, from another source: applied, and the mark is its own now', () => {
    const ran = setup({ user: old }).run(partition(1).status('SUSPENDED', { at: 11, offset: 2 }));
    expect(rowOf(ran)).toMatchObject({ statusAtMs: AT_MS + 11_000, statusSource: 'user-events/1', statusOffset: '2' });
  });

  test('first of its kind: applied, whatever its time', () => {
    expect(setup({ user: {} }).outcomes(partition(1).status('SUSPENDED', { at: -9_999 }))).toEqual(['applied']);
  });

  test('a skipped event sets the mark too', () => {
    const ran = setup({ user: old }).run(partition(1).status('ACTIVE', { at: 20, offset: 3 }));
    expect(settledOf(ran).outcome).toBe('skipped');
    expect(rowOf(ran)).toMatchObject({ statusAtMs: AT_MS + 20_000, statusSource: 'user-events/1', statusOffset: '3' });
  });

  test('status and role have marks of their own', () => {
    const ran = setup({ user: old }).run(partition(1).role('SME_USER', { at: 1, offset: 3 }));
    expect(settledOf(ran).outcome).toBe('applied');
    expect(rowOf(ran)).toMatchObject({ ...old, roleAtMs: AT_MS + 1_000, roleSource: 'user-events/1', roleOffset: '3' });
  });

  test('a role change is stale by the role mark alone', () => {
    const user = { roleAtMs: AT_MS + 10_000, roleSource: 'user-events/0', roleOffset: '5' };
    expect(setup({ user }).outcomes(partition(1).role('SME_USER', { at: 9 }))).toEqual(['stale']);
    expect(setup({ user }).outcomes(partition(1).status('SUSPENDED', { at: 9 }))).toEqual(['applied']);
  });

  test('a replaced log is another source: its offsets say nothing about the old one’s', () => {
    const newLog = partition(0, { generation: 1 });
    expect(setup({ user: old }).outcomes(newLog.status('SUSPENDED', { at: 11, offset: 0 }))).toEqual(['applied']);
    expect(setup({ user: old }).outcomes(newLog.status('SUSPENDED', { at: 9, offset: 50 }))).toEqual(['stale']);
  });

  test('a deletion is never stale, a creation has no mark', () => {
    const p = partition(1);
    const ran = setup({ user: { ...old, roleAtMs: AT_MS + 10_000, roleSource: 'x/0', roleOffset: '1' } }).run(
      p.created({}, { at: -5 }),
      p.deleted({ at: -5 }),
    );
    expect(ran.results.map(word)).toEqual(['skipped', 'applied']);
    expect(rowOf(ran)).toMatchObject({ ...old, state: 'deleted', deletedAt: '2025-01-31T09:29:55.000Z' });
  });

  test('a clock that is ahead counts as five minutes ahead of its record: it can not hold the mark in the future', () => {
    const event = partition(1).status('SUSPENDED', { at: 80_000, timestampMs: AT_MS });
    const ran = setup({ user: old }).run(event);
    expect(rowOf(ran)?.statusAtMs).toBe(AT_MS + 300_000);
    expect(settledOf(ran).facts).toEqual({ hash: event.hash, atMs: AT_MS + 300_000 });
    expect(setup(savedBy(ran)).outcomes(partition(2).status('ACTIVE', { at: 301 }))).toEqual(['applied']);
  });

  test('isStale says the same of bare marks', () => {
    const mark = { atMs: 10, source: 'a/0', offset: 5n };
    const from = (source: string, atMs: number, offset: bigint) =>
      isStale({ source, atMs, record: { offset } as never }, mark);
    expect([
      from('b/0', 9, 99n),
      from('b/0', 10, 0n),
      from('a/0', 0, 6n),
      from('a/0', 99, 5n),
      from('a/0', 99, 4n),
    ]).toEqual([true, false, false, true, true]);
  });
});

describe('status and role by different topics: the later one decides between active and roleChanged', () => {
  const roleAt10 = { roleAtMs: AT_MS + 10_000, roleSource: 'USER_ROLE_CHANGED/0', roleOffset: '1' };
  const statusAt10 = { statusAtMs: AT_MS + 10_000, statusSource: 'USER_STATUS_CHANGED/0', statusOffset: '1' };
  const status = partition(0, { topic: 'USER_STATUS_CHANGED' });
  const role = partition(0, { topic: 'USER_ROLE_CHANGED' });

  test.each(['pending', 'suspended'] as const)('ACTIVE before the role change, met in %s: roleChanged', (state) => {
    const ran = setup({ user: { state, ...roleAt10 } }).run(status.status('ACTIVE', { at: 9 }));
    expect(settledOf(ran)).toMatchObject({ outcome: 'applied', to: 'roleChanged', facts: { roleIsNewer: true } });
  });

  test('ACTIVE before the role change leaves roleChanged, and sets the status mark', () => {
    const ran = setup({ user: { state: 'roleChanged', ...roleAt10 } }).run(status.status('ACTIVE', { at: 9 }));
    expect(settledOf(ran)).toMatchObject({ outcome: 'skipped', to: 'roleChanged' });
    expect(rowOf(ran)?.statusAtMs).toBe(AT_MS + 9_000);
  });

  test.each(['pending', 'suspended', 'roleChanged'] as const)(
    'ACTIVE after the role change, met in %s: active',
    (state) => {
      const ran = setup({ user: { state, ...roleAt10 } }).run(status.status('ACTIVE', { at: 10 }));
      expect(settledOf(ran)).toMatchObject({ outcome: 'applied', to: 'active' });
      expect(settledOf(ran).facts).not.toHaveProperty('roleIsNewer');
    },
  );

  test('ACTIVE from the role change’s own source confirms it, whatever its time', () => {
    const user = { state: 'roleChanged', ...roleAt10, roleSource: 'user-events/0' } as const;
    const ran = setup({ user }).run(partition(0).status('ACTIVE', { at: 1, offset: 7 }));
    expect(settledOf(ran).to).toBe('active');
  });

  test('a role change before the ACTIVE writes the role and leaves active', () => {
    const ran = setup({ user: statusAt10 }).run(role.role('SME_USER', { at: 9 }));
    expect(settledOf(ran)).toMatchObject({ outcome: 'applied', to: 'active', facts: { statusIsNewer: true } });
    expect(rowOf(ran)).toMatchObject({ role: 'CUSTOMER_USER', isCompanyOwner: false });
  });

  test('a role change after the ACTIVE leads to roleChanged', () => {
    expect(settledOf(setup({ user: statusAt10 }).run(role.role('SME_USER', { at: 10 }))).to).toBe('roleChanged');
  });

  test.each([
    ['status first', ['ACTIVE', 'role']],
    ['role first', ['role', 'ACTIVE']],
  ])('both orders of arrival end the same: %s', (_, order) => {
    for (const [activeAt, roleAt, end] of [
      [5, 6, 'roleChanged'],
      [6, 5, 'active'],
    ] as const) {
      const events = {
        ACTIVE: partition(1).status('ACTIVE', { at: activeAt }),
        role: partition(2).role('SME_USER', { at: roleAt }),
      };
      let saved: Saved = { user: { state: 'pending' } };
      for (const name of order) saved = savedBy(setup(saved).run(events[name as 'ACTIVE']));
      expect(saved.user).toMatchObject({ state: end, role: 'CUSTOMER_USER' });
    }
  });
});

describe('deleted is final', () => {
  const deleted = { user: { state: 'deleted', deletedAt: '2025-02-01T00:00:00.000Z' } } as const;

  test('everything after it is rejected, and counted as a step', () => {
    const p = partition();
    const events = [p.created(), p.status('ACTIVE'), p.role('SME_USER'), p.deleted()];
    expect(setup(deleted).outcomes(...events)).toEqual(Array(4).fill('rejected'));
    expect(rowOf(setup(deleted).run(...events))).toEqual({
      ...ACTIVE,
      ...deleted.user,
      ...{ version: 6, rev: 8, ring: `\\x${events.map(({ hash }) => hash).join('')}` },
    });
  });

  test('a rejected event sets no mark', () => {
    expect(rowOf(setup(deleted).run(partition().status('ACTIVE')))?.statusAtMs).toBeNull();
  });

  test('nothing but deleted rejects', () => {
    for (const state of ['pending', 'active', 'suspended', 'roleChanged'] as const) {
      const p = partition();
      const all = [
        p.created(),
        p.status('PENDING'),
        p.status('ACTIVE'),
        p.status('SUSPENDED'),
        p.role('SME_USER'),
        p.deleted(),
      ];
      for (const event of all) expect(setup({ user: { state } }).outcomes(event)).not.toContain('rejected');
    }
  });
});

describe('the producer has another idea of the state before', () => {
  const drifts = (state: UserRow['state'], previousStatus: string) =>
    settledOf(
      setup({ user: { state } }).run(
        partition().status(state === 'suspended' ? 'ACTIVE' : 'SUSPENDED', { previousStatus }),
      ),
    ).drift;

  test.each([
    ['pending', 'PENDING', false],
    ['pending', 'ACTIVE', true],
    ['active', 'ACTIVE', false],
    ['active', 'SUSPENDED', true],
    ['roleChanged', 'ACTIVE', false],
    ['roleChanged', 'PENDING', true],
    ['suspended', 'SUSPENDED', false],
    ['suspended', 'INACTIVE', false],
    ['suspended', 'PENDING', true],
    ['active', 'a word of theirs', false],
    ['active', 'constructor', false],
  ] as const)('%s, they say %s: drift %s; applied all the same', (state, previousStatus, drift) => {
    expect(drifts(state, previousStatus)).toBe(drift);
  });

  test.each([
    ['SME_OWNER', false],
    ['CUSTOMER_ADMIN', false],
    ['SME_USER', true],
    ['INSTITUTION_ADMIN', true],
    ['CUSTOMER_USER', true],
    ['a word of theirs', false],
    ['toString', false],
  ])('an owner of a small company, they say %s: drift %s', (previousRole, drift) => {
    const ran = setup({ user: {} }).run(partition().role('INSTITUTION_USER', { previousRole }));
    expect(settledOf(ran)).toMatchObject({ outcome: 'applied', drift });
  });

  test('only what is applied drifts: not the skipped, the stale, the rejected', () => {
    const user = { statusAtMs: AT_MS + 10_000, statusSource: 'x/0', statusOffset: '1' };
    const skipped = partition().status('ACTIVE', { previousStatus: 'SUSPENDED', at: 11 });
    const stale = partition().status('SUSPENDED', { previousStatus: 'SUSPENDED', at: 1 });
    expect(settledOf(setup({ user }).run(skipped))).toMatchObject({ outcome: 'skipped', drift: false });
    expect(settledOf(setup({ user }).run(stale))).toMatchObject({ outcome: 'stale', drift: false });
    expect(settledOf(setup({ user: { state: 'deleted' } }).run(skipped))).toMatchObject({
      outcome: 'rejected',
      drift: false,
    });
  });

  test('a creation and a deletion never do', () => {
    const p = partition();
    const { results } = setup().run(p.created(), p.deleted());
    expect(results.map((result) => (result as Settled).drift)).toEqual([false, false]);
  });
});

describe('the producer sends twice', () => {
  test('the same event again, at another offset: duplicate, and nothing but the version moves', () => {
    const p = partition();
    const first = setup({ user: {} }).run(p.status('SUSPENDED', { id: 'e1', at: 1 }));
    const before = rowOf(first) as UserRow;
    const again = setup(savedBy(first)).run(p.status('SUSPENDED', { id: 'e1', at: 1 }));
    expect(settledOf(again)).toMatchObject({
      outcome: 'duplicate',
      transition: null,
      drift: false,
      from: 'suspended',
      to: 'suspended',
    });
    expect(rowOf(again)).toEqual({ ...before, version: before.version + 1, rev: before.rev + 1 });
  });

  test('twice in one batch', () => {
    const p = partition();
    const events = [
      p.status('SUSPENDED', { id: 'e1', at: 1 }),
      p.status('ACTIVE'),
      p.status('SUSPENDED', { id: 'e1', at: 1 }),
    ];
    expect(setup({ user: {} }).outcomes(...events)).toEqual(['applied', 'applied', 'duplicate']);
  });

  test('through another partition of the topic: still the same event', () => {
    const first = setup({ user: {} }).run(partition(0).status('SUSPENDED', { id: 'e1', at: 1 }));
    expect(setup(savedBy(first)).outcomes(partition(5).status('SUSPENDED', { id: 'e1', at: 1 }))).toEqual([
      'duplicate',
    ]);
  });

  test('an id used again for another content loses nothing', () => {
    const p = partition();
    const events = [p.status('SUSPENDED', { id: 'e1', at: 1 }), p.status('PENDING', { id: 'e1', at: 2 })];
    expect(setup({ user: {} }).outcomes(...events)).toEqual(['applied', 'applied']);
  });

  test('the creation again: duplicate, not skipped', () => {
    const p = partition();
    const events = [p.created({}, { id: 'e1', at: 0 }), p.created({}, { id: 'e1', at: 0 })];
    expect(setup().outcomes(...events)).toEqual(['applied', 'duplicate']);
  });

  test('skipped, stale and rejected events are remembered too', () => {
    const mark = { statusAtMs: AT_MS + 10_000, statusSource: 'x/0', statusOffset: '1' };
    for (const [user, word, outcome] of [
      [{}, 'ACTIVE', 'skipped'],
      [mark, 'SUSPENDED', 'stale'],
      [{ state: 'deleted' }, 'ACTIVE', 'rejected'],
    ] as const) {
      const p = partition();
      const events = [p.status(word, { id: 'e1', at: 1 }), p.status(word, { id: 'e1', at: 1 })];
      expect(setup({ user }).outcomes(...events)).toEqual([outcome, 'duplicate']);
    }
  });

  test('a waiting event is not remembered: it may come twice, and then both wait', () => {
    const p = partition();
    const events = [p.status('ACTIVE', { id: 'e1', at: 1 }), p.status('ACTIVE', { id: 'e1', at: 1 })];
    expect(setup().outcomes(...events)).toEqual(['waiting user', 'waiting order']);
  });

  test('sixteen are remembered, the seventeenth pushes out the first; a duplicate does not count', () => {
    const p = partition();
    const events = Array.from({ length: 16 }, (_, i) =>
      p.status(i % 2 ? 'ACTIVE' : 'SUSPENDED', { id: `e${i}`, at: i }),
    );
    const sixteen = setup({ user: {} }).run(...events);
    const ring = events.map(({ hash }) => hash).join('');
    expect(rowOf(sixteen)?.ring).toBe(`\\x${ring}`);

    const again = () => p.status('SUSPENDED', { id: 'e0', at: 0 });
    const remembered = setup(savedBy(sixteen)).run(again());
    expect([settledOf(remembered).outcome, rowOf(remembered)?.ring]).toEqual(['duplicate', `\\x${ring}`]);

    const seventeenth = p.status('SUSPENDED', { id: 'e16', at: 16 });
    const pushed = setup(savedBy(remembered)).run(seventeenth);
    expect(rowOf(pushed)?.ring).toBe(`\\x${ring.slice(16)}${seventeenth.hash}`);
    expect(setup(savedBy(pushed)).outcomes(again())).toEqual(['skipped']);
    expect(setup(savedBy(pushed)).outcomes(p.status('ACTIVE', { id: 'e1', at: 1 }))).toEqual(['duplicate']);
  });

  test('half of one hash and half of the next are no hash', () => {
    const event = partition().status('SUSPENDED');
    const ring = `\\x${'0'.repeat(8)}${event.hash}${'0'.repeat(8)}`;
    expect(setup({ user: { ring } }).outcomes(event)).toEqual(['applied']);
  });
});

describe('what waits stays in front', () => {
  test('an event of a user with any waiting waits behind them, and is counted', () => {
    const ran = setup({ user: { waiting: 2 }, waiting: 2 }).run(partition().status('SUSPENDED'));
    expect(ran.results.map(word)).toEqual(['waiting order']);
    expect(rowOf(ran)).toEqual({ ...ACTIVE, waiting: 3, rev: 8 });
  });

  test('the rows are counted, not the number in the user’s row', () => {
    expect(setup({ user: { waiting: 0 }, waiting: 1 }).outcomes(partition().status('SUSPENDED'))).toEqual([
      'waiting order',
    ]);
    expect(setup({ user: { waiting: 1 }, waiting: 0 }).outcomes(partition().status('SUSPENDED'))).toEqual(['applied']);
  });

  test('a wrong number in the row is put right by the next event', () => {
    expect(rowOf(setup({ user: { waiting: 9 } }).run(partition().status('SUSPENDED')))?.waiting).toBe(0);
  });

  test.each([
    ['a dead letter', { blocking: 1 }, 'waiting dead-letter'],
    ['waiting events and a dead letter', { blocking: 1, waiting: 1 }, 'waiting order'],
  ])('behind %s', (_, queue, outcome) => {
    expect(setup({ user: {}, ...queue }).outcomes(partition().status('SUSPENDED'))).toEqual([outcome]);
  });

  test.each([
    ['the user', { heldUsers: [USER] }, {}],
    ['its customer', { heldCustomers: ['c1'] }, {}],
    [
      'a customer it moved to since its creation, not the one the event names',
      { heldCustomers: ['c2'] },
      { customerId: 'c2' },
    ],
  ])('a hold on %s stops an existing user', (_, holds, user) => {
    const p = partition();
    expect(setup({ user, ...holds }).outcomes(p.status('SUSPENDED'), p.created())).toEqual([
      'waiting hold',
      'waiting hold',
    ]);
  });

  test.each([
    ['the user', { heldUsers: [USER] }],
    ['the customer it names', { heldCustomers: ['c1'] }],
  ])('a hold on %s stops a creation', (_, holds) => {
    const { users, results } = setup(holds).run(partition().created());
    expect([users, results.map(word)]).toEqual([[], ['waiting hold']]);
  });

  test('a hold on somebody else stops nobody', () => {
    const holds = { heldUsers: ['auth0|u2'], heldCustomers: ['c2'] };
    expect(setup({ user: {}, ...holds }).outcomes(partition().status('SUSPENDED'))).toEqual(['applied']);
    expect(setup({ user: { customerId: null }, ...holds }).outcomes(partition().status('SUSPENDED'))).toEqual([
      'applied',
    ]);
  });

  test('once one event of a batch waits, the later ones wait behind it', () => {
    const p = partition();
    const events = [p.status('ACTIVE'), p.created(), p.status('ACTIVE'), p.role('SME_USER')];
    expect(setup().outcomes(...events)).toEqual(['waiting user', 'applied', 'waiting order', 'waiting order']);
  });
});

describe('the row was written by a newer machine', () => {
  const newer = { machineVersion: VERSION + 1 };

  test('its events wait, and the row keeps its version: old code never takes a new machine’s place', () => {
    const ran = setup({ user: newer }).run(partition().status('SUSPENDED'));
    expect(ran.results.map(word)).toEqual(['waiting machine']);
    expect(rowOf(ran)).toEqual({ ...ACTIVE, ...newer, waiting: 1, rev: 8 });
  });

  test('not even a duplicate is told: the ring may mean something else by then', () => {
    const event = partition().status('SUSPENDED');
    expect(setup({ user: { ...newer, ring: `\\x${event.hash}` } }).outcomes(event)).toEqual(['waiting machine']);
  });

  test('an older row is taken over', () => {
    const ran = setup({ user: { machineVersion: VERSION - 1 } }).run(partition().status('SUSPENDED'));
    expect(rowOf(ran)).toMatchObject({ state: 'suspended', machineVersion: VERSION });
  });
});

describe('too many wait', () => {
  const limit = { waitingPerUser: 2 };

  test('beyond the limit they are dead letters, behind which the user waits', () => {
    const p = partition();
    const ran = setup({ user: {}, heldUsers: [USER] }, limit).run(
      p.status('PENDING'),
      p.status('ACTIVE'),
      p.status('PENDING'),
      p.deleted(),
    );
    expect(ran.results.map(word)).toEqual(['waiting hold', 'waiting hold', 'dead waiting-full', 'dead waiting-full']);
    expect(ran.results[2]).toMatchObject({
      stage: 'run',
      blocks: true,
      userId: USER,
      userVersion: 2,
      message: '2 events of this user wait already',
    });
    expect(rowOf(ran)?.waiting).toBe(4);
  });

  test('the limit counts what waited before', () => {
    expect(setup({ waiting: 2 }, limit).outcomes(partition().status('ACTIVE'))).toEqual(['dead waiting-full']);
  });

  test('the creation still passes', () => {
    expect(setup({ waiting: 2 }, limit).outcomes(partition().created())).toEqual(['applied']);
  });

  test('a creation that found no place counts as one that waits', () => {
    const p = partition();
    const events = [p.created(), p.created({ customerAccountId: undefined })];
    expect(setup({ waiting: 2, customers: [] }, limit).outcomes(...events)).toEqual([
      'dead waiting-full',
      'dead waiting-full',
    ]);
  });

  test('a duplicate needs no place', () => {
    const event = partition().status('SUSPENDED');
    const user = { ring: `\\x${event.hash}` };
    expect(setup({ user, waiting: 2 }, limit).outcomes(event)).toEqual(['duplicate']);
  });
});

describe('the machine throws', () => {
  const p = () => partition();

  test('that event is dead, the later ones of its user wait, all others go on', () => {
    const [mine, other] = [p(), partition(1)];
    const events = [
      mine.status('SUSPENDED'),
      throwing(mine.status('PENDING')),
      mine.status('ACTIVE'),
      other.created({}, { userId: 'auth0|u2' }),
      other.status('ACTIVE', { userId: 'auth0|u2' }),
    ];
    const { run, outcomes } = setup({ user: {} });
    expect(outcomes(...events)).toEqual(['applied', 'dead transition', 'waiting dead-letter', 'applied', 'applied']);
    expect(rowOf(run(...events))).toMatchObject({ state: 'suspended', version: 3, waiting: 2, rev: 8 });
  });

  test('the dead letter says where, and quotes nothing of the event', () => {
    const ran = setup({ user: {} }).run(throwing(p().status('PENDING')));
    expect(ran.results[0]).toMatchObject({
      ...{ stage: 'run', code: 'transition', class: 'TypeError', blocks: true, userId: USER, userVersion: 2 },
      message: `the machine of version ${VERSION} threw in state active`,
    });
    const { message, stack } = ran.results[0] as Buried;
    expect(stack).toMatch(/^\s+at /);
    expect(`${message}${stack}`).not.toContain(USER);
  });

  test('while creating: nobody is created, and a later creation waits', () => {
    const q = p();
    const ran = setup().run(throwing(q.created()), q.created(), q.status('ACTIVE'));
    expect(ran.results.map(word)).toEqual(['dead transition', 'waiting dead-letter', 'waiting order']);
    expect([ran.users, (ran.results[0] as Buried).message]).toEqual([[], expect.stringContaining('in state absent')]);
  });

  test('it throws something that is no Error', () => {
    const event = p().status('PENDING');
    const payload = new Proxy(event.payload, {
      get() {
        throw 'a word';
      },
    });
    expect(setup({ user: {} }).run({ ...event, payload }).results).toMatchObject([
      { code: 'transition', class: 'string', stack: null },
    ]);
  });

  test('an event that would wait anyway is not put to it', () => {
    expect(setup({ user: {}, heldUsers: [USER] }).outcomes(throwing(p().status('PENDING')))).toEqual(['waiting hold']);
  });
});

describe('a hundred fail alike: that is a deploy, not the records', () => {
  const failing = (events: number, users: number) => {
    const p = partition();
    return Array.from({ length: events }, (_, i) => p.status('ACTIVE', { userId: `auth0|u${i % users}` }));
  };
  const poisoned = (events: readonly Decoded[]) => new Map(events.map(({ record }) => [record.offset, '23514']));
  const runPoisoned = (events: number, users: number) => {
    const all = failing(events, users);
    return setup({}, { poisons: poisoned(all) }).run(...all);
  };

  test('100 of 20 users: the partition halts instead', () => {
    expect(() => runPoisoned(100, 20)).toThrow(BrokenInvariant);
    expect(() => runPoisoned(100, 20)).toThrow(
      '100 events of 20 users fail alike (sql): fix or roll back, then resume',
    );
  });

  test('99, or fewer users: dead letters', () => {
    expect(countOutcomes(runPoisoned(99, 99).results).dead).toBe(99);
    expect(countOutcomes(runPoisoned(500, 19).results).dead).toBe(500);
  });

  test('a machine that throws for all of them', () => {
    const p = partition();
    const events = Array.from({ length: 100 }, (_, i) => throwing(p.created({}, { userId: `auth0|u${i}` })));
    expect(() => setup().run(...events)).toThrow('100 events of 100 users fail alike (transition)');
  });

  test('unreadable records may be as many as they like', () => {
    const p = partition();
    const events = Array.from({ length: 300 }, () => p.garbage());
    expect(countOutcomes(setup().run(...events).results).dead).toBe(300);
  });
});

describe('bad records', () => {
  test('one that can not be read is a dead letter and stops nobody', () => {
    const p = partition();
    const events = [p.garbage(), p.created(), p.garbage(), p.status('ACTIVE'), p.garbage()];
    const dead = 'dead json';
    expect(setup().outcomes(...events)).toEqual([dead, 'applied', dead, 'applied', dead]);
    expect(setup().run(p.garbage()).results).toMatchObject([
      { stage: 'decode', blocks: false, userId: null, userVersion: null, class: null },
    ]);
  });

  test('one of a version to come stops its own user, in its place', () => {
    const p = partition();
    const events = [p.status('SUSPENDED'), p.unknownVersion('USER_STATUS_CHANGED'), p.status('ACTIVE')];
    const { run, outcomes } = setup({ user: {} });
    expect(outcomes(...events)).toEqual(['applied', 'dead unknown-version', 'waiting dead-letter']);
    expect(run(...events).results[1]).toMatchObject({ blocks: true, userVersion: 3, stage: 'decode' });
    expect(rowOf(run(...events))).toMatchObject({ waiting: 2, version: 3 });
  });

  test('a creation of a version to come keeps a later one from passing', () => {
    const p = partition();
    const events = [p.unknownVersion('USER_CREATED'), p.created(), p.status('ACTIVE')];
    const ran = setup().run(...events);
    expect(ran.results.map(word)).toEqual(['dead unknown-version', 'waiting dead-letter', 'waiting order']);
    expect(ran.users).toEqual([]);
  });

  test('one that only Postgres refuses is a dead letter of its user, its later ones wait', () => {
    const p = partition();
    const events = [p.status('SUSPENDED'), p.status('ACTIVE'), p.status('PENDING')];
    const ran = setup({ user: {} }, { poisons: new Map([[1n, '22021']]) }).run(...events);
    expect(ran.results.map(word)).toEqual(['applied', 'dead sql', 'waiting dead-letter']);
    expect(ran.results[1]).toMatchObject({ stage: 'save', class: '22021', blocks: true, userId: USER, userVersion: 3 });
    expect(rowOf(ran)).toMatchObject({ state: 'suspended', waiting: 2 });
  });

  test('a customer that only Postgres refuses is a dead letter, and not created', () => {
    const p = partition();
    const events = [p.customer('c9'), p.created({ customerAccountId: 'c9' })];
    const ran = setup({ customers: [] }, { poisons: new Map([[0n, '22021']]) }).run(...events);
    expect(ran.results.map(word)).toEqual(['dead sql', 'waiting customer']);
    expect(ran.results[0]).toMatchObject({ blocks: false, userId: null, userVersion: null });
    expect(ran.customers).toEqual([]);
  });
});

describe('the first that fits wins', () => {
  const p = () => partition(1);
  const mark = { statusAtMs: AT_MS + 10_000, statusSource: 'x/0', statusOffset: '1' };
  const ringOf = (event: { hash: string }) => ({ ring: `\\x${event.hash}` });

  test('dead before duplicate', () => {
    const event = p().status('ACTIVE');
    expect(setup({ user: ringOf(event) }, { poisons: new Map([[0n, '22021']]) }).outcomes(event)).toEqual(['dead sql']);
  });
  test.each([
    ['on hold', { heldUsers: [USER] }],
    ['behind a waiting event', { waiting: 1 }],
    ['behind a dead letter', { blocking: 1 }],
  ])('duplicate before waiting: %s', (_, saved) => {
    const event = p().status('SUSPENDED');
    expect(setup({ user: ringOf(event), ...saved }).outcomes(event)).toEqual(['duplicate']);
  });
  test('duplicate before rejected and stale', () => {
    const event = p().status('SUSPENDED', { at: 1 });
    expect(setup({ user: { state: 'deleted', ...ringOf(event) } }).outcomes(event)).toEqual(['duplicate']);
    expect(setup({ user: { ...mark, ...ringOf(event) } }).outcomes(event)).toEqual(['duplicate']);
  });
  test('waiting before rejected', () => {
    expect(setup({ user: { state: 'deleted' }, heldUsers: [USER] }).outcomes(p().deleted())).toEqual(['waiting hold']);
  });
  test('rejected before stale', () => {
    expect(setup({ user: { state: 'deleted', ...mark } }).outcomes(p().status('ACTIVE', { at: 1 }))).toEqual([
      'rejected',
    ]);
  });
  test('stale before skipped', () => {
    expect(setup({ user: mark }).outcomes(p().status('ACTIVE', { at: 1 }))).toEqual(['stale']);
  });
  test('hold before order, order before the customer', () => {
    expect(setup({ waiting: 1, creationWaits: true, heldUsers: [USER] }).outcomes(p().created())).toEqual([
      'waiting hold',
    ]);
    expect(setup({ waiting: 1, creationWaits: true, customers: [] }).outcomes(p().created())).toEqual([
      'waiting order',
    ]);
  });
});

describe('customers', () => {
  test('a new one is applied', () => {
    const ran = setup().run(partition(2).customer('c9', { name: 'New Ltd', at: 4, offset: 8 }));
    expect(ran.results).toMatchObject([
      { outcome: 'applied', customerId: 'c9', version: null, from: null, to: null, transition: null },
    ]);
    const row = {
      customerId: 'c9',
      name: 'New Ltd',
      atMs: AT_MS + 4_000,
      source: 'user-events/2',
      offset: '8',
      rev: 1,
    };
    expect(ran.customers).toEqual([{ row, readRev: null }]);
  });

  test('an equal one is skipped, and still sets the mark', () => {
    const ran = setup({ rows: [CUSTOMER] }).run(partition(2).customer('c1', { at: 4 }));
    expect(ran.results.map(word)).toEqual(['skipped']);
    expect(ran.customers).toMatchObject([
      { row: { name: 'Engines Ltd', atMs: AT_MS + 4_000, source: 'user-events/2', rev: 4 }, readRev: 3 },
    ]);
  });

  test('a newer name is applied, an older one from elsewhere is stale', () => {
    const named = (at: number) =>
      setup({ rows: [CUSTOMER] }).run(partition(2).customer('c1', { name: 'Mills Ltd', at }));
    expect(named(1).results.map(word)).toEqual(['applied']);
    expect(named(-1).results.map(word)).toEqual(['stale']);
    // Still written: whoever read the row before has to read it again.
    expect(named(-1).customers).toEqual([{ row: { ...CUSTOMER, rev: 4 }, readRev: 3 }]);
  });

  test('its own source goes by offset, and the mark’s time does not go down', () => {
    const ran = setup({ rows: [CUSTOMER] }).run(partition(9).customer('c1', { name: 'Mills Ltd', at: -99, offset: 1 }));
    expect(ran.customers).toMatchObject([{ row: { name: 'Mills Ltd', atMs: AT_MS, offset: '1' } }]);
    expect(setup({ rows: [CUSTOMER] }).outcomes(partition(9).customer('c1', { at: 99, offset: 0 }))).toEqual(['stale']);
  });

  test('a clock that is ahead counts as five minutes, here too', () => {
    const ran = setup().run(partition(2).customer('c9', { at: 80_000, timestampMs: AT_MS }));
    expect(ran.customers[0]?.row.atMs).toBe(AT_MS + 300_000);
    expect(settledOf(ran).facts.atMs).toBe(AT_MS + 300_000);
  });

  test('many of one batch: one write, each with its outcome', () => {
    const p = partition(2);
    const events = [
      p.customer('c9'),
      p.customer('c9', { name: 'B' }),
      p.customer('c9', { name: 'B' }),
      p.customer('c8'),
    ];
    const ran = setup().run(...events);
    expect(ran.results.map(word)).toEqual(['applied', 'applied', 'skipped', 'applied']);
    expect(ran.customers.map(({ row, readRev }) => [row.customerId, row.name, row.rev, readRev])).toEqual([
      ['c9', 'B', 1, null],
      ['c8', 'Engines Ltd', 1, null],
    ]);
  });
});

describe('one write per user and batch, by rev', () => {
  test('however many events it had', () => {
    const p = partition();
    const ran = setup().run(p.created(), p.status('ACTIVE'), p.role('SME_USER'), p.status('SUSPENDED'), p.deleted());
    expect(ran.users.map(({ row, readRev }) => [row.version, row.rev, readRev, row.state])).toEqual([
      [5, 1, null, 'deleted'],
    ]);
    expect(ran.results.map((result) => (result as Settled).version)).toEqual([1, 2, 3, 4, 5]);
  });

  test('a user that exists raises the rev that was read', () => {
    expect(setup({ user: {} }).run(partition().status('PENDING')).users).toMatchObject([
      { row: { rev: 8 }, readRev: 7 },
    ]);
  });

  test('a user whose only record could not be read is not written: nothing was decided about it', () => {
    const p = partition();
    const unread = { ...p.garbage(), userId: USER };
    expect(setup({ user: {} }).run(unread).users).toEqual([]);
  });

  test('every event that meets an existing user writes its row, whatever its outcome (N1)', () => {
    const saved = fc.record({
      user: fc.record({
        state: fc.constantFrom('pending', 'active', 'suspended', 'roleChanged', 'deleted'),
        machineVersion: fc.constantFrom(VERSION, VERSION + 1),
        statusAtMs: fc.constant(AT_MS + 5_000),
        statusSource: fc.constantFrom('user-events/0', 'user-events/1'),
        statusOffset: fc.constantFrom('0', '9'),
      }),
      waiting: fc.nat(2),
      blocking: fc.nat(1),
      heldUsers: fc.constantFrom([], [USER]),
      customers: fc.constantFrom([], ['c1']),
    });
    const plain = {
      user: {
        state: 'active',
        machineVersion: VERSION,
        statusAtMs: AT_MS + 5_000,
        statusSource: 'user-events/0',
        statusOffset: '0',
      },
      waiting: 0,
      blocking: 0,
      heldUsers: [],
      customers: [],
    } as const;
    const kinds = [
      'created',
      'ACTIVE',
      'SUSPENDED',
      'role',
      'deleted',
      'throwing',
      'unknown',
      'poison',
      'twice',
    ] as const;
    const seen = new Set<string>();
    fc.assert(
      fc.property(saved, fc.array(fc.constantFrom(...kinds), { minLength: 1, maxLength: 4 }), (saved, words) => {
        const p = partition();
        const poisons = new Map<bigint, string>();
        const events = words.map((kind, i): Decoded => {
          if (kind === 'created') return p.created();
          if (kind === 'deleted') return p.deleted();
          if (kind === 'role') return p.role('SME_USER');
          if (kind === 'throwing') return throwing(p.status('PENDING'));
          if (kind === 'unknown') return p.unknownVersion('USER_DELETED');
          if (kind === 'twice') return p.status('PENDING', { id: 'same', at: 7 });
          if (kind === 'poison') poisons.set(BigInt(i), '22021');
          return p.status(kind === 'poison' ? 'PENDING' : kind);
        });
        const ran = setup(saved as Saved, { waitingPerUser: 2, poisons }).run(...events);
        for (const result of ran.results) seen.add(word(result));
        expect(ran.results).toHaveLength(events.length);
        expect(ran.users).toMatchObject([{ readRev: 7, row: { rev: 8 } }]);
      }),
      { numRuns: 2_000, examples: [[plain, ['twice', 'twice']]] },
    );
    // It met all there is to meet.
    const met = [...seen].sort();
    expect(met).toEqual([
      ...[
        'applied',
        'dead sql',
        'dead transition',
        'dead unknown-version',
        'dead waiting-full',
        'duplicate',
        'rejected',
      ],
      ...['skipped', 'stale', 'waiting dead-letter', 'waiting hold', 'waiting machine', 'waiting order'],
    ]);
  });
});

describe('the rest of what run promises', () => {
  test('each record has one result; records and those without a key are counted', () => {
    const p = partition();
    const events = [p.created(), { ...p.status('ACTIVE'), keyed: false }, p.customer('c9'), p.garbage()];
    const ran = setup().run(...events);
    expect([ran.results.length, ran.records, ran.unkeyed]).toEqual([4, 4, 1]);
    expect(countOutcomes(ran.results)).toEqual({ ...countOutcomes([]), applied: 3, dead: 1 });
  });

  test('it changes nothing that it was given (P3)', () => {
    const p = partition();
    const { loaded } = setup({ user: {}, rows: [CUSTOMER] });
    const routed: Routed = route([p.status('SUSPENDED'), p.customer('c1', { name: 'B' }), p.role('SME_USER')]);
    Object.freeze(loaded.users.get(USER)?.row);
    Object.freeze(loaded.customers.get('c1'));
    const first = run(routed, loaded, { waitingPerUser: 10 });
    expect(run(routed, loaded, { waitingPerUser: 10 })).toEqual(first);
  });

  test('a user that was not loaded is one that does not exist', () => {
    const p = partition();
    const ran = setup().run(p.created({}, { userId: 'auth0|u9' }), p.status('ACTIVE', { userId: 'auth0|u9' }));
    expect(ran.results.map(word)).toEqual(['applied', 'applied']);
  });

  test('put says what a user that does not exist waits for', () => {
    const p = partition();
    expect(put(undefined, p.status('ACTIVE'), true)).toEqual({ outcome: 'waiting', reason: 'user' });
    expect(put(undefined, p.created(), false)).toEqual({ outcome: 'waiting', reason: 'customer' });
  });
});
