// give-up.ts — events that wait, discarded by an operator: each ends as a dead letter `given-up` that is discarded already.
//
// Owns:          which waiting events a step takes, and the transaction that moves them. Does not own: the job (settle.ts), the drain.
//
// U1  A waiting event that is given up stays in the accounting: it leaves `waiting` and enters `dead_letters` in one transaction.
// U2  Its user's row is locked, as by a drain, and its count of what waits is made anew: a drain or a batch that raced finds a
//     raised rev.
import { type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { addTallies } from './add-tallies.ts';
import { type Buried, buryGivenUp } from './bury.ts';
import { allOf } from './dead-letter-filter.ts';
import { Conflict } from './errors.ts';
import { discard } from './operate.ts';
import { recordOf, type StoredRecord } from './queue.ts';
import { type Draining, transaction } from './redrive.ts';
import type { UserWrite } from './run.ts';
import { inOrder, write } from './save.ts';
import { add, type Tallies, tallyResult } from './tallies.ts';
import { readUsers } from './users.ts';

/** All of them must fit. `ids`: the numbers of waiting events, not of dead letters. */
export type WaitingFilter = {
  ids?: readonly number[] | undefined;
  user?: string | undefined;
  /** It waits for this customer, or its user is one of this customer. */
  customer?: string | undefined;
  type?: string | undefined;
  topic?: string | undefined;
  /** `waiting.reason` */
  waitsFor?: string | undefined;
  /** ISO 8601: it waits since before. */
  before?: string | undefined;
};

export async function countWaiting(db: Db, filter: WaitingFilter): Promise<{ events: number; users: number }> {
  const [row] = await db.execute<{ events: number; users: number }>(sql`
    select count(*)::float8 as events, count(distinct w.user_id)::float8 as users from waiting w where ${matching(filter)}`);
  return row ?? { events: 0, users: 0 };
}

/** The next users after `after` with events that fit and waited already at `startedAt`. */
export async function nextWhoWait(
  db: Db | Tx,
  { filter, startedAt, after, most }: { filter: WaitingFilter; startedAt: string; after: string; most: number },
): Promise<string[]> {
  const rows = await db.execute<{ userId: string }>(sql`
    select distinct w.user_id as "userId" from waiting w
     where ${matching(filter)} and w.since <= ${startedAt}::timestamptz and w.user_id > ${after}
     order by w.user_id limit ${most}::int`);
  return rows.map(({ userId }) => userId);
}

const MOST_EVENTS = 1_000;

/** `most`: so many events at most. Where `signal` comes, it ends after the transaction in hand. */
export type GivingUp = { most?: number; signal?: AbortSignal | undefined };
/** `ids`: of the dead letters made. `stopped`: `most` or `signal` came before the last one that fits. */
export type GivenUp = { ids: number[]; stopped: boolean };

/** Gives up what fits of these users, in transactions of at most 1,000 events. What waits behind is not drained here. */
export async function giveUp(
  draining: Draining,
  userIds: readonly string[],
  { filter, startedAt, who, note }: { filter: WaitingFilter; startedAt: string; who: string; note: string | null },
  { most = Number.POSITIVE_INFINITY, signal }: GivingUp = {},
): Promise<GivenUp> {
  const where = sql`${matching(filter)} and w.since <= ${startedAt}::timestamptz`;
  const ids: number[] = [];
  for (;;) {
    const atMost = Math.min(MOST_EVENTS, most - ids.length);
    if (atMost <= 0 || signal?.aborted) return { ids, stopped: await isSomeLeft(draining.db, userIds, where) };
    const made = await transaction(draining.db, (tx) =>
      giveUpSome(draining, tx, userIds, where, { who, note, atMost }),
    );
    if (made === undefined) return { ids, stopped: false };
    ids.push(...made);
  }
}

async function isSomeLeft(db: Db | Tx, userIds: readonly string[], where: SQL): Promise<boolean> {
  const left = await db.execute(sql`
    select 1 from waiting w where ${where} and w.user_id = any(${sql.param(userIds)}::text[]) limit 1`);
  return left.length > 0;
}

type StoredWaiting = StoredRecord & {
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  userId: string;
  type: string;
  reason: string;
};

/** Undefined: nothing fits any more. */
async function giveUpSome(
  { saver, decode, rehearsed }: Draining,
  tx: Tx,
  userIds: readonly string[],
  where: SQL,
  { who: byWhom, note, atMost }: { who: string; note: string | null; atMost: number },
): Promise<number[] | undefined> {
  // Those of whom something is taken now: what waits of each is counted to the end. Users before their events, as a drain locks them.
  const touched = await tx.execute<{ userId: string }>(sql`
    select distinct user_id as "userId"
      from (select w.user_id from waiting w where ${where} and w.user_id = any(${sql.param(userIds)}::text[])
             order by w.user_id, w.id limit ${atMost}::int) first`);
  if (touched.length === 0) return undefined;
  const touchedIds = touched.map(({ userId }) => userId);
  const views = await readUsers(tx, touchedIds, { lock: true, waitingPerUser: Number.MAX_SAFE_INTEGER - 1 });
  const taken = await tx.execute<StoredWaiting>(sql`
    delete from waiting t using (select w.topic, w.partition, w.generation, w."offset" from waiting w
                                  where ${where} and w.user_id = any(${sql.param(touchedIds)}::text[])
                                  order by w.user_id, w.id limit ${atMost}::int for update) w
     where t.topic = w.topic and t.partition = w.partition and t.generation = w.generation and t."offset" = w."offset"
    returning t.topic, t.partition, t.generation, t."offset", t.user_id as "userId", t.type, t.reason, t.key, t.value,
              t.headers::text as headers, t.record_ms as "recordMs"`);
  if (taken.length === 0) return [];

  const tallies: Tallies = {};
  const gone = new Map<string, number>();
  const results: Buried[] = taken.map((stored) => {
    const { userId, type, reason } = stored;
    const buried = buryGivenUp(decode(stored, recordOf(stored)), reason, views.get(userId)?.row);
    add(tallies, `event|${type}|waiting`, -1);
    tallyResult(tallies, buried, 1);
    gone.set(userId, (gone.get(userId) ?? 0) + 1);
    return buried;
  });
  const users = [...gone].flatMap(([userId, n]): UserWrite[] => {
    const view = views.get(userId);
    if (view?.row === undefined) return [];
    const { row } = view;
    return [{ row: { ...row, waiting: view.waiting - n, rev: row.rev + 1 }, readRev: row.rev }];
  });
  await inOrder(write(tx, saver, { results, users, customers: [] }));
  if (!rehearsed) await tx.execute(addTallies(taken[0]?.userId as string, tallies));

  const coordinates = JSON.stringify(
    taken.map(({ topic, partition, generation, offset }) => ({ topic, partition, generation, offset })),
  );
  const made = await tx.execute<{ id: number }>(sql`
    select d.id::float8 as id
      from dead_letters d join json_to_recordset(${coordinates}::text::json) as r(topic text, partition int, generation smallint, "offset" bigint)
        on d.topic = r.topic collate "C" and d.partition = r.partition and d.generation = r.generation and d."offset" = r."offset"`);
  const ids = made.map(({ id }) => id);
  if (ids.length !== taken.length)
    throw new Conflict(`${taken.length - ids.length} of ${taken.length} dead letters are gone again`);
  await discard(tx, ids, { byWhom, note });
  return ids;
}

function matching(filter: WaitingFilter): SQL {
  return allOf(fittingWaiting(filter));
}

/** Which of the waiting events `w` fit: one condition for each that was asked for. */
export function fittingWaiting({
  ids,
  user,
  customer,
  type,
  topic,
  waitsFor,
  before,
}: WaitingFilter): (SQL | undefined)[] {
  return [
    ids && sql`w.id = any(${sql.param(ids.map(String))}::text[]::bigint[])`,
    user === undefined ? undefined : sql`w.user_id = ${user}`,
    customer === undefined
      ? undefined
      : sql`(w.customer_id = ${customer} or exists (select from users u where u.user_id = w.user_id and u.customer_id = ${customer}))`,
    type === undefined ? undefined : sql`w.type = ${type}`,
    topic === undefined ? undefined : sql`w.topic = ${topic}`,
    waitsFor === undefined ? undefined : sql`w.reason = ${waitsFor}`,
    before === undefined ? undefined : sql`w.since < ${before}::timestamptz`,
  ];
}
