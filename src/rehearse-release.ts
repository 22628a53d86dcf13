// rehearse-release.ts — what the end of a hold would do: the release and the drains it lets go, users by users, each rolled back.
//
// Owns:          which users, in which portions, and what is told of each event. Does not own: the drain (redrive.ts), the bounds, which
//                are those of every rehearsal (rehearse.ts, T5).
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { writeAudit } from './audit.ts';
import { type Hold, release } from './operate.ts';
import { type Coordinates, readNumbers } from './queries/waiting.ts';
import { type Draining, drainUpTo } from './redrive.ts';
import { isMuchWaiting, MOST_EVENTS, type Rehearsed, type Rehearsing, TOGETHER } from './rehearse.ts';
import { rolledBack } from './rolled-back.ts';
import type { Result } from './run.ts';
import type { Settlement } from './settle-portion.ts';
import { usersWaitingFor } from './wake.ts';

/** `matched`: events that wait now, of so many users; `outcomes`: theirs. `others`: of dead letters that are up for a redrive already. */
export type ReleaseRehearsed = Rehearsed & { users: number };

/** What would become of all that waits of a user, or for a customer and of its users, if its hold ended: told one by one, by the numbers
 *  that they have in `waiting`. Nothing is written but the audit row. Undefined: there is no such hold. */
export async function previewRelease(
  draining: Draining & { db: Db },
  { kind, id }: Pick<Hold, 'kind' | 'id'>,
  { who, tell, signal }: Rehearsing,
): Promise<ReleaseRehearsed | undefined> {
  const { db } = draining;
  const released = (tx: Tx) => release(tx as unknown as Db, { kind, id, byWhom: who });
  if (!(await rolledBack(db, released))) return undefined;
  const rehearsed: ReleaseRehearsed = { matched: 0, users: 0, outcomes: {}, others: {} };
  for await (const userIds of usersOf(db, { kind, id }, signal)) {
    if (signal?.aborted) break;
    const { went, left, isCut } = await rolledBack(db, async (tx) => {
      await released(tx);
      return await drainPortion({ ...draining, db: tx, rehearsed: true }, userIds);
    });
    // Rolled back: what waited waits again, and has its number.
    const numbers = new Map((await readNumbers(db, went)).map((place) => [nameOf(place), place.id]));
    const waited = went.flatMap((each) => {
      const number = numbers.get(nameOf(each));
      if (number === undefined) add(rehearsed.others, each.outcome);
      return number === undefined ? [] : [{ ...each, id: number }];
    });
    const settlements = [...waited, ...left];
    for (const each of settlements) {
      add(rehearsed.outcomes, each.outcome);
      tell?.(each);
    }
    rehearsed.matched += settlements.length;
    rehearsed.users += new Set(settlements.map(({ userId }) => userId)).size;
    if (isCut) rehearsed.more = true;
  }
  if (signal?.aborted) rehearsed.interrupted = true;
  await writeAudit(db, { who, verb: 'release', scope: { kind, id }, dryRun: true }, rehearsed);
  return rehearsed;
}

/** Those who wait, in portions; one by one where they have much. */
async function* usersOf(
  db: Db,
  { kind, id }: Pick<Hold, 'kind' | 'id'>,
  signal: AbortSignal | undefined,
): AsyncGenerator<string[]> {
  if (kind === 'user') return yield [id];
  for await (const some of usersWaitingFor(db, id, signal))
    for (let at = 0; at < some.length; at += TOGETHER.users) {
      const portion = some.slice(at, at + TOGETHER.users);
      if (await isMuchWaiting(db, portion)) for (const userId of portion) yield [userId];
      else yield portion;
    }
}

type Told = Omit<Settlement, 'id'>;

/** `left`: what would wait on; not known, and none, where more could go than was tried. */
async function drainPortion(
  draining: Draining,
  userIds: readonly string[],
): Promise<{ went: Told[]; left: Settlement[]; isCut: boolean }> {
  const went: Told[] = [];
  const isCut = await drainUpTo(
    draining,
    userIds,
    (userId, results) => void went.push(...results.map((result) => toldOf(userId, result))),
    MOST_EVENTS,
  );
  if (isCut) return { went, left: [], isCut };
  const left = await draining.db.execute<Settlement>(sql`
    select id::float8 as id, topic, partition, generation, "offset", user_id as "userId", type, '' as code, 'waiting' as outcome,
           null as "from", null as "to", null as message
      from waiting where user_id = any(${sql.param(userIds)}::text[]) order by id limit ${MOST_EVENTS + 1}::int`);
  return { went, left: left.slice(0, MOST_EVENTS), isCut: left.length > MOST_EVENTS };
}

function toldOf(userId: string, result: Result): Told {
  const { outcome, event } = result;
  const { topic, partition, generation } = event.place;
  const place = { topic, partition, generation, offset: String(event.record.offset) };
  const { from, to } = 'from' in result ? result : { from: null, to: null };
  const { code, message } = 'code' in result ? result : { code: '', message: null };
  return { ...place, userId, type: event.type, code, outcome, from, to, message };
}

function nameOf({ topic, partition, generation, offset }: Coordinates): string {
  return `${topic}/${partition}#${generation}@${offset}`;
}
function add(sums: Record<string, number>, outcome: string): void {
  sums[outcome] = (sums[outcome] ?? 0) + 1;
}
