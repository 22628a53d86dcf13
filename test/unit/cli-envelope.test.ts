import { describe, expect, test } from 'vitest';
import { EVENTS, type Known, payloadOf, type Said, WAYS, wrap } from '../../src/cli/envelope.ts';
import { decoder } from '../../src/decode.ts';
import { DIALECTS, EVENT_TYPES } from '../../src/events.ts';

const FRESH = { now: '2025-01-31T09:30:00.000Z', user: 'auth0|new', customer: 'customer-new', id: 'e1' };
const decode = decoder({ keys: 'strict', maxRecordBytes: 1_000_000, maxHeaders: 256 });
const bytes = (text: string | Buffer | null) => (text === null ? null : Buffer.from(text));

function decoded(record: ReturnType<typeof wrap>) {
  return decode(
    { topic: record.topic, partition: 0, generation: 0 },
    {
      offset: 0n,
      timestampMs: Date.parse(FRESH.now) + 1_000,
      key: bytes(record.key),
      value: bytes(record.value),
      headers: (record.headers ?? []).map(([name, value]) => [name, bytes(value)] as const),
    },
  );
}

test('every event of the contract can be sent, in every dialect', () => {
  expect([...EVENTS].sort()).toEqual([...EVENT_TYPES].sort());
  expect(WAYS.map((way) => (way === 'structured' ? 'cloudevents-structured' : way)).sort()).toEqual(
    [...DIALECTS].sort(),
  );
});

describe('with nothing but the event named, the service can read it', () => {
  for (const way of WAYS)
    test.each(EVENTS)(`as ${way}: %s`, (type) => {
      const payload = payloadOf(type, {}, FRESH);
      const key = payload.customerAccountId ?? payload.userId ?? null;
      const record = wrap(way, { type, text: JSON.stringify(payload), key, id: 'e1', source: '/here' });
      const event = way === 'nest' ? decodeLenient(record) : decoded(record);
      expect(event).toMatchObject({ type, dialect: way === 'structured' ? 'cloudevents-structured' : way });
    });
});
// NestJS sends no key, which `strict` refuses.
function decodeLenient(record: ReturnType<typeof wrap>) {
  return decoded({ ...record, key: 'k' });
}

describe('what is not said is taken from what we have of the user', () => {
  const known: Known = {
    state: 'roleChanged',
    customerId: 'acme',
    role: 'CUSTOMER_ADMIN',
    userType: 'FINANCIAL_INSTITUTION',
    isCompanyOwner: true,
  };

  test('its status and role before, so that nothing drifts', () => {
    expect(payloadOf('USER_STATUS_CHANGED', { user: 'u' }, FRESH, known).previousStatus).toBe('ACTIVE');
    expect(payloadOf('USER_ROLE_CHANGED', { user: 'u' }, FRESH, known).previousRole).toBe('INSTITUTION_ADMIN');
  });

  test('what is said wins', () => {
    const said: Said = { user: 'u', previousStatus: 'SUSPENDED', newStatus: 'PENDING', by: 'me' };
    expect(payloadOf('USER_STATUS_CHANGED', said, FRESH, known)).toMatchObject({
      previousStatus: 'SUSPENDED',
      newStatus: 'PENDING',
      changedBy: 'me',
    });
  });
});

describe('as each producer does it', () => {
  const wrapping = { type: 'USER_DELETED', text: '{"a":1}', key: 'c1', id: 'e1', source: '/here' } as const;

  test('NestJS: a topic named like the event, no key, no header', () => {
    expect(wrap('nest', wrapping)).toEqual({ topic: 'USER_DELETED', key: null, value: '{"a":1}' });
  });

  test('Debezium: an escaped JSON string, to an outbox topic where one is subscribed', () => {
    const record = wrap('debezium', { ...wrapping, outbox: 'outbox.event.user' });
    expect(record).toMatchObject({ topic: 'outbox.event.user', value: JSON.stringify('{"a":1}') });
  });

  test('a payload that is no JSON goes out as it is where the dialect allows it, and is refused where not', () => {
    expect(wrap('cloudevents', { ...wrapping, text: 'hey' }).value).toBe('hey');
    expect(() => wrap('plain', { ...wrapping, text: 'hey' })).toThrow(SyntaxError);
  });
});
