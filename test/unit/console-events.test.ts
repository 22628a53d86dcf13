// The contract as the page shows it: all that the document says of an event, and nothing that it does not say.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { contractOf, searched } from '../../console/src/views/events-contract.ts';
import { EVENT_TYPES, SCHEMAS } from '../../src/events.ts';

const contract = contractOf(JSON.parse(readFileSync(new URL('../../docs/asyncapi.json', import.meta.url), 'utf8')));
const event = (name: string) => contract.events.find((each) => each.name === name);

describe('our own document', () => {
  test('every event is there once', () => {
    expect(contract.events.map(({ name }) => name).sort()).toEqual([...EVENT_TYPES].sort());
  });
  test('with every field of its schema, and whether it must be there', () => {
    for (const type of EVENT_TYPES) {
      const { properties, required } = SCHEMAS[type] as unknown as { properties: object; required: string[] };
      const fields = event(type)?.fields ?? [];
      expect(fields.map(({ name }) => name).sort()).toEqual(Object.keys(properties).sort());
      expect(
        fields
          .filter(({ isRequired }) => isRequired)
          .map(({ name }) => name)
          .sort(),
      ).toEqual([...required].sort());
    }
  });
  test('allowed values stand there, each once', () => {
    const status = event('USER_STATUS_CHANGED')?.fields.find(({ name }) => name === 'newStatus');
    expect(status?.allowed).toEqual(['PENDING', 'ACTIVE', 'SUSPENDED', 'INACTIVE']);
  });
  test('it says on which topics each comes, in each of its forms', () => {
    for (const type of EVENT_TYPES)
      expect(
        event(type)
          ?.forms.flatMap(({ topics }) => topics)
          .sort(),
      ).toEqual([type, 'user-events'].sort());
    expect(contract.topics.map(({ address }) => address).sort()).toEqual([...EVENT_TYPES, 'user-events'].sort());
  });
  test('each form has an example, and the native one the headers that must be there', () => {
    for (const { forms } of contract.events)
      for (const { examples } of forms) expect(examples.length).toBeGreaterThan(0);
    const native = event('USER_CREATED')?.forms.find(({ topics }) => topics.includes('user-events'));
    expect(
      native?.headers
        .filter(({ isRequired }) => isRequired)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['ce_id', 'ce_source', 'ce_specversion', 'ce_type']);
    expect(native?.headers.find(({ name }) => name === 'ce_type')?.allowed).toContain('USER_CREATED');
    expect(native?.key).toMatch(/customerAccountId/);
  });
});

describe('any document', () => {
  test('an empty one, or one of another form, shows nothing and fails nothing', () => {
    for (const document of [{}, null, [], 'x', { channels: [], components: { messages: 5 } }])
      expect(contractOf(document).events).toEqual([]);
  });
  test('references that lead nowhere or in a circle end', () => {
    const messages = {
      A: { $ref: '#/components/messages/A' },
      B: { payload: { $ref: '#/nowhere' } },
      C: { payload: { $ref: 'http://else.where' } },
    };
    expect(contractOf({ components: { messages } }).events.map(({ fields }) => fields)).toEqual([[], [], []]);
  });
  test('lengths, patterns and constants in words', () => {
    const payload = {
      type: 'object',
      required: ['a'],
      additionalProperties: false,
      properties: {
        a: { type: 'string', minLength: 1, maxLength: 5, pattern: '^x' },
        b: { const: 7 },
        c: { anyOf: [{ const: 'p' }, { const: 'q' }] },
        d: { type: ['string', 'null'], format: 'date-time' },
      },
    };
    const [found] = contractOf({ components: { messages: { M: { payload } } } }).events;
    expect(found?.isOpen).toBe(false);
    expect(
      found?.fields.map(({ name, type, isRequired, allowed, limits }) => [name, type, isRequired, allowed, limits]),
    ).toEqual([
      ['a', 'string', true, [], ['1 to 5 characters', 'matches ^x']],
      ['b', 'string', false, ['7'], []],
      ['c', 'string', false, ['p', 'q'], []],
      ['d', 'string or null', false, [], ['date-time']],
    ]);
  });
});

describe('the search', () => {
  test('takes all words, wherever they stand: names, fields, values, topics', () => {
    const names = (search: string) => searched(contract.events, search).map(({ name }) => name);
    expect(names('deletedby')).toEqual(['USER_DELETED']);
    expect(names('SUSPENDED status')).toEqual(['USER_STATUS_CHANGED']);
    expect(names('')).toHaveLength(EVENT_TYPES.length);
    expect(names('nothing-like-this')).toEqual([]);
  });
});
