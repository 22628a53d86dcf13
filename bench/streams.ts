// streams.ts — what open pages of the console cost: the same service under the same steady load, with 50 streams and without, in turns.
//
// A stream costs by the second, not by the event: it is told sums twice a second, and at 20 events a second as many of them change as at
// full speed (6.0 kB a second then, 6.2 at 2,000). So a small load shows it best: at 2,000 events/s, 20 pairs gave 0.4 ± 10.3 ms of the
// service's CPU a second, at 200 6.8 ± 5.9 and -10.6 ± 6.3, at 20 4.5 ± 2.7. A pair is two stretches of time; which comes first changes with every pair, so that what
// else the machine does, and tables that grow, fall on both alike. Those who send events and read streams run in this process: their
// CPU is not in the figures.
import { readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Servers } from '../dev/servers.ts';
import { connectProducer } from '../src/sources/kafka-client.ts';
import { evenLoad } from './even.ts';
import { cpuSeconds } from './proc.ts';
import { sendSteadily } from './send.ts';
import { handledRecords, QUIET, type Service, withService } from './service.ts';

/** `cpu`: milliseconds per second. `all`: with Kafka and Redis. */
export type Stretch = { seconds: number; events: number; cpu: Record<'service' | 'postgres' | 'all', number> };
export type Pair = { first: 'without' | 'with'; without: Stretch; with: Stretch };
export type Streamed = {
  streams: number;
  eventsPerSecond: number;
  bytesPerSecondAndStream: number;
  messagesPerSecondAndStream: number;
  pairs: Pair[];
};

const STREAMS = 50;
const PER_SECOND = 20;
const STRETCH_MS = 5_000;
/** After the streams were opened or closed: their first reads and snapshots belong to neither. */
const SETTLE_MS = 1_000;
/** Code and caches are warm by then. */
const WARM_MS = 15_000;

/** `partitions`: what `user-events` has, which is empty. Throws off Linux. */
export async function compareStreams(
  servers: Servers,
  { partitions, pairs: wanted, nodeOptions }: { partitions: number; pairs: number; nodeOptions: readonly string[] },
  say: (line: string) => void,
): Promise<Streamed> {
  return await withService(servers, { name: 'bench_streams', nodeOptions }, async (service) => {
    await service.untilReady();
    const brokers = [servers.settings.KAFKA_BROKERS as string];
    const producer = await connectProducer({ brokers, clientId: 'bench' }, QUIET);
    const seconds = (WARM_MS + wanted * 2 * (SETTLE_MS + STRETCH_MS)) / 1_000;
    const events = Math.ceil(2 * seconds * PER_SECOND); // more than are needed
    const load = evenLoad({ events, users: events / 4, partitions, seed: 3, now: Date.now });
    let isOver = false;
    const sending = sendSteadily(producer, load, PER_SECOND, () => isOver);
    const got: Got = { bytes: 0, messages: 0, ms: 0 };
    const pairs: Pair[] = [];
    try {
      await sleep(WARM_MS);
      while (pairs.length < wanted) {
        const pair = await onePair(servers, service, pairs.length % 2 === 0 ? 'without' : 'with', got);
        pairs.push(pair);
        say(`pair ${pairs.length}: without ${inWords(pair.without)} · with ${STREAMS} streams ${inWords(pair.with)}`);
      }
    } finally {
      isOver = true;
      await sending.finally(() => producer.close());
    }
    const perSecondAndStream = (n: number) => Math.round((n / got.ms / STREAMS) * 10_000) / 10;
    return {
      ...{ streams: STREAMS, eventsPerSecond: PER_SECOND, bytesPerSecondAndStream: perSecondAndStream(got.bytes) },
      ...{ messagesPerSecondAndStream: perSecondAndStream(got.messages), pairs },
    };
  });
}

type Got = { bytes: number; messages: number; ms: number };

async function onePair(servers: Servers, service: Service, first: Pair['first'], got: Got): Promise<Pair> {
  const one = await stretch(servers, service, first, got);
  const other = await stretch(servers, service, first === 'with' ? 'without' : 'with', got);
  return first === 'with' ? { first, with: one, without: other } : { first, with: other, without: one };
}

async function stretch(servers: Servers, service: Service, which: Pair['first'], got: Got): Promise<Stretch> {
  const readers = which === 'with' ? await openStreams(service.url) : undefined;
  await sleep(SETTLE_MS);
  readers?.takeCounts();
  const before = await look(servers, service);
  await sleep(STRETCH_MS);
  const after = await look(servers, service);
  service.assertAlive();
  const ms = after.ms - before.ms;
  if (readers !== undefined) {
    const { bytes, messages } = readers.takeCounts();
    Object.assign(got, { bytes: got.bytes + bytes, messages: got.messages + messages, ms: got.ms + ms });
    readers.close();
  }
  const spent = (part: keyof Stretch['cpu']) => ((after.cpu[part] - before.cpu[part]) * 1e6) / ms;
  return {
    ...{ seconds: ms / 1_000, events: after.events - before.events },
    cpu: { service: spent('service'), postgres: spent('postgres'), all: spent('all') },
  };
}

async function look(servers: Servers, service: Service) {
  const events = await handledRecords(service);
  const of = (pid: number | undefined, withChildren = false) => {
    const seconds = pid === undefined ? 0 : cpuSeconds(pid, withChildren);
    if (seconds === null) throw new Error('CPU can only be measured on Linux');
    return seconds;
  };
  const [own, postgres] = [of(service.pid), of(servers.postgres.pid, true)];
  const all = own + postgres + of(servers.kafka?.pid) + of(servers.redis?.pid);
  return { ms: performance.now(), events, cpu: { service: own, postgres, all } };
}

/** Each reads all of it, as a page does that keeps up. Throws where a stream is refused. */
async function openStreams(url: string) {
  const counts = { bytes: 0, messages: 0 };
  const responses = await Promise.all(
    Array.from({ length: STREAMS }, async () => {
      const response = await new Promise<IncomingMessage>((resolve, reject) =>
        get(`${url}/api/v1/stream`, { agent: false }, resolve).on('error', reject),
      );
      if (response.statusCode !== 200) throw new Error(`a stream was answered with ${response.statusCode}`);
      response.on('error', () => {}); // it is cut off at the end
      response.on('data', (chunk: Buffer) => {
        counts.bytes += chunk.length;
        for (let at = chunk.indexOf('event:'); at >= 0; at = chunk.indexOf('event:', at + 6)) counts.messages++;
      });
      return response;
    }),
  );
  return {
    takeCounts() {
      const taken = { ...counts };
      Object.assign(counts, { bytes: 0, messages: 0 });
      return taken;
    },
    close() {
      for (const response of responses) response.destroy();
    },
  };
}

/** What the streams took: the mean of the pairs and its standard error. At full speed: of the CPU that is used then (results.json). */
export function streamsInWords({ streams, eventsPerSecond, pairs, ...each }: Streamed): string[] {
  const { median } = JSON.parse(readFileSync(RESULTS, 'utf8')) as {
    median: { eventsPerSecond: number; cpu: { service: number; all: number } };
  };
  const share = (part: 'service' | 'all') => {
    const percentOf = (ms: number) => ((100 * ms) / (median.eventsPerSecond * median.cpu[part] * 1e-3)).toFixed(1);
    const { mean, error } = more(pairs, part);
    return `${percentOf(mean)} ± ${percentOf(error)} %`;
  };
  const ms = (part: keyof Stretch['cpu']) => {
    const { mean, error } = more(pairs, part);
    return `${mean.toFixed(1)} ± ${error.toFixed(1)}`;
  };
  return [
    `${streams} streams at ${eventsPerSecond} events/s, ${pairs.length} pairs: ${ms('service')} ms of CPU a second in the service, ${ms('postgres')} in Postgres, ${ms('all')} in all`,
    `of what is used at ${Math.round(median.eventsPerSecond)} events/s: ${share('service')} of the service's CPU, ${share('all')} of all`,
    `each stream: ${each.messagesPerSecondAndStream} messages and ${Math.round(each.bytesPerSecondAndStream)} bytes a second`,
  ];
}
const RESULTS = new URL('results.json', import.meta.url);

function more(pairs: readonly Pair[], part: keyof Stretch['cpu']): { mean: number; error: number } {
  const all = pairs.map((pair) => pair.with.cpu[part] - pair.without.cpu[part]);
  const mean = all.reduce((sum, one) => sum + one, 0) / all.length;
  const variance = all.reduce((sum, one) => sum + (one - mean) ** 2, 0) / Math.max(1, all.length - 1);
  return { mean, error: Math.sqrt(variance / all.length) };
}

function inWords({ seconds, events, cpu }: Stretch): string {
  const { service, postgres, all } = cpu;
  return `${Math.round(events / seconds)}/s, ${service.toFixed(0)} + ${postgres.toFixed(0)} of ${all.toFixed(0)} ms/s`;
}
