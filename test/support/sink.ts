// sink.ts — an OTLP collector in this process, for JSON (`OTEL_EXPORTER_OTLP_PROTOCOL=http/json`): what was sent to it, flat.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

type Value = string | number | boolean | null | Value[];
export type Attributes = Record<string, Value>;
export type SentSpan = {
  name: string;
  /** As in OTLP: 1 internal, 3 client, 4 producer, 5 consumer. */
  kind: number;
  traceId: string;
  spanId: string;
  /** Empty: a root. */
  parentSpanId: string;
  attributes: Attributes;
  links: { traceId: string; spanId: string; attributes: Attributes }[];
  /** `code`: 0 unset, 1 ok, 2 error. */
  status: { code: number; message: string };
  resource: Attributes;
  scope: { name: string; version: string };
  schemaUrl: string;
  startMs: number;
  endMs: number;
};

export type Sink = {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  url: string;
  spans(): readonly SentSpan[];
  named(name: string): SentSpan[];
  below(parent: SentSpan): SentSpan[];
  /** Resolves with what `find` returns, once that is not undefined: looked at when something arrives. */
  until<T>(find: (spans: readonly SentSpan[]) => T | undefined, withinMs?: number): Promise<T>;
  /** From now on: takes requests and never answers; or answers with this status. */
  hang(): void;
  refuse(status: number): void;
  /** Requests so far, answered or not. */
  requests(): number;
};

/** The settings of a service that sends everything here, at once. */
export function sendTo(url: string): Record<string, string> {
  return {
    OTEL_EXPORTER_OTLP_ENDPOINT: url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_TRACES_SAMPLER_ARG: '1',
    OTEL_BSP_SCHEDULE_DELAY: '50',
  };
}

/** Ends with the test. */
export async function openSink(): Promise<Sink> {
  const spans: SentSpan[] = [];
  const listeners = new Set<() => void>();
  let mode: 'takes' | 'hangs' | number = 'takes';
  let requests = 0;

  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    requests++;
    for (const listen of listeners) listen();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (mode === 'hangs') return;
    if (typeof mode === 'number') return void response.writeHead(mode).end();
    if (request.url === '/v1/traces') spans.push(...flat(JSON.parse(Buffer.concat(chunks).toString()) as Sent));
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    for (const listen of listeners) listen();
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: () => spans,
    named: (name) => spans.filter((span) => span.name === name),
    below: ({ spanId }) => spans.filter(({ parentSpanId }) => parentSpanId === spanId),
    until: (find, withinMs = 15_000) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = find(spans);
          if (found === undefined) return;
          clearTimeout(timer);
          listeners.delete(look);
          resolve(found);
        };
        const timer = setTimeout(() => {
          listeners.delete(look);
          const names = spans.map(({ name }) => name).join(', ');
          reject(new Error(`not sent within ${withinMs} ms. ${requests} requests, spans: ${names}`));
        }, withinMs);
        listeners.add(look);
        look();
      }),
    hang: () => {
      mode = 'hangs';
    },
    refuse: (status) => {
      mode = status;
    },
    requests: () => requests,
  };
}

// --- OTLP's JSON -----------------------------------------------------------------------------------------------------

type SentValue = {
  stringValue?: string;
  intValue?: string | number;
  doubleValue?: number;
  boolValue?: boolean;
  arrayValue?: { values?: SentValue[] };
};
type SentAttributes = { key: string; value: SentValue }[];
type Sent = {
  resourceSpans?: {
    resource?: { attributes?: SentAttributes };
    scopeSpans?: {
      scope?: { name?: string; version?: string };
      schemaUrl?: string;
      spans?: {
        name: string;
        kind: number;
        traceId: string;
        spanId: string;
        parentSpanId?: string;
        startTimeUnixNano: string;
        endTimeUnixNano: string;
        attributes?: SentAttributes;
        links?: { traceId: string; spanId: string; attributes?: SentAttributes }[];
        status?: { code?: number; message?: string };
      }[];
    }[];
  }[];
};

function flat({ resourceSpans = [] }: Sent): SentSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans = [] }) =>
    scopeSpans.flatMap(({ scope, schemaUrl = '', spans = [] }) =>
      spans.map(({ name, kind, traceId, spanId, parentSpanId = '', ...span }) => ({
        ...{ name, kind, traceId, spanId, parentSpanId },
        attributes: plainly(span.attributes),
        links: (span.links ?? []).map((link) => ({
          traceId: link.traceId,
          spanId: link.spanId,
          attributes: plainly(link.attributes),
        })),
        status: { code: span.status?.code ?? 0, message: span.status?.message ?? '' },
        resource: plainly(resource?.attributes),
        scope: { name: scope?.name ?? '', version: scope?.version ?? '' },
        schemaUrl,
        startMs: Number(span.startTimeUnixNano) / 1e6,
        endMs: Number(span.endTimeUnixNano) / 1e6,
      })),
    ),
  );
}

function plainly(attributes: SentAttributes = []): Attributes {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, readValue(value)]));
}

function readValue({ stringValue, intValue, doubleValue, boolValue, arrayValue }: SentValue): Value {
  if (intValue !== undefined) return Number(intValue);
  if (arrayValue !== undefined) return (arrayValue.values ?? []).map(readValue);
  return stringValue ?? doubleValue ?? boolValue ?? null;
}
