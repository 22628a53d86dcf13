// path.ts — the way one user went through its machine, as numbers on the edges. Pure.
import type { HistoryItem } from '../../../src/api/contract.ts';

export type Step = Pick<HistoryItem, 'version' | 'outcome' | 'transition' | 'from' | 'to'>;
export type Path = {
  /** By transition: the steps that took it, in order. */
  steps: ReadonlyMap<string, readonly number[]>;
  /** States it was in. */
  visited: ReadonlySet<string>;
  /** Where it is after the last of these steps; undefined: it has none. */
  current: string | undefined;
};

/** Of the steps up to `until`, in any order; a step's number is its version. What changed nothing took no edge. */
export function pathOf(history: readonly Step[], until = Number.POSITIVE_INFINITY): Path {
  const taken = history
    .filter((step): step is Step & { version: number } => step.version !== null && step.version <= until)
    .sort((a, b) => a.version - b.version);
  const steps = new Map<string, number[]>();
  const visited = new Set<string>();
  for (const { version, outcome, transition, from, to } of taken) {
    if (from !== null) visited.add(from);
    if (to !== null) visited.add(to);
    if (outcome !== 'applied' || transition === null) continue;
    steps.set(transition, [...(steps.get(transition) ?? []), version]);
  }
  const last = taken.at(-1);
  return { steps, visited, current: last === undefined ? undefined : (last.to ?? last.from ?? undefined) };
}

/** "2", "2 · 5", "2 ×7": what stands beside a line. */
export function numbered(steps: readonly number[]): string {
  if (steps.length <= 2) return steps.join(' · ');
  return `${steps[0]} ×${steps.length}`;
}

/** The steps of several transitions that one line stands for. */
export function stepsOf(path: Path, transitions: readonly string[]): number[] {
  return transitions.flatMap((id) => path.steps.get(id) ?? []).sort((a, b) => a - b);
}
