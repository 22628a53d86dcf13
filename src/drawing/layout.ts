// layout.ts — places for what sketch.ts draws: the calmest of several layouts, each by elk.ts.
//
// Owns:          the order in which states are told to ELK, what calm means, the memory of what was laid out.
// Does not own:  what is drawn (sketch.ts), ELK's graphs and options (elk.ts), how it looks (svg.ts, and the console).
//
// L1  The same machine gives the same numbers: a fixed seed, a fixed order, whole px.
// L2  Labels are nodes to ELK, so none lies on another one, on a state, or on another edge.
// L3  elkjs is large (1.6 MB) and needed here alone: it is loaded by the first call, and each machine laid out once.
import type { Picture } from '../../machines/picture.ts';
import { place } from './elk.ts';
import { narrow, type Sketch, sketch, type Words } from './sketch.ts';

export type Direction = 'LR' | 'TB';
export type Point = { x: number; y: number };
export type Box = Point & { width: number; height: number };
export type Line = Words & Point;
/** What each part means: the schema `Geometry` of src/api/contract.ts. */
export type Geometry = {
  direction: Direction;
  width: number;
  height: number;
  start: Point & { radius: number; points: Point[] };
  states: (Box & { id: string; lines: Line[] })[];
  groups: (Box & { id: string; title: string; states: string[] })[];
  edges: { source: string; target: string; points: Point[]; label: Box & { lines: Line[] } }[];
};

/** The geometry of `drawn`, from left to right or from top to bottom: 0.3 s of work (with five live states 1.2), and 0.4 for the
 *  first in a process; then remembered by the machine's hash. To be read only. Throws what ELK throws, for a machine that it can
 *  not place. */
export function layout(drawn: Picture, direction: Direction): Promise<Geometry> {
  const key = `${drawn.id} ${drawn.hash} ${direction}`;
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const plan = sketch(drawn);
  const placed = calmest(narrow(plan), direction);
  remembered.set(key, placed);
  placed.catch(() => remembered.delete(key));
  const [oldest] = remembered.keys();
  if (remembered.size > REMEMBERED && oldest !== undefined) remembered.delete(oldest);
  return placed;
}
const remembered = new Map<string, Promise<Geometry>>();
/** Today's machine in both directions, and a few that a what-if compares it with. */
const REMEMBERED = 8;

/** One layout after the other: ELK runs on this thread, and between two of them others have their turn. */
async function calmest(plan: Sketch, direction: Direction): Promise<Geometry> {
  let best: { unrest: number; geometry: Geometry } | undefined;
  for (const states of ordersOf(plan)) {
    const geometry = await place({ ...plan, states }, direction);
    const unrest = unrestOf(geometry) + inversionsOf(states, plan.states) * 40;
    if (best === undefined || unrest < best.unrest) best = { unrest, geometry };
  }
  if (best === undefined) throw new Error('A machine has at least one order of its states.');
  const { geometry } = best;
  const order = plan.states.map(({ id }) => id);
  return { ...geometry, states: geometry.states.toSorted((a, b) => order.indexOf(a.id) - order.indexOf(b.id)) };
}

/** The order of the states decides most. What is entered from outside comes first, as a reader expects; of the others all orders
 *  are tried while they are few. */
function ordersOf({ initial, states, group, edges }: Sketch): Sketch['states'][] {
  const isInner = ({ id }: Sketch['states'][number]) => group?.states.includes(id) ?? id !== initial;
  const inner = states.filter(isInner);
  const isEntered = ({ id }: Sketch['states'][number]) =>
    edges.some(({ source, target }) => target === id && !inner.some((state) => state.id === source));
  const entered = inner.filter(isEntered);
  const others = inner.filter((state) => !isEntered(state));
  const orders = others.length <= FEW ? permutations(others) : [others];
  return orders.map((order) => {
    const places = [...entered, ...order].values();
    return states.map((state) => (isInner(state) ? (places.next().value ?? state) : state));
  });
}
/** 24 orders; with one more state 120, and 6 s. */
const FEW = 4;

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((first, i) => permutations(items.toSpliced(i, 1)).map((others) => [first, ...others]));
}

/** How many pairs stand the other way round than in the definition, whose order is how its author tells it. */
function inversionsOf<T>(items: readonly T[], told: readonly T[]): number {
  const places = items.map((item) => told.indexOf(item));
  return places.reduce((sum, place, i) => sum + places.slice(i + 1).filter((later) => later < place).length, 0);
}

/** How much is asked of a reader's eye; compares layouts of one machine. Guesses, set by looking: a crossing is worst, then px. */
function unrestOf({ edges, width, height }: Geometry): number {
  const bends = edges.reduce((sum, { points }) => sum + points.length - 2, 0);
  return crossingsOf(edges) * 100 + bends * 6 + width + height / 2;
}

/** How often two edges cross. */
export function crossingsOf(edges: Geometry['edges']): number {
  const pieces = edges.flatMap(({ points }, edge) =>
    points.slice(1).map((end, i) => ({ edge, ...spanOf(points[i] ?? end, end) })),
  );
  let crossings = 0;
  for (const a of pieces)
    for (const b of pieces)
      if (a.edge !== b.edge && a.top === a.bottom && b.left === b.right)
        if (a.left < b.left && b.left < a.right && b.top < a.top && a.top < b.bottom) crossings += 1;
  return crossings;
}

function spanOf(a: Point, b: Point): { left: number; right: number; top: number; bottom: number } {
  return { left: Math.min(a.x, b.x), right: Math.max(a.x, b.x), top: Math.min(a.y, b.y), bottom: Math.max(a.y, b.y) };
}
