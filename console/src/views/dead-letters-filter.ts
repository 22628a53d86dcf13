// dead-letters-filter.ts — which dead letters, or waiting events, an address means: the filter as part of the address, as words, and
// as options of the command line. Pure.
//
// Owns:          the names of the filters. Does not own: what fits one (the API), the fields one types into (dead-letters-parts.tsx).
//
// Q1  What an address says is asked of the server as it stands: a filter that makes no sense is refused there. Left out, it would
//     mean more rows than were meant, and acts would reach them.
// Q2  An act means what is not settled yet. A status is a way of looking, never part of an act.
import type { DeadLetterFilter, WaitingFilter } from '../../../src/api/contract.ts';
import { moment } from '../format.ts';

export const STATUSES = ['open', 'redriving', 'resolved', 'discarded', 'all'] as const;
export const WAITS_FOR = ['customer', 'user', 'dead-letter', 'hold', 'order', 'machine'] as const;

/** In the place of an event's type: the dead letters of which it is not known, as the API says it. */
export const NO_TYPE = 'none';

const OF_DEAD_LETTERS = ['code', 'type', 'customer', 'user', 'topic', 'before'] as const;
const OF_WAITING = ['reason', 'type', 'customer', 'user', 'topic', 'before'] as const;

type Query = Readonly<Record<string, string>>;
export type DeadLettersAsked = DeadLetterFilter & { status?: string };

/** Of the query of an address, what says which dead letters. */
export function deadLettersAsked(query: Query): DeadLettersAsked {
  return pick(query, [...OF_DEAD_LETTERS, 'status']);
}
export function waitingAsked(query: Query): WaitingFilter {
  return pick(query, OF_WAITING);
}
/** What an act is told (Q2). */
export function actFilter({ status: _, ...filter }: DeadLettersAsked): DeadLetterFilter {
  return filter;
}

function pick(query: Query, names: readonly string[]): Record<string, string> {
  const said: Record<string, string> = {};
  for (const name of names) if (query[name] !== undefined && query[name] !== '') said[name] = query[name];
  return said;
}

export function isEmpty(filter: object): boolean {
  return Object.keys(filter).length === 0;
}

/** "Filters · 2" */
export function filtersInWords(filter: object): string {
  const n = Object.keys(filter).length;
  return n === 0 ? 'Filters' : `Filters · ${n}`;
}

/** Why nothing can be done about what is listed; undefined: something can. */
export function whyNoAct({ status }: DeadLettersAsked): string | undefined {
  if (status === 'resolved') return 'These are settled: they went through.';
  if (status === 'discarded') return 'These are settled: they were discarded.';
  return undefined;
}

const SAID: Readonly<Record<string, (value: string) => string>> = {
  code: (value) => `the code is ${value}`,
  reason: (value) => `they wait for: ${value}`,
  type: (value) => `the event is ${value === NO_TYPE ? 'not known' : value}`,
  customer: (value) => `the customer is ${value}`,
  user: (value) => `the user is ${value}`,
  topic: (value) => `the topic is ${value}`,
};

/** "the code is json and the user is auth0|42"; "" without any. */
export function filterInWords(
  { before, ...filter }: DeadLetterFilter | WaitingFilter,
  of: 'dead letters' | 'waiting' = 'dead letters',
): string {
  const said = Object.entries(filter).map(([name, value]) => SAID[name]?.(String(value)) ?? `${name} is ${value}`);
  if (before !== undefined)
    said.push(`${of === 'waiting' ? 'they wait since' : 'the last failure was'} before ${moment(before)}`);
  return said.length < 2 ? said.join('') : `${said.slice(0, -1).join(', ')} and ${said.at(-1)}`;
}

/** Ages one can choose from, in ms. */
export const AGES = [
  ['10 minutes', 600_000],
  ['1 hour', 3_600_000],
  ['1 day', 86_400_000],
  ['7 days', 604_800_000],
] as const;

/** The moment that lies so long ago, as `before` says it: whole seconds, so that an address stays readable. */
export function beforeOf(ageMs: number, nowMs: number): string {
  return `${new Date(nowMs - ageMs).toISOString().slice(0, 19)}Z`;
}

/** The command that writes these dead letters as lines of JSON. */
export function exportCommand({ before, ...filter }: DeadLettersAsked, nowMs: number): string {
  const options = [
    ...Object.entries(filter).map(([name, value]) => `--${name} ${shellWord(String(value))}`),
    ...(before === undefined ? [] : [`--older-than ${olderThan(before, nowMs)}`]),
  ];
  return ['npx user-lifecycle dead-letters export', ...options].join(' ').concat(' > dead-letters.ndjson');
}

/** "90m": rounded up, so that nothing younger comes with it. */
function olderThan(before: string, nowMs: number): string {
  const s = Math.max(1, Math.ceil((nowMs - Date.parse(before)) / 1_000));
  if (!Number.isFinite(s)) return shellWord(before);
  for (const [unit, seconds] of [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
  ] as const)
    if (s % seconds === 0) return `${s / seconds}${unit}`;
  return s < 1_000_000 ? `${s}s` : `${Math.ceil(s / 3_600)}h`;
}

/** One word of a POSIX shell, whatever is in it. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
