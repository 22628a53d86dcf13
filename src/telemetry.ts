// telemetry.ts — OpenTelemetry for this process: `node --import ./src/telemetry.ts src/main.ts`. Nothing is patched.
//
// Owns:          starting and ending the SDK, its defaults, what it says about itself.
// Does not own:  spans (spans.ts, db/operations.ts), metrics (metrics.ts), where they are served (api/server.ts).
//
// T1  Traces go by OTLP to where the standard `OTEL_*` variables say. No endpoint: no tracer, spans cost nothing.
// T2  Metrics are scraped, never pushed: `metrics` is the text of `/metrics`.
// T3  A collector that is away costs spans, never events: a bounded queue, drops counted (`otel_sdk_processor_span_processed`).
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { DiagLogLevel, diag } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { RuntimeNodeInstrumentation } from '@opentelemetry/instrumentation-runtime-node';
import { AggregationTemporality, InstrumentType } from '@opentelemetry/sdk-metrics';
import { startNodeSDK } from '@opentelemetry/sdk-node';
import { outside } from '../db/scope.ts';
import type { Log } from './log.ts';
import { sleep } from './retry.ts';
import { newInstance, SERVICE_VERSION } from './version.ts';

export type Telemetry = {
  /** This process, in every span, metric and log line, and in the positions that it saves. */
  instance: string;
  serviceName: string;
  /** All metrics in Prometheus' text format. Undefined: OTEL_SDK_DISABLED, or what OTEL_CONFIG_FILE says instead. */
  metrics: (() => Promise<string>) | undefined;
  /** From now on the SDK's own problems are lines of this log. */
  logTo(log: Log): void;
  /** Sends what is queued, for a moment. The last span must have ended before. */
  stop(): Promise<void>;
};

const env = withEnvFile(process.env);
const instance = newInstance();

env.OTEL_TRACES_SAMPLER ||= 'parentbased_traceidratio';
env.OTEL_TRACES_SAMPLER_ARG ||= '0.1';
// 480 spans/s survive 17 s of a stalled collector; the SDK's own 2,048 survive 4 s.
env.OTEL_BSP_MAX_QUEUE_SIZE ||= '8192';
env.OTEL_BSP_SCHEDULE_DELAY ||= '1000';
env.OTEL_NODE_EXPERIMENTAL_SDK_METRICS ||= 'true'; // the only count of dropped spans
env.OTEL_LOG_LEVEL ||= 'warn';

const serviceName = env.OTEL_SERVICE_NAME || 'customer-service';
const isDisabled = env.OTEL_SDK_DISABLED?.toLowerCase() === 'true';
const endpoint = isDisabled ? null : endpointOf(env);
/** The SDK goes on showing what a gauge no longer observes (a partition that went away), unless it is asked for changes. */
class Reader extends PrometheusExporter {
  override selectAggregationTemporality(instrument: InstrumentType): AggregationTemporality {
    const isGauge = instrument === InstrumentType.OBSERVABLE_GAUGE;
    return isGauge ? AggregationTemporality.DELTA : super.selectAggregationTemporality(instrument);
  }
}
const reader = new Reader({ preventServerStart: true });
const sdk = startNodeSDK({
  resourceAttributes: {
    'service.name': serviceName,
    'service.version': SERVICE_VERSION,
    'service.instance.id': instance,
  },
  resourceDetectors: [], // of the process and the host nothing more; OTEL_RESOURCE_ATTRIBUTES is always read
  logRecordProcessors: [], // logs go to stdout (log.ts)
  metricReaders: [reader],
  ...(endpoint === null ? { spanProcessors: [] } : {}), // given ones would ignore OTEL_BSP_*
  instrumentations: isDisabled ? [] : [new RuntimeNodeInstrumentation({ monitoringPrecision: 50 })],
});

/** A collector that hangs must not hold the end of the process. */
const STOP_AT_MOST_MS = 1_000;
/** Without the scope's three labels on every line: they are half of the text. */
const serializer = new PrometheusSerializer(undefined, false, undefined, false, true);

export const telemetry: Telemetry = {
  instance,
  serviceName,
  metrics:
    isDisabled || env.OTEL_CONFIG_FILE
      ? undefined
      : async () => serializer.serialize((await reader.collect()).resourceMetrics),
  logTo(log) {
    const say = seldom(log);
    const quiet = () => {};
    diag.setLogger(
      { error: say, warn: say, info: quiet, debug: quiet, verbose: quiet },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    );
    if (isDisabled) log.info('OTEL_SDK_DISABLED: no traces, and no metrics');
    else if (env.OTEL_TRACES_EXPORTER === 'none') log.info('OTEL_TRACES_EXPORTER is none: no traces are sent');
    else if (endpoint === null) log.info('OTEL_EXPORTER_OTLP_ENDPOINT is not set: no traces are sent');
  },
  stop: () => Promise.race([sdk.shutdown().catch(() => {}), sleep(STOP_AT_MOST_MS)]),
};

/** The `OTEL_*` of `.env`: the SDK reads the environment only. */
function withEnvFile(values: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  try {
    for (const [name, value] of Object.entries(parseEnv(readFileSync('.env', 'utf8'))))
      if (name.startsWith('OTEL_')) values[name] ??= value;
  } catch {
    // There is none; what else may be wrong with it config.ts says.
  }
  return values;
}

function endpointOf(values: NodeJS.ProcessEnv): string | null {
  const exporter = values.OTEL_TRACES_EXPORTER ?? '';
  if (exporter === 'none') return null;
  return values.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || values.OTEL_EXPORTER_OTLP_ENDPOINT || exporter || null;
}

const SAY_EVERY_MS = 60_000;

/** The SDK repeats itself with every export. The first line of what it says, without what else it puts there. */
function seldom(log: Log): (...said: unknown[]) => void {
  let lastMs = Number.NEGATIVE_INFINITY;
  return (...said) => {
    const nowMs = performance.now();
    if (nowMs - lastMs < SAY_EVERY_MS) return;
    lastMs = nowMs;
    const { code, message } = problemIn(said);
    outside(() =>
      log.warn(
        { 'error.type': code ?? '_OTHER', 'exception.message': message.slice(0, 300) },
        'telemetry: something went wrong, events are not affected. Is the collector of OTEL_EXPORTER_OTLP_ENDPOINT up?',
      ),
    );
  };
}

/** The SDK says an error as JSON, with stack and the collector's answer, behind the name of the part that speaks. */
function problemIn(said: readonly unknown[]): { code?: string; message: string } {
  const text = said.filter((part) => typeof part === 'string').at(-1) ?? '';
  try {
    const { code, message } = JSON.parse(text) as { code?: string; message?: string };
    return { ...(code === undefined ? {} : { code: String(code) }), message: String(message) };
  } catch {
    return { message: text.split('\n')[0] ?? '' };
  }
}
