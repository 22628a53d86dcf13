// producers.ts — the two simulated services of the demo: they send a load for real, to Kafka or into files.
//
// Owns:          who sends what, the pace, and how far the logs reach because of it.
// Does not own:  the load (dev/load.ts), what becomes of it (demo.ts), the traces that some begin (tracing.ts).
import { setTimeout as sleep } from 'node:timers/promises';
import { SERVICES, type Sent, type Service } from '../../dev/load.ts';
import type { Config } from '../config.ts';
import { appendRecords } from '../sources/file.ts';
import { type Coordinates, connectProducer, type OutgoingRecord, type Producer } from '../sources/kafka-client.ts';
import { kafkaOf, QUIET } from './connection.ts';
import type { Tracing } from './tracing.ts';

export type Producers = {
  /** Resolves when the logs have them. Each service keeps its own order. */
  send(events: readonly Sent[]): Promise<void>;
  /** By "topic/partition": the offset after the last record sent. */
  ends: ReadonlyMap<string, bigint>;
  /** When each trace was begun, ms since 1970, by its id. */
  traces: ReadonlyMap<string, number>;
  close(): Promise<void>;
};

/** Sends all that `take` gives, at most `perSecond`, until there is nothing more or `signal` aborts. */
export async function sendAll(
  producers: Producers,
  take: (most: number) => Sent[],
  perSecond: number | null,
  signal: AbortSignal,
): Promise<void> {
  const startMs = performance.now();
  for (let sent = 0; !signal.aborted; ) {
    const due =
      perSecond === null ? AT_FULL_SPEED : Math.floor(((performance.now() - startMs) / 1_000) * perSecond) - sent;
    const events = due < 1 ? [] : take(Math.min(due, AT_FULL_SPEED));
    if (due >= 1 && events.length === 0) return;
    await producers.send(events);
    sent += events.length;
    if (perSecond !== null) await sleep(PACE_MS, undefined, { signal }).catch(() => {});
  }
}
const AT_FULL_SPEED = 2_000;
const PACE_MS = 20;

/** `endpoint`: where their traces go; undefined: they begin none. */
export async function openProducers(config: Config, endpoint: string | undefined): Promise<Producers> {
  const { folder } = config.file;
  const tracing = endpoint === undefined ? undefined : (await import('./tracing.ts')).openTracing(endpoint);
  const ends = new Map<string, bigint>();
  const services = new Map<Service, Pick<Producer, 'send' | 'close'>>();
  const files = folder === undefined ? undefined : fileProducer(folder);
  for (const name of SERVICES)
    services.set(name, files ?? (await connectProducer({ ...kafkaOf(config), clientId: name }, QUIET)));
  async function send(events: readonly Sent[]): Promise<void> {
    const sending = [...Map.groupBy(events, ({ by }) => by)].map(([by, of]) =>
      (services.get(by) as Producer).send(of.map(({ record }) => record)),
    );
    for (const coordinates of await Promise.all(sending)) {
      for (const { topic, partition, offset } of coordinates) ends.set(`${topic}/${partition}`, offset + 1n);
    }
  }
  return {
    ends,
    traces: tracing?.begun ?? new Map(),
    send: tracing === undefined ? send : tracedBy(tracing, send),
    async close() {
      await Promise.all([...services.values()].map((service) => service.close()));
      await tracing?.close();
    },
  };
}

function tracedBy(tracing: Tracing, send: Producers['send']): Producers['send'] {
  return async (given) => {
    const { events, end } = tracing.begin(given);
    await send(events).then(
      () => end(),
      (error) => {
        end(error);
        throw error;
      },
    );
  };
}

/** Writes the records to files, as a broker would spread them over partitions. Both services share it: a file has one
 *  writer at a time. */
function fileProducer(folder: string): Pick<Producer, 'send' | 'close'> {
  const ends = new Map<string, bigint>();
  let turn = 0;
  let before: Promise<unknown> = Promise.resolve();

  function partitionOf({ topic, key }: OutgoingRecord): number {
    if (key === null) return turn++ % 4;
    let hash = 0;
    for (const byte of Buffer.from(key)) hash = (Math.imul(hash, 31) + byte) >>> 0;
    return hash % (topic === 'user-events' ? 12 : 4);
  }
  async function write(records: readonly OutgoingRecord[]): Promise<Coordinates[]> {
    const placed = records.map((record) => ({ topic: record.topic, partition: partitionOf(record), record }));
    for (const [, group] of Map.groupBy(placed, ({ topic, partition }) => `${topic}/${partition}`)) {
      const { topic, partition } = group[0] as (typeof group)[number];
      const records = group.map(({ record }) => ({ ...record, timestampMs: Date.now() }));
      await appendRecords(folder, topic, partition, records);
    }
    return placed.map(({ topic, partition }) => {
      const offset = ends.get(`${topic}/${partition}`) ?? 0n;
      ends.set(`${topic}/${partition}`, offset + 1n);
      return { topic, partition, offset };
    });
  }
  return {
    send(records) {
      const written = before.then(() => write(records));
      before = written.catch(() => {});
      return written;
    },
    async close() {
      await before;
    },
  };
}
