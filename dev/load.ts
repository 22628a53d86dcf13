// load.ts — what two services would send: a seeded load of good and bad events, and the counts it must end in.
//
// Owns:          the events and their order, and a small model of its own of what each must become.
// Does not own:  sending (src/cli/demo.ts, bench/), any word of how the service decides: its run.ts is not asked.
//
// L1  The expected counts do not depend on which topic or partition is read first. All events of a native user have the
//     key of its customer: one partition, one order. The scripts of the users that come by NestJS' `emit`, unkeyed and over
//     several topics, are such that every order of arrival ends in the same counts.
// L2  Late events are sent when all others were handled: only then it is certain that they are late.
// L3  The same options give the same load.
import type { EventType, Outcome } from '../src/events.ts';
import type { OutgoingRecord } from '../src/sources/kafka-client.ts';
import { createRandom, type Random, zipf } from './random.ts';

export type LoadOptions = {
  seed: number;
  /** How many in all; Infinity: until nobody takes more. */
  events: number;
  /** About how many users are among them. */
  users: number;
  /** When the newest event happens, ms since 1970; the others before it, one a millisecond. */
  atMs: number;
} & Shares;
/** 0 to 1. */
export type Shares = {
  bad: number;
  duplicates: number;
  late: number;
  /** Of the users: those that come by NestJS' `emit`. */
  unkeyed: number;
};
export const SHARES: Shares = { bad: 0.01, duplicates: 0.01, late: 0.005, unkeyed: 0.1 };

export const SERVICES = ['accounting-service', 'portfolio-service'] as const;
export type Service = (typeof SERVICES)[number];
export type Sent = { by: Service; record: OutgoingRecord };

export const USER_STATES = ['pending', 'active', 'roleChanged', 'suspended', 'deleted'] as const;
type State = (typeof USER_STATES)[number];
export type Counts = { records: number; outcomes: Record<Outcome, number>; states: Record<State, number> };

export type Load = {
  /** The next `most` events or one more, in order. Empty: over. */
  more(most: number): Sent[];
  /** The customers that some wait for, and events that are late (L2): at the end, when the others were handled. */
  late(): Sent[];
  /** What all that was given out so far must end in. */
  expected(): Counts;
  /** Who is worth a look: a user with many events, one that waits, and the customer it waits for. */
  examples(): { busy: string | undefined; waiting: string | undefined; missing: string | undefined };
  facts(): { events: number; users: number; customers: number };
};

type Customer = {
  id: string;
  by: Service;
  name: string;
  /** `late`: created by late(), its users wait until then. `never`: they wait for ever. */
  comes: 'first' | 'late' | 'never';
  exists: boolean;
};
type User = {
  id: string;
  customer: Customer;
  /** As its events make it, once its customer exists. */
  state: State;
  admin: boolean;
  outcomes: Outcome[];
  /** Its last event, to be sent twice. */
  last: Sent | undefined;
  hasStatus: boolean;
  /** Unkeyed users: what is still to come. Native ones live on. */
  script: Step[] | undefined;
};

type Step = 'create again' | 'active' | 'suspended' | 'role' | 'delete' | 'repeat';
/** Every order of arrival leads to the same counts (L1): at most one status and one role event, nothing beside a deletion.
 *  What comes before its creation waits for it. */
const SCRIPTS: readonly (readonly Step[])[] = [
  ['active'],
  ['active', 'role'], // roleChanged, whichever is read first
  ['role', 'active'], // active, whichever is read first
  ['suspended'],
  ['delete'],
  ['create again'],
  ['active', 'repeat'],
];

/** What a native user's status is likely to become. */
const NEXT_STATUS: Readonly<Record<State, readonly string[]>> = {
  pending: ['ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'SUSPENDED', 'PENDING'],
  active: ['SUSPENDED', 'SUSPENDED', 'SUSPENDED', 'INACTIVE', 'PENDING', 'ACTIVE'],
  roleChanged: ['ACTIVE', 'ACTIVE', 'ACTIVE', 'SUSPENDED'],
  suspended: ['ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'PENDING', 'SUSPENDED'],
  deleted: ['ACTIVE', 'SUSPENDED'],
};

export function createLoad(options: LoadOptions): Load {
  const random = createRandom(options.seed);
  const isEndless = !Number.isFinite(options.events);
  const customers = makeCustomers(options, random);
  const chooseCustomer = zipf(customers.length);
  const lateCustomers = customers.filter(({ comes }) => comes === 'late');
  const lateEvents = lateCustomers.length + (isEndless ? 100 : Math.ceil(options.events * options.late));
  const userShare = isEndless ? 1 / 6 : options.users / options.events;
  const startMs = options.atMs - (isEndless ? 3_600_000 : options.events);

  const users: User[] = [];
  /** Those that something may still happen to. */
  const pool: User[] = [];
  /** Of those that are no user's. */
  const others = { dead: 0, customers: 0 };
  let given = 0;

  return { more, late, expected, examples, facts };

  function more(most: number): Sent[] {
    const sent: Sent[] = [];
    while (sent.length < most && given < options.events - lateEvents) {
      const next = makeNext();
      given += next.length;
      sent.push(...next);
    }
    return sent;
  }

  function makeNext(): Sent[] {
    if (random.chance(options.bad)) return [makeBad()];
    if (pool.length === 0 || random.chance(userShare)) return makeNewUser();
    const at = random.below(pool.length);
    const user = pool[at] as User;
    const sent = user.script === undefined ? liveOn(user) : goOn(user, user.script);
    const isOver =
      user.script === undefined ? user.state === 'deleted' && random.chance(0.3) : user.script.length === 0;
    if (isOver) {
      pool[at] = pool.at(-1) as User;
      pool.pop();
    }
    return [sent];
  }

  function makeNewUser(): Sent[] {
    const customer = customers[chooseCustomer(random)] as Customer;
    const sent = customer.exists || customer.comes !== 'first' ? [] : [create(customer)];
    const user: User = {
      ...{ id: `auth0|${random.hex(24)}`, customer, state: 'pending', admin: random.chance(0.2), outcomes: [] },
      ...{ last: undefined, hasStatus: false, script: undefined },
    };
    users.push(user);
    pool.push(user);
    if (random.chance(options.unkeyed)) {
      user.script = [...random.pick(SCRIPTS)];
      return [...sent, emit(user, 'USER_CREATED', 'applied')];
    }
    if (!random.chance(0.01)) return [...sent, send(user, 'USER_CREATED', 'applied')];
    // Its first event comes before its creation, and waits for it.
    const early = setStatus(user, 'ACTIVE');
    return [...sent, early, send(user, 'USER_CREATED', 'applied')];
  }

  function create(customer: Customer): Sent {
    customer.exists = true;
    others.customers++;
    const payload = { customerAccountId: customer.id, name: customer.name, timestamp: timestamp() };
    return native(customer, 'CUSTOMER_CREATED', payload);
  }

  /** What happens to a native user next. */
  function liveOn(user: User): Sent {
    const isDeleted = user.state === 'deleted';
    if (user.last !== undefined && random.chance(options.duplicates)) {
      user.outcomes.push('duplicate');
      return user.last;
    }
    if (random.chance(0.01)) return send(user, 'USER_CREATED', isDeleted ? 'rejected' : 'skipped');
    if (random.chance(0.02)) return remove(user);
    if (random.chance(user.state === 'active' ? 0.4 : 0.15)) {
      return setRole(user, random.chance(0.05) ? user.admin : !user.admin);
    }
    return setStatus(user, random.pick(NEXT_STATUS[user.state]));
  }

  function goOn(user: User, script: Step[]): Sent {
    const step = script.shift() as Step;
    if (step === 'repeat') {
      user.outcomes.push('duplicate');
      return user.last as Sent;
    }
    if (step === 'create again') return emit(user, 'USER_CREATED', 'skipped');
    if (step === 'delete') return remove(user);
    if (step === 'role') return setRole(user, !user.admin);
    return setStatus(user, step === 'active' ? 'ACTIVE' : 'SUSPENDED');
  }

  // The model: what each event makes of its user.

  function setStatus(user: User, newStatus: string): Sent {
    const previousStatus = { active: 'ACTIVE', suspended: 'SUSPENDED', pending: 'PENDING' }[user.state as string];
    const state = { ACTIVE: 'active', PENDING: 'pending' }[newStatus] ?? 'suspended';
    const outcome = user.state === 'deleted' ? 'rejected' : user.state === state ? 'skipped' : 'applied';
    if (outcome === 'applied') user.state = state as State;
    user.hasStatus = true;
    const deliver = user.script === undefined ? send : emit;
    return deliver(user, 'USER_STATUS_CHANGED', outcome, { previousStatus: previousStatus ?? 'ACTIVE', newStatus });
  }

  function setRole(user: User, admin: boolean): Sent {
    const previousRole = roleOf(user);
    const outcome = user.state === 'deleted' ? 'rejected' : user.admin === admin ? 'skipped' : 'applied';
    if (outcome === 'applied') {
      user.admin = admin;
      if (user.state === 'active') user.state = 'roleChanged';
    }
    const deliver = user.script === undefined ? send : emit;
    return deliver(user, 'USER_ROLE_CHANGED', outcome, { previousRole, newRole: roleOf({ ...user, admin }) });
  }

  function remove(user: User): Sent {
    const outcome = user.state === 'deleted' ? 'rejected' : 'applied';
    user.state = 'deleted';
    return (user.script === undefined ? send : emit)(user, 'USER_DELETED', outcome);
  }

  // The ways to send it.

  /** By the native topic, most of them in the native form. */
  function send(user: User, type: EventType, outcome: Outcome, fields: object = {}): Sent {
    user.outcomes.push(outcome);
    user.last = native(user.customer, type, payloadOf(user, type, fields));
    return user.last;
  }

  /** As a NestJS service does it: a topic named like the event, no key, no header. */
  function emit(user: User, type: EventType, outcome: Outcome, fields: object = {}): Sent {
    user.outcomes.push(outcome);
    user.last = unkeyed(user, type, payloadOf(user, type, fields));
    return user.last;
  }

  function native({ id, by }: Customer, type: string, payload: object): Sent {
    const form = random.below(100);
    const source = `/${by.replace('-service', '')}`;
    const eventId = `${random.hex(8)}-${random.hex(12)}`;
    if (form < 3) return { by, record: { topic: 'user-events', key: id, value: JSON.stringify({ type, ...payload }) } };
    if (form < 6) {
      const envelope = { specversion: '1.0', id: eventId, type, source, datacontenttype: 'application/json' };
      const headers = [['content-type', 'application/cloudevents+json; charset=UTF-8']] as const;
      const value = JSON.stringify({ ...envelope, data: payload });
      return { by, record: { topic: 'user-events', key: id, value, headers } };
    }
    return { by, record: cloudEvent(id, { id: eventId, type, source }, JSON.stringify(payload)) };
  }

  function payloadOf(user: Pick<User, 'id' | 'customer' | 'admin'>, type: string, fields: object): object {
    const { id: userId, customer } = user;
    const common = { userId, userType: roleOf(user), timestamp: timestamp() };
    if (type === 'USER_DELETED') return { ...common, deletedBy: 'support@example.com' };
    if (type !== 'USER_CREATED') return { ...common, changedBy: 'support@example.com', ...fields };
    const [first, last] = [random.pick(FIRST_NAMES), random.pick(LAST_NAMES)];
    return {
      ...common,
      email: `${first}.${last}@example.com`.toLowerCase(),
      name: `${first} ${last}`,
      role: user.admin ? 'OWNER' : 'USER',
      ...{ customerAccountId: customer.id, customerName: customer.name },
    };
  }

  /** In the order in which they are made; `agoMs`: before all of them. */
  function timestamp(agoMs = 0): string {
    return new Date(agoMs === 0 ? startMs + given : startMs - agoMs).toISOString();
  }

  /** No event, and nobody waits behind it. */
  function makeBad(): Sent {
    others.dead++;
    const customer = customers[chooseCustomer(random)] as Customer;
    const fields = { previousStatus: 'PENDING', newStatus: 'ACTIVE' };
    const payload = payloadOf({ id: `auth0|${random.hex(24)}`, customer, admin: false }, 'USER_STATUS_CHANGED', fields);
    const bad = (value: Buffer | string | null) => ({
      by: customer.by,
      record: cloudEvent(customer.id, { id: random.hex(16), type: 'USER_STATUS_CHANGED', source: '/bad' }, value),
    });
    switch (random.below(5)) {
      case 0: // bytes that are no text
        return bad(Buffer.concat([Buffer.from([0xff]), random.bytes(40)]));
      case 1: // cut off
        return bad(JSON.stringify(payload).slice(0, -10));
      case 2: // a tombstone: never a deletion
        return bad(null);
      case 3: // a status that the contract does not know
        return bad(JSON.stringify({ ...payload, newStatus: 'FROZEN' }));
      default:
        return native(customer, 'USER_RENAMED', payload);
    }
  }

  function late(): Sent[] {
    const sent = lateCustomers.map(create);
    given += sent.length;
    // A status older than the last one, from another source: it would undo what is newer.
    const settled = users.filter(
      ({ customer, state, hasStatus, script }) =>
        customer.comes === 'first' && state !== 'deleted' && hasStatus && script === undefined,
    );
    const most = isEndless ? lateEvents - lateCustomers.length : options.events - given;
    for (let n = 0; n < most && settled.length > 0; n++) {
      const user = random.pick(settled);
      user.outcomes.push('stale');
      const fields = { previousStatus: 'ACTIVE', newStatus: 'PENDING', timestamp: timestamp(3_600_000 + given) };
      sent.push(unkeyed(user, 'USER_STATUS_CHANGED', payloadOf(user, 'USER_STATUS_CHANGED', fields)));
      given++;
    }
    return sent;
  }

  function expected(): Counts {
    const counts = noCounts();
    counts.records = given;
    counts.outcomes.dead = others.dead;
    counts.outcomes.applied = others.customers;
    for (const { customer, state, outcomes } of users) {
      if (customer.exists) counts.states[state]++;
      for (const outcome of outcomes) counts.outcomes[customer.exists ? outcome : 'waiting']++;
    }
    return counts;
  }

  function examples() {
    const waiting = users.find(({ customer }) => !customer.exists);
    let busy: User | undefined;
    for (const user of users) {
      if (user.customer.exists && user.outcomes.length > (busy?.outcomes.length ?? 0)) busy = user;
    }
    return { busy: busy?.id, waiting: waiting?.id, missing: waiting?.customer.id };
  }

  function facts() {
    return { events: given, users: users.length, customers: others.customers };
  }
}

export function noCounts(): Counts {
  return {
    records: 0,
    outcomes: { applied: 0, skipped: 0, duplicate: 0, stale: 0, rejected: 0, waiting: 0, dead: 0 },
    states: { pending: 0, active: 0, roleChanged: 0, suspended: 0, deleted: 0 },
  };
}

/** Small and medium ones are Accounting's, institutions are Portfolio's. Some of the less frequent ones come late or never. */
function makeCustomers({ users, seed }: LoadOptions, random: Random): Customer[] {
  const count = Math.max(20, Math.round(users / 20));
  return Array.from({ length: count }, (_, rank): Customer => {
    const by = SERVICES[rank % 2] as Service;
    const word = by === 'accounting-service' ? 'sme' : 'inst';
    const name = `${random.pick(LAST_NAMES)} ${random.pick(by === 'accounting-service' ? TRADES : INSTITUTIONS)}`;
    const isSeldom = rank > count / 4;
    const comes = isSeldom && rank % 20 === 7 ? 'late' : isSeldom && rank % 40 === 18 ? 'never' : 'first';
    return { id: `${word}-${seed}-${String(rank).padStart(5, '0')}`, by, name, comes, exists: false };
  });
}

function roleOf({ customer, admin }: Pick<User, 'customer' | 'admin'>): string {
  if (customer.by === 'accounting-service') return admin ? 'SME_OWNER' : 'SME_USER';
  return admin ? 'INSTITUTION_ADMIN' : 'INSTITUTION_USER';
}

function unkeyed({ customer }: User, topic: string, payload: object): Sent {
  return { by: customer.by, record: { topic, key: null, value: JSON.stringify(payload) } };
}

/** CloudEvents 1.0, binary: our native form. */
export function cloudEvent(
  key: string,
  { id, type, source }: { id: string; type: string; source: string },
  value: Buffer | string | null,
): OutgoingRecord {
  const headers = [
    ['ce_specversion', '1.0'],
    ['ce_id', id],
    ['ce_type', type],
    ['ce_source', source],
    ['content-type', 'application/json'],
  ] as const;
  return { topic: 'user-events', key, value, headers };
}

const FIRST_NAMES = ['Ada', 'Alan', 'Barbara', 'Edsger', 'Frances', 'Grace', 'Hedy', 'John', 'Katherine', 'Margaret'];
const LAST_NAMES = ['Allen', 'Dijkstra', 'Hamilton', 'Hopper', 'Johnson', 'Lamarr', 'Liskov', 'Lovelace', 'Turing'];
const TRADES = ['Bakery', 'Bikes', 'Carpentry', 'Engines', 'Gardens', 'Looms', 'Print Shop', 'Roofing'];
const INSTITUTIONS = ['Bank', 'Capital', 'Insurance', 'Mutual', 'Pension Fund', 'Savings'];
