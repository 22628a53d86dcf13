// streams.ts — what open pages of the console cost the pipeline: the same service on the same log, with 50 streams and without, in turns.
//
// A pair is two stretches of time, one after the other; which comes first changes with every pair, so that what else the machine does,
// and tables that grow, fall on both alike. Those who read the streams run in this process: their own CPU is not in the figures, though
// it is taken from the same machine.
import { get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Servers } from '../dev/servers.ts';
import { cpuSeconds } from './proc.ts';
import { type Service, withService } from './service.ts';

/** `cpu`: microseconds per event; `all` includes Postgres, Kafka and Redis. */
export type Stretch = {
  seconds: number;
  events: number;
  eventsPerSecond: number;
  cpu: Record<'service' | 'postgres' | 'all', number>;
};
export type Pair = { without: Stretch; with: Stretch; first: 'without' | 'with' };
export type Streamed = {
  streams: number;
  bytesPerSecondAndStream: number;
  messagesPerSecondAndStream: number;
  pairs: Pair[];
};

export const STREAMS = 50;
/** Short, so that what else the machine does is the same for both of a pair; many of them make up for the noise of each. */
const STRETCH_MS = 3_000;
/** After the streams were opened or closed: their first reads and snapshots belong to neither. */
const SETTLE_MS = 700;
const FEWEST_PAIRS = 3;

/** Each round reads the log anew, for as many pairs as it is long. Throws where those are fewer than 3, or off Linux. */
export async function compareStreams(
  servers: Servers,
  { records, rounds, nodeOptions }: { records: number; rounds: number; nodeOptions: readonly string[] },
  say: (line: string) => void,
): Promise<Streamed> {
  const got = { bytes: 0, messages: 0, ms: 0 };
  const pairs: Pair[] = [];
  for (let round = 1; round <= rounds; round++)
    await withService(servers, { name: `bench_streams_${round}`, nodeOptions }, async (service) => {
      await service.untilReady();
      await untilSaved(service, records / 20); // code and caches are warm
      for (;;) {
        const pair = await onePair(servers, service, pairs.length % 2 === 0 ? 'without' : 'with', got);
        // The last one may have had nothing to do for a while.
        if ((await saved(service)) === records) return;
        pairs.push(pair);
        say(`pair ${pairs.length}: without ${inWords(pair.without)} · with ${STREAMS} streams ${inWords(pair.with)}`);
      }
    });
  if (pairs.length < FEWEST_PAIRS) throw new Error(`the log lasted for ${pairs.length} pairs: send more --events`);
  const perSecondAndStream = (n: number) => Math.round((n / got.ms / STREAMS) * 1_000 * 10) / 10;
  return {
    ...{ streams: STREAMS, bytesPerSecondAndStream: perSecondAndStream(got.bytes) },
    ...{ messagesPerSecondAndStream: perSecondAndStream(got.messages), pairs },
  };
}

type Got = { bytes: number; messages: number; ms: number };

async function onePair(servers: Servers, service: Service, first: Pair['first'], got: Got): Promise<Pair> {
  const one = await stretch(servers, service, first, got);
  const other = await stretch(servers, service, first === 'with' ? 'without' : 'with', got);
  return first === 'with' ? { with: one, without: other, first } : { with: other, without: one, first };
}

async function stretch(servers: Servers, service: Service, which: 'without' | 'with', got: Got): Promise<Stretch> {
  const readers = which === 'with' ? await openStreams(service.url) : undefined;
  await sleep(SETTLE_MS);
  readers?.takeCounts();
  const before = await look(servers, service);
  await sleep(STRETCH_MS);
  const after = await look(servers, service);
  service.assertAlive();
  if (readers !== undefined) {
    const { bytes, messages } = readers.takeCounts();
    Object.assign(got, {
      bytes: got.bytes + bytes,
      messages: got.messages + messages,
      ms: got.ms + after.ms - before.ms,
    });
    await readers.close();
  }
  const events = after.events - before.events;
  const perEvent = (part: keyof Stretch['cpu']) => ((after.cpu[part] - before.cpu[part]) * 1e6) / events;
  const seconds = (after.ms - before.ms) / 1_000;
  return {
    ...{ seconds, events, eventsPerSecond: events / seconds },
    cpu: { service: perEvent('service'), postgres: perEvent('postgres'), all: perEvent('all') },
  };
}

async function look(servers: Servers, service: Service) {
  const events = await saved(service);
  const of = (pid: number | undefined, withChildren = false) => {
    const seconds = pid === undefined ? 0 : cpuSeconds(pid, withChildren);
    if (seconds === null) throw new Error('CPU can only be measured on Linux');
    return seconds;
  };
  const [own, postgres] = [of(service.pid), of(servers.postgres.pid, true)];
  const all = own + postgres + of(servers.kafka?.pid) + of(servers.redis?.pid);
  return { ms: performance.now(), events, cpu: { service: own, postgres, all } };
}

async function saved({ sql }: Service): Promise<number> {
  const [row] = await sql<{ n: string | null }[]>`select sum((tallies->>'records')::bigint) as n from positions`;
  return Number(row?.n ?? 0);
}

async function untilSaved(service: Service, records: number): Promise<void> {
  while ((await saved(service)) < records) {
    service.assertAlive();
    await sleep(100);
  }
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
    async close() {
      for (const response of responses) response.destroy();
    },
  };
}

/** How much more with the streams than without, in the pairs: the median, and the range. */
export function more(pairs: readonly Pair[], of: (stretch: Stretch) => number): string {
  const percents = pairs.map((pair) => (of(pair.with) / of(pair.without) - 1) * 100).sort((a, b) => a - b);
  const [least, most] = [percents[0] as number, percents.at(-1) as number];
  const middle = percents.length >> 1;
  const median =
    percents.length % 2 === 1
      ? (percents[middle] as number)
      : ((percents[middle - 1] as number) + (percents[middle] as number)) / 2;
  const signed = (value: number) => `${value >= 0 ? '+' : '−'}${Math.abs(value).toFixed(1)} %`;
  return `${signed(median)} (${signed(least)} to ${signed(most)})`;
}

export function streamsInWords({
  streams,
  pairs,
  bytesPerSecondAndStream,
  messagesPerSecondAndStream,
}: Streamed): string[] {
  return [
    `${streams} streams, ${pairs.length} pairs of ${STRETCH_MS / 1_000} s: CPU per event of the service ${more(pairs, ({ cpu }) => cpu.service)}, ` +
      `of Postgres ${more(pairs, ({ cpu }) => cpu.postgres)}, of all processes ${more(pairs, ({ cpu }) => cpu.all)}; ` +
      `events per second ${more(pairs, ({ eventsPerSecond }) => eventsPerSecond)}`,
    `each stream: ${messagesPerSecondAndStream} messages and ${Math.round(bytesPerSecondAndStream)} bytes per second`,
  ];
}

function inWords({ eventsPerSecond, cpu }: Stretch): string {
  return `${Math.round(eventsPerSecond).toLocaleString('en-US')}/s, service ${cpu.service.toFixed(2)} µs, all ${cpu.all.toFixed(2)} µs`;
}
