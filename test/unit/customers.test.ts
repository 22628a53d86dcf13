// The memory of this process, without Redis. With it: test/integration/customers.test.ts.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createCustomers } from '../../src/customers.ts';

beforeEach(() => {
  vi.useFakeTimers();
  vi.advanceTimersByTime(1); // what lru-cache keeps from millisecond 0 it keeps for ever
});
afterEach(() => void vi.useRealTimers());

/** Customers over a database that is a Set; `asked` holds the ids of each query. */
function setup({ l1Size = 1_000, existing = ['a', 'b'] } = {}) {
  const database = new Set(existing);
  const asked: string[][] = [];
  const read = async (ids: readonly string[]) => {
    asked.push([...ids]);
    return ids.filter((id) => database.has(id));
  };
  const log = { info: vi.fn(), warn: vi.fn() };
  const options = { redisUrl: undefined, secret: 'test', l1Size, l1TtlMs: 60_000, redisTtlMs: 60_000, log };
  return { customers: createCustomers(options), database, asked, read, log };
}

describe('a batch asks little', () => {
  test('each distinct customer once, all in one query', async () => {
    const { customers, asked, read } = setup();
    expect(await customers.known(['a', 'x', 'a', 'b', 'x'], read)).toEqual(new Set(['a', 'b']));
    expect(asked).toEqual([['a', 'x', 'b']]);
  });
  test('nobody at all: no query', async () => {
    const { customers, asked, read } = setup();
    expect(await customers.known([], read)).toEqual(new Set());
    expect(await customers.knownForSure([], read)).toEqual(new Set());
    expect(asked).toEqual([]);
  });
  test('a known customer is not asked again, for 48 to 60 s', async () => {
    const { customers, asked, read } = setup();
    await customers.known(['a'], read);
    vi.advanceTimersByTime(47_000);
    expect(await customers.known(['a'], read)).toEqual(new Set(['a']));
    expect(asked).toHaveLength(1);
    vi.advanceTimersByTime(14_000);
    expect(await customers.known(['a'], read)).toEqual(new Set(['a']));
    expect(asked).toHaveLength(2);
  });
  test('using it does not keep it longer', async () => {
    const { customers, asked, read } = setup();
    for (let second = 0; second < 61; second++) {
      await customers.known(['a'], read);
      vi.advanceTimersByTime(1_000);
    }
    expect(asked).toHaveLength(2);
  });
});

describe('the customer comes later', () => {
  test('an unknown customer is asked for in every batch', async () => {
    const { customers, database, asked, read } = setup();
    await customers.known(['x'], read);
    expect(await customers.known(['x'], read)).toEqual(new Set());
    database.add('x');
    expect(await customers.known(['x'], read)).toEqual(new Set(['x']));
    expect(asked).toEqual([['x'], ['x'], ['x']]);
  });
  test('a created customer is known at once, unasked', async () => {
    const { customers, asked, read } = setup();
    await customers.known(['x'], read);
    customers.remember([{ customerId: 'x' }]);
    expect(await customers.known(['x'], read)).toEqual(new Set(['x']));
    expect(asked).toHaveLength(1);
  });
});

describe('the database knows better', () => {
  test('after a conflict it alone is asked, and its no undoes what was remembered', async () => {
    const { customers, database, asked, read } = setup();
    await customers.known(['a', 'b'], read);
    database.delete('a');
    expect(await customers.knownForSure(['a', 'b', 'a'], read)).toEqual(new Set(['b']));
    expect(await customers.known(['a', 'b'], read)).toEqual(new Set(['b']));
    expect(asked).toEqual([['a', 'b'], ['a', 'b'], ['a']]);
  });
  test('after a rewind everything is asked again', async () => {
    const { customers, database, asked, read } = setup();
    await customers.known(['a', 'b'], read);
    database.delete('a');
    customers.rewind();
    expect(await customers.known(['a', 'b'], read)).toEqual(new Set(['b']));
    expect(asked).toHaveLength(2);
  });
  test('an answer from before a rewind that arrives after it is not remembered', async () => {
    const { customers, asked, read } = setup();
    const late = Promise.withResolvers<string[]>();
    const asking = customers.known(['x'], () => late.promise);
    customers.rewind();
    late.resolve(['x']);
    expect(await asking).toEqual(new Set(['x']));
    expect(await customers.known(['x'], read)).toEqual(new Set());
    expect(asked).toEqual([['x']]);
  });
  test('a failed query rejects, is not taken for a no, and nothing is remembered of it', async () => {
    const { customers, asked, read } = setup();
    const away = () => Promise.reject(new Error('Postgres is away'));
    await expect(customers.known(['a'], away)).rejects.toThrow('Postgres is away');
    await expect(customers.knownForSure(['a'], away)).rejects.toThrow('Postgres is away');
    expect(await customers.known(['a'], read)).toEqual(new Set(['a']));
    expect(asked).toEqual([['a']]);
  });
  test('an id that was not asked for is not taken from an answer', async () => {
    const { customers, asked, read } = setup({ existing: [] });
    expect(await customers.known(['a'], async () => ['a', 'z'])).toEqual(new Set(['a']));
    expect(await customers.known(['z'], read)).toEqual(new Set());
    expect(asked).toEqual([['z']]);
  });
});

describe('memory has a limit', () => {
  test('the longest unused is forgotten first', async () => {
    const { customers, asked, read } = setup({ l1Size: 2, existing: ['a', 'b', 'c'] });
    await customers.known(['a', 'b'], read);
    await customers.known(['a'], read);
    await customers.known(['c'], read);
    expect(await customers.known(['a', 'c'], read)).toEqual(new Set(['a', 'c']));
    await customers.known(['b'], read);
    expect(asked).toEqual([['a', 'b'], ['c'], ['b']]);
    expect(customers.facts().memory.size).toBe(2);
  });
  test('an id longer than the contract allows is answered and not kept', async () => {
    const long = 'x'.repeat(10_000);
    const { customers, asked, read } = setup({ existing: [long] });
    await customers.known([long], read);
    expect(await customers.known([long], read)).toEqual(new Set([long]));
    expect(asked).toHaveLength(2);
    expect(customers.facts().memory.size).toBe(0);
  });
});

describe('without Redis', () => {
  test('it says so in its facts, counts, and logs nothing', async () => {
    const { customers, read, log } = setup();
    await customers.known(['a', 'x', 'x'], read);
    await customers.known(['a'], read);
    expect(customers.facts()).toEqual({
      memory: { size: 1, hits: 1, misses: 2 },
      redis: { state: 'off' },
      postgres: { known: 1, unknown: 1 },
    });
    await customers.close();
    expect(log.warn).not.toHaveBeenCalled();
    expect(log.info).not.toHaveBeenCalled();
  });
});
