// What producers are told about the events is a valid document, and true.
import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import * as formats from 'ajv-formats';
import { describe, expect, test } from 'vitest';
import { asyncapi } from '../../src/asyncapi.ts';
import { readConfig } from '../../src/config.ts';
import { decoder } from '../../src/decode.ts';
import { EVENT_TYPES, type EventType, SCHEMAS } from '../../src/events.ts';
import { kafkaSettings } from '../../src/sources/open.ts';
import { nestRecord, rawRecord } from '../support/records.ts';

type Schema = Record<string, unknown>;
type Message = {
  name: EventType;
  headers?: Schema;
  payload: { $ref: string };
  traits?: { $ref: string }[];
  examples: { name: string; headers?: Record<string, string>; payload: Record<string, unknown> }[];
};
type Channel = {
  address: string;
  messages: Record<string, { $ref: string }>;
  bindings: { kafka: { topic: string; partitions: number } };
};
type Document = {
  channels: Record<string, Channel>;
  operations: Record<string, { channel: { $ref: string }; bindings: { kafka: { groupId: { const: string } } } }>;
  components: { messages: Record<string, Message>; messageTraits: Record<string, { headers: Schema }> };
};
const document = asyncapi() as Document;
const messages = Object.entries(document.components.messages);

// Not strict: the schema of AsyncAPI has keywords of its own, and so have AsyncAPI's schemas.
const ajv = new Ajv({ strict: false, allErrors: true });
(formats as unknown as { default: { default: (ajv: Ajv) => void } }).default.default(ajv);

describe('the document', () => {
  test('is what the official schema of AsyncAPI 3.1 allows', () => {
    const path = '../../node_modules/@asyncapi/specs/schemas/3.1.0-without-$id.json';
    const fits = ajv.compile(JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')));
    expect(fits(document), JSON.stringify(fits.errors, null, 2)).toBe(true);
    expect(fits({ ...document, info: { title: 'without a version' } })).toBe(false);
    expect(fits({ ...document, operations: { onUserEvents: { action: 'takes' } } })).toBe(false);
  });

  test('names nothing that is not in it', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"(.*?)"/g)].map(([, path = '']) => path);
    expect(references.length).toBeGreaterThan(30);
    for (const path of references) expect(at(path), path).toBeDefined();
  });

  test('has the topics, partitions and names that the service has without any setting', () => {
    const { topics, partitions, groupId } = kafkaSettings(
      readConfig({ KAFKA_BROKERS: 'localhost:9092', DB_HOST: 'localhost' }, { file: null }),
    );
    const channels = Object.values(document.channels);
    expect(channels.map(({ address }) => address)).toEqual(topics);
    for (const { address, bindings } of channels)
      expect(bindings.kafka).toMatchObject({ topic: address, partitions: partitions(address) });
    const operations = Object.values(document.operations);
    expect(operations.map(({ channel }) => at(channel.$ref))).toEqual(channels);
    for (const { bindings } of operations) expect(bindings.kafka.groupId.const).toBe(groupId);
  });

  test('has every event twice: in our own topic, and in the one that is named like it', () => {
    const namesIn = (topic: string) =>
      Object.values(document.channels[topic]?.messages ?? {}).map(({ $ref }) => (at($ref) as Message).name);
    expect(namesIn('user-events')).toEqual(EVENT_TYPES);
    for (const type of EVENT_TYPES) expect(namesIn(type)).toEqual([type]);
  });

  test.each(EVENT_TYPES)('%s: the payload is the schema that validates it, and words', (type) => {
    for (const { name, payload } of Object.values(document.components.messages)) {
      if (name !== type) continue;
      const { title: _, ...schema } = at(payload.$ref) as Schema;
      expect(withoutWords(schema)).toEqual(SCHEMAS[type]);
      for (const [field, { description }] of Object.entries(schema.properties as Record<string, Schema>))
        expect(description, field).toMatch(/\.$/);
    }
  });
});

describe('what it shows is taken by the service', () => {
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  const strict = decoder({ keys: 'strict', maxRecordBytes: 1_000_000, maxHeaders: 256 });

  test.each(messages)('%s: its examples fit its schemas and are decoded as its event', (_, message) => {
    expect(message.examples).toHaveLength(1);
    for (const { name, headers = {}, payload } of message.examples) {
      expect(fits(at(message.payload.$ref), payload)).toBe(true);
      for (const schema of headersOf(message)) expect(fits(schema, headers)).toBe(true);
      const over = { headers: Object.entries(headers), timestampMs: Date.parse(String(payload.timestamp)) + 1_000 };
      const arrival =
        name === 'nest'
          ? nestRecord(message.name, payload, over)
          : rawRecord(payload, { ...over, key: String(payload.customerAccountId ?? payload.userId) });
      const event = (name === 'nest' ? decode : strict)(arrival.place, arrival);
      expect(event.outcome, 'detail' in event ? event.detail : '').toBeUndefined();
      expect(event).toMatchObject({ type: message.name, dialect: name, payload });
    }
  });

  test('headers that it does not allow are no CloudEvent to the service either', () => {
    const message = document.components.messages.UserCreated as Message;
    const [{ headers = {}, payload } = { payload: {} }] = message.examples;
    for (const missing of ['ce_id', 'ce_type', 'ce_source', 'ce_specversion']) {
      const { [missing]: _, ...others } = headers;
      expect(headersOf(message).every((schema) => fits(schema, others))).toBe(false);
      const arrival = rawRecord(payload, { headers: Object.entries(others) });
      expect(decode(arrival.place, arrival).outcome).toBe('dead');
    }
  });
});

describe('a payload that was ever right is right for ever', () => {
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  const lines = readFileSync(new URL('fixtures/events-v1.ndjson', import.meta.url), 'utf8')
    .trim()
    .split('\n');
  const kept = lines.map((line) => JSON.parse(line) as { type: EventType; payload: Record<string, unknown> });

  test('some of each event were kept', () => {
    expect(new Set(kept.map(({ type }) => type))).toEqual(new Set(EVENT_TYPES));
  });

  test.each(kept)('$type $payload.timestamp', ({ type, payload }) => {
    const [, message] = messages.find(([, { name }]) => name === type) ?? [];
    expect(fits(at(message?.payload.$ref ?? ''), payload)).toBe(true);
    const arrival = nestRecord(type, payload);
    expect(decode(arrival.place, arrival).outcome).toBeUndefined();
  });
});

/** What `#/a/b` names. */
function at(path: string): unknown {
  return path
    .split('/')
    .slice(1)
    .reduce<unknown>((inner, name) => (inner as Record<string, unknown> | undefined)?.[name], document);
}

/** A message's own headers and those of its traits: all must fit. */
function headersOf({ headers, traits = [] }: Message): Schema[] {
  return [...(headers ? [headers] : []), ...traits.map(({ $ref }) => (at($ref) as { headers: Schema }).headers)];
}

function fits(schema: unknown, value: unknown): boolean {
  return ajv.validate(schema as Schema, value);
}

function withoutWords(schema: Schema): Schema {
  const { description: _, format: __, ...rest } = schema;
  const properties = rest.properties as Record<string, Schema> | undefined;
  if (properties === undefined) return rest;
  return {
    ...rest,
    properties: Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, withoutWords(each)])),
  };
}
