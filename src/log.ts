// log.ts — the log: JSON lines on stdout, and one line for each event as far as LOG_EVENTS wants it.
//
// Owns:          what a line looks like, how errors are written, how users are named, how many event lines there are.
// Does not own:  who logs what. Names of fields: observability.md section 7, the same as on spans and metrics.
//
// L1  No payload, key, e-mail or name is ever written: lines are built from allow-listed fields. `redact` is a net.
// L2  An error is written by its class, code and frames. The server's `detail` and the query's parameters hold rows;
//     Drizzle puts both into the message of its own error, JSON.parse the text it was given.
// L3  An event line that is left out costs a comparison and a count: no hashing, no object.
import { createHmac, createSecretKey } from 'node:crypto';
import { isSpanContextValid, trace } from '@opentelemetry/api';
import { type DestinationStream, type LevelWithSilent, type Logger, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';
import { outside } from '../db/scope.ts';
import { describe } from './errors.ts';
import type { DeadCode, Dialect, EventType, Outcome } from './events.ts';

export type Log = Logger;
export type LogSettings = {
  level: LevelWithSilent;
  /** For people. Default: when stdout is a terminal. */
  pretty?: boolean;
};

/** `base`: what stands in every line, `service.version` and the like. `stream`: stdout by default. */
export function createLog(
  { level, pretty = process.stdout.isTTY === true }: LogSettings,
  base: Readonly<Record<string, string>> = {},
  stream: DestinationStream = pretty ? forPeople() : pino.destination({ dest: 1, sync: true }),
): Log {
  return pino(
    {
      level,
      base: { 'service.name': 'customer-service', ...base },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: {
        logMethod(args, method) {
          // pino would write the message of an error it is given as the line's own text.
          method.apply(this, withoutErrors(args) as Parameters<typeof method>);
        },
      },
      mixin: activeTrace,
      redact: ['email', 'name', 'key', 'value', 'payload', 'headers', 'detail', 'query', 'parameters', 'password'],
    },
    stream,
  );
}

/** Where a line belongs. `trace_flags` 00: not sampled, and nowhere to be found. */
function activeTrace(): object {
  const found = trace.getActiveSpan()?.spanContext();
  if (found === undefined || !isSpanContextValid(found)) return {};
  return { trace_id: found.traceId, span_id: found.spanId, trace_flags: `0${found.traceFlags}` };
}

/** In this thread: a worker loses its last lines when the process ends, which are the ones that matter. */
function forPeople(): DestinationStream {
  const ignore = ['service.name', 'service.version', 'service.instance.id', 'span_id', 'trace_flags', STACK];
  return pretty({
    sync: true,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: ignore.map((field) => field.replaceAll('.', '\\.')).join(','),
    messageFormat: (line, messageKey) => [line[messageKey], line[STACK]].filter(Boolean).join('\n'),
  });
}
const STACK = 'exception.stacktrace';

function withoutErrors(args: readonly unknown[]): unknown[] {
  const [first, ...rest] = args;
  if (first instanceof Error) return [exceptionFields(first), ...(rest.length > 0 ? rest : ['an error'])];
  const { err, ...others } = (first ?? {}) as { err?: unknown };
  return err instanceof Error ? [{ ...others, ...exceptionFields(err) }, ...rest] : [...args];
}

/** An error as it may be written (L2). */
export function exceptionFields(error: Error): Record<string, string> {
  const fields = describe(error);
  let root = error;
  while (root.cause instanceof Error) root = root.cause;
  const { severity, query } = root as { severity?: unknown; query?: unknown };
  const fromDatabase = severity !== undefined || query !== undefined;
  const frames = (root.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  return {
    ...fields,
    'exception.message': fromDatabase ? fields['exception.message'] : scrub(root.message),
    [STACK]: [fields['exception.type'], ...frames].join('\n'),
  };
}

/** A message without what it may quote: texts in quotes, e-mail addresses, user ids, passwords in URLs. */
function scrub(message: string): string {
  return (
    message
      // From the first quote to the last: what is quoted may hold quotes.
      .replace(/".*"|".*$/s, '"…"')
      .replaceAll(/\/\/[^/\s]*@/g, '//…@')
      .replaceAll(/[^\s'"<>()]+@[^\s'"<>()]+/g, '…@…')
      .replaceAll(/[\w-]+(\||%7C)[^\s'"<>()]+/gi, '…|…')
      .slice(0, 500)
  );
}

// --- one line for each event -----------------------------------------------------------------------------------------

export type EventLine = {
  type: EventType | null;
  userId: string | null;
  outcome: Outcome;
  /** Why it waits or was refused: one of our own words, never input. */
  reason?: string;
  code?: DeadCode;
  topic: string;
  partition: number;
  offset: bigint;
  dialect?: Dialect | null;
  drift?: boolean;
};

export type EventLogSettings = {
  mode: 'all' | 'sample' | 'off';
  userIds: 'hashed' | 'plain';
  /** The key of the hashes. */
  secret: string;
};

export type EventLog = {
  /** May be called for every event: 70 ns where the line is left out, 3 µs where it is written. */
  record(line: EventLine): void;
  /** Writes the summary of what was left out so far; at the end of the process. */
  flush(): void;
};

const LINES_PER_SECOND = 100; // of each outcome: enough to watch, and 700 lines/s at most (a guess)

type Level = 'debug' | 'info' | 'warn';
type Tally = { written: number; leftOut: number; level: Level };

/** `sample`: at most 100 lines in a second for each outcome, then one line that says how many were left out. */
export function createEventLog(
  log: Log,
  { mode, userIds, secret }: EventLogSettings,
  clock: () => number = Date.now,
): EventLog {
  const name = userIds === 'plain' ? plainly : hasher(secret);
  /** Of the current second, by outcome. */
  const tallies = new Map<Outcome, Tally>();
  let second = 0;
  let timer: NodeJS.Timeout | undefined;
  return { record: mode === 'off' ? () => {} : record, flush };

  function record(line: EventLine): void {
    const level = levelOf(line);
    if (!log.isLevelEnabled(level)) return;
    if (mode === 'sample' && !hasRoom(line.outcome, level)) return;
    log[level](fieldsOf(line), textOf(line));
  }

  function hasRoom(outcome: Outcome, level: Level): boolean {
    const now = Math.floor(clock() / 1000);
    if (now !== second) {
      flush();
      tallies.clear();
      second = now;
    }
    const tally = tallies.get(outcome);
    if (tally === undefined) tallies.set(outcome, { written: 1, leftOut: 0, level });
    else if (tally.written < LINES_PER_SECOND) tally.written += 1;
    else {
      tally.leftOut += 1;
      tally.level = level;
      // A little later than the second ends: timers may come early.
      timer ??= outside(() => setTimeout(flush, 1005 - (clock() % 1000)).unref());
      return false;
    }
    return true;
  }

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    for (const [outcome, tally] of tallies) {
      const { level, leftOut } = tally;
      if (leftOut === 0) continue;
      tally.leftOut = 0;
      const facts = { 'customer_service.outcome': outcome, 'customer_service.left_out': leftOut };
      log[level](facts, `${leftOut} more in a second: ${outcome}`);
    }
  }

  function fieldsOf(line: EventLine): Record<string, unknown> {
    const { type, userId, outcome, reason, code, topic, partition, offset, dialect, drift } = line;
    return {
      'customer_service.event.type': type ?? undefined,
      'customer_service.outcome': outcome,
      ...(userId === null ? {} : name(userId)),
      'customer_service.reason': reason,
      'customer_service.dead_letter.code': code,
      'messaging.destination.name': topic,
      'messaging.destination.partition.id': String(partition),
      'messaging.kafka.offset': Number(offset),
      'customer_service.dialect': dialect ?? undefined,
      'customer_service.drift': drift || undefined,
    };
  }
}

/** The seed's rules: an existing user is skipped silently, an unknown customer is a warning. */
function levelOf({ outcome, reason }: EventLine): Level {
  if (outcome === 'skipped') return 'debug';
  return outcome === 'dead' || (outcome === 'waiting' && reason === 'customer') ? 'warn' : 'info';
}

function textOf({ type, outcome, reason, code }: EventLine): string {
  const event = type ?? 'an event';
  if (outcome === 'dead') return `${event} is a dead letter: ${code ?? reason ?? 'no reason given'}`;
  if (outcome !== 'waiting') return `${event} ${outcome}`;
  return reason === 'customer'
    ? `customer not found: ${event} waits for it`
    : `${event} waits: ${reason ?? 'no reason given'}`;
}

function plainly(userId: string): { 'user.id': string } {
  return { 'user.id': userId };
}

/** The same user is the same 16 hex digits everywhere the secret is the same. A hash without key could be tried out:
 *  there are few ids. */
export function hasher(secret: string): (userId: string) => { 'user.hash': string } {
  const key = createSecretKey(Buffer.from(secret));
  return (userId) => ({ 'user.hash': createHmac('sha256', key).update(userId).digest('hex').slice(0, 16) });
}
