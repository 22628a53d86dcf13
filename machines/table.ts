// table.ts — an XState definition compiled to a table of branches, stepped without building an actor.
//
// Why: `transition()` builds a throw-away actor per event, 9.3 µs; this table takes 0.03–0.06 µs (XState and its garbage
// were a third of the service's time in Node). Equal to `transition()`: property test in test/machines/table.test.ts.
//
// Takes flat states with guards and `assign` actions named in setup(); refuses anything else when it is compiled, so a
// definition that needs more than that fails at start, not at the first event.

/** One row of the picture: `id` is `source|event|index`, `target` the state it leads to (undefined: stays). */
export type Branch = {
  id: string;
  source: string;
  event: string;
  index: number;
  guard: string | undefined;
  target: string | undefined;
  actions: readonly string[];
};

export type Step<State, Context> = {
  /** The branch taken. */
  transition: string;
  state: State;
  /** What the branch writes into the context; undefined: nothing. */
  assigned: Partial<Context> | undefined;
  /** False where the branch has neither target nor actions: the event is `skipped`. */
  changes: boolean;
};

type Guard = (args: { context: unknown; event: unknown }, params: undefined) => boolean;
type Assignment = (args: { context: unknown; event: unknown }, params: undefined) => object;
type Compiled = Branch & { test: Guard | undefined; assignments: readonly Assignment[]; changes: boolean };

export type Table<State extends string, Context, Event extends { type: string }> = {
  id: string;
  initial: State;
  finals: readonly State[];
  branches: readonly Branch[];
  /** The event on a user in `state`; undefined: the machine has no branch for it. Throws what a guard or action throws. */
  step(state: State, context: Context, event: Event): Step<State, Context> | undefined;
};

/** The parts of XState 5's machine that are read here; `test/machines/table.test.ts` fails when they change. */
type Definition = {
  id: string;
  implementations: { guards: Record<string, unknown>; actions: Record<string, unknown> };
  root: StateNode & {
    initial: { target: readonly { key: string }[]; actions: readonly unknown[] };
    states: Record<string, StateNode>;
  };
};
type StateNode = {
  key: string;
  type: string;
  after: readonly unknown[];
  entry: readonly unknown[];
  exit: readonly unknown[];
  invoke: readonly unknown[];
  always?: readonly unknown[] | undefined;
  transitions: ReadonlyMap<string, readonly Definitions[]>;
};
type Definitions = {
  target: readonly { key: string }[] | undefined;
  guard: unknown;
  actions: readonly unknown[];
  reenter: boolean;
};

/** Compiles `machine` (what `setup().createMachine()` returns). Throws an Error that names the part it can not take. */
export function compile<State extends string, Context, Event extends { type: string }>(
  machine: unknown,
): Table<State, Context, Event> {
  const { id, implementations, root } = machine as Definition;
  if (root.type !== 'compound') refuse(id, `a root of type ${root.type}`);
  refuseParts(id, root, 'on the root');
  if (root.transitions.size > 0) refuse(id, 'transitions on the root');
  if (root.initial.actions.length > 0) refuse(id, 'actions of the initial state');
  const byState = new Map<string, Map<string, Compiled[]>>();
  for (const node of Object.values(root.states)) {
    if (node.type !== 'atomic' && node.type !== 'final') refuse(id, `state "${node.key}" of type ${node.type}`);
    refuseParts(id, node, `in state "${node.key}"`);
    const byEvent = new Map<string, Compiled[]>();
    for (const [event, definitions] of node.transitions) {
      if (event === '' || event.includes('*') || event.startsWith('xstate.'))
        refuse(id, `event "${event}" in state "${node.key}"`);
      byEvent.set(
        event,
        definitions.map((definition, index) => {
          const [target] = definition.target ?? [];
          if (target !== undefined && root.states[target.key] !== target)
            refuse(id, `target "${target.key}", which is no state, in "${node.key}" on ${event}`);
          return compileBranch(id, implementations, node.key, event, index, definition);
        }),
      );
    }
    byState.set(node.key, byEvent);
  }

  return {
    id,
    initial: root.initial.target[0]?.key as State,
    finals: Object.values(root.states)
      .filter((node) => node.type === 'final')
      .map((node) => node.key as State),
    branches: [...byState.values()].flatMap((byEvent) => [...byEvent.values()].flat()),
    step(state, context, event) {
      const branches = byState.get(state)?.get(event.type);
      if (branches === undefined) return undefined;
      for (const branch of branches) {
        if (branch.test !== undefined && !branch.test({ context, event }, undefined)) continue;
        let assigned: Partial<Context> | undefined;
        for (const assignment of branch.assignments) {
          const before = assigned === undefined ? context : { ...context, ...assigned };
          assigned = { ...assigned, ...(assignment({ context: before, event }, undefined) as Partial<Context>) };
        }
        return { transition: branch.id, state: (branch.target ?? state) as State, assigned, changes: branch.changes };
      }
      return undefined;
    },
  };
}

function refuseParts(machine: string, node: StateNode, where: string): void {
  // `after` first: XState turns it into an entry and an exit action.
  for (const part of ['after', 'entry', 'exit', 'invoke', 'always'] as const)
    if ((node[part]?.length ?? 0) > 0) refuse(machine, `"${part}" ${where}`);
}

function compileBranch(
  machine: string,
  implementations: Definition['implementations'],
  source: string,
  event: string,
  index: number,
  definition: Definitions,
): Compiled {
  const where = `"${source}" on ${event}, branch ${index}`;
  const { guard, target, actions } = definition;
  if (guard !== undefined && typeof guard !== 'string')
    refuse(machine, `a guard that is unnamed, combined or has params in ${where}`);
  if (target !== undefined && target.length !== 1) refuse(machine, `several targets in ${where}`);
  const names = actions.map((action) =>
    typeof action === 'string' ? action : refuse(machine, `an action that is unnamed or has params in ${where}`),
  );
  return {
    id: `${source}|${event}|${index}`,
    source,
    event,
    index,
    guard: guard as string | undefined,
    target: target?.[0]?.key,
    actions: names,
    test: guard === undefined ? undefined : guardOf(machine, implementations.guards[guard as string], guard as string),
    assignments: names.map((name) => assignmentOf(machine, implementations.actions[name], name)),
    changes: target !== undefined || names.length > 0,
  };
}

function guardOf(machine: string, guard: unknown, name: string): Guard {
  if (typeof guard !== 'function' || 'check' in guard) refuse(machine, `guard "${name}", which is no plain function`);
  return guard as Guard;
}

function assignmentOf(machine: string, action: unknown, name: string): Assignment {
  const assignment = (action as { type?: string; assignment?: unknown } | undefined)?.assignment;
  if ((action as { type?: string } | undefined)?.type !== 'xstate.assign' || typeof assignment !== 'function')
    refuse(machine, `action "${name}", which is no assign() of a function`);
  return assignment as Assignment;
}

function refuse(machine: string, part: string): never {
  throw new Error(
    `Machine "${machine}" can not be compiled to a table: it has ${part}. ` +
      'Only flat states with named guards and named assign() actions are taken (machines/README.md).',
  );
}
