// events.ts — the contract: which events exist, what they carry, and which source and batch they came with.
//
// One TypeBox schema per event gives the type, the validation (decode.ts) and the documents made from it. Unknown fields
// are allowed and ignored: a producer may add some. No schema may have a top-level property `key` or `value`: NestJS'
// ClientKafka takes an object with either for a Kafka message and loses the rest (test/unit/events.test.ts).
import { type Static, Type } from 'typebox';
import { EVENT_USER_TYPES, ROLES, STATUSES } from '../machines/index.ts';
import type { ProducerTrace } from './trace.ts';

/** 1–128 printable ASCII characters: ids are keys in Postgres and Redis, and two spellings may never be one user. */
const Id = Type.String({ maxLength: 128, pattern: '^[\\x21-\\x7e]{1,128}$' });
const Words = (maxLength: number) => Type.String({ minLength: 1, maxLength });
const oneOf = <const T extends readonly string[]>(words: T) => Type.Enum([...words] as unknown as [...T]);
/** RFC 3339 with Z or an offset. Strict parsing and range: decode.ts, gate 12. */
const Timestamp = Type.String({ minLength: 20, maxLength: 40 });

export const SCHEMAS = {
  USER_CREATED: Type.Object({
    userId: Id,
    email: Words(320),
    name: Words(500),
    role: Words(100),
    userType: oneOf(EVENT_USER_TYPES),
    customerAccountId: Type.Optional(Id),
    customerName: Type.Optional(Words(500)),
    timestamp: Timestamp,
  }),
  USER_STATUS_CHANGED: Type.Object({
    userId: Id,
    previousStatus: Words(100),
    newStatus: oneOf(STATUSES),
    userType: Words(100),
    changedBy: Words(320),
    timestamp: Timestamp,
  }),
  USER_ROLE_CHANGED: Type.Object({
    userId: Id,
    previousRole: Words(100),
    newRole: oneOf([...EVENT_USER_TYPES, ...ROLES]),
    userType: Words(100),
    changedBy: Words(320),
    timestamp: Timestamp,
  }),
  USER_DELETED: Type.Object({
    userId: Id,
    userType: Words(100),
    deletedBy: Words(320),
    timestamp: Timestamp,
  }),
  CUSTOMER_CREATED: Type.Object({
    customerAccountId: Id,
    name: Words(500),
    timestamp: Timestamp,
  }),
} as const;

export type EventType = keyof typeof SCHEMAS;
export const EVENT_TYPES = Object.keys(SCHEMAS) as EventType[];
export type Payload<T extends EventType> = Static<(typeof SCHEMAS)[T]>;

/** How an event was wrapped on the wire (decode.ts tells them apart). */
export const DIALECTS = ['cloudevents', 'cloudevents-structured', 'nest', 'debezium', 'plain'] as const;
export type Dialect = (typeof DIALECTS)[number];

/** What Kafka delivers. `timestampMs`: the record's own time, ms since 1970, -1 = none. Headers keep order and repeats. */
export type SourceRecord = {
  offset: bigint;
  timestampMs: number;
  key: Buffer | null;
  value: Buffer | null;
  headers: readonly Header[];
};
export type Header = readonly [name: string, value: Buffer | null];

/** The place of a partition's log: coordinates are unique within one generation of it. */
export type Place = { topic: string; partition: number; generation: number };

/** The name of a source in marks: "topic/partition", and "#generation" once the log was replaced. */
export function sourceName({ topic, partition, generation }: Place): string {
  return generation === 0 ? `${topic}/${partition}` : `${topic}/${partition}#${generation}`;
}

type Envelope = {
  outcome?: undefined;
  place: Place;
  record: SourceRecord;
  /** sourceName(place) */
  source: string;
  dialect: Dialect;
  /** The producer's id of the event; where the dialect has none, the hash of the content. */
  eventId: string;
  /** 16 hex digits: producer + id + type + content. What the ring of recent events remembers. */
  hash: string;
  /** The payload's JSON text as received: it goes into history unchanged. */
  text: string;
  /** The event's own timestamp, ms since 1970. */
  occurredAtMs: number;
  /** What counts in marks: `occurredAtMs`, but at most 5 minutes above the record's own time. */
  atMs: number;
  /** False: the record's key is absent or unusable, so order across partitions can not be promised. */
  keyed: boolean;
  /** Null: its producer began none, or did not sample it. */
  trace: ProducerTrace | null;
};
/** `customerId`: the customer that the body names (null: none). */
export type UserEventOf<T extends Exclude<EventType, 'CUSTOMER_CREATED'>> = Envelope & {
  type: T;
  payload: Payload<T>;
  userId: string;
  customerId: string | null;
};
export type UserEvent =
  | UserEventOf<'USER_CREATED'>
  | UserEventOf<'USER_STATUS_CHANGED'>
  | UserEventOf<'USER_ROLE_CHANGED'>
  | UserEventOf<'USER_DELETED'>;
export type CustomerEvent = Envelope & {
  type: 'CUSTOMER_CREATED';
  payload: Payload<'CUSTOMER_CREATED'>;
  userId: null;
  customerId: string;
};
export type Event = UserEvent | CustomerEvent;

/** Why a record became a dead letter: the closed list (docs/operations.md says what to do about each). */
export const DEAD_CODES = [
  ...['size', 'headers', 'bomb'],
  ...['key-missing', 'key-length', 'key-utf8', 'key-charset', 'key-mismatch'],
  ...['empty', 'tombstone', 'utf8', 'bom', 'depth', 'json', 'dupkey', 'proto-key'],
  ...['undecodable', 'unknown-type', 'unknown-version', 'schema', 'num-range', 'nul', 'surrogate'],
  ...['ts-format', 'ts-range', 'tenant'],
  ...['waiting-full', 'given-up', 'transition', 'loop', 'state-size', 'sql'],
] as const;
export type DeadCode = (typeof DEAD_CODES)[number];

/** A record that could not be read: a value that walks on and ends as a dead letter (P4). `detail` never quotes input. */
export type Unreadable = {
  outcome: 'dead';
  place: Place;
  record: SourceRecord;
  source: string;
  stage: 'decode' | 'validate';
  code: DeadCode;
  /** "newStatus: expected one of PENDING, ACTIVE, …" */
  detail: string;
  /** As far as it could be read. */
  type: EventType | null;
  userId: string | null;
  dialect: Dialect | null;
  eventId: string | null;
  occurredAtMs: number | null;
  keyed: boolean;
  trace: ProducerTrace | null;
  /** True: later events of `userId` must wait behind it (a known type in a version we do not know). */
  blocks: boolean;
};
export type Decoded = Event | Unreadable;

/** One word for what became of an event, in order of precedence: the first that fits wins. */
export const OUTCOMES = ['dead', 'duplicate', 'waiting', 'rejected', 'stale', 'skipped', 'applied'] as const;
export type Outcome = (typeof OUTCOMES)[number];
