// redrive-one.ts — a dead letter that is no user's: whose it turns out to be, or what becomes of it by itself.
//
// Owns:          the transaction of one. Does not own: those of users, which their drain settles in its order (redrive.ts).
import { sql } from 'drizzle-orm';
import type { Tx } from '../db/client.ts';
import { addTallies } from './add-tallies.ts';
import { buryPoison, buryUnreadable } from './bury.ts';
import { classify } from './errors.ts';
import type { UserEvent } from './events.ts';
import { readCustomers } from './load.ts';
import { isoTime, putCustomer } from './put.ts';
import {
  COORDINATES,
  type Item,
  itemOf,
  recordOf,
  reopenDeadLetter,
  resolveDeadLetters,
  type StoredItem,
  type StoredRecord,
} from './queue.ts';
import { type Draining, expectAll, takeFrom, transaction } from './redrive.ts';
import type { Result } from './run.ts';
import { inOrder, send, write } from './save.ts';
import { add, type Tallies, tallyResult } from './tallies.ts';

/** Redrives a dead letter that stays nobody's, unreadable as before, or is a customer's event. Returns what became of it. Undefined:
 *  it is not up for a redrive, or it is a user's, whose drain settles it: that may have come out just now, and is written down. */
export async function redriveDeadLetter(draining: Draining, id: number): Promise<Result | undefined> {
  const redriven = await transaction(draining.db, (tx) => redriveOne(draining, tx, id)).catch((error) => {
    const { class: what, code } = classify(error);
    if (what !== 'poison') throw error;
    return transaction(draining.db, (tx) => redriveOne(draining, tx, id, code)); // R3
  });
  if (redriven !== undefined && !draining.rehearsed) draining.told?.(null, [redriven]);
  return redriven;
}

/** Whose event a dead letter is, where it was not understood when it died and is now: written down, for its place in that user's
 *  order. `isItsTurn` false: its type is not, so that it fits the same filter still when its user's turn has come. Undefined: still
 *  nobody's, or a customer's. */
export async function recogniseDeadLetter(
  draining: Draining,
  id: number,
  { isItsTurn }: { isItsTurn: boolean },
): Promise<string | undefined> {
  return await transaction(draining.db, async (tx) => {
    const tallies: Tallies = {};
    const userId = await recogniseOne(draining, tx, id, isItsTurn, tallies);
    await count(draining, tx, id, tallies);
    return userId;
  });
}

/** The same of many whose turn it is, in the caller's transaction. They are counted together, at its end: the totals are others' too. */
export async function recogniseTypes(draining: Draining, tx: Tx, ids: readonly number[]): Promise<void> {
  const tallies: Tallies = {};
  for (const id of ids) await recogniseOne(draining, tx, id, true, tallies);
  await count(draining, tx, ids[0], tallies);
}

async function recogniseOne(
  draining: Draining,
  tx: Tx,
  id: number,
  isItsTurn: boolean,
  tallies: Tallies,
): Promise<string | undefined> {
  const found = await readDeadLetter(tx, id, ['open', 'redriving']);
  if (found === undefined) return undefined;
  const item = itemOf(found);
  const event = draining.decode(item, recordOf(found));
  if (event.outcome === 'dead' || event.type === 'CUSTOMER_CREATED') return undefined;
  const isKnown = found.userId !== null && (found.type !== null || !isItsTurn);
  if (!isKnown) await recognise(tx, id, item, event, tallies, isItsTurn);
  return event.userId;
}

type FoundDeadLetter = StoredItem & StoredRecord & { userId: string | null };
async function readDeadLetter(tx: Tx, id: number, statuses: readonly string[]): Promise<FoundDeadLetter | undefined> {
  const [found] = await tx.execute<FoundDeadLetter>(sql`
      select ${COORDINATES}, key, coalesce(edited_value, value) as value, headers::text as headers, record_ms as "recordMs",
             'dead_letters' as table, type, code, blocks, forced, status, 0 as "atMs", 0 as bytes, user_id as "userId"
        from dead_letters where id = ${id}::bigint and status = any(${sql.param(statuses)}::text[]) for update`);
  return found;
}

async function redriveOne(draining: Draining, tx: Tx, id: number, refused?: string): Promise<Result | undefined> {
  const found = await readDeadLetter(tx, id, ['redriving']);
  if (found === undefined) return undefined;
  const item = itemOf(found);
  const event = draining.decode(item, recordOf(found));
  const tallies: Tallies = {};
  if (event.outcome === undefined && event.type !== 'CUSTOMER_CREATED') {
    // Edited since somebody looked whose it is.
    if (found.userId === null || found.type === null) await recognise(tx, id, item, event, tallies);
    await count(draining, tx, id, tallies);
    return undefined;
  }
  if (found.userId !== null && event.type !== 'CUSTOMER_CREATED') return undefined;

  takeFrom(tallies, item);
  if (event.outcome === 'dead' || refused !== undefined) {
    const result =
      event.outcome === 'dead' ? buryUnreadable(event, null) : buryPoison(event, refused as string, undefined);
    tallyResult(tallies, result, 1);
    await tx.execute(reopenDeadLetter(item, result));
    await count(draining, tx, id, tallies);
    return result;
  }
  const row = (await readCustomers(tx, { customers: [event] })).get(event.customerId);
  const { row: next, settled } = putCustomer(row, event);
  tallyResult(tallies, settled, 1);
  const customers = [{ row: { ...next, rev: (row?.rev ?? 0) + 1 }, readRev: row?.rev ?? null }];
  await inOrder([
    ...write(tx, draining.saver, { results: [settled], users: [], customers }),
    expectAll(send(tx, resolveDeadLetters([item])), 1),
    ...(draining.rehearsed ? [] : [send(tx, addTallies(event.customerId, tallies))]),
  ]);
  return settled;
}

/** What could not be read when it died can be now: whose it is and what, for its place in the user's order. */
async function recognise(
  tx: Tx,
  id: number,
  item: Item,
  event: UserEvent,
  tallies: Tallies,
  withType = true,
): Promise<void> {
  const type = withType || item.type !== null ? event.type : null;
  await tx.execute(sql`update dead_letters set user_id = ${event.userId}, type = ${type}, dialect = ${event.dialect},
                                event_id = ${event.eventId}, occurred_at = ${isoTime(event)}::timestamptz
                          where id = ${id}::bigint`);
  if (type === item.type) return;
  takeFrom(tallies, { ...item, code: null });
  add(tallies, `event|${event.type}|dead`, 1);
}

async function count({ rehearsed }: Draining, tx: Tx, id: number | undefined, tallies: Tallies): Promise<void> {
  if (!rehearsed && Object.keys(tallies).length > 0) await tx.execute(addTallies(String(id), tallies));
}
