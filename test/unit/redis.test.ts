// Names, entries and the breaker. The connection itself: test/integration/customers.test.ts.
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createBreaker, createCodec } from '../../src/redis.ts';

const NAMESPACE = 'AAAAAAAAAAAAAAAAAAAAAA';
const OTHER = 'BBBBBBBBBBBBBBBBBBBBBB';
const id = fc.string({
  unit: fc.integer({ min: 0x21, max: 0x7e }).map((c) => String.fromCharCode(c)),
  minLength: 1,
  maxLength: 128,
});

describe('a poisoned cache', () => {
  const codec = createCodec('secret');
  const own = codec.entry(NAMESPACE, 'customer-1');
  const believed = (entry: string, of = 'customer-1', namespace = NAMESPACE) =>
    codec.isEntry(Buffer.from(entry), namespace, of);

  test('an entry of our own is believed', () => expect(believed(own)).toBe(true));
  test('another customer’s is not', () => expect(believed(own, 'customer-2')).toBe(false));
  test('one from before a rewind is not', () => expect(believed(own, 'customer-1', OTHER)).toBe(false));
  test('one made with another secret is not', () =>
    expect(believed(createCodec('guessed').entry(NAMESPACE, 'customer-1'))).toBe(false));
  test('one of another schema version is not', () => expect(believed(own.replace(/^1/, '2'))).toBe(false));
  test.each(['', '1', 'null', '1..customer-1', '{"a":'.repeat(1_000), 'x'.repeat(own.length), `${own} `, own.slice(1)])(
    'nor is %.20j',
    (entry) => expect(believed(entry)).toBe(false),
  );
  test('five megabytes are not even looked at', () => expect(believed(own.padEnd(5_000_000, ' '))).toBe(false));
  test('one changed byte anywhere is noticed', () => {
    fc.assert(
      fc.property(fc.nat(own.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(own);
        changed[at] = (changed[at] ?? 0) ^ by;
        return !codec.isEntry(changed, NAMESPACE, 'customer-1');
      }),
    );
  });
});

describe('an id aimed at the names of Redis', () => {
  const codec = createCodec('secret');
  test('only our prefix, the namespace and a hash are in a name', () => {
    fc.assert(
      fc.property(id, (any) => /^customer-service:customers:A{22}:[\w-]{43}$/.test(codec.name(NAMESPACE, any))),
    );
  });
  test('two ids never share a name or an entry', () => {
    fc.assert(
      fc.property(id, id, (a, b) => {
        fc.pre(a !== b);
        return (
          codec.name(NAMESPACE, a) !== codec.name(NAMESPACE, b) &&
          codec.entry(NAMESPACE, a) !== codec.entry(NAMESPACE, b)
        );
      }),
    );
  });
});

describe('Redis away', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** A breaker whose probes the test answers: `answer.fails` decides, `probes` holds the times of them. */
  function setup({ tried = true } = {}) {
    const answer = { fails: false };
    const probes: number[] = [];
    const told: string[] = [];
    const breaker = createBreaker({
      probe: async () => {
        probes.push(Math.round(performance.now()));
        if (answer.fails) throw new Error('still away');
      },
      opened: (error) => void told.push((error as Error).message),
      closed: () => void told.push('back'),
    });
    const pauses = () => probes.slice(1).map((at, i) => at - (probes[i] as number));
    const ready = async () => {
      if (tried) breaker.tryNow();
      await vi.advanceTimersByTimeAsync(0);
      told.length = probes.length = 0;
      return { answer, probes, pauses, told, breaker };
    };
    return ready();
  }

  test('it is told once, however many commands fail, and once when it is back', async () => {
    const { breaker, told } = await setup();
    for (let i = 0; i < 5; i++) breaker.failed(new Error('first'));
    expect(told).toEqual(['first']);
    await vi.advanceTimersByTimeAsync(100);
    expect(told).toEqual(['first', 'back']);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toEqual(['first', 'back']);
  });
  test('it is tried again after 100 ms, then ever more rarely, at least every 5 s', async () => {
    const { breaker, answer, probes, pauses } = await setup();
    answer.fails = true;
    const since = performance.now();
    breaker.failed(new Error('away'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect((probes[0] as number) - since).toBeGreaterThanOrEqual(74);
    expect((probes[0] as number) - since).toBeLessThanOrEqual(101);
    [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000].forEach((most, i) => {
      expect(pauses()[i]).toBeGreaterThanOrEqual(most * 0.75 - 1);
      expect(pauses()[i]).toBeLessThanOrEqual(most + 1);
    });
  });
  test('a Redis that comes and goes is not greeted ten times a second', async () => {
    const { breaker, told } = await setup();
    for (let ms = 0; ms < 60_000; ms += 10) {
      breaker.failed(new Error('again'));
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(told.filter((word) => word === 'again').length).toBeLessThan(24);
  });
  test('after half a minute of calm the first pause is short again', async () => {
    const { breaker, answer, probes } = await setup();
    answer.fails = true;
    breaker.failed(new Error('away'));
    await vi.advanceTimersByTimeAsync(20_000);
    answer.fails = false;
    await vi.advanceTimersByTimeAsync(40_000);
    probes.length = 0;
    const since = performance.now();
    breaker.failed(new Error('away'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect((probes[0] as number) - since).toBeLessThanOrEqual(101);
  });
  test('a new connection is tried at once', async () => {
    const { breaker, answer, told } = await setup();
    answer.fails = true;
    breaker.failed(new Error('away'));
    await vi.advanceTimersByTimeAsync(20_000);
    answer.fails = false;
    breaker.tryNow();
    await vi.advanceTimersByTimeAsync(0);
    expect(told).toEqual(['away', 'back']);
  });
  test('never there from the start: told once', async () => {
    const { breaker, answer, told } = await setup({ tried: false });
    answer.fails = true;
    breaker.failed(new Error('refused'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toEqual(['refused']);
  });
  test('one probe at a time, and what was asked for meanwhile follows', async () => {
    const running = { now: 0, most: 0, all: 0 };
    const breaker = createBreaker({
      probe: async () => {
        running.all++;
        running.most = Math.max(running.most, ++running.now);
        await new Promise((resolve) => setTimeout(resolve, 10));
        running.now--;
      },
      opened: () => {},
      closed: () => {},
    });
    for (let i = 0; i < 5; i++) breaker.tryNow();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(running).toEqual({ now: 0, most: 1, all: 2 });
  });
  test('stopped: silent, and nothing is tried again', async () => {
    const { breaker, answer, probes, told } = await setup();
    answer.fails = true;
    breaker.failed(new Error('away'));
    breaker.stop();
    breaker.failed(new Error('closing'));
    breaker.tryNow();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(probes).toEqual([]);
    expect(told).toEqual(['away']);
    expect(vi.getTimerCount()).toBe(0);
  });
});
