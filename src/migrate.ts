// migrate.ts — all saved users of older machine versions brought up to this one, in steps.
//
// Owns:          which users a step takes, and the transaction that writes them.
// Does not own:  what a migration does (machines/migrations.ts), one row of it (put.ts: upToDate), the job (jobs.ts).
//
// Q1  A step is one transaction: the rows, locked in id order and written by rev; what it changes in the tallies; the cursor. A
//     step that is killed did nothing, and is done again.
// Q2  A user is migrated once, by its next event or here: what its event has migrated meanwhile is seen under the lock.
// Q3  A migration that throws stops its user alone: the row stays as it is, and its next event becomes a dead letter (G1).
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { MACHINE, type Machine, type State } from '../machines/index.ts';
import { addTallies } from './add-tallies.ts';
import { writeAudit } from './audit.ts';
import { endJob, type Job, JobTaken, startJob, stepJob } from './jobs.ts';
import { readTallies } from './positions.ts';
import { type UserRow, upToDate } from './put.ts';
import { again } from './retry.ts';
import type { Saver } from './rows.ts';
import { inOrder, send, write } from './save.ts';
import { type Tallies, tallyMove } from './tallies.ts';
import { readUsers } from './users.ts';

/** So many users went this way. `to`: null where a migration throws, or leads to no state of this version. */
export type Change = { version: number; from: string; to: string | null; users: number };

/** What a run did, or would do. `failed`: the first of the users that stay as they are. */
export type Migrated = { changes: Change[]; failed: string[] };

const NAMED = 20;
/** 300,000 users that all change, at best: 49,800 a second in steps of 500, 49,000 of 1,000, 57,800 of 2,000. More at once would
 *  keep services waiting for longer, and 1,000 hold their rows for about 25 ms. */
const USERS_PER_STEP = 1_000;

/** A job over all users. Run it with `runMigration`. */
export async function startMigration(db: Db, who: string, machine: Machine = MACHINE): Promise<Job> {
  const scope = { version: machine.version };
  return await startJob(db, { kind: 'migrate', scope, options: {}, total: await countUsers(db), who });
}

/** From the running totals: users are never counted. */
export async function countUsers(db: Db): Promise<number> {
  const tallies = Object.entries(await readTallies(db));
  return tallies.reduce((users, [key, n]) => (key.startsWith('state|') ? users + n : users), 0);
}

export type Watching = {
  /** After each step. */
  step?: (job: Job) => void;
  /** Stops after the step in hand; the job goes on when it is run again. */
  signal?: AbortSignal | undefined;
};

/** Goes through a job from its cursor. Its state is `running` still where `signal` stopped it. Throws JobTaken, also where the job is
 *  one of another version, and what Postgres throws. */
export async function runMigration(
  db: Db,
  saver: Saver,
  job: Job,
  { step, signal }: Watching,
  machine: Machine = MACHINE,
): Promise<{ job: Job } & Migrated> {
  if (job.scope.version !== machine.version)
    throw new JobTaken(
      `job ${job.id} brings users up to machine version ${job.scope.version}, and this is version ${machine.version}: go on with that one, or cancel it and start another`,
    );
  const sums = createSums();
  let now = job;
  while (!signal?.aborted) {
    const { next, portion } = await again(() => db.transaction((tx) => migrateSome(tx, saver, now, machine)), {
      orLocked: true,
    });
    if (next === undefined) {
      const { changes, failed } = sums.result();
      // Of an earlier, interrupted run nobody has the sums: then the job's numbers stand alone.
      const result = job.cursor === '' ? { changes, failedUsers: failed } : {};
      return { job: await endJob(db, now, result), changes, failed };
    }
    sums.add(portion);
    now = next;
    step?.(now);
  }
  return { job: now, ...sums.result() };
}

/** What `runMigration` would do now, `step` told how many users were looked at. Writes nothing but its audit row. `interrupted`:
 *  `signal` came first. */
export async function rehearseMigration(
  db: Db,
  who: string,
  { step, signal }: { step?: (users: number) => void; signal?: AbortSignal },
  machine: Machine = MACHINE,
): Promise<{ users: number; interrupted?: true } & Migrated> {
  const sums = createSums();
  let users = 0;
  let interrupted = false;
  for (let cursor = ''; ; ) {
    const slice = await nextSlice(db, cursor, machine);
    if (slice === undefined) break;
    interrupted = signal?.aborted === true;
    if (interrupted) break;
    sums.add(await bringUp(db, slice.older, machine, { lock: false }));
    cursor = slice.last;
    users += slice.users;
    step?.(users);
  }
  const result = { users, ...sums.result(), ...(interrupted ? { interrupted } : {}) };
  await writeAudit(db, { who, verb: 'migrate', scope: { version: machine.version }, dryRun: true }, result);
  return result;
}

/** One step. `next`: the job after it; undefined: there are no more users. */
async function migrateSome(
  tx: Tx,
  saver: Saver,
  job: Job,
  machine: Machine,
): Promise<{ next: Job | undefined; portion: Portion }> {
  const slice = await nextSlice(tx, job.cursor, machine);
  if (slice === undefined) return { next: undefined, portion: { moves: [], failed: [] } };
  const portion = await bringUp(tx, slice.older, machine, { lock: true });
  const users = portion.moves.map(({ before, after }) => ({
    row: { ...after, rev: before.rev + 1 },
    readRev: before.rev,
  }));
  const tallies: Tallies = {};
  for (const { before, after } of portion.moves)
    if (before.state !== after.state) tallyMove(tallies, before.state, after.state, 1);
  const stepped = stepJob(tx, job, { cursor: slice.last, done: slice.users, failed: portion.failed.length });
  await inOrder([
    ...write(tx, saver, { results: [], users, customers: [] }),
    ...(Object.keys(tallies).length === 0 ? [] : [send(tx, addTallies(slice.last, tallies))]),
    stepped,
  ]);
  return { next: await stepped, portion };
}

type Slice = { users: number; last: string; older: string[] };

/** The next users in id order, and which of them an older version wrote. */
async function nextSlice(db: Db | Tx, cursor: string, { version }: Machine): Promise<Slice | undefined> {
  const [slice] = await db.execute<{ users: number; last: string | null; older: string[] }>(sql`
    select count(*)::int as users, max(user_id) as last,
           coalesce(json_agg(user_id) filter (where machine_version < ${version}::int), '[]') as older
      from (select user_id, machine_version from users where user_id > ${cursor}::text
             order by user_id limit ${USERS_PER_STEP}::int) slice`);
  return slice === undefined || slice.last === null ? undefined : { ...slice, last: slice.last };
}

type Portion = { moves: { before: UserRow; after: UserRow }[]; failed: UserRow[] };

async function bringUp(
  db: Db | Tx,
  userIds: readonly string[],
  machine: Machine,
  { lock }: { lock: boolean },
): Promise<Portion> {
  const views = await readUsers(db, userIds, { lock, waitingPerUser: 1 });
  const portion: Portion = { moves: [], failed: [] };
  for (const { row: before } of views.values()) {
    if (before === undefined || before.machineVersion >= machine.version) continue;
    try {
      portion.moves.push({ before, after: upToDate(before, machine) });
    } catch {
      portion.failed.push(before);
    }
  }
  return portion;
}

/** Behind every name of a state. */
const LAST = '\uffff';

function createSums() {
  const changes = new Map<string, Change>();
  const failed: string[] = [];
  const count = ({ machineVersion: version, state: from }: UserRow, to: State | null) => {
    const key = `${version}|${from}|${to}`;
    const change = changes.get(key) ?? { version, from, to, users: 0 };
    change.users++;
    changes.set(key, change);
  };
  return {
    add(portion: Portion) {
      for (const { before, after } of portion.moves) count(before, after.state);
      for (const row of portion.failed) {
        count(row, null);
        if (failed.length < NAMED) failed.push(row.userId);
      }
    },
    result: (): Migrated => ({
      changes: [...changes.values()].sort(
        (a, b) => a.version - b.version || a.from.localeCompare(b.from) || (a.to ?? LAST).localeCompare(b.to ?? LAST),
      ),
      failed: [...failed],
    }),
  };
}
