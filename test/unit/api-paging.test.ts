// Pages of a list: which page comes next, and which cursor is none of it.
import { describe, expect, test } from 'vitest';
import { pageAsked, pageOf } from '../../src/api/paging.ts';

const rows = (n: number) => Array.from({ length: n }, (_, i) => ({ id: `u${i}` }));
const page = (n: number, asked: { limit?: number; cursor?: string; q?: string } = { limit: 2 }) =>
  pageOf(
    'users',
    asked,
    rows(n),
    ({ id }) => id,
    ({ id }) => id,
  );

describe('the next page', () => {
  test('is there where one row more came than the page holds, and begins behind its last', () => {
    const { items, nextCursor } = page(3);
    expect(items).toEqual(['u0', 'u1']);
    expect(pageAsked('users', { limit: 5, cursor: nextCursor as string }, 'text')).toEqual({ limit: 5, after: 'u1' });
  });

  test('is not there where as many came as the page holds, or fewer, or none', () => {
    for (const n of [0, 1, 2]) expect(page(n).nextCursor).toBeUndefined();
  });

  test('50 rows where nothing else was said', () => {
    expect(pageAsked('users', {}, 'text')).toEqual({ limit: 50, after: undefined });
  });
});

describe('a cursor', () => {
  const { nextCursor: cursor = '' } = page(3, { limit: 2, q: 'a' });

  test('is of its list and its filter, in whatever order that was said', () => {
    expect(pageAsked('users', { q: 'a', cursor }, 'text').after).toBe('u1');
    for (const [list, filter] of [
      ['users', {}],
      ['users', { q: 'b' }],
      ['users', { q: 'a', state: 'active' }],
      ['customers', { q: 'a' }],
    ] as const)
      expect(() => pageAsked(list, { ...filter, cursor }, 'text')).toThrow(/another list or filter/);
  });

  test('is of the kind that its list has', () => {
    expect(() => pageAsked('users', { q: 'a', cursor }, 'number')).toThrow(/another list or filter/);
  });

  test('that is none throws nothing else', () => {
    for (const text of [
      '',
      'x',
      'bnVsbA',
      Buffer.from('[1').toString('base64url'),
      Buffer.from('{"a":1}').toString('base64url'),
    ])
      expect(() => pageAsked('users', { cursor: text }, 'text')).toThrow(/another list or filter/);
  });
});
