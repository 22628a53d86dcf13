// drawing.tsx — the machine as SVG, from the geometry that the service laid out: states with their users, edges with what passes.
//
// Owns:          what is drawn, how it is said aloud, how the keyboard goes through it. Does not own: places (geometry), numbers (live.ts).
//
// D1  A number that changes patches its own text or attribute (signals): the drawing itself is rendered when machine, direction,
//     selection or path change.
// D2  Nothing is told by colour alone: a path has numbers, what moves has a rate, what is selected a thicker border.
import { computed, type ReadonlySignal, useComputed } from '@preact/signals';
import { useMemo, useRef, useState } from 'preact/hooks';
import type { Geometry, MachineView } from '../../../src/api/contract.ts';
import { count, many, rate } from '../format.ts';
import { counts, flow, transitions as totals } from '../live.ts';
import './drawing.css';
import { sumFor, throughOf } from './flows.ts';
import { numbered, type Path, stepsOf } from './path.ts';
import { arrowhead, beatOf, curve, type Edge, inOneLine, type StateBox, widthOf } from './shape.ts';
import { nextSpot, type Spot, spotOfEdge, spotOfState } from './walk.ts';

export type Selection = { state?: string | undefined; transition?: string | undefined };
export type DrawingProps = {
  view: MachineView;
  direction: Geometry['direction'];
  /** With users and rates. */
  isLive?: boolean;
  selected?: Selection;
  onSelect?: (selection: Selection) => void;
  /** The way of one user; what it did not touch is dim. */
  path?: Path | undefined;
  /** Where that user is. */
  current?: string | undefined;
  /** What it takes in this very step. */
  taking?: string | null | undefined;
  /** What is drawn, for whoever can not see it. */
  label: string;
};

/** Roles of WAI-ARIA's graphics module, which the types do not know. */
const DOCUMENT = { role: 'graphics-document' } as object;
const SYMBOL = { role: 'graphics-symbol' } as object;

/** Narrower boxes have room for the number of users alone. */
const NET_FROM = 130;
/** Above the lines of a state. */
const HEAD = 48;

export function Drawing(props: DrawingProps) {
  const { view, direction, label, onSelect } = props;
  const geometry = view.geometry[direction];
  const svg = useRef<SVGSVGElement>(null);
  const [spot, setSpot] = useState<Spot>(spotOfState(geometry.states[0]?.id ?? ''));
  const pick = (target: EventTarget | null) => {
    const [kind, ...rest] =
      (target as Element | null)?.closest('[data-pick]')?.getAttribute('data-pick')?.split(' ') ?? [];
    if (kind !== undefined) onSelect?.({ [kind]: rest.join(' ') });
  };
  const walk = (event: KeyboardEvent) => {
    if (event.key === 'Enter') return pick(event.target);
    const next = nextSpot(geometry, spot, event.key);
    if (next === undefined || event.metaKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    setSpot(next);
    const found = svg.current?.querySelector<SVGElement>(`[data-spot="${CSS.escape(next)}"]`);
    found?.focus({ preventScroll: true });
    // Focus alone would do with less, under the fading edge.
    found?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  };
  const frame = { ...props, geometry, spot, isOpen: onSelect !== undefined };
  return (
    <svg
      ref={svg}
      class="drawing"
      viewBox={`0 0 ${geometry.width} ${geometry.height}`}
      width={geometry.width}
      height={geometry.height}
      {...DOCUMENT}
      aria-label={label}
      aria-roledescription="state machine"
      data-path={props.path !== undefined}
      onKeyDown={walk}
      onClick={(event) => pick(event.target)}
      onFocusIn={(event) => setSpot((event.target as Element).getAttribute('data-spot') ?? spot)}
    >
      {geometry.groups.map((group) => (
        <g key={group.id} class="group">
          <rect x={group.x + 0.5} y={group.y + 0.5} width={group.width - 1} height={group.height - 1} rx="16" />
          <text x={group.x + 16} y={group.y + 24}>
            {group.title}
          </text>
        </g>
      ))}
      {/* All lines first, then all labels: no line crosses another edge's words. */}
      {geometry.edges.map((edge) => (
        <Line key={`${direction} ${edge.source} ${edge.target}`} frame={frame} edge={edge} />
      ))}
      <Start geometry={geometry} />
      {geometry.states.map((state) => (
        <State key={state.id} frame={frame} state={state} />
      ))}
      {geometry.edges.map((edge, i) => (
        <Label key={`${direction} ${edge.source} ${edge.target}`} frame={frame} edge={edge} i={i} />
      ))}
    </svg>
  );
}

type Frame = DrawingProps & { geometry: Geometry; spot: Spot; isOpen: boolean };

function Start({ geometry: { start } }: { geometry: Geometry }) {
  return (
    <g class="start">
      <circle cx={start.x} cy={start.y} r={start.radius} />
      <path class="line" d={curve(start.points)} />
      <path class="head" d={arrowhead(start.points)} />
    </g>
  );
}

/** All that a line of an edge stands for. */
function idsOf({ label }: Edge): string[] {
  return label.lines.flatMap(({ transitions }) => transitions);
}

function Line({ frame: { isLive = false, path, taking, geometry }, edge }: { frame: Frame; edge: Edge }) {
  const ids = idsOf(edge);
  const isShared = geometry.groups.some(({ id }) => id === edge.source);
  const least = isShared ? 1 : 1.5;
  const perSecond = useComputed(() => (isLive ? (sumFor(ids, flow.value?.edges) ?? 0) : 0));
  const width = useComputed(() => Math.max(least, perSecond.value > 0 ? widthOf(perSecond.value) : 0));
  const head = useComputed(() => arrowhead(edge.points, width.value));
  const use = useComputed(() =>
    !isLive || totals.value === undefined || (sumFor(ids, totals.value) ?? 0) > 0 ? 'used' : 'unused',
  );
  const beat = useComputed(() => String(beatOf(perSecond.value)));
  const moves = useComputed(() => (perSecond.value > 0 ? 'moves' : 'rests'));
  return (
    <g
      class="edge"
      data-state={edge.target}
      data-use={use}
      data-moves={moves}
      data-beat={beat}
      data-taken={path && isTaken(path, ids)}
      data-taking={taking ? ids.includes(taking) : undefined}
    >
      <path class="line" d={curve(edge.points)} stroke-width={width} />
      <path class="beat" d={curve(edge.points)} />
      <path class="head" d={head} />
    </g>
  );
}

function Label({ frame, edge, i }: { frame: Frame; edge: Edge; i: number }) {
  const { view, geometry, isLive = false, path, taking, selected, spot, isOpen } = frame;
  const { label, source, target } = edge;
  const ids = idsOf(edge);
  const mine = spotOfEdge(i);
  const perSecond = useComputed(() => (isLive ? (sumFor(ids, flow.value?.edges) ?? 0) : 0));
  const moves = useComputed(() => (perSecond.value > 0 ? 'moves' : 'rests'));
  const rateText = useComputed(() => (perSecond.value > 0 ? rate(perSecond.value) : ''));
  const rateWidth = useComputed(() => (rateText.value === '' ? 0 : rateText.value.length * 5.9 + 11));
  // At the upper right corner, beside the line: neither it nor its arrowhead is covered.
  const rateLeft = useComputed(() =>
    Math.max(label.x + label.width / 2 + 7, label.x + label.width + 6 - rateWidth.value),
  );
  const rateMiddle = useComputed(() => rateLeft.value + rateWidth.value / 2);
  const use = useComputed(() =>
    !isLive || totals.value === undefined || (sumFor(ids, totals.value) ?? 0) > 0 ? 'used' : 'unused',
  );
  const from = geometry.groups.find(({ id }) => id === source)?.states.join(', ') ?? source;
  const words = inOneLine(label.lines);
  const steps = path ? stepsOf(path, ids) : [];
  const sentence = useSaid(
    () =>
      [
        `${words}, from ${from} to ${target}`,
        ...(isLive
          ? [`${rate(perSecond.value).replace('/s', ' per second')}, ${many(sumFor(ids, totals.value), 'time')} so far`]
          : []),
        ...(steps.length > 0 ? [`taken in step ${steps.join(', ')}`] : []),
      ].join('. '),
    [view, geometry, path],
  );
  const isChosen = selected?.transition !== undefined && ids.includes(selected.transition);
  return (
    <g
      class="label"
      {...SYMBOL}
      aria-label={sentence}
      tabindex={spot === mine ? 0 : -1}
      data-spot={mine}
      data-pick={`transition ${ids[0]}`}
      data-state={target}
      data-use={use}
      data-open={isOpen}
      data-chosen={isChosen}
      data-taken={path && steps.length > 0}
      data-taking={taking ? ids.includes(taking) : undefined}
    >
      <rect
        class="pill"
        x={label.x}
        y={label.y}
        width={label.width}
        height={label.height}
        rx={label.lines.length > 1 ? 10 : label.height / 2}
      />
      {label.lines.map(({ text, x, y, transitions }) => (
        <text key={y} x={x} y={y} class="words" data-pick={`transition ${transitions[0] ?? ids[0]}`}>
          {text}
          {titleOf(view, transitions.length > 0 ? transitions : ids)}
        </text>
      ))}
      {isLive && (
        <g class="rate" data-moves={moves}>
          <rect x={rateLeft} y={label.y - 13} width={rateWidth} height={15} rx="7.5" />
          <text x={rateMiddle} y={label.y - 1.7}>
            {rateText}
          </text>
        </g>
      )}
      {steps.length > 0 && <Numbers left={label.x - 6} y={label.y - 3} steps={steps} />}
    </g>
  );
}

/** Said anew when a signal changes, as by useComputed, and when what else it tells of is another. */
function useSaid(say: () => string, of: readonly unknown[]): ReadonlySignal<string> {
  return useMemo(() => computed(say), of);
}

/** The whole of what a line stands for, on a closer look. */
function titleOf({ transitions }: MachineView, ids: readonly string[]) {
  const [first] = transitions.filter(({ id }) => ids.includes(id));
  return <title>{`${first?.label ?? ''}\n${ids.join('\n')}`}</title>;
}

type NumbersProps = { left?: number; right?: number; y: number; steps: readonly number[] };

/** A user's steps, at a corner of a label or the end of a line. */
function Numbers({ left, right = 0, y, steps }: NumbersProps) {
  const text = numbered(steps);
  const width = Math.max(17, text.length * 5.8 + 10);
  const x = left ?? right - width;
  return (
    <g class="numbers">
      <rect x={x} y={y - 8.5} width={width} height={17} rx={8.5} />
      <text x={x + width / 2} y={y + 3.5}>
        {text}
      </text>
    </g>
  );
}

function isTaken(path: Path, ids: readonly string[]): boolean {
  return ids.some((id) => path.steps.has(id));
}

function State({ frame, state }: { frame: Frame; state: StateBox }) {
  const { view, isLive = false, path, current, taking, selected, spot, isOpen } = frame;
  const { id, x, y, width, height, lines } = state;
  const mine = spotOfState(id);
  const kind = view.states.find((each) => each.id === id)?.kind;
  const isFinal = kind === 'final';
  // Of those that do not exist there is no number.
  const hasCount = isLive && kind !== 'initial';
  const through = useComputed(() => throughOf(view, id, flow.value?.edges));
  const users = useComputed(() => (counts.value === undefined ? '–' : count(counts.value[id] ?? 0)));
  const net = useComputed(() => {
    const { in: into = 0, out = 0 } = through.value;
    const difference = into - out;
    return Math.abs(difference) < 0.005 ? '' : `${difference > 0 ? '+' : '−'}${rate(Math.abs(difference))}`;
  });
  const sentence = useSaid(
    () =>
      [
        `${id}${isFinal ? ', final' : ''}`,
        ...(hasCount
          ? [
              `${many(counts.value === undefined ? undefined : (counts.value[id] ?? 0), 'user')}, ${perSecond(through.value.in)} in, ${perSecond(through.value.out)} out`,
            ]
          : []),
        ...(current === id ? ['the user is here'] : []),
        ...(path?.visited.has(id) === false ? ['the user was never here'] : []),
      ].join('. '),
    [view, current, path],
  );
  const middle = x + width / 2;
  // The second border of a final one leaves less room below.
  const raised = isFinal && hasCount ? 1 : 0;
  return (
    <g
      class="state"
      {...SYMBOL}
      aria-label={sentence}
      tabindex={spot === mine ? 0 : -1}
      data-spot={mine}
      data-pick={`state ${id}`}
      data-state={id}
      data-open={isOpen}
      data-chosen={selected?.state === id}
      data-visited={path && (path.visited.has(id) || current === id)}
      data-current={current === id}
    >
      {current === id && <rect class="halo" x={x - 4.5} y={y - 4.5} width={width + 9} height={height + 9} rx="14" />}
      <rect class="box" x={x + 0.75} y={y + 0.75} width={width - 1.5} height={height - 1.5} rx="10" />
      {isFinal && <rect class="inner" x={x + 4} y={y + 4} width={width - 8} height={height - 8} rx="7" />}
      <text class="name" x={middle} y={y + (hasCount ? 20 : 29) - raised}>
        {id}
      </text>
      {hasCount && (
        <text class="users live-value" x={middle} y={y + 39 - 2 * raised}>
          {users}
          {width >= NET_FROM && (
            <tspan class="net" dx="5">
              {net}
            </tspan>
          )}
        </text>
      )}
      {lines.length > 0 && <path class="rule" d={`M${x + 1.5} ${y + HEAD}H${x + width - 1.5}`} />}
      {lines.map((line) => (
        <Inside
          key={line.text}
          frame={frame}
          state={state}
          line={line}
          isTaking={taking ? line.transitions.includes(taking) : false}
        />
      ))}
      {current === id && <Here x={x + width} y={y} />}
    </g>
  );
}

function perSecond(n: number | undefined): string {
  return rate(n).replace('/s', ' per second');
}

/** What changes the user and not the state. */
function Inside({
  frame,
  state,
  line,
  isTaking,
}: {
  frame: Frame;
  state: StateBox;
  line: StateBox['lines'][number];
  isTaking: boolean;
}) {
  const { view, isLive = false, path, selected } = frame;
  const { text, x, y, transitions } = line;
  const rateText = useComputed(() => {
    const n = isLive ? (sumFor(transitions, flow.value?.edges) ?? 0) : 0;
    return n > 0 ? rate(n) : '';
  });
  const steps = path ? stepsOf(path, transitions) : [];
  const [id] = transitions;
  return (
    <g
      class="inside"
      data-taken={path && steps.length > 0}
      data-taking={isTaking}
      data-chosen={selected?.transition !== undefined && transitions.includes(selected.transition)}
      data-pick={id && `transition ${id}`}
    >
      {transitions.length > 0 && <Sign x={x - 10} y={y - 4} />}
      <text class="words" x={x} y={y}>
        {text}
        {titleOf(view, transitions)}
      </text>
      {isLive && (
        <text class="inside-rate" x={state.x + state.width - 12} y={y}>
          {rateText}
        </text>
      )}
      {steps.length > 0 && <Numbers right={state.x + state.width + 6} y={y - 4} steps={steps} />}
    </g>
  );
}

/** A small arrow that leads back to where it began. */
function Sign({ x, y }: { x: number; y: number }) {
  return (
    <g class="sign">
      <path class="sign-line" d={`M${x + 3.1} ${y - 2.2}A3.8 3.8 0 1 0 ${x + 3.8} ${y + 0.4}`} />
      <path class="sign-head" d={`M${x + 4.6} ${y - 4.6}V${y - 0.6}H${x + 0.8}z`} />
    </g>
  );
}

/** A pin at the corner of the state where the user is. */
function Here({ x, y }: { x: number; y: number }) {
  return (
    <g class="here">
      <circle cx={x - 2} cy={y + 2} r="9" />
      <circle class="here-head" cx={x - 2} cy={y - 0.5} r="2.6" />
      <path class="here-body" d={`M${x - 6.5} ${y + 7.2}a4.5 4.5 0 0 1 9 0`} />
    </g>
  );
}
