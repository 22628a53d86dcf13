// Whoever has everything up to a number, and adds what `since` says, has what there is: however seldom it asks.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CHANNELS, createBoard } from '../../src/api/board.ts';
import type { Channels, PartitionRow, Sample, Stats } from '../../src/api/contract.ts';
import { merged } from '../support/sse.ts';

const AT_MS = Date.UTC(2025, 0, 31);
const ALL = new Set(CHANNELS);

function setup() {
  const board = createBoard({ server: 'one', machineHash: 'abc' });
  const since = (seq: number, channels = ALL) =>
    board.since(seq, channels).map(({ channel, json }) => ({ channel, data: JSON.parse(json) as Partial<Stats> }));
  return { board, since };
}
const row = (partition: number, position: string): PartitionRow => ({
  ...{ topic: 'user-events', partition, generation: 0, owner: null, position, committed: null, high: null, lag: null },
  ...{
    logStart: null,
    lagSeconds: null,
    rate: null,
    state: 'running',
    why: null,
    savedAt: null,
    unkeyed: null,
    records: null,
  },
});
const sample = (n: number): Sample => ({
  ...{ at: new Date(AT_MS + n * 5_000).toISOString(), seconds: 5, records: n, outcomes: {}, lag: null },
  ...{ delayMs: null, batchMs: null, batchRecords: null },
});

describe('what changed', () => {
  test('of sums: the keys whose value is another; the same value again is no news', () => {
    const { board, since } = setup();
    board.put('counts', { active: 1, pending: 5 }, AT_MS);
    const { seq } = board;
    board.put('counts', { active: 1, pending: 5 }, AT_MS + 1_000);
    expect(board.seq).toBe(seq);
    expect(since(seq)).toEqual([]);
    board.put('counts', { active: 2, pending: 5 }, AT_MS + 2_000);
    expect(since(seq)).toEqual([
      { channel: 'counts', data: { at: '2025-01-31T00:00:02.000Z', counts: { active: 2 } } },
    ]);
  });

  test('of partitions: the rows of which anything is another', () => {
    const { board, since } = setup();
    board.put('lag', [row(0, '1'), row(1, '1')], AT_MS);
    const { seq } = board;
    board.put('lag', [row(0, '1'), { ...row(1, '1'), why: 'gap' }], AT_MS);
    expect(since(seq)[0]?.data.lag).toEqual([{ ...row(1, '1'), why: 'gap' }]);
  });

  test('of the rest: all of it, also when it became less', () => {
    const { board, since } = setup();
    board.put('dead', { json: 1, schema: 2 }, AT_MS);
    const { seq } = board;
    board.put('dead', { json: 1 }, AT_MS);
    expect(since(seq)[0]?.data.dead).toEqual({ json: 1 });
  });

  test('of the charts: the new samples; at most 200 are kept', () => {
    const { board, since } = setup();
    for (let n = 0; n < 500; n++) board.addSample(sample(n));
    const { seq } = board;
    expect(since(0)[0]?.data.series).toEqual(Array.from({ length: 200 }, (_, i) => sample(300 + i)));
    board.addSample(sample(500));
    expect(since(seq)).toEqual([{ channel: 'series', data: { at: sample(500).at, series: [sample(500)] } }]);
    expect(since(board.seq)).toEqual([]);
  });

  test('of everything: all samples, or the newest of them that were asked for', () => {
    const { board } = setup();
    for (let n = 0; n < 5; n++) board.addSample(sample(n));
    const said = (samples?: number) => board.stats(samples).series.map(({ records }) => records);
    expect(said()).toEqual([0, 1, 2, 3, 4]);
    expect(said(2)).toEqual([3, 4]);
    expect(said(0)).toEqual([]);
    expect(said(200)).toEqual([0, 1, 2, 3, 4]);
  });

  test('only of the channels that were asked for', () => {
    const { board, since } = setup();
    board.put('counts', { active: 1 }, AT_MS);
    board.put('dead', { json: 1 }, AT_MS);
    expect(since(0, new Set(['dead'] as const)).map(({ channel }) => channel)).toEqual(['dead']);
  });
});

describe('a database that was restored to a former time', () => {
  test('a key that is gone is told as 0, once', () => {
    const { board, since } = setup();
    board.put('counts', { active: 1, deleted: 1 }, AT_MS);
    const { seq } = board;
    board.put('counts', { active: 1 }, AT_MS);
    expect(since(seq)[0]?.data.counts).toEqual({ deleted: 0 });
    const told = board.seq;
    board.put('counts', { active: 1 }, AT_MS);
    expect(since(told)).toEqual([]);
  });

  test('a row that is gone: whoever had it begins anew', () => {
    const { board } = setup();
    board.put('lag', [row(0, '1'), row(1, '1')], AT_MS);
    const { seq, floor } = board;
    expect(floor).toBe(0);
    board.put('lag', [row(1, '1')], AT_MS);
    expect(board.floor).toBeGreaterThan(seq);
    expect(board.floor).toBe(board.seq);
  });
});

test('it is complete when every channel was put up', () => {
  const { board } = setup();
  const values: Omit<Channels, 'jobs'> = {
    ...{ counts: {}, transitions: {}, outcomes: {}, dead: {}, lag: [], holds: [] },
    flow: { window: 10, records: 0, outcomes: {}, edges: {} },
    waiting: { total: 0, reasons: {} },
    health: { status: 'ok', kafka: 'ok', postgres: 'ok', redis: 'ok', reasons: [], member: null, cacheHitRate: null },
  };
  for (const [channel, value] of Object.entries(values)) board.put(channel as 'counts', value as never, AT_MS);
  expect(board.isComplete).toBe(false);
  board.put('jobs', [], AT_MS);
  expect(board.isComplete).toBe(true);
  expect(board.stats()).toMatchObject({ server: 'one', machineHash: 'abc', at: '2025-01-31T00:00:00.000Z', ...values });
});

test('whenever a page asks, it ends with what there is', () => {
  const key = fc.constantFrom('pending', 'active', 'auth0|"1"', '__proto__');
  const step = fc.oneof(
    fc.record({ put: fc.constantFrom('counts' as const, 'transitions' as const), sums: fc.dictionary(key, fc.nat(3)) }),
    fc.record({ lag: fc.array(fc.nat(3), { maxLength: 4 }) }),
    fc.record({ dead: fc.dictionary(key, fc.nat(3)) }),
    fc.record({ sample: fc.nat(9) }),
    fc.record({ ask: fc.nat(2) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { board, since } = setup();
      board.put('counts', {}, AT_MS);
      board.put('transitions', {}, AT_MS);
      board.put('lag', [], AT_MS);
      board.put('dead', {}, AT_MS);
      const pages = [0, 1, 2].map(() => ({ seq: board.seq, has: board.stats() }));
      const ask = (page: (typeof pages)[number]) => {
        if (page.seq < board.floor) page.has = board.stats();
        else for (const { channel, data } of since(page.seq)) page.has = merged(page.has, channel, data);
        page.seq = board.seq;
      };
      let lag: number[] = [];
      for (const step of steps) {
        if ('put' in step) board.put(step.put, step.sums, AT_MS);
        else if ('lag' in step) {
          lag = step.lag;
          board.put(
            'lag',
            lag.map((position, partition) => row(partition, String(position))),
            AT_MS,
          );
        } else if ('dead' in step) board.put('dead', step.dead, AT_MS);
        else if ('sample' in step) board.addSample(sample(step.sample));
        else ask(pages[step.ask] as (typeof pages)[number]);
      }
      for (const page of pages) {
        ask(page);
        const { counts, transitions, lag, dead, series } = board.stats();
        expect(known(page.has.counts)).toEqual(known(counts));
        expect(known(page.has.transitions)).toEqual(known(transitions));
        expect({ lag: page.has.lag, dead: page.has.dead, series: page.has.series }).toEqual({ lag, dead, series });
      }
    }),
  );
});
/** 0 and absent are the same. */
function known(sums: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(sums).filter(([, n]) => n !== 0));
}
