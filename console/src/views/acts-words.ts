// acts-words.ts — acts in words: which rows one means, what would become of them, how far it is. Pure.
//
// Owns:          sentences. Does not own: what an act does (the server), how it is asked for (acts.tsx).
//
// Y1  A sentence never says more than is known: where fewer were tried than fit, or sums end at a limit, it says so.
import type {
  AuditItem,
  DeadLetterFilter,
  JobRow,
  Preview,
  ReleasePreview,
  WaitingFilter,
} from '../../../src/api/contract.ts';
import { count, duration, many, rate } from '../format.ts';
import { filterInWords, isEmpty } from './dead-letters-filter.ts';

export type ActKind = 'redrive' | 'discard' | 'give up';

/** Rows by their numbers, or whatever fits a filter now. */
export type Chosen<F extends DeadLetterFilter | WaitingFilter = DeadLetterFilter | WaitingFilter> =
  | { ids: readonly number[] }
  | { filter: F };

/** What the server is told: no filter at all must be meant (`all`). */
export function scopeOf(chosen: Chosen): { ids: number[] } | { filter: object } | { all: true } {
  if ('ids' in chosen) return { ids: [...chosen.ids] };
  return isEmpty(chosen.filter) ? { all: true } : { filter: chosen.filter };
}

/** "dead letter 7", "3 dead letters, chosen by hand", "all 214 dead letters where the code is json". `n`: how many they are now;
 *  undefined: not known. */
export function chosenInWords(chosen: Chosen, kind: ActKind, n: number | undefined): string {
  const what = nounOf(kind);
  if ('ids' in chosen)
    return chosen.ids.length === 1 ? `${what} ${chosen.ids[0]}` : `${many(chosen.ids.length, what)}, chosen by hand`;
  const where = isEmpty(chosen.filter)
    ? ''
    : ` where ${filterInWords(chosen.filter, kind === 'give up' ? 'waiting' : 'dead letters')}`;
  return `all ${n === undefined ? `${what}s` : many(n, what)}${where}`;
}
function nounOf(kind: ActKind): string {
  return kind === 'give up' ? 'waiting event' : 'dead letter';
}

/** What each outcome of a rehearsal means: for one, and for several. */
const MEANS: Readonly<Record<string, readonly [would: string, one: string, several: string]>> = {
  applied: ['would be applied', 'It changes its user.', 'They change their users.'],
  skipped: ['would be skipped', 'What it says is so already.', 'What they say is so already.'],
  duplicate: [
    'would be a duplicate',
    'The same event was put to the machine before.',
    'The same events were put to the machine before.',
  ],
  stale: [
    'would be stale',
    'Its user has seen a newer event since: nothing changes, unless it is forced.',
    'Their users have seen newer events since: nothing changes, unless they are forced.',
  ],
  rejected: [
    'would be rejected',
    'The machine does not take it in its user’s state.',
    'The machine does not take them in their users’ states.',
  ],
  waiting: [
    'would wait',
    'Something before it can not go yet; it goes by itself when that can.',
    'Something before them can not go yet; they go by themselves when that can.',
  ],
  dead: [
    'would be dead again',
    'It fails as before: its cause is still there.',
    'They fail as before: their cause is still there.',
  ],
  discarded: [
    'would be discarded',
    'It is kept, marked as discarded, and nothing waits behind it any more.',
    'They are kept, marked as discarded, and nothing waits behind them any more.',
  ],
};
const ORDER = ['applied', 'skipped', 'duplicate', 'stale', 'rejected', 'waiting', 'discarded', 'dead'];

export type Line = { outcome: string; n: number; would: string; why: string };

/** One line for each outcome, the good ones first. */
export function linesOf(outcomes: Readonly<Record<string, number>>): Line[] {
  return Object.entries(outcomes)
    .filter(([, n]) => n > 0)
    .sort(([a], [b]) => placeOf(a) - placeOf(b))
    .map(([outcome, n]) => {
      const [would, one, several] = MEANS[outcome] ?? [`would be ${outcome}`, '', ''];
      return { outcome, n, would, why: n === 1 ? one : several };
    });
}
function placeOf(outcome: string): number {
  const place = ORDER.indexOf(outcome);
  return place < 0 ? ORDER.length : place;
}

/** "Of 27 dead letters, 21 would be applied, 4 would be stale and 2 would be dead again." */
export function previewInWords({ matched, outcomes, note }: Preview, kind: ActKind): string {
  if (matched === 0) return `No ${nounOf(kind)} fits any more: there is nothing to do.`;
  const lines = linesOf(outcomes);
  const tried = note === null ? '' : ' that were tried out';
  const only = lines.length === 1 ? lines[0] : undefined;
  if (only !== undefined && only.n === matched)
    return matched === 1 ? `It ${only.would}.` : `All ${count(matched)}${tried} ${only.would}.`;
  return `Of ${many(matched, nounOf(kind))}${tried}, ${listed(lines.map(({ n, would }) => `${count(n)} ${would}`))}.`;
}

/** "11 other events would go with them: 10 applied and 1 skipped."; undefined: none would. */
export function othersInWords({ matched, others }: Preview): string | undefined {
  const n = total(others);
  if (n === 0) return undefined;
  const parts = linesOf(others).map((line) => `${count(line.n)} ${line.outcome}`);
  return `${many(n, 'other event')} would go with ${matched === 1 ? 'it' : 'them'}: ${listed(parts)}.`;
}

const ENDS: Readonly<Record<string, readonly [one: string, several: string]>> = {
  waiting: ['would wait on', 'would wait on'],
  dead: ['would be a dead letter', 'would be dead letters'],
};

/** "27 events of 4 users wait: 21 would be applied, 4 would wait on and 2 would be dead letters." */
export function releaseInWords({ matched, users, outcomes, note }: ReleasePreview): string {
  if (matched === 0) return 'Nothing waits that it would let go.';
  const lines = linesOf(outcomes).map(
    ({ outcome, n, would }) => `${count(n)} ${ENDS[outcome]?.[n === 1 ? 0 : 1] ?? would}`,
  );
  const tried = note === null ? '' : ', as far as was tried';
  return `${many(matched, 'event')} of ${many(users, 'user')} ${matched === 1 ? 'waits' : 'wait'}${tried}: ${listed(lines)}.`;
}

/** Forcing is for those that would be stale. */
export function isForceWorthIt({ outcomes }: Preview): boolean {
  return (outcomes.stale ?? 0) > 0;
}

/** Of each code the stream counts up to so many, and then says one more. */
const MOST_COUNTED = 1_000;

/** How many dead letters there are, of the stream's numbers by code: "7", "1,043+" (or more); "": not known yet. */
export function deadInWords(dead: Readonly<Record<string, number>> | undefined): string {
  if (dead === undefined) return '';
  return count(total(dead)) + (Object.values(dead).some((n) => n > MOST_COUNTED) ? '+' : '');
}

export function total(sums: Readonly<Record<string, number>>): number {
  return Object.values(sums).reduce((sum, n) => sum + n, 0);
}

/** "a, b and c" */
export function listed(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`;
}

// ---- jobs -------------------------------------------------------------------------------------------------------------------

/** Steps take seconds; one that meets locks may take longer. As `user-lifecycle jobs` says it. */
const QUIET_MS = 60_000;

/** Does a job say that it runs, while nothing has come of it for a minute? Its process may be gone. */
export function isQuiet({ state, updatedAt }: Pick<JobRow, 'state' | 'updatedAt'>, nowMs: number): boolean {
  return state === 'running' && nowMs - Date.parse(updatedAt) > QUIET_MS;
}

/** Between 0 and 1; null: nobody knows how much there is. */
export function progressOf({ state, done, total }: Pick<JobRow, 'state' | 'done' | 'total'>): number | null {
  if (state === 'done') return 1;
  if (total === null) return null;
  return total === 0 ? 1 : Math.min(1, done / total);
}

/** "120 of 214 · 55.0/s · 2 s left · 1 failed" */
export function jobInWords({ done, total, failed, rate: perSecond, secondsLeft, state, kind }: JobRow): string {
  const of = total === null || (state === 'done' && total === done) ? count(done) : `${count(done)} of ${count(total)}`;
  return [
    of,
    ...(state === 'running' && perSecond !== null ? [rate(perSecond)] : []),
    ...(state === 'running' && secondsLeft !== null ? [`${duration(Math.ceil(secondsLeft) * 1_000)} left`] : []),
    ...(failed > 0 ? [`${count(failed)} ${kind === 'redrive' ? 'dead again' : 'failed'}`] : []),
  ].join(' · ');
}

/** "redrive of dead letters where the code is json", "discard of waiting events" */
export function jobTitle({ kind, scope }: Pick<JobRow, 'kind' | 'scope'>): string {
  if (kind !== 'redrive' && kind !== 'discard') return withScope(kind, scope);
  const { waiting, ids, waitsFor, upTo, ...filter } = scope;
  const noun = waiting === true ? 'waiting event' : 'dead letter';
  if (Array.isArray(ids))
    return `${kind} of ${ids.length === 1 ? `${noun} ${String(ids[0])}` : many(ids.length, noun)}`;
  const named = { ...(waitsFor === undefined ? {} : { reason: waitsFor }), ...filter } as WaitingFilter;
  const said = filterInWords(named, waiting === true ? 'waiting' : 'dead letters');
  return `${kind} of ${said === '' ? `all ${noun}s` : `${noun}s where ${said}`}${upTo === undefined ? '' : `, up to number ${String(upTo)}`}`;
}
function withScope(kind: string, scope: Readonly<Record<string, unknown>>): string {
  const said = inWords(scope);
  return said === '' ? kind : `${kind}: ${said}`;
}

// ---- the audit --------------------------------------------------------------------------------------------------------------

const SHOWN_OF_A_LIST = 5;

/** What stands in a scope or a result, for people: "code transition, force", "ids 812 813 … 40 in all". */
export function inWords(value: Readonly<Record<string, unknown>>): string {
  return Object.entries(value)
    .flatMap(([name, inner]) => {
      const text = wordsOf(inner);
      return text === undefined ? [] : [text === '' ? name : `${name} ${text}`];
    })
    .join(', ');
}
/** Undefined: not worth a word. */
function wordsOf(value: unknown): string | undefined {
  if (value === null || value === undefined || value === false) return undefined;
  if (value === true) return '';
  if (Array.isArray(value)) {
    const shown = value.slice(0, SHOWN_OF_A_LIST).map(String).join(' ');
    return value.length > SHOWN_OF_A_LIST ? `${shown} … ${value.length} in all` : shown || undefined;
  }
  if (typeof value === 'object') {
    const inner = inWords(value as Record<string, unknown>);
    return inner === '' ? undefined : `(${inner})`;
  }
  return String(value);
}

/** What came of it: "done 21, outcomes (applied 21)"; what went as it should needs no word. */
export function resultInWords({ result }: Pick<AuditItem, 'result'>): string {
  if (result === null) return 'not ended';
  const { done, failed, state, ...rest } = result;
  return inWords({ done, failed: failed === 0 ? null : failed, state: state === 'done' ? null : state, ...rest });
}
