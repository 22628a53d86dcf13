// Partitions by topic and owner: what is unknown stays unknown, and no digit is lost.
import { describe, expect, test } from 'vitest';
import {
  answersTo,
  barOf,
  byOwner,
  byTopic,
  commandOf,
  haltInWords,
  halts,
  isOffset,
  lagInWords,
  mostLag,
  moveInWords,
  sorted,
  sumsOf,
  unkeyedInWords,
} from '../../console/src/views/partitions-sums.ts';
import type { PartitionRow } from '../../src/api/contract.ts';

const row = (topic: string, partition: number, more: Partial<PartitionRow> = {}): PartitionRow => ({
  ...{ topic, partition, generation: 0, owner: 'w-1', position: '10', committed: '10', logStart: '0', high: '10' },
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

describe('the answers to a halt', () => {
  const halted = (why: string, more: Partial<PartitionRow> = {}) => row('t', 4, { state: 'halted', why, ...more });

  test.each([
    ['records are gone', halted('lost: offsets 10 to 11', { logStart: '12' }), ['accept-loss', 'resume']],
    [
      'records are gone, as far as was said',
      halted('lost: offsets 10 to 11', { logStart: null }),
      ['accept-loss', 'resume'],
    ],
    ['they are there again', halted('lost: offsets 10 to 11', { logStart: '10' }), ['resume']],
    ['a gap, and records are gone', halted('gap: twice', { logStart: '12' }), ['accept-loss', 'resume']],
    ['a gap', halted('gap: twice'), ['resume']],
    ['another log', halted('truncated: the log ends at 3'), ['set-position', 'resume']],
    ['another cluster', halted('cluster: k0', { logStart: '12' }), ['set-position', 'resume']],
    ['something else', halted('defect X'), ['resume']],
    ['nobody said why', row('t', 0, { state: 'halted' }), ['resume']],
  ])('%s', (_, row, answers) => {
    expect(answersTo(row)).toEqual(answers);
  });

  test('by the command line: as it can be typed, but for the reason', () => {
    const of = { topic: "it's", partition: 4, logStart: '12' };
    expect(commandOf('resume', of)).toBe(`npx user-lifecycle partitions resume 'it'\\''s' 4 --reason '…'`);
    expect(commandOf('accept-loss', { ...of, topic: 't' })).toBe(
      "npx user-lifecycle partitions accept-loss t 4 --reason '…'",
    );
    expect(commandOf('set-position', { ...of, topic: 't' })).toBe(
      "npx user-lifecycle partitions set-position t 4 12 --new-log --reason '…'",
    );
    expect(commandOf('set-position', { ...of, topic: 't' }, { to: '15', newLog: false })).toBe(
      "npx user-lifecycle partitions set-position t 4 15 --reason '…'",
    );
  });

  test('in words: to the offset, and as another log where it is one', () => {
    const moved = { topic: 't', partition: 4, generation: 0, position: '41', dryRun: true };
    const from = { generation: 0, position: '19' };
    expect(moveInWords({ ...moved, from, lost: { first: '19', last: '40', offsets: '22' } })).toBe(
      'It would go on at 41; it stopped at 19. Lost: 22 offsets, 19 to 40.',
    );
    expect(moveInWords({ ...moved, from, lost: { first: '19', last: '19', offsets: '1' } })).toContain(
      '1 offset, 19 to 19',
    );
    expect(moveInWords({ ...moved, generation: 1, position: '0', from, lost: null })).toBe(
      'It would go on at 0, as another log (generation 1); it stopped at 19. Nothing of this log is lost. The other log’s rest, from 19 on, is not read.',
    );
  });

  test('an offset is a number that the server takes', () => {
    expect(['0', '7', '999999999999999999'].every(isOffset)).toBe(true);
    expect(['', '-1', '1.5', '07', ' 7', '1e3', '9999999999999999999'].some(isOffset)).toBe(false);
  });
});
