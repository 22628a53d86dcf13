// redrive.ts — the drain: the one mechanism that releases what waits, and dead letters that an operator redrives.
//
// Owns:          the transaction that takes one user's waiting events, puts them to the machine in order, and moves them to
//                history under their original coordinates.
// Does not own:  the order (order.ts), what an event does (run.ts), the bulk writes (save.ts), when it starts (wake.ts).
//
// R1  It locks the user's row; what it releases it deletes, and counts. Several processes may drain at once, and a drain may
//     race with any batch: whoever finds a row changed rolls back and looks again. Looking locks nothing: a user with 10,000
//     events behind a dead letter is looked at every 10 s.
// R2  At most 500 events per transaction; on, until a fresh read finds none that can go.
import { createHash } from 'node:crypto';
import { type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { VERSION } from '../machines/index.ts';
import { Conflict, classify } from './errors.ts';
import type { Decoded, Place, SourceRecord } from './events.ts';
import { readCustomers, readHolds, readKnownCustomers } from './load.ts';
import { nextInOrder, type Queued } from './order.ts';
import { REDRIVE_TOPIC } from './positions.ts';
import { CONFLICT, sleep, waitMs } from './retry.ts';
import {
  type Buried,
  buryUnreadable,
  putCustomer,
  putOrBury,
  type Result,
  type UserRow,
  type UserWrite,
} from './run.ts';
import { inOrder, mergedTallies, type Saver, write } from './save.ts';
import { add, type Tallies, tallyResult } from './tallies.ts';
import { readUsers } from './users.ts';

export type Draining = {
  db: Db;
  saver: Saver;
  decode(place: Place, record: SourceRecord): Decoded;
  waitingPerUser: number;
};

const EVENTS_PER_DRAIN = 500;

/** Releases what may go of one user's waiting events. Returns what became of each that went. Throws what Postgres throws,
 *  and a Conflict that remains after its budget of tries. */
export async function drain(draining: Draining, userId: string): Promise<Result[]> {
  const results: Result[] = [];
  for (let failures = 0; ; ) {
    try {
      const went = await draining.db.transaction((tx) => drainSome(draining, tx, userId));
      results.push(...went);
      if (went.length === 0) return results;
      failures = 0;
    } catch (error) {
      if (classify(error).class !== 'conflict' || ++failures > CONFLICT.tries) throw error;
      await sleep(waitMs(CONFLICT, failures));
    }
  }
}

async function drainSome(draining: Draining, tx: Tx, userId: string): Promise<Result[]> {
  const row = (await readUsers(tx, [userId], { lock: true, waitingPerUser: 0 })).get(userId)?.row;
  if (row !== undefined && row.machineVersion > VERSION) return [];
  const holds = await readHolds(tx);
  if (holds.users.has(userId)) return [];
  const queued = await readQueue(tx, userId);
  const went = await putInOrder(draining, tx, row, queued, userId, holds.customers);

  const rest = queued.filter((item) => !went.items.has(item)).filter(({ counts }) => counts).length;
  const waiting = rest + went.results.filter((result) => result.outcome === 'dead' && result.blocks).length;
  const users = userWrite(row, went.row, waiting, went.results.length > 0);
  if (users.length > 0 || went.results.length > 0) await move(draining, tx, userId, went, users);
  return went.results;
}

function userWrite(
  before: UserRow | undefined,
  after: UserRow | undefined,
  waiting: number,
  changed: boolean,
): UserWrite[] {
  if (after === undefined || (!changed && after.waiting === waiting)) return [];
  const readRev = before?.rev ?? null;
  return [{ row: { ...after, waiting, rev: (readRev ?? 0) + 1 }, readRev }];
}

/** A waiting event, or a dead letter of the user. `counts`: it is counted in `users.waiting`. */
type Item = Queued & {
  table: 'waiting' | 'dead_letters';
  customerId: string | null;
  code: string | null;
  counts: boolean;
};
type Went = { items: Map<Item, Result>; results: Result[]; row: UserRow | undefined };

/** The events that may go, put to the machine one after the other, until one may not. */
async function putInOrder(
  { decode }: Draining,
  tx: Tx,
  before: UserRow | undefined,
  queued: readonly Item[],
  userId: string,
  heldCustomers: ReadonlySet<string>,
): Promise<Went> {
  const order = nextInOrder(queued, before !== undefined, EVENTS_PER_DRAIN);
  const went: Went = { items: new Map(), results: [], row: before };
  if (order.length === 0) return went;
  const [records, known] = await Promise.all([
    readRecords(tx, order),
    readKnownCustomers(
      tx,
      order.flatMap(({ customerId }) => customerId ?? []),
    ).then((ids) => new Set(ids)),
  ]);
  for (const item of order) {
    const record = records.get(`${item.table}|${item.topic}|${item.partition}|${item.generation}|${item.offset}`);
    if (record === undefined)
      throw new Conflict(`the event at ${item.topic}/${item.partition}@${item.offset} is gone meanwhile`);
    const customerId = went.row === undefined ? item.customerId : went.row.customerId;
    if (customerId !== null && heldCustomers.has(customerId)) break;
    const event = decode(item, record);
    let result: Result;
    if (event.outcome === 'dead') result = buryUnreadable(event, went.row?.version ?? null);
    else if (event.userId !== userId)
      throw new Conflict(`the event at ${item.topic}/${item.partition}@${item.offset} is another user's`);
    else {
      const put = putOrBury(went.row, event, event.customerId === null || known.has(event.customerId));
      if ('reason' in put) break;
      if ('row' in put) went.row = put.row;
      result = 'row' in put ? put.settled : put;
    }
    went.items.set(item, result);
    went.results.push(result);
    if (result.outcome === 'dead' && result.blocks) break;
  }
  return went;
}

/** What went leaves `waiting`, or is resolved as a dead letter, and enters history; all counted. */
async function move({ saver }: Draining, tx: Tx, userId: string, went: Went, users: UserWrite[]): Promise<void> {
  const tallies: Tallies = {};
  const released: Item[] = [];
  const resolved: Item[] = [];
  const diedAgain: [Item, Buried][] = [];
  const rows: Result[] = [];
  for (const [item, result] of went.items) {
    takeFrom(tallies, item);
    tallyResult(tallies, result, 1);
    if (item.table === 'waiting') released.push(item);
    else if (result.outcome === 'dead') diedAgain.push([item, result]);
    else resolved.push(item);
    if (item.table === 'waiting' || result.outcome !== 'dead') rows.push(result);
  }
  await inOrder([
    ...write(tx, saver, { results: rows, users, customers: [] }),
    ...(released.length === 0 ? [] : [expectAll(tx.execute(deleteWaiting(released)), released.length)]),
    ...(resolved.length === 0 ? [] : [expectAll(tx.execute(resolveDeadLetters(resolved)), resolved.length)]),
    ...diedAgain.map(([item, buried]) => expectAll(tx.execute(reopenDeadLetter(item, buried)), 1)),
    ...(Object.keys(tallies).length === 0 ? [] : [tx.execute(addTallies(userId, tallies))]),
  ]);
}

function takeFrom(tallies: Tallies, item: Pick<Item, 'table' | 'type' | 'code'>): void {
  add(tallies, `event|${item.type ?? '_OTHER'}|${item.table === 'waiting' ? 'waiting' : 'dead'}`, -1);
  if (item.code !== null) add(tallies, `dead|${item.code}`, -1);
}

async function expectAll(statement: Promise<{ count: number }>, asked: number): Promise<void> {
  const { count } = await statement;
  if (count !== asked)
    throw new Conflict(
      `${asked - count} of ${asked} waiting rows or dead letters were settled by somebody else meanwhile`,
    );
}

/** Redrives one dead letter that names no user: unreadable until now, or a customer's event. Returns what became of it, and
 *  the user whose drain settles it, where it turns out to be a user's event. Undefined: it is not up for a redrive. */
export async function redriveDeadLetter(
  { db, saver, decode }: Draining,
  id: number,
): Promise<{ result: Result } | { userId: string } | undefined> {
  return await db.transaction(async (tx) => {
    const [found] = await tx.execute<StoredItem & StoredRecord & { userId: string | null }>(sql`
      select ${COORDINATES}, ${RECORD}, 'dead_letters' as table, type, code, blocks, status, 0 as "atMs", null as "customerId", user_id as "userId"
        from dead_letters where id = ${id}::bigint and status = 'redriving' for update`);
    if (found === undefined) return undefined;
    if (found.userId !== null) return { userId: found.userId };
    const item = itemOf(found);
    const event = decode(item, recordOf(found));
    if (event.outcome !== 'dead' && event.type !== 'CUSTOMER_CREATED') {
      await tx.execute(sql`update dead_letters set user_id = ${event.userId}, type = ${event.type}, dialect = ${event.dialect},
                                  event_id = ${event.eventId}, occurred_at = ${new Date(event.occurredAtMs).toISOString()}::timestamptz
                            where id = ${id}::bigint`);
      const tallies: Tallies = {};
      takeFrom(tallies, { ...item, code: null });
      add(tallies, `event|${event.type}|dead`, 1);
      await tx.execute(addTallies(event.userId, tallies));
      return { userId: event.userId };
    }

    const tallies: Tallies = {};
    takeFrom(tallies, item);
    if (event.outcome === 'dead') {
      const result = buryUnreadable(event, null);
      tallyResult(tallies, result, 1);
      await tx.execute(reopenDeadLetter(item, result));
      await tx.execute(addTallies(String(id), tallies));
      return { result };
    }
    const row = (await readCustomers(tx, { customers: [event] })).get(event.customerId);
    const { row: next, settled } = putCustomer(row, event);
    tallyResult(tallies, settled, 1);
    const customers = [{ row: { ...next, rev: (row?.rev ?? 0) + 1 }, readRev: row?.rev ?? null }];
    await inOrder([
      ...write(tx, saver, { results: [settled], users: [], customers }),
      expectAll(tx.execute(resolveDeadLetters([item])), 1),
      tx.execute(addTallies(event.customerId, tallies)),
    ]);
    return { result: settled };
  });
}

type StoredItem = {
  table: Item['table'];
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  type: string | null;
  code: string | null;
  customerId: string | null;
  atMs: string;
  blocks: boolean;
  status: string;
};
const COORDINATES = sql.raw('topic, partition, generation, "offset"');
const RECORD = sql.raw('key, value, headers::text as headers, record_ms as "recordMs"');

/** All that waits for a user, and its dead letters that block or are being redriven: without the payloads. */
async function readQueue(tx: Tx, userId: string): Promise<Item[]> {
  const [waiting, dead] = await Promise.all([
    tx.execute<StoredItem>(sql`
      select ${COORDINATES}, 'waiting' as table, type, null as code, customer_id as "customerId", at_ms as "atMs", true as blocks, 'waiting' as status
        from waiting where user_id = ${userId}`),
    tx.execute<StoredItem>(sql`
      select ${COORDINATES}, 'dead_letters' as table, type, code, null as "customerId", blocks, status,
             coalesce((extract(epoch from occurred_at) * 1000)::bigint, record_ms) as "atMs"
        from dead_letters where user_id = ${userId} and (status = 'redriving' or blocks and status = 'open')`),
  ]);
  return [...waiting, ...dead].map(itemOf);
}

function itemOf({ offset, atMs, blocks, status, ...stored }: StoredItem): Item {
  return { ...stored, offset: BigInt(offset), atMs: Number(atMs), blocks: blocks && status === 'open', counts: blocks };
}

type StoredRecord = { key: Buffer | null; value: Buffer | null; headers: string; recordMs: string };

async function readRecords(tx: Tx, items: readonly Item[]): Promise<Map<string, SourceRecord>> {
  const records = new Map<string, SourceRecord>();
  for (const table of ['waiting', 'dead_letters'] as const) {
    const of = items.filter((item) => item.table === table);
    if (of.length === 0) continue;
    const value = table === 'dead_letters' ? sql.raw('coalesce(t.edited_value, t.value)') : sql.raw('t.value');
    const rows = await tx.execute<StoredRecord & StoredItem>(sql`
      select ${sql.raw('t.topic, t.partition, t.generation, t."offset", t.key')}, ${value} as value, t.headers::text as headers, t.record_ms as "recordMs"
        from ${sql.raw(table)} t join ${coordinatesOf(of)} on ${SAME_COORDINATES}`);
    for (const row of rows)
      records.set(`${table}|${row.topic}|${row.partition}|${row.generation}|${row.offset}`, recordOf(row));
  }
  return records;
}

function recordOf({ offset, key, value, headers, recordMs }: StoredRecord & { offset: string }): SourceRecord {
  const pairs = JSON.parse(headers) as [string, string | null][];
  return {
    offset: BigInt(offset),
    timestampMs: Number(recordMs),
    key,
    value,
    headers: pairs.map(([name, text]) => [
      Buffer.from(name, 'base64').toString(),
      text === null ? null : Buffer.from(text, 'base64'),
    ]),
  };
}

function coordinatesOf(items: readonly Item[]): SQL {
  const list = items.map(({ topic, partition, generation, offset }) => ({
    topic,
    partition,
    generation,
    offset: String(offset),
  }));
  return sql`json_to_recordset(${JSON.stringify(list)}::text::json) as r(topic text, partition int, generation smallint, "offset" bigint)`;
}
const SAME_COORDINATES = sql.raw(
  't.topic = r.topic collate "C" and t.partition = r.partition and t.generation = r.generation and t."offset" = r."offset"',
);

function deleteWaiting(items: readonly Item[]): SQL {
  return sql`delete from waiting t using ${coordinatesOf(items)} where ${SAME_COORDINATES}`;
}
function resolveDeadLetters(items: readonly Item[]): SQL {
  return sql`update dead_letters t set status = 'resolved', settled_at = now() from ${coordinatesOf(items)}
              where ${SAME_COORDINATES} and t.status = 'redriving'`;
}
function reopenDeadLetter(item: Item, { code, stage, class: errorClass, message, blocks }: Buried): SQL {
  return sql`update dead_letters t
                set status = 'open', attempts = attempts + 1, last_failed_at = now(), code = ${code}, stage = ${stage},
                    class = ${errorClass}, message = ${message}, blocks = ${blocks}
               from ${coordinatesOf([item])} where ${SAME_COORDINATES} and t.status = 'redriving'`;
}

/** Rows of their own, spread over 16, so that drains do not wait for each other or for a partition's fence. */
function addTallies(id: string, tallies: Tallies): SQL {
  const partition = (createHash('sha256').update(id).digest()[0] as number) % 16;
  return sql`insert into positions (topic, partition, next_offset, first_offset, cluster_id, tallies)
             values (${REDRIVE_TOPIC}, ${partition}::int, 0, 0, '', ${JSON.stringify(tallies)}::text::jsonb)
                 on conflict (topic, partition) do update set tallies = ${mergedTallies(tallies)}, updated_at = clock_timestamp()`;
}
