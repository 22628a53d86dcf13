// put.ts — one event put to one user's machine: the outcome, and the row after it. Pure (P3).
//
// Owns:          marks (which event is late), the ring (which was put before), the facts a guard needs, drift, and bringing a
//                row of an older machine version up to this one.
// Does not own:  what a state means (machines/user.ts), whether the event may be put at all (run.ts: the gates).
//
// The fold of a user's history is `put`, row after row (P1): nothing else decides what an event does. An event enters the
// ring when it is put to the machine, whatever its outcome; a duplicate does not enter again.
import { MACHINE, type Machine, type State, type UserContext, VERSION } from '../machines/index.ts';
import type { CustomerEvent, Event, UserEvent } from './events.ts';

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

export const FINAL_OUTCOMES = ['applied', 'skipped', 'duplicate', 'stale', 'rejected'] as const;
export type FinalOutcome = (typeof FINAL_OUTCOMES)[number];

/** An event that was put to the machine, or to its customer: a row of history. */
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
  /** The state that the row was saved in, where a migration led from it to `from`. */
  migratedFrom: State | null;
  facts: Facts;
};
/** What was added to the event for the guards, and what the fold of the history needs: part of the history row.
 *  `atMs` only where it is not the event's own time; the booleans only where true. */
export type Facts = {
  hash: string;
  atMs?: number;
  customerKnown?: true;
  roleIsNewer?: true;
  statusIsNewer?: true;
  /** An operator's choice: applied though it is late. */
  forced?: true;
};

/** What putting an event to a user's machine leads to: a row and a settled event, or a reason to wait. */
export type Put = { row: UserRow; settled: Settled } | { outcome: 'waiting'; reason: 'user' | 'customer' };

export type PutOptions = {
  /** Not stale, however late: an operator's choice. It leaves the mark as it is. */
  forced?: boolean;
  /** Another than today's. */
  machine?: Machine;
};

/** One event put to one user's machine. The fold of a user's history is this function, row after row (P1).
 *  Throws what the machine throws, or the migration of an older row. */
export function put(
  saved: UserRow | undefined,
  event: UserEvent,
  customerKnown: boolean,
  { forced = false, machine = MACHINE }: PutOptions = {},
): Put {
  if (saved === undefined && event.type !== 'USER_CREATED') return { outcome: 'waiting', reason: 'user' };
  const row = saved && upToDate(saved, machine);
  const migratedFrom = saved !== undefined && row?.state !== saved.state ? saved.state : null;
  const from: State = row?.state ?? 'absent';
  const facts = factsOf(row, event, customerKnown);
  const next: UserRow = row === undefined ? newUser(event, machine) : { ...row };
  next.version++;
  if (row !== undefined && ringHas(row.ring, event.hash)) return settle('duplicate', null);

  const step = machine.table.step(from, row ?? machine.nobody, {
    type: event.type,
    payload: event.payload,
    facts: booleans(facts),
  } as never);
  if (step === undefined && row === undefined) return { outcome: 'waiting', reason: 'customer' };
  next.ring = ringWith(next.ring, event.hash);
  if (step === undefined) return settle('rejected', null);
  const mark = markOf(row, event);
  const late = mark !== undefined && isStale(event, mark);
  if (late && !forced) return settle('stale', null);
  if (late) facts.forced = true;
  else raiseMark(next, event, mark);
  if (!step.changes) return settle('skipped', step.transition);
  if (step.assigned !== undefined) Object.assign(next, step.assigned);
  next.state = step.state as UserRow['state'];
  if (next.state === 'deleted') next.deletedAt = isoTime(event);
  return settle('applied', step.transition);

  function settle(outcome: FinalOutcome, transition: string | null): Put {
    const { customerId, version, state } = next;
    const drift = outcome === 'applied' && row !== undefined && hasDrifted(row, event, machine);
    const settled = { outcome, event, customerId, version, from, to: state, transition, drift, migratedFrom, facts };
    return { row: next, settled };
  }
}

/** A saved row as `machine` knows it: the migrations of each version between, one after the other (machines/migrations.ts).
 *  Throws what they throw, and an Error where they lead to a state that the machine does not have. */
export function upToDate(row: UserRow, machine: Machine = MACHINE): UserRow {
  if (row.machineVersion >= machine.version) return row;
  let saved = { state: row.state as string, context: contextOf(row, machine) };
  for (let version = row.machineVersion; version < machine.version; version++)
    saved = machine.migrations[version]?.(saved) ?? saved;
  const { state, context } = saved;
  if (state === machine.table.initial || !machine.states.includes(state))
    throw new Error(
      `a user of machine version ${row.machineVersion} in state "${row.state}" has no state in version ${machine.version}: its migration leads to "${state}"`,
    );
  return { ...row, ...context, state: state as UserRow['state'], machineVersion: machine.version };
}
function contextOf(row: UserRow, { nobody }: Machine): UserContext {
  const context: Record<string, unknown> = {};
  for (const field in nobody) context[field] = row[field as keyof UserContext];
  return context as UserContext;
}

function newUser(event: UserEvent, machine: Machine): UserRow {
  return {
    ...machine.nobody,
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
    machineVersion: machine.version,
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
function hasDrifted(before: UserRow, event: UserEvent, { statusState, roleMapping }: Machine): boolean {
  if (event.type === 'USER_STATUS_CHANGED') {
    const { previousStatus } = event.payload;
    const state = Object.hasOwn(statusState, previousStatus) ? statusState[previousStatus] : undefined;
    return state !== undefined && state !== (before.state === 'roleChanged' ? 'active' : before.state);
  }
  if (event.type === 'USER_ROLE_CHANGED') {
    const { previousRole } = event.payload;
    const meaning = Object.hasOwn(roleMapping, previousRole) ? roleMapping[previousRole] : undefined;
    if (meaning === undefined) return false;
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

/** Was it put to this user's machine before? A row of a newer machine is not looked into. */
export function isDuplicate(row: UserRow | undefined, event: UserEvent): boolean {
  return row !== undefined && row.machineVersion <= VERSION && ringHas(row.ring, event.hash);
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
    migratedFrom: null,
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
