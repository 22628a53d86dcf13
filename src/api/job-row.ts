// job-row.ts — a job as the API shows it: with how fast it gets on, where it runs in this process.
import type { Job } from '../jobs.ts';
import type { JobRow } from './contract.ts';

/** A job that this process runs. `doneBefore`: its `done` when this process began with it, or went on with it. */
export type JobHere = { id: number; sinceMs: number; doneBefore: number };

/** `here`: undefined, where this process does not run it. */
export function jobRow(job: Omit<Job, 'cursor'>, here: JobHere | undefined, nowMs: number): JobRow {
  const seconds = here === undefined || job.state !== 'running' ? 0 : (nowMs - here.sinceMs) / 1_000;
  const rate = here === undefined || seconds < 1 ? null : (job.done - here.doneBefore) / seconds;
  const left = job.total === null ? null : Math.max(0, job.total - job.done);
  return {
    ...{ id: job.id, kind: job.kind, scope: job.scope, options: job.options, state: job.state },
    ...{ total: job.total, done: job.done, failed: job.failed, startedBy: job.startedBy },
    rate: rate === null ? null : Math.round(rate * 10) / 10,
    secondsLeft: rate === null || rate <= 0 || left === null ? null : Math.ceil(left / rate),
    startedAt: iso(job.startedAt),
    updatedAt: iso(job.updatedAt),
    endedAt: job.endedAt === null ? null : iso(job.endedAt),
  };
}

function iso(time: string): string {
  return new Date(time).toISOString();
}
