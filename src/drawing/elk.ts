// elk.ts — one layout of a sketch by the Eclipse Layout Kernel: its graph, its options, and the geometry read from its answer.
//
// Owns:          distances, and where an edge leaves and enters a box.
// Does not own:  what is drawn (sketch.ts), sizes (sizes.ts), what stands beside a group (beside.ts), which layout is taken (layout.ts).
//
// States are stretched until their edges run straight: bars, with an edge's whole way in sight. A group is laid out downwards in
// either direction, since labels are wide and low; from left to right, what is outside stands left of it, ways out as well as in,
// and the words of its only edge below or above it (820 px; 970 with words and states in a row; 1,350 with ways out on the right).
import type { ELK, ElkExtendedEdge, ElkLabel, ElkNode, ElkPort, LayoutOptions } from 'elkjs/lib/elk-api.js';
import { type Doors, doorsOf, type Ends, piecesOf, type Stands, standsOf, type Way, wayOf } from './beside.ts';
import type { Box, Direction, Geometry, Line, Point } from './layout.ts';
import { HEAD, heightOfState, LABEL, LETTERS, START, STATE, sizeOfLabel, widthOfState } from './sizes.ts';
import type { Sketch, Words } from './sketch.ts';
import { widthOf } from './text.ts';

/** How far a state reaches beyond its outermost edge, px. */
const OVERHANG = 12;
const GROUP = { top: 36, side: 16, bottom: 20 };
const MARGIN = 16;

const OPTIONS: LayoutOptions = {
  'elk.algorithm': 'layered',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.randomSeed': '1',
  'elk.layered.thoroughness': '50',
  // The order of the states is given (layout.ts); edges against it run up beside the others, not in loops around boxes.
  'elk.layered.cycleBreaking.strategy': 'MODEL_ORDER',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
  'elk.spacing.nodeNode': '12',
  'elk.spacing.edgeNode': '8',
  'elk.spacing.edgeEdge': '8',
  'elk.spacing.labelNode': '0',
  'elk.layered.spacing.nodeNodeBetweenLayers': '16',
  'elk.layered.spacing.edgeNodeBetweenLayers': '16',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '12',
};

/** Ids of what is no state: of a space and a word, as no state is named. */
const START_ID = ' start';
const edgeOf = (edge: number) => ` edge ${edge}`;
const portOf = (edge: number) => ` port ${edge}`;
const insideOf = (edge: number) => ` inside ${edge}`;
const doorOf = (edge: number) => ` door ${edge}`;

const ORIGIN: Point = { x: 0, y: 0 };

/** One layout of `plan`, its states in their order there. Throws what ELK throws. */
export async function place(plan: Sketch, direction: Direction): Promise<Geometry> {
  const { default: Elk } = await import('elkjs/lib/elk.bundled.js');
  const elk = new (Elk as unknown as new () => ELK)();
  const { inner, doors } = await placeInside(elk, plan, direction);
  const stands = standsOf(plan, direction);
  const outer = await elk.layout(graphOutside(plan, direction, { inner, doors, stands }));
  return geometryOf(plan, direction, { inner, doors, stands, outer });
}

type Inside = { inner: ElkNode | undefined; doors: Doors };

/** Straight ways in where nothing stands in their way; else as ELK leads them. */
async function placeInside(elk: ELK, plan: Sketch, direction: Direction): Promise<Inside> {
  const { group } = plan;
  const none: Doors = new Map();
  if (group === undefined) return { inner: undefined, doors: none };
  if (direction === 'LR') {
    const inner = await elk.layout(graphInside(plan, group, direction, true));
    const doors = straightWays(plan, inner);
    if (doors !== undefined) return { inner, doors };
  }
  return { inner: await elk.layout(graphInside(plan, group, direction, false)), doors: none };
}

function straightWays(plan: Sketch, inner: ElkNode): Doors | undefined {
  const [box] = inner.children ?? [];
  const states = new Map(box?.children?.map((node) => [node.id, boxOf(grown(node, 'DOWN', OVERHANG), ORIGIN)]));
  const labels = (box?.edges ?? []).flatMap(({ labels = [] }) => labels.map((label) => boxOf(label, ORIGIN)));
  const pieces = (box?.edges ?? []).flatMap(({ sections = [] }) =>
    sections.flatMap(({ startPoint, bendPoints = [], endPoint }) => piecesOf([startPoint, ...bendPoints, endPoint])),
  );
  return doorsOf(plan, states, [...labels, ...pieces]);
}

type Group = NonNullable<Sketch['group']>;
type Graph = ElkNode & Required<Pick<ElkNode, 'children' | 'edges' | 'ports'>>;
// ELK writes into its input, so each run has a new graph.

/** The group alone: its states, and for each edge that crosses its border a port to go through. */
function graphInside(plan: Sketch, group: Group, direction: Direction, hasDoors: boolean): ElkNode {
  const box = graph(group.id, {
    'elk.direction': 'DOWN',
    'elk.padding': padding(GROUP.top, GROUP.side, GROUP.bottom),
    'elk.portConstraints': 'FIXED_SIDE',
  });
  const states = plan.states.filter(({ id }) => group.states.includes(id));
  const width = Math.max(...states.map(widthOfState));
  box.children.push(...states.map((state) => stretching({ ...nodeOf(state), width }, 'DOWN')));
  plan.edges.forEach((edge, i) => {
    const way = wayOf(edge, group);
    if (way === 'inside') box.edges.push({ id: edgeOf(i), ...endsOf(edge), labels: [labelOf(edge, i)] });
    if (way !== 'out' && (way !== 'in' || hasDoors)) return;
    box.ports.push(port(i, { side: sideOf(way, direction) }));
    const ends = way === 'in' ? { source: portOf(i), target: edge.target } : { source: edge.source, target: portOf(i) };
    box.edges.push({ id: insideOf(i), ...endsOf(ends) });
  });
  return { ...graph('', { 'elk.padding': padding(0, 0, 0) }), children: [box] };
}

/** The rest, with the group as one box whose ports are where `inner` put them. */
function graphOutside(
  plan: Sketch,
  direction: Direction,
  { inner, doors, stands }: Inside & { stands: Stands },
): ElkNode {
  const flow = direction === 'LR' ? 'RIGHT' : 'DOWN';
  const root = graph('', {
    'elk.direction': flow,
    'elk.padding': padding(MARGIN, MARGIN, MARGIN),
    ...(inner && { 'elk.layered.cycleBreaking.strategy': 'GREEDY' }),
  });
  if (!stands.has(plan.initial)) {
    root.children.push({ id: START_ID, width: START, height: START });
    root.edges.push({ id: START_ID, ...endsOf({ source: START_ID, target: plan.initial }) });
  }
  const states = plan.states.filter(({ id }) => !plan.group?.states.includes(id));
  const width = Math.max(...states.map(widthOfState));
  for (const state of states) {
    const stand = stands.get(state.id);
    if (stand !== undefined) {
      root.children.push({
        ...{ id: state.id, width: stand.width, height: stand.height },
        ports: [port(stand.edge, { id: doorOf(stand.edge), side: 'EAST', x: stand.width, y: stand.door })],
        layoutOptions: { 'elk.portConstraints': 'FIXED_POS' },
      });
      continue;
    }
    const node = { ...nodeOf(state), width };
    root.children.push(plan.group === undefined ? stretching(node, flow) : node);
  }
  const [box] = inner?.children ?? [];
  const ports = portsOf(plan, direction, box, { doors, stands });
  if (box !== undefined)
    root.children.push({
      ...{ id: box.id, width: box.width ?? 0, height: box.height ?? 0, ports: [...ports.values()] },
      layoutOptions: { 'elk.portConstraints': 'FIXED_POS' },
    });
  plan.edges.forEach((edge, i) => {
    const way = wayOf(edge, plan.group);
    if (way === 'inside') return;
    const stand = stands.get(way === 'in' ? edge.source : edge.target);
    const outside = (id: string) => (stand === undefined ? id : doorOf(i));
    const ends = {
      source: way === 'out' || way === 'shared' ? portOf(i) : outside(edge.source),
      target: way === 'in' ? portOf(i) : outside(edge.target),
    };
    root.edges.push({
      id: edgeOf(i),
      ...endsOf(isBackwards(way, direction) ? swapped(ends) : ends),
      ...(stand === undefined && { labels: [labelOf(edge, i)] }),
    });
  });
  return root;
}

/** Where edges go through the group's border: where they were put inside. What all its states share may begin anywhere: in line
 *  with the way in, or near the lower corner; then at the next place that is free. */
function portsOf(
  plan: Sketch,
  direction: Direction,
  box: ElkNode | undefined,
  { doors, stands }: { doors: Doors; stands: Stands },
): Map<number, ElkPort> {
  const ports = new Map<number, ElkPort>();
  const placed = new Map(box?.ports?.map((each) => [each.id, each]));
  const [width, height] = [box?.width ?? 0, box?.height ?? 0];
  const [length, entry] = direction === 'LR' ? [height, undefined] : [width, placed.get(portOf(wayIn(plan)))?.x];
  plan.edges.forEach((edge, i) => {
    const way = wayOf(edge, plan.group);
    const door = doors.get(i);
    const known = door === undefined ? placed.get(portOf(i)) : { x: 0, y: door };
    if (known !== undefined) ports.set(i, port(i, { ...known, side: sideOf(way, direction) }));
  });
  plan.edges.forEach((edge, i) => {
    const side = sideOf('shared', direction);
    if (wayOf(edge, plan.group) !== 'shared') return;
    const taken = [...ports.values()].filter((each) => each.layoutOptions?.['elk.port.side'] === side);
    const stand = stands.get(edge.target);
    const along = freePlace(
      entry ?? length - (stand === undefined ? APART : stand.height - stand.door),
      length,
      taken.map(({ x = 0, y = 0 }) => (direction === 'LR' ? y : x)),
    );
    ports.set(i, port(i, { side, ...(direction === 'LR' ? { x: 0, y: along } : { x: along, y: height }) }));
  });
  return ports;
}

function wayIn({ edges, group }: Sketch): number {
  return edges.findIndex((edge) => wayOf(edge, group) === 'in');
}

/** Between two edges that leave a side, and from a corner: room for their labels. */
const APART = 40;

function freePlace(wanted: number, length: number, taken: readonly number[]): number {
  const isFree = (place: number) => taken.every((other) => Math.abs(other - place) >= APART / 2);
  const steps = Array.from({ length: Math.floor((length - APART) / APART) }, (_, i) => length - APART * (i + 1));
  return [wanted, ...steps].find(isFree) ?? wanted;
}

function port(
  edge: number,
  { id = portOf(edge), side, x = 0, y = 0 }: { id?: string; side: string } & Partial<Point>,
): ElkPort {
  return { id, width: 0, height: 0, x, y, layoutOptions: { 'elk.port.side': side } };
}

function sideOf(way: Way, direction: Direction): string {
  if (direction === 'LR') return 'WEST';
  return way === 'in' ? 'NORTH' : 'SOUTH';
}

/** Told to ELK the other way round, so that it puts what the edge leads to on the left, too. */
function isBackwards(way: Way, direction: Direction): boolean {
  return direction === 'LR' && (way === 'out' || way === 'shared');
}

function swapped({ source, target }: Ends): Ends {
  return { source: target, target: source };
}

function endsOf({ source, target }: Ends): { sources: string[]; targets: string[] } {
  return { sources: [source], targets: [target] };
}

function labelOf({ lines }: Sketch['edges'][number], edge: number): ElkLabel {
  return { text: `${edge}`, ...sizeOfLabel(lines), layoutOptions: { 'elk.edgeLabels.inline': 'true' } };
}

function graph(id: string, options: LayoutOptions): Graph {
  return { id, layoutOptions: { ...OPTIONS, ...options }, ports: [], children: [], edges: [] };
}

function nodeOf(state: Sketch['states'][number]): ElkNode & { width: number; height: number } {
  return { id: state.id, width: widthOfState(state), height: heightOfState(state) };
}

type Flow = 'DOWN' | 'RIGHT';

/** Grows across the flow until its edges are straight. ELK puts the outermost ones on its corners: so it is told a smaller box
 *  between two labels, and all three together are the state (`grown`, below). */
function stretching(node: ElkNode & { width: number; height: number }, flow: Flow): ElkNode {
  const sides = flow === 'DOWN' ? ['V_CENTER H_LEFT', 'V_CENTER H_RIGHT'] : ['H_CENTER V_TOP', 'H_CENTER V_BOTTOM'];
  const size = grown(node, flow, -OVERHANG);
  return {
    ...{ id: node.id, width: size.width, height: size.height },
    labels: sides.map((side) => ({
      ...{ text: ' ', width: OVERHANG, height: OVERHANG },
      layoutOptions: { 'elk.nodeLabels.placement': `OUTSIDE ${side}` },
    })),
    layoutOptions: { 'elk.layered.nodePlacement.networkSimplex.nodeFlexibility': 'NODE_SIZE' },
  };
}

function grown({ x = 0, y = 0, width = 0, height = 0 }: Partial<Box>, flow: Flow, by: number): Box {
  if (flow === 'DOWN') return { x: x - by, y, width: width + 2 * by, height };
  return { x, y: y - by, width, height: height + 2 * by };
}

function padding(top: number, side: number, bottom: number): string {
  return `[top=${top},right=${side},bottom=${bottom},left=${side}]`;
}

function geometryOf(
  { states, group, edges, initial }: Sketch,
  direction: Direction,
  { inner, doors, stands, outer }: Inside & { stands: Stands } & { outer: ElkNode },
): Geometry {
  const [box] = inner?.children ?? [];
  const { x = 0, y = 0 } = outer.children?.find(({ id }) => id === group?.id) ?? {};
  const inside = { x, y };
  const [boxes, labels] = [new Map<string, Box>(), new Map<number, Box>()];
  for (const node of outer.children ?? []) {
    const stand = stands.get(node.id);
    if (stand !== undefined) {
      const from = boxOf(node, ORIGIN);
      boxes.set(node.id, boxOf(stand.state, from));
      labels.set(stand.edge, boxOf(stand.label, from));
      if (stand.start) boxes.set(START_ID, boxOf(stand.start, from));
      continue;
    }
    const isStretched = group === undefined && node.id !== START_ID;
    boxes.set(
      node.id,
      boxOf(isStretched ? grown(node, direction === 'LR' ? 'RIGHT' : 'DOWN', OVERHANG) : node, ORIGIN),
    );
  }
  for (const node of box?.children ?? []) boxes.set(node.id, boxOf(grown(node, 'DOWN', OVERHANG), inside));
  const drawn = new Map<string, { edge: ElkExtendedEdge; from: Point }>();
  for (const edge of outer.edges ?? []) drawn.set(edge.id ?? '', { edge, from: ORIGIN });
  for (const edge of box?.edges ?? []) drawn.set(edge.id ?? '', { edge, from: inside });
  const at = (id: string) => boxes.get(id) ?? boxOf({}, ORIGIN);
  const pathOf = (id: string): Point[] => {
    const found = drawn.get(id);
    return (found?.edge.sections ?? []).flatMap(({ startPoint, bendPoints = [], endPoint }) =>
      [startPoint, ...bendPoints, endPoint].map((point) => pointOf(point, found?.from ?? ORIGIN)),
    );
  };
  const start = at(START_ID);
  const first = at(initial);
  const fromStart = stands.has(initial)
    ? [
        { x: start.x + START, y: start.y + START / 2 },
        { x: first.x, y: start.y + START / 2 },
      ]
    : pathOf(START_ID);
  return {
    direction,
    width: Math.ceil(outer.width ?? 0),
    height: Math.ceil(outer.height ?? 0),
    start: { x: start.x + START / 2, y: start.y + START / 2, radius: START / 2, points: fromStart },
    states: states.map(({ id, lines }) => ({ id, ...at(id), lines: linesIn(at(id), lines) })),
    groups: group === undefined ? [] : [{ ...group, ...at(group.id) }],
    edges: edges.map(({ source, target, lines }, i) => {
      const way = wayOf({ source, target }, group);
      const [within, without] = [pathOf(insideOf(i)), pathOf(edgeOf(i))];
      if (isBackwards(way, direction)) without.reverse();
      const found = drawn.get(edgeOf(i));
      const stood = labels.get(i);
      const label = stood ?? boxOf(found?.edge.labels?.[0] ?? {}, found?.from ?? ORIGIN);
      if (way === 'in' && doors.has(i)) within.push({ x: at(target).x, y: without.at(-1)?.y ?? 0 });
      if (stood !== undefined) {
        const { x, width } = stood;
        const middle = { x: x + width / 2, y: stood.y + stood.height / 2 };
        if (way === 'in') without.unshift({ x: middle.x, y: at(source).y + at(source).height }, middle);
        else without.push(middle, { x: middle.x, y: at(target).y });
      }
      return {
        source,
        target,
        points: straight(way === 'in' ? [...without, ...within] : [...within, ...without]),
        label: { ...label, lines: linesOn(label, lines) },
      };
    }),
  };
}

function pointOf({ x, y }: Point, from: Point): Point {
  return { x: Math.round(x + from.x), y: Math.round(y + from.y) };
}

function boxOf({ x = 0, y = 0, width = 0, height = 0 }: Partial<Box>, from: Point): Box {
  const [begin, end] = [pointOf({ x, y }, from), pointOf({ x: x + width, y: y + height }, from)];
  return { ...begin, width: end.x - begin.x, height: end.y - begin.y };
}

/** Without repeated points, and without those that lie on the way between their neighbours. */
function straight(points: readonly Point[]): Point[] {
  const path: Point[] = [];
  for (const point of points) {
    const [before, last] = path.slice(-2);
    if (before !== undefined && last !== undefined && areInLine(before, last, point)) path.pop();
    const end = path.at(-1);
    if (end === undefined || end.x !== point.x || end.y !== point.y) path.push(point);
  }
  return path;
}

function areInLine(a: Point, b: Point, c: Point): boolean {
  return (a.x === b.x && b.x === c.x) || (a.y === b.y && b.y === c.y);
}

function linesIn({ x, y, width }: Box, lines: readonly Words[]): Line[] {
  const top = y + HEAD + STATE.above;
  const widest = Math.max(0, ...lines.map(({ text }) => widthOf(text, LETTERS.line)));
  const left = x + Math.round((width - STATE.sign - widest) / 2) + STATE.sign;
  return lines.map((line, i) => ({ ...line, x: left, y: top + i * STATE.line + 12 }));
}

function linesOn({ x, y, width }: Box, lines: readonly Words[]): Line[] {
  return lines.map((line, i) => ({ ...line, x: x + width / 2, y: y + LABEL.above + i * LABEL.line + 12 }));
}
