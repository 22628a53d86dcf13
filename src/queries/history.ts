// history.ts — questions about what happened, for people: the steps of one user, and the latest of all.
//
// Owns:          the SQL. Does not own: histories as a fold needs them (../history.ts).
//
// There is no index by time: the latest rows are found at the ends of the partitions' logs, by the primary key, backwards. What a
// drain moved into history lies where it came from, so it may be missed; `complete` says that nothing was.
//
// How many rows the tails have is known here and not to Postgres, which expects millions and would rather read all users: 8.5 s beside
// 10 million of them. So the rows that belong to them are looked up one by one (`lateral … limit 1`), which takes 20 ms.
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { allOf } from '../dead-letter-filter.ts';
import { iso } from './rows.ts';
import { LISTED, listed, type UserListed } from './users.ts';

export type StepShown = {
  version: number | null;
  userId: string | null;
  customerId: string | null;
  type: string;
  outcome: string;
  from: string | null;
  to: string | null;
  transition: string | null;
  drift: boolean;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  dialect: string;
  eventId: string;
  traceId: string | null;
  occurredAt: string;
  recordedAt: string;
  machineVersion: number;
  facts: Record<string, unknown>;
  /** null: it has more bytes than were asked for. */
  event: Record<string, unknown> | null;
};

const shown = (mostBytes: number | undefined): SQL =>
  sql`${SHOWN}, ${mostBytes === undefined ? sql`h.event` : sql`case when octet_length(h.event::text) <= ${mostBytes}::int then h.event end`} as event`;
const SHOWN = sql.raw(`
  h.version, h.user_id as "userId", h.customer_id as "customerId", h.type, h.outcome, h.from_state as "from", h.to_state as "to",
  h.transition, h.drift, h.topic, h.partition, h.generation, h."offset", h.dialect, h.event_id as "eventId",
  h.trace_id as "traceId", h.occurred_at as "occurredAt", h.recorded_at as "recordedAt",
  h.machine_version as "machineVersion", h.facts`);

function inIso(row: StepShown): StepShown {
  return { ...row, occurredAt: iso(row.occurredAt), recordedAt: iso(row.recordedAt) };
}

export type StepFilter = {
  outcome?: string | undefined;
  type?: string | undefined;
  /** ISO 8601: saved then or later, saved before. */
  from?: string | undefined;
  to?: string | undefined;
};

/** Steps of one user, the newest first, of those before `before`. */
export async function findSteps(
  db: Db,
  userId: string,
  { outcome, type, from, to }: StepFilter,
  { before, limit, mostBytes }: { before?: number | undefined; limit: number; mostBytes?: number },
): Promise<StepShown[]> {
  const where = allOf([
    sql`h.user_id = ${userId}`,
    before === undefined ? undefined : sql`h.version < ${before}::int`,
    outcome === undefined ? undefined : sql`h.outcome = ${outcome}`,
    type === undefined ? undefined : sql`h.type = ${type}`,
    from === undefined ? undefined : sql`h.recorded_at >= ${from}::timestamptz`,
    to === undefined ? undefined : sql`h.recorded_at < ${to}::timestamptz`,
  ]);
  const rows = await db.execute<StepShown>(sql`
    select ${shown(mostBytes)} from history h where ${where} order by h.version desc limit ${limit}::int`);
  return rows.map(inIso);
}

/** Of each partition. All of them together are bounded below. */
const TAIL = 500;
const MOST_ROWS = 20_000;

export type Tail<T> = { items: T[]; scanned: number; complete: boolean };

export type LatestFilter = {
  transition?: string | undefined;
  /** After it. */
  state?: string | undefined;
  outcome?: string | undefined;
};

/** The newest rows of history that fit, of those at the ends of the partitions. */
export async function latestSteps(
  db: Db,
  { transition, state, outcome }: LatestFilter,
  { limit, mostBytes }: { limit: number; mostBytes: number },
): Promise<Tail<StepShown>> {
  const where = allOf([
    transition === undefined ? undefined : sql`t.transition = ${transition}`,
    state === undefined ? undefined : sql`t.to_state = ${state}`,
    outcome === undefined ? undefined : sql`t.outcome = ${outcome}`,
  ]);
  const [facts, rows] = await Promise.all([
    scanOf(db),
    db.execute<StepShown>(sql`
      with tails as materialized (${tails()}),
           newest as (select t.topic, t.partition, t.generation, t."offset", t.recorded_at from tails t where ${where}
                       order by t.recorded_at desc, t."offset" desc limit ${limit}::int)
      select ${shown(mostBytes)} from newest n
       cross join lateral (select * from history x where x.topic = n.topic and x.partition = n.partition
                              and x.generation = n.generation and x."offset" = n."offset" limit 1) h
       order by n.recorded_at desc, n."offset" desc`),
  ]);
  return { items: rows.map(inIso), ...facts };
}

/** The users in a state whose last events are among those at the ends of the partitions, the newest first. */
export async function latestUsers(db: Db, state: string | undefined, limit: number): Promise<Tail<UserListed>> {
  const [facts, rows] = await Promise.all([
    scanOf(db),
    db.execute<UserListed>(sql`
      with tails as materialized (${tails()}),
           met as (select t.user_id, max(t.recorded_at) as at from tails t where t.user_id is not null group by t.user_id)
      select ${LISTED} from met m cross join lateral (select * from users x where x.user_id = m.user_id limit 1) u
       where ${state === undefined ? sql`true` : sql`u.state = ${state}`} order by m.at desc, u.user_id limit ${limit}::int`),
  ]);
  return { items: rows.map(listed), ...facts };
}

/** As many of each partition as keep all of them within the limit. */
function tails(): SQL {
  return sql`
    select h.topic, h.partition, h.generation, h."offset", h.user_id, h.recorded_at, h.outcome, h.transition, h.to_state
      from (select *, ${each()} as most from positions) p
     cross join lateral (select * from history x where x.topic = p.topic and x.partition = p.partition and x.generation = p.generation
                          order by x."offset" desc limit p.most) h
     where p.topic <> '#redrive'`;
}
function each(): SQL {
  return sql.raw(
    `greatest(20, least(${TAIL}, ${MOST_ROWS} / greatest(1, (select count(*) from positions where topic <> '#redrive'))))`,
  );
}

/** How many rows the tails have, and whether that is all there is. */
async function scanOf(db: Db): Promise<{ scanned: number; complete: boolean }> {
  const [row] = await db.execute<{ scanned: number; complete: boolean }>(sql`
    select coalesce(sum(least(n, most)), 0)::int as scanned, coalesce(bool_and(n <= most and generation = 0), true) as complete
      from (select p.generation, p.most,
                   (select count(*) from (select 1 from history x where x.topic = p.topic and x.partition = p.partition
                                             and x.generation = p.generation order by x."offset" desc limit p.most + 1) y) as n
              from (select *, ${each()} as most from positions) p where p.topic <> '#redrive') t`);
  return row ?? { scanned: 0, complete: true };
}
