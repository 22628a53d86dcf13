// statuses.ts — what may become of a dead letter, in words. Imports nothing: the command line reads it at every start.

export const DEAD_LETTER_STATUSES = ['open', 'redriving', 'resolved', 'discarded'] as const;
export type DeadLetterStatus = (typeof DEAD_LETTER_STATUSES)[number];

/** Those that are not settled: by default it is about them. */
const OPEN = ['open', 'redriving'];

/** `all`, or one of them. */
export function statusesOf(status: string | undefined): string[] {
  return status === undefined ? OPEN : status === 'all' ? [...DEAD_LETTER_STATUSES] : [status];
}
