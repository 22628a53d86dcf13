// charts.ts — samples as charts need them, as a table has them, and as one sentence says them. Pure.
//
// Owns:          which lines a chart has, their values, dashes and units. Does not own: how it is drawn (overview-chart.tsx), samples
//                (the stream).
//
// K1  What was not measured is null, in a line a gap: never 0, and never the value before it.
// K2  Lines can be told apart without colours: each has a dash of its own.
import type { Sample } from '../../src/api/contract.ts';
import { count, duration, rate } from './format.ts';

export type Line = {
  name: string;
  /** The colour, by its name among those of overview.css. */
  colour: string;
  /** Lengths of dash and gap, px; none: drawn through. */
  dash?: readonly number[];
  of: (sample: Sample) => number | null;
};
export type Chart = {
  id: string;
  title: string;
  /** A value with its unit; null: it was not measured. */
  unit: (value: number | null) => string;
  /** The same beside the axis, where there is little room. */
  tick: (value: number) => string;
  lines: readonly Line[];
};

export const OUTCOMES = ['applied', 'skipped', 'duplicate', 'stale', 'rejected', 'waiting', 'dead'] as const;
const DASHES: Readonly<Record<(typeof OUTCOMES)[number], readonly number[]>> = {
  applied: [],
  skipped: [6, 3],
  duplicate: [2, 3],
  stale: [10, 3, 2, 3],
  rejected: [3, 6],
  waiting: [12, 4],
  dead: [1, 2],
};

const NOT_MEASURED = '–';
const said = (format: (value: number) => string) => (value: number | null) =>
  value === null ? NOT_MEASURED : format(value);
const perSecond = said(rate);
const inMs = said(duration);
const whole = said((value) => count(Math.round(value)));

const PERCENTILES = [
  ['p50', 'first', []],
  ['p95', 'second', [6, 3]],
  ['p99', 'third', [2, 3]],
] as const;
function percentiles(what: 'delayMs' | 'batchMs'): Line[] {
  return PERCENTILES.map(([name, colour, dash]) => ({
    name,
    colour,
    dash,
    of: (sample) => sample[what]?.[name] ?? null,
  }));
}

export const CHARTS: readonly Chart[] = [
  {
    id: 'outcomes',
    title: 'Events per second, by outcome',
    unit: perSecond,
    tick,
    lines: OUTCOMES.map((outcome) => ({
      name: outcome,
      colour: outcome,
      dash: DASHES[outcome],
      of: ({ outcomes, seconds }) => (seconds > 0 ? (outcomes[outcome] ?? 0) / seconds : null),
    })),
  },
  {
    id: 'lag',
    title: 'Lag, in records',
    unit: whole,
    tick,
    lines: [{ name: 'lag', colour: 'first', of: ({ lag }) => lag }],
  },
  { id: 'delay', title: 'From record to saved', unit: inMs, tick: shortMs, lines: percentiles('delayMs') },
  { id: 'batch-ms', title: 'Time of a batch', unit: inMs, tick: shortMs, lines: percentiles('batchMs') },
  {
    id: 'batch-size',
    title: 'Records of a batch',
    unit: whole,
    tick,
    lines: [{ name: 'records', colour: 'first', of: ({ batchRecords }) => batchRecords }],
  },
];

/** How far the charts reach back, s; while there are few samples, less: one could not see them. */
const WINDOW_S = 15 * 60;
const LEAST_WINDOW_S = 3 * 60;
/** Between two samples lie 5 s; beyond this something is missing, and the line has a gap. */
const GAP_S = 20;

/** Times (s since 1970) and, for each line, its values: what uPlot takes. Where samples are missing, a point without values breaks
 *  the lines (K1). */
export function dataOf({ lines }: Chart, samples: readonly Sample[]): [number[], ...(number | null)[][]] {
  const xs: number[] = [];
  const ys: (number | null)[][] = lines.map(() => []);
  let before: number | undefined;
  for (const sample of samples) {
    const at = Date.parse(sample.at) / 1_000;
    if (before !== undefined && at - before > GAP_S) {
      xs.push(before + GAP_S / 2);
      for (const values of ys) values.push(null);
    }
    xs.push(at);
    for (const [i, { of }] of lines.entries()) ys[i]?.push(of(sample));
    before = at;
  }
  return [xs, ...ys];
}

/** From when to when, s since 1970. */
export function windowOf(samples: readonly Sample[], nowMs: number): [number, number] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return [nowMs / 1_000 - LEAST_WINDOW_S, nowMs / 1_000];
  const end = Date.parse(last.at) / 1_000;
  const there = end - Date.parse(first.at) / 1_000;
  return [end - Math.min(WINDOW_S, Math.max(LEAST_WINDOW_S, there)), end];
}

/** A chart in a sentence, for whoever can not see it: what it is now, and the least and most. */
export function chartInWords(chart: Chart, samples: readonly Sample[]): string {
  if (samples.length === 0) return `${chart.title}: no samples yet.`;
  const said = chart.lines.flatMap(({ name, of }) => {
    const values = samples.map(of).filter((value) => value !== null);
    if (values.length === 0 || values.every((value) => value === 0)) return [];
    const now = of(samples.at(-1) as Sample);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return `${name} ${chart.unit(now)} now, between ${chart.unit(least)} and ${chart.unit(most)}`;
  });
  return said.length === 0 ? `${chart.title}: nothing happened in this time.` : `${chart.title}: ${said.join('; ')}.`;
}

export type Minute = { atMs: number; values: (number | null)[] };

/** The chart's table: for each minute, the newest first, the mean of the samples that are of it. */
export function minutesOf({ lines }: Chart, samples: readonly Sample[]): Minute[] {
  const minutes = new Map<number, Sample[]>();
  for (const sample of samples) {
    const atMs = Math.floor(Date.parse(sample.at) / 60_000) * 60_000;
    minutes.set(atMs, [...(minutes.get(atMs) ?? []), sample]);
  }
  return [...minutes]
    .map(([atMs, of]) => ({ atMs, values: lines.map((line) => mean(of.map(line.of))) }))
    .sort((a, b) => b.atMs - a.atMs);
}
function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** "1.2K", "50", "0.25" */
export function tick(value: number): string {
  if (Math.abs(value) >= 1_000) return SHORT.format(value);
  return value === Math.round(value) ? String(value) : value.toFixed(value < 1 ? 2 : 1);
}
const SHORT = new Intl.NumberFormat('en-US', { notation: 'compact' });

/** "500 ms", "2.5 s" */
function shortMs(value: number): string {
  return value >= 1_000 ? `${tick(value / 1_000)} s` : `${tick(value)} ms`;
}
