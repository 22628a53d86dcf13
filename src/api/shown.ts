// shown.ts — rows as the contract shows them: what is derived, and the sentences beside the words.
//
// Owns:          notes and advice, content with and without its personal data. Does not own: who may see which (auth.ts).
import { isUtf8 } from 'node:buffer';
import type { DeadCode } from '../events.ts';
import { masked, maskedEvent, maskedHeader, maskedText } from '../mask.ts';
import type { Header } from '../queries/dead-letters.ts';
import type { StepShown } from '../queries/history.ts';
import type { WaitingListed } from '../queries/waiting.ts';
import type { Content, WaitingItem } from './contract.ts';

/** Why a step did nothing, or what deserves a look; null: it simply was applied. */
export function noteOfStep({
  outcome,
  type,
  from,
  drift,
  facts,
  event,
}: Pick<StepShown, 'outcome' | 'type' | 'from' | 'drift' | 'event'> & { facts: { forced?: unknown } }): string | null {
  switch (outcome) {
    case 'duplicate':
      return 'The same event was put to the machine before: its producer sent it again.';
    case 'stale':
      return 'A newer event of its kind was seen before it.';
    case 'rejected':
      return from === 'deleted'
        ? 'The user is deleted: nothing is taken any more.'
        : `The machine takes no ${type} in ${from}.`;
    case 'skipped':
      return SKIPPED[type] ?? 'It would change nothing.';
    default:
      return (
        [facts.forced === true ? FORCED : [], drift ? driftOf(type, from, event ?? {}) : []].flat().join(' ') || null
      );
  }
}
const SKIPPED: Readonly<Record<string, string>> = {
  USER_CREATED: 'The user exists already.',
  USER_STATUS_CHANGED: 'It has this status already.',
  USER_ROLE_CHANGED: 'Role, user type and owner are these already.',
  CUSTOMER_CREATED: 'The customer has this name already.',
};
const FORCED = 'An operator put it through although a newer one had been seen.';

function driftOf(type: string, from: string | null, { previousStatus, previousRole }: Record<string, unknown>): string {
  const before = type === 'USER_ROLE_CHANGED' ? `the role ${word(previousRole)}` : `the status ${word(previousStatus)}`;
  return `Drift: its producer believed in ${before} before it, the user was ${from} with another.`;
}
function word(value: unknown): string {
  return typeof value === 'string' && /^[\w -]{1,40}$/.test(value) ? value : 'that it names';
}

export function shownWaiting(row: WaitingListed, sight: Sight = 'masked'): WaitingItem {
  return { ...row, eventId: eventIdOf(row, sight), note: NOTES[row.reason]?.(row) ?? 'Something must happen first.' };
}
const NOTES: Readonly<Record<string, (row: WaitingListed) => string>> = {
  customer: ({ customerId }) => `Its customer ${customerId} is unknown: it goes when CUSTOMER_CREATED of it arrives.`,
  user: ({ userId }) => `The user ${userId} does not exist yet: it goes when USER_CREATED of it was applied.`,
  'dead-letter': ({ userId }) =>
    `A dead letter of ${userId} lies before it: it goes when that is redriven or discarded.`,
  hold: ({ userId }) => `${userId} or its customer is on hold: it goes when that is released.`,
  order: ({ userId }) => `Another event of ${userId} waits before it: it goes behind that one.`,
  machine: ({ userId }) =>
    `The row of ${userId} was written by a newer machine: it goes when this version is deployed everywhere.`,
};

/** How much of what may be personal is shown: nothing (AUTH_PAYLOADS=off), its form, all. */
export type Sight = 'hidden' | 'masked' | 'revealed';

type Whole = {
  key: Buffer | null;
  value: Buffer | null;
  headers: readonly Header[];
  editedValue?: Buffer | null;
};

/** What a record is made of, as far as it may be seen. */
export function contentOf({ key, value, headers, editedValue = null }: Whole, sight: Sight): Content {
  const size = value?.length ?? 0;
  if (sight === 'hidden')
    return { masked: true, key: null, value: null, base64: false, size, headers: [], editedValue: null };
  if (sight === 'revealed')
    return {
      masked: false,
      key: readable(key)?.text ?? null,
      value: readable(value)?.text ?? null,
      base64: readable(value)?.isBase64 ?? false,
      size,
      headers: headers.map(([name, bytes]) => ({ name, value: readable(bytes)?.text ?? null })),
      editedValue: readable(editedValue)?.text ?? null,
    };
  return {
    masked: true,
    key: hiddenBut(masked, key),
    value: hiddenBut(maskedText, value),
    base64: false,
    size,
    headers: headers.map(([name, bytes]) => maskedHeader(name, bytes === null ? null : (textOf(bytes) ?? '***'))),
    editedValue: hiddenBut(maskedText, editedValue),
  };
}
function hiddenBut(mask: (text: string) => string, bytes: Buffer | null): string | null {
  if (bytes === null) return null;
  const text = textOf(bytes);
  return text === undefined ? '***' : mask(text);
}

/** What a payload says, as far as it may be seen. */
export function eventOf(event: Record<string, unknown>, sight: Sight): Record<string, unknown> {
  return sight === 'revealed' ? event : sight === 'masked' ? maskedEvent(event) : {};
}

/** Where a dialect has no id, a hash of the content stands for it: whoever guesses what is masked could try the guess on it. Null then. */
export function eventIdOf<T extends string | null>(
  { dialect, eventId }: { dialect: string | null; eventId: T },
  sight: Sight,
): T | null {
  return sight === 'revealed' || !WITHOUT_ID.has(dialect) ? eventId : null;
}
const WITHOUT_ID: ReadonlySet<string | null> = new Set(['nest', 'plain', null]);

/** What a step was judged by, but for the hash of its content, as above. */
export function factsOf({ hash, ...facts }: Record<string, unknown>, sight: Sight): Record<string, unknown> {
  return sight === 'revealed' ? { hash, ...facts } : facts;
}

/** Undefined: it is no UTF-8. */
function textOf(bytes: Buffer): string | undefined {
  return isUtf8(bytes) ? bytes.toString() : undefined;
}
function readable(bytes: Buffer | null): { text: string; isBase64: boolean } | undefined {
  if (bytes === null) return undefined;
  const text = textOf(bytes);
  return { text: text ?? bytes.toString('base64'), isBase64: text === undefined };
}

const BROKEN = 'Its producer sends something broken: tell it, and discard. A corrected event may simply be sent.';
const CONTRACT = 'Its producer breaks the contract: tell it. A corrected event may simply be sent, or edit this one.';
const KEYS = 'Keys must be usable while KAFKA_KEYS is strict: mend the producer, or set it to lenient and redrive.';

/** What can be done about each code: docs/operations.md, "Dead letters". */
export const ADVICE: Readonly<Record<DeadCode, string>> = {
  size: 'It is larger than MAX_RECORD_BYTES: tell its producer, or raise the limit and redrive.',
  headers: 'It has more headers than MAX_HEADERS: tell its producer, or raise the limit and redrive.',
  bomb: BROKEN,
  'key-missing': KEYS,
  'key-length': KEYS,
  'key-utf8': KEYS,
  'key-charset': KEYS,
  'key-mismatch': KEYS,
  empty: BROKEN,
  tombstone:
    'Often NestJS: emit(topic, { key, … }) without `value` sends a null value. A deletion is USER_DELETED. Tell its producer, and discard.',
  utf8: BROKEN,
  bom: BROKEN,
  depth: BROKEN,
  json: BROKEN,
  dupkey: BROKEN,
  'proto-key': BROKEN,
  undecodable:
    'It fits no dialect. Debezium without its type: set table.fields.additional.placement=type:header:eventType. Then discard.',
  'unknown-type': 'A new event on a shared topic: discard it, or deploy a version that knows it and redrive.',
  'unknown-version': 'Its producer is ahead of this service: deploy the version that knows it, then redrive.',
  schema: CONTRACT,
  'num-range': CONTRACT,
  nul: BROKEN,
  surrogate: BROKEN,
  'ts-format': CONTRACT,
  'ts-range': CONTRACT,
  tenant: 'Its customer may not stand on this topic: tell its producer, and discard.',
  'waiting-full': 'Too many events of this user wait: solve what they wait for first, then redrive.',
  'given-up': 'It waited, and an operator discarded it: nothing to do.',
  transition: 'Our machine threw: fix it, deploy, redrive.',
  loop: 'Our machine did not end: fix it, deploy, redrive.',
  'state-size': 'Its user’s row would be too large: look at its history, then redrive or discard.',
  sql: 'Only Postgres refused it: `class` is the SQLSTATE. Remove what refuses it, then redrive.',
};
