// Partitions by topic and owner: what is unknown stays unknown, and no digit is lost.
import { describe, expect, test } from 'vitest';
import {
  barOf,
  byOwner,
  byTopic,
  haltInWords,
  halts,
  lagInWords,
  mostLag,
  sorted,
  sumsOf,
  unkeyedInWords,
} from '../../console/src/views/partitions-sums.ts';
import type { PartitionRow } from '../../src/api/contract.ts';

const row = (topic: string, partition: number, more: Partial<PartitionRow> = {}): PartitionRow => ({
  ...{ topic, partition, generation: 0, owner: 'w-1', position: '10', committed: '10', high: '10' },
  ...{ lag: '0', lagSeconds: 0, rate: 1, state: 'running', why: null, savedAt: null, unkeyed: '0', records: '10' },
  ...more,
});

describe('sums', () => {
  test('by topic, in the order of names and numbers', () => {
    const topics = byTopic([row('b', 1), row('a', 10), row('a', 2), row('b', 0)]);
    expect(topics.map(({ topic, rows }) => [topic, rows.map(({ partition }) => partition)])).toEqual([
      ['a', [2, 10]],
      ['b', [0, 1]],
    ]);
  });
  test('longer than a double can hold', () => {
    expect(sumsOf('t', [row('t', 0, { lag: '9007199254740993' }), row('t', 1, { lag: '1' })]).lag).toBe(
      9007199254740994n,
    );
  });
  test('a lag that is unknown makes the sum unknown, not smaller', () => {
    const sums = sumsOf('t', [row('t', 0, { lag: '5' }), row('t', 1, { lag: null, lagSeconds: null })]);
    expect(sums).toMatchObject({ lag: null, unknown: 1, lagSeconds: null });
  });
  test('how many run, wait, are halted', () => {
    const sums = sumsOf('t', [row('t', 0), row('t', 1, { state: 'halted' }), row('t', 2, { state: 'paused' })]);
    expect(sums.byState).toEqual({ running: 1, paused: 1, halted: 1 });
  });
  test('the share without a key is of all records', () => {
    expect(sumsOf('t', [row('t', 0, { unkeyed: '1' }), row('t', 1, { records: '30' })]).unkeyedShare).toBe(1 / 40);
  });
  test('by owner, the busiest first, and what nobody has at the end', () => {
    const owners = byOwner([
      row('t', 0, { owner: null }),
      row('t', 1, { owner: null }),
      row('t', 2),
      row('t', 3, { owner: 'w-2' }),
      row('t', 4, { owner: 'w-2', lag: null }),
    ]);
    expect(owners.map(({ owner, partitions, lag }) => [owner, partitions, lag])).toEqual([
      ['w-2', 2, null],
      ['w-1', 1, 0n],
      [null, 2, 0n],
    ]);
  });
});

describe('a lag', () => {
  test('in words: unknown is "?", and the time stands beside what is late', () => {
    expect(lagInWords({ lag: null, lagSeconds: null })).toBe('?');
    expect(lagInWords({ lag: '0', lagSeconds: 0 })).toBe('0');
    expect(lagInWords({ lag: '1290', lagSeconds: 1.2 })).toBe('1,290 (1.2 s)');
    expect(lagInWords({ lag: '1290', lagSeconds: null })).toBe('1,290');
  });
  test('as a bar: none where there is none, and a small one is seen beside a large one', () => {
    expect(barOf('0', 1_000_000)).toBe(0);
    expect(barOf('1000000', 1_000_000)).toBe(1);
    expect(barOf('10', 1_000_000)).toBeGreaterThan(0.1);
    expect(barOf(null, 10)).toBe(0);
    expect(barOf('5', 0)).toBe(0);
    expect(mostLag([row('t', 0, { lag: '3' }), row('t', 1, { lag: null })])).toBe(3);
  });
  test('the largest first, and what is unknown before it', () => {
    const rows = [
      row('t', 0, { lag: '1' }),
      row('t', 1, { lag: null }),
      row('t', 2, { lag: '9' }),
      row('t', 3, { lag: '9' }),
    ];
    expect(sorted(rows, 'lag').map(({ partition }) => partition)).toEqual([1, 2, 3, 0]);
  });
});

describe('records without a key', () => {
  test('of none there is no share', () => {
    expect(unkeyedInWords({ unkeyed: '0', records: '0' })).toBe('–');
    expect(unkeyedInWords({ unkeyed: '5', records: '10' })).toBe('50%');
    expect(unkeyedInWords({ unkeyed: null, records: '10' })).toBe('?');
  });
});

describe('halts', () => {
  test('each kind says what happened and what can be done', () => {
    const kinds = ['gap', 'lost', 'truncated', 'cluster', 'waiting', 'defect'];
    const said = kinds.map((kind) => haltInWords(`${kind}: more of it`));
    expect(new Set(said.map(({ happened }) => happened)).size).toBe(kinds.length);
    expect(new Set(said.map(({ todo }) => todo)).size).toBe(kinds.length);
  });
  test('a reason that is not known, or none, still says that a person decides', () => {
    expect(haltInWords('by an operator').todo).toMatch(/resume/);
    expect(haltInWords(null)).toEqual(haltInWords('elsewhere: x'));
  });
  test('those that halted alike stand together; what runs does not', () => {
    const kinds = halts([
      row('t', 0, { state: 'halted', why: 'gap: 1' }),
      row('t', 1),
      row('t', 2, { state: 'halted', why: 'lost: 2' }),
      row('u', 0, { state: 'halted', why: 'gap: 3' }),
    ]);
    expect(kinds.map(({ rows }) => rows.map(({ why }) => why))).toEqual([['gap: 1', 'gap: 3'], ['lost: 2']]);
  });
});
