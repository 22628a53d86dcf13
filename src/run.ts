// run.ts — step the machines over the events of a batch: which outcome each event ends in, and the rows after it. Pure (P3).
//
// Owns:          the gates before the machine (hold, order, waiting), the outcomes and their precedence:
//                dead · duplicate · waiting · rejected · stale · skipped · applied; the first that fits wins.
// Does not own:  one event on one user (put.ts), dead letters' words (bury.ts), loading (load.ts), writing (save.ts), releasing
//                (redrive.ts).
//
// N1  Every event that meets an existing user changes its row, whatever its outcome: an outcome computed from an old row
//     never gets in, because the row is written by rev.
// N2  The machine of one user that throws stops that user alone (P4): its event is `dead`, its later ones wait behind it.
import { VERSION } from '../machines/index.ts';
import { type Buried, buryFull, buryPoison, buryUnreadable, putOrBury } from './bury.ts';
import { BrokenInvariant } from './errors.ts';
import type { CustomerEvent, Unreadable, UserEvent } from './events.ts';
import { type CustomerRow, isDuplicate, type Put, putCustomer, type Settled, type UserRow } from './put.ts';
import type { Routed } from './route.ts';
import { type Tallies, tally } from './tallies.ts';

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

export const WAITING_REASONS = ['customer', 'user', 'dead-letter', 'hold', 'order', 'machine'] as const;
export type WaitingReason = (typeof WAITING_REASONS)[number];

export type Postponed = { outcome: 'waiting'; event: UserEvent; reason: WaitingReason };
/** What became of one event. Each record of the batch is in exactly one of these. */
export type Result = Settled | Postponed | Buried;

export type UserWrite = { row: UserRow; readRev: number | null };
export type CustomerWrite = { row: CustomerRow; readRev: number | null };
export type Ran = {
  results: readonly Result[];
  users: readonly UserWrite[];
  customers: readonly CustomerWrite[];
  records: number;
  unkeyed: number;
  /** What it adds to the running totals. */
  tallies: Tallies;
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
  const { records, unkeyed } = routed;
  return { results, users, customers, records, unkeyed, tallies: tally({ results, records, unkeyed }) };
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
