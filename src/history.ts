// history.ts — the histories of users as they stand in the tables, with the rows that they led to: what a fold is fed with.
//
// Owns:          the pages, and the queries of one. Does not own: what is made of them (fold.ts, verify.ts, replay.ts, rebuild.ts).
//
// H1  A page agrees with itself: steps, rows and queues of its users are read in one `repeatable read, read only` transaction. A
//     user whose steps fill more than a page is given out with the last one: history only grows, so what was read earlier holds.
// H2  A user is given out whole and once, in the order of the ids; one that has a row and no history, or a history and no row, too.
// H3  A page ends at its number of steps, at MOST_BYTES of events, or at as many rows (P6). One user's history is held as a whole.
// H4  One page is read while the one before it is worked on, over one connection.
//
// Postgres' rows come under the names of a Step and are it: 3.6 µs of Node each (positions and a copy 3.5, COPY 2.0, JSON made by
// the server 2.3), 4.2 of Postgres (6.1 with JSON). 0.8 of those are for the limit by bytes.
import { sql as query } from 'drizzle-orm';
import type postgres from 'postgres';
import { arrayText } from '../db/array.ts';
import type { Db, Tx } from '../db/client.ts';
import type { Step } from './fold.ts';
import type { UserRow } from './put.ts';
import { rowOf, type StoredUser, USER_COLUMNS } from './users.ts';

export type UserHistory = {
  userId: string;
  /** In the order of `version`. */
  steps: Step[];
  /** Its row in `users`. */
  saved: UserRow | undefined;
  /** What waits of it and its dead letters that block, counted: what `saved.waiting` should say. */
  queued: number;
};

/** All users, or those that fit. `user`: whatever there is of this one; the others choose among the rows of `users`. */
export type Selection = {
  user?: string;
  customer?: string;
  /** 0 to 1, chosen by a hash of the id: the same ones each time. */
  sample?: number;
};

/** 1,000 to 20,000 are equally fast; 20,000 take 150 MB more. */
const STEPS_PER_PAGE = 5_000;

/** Pages of whole users in the order of their ids (H1–H4). Throws what Postgres throws. */
export async function* readHistories(
  sql: postgres.Sql,
  selection: Selection,
  { stepsPerPage = STEPS_PER_PAGE }: { stepsPerPage?: number } = {},
): AsyncGenerator<UserHistory[]> {
  yield* oneAhead(pagesOf(sql, selection, stepsPerPage));
}

/** Of these users, inside the caller's transaction, which has locked their rows. Those without a history are left out. */
export async function readHistoriesOf(tx: Tx | Db, userIds: readonly string[]): Promise<Map<string, Step[]>> {
  const steps = await tx.execute<StoredStep>(query`
    select ${query.raw(STEP_COLUMNS)} from history
     where user_id = any(${query.param(userIds)}::text[]) order by user_id, version`);
  const histories = new Map<string, Step[]>();
  for (const step of steps) {
    const known = histories.get(step.userId);
    if (known === undefined) histories.set(step.userId, [step]);
    else known.push(step);
  }
  return histories;
}

/** Is nothing left out? */
export function isWhole({ user, customer, sample }: Selection): boolean {
  return user === undefined && customer === undefined && sample === undefined;
}

async function* pagesOf(sql: postgres.Sql, selection: Selection, stepsPerPage: number): AsyncGenerator<UserHistory[]> {
  if (isWhole(selection)) yield* pagesAmong(sql, undefined, stepsPerPage);
  else for await (const userIds of chosen(sql, selection)) yield* pagesAmong(sql, userIds, stepsPerPage);
}

const USERS_PER_QUERY = 1_000;

/** Ids of the selection, in order. */
async function* chosen(sql: postgres.Sql, { user, customer, sample = 1 }: Selection): AsyncGenerator<string[]> {
  if (user !== undefined) {
    yield [user];
    return;
  }
  for (let after = ''; ; ) {
    const rows = await sql<{ userId: string }[]>`
      select user_id as "userId" from users
       where user_id > ${after} ${customer === undefined ? sql`` : sql`and customer_id = ${customer}`}
         and (hashtextextended(user_id, 0) & 1048575) < ${sample}::float8 * 1048576
       order by user_id limit ${USERS_PER_QUERY}`;
    if (rows.length === 0) return;
    yield rows.map(({ userId }) => userId);
    after = rows.at(-1)?.userId as string;
  }
}

type Among = readonly string[] | undefined;
/** How far the reading is: all steps up to this one are read, all users before this one given out. */
type Border = { userId: string; version: number };
const LEAST_VERSION = -(2 ** 31);

async function* pagesAmong(sql: postgres.Sql, among: Among, stepsPerPage: number): AsyncGenerator<UserHistory[]> {
  let border: Border | undefined = { userId: '', version: LEAST_VERSION };
  // Of the user at the border, whose next steps are not read yet.
  let carried: StoredStep[] = [];
  while (border !== undefined) {
    const from: Border = border;
    const read = await sql.begin(READ_ONLY, (tx) => readPage(tx, from, among, stepsPerPage));
    const steps = carried.concat(read.steps);
    const { to } = read;
    const end = to === undefined ? -1 : steps.findIndex(({ userId }) => userId >= to);
    const page = merge(end < 0 ? steps : steps.slice(0, end), read.rows, read.queued);
    // Where the rows ended the page, the steps beyond are read again.
    carried = end < 0 || read.endedByRows ? [] : steps.slice(end);
    border = to === undefined ? undefined : { userId: to, version: carried.at(-1)?.version ?? LEAST_VERSION };
    if (page.length > 0) yield page;
  }
}

const READ_ONLY = 'isolation level repeatable read read only';
/** An event may have 1 MB. */
const MOST_BYTES = 32_000_000;

/** `to`: the first user that is not whole in it; undefined: there is none, this is the last page. */
type Read = {
  steps: StoredStep[];
  rows: UserRow[];
  queued: ReadonlyMap<string, number>;
  to: string | undefined;
  endedByRows: boolean;
};

async function readPage(
  tx: postgres.TransactionSql,
  { userId: from, version }: Border,
  among: Among,
  stepsPerPage: number,
): Promise<Read> {
  const isAmong = among === undefined ? tx`` : tx`and user_id = any(${arrayText(among)}::text::text[])`;
  // Before the snapshot: a table that took its place behind it has rows which that would not see, whose users would have none.
  await tx`lock table users in access share mode`;
  // The limit stands as a literal: a generic plan for any limit would sort the whole table.
  const steps = await tx<StoredStep[]>`
    select ${tx.unsafe(STEP_COLUMNS)}
      from (select *, sum(octet_length(event::text)) over (order by user_id, version
                                                            rows between unbounded preceding and 1 preceding) as bytes_before
              from (select * from history
                     where (user_id, version) > (${from}, ${version}::int) ${isAmong}
                     order by user_id, version limit ${tx.unsafe(String(stepsPerPage))}) x) y
     where coalesce(bytes_before, 0) < ${MOST_BYTES}::int
     order by user_id, version`;
  const last = steps.at(-1)?.userId;
  if (last === from) return { steps, rows: [], queued: new Map(), to: from, endedByRows: false };

  const isBetween = tx`user_id >= ${from} ${last === undefined ? tx`` : tx`and user_id < ${last}`} ${isAmong}`;
  // One more than there can be of users with a history in it.
  const mostRows = stepsPerPage + 1;
  const [rows, queues] = await Promise.all([
    tx<StoredUser[]>`
      select ${tx.unsafe(USER_COLUMNS)} from users where ${isBetween} order by user_id limit ${tx.unsafe(String(mostRows))}`,
    tx<{ userId: string; n: number }[]>`
      select user_id as "userId", count(*)::int as n
        from (select user_id from waiting where ${isBetween} union all
              select user_id from dead_letters where blocks and status in ('open', 'redriving') and ${isBetween}) x
       group by user_id`,
  ]);
  const endedByRows = rows.length === mostRows;
  const to = endedByRows ? rows.pop()?.userId : last;
  const queued = new Map(queues.map(({ userId, n }) => [userId, n]));
  return { steps, rows: rows.map(rowOf), queued, to, endedByRows };
}

/** Steps and rows of each user. Ids are ASCII (events.ts): their order here is the one of `collate "C"`. */
function merge(
  steps: readonly StoredStep[],
  rows: readonly UserRow[],
  queued: ReadonlyMap<string, number>,
): UserHistory[] {
  const users: UserHistory[] = [];
  let row = 0;
  for (let start = 0; start < steps.length || row < rows.length; ) {
    const [ofSteps, ofRow] = [steps[start]?.userId, rows[row]?.userId];
    const userId = (ofRow === undefined || (ofSteps !== undefined && ofSteps < ofRow) ? ofSteps : ofRow) as string;
    let end = start;
    while (end < steps.length && steps[end]?.userId === userId) end++;
    const saved = ofRow === userId ? rows[row++] : undefined;
    users.push({ userId, steps: steps.slice(start, end), saved, queued: queued.get(userId) ?? 0 });
    start = end;
  }
  return users;
}

type StoredStep = Step & { userId: string };

/** A `StoredStep`, from `history`. */
const STEP_COLUMNS = `
  user_id as "userId", version, type, outcome, from_state as "from", to_state as "to", transition, drift, event as payload, facts,
  topic, partition, generation, "offset", round(date_part('epoch', occurred_at) * 1000) as "occurredAtMs",
  round(date_part('epoch', recorded_at) * 1000) as "recordedAtMs", machine_version as "machineVersion"`;

/** The next page is asked for before this one is given out. */
async function* oneAhead<T>(pages: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = pages.next();
  try {
    for (;;) {
      const page = await next;
      if (page.done) return;
      next = pages.next();
      next.catch(() => {}); // it is awaited later, or nobody wants it any more
      yield page.value;
    }
  } finally {
    await next.catch(() => {});
    await pages.return(undefined);
  }
}
