// rebuild.ts — the rows of some users again from their history, in place. (All, in a new table: rebuild-all.ts.)
//
// Owns:          whom a portion takes, and the transaction that writes them.
// Does not own:  what becomes of a row (rebuilt.ts), the pages of the histories (history.ts), writing by rev (save.ts).
//
// E1  A row that is changed gets a rev above the saved one: a service that remembers the old row meets a conflict and reads again.
// E2  Services go on: the rows of a portion are locked, at most 500.
// E3  Tallies count what events did. They move from where the history says that a user is counted, since a damaged row is not counted
//     where it stands.
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { MACHINE, type Machine } from '../machines/index.ts';
import { addTallies } from './add-tallies.ts';
import { endAudit, writeAudit } from './audit.ts';
import { readHistoriesOf, type UserHistory } from './history.ts';
import type { UserRow } from './put.ts';
import { addTo, noSums, type Rebuilt, rebuilt, type Sums } from './rebuilt.ts';
import { again } from './retry.ts';
import type { Saver } from './rows.ts';
import { inOrder, send, write } from './save.ts';
import { add, type Tallies } from './tallies.ts';
import { readUsers } from './users.ts';

/** `newer`: those whose row a newer machine version wrote: the way back after a deploy that was rolled back. */
export type Chosen = { user: string } | { customer: string } | { newer: true };
export type Options = {
  who: string;
  /** Stops after the portion in hand. */
  signal?: AbortSignal | undefined;
  /** Another than today's. */
  machine?: Machine;
};

/** In place, at most 500 users a transaction. `queued`: events that wait of users whose row was changed; they may go now.
 *  `interrupted`: `signal` came first. `dryRun`: nothing is written but the audit row. `step`: told how many were looked at. Throws
 *  what Postgres throws, and a Conflict that remains after its budget of tries. */
export async function rebuildSome(
  db: Db,
  saver: Saver,
  chosen: Chosen,
  {
    who,
    signal,
    machine = MACHINE,
    dryRun = false,
    step,
  }: Options & { dryRun?: boolean; step?: (looked: number) => void },
): Promise<Sums & { queued: number; interrupted?: true }> {
  const act = { who, verb: 'rebuild' as const, scope: scopeOf(chosen, machine), dryRun };
  // Before the first write; its result stays null where it is killed.
  const auditId = dryRun ? undefined : await writeAudit(db, act, null);
  const how = { machine, dryRun, takesNewer: 'newer' in chosen };
  const sums: Sums & { queued: number; interrupted?: true } = { ...noSums(), queued: 0 };
  for await (const userIds of portionsOfChosen(db, chosen, machine)) {
    if (signal?.aborted) {
      sums.interrupted = true;
      break;
    }
    const portion = await again(
      () =>
        // Nothing is locked by a rehearsal: it sees one moment instead.
        db.transaction((tx) => rebuildPortion(tx, saver, userIds, how), {
          isolationLevel: dryRun ? 'repeatable read' : 'read committed',
        }),
      { orLocked: true },
    );
    for (const { userId, result, queued } of portion) {
      addTo(sums, userId, result);
      if (result.what === 'changed' || result.what === 'made') sums.queued += queued;
    }
    step?.(sums.looked);
  }
  if (auditId === undefined) await writeAudit(db, act, sums);
  else await endAudit(db, auditId, sums);
  return sums;
}

function scopeOf(chosen: Chosen, { version }: Machine): object {
  return 'newer' in chosen ? { newer: true, than: version } : chosen;
}

async function* portionsOfChosen(db: Db, chosen: Chosen, machine: Machine): AsyncGenerator<string[]> {
  for await (const some of chosenUsers(db, chosen, machine)) yield* portionsOf(some);
}

export type Written = { userId: string; version: number };
const USERS_PER_PORTION = 500;
/** Of the histories that are held at once (P6). */
const STEPS_PER_PORTION = 20_000;

async function* chosenUsers(db: Db, chosen: Chosen, { version }: Machine): AsyncGenerator<readonly Written[]> {
  if ('user' in chosen) return yield [{ userId: chosen.user, version: 0 }];
  const fits = 'customer' in chosen ? sql`customer_id = ${chosen.customer}` : sql`machine_version > ${version}::int`;
  for (let after = ''; ; ) {
    const rows = await db.execute<Written>(sql`
      select user_id as "userId", version from users where user_id > ${after}::text and ${fits}
       order by user_id limit ${USERS_PER_PORTION}::int`);
    if (rows.length === 0) return;
    yield rows;
    after = rows.at(-1)?.userId as string;
  }
}

/** Ids of at most 500 users, or of fewer with as many steps as are held at once. */
export function* portionsOf(written: readonly Written[]): Generator<string[]> {
  let [ids, steps]: [string[], number] = [[], 0];
  for (const { userId, version } of written) {
    if (ids.length > 0 && (ids.length === USERS_PER_PORTION || steps + version > STEPS_PER_PORTION)) {
      yield ids;
      [ids, steps] = [[], 0];
    }
    ids.push(userId);
    steps += version;
  }
  if (ids.length > 0) yield ids;
}

type One = { userId: string; result: Rebuilt; queued: number };

async function rebuildPortion(
  tx: Tx,
  saver: Saver,
  userIds: readonly string[],
  { machine, dryRun, takesNewer }: { machine: Machine; dryRun: boolean; takesNewer: boolean },
): Promise<One[]> {
  const histories = await readAgain(tx, userIds, { lock: !dryRun });
  const portion: One[] = [];
  const writes: { row: UserRow; readRev: number | null }[] = [];
  const created: UserRow[] = [];
  const gone: string[] = [];
  const tallies: Tallies = {};
  for (const history of histories) {
    const result = rebuilt(history, machine, { takesNewer });
    portion.push({ userId: history.userId, result, queued: history.queued });
    if (result.what === 'gone') gone.push(history.userId);
    if (result.what !== 'changed' && result.what !== 'made') continue;
    const { row } = result;
    writes.push({ row, readRev: history.saved?.rev ?? null });
    if (result.what === 'changed' && result.fields.includes('createdAt')) created.push(row);
    tallyAnew(tallies, countedState(history), row.state);
  }
  if (dryRun) return portion;
  await inOrder([
    ...write(tx, saver, { results: [], users: writes, customers: [] }),
    ...(created.length === 0 ? [] : [send(tx, setCreated(created))]),
    ...(gone.length === 0 ? [] : [send(tx, sql`delete from users where user_id = any(${sql.param(gone)}::text[])`)]),
    ...(Object.keys(tallies).length === 0 ? [] : [send(tx, addTallies(userIds[0] as string, tallies))]),
  ]);
  return portion;
}

/** What a save never changes. */
function setCreated(rows: readonly UserRow[]) {
  const list = JSON.stringify(rows.map(({ userId, createdAt }) => ({ userId, createdAt })));
  return sql`update users set created_at = r."createdAt"
               from json_to_recordset(${list}::text::json) as r("userId" text, "createdAt" timestamptz)
              where users.user_id = r."userId" collate "C"`;
}

/** Where a user is counted (E3): where its last event led; or where it stands, if its row was migrated or rebuilt since. */
function countedState({ steps, saved }: UserHistory): string | undefined {
  const last = steps.at(-1);
  if (last === undefined) return undefined;
  return saved !== undefined && saved.machineVersion !== last.machineVersion ? saved.state : (last.to ?? undefined);
}

function tallyAnew(tallies: Tallies, from: string | undefined, to: string): void {
  if (from !== undefined) add(tallies, `state|${from}`, -1);
  add(tallies, `state|${to}`, 1);
}

/** Rows, then what they came from: locked, nothing is added to the latter meanwhile. */
export async function readAgain(
  tx: Tx,
  userIds: readonly string[],
  { lock }: { lock: boolean },
): Promise<UserHistory[]> {
  const views = await readUsers(tx, userIds, { lock, waitingPerUser: ALL_THAT_WAITS });
  const histories = await readHistoriesOf(tx, userIds);
  return userIds.flatMap((userId) => {
    const { row: saved, waiting: queued = 0 } = views.get(userId) ?? {};
    const steps = histories.get(userId) ?? [];
    return steps.length === 0 && saved === undefined ? [] : { userId, steps, saved, queued };
  });
}
/** Counted to the end, not to a limit. */
const ALL_THAT_WAITS = 2_000_000_000;
