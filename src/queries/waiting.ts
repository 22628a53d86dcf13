// waiting.ts — questions about the events that wait, for people: a list, groups, one with what it is made of.
//
// Owns:          the SQL. Does not own: which ones a filter means and how they are given up (../give-up.ts), when they go (../redrive.ts).
import { sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { allOf } from '../dead-letter-filter.ts';
import { fittingWaiting, type WaitingFilter } from '../give-up.ts';
import { type Header, headersOf } from './dead-letters.ts';
import { countUpTo, iso } from './rows.ts';

export type WaitingListed = {
  id: number;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  type: string;
  userId: string;
  customerId: string | null;
  reason: string;
  dialect: string;
  eventId: string;
  occurredAt: string;
  since: string;
};
const LISTED = sql.raw(`
  w.id::float8 as id, w.topic, w.partition, w.generation, w."offset", w.type, w.user_id as "userId", w.customer_id as "customerId",
  w.reason, w.dialect, w.event_id as "eventId", w.occurred_at as "occurredAt", w.since`);

function listed<T extends WaitingListed>(row: T): T {
  return { ...row, occurredAt: iso(row.occurredAt), since: iso(row.since) };
}

/** Those that fit, the oldest first, of those above `above`. */
export async function findWaiting(
  db: Db,
  filter: WaitingFilter,
  { above, limit }: { above?: number | undefined; limit: number },
): Promise<WaitingListed[]> {
  const isAbove = above === undefined ? undefined : sql`w.id > ${above}::bigint`;
  const rows = await db.execute<WaitingListed>(sql`
    select ${LISTED} from waiting w where ${allOf([...fittingWaiting(filter), isAbove])} order by w.id limit ${limit}::int`);
  return rows.map(listed);
}

/** A user's, in the order in which they go. */
export async function waitingOf(db: Db, userId: string, limit: number): Promise<WaitingListed[]> {
  const rows = await db.execute<WaitingListed>(sql`
    select ${LISTED} from waiting w where w.user_id = ${userId} order by w.at_ms, w.id limit ${limit}::int`);
  return rows.map(listed);
}

const MOST_COUNTED = 10_001;

/** How many of a user's events wait; at most 10,001 are counted. */
export async function countWaitingOf(db: Db, userId: string): Promise<number> {
  const [row] = await db.execute<{ n: number }>(
    sql`select ${countUpTo(MOST_COUNTED, sql`select 1 from waiting where user_id = ${userId}`)} as n`,
  );
  return row?.n ?? 0;
}

export type WaitingGroup = {
  reason: string;
  type: string;
  count: number;
  users: number;
  firstSince: string;
  lastSince: string;
};

const MOST_GROUPED = 200_000;

/** One for each reason and type, the largest first. Of the newest 200,000 (of a user's, where one is asked for): `complete` false,
 *  where there are more. `mostGrouped`: another number of them. */
export async function groupWaiting(
  db: Db,
  filter: WaitingFilter,
  { mostGrouped = MOST_GROUPED }: { mostGrouped?: number } = {},
): Promise<{ items: WaitingGroup[]; complete: boolean }> {
  const { user } = filter;
  const [row] = await db.execute<{ complete: boolean; items: WaitingGroup[] }>(sql`
    with looked as materialized (
           select w.id, w.reason, w.type, w.user_id, w.customer_id, w.topic, w.since
             from waiting w where ${allOf(fittingWaiting({ user }))} order by w.id desc limit ${mostGrouped + 1}::int),
         groups as (
           select reason, type, sum(n)::float8 as count, count(*)::int as users, min(first) as "firstSince", max(last) as "lastSince"
             from (select w.reason, w.type, w.user_id, count(*) as n, min(w.since) as first, max(w.since) as last
                     from (select * from looked order by id desc limit ${mostGrouped}::int) w
                    where ${allOf(fittingWaiting(filter))} group by w.reason, w.type, w.user_id) of_users
            group by reason, type)
    select (select count(*) from looked) <= ${mostGrouped}::int as complete,
           (select coalesce(json_agg(groups order by count desc, reason, type), '[]') from groups) as items`);
  const { complete, items } = row as { complete: boolean; items: WaitingGroup[] };
  return {
    complete,
    items: items.map((group) => ({ ...group, firstSince: iso(group.firstSince), lastSince: iso(group.lastSince) })),
  };
}

export type WaitingWhole = WaitingListed & { key: Buffer | null; value: Buffer | null; headers: Header[] };

/** Undefined: nothing of this id waits (any more). */
export async function readWaiting(db: Db, id: number): Promise<WaitingWhole | undefined> {
  const [row] = await db.execute<Omit<WaitingWhole, 'headers'> & { headers: string }>(sql`
    select ${LISTED}, w.key, w.value, w.headers::text as headers from waiting w where w.id = ${id}::bigint`);
  return row && { ...listed(row as unknown as WaitingWhole), headers: headersOf(row.headers) };
}

export type Coordinates = { topic: string; partition: number; generation: number; offset: string };

/** The numbers of the waiting events at these places; those that do not wait any more are left out. */
export async function readNumbers(db: Db, places: readonly Coordinates[]): Promise<(Coordinates & { id: number })[]> {
  const wanted = JSON.stringify(
    places.map(({ topic, partition, generation, offset }) => ({ topic, partition, generation, offset })),
  );
  const rows = await db.execute<Coordinates & { id: number }>(sql`
    select w.id::float8 as id, w.topic, w.partition, w.generation, w."offset"
      from waiting w join json_to_recordset(${wanted}::text::json) as r(topic text, partition int, generation smallint, "offset" bigint)
        on w.topic = r.topic collate "C" and w.partition = r.partition and w.generation = r.generation and w."offset" = r."offset"`);
  return [...rows];
}
