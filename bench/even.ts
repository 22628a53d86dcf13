// even.ts — the load of the benchmark: users spread evenly over partitions, in an order in which nearly every event is
// another user's. The worst case for folding: hardly any user is written once for two events.
//
// A user's first event creates it, the others change it in turn. Its customer is created in the same partition before it.
import { cloudEvent } from '../dev/load.ts';
import { createRandom } from '../dev/random.ts';
import type { OutgoingRecord } from '../src/sources/kafka-client.ts';

export type EvenOptions = {
  events: number;
  users: number;
  partitions: number;
  seed: number;
  /** Every record has a `traceparent`, one in so many is sampled. Default: none has. */
  sampleOneIn?: number;
  /** The clock of the events' timestamps. Default: one a millisecond, up to now. */
  now?: () => number;
};

const CUSTOMERS_PER_PARTITION = 100;

/** First the customers, then `events` events; each is placed. Throws unless exactly `users` users came out. */
export function* evenLoad({
  events,
  users,
  partitions,
  seed,
  sampleOneIn,
  now,
}: EvenOptions): Generator<OutgoingRecord> {
  const random = createRandom(seed);
  const startMs = Date.now() - events;
  for (let n = 0; n < CUSTOMERS_PER_PARTITION * partitions; n++) {
    const customerAccountId = customerOf(n, partitions);
    const payload = { customerAccountId, name: `Customer ${n}`, timestamp: at(now?.() ?? startMs) };
    yield place(n % partitions, customerAccountId, 'CUSTOMER_CREATED', payload);
  }
  // Every user once, the rest at random; then shuffled.
  const order = Uint32Array.from({ length: events }, (_, i) => (i < users ? i : random.below(users)));
  for (let i = events - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  const seen = new Uint8Array(users);
  let distinct = 0;
  for (let i = 0; i < events; i++) {
    const user = order[i] as number;
    const turn = seen[user] as number;
    if (turn === 0) distinct++;
    seen[user] = Math.min(turn + 1, 255);
    const [type, fields] = what(user, turn, partitions);
    const userId = `auth0|${(user + 0x5eed_0000_0000).toString(16).padStart(24, '0')}`;
    const payload = { userId, ...fields, timestamp: at(now?.() ?? startMs + i) };
    yield place(user % partitions, customerOf(user, partitions), type, payload);
  }
  if (distinct !== users) throw new Error(`${distinct} distinct users came out, ${users} were asked for`);

  function place(partition: number, key: string, type: string, payload: object): OutgoingRecord {
    const id = `${random.hex(8)}-${random.hex(4)}-4${random.hex(3)}-a${random.hex(3)}-${random.hex(12)}`;
    const event = cloudEvent(key, { id, type, source: '/bench' }, JSON.stringify(payload));
    if (sampleOneIn === undefined) return { ...event, partition };
    const flags = random.below(sampleOneIn) === 0 ? '01' : '00';
    const traceparent = `00-${random.hex(32)}-${random.hex(16)}-${flags}`;
    return { ...event, partition, headers: [...(event.headers ?? []), ['traceparent', traceparent]] };
  }
}

function customerOf(user: number, partitions: number): string {
  const partition = user % partitions;
  const nth = Math.floor(user / partitions) % CUSTOMERS_PER_PARTITION;
  return `customer-${partition}-${nth}`;
}

function what(user: number, turn: number, partitions: number): [type: string, fields: object] {
  const by = { userType: 'SME_USER', changedBy: 'support@example.com' };
  if (turn === 0) {
    const customer = { customerAccountId: customerOf(user, partitions), customerName: 'Engines Ltd' };
    const person = { email: `user${user}@example.com`, name: `Ada Lovelace ${user}`, role: 'USER' };
    return ['USER_CREATED', { ...person, userType: 'SME_USER', ...customer }];
  }
  if (turn % 3 === 1) return ['USER_STATUS_CHANGED', { previousStatus: 'PENDING', newStatus: 'ACTIVE', ...by }];
  if (turn % 3 === 2) {
    const newRole = turn % 2 === 0 ? 'SME_OWNER' : 'SME_USER';
    return ['USER_ROLE_CHANGED', { previousRole: 'SME_USER', newRole, ...by }];
  }
  return ['USER_STATUS_CHANGED', { previousStatus: 'ACTIVE', newStatus: 'SUSPENDED', ...by }];
}

function at(ms: number): string {
  return new Date(ms).toISOString();
}
