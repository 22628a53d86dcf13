// flows.ts — how many users come and go, from what the transitions say. Pure; per second.
import type { MachineView } from '../../../src/api/contract.ts';

type Sums = Readonly<Record<string, number>>;
export type Transition = MachineView['transitions'][number];

/** Of several transitions together; undefined: not known yet. */
export function sumFor(transitions: readonly string[], sums: Sums | undefined): number | undefined {
  return sums && transitions.reduce((sum, id) => sum + (sums[id] ?? 0), 0);
}

export function leads({ source, target }: Transition): boolean {
  return target !== null && target !== source;
}

/** Users that enter and leave a state. */
export function throughOf(view: Pick<MachineView, 'transitions'>, state: string, edges: Sums | undefined) {
  const ways = view.transitions.filter(leads);
  const into = ways.filter(({ target }) => target === state).map(({ id }) => id);
  const out = ways.filter(({ source }) => source === state).map(({ id }) => id);
  return { in: sumFor(into, edges), out: sumFor(out, edges) };
}
