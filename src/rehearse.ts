// rehearse.ts — what a redrive or a discard would do: the act itself, portion by portion, each in a transaction that is rolled back.
//
// Owns:          the size of the portions, and the audit row. Does not own: what is done (settle-portion.ts), the end of a hold
//                (rehearse-release.ts).
//
// T4  The rehearsal is the act itself: there is no second opinion of what would happen.
// T5  It keeps its locks until it is rolled back, and batches wait for them: so a portion is small, adds nothing to the totals, and of
//     what one user or one customer lets go only the first events are tried; the rest is not told, and `more` says so.
import { sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { writeAudit } from './audit.ts';
import type { WaitingFilter } from './give-up.ts';
import { bounded, type Decided, type Filter, nextPortion, type PortionSize, type Recognised } from './portions.ts';
import { countUpTo } from './queries/rows.ts';
import type { Draining } from './redrive.ts';
import { rolledBack } from './rolled-back.ts';
import { addSums, type Settlement, type Sums, settlePortion } from './settle-portion.ts';

export type Rehearsing = { who: string; tell?: (each: Settlement) => void; signal?: AbortSignal };
/** `matched`: those whose outcome is known. `more`: of a user or a customer with very much in its queue only the first 2,000 events
 *  were tried. `interrupted`: `signal` came first. */
export type Rehearsed = { matched: number; more?: true; interrupted?: true } & Sums;

/** What a redrive of these would do, told one by one; nothing is written but the audit row. */
export async function previewRedrive(
  draining: Draining & { db: Db },
  filter: Filter,
  { force = false, ...rehearsing }: Rehearsing & { force?: boolean },
): Promise<Rehearsed> {
  return await rehearse(draining, { kind: 'redrive', filter: await bounded(draining.db, filter), force }, rehearsing);
}
/** What a discard of these would let go. */
export async function previewDiscard(
  draining: Draining & { db: Db },
  filter: Filter,
  rehearsing: Rehearsing,
): Promise<Rehearsed> {
  return await rehearse(
    draining,
    { kind: 'discard', filter: await bounded(draining.db, filter), force: false },
    rehearsing,
  );
}
/** The same of events that wait. */
export async function previewGivingUp(
  draining: Draining & { db: Db },
  filter: WaitingFilter,
  rehearsing: Rehearsing,
): Promise<Rehearsed> {
  return await rehearse(draining, { kind: 'give up', filter, force: false }, rehearsing);
}

async function rehearse(
  draining: Draining & { db: Db },
  act: Pick<Decided, 'kind' | 'filter' | 'force'>,
  { who, tell, signal }: Rehearsing,
): Promise<Rehearsed> {
  const { db } = draining;
  const rehearsed: Rehearsed = { matched: 0, outcomes: {}, others: {} };
  const [clock] = await db.execute<{ now: string }>(sql`select now()::text as now`);
  const deciding: Decided = { ...act, who, note: null, startedAt: (clock as { now: string }).now };
  const recognised: Recognised = new Map();
  for (let cursor = ''; ; ) {
    let portion = await nextPortion(db, deciding, cursor, TOGETHER, { recognised });
    if (portion !== undefined && (await isMuchWaiting(db, portion.userIds)))
      portion = await nextPortion(db, deciding, cursor, ONE_BY_ONE, { recognised });
    if (portion === undefined) break;
    if (signal?.aborted) {
      rehearsed.interrupted = true;
      break;
    }
    const taken = portion;
    const { settlements, sums, stopped } = await rolledBack(db, (tx) =>
      settlePortion({ ...draining, db: tx, rehearsed: true }, deciding, taken, {
        recognised,
        most: MOST_EVENTS,
        signal,
      }),
    );
    for (const each of settlements) tell?.(each);
    addSums(rehearsed, sums);
    rehearsed.matched += settlements.length;
    if (stopped) rehearsed.more = true;
    if (stopped && signal?.aborted) {
      rehearsed.interrupted = true;
      break;
    }
    cursor = portion.cursor;
  }
  const scope = {
    ...act.filter,
    ...(act.force ? { force: true } : {}),
    ...(act.kind === 'give up' ? { waiting: true } : {}),
  };
  const verb = act.kind === 'redrive' ? 'redrive' : 'discard';
  await writeAudit(db, { who, verb, scope, dryRun: true }, rehearsed);
  return rehearsed;
}

/** Dead letters of several users, or events that wait of them: where there are more, users are rehearsed one by one. */
const MOST_TOGETHER = 1_000;
/** Of one portion: about half a second's work. Twice the above, so that only a single user or a customer can have more. */
export const MOST_EVENTS = 2_000;
export const TOGETHER: PortionSize = { users: 20, alone: 20, letters: MOST_TOGETHER, ofOneSource: MOST_EVENTS };
const ONE_BY_ONE: PortionSize = { ...TOGETHER, users: 1, alone: 1 };

/** Of users that do not exist yet, too: only the rows say how many there are. */
export async function isMuchWaiting(db: Db, userIds: readonly string[]): Promise<boolean> {
  const waiting = sql`select 1 from waiting where user_id = any(${sql.param(userIds)}::text[])`;
  const [row] = await db.execute<{ n: number }>(sql`select ${countUpTo(MOST_TOGETHER + 1, waiting)} as n`);
  return (row?.n ?? 0) > MOST_TOGETHER;
}
