// draining.ts — what an operator's act lets go: the drains of the users concerned, and what became of their events.
//
// Owns:          who is drained after a redrive, a discard or a release, and the words about it. Does not own: the drain.
//
// The service sweeps every 10 s and would find the same users; here the operator sees the result at once.
import type { Result } from '../run.ts';
import type { At } from './connection.ts';
import { count, plural } from './output.ts';

/** What became of the events that went, by outcome, and how many users had any. */
export type Went = { users: number; events: number; outcomes: Record<string, number> };

export async function drainUsers(at: At, batches: AsyncIterable<readonly string[]>): Promise<Went> {
  const [{ drain }, { drainingOf }] = await Promise.all([import('../redrive.ts'), import('./connection.ts')]);
  const draining = await drainingOf(at);
  const went: Went = { users: 0, events: 0, outcomes: {} };
  const users = new Set<string>();
  for await (const batch of batches)
    await drain(draining, batch, (userId, results) => {
      users.add(userId);
      add(went, results);
    });
  went.users = users.size;
  return went;
}

export async function* these(...userIds: readonly string[]): AsyncGenerator<readonly string[]> {
  yield userIds;
}

function add(went: Went, results: readonly Result[]): void {
  went.events += results.length;
  for (const { outcome } of results) went.outcomes[outcome] = (went.outcomes[outcome] ?? 0) + 1;
}

/** "3 events went: applied 2, dead 1" */
export function inWords({ events, outcomes }: Went): string {
  if (events === 0) return 'no event went';
  const parts = Object.entries(outcomes).map(([outcome, n]) => `${outcome} ${count(n)}`);
  return `${plural(events, 'event')} went: ${parts.join(', ')}`;
}
