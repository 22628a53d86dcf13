// send.ts — sends a load from this process: as fast as it goes, or at a modest steady rate.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Servers } from '../dev/servers.ts';
import { connectProducer, type OutgoingRecord, type Producer } from '../src/sources/kafka-client.ts';
import { QUIET } from './service.ts';

const TURN_MS = 10;
const CHUNK = 1_000;

/** Sends all of it. Returns how many records that are. */
export async function sendAll({ settings }: Servers, load: Iterable<OutgoingRecord>): Promise<number> {
  const producer = await connectProducer({ brokers: [settings.KAFKA_BROKERS as string], clientId: 'bench' }, QUIET);
  let sent = 0;
  let records: OutgoingRecord[] = [];
  const send = async () => {
    await producer.send(records);
    sent += records.length;
    records = [];
  };
  for (const record of load) {
    records.push(record);
    if (records.length === CHUNK) await send();
  }
  if (records.length > 0) await send();
  await producer.close();
  return sent;
}

/** Sends what is due every 10 ms, until the load or `isOver` ends it. Returns how many records it sent. */
export async function sendSteadily(
  producer: Producer,
  load: Iterator<OutgoingRecord>,
  perSecond: number,
  isOver: () => boolean = () => false,
): Promise<number> {
  const startMs = performance.now();
  let sent = 0;
  for (let isEmpty = false; !isEmpty && !isOver(); ) {
    const due = Math.floor(((performance.now() - startMs) / 1_000) * perSecond) - sent;
    const records: OutgoingRecord[] = [];
    while (records.length < due && !isEmpty) {
      const next = load.next();
      if (next.done) isEmpty = true;
      else records.push(next.value);
    }
    if (records.length > 0) await producer.send(records);
    sent += records.length;
    await sleep(TURN_MS);
  }
  return sent;
}
