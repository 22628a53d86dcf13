// latency.ts — from sending an event to its COMMIT in Postgres, at a modest steady rate.
//
// An event's own timestamp is the moment it is given to the producer; Postgres keeps the time of each commit
// (track_commit_timestamp), which it takes just before the write to the disk. The sender runs on the same machine.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Servers } from '../dev/servers.ts';
import { connectProducer } from '../src/sources/kafka-client.ts';
import { evenLoad } from './even.ts';
import { sendSteadily } from './send.ts';
import { handledRecords, QUIET, setAndRestart, withService } from './service.ts';

export type Latency = { perSecond: number; events: number; p50Ms: number; p99Ms: number; maxMs: number };

const PER_SECOND = 1_000;
const SECONDS = 10;
/** Code and caches get warm meanwhile. */
const LEFT_OUT = 2 * PER_SECOND;

/** `partitions`: what `user-events` has. What it holds already is not read. */
export async function measureLatency(servers: Servers, partitions: number): Promise<Latency> {
  await setAndRestart(servers, { track_commit_timestamp: 'on' });
  const env = { KAFKA_FROM: 'latest' };
  return await withService(servers, { name: 'bench_latency', env }, async (service) => {
    await service.untilReady();
    const events = LEFT_OUT + PER_SECOND * SECONDS;
    const load = evenLoad({ events, users: events / 4, partitions, seed: 2, now: Date.now });
    const producer = await connectProducer(
      { brokers: [servers.settings.KAFKA_BROKERS as string], clientId: 'bench' },
      QUIET,
    );
    const sent = await sendSteadily(producer, load, PER_SECOND);
    await producer.close();
    for (;;) {
      service.assertAlive();
      if ((await handledRecords(service)) === sent) break;
      await sleep(100);
    }
    const [row] = await service.sql<{ events: string; ms: number[] }[]>`
      select count(*) as events, percentile_cont(array[0.5, 0.99, 1]) within group (order by ms) as ms
        from (select extract(epoch from pg_xact_commit_timestamp(xmin) - occurred_at)::float8 * 1000 as ms
                from history where type <> 'CUSTOMER_CREATED' order by occurred_at offset ${LEFT_OUT}) waits`;
    if (row === undefined) throw new Error('an aggregate without a row');
    const [p50Ms, p99Ms, maxMs] = row.ms as [number, number, number];
    return { perSecond: PER_SECOND, events: Number(row.events), p50Ms, p99Ms, maxMs };
  });
}
