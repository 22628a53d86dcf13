// operations.ts — calls to Postgres and Redis as OpenTelemetry sees them: a duration each, and a span where one is being traced.
//
// Names are those of the semantic conventions for database clients, 1.45.0. Values are never in them: no parameters, no keys.
//
// O1  A span is made only below one that is recording: an unsampled batch pays for the histogram alone, and what runs in the
//     background begins no trace of its own.
// O2  Nothing here changes what a call does or what it rejects with.
import { type Attributes, type Histogram, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type postgres from 'postgres';
import { histogram, tracer } from './scope.ts';

export const DB_METRICS = [
  {
    name: 'db.client.operation.duration',
    kind: 'histogram',
    unit: 's',
    description: 'How long Postgres or Redis took to answer. A pipeline of Redis counts once.',
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
  },
  {
    name: 'db.client.connection.wait_time',
    kind: 'histogram',
    unit: 's',
    description: 'From asking for a connection until BEGIN was answered: the wait for a free one, and a round trip.',
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10],
  },
] as const;

let instruments: { duration: Histogram; wait: Histogram } | undefined;

/** Made when they are first needed: the SDK has started by then. */
function histograms(): { duration: Histogram; wait: Histogram } {
  if (instruments !== undefined) return instruments;
  const [duration, wait] = DB_METRICS;
  instruments = { duration: histogram(duration), wait: histogram(wait) };
  return instruments;
}

export type Operation = {
  /** The span's name, "INSERT users". */
  summary: string;
  /** Of the metric, and of the span: closed sets. */
  attributes: Attributes;
};

/** Ends the operation. `code`: what it failed with (`error.type`); `status`: the code the server gave, where it was the server.
 *  `learned`: for the span. */
export type End = (outcome?: { code?: string; status?: string; learned?: Attributes }) => void;

/** Begins to time it and, below a span that is recording, to trace it. `more`: for the span alone. */
export function beginOperation({ summary, attributes }: Operation, more: () => Attributes): End {
  const startMs = performance.now();
  const isTraced = trace.getActiveSpan()?.isRecording() ?? false;
  const span = isTraced
    ? tracer.startSpan(summary, { kind: SpanKind.CLIENT, attributes: { ...attributes, ...more() } })
    : undefined;
  return ({ code, status, learned } = {}) => {
    const failed = code === undefined ? undefined : failureAttributes(code, status);
    const seconds = (performance.now() - startMs) / 1_000;
    histograms().duration.record(seconds, failed === undefined ? attributes : { ...attributes, ...failed });
    if (span === undefined) return;
    if (learned !== undefined) span.setAttributes(learned);
    if (failed !== undefined)
      span.setAttributes(failed).setStatus({ code: SpanStatusCode.ERROR, message: code as string });
    span.end();
  };
}

function failureAttributes(code: string, status: string | undefined): Attributes {
  return status === undefined ? { 'error.type': code } : { 'error.type': code, 'db.response.status_code': status };
}

// --- Postgres --------------------------------------------------------------------------------------------------------

type Place = { host: string; port: number; database: string };
const LONGEST_TEXT = 2_000;
const MOST_TEXTS = 500; // a few hundred are in use: which columns differ between the rows of a bulk write varies

/** The client as Drizzle uses it (`unsafe`, `begin`, `savepoint`), each statement observed. */
export function observedSql(sql: postgres.Sql, { host, port, database }: Place): postgres.Sql {
  const here = { 'db.namespace': `${database}|public`, 'server.address': host, 'server.port': port };
  const known = new Map<string, Operation>();
  return watched(sql);

  function watched<S extends postgres.Sql | postgres.TransactionSql>(client: S): S {
    return new Proxy(client, {
      get(target, name, receiver) {
        if (name === 'unsafe') return unsafe;
        if (name === 'begin' && name in target) return begin;
        if (name === 'savepoint' && name in target) return savepoint;
        return Reflect.get(target, name, receiver);
      },
    });

    /** Looks at the promise, which sends the statement: Drizzle, the one caller, awaits it at once. */
    function unsafe(text: string, ...rest: [never[]?, postgres.UnsafeQueryOptions?]) {
      const operation = operationOf(text);
      const end = beginOperation(operation, () => ({
        ...here,
        'db.query.summary': operation.summary,
        'db.query.text': text.slice(0, LONGEST_TEXT),
      }));
      const query = client.unsafe(text, ...rest);
      query.then(
        () => end(),
        (error) => end(failureOf(error)),
      );
      return query;
    }
    function begin(...args: unknown[]) {
      const act = args.pop() as (tx: postgres.TransactionSql) => unknown;
      const askedMs = performance.now();
      let endCommit: End | undefined;
      const ended = (client as unknown as { begin(...args: unknown[]): Promise<unknown> }).begin(
        ...args,
        async (tx: postgres.TransactionSql) => {
          histograms().wait.record((performance.now() - askedMs) / 1_000, POOL);
          const result = await act(watched(tx));
          endCommit = beginOperation(COMMIT, () => here); // postgres.js sends it when this has returned, and shows it nowhere
          return result;
        },
      );
      ended.then(
        () => endCommit?.(),
        (error) => endCommit?.(failureOf(error)),
      );
      return ended;
    }
    function savepoint(...args: unknown[]) {
      const act = args.pop() as (tx: postgres.TransactionSql) => unknown;
      return (client as unknown as { savepoint(...args: unknown[]): Promise<unknown> }).savepoint(
        ...args,
        (tx: postgres.TransactionSql) => act(watched(tx)),
      );
    }
  }

  function operationOf(text: string): Operation {
    const found = known.get(text);
    if (found !== undefined) return found;
    const operation = parsed(text);
    if (known.size < MOST_TEXTS) known.set(text, operation);
    return operation;
  }
}

const POOL = Object.freeze({ 'db.client.connection.pool.name': 'postgres' });
const COMMIT: Operation = {
  summary: 'COMMIT',
  attributes: Object.freeze({ 'db.system.name': 'postgresql', 'db.operation.name': 'COMMIT' }),
};

/** The first word, and the first table that it names: "select … from (select … from waiting" reads `waiting`, and "extract(epoch
 *  from …)" nothing. */
export function parsed(text: string): Operation {
  const name = /^\s*(\w+)/.exec(text)?.[1]?.toUpperCase() ?? '_OTHER';
  const before = { INSERT: 'into', UPDATE: 'update', DELETE: 'from', SELECT: 'from' }[name];
  const [, collection] =
    before === undefined ? [] : (new RegExp(`(?<!epoch\\s+)\\b${before}\\s+"?([a-z_]+)"?`, 'i').exec(text) ?? []);
  const summary = collection === undefined ? name : `${name} ${collection}`;
  const attributes = {
    'db.system.name': 'postgresql',
    'db.operation.name': name,
    ...(collection === undefined ? {} : { 'db.collection.name': collection }),
  };
  return { summary, attributes: Object.freeze(attributes) };
}

/** SQLSTATE, or the driver's own word; the server's are those that come with a severity. */
function failureOf(error: unknown): { code: string; status?: string } {
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  if (typeof code !== 'string' || !/^[0-9A-Z_]{2,40}$/.test(code)) return { code: '_OTHER' };
  return severity === undefined ? { code } : { code, status: code };
}
