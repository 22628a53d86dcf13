// Traces, in a real Jaeger: from a producer's span to the rows that its event became, and back from the row.
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, inject } from 'vitest';
import type { Sent } from '../../dev/load.ts';
import { drawTree, readTrace, type Span } from '../../src/cli/trace-tree.ts';
import { openTracing } from '../../src/cli/tracing.ts';
import { startProcess } from '../support/process.ts';
import { type Arrival, cloudEvent, customerCreated, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const TELEMETRY = new URL('../../src/telemetry.ts', import.meta.url).href;
const NO_JAEGER = 'no Jaeger on this machine: `npm run stack -- --jaeger` builds one, once';
const WITHIN_MS = 10_000;
const [PRODUCER, CONSUMER, CLIENT, INTERNAL] = [4, 5, 3, 1];

describe('whoever opens a trace in Jaeger', () => {
  test('sees what became of the event, and the batch that did it; the row names the trace', async ({ world, skip }) => {
    const jaeger = inject('jaeger');
    if (jaeger === null) return process.env.CI ? expect(jaeger).not.toBeNull() : skip(NO_JAEGER);
    const { url, endpoint } = jaeger;
    await world.createTopic(1);
    const service = startProcess(
      { ...world.settings, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_TRACES_SAMPLER_ARG: '1' },
      ['--import', TELEMETRY],
    );
    await service.says('started');
    await world.produce([cloudEvent('CUSTOMER_CREATED', customerCreated())]);
    await until(async () => expect(await world.sql`select 1 from customers where name is not null`).toHaveLength(1));

    const traceId = await produceTraced(world, endpoint, cloudEvent('USER_CREATED', userCreated(), { id: 'e2' }));
    const [row] = await until(async () => {
      const rows = await world.sql<{ traceId: string; offset: string }[]>`
        select trace_id as "traceId", "offset" from history where type = 'USER_CREATED'`;
      expect(rows).toHaveLength(1);
      return rows;
    });
    expect(row?.traceId).toBe(traceId);

    const event = await readTrace(url, traceId, { withinMs: WITHIN_MS, enough: (spans) => spans.length > 1 });
    const [send, processed] = [named(event, `send ${world.topic}`), named(event, `process ${world.topic}`)];
    expect(send).toMatchObject({ service: 'accounting', kind: PRODUCER, parentId: undefined });
    expect(send.attributes).toMatchObject({ 'messaging.system': 'kafka', 'messaging.destination.name': world.topic });
    expect(processed).toMatchObject({ service: 'customer-service', kind: CONSUMER, parentId: send.spanId });
    expect(processed.attributes).toMatchObject({
      'messaging.kafka.offset': Number(row?.offset),
      'customer_service.event.type': 'USER_CREATED',
      'customer_service.outcome': 'applied',
      'customer_service.machine.state.from': 'absent',
      'customer_service.machine.state.to': 'pending',
    });

    const [link] = processed.links as [{ traceId: string; spanId: string }];
    const isWhole = (spans: readonly Span[]) =>
      [`process ${world.topic}`, `commit ${world.topic}`].every((name) => spans.some((span) => span.name === name));
    const batch = await readTrace(url, link.traceId, { withinMs: WITHIN_MS, enough: isWhole });
    const root = named(batch, `process ${world.topic}`);
    expect(root).toMatchObject({ spanId: link.spanId, parentId: undefined, kind: CONSUMER });
    expect(root.attributes).toMatchObject({
      'messaging.batch.message_count': 1,
      'customer_service.batch.applied_count': 1,
    });
    expect(root.links).toContainEqual(expect.objectContaining({ traceId, spanId: send.spanId }));
    const steps = below(batch, root);
    expect(steps.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['SELECT users', 'customer_service.run', 'customer_service.save']),
    );
    expect(named(steps, 'customer_service.run').kind).toBe(INTERNAL);
    const save = named(steps, 'customer_service.save');
    const statements = below(batch, save);
    expect(statements.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['UPDATE positions', 'INSERT users', 'INSERT history', 'COMMIT']),
    );
    expect([statements[0]?.name, statements.at(-1)?.name]).toEqual(['UPDATE positions', 'COMMIT']);
    expect(new Set(statements.map(({ kind }) => kind))).toEqual(new Set([CLIENT]));
    expect(batch.filter(({ isError }) => isError)).toEqual([]);
    const said = [...event, ...batch].flatMap(({ name, attributes }) => [name, ...Object.values(attributes)]);
    expect(said.join('\n')).not.toMatch(/ada@example|Lovelace|auth0/);

    await expectDocumented([event, batch], world.topic);
    service.signal('SIGTERM');
    expect(await service.ended).toEqual({ code: 0, signal: null });
  });
});

/** As Accounting would: below a span of its own, which it delivers. Returns the trace's id. */
async function produceTraced(world: World, endpoint: string, arrival: Arrival): Promise<string> {
  const tracing = openTracing(endpoint);
  const record = { topic: world.topic, key: arrival.key, value: arrival.value, headers: [] };
  const { events, end } = tracing.begin([{ by: 'accounting-service', record }]);
  const added = (events as [Sent])[0].record.headers ?? [];
  const headers = added.map(([name, value]) => [name, Buffer.from(value)] as const);
  await world.produce([{ ...arrival, headers: [...arrival.headers, ...headers] }]);
  end();
  await tracing.close();
  return [...tracing.begun.keys()][0] as string;
}

const DOCUMENT = new URL('../../docs/operations.md', import.meta.url);
const BLOCK = /(?<=<!-- trace:start -->\n).*?(?=<!-- trace:end -->)/s;

/** The example in the document has the same spans, one below the other, with the same outcomes. Times are of the day it was
 *  taken; `WRITE_DOCS=1` takes it anew. */
async function expectDocumented(traces: readonly (readonly Span[])[], topic: string): Promise<void> {
  const renamed = (spans: readonly Span[]) =>
    spans.map((span) => ({ ...span, name: span.name.replace(topic, 'user-events') }));
  const drawn = traces.map((spans) => drawTree(renamed(spans)).trimEnd());
  const text = `\`\`\`\n${drawn.join('\n\nthe batch that it links to:\n')}\n\`\`\`\n`;
  const document = await readFile(DOCUMENT, 'utf8');
  if (process.env.WRITE_DOCS)
    await writeFile(
      DOCUMENT,
      document.replace(BLOCK, () => text),
    );
  else expect(shapeOf(document.match(BLOCK)?.[0] ?? '')).toEqual(shapeOf(text));
}

/** Steps that run at once may begin in any order. */
function shapeOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) =>
      line
        .replaceAll(/\+?\d+\.\d/g, '')
        .replaceAll(/(?<=\S) +/g, ' ')
        .trimEnd(),
    )
    .sort();
}

function named(spans: readonly Span[], name: string): Span {
  const found = spans.filter((span) => span.name === name);
  expect({ name, among: spans.map(({ name }) => name), found: found.length }).toMatchObject({ found: 1 });
  return found[0] as Span;
}

function below(spans: readonly Span[], { spanId }: Span): Span[] {
  return spans.filter(({ parentId }) => parentId === spanId);
}
