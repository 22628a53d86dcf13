// decode.ts — a Kafka record in, an event out; or the reason why it is none.
//
// Owns:          the order of the gates (numbered, cheapest first: the first refusal wins), the validation, the event's
//                time and hash.
// Does not own:  the single gates (gates.ts), the wrappings (dialects.ts), what an event means (machines/).
//
// D1  A bad record is a value: `decode` is pure and never throws, whatever the bytes (P4).
// D2  The payload's text goes on as it was received. Nothing is added to it, coerced or written anew.
// D3  Only fields of the schema are taken over, into a fresh object; the names of the others are never used.
// D4  A detail quotes no input: not a value, not a key, not a header.
import { hash } from 'node:crypto';
import { Compile, type Validator } from 'typebox/compile';
import type { TLocalizedValidationError } from 'typebox/error';
import { unquote, unwrap, type Wrapped } from './dialects.ts';
import {
  type DeadCode,
  type Decoded,
  EVENT_TYPES,
  type Event,
  type EventType,
  type Place,
  SCHEMAS,
  type SourceRecord,
  sourceName,
  type Unreadable,
} from './events.ts';
import { isUsableKey, Refusal, readJson, readText, readTime, refuseKey, refuseSize, refuseTime } from './gates.ts';
import { producerTrace } from './trace.ts';

export type DecodeOptions = {
  /** `strict`: an absent or unusable key, or one that contradicts the body, makes a dead letter; else it is counted. */
  keys: 'lenient' | 'strict';
  maxRecordBytes: number;
  maxHeaders: number;
};

export function decoder(options: DecodeOptions): (place: Place, record: SourceRecord) => Decoded {
  const strict = options.keys === 'strict';

  return function decode(place, record) {
    // 1  record size and number of headers
    const oversize = refuseSize(record.value, record.headers, options);
    if (oversize !== null) return dead(place, record, oversize, null);
    // 2  the key
    const badKey = strict ? refuseKey(record.key) : null;
    if (badKey !== null) return dead(place, record, badKey, null);
    // 3, 4  a value, in UTF-8
    const text = readText(record.value);
    if (text instanceof Refusal) return dead(place, record, text, null);
    // 5, 6, 7  bounded, JSON, no key twice, none that reaches for a prototype
    const json = readJson(text);
    if (json instanceof Refusal) return dead(place, record, json, null);

    // 8  dialect, type, version
    const wrapped = unwrap(place.topic, record.headers, json);
    const { payload } = wrapped;
    const type = typeOf(wrapped);
    if (type instanceof Refusal) return dead(place, record, type, wrapped);
    if (wrapped.fault !== null) return dead(place, record, wrapped.fault, wrapped);
    // 9  schema
    const fields = validate(type, payload.value);
    if (fields instanceof Refusal) return dead(place, record, fields, wrapped);
    // 10  characters that Postgres can not hold, in all of the text
    if (payload.unstorable !== null) return dead(place, record, payload.unstorable, wrapped);
    // 11  the key against the body
    const badMatch = strict ? refuseMatch(record.key, wrapped, fields) : null;
    if (badMatch !== null) return dead(place, record, badMatch, wrapped);
    // 12  the timestamp
    const occurredAtMs = readTime(fields.timestamp);
    if (occurredAtMs instanceof Refusal) return dead(place, record, occurredAtMs, wrapped);
    const badTime = refuseTime(occurredAtMs, record.timestampMs);
    if (badTime !== null) return dead(place, record, badTime, wrapped);

    const digest = digestOf(wrapped, type, payload.text);
    return {
      type,
      payload: fields,
      userId: fields.userId ?? null,
      customerId: fields.customerAccountId ?? null,
      place,
      record,
      source: sourceName(place),
      dialect: wrapped.dialect,
      eventId: wrapped.id ?? digest.slice(0, 32),
      hash: digest.slice(0, 16),
      text: payload.text,
      occurredAtMs,
      atMs: cappedAt(occurredAtMs, record.timestampMs),
      keyed: isUsableKey(record.key),
      trace: producerTrace(record.headers),
    } as Event;
  };
}

/** `.v1` is the type itself: the first version of a payload has no suffix of its own. */
const TYPES: ReadonlyMap<string, EventType> = new Map(
  EVENT_TYPES.flatMap((type) => [
    [type, type],
    [`${type}.v1`, type],
  ]),
);
const VERSION = /\.v[1-9]\d{0,8}$/;

/** The known event of which `name` is some version. */
function unversioned(name: string): EventType | null {
  return EVENT_TYPES.find((type) => type === name.replace(VERSION, '')) ?? null;
}

function typeOf({ type, fault }: Wrapped): EventType | Refusal {
  if (type === null) return fault ?? new Refusal('undecodable', 'no dialect fits');
  const known = TYPES.get(type);
  if (known !== undefined) return known;
  if (unversioned(type) !== null) {
    return new Refusal('unknown-version', 'type: expected version 1 of this event; a later one needs a newer release');
  }
  return new Refusal('unknown-type', `type: expected one of ${EVENT_TYPES.join(', ')}`);
}

/** What every payload has, and what some have. */
type Fields = { timestamp: string; userId?: string; customerAccountId?: string };

const VALIDATORS = new Map(
  EVENT_TYPES.map((type) => [type, { schema: Compile(SCHEMAS[type]), names: Object.keys(SCHEMAS[type].properties) }]),
);

function validate(type: EventType, value: unknown): Fields | Refusal {
  const { schema, names } = VALIDATORS.get(type) as { schema: Validator; names: string[] };
  if (!schema.Check(value)) return new Refusal('schema', firstError(schema.Errors(value)));
  const fields: Record<string, unknown> = {};
  for (const name of names)
    if (Object.hasOwn(value as object, name)) fields[name] = (value as Record<string, unknown>)[name];
  return fields as Fields;
}

/** "newStatus: expected one of PENDING, ACTIVE, …": words of the schema only (D4). */
function firstError(errors: readonly TLocalizedValidationError[]): string {
  const [error] = errors;
  if (error === undefined) return 'payload: expected another form';
  const field = error.instancePath === '' ? 'payload' : error.instancePath.slice(1);
  switch (error.keyword) {
    case 'required':
      return `${error.params.requiredProperties[0]}: expected a value, found none`;
    case 'type':
      return `${field}: expected ${error.params.type === 'object' ? 'an object' : `a ${error.params.type}`}`;
    case 'enum':
      return `${field}: expected one of ${error.params.allowedValues.join(', ')}`;
    case 'minLength':
      return `${field}: expected at least ${error.params.limit} characters`;
    case 'maxLength':
      return `${field}: expected at most ${error.params.limit} characters`;
    case 'pattern':
      return `${field}: expected 1 to 128 printable ASCII characters`; // the contract has one pattern: ids
    default:
      return `${field}: expected another form (${error.keyword})`;
  }
}

/** Who owns the key's order is the customer or the user. Without a customer in the body nobody can tell. */
function refuseMatch(key: Buffer | null, { dialect }: Wrapped, fields: Fields): Refusal | null {
  if (key === null || fields.customerAccountId === undefined) return null;
  const text = key.toString('latin1');
  const name = dialect === 'debezium' ? unquote(text) : text;
  if (name === fields.customerAccountId || name === fields.userId) return null;
  return new Refusal('key-mismatch', "key: expected the body's customerAccountId or userId");
}

const AHEAD_MS = 5 * 60_000; // a producer's clock may be wrong; it must not hold a user's mark in the future for long

function cappedAt(occurredAtMs: number, recordMs: number): number {
  return recordMs < 0 ? occurredAtMs : Math.min(occurredAtMs, recordMs + AHEAD_MS);
}

/** SHA-256 over who says what, never over where: a repartitioned topic or a second delivery gives the same digest. Its first
 *  16 digits are the event's hash; in dialects without an id the first 32 are the id, so that one computation does for both.
 *  No part can hold U+0000, so the parts can not run into each other. */
function digestOf({ producer, id }: Wrapped, type: EventType, text: string): string {
  return hash('sha256', `${producer}\0${id ?? ''}\0${type}\0${text}`, 'hex');
}

const USER_ID = /^[\x21-\x7e]{1,128}$/; // the rule of events.ts for ids

/** What is left of a record that is no event, with all that could be read of it. */
function dead(place: Place, record: SourceRecord, { code, detail }: Refusal, wrapped: Wrapped | null): Unreadable {
  const type = unversioned(wrapped?.type ?? '');
  const { userId, timestamp } = Object(wrapped?.payload.value) as { userId?: unknown; timestamp?: unknown };
  const user = typeof userId === 'string' && USER_ID.test(userId) ? userId : null;
  const occurredAtMs = typeof timestamp === 'string' ? readTime(timestamp) : null;
  return {
    outcome: 'dead',
    place,
    record,
    source: sourceName(place),
    stage: LATE_CODES.has(code) ? 'validate' : 'decode',
    code,
    detail,
    type,
    userId: user,
    dialect: wrapped?.dialect ?? null,
    eventId: wrapped?.id ?? null,
    occurredAtMs: occurredAtMs instanceof Refusal ? null : occurredAtMs,
    keyed: isUsableKey(record.key),
    trace: producerTrace(record.headers),
    // A producer ahead of us: after the next deploy the order of this user's events matters.
    blocks: code === 'unknown-version' && user !== null,
  };
}

/** The codes of gates 9 to 12. */
const LATE_CODES: ReadonlySet<DeadCode> = new Set<DeadCode>([
  ...(['schema', 'num-range', 'nul', 'surrogate', 'tenant', 'key-mismatch', 'ts-format', 'ts-range'] as const),
]);
