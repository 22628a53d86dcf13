// beside.ts — from left to right, what stands beside a group takes little room: a state over or under the words of its only edge,
// and ways in that go straight to their states.
//
// Owns:          how an edge lies to the group, where a state stands with its words, where a straight way in goes through the border.
// Does not own:  where ELK puts all that (elk.ts).
import type { Box, Direction, Point } from './layout.ts';
import { HEAD, heightOfState, START, sizeOfLabel, widthOfState } from './sizes.ts';
import type { Sketch } from './sketch.ts';

export type Ends = { source: string; target: string };
/** How an edge lies to the group. `shared`: leaves it from the border, for all its states. */
export type Way = 'inside' | 'outside' | 'in' | 'out' | 'shared';

export function wayOf({ source, target }: Ends, group: Sketch['group']): Way {
  const isInside = (id: string) => group?.states.includes(id) === true;
  if (source === group?.id) return 'shared';
  if (isInside(source)) return isInside(target) ? 'inside' : 'out';
  return isInside(target) ? 'in' : 'outside';
}

/** A state outside the group and the words of its only edge, `edge`: below it, or above it where the edge ends in it. To ELK they
 *  are one box, which the edge leaves on its right, `door` px down. `start`: the mark that stands left of the initial state. px
 *  from the box's corner. */
export type Stand = { edge: number; width: number; height: number; state: Box; label: Box; door: number; start?: Box };
/** By state; those with more edges, and all from top to bottom, stand alone. */
export type Stands = ReadonlyMap<string, Stand>;

/** `arrow`: from the mark to the initial state. `gap`: from a state to its words. px */
const STAND = { arrow: 20, gap: 16 };

export function standsOf({ initial, states, group, edges }: Sketch, direction: Direction): Stands {
  if (direction === 'TB' || group === undefined) return new Map();
  const outside = states.filter(({ id }) => !group.states.includes(id));
  const pairs = outside.flatMap((state) => {
    const [only, ...others] = [...edges.entries()].filter(([, { source, target }]) =>
      [source, target].includes(state.id),
    );
    if (only === undefined || others.length > 0 || wayOf(only[1], group) === 'outside') return [];
    return [{ state, edge: only[0], isSource: only[1].source === state.id, words: sizeOfLabel(only[1].lines) }];
  });
  // One frame for all, so that they stand in a column.
  const lead = pairs.some(({ state }) => state.id === initial) ? START + STAND.arrow : 0;
  const length = Math.max(...outside.map(widthOfState));
  const widest = Math.max(0, ...pairs.map(({ words }) => words.width));
  const middle = Math.max(lead + length / 2, widest / 2);
  const width = middle + Math.max(length, widest) / 2;
  return new Map(
    pairs.map(({ state, edge, isSource, words }): [string, Stand] => {
      const height = heightOfState(state);
      const box = { x: middle - length / 2, y: isSource ? 0 : words.height + STAND.gap, width: length, height };
      const label = { ...words, x: middle - words.width / 2, y: isSource ? height + STAND.gap : 0 };
      const start = { x: box.x - lead, y: box.y + (height - START) / 2, width: START, height: START };
      return [
        state.id,
        {
          ...{ edge, width, height: height + STAND.gap + words.height, state: box, label },
          door: label.y + words.height / 2,
          ...(state.id === initial && { start }),
        },
      ];
    }),
  );
}

/** How far down the group's border a way in goes straight to its state, px, by edge. */
export type Doors = ReadonlyMap<number, number>;

/** Free on either side of a straight way in, px. */
const BESIDE = 8;

/** `boxes` of the group's states, and `things`: all else in it. Undefined: something stands in a way. */
export function doorsOf(
  { group, edges }: Sketch,
  boxes: ReadonlyMap<string, Box>,
  things: readonly Box[],
): Doors | undefined {
  const doors = new Map<number, number>();
  for (const [i, edge] of edges.entries()) {
    const target = boxes.get(edge.target);
    if (target === undefined || wayOf(edge, group) !== 'in') continue;
    const down = target.y + HEAD / 2;
    const way = { x: 0, y: down - BESIDE, width: target.x, height: 2 * BESIDE };
    const others = [...boxes.values()].filter((box) => box !== target);
    if ([...others, ...things].some((thing) => meet(way, thing))) return undefined;
    doors.set(i, down);
  }
  return doors;
}

function meet(a: Box, b: Box): boolean {
  return a.x <= b.x + b.width && b.x <= a.x + a.width && a.y <= b.y + b.height && b.y <= a.y + a.height;
}

/** What lies between two points after each other: boxes of no width or height. */
export function piecesOf(points: readonly Point[]): Box[] {
  return points.slice(1).map((end, i) => {
    const { x, y } = points[i] ?? end;
    return { x: Math.min(x, end.x), y: Math.min(y, end.y), width: Math.abs(end.x - x), height: Math.abs(end.y - y) };
  });
}
