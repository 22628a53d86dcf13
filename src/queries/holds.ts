// holds.ts — the operators' pauses, for people.
import { sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { countUpTo, iso } from './rows.ts';

export type HoldListed = {
  kind: 'user' | 'customer';
  id: string;
  reason: string;
  byWhom: string;
  since: string;
};
export type HoldCounted = HoldListed & {
  /** Events that it keeps waiting; at most 1,001 are counted. Null: not counted, because there are many holds. */
  waiting: number | null;
};

/** The newest first. */
export async function readHolds(db: Db): Promise<HoldListed[]> {
  const rows = await db.execute<HoldListed>(sql`
    select kind, id, reason, by_whom as "byWhom", since from holds order by since desc, kind, id`);
  return rows.map((row) => ({ ...row, since: iso(row.since) }));
}

const MOST_COUNTED = 1_001;
const COUNTED = sql.raw(String(MOST_COUNTED));
/** The newest of all that waits: so many are looked through for users of a customer, once for all customers. */
const MOST_LOOKED_AT = sql.raw('20000');
const HOLDS_COUNTED = sql.raw('200');
const MOST_HOLDS = 10_000;

export type HoldFilter = {
  /** Only these: the hold on a user, and the one on a customer. */
  of?: { userId?: string | undefined; customerId?: string | null | undefined };
  limit?: number;
};

/** The newest first, each of the first 200 with what waits. A user's waiting events, and those that wait for a customer itself, are found
 *  by an index; those of a customer's users by going through what waits: null where that ended before its end. */
export async function readHoldsCounted(db: Db, { of, limit = MOST_HOLDS }: HoldFilter = {}): Promise<HoldCounted[]> {
  const chosen =
    of === undefined
      ? sql`true`
      : sql`(kind = 'user' and id = ${of.userId ?? null} or kind = 'customer' and id = ${of.customerId ?? null})`;
  const rows = await db.execute<HoldCounted>(sql`
    with held as (select kind, id, reason, by_whom as "byWhom", since, row_number() over (order by since desc, kind, id) as nth
                    from holds where ${chosen} order by since desc, kind, id limit ${limit}::int),
         looked as materialized (
           select user_id, customer_id from waiting
            where exists (select from held where kind = 'customer' and nth <= ${HOLDS_COUNTED}) order by id desc limit ${MOST_LOOKED_AT}),
         of_users as (select u.customer_id as id, count(*)::int as n
                        from looked w cross join lateral (select customer_id from users x where x.user_id = w.user_id limit 1) u
                       group by 1)
    select kind, held.id, reason, "byWhom", since,
           case when nth > ${HOLDS_COUNTED} then null
                when kind = 'user' then ${countUpTo(MOST_COUNTED, sql`select 1 from waiting where user_id = held.id`)}
                when n >= ${COUNTED} then ${COUNTED}
                when (select count(*) from looked) < ${MOST_LOOKED_AT}
                then least(${COUNTED}, coalesce(n, 0) + ${countUpTo(
                  MOST_COUNTED,
                  sql`select 1 from waiting w where w.customer_id = held.id
                         and not exists (select from users u where u.user_id = w.user_id and u.customer_id = held.id)`,
                )})
           end as waiting
      from held left join of_users on of_users.id = held.id and kind = 'customer'
     order by nth`);
  return rows.map((row) => ({ ...row, since: iso(row.since) }));
}
