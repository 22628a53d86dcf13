// load.ts — what the machines of a batch need to know: their users, what waits for them, customers and holds.
//
// Owns:          which questions are asked, all at once. Does not own: the answers (users.ts, customers.ts).
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import type { Customers } from './customers.ts';
import type { CustomerRow } from './put.ts';
import type { Routed } from './route.ts';
import type { Loaded, UserView } from './run.ts';
import { readUsers, type UserMemory } from './users.ts';

export type Loading = { db: Db; memory: UserMemory; customers: Customers; waitingPerUser: number };

/** For the first try: remembered users, cached customers, and one round of queries for the rest. */
export async function load(
  { db, memory, customers, waitingPerUser }: Loading,
  routed: Routed,
  source: string,
): Promise<Loaded> {
  const remembered = new Map<string, UserView>();
  const missing: string[] = [];
  for (const userId of routed.users.keys()) {
    const row = memory.get(userId, source);
    if (row === undefined) missing.push(userId);
    else remembered.set(userId, { row, waiting: 0, blocking: 0, creationWaits: false });
  }
  const [users, known, customerRows, holds] = await Promise.all([
    readUsers(db, missing, { lock: false, waitingPerUser }),
    customers.known(namedCustomers(routed), (ids) => readKnownCustomers(db, ids)),
    readCustomers(db, routed),
    readHolds(db),
  ]);
  for (const [userId, view] of users) remembered.set(userId, view);
  return { users: remembered, known, customers: customerRows, holds };
}

/** For the second try, inside the transaction: nothing remembered, rows locked in id order, Postgres alone. */
export async function loadLocked({ customers, waitingPerUser }: Loading, tx: Tx, routed: Routed): Promise<Loaded> {
  const [users, known, customerRows, holds] = await Promise.all([
    readUsers(tx, [...routed.users.keys()], { lock: true, waitingPerUser }),
    customers.knownForSure(namedCustomers(routed), (ids) => readKnownCustomers(tx, ids)),
    readCustomers(tx, routed),
    readHolds(tx),
  ]);
  return { users, known, customers: customerRows, holds };
}

function namedCustomers(routed: Routed): string[] {
  const ids = new Set<string>();
  for (const events of routed.users.values())
    for (const event of events)
      if (event.type === 'USER_CREATED' && event.outcome === undefined && event.customerId !== null)
        ids.add(event.customerId);
  return [...ids];
}

export async function readKnownCustomers(db: Db | Tx, ids: readonly string[]): Promise<string[]> {
  const rows = await db.execute<{ id: string }>(
    sql`select customer_id as id from customers where customer_id = any(${sql.param(ids)}::text[])`,
  );
  return rows.map(({ id }) => id);
}

export async function readCustomers(
  db: Db | Tx,
  { customers }: Pick<Routed, 'customers'>,
): Promise<Map<string, CustomerRow>> {
  const ids = [...new Set(customers.map((event) => event.customerId))];
  if (ids.length === 0) return new Map();
  const rows = await db.execute<Omit<CustomerRow, 'atMs' | 'rev'> & { atMs: string; rev: string }>(sql`
    select customer_id as "customerId", name, at_ms as "atMs", source, source_offset as "offset", rev
      from customers where customer_id = any(${sql.param(ids)}::text[])`);
  return new Map(rows.map((row) => [row.customerId, { ...row, atMs: Number(row.atMs), rev: Number(row.rev) }]));
}

/** Every hold: operate.ts keeps them few. */
export async function readHolds(db: Db | Tx): Promise<Loaded['holds']> {
  const rows = await db.execute<{ kind: 'user' | 'customer'; id: string }>(sql`select kind, id from holds`);
  const users = new Set<string>();
  const customers = new Set<string>();
  for (const { kind, id } of rows) (kind === 'user' ? users : customers).add(id);
  return { users, customers };
}
