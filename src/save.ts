// save.ts — the one transaction of a batch: the fence first, then every row that changed. All or nothing (P2, P5).
//
// Owns:          the statements and their counts. Decides nothing: whatever it learns rolls everything back, and the
//                batch is run again with that knowledge.
// Does not own:  what is written (run.ts), when to try again (partitions.ts), releasing what waits (redrive.ts).
//
// V1  The callback of the transaction is async and throws unless fence = 1 and every count is as asked. postgres.js sends
//     COMMIT right after an array of queries: `begin(tx => [fence, users, …])` would save a stale owner's rows.
// V2  Each bulk write is one statement with one array parameter per column (bulk.ts); all of a save are sent at once.
// V3  Rows are written, so locked, in id order, which only a nested loop over the arrays keeps: 0 deadlocks in 120 saves of
//     three writers, unsorted 38. In a table of less than some thousand rows the planner prefers a hash join, which locks
//     them as they lie: two versions side by side met in 4 to 8 deadlocks of 1 s each, and 40 users waited 4.3 to 9.9 s for
//     their first event; with the plan given (`joinByIndex`) no deadlock, and 1.2 to 2.0 s (4 runs of each in turn).
import { createHash } from 'node:crypto';
import { type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import type { Bulk } from './bulk.ts';
import type { Buried } from './bury.ts';
import { BrokenInvariant, Conflict, Fenced } from './errors.ts';
import type { Place, SourceRecord } from './events.ts';
import type { Settled } from './put.ts';
import { CUSTOMERS, DEAD_LETTERS, deadLetterRow, HISTORY, type Saver, USERS, WAITING, waitingRow } from './rows.ts';
import type { Postponed, Ran } from './run.ts';
import type { Tallies } from './tallies.ts';

/** The step of a position that a save makes. `from` and `to`: the next offset before and after. */
export type Advance = {
  place: Place;
  from: bigint;
  to: bigint;
  leaderEpoch: number | null;
  /** The last data record of the step, remembered to see whether the log was rewritten. */
  tail: SourceRecord | undefined;
};
/** The first try: `ran` was made from rows read before. Throws Fenced, Conflict or what Postgres answers; then nothing
 *  was saved, unless the connection broke at COMMIT: read the position to know. */
export async function save(db: Db, saver: Saver, advance: Advance, ran: Ran): Promise<void> {
  await db.transaction(async (tx) => {
    await inOrder([fence(tx, saver, advance, ran.tallies), ...write(tx, saver, ran)]);
  });
}

/** The second try, after a conflict: the rows are read and locked inside, behind the fence. */
export async function saveLocked(
  db: Db,
  saver: Saver,
  advance: Advance,
  runOn: (tx: Tx) => Promise<Ran>,
): Promise<Ran> {
  return await db.transaction(async (tx) => {
    await lockPosition(tx, advance);
    const ran = await runOn(tx);
    await inOrder([fence(tx, saver, advance, ran.tallies), ...write(tx, saver, ran)]);
    return ran;
  });
}

/** Waits for all statements of a transaction and throws the first failure in *their* order: a stale owner's history rows
 *  violate a key as well, and what a statement says after the fence or a rev has failed means nothing. */
export async function inOrder(statements: readonly Promise<unknown>[]): Promise<void> {
  for (const settled of await Promise.allSettled(statements)) if (settled.status === 'rejected') throw settled.reason;
}

/** Drizzle sends a statement only when its promise is first looked at, so that one with `then` would overtake those that
 *  an async function awaits: this sends it now. The fence stays first, and what fails first is first in the list. */
export function send(tx: Tx, statement: SQL): Promise<{ count: number }> {
  return tx.execute(statement).then((result) => result);
}

// 1  The fence (P2). With `next_offset = from`: 167,779 rows exactly once under 67 kill -9, 33 SIGSTOP, 15 database
//    crashes. Without it: 35,908 duplicates in 30 s. Stays the first statement: a stale owner must not get further.
async function fence(tx: Tx, saver: Saver, advance: Advance, tallies: Tallies): Promise<void> {
  const { place, from, to, leaderEpoch, tail } = advance;
  const { count } = await send(
    tx,
    sql`
    update positions
       set next_offset = ${String(to)}::bigint, leader_epoch = ${leaderEpoch}::int, owner = ${saver.instance}, updated_at = clock_timestamp(),
           tail_offset = coalesce(${tail === undefined ? null : String(tail.offset)}::bigint, tail_offset),
           tail_hash = coalesce(${tail === undefined ? null : tailHash(tail)}::text::bytea, tail_hash),
           tallies = ${mergedTallies(tallies)}
     where topic = ${place.topic} and partition = ${place.partition}::int and generation = ${place.generation}::int
       and next_offset = ${String(from)}::bigint and state = 'running'`,
  );
  if (count !== 1) throw fenced(advance);
}

function fenced({ place, from }: Advance): Fenced {
  return new Fenced(
    `${place.topic}/${place.partition} generation ${place.generation} is not at offset ${from} any more, or is halted: ` +
      'another owner saved it. Nothing of this batch was saved; the position is read again.',
  );
}

/** `positions.tallies` with these added, for an update or an upsert of a position. */
export function mergedTallies(tallies: Tallies): SQL {
  return sql`(select coalesce(jsonb_object_agg(key, total), '{}')
                from (select key, sum(value::bigint) as total
                        from (select * from jsonb_each_text(positions.tallies) union all
                              select * from jsonb_each_text(${JSON.stringify(tallies)}::text::jsonb)) parts
                       group by key) sums)`;
}

async function lockPosition(tx: Tx, advance: Advance): Promise<void> {
  const { place, from } = advance;
  const { count } = await tx.execute(sql`
    select 1 from positions
     where topic = ${place.topic} and partition = ${place.partition}::int and generation = ${place.generation}::int
       and next_offset = ${String(from)}::bigint and state = 'running' for no key update`);
  if (count !== 1) throw fenced(advance);
}

/** Key, value and time of the last data record: by it a log can be told from one that was re-created and grew past us. */
export function tailHash({ key, value, timestampMs }: SourceRecord): string {
  const hash = createHash('sha256').update(String(timestampMs));
  for (const part of [key, value]) hash.update(part === null ? '-' : `${part.length}:`).update(part ?? '');
  return `\\x${hash.digest('hex').slice(0, 16)}`;
}

/** The rows of a batch, all statements sent at once. Each promise rejects unless its count is as asked. Used by the
 *  drain too, which has no position. */
export function write(tx: Tx, saver: Saver, ran: Pick<Ran, 'results' | 'users' | 'customers'>): Promise<void>[] {
  const settled: Settled[] = [];
  const postponed: Postponed[] = [];
  const buried: Buried[] = [];
  for (const result of ran.results) {
    if (result.outcome === 'dead') buried.push(result);
    else if (result.outcome === 'waiting') postponed.push(result);
    else settled.push(result);
  }
  return [
    ...(locksSeveral(ran.customers) || locksSeveral(ran.users) ? [joinByIndex(tx)] : []),
    ...writeByRev(tx, CUSTOMERS, ran.customers, ({ row }) => row.customerId), // 2
    ...writeByRev(tx, USERS, ran.users, ({ row }) => row.userId), // 3
    ...insertAll(tx, HISTORY, settled, saver), // 4
    ...insertAll(tx, WAITING, postponed.map(waitingRow)), // 5
    ...insertAll(
      tx,
      DEAD_LETTERS,
      buried.map((each) => deadLetterRow(saver, each)),
    ), // 6
  ];
}

function locksSeveral(writes: readonly { readRev: number | null }[]): boolean {
  let known = 0;
  for (const { readRev } of writes) if (readRev !== null && ++known > 1) return true;
  return false;
}

/** The updates of this transaction, from here on: row after row as they stand in the arrays (V3). */
async function joinByIndex(tx: Tx): Promise<void> {
  await send(
    tx,
    sql`select set_config(name, 'off', true) from unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan}'::text[]) as name`,
  );
}

// 2, 3  New rows are inserted unless somebody else did, known ones updated where the rev is the one that was read.
//       Two statements instead of ON CONFLICT DO UPDATE for all: 30–35 % less WAL.
function writeByRev<W extends { readRev: number | null }>(
  tx: Tx,
  bulk: Bulk<W>,
  writes: readonly W[],
  idOf: (write: W) => string,
): Promise<void>[] {
  const sorted = writes.toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : 1));
  const fresh = sorted.filter(({ readRev }) => readRev === null);
  const known = sorted.filter(({ readRev }) => readRev !== null);
  return [
    ...(fresh.length === 0 ? [] : [expectCount(send(tx, bulk.insertNew(fresh)), fresh.length, bulk.name)]),
    ...(known.length === 0 ? [] : [expectCount(send(tx, bulk.update(known, revOf)), known.length, bulk.name)]),
  ];
}

const revOf = ({ readRev }: { readRev: number | null }) => readRev;

async function expectCount(statement: Promise<{ count: number }>, asked: number, table: string): Promise<void> {
  const { count } = await statement;
  if (count !== asked)
    throw new Conflict(`${asked - count} of ${asked} rows of ${table} were written by somebody else meanwhile`);
}

// 4–6  Append only.
function insertAll<R>(tx: Tx, bulk: Bulk<R>, rows: readonly R[]): Promise<void>[];
function insertAll<R, S>(tx: Tx, bulk: Bulk<R, S>, rows: readonly R[], shared: S): Promise<void>[];
function insertAll<R, S>(tx: Tx, bulk: Bulk<R, S>, rows: readonly R[], shared?: S): Promise<void>[] {
  if (rows.length === 0) return [];
  return [
    send(tx, bulk.insert(rows, shared as S)).then(({ count }) => {
      if (count !== rows.length)
        throw new BrokenInvariant(`${count} of ${rows.length} rows of ${bulk.name} were inserted`);
    }),
  ];
}
