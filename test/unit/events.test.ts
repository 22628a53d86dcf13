// What the contract promises to those who read it: the producers, the database, the generated documents.
import { describe, expect, test } from 'vitest';
import { DEAD_CODES, DIALECTS, EVENT_TYPES, OUTCOMES, SCHEMAS, sourceName } from '../../src/events.ts';
import { at, PAYLOADS } from '../support/records.ts';

describe('the schemas', () => {
  test.each(EVENT_TYPES)('%s has no field `key` or `value`: NestJS would send something else', (type) => {
    // ClientKafka.emit takes an object with either for a Kafka message and loses the rest.
    expect(Object.keys(SCHEMAS[type].properties)).not.toContain('key');
    expect(Object.keys(SCHEMAS[type].properties)).not.toContain('value');
  });

  test.each(EVENT_TYPES)('%s has no field that plain JSON needs for the type', (type) => {
    expect(Object.keys(SCHEMAS[type].properties)).not.toContain('type');
    expect(Object.keys(SCHEMAS[type].properties)).not.toContain('event');
  });

  test.each(EVENT_TYPES)('%s bounds each of its strings', (type) => {
    for (const [name, schema] of Object.entries(SCHEMAS[type].properties)) {
      const bounded = 'enum' in schema || ('maxLength' in schema && Number(schema.maxLength) <= 500);
      expect(bounded, name).toBe(true);
    }
  });

  test.each(EVENT_TYPES)('%s names a user or a customer, and a timestamp', (type) => {
    const required: readonly string[] = SCHEMAS[type].required;
    expect(required).toContain(type === 'CUSTOMER_CREATED' ? 'customerAccountId' : 'userId');
    expect(required).toContain('timestamp');
  });

  test('a producer may add fields', () => {
    for (const schema of Object.values(SCHEMAS)) expect(schema).not.toHaveProperty('additionalProperties');
  });

  test('they are plain JSON Schema, so the documents can be made from them', () => {
    expect(JSON.parse(JSON.stringify(SCHEMAS))).toEqual(SCHEMAS);
    expect(Object.keys(PAYLOADS)).toEqual(EVENT_TYPES);
  });
});

describe('the closed lists', () => {
  test.each([
    ['dead letter codes', DEAD_CODES],
    ['dialects', DIALECTS],
    ['outcomes', OUTCOMES],
    ['event types', EVENT_TYPES],
  ])('no word stands twice among the %s', (_, words) => {
    expect(new Set(words).size).toBe(words.length);
  });
});

test('the name of a source says where, and which log once it was replaced', () => {
  expect(sourceName(at('user-events', 3))).toBe('user-events/3');
  expect(sourceName(at('user-events', 3, 2))).toBe('user-events/3#2');
});
