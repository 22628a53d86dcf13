// replay.ts — what if this machine had run all along? Every history folded with it, and compared with what was recorded.
//
// Owns:          what counts as a change, the kinds, the sums. Does not own: the fold (fold.ts), reading (history.ts), the file that
//                the machine comes from (src/cli/replay.ts).
//
// W1  Nothing is written: pages are read in transactions that are read only.
// W2  All steps go to the given machine, whatever version wrote them, from the first one on.
// W3  A step of which it throws is `dead`, one that it does not take yet `waiting`; the next ones are folded as if that one had not been.
//     The service would let them wait behind it.
// W4  Kinds, ends and examples have a limit (P6); what is beyond is counted.
import type postgres from 'postgres';
import type { Machine } from '../machines/index.ts';
import type { Branch } from '../machines/table.ts';
import type { EventType } from './events.ts';
import { fold, type Refolded, type Step } from './fold.ts';
import { readHistories, type Selection, type UserHistory } from './history.ts';
import { type UserRow, upToDate } from './put.ts';

/** One step somewhere, to look at. */
export type Example = { userId: string; step: number; topic: string; partition: number; offset: string };
type Told = Pick<Refolded, 'outcome' | 'from' | 'to' | 'transition'>;
/** Steps that change alike. */
export type Kind = { type: EventType; recorded: Told; now: Told; count: number; examples: Example[] };
/** Users that end alike. `recorded`: as saved, and brought up to the given machine; `absent`: the user does not come to be. */
export type End = { recorded: string; now: string; count: number; examples: string[] };

export type Replayed = {
  users: number;
  /** Folded, or since then where that was asked for. */
  steps: number;
  /** users = same + elsewhere + otherwise + unsound */
  same: number;
  /** Another state at the end. */
  elsewhere: number;
  /** The same state, other fields. */
  otherwise: number;
  /** No row, no history, or a row that can not be brought up to the given machine: nothing to compare. */
  unsound: number;
  /** Most first. */
  ends: End[];
  /** Of those `otherwise`: how many differ in each field. */
  fields: Record<string, number>;
  /** Where a migration has led a saved user to another state than its history would. */
  migratedElsewhere: number;
  migrationFails: number;
  changed: number;
  /** Most first; `changedBeyond`: steps of further kinds. */
  kinds: Kind[];
  changedBeyond: number;
  interrupted: boolean;
};

export type ReplayOptions = {
  machine: Machine;
  /** Only steps recorded since count, and users that have such; ms since 1970. */
  sinceMs?: number | undefined;
  /** At most so many of each kind. */
  examples?: number;
  /** After each page; `read`: events, counted or not. */
  progress?: (sofar: Replayed, read: number) => void;
  /** Ends it after a page. */
  signal?: AbortSignal;
  stepsPerPage?: number;
};

/** Reads all that is selected, and folds. Throws what Postgres throws; never what the machine does. */
export async function replay(sql: postgres.Sql, selection: Selection, options: ReplayOptions): Promise<Replayed> {
  const { machine, progress = () => {}, signal, stepsPerPage } = options;
  // Without a past, all steps go to it (W2).
  const alone = { ...machine, past: {} };
  const sums = noSums();
  let read = 0;
  const pages = readHistories(sql, selection, stepsPerPage === undefined ? {} : { stepsPerPage });
  for await (const page of pages) {
    for (const user of page) {
      read += user.steps.length;
      replayUser(sums, user, alone, options);
    }
    progress(sums, read);
    if (signal?.aborted) return inOrder({ ...sums, interrupted: true });
  }
  return inOrder(sums);
}

/** Is anything that was recorded otherwise with it? */
export function hasChanged({ elsewhere, otherwise, changed, migrationFails }: Replayed): boolean {
  return elsewhere + otherwise + changed + migrationFails > 0;
}

function replayUser(
  sums: Sums,
  { userId, steps, saved }: UserHistory,
  machine: Machine,
  { sinceMs = Number.NEGATIVE_INFINITY, examples = 3 }: ReplayOptions,
): void {
  if (sinceMs > Number.NEGATIVE_INFINITY && !steps.some(({ recordedAtMs }) => recordedAtMs >= sinceMs)) return;
  sums.users++;
  const folded = fold(userId, steps, machine, (step, refolded) => {
    if (step.recordedAtMs < sinceMs) return;
    sums.steps++;
    if (!isOther(step, refolded)) return;
    sums.changed++;
    addKind(sums, userId, step, refolded, examples);
  });
  if (saved === undefined || steps.length === 0) sums.unsound++;
  else compareEnds(sums, saved, folded, machine, examples);
}

/** Another outcome; or applied by another branch, or from or to another state. A stale event, say, is the same wherever its user is. */
function isOther(step: Step, now: Refolded): boolean {
  if (step.outcome !== now.outcome) return true;
  return (
    now.outcome === 'applied' && (step.transition !== now.transition || step.to !== now.to || step.from !== now.from)
  );
}

function compareEnds(
  sums: Sums,
  saved: UserRow,
  folded: UserRow | undefined,
  machine: Machine,
  examples: number,
): void {
  let recorded: UserRow;
  try {
    recorded = upToDate(saved, machine);
  } catch {
    sums.migrationFails++;
    sums.unsound++;
    return;
  }
  const now = folded?.state ?? 'absent';
  if (recorded.state !== now) {
    sums.elsewhere++;
    if (isMigrated(saved, machine)) sums.migratedElsewhere++;
    const end = entry(sums.byEnd, `${recorded.state}|${now}`, () => ({
      recorded: recorded.state,
      now,
      count: 0,
      examples: [],
    }));
    if (end === undefined) return;
    end.count++;
    if (end.examples.length < examples) end.examples.push(saved.userId);
    return;
  }
  const fields = Object.keys(machine.nobody).filter(
    (field) => recorded[field as keyof UserRow] !== folded?.[field as keyof UserRow],
  );
  if (fields.length === 0) sums.same++;
  else sums.otherwise++;
  for (const field of fields) sums.fields[field] = (sums.fields[field] ?? 0) + 1;
}

function isMigrated({ machineVersion }: UserRow, { version, migrations }: Machine): boolean {
  return Object.keys(migrations).some((from) => Number(from) >= machineVersion && Number(from) < version);
}

function addKind(sums: Sums, userId: string, step: Step, refolded: Refolded, examples: number): void {
  const { type, version, topic, partition, offset } = step;
  const { outcome, from, to, transition } = refolded;
  const key = `${type} ${step.outcome} ${step.from} ${step.to} ${step.transition} ${outcome} ${from} ${to} ${transition}`;
  const kind = entry(sums.byKind, key, () => ({
    type,
    recorded: { outcome: step.outcome, from: step.from, to: step.to, transition: step.transition },
    now: { outcome, from, to, transition },
    count: 0,
    examples: [],
  }));
  if (kind === undefined) {
    sums.changedBeyond++;
    return;
  }
  kind.count++;
  if (kind.examples.length < examples) kind.examples.push({ userId, step: version, topic, partition, offset });
}

type Sums = Replayed & { byKind: Map<string, Kind>; byEnd: Map<string, End> };

function noSums(): Sums {
  return {
    ...{ users: 0, steps: 0, same: 0, elsewhere: 0, otherwise: 0, unsound: 0, ends: [], fields: {} },
    ...{ migratedElsewhere: 0, migrationFails: 0, changed: 0, kinds: [], changedBeyond: 0, interrupted: false },
    ...{ byKind: new Map(), byEnd: new Map() },
  };
}

function inOrder({ byKind, byEnd, ...sums }: Sums): Replayed {
  const most = (a: { count: number }, b: { count: number }) => b.count - a.count;
  return { ...sums, kinds: [...byKind.values()].sort(most), ends: [...byEnd.values()].sort(most) };
}

/** A machine has some dozen branches; one that changes everything has as many kinds as there are pairs of them. */
const MOST_ENTRIES = 1_000;

function entry<V>(entries: Map<string, V>, key: string, make: () => V): V | undefined {
  const known = entries.get(key);
  if (known !== undefined || entries.size >= MOST_ENTRIES) return known;
  const made = make();
  entries.set(key, made);
  return made;
}

/** What differs between two definitions. Of branches the ids, `changed`: those of the same id that lead elsewhere, ask another guard or do
 *  something else. */
export type Redefined = {
  states: { added: string[]; removed: string[] };
  branches: { added: string[]; removed: string[]; changed: { id: string; before: string; now: string }[] };
};

export function redefined(before: Machine, now: Machine): Redefined {
  const [mine, theirs] = [before, now].map(
    ({ table }) => new Map(table.branches.map((each) => [each.id, inWords(each)])),
  );
  const among = (ids: Iterable<string>, other: ReadonlyMap<string, string> | undefined) =>
    [...ids].filter((id) => !other?.has(id));
  return {
    states: {
      added: now.states.filter((state) => !before.states.includes(state)),
      removed: before.states.filter((state) => !now.states.includes(state)),
    },
    branches: {
      added: among(theirs?.keys() ?? [], mine),
      removed: among(mine?.keys() ?? [], theirs),
      changed: [...(theirs ?? [])].flatMap(([id, words]) => {
        const old = mine?.get(id);
        return old === undefined || old === words ? [] : [{ id, before: old, now: words }];
      }),
    },
  };
}

/** "[sameRole] suspended / changeRole", "stays" */
function inWords({ guard, target, actions }: Branch): string {
  return [
    ...(guard === undefined ? [] : [`[${guard}]`]),
    target ?? 'stays',
    ...(actions.length === 0 ? [] : ['/', actions.join(', ')]),
  ].join(' ');
}
