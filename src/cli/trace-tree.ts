// trace-tree.ts — one trace as a text: asked of Jaeger, drawn as an indented tree.
//
// Reads the answer of its v3 API (OTLP as JSON) leniently: fields that are zero or empty may be absent, the content type
// may be text/plain, kinds and status codes may be numbers or names.
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { table } from './output.ts';

export type Value = string | number | boolean;
export type Span = {
  traceId: string;
  spanId: string;
  /** Undefined: it has none. It may be of no span that arrived. */
  parentId: string | undefined;
  service: string;
  name: string;
  /** 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  kind: number;
  startNs: bigint;
  endNs: bigint;
  isError: boolean;
  attributes: Readonly<Record<string, Value>>;
  links: readonly { traceId: string; spanId: string }[];
};

const ASK_WITHIN_MS = 5_000;
const ASK_EVERY_MS = 100;

/** The spans of a trace as soon as they are `enough`, and what has arrived `withinMs` later at the latest: maybe none.
 *  Throws when Jaeger can not be reached or refuses. */
export async function readTrace(
  jaegerUrl: string,
  traceId: string,
  { withinMs = 5_000, enough = () => true }: { withinMs?: number; enough?: (spans: readonly Span[]) => boolean } = {},
): Promise<Span[]> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const spans = await ask(jaegerUrl, traceId);
    if ((spans.length > 0 && enough(spans)) || performance.now() > deadline) return spans;
    await sleep(ASK_EVERY_MS);
  }
}

async function ask(jaegerUrl: string, traceId: string): Promise<Span[]> {
  const answer = await fetch(new URL(`/api/v3/traces/${traceId}`, jaegerUrl), {
    signal: AbortSignal.timeout(ASK_WITHIN_MS),
  });
  const text = await answer.text();
  if (answer.status === 404) return []; // not there yet
  if (!answer.ok) throw new Error(`Jaeger answers ${answer.status} for trace ${traceId}`);
  return spansOf(JSON.parse(text));
}

/** The trace of an event that was applied, and the batches behind it: each trace that it links to, if Jaeger has that. */
export async function readWithBatches(jaegerUrl: string, traceId: string): Promise<Span[][]> {
  const isApplied = ({ attributes }: Span) => attributes['customer_service.outcome'] === 'applied';
  const event = await readTrace(jaegerUrl, traceId, { enough: (spans) => spans.some(isApplied) });
  const batches = event
    .flatMap(({ links }) => links)
    .map((link) => {
      const enough = (spans: readonly Span[]) => spans.some(({ spanId }) => spanId === link.spanId);
      return readTrace(jaegerUrl, link.traceId, { withinMs: BATCH_WITHIN_MS, enough });
    });
  return [event, ...(await Promise.all(batches))].filter((spans) => spans.length > 0);
}
/** It is sent together with the event's span, if it is sampled. */
const BATCH_WITHIN_MS = 1_500;

/** Jaeger's images have pages; one built from source has a placeholder. */
export async function hasPages(jaegerUrl: string): Promise<boolean> {
  const text = await fetch(jaegerUrl, { signal: AbortSignal.timeout(ASK_WITHIN_MS) }).then((answer) => answer.text());
  return /<title>\s*Jaeger/i.test(text);
}

type Row = { text: string; service: string; startMs: string; tookMs: string; outcome: string };

/** A line for each span, below its parent; times are counted from the first span's start. */
export function drawTree(spans: readonly Span[]): string {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const startNs = spans[0]?.startNs ?? 0n;
  const rows: Row[] = [];
  const drawn = new Set<Span>();

  function draw(span: Span, depth: number): void {
    if (drawn.has(span)) return; // a circle of parents, which no honest tracer sends
    drawn.add(span);
    rows.push({
      text: `${'  '.repeat(depth)}${span.name}`,
      service: span.service,
      startMs: `+${inMs(span.startNs - startNs)}`,
      tookMs: inMs(span.endNs - span.startNs),
      outcome: span.isError ? 'error' : outcomeOf(span),
    });
    for (const child of spans) if (child.parentId === span.spanId) draw(child, depth + 1);
  }
  for (const span of spans) if (span.parentId === undefined || !ids.has(span.parentId)) draw(span, 0);
  for (const span of spans) draw(span, 0);
  const text = table(rows, [
    { head: 'span', of: ({ text }) => text },
    { head: 'service', of: ({ service }) => service },
    { head: 'starts ms', of: ({ startMs }) => startMs, right: true },
    { head: 'takes ms', of: ({ tookMs }) => tookMs, right: true },
    { head: 'outcome', of: ({ outcome }) => outcome },
  ]);
  return stripVTControlCharacters(text); // for a page or stderr; the table is styled for stdout
}

/** Of one event: "applied: pending → active". Of a batch: "applied 3, waiting 1", the most frequent first. */
function outcomeOf({ attributes }: Span): string {
  const one = attributes['customer_service.outcome'];
  const [from, to] = ['from', 'to'].map((end) => attributes[`customer_service.machine.state.${end}`]);
  if (one !== undefined) return from === undefined || to === undefined ? `${one}` : `${one}: ${from} → ${to}`;
  const counts = Object.entries(attributes).flatMap(([name, count]): [string, number][] => {
    const [, outcome] = /^customer_service\.batch\.(\w+)_count$/.exec(name) ?? [];
    return outcome === undefined || outcome === 'user' ? [] : [[outcome, Number(count)]];
  });
  return counts
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, count]) => `${outcome} ${count}`)
    .join(', ');
}

function inMs(ns: bigint): string {
  return (Number(ns) / 1e6).toFixed(1);
}

// The API's answer

type Json = { [name: string]: unknown };

/** In the order of their starts. */
export function spansOf(answer: unknown): Span[] {
  const spans = list(at(answer, 'result', 'resourceSpans')).flatMap((resource) => {
    const service = attributesOf(at(resource, 'resource'))['service.name'];
    return list(at(resource, 'scopeSpans')).flatMap((scope) =>
      list(at(scope, 'spans')).map((span) => toSpan(span, String(service ?? '?'))),
    );
  });
  return spans.sort((a, b) => Number(a.startNs - b.startNs));
}

function toSpan(span: Json, service: string): Span {
  return {
    traceId: String(span.traceId),
    spanId: String(span.spanId),
    parentId: typeof span.parentSpanId === 'string' && /[^0]/.test(span.parentSpanId) ? span.parentSpanId : undefined,
    service,
    name: String(span.name),
    kind: numberOf(span.kind, KINDS),
    startNs: BigInt(String(span.startTimeUnixNano ?? 0)),
    endNs: BigInt(String(span.endTimeUnixNano ?? 0)),
    isError: numberOf(at(span, 'status', 'code'), CODES) === CODES.indexOf('STATUS_CODE_ERROR'),
    attributes: attributesOf(span),
    links: list(span.links).map(({ traceId, spanId }) => ({ traceId: String(traceId), spanId: String(spanId) })),
  };
}
const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'].map(
  (kind) => `SPAN_KIND_${kind}`,
);
const CODES = ['UNSET', 'OK', 'ERROR'].map((code) => `STATUS_CODE_${code}`);

function numberOf(value: unknown, names: readonly string[]): number {
  return typeof value === 'number' ? value : Math.max(0, names.indexOf(String(value)));
}

function attributesOf(holder: unknown): Record<string, Value> {
  return Object.fromEntries(
    list(at(holder, 'attributes')).map(({ key, value }): [string, Value] => {
      const { stringValue, intValue, doubleValue, boolValue } = (value ?? {}) as Json;
      if (intValue !== undefined) return [String(key), Number(intValue)]; // 64-bit integers are strings in OTLP JSON
      return [String(key), (stringValue ?? doubleValue ?? boolValue ?? JSON.stringify(value)) as Value];
    }),
  );
}

function at(value: unknown, ...names: readonly string[]): unknown {
  return names.reduce((inner: unknown, name) => (inner as Json | null | undefined)?.[name], value);
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? value : [];
}
