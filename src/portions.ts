// portions.ts — which dead letters an operator means, and which of them a step takes next; of events that wait, too.
//
// Owns:          the filter as SQL, the cursor. Does not own: what is done with them (settle-portion.ts), the job (settle.ts).
//
// T1  In the user's order: a step takes users, not dead letters, and all that match of each user at once. Taken one by one, a
//     later one could be applied first, and the earlier one would then be stale.
// T2  What failed after the job began is not its business: whatever dies again is not taken twice, and new ones wait for the
//     next job.
import { type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { allOf, type DeadLetterFilter, fitting } from './dead-letter-filter.ts';
import { nextWhoWait, type WaitingFilter } from './give-up.ts';
import type { Job } from './jobs.ts';

/** None given: all that are not settled. */
export type Filter = DeadLetterFilter & {
  ids?: readonly number[];
  /** So many, the oldest. */
  limit?: number;
};

/** `limit` as the id of the last one that it lets in, so that every step sees the same ones. */
export type Bounded = Omit<Filter, 'limit'> & { upTo?: number };

export async function bounded(db: Db, { limit, ...filter }: Filter): Promise<Bounded> {
  if (limit === undefined) return filter;
  const [row] = await db.execute<{ upTo: number | null }>(sql`
    select max(id)::float8 as "upTo"
      from (select d.id from dead_letters d where ${matching(filter)} order by d.id limit ${limit}::int) oldest`);
  return { ...filter, upTo: row?.upTo ?? 0 };
}

/** What a job or a rehearsal decides for each. `filter`: of waiting events where they are given up. */
export type Decided = {
  kind: 'redrive' | 'discard' | 'give up';
  filter: Bounded | WaitingFilter;
  force: boolean;
  who: string;
  note: string | null;
  startedAt: string;
};

export function decidingOf({ id, kind, scope, options, startedBy: who, startedAt }: Job): Decided {
  if (kind !== 'redrive' && kind !== 'discard') throw new Error(`job ${id} is of kind ${kind}: it settles nothing`);
  const { waiting, ...filter } = scope;
  const note = typeof options.reason === 'string' ? options.reason : null;
  return { kind: waiting === true ? 'give up' : kind, filter, force: options.force === true, who, note, startedAt };
}

/** Users, or dead letters that are no user's, that are settled together. */
export type Portion = {
  ids: readonly number[];
  userIds: readonly string[];
  cursor: string;
  /** In a rehearsal: those of `ids` whose users were found out, and rolled back. */
  forgotten?: readonly number[];
  /** There are more of its one user than the size allows. */
  isCut?: true;
};

/** Whose dead letters turned out to be theirs in a rehearsal, which does not write it down. */
export type Recognised = Map<string, number[]>;

export type PortionSize = {
  users: number;
  /** Dead letters that are no user's. */
  alone: number;
  /** Dead letters of several users. One user's are taken together, however many. */
  letters: number;
  /** But of each source no more than these. */
  ofOneSource?: number;
};

/** Unsettled dead letters that one query looks through for a user with some that fit (P6). */
const LOOKED_THROUGH = 100_000;

/** What follows the cursor: first the dead letters that are no user's, by id, then users by theirs (T1). `lookedThrough`: another
 *  than LOOKED_THROUGH. */
export async function nextPortion(
  db: Db | Tx,
  deciding: Decided,
  cursor: string,
  size: PortionSize,
  { recognised = new Map(), lookedThrough }: { recognised?: Recognised; lookedThrough?: number } = {},
): Promise<Portion | undefined> {
  const { kind, filter, startedAt } = deciding;
  if (kind === 'give up') {
    const after = cursor.slice('user '.length);
    const userIds = await nextWhoWait(db, { filter, startedAt, after, most: size.users });
    return userIds.length === 0 ? undefined : { ids: [], userIds, cursor: `user ${userIds.at(-1)}` };
  }
  const where = sql`${matching(filter)} and d.last_failed_at <= ${startedAt}::timestamptz`;
  if (!cursor.startsWith('user ')) {
    const after = cursor === '' ? 0 : Number(cursor.slice('id '.length));
    const alone = await db.execute<{ id: number }>(sql`
      select d.id::float8 as id from dead_letters d where ${where} and d.user_id is null and d.id > ${after}::bigint
       order by d.id limit ${size.alone}::int`);
    const last = alone.at(-1);
    if (last !== undefined) return { ids: alone.map(({ id }) => id), userIds: [], cursor: `id ${last.id}` };
  }
  const after = cursor.startsWith('user ') ? cursor.slice('user '.length) : '';
  return await nextUsers(db, where, after, size, recognised, lookedThrough);
}

async function nextUsers(
  db: Db | Tx,
  where: SQL,
  after: string,
  size: PortionSize,
  recognised: Recognised,
  lookedThrough: number | undefined,
): Promise<Portion | undefined> {
  for await (const { from, to } of rangesOfUsers(db, after, lookedThrough)) {
    const users = await db.execute<{ userId: string; n: number }>(sql`
      select d.user_id as "userId", count(*)::int as n from dead_letters d where ${where} and ${isBetween(from, to)}
       group by d.user_id order by d.user_id limit ${size.users}::int`);
    const counts = new Map(users.map(({ userId, n }) => [userId, n]));
    for (const [userId, ids] of recognised)
      if (userId > from && (to === undefined || userId <= to))
        counts.set(userId, (counts.get(userId) ?? 0) + ids.length);
    const userIds: string[] = [];
    let letters = 0;
    for (const userId of [...counts.keys()].sort().slice(0, size.users)) {
      const more = counts.get(userId) as number;
      if (userIds.length > 0 && letters + more > size.letters) break;
      userIds.push(userId);
      letters += more;
    }
    if (userIds.length === 0) continue;
    const ofOneSource = userIds.length === 1 ? size.ofOneSource : undefined;
    const theirs = userIds.flatMap((userId) => recognised.get(userId) ?? []);
    const forgotten = theirs.slice(0, ofOneSource);
    const ids = [...(await ofUsers(db, where, userIds, ofOneSource)), ...forgotten];
    const isCut = ofOneSource !== undefined && ids.length < letters;
    return { ids, userIds, cursor: `user ${userIds.at(-1)}`, forgotten, ...(isCut ? { isCut } : {}) };
  }
  return undefined;
}

/** Of each source the first `most`: which of them go first is said by their order there. */
async function ofUsers(
  db: Db | Tx,
  where: SQL,
  userIds: readonly string[],
  most = Number.MAX_SAFE_INTEGER,
): Promise<number[]> {
  const rows = await db.execute<{ id: number }>(sql`
    select id from (select d.id::float8 as id, row_number() over (partition by d.topic, d.partition, d.generation order by d."offset") as nth
                      from dead_letters d where ${where} and d.user_id = any(${sql.param(userIds)}::text[])) found
     where nth <= ${most}::bigint`);
  return rows.map(({ id }) => id);
}

/** The users behind `after` that have unsettled dead letters: all of them, so many dead letters at a time. `to` undefined: to the
 *  end. */
async function* rangesOfUsers(
  db: Db | Tx,
  after: string,
  lookedThrough = LOOKED_THROUGH,
): AsyncGenerator<{ from: string; to: string | undefined }> {
  for (let from = after; ; ) {
    const [row] = await db.execute<{ to: string }>(sql`
      select user_id as to from dead_letters d where ${UNSETTLED} and user_id > ${from}
       order by user_id offset ${lookedThrough - 1}::int limit 1`);
    yield { from, to: row?.to };
    if (row === undefined) return;
    from = row.to;
  }
}
function isBetween(from: string, to: string | undefined): SQL {
  return to === undefined ? sql`d.user_id > ${from}` : sql`d.user_id > ${from} and d.user_id <= ${to}`;
}

export async function countBounded(
  db: Db,
  filter: Bounded,
  { lookedThrough }: { lookedThrough?: number } = {},
): Promise<{ deadLetters: number; users: number }> {
  const sum = await countAmong(db, sql`${matching(filter)} and d.user_id is null`);
  for await (const { from, to } of rangesOfUsers(db, '', lookedThrough)) {
    const { deadLetters, users } = await countAmong(db, sql`${matching(filter)} and ${isBetween(from, to)}`);
    sum.deadLetters += deadLetters;
    sum.users += users;
  }
  return sum;
}
async function countAmong(db: Db, where: SQL): Promise<{ deadLetters: number; users: number }> {
  const [row] = await db.execute<{ deadLetters: number; users: number }>(sql`
    select count(*)::float8 as "deadLetters", count(distinct d.user_id)::float8 as users from dead_letters d where ${where}`);
  return row ?? { deadLetters: 0, users: 0 };
}

const UNSETTLED = sql.raw("d.status in ('open', 'redriving')");

/** The dead letters `d` that are not settled and fit. */
function matching({ ids, upTo, ...filter }: Bounded): SQL {
  return allOf([
    UNSETTLED,
    ids && sql`d.id = any(${sql.param(ids.map(String))}::text[]::bigint[])`,
    upTo === undefined ? undefined : sql`d.id <= ${upTo}::bigint`,
    ...fitting(filter),
  ]);
}
