// redrive.ts — the drain: the one mechanism that releases what waits, and dead letters that an operator redrives.
//
// Owns:          the transaction that takes users' waiting events, puts them to the machine in each user's order, and moves them
//                to history under their original coordinates.
// Does not own:  the order (order.ts), what an event does (run.ts), the bulk writes (save.ts), when it starts (wake.ts).
//
// R1  It locks the users' rows in id order; what it releases it deletes, and counts. Several processes may drain at once, and
//     a drain may race with any batch: whoever finds a row changed rolls back and looks again. Looking locks nothing else: a
//     user with 10,000 events behind a dead letter is looked at every 10 s.
// R2  At most 500 events per transaction, of any number of users; on, until a fresh read finds none that can go.
// R3  What only Postgres refuses becomes a dead letter `sql`, as in a batch, and stops no other user (P4).
import { createHash } from 'node:crypto';
import { type SQL, sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { VERSION } from '../machines/index.ts';
import { type Buried, buryPoison, buryUnreadable, putOrBury } from './bury.ts';
import { BrokenInvariant, Conflict, classify } from './errors.ts';
import type { Decoded, Place, SourceRecord, UserEvent } from './events.ts';
import { readCustomers, readHolds, readKnownCustomers } from './load.ts';
import { nextInOrder, type Queued } from './order.ts';
import { REDRIVE_TOPIC } from './positions.ts';
import { isoTime, putCustomer, type UserRow } from './put.ts';
import { again } from './retry.ts';
import type { Saver } from './rows.ts';
import type { Result, UserView, UserWrite } from './run.ts';
import { inOrder, mergedTallies, send, write } from './save.ts';
import { add, type Tallies, tallyResult } from './tallies.ts';
import { readUsers } from './users.ts';

export type Draining = {
  /** A transaction: what is drained is rolled back with it, and the drain's own transactions are savepoints of it. */
  db: Db | Tx;
  saver: Saver;
  decode(place: Place, record: SourceRecord): Decoded;
  waitingPerUser: number;
};

const EVENTS_PER_DRAIN = 500;
/** Looked at in one transaction, without their payloads (P6). */
const MOST_QUEUED = 20_000;
/** Of the payloads that are read in one transaction: an event may have 1 MB. */
const MOST_BYTES = 8_000_000;

/** What became of a user's events that went, told after each transaction that was saved. */
export type Tell = (userId: string, results: readonly Result[]) => void;

/** Releases what may go of these users' waiting events. Throws what Postgres throws, and a Conflict that remains after its
 *  budget of tries. */
export async function drain(draining: Draining, userIds: readonly string[], tell: Tell): Promise<void> {
  for (let rest = userIds; rest.length > 0; ) {
    try {
      const { went, again } = await transaction(draining.db, (tx) => drainSome(draining, tx, rest));
      for (const [userId, results] of went) tell(userId, results);
      rest = again;
    } catch (error) {
      if (classify(error).class !== 'poison') throw error;
      for (const userId of rest) await drainOneByOne(draining, userId, tell);
      return;
    }
  }
}

/** Again after a conflict, as often as its budget says. */
export async function transaction<T>(db: Db | Tx, act: (tx: Tx) => Promise<T>): Promise<T> {
  return await again(() => (db as Db).transaction(act));
}

/** The event in hand, and those that Postgres refused: they are dead letters `sql`. By name, with the SQLSTATE. */
type Care = { tried: string | undefined; refused: Map<string, string> };

/** The same for a user of whom Postgres refuses something: one event per transaction finds out which. */
async function drainOneByOne(draining: Draining, userId: string, tell: Tell): Promise<void> {
  const care: Care = { tried: undefined, refused: new Map() };
  for (;;) {
    try {
      const { went } = await transaction(draining.db, (tx) => drainSome(draining, tx, [userId], care));
      const results = went.get(userId);
      if (results === undefined) return;
      tell(userId, results);
    } catch (error) {
      const { class: what, code } = classify(error);
      // Refused as a dead letter too: no event's fault.
      if (what !== 'poison' || care.tried === undefined || care.refused.has(care.tried)) throw error;
      care.refused.set(care.tried, code);
    }
  }
}

/** `again`: users of whom more may go, or that were not looked at. */
async function drainSome(
  draining: Draining,
  tx: Tx,
  userIds: readonly string[],
  care?: Care,
): Promise<{ went: Map<string, Result[]>; again: string[] }> {
  const views = await readUsers(tx, userIds, { lock: true, waitingPerUser: draining.waitingPerUser });
  const holds = await readHolds(tx);
  const { now, later } = portionOf(userIds, views);
  const mine = now.filter((userId) => (views.get(userId)?.row?.machineVersion ?? 0) <= VERSION);
  const queues = await readQueues(tx, mine);
  const orders = new Map<string, Item[]>();
  let budget = care === undefined ? EVENTS_PER_DRAIN : 1;
  let bytes = 0;
  const starved: string[] = [];
  const absent = new Set<string>();
  for (const userId of mine) {
    if (budget <= 0) {
      starved.push(userId);
      continue;
    }
    const row = views.get(userId)?.row;
    const isHeld = holds.users.has(userId) || (row?.customerId && holds.customers.has(row.customerId));
    // Nothing of a held user goes, but what it has waiting is counted: a dead letter of it may have been discarded.
    const queue = queues.get(userId) ?? [];
    let order = isHeld ? [] : nextInOrder(queue, row !== undefined, budget);
    // Of a user that does not exist nothing goes; but what is redriven and can not be read still need not wait for it.
    if (order.length === 0 && row === undefined && !isHeld) {
      order = queue.filter(isRedriven).slice(0, budget);
      absent.add(userId);
    }
    // At least one, or an event larger than the limit would never go.
    const end = order.findIndex((item, i) => {
      bytes += item.bytes;
      return i > 0 && bytes > MOST_BYTES;
    });
    orders.set(userId, end < 0 ? order : order.slice(0, end));
    budget = bytes > MOST_BYTES ? 0 : budget - order.length;
  }
  const chosen = [...orders.values()].flat();
  const events = await readEvents(draining, tx, chosen);
  const named = [...events.values()].flatMap((event) => (event.outcome === undefined && event.customerId) || []);
  const known = await readKnownCustomers(tx, [...new Set(named)]);
  if (care !== undefined) care.tried = chosen[0] && nameOf(chosen[0]);
  const around = { events, known: new Set(known), heldCustomers: holds.customers, refused: care?.refused };

  const moved: Moved = { items: new Map(), users: [], tallies: {} };
  const went = new Map<string, Result[]>();
  for (const [userId, order] of orders) {
    const before = views.get(userId)?.row;
    const going = absent.has(userId) ? order.filter((item) => events.get(item)?.outcome === 'dead') : order;
    const { row, items } = putInOrder(userId, before, going, around);
    const results = [...items.values()];
    for (const [item, result] of items) moved.items.set(item, result);
    if (results.length > 0) went.set(userId, results);

    const rest = (queues.get(userId) ?? []).filter((item) => item.counts && !items.has(item)).length;
    const waiting = rest + results.filter((result) => result.outcome === 'dead' && result.blocks).length;
    if (row === undefined || (results.length === 0 && row.waiting === waiting)) continue;
    const readRev = before?.rev ?? null;
    moved.users.push({ row: { ...row, waiting, rev: (readRev ?? 0) + 1 }, readRev });
  }
  await move(draining, tx, moved);
  // A user of whom nothing went is not looked at again, however many it has waiting: the first of them could not go.
  return { went, again: [...went.keys(), ...starved, ...later] };
}

/** As many users as have MOST_QUEUED events waiting together, at least one. */
function portionOf(
  userIds: readonly string[],
  views: ReadonlyMap<string, UserView>,
): { now: readonly string[]; later: readonly string[] } {
  let queued = 0;
  const end = userIds.findIndex((userId, i) => {
    queued += views.get(userId)?.waiting ?? 0;
    return i > 0 && queued > MOST_QUEUED;
  });
  return end < 0 ? { now: userIds, later: [] } : { now: userIds.slice(0, end), later: userIds.slice(end) };
}

/** A waiting event, or a dead letter of the user. `counts`: it is counted in `users.waiting`. */
type Item = Queued & {
  table: 'waiting' | 'dead_letters';
  code: string | null;
  counts: boolean;
  bytes: number;
  forced: boolean;
};
const isRedriven = ({ table, blocks }: Item) => table === 'dead_letters' && !blocks;
type Around = {
  events: ReadonlyMap<Item, Decoded>;
  known: ReadonlySet<string>;
  heldCustomers: ReadonlySet<string>;
  refused: ReadonlyMap<string, string> | undefined;
};

/** One user's events that may go, put to the machine one after the other, until one may not. */
function putInOrder(
  userId: string,
  before: UserRow | undefined,
  order: readonly Item[],
  { events, known, heldCustomers, refused }: Around,
): { row: UserRow | undefined; items: Map<Item, Result> } {
  const items = new Map<Item, Result>();
  let row = before;
  for (const item of order) {
    const event = events.get(item);
    if (event === undefined) throw new Conflict(`the event at ${nameOf(item)} is gone meanwhile`);
    const customerId = row !== undefined ? row.customerId : event.outcome === undefined ? event.customerId : null;
    if (customerId !== null && heldCustomers.has(customerId)) break;
    const sqlstate = refused?.get(nameOf(item));
    let result: Result;
    if (event.outcome === 'dead') result = buryUnreadable(event, row?.version ?? null);
    else if (event.userId !== userId) {
      // A customer's event that was not readable before: redriveDeadLetter is for it.
      if (item.table === 'dead_letters') continue;
      throw new BrokenInvariant(`the event at ${nameOf(item)} is another user's`);
    } else if (sqlstate !== undefined) result = buryPoison(event, sqlstate, row);
    else {
      const customerKnown = event.customerId === null || known.has(event.customerId);
      const put = putOrBury(row, event, customerKnown, { forced: item.forced });
      if ('reason' in put) break;
      if ('row' in put) row = put.row;
      result = 'row' in put ? put.settled : put;
    }
    items.set(item, result);
    if (result.outcome === 'dead' && result.blocks) break;
  }
  return { row, items };
}

type Moved = { items: Map<Item, Result>; users: UserWrite[]; tallies: Tallies };

/** What went leaves `waiting`, or is resolved as a dead letter, and enters history; all counted. */
async function move({ saver }: Draining, tx: Tx, { items, users, tallies }: Moved): Promise<void> {
  const released: Item[] = [];
  const resolved: Item[] = [];
  const diedAgain: [Item, Buried][] = [];
  const rows: Result[] = [];
  for (const [item, result] of items) {
    takeFrom(tallies, item);
    tallyResult(tallies, result, 1);
    if (item.table === 'waiting') released.push(item);
    else if (result.outcome === 'dead') diedAgain.push([item, result]);
    else resolved.push(item);
    if (item.table === 'waiting' || result.outcome !== 'dead') rows.push(result);
  }
  await inOrder([
    ...write(tx, saver, { results: rows, users, customers: [] }),
    ...(released.length === 0 ? [] : [expectAll(send(tx, deleteWaiting(released)), released.length)]),
    ...(resolved.length === 0 ? [] : [expectAll(send(tx, resolveDeadLetters(resolved)), resolved.length)]),
    ...diedAgain.map(([item, buried]) => expectAll(send(tx, reopenDeadLetter(item, buried)), 1)),
    ...(Object.keys(tallies).length === 0 ? [] : [send(tx, addTallies(nameOf([...items.keys()][0] as Item), tallies))]),
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

/** Redrives one dead letter that is no user's, as far as it was understood: unreadable until now, or a customer's event. Returns
 *  what became of it; `userId`: it turns out to be a user's event (and that is written down), whose drain settles it. Undefined:
 *  it is not up for a redrive. */
export async function redriveDeadLetter(
  draining: Draining,
  id: number,
): Promise<{ result: Result } | { userId: string } | undefined> {
  try {
    return await transaction(draining.db, (tx) => redriveOne(draining, tx, id));
  } catch (error) {
    const { class: what, code } = classify(error);
    if (what !== 'poison') throw error;
    return await transaction(draining.db, (tx) => redriveOne(draining, tx, id, code)); // R3
  }
}

/** Whose event a dead letter is, where it was not understood when it died and is now: written down, for its place in that user's
 *  order. Undefined: still nobody's, or a customer's. */
export async function recogniseDeadLetter({ db, decode }: Draining, id: number): Promise<string | undefined> {
  return await transaction(db, async (tx) => {
    const found = await readDeadLetter(tx, id, ['open', 'redriving']);
    if (found === undefined) return undefined;
    const item = itemOf(found);
    const event = decode(item, recordOf(found));
    if (event.outcome === 'dead' || event.type === 'CUSTOMER_CREATED') return undefined;
    if (found.userId === null || found.type === null) await recognise(tx, id, item, event);
    return event.userId;
  });
}

type FoundDeadLetter = StoredItem & StoredRecord & { userId: string | null };
async function readDeadLetter(tx: Tx, id: number, statuses: readonly string[]): Promise<FoundDeadLetter | undefined> {
  const [found] = await tx.execute<FoundDeadLetter>(sql`
      select ${COORDINATES}, key, coalesce(edited_value, value) as value, headers::text as headers, record_ms as "recordMs",
             'dead_letters' as table, type, code, blocks, forced, status, 0 as "atMs", 0 as bytes, user_id as "userId"
        from dead_letters where id = ${id}::bigint and status = any(${sql.param(statuses)}::text[]) for update`);
  return found;
}

async function redriveOne(
  { saver, decode }: Draining,
  tx: Tx,
  id: number,
  refused?: string,
): Promise<{ result: Result } | { userId: string } | undefined> {
  const found = await readDeadLetter(tx, id, ['redriving']);
  if (found === undefined) return undefined;
  const item = itemOf(found);
  const event = decode(item, recordOf(found));
  if (event.outcome === undefined && event.type !== 'CUSTOMER_CREATED') {
    if (found.userId === null || found.type === null) await recognise(tx, id, item, event);
    return { userId: event.userId };
  }
  if (found.userId !== null && event.type !== 'CUSTOMER_CREATED') return { userId: found.userId };

  const tallies: Tallies = {};
  takeFrom(tallies, item);
  if (event.outcome === 'dead' || refused !== undefined) {
    const result =
      event.outcome === 'dead' ? buryUnreadable(event, null) : buryPoison(event, refused as string, undefined);
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
    expectAll(send(tx, resolveDeadLetters([item])), 1),
    send(tx, addTallies(event.customerId, tallies)),
  ]);
  return { result: settled };
}

/** What could not be read when it died can be now: whose it is and what, for its place in the user's order. */
async function recognise(tx: Tx, id: number, item: Item, event: UserEvent): Promise<void> {
  await tx.execute(sql`update dead_letters set user_id = ${event.userId}, type = ${event.type}, dialect = ${event.dialect},
                                event_id = ${event.eventId}, occurred_at = ${isoTime(event)}::timestamptz
                          where id = ${id}::bigint`);
  const tallies: Tallies = {};
  takeFrom(tallies, { ...item, code: null });
  add(tallies, `event|${event.type}|dead`, 1);
  await tx.execute(addTallies(event.userId, tallies));
}

export type StoredItem = {
  table: Item['table'];
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  type: string | null;
  code: string | null;
  bytes: number;
  atMs: string;
  blocks: boolean;
  forced: boolean;
  status: string;
};
const COORDINATES = sql.raw('topic, partition, generation, "offset"');

/** All that waits for these users, and their dead letters that block or are being redriven: without the payloads. */
async function readQueues(tx: Tx, userIds: readonly string[]): Promise<Map<string, Item[]>> {
  const ids = sql.param(userIds);
  const [waiting, dead] = await Promise.all([
    tx.execute<StoredItem & { userId: string }>(sql`
      select ${COORDINATES}, user_id as "userId", 'waiting' as table, type, null as code, octet_length(value) as bytes,
             at_ms as "atMs", true as blocks, false as forced, 'waiting' as status
        from waiting where user_id = any(${ids}::text[])`),
    tx.execute<StoredItem & { userId: string }>(sql`
      select ${COORDINATES}, user_id as "userId", 'dead_letters' as table, type, code, size as bytes, blocks, forced, status,
             coalesce((extract(epoch from occurred_at) * 1000)::bigint, record_ms) as "atMs"
        from dead_letters where user_id = any(${ids}::text[]) and status in ('open', 'redriving') and (status = 'redriving' or blocks)`),
  ]);
  const queues = new Map<string, Item[]>();
  for (const { userId, ...stored } of [...waiting, ...dead]) {
    const queue = queues.get(userId);
    if (queue === undefined) queues.set(userId, [itemOf(stored)]);
    else queue.push(itemOf(stored));
  }
  return queues;
}

/** "waiting user-events/4#0@99121" */
function nameOf({
  table,
  topic,
  partition,
  generation,
  offset,
}: Pick<Item, 'table' | keyof Place> & { offset: unknown }): string {
  return `${table} ${topic}/${partition}#${generation}@${offset}`;
}

function itemOf({ offset, atMs, bytes, blocks, status, ...stored }: StoredItem): Item {
  return {
    ...stored,
    bytes: bytes ?? 0,
    offset: BigInt(offset),
    atMs: Number(atMs),
    blocks: blocks && status === 'open',
    counts: blocks,
  };
}

export type StoredRecord = { key: Buffer | null; value: Buffer | null; headers: string; recordMs: string };

async function readEvents({ decode }: Draining, tx: Tx, items: readonly Item[]): Promise<Map<Item, Decoded>> {
  const records = new Map<string, SourceRecord>();
  for (const table of ['waiting', 'dead_letters'] as const) {
    const of = items.filter((item) => item.table === table);
    if (of.length === 0) continue;
    const value = table === 'dead_letters' ? sql.raw('coalesce(t.edited_value, t.value)') : sql.raw('t.value');
    const rows = await tx.execute<StoredRecord & StoredItem>(sql`
      select ${sql.raw('t.topic, t.partition, t.generation, t."offset", t.key')}, ${value} as value, t.headers::text as headers, t.record_ms as "recordMs"
        from ${sql.raw(table)} t join ${coordinatesOf(of)} on ${SAME_COORDINATES}`);
    for (const row of rows) records.set(nameOf({ ...row, table }), recordOf(row));
  }
  const events = new Map<Item, Decoded>();
  for (const item of items) {
    const record = records.get(nameOf(item));
    if (record !== undefined) events.set(item, decode(item, record));
  }
  return events;
}

/** A record as it stands in the tables. */
export function recordOf({ offset, key, value, headers, recordMs }: StoredRecord & { offset: string }): SourceRecord {
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
function reopenDeadLetter(item: Item, buried: Buried): SQL {
  const { event, code, stage, class: errorClass, message, blocks, userId } = buried;
  // As much as could be read this time: the tallies take from the type that stands here.
  return sql`update dead_letters t
                set status = 'open', forced = false, attempts = attempts + 1, last_failed_at = now(), code = ${code}, stage = ${stage},
                    class = ${errorClass}, message = ${message}, blocks = ${blocks}, type = ${event.type},
                    dialect = ${event.dialect}, event_id = ${event.eventId}, user_id = coalesce(t.user_id, ${userId})
               from ${coordinatesOf([item])} where ${SAME_COORDINATES} and t.status = 'redriving'`;
}

/** Rows of their own, spread over 16, so that drains do not wait for each other or for a partition's fence. */
export function addTallies(id: string, tallies: Tallies): SQL {
  const partition = (createHash('sha256').update(id).digest()[0] as number) % 16;
  return sql`insert into positions (topic, partition, next_offset, first_offset, cluster_id, tallies)
             values (${REDRIVE_TOPIC}, ${partition}::int, 0, 0, '', ${JSON.stringify(tallies)}::text::jsonb)
                 on conflict (topic, partition) do update set tallies = ${mergedTallies(tallies)}, updated_at = clock_timestamp()`;
}
