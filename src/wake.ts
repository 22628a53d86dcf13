// wake.ts — when a drain starts: after the saves that may have released something, and in a sweep for what a crash forgot.
//
// Owns:          the bounded list of users to drain, and who works on it. Does not own: the drain itself (redrive.ts).
//
// W1  A drain is started after every save that created a customer or a user, lifted a hold, settled a dead letter, and after
//     every save that put an event to wait: of two transactions that missed each other, the later one finds the other's
//     rows (a re-check inside the save does not close that race, both can miss: measured).
// W2  The list is in memory and bounded (P6). What is lost with it, or does not fit, the sweep finds: at assignment and
//     every 10 s it looks at the next slice of waiting rows, in user order, round and round.
// W3  While Postgres is away, the list stays as it is and the drains are tried again, with growing waits: by the sweep alone, the
//     last of a million waiting rows would be found after a quarter of an hour.
// W4  One user stops nobody else: whose rows somebody holds, or whose drain takes too long, is set apart and tried again alone. So is
//     a customer whose users can not be looked up.
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { classify, describe } from './errors.ts';
import type { Log } from './log.ts';
import { INFRASTRUCTURE, inTime, NoAnswer, sleep, waitMs } from './retry.ts';
import type { Ran } from './run.ts';

export type WakeOptions = {
  db: Db;
  drain(userIds: readonly string[]): Promise<void>;
  log: Log;
};

export type Wake = {
  /** What a save means for those who wait. */
  afterSave(ran: Ran): void;
  users(userIds: Iterable<string>): void;
  customers(customerIds: Iterable<string>): void;
  /** Looks at the next slice of all that waits. */
  sweep(): Promise<void>;
  /** Resolves when nothing is left to drain, or after stop. */
  idle(): Promise<void>;
  /** No new drain starts; resolves when the running ones have ended. */
  stop(): Promise<void>;
};

const MOST_TO_WAKE = 100_000;
const AT_ONCE = 2;
/** Users per transaction: one by one, 1,800 users took 6 s; the locks of many would be held longer. */
const TOGETHER = 50;
/** Asked of Postgres together, before the drains: who of them may go at all? */
const ASK = 500;
const SWEEP_ROWS = 10_000;
/** Those set apart are tried again then. */
const APART_MS = 5_000;
/** What stays apart is told again so often. */
const TELL_APART_MS = 60_000;
/** Of failures one after the other: 50 s apart in the end. */
const TELL_ONE_IN = 10;
/** A drain of 50 users with 10,000 events each takes many transactions. */
const DRAIN_MS = 10 * 60_000;

const APART = {
  users: 'what waits of a user is held up: it stays where it is, and is tried again',
  customers: 'who waits for a customer could not be looked up: they wait, and it is tried again',
};
/** One after the other in a group. */
const MOST_HELD_UP = 3;

/** A lock that was not to be had, a statement or a whole drain that took too long: of one user, while others may go. */
function isHeldUp(error: unknown): boolean {
  return error instanceof NoAnswer || ['55P03', '57014'].includes(classify(error).code);
}
function isAway(error: unknown): boolean {
  return classify(error).class === 'infrastructure' && !isHeldUp(error);
}

export function createWake({ db, drain, log }: WakeOptions): Wake {
  const users = new Set<string>();
  const customers = new Set<string>();
  /** Held up (W4), to be tried again. */
  const apart = { users: new Set<string>(), customers: new Set<string>() };
  /** When, of each, ms since 1970. */
  const told = { users: 0, customers: 0 };
  const stopping = new AbortController();
  let again: NodeJS.Timeout | undefined;
  let sweptTo = '';
  let running: Promise<void> | undefined;

  return { afterSave, users: wakeUsers, customers: wakeCustomers, sweep, idle, stop };

  function afterSave(ran: Ran): void {
    for (const result of ran.results)
      if (result.outcome === 'waiting' || (result.outcome === 'dead' && result.blocks && result.userId !== null))
        remember(users, result.event.userId as string);
    for (const { row, readRev } of ran.users) if (readRev === null) remember(users, row.userId);
    for (const { row, readRev } of ran.customers) if (readRev === null) remember(customers, row.customerId);
    start();
  }
  function wakeUsers(userIds: Iterable<string>): void {
    for (const userId of userIds) remember(users, userId);
    start();
  }
  function wakeCustomers(customerIds: Iterable<string>): void {
    for (const customerId of customerIds) remember(customers, customerId);
    start();
  }
  function remember(list: Set<string>, id: string): void {
    if (list.size < MOST_TO_WAKE) list.add(id);
  }

  function start(): void {
    if (running !== undefined || stopping.signal.aborted || (users.size === 0 && customers.size === 0)) return;
    running = work().finally(() => {
      running = undefined;
      start();
    });
  }

  async function work(): Promise<void> {
    for (let failures = 0; !stopping.signal.aborted && (users.size > 0 || customers.size > 0); ) {
      const failed = [
        ...(await triedWith(users, takeSome(users, ASK), async (userIds) => drainAll(await whoMayGo(userIds)))),
        ...(await triedWith(customers, takeSome(customers, 1), drainWaitingFor)),
      ];
      if (failed.length === 0) failures = 0;
      else {
        if (failures++ % TELL_ONE_IN === 0)
          log.warn(describe(failed[0]), 'a drain failed: what waits stays where it is, and is tried again');
        await sleep(waitMs(INFRASTRUCTURE, failures), stopping.signal);
      }
    }
  }

  /** What failed, if anything, so that the other list is tried all the same. Those it failed for are back on theirs. */
  async function triedWith(
    list: Set<string>,
    ids: readonly string[],
    act: (ids: readonly string[]) => Promise<void>,
  ): Promise<unknown[]> {
    if (ids.length === 0 || stopping.signal.aborted) return [];
    try {
      await act(ids);
      return [];
    } catch (error) {
      for (const id of ids) remember(list, id);
      return [error];
    }
  }

  /** Throws only what keeps all others from going, too (W4). */
  async function drainWaitingFor(customerIds: readonly string[]): Promise<void> {
    for (const customerId of customerIds)
      try {
        for await (const userIds of usersToBeCreated(db, customerId)) {
          if (stopping.signal.aborted) return;
          await drainAll(userIds);
        }
      } catch (error) {
        if (isAway(error)) throw error;
        setApart('customers', [customerId], error);
      }
  }

  /** Most of what waits can not go yet: one query for many spares as many transactions. */
  async function whoMayGo(userIds: readonly string[]): Promise<string[]> {
    if (userIds.length === 0) return [];
    const found = await db.execute<{ userId: string }>(sql`
      select distinct w.user_id as "userId"
        from (select user_id, type, customer_id from waiting where user_id = any(${sql.param(userIds)}::text[])
              union all select user_id, 'redriving', null from dead_letters
                         where status = 'redriving' and user_id = any(${sql.param(userIds)}::text[])
              -- Counted as waiting, though it was given up meanwhile: the drain counts anew.
              union all select user_id, 'counted', null from users where waiting > 0 and user_id = any(${sql.param(userIds)}::text[])) w
        left join users u on u.user_id = w.user_id
        left join customers c on c.customer_id = w.customer_id
       where (u.user_id is not null or w.type = 'redriving'
              or w.type = 'USER_CREATED' and (w.customer_id is null or c.customer_id is not null))
         and not exists (select from holds h where h.kind = 'user' and h.id = w.user_id
                                                or h.kind = 'customer' and h.id = u.customer_id)`);
    return found.map(({ userId }) => userId);
  }

  async function drainAll(userIds: readonly string[]): Promise<void> {
    const rest = [...userIds];
    const loops = Array.from({ length: AT_ONCE }, async () => {
      while (rest.length > 0 && !stopping.signal.aborted) await drainGroup(rest.splice(0, TOGETHER));
    });
    const failed = (await Promise.allSettled(loops)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  /** Throws only what keeps all of them from going (W4). */
  async function drainGroup(userIds: readonly string[]): Promise<void> {
    const [first] = userIds;
    if (first !== undefined && userIds.length === 1) return void (await drainOne(first));
    try {
      await inTime(drain(userIds), DRAIN_MS);
    } catch (error) {
      if (isAway(error)) throw error;
      let heldUp = 0;
      for (const [i, userId] of userIds.entries()) {
        if (stopping.signal.aborted) return;
        // Nobody's row, but a table that somebody holds: the others would wait as long, one after the other.
        if (heldUp === MOST_HELD_UP) return setApart('users', userIds.slice(i), error);
        heldUp = (await drainOne(userId)) ? 0 : heldUp + 1;
      }
    }
  }

  /** False: somebody holds it up. */
  async function drainOne(userId: string): Promise<boolean> {
    try {
      await inTime(drain([userId]), DRAIN_MS);
      return true;
    } catch (error) {
      if (isAway(error)) throw error;
      if (isHeldUp(error)) setApart('users', [userId], error);
      else log.error(describe(error), 'what waits of one user can not go: it is tried again by every sweep');
      return !isHeldUp(error);
    }
  }

  function setApart(which: 'users' | 'customers', ids: readonly string[], error: unknown): void {
    if (Date.now() - told[which] >= TELL_APART_MS) {
      told[which] = Date.now();
      log.warn(describe(error), APART[which]);
    }
    if (apart.users.size + apart.customers.size === 0) again = setTimeout(tryThoseApart, APART_MS).unref();
    for (const id of ids) remember(apart[which], id);
  }
  function tryThoseApart(): void {
    wakeUsers(takeSome(apart.users, MOST_TO_WAKE));
    wakeCustomers(takeSome(apart.customers, MOST_TO_WAKE));
  }

  async function sweep(): Promise<void> {
    let rows = await nextSlice();
    if (rows.length === 0 && sweptTo !== '') {
      sweptTo = ''; // once round: the next sweep is not spent on finding that out
      rows = await nextSlice();
    }
    sweptTo = rows.length === 0 ? '' : (rows.at(-1)?.userId as string);
    const redriving = await db.execute<{ userId: string }>(
      sql`select distinct user_id as "userId" from dead_letters where status = 'redriving' and user_id is not null limit ${ASK}`,
    );
    wakeUsers([...rows, ...redriving].map(({ userId }) => userId));
  }

  function nextSlice(): Promise<readonly { userId: string }[]> {
    return db.execute<{ userId: string }>(sql`
      select distinct user_id as "userId"
        from (select user_id from waiting where user_id > ${sweptTo} order by user_id limit ${SWEEP_ROWS}) slice
       order by user_id`);
  }

  async function idle(): Promise<void> {
    while (running !== undefined) await running;
  }

  async function stop(): Promise<void> {
    stopping.abort();
    clearTimeout(again);
    await idle();
  }
}

/** In portions: the users of a customer that have events waiting, and those whose creation waits for it. For a hold on it that
 *  ended; of a customer that was just created only the latter can be there. */
export async function* usersWaitingFor(
  db: Db | Tx,
  customerId: string,
  signal?: AbortSignal,
): AsyncGenerator<string[]> {
  yield* usersToBeCreated(db, customerId);
  // In slices of all that waits: no index leads from a customer to its users. Many slices may have none of them.
  for (let after = ''; !signal?.aborted; ) {
    const [slice] = await db.execute<{ last: string | null; userIds: string[] }>(sql`
      select max(w.user_id) as last, coalesce(json_agg(w.user_id order by w.user_id) filter (where u.customer_id = ${customerId}
               and not exists (select from waiting c where c.customer_id = ${customerId} and c.user_id = w.user_id)), '[]') as "userIds"
        from (select distinct user_id
                from (select user_id from waiting where user_id > ${after} order by user_id limit ${SWEEP_ROWS}::int) slice) w
        left join users u on u.user_id = w.user_id`);
    if (slice === undefined || slice.last === null) return;
    for (let at = 0; at < slice.userIds.length; at += ASK) yield slice.userIds.slice(at, at + ASK);
    after = slice.last;
  }
}

/** In portions: those whose creation waits for this customer. */
export async function* usersToBeCreated(db: Db | Tx, customerId: string): AsyncGenerator<string[]> {
  for (let after = ''; ; ) {
    const rows = await db.execute<{ userId: string }>(sql`
      select distinct user_id as "userId" from waiting where customer_id = ${customerId} and user_id > ${after}
       order by user_id limit ${ASK}::int`);
    if (rows.length > 0) yield rows.map(({ userId }) => userId);
    if (rows.length < ASK) return;
    after = rows.at(-1)?.userId as string;
  }
}

function takeSome(list: Set<string>, most: number): string[] {
  const some: string[] = [];
  for (const id of list) {
    if (some.length >= most) break;
    some.push(id);
  }
  for (const id of some) list.delete(id);
  return some;
}
