// fold.ts — a user's history, folded: the row that its events lead to, and where that differs from what was saved. Pure (P3).
//
// Owns:          the order of steps and the comparison. Does not own: what an event does (put.ts), reading (history.ts).
//
// F1  Every step is put to the machine again: outcome, transition, states, drift and facts are decided anew, not believed.
// F2  A step is put to the machine of the version that wrote it, where that is kept (machines/migrations.ts, PAST); else to the
//     given one. Only what the same version wrote can be compared step by step; the row always can.
import type { Machine } from '../machines/index.ts';
import type { UserEvent } from './events.ts';
import { type Facts, put, type UserRow, upToDate } from './put.ts';

/** One row of a user's history, as far as the fold needs it. */
export type Step = {
  version: number;
  type: UserEvent['type'];
  outcome: string;
  from: string | null;
  to: string | null;
  transition: string | null;
  drift: boolean;
  payload: UserEvent['payload'];
  facts: Facts;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  /** ms since 1970 */
  occurredAtMs: number;
  recordedAtMs: number;
  machineVersion: number;
};

/** What the fold makes of a step. `waiting`: the machine does not take it yet, as a creation that it refuses. `dead`: it throws. */
export type Refolded = {
  outcome: string;
  version: number | null;
  from: string | null;
  to: string | null;
  transition: string | null;
  drift: boolean;
  facts: Facts | undefined;
};

/** The row after all steps (undefined: the user does not exist), each step's result told to `told`. Never throws. */
export function fold(
  userId: string,
  steps: readonly Step[],
  machine: Machine,
  told?: (step: Step, refolded: Refolded, wroteIt: boolean) => void,
): UserRow | undefined {
  let row: UserRow | undefined;
  for (const step of steps) {
    const chosen = machineOfStep(machine, step, row);
    const refolded = refold(userId, row, step, chosen);
    row = refolded.row;
    told?.(step, refolded, chosen.version === step.machineVersion);
  }
  return row;
}

function machineOfStep(machine: Machine, step: Step, row: UserRow | undefined): Machine {
  if (step.machineVersion === machine.version) return machine;
  const past = machine.past[step.machineVersion];
  return past === undefined || (row !== undefined && row.machineVersion > past.version) ? machine : past;
}

function refold(
  userId: string,
  row: UserRow | undefined,
  step: Step,
  machine: Machine,
): Refolded & { row: UserRow | undefined } {
  const { facts } = step;
  const nothing = {
    version: null,
    from: row?.state ?? 'absent',
    to: null,
    transition: null,
    drift: false,
    facts: undefined,
  };
  try {
    const forced = facts.forced === true;
    const result = put(row, eventOf(userId, step), facts.customerKnown === true, { forced, machine });
    if ('reason' in result) return { ...nothing, outcome: 'waiting', row };
    return { ...result.settled, row: result.row };
  } catch {
    return { ...nothing, outcome: 'dead', row };
  }
}

function eventOf(userId: string, step: Step): UserEvent {
  const { topic, partition, generation, facts, occurredAtMs } = step;
  return {
    type: step.type,
    payload: step.payload,
    userId,
    customerId: (step.payload as { customerAccountId?: string }).customerAccountId ?? null,
    source: generation === 0 ? `${topic}/${partition}` : `${topic}/${partition}#${generation}`,
    hash: facts.hash,
    occurredAtMs,
    atMs: facts.atMs ?? occurredAtMs,
    record: { offset: BigInt(step.offset) },
  } as UserEvent;
}

/** What differs between what was saved of a step and what it leads to: the names of the fields. */
export function differencesOfStep(step: Step, refolded: Refolded): string[] {
  const differences: string[] = [];
  for (const field of ['outcome', 'version', 'from', 'to', 'transition', 'drift'] as const)
    if (step[field] !== refolded[field]) differences.push(field);
  if (refolded.facts !== undefined && !sameFacts(step.facts, refolded.facts)) differences.push('facts');
  return differences;
}
function sameFacts(a: Facts, b: Facts): boolean {
  return (
    a.hash === b.hash &&
    a.atMs === b.atMs &&
    a.customerKnown === b.customerKnown &&
    a.roleIsNewer === b.roleIsNewer &&
    a.statusIsNewer === b.statusIsNewer &&
    a.forced === b.forced
  );
}

/** What stands in a row beside its fold: raised by every write, counted from other tables. */
const BESIDE: ReadonlySet<string> = new Set(['rev', 'waiting']);
const TIMES: ReadonlySet<string> = new Set(['createdAt', 'deletedAt']);

/** The names of the fields in which a saved row is not what its history leads to, both as `machine` knows them; `machineVersion`
 *  alone where the row can not be brought up to it. */
export function differencesOfRow(saved: UserRow, folded: UserRow, machine: Machine): string[] {
  let mine: UserRow;
  let theirs: UserRow;
  try {
    mine = upToDate(folded, machine);
    theirs = upToDate(saved, machine);
  } catch {
    return ['machineVersion'];
  }
  const differences: string[] = [];
  for (const field of Object.keys(theirs) as (keyof UserRow)[]) {
    if (BESIDE.has(field)) continue;
    const [a, b] = [mine[field], theirs[field]];
    if (a === b) continue;
    if (TIMES.has(field) && a !== null && b !== null && Date.parse(String(a)) === Date.parse(String(b))) continue;
    differences.push(field);
  }
  return differences;
}
