// dead-letters.ts — questions about dead letters, for people: a list, groups, one with all that is known of it.
//
// Owns:          the SQL. Does not own: which ones a filter means (../dead-letter-filter.ts), what is done about them (../settle.ts).
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { allOf, type DeadLetterFilter, fitting } from '../dead-letter-filter.ts';
import { statusesOf } from '../statuses.ts';
import { countUpTo, iso, isoOrNull } from './rows.ts';

export type DeadLetterListed = {
  id: number;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  stage: string;
  code: string;
  message: string;
  type: string | null;
  userId: string | null;
  customerId: string | null;
  status: string;
  blocks: boolean;
  attempts: number;
  firstFailedAt: string;
  lastFailedAt: string;
  traceId: string | null;
  byWhom: string | null;
  note: string | null;
  edited: boolean;
};

const LISTED = sql.raw(`
  d.id::float8 as id, d.topic, d.partition, d.generation, d."offset", d.stage, d.code, d.message, d.type, d.user_id as "userId",
  (select u.customer_id from users u where u.user_id = d.user_id) as "customerId", d.status, d.blocks, d.attempts,
  d.first_failed_at as "firstFailedAt", d.last_failed_at as "lastFailedAt", d.trace_id as "traceId", d.by_whom as "byWhom",
  d.note, d.edited_value is not null as edited`);

function listed<T extends DeadLetterListed>(row: T): T {
  return { ...row, firstFailedAt: iso(row.firstFailedAt), lastFailedAt: iso(row.lastFailedAt) };
}

export type Wanted = DeadLetterFilter & { status?: string | undefined };

/** Written out where it is the default: then the partial index fits. */
function where({ status, ...filter }: Wanted, ...more: (SQL | undefined)[]): SQL {
  const hasStatus =
    status === undefined
      ? sql`d.status in ('open', 'redriving')`
      : sql`d.status = any(${sql.param(statusesOf(status))}::text[])`;
  return allOf([hasStatus, ...fitting(filter), ...more]);
}

/** Those that fit, the newest first, of those below `below`. */
export async function findDeadLetters(
  db: Db,
  wanted: Wanted,
  { below, limit }: { below?: number | undefined; limit: number },
): Promise<DeadLetterListed[]> {
  const isBelow = below === undefined ? undefined : sql`d.id < ${below}::bigint`;
  const rows = await db.execute<DeadLetterListed>(sql`
    select ${LISTED} from dead_letters d where ${where(wanted, isBelow)} order by d.id desc limit ${limit}::int`);
  return rows.map(listed);
}

/** A user's that are not settled, in the order of its sources. */
export async function deadLettersOf(db: Db, userId: string, limit: number): Promise<DeadLetterListed[]> {
  const rows = await db.execute<DeadLetterListed>(sql`
    select ${LISTED} from dead_letters d where d.user_id = ${userId} and d.status in ('open', 'redriving')
     order by coalesce((extract(epoch from d.occurred_at) * 1000)::bigint, d.record_ms), d.id limit ${limit}::int`);
  return rows.map(listed);
}

export type DeadLetterGroup = {
  code: string;
  type: string | null;
  count: number;
  users: number;
  leastAttempts: number;
  mostAttempts: number;
  /** Of those that are not settled. */
  behind: number;
  firstFailedAt: string;
  lastFailedAt: string;
  looping: boolean;
};

/** First failed, then redriven three times, and dead again. */
const LOOPING_ATTEMPTS = 4;
const MOST_BEHIND = 10_001;

const MOST_GROUPED = 200_000;

/** One for each code and type, the largest first. Of the newest 200,000 (of a user's, where one is asked for): `complete` false, where
 *  there are more. `mostGrouped`: another number of them. */
export async function groupDeadLetters(
  db: Db,
  wanted: Wanted,
  { mostGrouped = MOST_GROUPED }: { mostGrouped?: number } = {},
): Promise<{ items: DeadLetterGroup[]; complete: boolean }> {
  const { status, user } = wanted;
  // What the indices are good for; the rest of the filter looks through no more than these.
  const newest = status === undefined ? where({ user }) : allOf(fitting({ user }));
  const [row] = await db.execute<{ complete: boolean; items: DeadLetterGroup[] }>(sql`
    with looked as materialized (
           select d.id, d.code, d.type, d.user_id, d.topic, d.status, d.blocks, d.attempts, d.first_failed_at, d.last_failed_at
             from dead_letters d where ${newest} order by d.id desc limit ${mostGrouped + 1}::int),
         of_users as materialized (
           select d.code, d.type, d.user_id, count(*) as n, min(d.attempts) as least, max(d.attempts) as most,
                  min(d.first_failed_at) as first, max(d.last_failed_at) as last,
                  bool_or(d.attempts >= ${sql.raw(String(LOOPING_ATTEMPTS))} and d.status = 'open') as loops,
                  bool_or(d.blocks and d.status in ('open', 'redriving')) as blocks
             from (select * from looked order by id desc limit ${mostGrouped}::int) d
            where ${where(wanted)} group by d.code, d.type, d.user_id),
         groups as (
           select code, type, sum(n)::float8 as count, count(user_id)::int as users, min(least) as "leastAttempts",
                  max(most) as "mostAttempts", min(first) as "firstFailedAt", max(last) as "lastFailedAt", bool_or(loops) as looping
             from of_users group by code, type)
    select (select count(*) from looked) <= ${mostGrouped}::int as complete,
           (select coalesce(json_agg(g order by g.count desc, g.code, g.type), '[]')
              from (select groups.*, ${countUpTo(
                MOST_BEHIND,
                sql`select 1 from waiting w where w.user_id in (select o.user_id from of_users o
                                                                 where o.blocks and o.code = groups.code
                                                                   and o.type is not distinct from groups.type)`,
              )} as behind from groups) g) as items`);
  const { complete, items } = row as { complete: boolean; items: DeadLetterGroup[] };
  return {
    complete,
    items: items.map((group) => ({
      ...group,
      firstFailedAt: iso(group.firstFailedAt),
      lastFailedAt: iso(group.lastFailedAt),
    })),
  };
}

export type Header = [name: string, value: Buffer | null];
export type DeadLetterWhole = DeadLetterListed & {
  class: string | null;
  dialect: string | null;
  eventId: string | null;
  occurredAt: string | null;
  settledAt: string | null;
  serviceVersion: string;
  machineVersion: number;
  instance: string;
  size: number;
  sha256: string;
  forced: boolean;
  key: Buffer | null;
  value: Buffer | null;
  headers: Header[];
  /** What an operator put in the place of `value`. */
  editedValue: Buffer | null;
  userState: string | null;
  /** Events of the user that wait; at most 10,001 are counted. */
  behind: number;
};

/** Undefined: there is none of this id. */
export async function readDeadLetter(db: Db, id: number): Promise<DeadLetterWhole | undefined> {
  const [row] = await db.execute<Omit<DeadLetterWhole, 'headers'> & { headers: string }>(sql`
    select ${LISTED}, d.class, d.dialect, d.event_id as "eventId", d.occurred_at as "occurredAt", d.settled_at as "settledAt",
           d.service_version as "serviceVersion", d.machine_version as "machineVersion", d.instance, d.size,
           encode(d.sha256, 'hex') as sha256, d.forced, d.key, d.value, d.headers::text as headers,
           d.edited_value as "editedValue", (select u.state from users u where u.user_id = d.user_id) as "userState",
           ${countUpTo(MOST_BEHIND, sql`select 1 from waiting w where w.user_id = d.user_id`)} as behind
      from dead_letters d where d.id = ${id}::bigint`);
  if (row === undefined) return undefined;
  return {
    ...listed(row as unknown as DeadLetterWhole),
    occurredAt: isoOrNull(row.occurredAt),
    settledAt: isoOrNull(row.settledAt),
    headers: headersOf(row.headers),
  };
}

/** As they stand in the tables: a list of pairs, both base64. */
export function headersOf(text: string): Header[] {
  const bytes = (base64: string) => Buffer.from(base64, 'base64');
  return (JSON.parse(text) as [string, string | null][]).map(([name, value]) => [
    bytes(name).toString(),
    value === null ? null : bytes(value),
  ]);
}

export type ActShown = { at: string; who: string; verb: string; reason: string | null };

const MOST_ACTS = 20;
/** No index leads from a number to the acts that name it. */
const ACTS_LOOKED_THROUGH = 20_000;

/** What operators did with this one by its number, the newest first, among their last 20,000 acts. Acts by a filter are not among them:
 *  they name no numbers. */
export async function actsOn(db: Db, id: number): Promise<ActShown[]> {
  const rows = await db.execute<ActShown>(sql`
    select at, who, verb, scope ->> 'reason' as reason
      from (select * from audit order by id desc limit ${ACTS_LOOKED_THROUGH}::int) newest
     where verb in ('redrive', 'discard', 'edit', 'reveal') and not dry_run
       and (scope -> 'id' = to_jsonb(${id}::bigint) or scope -> 'ids' @> to_jsonb(${id}::bigint)) order by id desc limit ${MOST_ACTS}::int`);
  return rows.map((row) => ({ ...row, at: iso(row.at) }));
}
