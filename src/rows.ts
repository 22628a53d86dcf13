// rows.ts — how what was decided stands in the tables: users, customers, history, what waits, dead letters.
//
// Does not own:  the statements' order and counts (save.ts), how they are made (bulk.ts).
import { createHash } from 'node:crypto';
import { customers, deadLetters, history, users, waiting } from '../db/schema.ts';
import { VERSION } from '../machines/index.ts';
import { bulkOf, type Read } from './bulk.ts';
import type { Buried } from './bury.ts';
import type { Header, Place, SourceRecord } from './events.ts';
import { isoTime, type Settled } from './put.ts';
import type { CustomerWrite, Postponed, UserWrite } from './run.ts';

/** Who saves: stands in positions and dead letters, for people. */
export type Saver = {
  instance: string;
  clusterId: string;
  group: string | null;
  serviceVersion: string;
  /** Of the batch or drain that saves, where it is sampled. */
  traceId: string | null;
};

export const CUSTOMERS = bulkOf<CustomerWrite>(customers, {
  key: 'customerId',
  filled: ['createdAt', 'updatedAt'],
  read: (field) => (write) => write.row[field as keyof CustomerWrite['row']],
});
export const USERS = bulkOf<UserWrite>(users, {
  key: 'userId',
  filled: ['updatedAt'],
  kept: ['createdAt'],
  read: (field) => (write) => write.row[field as keyof UserWrite['row']],
});

/** Read straight from what was settled: one object less per event. */
const HISTORY_FIELDS: { [F in keyof Omit<typeof history.$inferSelect, 'recordedAt'>]: Read<Settled, Saver> } = {
  topic: ({ event }) => event.place.topic,
  partition: ({ event }) => event.place.partition,
  generation: ({ event }) => event.place.generation,
  offset: ({ event }) => String(event.record.offset),
  userId: ({ event }) => event.userId,
  customerId: ({ customerId }) => customerId,
  version: ({ version }) => version,
  type: ({ event }) => event.type,
  outcome: ({ outcome }) => outcome,
  fromState: ({ from }) => from,
  toState: ({ to }) => to,
  transition: ({ transition }) => transition,
  drift: ({ drift }) => drift,
  // The text goes in as it came: parsing and writing it again would cost and could change it.
  event: ({ event }) => event.text,
  facts: ({ facts }) => JSON.stringify(facts),
  occurredAt: ({ event }) => isoTime(event),
  dialect: ({ event }) => event.dialect,
  eventId: ({ event }) => event.eventId,
  // Where somebody can find it: in the producer's trace, which tells more, or in the batch's.
  traceId: ({ event }, { traceId }) => event.trace?.traceId ?? traceId,
  machineVersion: () => VERSION,
};
export const HISTORY = bulkOf<Settled, Saver>(history, {
  key: 'offset',
  filled: ['recordedAt'],
  read: (field) => HISTORY_FIELDS[field as keyof typeof HISTORY_FIELDS],
});

export const WAITING = bulkOf<ReturnType<typeof waitingRow>>(waiting, {
  key: 'offset',
  filled: ['id', 'since'],
  read: (field) => (row) => row[field as keyof typeof row],
});
export const DEAD_LETTERS = bulkOf<ReturnType<typeof deadLetterRow>>(deadLetters, {
  key: 'offset',
  filled: [
    'id',
    'status',
    'attempts',
    'firstFailedAt',
    'lastFailedAt',
    'byWhom',
    'settledAt',
    'note',
    'editedValue',
    'forced',
  ],
  read: (field) => (row) => row[field as keyof typeof row],
});

export function waitingRow({ event, reason }: Postponed) {
  const { record } = event;
  return {
    ...coordinates(event.place, record),
    userId: event.userId,
    customerId: event.customerId,
    reason,
    type: event.type,
    key: hex(record.key),
    value: hex(record.value),
    headers: headerPairs(record.headers),
    recordMs: record.timestampMs,
    eventId: event.eventId,
    dialect: event.dialect,
    occurredAt: isoTime(event),
    atMs: event.atMs,
  };
}

export function deadLetterRow(
  saver: Saver,
  { event, stage, code, class: errorClass, message, stack, blocks, userId, userVersion }: Buried,
) {
  const { record } = event;
  const size = (record.key?.length ?? 0) + (record.value?.length ?? 0);
  const sha256 = createHash('sha256')
    .update(record.key ?? '')
    .update(record.value ?? '')
    .digest('hex');
  return {
    ...coordinates(event.place, record),
    stage,
    code,
    class: errorClass,
    message: safeText(message, 1_000),
    stack: stack && safeText(stack, 8_000),
    key: hex(record.key),
    value: hex(record.value),
    headers: headerPairs(record.headers),
    sha256: `\\x${sha256}`,
    size,
    recordMs: record.timestampMs,
    clusterId: saver.clusterId,
    consumerGroup: saver.group,
    userId,
    userVersion,
    type: event.type,
    dialect: event.dialect,
    eventId: event.eventId && safeText(event.eventId, 256),
    blocks,
    occurredAt: event.occurredAtMs === null ? null : new Date(event.occurredAtMs).toISOString(),
    serviceVersion: saver.serviceVersion,
    machineVersion: VERSION,
    instance: saver.instance,
    traceId: event.trace?.traceId ?? saver.traceId,
  };
}

function coordinates({ topic, partition, generation }: Place, { offset }: SourceRecord) {
  return { topic, partition, generation, offset: String(offset) };
}
function hex(value: Buffer | null): string | null {
  return value === null ? null : `\\x${value.toString('hex')}`;
}
/** JSON text of pairs [name, value], both base64: any bytes, order and repeats kept. */
function headerPairs(headers: readonly Header[]): string {
  return JSON.stringify(
    headers.map(([name, value]) => [
      Buffer.from(name).toString('base64'),
      value === null ? null : value.toString('base64'),
    ]),
  );
}
/** A text that Postgres takes whatever it is: well-formed, no NUL, capped. */
function safeText(text: string, limit: number): string {
  return text.slice(0, limit).toWellFormed().replaceAll('\0', '');
}
