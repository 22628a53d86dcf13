// jobs.ts — `jobs list|show|resume|cancel`: what an operator started and takes long; and running one to its end or to ctrl-C.
//
// Owns:          progress, ctrl-C, and the words about a job's end. Does not own: what a step does, its row (src/jobs.ts).
import type { Command } from 'commander';
import type { Job, JobKind } from '../jobs.ts';
import type { Settlement, Sums } from '../settle.ts';
import { limit, rowId } from './arguments.ts';
import { inOneLine, inWords } from './audit.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { count, fields, type Output, plural, time } from './output.ts';
import { createProgress } from './progress.ts';
import { stopOnSignals } from './signals.ts';

export function registerJobs(program: Command): void {
  const group = program
    .command('jobs')
    .description('what takes long: list, show, resume, cancel')
    .addHelpText('after', examples('jobs list', 'jobs resume 18'));
  registerList(group);
  registerShow(group);
  registerResume(group);
  registerCancel(group);
}

function registerList(group: Command): void {
  group
    .command('list')
    .description('the newest first; one whose last step is a minute ago may have been interrupted')
    .option('--limit <n>', 'how many at most', limit, 20)
    .addHelpText('after', examples('jobs list', 'jobs list --json --limit 100'))
    .action(
      act(async ({ out, database }, options: { limit: number }) => {
        const rows = await database(async ({ db, sql }) => {
          const { readJobs } = await import('../jobs.ts');
          const [jobs, now] = await Promise.all([readJobs(db, options.limit), clockOf(sql)]);
          return jobs.map((job) => shown(job, now));
        });
        out.many(rows, COLUMNS, 'There are no jobs.');
        if (rows.length === options.limit) out.say(`The newest ${rows.length}; --limit shows more.`);
        const left = rows.find(({ state }) => state === INTERRUPTED);
        if (left !== undefined) out.next(`jobs resume ${left.id}`);
        else if (rows[0] !== undefined) out.next(`jobs show ${rows[0].id}`);
      }),
    );
}

function registerShow(group: Command): void {
  group
    .command('show')
    .description('one job: which rows, how far, by whom')
    .argument('<id>', 'the number that `list` shows', rowId)
    .addHelpText('after', examples('jobs show 18'))
    .action(
      act(async ({ out, database }, id: string) => {
        const job = await database(async ({ db, sql }) => shown(await jobOf(db, id), await clockOf(sql)));
        out.one(job, () =>
          fields({
            job: `${job.id}  ${job.kind}`,
            state: job.state,
            done: doneOf(job),
            failed: job.failed === '0' ? null : count(BigInt(job.failed)),
            scope: inWords(job.scope) || 'all',
            options: inWords(job.options),
            cursor: job.cursor,
            'by whom': job.startedBy,
            started: time(job.startedAt),
            'last step': time(job.updatedAt),
            ended: time(job.endedAt),
          }),
        );
        if (job.state === 'running' || job.state === INTERRUPTED) out.next(`jobs resume ${id}`, `jobs cancel ${id}`);
        else out.next('jobs list');
      }),
    );
}

function registerResume(group: Command): void {
  group
    .command('resume')
    .description('goes on with a job from where it was interrupted')
    .argument('<id>', 'the number that `list` shows', rowId)
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('jobs resume 18'))
    .action(
      act(({ out, database }, id: string, { actor }: { actor?: string }) =>
        database(async (at) => {
          const [{ resumeJob }, { actorOf }] = await Promise.all([import('../jobs.ts'), import('./connection.ts')]);
          const { state, kind } = await jobOf(at.db, id);
          if (kind === 'rebuild') throw doesNotGoOn({ id, kind });
          const job = await resumeJob(at.db, Number(id), actorOf(actor));
          if (job === undefined) throw new Failure(`Job ${id} is ${state}: nothing to resume.`);
          return await runJob(at, out, job);
        }),
      ),
    );
}

function registerCancel(group: Command): void {
  group
    .command('cancel')
    .description('ends a job after its present step; what was done stays done')
    .argument('<id>', 'the number that `list` shows', rowId)
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('jobs cancel 18'))
    .action(
      act(({ out, database }, id: string, { actor }: { actor?: string }) =>
        database(async ({ db, sql }) => {
          const [{ cancelJob }, { actorOf }] = await Promise.all([import('../jobs.ts'), import('./connection.ts')]);
          const { state } = await jobOf(db, id);
          const cancelled = await cancelJob(db, Number(id), actorOf(actor));
          if (cancelled === undefined) throw new Failure(`Job ${id} is ${state}: nothing to cancel.`);
          const job = shown(cancelled, await clockOf(sql));
          out.one(job, () => `job ${id} is cancelled · ${doneOf(job)} were done`);
          out.next('jobs list');
        }),
      ),
    );
}

async function jobOf(db: At['db'], id: string): Promise<Job> {
  const { readJob } = await import('../jobs.ts');
  const job = await readJob(db, Number(id));
  if (job === undefined) throw new Failure(`There is no job ${id}. \`jobs list\` shows them.`);
  return job;
}

/** The clock that wrote the rows, ms since 1970. */
async function clockOf(sql: At['sql']): Promise<number> {
  const [row] = await sql<{ now: string }[]>`select now() as now`;
  return Date.parse((row as { now: string }).now);
}

/** Nobody has to say that a job was interrupted: its process may be gone. */
const INTERRUPTED = 'interrupted?';
/** Steps take seconds; a drain that meets locks may take longer. */
const QUIET_MS = 60_000;

export function stateOf({ state, updatedAt }: Pick<Job, 'state' | 'updatedAt'>, nowMs: number): string {
  return state === 'running' && nowMs - Date.parse(updatedAt) > QUIET_MS ? INTERRUPTED : state;
}

/** 64-bit integers as strings. */
function shown(job: Job, nowMs: number) {
  const { id, total, done, failed } = job;
  const numbers = {
    id: String(id),
    total: total === null ? null : String(total),
    done: String(done),
    failed: String(failed),
  };
  return { ...job, ...numbers, state: stateOf(job, nowMs) };
}
type Shown = ReturnType<typeof shown>;

function doneOf({ done, total }: { done: string | number; total: string | number | null }): string {
  return total === null ? count(BigInt(done)) : `${count(BigInt(done))} of ${count(BigInt(total))}`;
}

const COLUMNS = [
  { head: 'JOB', of: (job: Shown) => job.id },
  { head: 'KIND', of: (job: Shown) => job.kind },
  { head: 'STATE', of: (job: Shown) => job.state },
  { head: 'DONE', of: doneOf, right: true as const },
  { head: 'FAILED', of: (job: Shown) => BigInt(job.failed), right: true as const },
  { head: 'SCOPE', of: ({ scope }: Shown) => inWords(scope) || 'all' },
  { head: 'BY', of: (job: Shown) => inOneLine(job.startedBy) },
  { head: 'STARTED', of: (job: Shown) => time(job.startedAt) },
  { head: 'LAST STEP', of: (job: Shown) => time(job.updatedAt) },
];

/** What the kinds tell at their end. `failed`: the users of a migration that could not be migrated. */
type Ended = { job: Job; sums?: Sums; failed?: readonly string[] };
type Watching = { step(job: Job): void; tell(each: Settlement): void; signal: AbortSignal };

async function carryOn(at: At, job: Job, watching: Watching): Promise<Ended> {
  const { drainingOf } = await import('./connection.ts');
  const draining = { ...(await drainingOf(at)), db: at.db };
  if (job.kind === 'redrive' || job.kind === 'discard') {
    const { runSettling } = await import('../settle.ts');
    const { job: ended, outcomes, others } = await runSettling(draining, job, watching);
    return { job: ended, sums: { outcomes, others } };
  }
  if (job.kind === 'migrate') {
    const { runMigration } = await import('../migrate.ts');
    const { job: ended, failed } = await runMigration(at.db, draining.saver, job, watching);
    return { job: ended, failed };
  }
  throw doesNotGoOn(job);
}

function doesNotGoOn({ id, kind }: { id: number | string; kind: JobKind }): Failure {
  return new Failure(`Job ${id} is a ${kind}, which does not go on like this: start it again.`);
}

/** Runs a job from where it is, until its end or ctrl-C. Returns the exit code. */
export async function runJob(at: At, out: Output, job: Job): Promise<number> {
  const { JobTaken } = await import('../jobs.ts');
  const progress = createProgress(job.total, out.json, job.done);
  const stopping = stopOnSignals((text) => {
    progress.end();
    out.say(text);
  });
  const soFar: Record<string, number> = {};
  let now = job;
  try {
    const ended = await carryOn(at, job, {
      signal: stopping.signal,
      tell: ({ outcome }) => {
        soFar[outcome] = (soFar[outcome] ?? 0) + 1;
      },
      step: (next) => {
        now = next;
        progress.show({ done: next.done, text: sumsInWords(soFar), facts: { job: String(next.id), outcomes: soFar } });
      },
    });
    progress.end();
    return show(out, ended, job.done) ?? stopping.exitCode() ?? EXIT.failed;
  } catch (error) {
    progress.end();
    if (error instanceof JobTaken)
      throw new Failure(`${error.message.replace(/^job/, 'Job')}. What was done stays done.`);
    out.say(`job ${now.id} stopped after ${doneOf(now)}: npx user-lifecycle jobs resume ${now.id}`);
    throw error;
  }
}

/** `before`: what was done when this process took it. Undefined: it was interrupted. */
function show(out: Output, { job, sums, failed }: Ended, before: number): number | undefined {
  const { id, kind, state, done, total: all } = job;
  const summary = { job: String(id), kind, state, done: String(done), total: all === null ? null : String(all) };
  const isInterrupted = state === 'running';
  if (!isInterrupted || out.json)
    out.one({ ...summary, failed: String(job.failed), ...sums, ...(failed && { failedUsers: failed }) }, () =>
      [`job ${id}`, doneOf(job), ...(sums === undefined ? [] : wordsOf(sums, before))].join(' · '),
    );
  if (isInterrupted) {
    out.say(`interrupted after ${doneOf(job)}: npx user-lifecycle jobs resume ${id}`);
    return undefined;
  }
  const died = job.failed > 0 || (sums?.others.dead ?? 0) > 0;
  if (died && kind === 'redrive') out.next('dlq list --group');
  else out.next('status');
  return died ? EXIT.someDead : EXIT.done;
}

function wordsOf(sums: Sums, before: number): string[] {
  const others = total(sums.others);
  const dead = sums.others.dead ?? 0;
  return [
    `${before > 0 ? 'since it was resumed: ' : ''}${sumsInWords(sums.outcomes) || 'nothing was left'}`,
    ...(others === 0
      ? []
      : [`${plural(others, 'other event')} went with them${dead > 0 ? `, ${count(dead)} of them dead` : ''}`]),
  ];
}

export function total(sums: Readonly<Record<string, number>>): number {
  return Object.values(sums).reduce((sum, n) => sum + n, 0);
}
/** "applied 201, stale 9" */
export function sumsInWords(sums: Readonly<Record<string, number>>): string {
  return Object.entries(sums)
    .toSorted(([, a], [, b]) => b - a)
    .map(([outcome, n]) => `${outcome} ${count(n)}`)
    .join(', ');
}
/** Of something that has ended. */
export function exitCodeOf({ outcomes, others }: Sums): number {
  return (outcomes.dead ?? 0) + (others.dead ?? 0) > 0 ? EXIT.someDead : EXIT.done;
}
