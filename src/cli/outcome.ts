// outcome.ts — what became of the record at some coordinates: read where every record ends, in one of three tables.
import { setTimeout as sleep } from 'node:timers/promises';
import type { At } from './connection.ts';
import { place } from './output.ts';

export type Coordinates = { topic: string; partition: number; offset: bigint };
export type Became = {
  outcome: string;
  fromState: string | null;
  toState: string | null;
  /** Why it waits. */
  reason: string | null;
  deadLetterId: string | null;
  code: string | null;
  message: string | null;
  traceId: string | null;
};

const POLL_MS = 15;

/** Undefined: nobody handled it in time. */
export async function waitFor(sql: At['sql'], at: Coordinates, withinMs: number): Promise<Became | undefined> {
  for (const until = Date.now() + withinMs; Date.now() < until; await sleep(POLL_MS)) {
    const became = await readOutcome(sql, at);
    if (became !== undefined) return became;
  }
  return undefined;
}

/** In the generation that is read now: an older log of the same name had the same offsets. */
async function readOutcome(sql: At['sql'], { topic, partition, offset }: Coordinates): Promise<Became | undefined> {
  const here = sql`topic = ${topic} and partition = ${partition} and "offset" = ${String(offset)}::bigint
                   and generation = (select generation from positions p where p.topic = ${topic} and p.partition = ${partition})`;
  const [row] = await sql<Became[]>`
    select outcome, from_state as "fromState", to_state as "toState", null as reason, null as "deadLetterId", null as code,
           null as message, trace_id as "traceId" from history where ${here}
    union all
    select 'waiting', null, null, reason, null, null, null, null from waiting where ${here}
    union all
    select 'dead', null, null, null, id::text, code, message, trace_id from dead_letters where ${here} and status <> 'resolved'
    limit 1`;
  return row;
}

/** "user-events[4]@99121 · applied · pending -> active · 21 ms" */
export function outcomeLine(at: Coordinates, became: Became, ms: number): string {
  const { outcome, fromState, toState, reason, deadLetterId, code, message, traceId } = became;
  return [
    place(at),
    outcome,
    ...(fromState === null ? [] : [fromState === toState ? fromState : `${fromState} -> ${toState}`]),
    ...(reason === null ? [] : [WHY[reason] ?? reason]),
    ...(code === null ? [] : [`${code}: ${message}`, `dead letter ${deadLetterId}`]),
    `${ms} ms`,
    ...(traceId === null ? [] : [`trace ${traceId}`]),
  ].join(' · ');
}

const WHY: Readonly<Record<string, string>> = {
  customer: 'for its customer',
  user: 'for its user',
  order: 'behind an earlier event',
  'dead-letter': 'behind a dead letter',
  hold: 'on hold',
  machine: 'for a newer version of the service',
};
