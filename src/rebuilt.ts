// rebuilt.ts — what becomes of one user's row when it is made again from its history, and the sums over many. Pure.
//
// Owns:          the comparison of what is folded with what is saved. Does not own: the fold (fold.ts), reading and writing (rebuild.ts,
//                rebuild-all.ts).
//
// F1  A user whose history this machine can not take whole keeps its row as it is, and is told.
// F2  So does one whose row a newer machine wrote: an older release knows neither its states nor what its migrations did. Taking such
//     rows down is a choice of its own.
import type { Machine } from '../machines/index.ts';
import { differencesOfRow, fold, type Step } from './fold.ts';
import type { UserHistory } from './history.ts';
import { type UserRow, upToDate } from './put.ts';

/** What becomes of one user's row. `rev` of `row` is what is written. */
export type Rebuilt =
  | { what: 'same'; row: UserRow }
  | { what: 'changed'; row: UserRow; saved: UserRow; fields: string[] }
  /** It has a history and no row. */
  | { what: 'made'; row: UserRow }
  /** It has a row and no history. */
  | { what: 'gone'; saved: UserRow }
  /** This machine does not take its history whole (F1). */
  | { what: 'refused'; saved: UserRow | undefined }
  /** A newer machine wrote its row (F2). */
  | { what: 'newer'; saved: UserRow };

/** `takesNewer`: also what a newer machine wrote. */
export function rebuilt(
  { userId, steps, saved, queued }: UserHistory,
  machine: Machine,
  { takesNewer = false } = {},
): Rebuilt {
  if (!takesNewer && saved !== undefined && saved.machineVersion > machine.version) return { what: 'newer', saved };
  if (steps.length === 0 && saved !== undefined) return { what: 'gone', saved };
  const folded = foldWhole(userId, steps, machine);
  if (folded === undefined) return { what: 'refused', saved };
  if (saved === undefined) return { what: 'made', row: { ...folded, waiting: queued, rev: 1 } };
  const fields = differencesOfRow(saved, folded, machine);
  if (saved.machineVersion !== machine.version && !fields.includes('machineVersion')) fields.push('machineVersion');
  if (saved.waiting !== queued) fields.push('waiting');
  if (fields.length === 0) return { what: 'same', row: saved };
  return { what: 'changed', row: { ...folded, waiting: queued, rev: saved.rev + 1 }, saved, fields };
}

/** Undefined where a step leads to nothing: then versions would be behind the history's, and the next event could not be saved. */
function foldWhole(userId: string, steps: readonly Step[], machine: Machine): UserRow | undefined {
  const row = fold(userId, steps, machine);
  if (row === undefined || row.version !== steps.at(-1)?.version) return undefined;
  try {
    return upToDate(row, machine);
  } catch {
    return undefined;
  }
}

/** `fields`: how many rows differ in each. `examples`: up to 5 ids of each field, and of those `made`, `gone`, `refused` and
 *  `newer`. */
export type Sums = {
  looked: number;
  changed: number;
  made: number;
  gone: number;
  refused: number;
  newer: number;
  fields: Record<string, number>;
  examples: Record<string, string[]>;
};

const EXAMPLES = 5;

export function noSums(): Sums {
  return { looked: 0, changed: 0, made: 0, gone: 0, refused: 0, newer: 0, fields: {}, examples: {} };
}
export function addTo(sums: Sums, userId: string, result: Rebuilt): void {
  sums.looked++;
  if (result.what === 'same') return;
  sums[result.what]++;
  const fields = result.what === 'changed' ? result.fields : [];
  for (const field of fields) sums.fields[field] = (sums.fields[field] ?? 0) + 1;
  for (const name of result.what === 'changed' ? fields : [result.what]) example(sums, name, userId);
}
function example({ examples }: Sums, name: string, userId: string): void {
  examples[name] ??= [];
  if (examples[name].length < EXAMPLES) examples[name].push(userId);
}
