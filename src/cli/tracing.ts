// tracing.ts — the traces that the two simulated services begin, as real producers would: a span for the sending, and its
// context in the record's header.
//
// Owns:          which events are traced (few: nobody waits for it), their spans, and when each was sent.
// Does not own:  the sending (producers.ts), what the service adds to a trace.
//
// Loaded only where traces go somewhere: the SDK takes 0.1 s.
import { type Span, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { SERVICES, type Sent, type Service } from '../../dev/load.ts';

export type Tracing = {
  /** The events to send instead: one in 100, and only of those with headers, is a copy with a `traceparent`. `end` with
   *  the error, or when the logs have them. */
  begin(events: readonly Sent[]): { events: readonly Sent[]; end(error?: unknown): void };
  /** When each trace began, ms since 1970, by its id; the latest 5,000. */
  begun: ReadonlyMap<string, number>;
  /** Resolves when all spans are delivered, or can not be within 3 s. */
  close(): Promise<void>;
};

const ONE_IN = 100;
/** Of a demo that runs for hours; Jaeger forgets old traces too. */
const REMEMBERED = 5_000;
const EXPORT_WITHIN_MS = 3_000;

/** `endpoint`: of an OTLP receiver over HTTP, as OTEL_EXPORTER_OTLP_ENDPOINT names it. */
export function openTracing(endpoint: string): Tracing {
  const providers = new Map(SERVICES.map((service) => [service, openProvider(service, endpoint)]));
  const begun = new Map<string, number>();
  let seen = 0;

  function beginOne({ by, record }: Sent): { event: Sent; span: Span } {
    const tracer = (providers.get(by) as TracerProvider).getTracer('demo');
    const span = tracer.startSpan(`send ${record.topic}`, {
      kind: SpanKind.PRODUCER,
      root: true,
      attributes: {
        'messaging.system': 'kafka',
        'messaging.operation.name': 'send',
        'messaging.operation.type': 'send',
        'messaging.destination.name': record.topic,
      },
    });
    const { traceId, spanId } = span.spanContext();
    begun.set(traceId, Date.now());
    if (begun.size > REMEMBERED) begun.delete(begun.keys().next().value as string);
    const headers = [...(record.headers ?? []), ['traceparent', `00-${traceId}-${spanId}-01`] as const];
    return { event: { by, record: { ...record, headers } }, span };
  }

  return {
    begun,
    begin(events) {
      const spans: Span[] = [];
      const sent = events.map((event) => {
        if (event.record.headers === undefined || seen++ % ONE_IN !== 0) return event;
        const one = beginOne(event);
        spans.push(one.span);
        return one.event;
      });
      const end = (error?: unknown) => {
        for (const span of spans) {
          if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
          span.end();
        }
      };
      return { events: sent, end };
    },
    close: async () => void (await Promise.allSettled([...providers.values()].map((provider) => provider.shutdown()))),
  };
}

function openProvider(service: Service, endpoint: string): TracerProvider {
  const exporter = new OTLPTraceExporter({
    url: new URL('v1/traces', endpoint.endsWith('/') ? endpoint : `${endpoint}/`).href,
    timeoutMillis: EXPORT_WITHIN_MS,
  });
  return new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': service.replace('-service', '') }),
    // Soon, so that a trace is whole when its last span is there; a send of 2,000 events has 20 spans.
    spanProcessors: [
      new BatchSpanProcessor({ exporter, scheduledDelayMillis: 500, exportTimeoutMillis: EXPORT_WITHIN_MS }),
    ],
  });
}
