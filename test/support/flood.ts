// flood.ts — a load whose result is known: each user once created and then moved, every event of a user in order.
import { expect } from 'vitest';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  roleChanged,
  statusChanged,
  userCreated,
} from './records.ts';
import { until, type World } from './world.ts';

export type Flood = { users: number; each: number };
export const FLOOD: Flood = { users: 400, each: 50 };
/** Small batches: hundreds of saves to be killed in. A dead member is noticed soon. */
export const SETTINGS = {
  LOG_LEVEL: 'info',
  LOG_EVENTS: 'off',
  KAFKA_MAX_BYTES_PER_PARTITION: '16384',
  KAFKA_SESSION_TIMEOUT_MS: '4000',
  KAFKA_REBALANCE_TIMEOUT_MS: '4000',
  KAFKA_HEARTBEAT_MS: '1000',
  DB_STATEMENT_TIMEOUT_MS: '3000',
  DB_IDLE_IN_TRANSACTION_MS: '3000',
};

/** `users` × `each` events and 10 customers. Every tenth user waits for its customer, which comes half-way. */
export function* flood({ users, each }: Flood): Generator<Arrival[]> {
  for (let round = 0; round < each; round++) {
    const events: Arrival[] = [];
    if (round === each >> 1)
      for (let n = 0; n < 10; n++) {
        const customerAccountId = `c${n}`;
        events.push(
          cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId }), { id: `c${n}`, key: `c${n}` }),
        );
      }
    for (let n = 0; n < users; n++) events.push(event(n, round));
    yield events;
  }
}

function event(n: number, round: number): Arrival {
  const userId = `u${n}`;
  const over = { id: `${userId}-${round}`, key: userId };
  const timestamp = new Date(AT_MS + round * 1_000).toISOString();
  if (round === 0) {
    const customerAccountId = n % 10 === 0 ? `c${(n / 10) % 10}` : undefined;
    return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId }), over);
  }
  if (round % 3 === 0) {
    const newRole = round % 2 ? 'SME_USER' : 'INSTITUTION_ADMIN';
    return cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId, newRole, timestamp }), over);
  }
  const newStatus = round % 2 ? 'ACTIVE' : 'SUSPENDED';
  return cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus, timestamp }), over);
}

/** Sends it, and resolves when the brokers have all of it. */
export async function pour(world: World, size: Flood): Promise<void> {
  for (const events of flood(size)) await world.produce(events);
}

/** The same, a number of rounds at a time. */
export function tap(world: World, size: Flood): (rounds: number) => Promise<void> {
  const source = flood(size);
  return async (rounds) => {
    for (let n = 0; n < rounds; n++) {
      const { value, done } = source.next();
      if (done) return;
      await world.produce(value);
    }
  };
}

/** How many events are in history. Throws while the database does not answer. */
export async function handled(world: World): Promise<number> {
  const [row] = await world.sql`select count(*)::int as n from history`;
  return row?.n;
}

/** Waits until everything has arrived: once each, in order, none refused. */
export async function expectAllArrived(world: World, { users, each }: Flood, withinMs = 60_000): Promise<void> {
  expect(await world.logLength()).toBe(users * each + 10);
  await until(async () => expect(await handled(world)).toBe(users * each + 10), withinMs);
  expect(await world.sql`select code from dead_letters`).toHaveLength(0);
  expect(await world.sql`select distinct version, waiting from users`).toEqual([{ version: each, waiting: 0 }]);
  expect(await world.sql`select count(*)::int as n from users`).toEqual([{ n: users }]);
  // Within a source (here: of a user) history follows the log.
  expect(
    await world.sql`
      select user_id from (select user_id, "offset", lag("offset") over (partition by user_id order by version) as before from history
                            where user_id is not null) x where "offset" <= before`,
  ).toHaveLength(0);
  expect(await world.sql`select state, halted_reason from positions where state <> 'running'`).toHaveLength(0);
  await world.expectSound();
}

/** The same numbers for the same seed: a fault run can be repeated. */
export function dice(seed: number): (from: number, to: number) => number {
  let state = seed >>> 0;
  return (from, to) => {
    state = (state * 1_664_525 + 1_013_904_223) >>> 0;
    return from + Math.floor((state / 2 ** 32) * (to - from));
  };
}
