// operate.ts — what a person, or the service in a person's stead, decides: halts, resumes, holds, dead letters.
//
// Owns:          writes to positions.state, holds and the status of dead letters.
// Does not own:  users and history: whatever changes a user goes through run and save (P5), by the drain (redrive.ts).
import { sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';

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

/** Lets a halted partition run again from where it stopped. Returns the position; undefined: it is not halted. */
export async function resume(
  db: Db,
  { topic, partition }: { topic: string; partition: number },
): Promise<bigint | undefined> {
  const [row] = await db.execute<{ next: string }>(sql`
    update positions set state = 'running', halted_reason = null, updated_at = clock_timestamp()
     where topic = ${topic} and partition = ${partition}::int and state = 'halted' returning next_offset as next`);
  return row === undefined ? undefined : BigInt(row.next);
}

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
export type Hold = { kind: 'user' | 'customer'; id: string; reason: string; byWhom: string };

/** Pauses one user, or all users of one customer: their events wait from the next batch on. False: was held already. */
export async function hold(db: Db, { kind, id, reason, byWhom }: Hold): Promise<boolean> {
  const [made] = await db.execute<{ made: boolean; full: boolean }>(sql`
    with few as (select count(*) < ${MOST_HOLDS} as ok from holds),
         made as (insert into holds (kind, id, reason, by_whom) select ${kind}, ${id}, ${reason}, ${byWhom} from few where ok
                  on conflict do nothing returning 1)
    select exists (select from made) as made, not ok as full from few`);
  if (made?.full) throw new Error(`there are ${MOST_HOLDS} holds already: release some first`);
  return made?.made ?? false;
}

/** Ends a hold. The caller wakes what waited (redrive.ts). False: there was none. */
export async function release(db: Db, { kind, id }: Pick<Hold, 'kind' | 'id'>): Promise<boolean> {
  const result = await db.execute(sql`delete from holds where kind = ${kind} and id = ${id}`);
  return result.count > 0;
}

export type DeadLetterKey = { id: number; userId: string | null; status: string };

/** Makes an open dead letter eligible again; the drain then puts it to the machine in its place of the user's order.
 *  Undefined: no such id. `status` is what it was: only an open one is changed. */
export async function markForRedrive(db: Db, id: number, byWhom: string): Promise<DeadLetterKey | undefined> {
  return changeStatus(db, id, 'redriving', byWhom, null);
}

/** Ends a dead letter without an effect: it stays, as `discarded`, and nothing waits behind it any more. */
export async function discard(db: Db, id: number, byWhom: string, note: string): Promise<DeadLetterKey | undefined> {
  return changeStatus(db, id, 'discarded', byWhom, note);
}

async function changeStatus(
  db: Db,
  id: number,
  status: 'redriving' | 'discarded',
  byWhom: string,
  note: string | null,
): Promise<DeadLetterKey | undefined> {
  const [row] = await db.execute<DeadLetterKey>(sql`
    with before as (select * from dead_letters where id = ${id}::bigint for update),
         after as (update dead_letters d set status = ${status}, by_whom = ${byWhom}, note = coalesce(${note}, d.note),
                          settled_at = case when ${status} = 'discarded' then now() end
                     from before where d.id = before.id
                      and (before.status = 'open' or before.status = 'redriving' and ${status} = 'discarded'))
    select id::float8 as id, user_id as "userId", status from before`);
  return row;
}
