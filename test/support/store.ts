// store.ts — one database in memory: answers what load.ts asks, takes what `run` returns with the counts and refusals of
// save.ts, and drains like redrive.ts. The deciding is real (run, put, nextInOrder); the tables are maps.
//
// For properties over thousands of streams, and for the model of all interleavings, which stops between the statements.
// That Postgres does the same: test/integration.
import { VERSION } from '../../machines/index.ts';
import { type Buried, buryUnreadable, putOrBury } from '../../src/bury.ts';
import { Conflict, Fenced } from '../../src/errors.ts';
import type { Event, Place, Unreadable } from '../../src/events.ts';
import { nextInOrder, type Queued } from '../../src/order.ts';
import type { CustomerRow, Settled, UserRow } from '../../src/put.ts';
import { type Routed, route } from '../../src/route.ts';
import {
  type Loaded,
  type Postponed,
  type Ran,
  type Result,
  type RunOptions,
  run,
  type UserView,
  type UserWrite,
} from '../../src/run.ts';
import { add, type Tallies, tally, tallyResult } from '../../src/tallies.ts';

export type DeadLetter = { buried: Buried; status: 'open' | 'redriving' | 'resolved' };
/** Values are never changed in place, so a copy of the maps is a snapshot. */
export type Tables = {
  users: Map<string, UserRow>;
  customers: Map<string, CustomerRow>;
  /** By coordinates, as the next two. */
  history: Map<string, Settled>;
  waiting: Map<string, Postponed>;
  deadLetters: Map<string, DeadLetter>;
  holds: { users: Set<string>; customers: Set<string> };
  /** By source. */
  positions: Map<string, bigint>;
  tallies: Tallies;
};

export function emptyTables(): Tables {
  return {
    ...{ users: new Map(), customers: new Map(), history: new Map(), waiting: new Map(), deadLetters: new Map() },
    ...{ holds: { users: new Set(), customers: new Set() }, positions: new Map(), tallies: {} },
  };
}

export function copyOf(tables: Tables): Tables {
  const { users, customers, history, waiting, deadLetters, holds, positions } = tables;
  return {
    ...{ users: new Map(users), customers: new Map(customers), history: new Map(history) },
    ...{ waiting: new Map(waiting), deadLetters: new Map(deadLetters), positions: new Map(positions) },
    holds: { users: new Set(holds.users), customers: new Set(holds.customers) },
    tallies: { ...tables.tallies },
  };
}

export function coordinatesOf({ place, record }: Pick<Event | Unreadable, 'place' | 'record'>): string {
  return `${place.topic}/${place.partition}#${place.generation}@${record.offset}`;
}

// Load

export function load(tables: Tables, routed: Routed): Loaded {
  const ids = [...routed.users.keys()];
  return {
    users: new Map(ids.map((id) => [id, { row: tables.users.get(id), ...countQueue(tables, id) }])),
    customers: new Map(routed.customers.flatMap(({ customerId }) => entry(tables.customers, customerId))),
    known: new Set(tables.customers.keys()),
    holds: { users: new Set(tables.holds.users), customers: new Set(tables.holds.customers) },
  };
}
function entry<V>(map: ReadonlyMap<string, V>, key: string): [string, V][] {
  const value = map.get(key);
  return value === undefined ? [] : [[key, value]];
}

/** What `selectQueues` of users.ts counts: the rows themselves. */
export function countQueue(tables: Tables, userId: string): Omit<UserView, 'row'> {
  const waiting = [...tables.waiting.values()].filter(({ event }) => event.userId === userId);
  const blocking = [...tables.deadLetters.values()].filter(
    ({ buried, status }) => buried.userId === userId && buried.blocks && status !== 'resolved',
  );
  const types = [...waiting.map(({ event }) => event.type), ...blocking.map(({ buried }) => buried.event.type)];
  return {
    ...{ waiting: waiting.length + blocking.length, blocking: blocking.length },
    creationWaits: types.includes('USER_CREATED'),
  };
}

// Save

export type Advance = { source: string; from: bigint; to: bigint };

/** All or nothing: throws Fenced or Conflict before anything has changed. */
export function save(tables: Tables, ran: Ran, advance?: Advance, options: { revs: boolean } = { revs: true }): void {
  if (advance !== undefined && (tables.positions.get(advance.source) ?? 0n) !== advance.from)
    throw new Fenced(`${advance.source} is not at ${advance.from}`);
  if (options.revs) {
    refuseOldRows(tables.users, ran.users, (row) => row.userId);
    refuseOldRows(tables.customers, ran.customers, (row) => row.customerId);
  }
  if (advance !== undefined) tables.positions.set(advance.source, advance.to);
  write(tables, ran);
  merge(tables, tally(ran));
}

function refuseOldRows<Row extends { rev: number }>(
  rows: ReadonlyMap<string, Row>,
  writes: readonly { row: Row; readRev: number | null }[],
  idOf: (row: Row) => string,
): void {
  for (const { row, readRev } of writes)
    if ((rows.get(idOf(row))?.rev ?? null) !== readRev) throw new Conflict(`${idOf(row)} was written meanwhile`);
}

function write(tables: Tables, { results, users, customers }: Pick<Ran, 'results' | 'users' | 'customers'>): void {
  for (const { row } of users) tables.users.set(row.userId, row);
  for (const { row } of customers) tables.customers.set(row.customerId, row);
  for (const result of results) {
    const key = coordinatesOf(result.event);
    if (tables.history.has(key) || tables.waiting.has(key) || tables.deadLetters.get(key)?.status === 'open')
      throw new Error(`${key} is there already`);
    if (result.outcome === 'dead') tables.deadLetters.set(key, { buried: result, status: 'open' });
    else if (result.outcome === 'waiting') tables.waiting.set(key, result);
    else tables.history.set(key, result);
  }
}
function merge(tables: Tables, more: Tallies): void {
  for (const [key, n] of Object.entries(more)) tables.tallies[key] = (tables.tallies[key] ?? 0) + n;
}

// Drain

export type Item = Queued & {
  key: string;
  table: 'waiting' | 'deadLetters';
  event: Event | Unreadable;
  code: string | null;
  counts: boolean;
};
export type Went = { items: Map<Item, Result>; row: UserRow | undefined };

/** One user's queue, until nothing more goes. Returns what went. */
export function drain(tables: Tables, userId: string): Result[] {
  const results: Result[] = [];
  for (;;) {
    const row = tables.users.get(userId);
    if (row !== undefined && row.machineVersion > VERSION) return results;
    const queued = readQueue(tables, userId);
    const went = putInOrder(tables, row, queued, isHeld(tables, userId, row));
    move(tables, userId, row, queued, went);
    if (went.items.size === 0) return results;
    results.push(...went.items.values());
  }
}

export function readQueue(tables: Tables, userId: string): Item[] {
  const items: Item[] = [];
  for (const [key, { event }] of tables.waiting)
    if (event.userId === userId)
      items.push({
        ...{ key, table: 'waiting', event, ...queuedOf(event.place), offset: event.record.offset },
        ...{ type: event.type, atMs: event.atMs, blocks: false, counts: true, code: null },
      });
  for (const [key, { buried, status }] of tables.deadLetters) {
    const { event, code, blocks } = buried;
    if (buried.userId !== userId || !(status === 'redriving' || (blocks && status === 'open'))) continue;
    items.push({
      ...{ key, table: 'deadLetters', event, ...queuedOf(event.place), offset: event.record.offset },
      ...{ type: event.type, atMs: event.occurredAtMs ?? event.record.timestampMs },
      ...{ blocks: blocks && status === 'open', counts: blocks, code },
    });
  }
  return items;
}
function queuedOf({ topic, partition, generation }: Place) {
  return { topic, partition, generation };
}

export function isHeld({ holds }: Tables, userId: string, row: UserRow | undefined): boolean {
  return holds.users.has(userId) || (row?.customerId != null && holds.customers.has(row.customerId));
}

export function putInOrder(tables: Tables, before: UserRow | undefined, queued: readonly Item[], held: boolean): Went {
  const went: Went = { items: new Map(), row: before };
  for (const item of held ? [] : nextInOrder(queued, before !== undefined, 500)) {
    const { event } = item;
    const customerId = went.row === undefined ? event.outcome !== 'dead' && event.customerId : went.row.customerId;
    if (customerId && tables.holds.customers.has(customerId)) break;
    let result: Result;
    if (event.outcome === 'dead') result = buryUnreadable(event, went.row?.version ?? null);
    else if (event.type === 'CUSTOMER_CREATED') throw new Error('a customer is nobody who waits');
    else {
      const put = putOrBury(went.row, event, event.customerId === null || tables.customers.has(event.customerId));
      if ('reason' in put) break;
      if ('row' in put) went.row = put.row;
      result = 'row' in put ? put.settled : put;
    }
    went.items.set(item, result);
    if (result.outcome === 'dead' && result.blocks) break;
  }
  return went;
}

export function move(
  tables: Tables,
  userId: string,
  before: UserRow | undefined,
  queued: readonly Item[],
  went: Went,
  options: { revs: boolean } = { revs: true },
): void {
  const dead = [...went.items.values()].filter((result) => result.outcome === 'dead' && result.blocks).length;
  const waiting = queued.filter((item) => item.counts && !went.items.has(item)).length + dead;
  const users: UserWrite[] = [];
  if (went.row !== undefined && (went.items.size > 0 || went.row.waiting !== waiting))
    users.push({ row: { ...went.row, waiting, rev: (before?.rev ?? 0) + 1 }, readRev: before?.rev ?? null });
  if (options.revs) refuseOldRows(tables.users, users, () => userId);
  for (const { key, table } of went.items.keys())
    if (!tables[table].has(key)) throw new Conflict(`${key} was settled by somebody else meanwhile`);

  const tallies: Tallies = {};
  const results: Result[] = [];
  for (const [{ key, table, event, code }, result] of went.items) {
    add(tallies, `event|${event.type ?? '_OTHER'}|${table === 'waiting' ? 'waiting' : 'dead'}`, -1);
    if (code !== null) add(tallies, `dead|${code}`, -1);
    tallyResult(tallies, result, 1);
    if (table === 'waiting') tables.waiting.delete(key);
    else if (result.outcome === 'dead') tables.deadLetters.set(key, { buried: result, status: 'open' });
    else tables.deadLetters.set(key, { ...(tables.deadLetters.get(key) as DeadLetter), status: 'resolved' });
    if (table === 'waiting' || result.outcome !== 'dead') results.push(result);
  }
  write(tables, { results, users, customers: [] });
  merge(tables, tallies);
}

/** Whom a save wakes (wake.ts, W1), in this order. */
export function wakes(tables: Tables, ran: Ran): Set<string> {
  const users = new Set<string>();
  for (const result of ran.results)
    if (result.outcome === 'waiting' || (result.outcome === 'dead' && result.blocks && result.userId !== null))
      users.add(result.event.userId as string);
  for (const { row, readRev } of ran.users) if (readRev === null) users.add(row.userId);
  const created = new Set(ran.customers.filter(({ readRev }) => readRev === null).map(({ row }) => row.customerId));
  for (const { event } of tables.waiting.values())
    if (event.customerId !== null && created.has(event.customerId)) users.add(event.userId);
  return users;
}

// All of it

/** A batch from load to save, and the drains it starts, with nobody else at work. */
export function handle(
  tables: Tables,
  events: readonly (Event | Unreadable)[],
  options: RunOptions & { advance?: Advance } = { waitingPerUser: 10_000 },
): Ran {
  const routed = route(events);
  const ran = run(routed, load(tables, routed), options);
  save(tables, ran, options.advance);
  for (const userId of wakes(tables, ran)) drain(tables, userId);
  return ran;
}
