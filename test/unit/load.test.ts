// The demo's load against the service's own deciding: what it expects must come out, in whatever order the logs are read.
import { describe, expect, test } from 'vitest';
import { type Counts, createLoad, type LoadOptions, noCounts, type Sent, SHARES } from '../../dev/load.ts';
import { createRandom, type Random, zipf } from '../../dev/random.ts';
import { decoder } from '../../src/decode.ts';
import type { Decoded, Outcome } from '../../src/events.ts';
import type { OutgoingRecord } from '../../src/sources/kafka-client.ts';
import { emptyTables, handle, type Tables } from '../support/store.ts';

const OPTIONS: LoadOptions = { ...SHARES, seed: 7, events: 3_000, users: 500, atMs: Date.UTC(2026, 0, 1), late: 0.02 };
const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });

function takeAll(over: Partial<LoadOptions> = {}) {
  const load = createLoad({ ...OPTIONS, ...over });
  const main = load.more(Number.POSITIVE_INFINITY);
  return { load, main, afterMain: load.expected(), late: load.late(), expected: load.expected() };
}

describe('the expected counts come out, whichever partition is read first', () => {
  test.each([1, 2, 3, 4, 5, 6])('order %i', (order) => {
    const { main, afterMain, late, expected } = takeAll({ seed: order, unkeyed: 0.3 });
    const logs = createLogs(createRandom(order));
    logs.append(main);
    logs.readAll();
    expect(countsOf(logs.tables)).toEqual(afterMain);
    logs.append(late);
    logs.readAll();
    expect(countsOf(logs.tables)).toEqual(expected);
  });

  test('topics from the last to the first: nearly everything waits before it goes', () => {
    const { main, afterMain } = takeAll({ unkeyed: 0.5 });
    const logs = createLogs(createRandom(1));
    logs.append(main);
    for (const topic of ['USER_DELETED', 'USER_ROLE_CHANGED', 'USER_STATUS_CHANGED', 'USER_CREATED', 'user-events'])
      logs.readAll(topic);
    expect(countsOf(logs.tables)).toEqual(afterMain);
  });
});

describe('the load is what the demo says it is', () => {
  test('as many events as asked for, of about as many users', () => {
    const { load, main, late, expected } = takeAll();
    expect(main.length + late.length).toBe(OPTIONS.events);
    expect(expected.records).toBe(OPTIONS.events);
    expect(Object.values(expected.outcomes).reduce((sum, n) => sum + n)).toBe(OPTIONS.events);
    expect(load.facts().users).toBeGreaterThan(450);
    expect(load.facts().users).toBeLessThan(550);
  });

  test('every outcome occurs, and users of every state', () => {
    const { expected } = takeAll();
    expect(Object.entries(expected.outcomes).filter(([, n]) => n === 0)).toEqual([]);
    expect(Object.entries(expected.states).filter(([, n]) => n === 0)).toEqual([]);
  });

  test('every dialect that is subscribed by default', () => {
    const { main } = takeAll();
    const dialects = new Set(main.map(({ record }) => decoded(record, 0, 0n).dialect));
    expect([...dialects].filter(Boolean).sort()).toEqual(['cloudevents', 'cloudevents-structured', 'nest', 'plain']);
  });

  test('small companies are sent by Accounting, institutions by Portfolio', () => {
    const { main } = takeAll({ bad: 0 });
    const keyed = main.filter(({ record }) => record.key !== null);
    expect(
      keyed.filter(({ by, record }) => (by === 'accounting-service') !== /^sme-/.test(String(record.key))),
    ).toEqual([]);
  });

  test('the same seed gives the same events, another one others', () => {
    expect(takeAll().main).toEqual(takeAll().main);
    expect(takeAll({ seed: 8 }).main).not.toEqual(takeAll().main);
  });

  test('cut off anywhere, the expected counts are those of what was taken', () => {
    const load = createLoad({ ...OPTIONS, events: Number.POSITIVE_INFINITY });
    const logs = createLogs(createRandom(1));
    logs.append(load.more(700));
    logs.readAll();
    expect(countsOf(logs.tables)).toEqual(load.expected());
  });

  test('the users worth a look are what they are said to be', () => {
    const { load, main } = takeAll();
    const logs = createLogs(createRandom(1));
    logs.append(main);
    logs.readAll();
    const { busy, waiting, missing } = load.examples();
    expect(logs.tables.users.get(busy as string)?.version).toBeGreaterThan(5);
    expect([...logs.tables.waiting.values()].map(({ event }) => event.userId)).toContain(waiting);
    expect(logs.tables.customers.has(missing as string)).toBe(false);
  });
});

describe('random numbers are good enough to measure with', () => {
  test('100,000 draws of 25,000 users touch as many as chance would: 24,542', () => {
    const random = createRandom(1);
    const drawn = new Set(Array.from({ length: 100_000 }, () => random.below(25_000)));
    expect(drawn.size).toBeGreaterThan(24_450);
    expect(drawn.size).toBeLessThan(24_650);
  });

  test('low bits do not repeat', () => {
    const random = createRandom(1);
    const bits = Array.from({ length: 4_096 }, () => random.below(2 ** 32) & 1).join('');
    for (const period of [1, 2, 4, 16, 256, 1_024])
      expect(bits.slice(0, 2_048)).not.toBe(bits.slice(period, period + 2_048));
    expect(bits.replaceAll('0', '').length).toBeGreaterThan(1_900);
    expect(bits.replaceAll('0', '').length).toBeLessThan(2_200);
  });

  test('seeds that are neighbours give different numbers', () => {
    const first = [0, 1, 2, 3, 4].map((seed) => createRandom(seed).hex(16));
    expect(new Set(first).size).toBe(5);
  });

  test('the first of a hundred by Zipf is drawn a hundred times as often as the last', () => {
    const random = createRandom(1);
    const draw = zipf(100);
    const times = new Array<number>(100).fill(0);
    for (let i = 0; i < 200_000; i++) {
      const rank = draw(random);
      times[rank] = (times[rank] as number) + 1;
    }
    expect((times[0] as number) / (times[1] as number)).toBeCloseTo(2, 0);
    expect((times[0] as number) / (times[99] as number)).toBeGreaterThan(60);
  });
});

/** Partition logs in memory, read in an order that `random` chooses. */
function createLogs(random: Random) {
  const tables = emptyTables();
  const logs = new Map<string, { topic: string; events: Decoded[]; read: number }>();

  function append(sent: readonly Sent[]): void {
    for (const { record } of sent) {
      const partition = record.key === null ? random.below(4) : hashOf(String(record.key)) % 12;
      const name = `${record.topic}/${partition}`;
      const log = logs.get(name) ?? { topic: record.topic, events: [], read: 0 };
      logs.set(name, log);
      log.events.push(decoded(record, partition, BigInt(log.events.length)));
    }
  }
  function readAll(topic?: string): void {
    for (;;) {
      const open = [...logs.values()].filter(
        (log) => log.read < log.events.length && (topic === undefined || log.topic === topic),
      );
      if (open.length === 0) return;
      const log = random.pick(open);
      const batch = log.events.slice(log.read, log.read + 1 + random.below(60));
      log.read += batch.length;
      handle(tables, batch);
    }
  }
  return { tables, append, readAll };
}

function decoded({ topic, key, value, headers = [] }: OutgoingRecord, partition: number, offset: bigint): Decoded {
  const bytes = (content: Buffer | string | null) => (typeof content === 'string' ? Buffer.from(content) : content);
  const pairs = headers.map(([name, content]) => [name, bytes(content)] as const);
  const record = { offset, timestampMs: OPTIONS.atMs + 1_000, key: bytes(key), value: bytes(value), headers: pairs };
  return decode({ topic, partition, generation: 0 }, record);
}

function hashOf(text: string): number {
  let hash = 0;
  for (const byte of Buffer.from(text)) hash = (Math.imul(hash, 31) + byte) >>> 0;
  return hash;
}

function countsOf({ history, waiting, deadLetters, users }: Tables): Counts {
  const counts = noCounts();
  const add = (outcome: Outcome, n: number) => {
    counts.outcomes[outcome] += n;
    counts.records += n;
  };
  for (const { outcome } of history.values()) add(outcome, 1);
  add('waiting', waiting.size);
  add('dead', deadLetters.size);
  for (const { state } of users.values()) counts.states[state]++;
  return counts;
}
