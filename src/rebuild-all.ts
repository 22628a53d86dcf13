// rebuild-all.ts — the rows of all users again from the history, in a new table that takes the old one's place.
//
// Owns:          filling the new table, who was written meanwhile, the swap.
// Does not own:  what becomes of a row (rebuilt.ts), what a table is beside its rows (shadow.ts), one user's history (rebuild.ts).
//
// W1  Services go on. Whoever was written since a pass began is folded again in the next one: no row that was committed before has an
//     xmin at or above the pass's own `pg_snapshot_xmin`. The last pass is made under the lock of the table, when nobody can write.
// W2  The swap is one transaction: the last pass, the tallies, the names, the audit row. Killed at any moment there is the old table
//     or the new one; what is left of an attempt the next one drops. So there is no job to go on with: it begins anew.
// W3  A row that is changed gets a rev above the saved one, as in rebuild.ts (E1).
// W4  Tallies are set to what the new table has.
import { getTableColumns, sql } from 'drizzle-orm';
import type postgres from 'postgres';
import type { Db, Tx } from '../db/client.ts';
import { users } from '../db/schema.ts';
import { MACHINE, type Machine } from '../machines/index.ts';
import { addTallies } from './add-tallies.ts';
import { writeAudit } from './audit.ts';
import { bulkOf } from './bulk.ts';
import { classify } from './errors.ts';
import { readHistories, type UserHistory } from './history.ts';
import { readTallies } from './positions.ts';
import type { UserRow } from './put.ts';
import { type Options, portionsOf, readAgain, type Written } from './rebuild.ts';
import { addTo, noSums, type Rebuilt, rebuilt, type Sums } from './rebuilt.ts';
import { sleep, waitMs } from './retry.ts';
import { assertAlike, makeShadow, NotReplaced, oidOf, putInPlace } from './shadow.ts';
import { add, type Tallies } from './tallies.ts';

const NAMES = {
  table: 'users',
  shadow: 'users_rebuilt',
  columns: Object.values(getTableColumns(users)).map(({ name }) => name),
};

type ShadowRow = UserRow & { updatedAt: string };
const SHADOW = bulkOf<ShadowRow>(users, {
  key: 'userId',
  filled: [],
  into: NAMES.shadow,
  read: (field) => (row) => row[field as keyof ShadowRow],
});

/** Connections of the tables' owner, without limits of time. */
export type Owner = { db: Db; sql: postgres.Sql };

/** Where it is. `filled`: so many steps and users so far. `pass`: so many users were folded again. `blocked`: the table could not be
 *  had, `by` says who has it. `locked`: it is held now, nothing but the swap goes on. */
export type Told =
  | { what: 'filled'; steps: number; users: number }
  | { what: 'pass'; pass: number; users: number }
  | { what: 'blocked'; tries: number; by: string | null }
  | { what: 'locked' };

/** `users`: rows of the new table. `again`: folded again because services wrote them meanwhile. `tallies`: what was added. */
export type RebuiltAll = Sums & { users: number; passes: number; again: number; lockMs: number; tallies: Tallies };

/** The new table in the place of the old one; undefined where `signal` came first, then nothing was changed. It is waited for after
 *  `told`. Throws NotReplaced, and what Postgres throws. One at a time: the caller's matter; a second one spoils nothing. */
export async function rebuildAll(
  owner: Owner,
  { who, signal, machine = MACHINE, told = () => {} }: Options & { told?: (told: Told) => void | Promise<void> },
): Promise<RebuiltAll | undefined> {
  const { db } = owner;
  const oid = await db.transaction((tx) => makeShadow(tx, NAMES));
  try {
    let horizon = await readHorizon(db);
    const filled = await fill(owner, { machine, signal, told });
    await db.execute(sql.raw(`analyze ${NAMES.shadow}`)); // or the services' first plans would be those of an empty table
    const state: Filled = { ...filled, horizon, caught: new Map() };
    let passes = 0;
    let folded = 0;
    const pass = async () => {
      horizon = await readHorizon(db);
      const found = await catchUp(db, state, { machine, signal });
      if (!signal?.aborted) state.horizon = horizon;
      passes++;
      folded += found;
      await told({ what: 'pass', pass: passes, users: found });
      return found;
    };
    while (!signal?.aborted && (await pass()) > FEW && passes < MOST_PASSES);
    for (let tries = 1; !signal?.aborted; tries++) {
      try {
        return await swap(db, state, { who, oid, machine, passes, again: folded, told });
      } catch (error) {
        const { class: what, code } = classify(error);
        if (what !== 'conflict' && code !== LOCK_TIMEOUT) throw error;
        await told({ what: 'blocked', tries, by: await whoUses(db) });
        await sleep(waitMs(BETWEEN_TRIES, tries), signal);
        if (!signal?.aborted) await pass();
      }
    }
    await dropShadow(db, oid);
    return undefined;
  } catch (error) {
    await dropShadow(db, oid).catch(() => {}); // the next one drops it
    throw error;
  }
}

/** What `rebuildAll` would change; nothing is written but the audit row. Undefined where `signal` came first. */
export async function rehearseAll(
  owner: Owner,
  { who, signal, machine = MACHINE, told = () => {} }: Options & { told?: (told: Told) => void | Promise<void> },
): Promise<Sums | undefined> {
  const sums = noSums();
  let steps = 0;
  for await (const page of readHistories(owner.sql, {})) {
    if (signal?.aborted) return undefined;
    for (const user of page) {
      addTo(sums, user.userId, rebuilt(user, machine));
      steps += user.steps.length;
    }
    await told({ what: 'filled', steps, users: sums.looked });
  }
  await writeAudit(owner.db, { who, verb: 'rebuild', scope: { all: true }, dryRun: true }, sums);
  return sums;
}

/** Under the lock there should be little left to do. */
const FEW = 200;
const MOST_PASSES = 5;
/** Portions of a pass: one is folded while Postgres reads the other. At 3,000 events a second on two cores five passes found 36,000,
 *  10,000, 5,600, 3,600 and 2,000 users, and the table was held for 440 ms; with one at a time 14,000 each time, and 3.7 s. */
const AT_ONCE = 2;
/** Services wait behind us for the table: not longer than their own DB_LOCK_TIMEOUT_MS, and long enough for Postgres to end a vacuum
 *  that is in the way, which it does after its deadlock_timeout of 1 s. */
const LOCK_TIMEOUT_MS = 1_200;
const LOCK_TIMEOUT = '55P03';
/** Between tries, the services have the table for as long. */
const BETWEEN_TRIES = { firstMs: 500, longestMs: 5_000 };
/** Whatever hangs under the lock ends then. */
const LOCKED_STATEMENT_MS = 60_000;
const LOCKED_IDLE_MS = 5_000;

type Counts = Map<string, number>;
type Filled = {
  sums: Sums;
  /** Rows of the new table by state. */
  counts: Counts;
  /** Written before this xid8: seen by all passes. */
  horizon: string;
  /** Whom a pass folded again, by the rev that it saw: every write raises it. */
  caught: Map<string, number>;
};

const ROWS_PER_INSERT = 2_000;

async function fill(
  { db, sql: client }: Owner,
  { machine, signal, told }: { machine: Machine; signal: AbortSignal | undefined; told: (told: Told) => unknown },
): Promise<Pick<Filled, 'sums' | 'counts'>> {
  const sums = noSums();
  const counts: Counts = new Map();
  let steps = 0;
  for await (const page of readHistories(client, {})) {
    if (signal?.aborted) break;
    const rows: Kept[] = [];
    for (const user of page) {
      const result = rebuilt(user, machine);
      addTo(sums, user.userId, result);
      steps += user.steps.length;
      rows.push(...keptOf(result));
    }
    for (let i = 0; i < rows.length; i += ROWS_PER_INSERT) await insert(db, rows.slice(i, i + ROWS_PER_INSERT), counts);
    await told({ what: 'filled', steps, users: sums.looked });
  }
  return { sums, counts };
}

type Kept = { row: UserRow; isSame: boolean };

/** The row that the new table has, if any. */
function keptOf(result: Rebuilt): Kept[] {
  if (result.what === 'gone') return [];
  if (result.what === 'refused' || result.what === 'newer')
    return result.saved === undefined ? [] : [{ row: result.saved, isSame: true }];
  return [{ row: result.row, isSame: result.what === 'same' }];
}

async function insert(db: Db | Tx, rows: readonly Kept[], counts: Counts): Promise<void> {
  if (rows.length === 0) return;
  const ids = rows.filter(({ isSame }) => isSame).map(({ row }) => row.userId);
  const times = await db.execute<{ userId: string; at: string }>(sql`
    select user_id as "userId", updated_at::text as at from users where user_id = any(${sql.param(ids)}::text[])
    union all select '', now()::text`);
  const at = new Map(times.map((each) => [each.userId, each.at]));
  const now = at.get('') as string;
  await db.execute(
    SHADOW.insert(
      rows.map(({ row, isSame }) => ({ ...row, updatedAt: (isSame && at.get(row.userId)) || now })),
      undefined,
    ),
  );
  for (const { row } of rows) count(counts, row.state, 1);
}
function count(counts: Counts, state: string, by: number): void {
  counts.set(state, (counts.get(state) ?? 0) + by);
}

/** Whatever has an xid below it has ended, and is seen by every query from now on. */
async function readHorizon(db: Db): Promise<string> {
  const [row] = await db.execute<{ at: string }>(sql`select pg_snapshot_xmin(pg_current_snapshot())::text as at`);
  return (row as { at: string }).at;
}

/** Rows that were written at or above the horizon, but for those whom a pass has folded at this rev. Read in one go through the table:
 *  no index could help, and there is no join. An upper border, because a frozen row shows an xmin that may look young again. */
async function readWritten(db: Db | Tx, { horizon, caught }: Filled): Promise<Written[]> {
  const rows = await db.execute<Written & { rev: string }>(sql`
    select user_id as "userId", version, rev from users
     where age(xmin) between age(pg_snapshot_xmax(pg_current_snapshot())::xid) and age(${horizon}::text::xid8::xid)
     order by user_id`);
  return rows.filter(({ userId, rev }) => caught.get(userId) !== Number(rev));
}

/** One pass without a lock: each portion sees one moment of its users. Returns how many were folded again. */
async function catchUp(
  db: Db,
  state: Filled,
  { machine, signal }: { machine: Machine; signal: AbortSignal | undefined },
): Promise<number> {
  const written = await readWritten(db, state);
  const portions = portionsOf(written);
  const loops = Array.from({ length: AT_ONCE }, async () => {
    for (const userIds of portions) {
      if (signal?.aborted) break;
      const seen = await db.transaction((tx) => foldAgain(tx, userIds, machine), { isolationLevel: 'repeatable read' });
      for (const [name, by] of seen.counts) count(state.counts, name, by);
      for (const { userId, saved } of seen.histories) if (saved !== undefined) state.caught.set(userId, saved.rev);
    }
  });
  await Promise.all(loops);
  return written.length;
}

async function foldAgain(
  tx: Tx,
  userIds: readonly string[],
  machine: Machine,
): Promise<{ histories: UserHistory[]; counts: Counts }> {
  const counts: Counts = new Map();
  const histories = await readAgain(tx, userIds, { lock: false });
  const gone = await tx.execute<{ state: string }>(sql`
    delete from ${sql.identifier(NAMES.shadow)} where user_id = any(${sql.param(userIds)}::text[]) returning state`);
  for (const { state } of gone) count(counts, state, -1);
  await insert(
    tx,
    histories.flatMap((history) => keptOf(rebuilt(history, machine))),
    counts,
  );
  return { histories, counts };
}

type Swap = {
  who: string;
  oid: number;
  machine: Machine;
  passes: number;
  again: number;
  told: (told: Told) => unknown;
};

/** (W2). Throws what `lock table` throws where somebody has the table: then nothing was done. */
async function swap(db: Db, state: Filled, { who, oid, machine, passes, again, told }: Swap): Promise<RebuiltAll> {
  return await db.transaction(async (tx) => {
    for (const [name, ms] of [
      ['lock_timeout', LOCK_TIMEOUT_MS],
      ['statement_timeout', LOCKED_STATEMENT_MS],
      ['idle_in_transaction_session_timeout', LOCKED_IDLE_MS],
    ] as const)
      await tx.execute(sql.raw(`set local ${name} = ${ms}`));
    await tx.execute(sql.raw(`lock table ${NAMES.table} in access exclusive mode`));
    const startMs = performance.now();
    await told({ what: 'locked' });
    if ((await oidOf(tx, NAMES.shadow)) !== oid)
      throw new NotReplaced(
        `The table ${NAMES.shadow} is not the one that this run has filled: another run has begun. Nothing was changed.`,
      );
    await assertAlike(tx, NAMES);
    const counts: Counts = new Map(state.counts);
    const written = await readWritten(tx, state);
    for (const userIds of portionsOf(written))
      for (const [name, by] of (await foldAgain(tx, userIds, machine)).counts) count(counts, name, by);
    const tallies = await correction(tx, counts);
    if (Object.keys(tallies).length > 0) await tx.execute(addTallies(NAMES.table, tallies));
    await putInPlace(tx, NAMES);
    const rows = [...counts.values()].reduce((sum, n) => sum + n, 0);
    const result = {
      ...state.sums,
      ...{ users: rows, passes: passes + 1, again: again + written.length, tallies },
      lockMs: Math.round(performance.now() - startMs),
    };
    await writeAudit(tx, { who, verb: 'rebuild', scope: { all: true } }, result);
    return result;
  });
}

/** What the tallies lack to say what the new table has. Whoever has changed both has ended: it needed the table for the one. */
async function correction(tx: Tx, counts: Counts): Promise<Tallies> {
  const tallies: Tallies = {};
  for (const [state, rows] of counts) add(tallies, `state|${state}`, rows);
  for (const [key, total] of Object.entries(await readTallies(tx as unknown as Db)))
    if (key.startsWith('state|')) add(tallies, key, -total);
  return tallies;
}

/** "process 4711 (customer-service), for 12 s" */
async function whoUses(db: Db): Promise<string | null> {
  const [row] = await db.execute<{ who: string }>(sql`
    select concat('process ', pid, ' (', application_name, ')', ', for ' || extract(epoch from clock_timestamp() - xact_start)::int || ' s') as who
      from pg_locks join pg_stat_activity using (pid)
     where relation = ${NAMES.table}::text::regclass and granted and pid <> pg_backend_pid() order by xact_start limit 1`);
  return row?.who ?? null;
}

async function dropShadow(db: Db, oid: number): Promise<void> {
  await db.transaction(async (tx) => {
    if ((await oidOf(tx, NAMES.shadow)) === oid) await tx.execute(sql.raw(`drop table ${NAMES.shadow}`));
  });
}
