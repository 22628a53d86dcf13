// run.ts — step the machines over the events of a batch: which outcome each event ends in, and the rows after it. Pure (P3).
//
// Owns:          the gates before the machine (hold, order, waiting), the marks, the ring, the outcomes and their precedence:
//                dead · duplicate · waiting · rejected · stale · skipped · applied; the first that fits wins.
// Does not own:  what a state means (machines/user.ts), loading (load.ts), writing (save.ts), releasing (redrive.ts).
//
// N1  Every event that meets an existing user changes its row, whatever its outcome: an outcome computed from an old row
//     never gets in, because the row is written by rev.
// N2  The machine of one user that throws stops that user alone (P4): its event is `dead`, its later ones wait behind it.
// N3  An event enters the ring when it is put to the machine, whatever its outcome; a duplicate does not enter again.
import {
  NOBODY,
  ROLE_MAPPING,
  STATUS_STATE,
  type State,
  type UserContext,
  user as userTable,
  VERSION,
} from '../machines/index.ts';
import { BrokenInvariant } from './errors.ts';
import type { CustomerEvent, DeadCode, Event, Outcome, Unreadable, UserEvent } from './events.ts';
import type { Routed } from './route.ts';

/** A saved user. `rev` is raised by every write; `waiting` counts what waits or blocks as a dead letter. */
export type UserRow = UserContext & {
  userId: string;
  state: Exclude<State, 'absent'>;
  version: number;
  statusAtMs: number | null;
  statusSource: string | null;
  statusOffset: string | null;
  roleAtMs: number | null;
  roleSource: string | null;
  roleOffset: string | null;
  /** `\x` and 16 hex digits per event, oldest first. */
  ring: string;
  waiting: number;
  rev: number;
  machineVersion: number;
  createdAt: string;
  deletedAt: string | null;
};
export type CustomerRow = {
  customerId: string;
  name: string;
  atMs: number;
  source: string;
  offset: string;
  rev: number;
};

/** What was saved of one user before the batch. */
export type UserView = {
  row: UserRow | undefined;
  /** Its events that wait, and its dead letters that block. */
  waiting: number;
  blocking: number;
  /** One of those is a USER_CREATED. */
  creationWaits: boolean;
};
export type Loaded = {
  users: ReadonlyMap<string, UserView>;
  customers: ReadonlyMap<string, CustomerRow>;
  /** Customers named by a USER_CREATED of the batch that exist. */
  known: ReadonlySet<string>;
  holds: { users: ReadonlySet<string>; customers: ReadonlySet<string> };
};

export const FINAL_OUTCOMES = ['applied', 'skipped', 'duplicate', 'stale', 'rejected'] as const;
export type FinalOutcome = (typeof FINAL_OUTCOMES)[number];
export const WAITING_REASONS = ['customer', 'user', 'dead-letter', 'hold', 'order', 'machine'] as const;
export type WaitingReason = (typeof WAITING_REASONS)[number];

/** What became of one event. Each record of the batch is in exactly one of these. */
export type Settled = {
  outcome: FinalOutcome;
  event: Event;
  /** The customer of the user (or the customer itself). */
  customerId: string | null;
  /** The user's version after the event; null for a customer. */
  version: number | null;
  from: State | null;
  to: State | null;
  transition: string | null;
  drift: boolean;
  facts: Facts;
};
export type Postponed = { outcome: 'waiting'; event: UserEvent; reason: WaitingReason };
export type Buried = {
  outcome: 'dead';
  event: Event | Unreadable;
  stage: 'decode' | 'validate' | 'route' | 'run' | 'save';
  code: DeadCode;
  /** SQLSTATE or error name, where there is one. */
  class: string | null;
  message: string;
  stack: string | null;
  blocks: boolean;
  userId: string | null;
  userVersion: number | null;
};
export type Result = Settled | Postponed | Buried;

/** What was added to the event for the guards, and what the fold of the history needs: part of the history row.
 *  `atMs` only where it is not the event's own time; the booleans only where true. */
export type Facts = {
  hash: string;
  atMs?: number;
  customerKnown?: true;
  roleIsNewer?: true;
  statusIsNewer?: true;
};

export type UserWrite = { row: UserRow; readRev: number | null };
export type CustomerWrite = { row: CustomerRow; readRev: number | null };
export type Ran = {
  results: readonly Result[];
  users: readonly UserWrite[];
  customers: readonly CustomerWrite[];
  records: number;
  unkeyed: number;
};

/** Records that only Postgres refused, by offset: they are dead letters `sql` when the batch is run again. */
export type Poisons = ReadonlyMap<bigint, string>;
export type RunOptions = { waitingPerUser: number; poisons?: Poisons };

export function run(routed: Routed, loaded: Loaded, options: RunOptions): Ran {
  const results: Result[] = [];
  for (const unreadable of routed.unreadable) results.push(buryUnreadable(unreadable, null));
  const { customers, created } = runCustomers(routed.customers, loaded, options, results);
  const users: UserWrite[] = [];
  for (const [userId, events] of routed.users) {
    const view = loaded.users.get(userId) ?? UNKNOWN;
    const write = runUser(events, view, { ...loaded, created }, options, results);
    if (write !== undefined) users.push(write);
  }
  refuseMassFailure(results);
  return { results, users, customers, records: routed.records, unkeyed: routed.unkeyed };
}
const UNKNOWN: UserView = { row: undefined, waiting: 0, blocking: 0, creationWaits: false };

type Surroundings = Pick<Loaded, 'known' | 'holds'> & { created: ReadonlySet<string> };

/** One user's events in order, its gates before each. Returns the row to write, if the user exists then. */
function runUser(
  events: readonly (UserEvent | Unreadable)[],
  view: UserView,
  around: Surroundings,
  options: RunOptions,
  results: Result[],
): UserWrite | undefined {
  let { row, waiting, blocking, creationWaits } = view;
  const bury = (buried: Buried) => {
    results.push(buried);
    if (!buried.blocks) return;
    waiting++;
    blocking++;
    if (buried.event.type === 'USER_CREATED') creationWaits = true;
  };

  for (const event of events) {
    if (event.outcome === 'dead') {
      bury(buryUnreadable(event, row?.version ?? null));
      continue;
    }
    const poison = options.poisons?.get(event.record.offset);
    if (poison !== undefined) {
      bury(buryPoison(event, poison, row));
      continue;
    }
    const reason = gate(event, row, { waiting, blocking, creationWaits }, around.holds);
    let put: Put | Buried | undefined;
    if (reason === undefined || isDuplicate(row, event)) {
      const customerKnown =
        event.customerId === null || around.known.has(event.customerId) || around.created.has(event.customerId);
      put = putOrBury(row, event, customerKnown);
    }
    const mustWait = put === undefined ? reason : 'reason' in put ? put.reason : undefined;
    if (mustWait !== undefined) {
      if (waiting >= options.waitingPerUser) bury(buryFull(event, options.waitingPerUser, row));
      else {
        results.push({ outcome: 'waiting', event, reason: mustWait });
        waiting++;
        if (event.type === 'USER_CREATED') creationWaits = true;
      }
    } else if (put !== undefined && 'row' in put) {
      row = put.row;
      results.push(put.settled);
    } else if (put !== undefined && put.outcome === 'dead') bury(put);
  }
  if (row === undefined) return undefined;
  const readRev = view.row?.rev ?? null;
  // What `put` returned is ours; what was loaded may be remembered.
  const written = row === view.row ? { ...row } : row;
  written.waiting = waiting;
  written.rev = (readRev ?? 0) + 1;
  return { row: written, readRev };
}

/** Why an event may not be put to the machine yet. Source: docs/architecture.md, "Waiting and waking". */
function gate(
  event: UserEvent,
  row: UserRow | undefined,
  queue: { waiting: number; blocking: number; creationWaits: boolean },
  holds: Loaded['holds'],
): WaitingReason | undefined {
  if (row !== undefined && row.machineVersion > VERSION) return 'machine';
  if (holds.users.has(event.userId)) return 'hold';
  const customerId = row === undefined ? event.customerId : row.customerId;
  if (customerId !== null && holds.customers.has(customerId)) return 'hold';
  if (queue.waiting === 0) return undefined;
  // What waits for a user that does not exist can only go once it was created: the creation alone may pass.
  if (row === undefined && event.type === 'USER_CREATED' && !queue.creationWaits) return undefined;
  return queue.waiting > queue.blocking ? 'order' : 'dead-letter';
}

function isDuplicate(row: UserRow | undefined, event: UserEvent): boolean {
  return row !== undefined && row.machineVersion <= VERSION && ringHas(row.ring, event.hash);
}

/** What putting an event to a user's machine leads to: a row and a settled event, or a reason to wait. */
export type Put = { row: UserRow; settled: Settled } | { outcome: 'waiting'; reason: 'user' | 'customer' };

/** `put`, and the one place where a machine that throws is caught (N2). */
export function putOrBury(row: UserRow | undefined, event: UserEvent, customerKnown: boolean): Put | Buried {
  try {
    return put(row, event, customerKnown);
  } catch (error) {
    return {
      outcome: 'dead',
      event,
      stage: 'run',
      code: 'transition',
      class: error instanceof Error ? error.name : typeof error,
      // The machine's own text could quote the event.
      message: `the machine of version ${VERSION} threw in state ${row?.state ?? 'absent'}`,
      stack: error instanceof Error ? ownStack(error) : null,
      blocks: true,
      userId: event.userId,
      userVersion: row?.version ?? null,
    };
  }
}

/** One event put to one user's machine. The fold of a user's history is this function, row after row (P1).
 *  Throws what the machine throws. */
export function put(row: UserRow | undefined, event: UserEvent, customerKnown: boolean): Put {
  if (row === undefined && event.type !== 'USER_CREATED') return { outcome: 'waiting', reason: 'user' };
  const from: State = row?.state ?? 'absent';
  const facts = factsOf(row, event, customerKnown);
  const next: UserRow = row === undefined ? newUser(event) : { ...row };
  next.version++;
  if (row !== undefined && ringHas(row.ring, event.hash))
    return settle(row, next, event, 'duplicate', null, from, facts);

  const step = userTable.step(from, row ?? NOBODY, {
    type: event.type,
    payload: event.payload,
    facts: booleans(facts),
  } as never);
  if (step === undefined && row === undefined) return { outcome: 'waiting', reason: 'customer' };
  next.ring = ringWith(next.ring, event.hash);
  if (step === undefined) return settle(row, next, event, 'rejected', null, from, facts);
  next.machineVersion = VERSION;
  const mark = markOf(row, event);
  if (mark !== undefined && isStale(event, mark)) return settle(row, next, event, 'stale', null, from, facts);
  raiseMark(next, event, mark);
  if (!step.changes) return settle(row, next, event, 'skipped', step.transition, from, facts);
  if (step.assigned !== undefined) Object.assign(next, step.assigned);
  next.state = step.state as UserRow['state'];
  if (next.state === 'deleted') next.deletedAt = isoTime(event);
  return settle(row, next, event, 'applied', step.transition, from, facts);
}

function settle(
  before: UserRow | undefined,
  row: UserRow,
  event: UserEvent,
  outcome: FinalOutcome,
  transition: string | null,
  from: State,
  facts: Facts,
): Put {
  return {
    row,
    settled: {
      outcome,
      event,
      customerId: row.customerId,
      version: row.version,
      from,
      to: row.state,
      transition,
      drift: outcome === 'applied' && before !== undefined && hasDrifted(before, event),
      facts,
    },
  };
}

function newUser(event: UserEvent): UserRow {
  return {
    ...NOBODY,
    userId: event.userId,
    state: 'pending',
    version: 0,
    statusAtMs: null,
    statusSource: null,
    statusOffset: null,
    roleAtMs: null,
    roleSource: null,
    roleOffset: null,
    ring: EMPTY_RING,
    waiting: 0,
    rev: 0,
    machineVersion: VERSION,
    createdAt: isoTime(event),
    deletedAt: null,
  };
}

/** The event's own time as Postgres takes it: its offsets end at ±15:59, RFC 3339's at ±23:59. */
export function isoTime({ occurredAtMs }: { occurredAtMs: number }): string {
  return new Date(occurredAtMs).toISOString();
}

function factsOf(row: UserRow | undefined, event: UserEvent, customerKnown: boolean): Facts {
  const facts: Facts = { hash: event.hash };
  if (event.atMs !== event.occurredAtMs) facts.atMs = event.atMs;
  // Only where the guard asks: for a user that exists it would depend on when the batch came.
  if (event.type === 'USER_CREATED' && row === undefined && customerKnown) facts.customerKnown = true;
  if (event.type === 'USER_STATUS_CHANGED' && isLater(row?.roleAtMs, row?.roleSource, event)) facts.roleIsNewer = true;
  if (event.type === 'USER_ROLE_CHANGED' && isLater(row?.statusAtMs, row?.statusSource, event))
    facts.statusIsNewer = true;
  return facts;
}
function isLater(atMs: number | null | undefined, source: string | null | undefined, event: UserEvent): boolean {
  return typeof atMs === 'number' && source !== event.source && event.atMs < atMs;
}
function booleans(facts: Facts): { customerKnown: boolean; roleIsNewer: boolean; statusIsNewer: boolean } {
  return {
    customerKnown: facts.customerKnown === true,
    roleIsNewer: facts.roleIsNewer === true,
    statusIsNewer: facts.statusIsNewer === true,
  };
}

/** The last event of a kind: highest timestamp, source and offset. `source`: "topic/partition" (events.ts). */
export type Mark = { atMs: number; source: string; offset: bigint };

/** Must this event be left out because a newer one of its kind was seen? Never throws.
 *  Rule: docs/architecture.md, "Order": within a source the offset order is the truth, between sources the timestamp. */
export function isStale(event: Pick<UserEvent, 'source' | 'atMs' | 'record'>, mark: Mark): boolean {
  // Within one partition the offset order is the truth, whatever the clocks say (P1).
  if (event.source === mark.source) return event.record.offset <= mark.offset;
  return event.atMs < mark.atMs;
}

function markOf(row: UserRow | undefined, event: UserEvent): Mark | undefined {
  if (row === undefined) return undefined;
  if (event.type === 'USER_STATUS_CHANGED' && row.statusAtMs !== null)
    return { atMs: row.statusAtMs, source: row.statusSource as string, offset: BigInt(row.statusOffset as string) };
  if (event.type === 'USER_ROLE_CHANGED' && row.roleAtMs !== null)
    return { atMs: row.roleAtMs, source: row.roleSource as string, offset: BigInt(row.roleOffset as string) };
  return undefined;
}

/** A mark's timestamp never goes down. */
function raiseMark(next: UserRow, event: UserEvent, mark: Mark | undefined): void {
  const atMs = mark === undefined ? event.atMs : Math.max(mark.atMs, event.atMs);
  if (event.type === 'USER_STATUS_CHANGED') {
    next.statusAtMs = atMs;
    next.statusSource = event.source;
    next.statusOffset = String(event.record.offset);
  } else if (event.type === 'USER_ROLE_CHANGED') {
    next.roleAtMs = atMs;
    next.roleSource = event.source;
    next.roleOffset = String(event.record.offset);
  }
}

/** The producer's idea of the state or role before differs from ours: counted, never blocking. */
function hasDrifted(before: UserRow, event: UserEvent): boolean {
  if (event.type === 'USER_STATUS_CHANGED') {
    const state = Object.hasOwn(STATUS_STATE, event.payload.previousStatus)
      ? STATUS_STATE[event.payload.previousStatus as keyof typeof STATUS_STATE]
      : undefined;
    return state !== undefined && state !== (before.state === 'roleChanged' ? 'active' : before.state);
  }
  if (event.type === 'USER_ROLE_CHANGED') {
    if (!Object.hasOwn(ROLE_MAPPING, event.payload.previousRole)) return false;
    const meaning = ROLE_MAPPING[event.payload.previousRole as keyof typeof ROLE_MAPPING];
    return (
      meaning.role !== before.role ||
      (meaning.userType ?? before.userType) !== before.userType ||
      meaning.isCompanyOwner !== before.isCompanyOwner
    );
  }
  return false;
}

/** Against a producer that sends twice; 16 × 8 bytes live in the user's row, so no extra index. */
const RING_EVENTS = 16;
const HASH_DIGITS = 16;
const EMPTY_RING = '\\x';
function ringHas(ring: string, hash: string): boolean {
  for (let at = EMPTY_RING.length; at < ring.length; at += HASH_DIGITS) if (ring.startsWith(hash, at)) return true;
  return false;
}
function ringWith(ring: string, hash: string): string {
  return EMPTY_RING + (ring.slice(EMPTY_RING.length) + hash).slice(-RING_EVENTS * HASH_DIGITS);
}

/** CUSTOMER_CREATED: upsert; older → `stale`, equal → `skipped`. Takes effect before the users of the batch are run. */
function runCustomers(
  events: readonly CustomerEvent[],
  loaded: Loaded,
  options: RunOptions,
  results: Result[],
): { customers: CustomerWrite[]; created: ReadonlySet<string> } {
  const rows = new Map<string, CustomerRow>();
  for (const event of events) {
    const poison = options.poisons?.get(event.record.offset);
    if (poison !== undefined) {
      results.push(buryPoison(event, poison, undefined));
      continue;
    }
    const row = rows.get(event.customerId) ?? loaded.customers.get(event.customerId);
    const { row: next, settled } = putCustomer(row, event);
    rows.set(event.customerId, next);
    results.push(settled);
  }
  const customers = [...rows.values()].map((row) => {
    const readRev = loaded.customers.get(row.customerId)?.rev ?? null;
    return { row: { ...row, rev: (readRev ?? 0) + 1 }, readRev };
  });
  return { customers, created: new Set(rows.keys()) };
}

export function putCustomer(
  row: CustomerRow | undefined,
  event: CustomerEvent,
): { row: CustomerRow; settled: Settled } {
  const facts: Facts = { hash: event.hash };
  if (event.atMs !== event.occurredAtMs) facts.atMs = event.atMs;
  const settled = (outcome: FinalOutcome): Settled => ({
    outcome,
    event,
    customerId: event.customerId,
    version: null,
    from: null,
    to: null,
    transition: null,
    drift: false,
    facts,
  });
  const mark = row && { atMs: row.atMs, source: row.source, offset: BigInt(row.offset) };
  if (row !== undefined && mark !== undefined && isStale(event, mark)) return { row, settled: settled('stale') };
  const next: CustomerRow = {
    customerId: event.customerId,
    name: event.payload.name,
    atMs: Math.max(row?.atMs ?? event.atMs, event.atMs),
    source: event.source,
    offset: String(event.record.offset),
    rev: row?.rev ?? 0,
  };
  return { row: next, settled: settled(row?.name === next.name ? 'skipped' : 'applied') };
}

export function buryUnreadable(event: Unreadable, userVersion: number | null): Buried {
  const { stage, code, detail, blocks, userId } = event;
  return {
    outcome: 'dead',
    event,
    stage,
    code,
    class: null,
    message: detail,
    stack: null,
    blocks,
    userId,
    userVersion,
  };
}
/** For a record that only Postgres refused. */
export function buryPoison(event: Event, sqlstate: string, row: UserRow | undefined): Buried {
  return {
    outcome: 'dead',
    event,
    stage: 'save',
    code: 'sql',
    class: sqlstate,
    stack: null,
    message: `Postgres refused the rows of this event with SQLSTATE ${sqlstate}`,
    blocks: event.userId !== null,
    userId: event.userId,
    userVersion: row?.version ?? null,
  };
}
function buryFull(event: UserEvent, limit: number, row: UserRow | undefined): Buried {
  return {
    outcome: 'dead',
    event,
    stage: 'run',
    code: 'waiting-full',
    class: null,
    stack: null,
    message: `${limit} events of this user wait already`,
    blocks: true,
    userId: event.userId,
    userVersion: row?.version ?? null,
  };
}

/** Our own frames only, without the first line, which could quote input; at most 8 kB. */
function ownStack(error: Error): string | null {
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line) && !line.includes('node:'));
  return frames.length === 0 ? null : frames.join('\n').slice(0, 8_000);
}

/** This much of one batch failing alike is a deploy or a database, not the records: the partition halts, and there are no
 *  dead letters to clean up afterwards. Throws. */
function refuseMassFailure(results: readonly Result[]): void {
  for (const code of ['transition', 'sql'] as const) {
    const failed = results.filter((result): result is Buried => result.outcome === 'dead' && result.code === code);
    if (failed.length < 100) continue;
    const users = new Set(failed.map(({ userId }) => userId)).size;
    if (users >= 20)
      throw new BrokenInvariant(
        `${failed.length} events of ${users} users fail alike (${code}): fix or roll back, then resume`,
      );
  }
}

/** The words of a batch's outcomes, counted: what logs and tests look at. */
export function countOutcomes(results: readonly Result[]): Record<Outcome, number> {
  const counts = { dead: 0, duplicate: 0, waiting: 0, rejected: 0, stale: 0, skipped: 0, applied: 0 };
  for (const { outcome } of results) counts[outcome]++;
  return counts;
}
