// picture.ts — a machine as data and as a diagram: states, transitions with their stable ids, one edge per pair of states.
//
// Walks the compiled table, so it shows exactly what is stepped. Ids are `source|event|index of the branch`, as in history
// rows: counts by id can be drawn on it. Imports nothing but its neighbours.
import { HASH, user, VERSION } from './index.ts';
import type { Branch } from './table.ts';

export type Picture = {
  id: string;
  version: number;
  hash: string;
  states: { id: string; kind: 'initial' | 'normal' | 'final' }[];
  /** `target`: null where the user stays. `changes`: false where the event is `skipped`. */
  transitions: {
    id: string;
    source: string;
    event: string;
    guard: string | null;
    target: string | null;
    actions: string[];
    changes: boolean;
    label: string;
  }[];
  /** What is drawn: one edge per source and target, its lines in the order in which the branches are tried. */
  edges: { source: string; target: string; transitions: string[] }[];
};

export type Pictured = { id: string; initial: string; finals: readonly string[]; branches: readonly Branch[] };

export function picture(
  { id, initial, finals, branches }: Pictured = user,
  { version, hash } = { version: VERSION, hash: HASH },
): Picture {
  const named = new Set([initial, ...branches.flatMap(({ source, target }) => [source, target ?? source])]);
  const states = [...[...named].filter((state) => !finals.includes(state)), ...finals];
  const edges = new Map<string, Picture['edges'][number]>();
  for (const { id, source, target = source } of branches) {
    const edge = edges.get(`${source}|${target}`) ?? { source, target, transitions: [] };
    edge.transitions.push(id);
    edges.set(`${source}|${target}`, edge);
  }
  return {
    id,
    version,
    hash,
    states: states.map((id) => ({
      id,
      kind: finals.includes(id) ? 'final' : id === initial ? 'initial' : 'normal',
    })),
    transitions: branches.map((branch) => ({
      id: branch.id,
      source: branch.source,
      event: branch.event,
      guard: branch.guard ?? null,
      target: branch.target ?? null,
      actions: [...branch.actions],
      changes: changes(branch),
      label: labelOf(branch),
    })),
    edges: [...edges.values()],
  };
}

/** Mermaid's stateDiagram-v2. Parallel edges overlap there (mermaid#6132), so each pair of states has one, with a line for
 *  each transition. Ends with a newline. */
export function toMermaid(drawn: Picture = picture()): string {
  const labels = new Map(drawn.transitions.map(({ id, label }) => [id, label]));
  const initial = drawn.states.filter(({ kind }) => kind === 'initial');
  const finals = drawn.states.filter(({ kind }) => kind === 'final');
  return [
    'stateDiagram-v2',
    ...initial.map(({ id }) => `  [*] --> ${id}`),
    ...drawn.edges.map(
      ({ source, target, transitions }) =>
        `  ${source} --> ${target} : ${transitions.map((id) => labels.get(id)).join('<br/>')}`,
    ),
    ...finals.map(({ id }) => `  ${id} --> [*]`),
    '',
  ].join('\n');
}

/** "USER_ROLE_CHANGED [sameRole] skipped", "USER_CREATED [customerKnown] / create" */
function labelOf(branch: Branch): string {
  const guard = branch.guard ?? (branch.index > 0 ? 'else' : undefined);
  const actions = branch.actions.length > 0 ? ` / ${branch.actions.join(', ')}` : '';
  return `${branch.event}${guard === undefined ? '' : ` [${guard}]`}${actions}${changes(branch) ? '' : ' skipped'}`;
}

function changes({ target, actions }: Branch): boolean {
  return target !== undefined || actions.length > 0;
}
