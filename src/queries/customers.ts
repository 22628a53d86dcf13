// customers.ts — questions about customers, for people.
import { sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { countUpTo, iso } from './rows.ts';

export type CustomerListed = { customerId: string; name: string; createdAt: string; updatedAt: string };

const LISTED = sql.raw('customer_id as "customerId", name, created_at as "createdAt", updated_at as "updatedAt"');

function listed(row: CustomerListed): CustomerListed {
  return { ...row, createdAt: iso(row.createdAt), updatedAt: iso(row.updatedAt) };
}

/** By id, behind `after`. `q`: an id, or the beginning of one. */
export async function findCustomers(
  db: Db,
  q: string | undefined,
  { after = '', limit }: { after?: string | undefined; limit: number },
): Promise<CustomerListed[]> {
  const fits = q === undefined ? sql`true` : sql`customer_id >= ${q} and customer_id < ${`${q}\x7f`}`;
  const rows = await db.execute<CustomerListed>(sql`
    select ${LISTED} from customers where customer_id > ${after} and ${fits} order by customer_id limit ${limit}::int`);
  return rows.map(listed);
}

export async function readCustomer(db: Db, customerId: string): Promise<CustomerListed | undefined> {
  const [row] = await db.execute<CustomerListed>(
    sql`select ${LISTED} from customers where customer_id = ${customerId}`,
  );
  return row && listed(row);
}

const MOST_COUNTED = 1_001;
/** The newest of all that waits: so many are looked through for users of the customer. */
const MOST_LOOKED_AT = 20_000;

/** Its users, and what waits for it or of them; at most 1,001 of each are counted, and of its users' events those among the newest
 *  20,000 that wait. */
export async function countAround(db: Db, customerId: string): Promise<{ users: number; waiting: number }> {
  const waiting = sql`
    select 1 from waiting where customer_id = ${customerId}
    union all
    select 1 from (select user_id, customer_id from waiting order by id desc limit ${sql.raw(String(MOST_LOOKED_AT))}) w
     cross join lateral (select customer_id from users x where x.user_id = w.user_id limit 1) u
     where u.customer_id = ${customerId} and w.customer_id is distinct from ${customerId}`;
  const [row] = await db.execute<{ users: number; waiting: number }>(sql`
    select ${countUpTo(MOST_COUNTED, sql`select 1 from users where customer_id = ${customerId}`)} as users,
           ${countUpTo(MOST_COUNTED, waiting)} as waiting`);
  return row ?? { users: 0, waiting: 0 };
}
