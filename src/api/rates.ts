// rates.ts — how fast things go, from totals that were read at two moments. Pure.
//
// R1  Totals are of all processes, drains included: an event that waited, and went, counts as what it became. `waiting` and `dead` are
//     stocks, so what comes and what goes within the window cancel each other out, and a stock that shrinks has no rate.
// R2  A database that was restored to a former time has lower totals: what is remembered of later is dropped. So it is where the clock
//     was set back.
// R3  Every reading of the last 10 s is kept, and one in 5 s of the last quarter of an hour, each with all its totals: 64 and 182 at
//     most, with 76 totals 240 kB of memory.
import type { Tallies } from '../tallies.ts';
import { OUTCOMES, type Rates, type Sample } from './contract.ts';

/** `positions`: by "topic/partition", how many records were saved so far; not the offset, which a person may move. */
export type Reading = { atMs: number; tallies: Tallies; positions: ReadonlyMap<string, bigint> };

export type Window = {
  /** The newest one. */
  add(reading: Reading): void;
  /** Over the last 10 s; or over the longest stretch that is known of the last `seconds`, 900 at most. */
  rates(seconds?: number): Rates;
  /** Records per second of one partition; null: not known yet. */
  rateOf(key: string): number | null;
};

const WINDOW_MS = 10_000;
const MOST_READINGS = 64; // P6: two a second, and room for more who ask
const LONGEST_S = 900;
const GRAIN_MS = 5_000;
const MOST_REMEMBERED = LONGEST_S / (GRAIN_MS / 1_000) + 2; // P6: both ends, and the second that a stretch may be longer

export function createWindow(): Window {
  let readings: Reading[] = [];
  /** One in 5 s, without positions: nobody asks for a partition's rate of longer. */
  let remembered: Reading[] = [];

  return {
    add(reading) {
      const newest = readings.at(-1);
      if (newest !== undefined && isOfFormerTime(reading, newest)) readings = remembered = [];
      const latest = remembered.at(-1);
      if (latest === undefined || grainOf(latest) !== grainOf(reading))
        remembered = [...remembered, { ...reading, positions: NO_POSITIONS }].slice(-MOST_REMEMBERED);
      readings = [...readings, reading].slice(-MOST_READINGS);
      // The newest of those that are 10 s old stays: rates are over 10 s at least, as soon as there is one.
      while ((readings[1]?.atMs ?? Number.POSITIVE_INFINITY) <= reading.atMs - WINDOW_MS) readings.shift();
    },
    rates(seconds) {
      return ratesBetween(...(seconds === undefined ? ends() : endsWithin(seconds)));
    },
    rateOf(key) {
      const [first, last] = ends();
      const [from, to, seconds] = [first.positions.get(key), last.positions.get(key), secondsBetween(first, last)];
      if (from === undefined || to === undefined || seconds === 0) return null;
      return to < from ? null : rounded(Number(to - from) / seconds);
    },
  };

  function ends(): [first: Reading, last: Reading] {
    return [readings[0] ?? NOTHING, readings.at(-1) ?? NOTHING];
  }
  /** Nothing from before a gap that is longer: its rate would be of another time. */
  function endsWithin(seconds: number): [first: Reading, last: Reading] {
    const last = readings.at(-1) ?? NOTHING;
    return [remembered.find((first) => wholeSecondsBetween(first, last) <= seconds) ?? last, last];
  }
}

const NO_POSITIONS: Reading['positions'] = new Map();
const NOTHING: Reading = { atMs: 0, tallies: {}, positions: NO_POSITIONS };

function isOfFormerTime(reading: Reading, newest: Reading): boolean {
  return reading.atMs < newest.atMs || (reading.tallies.records ?? 0) < (newest.tallies.records ?? 0);
}

function grainOf({ atMs }: Reading): number {
  return Math.floor(atMs / GRAIN_MS);
}

function ratesBetween(first: Reading, last: Reading): Rates {
  const seconds = secondsBetween(first, last);
  const perSecond = (n: number) => (seconds === 0 ? 0 : rounded(n / seconds));
  return {
    window: Math.max(1, wholeSecondsBetween(first, last)),
    records: perSecond(gained(first, last, 'records')),
    outcomes: mapped(outcomesBetween(first, last), perSecond),
    edges: mapped(edgesBetween(first, last), perSecond),
  };
}

/** What happened between two readings. */
export function between(first: Reading, last: Reading): Pick<Sample, 'at' | 'seconds' | 'records' | 'outcomes'> {
  return {
    at: new Date(last.atMs).toISOString(),
    seconds: rounded(secondsBetween(first, last)),
    records: gained(first, last, 'records'),
    outcomes: outcomesBetween(first, last),
  };
}

/** All seven. `prefix event|`: of every type. */
export function outcomesIn(tallies: Tallies): Record<string, number> {
  const sums: Record<string, number> = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0]));
  for (const [key, n] of Object.entries(tallies)) {
    if (!key.startsWith('event|')) continue;
    const outcome = key.slice(key.lastIndexOf('|') + 1);
    sums[outcome] = (sums[outcome] ?? 0) + n;
  }
  return sums;
}

/** Users by state; those that have any. */
export function usersIn(tallies: Tallies): Record<string, number> {
  return Object.fromEntries(Object.entries(below(tallies, 'state|')).filter(([, n]) => n !== 0));
}

/** The tallies whose names begin with `prefix`, named by the rest. */
export function below(tallies: Tallies, prefix: string): Record<string, number> {
  const found = Object.entries(tallies).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(found.map(([key, n]) => [key.slice(prefix.length), n]));
}

function outcomesBetween(first: Reading, last: Reading): Record<string, number> {
  const before = outcomesIn(first.tallies);
  return Object.fromEntries(
    Object.entries(outcomesIn(last.tallies)).map(([outcome, n]) => [outcome, Math.max(0, n - (before[outcome] ?? 0))]),
  );
}

function edgesBetween(first: Reading, last: Reading): Record<string, number> {
  const ids = Object.keys(below(last.tallies, 'transition|'));
  const moved = ids.map((id) => [id, gained(first, last, `transition|${id}`)] as const).filter(([, n]) => n > 0);
  return Object.fromEntries(moved);
}

function gained(first: Reading, last: Reading, key: string): number {
  return Math.max(0, (last.tallies[key] ?? 0) - (first.tallies[key] ?? 0));
}

function secondsBetween(first: Reading, last: Reading): number {
  return Math.max(0, last.atMs - first.atMs) / 1_000;
}
function wholeSecondsBetween(first: Reading, last: Reading): number {
  return Math.floor(secondsBetween(first, last));
}

function mapped(sums: Record<string, number>, to: (n: number) => number): Record<string, number> {
  return Object.fromEntries(Object.entries(sums).map(([key, n]) => [key, to(n)]));
}

function rounded(n: number): number {
  return Math.round(n * 100) / 100;
}
