// A what-if in an address: it comes back as it was written, and what somebody broke in it breaks nothing.
import { Value } from 'typebox/value';
import { describe, expect, test } from 'vitest';
import { blank, draftsOf, EVENT_TYPES, requestOf, textOf, typed } from '../../console/src/what-if/drafts.ts';
import { SCHEMAS } from '../../src/events.ts';

describe('in an address', () => {
  test('events come back as they were written', () => {
    const drafts = [blank('USER_CREATED'), typed('USER_DELETED', '{"userType": "SME_USER", "more": [1]}')];
    expect(draftsOf(textOf(drafts))).toEqual(drafts);
  });
  test('so does a payload that is no JSON yet', () => {
    const draft = typed('USER_DELETED', '{"userType": ');
    expect(draft.raw).toBe('{"userType": ');
    expect(draftsOf(textOf([draft]))).toEqual([draft]);
  });
  test.each([
    '',
    'nonsense',
    '{}',
    '[1, null, ["USER_DELETED"], ["USER_DELETED", null], ["USER_DELETED", []], ["OTHER", {}]]',
  ])('what can not be read is left out: %s', (text) => expect(draftsOf(text)).toEqual([]));
  test('without events nothing stands in it', () => expect(textOf([])).toBeUndefined());
});

describe('what is asked', () => {
  const drafts = [blank('USER_DELETED')];
  test('nothing, without events', () => expect(requestOf({ userId: 'u', customer: undefined, drafts: [] })).toBeNull());
  test('nothing, while a payload is no JSON object, and which one', () => {
    expect(
      requestOf({ userId: undefined, customer: undefined, drafts: [...drafts, typed('USER_DELETED', '[]')] }),
    ).toMatch(/event 2/);
  });
  test('the customer is known, unknown, or as it is', () => {
    const asked = (customer: string | undefined) => requestOf({ userId: undefined, customer, drafts });
    expect(asked('known')).toMatchObject({ customerKnown: true });
    expect(asked('unknown')).toMatchObject({ customerKnown: false });
    expect(asked('anything')).not.toHaveProperty('customerKnown');
    expect(asked(undefined)).not.toHaveProperty('userId');
  });
});

test.each(EVENT_TYPES)('a new %s has all that the service does not fill in', (type) => {
  const filledIn = { userId: 'auth0|1', timestamp: new Date(0).toISOString(), changedBy: 'x', deletedBy: 'x' };
  expect([...Value.Errors(SCHEMAS[type], { ...filledIn, ...blank(type).payload })]).toEqual([]);
});
