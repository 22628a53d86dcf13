import { describe, expect, test } from 'vitest';
import type { PartitionRow } from '../../src/api/contract.ts';
import { dependencies, type LiveFacts, totalLag } from '../../src/api/live.ts';
import type { Overview } from '../../src/overview.ts';

const OK = { ok: true, detail: 'fine' };
function setup(checks: Overview['ready']['checks'] = {}) {
  const health = (): Overview => ({
    ...{ status: 'ok', version: '1', redis: 'ok', member: 'm-1', rebalances: 1, saveRetries: 0, partitions: [] },
    live: { status: 'ok', checks: { progress: OK } },
    startup: { status: 'ok', checks: { schema: OK } },
    secondsSince: { progress: 0, fetch: null, heartbeat: null, commit: null, databaseCheck: null },
    ready: { status: 'ok', checks: { group: OK, database: OK, ...checks } },
  });
  const customers: LiveFacts['customers'] = () => ({
    memory: { size: 1, hits: 60, misses: 40 },
    redis: { state: 'ok', hits: 33, misses: 7, errors: 0 } as never,
    postgres: { known: 1, unknown: 0 },
  });
  return { health, customers, logs: async () => [] };
}

describe('the servers', () => {
  test('all is well: nothing to say', () => {
    expect(dependencies(setup(), null)).toEqual({
      ...{ status: 'ok', kafka: 'ok', postgres: 'ok', redis: 'ok', reasons: [], member: 'm-1', cacheHitRate: 0.93 },
    });
  });

  test('Postgres is away as soon as these numbers can not be read, whatever the last check said', () => {
    const { postgres, status, reasons } = dependencies(setup(), 'ECONNREFUSED');
    expect({ postgres, status }).toEqual({ postgres: 'away', status: 'failing' });
    expect(reasons).toEqual(['these numbers are old: they can not be read from Postgres (ECONNREFUSED)']);
  });

  test('and where they can be read, but the check of the database fails', () => {
    const facts = setup({ database: { ok: false, detail: 'the database is read-only' } });
    expect(dependencies(facts, null)).toMatchObject({
      postgres: 'away',
      reasons: ['database: the database is read-only'],
    });
  });

  test('Kafka is away while the group has no word from it; off, where there is none', () => {
    const facts = setup({ group: { ok: false, detail: 'no word from the brokers for 31 s' } });
    expect(dependencies(facts, null)).toMatchObject({
      kafka: 'away',
      reasons: ['group: no word from the brokers for 31 s'],
    });
    expect(dependencies({ ...facts, logs: undefined }, null).kafka).toBe('off');
  });
});

describe('the lag of all', () => {
  const row = (topic: string, partition: number, lag: string | null) => ({ topic, partition, lag }) as PartitionRow;

  test('is the sum of all partitions', () => {
    expect(totalLag([row('a', 0, '3'), row('a', 1, '0'), row('b', 0, '4')])).toBe(7);
  });
  test('is unknown where a part of it is', () => {
    expect(totalLag([row('a', 0, '3'), row('a', 1, null)])).toBeNull();
    expect(totalLag([])).toBeNull();
  });
  test('does not count a topic that is not read any more', () => {
    expect(totalLag([row('a', 0, '3'), row('old', 0, null)])).toBe(3);
  });
});
