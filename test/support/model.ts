// model.ts — every interleaving of a few batches and drains over one user, between any two of their statements.
//
// Real: run, put, nextInOrder, the memory of users. Made here: the statements and locks of Postgres under READ COMMITTED,
// in the order in which load.ts, save.ts and redrive.ts send them. One step is one statement (or a transaction's last,
// with its COMMIT); whoever can take a step may be next. States that were seen are not walked again, so all schedules are
// covered, and counted, without walking each.
//
//   batch   read the user · read its queue, customers, holds · save (by rev) ─ conflict ─▶ lock the row · read · save
//   drain   ask who may go · lock the row · read holds · read the queue · put, move, commit ─ something went ─▶ again
//   operator  one transaction, then a wake
import { Conflict } from '../../src/errors.ts';
import type { Event } from '../../src/events.ts';
import type { UserRow } from '../../src/put.ts';
import { route } from '../../src/route.ts';
import { type Ran, run, type UserView } from '../../src/run.ts';
import { createUserMemory } from '../../src/users.ts';
import { USER } from './events.ts';
import {
  coordinatesOf,
  copyOf,
  countQueue,
  drain,
  emptyTables,
  type Item,
  isHeld,
  move,
  putInOrder,
  readQueue,
  save,
  type Tables,
} from './store.ts';

export type Scenario = {
  /** What is there before. */
  tables?: Tables;
  /** Per partition its batches, in order. Each partition belongs to a process of its own, with its own drain. */
  partitions: readonly (readonly (readonly Event[])[])[];
  /** An operator's transaction, made at any time; the first process is woken by it. */
  operator?: (tables: Tables) => void;
};

/** What may be left out, to see that the model notices (negative controls); and what may be either way. */
export type Rules = {
  /** An event of a user with any waiting waits too. */
  gate: boolean;
  /** Waiting rows are counted; else `users.waiting` is believed. */
  countRows: boolean;
  /** Rows are written by rev, new ones unless they exist. */
  revs: boolean;
  /** A save that put an event to wait starts a drain. */
  drainAfterWaiting: boolean;
  /** The last events are remembered. */
  ring: boolean;
  /** Rows are remembered between batches (users.ts). */
  memory: boolean;
  /** The two reads of a first try go through a pool: either may come first. */
  queueFirst: boolean;
};
export const RULES: Rules = {
  ...{ gate: true, countRows: true, revs: true, drainAfterWaiting: true, ring: true, memory: false, queueFirst: false },
};

export type Explored = {
  /** How many schedules there are, from the start to where nobody has anything left to do. */
  schedules: number;
  states: number;
  /** The first schedule that broke each sentence, as steps. */
  violations: Map<string, string[]>;
  /** The different last rows of the user, `rev`, ring and version aside. */
  rows: Map<string, UserRow | undefined>;
  outcomes: Set<string>;
  /** Saves that met somebody else's write. */
  conflicts: number;
};

type Queue = Omit<UserView, 'row'>;
type BatchAt = 'start' | 'second read' | 'save' | 'lock' | 'read locked' | 'save locked';
type BatchThread = {
  next: number;
  at: BatchAt;
  row: UserRow | undefined;
  queue: Queue | undefined;
  known: boolean;
  held: boolean;
  kept: UserRow | undefined;
};
type DrainAt = 'idle' | 'lock' | 'holds' | 'queue' | 'put';
type DrainThread = {
  wanted: boolean;
  at: DrainAt;
  row: UserRow | undefined;
  held: boolean;
  queued: readonly Item[];
};
type State = {
  tables: Tables;
  batches: readonly BatchThread[];
  drains: readonly DrainThread[];
  operated: boolean;
  /** Whose transaction holds the user's row. */
  lock: string | undefined;
};

export function explore(scenario: Scenario, over: Partial<Rules> = {}): Explored {
  const rules = { ...RULES, ...over };
  const explored: Explored = {
    ...{ schedules: 0, states: 0, violations: new Map(), rows: new Map(), outcomes: new Set(), conflicts: 0 },
  };
  const seen = new Map<string, number>();
  const path: string[] = [];
  const texts = new Map<object, string>();
  explored.schedules = walk({
    tables: scenario.tables ?? emptyTables(),
    batches: scenario.partitions.map(() => newBatch(0, undefined)),
    drains: scenario.partitions.map(() => ({ wanted: false, at: 'idle', row: undefined, held: false, queued: [] })),
    operated: scenario.operator === undefined,
    lock: undefined,
  });
  explored.states = seen.size;
  return explored;

  function walk(state: State): number {
    const key = keyOf(state);
    const known = seen.get(key);
    if (known !== undefined) return known;
    seen.set(key, Number.NaN);
    let schedules = 0;
    for (const [name, step] of steps(state)) {
      path.push(name);
      const next = attempt(step);
      if (next !== undefined) schedules += walk(next);
      path.pop();
    }
    if (schedules === 0) {
      schedules = 1;
      judge(state);
    }
    if (Number.isNaN(schedules)) throw new Error(`the model goes round in circles: ${path.join(' · ')}`);
    seen.set(key, schedules);
    return schedules;
  }

  function attempt(step: () => State): State | undefined {
    try {
      return step();
    } catch (error) {
      violate((error as Error).message.replace(/.*@\d+ /, 'an event '));
      return undefined;
    }
  }
  function violate(sentence: string): void {
    if (!explored.violations.has(sentence)) explored.violations.set(sentence, [...path]);
  }

  // Who may be next

  function* steps(state: State): Generator<[string, () => State]> {
    for (const [i, batch] of state.batches.entries()) {
      const events = scenario.partitions[i]?.[batch.next];
      if (events === undefined || isBlocked(state, `p${i}`, batch.at, batch.row)) continue;
      yield [`p${i} ${batch.at}`, () => stepBatch(state, i, batch, events)];
    }
    for (const [i, each] of state.drains.entries()) {
      if (each.at === 'idle' && !each.wanted) continue;
      if (isBlocked(state, `d${i}`, each.at, each.row)) continue;
      yield [`d${i} ${each.at === 'idle' ? 'ask' : each.at}`, () => stepDrain(state, i, each)];
    }
    if (!state.operated)
      yield [
        'operator',
        () => {
          const tables = copyOf(state.tables);
          scenario.operator?.(tables);
          return { ...state, tables, operated: true, drains: with_(state.drains, 0, { wanted: true }) };
        },
      ];
  }

  /** A statement that would take somebody's lock waits for the end of that transaction. */
  function isBlocked(state: State, who: string, at: BatchAt | DrainAt, row: UserRow | undefined): boolean {
    const rowIsLocked = state.lock !== undefined && state.lock !== who;
    if (at === 'lock') return rowIsLocked;
    // An update of the user's row; an insert of a new one finds it when it is committed.
    if (at === 'save') return rowIsLocked && row !== undefined;
    return false;
  }

  // A batch

  function stepBatch(state: State, i: number, batch: BatchThread, events: readonly Event[]): State {
    const become = (over: Partial<BatchThread>, rest: Partial<State> = {}): State => ({
      ...state,
      batches: with_(state.batches, i, over),
      ...rest,
    });
    const rowNow = () => readRow(state.tables);
    const othersNow = () => ({
      queue: readCounts(state.tables),
      known: state.tables.customers.size > 0,
      held: state.tables.holds.users.has(USER),
    });
    switch (batch.at) {
      case 'start':
        if (rules.memory && batch.kept !== undefined) {
          const { known, held } = othersNow();
          return become({ at: 'save', row: batch.kept, queue: NOTHING, known, held });
        }
        return become(rules.queueFirst ? { at: 'second read', ...othersNow() } : { at: 'second read', row: rowNow() });
      case 'second read':
        return become(rules.queueFirst ? { at: 'save', row: rowNow() } : { at: 'save', ...othersNow() });
      case 'lock': {
        const row = rowNow();
        return become({ at: 'read locked', row }, { lock: row === undefined ? state.lock : `p${i}` });
      }
      case 'read locked':
        return become({ at: 'save locked', ...othersNow() });
      default: {
        const tables = copyOf(state.tables);
        const lock = state.lock === `p${i}` ? undefined : state.lock;
        try {
          const ran = saveBatch(tables, batch, events);
          const drains = isWoken(ran) ? with_(state.drains, i, { wanted: true }) : state.drains;
          const row = ran.users[0]?.row;
          const kept = row === undefined ? batch.kept : keep(row, events[0]?.source as string);
          return { ...state, tables, lock, drains, batches: state.batches.with(i, newBatch(batch.next + 1, kept)) };
        } catch (error) {
          if (!(error instanceof Conflict)) throw error;
          explored.conflicts++;
          const again = newBatch(batch.next, undefined);
          return become({ ...again, at: batch.at === 'save' ? 'lock' : 'start' }, { lock });
        }
      }
    }
  }

  function saveBatch(tables: Tables, batch: BatchThread, events: readonly Event[]): Ran {
    const queue = batch.queue as Queue;
    const waiting = rules.countRows ? queue.waiting : (batch.row?.waiting ?? queue.waiting);
    const view = { row: batch.row, ...(rules.gate ? { ...queue, waiting } : NOTHING) };
    const ran = run(
      route(events),
      {
        users: new Map([[USER, view]]),
        customers: tables.customers,
        known: new Set(batch.known ? ['c1'] : []),
        holds: { users: new Set(batch.held ? [USER] : []), customers: new Set() },
      },
      { waitingPerUser: 10_000 },
    );
    save(tables, ran, undefined, rules);
    for (const { outcome } of ran.results) explored.outcomes.add(outcome);
    return ran;
  }

  /** wake.ts, afterSave. A drain asks before it starts, so that nobody needs to be woken for whom nothing waits. */
  function isWoken(ran: Ran): boolean {
    const isNew = ({ readRev }: { readRev: number | null }) => readRev === null;
    if (ran.users.some(isNew) || ran.customers.some(isNew)) return true;
    return rules.drainAfterWaiting && ran.results.some(({ outcome }) => outcome === 'waiting');
  }

  function readRow(tables: Tables): UserRow | undefined {
    const row = tables.users.get(USER);
    return rules.ring || row === undefined ? row : { ...row, ring: '\\x' };
  }
  function readCounts(tables: Tables): Queue {
    const { waiting, blocking, creationWaits } = countQueue(tables, USER);
    return waiting === 0 ? NOTHING : { waiting, blocking, creationWaits };
  }

  // A drain

  function stepDrain(state: State, i: number, at: DrainThread): State {
    const become = (over: Partial<DrainThread>, rest: Partial<State> = {}): State => ({
      ...state,
      drains: with_(state.drains, i, over),
      ...rest,
    });
    switch (at.at) {
      case 'idle':
        return become({ wanted: false, at: mayGo(state.tables) ? 'lock' : 'idle' });
      case 'lock': {
        const row = readRow(state.tables);
        return become({ at: 'holds', row }, { lock: row === undefined ? state.lock : `d${i}` });
      }
      case 'holds':
        return become({ at: 'queue', held: isHeld(state.tables, USER, at.row) });
      case 'queue':
        return become({ at: 'put', queued: readQueue(state.tables, USER) });
      default: {
        const tables = copyOf(state.tables);
        const lock = state.lock === `d${i}` ? undefined : state.lock;
        const done = { row: undefined, held: false, queued: [] };
        try {
          const went = putInOrder(tables, at.row, at.queued, at.held);
          move(tables, USER, at.row, at.queued, went, rules);
          for (const { outcome } of went.items.values()) explored.outcomes.add(outcome);
          if (went.items.size === 0) return become({ ...done, at: 'idle' }, { tables, lock });
          const batches = with_(state.batches, i, { kept: undefined });
          return become({ ...done, at: 'lock' }, { tables, lock, batches });
        } catch (error) {
          if (!(error instanceof Conflict)) throw error;
          explored.conflicts++;
          return become({ ...done, at: 'lock' }, { lock });
        }
      }
    }
  }

  /** wake.ts, whoMayGo. */
  function mayGo({ users, waiting, customers, deadLetters }: Tables): boolean {
    if ([...deadLetters.values()].some(({ status }) => status === 'redriving')) return true;
    if (users.has(USER)) return waiting.size > 0;
    return [...waiting.values()].some(
      ({ event }) => event.type === 'USER_CREATED' && (event.customerId === null || customers.size > 0),
    );
  }

  // The end

  /** Nobody can take a step any more. */
  function judge({ tables, batches, drains, lock }: State): void {
    const row = tables.users.get(USER);
    const steps = [...tables.history.values()].filter(({ event }) => event.userId === USER);
    steps.sort((a, b) => (a.version as number) - (b.version as number));

    if (lock !== undefined || drains.some(({ at }) => at !== 'idle')) violate('somebody waits for ever');
    if (batches.some(({ next }, i) => next < (scenario.partitions[i]?.length ?? 0))) violate('a batch is never done');

    const all = scenario.partitions.flat(2).map(coordinatesOf);
    const before = [...(scenario.tables?.waiting.keys() ?? []), ...(scenario.tables?.deadLetters.keys() ?? [])];
    const dead = [...tables.deadLetters].filter(([, { status }]) => status !== 'resolved').map(([key]) => key);
    const places = [...tables.history.keys(), ...tables.waiting.keys(), ...dead].sort();
    const expected = [...all, ...before, ...(scenario.tables?.history.keys() ?? [])].sort();
    if (places.join() !== expected.join()) violate('an event is lost, or in two places');

    if (steps.some(({ version }, i) => version !== i + 1) || (row?.version ?? 0) !== steps.length)
      violate('the versions have a gap, or one twice');
    const last = new Map<string, bigint>();
    for (const { event, outcome } of steps) {
      // A creation alone may pass what waits for it; a duplicate changes nothing and waits for nobody.
      if (event.type === 'USER_CREATED' || outcome === 'duplicate') continue;
      if (event.record.offset < (last.get(event.source) ?? -1n)) violate('an event overtook one of its own source');
      last.set(event.source, event.record.offset);
    }
    const once = new Set<string>();
    for (const { event, outcome } of steps) {
      if (outcome === 'duplicate') continue;
      if (once.has(event.hash)) violate('an event was put to the machine twice');
      once.add(event.hash);
    }
    if (drain(copyOf(tables), USER).length > 0) violate('an event waits that could go');
    if (row !== undefined && row.waiting !== countQueue(tables, USER).waiting)
      violate('the user counts wrongly what waits for it');

    const { rev, ring, version, ...rest } = row ?? ({} as UserRow);
    explored.rows.set(JSON.stringify(rest), row);
  }

  /** All that decides what can happen from here. */
  function keyOf({ tables, batches, drains, operated, lock }: State): string {
    const text = (it: object | undefined) => {
      if (it === undefined) return '';
      const known = texts.get(it) ?? JSON.stringify(it);
      texts.set(it, known);
      return known;
    };
    const history = [...tables.history].map(([key, { version, outcome }]) => `${key}=${version}${outcome}`).sort();
    const dead = [...tables.deadLetters].map(([key, { status }]) => `${key}=${status}`).sort();
    return [
      text(tables.users.get(USER)),
      history.join(),
      [...tables.waiting.keys()].sort().join(),
      dead.join(),
      [...tables.customers.keys(), '|', ...tables.holds.users].join(),
      ...batches.map(
        ({ next, at, row, queue, known, held, kept }) =>
          `${next}${at}${text(row)}${text(queue)}${known}${held}${text(kept)}`,
      ),
      ...drains.map(
        ({ wanted, at, row, held, queued }) => `${wanted}${at}${text(row)}${held}${queued.map(({ key }) => key)}`,
      ),
      `${operated}${lock}`,
    ].join('\n');
  }
}

const NOTHING: Queue = { waiting: 0, blocking: 0, creationWaits: false };

function newBatch(next: number, kept: UserRow | undefined): BatchThread {
  return { next, at: 'start', row: undefined, queue: undefined, known: false, held: false, kept };
}

/** What users.ts would remember of a row that was just saved. */
function keep(row: UserRow, source: string): UserRow | undefined {
  const memory = createUserMemory(1);
  memory.keep(row, source);
  return memory.get(row.userId, source);
}

function with_<T>(list: readonly T[], i: number, over: Partial<T>): T[] {
  return list.with(i, { ...(list[i] as T), ...over });
}
