// settle-portion.ts — one portion of dead letters settled: marked, their users drained, and what became of each read again.
//
// Owns:          the order of these acts. Does not own: which ones (portions.ts), what an event does and in which order (the drain:
//                redrive.ts), how what waits is given up (give-up.ts), the statuses (operate.ts).
//
// T3  A portion that is settled again settles nothing twice: each dead letter is resolved by the row that says so, once (redrive.ts,
//     R1). What an interrupted one marked, the sweep of any running service drains (wake.ts).
// T4  Users' dead letters are marked, and the type they turn out to have is written down, in one transaction. Cut between the two, a
//     job for those of no type would go on without them, and later ones of their users would go first.
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import type { Outcome } from './events.ts';
import { giveUp } from './give-up.ts';
import { discard, markForRedrive } from './operate.ts';
import type { Decided, Portion, Recognised } from './portions.ts';
import { type Draining, drainUpTo, type Tell, transaction } from './redrive.ts';
import { recogniseDeadLetter, recogniseTypes, redriveDeadLetter } from './redrive-one.ts';
import { inOrder, write } from './save.ts';
import { readUsers } from './users.ts';
import { usersToBeCreated } from './wake.ts';

/** What became of one dead letter, or would. `waiting`: it is eligible, and something before it is not. */
export type Settlement = {
  id: number;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  userId: string | null;
  type: string | null;
  code: string;
  outcome: Outcome | 'discarded';
  from: string | null;
  to: string | null;
  message: string | null;
};
/** `outcomes`: of the dead letters. `others`: of the events that waited and went with them. */
export type Sums = { outcomes: Record<string, number>; others: Record<string, number> };

/** `stopped`: it came to `most`; what it did not come to is not told. */
export type Settled = { settlements: Settlement[]; sums: Sums; stopped: boolean };

export type How = {
  /** Drains at a time. */
  atOnce?: number;
  recognised?: Recognised;
  /** So many events go at most. */
  most?: number;
  /** Of events that wait no more are given up then. */
  signal?: AbortSignal | undefined;
};

/** Marks them, drains their users, and reads what became of each. Of dead letters that were no user's, those that turn out to be one's
 *  are only told so: all of a user go at once, when it is its turn (T1). */
export async function settlePortion(
  draining: Draining,
  deciding: Decided,
  portion: Portion,
  { atOnce = 1, recognised = new Map(), most = Number.POSITIVE_INFINITY, signal }: How = {},
): Promise<Settled> {
  const { db } = draining;
  const { kind, who: byWhom, note, force: forced, startedAt } = deciding;
  const customerIds: string[] = [];
  const went = new Map<string, string>();
  let ids = [...portion.ids];
  let left = most;
  let stopped = false;

  if (kind === 'give up') {
    ({ ids, stopped } = await giveUp(draining, portion.userIds, deciding, { most, signal }));
    left -= ids.length;
  } else if (kind === 'discard') await discardAndCount(draining, portion, { byWhom, note });
  else {
    if (portion.userIds.length === 0) ids = await recogniseEach(draining, ids, recognised);
    await transaction(db, async (tx) => {
      await markForRedrive(tx, ids, { byWhom, note, forced, failedUpTo: startedAt }); // T2
      if (portion.userIds.length > 0)
        await recogniseTypes(draining, tx, [...(portion.forgotten ?? []), ...(await withoutType(tx, ids))]); // T4
    });
    // One after the other: two may be of one customer.
    for (const id of portion.userIds.length === 0 ? ids : []) {
      const redriven = await redriveDeadLetter(draining, id);
      if (redriven === undefined) continue;
      const { event, outcome } = redriven;
      if (event.type === 'CUSTOMER_CREATED' && outcome !== 'dead' && event.customerId !== null)
        customerIds.push(event.customerId);
    }
  }
  const drainSome = async (userIds: readonly string[]) => {
    const tell: Tell = (_, results) => {
      left -= results.length;
      for (const { outcome, event } of results) {
        const { topic, partition, generation } = event.place;
        went.set(`${topic}/${partition}#${generation}@${event.record.offset}`, outcome);
      }
    };
    if (await drainUpTo(draining, userIds, tell, left)) stopped = true;
  };
  // Where not all was given up, what is left of it would go now, and does not in the act.
  if (!stopped) await eachOf(inPortions(portion.userIds, USERS_PER_DRAIN), atOnce, drainSome);
  for (const customerId of customerIds)
    for await (const some of usersToBeCreated(db, customerId)) {
      await drainSome(some);
      if (stopped) break;
    }

  const all = await readSettlements(db, ids);
  // What a drain that stopped has not come to would not wait.
  const settlements = stopped && kind === 'redrive' ? all.filter(({ outcome }) => outcome !== 'waiting') : all;
  const sums: Sums = { outcomes: {}, others: {} };
  for (const { topic, partition, generation, offset, outcome } of settlements) {
    sums.outcomes[outcome] = (sums.outcomes[outcome] ?? 0) + 1;
    went.delete(`${topic}/${partition}#${generation}@${offset}`);
  }
  for (const outcome of went.values()) sums.others[outcome] = (sums.others[outcome] ?? 0) + 1;
  return { settlements, sums, stopped: stopped || portion.isCut === true };
}
export function addSums(to: Sums, { outcomes, others }: Sums): void {
  for (const [outcome, n] of Object.entries(outcomes)) to.outcomes[outcome] = (to.outcomes[outcome] ?? 0) + n;
  for (const [outcome, n] of Object.entries(others)) to.others[outcome] = (to.others[outcome] ?? 0) + n;
}

/** Those that are nobody's still. */
async function recogniseEach(draining: Draining, ids: readonly number[], recognised: Recognised): Promise<number[]> {
  const nobodys: number[] = [];
  for (const id of ids) {
    const userId = await recogniseDeadLetter(draining, id, { isItsTurn: false });
    if (userId === undefined) nobodys.push(id);
    else recognised.set(userId, [...(recognised.get(userId) ?? []), id]);
  }
  return nobodys;
}

/** Their type may be known by now: a creation goes first. */
async function withoutType(tx: Tx, ids: readonly number[]): Promise<number[]> {
  const rows = await tx.execute<{ id: number }>(sql`
    select id::float8 as id from dead_letters
     where id = any(${sql.param(ids.map(String))}::text[]::bigint[]) and type is null and user_id is not null`);
  return rows.map(({ id }) => id);
}

/** What waits of their users is counted anew in the same transaction: nobody looks again at a user of whom nothing waits. */
async function discardAndCount(
  { db, saver }: Draining,
  { ids, userIds }: Portion,
  by: Parameters<typeof discard>[2],
): Promise<void> {
  await transaction(db, async (tx) => {
    const before = await readUsers(tx, userIds, { lock: true, waitingPerUser: 1 });
    await discard(tx, ids, by);
    const counted = await readUsers(tx, [...before.keys()], { lock: false, waitingPerUser: 2 ** 31 });
    const users = [...counted.values()].flatMap(({ row, waiting }) =>
      row === undefined || row.waiting === waiting
        ? []
        : [{ row: { ...row, waiting, rev: row.rev + 1 }, readRev: row.rev }],
    );
    await inOrder(write(tx, saver, { results: [], users, customers: [] }));
  });
}

/** `atOnce` of them at a time: 1 inside a transaction. Different users do not meet. */
async function eachOf<T>(all: readonly T[], atOnce: number, act: (each: T) => Promise<void>): Promise<void> {
  const rest = [...all];
  const loops = Array.from({ length: atOnce }, async () => {
    for (let each = rest.shift(); each !== undefined; each = rest.shift()) await act(each);
  });
  for (const ended of await Promise.allSettled(loops)) if (ended.status === 'rejected') throw ended.reason;
}
function inPortions<T>(all: readonly T[], most: number): T[][] {
  const portions: T[][] = [];
  for (let at = 0; at < all.length; at += most) portions.push(all.slice(at, at + most));
  return portions;
}
/** Measured with two dead letters each: 200 users a drain cost 130 us of both CPUs a dead letter, 50 users 180. */
const USERS_PER_DRAIN = 200;

async function readSettlements(db: Db | Tx, ids: readonly number[]): Promise<Settlement[]> {
  const rows = await db.execute<Settlement>(sql`
    select d.id::float8 as id, d.topic, d.partition, d.generation, d."offset", d.user_id as "userId", d.type, d.code,
           case d.status when 'resolved' then h.outcome when 'redriving' then 'waiting' when 'open' then 'dead' else d.status end as outcome,
           h.from_state as "from", h.to_state as "to", case d.status when 'open' then d.message end as message
      from dead_letters d
      left join history h on h.topic = d.topic and h.partition = d.partition and h.generation = d.generation and h."offset" = d."offset"
     where d.id = any(${sql.param(ids.map(String))}::text[]::bigint[]) order by d.id`);
  return [...rows];
}
