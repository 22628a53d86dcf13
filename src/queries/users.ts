// users.ts — questions about users, for people: a list, one with all that is around it.
//
// Owns:          the SQL. Does not own: what of a row may be shown (mask.ts), the rows as the pipeline reads them (../users.ts).
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { allOf } from '../dead-letter-filter.ts';
import { iso, isoOrNull } from './rows.ts';

export type UserListed = {
  userId: string;
  state: string;
  version: number;
  customerId: string | null;
  role: string;
  userType: string;
  isCompanyOwner: boolean;
  email: string;
  name: string;
  waiting: number;
  machineVersion: number;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
};
export type UserShown = UserListed & { sourceRole: string; customerName: string | null };

/** A `UserListed`, from `users u`. */
export const LISTED = sql.raw(`
  u.user_id as "userId", u.state, u.version, u.customer_id as "customerId", u.role, u.user_type as "userType",
  u.is_company_owner as "isCompanyOwner", u.email, u.name, u.waiting, u.machine_version as "machineVersion",
  u.created_at as "createdAt", u.updated_at as "updatedAt", u.deleted_at as "deletedAt"`);

export function listed<T extends UserListed>(row: T): T {
  return {
    ...row,
    createdAt: iso(row.createdAt),
    updatedAt: iso(row.updatedAt),
    deletedAt: isoOrNull(row.deletedAt),
  };
}

export type UserFilter = {
  state?: string | undefined;
  customer?: string | undefined;
  /** An id, or the beginning of one. */
  q?: string | undefined;
  /** `q` may be an address too, as a whole, whatever its case. */
  byEmail?: boolean | undefined;
};

/** The users that fit, by id, behind `after`. By `state` alone every row is looked at: no index on what changes. */
export async function findUsers(
  db: Db,
  { state, customer, q, byEmail = false }: UserFilter,
  { after = '', limit }: { after?: string | undefined; limit: number },
): Promise<UserListed[]> {
  const where = allOf([
    sql`u.user_id > ${after}`,
    state === undefined ? undefined : sql`u.state = ${state}`,
    customer === undefined ? undefined : sql`u.customer_id = ${customer}`,
    q === undefined ? undefined : looksLike(q, byEmail),
  ]);
  const rows = await db.execute<UserListed>(sql`
    select ${LISTED} from users u where ${where} order by u.user_id limit ${limit}::int`);
  return rows.map(listed);
}

/** Ids are printable ASCII in byte order: what begins with `q` lies between it and it with the byte above. */
function looksLike(q: string, byEmail: boolean): SQL {
  const id = sql`u.user_id >= ${q} and u.user_id < ${`${q}\x7f`}`;
  return byEmail ? sql`(${id} or lower(u.email) = lower(${q}))` : id;
}

/** Undefined: it does not exist. */
export async function readUser(db: Db, userId: string): Promise<UserShown | undefined> {
  const [row] = await db.execute<UserShown>(sql`
    select ${LISTED}, u.source_role as "sourceRole", c.name as "customerName"
      from users u left join customers c on c.customer_id = u.customer_id where u.user_id = ${userId}`);
  return row && listed(row);
}

export type Queue = {
  /** How many of its events wait, and for what. */
  waiting: string;
  waitingFor: string[];
  /** The numbers of its dead letters that block. */
  deadLetters: string[];
  /** "customer: bad import" */
  holds: string[];
};

/** What keeps the events of a user from going on, whether it exists or not. */
export async function readQueue(db: Db, userId: string): Promise<Queue> {
  const [row] = await db.execute<Queue>(sql`
    select (select count(*) from waiting where user_id = ${userId}) as waiting,
           (select coalesce(json_agg(distinct reason), '[]') from waiting where user_id = ${userId}) as "waitingFor",
           (select coalesce(json_agg(id::text order by id), '[]') from dead_letters
             where user_id = ${userId} and blocks and status in ('open', 'redriving')) as "deadLetters",
           (select coalesce(json_agg(kind || ': ' || reason), '[]') from holds
             where kind = 'user' and id = ${userId}
                or kind = 'customer' and id = (select customer_id from users where user_id = ${userId})) as holds`);
  return row as Queue;
}

/** Where its last event came from, and which process saved there last. Undefined: it has no history. */
export async function readSource(
  db: Db,
  userId: string,
): Promise<{ topic: string; partition: number; owner: string | null } | undefined> {
  const [row] = await db.execute<{ topic: string; partition: number; owner: string | null }>(sql`
    select h.topic, h.partition, p.owner
      from (select topic, partition from history where user_id = ${userId} order by version desc limit 1) h
      left join positions p on p.topic = h.topic and p.partition = h.partition`);
  return row;
}
