// operate.ts — what a person, or the service in a person's stead, decides: halts, resumes, holds, dead letters.
//
// Owns:          writes to positions.state, holds and the status of dead letters.
// Does not own:  users and history: whatever changes a user goes through run and save (P5), by the drain (redrive.ts); the order in
//                which many dead letters are settled, and their audit row (settle.ts).
//
// O1  A person's write leaves a row of `audit` in its own transaction (audit.ts).
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { audited } from './audit.ts';

/** Stops a partition until a person resumes it. Only the row that was seen is halted (with `next`: only there): a later
 *  owner's is left alone, and the answer is false. */
export async function halt(
  db: Db,
  seen: { topic: string; partition: number; generation: number; next?: bigint },
  reason: string,
): Promise<boolean> {
  const { count } = await db.execute(sql`
    update positions set state = 'halted', halted_reason = ${reason.slice(0, 1_000)}, updated_at = clock_timestamp()
     where topic = ${seen.topic} and partition = ${seen.partition}::int and generation = ${seen.generation}::int
       and next_offset = coalesce(${seen.next === undefined ? null : String(seen.next)}::bigint, next_offset) and state = 'running'`);
  return count > 0;
}

/** Lets a halted partition run again from where it stopped, unless `judge` throws (move-position.ts: assertResumable). Returns the
 *  position; undefined: it is not halted. */
export async function resume(
  db: Db,
  { topic, partition, byWhom, reason }: { topic: string; partition: number; byWhom: string; reason?: string },
  judge: (row: Stopped) => void = () => {},
): Promise<bigint | undefined> {
  const scope = { topic, partition, ...(reason === undefined ? {} : { reason }) };
  const resumed = await audited(db, { who: byWhom, verb: 'resume', scope }, async (tx) => {
    const [row] = await tx.execute<{ next: string; halted: string | null; clusterId: string }>(sql`
      select next_offset as next, halted_reason as halted, cluster_id as "clusterId" from positions
       where topic = ${topic} and partition = ${partition}::int and state = 'halted' for update`);
    if (row === undefined) return undefined;
    judge({ next: BigInt(row.next), clusterId: row.clusterId, haltedReason: row.halted });
    await tx.execute(sql`
      update positions set state = 'running', halted_reason = null, updated_at = clock_timestamp()
       where topic = ${topic} and partition = ${partition}::int`);
    return { next: row.next, halted: row.halted };
  });
  return resumed === undefined ? undefined : BigInt(resumed.next);
}
type Stopped = { next: bigint; clusterId: string; haltedReason: string | null };

const COUNT_AT_MOST = 100_000; // every 5 s; more of them is the same news

/** How much is left to a person: dead letters (at most 100,000 are counted) and holds. */
export async function countOpen(db: Db): Promise<{ deadLetters: number; holds: number }> {
  const [row] = await db.execute<{ deadLetters: number; holds: number }>(sql`
    select (select count(*)::int from (select 1 from dead_letters where status in ('open', 'redriving') limit ${COUNT_AT_MOST}) d) as "deadLetters",
           (select count(*)::int from holds) as holds`);
  return row ?? { deadLetters: 0, holds: 0 };
}

/** Every batch reads all holds, so they are few (P6). */
const MOST_HOLDS = 10_000;
/** Nothing was held. */
export class TooManyHolds extends Error {
  override name = 'TooManyHolds';
}
export type Hold = { kind: 'user' | 'customer'; id: string; reason: string; byWhom: string };

/** Pauses one user, or all users of one customer: their events wait from the next batch on. False: was held already. Throws
 *  TooManyHolds. */
export async function hold(db: Db, { kind, id, reason, byWhom }: Hold): Promise<boolean> {
  const { made } = await audited(db, { who: byWhom, verb: 'hold', scope: { kind, id, reason } }, async (tx) => {
    const [answer] = await tx.execute<{ made: boolean; full: boolean }>(sql`
      with few as (select count(*) < ${MOST_HOLDS} as ok from holds),
           made as (insert into holds (kind, id, reason, by_whom) select ${kind}, ${id}, ${reason}, ${byWhom} from few where ok
                    on conflict do nothing returning 1)
      select exists (select from made) as made, not ok as full from few`);
    if (answer?.full) throw new TooManyHolds(`There are ${MOST_HOLDS} holds already: release some first.`);
    return { made: answer?.made ?? false };
  });
  return made;
}

/** Ends a hold. The caller wakes what waited (usersWaitingFor, then the drain). False: there was none. */
export async function release(db: Db, { kind, id, byWhom }: Pick<Hold, 'kind' | 'id' | 'byWhom'>): Promise<boolean> {
  const { released } = await audited(db, { who: byWhom, verb: 'release', scope: { kind, id } }, async (tx) => {
    const { count } = await tx.execute(sql`delete from holds where kind = ${kind} and id = ${id}`);
    return { released: count > 0 };
  });
  return released;
}

/** `status`: what it was before. */
export type DeadLetterKey = { id: number; userId: string | null; status: string };
type Settling = { byWhom: string; note?: string | null };

/** Makes open dead letters eligible again; the drain then puts each to the machine in its place of its user's order. `forced`:
 *  even where the user has since seen a newer one. `failedUpTo`: not those that died again since. Returns those that exist, as
 *  they were: those that are settled are not changed; of one that is marked already the last word counts. */
export async function markForRedrive(
  db: Db | Tx,
  ids: readonly number[],
  {
    byWhom,
    note = null,
    forced = false,
    failedUpTo = null,
  }: Settling & { forced?: boolean; failedUpTo?: string | null },
): Promise<DeadLetterKey[]> {
  return await changeStatus(db, ids, 'redriving', { byWhom, note, forced, failedUpTo });
}

/** Ends dead letters without an effect: they stay, as `discarded`, and nothing waits behind them any more. */
export async function discard(
  db: Db | Tx,
  ids: readonly number[],
  { byWhom, note = null }: Settling,
): Promise<DeadLetterKey[]> {
  return await changeStatus(db, ids, 'discarded', { byWhom, note, forced: false, failedUpTo: null });
}

/** In id order, so that two who settle the same ones wait for each other instead of deadlocking. */
async function changeStatus(
  db: Db | Tx,
  ids: readonly number[],
  status: 'redriving' | 'discarded',
  { byWhom, note, forced, failedUpTo }: Required<Settling> & { forced: boolean; failedUpTo: string | null },
): Promise<DeadLetterKey[]> {
  const rows = await db.execute<DeadLetterKey>(sql`
    with before as (select id, user_id, status from dead_letters where id = any(${sql.param(ids.map(String))}::text[]::bigint[])
                     order by id for update),
         after as (update dead_letters d set status = ${status}, by_whom = ${byWhom}, note = coalesce(${note}, d.note),
                          forced = ${forced}::boolean,
                          settled_at = case when ${status} = 'discarded' then now() end
                     from before where d.id = before.id
                      and (${failedUpTo}::timestamptz is null or d.last_failed_at <= ${failedUpTo}::timestamptz)
                      and before.status in ('open', 'redriving'))
    select id::float8 as id, user_id as "userId", status from before order by id`);
  return [...rows];
}
