import { describe, expect, test } from 'vitest';
import { VERBS as ALL_VERBS } from '../../src/audit.ts';
import { inWords, VERBS } from '../../src/cli/audit.ts';
import { exitCodeOf, stateOf, sumsInWords } from '../../src/cli/jobs.ts';

const AT = '2025-01-31 09:30:00+00';
const MS = Date.parse(AT);

describe('a job that nobody runs is told from one that runs', () => {
  test('its last step is more than a minute ago', () => {
    expect(stateOf({ state: 'running', updatedAt: AT }, MS + 59_000)).toBe('running');
    expect(stateOf({ state: 'running', updatedAt: AT }, MS + 61_000)).toBe('interrupted?');
  });

  test('one that has ended stays as it ended', () => {
    expect(stateOf({ state: 'done', updatedAt: AT }, MS + 1e9)).toBe('done');
  });
});

describe('an end in words and as a code', () => {
  test('the most frequent first', () => {
    expect(sumsInWords({ dead: 4, applied: 1_201, stale: 9 })).toBe('applied 1,201, stale 9, dead 4');
  });

  test('some are dead: 3, among those that went with them too', () => {
    expect(exitCodeOf({ outcomes: { applied: 3, rejected: 1 }, others: { stale: 1 } })).toBe(0);
    expect(exitCodeOf({ outcomes: { dead: 1 }, others: {} })).toBe(3);
    expect(exitCodeOf({ outcomes: { applied: 1 }, others: { dead: 1 } })).toBe(3);
  });
});

describe('what an audit row holds, for people', () => {
  test('names and values; what is on, as its name alone; what is not said, not at all', () => {
    expect(inWords({ code: 'json', force: true, reason: null, user: undefined, no: false })).toBe('code json, force');
  });

  test('a long list is cut, and counted', () => {
    expect(inWords({ ids: [1, 2] })).toBe('ids 1 2');
    expect(inWords({ ids: [1, 2, 3, 4, 5, 6, 7] })).toBe('ids 1 2 3 4 5 … 7 in all');
    expect(inWords({ ids: [] })).toBe('');
  });

  test('sums inside a result', () => {
    expect(inWords({ done: 3, outcomes: { applied: 2, dead: 1 }, others: {} })).toBe(
      'done 3, outcomes (applied 2, dead 1)',
    );
  });

  test('every verb can be asked for', () => {
    expect(VERBS).toEqual([...ALL_VERBS]);
  });
});
