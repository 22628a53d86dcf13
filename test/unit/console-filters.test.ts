// Which dead letters and waiting events an address means: an act must never reach more than what was looked at.
import { describe, expect, test } from 'vitest';
import {
  actFilter,
  beforeOf,
  deadLettersAsked,
  exportCommand,
  filterInWords,
  filtersInWords,
  isEmpty,
  NO_TYPE,
  shellWord,
  waitingAsked,
  whyNoAct,
} from '../../console/src/views/dead-letters-filter.ts';
import { NO_TYPE as API_NO_TYPE } from '../../src/dead-letter-filter.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');

describe('an address says which', () => {
  test('what is no filter is none: how they are shown, and filters of another list', () => {
    expect(deadLettersAsked({ view: 'list', code: 'json', reason: 'hold', q: 'x' })).toEqual({ code: 'json' });
    expect(waitingAsked({ view: 'list', code: 'json', reason: 'hold', status: 'all' })).toEqual({ reason: 'hold' });
  });
  test('a filter that makes no sense is asked as it stands, so that the server refuses it', () => {
    expect(deadLettersAsked({ before: 'garbage', status: 'asleep' })).toEqual({ before: 'garbage', status: 'asleep' });
    expect(actFilter(deadLettersAsked({ before: 'garbage' }))).toEqual({ before: 'garbage' });
  });
  test('an empty value is no filter', () => {
    expect(isEmpty(deadLettersAsked({ code: '', user: '' }))).toBe(true);
  });
  test('every filter of the API can stand in it', () => {
    const all = { code: 'a', type: 'b', customer: 'c', user: 'auth0|d', topic: 'e', before: 'f' };
    expect(actFilter(deadLettersAsked(all))).toEqual(all);
  });
});

describe('an act means what is not settled', () => {
  test('a status is never part of it', () => {
    expect(actFilter({ status: 'all', code: 'json' })).toEqual({ code: 'json' });
    expect(isEmpty(actFilter({ status: 'all' }))).toBe(true);
  });
  test('where only settled ones are looked at, there is nothing to do, and it says why', () => {
    expect(whyNoAct({ status: 'resolved' })).toMatch(/went through/);
    expect(whyNoAct({ status: 'discarded' })).toMatch(/discarded/);
    expect([undefined, 'open', 'redriving', 'all'].map((status) => whyNoAct(status ? { status } : {}))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe('in words', () => {
  test('all of them, joined', () => {
    expect(filterInWords({})).toBe('');
    expect(filterInWords({ code: 'json' })).toBe('the code is json');
    expect(filterInWords({ code: 'json', type: 'USER_DELETED', user: 'auth0|42' })).toBe(
      'the code is json, the event is USER_DELETED and the user is auth0|42',
    );
  });
  test('no type is said as such, by the word of the API', () => {
    expect(NO_TYPE).toBe(API_NO_TYPE);
    expect(filterInWords({ code: 'json', type: NO_TYPE })).toBe('the code is json and the event is not known');
    expect(exportCommand({ type: NO_TYPE }, NOW)).toContain('--type none');
  });
  test('an age is about failing for dead letters, about waiting for what waits', () => {
    expect(filterInWords({ before: '2026-11-24T11:00:00Z' })).toMatch(/^the last failure was before 2026-11-2\d /);
    expect(filterInWords({ before: '2026-11-24T11:00:00Z' }, 'waiting')).toMatch(
      /^they wait since before 2026-11-2\d /,
    );
  });
  test('how many are set, for a phone', () => {
    expect([{}, { code: 'json' }, { code: 'json', user: 'x' }].map(filtersInWords)).toEqual([
      'Filters',
      'Filters · 1',
      'Filters · 2',
    ]);
  });
});

describe('ages', () => {
  test('so long ago, in whole seconds', () => {
    expect(beforeOf(3_600_000, NOW + 123)).toBe('2026-11-24T11:00:00Z');
  });
});

describe('the command that exports the same', () => {
  test('has the same filters, the status included', () => {
    expect(exportCommand({ code: 'json', status: 'all', topic: 'user-events' }, NOW)).toBe(
      'npx user-lifecycle dead-letters export --code json --status all --topic user-events > dead-letters.ndjson',
    );
    expect(exportCommand({}, NOW)).toBe('npx user-lifecycle dead-letters export > dead-letters.ndjson');
  });
  test('a moment becomes an age, never one that takes younger ones too', () => {
    const age = (before: string) => / --older-than (\S+)/.exec(exportCommand({ before }, NOW))?.[1];
    expect(age('2026-11-24T10:00:00Z')).toBe('2h');
    expect(age('2026-11-21T12:00:00Z')).toBe('3d');
    expect(age('2026-11-24T11:58:30Z')).toBe('90s');
    expect(age('2026-11-24T11:58:29.500Z')).toBe('91s');
    expect(age('2026-11-24T12:00:05Z')).toBe('1s');
    expect(age('2026-10-01T12:00:01Z')).toBe('1296h');
  });
  test('nothing that was typed ends its word in a shell', () => {
    expect(shellWord('auth0|42')).toBe("'auth0|42'");
    expect(shellWord("it's; rm -rf ~")).toBe(`'it'\\''s; rm -rf ~'`);
    expect(shellWord('$(x) `y` "z"\n')).toBe(`'$(x) \`y\` "z"\n'`);
    expect(shellWord('')).toBe("''");
    expect(shellWord('user-events.v2')).toBe('user-events.v2');
    expect(exportCommand({ user: 'auth0|42' }, NOW)).toContain("--user 'auth0|42'");
  });
});
