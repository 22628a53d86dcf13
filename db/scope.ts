// scope.ts — the name under which this service's spans and metrics are made. One scope, whichever folder makes them.
import { readFileSync } from 'node:fs';
import { context, type Meter, metrics, ROOT_CONTEXT, trace } from '@opentelemetry/api';

const { name, version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
/** Of the semantic conventions whose names are used. */
const schemaUrl = 'https://opentelemetry.io/schemas/1.45.0';

/** Waits for the SDK: made before it starts, it works from then on. */
export const tracer = trace.getTracerProvider().getTracer(name, version, { schemaUrl });

/** Ask for it after the SDK has started: what was made before would stay deaf. */
export const meter = (): Meter => metrics.getMeter(name, version, { schemaUrl });

/** What goes on after the batch that began it is no part of its trace: timers, drains, what a new connection leads to. */
export function outside<T>(act: () => T): T {
  return context.with(ROOT_CONTEXT, act);
}
