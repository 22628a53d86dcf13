// scope.ts — the name under which this service's spans and metrics are made. One scope, whichever folder makes them.
import { readFileSync } from 'node:fs';
import { context, type Histogram, type Meter, metrics, ROOT_CONTEXT, trace } from '@opentelemetry/api';

const { name, version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
/** Of the semantic conventions whose names are used. */
const schemaUrl = 'https://opentelemetry.io/schemas/1.45.0';

/** Waits for the SDK: made before it starts, it works from then on. */
export const tracer = trace.getTracerProvider().getTracer(name, version, { schemaUrl });

/** Ask for it after the SDK has started: what was made before would stay deaf. */
export const meter = (): Meter => metrics.getMeter(name, version, { schemaUrl });

export type HistogramOf = { name: string; unit: string; description: string; buckets?: readonly number[] };

/** Of the same meter. */
export function histogram({ name, unit, description, buckets = [] }: HistogramOf): Histogram {
  return meter().createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: [...buckets] } });
}

/** What goes on after the batch that began it is no part of its trace: timers, drains, what a new connection leads to. */
export function outside<T>(act: () => T): T {
  return context.with(ROOT_CONTEXT, act);
}
