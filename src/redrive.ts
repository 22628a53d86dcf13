// redrive.ts — the drain: the one mechanism that releases what waits, and dead letters that an operator redrives.
//
// Owns:          the transaction that takes users' waiting events, puts them to the machine in each user's order, and moves them
//                to history under their original coordinates.
// Does not own:  what stands in the tables (queue.ts), the order (order.ts), what an event does (run.ts), the bulk writes
//                (save.ts), when it starts (wake.ts), dead letters that are no user's (redrive-one.ts).
//
// R1  It locks the users' rows in id order; what it releases it deletes, and counts. Several processes may drain at once, and
//     a drain may race with any batch: whoever finds a row changed rolls back and looks again. Looking locks nothing else: a
//     user with 10,000 events behind a dead letter is looked at every 10 s.
// R2  At most 500 events per transaction, of any number of users; on, until a fresh read finds none that can go.
// R3  What only Postgres refuses becomes a dead letter `sql`, as in a batch, and stops no other user (P4).
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { VERSION } from '../machines/index.ts';
import { addTallies } from './add-tallies.ts';
import { type Buried, buryPoison, buryUnreadable, putOrBury } from './bury.ts';
import { BrokenInvariant, Conflict, classify } from './errors.ts';
import type { Decoded, Place, SourceRecord } from './events.ts';
import { readHolds, readKnownCustomers } from './load.ts';
import { nextInOrder } from './order.ts';
import type { UserRow } from './put.ts';
import {
  deleteWaiting,
  type Item,
  isRedriven,
  nameOf,
  readEvents,
  readHeads,
  readSources,
  reopenDeadLetter,
  resolveDeadLetters,
  type SourceOfUser,
} from './queue.ts';
import { again } from './retry.ts';
import { rolledBack } from './rolled-back.ts';
import type { Saver } from './rows.ts';
import type { Result, UserWrite } from './run.ts';
import { inOrder, send, write } from './save.ts';
import { add, type Tallies, tallyResult } from './tallies.ts';
import { rowOf, type StoredUser, USER_COLUMNS } from './users.ts';

export type Draining = {
  /** A transaction: what is drained is rolled back with it, and the drain's own transactions are savepoints of it. */
  db: Db | Tx;
  saver: Saver;
  decode(place: Place, record: SourceRecord): Decoded;
  waitingPerUser: number;
  /** All of it is rolled back in the end: nothing is added to the totals, whose rows others need. */
  rehearsed?: true;
  /** Told of what was saved, beside who asked for the drain: logs, metrics, memories. Not of what is rehearsed. */
  told?: Told;
  /** Fewer events a transaction than EVENTS_PER_DRAIN. */
  eventsPerDrain?: number;
};

const EVENTS_PER_DRAIN = 500;
/** Looked at in one transaction, without their payloads (P6). */
const MOST_QUEUED = 20_000;
/** Of a single user the order is looked up for so many transactions, and used as long as nobody has written its row. Of 200,000 dead
 *  letters each look goes through all: 1,200 events a second with a look for each transaction, 7,200 with one for 20. */
const LOOKED_AHEAD = 20;
/** Of the payloads that are read in one transaction: an event may have 1 MB. */
const MOST_BYTES = 8_000_000;

/** What became of a user's events that went, told after each transaction that was saved. */
export type Tell = (userId: string, results: readonly Result[]) => void;
/** The same; null: of a dead letter that is no user's. */
export type Told = (userId: string | null, results: readonly Result[]) => void;

/** Releases what may go of these users' waiting events. Throws what Postgres throws, and a Conflict that remains after its
 *  budget of tries. */
export async function drain(draining: Draining, userIds: readonly string[], tell: Tell): Promise<void> {
  await drainUpTo(draining, userIds, tell, Number.POSITIVE_INFINITY);
}

/** The same, up to `most` events. True: it stopped there, and more would go. */
export async function drainUpTo(
  draining: Draining,
  userIds: readonly string[],
  tell: Tell,
  most: number,
): Promise<boolean> {
  let left = most;
  let ahead: Ahead | undefined;
  const count: Tell = (userId, results) => {
    left -= results.length;
    if (!draining.rehearsed) draining.told?.(userId, results);
    tell(userId, results);
  };
  for (let rest = userIds; rest.length > 0; ) {
    if (left <= 0) return await wouldMoreGo(draining, rest);
    try {
      const drained = await transaction(draining.db, (tx) => {
        const known = ahead;
        ahead = undefined; // not a second time after a conflict
        return drainSome(draining, tx, rest, { most: left, ahead: known });
      });
      for (const [userId, results] of drained.went) count(userId, results);
      ({ again: rest, ahead } = drained);
    } catch (error) {
      if (classify(error).class !== 'poison') throw error;
      for (const [i, userId] of rest.entries()) {
        await drainOneByOne(draining, userId, count, () => left <= 0);
        if (left <= 0) return await wouldMoreGo(draining, rest.slice(i));
      }
      return false;
    }
  }
  return false;
}

/** Whether one event more of these users would go: it does, and is rolled back. */
async function wouldMoreGo({ db, ...draining }: Draining, userIds: readonly string[]): Promise<boolean> {
  const tryOne = async (tx: Tx) => {
    for (let rest = userIds; rest.length > 0; ) {
      const drained = await drainSome({ ...draining, db: tx, rehearsed: true }, tx, rest, { most: 1 });
      if (drained.went.size > 0) return true;
      rest = drained.again;
    }
    return false;
  };
  try {
    return await again(() => rolledBack(db, tryOne));
  } catch (error) {
    if (classify(error).class !== 'poison') throw error;
    return true; // it would go, as a dead letter
  }
}

/** Again after a conflict, as often as its budget says. */
export async function transaction<T>(db: Db | Tx, act: (tx: Tx) => Promise<T>): Promise<T> {
  return await again(() => (db as Db).transaction(act));
}

/** The event in hand, and those that Postgres refused: they are dead letters `sql`. By name, with the SQLSTATE. */
type Care = { tried: string | undefined; refused: Map<string, string> };

/** The same for a user of whom Postgres refuses something: one event per transaction finds out which. */
async function drainOneByOne(draining: Draining, userId: string, tell: Tell, isEnough: () => boolean): Promise<void> {
  const care: Care = { tried: undefined, refused: new Map() };
  let ahead: Ahead | undefined;
  while (!isEnough()) {
    try {
      const drained = await transaction(draining.db, (tx) => {
        const known = ahead;
        ahead = undefined;
        return drainSome(draining, tx, [userId], { most: 1, ahead: known, care });
      });
      ahead = drained.ahead;
      const results = drained.went.get(userId);
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

type Drained = {
  went: Map<string, Result[]>;
  /** Users of whom more may go, or that were not looked at. */
  again: readonly string[];
  ahead: Ahead | undefined;
};
/** What goes next of a single user, as long as its row is at this rev: whatever a batch or another drain puts to its queue, or takes,
 *  raises it. (Dead letters that are marked for a redrive meanwhile find their place at the next look.) */
type Ahead = { userId: string; rev: number; order: Item[]; counted: number };

/** At most `most` events. */
async function drainSome(
  draining: Draining,
  tx: Tx,
  userIds: readonly string[],
  { most, ahead, care }: { most: number; ahead?: Ahead | undefined; care?: Care },
): Promise<Drained> {
  const rows = await lockUsers(tx, userIds);
  const holds = await readHolds(tx);
  const isHeld = (userId: string) => {
    const customerId = rows.get(userId)?.customerId;
    return holds.users.has(userId) || (typeof customerId === 'string' && holds.customers.has(customerId));
  };
  const isStill = ahead !== undefined && rows.get(ahead.userId)?.rev === ahead.rev && !isHeld(ahead.userId);
  const looked = isStill ? lookedBefore(ahead) : await look(draining, tx, userIds, rows, isHeld);
  const { orders, starved } = take(looked.orders, Math.min(draining.eventsPerDrain ?? EVENTS_PER_DRAIN, most));
  const chosen = [...orders.values()].flat();
  const events = await readEvents(tx, draining.decode, chosen);
  const named = [...events.values()].flatMap((event) => (event.outcome === undefined && event.customerId) || []);
  const known = await readKnownCustomers(tx, [...new Set(named)]);
  if (care !== undefined) care.tried = chosen[0] && nameOf(chosen[0]);
  const around = { events, known: new Set(known), heldCustomers: holds.customers, refused: care?.refused };

  const moved: Moved = { items: new Map(), users: [], tallies: {} };
  const went = new Map<string, Result[]>();
  let next: Ahead | undefined;
  for (const [userId, order] of orders) {
    const before = rows.get(userId);
    const going = looked.absent.has(userId) ? order.filter((item) => events.get(item)?.outcome === 'dead') : order;
    const { row, items } = putInOrder(userId, before, going, around);
    const results = [...items.values()];
    for (const [item, result] of items) moved.items.set(item, result);
    if (results.length > 0) went.set(userId, results);

    const rest = (looked.counted.get(userId) ?? 0) - [...items.keys()].filter((item) => item.counts).length;
    const blocking = results.filter((result) => result.outcome === 'dead' && result.blocks).length;
    const waiting = rest + blocking;
    if (row === undefined || (results.length === 0 && row.waiting === waiting)) continue;
    const readRev = before?.rev ?? null;
    const rev = (readRev ?? 0) + 1;
    moved.users.push({ row: { ...row, waiting, rev }, readRev });
    if (items.size === order.length && order.length > 0 && blocking === 0)
      next = { userId, rev, order: (looked.orders.get(userId) ?? []).slice(order.length), counted: waiting };
  }
  await move(draining, tx, moved);
  const isAhead = userIds.length === 1 && next !== undefined && next.order.length > 0;
  // A user of whom nothing went is not looked at again, however many it has waiting: the first of them could not go.
  return { went, again: [...went.keys(), ...starved, ...looked.later], ahead: isAhead ? next : undefined };
}

/** Their saved rows, locked in id order (R1). */
async function lockUsers(tx: Tx, userIds: readonly string[]): Promise<Map<string, UserRow>> {
  const rows = await tx.execute<StoredUser>(sql`
    select ${sql.raw(USER_COLUMNS)} from users where user_id = any(${sql.param(userIds)}::text[])
     order by user_id for no key update`);
  return new Map(rows.map((stored) => [stored.userId, rowOf(stored)]));
}

/** Of each user what may go, in order, and how much is counted in its row; of `later` ones it is not known yet. */
type Looked = {
  orders: ReadonlyMap<string, Item[]>;
  counted: ReadonlyMap<string, number>;
  /** They do not exist: of these goes only what can not be read. */
  absent: ReadonlySet<string>;
  later: readonly string[];
};

function lookedBefore({ userId, order, counted }: Ahead): Looked {
  return { orders: new Map([[userId, order]]), counted: new Map([[userId, counted]]), absent: new Set(), later: [] };
}

async function look(
  draining: Draining,
  tx: Tx,
  userIds: readonly string[],
  rows: ReadonlyMap<string, UserRow>,
  isHeld: (userId: string) => boolean,
): Promise<Looked> {
  const atOnce = (draining.eventsPerDrain ?? EVENTS_PER_DRAIN) * (userIds.length === 1 ? LOOKED_AHEAD : 1);
  const mine = userIds.filter((userId) => (rows.get(userId)?.machineVersion ?? 0) <= VERSION);
  const sources = await readSources(tx, mine);
  const { now, later } = portionOf(mine, sources, atOnce);
  const queues = await readHeads(
    tx,
    now.flatMap((userId) => sources.get(userId) ?? []),
    atOnce,
  );
  const orders = new Map<string, Item[]>();
  const counted = new Map<string, number>();
  const absent = new Set<string>();
  for (const userId of now) {
    const exists = rows.has(userId);
    const queue = queues.get(userId) ?? [];
    // Nothing of a held user goes, but what it has waiting is counted: a dead letter of it may have been discarded.
    let order = isHeld(userId) ? [] : nextInOrder(queue, exists, atOnce);
    // Of a user that does not exist nothing goes; but what is redriven and can not be read still need not wait for it.
    if (order.length === 0 && !exists && !isHeld(userId)) {
      order = queue.filter(isRedriven);
      absent.add(userId);
    }
    orders.set(userId, order);
    counted.set(
      userId,
      (sources.get(userId) ?? []).reduce((sum, source) => sum + source.counted, 0),
    );
  }
  return { orders, counted, absent, later };
}

/** The first `most` of all orders together, and at most MOST_BYTES. `starved`: users of whom nothing is taken. */
function take(
  orders: ReadonlyMap<string, Item[]>,
  most: number,
): { orders: Map<string, Item[]>; starved: readonly string[] } {
  const taken = new Map<string, Item[]>();
  const starved: string[] = [];
  let budget = most;
  let bytes = 0;
  for (const [userId, order] of orders) {
    if (budget <= 0) {
      starved.push(userId);
      continue;
    }
    const first = order.slice(0, budget);
    // At least one, or an event larger than the limit would never go.
    const end = first.findIndex((item, i) => {
      bytes += item.bytes;
      return i > 0 && bytes > MOST_BYTES;
    });
    taken.set(userId, end < 0 ? first : first.slice(0, end));
    budget = bytes > MOST_BYTES ? 0 : budget - first.length;
  }
  return { orders: taken, starved };
}

/** As many users as have MOST_QUEUED events to be looked at together, at least one. `atOnce`: of each source, and table. */
function portionOf(
  userIds: readonly string[],
  sources: ReadonlyMap<string, readonly SourceOfUser[]>,
  atOnce: number,
): { now: readonly string[]; later: readonly string[] } {
  let queued = 0;
  const end = userIds.findIndex((userId, i) => {
    for (const { eligible } of sources.get(userId) ?? []) queued += Math.min(eligible, 2 * atOnce);
    return i > 0 && queued > MOST_QUEUED;
  });
  return end < 0 ? { now: userIds, later: [] } : { now: userIds.slice(0, end), later: userIds.slice(end) };
}

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
async function move({ saver, rehearsed }: Draining, tx: Tx, { items, users, tallies }: Moved): Promise<void> {
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
    ...(rehearsed || Object.keys(tallies).length === 0
      ? []
      : [send(tx, addTallies(nameOf([...items.keys()][0] as Item), tallies))]),
  ]);
}

export function takeFrom(tallies: Tallies, item: Pick<Item, 'table' | 'type' | 'code'>): void {
  add(tallies, `event|${item.type ?? '_OTHER'}|${item.table === 'waiting' ? 'waiting' : 'dead'}`, -1);
  if (item.code !== null) add(tallies, `dead|${item.code}`, -1);
}

export async function expectAll(statement: Promise<{ count: number }>, asked: number): Promise<void> {
  const { count } = await statement;
  if (count !== asked)
    throw new Conflict(
      `${asked - count} of ${asked} waiting rows or dead letters were settled by somebody else meanwhile`,
    );
}
