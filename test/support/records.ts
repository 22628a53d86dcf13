// records.ts — payloads, and records as the producers of each dialect would send them. A test shows only what it is about.
import type { EventType, Header, Payload, Place, SourceRecord } from '../../src/events.ts';

/** When nothing else is said: the payloads' timestamp. The record's own time is a second later. */
export const AT = '2025-01-31T09:30:00.000Z';
export const AT_MS = Date.UTC(2025, 0, 31, 9, 30);

// Payloads

export function userCreated(over: Partial<Payload<'USER_CREATED'>> = {}): Payload<'USER_CREATED'> {
  return {
    userId: 'auth0|u1',
    email: 'ada@example.com',
    name: 'Ada Lovelace',
    role: 'OWNER',
    userType: 'SME_OWNER',
    customerAccountId: 'c1',
    customerName: 'Engines Ltd',
    timestamp: AT,
    ...over,
  };
}

export function statusChanged(over: Partial<Payload<'USER_STATUS_CHANGED'>> = {}): Payload<'USER_STATUS_CHANGED'> {
  return {
    userId: 'auth0|u1',
    previousStatus: 'PENDING',
    newStatus: 'ACTIVE',
    userType: 'SME_OWNER',
    changedBy: 'admin@example.com',
    timestamp: AT,
    ...over,
  };
}

export function roleChanged(over: Partial<Payload<'USER_ROLE_CHANGED'>> = {}): Payload<'USER_ROLE_CHANGED'> {
  return {
    userId: 'auth0|u1',
    previousRole: 'SME_USER',
    newRole: 'SME_OWNER',
    userType: 'SME_USER',
    changedBy: 'admin@example.com',
    timestamp: AT,
    ...over,
  };
}

export function userDeleted(over: Partial<Payload<'USER_DELETED'>> = {}): Payload<'USER_DELETED'> {
  return { userId: 'auth0|u1', userType: 'SME_OWNER', deletedBy: 'admin@example.com', timestamp: AT, ...over };
}

export function customerCreated(over: Partial<Payload<'CUSTOMER_CREATED'>> = {}): Payload<'CUSTOMER_CREATED'> {
  return { customerAccountId: 'c1', name: 'Engines Ltd', timestamp: AT, ...over };
}

/** One valid payload of each type. */
export const PAYLOADS: { [T in EventType]: Payload<T> } = {
  USER_CREATED: userCreated(),
  USER_STATUS_CHANGED: statusChanged(),
  USER_ROLE_CHANGED: roleChanged(),
  USER_DELETED: userDeleted(),
  CUSTOMER_CREATED: customerCreated(),
};

// Records

/** A record and where it was read: `decode(it.place, it)`. */
export type Arrival = SourceRecord & { place: Place };

export type Over = {
  topic?: string;
  partition?: number;
  generation?: number;
  offset?: bigint | number;
  timestampMs?: number;
  key?: string | Buffer | null;
  /** Added behind those of the dialect. */
  headers?: readonly (readonly [string, string | Buffer | null])[];
  /** The event's id and its producer, where the dialect has such. */
  id?: string;
  source?: string;
};

/** A payload is sent as JSON, unless it is the text or the bytes already. */
export type Body = object | string | Buffer | null;

export function at(topic: string, partition = 0, generation = 0): Place {
  return { topic, partition, generation };
}

/** NestJS `emit(type, payload)`: a topic named like the event, no key, no header. */
export function nestRecord(type: string, body: Body, over: Over = {}): Arrival {
  return arrival(type, body, null, [], over);
}

/** CloudEvents 1.0, binary: our native form. */
export function cloudEvent(type: string, body: Body, over: Over = {}): Arrival {
  const { id = 'e1', source = '/accounting' } = over;
  const attributes = { ce_specversion: '1.0', ce_id: id, ce_type: type, ce_source: source };
  const headers = Object.entries({ ...attributes, 'content-type': 'application/json' });
  return arrival('user-events', body, 'c1', headers, over);
}

/** CloudEvents 1.0, structured. */
export function structured(type: string, data: unknown, over: Over = {}): Arrival {
  const { id = 'e1', source = '/accounting' } = over;
  const body = { specversion: '1.0', id, type, source, datacontenttype: 'application/json', data };
  return structuredBody(body, { timestampMs: ownTimeMs(data), ...over });
}

/** The same with the whole envelope given. */
export function structuredBody(body: Body, over: Over = {}): Arrival {
  const headers = [['content-type', 'application/cloudevents+json; charset=UTF-8']] as const;
  return arrival('user-events', body, 'c1', headers, over);
}

/** Debezium's outbox router as it is by default: the payload is an escaped JSON string. */
export function debezium(type: string, body: Body, over: Over = {}): Arrival {
  const text = Buffer.isBuffer(body) ? body : JSON.stringify(typeof body === 'string' ? body : JSON.stringify(body));
  return debeziumValue(type, text, { timestampMs: ownTimeMs(body), ...over });
}

/** The same with the whole value given: JSON expansion, Connect's {schema, payload}. */
export function debeziumValue(type: string, value: Body, over: Over = {}): Arrival {
  const headers = Object.entries({ id: over.id ?? 'e1', eventType: type });
  return arrival('outbox.event.user', value, 'c1', headers, over);
}

/** Plain JSON that names its type. */
export function plain(type: string, payload: object, over: Over = {}): Arrival {
  return arrival('user-events', { type, ...payload }, 'c1', [], over);
}

/** No dialect at all: value, headers and topic as given. */
export function rawRecord(body: Body, over: Over = {}): Arrival {
  return arrival('user-events', body, null, [], over);
}

function arrival(
  topic: string,
  body: Body,
  key: string | null,
  headers: readonly (readonly [string, string | Buffer | null])[],
  over: Over,
): Arrival {
  const value =
    Buffer.isBuffer(body) || body === null ? body : bytes(typeof body === 'string' ? body : JSON.stringify(body));
  return {
    place: at(over.topic ?? topic, over.partition, over.generation),
    offset: BigInt(over.offset ?? 0),
    timestampMs: over.timestampMs ?? ownTimeMs(body),
    key: bytes(over.key === undefined ? key : over.key),
    value,
    headers: [...headers, ...(over.headers ?? [])].map(([name, content]): Header => [name, bytes(content)]),
  };
}

/** A second after the payload's timestamp, so that a test may choose any. */
function ownTimeMs(body: unknown): number {
  const timestamp = typeof body === 'object' && body !== null && 'timestamp' in body ? body.timestamp : AT;
  const ms = Date.parse(String(timestamp));
  return (Number.isNaN(ms) ? AT_MS : ms) + 1_000;
}

function bytes(content: string | Buffer | null): Buffer | null {
  return typeof content === 'string' ? Buffer.from(content) : content;
}
