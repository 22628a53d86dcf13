// Whole streams through run, save and drain, in memory: what must hold whatever comes, however it is cut into batches.
//
// The deciding is real; the tables are test/support/store.ts. The same on Postgres: test/integration.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Decoded, UserEvent } from '../../src/events.ts';
import { judge } from '../../src/position.ts';
import { isoTime, put, type Settled, type UserRow } from '../../src/put.ts';
import type { Tallies } from '../../src/tallies.ts';
import { type Partition, partition, throwing } from '../support/events.ts';
import { coordinatesOf, copyOf, countQueue, drain, emptyTables, handle, type Tables } from '../support/store.ts';

// Streams

const ROLE_WORDS = ['SME_USER', 'SME_OWNER', 'INSTITUTION_ADMIN', 'CUSTOMER_USER', 'CUSTOMER_ADMIN'] as const;
const KINDS = [
  'created',
  'created',
  'status',
  'status',
  'status',
  'role',
  'role',
  'deleted',
  'customer',
  'again',
] as const;
const BAD = ['garbage', 'unknown', 'throwing'] as const;

/** What a test chooses; `make` turns it into the events of one partition. */
const said = fc.record({
  kind: fc.constantFrom<(typeof KINDS | typeof BAD)[number][]>(...KINDS, ...KINDS, ...KINDS, ...BAD),
  user: fc.nat(1),
  customer: fc.constantFrom('c1', 'c2', undefined),
  status: fc.constantFrom('PENDING', 'ACTIVE', 'ACTIVE', 'SUSPENDED', 'INACTIVE'),
  role: fc.constantFrom(...ROLE_WORDS),
  seconds: fc.nat(9),
});
type SaidValue = typeof said extends fc.Arbitrary<infer T> ? T : never;

/** `users`: those whose events come through this partition. Their clock goes back as often as not. */
function make(list: readonly SaidValue[], number: number, users: readonly string[]): Decoded[] {
  const p = partition(number);
  const events: Decoded[] = [];
  for (const it of list)
    events.push(eventOf(p, it, users[it.user % users.length] as string, it.seconds, events.at(-1)));
  return events;
}
function eventOf(p: Partition, it: SaidValue, userId: string, at: number, last: Decoded | undefined): Decoded {
  const sent = { userId, at };
  switch (it.kind) {
    case 'created':
      return p.created({ customerAccountId: it.customer, userType: 'SME_USER' }, sent);
    case 'status':
      return p.status(it.status as 'ACTIVE', sent);
    case 'role':
      return p.role(it.role, sent);
    case 'deleted':
      return p.deleted(sent);
    case 'customer':
      // Each customer by one partition, as each user: between two, the order of arrival could decide.
      return p.customer(p.number === 0 ? 'c1' : 'c2', { at, name: `Name ${it.seconds % 2}` });
    case 'unknown':
      return p.unknownVersion(it.status === 'ACTIVE' ? 'USER_CREATED' : 'USER_STATUS_CHANGED', sent);
    case 'throwing':
      return throwing(p.status('PENDING', sent));
    case 'again': {
      // The event before it, sent a second time: same id and content, the next offset.
      if (last === undefined || last.outcome === 'dead') return p.garbage();
      const offset = last.record.offset + 1n;
      p.status('ACTIVE', { offset });
      return { ...last, record: { ...last.record, offset } };
    }
    default:
      return p.garbage();
  }
}

/** Two partitions, each with its own users and customer. What fails is printed as it was said, not as records. */
const streams = fc.tuple(fc.array(said, { maxLength: 14 }), fc.array(said, { maxLength: 14 }));
type Said = typeof streams extends fc.Arbitrary<infer T> ? T : never;
const sourcesOf = ([a = [], b = []]: readonly SaidValue[][]) => [make(a, 0, ['u1', 'u2']), make(b, 1, ['u3'])];
/** A duplicate waits for nobody, so it may be told before or after what it overtakes. Without them nothing is left to the
 *  order of arrival. */
const withoutRepeats = (said: Said) =>
  sourcesOf(said.map((list) => list.map((it) => (it.kind === 'again' ? { ...it, kind: 'status' } : it))));

// Playing them

type Playing = { waitingPerUser: number; poisons?: ReadonlyMap<bigint, string> };

/** Records `from` to `to` of a source, judged by the saved position first, as partitions.ts does. */
function deliver(tables: Tables, events: readonly Decoded[], from: number, to: number, options: Playing): void {
  const some = events.slice(from, to);
  const [first] = some;
  if (first === undefined) return;
  const fetchedOffset = BigInt(from);
  const batch = { fetchedOffset, skippedFrom: fetchedOffset, lastOffset: fetchedOffset + BigInt(some.length) - 1n };
  const records = some.map(({ record }) => record);
  const verdict = judge({ ...batch, records }, tables.positions.get(first.source) ?? 0n);
  if (verdict.what !== 'process') return;
  const left = some.filter(({ record }) => verdict.records.includes(record));
  handle(tables, left, { ...options, advance: { source: first.source, from: verdict.from, to: verdict.to } });
}
const nextOf = (tables: Tables, events: readonly Decoded[]) =>
  Number(tables.positions.get(events[0]?.source ?? '') ?? 0n);

const PLENTY = { waitingPerUser: 10_000 };
/** Which partition delivers next, and how many records; what is left comes at the end. */
const batches = fc.array(fc.tuple(fc.nat(1), fc.integer({ min: 1, max: 5 })), { maxLength: 14 });

function play(sources: readonly Decoded[][], order: readonly (readonly [number, number])[], options: Playing = PLENTY) {
  const tables = emptyTables();
  for (const [which, records] of [...order, ...sources.map((_, i) => [i, Infinity] as const)]) {
    const events = sources[which] ?? [];
    const from = nextOf(tables, events);
    deliver(tables, events, from, from + records, options);
  }
  return tables;
}

/** More than deliveries: what operators do in between. */
const act = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constant('deliver' as const),
      which: fc.nat(1),
      records: fc.integer({ min: 1, max: 5 }),
    }),
  },
  fc.record({ what: fc.constantFrom('hold', 'lift', 'redrive'), user: fc.constantFrom('u1', 'u2', 'u3') }),
);
const life = fc.record({
  said: streams,
  acts: fc.array(act, { maxLength: 20 }),
  poisoned: fc.uniqueArray(fc.nat(13), { maxLength: 2 }),
});
type Life = typeof life extends fc.Arbitrary<infer T> ? T : never;

/** A small limit, so that queues are full at times. `check` after every act. */
function live(
  { said, acts, poisoned }: Life,
  check: (tables: Tables, sources: Decoded[][]) => void = () => {},
): Tables {
  const sources = sourcesOf(said);
  const tables = emptyTables();
  const options = { waitingPerUser: 4, poisons: new Map(poisoned.map((offset) => [BigInt(offset), '22021'])) };
  const rest = [0, 1].map((which) => ({ what: 'deliver' as const, which, records: Infinity }));
  const mended = ['u1', 'u2', 'u3'].flatMap((user) => [
    { what: 'lift', user } as const,
    { what: 'redrive', user } as const,
  ]);
  for (const act of [...acts, ...rest, ...mended]) {
    if (act.what === 'deliver') {
      const events = sources[act.which] ?? [];
      const from = nextOf(tables, events);
      deliver(tables, events, from, from + act.records, options);
    } else {
      if (act.what === 'hold') tables.holds.users.add(act.user);
      if (act.what === 'lift') tables.holds.users.delete(act.user);
      if (act.what === 'redrive')
        for (const [key, { buried, status }] of tables.deadLetters)
          if (buried.userId === act.user && status === 'open')
            tables.deadLetters.set(key, { buried, status: 'redriving' });
      drain(tables, act.user);
    }
    check(tables, sources);
  }
  return tables;
}

// Looking at them

const line = ({ outcome, event, customerId, version, from, to, transition, drift, facts }: Settled) =>
  [
    coordinatesOf(event),
    outcome,
    event.userId,
    customerId,
    version,
    from,
    to,
    transition,
    drift,
    JSON.stringify(facts),
  ].join(' ');
const byId = <T extends object>(rows: Map<string, T>) =>
  [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => ({ ...row, rev: 0 }));
/** All that may be seen, without `rev` and the reasons why something waits. */
const digest = (tables: Tables) => ({
  users: byId(tables.users),
  customers: byId(tables.customers),
  history: [...tables.history.values()].map(line).sort(),
  waiting: [...tables.waiting.keys()].sort(),
  dead: [...tables.deadLetters].map(([key, { buried, status }]) => `${key} ${status} ${buried.code}`).sort(),
  positions: [...tables.positions].sort(),
});

describe('however a stream is cut into batches', () => {
  test('the same rows and the same history, whichever partition is ahead (R7)', () => {
    const met = { history: 0, waiting: 0, dead: 0 };
    fc.assert(
      fc.property(streams, batches, (said, order) => {
        const sources = withoutRepeats(said);
        const whole = play(sources, []);
        const cut = play(sources, order);
        expect(digest(cut)).toEqual(digest(whole));
        met.history += whole.history.size;
        met.waiting += whole.waiting.size;
        met.dead += whole.deadLetters.size;
      }),
      { numRuns: 800 },
    );
    for (const [what, n] of Object.entries(met)) expect(n, what).toBeGreaterThan(100);
  });

  test('what is delivered again, or out of turn, changes nothing', () => {
    const anyRange = fc.tuple(fc.nat(1), fc.nat(14), fc.integer({ min: 1, max: 8 }));
    fc.assert(
      fc.property(streams, fc.array(anyRange, { maxLength: 20 }), (said, ranges) => {
        const sources = withoutRepeats(said);
        const tables = emptyTables();
        for (const [which, from, records] of ranges)
          deliver(tables, sources[which] ?? [], from, from + records, PLENTY);
        for (const events of sources) deliver(tables, events, 0, events.length, PLENTY);
        expect(digest(tables)).toEqual(digest(play(sources, [])));
        const before = digest(tables);
        for (const events of sources) deliver(tables, events, 0, events.length, PLENTY);
        expect(digest(tables)).toEqual(before);
      }),
      { numRuns: 400 },
    );
  });
});

describe('nothing vanishes', () => {
  test('each record below the position is in history, waits, or is a dead letter: in one of them, at all times', () => {
    const met = new Set<string>();
    fc.assert(
      fc.property(life, (life) => {
        live(life, (tables, sources) => {
          const dead = [...tables.deadLetters].filter(([, { status }]) => status !== 'resolved').map(([key]) => key);
          const places = [...tables.history.keys(), ...tables.waiting.keys(), ...dead].sort();
          const delivered = sources.flatMap((events) => events.slice(0, nextOf(tables, events)).map(coordinatesOf));
          expect(places).toEqual(delivered.sort());
          for (const { outcome } of tables.history.values()) met.add(outcome);
          for (const { reason } of tables.waiting.values()) met.add(`waiting ${reason}`);
          for (const { buried, status } of tables.deadLetters.values()) met.add(`dead ${buried.code}`).add(status);
        });
      }),
      { numRuns: 500 },
    );
    // A run that never met it shows nothing.
    expect([...met].sort()).toEqual(
      [
        ...[
          'applied',
          'dead json',
          'dead sql',
          'dead transition',
          'dead unknown-version',
          'dead waiting-full',
          'duplicate',
        ],
        ...['open', 'redriving', 'rejected', 'resolved', 'skipped', 'stale'],
        ...['waiting customer', 'waiting dead-letter', 'waiting hold', 'waiting order', 'waiting user'],
      ].filter((each) => each !== 'stale' || met.has('stale')),
    );
  });

  test('a user counts what waits for it, and nothing waits that could go', () => {
    fc.assert(
      fc.property(life, (life) => {
        const tables = live(life);
        for (const row of tables.users.values()) expect(row.waiting).toBe(countQueue(tables, row.userId).waiting);
        for (const userId of ['u1', 'u2', 'u3']) expect(drain(tables, userId)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

describe('the producer sends twice', () => {
  test('of two that are the same, one at most is put to the machine, wherever they meet', () => {
    let repeats = 0;
    fc.assert(
      fc.property(life, (life) => {
        const once = new Set<string>();
        for (const { outcome, event, facts } of live(life).history.values()) {
          if (outcome === 'duplicate') repeats++;
          if (outcome === 'duplicate' || event.userId === null) continue;
          expect(once.has(`${event.userId} ${facts.hash}`)).toBe(false);
          once.add(`${event.userId} ${facts.hash}`);
        }
      }),
      { numRuns: 300 },
    );
    expect(repeats).toBeGreaterThan(20);
  });
});

describe('the history is the user', () => {
  test('folded in the order of its versions it gives the row: ring, marks and all; rev and waiting aside (R6)', () => {
    let rows = 0;
    fc.assert(
      fc.property(life, (life) => {
        const tables = live(life);
        for (const row of tables.users.values()) {
          const steps = [...tables.history.values()].filter(({ event }) => event.userId === row.userId);
          steps.sort((a, b) => (a.version as number) - (b.version as number));
          expect(steps.map(({ version }) => version)).toEqual(Array.from({ length: row.version }, (_, i) => i + 1));
          expect({ ...fold(steps), rev: 0, waiting: 0 }).toEqual({ ...row, rev: 0, waiting: 0 });
          rows++;
        }
      }),
      { numRuns: 400 },
    );
    expect(rows).toBeGreaterThan(200);
  });

  /** From what a history row holds: coordinates, type, text, facts, times. */
  function fold(steps: readonly Settled[]): UserRow | undefined {
    let row: UserRow | undefined;
    for (const { event, facts, outcome, from, to, transition, drift } of steps) {
      const payload = JSON.parse(event.text);
      const occurredAtMs = Date.parse(isoTime(event));
      const rebuilt = {
        ...{ type: event.type, payload, userId: event.userId, customerId: payload.customerAccountId ?? null },
        ...{ source: event.source, record: { offset: event.record.offset }, hash: facts.hash },
        ...{ occurredAtMs, atMs: facts.atMs ?? occurredAtMs },
      } as UserEvent;
      const done = put(row, rebuilt, facts.customerKnown === true);
      if (!('row' in done)) throw new Error('a step of the history would wait');
      expect(done.settled).toMatchObject({ outcome, from, to, transition, drift });
      row = done.row;
    }
    return row;
  }
});

describe('the tallies', () => {
  test('their sums are what counting would give', () => {
    fc.assert(
      fc.property(life, (life) => {
        const tables = live(life);
        const counted: Tallies = {};
        const count = (key: string, by = 1) => {
          counted[key] = (counted[key] ?? 0) + by;
        };
        for (const events of sourcesOf(life.said)) count('records', nextOf(tables, events));
        for (const { event, outcome, transition, drift } of tables.history.values()) {
          count(`event|${event.type}|${outcome}`);
          if (outcome === 'applied' && transition !== null) count(`transition|${transition}`);
          if (drift) count(`drift|${event.type}`);
        }
        for (const { event } of tables.waiting.values()) count(`event|${event.type}|waiting`);
        for (const { buried, status } of tables.deadLetters.values()) {
          if (status === 'resolved') continue;
          count(`event|${buried.event.type ?? '_OTHER'}|dead`);
          count(`dead|${buried.code}`);
        }
        for (const { state } of tables.users.values()) count(`state|${state}`);
        const without0 = (tallies: Tallies) => Object.fromEntries(Object.entries(tallies).filter(([, n]) => n !== 0));
        expect(without0(tables.tallies)).toEqual(without0(counted));
      }),
      { numRuns: 400 },
    );
  });
});

describe('a user fed by two partitions', () => {
  const word = fc.oneof(
    fc.constantFrom('PENDING', 'ACTIVE', 'ACTIVE', 'SUSPENDED').map((status) => ({ status })),
    // Which role is decided below: none twice, since a role that is the same already changes nothing where it arrives.
    fc.constant({ role: true }),
  );

  test('ends the same whatever arrives first: the time decides', () => {
    const met = new Set<string>();
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(1), word), { minLength: 2, maxLength: 8 }),
        fc.infiniteStream(fc.nat(1)),
        (list, choices) => {
          const partitions = [partition(0), partition(1)];
          const roles = ['SME_OWNER', 'INSTITUTION_USER', 'INSTITUTION_ADMIN'] as const;
          let role = 0;
          const sources: UserEvent[][] = [[], []];
          const inTime: UserEvent[] = [];
          list.forEach(([which, it], at) => {
            const p = partitions[which] as Partition;
            const word = roles[role];
            if (!('status' in it) && word === undefined) return;
            if (!('status' in it)) role++;
            const event =
              'status' in it ? p.status(it.status as 'ACTIVE', { at }) : p.role(word as 'SME_OWNER', { at });
            sources[which]?.push(event);
            inTime.push(event);
          });
          const tables = emptyTables();
          handle(tables, [partition(2).created({ customerAccountId: undefined, userType: 'SME_USER' })]);
          const straight = copyOf(tables);
          for (const event of inTime) handle(straight, [event]);
          const left = sources.map((events) => [...events]);
          while (left.some((events) => events.length > 0)) {
            const which = left[0]?.length === 0 ? 1 : left[1]?.length === 0 ? 0 : (choices.next().value as number);
            handle(tables, [left[which]?.shift() as UserEvent]);
          }
          const end = (from: Tables) => [...from.users.values()].map(({ ring, ...row }) => ({ ...row, rev: 0 }));
          expect(end(tables)).toEqual(end(straight));
          for (const { outcome, to } of tables.history.values()) met.add(outcome).add(to as string);
        },
      ),
      { numRuns: 2_000 },
    );
    expect([...met].sort()).toEqual(['active', 'applied', 'pending', 'roleChanged', 'skipped', 'stale', 'suspended']);
  });
});
