// tallies.ts — what a batch adds to the running totals in its position row. Pure; the fence statement merges them.
//
// Keys (flat, so that SQL can add them):  records · unkeyed · event|<type>|<outcome> · transition|<id> · state|<state>
// · dead|<code> · drift|<type>. They are stocks: a drain takes one from `event|…|waiting` and adds one elsewhere.
// Only the sum over all rows means something. Nobody ever counts 10 million rows; a test compares with count(*).
import type { State } from '../machines/index.ts';
import type { Result } from './run.ts';

export type Tallies = Record<string, number>;

export function tally(ran: { results: readonly Result[]; records: number; unkeyed: number }): Tallies {
  const tallies: Tallies = {};
  if (ran.records > 0) tallies.records = ran.records;
  if (ran.unkeyed > 0) tallies.unkeyed = ran.unkeyed;
  for (const result of ran.results) tallyResult(tallies, result, 1);
  return tallies;
}

export function tallyResult(tallies: Tallies, result: Result, by: 1 | -1): void {
  add(tallies, `event|${result.event.type ?? '_OTHER'}|${result.outcome}`, by);
  if (result.outcome === 'dead') add(tallies, `dead|${result.code}`, by);
  if (result.outcome === 'dead' || result.outcome === 'waiting') return;
  if (result.migratedFrom !== null) tallyMove(tallies, result.migratedFrom, result.from as State, by);
  if (result.outcome === 'applied') {
    if (result.drift) add(tallies, `drift|${result.event.type}`, by);
    if (result.transition === null) return;
    add(tallies, `transition|${result.transition}`, by);
    if (result.from !== result.to) tallyMove(tallies, result.from as State, result.to as State, by);
  }
}

/** A user that was in one state is in another. */
export function tallyMove(tallies: Tallies, from: State, to: State, by: 1 | -1): void {
  if (from !== 'absent') add(tallies, `state|${from}`, -by);
  add(tallies, `state|${to}`, by);
}

export function add(tallies: Tallies, key: string, by: number): void {
  const sum = (tallies[key] ?? 0) + by;
  if (sum === 0) delete tallies[key];
  else tallies[key] = sum;
}
