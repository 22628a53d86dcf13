// timeline.ts — what happened to a user and what has not happened yet, in one row of time. Pure.
import type { DeadLetterItem, HistoryItem, WaitingItem } from '../../../src/api/contract.ts';

export type Entry =
  | { is: 'step'; atMs: number; type: string; outcome: string; step: HistoryItem }
  | { is: 'dead'; atMs: number; type: string; outcome: 'dead'; letter: DeadLetterItem }
  | { is: 'waiting'; atMs: number; type: string; outcome: 'waiting'; event: WaitingItem };

/** The newest first. A step lies where it was saved, a dead letter where it failed first, a waiting event where it began to wait.
 *  Steps keep the order of their numbers, whatever their times say. */
export function timelineOf(
  steps: readonly HistoryItem[],
  letters: readonly DeadLetterItem[],
  events: readonly WaitingItem[],
): Entry[] {
  const done = [...steps]
    .sort((a, b) => (b.version ?? 0) - (a.version ?? 0))
    .map(
      (step): Entry => ({
        is: 'step',
        atMs: Date.parse(step.recordedAt),
        type: step.type,
        outcome: step.outcome,
        step,
      }),
    );
  const open = [
    ...letters.map(
      (letter): Entry => ({
        is: 'dead',
        atMs: Date.parse(letter.firstFailedAt),
        type: letter.type ?? 'unknown',
        outcome: 'dead',
        letter,
      }),
    ),
    ...events.map(
      (event): Entry => ({ is: 'waiting', atMs: Date.parse(event.since), type: event.type, outcome: 'waiting', event }),
    ),
  ]
    // What came at the same time: the last first, too.
    .reverse()
    .sort((a, b) => b.atMs - a.atMs);
  const all: Entry[] = [];
  for (const entry of done) {
    while (open[0] !== undefined && open[0].atMs >= entry.atMs) all.push(open.shift() as Entry);
    all.push(entry);
  }
  return [...all, ...open];
}

/** The entries that fit what the reader narrowed it by. */
export function narrowed(
  entries: readonly Entry[],
  { outcome, type }: { outcome?: string | undefined; type?: string | undefined },
): Entry[] {
  return entries.filter(
    (entry) => (outcome === undefined || entry.outcome === outcome) && (type === undefined || entry.type === type),
  );
}
