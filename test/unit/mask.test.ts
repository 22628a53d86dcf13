// What of personal data is shown to whoever may not see it.
import { describe, expect, test } from 'vitest';
import { masked, maskedEvent, maskedHeader, maskedText } from '../../src/mask.ts';

describe('a person can be recognised and not known', () => {
  test.each([
    ['ada@x.io', 'a***@x.io'],
    ['Ada Lovelace', 'A***'],
    ['', '***'],
    ['👩‍🚀 Ada', '👩***'],
    ['write to ada@x.io', 'w***'],
    ['ada@x.io, bob@y.io', 'a***'],
    ['@x.io', '@***'],
    ['ada@', 'a***'],
  ])('%j: %j', (text, shown) => {
    expect(masked(text)).toBe(shown);
    expect(masked(text).isWellFormed()).toBe(true);
  });
});

describe('an event', () => {
  test('a field that we do not know is taken for personal, its name is shown', () => {
    const event = {
      userId: 'u',
      newStatus: 'ACTIVE',
      email: 'ada@x.io',
      phone: '0123',
      age: 36,
      extra: { of: ['Ada', null] },
    };
    expect(maskedEvent(event)).toEqual({
      userId: 'u',
      newStatus: 'ACTIVE',
      email: 'a***@x.io',
      phone: '0***',
      age: '***',
      extra: { of: ['A***', null] },
    });
  });

  test('a known field whose value does not look like what belongs there is hidden too', () => {
    expect(
      maskedEvent({
        userId: 'Ada Lovelace',
        role: 'ada@x.io',
        timestamp: { email: 'x' },
        type: 7,
        userType: 'x'.repeat(101),
      }),
    ).toEqual({
      userId: 'A***',
      role: 'a***@x.io',
      timestamp: { email: 'x***' },
      type: '***',
      userType: 'x***',
    });
  });

  test('a name that may be data itself is hidden', () => {
    expect(maskedEvent({ 'ada@x.io': 1, ['x'.repeat(65)]: 1 })).toEqual({ '***': '***' });
  });

  test('an envelope has its payload inside', () => {
    const envelope = { specversion: '1.0', type: 'USER_DELETED', data: { userId: 'u', deletedBy: 'Grace' } };
    expect(maskedText(JSON.stringify(envelope))).toBe(
      JSON.stringify({ ...envelope, data: { userId: 'u', deletedBy: 'G***' } }),
    );
  });
});

test('what can not be looked through is hidden as a whole', () => {
  for (const text of ['{"email":"ada@x.io"', '', '{"a":1,"a":2}', '{"__proto__":1}', '['.repeat(65) + ']'.repeat(65)])
    expect(maskedText(text)).toBe('***');
  expect(maskedText('"ada@x.io"')).toBe('"a***@x.io"');
});

test('a header is shown where it says how to read the record', () => {
  expect(maskedHeader('ce_type', 'USER_CREATED')).toEqual({ name: 'ce_type', value: 'USER_CREATED' });
  expect(maskedHeader('ce_type', 'ada@x.io')).toEqual({ name: 'ce_type', value: 'a***@x.io' });
  expect(maskedHeader('x-user', 'Ada')).toEqual({ name: 'x-user', value: 'A***' });
  expect(maskedHeader('ada@x.io', null)).toEqual({ name: '***', value: null });
});
