// settle.ts — what an operator decides about dead letters: redrive or discard one, those of a filter, or all; edit one before. And
// about events that wait: discard them too.
//
// Owns:          which dead letters a step takes, the job that goes through them, and the rehearsal that writes nothing.
// Does not own:  the statuses (operate.ts), how what waits is given up (give-up.ts), what an event does and in which order (the
//                drain: redrive.ts), jobs.
//
// T1  In the user's order: a step takes users, not dead letters, and all that match of each user at once. Taken one by one, a
//     later one could be applied first, and the earlier one would then be stale.
// T2  What failed after the job began is not its business: whatever dies again is not taken twice, and new ones wait for the
//     next job.
// T3  A step that is done again settles nothing twice: each dead letter is resolved by the row that says so, once (redrive.ts,
//     R1). What an interrupted step marked, the sweep of any running service drains (wake.ts).
// T4  The rehearsal is the act itself in a transaction that is rolled back: there is no second opinion of what would happen.
import { type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { audited, writeAudit } from './audit.ts';
import { allOf, type DeadLetterFilter, fitting } from './dead-letter-filter.ts';
import type { Outcome } from './events.ts';
import { countWaiting, giveUp, nextWhoWait, type WaitingFilter } from './give-up.ts';
import { endJob, type Job, startJob, stepJob } from './jobs.ts';
import { discard, markForRedrive } from './operate.ts';
import { type Draining, drain, recogniseDeadLetter, recordOf, redriveDeadLetter, transaction } from './redrive.ts';
import { rolledBack } from './rolled-back.ts';
import { inOrder, write } from './save.ts';
import { readUsers } from './users.ts';
import { usersWaitingFor } from './wake.ts';

/** None given: all that are not settled. */
export type Filter = DeadLetterFilter & {
  ids?: readonly number[];
  /** So many, the oldest. */
  limit?: number;
};

/** What became of one dead letter, or would. `waiting`: it is eligible, and something before it is not. */
export type Settlement = {
  id: number;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  userId: string | null;
  type: string | null;
  code: string;
  outcome: Outcome | 'discarded';
  from: string | null;
  to: string | null;
  message: string | null;
};
/** `outcomes`: of the dead letters. `others`: of the events that waited and went with them. */
export type Sums = { outcomes: Record<string, number>; others: Record<string, number> };

export async function countMatching(db: Db, filter: Filter): Promise<{ deadLetters: number; users: number }> {
  return await countBounded(db, await bounded(db, filter));
}
async function countBounded(db: Db, filter: Bounded): Promise<{ deadLetters: number; users: number }> {
  const [row] = await db.execute<{ deadLetters: number; users: number }>(sql`
    select count(*)::float8 as "deadLetters", count(distinct user_id)::float8 as users
      from (select user_id from dead_letters d where ${matching(filter)}) found`);
  return row ?? { deadLetters: 0, users: 0 };
}

type Deciding = { filter: Filter; who: string; reason?: string | undefined };

/** A job that redrives what matches now. `force`: even where a user has since seen a newer event. Run it with `runSettling`. */
export async function startRedrive(
  db: Db,
  { filter, force = false, who, reason }: Deciding & { force?: boolean },
): Promise<Job> {
  return await start(db, 'redrive', { filter, who, reason }, force ? { force } : {});
}
/** A job that gives up what matches now. Run it with `runSettling`. */
export async function startDiscard(db: Db, deciding: Deciding & { reason: string }): Promise<Job> {
  return await start(db, 'discard', deciding, {});
}
/** A job that gives up what waits now. Run it with `runSettling`. */
export async function startGivingUp(
  db: Db,
  { filter, who, reason }: { filter: WaitingFilter; who: string; reason: string },
): Promise<Job> {
  const { events: total } = await countWaiting(db, filter);
  return await startJob(db, { kind: 'discard', scope: { ...filter, waiting: true }, options: { reason }, total, who });
}
async function start(
  db: Db,
  kind: 'redrive' | 'discard',
  { filter, who, reason }: Deciding,
  options: object,
): Promise<Job> {
  const scope = await bounded(db, filter);
  const { deadLetters: total } = await countBounded(db, scope);
  return await startJob(db, { kind, scope, options: { ...options, ...(reason ? { reason } : {}) }, total, who });
}

export type Watching = {
  /** After each step. */
  step?(job: Job): void;
  tell?(each: Settlement): void;
  /** Stops after the step in hand; the job goes on when it is run again. */
  signal?: AbortSignal | undefined;
};

/** Goes through a job from its cursor. Its state is `running` still where `signal` stopped it. Throws JobTaken. */
export async function runSettling(
  draining: Draining & { db: Db },
  job: Job,
  { step, tell, signal }: Watching = {},
): Promise<{ job: Job } & Sums> {
  const sums: Sums = { outcomes: {}, others: {} };
  const deciding = decidingOf(job);
  let now = job;
  while (!signal?.aborted) {
    const portion = await nextPortion(draining.db, deciding, now.cursor, PORTION);
    // Of an earlier, interrupted run nobody has the sums: then the job's numbers stand alone.
    if (portion === undefined) return { job: await endJob(draining.db, now, job.cursor === '' ? sums : {}), ...sums };
    const settlements = await settle(draining, deciding, portion, sums, { atOnce: DRAINS_AT_ONCE });
    for (const each of settlements) tell?.(each);
    const failed = settlements.filter(({ outcome }) => outcome === 'dead').length;
    now = await stepJob(draining.db, now, { cursor: portion.cursor, done: settlements.length, failed });
    step?.(now);
  }
  return { job: now, ...sums };
}

type Rehearsing = { who: string; tell?: Watching['tell']; signal?: AbortSignal };

/** What a redrive of these would do, told one by one; nothing is written but the audit row. */
export async function previewRedrive(
  draining: Draining & { db: Db },
  filter: Filter,
  { force = false, ...rehearsing }: Rehearsing & { force?: boolean },
): Promise<{ matched: number } & Sums> {
  return await rehearse(draining, { kind: 'redrive', filter: await bounded(draining.db, filter), force }, rehearsing);
}
/** What a discard of these would let go. */
export async function previewDiscard(
  draining: Draining & { db: Db },
  filter: Filter,
  rehearsing: Rehearsing,
): Promise<{ matched: number } & Sums> {
  return await rehearse(
    draining,
    { kind: 'discard', filter: await bounded(draining.db, filter), force: false },
    rehearsing,
  );
}
/** The same of events that wait. */
export async function previewGivingUp(
  draining: Draining & { db: Db },
  filter: WaitingFilter,
  rehearsing: Rehearsing,
): Promise<{ matched: number } & Sums> {
  return await rehearse(draining, { kind: 'give up', filter, force: false }, rehearsing);
}

async function rehearse(
  draining: Draining & { db: Db },
  act: Pick<Decided, 'kind' | 'filter' | 'force'>,
  { who, tell, signal }: Rehearsing,
): Promise<{ matched: number } & Sums> {
  const { db } = draining;
  const sums: Sums = { outcomes: {}, others: {} };
  const [clock] = await db.execute<{ now: string }>(sql`select now()::text as now`);
  const deciding: Decided = { ...act, who, note: null, startedAt: (clock as { now: string }).now };
  let matched = 0;
  const recognised: Recognised = new Map();
  for (let cursor = ''; !signal?.aborted; ) {
    let portion = await nextPortion(db, deciding, cursor, REHEARSED, recognised);
    if (portion !== undefined && (await waitingOf(db, portion.userIds)) > MOST_REHEARSED)
      portion = await nextPortion(db, deciding, cursor, { users: 1, alone: 1 }, recognised);
    if (portion === undefined) break;
    const taken = portion;
    const settlements = await rolledBack(db, (tx) =>
      settle({ ...draining, db: tx }, deciding, taken, sums, { recognised }),
    );
    for (const each of settlements) tell?.(each);
    matched += settlements.length;
    cursor = portion.cursor;
  }
  const scope = {
    ...act.filter,
    ...(act.force ? { force: true } : {}),
    ...(act.kind === 'give up' ? { waiting: true } : {}),
  };
  const verb = act.kind === 'redrive' ? 'redrive' : 'discard';
  await writeAudit(db, { who, verb, scope, dryRun: true }, { matched, ...sums });
  return { matched, ...sums };
}

/** A payload that can not stand in the place of a dead letter's: its text says why, and is meant for people. */
export class EditRefused extends Error {
  override name = 'EditRefused';
}

/** Puts another payload in the place of a dead letter's value, for its next redrive; null: as it was received again. The
 *  original stays. Throws EditRefused. */
export async function editDeadLetter(
  { db, decode }: Pick<Draining, 'decode'> & { db: Db },
  id: number,
  value: Buffer | null,
  { who, reason }: { who: string; reason: string },
): Promise<void> {
  await audited(db, { who, verb: 'edit', scope: { id, reason } }, async (tx) => {
    const [found] = await tx.execute<Stored>(sql`
      select topic, partition, generation, "offset", key, value, headers::text as headers, record_ms as "recordMs", user_id as "userId",
             type, status
        from dead_letters where id = ${id}::bigint for update`);
    if (found === undefined) throw new EditRefused(`there is no dead letter ${id}`);
    if (found.status !== 'open')
      throw new EditRefused(`dead letter ${id} is ${found.status}: only an open one can be edited`);
    const event = decode(found, recordOf(value === null ? found : { ...found, value }));
    if (value !== null) {
      if (event.outcome === 'dead')
        throw new EditRefused(`the edited payload can not be used either (${event.code}): ${event.detail}`);
      if (found.userId !== null && event.userId !== found.userId)
        throw new EditRefused('the edited payload names another user: its order would be another one');
      if (found.type !== null && event.type !== found.type)
        throw new EditRefused(`the edited payload is a ${event.type}, the dead letter a ${found.type}`);
    }
    const occurredAt = event.occurredAtMs === null ? null : new Date(event.occurredAtMs).toISOString();
    await tx.execute(sql`
      update dead_letters set edited_value = ${value === null ? null : `\\x${value.toString('hex')}`}::text::bytea, by_whom = ${who},
                              note = ${reason}, occurred_at = ${occurredAt}::timestamptz
       where id = ${id}::bigint`);
    return { bytes: value?.length ?? null };
  });
}
type Stored = Parameters<typeof recordOf>[0] & {
  topic: string;
  partition: number;
  generation: number;
  userId: string | null;
  type: string | null;
  status: string;
};

/** What a job or a rehearsal decides for each. `filter`: of waiting events where they are given up. */
type Decided = {
  kind: 'redrive' | 'discard' | 'give up';
  filter: Bounded | WaitingFilter;
  force: boolean;
  who: string;
  note: string | null;
  startedAt: string;
};
function decidingOf({ id, kind, scope: { waiting, ...filter }, options, startedBy: who, startedAt }: Job): Decided {
  if (kind !== 'redrive' && kind !== 'discard') throw new Error(`job ${id} is of kind ${kind}: it settles nothing`);
  const note = typeof options.reason === 'string' ? options.reason : null;
  return { kind: waiting === true ? 'give up' : kind, filter, force: options.force === true, who, note, startedAt };
}

/** Users, or dead letters that are no user's, that are settled together. */
type Portion = {
  ids: readonly number[];
  userIds: readonly string[];
  cursor: string;
  /** In a rehearsal: those of `ids` whose users were found out, and rolled back. */
  forgotten?: readonly number[];
};
/** Whose dead letters turned out to be theirs in a rehearsal, which does not write it down. */
type Recognised = Map<string, number[]>;
type PortionSize = { users: number; alone: number };
/** A few drains: then the job's own row is not in the way, and an interruption repeats little. */
const PORTION: PortionSize = { users: 500, alone: 100 };
/** The rehearsal keeps its locks until it is rolled back: fewer, so that no batch waits for long. */
const REHEARSED: PortionSize = { users: 20, alone: 20 };
/** Where more waits of these users, they are rehearsed one by one. */
const MOST_REHEARSED = 1_000;

async function waitingOf(db: Db, userIds: readonly string[]): Promise<number> {
  const [row] = await db.execute<{ n: number }>(sql`
    select coalesce(sum(waiting), 0)::float8 as n from users where user_id = any(${sql.param(userIds)}::text[])`);
  return row?.n ?? 0;
}

/** What follows the cursor: first the dead letters that are no user's, by id, then users by theirs (T1). */
async function nextPortion(
  db: Db,
  deciding: Decided,
  cursor: string,
  size: PortionSize,
  recognised: Recognised = new Map(),
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
  const users = await db.execute<{ userId: string; n: number }>(sql`
    select d.user_id as "userId", count(*)::int as n from dead_letters d where ${where} and d.user_id > ${after}
     group by d.user_id order by d.user_id limit ${size.users}::int`);
  const counts = new Map(users.map(({ userId, n }) => [userId, n]));
  for (const [userId, ids] of recognised)
    if (userId > after) counts.set(userId, (counts.get(userId) ?? 0) + ids.length);
  const userIds: string[] = [];
  let letters = 0;
  for (const userId of [...counts.keys()].sort().slice(0, size.users)) {
    letters += counts.get(userId) as number;
    if (userIds.length > 0 && letters > MOST_LETTERS) break;
    userIds.push(userId);
  }
  if (userIds.length === 0) return undefined;
  const forgotten = userIds.flatMap((userId) => recognised.get(userId) ?? []);
  const ids = [...(await ofUsers(db, where, userIds)), ...forgotten];
  return { ids, userIds, cursor: `user ${userIds.at(-1)}`, forgotten };
}
/** Of one step; a user's are taken together, however many. */
const MOST_LETTERS = 5_000;
async function ofUsers(db: Db | Tx, where: SQL, userIds: readonly string[]): Promise<number[]> {
  const rows = await db.execute<{ id: number }>(sql`
    select d.id::float8 as id from dead_letters d where ${where} and d.user_id = any(${sql.param(userIds)}::text[])`);
  return rows.map(({ id }) => id);
}

/** Marks them, drains their users, and reads what became of each. Of dead letters that were no user's, those that turn out to be one's
 *  are only told so: all of a user go at once, when it is its turn (T1). */
async function settle(
  draining: Draining,
  deciding: Decided,
  portion: Portion,
  sums: Sums,
  { atOnce = 1, recognised = new Map() }: { atOnce?: number; recognised?: Recognised } = {},
): Promise<Settlement[]> {
  const { db } = draining;
  const { kind, who: byWhom, note, force: forced, startedAt } = deciding;
  const customerIds: string[] = [];
  const went = new Map<string, string>();
  let ids = [...portion.ids];

  if (kind === 'give up') ids = await giveUp(draining, portion.userIds, deciding);
  else if (kind === 'discard') await discardAndCount(draining, portion, { byWhom, note });
  else {
    for (const id of portion.forgotten ?? []) await recogniseDeadLetter(draining, id);
    if (portion.userIds.length === 0) ids = await recogniseEach(draining, ids, recognised);
    await markForRedrive(db, ids, { byWhom, note, forced, failedUpTo: startedAt }); // T2
    // One after the other: two may be of one customer.
    for (const id of portion.userIds.length === 0 ? ids : []) {
      const redriven = await redriveDeadLetter(draining, id);
      if (redriven === undefined || !('result' in redriven)) continue;
      const { event, outcome } = redriven.result;
      if (event.type === 'CUSTOMER_CREATED' && outcome !== 'dead' && event.customerId !== null)
        customerIds.push(event.customerId);
    }
  }
  const tell: Parameters<typeof drain>[2] = (_, results) => {
    for (const { outcome, event } of results) {
      const { topic, partition, generation } = event.place;
      went.set(`${topic}/${partition}#${generation}@${event.record.offset}`, outcome);
    }
  };
  await eachOf(inPortions(portion.userIds, USERS_PER_DRAIN), atOnce, (some) => drain(draining, some, tell));
  for (const customerId of customerIds)
    for await (const some of usersWaitingFor(db, customerId)) await drain(draining, some, tell);

  const settlements = await readSettlements(db, ids);
  for (const { topic, partition, generation, offset, outcome } of settlements) {
    sums.outcomes[outcome] = (sums.outcomes[outcome] ?? 0) + 1;
    went.delete(`${topic}/${partition}#${generation}@${offset}`);
  }
  for (const outcome of went.values()) sums.others[outcome] = (sums.others[outcome] ?? 0) + 1;
  return settlements;
}
/** Those that are nobody's still. */
async function recogniseEach(draining: Draining, ids: readonly number[], recognised: Recognised): Promise<number[]> {
  const nobodys: number[] = [];
  for (const id of ids) {
    const userId = await recogniseDeadLetter(draining, id);
    if (userId === undefined) nobodys.push(id);
    else recognised.set(userId, [...(recognised.get(userId) ?? []), id]);
  }
  return nobodys;
}

/** What waits of their users is counted anew in the same transaction: nobody looks again at a user of whom nothing waits. */
async function discardAndCount(
  { db, saver }: Draining,
  { ids, userIds }: Portion,
  by: Parameters<typeof discard>[2],
): Promise<void> {
  await transaction(db, async (tx) => {
    const before = await readUsers(tx, userIds, { lock: true, waitingPerUser: 1 });
    await discard(tx, ids, by);
    const counted = await readUsers(tx, [...before.keys()], { lock: false, waitingPerUser: 2 ** 31 });
    const users = [...counted.values()].flatMap(({ row, waiting }) =>
      row === undefined || row.waiting === waiting
        ? []
        : [{ row: { ...row, waiting, rev: row.rev + 1 }, readRev: row.rev }],
    );
    await inOrder(write(tx, saver, { results: [], users, customers: [] }));
  });
}

/** `atOnce` of them at a time: 1 inside a transaction. Different users do not meet. */
async function eachOf<T>(all: readonly T[], atOnce: number, act: (each: T) => Promise<void>): Promise<void> {
  const rest = [...all];
  const loops = Array.from({ length: atOnce }, async () => {
    for (let each = rest.shift(); each !== undefined; each = rest.shift()) await act(each);
  });
  for (const ended of await Promise.allSettled(loops)) if (ended.status === 'rejected') throw ended.reason;
}
function inPortions<T>(all: readonly T[], most: number): T[][] {
  const portions: T[][] = [];
  for (let at = 0; at < all.length; at += most) portions.push(all.slice(at, at + most));
  return portions;
}
/** Measured with two dead letters each: 200 users a drain cost 130 us of both CPUs a dead letter, 50 users 180. */
const USERS_PER_DRAIN = 200;
/** Of its process's three connections. */
const DRAINS_AT_ONCE = 2;

async function readSettlements(db: Db | Tx, ids: readonly number[]): Promise<Settlement[]> {
  const rows = await db.execute<Settlement>(sql`
    select d.id::float8 as id, d.topic, d.partition, d.generation, d."offset", d.user_id as "userId", d.type, d.code,
           case d.status when 'resolved' then h.outcome when 'redriving' then 'waiting' when 'open' then 'dead' else d.status end as outcome,
           h.from_state as "from", h.to_state as "to", case d.status when 'open' then d.message end as message
      from dead_letters d
      left join history h on h.topic = d.topic and h.partition = d.partition and h.generation = d.generation and h."offset" = d."offset"
     where d.id = any(${sql.param(ids.map(String))}::text[]::bigint[]) order by d.id`);
  return [...rows];
}

/** `limit` as the id of the last one that it lets in, so that every step sees the same ones. */
type Bounded = Omit<Filter, 'limit'> & { upTo?: number };
async function bounded(db: Db, { limit, ...filter }: Filter): Promise<Bounded> {
  if (limit === undefined) return filter;
  const [row] = await db.execute<{ upTo: number | null }>(sql`
    select max(id)::float8 as "upTo"
      from (select d.id from dead_letters d where ${matching(filter)} order by d.id limit ${limit}::int) oldest`);
  return { ...filter, upTo: row?.upTo ?? 0 };
}

/** The dead letters `d` that are not settled and fit. */
function matching({ ids, upTo, ...filter }: Bounded): SQL {
  return allOf([
    sql`d.status in ('open', 'redriving')`,
    ids && sql`d.id = any(${sql.param(ids.map(String))}::text[]::bigint[])`,
    upTo === undefined ? undefined : sql`d.id <= ${upTo}::bigint`,
    ...fitting(filter),
  ]);
}
