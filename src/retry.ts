// retry.ts — how long to wait before the next try. Two budgets, and nobody runs out: the partition waits, nothing is dropped.
import { classify } from './errors.ts';

/** Somebody else was faster: try again at once, 10 ms apart; after 20 tries it is treated like infrastructure. */
export const CONFLICT = { firstMs: 10, longestMs: 50, tries: 20 };
/** Postgres away or slow: 100 ms, doubling up to 5 s, for ever. */
export const INFRASTRUCTURE = { firstMs: 100, longestMs: 5_000 };

/** The wait before try number `attempt` (1, 2, …), with ±25 % jitter, so that rivals do not march in step. In ms. */
export function waitMs({ firstMs, longestMs }: { firstMs: number; longestMs: number }, attempt: number): number {
  const flat = Math.min(longestMs, firstMs * 2 ** Math.min(attempt - 1, 20));
  return flat * (0.75 + Math.random() / 2);
}

const LOCK_TIMEOUT = '55P03';

/** Again after a conflict, as often as its budget says; `orLocked`: also after a row or table that somebody held for too long. What
 *  failed has done nothing. */
export async function again<T>(act: () => Promise<T>, { orLocked = false } = {}): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await act();
    } catch (error) {
      const { class: what, code } = classify(error);
      const isPassing = what === 'conflict' || (orLocked && code === LOCK_TIMEOUT);
      if (!isPassing || failures > CONFLICT.tries) throw error;
      await sleep(waitMs(CONFLICT, failures));
    }
  }
}

/** Resolves after `ms`, or as soon as `signal` is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Far above what a batch or a drain may take with all the server's own time limits together. */
export const ATTEMPT_MS = 60_000;

/** We waited no longer: Postgres may be there. A socket that gave up has the same code, and is none of these. */
export class NoAnswer extends Error {
  override name = 'NoAnswer';
  readonly code = 'ETIMEDOUT';
}

/** `attempt`, or a NoAnswer after `ms`, classified like a connection's: a statement that the driver has forgotten settles never,
 *  and its partition would stop for good. What the attempt saves later is seen by the fence. */
export async function inTime<T>(attempt: Promise<T>, ms = ATTEMPT_MS): Promise<T> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>();
  const limit = setTimeout(() => reject(new NoAnswer('no answer')), ms);
  try {
    return await Promise.race([attempt, tooLate]);
  } finally {
    clearTimeout(limit);
  }
}
