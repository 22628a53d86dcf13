// sketch.ts — what of a machine is drawn, before anything has a place: boxes, edges, and the lines written on them.
//
// S1  What changes nothing is not drawn; every other transition stands for exactly one line.
// S2  What changes the user and not the state is written inside the state's box (UML's internal transition), not as a loop.
// S3  What all live states share without a condition is drawn once, from a box around them.
// S4  A line is as short as it can be without a doubt: the event, or the guard where it belongs to one event alone and the
//     event has other branches there. `legend` says which guards belong to which event.
import type { Picture } from '../../machines/picture.ts';

/** `transitions` is empty where the text goes on from the line above. */
export type Words = { text: string; transitions: string[] };

/** As one reads it: a guard is a word of its own, the second half of a broken name is none. */
export function inOneLine(lines: readonly Words[]): string {
  return lines.reduce((said, { text, transitions: [own] }, i) => {
    const isSameWord = i === 0 || (own === undefined && !text.startsWith('['));
    return `${said}${isSameWord ? '' : ' '}${text}`;
  }, '');
}

export type Sketch = {
  initial: string;
  states: { id: string; lines: Words[] }[];
  group: { id: string; title: string; states: string[] } | undefined;
  /** `source`: a state, or the group. */
  edges: { source: string; target: string; lines: Words[] }[];
};
type Transition = Picture['transitions'][number];

/** Short, and no name that a state would be given. */
const GROUP = '*';

export function sketch(drawn: Picture): Sketch {
  const live = drawn.states.filter(({ kind }) => kind === 'normal').map(({ id }) => id);
  const changing = drawn.transitions.filter(({ changes }) => changes);
  const stays = ({ source, target }: Transition) => target === null || target === source;
  const shared = live.length > 1 ? changing.filter((each) => isShared(drawn, live, each)) : [];
  const moves = changing.filter((each) => !stays(each) && !shared.includes(each));
  const pairs = new Map<string, Transition[]>();
  for (const move of moves) {
    const pair = `${move.source}|${move.target}`;
    pairs.set(pair, [...(pairs.get(pair) ?? []), move]);
  }
  const targets = [...new Set(shared.map(({ target }) => target))];
  return {
    initial: drawn.states.find(({ kind }) => kind === 'initial')?.id ?? '',
    states: inOrder(drawn).map((id) => ({
      id,
      lines: linesOf(
        drawn,
        changing.filter((each) => each.source === id && stays(each)),
      ),
    })),
    group: shared.length > 0 ? { id: GROUP, title: 'live', states: live } : undefined,
    edges: [
      ...[...pairs.values()].map((each) => edgeOf(drawn, each[0]?.source, each)),
      ...targets.map((target) =>
        edgeOf(
          drawn,
          GROUP,
          shared.filter((each) => each.target === target),
        ),
      ),
    ],
  };
}

/** As the machine is written: where each state's own branches stand. */
function inOrder({ states, transitions }: Picture): string[] {
  const sources = new Set(transitions.map(({ source }) => source));
  return [...sources, ...states.map(({ id }) => id).filter((id) => !sources.has(id))];
}

/** The same with long names broken in two, at a capital letter or behind an underscore: a fifth less wide. */
export function narrow(plan: Sketch): Sketch {
  return { ...plan, edges: plan.edges.map((edge) => ({ ...edge, lines: edge.lines.flatMap(broken) })) };
}
const LONG = 15;

function broken({ text, transitions }: Words): Words[] {
  const places = [...text.matchAll(/(?<=_)(?=.)|(?<=[a-z])(?=[A-Z])/g)].map(({ index }) => index);
  const middle = (a: number, b: number) => Math.abs(a - text.length / 2) - Math.abs(b - text.length / 2);
  const [place] = places.sort(middle);
  if (text.length <= LONG || place === undefined) return [{ text, transitions }];
  return [
    { text: text.slice(0, place), transitions },
    { text: text.slice(place), transitions: [] },
  ];
}

/** The guards that stand for their event in the drawing, by event. */
export function legend(drawn: Picture): { event: string; guards: string[] }[] {
  const events = new Map<string, string[]>();
  for (const each of drawn.transitions) {
    if (!each.changes || each.guard === null || partsOf(drawn, each).length > 1) continue;
    const guards = events.get(each.event) ?? [];
    if (!guards.includes(each.guard)) guards.push(each.guard);
    events.set(each.event, guards);
  }
  return [...events].map(([event, guards]) => ({ event, guards }));
}

/** Every live state has it as the only branch of its event, and it leads out of them. */
function isShared(drawn: Picture, live: readonly string[], { source, event, target }: Transition): boolean {
  if (target === null || live.includes(target) || !live.includes(source)) return false;
  return live.every((state) => {
    const [only, ...others] = drawn.transitions.filter((each) => each.source === state && each.event === event);
    return others.length === 0 && only?.guard === null && only.target === target;
  });
}

function edgeOf(drawn: Picture, source = '', transitions: readonly Transition[]): Sketch['edges'][number] {
  return { source, target: transitions[0]?.target ?? '', lines: linesOf(drawn, transitions) };
}

function linesOf(drawn: Picture, transitions: readonly Transition[]): Words[] {
  const lines = new Map<string, { parts: string[]; ids: string[] }>();
  for (const each of transitions) {
    const parts = partsOf(drawn, each);
    const line = lines.get(parts.join(' ')) ?? { parts, ids: [] };
    line.ids.push(each.id);
    lines.set(parts.join(' '), line);
  }
  return [...lines.values()].flatMap(({ parts, ids }) =>
    parts.map((text, i) => ({ text, transitions: i === 0 ? ids : [] })),
  );
}

function partsOf(drawn: Picture, { source, event, guard }: Transition): string[] {
  if (guard === null) return [event];
  const isAlone = drawn.transitions.filter((each) => each.source === source && each.event === event).length === 1;
  const isOfOneEvent = drawn.transitions.every((each) => each.guard !== guard || each.event === event);
  const isEvent = drawn.transitions.some((each) => each.event === guard);
  return !isAlone && isOfOneEvent && !isEvent ? [guard] : [event, `[${guard}]`];
}
