// jobs.ts — what an operator started and takes long: how far it is, and where it goes on after an interruption.
//
// Owns:          the rows of `jobs`. Does not own: what a job does (settle.ts, migrate.ts, rebuild.ts), who runs it (the CLI, the API).
//
// J1  Its cursor is moved with compare-and-set: of two processes that run the same job, one gets on and the other finds
//     out at its next step. What a step does can be done twice (the rows say what is left), so a step that was not counted is
//     harmless.
// J2  Cancelled between steps: what was done stays done, and the step that ran meanwhile is counted too, where it was done.
// J3  Whoever goes on with it leaves a row of audit, which ends with the job.
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { toText, writeAudit } from './audit.ts';
import { shortScope } from './queries/rows.ts';

export const JOB_KINDS = ['redrive', 'discard', 'migrate', 'rebuild'] as const;
export type JobKind = (typeof JOB_KINDS)[number];
export type JobState = 'running' | 'done' | 'cancelled';

export type Job = {
  id: number;
  kind: JobKind;
  scope: Record<string, unknown>;
  options: Record<string, unknown>;
  state: JobState;
  total: number | null;
  done: number;
  failed: number;
  cursor: string;
  startedBy: string;
  startedAt: string;
  updatedAt: string;
  endedAt: string | null;
};

/** Somebody cancelled it, or another process runs it too. */
export class JobTaken extends Error {
  override name = 'JobTaken';
}

type NewJob = Pick<Job, 'kind' | 'scope' | 'options' | 'total'> & { who: string };

/** Its row and its audit row. */
export async function startJob(db: Db, { kind, scope, options, total, who }: NewJob): Promise<Job> {
  return await db.transaction(async (tx) => {
    const [row] = await tx.execute<StoredJob>(sql`
      insert into jobs (kind, scope, options, total, started_by)
      values (${kind}, ${toText(scope)}::text::jsonb, ${toText(options)}::text::jsonb, ${total}::bigint, ${who.slice(0, 200)})
      returning ${JOB}`);
    const job = jobOf(row as StoredJob);
    await writeAudit(tx, { who, verb: kind, scope: { ...scope, ...options } }, null, job.id);
    return job;
  });
}

/** A job that runs, to be gone on with where it was: its audit row says so, and ends with the job. Undefined: there is none of
 *  this id that runs. */
export async function resumeJob(db: Db, id: number, who: string): Promise<Job | undefined> {
  return await db.transaction(async (tx) => {
    const [row] = await tx.execute<StoredJob>(
      sql`select ${JOB} from jobs where id = ${id}::bigint and state = 'running' for update`,
    );
    if (row === undefined) return undefined;
    const job = jobOf(row);
    await writeAudit(tx, { who, verb: 'resume', scope: { job: id, after: job.done } }, null, id);
    return job;
  });
}

/** One step on: `done` and `failed` are added. Returns the job as it is now. Throws JobTaken where its cursor is not where this
 *  process left it, or it does not run any more; where it was cancelled while the step ran, the step is counted before (J2). */
export async function stepJob(
  db: Db | Tx,
  job: Job,
  { cursor, done, failed }: { cursor: string; done: number; failed: number },
): Promise<Job> {
  const step = (state: JobState) => sql`
    update jobs set cursor = ${cursor}, done = done + ${done}::bigint, failed = failed + ${failed}::bigint, updated_at = now()
     where id = ${job.id}::bigint and cursor = ${job.cursor} and done = ${job.done}::bigint and state = ${state}`;
  const [row] = await db.execute<StoredJob>(sql`${step('running')} returning ${JOB}`);
  if (row !== undefined) return jobOf(row);
  // Thrown out of the step's own transaction, this is rolled back with what the step did.
  await db.execute(sql`
    with stepped as (${step('cancelled')} returning *)
    update audit set result = audit.result || jsonb_build_object('done', stepped.done, 'failed', stepped.failed)
      from stepped where audit.job_id = stepped.id`);
  const now = await readJob(db, job.id);
  throw new JobTaken(
    now?.state === 'running'
      ? `job ${job.id} is run by somebody else too, and is further: nothing was done twice`
      : `job ${job.id} is ${now?.state ?? 'gone'}`,
  );
}

/** `result`: for its audit row, beside its numbers. */
export async function endJob(db: Db, job: Job, result: object = {}): Promise<Job> {
  return await end(db, job.id, 'done', result);
}

/** Ends a running job after its present step. Undefined: there is none of this id that runs. */
export async function cancelJob(db: Db, id: number, who: string): Promise<Job | undefined> {
  return await db.transaction(async (tx) => {
    const [row] = await tx.execute(sql`select 1 from jobs where id = ${id}::bigint and state = 'running' for update`);
    if (row === undefined) return undefined;
    await writeAudit(tx, { who, verb: 'cancel', scope: { job: id } }, {});
    return await end(tx, id, 'cancelled', {});
  });
}

async function end(db: Db | Tx, id: number, state: Exclude<JobState, 'running'>, result: object): Promise<Job> {
  const [row] = await db.execute<StoredJob>(sql`
    with ended as (update jobs set state = ${state}, ended_at = now(), updated_at = now()
                    where id = ${id}::bigint and state = 'running' returning *),
         told as (update audit set result = jsonb_build_object('state', ${state}::text, 'done', ended.done, 'failed', ended.failed)
                                            || ${toText(result)}::text::jsonb
                    from ended where audit.job_id = ended.id)
    select ${JOB} from ended`);
  if (row === undefined) throw new JobTaken(`job ${id} has ended already`);
  return jobOf(row);
}

export async function readJob(db: Db | Tx, id: number): Promise<Job | undefined> {
  const [row] = await db.execute<StoredJob>(sql`select ${JOB} from jobs where id = ${id}::bigint`);
  return row && jobOf(row);
}

/** The newest first, of those below `below`, for a list: not to be run, their scopes are short (shortScope). */
export async function readJobs(db: Db, limit: number, below = Number.MAX_SAFE_INTEGER): Promise<Job[]> {
  const rows = await db.execute<StoredJob>(
    sql`select ${JOB_LISTED} from jobs where id < ${below}::bigint order by id desc limit ${limit}::int`,
  );
  return rows.map(jobOf);
}

type StoredJob = Omit<Job, 'id' | 'total' | 'done' | 'failed'> & {
  id: string;
  total: string | null;
  done: string;
  failed: string;
};
const NUMBERS = sql.raw(
  'options, state, total, done, failed, cursor, started_by as "startedBy", started_at as "startedAt", updated_at as "updatedAt", ended_at as "endedAt"',
);
const JOB = sql`id, kind, scope, ${NUMBERS}`;
const JOB_LISTED = sql`id, kind, ${shortScope('scope')} as scope, ${NUMBERS}`;
function jobOf({ id, total, done, failed, ...job }: StoredJob): Job {
  return {
    ...job,
    id: Number(id),
    total: total === null ? null : Number(total),
    done: Number(done),
    failed: Number(failed),
  };
}
