// What the page knows after news from the stream: nothing of what was not spoken of is lost, nothing is counted twice.
import { describe, expect, test } from 'vitest';
import { merged, type News, sumOf } from '../../console/src/live.ts';
import type { PartitionRow, Sample } from '../../src/api/contract.ts';

const row = (topic: string, partition: number, lag: string) => ({ topic, partition, lag }) as PartitionRow;
const sample = (at: string) => ({ at, records: 1 }) as Sample;

describe('sums: the keys that came replace theirs', () => {
  test('the others stay', () => {
    expect(merged({ counts: { active: 5, deleted: 1 } }, { counts: { active: 6 } }).counts).toEqual({
      active: 6,
      deleted: 1,
    });
  });
  test('a new state appears, and 0 is a value', () => {
    expect(merged({ counts: { active: 5 } }, { counts: { pending: 1, active: 0 } }).counts).toEqual({
      active: 0,
      pending: 1,
    });
  });
  test('the first news of a channel is all that is known of it', () => {
    expect(merged({}, { transitions: { 'a|B|0': 1 } })).toEqual({ transitions: { 'a|B|0': 1 } });
  });
});

describe('partitions: the rows that came replace theirs, in their places', () => {
  const known: News = { lag: [row('t', 0, '1'), row('t', 1, '2'), row('u', 0, '3')] };
  test('the order stays', () => {
    expect(merged(known, { lag: [row('t', 1, '9')] }).lag?.map(({ lag }) => lag)).toEqual(['1', '9', '3']);
  });
  test('a new one goes to the end', () => {
    expect(merged(known, { lag: [row('v', 7, '0')] }).lag?.at(-1)).toEqual(row('v', 7, '0'));
  });
  test('the same number of another topic is another partition', () => {
    expect(merged(known, { lag: [row('u', 0, '4')] }).lag).toHaveLength(3);
  });
});

describe('what says all of itself is replaced', () => {
  test('a code without open dead letters is gone', () => {
    expect(merged({ dead: { json: 3, schema: 1 } }, { dead: { schema: 1 } }).dead).toEqual({ schema: 1 });
  });
  test('rates of edges that rest are gone', () => {
    const flow = (edges: Record<string, number>) => ({ window: 10, records: 1, outcomes: {}, edges });
    expect(merged({ flow: flow({ 'a|B|0': 2 }) }, { flow: flow({}) }).flow?.edges).toEqual({});
  });
});

describe('the series grows at its end', () => {
  const series = ['2026-01-01T00:00:05.000Z', '2026-01-01T00:00:10.000Z'].map(sample);
  test('by what is newer alone', () => {
    const news = [sample('2026-01-01T00:00:10.000Z'), sample('2026-01-01T00:00:15.000Z')];
    expect(merged({ series }, { series: news }).series?.map(({ at }) => at.slice(17, 19))).toEqual(['05', '10', '15']);
  });
  test('and never beyond what the server keeps', () => {
    const many = Array.from({ length: 250 }, (_, i) =>
      sample(new Date(Date.UTC(2026, 0, 1) + i * 5_000).toISOString()),
    );
    const after = merged({ series: [] }, { series: many }).series ?? [];
    expect(after).toHaveLength(200);
    expect(after.at(-1)).toEqual(many.at(-1));
  });
});

test('what was known before is not touched', () => {
  const known: News = { counts: { active: 5 }, lag: [row('t', 0, '1')] };
  merged(known, { counts: { active: 6 }, lag: [row('t', 0, '2')] });
  expect(known).toEqual({ counts: { active: 5 }, lag: [row('t', 0, '1')] });
});

test('the sum of what is not known is not 0', () => {
  expect(sumOf(undefined)).toBeUndefined();
  expect(sumOf({})).toBe(0);
  expect(sumOf({ a: 1, b: 2 })).toBe(3);
});
