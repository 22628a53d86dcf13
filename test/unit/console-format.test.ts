// Numbers and times as the page writes them.
import { describe, expect, test } from 'vitest';
import {
  ago,
  bytes,
  count,
  duration,
  many,
  percent,
  plain,
  rate,
  short,
  upTo,
  words,
} from '../../console/src/format.ts';
import { shortened } from '../../console/src/parts/copy.tsx';
import { isoOf, localOf } from '../../console/src/parts/filters.tsx';

test('what is unknown is never 0', () => {
  for (const format of [count, short, rate, percent, duration]) expect(format(null)).toBe('?');
  expect(rate(undefined)).toBe('?');
  expect(percent(Number.NaN)).toBe('?');
});

test('what moves a little is not written as if it stood still', () => {
  expect([0, 0.004, 0.03, 0.2, 4.2, 99.94, 1_204].map(rate)).toEqual([
    '0/s',
    '<0.01/s',
    '0.03/s',
    '0.20/s',
    '4.2/s',
    '99.9/s',
    '1,204/s',
  ]);
});

test('no digit of a long number is lost', () => {
  expect(count('9007199254740993')).toBe('9,007,199,254,740,993');
  expect(count(88_412)).toBe('88,412');
});

test('one is not many, and a count with a limit says so', () => {
  expect(many(1, 'event')).toBe('1 event');
  expect(many(0, 'event')).toBe('0 events');
  expect(many(2, 'is', 'are')).toBe('2 are');
  expect(upTo(1_001, 1_000)).toBe('1,000+');
  expect(upTo(1_000, 1_000)).toBe('1,000');
  expect(short(1_250_000)).toBe('1.3M');
});

describe('durations', () => {
  test('in the unit that says enough', () => {
    expect([0, 850, 2_400, 59_900, 61_000, 7_200_000, 3 * 86_400_000].map(duration)).toEqual([
      '0 ms',
      '850 ms',
      '2.4 s',
      '59 s',
      '1 min',
      '2 h',
      '3 d',
    ]);
  });
  test('clocks that differ give no negative one', () => expect(duration(-5_000)).toBe('0 ms'));
  test('ago, and ahead', () => {
    expect([0, 4_999, 12_345, 180_000].map((ms) => ago(1_000_000 - ms, 1_000_000))).toEqual([
      'just now',
      'just now',
      '12 s ago',
      '3 min ago',
    ]);
    expect(ago(1_180_000, 1_000_000)).toBe('in 3 min');
  });
});

test('small shares are not rounded away', () => {
  expect([0, 0.004, 0.096, 0.5, 1].map(percent)).toEqual(['0%', '0.4%', '9.6%', '50%', '100%']);
});

test('sizes, values and names', () => {
  expect([999, 1_500, 2_000_000].map(bytes)).toEqual(['999 B', '1.5 kB', '2.0 MB']);
  expect([null, undefined, false, { a: 1 }].map(plain)).toEqual(['–', '–', 'false', '{"a":1}']);
  expect([words('isCompanyOwner'), words('USER_CREATED')]).toEqual(['is company owner', 'USER_CREATED']);
});

test('a long id keeps its beginning and its end', () => {
  expect(shortened('auth0|42', 28)).toBe('auth0|42');
  const short = shortened('auth0|0123456789abcdef0123456789abcdef', 20);
  expect(short).toHaveLength(20);
  expect(short).toBe('auth0|0123456…abcdef');
});

test('a time goes through the field for times and comes back', () => {
  const iso = '2026-01-02T14:03:22.000Z';
  expect(isoOf(localOf(iso))).toBe(iso);
  expect(localOf('no time')).toBe('');
  expect(isoOf('')).toBe('');
});
