// All interleavings of one user, two partitions, a drain in each process, and sometimes an operator: no order of their
// statements breaks a promise. And with one of the rules left out, some order does: the model can see.
//
// How it is walked: test/support/model.ts. The rules: docs/architecture.md, "Waiting and waking". From a thousand to 10¹¹ schedules
// per scenario, through 99 to 14,721 different states.
import { describe, expect, test } from 'vitest';
import type { Event } from '../../src/events.ts';
import { type Partition, partition, USER } from '../support/events.ts';
import { type Explored, explore, type Rules, type Scenario } from '../support/model.ts';
import { emptyTables, handle } from '../support/store.ts';

const NONE = { customerAccountId: undefined, userType: 'SME_USER' } as const;

type Batches = readonly (readonly Event[])[];
function two(make: (p0: Partition, p1: Partition) => [Batches, Batches], rest: Partial<Scenario> = {}): Scenario {
  return { partitions: make(partition(0), partition(1)), ...rest };
}
/** A user that is active, by a third partition. */
function existing(): Scenario['tables'] & object {
  const tables = emptyTables();
  const p = partition(2);
  handle(tables, [p.created(NONE, { at: -9 }), p.status('ACTIVE', { at: -8 })]);
  return tables;
}
function onHold() {
  const tables = existing();
  tables.holds.users.add(USER);
  return tables;
}
/** Its first event was refused by Postgres: a dead letter behind which the user waits. */
function blocked() {
  const tables = existing();
  handle(tables, [partition(0).status('SUSPENDED', { at: 1 })], {
    waitingPerUser: 9,
    poisons: new Map([[0n, '22021']]),
  });
  return tables;
}
/** p0, of which offset 0 was there before. */
function p0From1(): Partition {
  const p = partition(0);
  p.status('SUSPENDED', { at: 1 });
  return p;
}

/** `end`: where the user ends in every schedule, "state role" and what waits. */
const SCENARIOS: Record<string, { scenario: Scenario; end: string; meets: string }> = {
  'statuses of a user whose creation comes through another partition': {
    scenario: two((p0, p1) => [
      [[p0.status('SUSPENDED', { at: 1 })], [p0.status('ACTIVE', { at: 3 })]],
      [[p1.created(NONE, { at: 2 })], [p1.role('SME_OWNER', { at: 4 })]],
    ]),
    end: 'roleChanged CUSTOMER_ADMIN 0',
    meets: 'applied waiting',
  },
  'the same in fuller batches, the role change in between': {
    scenario: two((p0, p1) => [
      [[p0.status('SUSPENDED', { at: 1 }), p0.status('ACTIVE', { at: 3 })], [p0.status('ACTIVE', { at: 6 })]],
      [[p1.created(NONE, { at: 2 }), p1.role('SME_OWNER', { at: 4 })]],
    ]),
    end: 'active CUSTOMER_ADMIN 0',
    meets: 'applied waiting',
  },
  'three batches against one creation': {
    scenario: two((p0, p1) => [
      [[p0.status('SUSPENDED', { at: 1 })], [p0.status('PENDING', { at: 2 })], [p0.status('ACTIVE', { at: 3 })]],
      [[p1.created(NONE, { at: 9 })]],
    ]),
    end: 'active CUSTOMER_USER 0',
    meets: 'applied waiting',
  },
  'statuses of both partitions for a user that is there': {
    scenario: two(
      (p0, p1) => [
        [[p0.status('SUSPENDED', { at: 1 })], [p0.status('ACTIVE', { at: 4 })]],
        [[p1.status('PENDING', { at: 2 })], [p1.status('SUSPENDED', { at: 3 }), p1.role('SME_OWNER', { at: 5 })]],
      ],
      { tables: existing() },
    ),
    end: 'roleChanged CUSTOMER_ADMIN 0',
    meets: 'applied stale',
  },
  'the customer comes while the creation is on its way': {
    scenario: two((p0, p1) => [
      [
        [p0.created({ userType: 'SME_USER' }, { at: 1 })],
        [p0.status('SUSPENDED', { at: 2 })],
        [p0.status('ACTIVE', { at: 3 })],
      ],
      [[p1.customer('c1', { at: 9 })]],
    ]),
    end: 'active CUSTOMER_USER 0',
    meets: 'applied waiting',
  },
  'created by both partitions': {
    scenario: two((p0, p1) => [
      [[p0.created(NONE, { at: 1 })], [p0.status('ACTIVE', { at: 3 })]],
      [[p1.created(NONE, { at: 2 }), p1.role('SME_OWNER', { at: 4 })]],
    ]),
    end: 'roleChanged CUSTOMER_ADMIN 0',
    meets: 'applied skipped',
  },
  'the producer sends an event twice, through both partitions': {
    scenario: two((p0, p1) => [
      [[p0.created(NONE, { at: 1 }), p0.status('SUSPENDED', { at: 2, id: 'same' })], [p0.status('ACTIVE', { at: 3 })]],
      [[p1.status('SUSPENDED', { at: 2, id: 'same' })]],
    ]),
    end: 'active CUSTOMER_USER 0',
    meets: 'applied duplicate waiting',
  },
  'a hold is lifted': {
    scenario: two(
      (p0, p1) => [
        [[p0.status('SUSPENDED', { at: 1 })], [p0.status('ACTIVE', { at: 3 })]],
        [[p1.role('SME_OWNER', { at: 2 })]],
      ],
      { tables: onHold(), operator: (tables) => void tables.holds.users.delete(USER) },
    ),
    end: 'active CUSTOMER_ADMIN 0',
    meets: 'applied waiting',
  },
  'a dead letter is redriven': {
    scenario: {
      tables: blocked(),
      partitions: [
        [[p0From1().status('PENDING', { at: 2 })], [partition(0).status('ACTIVE', { at: 4, offset: 2 })]],
        [[partition(1).role('SME_OWNER', { at: 3 })]],
      ],
      operator(tables) {
        for (const [key, { buried }] of tables.deadLetters)
          tables.deadLetters.set(key, { buried, status: 'redriving' });
      },
    },
    end: 'active CUSTOMER_ADMIN 0',
    meets: 'applied waiting',
  },
};

/** Rows remembered or not. */
const WAYS: [string, Partial<Rules>][] = [
  ['rows read', {}],
  ['rows remembered', { memory: true }],
];
const names = Object.keys(SCENARIOS);
const cases = names.flatMap((name) => WAYS.map(([way, rules]) => [name, way, rules] as const));
const scenarioOf = (name: string) => SCENARIOS[name] as (typeof SCENARIOS)[string];
const ends = ({ rows }: Explored) => [...rows.values()].map((row) => row && `${row.state} ${row.role} ${row.waiting}`);

describe('whoever is faster', () => {
  test.each(cases)('%s, %s: in order, once each, the same end', (name, _, rules) => {
    const { scenario, end, meets } = scenarioOf(name);
    const explored = explore(scenario, rules);
    expect(Object.fromEntries(explored.violations)).toEqual({});
    expect([...new Set(ends(explored))]).toEqual([end]);
    expect([...explored.outcomes].sort().join(' ')).toBe(meets);
    expect(explored.conflicts).toBeGreaterThan(0);
    expect(explored.schedules).toBeGreaterThan(200);
  });
});

describe('with a rule left out, the model finds the order that breaks it', () => {
  /** What breaks anywhere in the scenarios. */
  const broken = (rules: Partial<Rules>) => {
    const sentences = new Set<string>();
    for (const name of names) {
      const explored = explore(scenarioOf(name).scenario, rules);
      for (const sentence of explored.violations.keys()) sentences.add(sentence);
      if (new Set(ends(explored)).size > 1) sentences.add('the end depends on who is faster');
    }
    return [...sentences].sort();
  };

  test('nothing left out: nothing breaks', () => {
    expect(broken({})).toEqual([]);
  });

  test('the gate on what waits', () => {
    expect(broken({ gate: false })).toMatchInlineSnapshot(`
      [
        "an event overtook one of its own source",
      ]
    `);
  });

  test('the check of rev', () => {
    expect(broken({ revs: false })).toMatchInlineSnapshot(`
      [
        "an event overtook one of its own source",
        "the end depends on who is faster",
        "the versions have a gap, or one twice",
      ]
    `);
  });

  test('the drain after a save that put an event to wait', () => {
    expect(broken({ drainAfterWaiting: false })).toMatchInlineSnapshot(`
      [
        "an event waits that could go",
        "the end depends on who is faster",
        "the user counts wrongly what waits for it",
      ]
    `);
  });

  test('the ring of recent events', () => {
    expect(broken({ ring: false })).toMatchInlineSnapshot(`
      [
        "an event was put to the machine twice",
      ]
    `);
  });

  test('rows are read before what waits of them: the news of a queue would be older than the rev', () => {
    // An operator sets a hold at any time: what one partition puts to wait then, the other must not miss.
    const scenario = two(
      (p0, p1) => [
        [[p0.status('SUSPENDED', { at: 1 })], [p0.status('ACTIVE', { at: 3 })]],
        [[p1.role('SME_OWNER', { at: 2 })]],
      ],
      { tables: existing(), operator: (tables) => void tables.holds.users.add(USER) },
    );
    expect([...explore(scenario).violations.keys()]).toEqual([]);
    expect([...explore(scenario, { memory: true }).violations.keys()]).toEqual([]);
    expect([...explore(scenario, { queueFirst: true }).violations.keys()]).toContain(
      'the user counts wrongly what waits for it',
    );
  });

  test('the rows that wait are counted: the number in the user’s row is not enough', () => {
    expect(broken({ countRows: false })).toMatchInlineSnapshot(`
      [
        "an event overtook one of its own source",
      ]
    `);
  });
});

describe('what is not promised', () => {
  test('a role change that changes nothing sets the role mark where it arrives: an ACTIVE before it may end either way', () => {
    const p = partition(2);
    const tables = emptyTables();
    handle(tables, [p.created(NONE, { at: -9 })]);
    const scenario = two((p0, p1) => [[[p0.status('ACTIVE', { at: 1 })]], [[p1.role('SME_USER', { at: 2 })]]], {
      tables,
    });
    const explored = explore(scenario);
    expect([...explored.violations.keys()]).toEqual([]);
    expect(ends(explored).sort()).toEqual(['active CUSTOMER_USER 0', 'roleChanged CUSTOMER_USER 0']);
  });
});
