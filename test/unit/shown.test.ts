// What is shown of a row to whom: nothing beside masked text may tell a guess from a miss.
import { describe, expect, test } from 'vitest';
import { eventIdOf, factsOf, shownWaiting } from '../../src/api/shown.ts';
import type { WaitingListed } from '../../src/queries/waiting.ts';

const HASH = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

describe('an event id that is made of the content', () => {
  test.each([
    ['nest', null],
    ['plain', null],
    [null, null],
    ['cloudevents', HASH],
    ['debezium', HASH],
  ])('of dialect %s: masked it is %s', (dialect, shown) => {
    expect(eventIdOf({ dialect, eventId: HASH }, 'masked')).toBe(shown);
    expect(eventIdOf({ dialect, eventId: HASH }, 'hidden')).toBe(shown);
    expect(eventIdOf({ dialect, eventId: HASH }, 'revealed')).toBe(HASH);
  });

  test('is not in a list of what waits either', () => {
    const row = { dialect: 'nest', eventId: HASH, reason: 'user', userId: 'auth0|u1' } as WaitingListed;
    expect(JSON.stringify(shownWaiting(row))).not.toContain(HASH);
    expect(shownWaiting(row, 'revealed').eventId).toBe(HASH);
  });
});

test('the hash of a content is a fact that only those see who see the content', () => {
  const facts = { forced: true, hash: HASH };
  expect(factsOf(facts, 'masked')).toEqual({ forced: true });
  expect(factsOf(facts, 'hidden')).toEqual({ forced: true });
  expect(factsOf(facts, 'revealed')).toEqual(facts);
});
