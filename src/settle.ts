// settle.ts — what an operator decides about dead letters: redrive or discard one, those of a filter, or all; edit one before. And
// about events that wait: discard them too. Each is a job that goes through them.
//
// Owns:          the job. Does not own: which ones a step takes (portions.ts), what a step does (settle-portion.ts), what it would do
//                (rehearse.ts), an edited payload (edit-dead-letter.ts), the job's row (jobs.ts).
import type { Db } from '../db/client.ts';
import { countWaiting, type WaitingFilter } from './give-up.ts';
import { endJob, type Job, startJob, stepJob } from './jobs.ts';
import { bounded, countBounded, decidingOf, type Filter, nextPortion, type PortionSize } from './portions.ts';
import type { Draining } from './redrive.ts';
import { addSums, type Settlement, type Sums, settlePortion } from './settle-portion.ts';

export { EditRefused, editDeadLetter } from './edit-dead-letter.ts';
export type { Filter } from './portions.ts';
export { previewDiscard, previewGivingUp, previewRedrive, type Rehearsed } from './rehearse.ts';
export type { Settlement, Sums } from './settle-portion.ts';

export async function countMatching(db: Db, filter: Filter): Promise<{ deadLetters: number; users: number }> {
  return await countBounded(db, await bounded(db, filter));
}

type Deciding = { filter: Filter; who: string; reason?: string | undefined };

/** A job that redrives what matches now. `force`: even where a user has since seen a newer event. Run it with `runSettling`. */
export async function startRedrive(
  db: Db,
  { filter, force = false, who, reason }: Deciding & { force?: boolean },
): Promise<Job> {
  return await start(db, 'redrive', { filter, who, reason }, force ? { force } : {});
}
/** A job that gives up what matches now. Run it with `runSettling`. */
export async function startDiscard(db: Db, deciding: Deciding & { reason: string }): Promise<Job> {
  return await start(db, 'discard', deciding, {});
}
/** A job that gives up what waits now. Run it with `runSettling`. */
export async function startGivingUp(
  db: Db,
  { filter, who, reason }: { filter: WaitingFilter; who: string; reason: string },
): Promise<Job> {
  const { events: total } = await countWaiting(db, filter);
  return await startJob(db, { kind: 'discard', scope: { ...filter, waiting: true }, options: { reason }, total, who });
}
async function start(
  db: Db,
  kind: 'redrive' | 'discard',
  { filter, who, reason }: Deciding,
  options: object,
): Promise<Job> {
  const scope = await bounded(db, filter);
  const { deadLetters: total } = await countBounded(db, scope);
  return await startJob(db, { kind, scope, options: { ...options, ...(reason ? { reason } : {}) }, total, who });
}

export type Watching = {
  /** After each step. */
  step?(job: Job): void;
  tell?(each: Settlement): void;
  /** Stops after the step in hand; the job goes on when it is run again. */
  signal?: AbortSignal | undefined;
};

/** Goes through a job from its cursor. Its state is `running` still where `signal` stopped it. Throws JobTaken. */
export async function runSettling(
  draining: Draining & { db: Db },
  job: Job,
  { step, tell, signal }: Watching = {},
): Promise<{ job: Job } & Sums> {
  const sums: Sums = { outcomes: {}, others: {} };
  const deciding = decidingOf(job);
  let now = job;
  while (!signal?.aborted) {
    const portion = await nextPortion(draining.db, deciding, now.cursor, PORTION);
    // Of an earlier, interrupted run nobody has the sums: then the job's numbers stand alone.
    if (portion === undefined) return { job: await endJob(draining.db, now, job.cursor === '' ? sums : {}), ...sums };
    const { settlements, sums: more } = await settlePortion(draining, deciding, portion, { atOnce: DRAINS_AT_ONCE });
    addSums(sums, more);
    for (const each of settlements) tell?.(each);
    const failed = settlements.filter(({ outcome }) => outcome === 'dead').length;
    now = await stepJob(draining.db, now, { cursor: portion.cursor, done: settlements.length, failed });
    step?.(now);
  }
  return { job: now, ...sums };
}

/** A few drains: then the job's own row is not in the way, and an interruption repeats little. */
const PORTION: PortionSize = { users: 500, alone: 100, letters: 5_000 };
/** Of its process's three connections. */
const DRAINS_AT_ONCE = 2;
