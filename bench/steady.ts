// steady.ts — sends a load at a modest steady rate, from this process.
import { setTimeout as sleep } from 'node:timers/promises';
import type { OutgoingRecord, Producer } from '../src/sources/kafka-client.ts';

const TURN_MS = 10;

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
