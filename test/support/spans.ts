// spans.ts — the process' own OpenTelemetry in a test: every span that ends, kept in memory. One test file, one registration.
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  InMemorySpanExporter,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace';

export type Kept = {
  all(): readonly ReadableSpan[];
  /** Those of this name, in the order of their ends. */
  named(name: string): ReadableSpan[];
  /** Names of the direct children, in the order of their begins. */
  below(parent: ReadableSpan): string[];
  reset(): void;
};

/** From now on, and until the file ends, spans are kept. */
export function keepSpans(sampler?: Sampler): Kept {
  const exporter = new InMemorySpanExporter();
  const spanProcessors = [new SimpleSpanProcessor({ exporter })];
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors, ...(sampler === undefined ? {} : { sampler }) }));
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const all = () => exporter.getFinishedSpans();
  return {
    all,
    named: (name) => all().filter((span) => span.name === name),
    below: (parent) =>
      all()
        .filter(({ parentSpanContext }) => parentSpanContext?.spanId === parent.spanContext().spanId)
        .toSorted((a, b) => a.startTime[0] - b.startTime[0] || a.startTime[1] - b.startTime[1])
        .map(({ name }) => name),
    reset: () => exporter.reset(),
  };
}

/** A producer's header: version 00 of W3C Trace Context. */
export function traceparent(traceId: string, spanId: string, flags = '01'): readonly [string, string] {
  return ['traceparent', `00-${traceId}-${spanId}-${flags}`];
}
