// What charts are drawn from: nothing that was not measured is drawn as if it were.
import { describe, expect, test } from 'vitest';
import {
  CHARTS,
  type Chart,
  chartInWords,
  dataOf,
  minutesOf,
  OUTCOMES,
  tick,
  windowOf,
} from '../../console/src/charts.ts';
import { OUTCOMES as OF_THE_CONTRACT, type Sample } from '../../src/api/contract.ts';

const START = Date.parse('2026-11-24T12:00:00Z');
const sample = (s: number, more: Partial<Sample> = {}): Sample => ({
  at: new Date(START + s * 1_000).toISOString(),
  seconds: 5,
  records: 0,
  outcomes: {},
  lag: 0,
  delayMs: null,
  batchMs: null,
  batchRecords: null,
  ...more,
});
const chart = (id: string) => CHARTS.find((each) => each.id === id) as Chart;

describe('lines', () => {
  test('every outcome of the contract has one, with a dash that no other has', () => {
    expect(OUTCOMES).toEqual(OF_THE_CONTRACT);
    const dashes = chart('outcomes').lines.map(({ dash }) => JSON.stringify(dash));
    expect(new Set(dashes).size).toBe(OUTCOMES.length);
  });
  test('events are per second, whatever time a sample covers', () => {
    const [, applied] = dataOf(chart('outcomes'), [
      sample(5, { outcomes: { applied: 50 } }),
      sample(15, { outcomes: { applied: 50 }, seconds: 10 }),
    ]);
    expect(applied).toEqual([10, 5]);
  });
  test('what was not measured is a gap, not 0', () => {
    expect(dataOf(chart('lag'), [sample(0, { lag: null }), sample(5, { lag: 7 })])[1]).toEqual([null, 7]);
    expect(dataOf(chart('delay'), [sample(0)]).slice(1)).toEqual([[null], [null], [null]]);
    expect(dataOf(chart('batch-size'), [sample(0)])[1]).toEqual([null]);
  });
  test('a time without samples breaks the line', () => {
    const [xs, lag] = dataOf(chart('lag'), [sample(0, { lag: 1 }), sample(5, { lag: 2 }), sample(65, { lag: 3 })]);
    expect(xs.map((x) => x - START / 1_000)).toEqual([0, 5, 15, 65]);
    expect(lag).toEqual([1, 2, null, 3]);
  });
  test('without samples there is nothing', () => {
    expect(dataOf(chart('outcomes'), [])).toEqual([[], ...OUTCOMES.map(() => [])]);
  });
});

describe('the time that is shown', () => {
  const width = (samples: Sample[]) => {
    const [from, to] = windowOf(samples, START);
    return to - from;
  };
  test('15 minutes, however many there are', () => {
    expect(width([sample(0), sample(2_000)])).toBe(900);
  });
  test('less while there are few, but never so little that it jumps', () => {
    expect(width([sample(0), sample(400)])).toBe(400);
    expect(width([sample(0)])).toBe(180);
    expect(width([])).toBe(180);
  });
  test('it ends with the last sample, not with the clock of the browser', () => {
    expect(windowOf([sample(0), sample(60)], START + 3_600_000)[1]).toBe(START / 1_000 + 60);
  });
});

describe('the sentence', () => {
  test('now, least and most of each line that moved', () => {
    const samples = [sample(0, { outcomes: { applied: 5 } }), sample(5, { outcomes: { applied: 50 } }), sample(10)];
    expect(chartInWords(chart('outcomes'), samples)).toBe(
      'Events per second, by outcome: applied 0/s now, between 0/s and 10.0/s.',
    );
  });
  test('that nothing happened, and that nothing is known, are two things', () => {
    expect(chartInWords(chart('outcomes'), [sample(0)])).toMatch(/nothing happened/);
    expect(chartInWords(chart('lag'), [])).toMatch(/no samples yet/);
  });
  test('a value that is not known now is not said to be 0', () => {
    expect(chartInWords(chart('lag'), [sample(0, { lag: 4 }), sample(5, { lag: null })])).toMatch(/lag – now/);
  });
});

describe('the table', () => {
  test('minute by minute, the newest first, the mean of what was measured', () => {
    const minutes = minutesOf(chart('lag'), [
      sample(0, { lag: 2 }),
      sample(5, { lag: 4 }),
      sample(10, { lag: null }),
      sample(60, { lag: null }),
    ]);
    expect(minutes).toEqual([
      { atMs: START + 60_000, values: [null] },
      { atMs: START, values: [3] },
    ]);
  });
});

test('ticks have few letters', () => {
  expect([0, 0.25, 0.5, 2.5, 50, 1_200, 2_000_000].map(tick)).toEqual(['0', '0.25', '0.50', '2.5', '50', '1.2K', '2M']);
  expect([0, 250, 2_500].map(chart('delay').tick)).toEqual(['0 ms', '250 ms', '2.5 s']);
});
