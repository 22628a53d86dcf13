// spans.ts — what is written into traces: a batch's span and its steps, and a span for an event in its producer's own trace.
//
// Owns:          names, attributes, links and their limits. Does not own: when a step begins and ends (observe.ts), SQL and Redis
//                (db/operations.ts), sampling (telemetry.ts: the SDK's, by OTEL_TRACES_SAMPLER).
//
// S1  A batch begins a trace of its own: it has no single parent. It links to its producers' spans, at most 32.
// S2  An event whose producer sampled its trace gets a span *there*, whether or not the batch is sampled: whoever opens that
//     trace sees what became of it. At most TRACE_EVENTS_PER_BATCH, first those that were not applied as hoped.
// S3  Names are those of the semantic conventions 1.45.0 (messaging), else `customer_service.`. Users stand there as a keyed
//     hash; no key, payload, name or e-mail ever does.
import {
  type Attributes,
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { tracer } from '../db/scope.ts';
import { user as userTable } from '../machines/index.ts';
import { describe } from './errors.ts';
import type { Decoded, Outcome } from './events.ts';
import type { Work } from './pipeline.ts';
import type { Routed } from './route.ts';
import type { Ran, Result } from './run.ts';
import type { ProducerTrace } from './trace.ts';

export type SpansOptions = {
  group: string;
  clientId: string;
  /** The first broker; undefined: the records come from files. */
  broker: string | undefined;
  eventsPerBatch: number;
  hashUser(userId: string): { 'user.hash': string };
};

export type Spans = {
  batch(work: Work): WorkSpan;
  redrive(users: number): WorkSpan;
  /** A commit that has ended, below the newest sampled batch of the partition that it covers. Times: ms since 1970. */
  committed(commit: { topic: string; partition: number; next: bigint; startMs: number; endMs: number }): void;
};

/** A batch's or a drain's. */
export type WorkSpan = {
  /** Runs `act` with it as the active span: log lines, SQL and Redis find it. */
  in<T>(act: () => T): T;
  routed(routed: Routed): void;
  /** May be called again, as may `settled`: the limits are the span's. */
  links(events: Iterable<Decoded>): void;
  /** A step below it that has just ended; it began at `startMs` since 1970 and took `ms`. */
  step(name: string, startMs: number, ms: number, attributes: () => Attributes): void;
  save<T>(attempt: number, act: () => Promise<T>, rowsOf: (answer: T) => number): Promise<T>;
  /** It was saved: what became of its events, here and in their producers' traces. */
  settled(results: readonly Result[]): void;
  end(error?: unknown): void;
};

/** A partition, on spans, metrics and lines about it. */
export function placeOf({ topic, partition }: { topic: string; partition: number }) {
  return { 'messaging.destination.name': topic, 'messaging.destination.partition.id': String(partition) };
}

/** "host:port" as the conventions name its parts. */
export function serverOf(broker: string): { 'server.address': string; 'server.port': number } {
  const at = broker.lastIndexOf(':');
  return { 'server.address': broker.slice(0, at), 'server.port': Number(broker.slice(at + 1)) };
}

/** What W3C and Jaeger call a sampled trace: it can be found. The active span's; null: none, or not sampled. */
export function sampledTraceId(): string | null {
  const found = trace.getActiveSpan()?.spanContext();
  return found !== undefined && (found.traceFlags & TraceFlags.SAMPLED) !== 0 ? found.traceId : null;
}

const failedIn = new WeakMap<Error, Context>();
/** Runs `act` where the try that failed with this error is the active span: what is logged about it leads to its trace. */
export function whereItFailed<T>(error: unknown, act: () => T): T {
  const found = error instanceof Error ? failedIn.get(error) : undefined;
  return found === undefined ? act() : context.with(found, act);
}

const MOST_LINKS = 32; // a span with 128 links costs 46–71 µs
const RUN = { kind: SpanKind.INTERNAL };

export function createSpans({ group, clientId, broker, eventsPerBatch, hashUser }: SpansOptions): Spans {
  const partitions = new Map<string, Attributes>();
  /** The newest sampled batch of each partition, until its commit. */
  const toCommit = new Map<string, { parent: Context; next: bigint }>();
  const system = { 'messaging.system': broker === undefined ? 'file' : 'kafka' };
  const fixed: Attributes = {
    ...system,
    'messaging.consumer.group.name': group,
    'messaging.client.id': clientId,
    ...(broker === undefined ? {} : serverOf(broker)),
  };

  /** Made once: a sampler sees them, so they are given when the span begins. */
  function attributesOf(topic: string, partition: number): Attributes {
    const key = `${topic}/${partition}`;
    let found = partitions.get(key);
    if (found === undefined) {
      found = Object.freeze({ ...fixed, ...PROCESS, ...placeOf({ topic, partition }) });
      partitions.set(key, found);
    }
    return found;
  }

  return {
    batch(work) {
      const { topic, partition } = work.place;
      const attributes = attributesOf(topic, partition);
      const span = tracer.startSpan(`process ${topic}`, { kind: SpanKind.CONSUMER, root: true, attributes });
      if (span.isRecording())
        span.setAttributes({
          'messaging.batch.message_count': work.records.length,
          'customer_service.batch.first_offset': Number(work.from),
          'customer_service.batch.last_offset': Number(work.to - 1n),
        });
      const whenSaved = (parent: Context) => toCommit.set(`${topic}/${partition}`, { parent, next: work.to });
      return workSpan(span, whenSaved);
    },
    redrive(users) {
      const attributes = { 'customer_service.user_count': users };
      return workSpan(tracer.startSpan('customer_service.redrive', { ...RUN, root: true, attributes }), () => {});
    },
    committed({ topic, partition, next, startMs, endMs }) {
      const key = `${topic}/${partition}`;
      const waiting = toCommit.get(key);
      if (waiting === undefined || waiting.next > next) return;
      toCommit.delete(key);
      const { 'messaging.client.id': _, ...attributes } = attributesOf(topic, partition);
      const operation = { 'messaging.operation.name': 'commit', 'messaging.operation.type': 'settle' };
      const committed = { 'customer_service.committed_offset': Number(next) };
      const made = {
        kind: SpanKind.CLIENT,
        startTime: startMs,
        attributes: { ...attributes, ...operation, ...committed },
      };
      tracer.startSpan(`commit ${topic}`, made, waiting.parent).end(endMs);
    },
  };

  function workSpan(span: Span, whenSaved: (parent: Context) => void): WorkSpan {
    const startMs = Date.now(); // the SDK's own clock
    const isOn = isSpanContextValid(span.spanContext());
    const isSampled = span.isRecording();
    const here = isOn ? trace.setSpan(ROOT_CONTEXT, span) : ROOT_CONTEXT;
    const counts = new Map<Outcome, number>();
    let links = 0;
    let left = eventsPerBatch;
    return {
      in: (act) => (isOn ? context.with(here, act) : act()),
      routed(routed) {
        if (!isSampled) return;
        span.setAttribute('customer_service.batch.user_count', routed.users.size);
        this.links(eventsOf(routed));
      },
      links(events) {
        if (!isSampled) return;
        for (const { trace: producer, record } of events) {
          if (producer === null || ++links > MOST_LINKS) continue;
          // Topic and partition are the span's; the offset tells the links apart.
          const attributes = { 'messaging.kafka.offset': Number(record.offset) };
          span.addLink({ context: spanContextOf(producer), attributes });
        }
      },
      step(name, beganMs, ms, attributes) {
        if (!isSampled) return;
        const made = { ...RUN, startTime: beganMs, attributes: attributes() };
        tracer.startSpan(name, made, context.active()).end(beganMs + ms);
      },
      save: (attempt, act, rowsOf) => (isSampled ? traceSave(attempt, act, rowsOf) : act()),
      settled(results) {
        if (isSampled) {
          for (const { outcome } of results) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
          whenSaved(here);
        }
        if (isOn) left -= writeEvents(results, left, span, startMs);
      },
      end(error) {
        for (const [outcome, n] of counts) span.setAttribute(`customer_service.batch.${outcome}_count`, n);
        if (links > MOST_LINKS) span.setAttribute('customer_service.batch.links_dropped', links - MOST_LINKS);
        if (error !== undefined) fail(span, error);
        if (isOn && error instanceof Error) failedIn.set(error, here);
        span.end();
      },
    };
  }

  /** In the producers' traces, with the times of the whole batch: what that waited for, the event waited for too. Returns how
   *  many it wrote. */
  function writeEvents(results: readonly Result[], most: number, batch: Span, startTime: number): number {
    let written = 0;
    const links = batch.isRecording() ? [{ context: batch.spanContext() }] : [];
    for (const goesFirst of [true, false])
      for (const result of results) {
        if (written === most) return written;
        const { trace: producer, place } = result.event;
        if (producer === null || goesFirst !== GO_FIRST.has(result.outcome)) continue;
        written++;
        const attributes = eventAttributes(result);
        const made = { kind: SpanKind.CONSUMER, startTime, attributes, links };
        const span = tracer.startSpan(`process ${place.topic}`, made, producerContext(producer));
        if (result.outcome === 'dead') span.setStatus({ code: SpanStatusCode.ERROR, message: result.code });
        span.end();
      }
    return written;
  }

  function eventAttributes(result: Result): Attributes {
    const { event, outcome } = result;
    const attributes: Attributes = {
      ...system,
      ...PROCESS,
      ...placeOf(event.place),
      'messaging.kafka.offset': Number(event.record.offset),
      'customer_service.event.type': event.type ?? '_OTHER',
      'customer_service.outcome': outcome,
    };
    if (event.userId !== null) Object.assign(attributes, hashUser(event.userId));
    if (outcome === 'waiting') attributes['customer_service.reason'] = result.reason;
    else if (outcome === 'dead') {
      attributes['customer_service.dead_letter.code'] = result.code;
      attributes['error.type'] = result.code;
    } else if (result.from !== null && result.to !== null) {
      attributes['customer_service.machine.id'] = userTable.id;
      attributes['customer_service.machine.state.from'] = result.from;
      attributes['customer_service.machine.state.to'] = result.to;
    }
    return attributes;
  }
}

const PROCESS = { 'messaging.operation.name': 'process', 'messaging.operation.type': 'process' };
const GO_FIRST: ReadonlySet<string> = new Set(['dead', 'rejected', 'waiting']);

async function traceSave<T>(attempt: number, act: () => Promise<T>, rowsOf: (answer: T) => number): Promise<T> {
  const attributes = { 'customer_service.save.attempt': attempt };
  const span = tracer.startSpan('customer_service.save', { ...RUN, attributes }, context.active());
  try {
    const answer = await context.with(trace.setSpan(context.active(), span), act);
    span.setAttribute('customer_service.row_count', rowsOf(answer));
    return answer;
  } catch (error) {
    fail(span, error);
    throw error;
  } finally {
    span.end();
  }
}

function* eventsOf({ users, customers, unreadable }: Routed): Iterable<Decoded> {
  for (const events of users.values()) yield* events;
  yield* customers;
  yield* unreadable;
}

function spanContextOf({ traceId, spanId }: ProducerTrace) {
  return { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true };
}
const producerContext = (producer: ProducerTrace) => trace.setSpanContext(ROOT_CONTEXT, spanContextOf(producer));

export function rowsIn({ results, users, customers }: Pick<Ran, 'results' | 'users' | 'customers'>): number {
  return results.length + users.length + customers.length;
}

function fail(span: Span, error: unknown): void {
  const { 'error.type': type, 'exception.message': message } = describe(error);
  span.setAttribute('error.type', type).setStatus({ code: SpanStatusCode.ERROR, message });
}
