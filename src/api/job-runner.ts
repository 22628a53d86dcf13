// job-runner.ts — jobs that were started here, in the background of this process.
//
// Owns:          which run, that they are few, and that they stop in order. Does not own: a job's row (jobs.ts), its steps (settle.ts).
//
// Z1  At most two at once: each takes two connections and a part of one core from the pipeline.
// Z2  A stop ends them after the step in hand. Their rows still say `running`, and anybody goes on with them.
import type { Db } from '../../db/client.ts';
import { describe } from '../errors.ts';
import { type Job, JobTaken } from '../jobs.ts';
import type { Log } from '../log.ts';
import type { Draining } from '../redrive.ts';
import { runSettling } from '../settle.ts';
import type { JobRow } from './contract.ts';
import { type JobHere, jobRow } from './job-row.ts';
import { Refused } from './problems.ts';

export type JobRunner = {
  /** Throws Refused where there are as many as there may be. */
  assertFree(): void;
  /** Takes the place of a job for something as large, such as a rehearsal; as above. Returns how to give it back. */
  occupy(): () => void;
  /** The same for a job that is to be gone on with: until it is given back, nobody else reserves it. Throws Refused where it runs here
   *  already, too. */
  reserve(id: number): () => void;
  /** Begins, or goes on with, a job that is settled step by step; one that runs here already is left as it is. */
  run(job: Job): void;
  here(): Iterable<JobHere>;
  /** A job as the API shows it: with its rate, where it runs here. */
  shown(job: Job): JobRow;
  /** Resolves when the steps in hand have ended. */
  stop(): Promise<void>;
};

const MOST_AT_ONCE = 2;

export function createJobRunner({
  db,
  draining,
  log,
}: {
  db: Db;
  draining: () => Promise<Draining>;
  log: Log;
}): JobRunner {
  const running = new Map<number, JobHere & { ended: Promise<void> }>();
  const stopping = new AbortController();

  const reserved = new Set<number>();
  let occupied = 0;

  return { assertFree, occupy, reserve, run, here: () => running.values(), shown, stop };

  function assertFree(): void {
    if (running.size + occupied >= MOST_AT_ONCE)
      throw new Refused(
        'conflict',
        `${MOST_AT_ONCE} jobs or rehearsals run in this process already: wait for one of them, or cancel it.`,
      );
    if (stopping.signal.aborted) throw new Refused('unavailable', 'This process is stopping.');
  }

  function occupy(): () => void {
    assertFree();
    occupied++;
    return () => {
      occupied--;
    };
  }

  function reserve(id: number): () => void {
    if (running.has(id) || reserved.has(id)) throw new Refused('conflict', `Job ${id} runs here already.`);
    const free = occupy();
    reserved.add(id);
    return () => {
      reserved.delete(id);
      free();
    };
  }

  function run(job: Job): void {
    if (running.has(job.id)) return;
    const ended = work(job)
      .catch((error) => {
        if (error instanceof JobTaken) log.info({ job: job.id }, error.message);
        else log.error({ ...describe(error), job: job.id }, 'a job was interrupted: it can be gone on with');
      })
      .finally(() => running.delete(job.id));
    running.set(job.id, { id: job.id, sinceMs: Date.now(), doneBefore: job.done, ended });
  }
  async function work(job: Job): Promise<void> {
    await runSettling({ ...(await draining()), db }, job, { signal: stopping.signal });
  }

  function shown(job: Job): JobRow {
    return jobRow(job, running.get(job.id), Date.now());
  }

  async function stop(): Promise<void> {
    stopping.abort();
    await Promise.all([...running.values()].map(({ ended }) => ended));
  }
}
