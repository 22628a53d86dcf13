// walk.ts — where an arrow key leads in the drawing: along the edges, from a state to an edge, and from an edge to
// a state. Pure.
import type { Geometry } from '../../../src/api/contract.ts';
import { middleOf, type Point } from './shape.ts';

/** "state active", "edge 3": what can have the focus. */
export type Spot = string;
export const spotOfState = (id: string): Spot => `state ${id}`;
export const spotOfEdge = (i: number): Spot => `edge ${i}`;

const WAYS: Readonly<Record<string, Point>> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};
/** Beyond 53 degrees it is another direction. */
const LEAST_COSINE = 0.6;

/** The spot that `key` leads to; undefined: it leads nowhere. Home leads to the first state. Where no edge goes on in that
 *  direction, it is the nearest beside it: so nothing is out of reach. */
export function nextSpot(geometry: Geometry, from: Spot, key: string): Spot | undefined {
  if (key === 'Home') return geometry.states[0] && spotOfState(geometry.states[0].id);
  const way = WAYS[key];
  if (way === undefined) return undefined;
  const edges = geometry.edges.map((_, i) => spotOfEdge(i));
  const states = geometry.states.map(({ id }) => spotOfState(id));
  return (
    best(way, followed(geometry, from)) ??
    best(way, beside(geometry, from, edges)) ??
    best(way, beside(geometry, from, states))
  );
}

/** A step that could be made: where it begins and ends says in which direction it goes. */
type Step = { spot: Spot; begin: Point; end: Point };

function best(way: Point, steps: readonly Step[]): Spot | undefined {
  let found: { spot: Spot; cost: number } | undefined;
  for (const { spot, begin, end } of steps) {
    const [dx, dy] = [end.x - begin.x, end.y - begin.y];
    const length = Math.hypot(dx, dy);
    const cosine = length === 0 ? 0 : (dx * way.x + dy * way.y) / length;
    if (cosine < LEAST_COSINE) continue;
    const cost = length / cosine ** 2;
    if (found === undefined || cost < found.cost) found = { spot, cost };
  }
  return found?.spot;
}

/** Of a state its edges, from where they leave or enter it, in the direction of their words or of their other end; of an edge its
 *  two ends. */
function followed({ edges, groups, states }: Geometry, from: Spot): Step[] {
  const [kind, name] = parted(from);
  return edges.flatMap(({ source, target, points, label }, i): Step[] => {
    const [first, last] = [points[0], points.at(-1)];
    if (first === undefined || last === undefined) return [];
    const members = groups.find(({ id }) => id === source)?.states ?? [source];
    const words = middleOf(label);
    if (kind === 'edge') {
      if (Number(name) !== i) return [];
      const whence = nearestOf(members, first, states);
      return [
        { spot: spotOfState(target), begin: words, end: last },
        ...(whence === undefined ? [] : [{ spot: spotOfState(whence), begin: words, end: first }]),
      ];
    }
    return [
      ...(target === name ? [words, first].map((end) => ({ spot: spotOfEdge(i), begin: last, end })) : []),
      ...(members.includes(name) ? [words, last].map((end) => ({ spot: spotOfEdge(i), begin: first, end })) : []),
    ];
  });
}

/** Of the states of a group, the one that lies nearest to where the edge leaves it. */
function nearestOf(ids: readonly string[], { x, y }: Point, states: Geometry['states']): string | undefined {
  const far = ({ x: left, y: top, width, height }: Geometry['states'][number]) =>
    Math.hypot(Math.max(left - x, 0, x - left - width), Math.max(top - y, 0, y - top - height));
  return states.filter(({ id }) => ids.includes(id)).sort((a, b) => far(a) - far(b))[0]?.id;
}

function beside(geometry: Geometry, from: Spot, spots: readonly Spot[]): Step[] {
  const begin = placeOf(geometry, from);
  return spots.flatMap((spot) => {
    const end = placeOf(geometry, spot);
    return begin === undefined || end === undefined || spot === from ? [] : [{ spot, begin, end }];
  });
}

function placeOf({ states, edges }: Geometry, spot: Spot): Point | undefined {
  const [kind, name] = parted(spot);
  const box = kind === 'edge' ? edges[Number(name)]?.label : states.find(({ id }) => id === name);
  return box && middleOf(box);
}

function parted(spot: Spot): [kind: string, name: string] {
  const [kind = '', ...rest] = spot.split(' ');
  return [kind, rest.join(' ')];
}
