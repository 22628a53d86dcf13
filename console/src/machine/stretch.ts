// stretch.ts — the flow of a longer stretch than the stream's 10 s: asked for every 5 s, while a view shows it.
//
// Owns:          which stretches there are, when the flow of one is asked for. Does not own: how it is shown.
//
// S1  However many parts show a stretch, it is asked for once; not while the tab is hidden, the page is paused or the service away.
// S2  A flow that can not be had is unknown: an old one is never shown as the present one. So is one whose question is still open when the
//     next would be due; that one is waited for, and no other is asked beside it.
import { computed, effect, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { FlowWindow, Stats } from '../../../src/api/contract.ts';
import { get } from '../api.ts';
import { duration } from '../format.ts';
import { chosenFlow, latestFlow, link } from '../live.ts';

type Flow = Stats['flow'];

/** Seconds. */
export type Stretch = FlowWindow;
export const STRETCHES: readonly Stretch[] = [10, 60, 300, 900];
const EVERY_MS = 5_000;
/** A question that hangs is given up: a connection may be gone without a word. */
const GIVEN_UP_AFTER_MS = 30_000;

/** As the address says it; what is no stretch is the shortest. */
export function stretchOf(said: string | undefined): Stretch {
  return STRETCHES.find((stretch) => String(stretch) === said) ?? 10;
}

/** "10 s", "15 min". */
export function stretchInWords(stretch: Stretch): string {
  return duration(stretch * 1_000).replace('.0', '');
}

/** Over how long it truly is, "42 s", where that is clearly shorter than what was asked for: the service, or what it remembers,
 *  is not that old. */
export function shorterThan(stretch: Stretch, flow: Pick<Flow, 'window'> | undefined): string | undefined {
  // Of former readings one in 5 s is remembered.
  return flow !== undefined && flow.window < 0.9 * stretch
    ? duration(flow.window * 1_000).replace('.0', '')
    : undefined;
}

/** What is drawn, as long as the view is there. */
export function useChosenStretch(said: string | undefined): Stretch {
  const stretch = stretchOf(said);
  const flow = useFlowOf(stretch);
  useEffect(() => {
    chosenFlow.value = flow;
    return () => {
      chosenFlow.value = latestFlow;
    };
  }, [flow]);
  return stretch;
}

/** Undefined: not known yet. */
export function useFlowOf(stretch: Stretch): ReadonlySignal<Flow | undefined> {
  useEffect(() => follow(stretch), [stretch]);
  return flowOf(stretch);
}

export function flowOf(stretch: Stretch): ReadonlySignal<Flow | undefined> {
  return stretch === 10 ? latestFlow : followedOf(stretch).flow;
}

type Followed = { flow: Signal<Flow | undefined>; by: number; end: () => void };
const followed = new Map<Stretch, Followed>();

function followedOf(stretch: Stretch): Followed {
  const known = followed.get(stretch) ?? { flow: signal<Flow | undefined>(undefined), by: 0, end: () => {} };
  followed.set(stretch, known);
  return known;
}

/** Asks for it until what it returns is called, and the others that follow it have ended too. */
export function follow(stretch: Stretch): (() => void) | undefined {
  if (stretch === 10) return undefined;
  const one = followedOf(stretch);
  if (one.by++ === 0) one.end = poll(stretch, one.flow);
  return () => {
    if (--one.by > 0) return;
    one.end();
    one.flow.value = undefined;
  };
}

const isOpen = computed(() => link.value.is === 'open');

function poll(stretch: Stretch, flow: Signal<Flow | undefined>): () => void {
  let asked: { question: AbortController; atMs: number } | undefined;
  const ask = () => {
    asked?.question.abort();
    const mine = { question: new AbortController(), atMs: Date.now() };
    asked = mine;
    const answered = (now: Flow | undefined) => {
      if (asked !== mine) return;
      asked = undefined;
      flow.value = now;
    };
    get<Stats>('stats', { window: stretch, samples: 0 }, mine.question.signal).then(
      (stats) => answered(stats.flow),
      () => answered(undefined),
    );
  };
  const timer = setInterval(() => {
    if (!isOpen.peek()) return;
    if (asked !== undefined) flow.value = undefined; // S2
    if (asked === undefined || Date.now() - asked.atMs >= GIVEN_UP_AFTER_MS) ask();
  }, EVERY_MS);
  const endWatch = effect(() => {
    if (!isOpen.value) return;
    flow.value = undefined; // of before it was away
    ask();
  });
  return () => {
    clearInterval(timer);
    endWatch();
    asked?.question.abort();
    asked = undefined;
  };
}
