// What leaves the process by OTLP, and what becomes of events when nobody takes it: a real service process, a collector of ours.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, onTestFinished } from 'vitest';
import { SERVICE_VERSION } from '../../src/version.ts';
import { type Running, startProcess } from '../support/process.ts';
import { type Arrival, cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { openSink, type SentSpan, type Sink, sendTo } from '../support/sink.ts';
import { traceparent } from '../support/spans.ts';
import { test, until, type World } from '../support/world.ts';

const TELEMETRY = ['--import', new URL('../../src/telemetry.ts', import.meta.url).href];
const INTERNAL = 1;
const CLIENT = 3;
const CONSUMER = 5;
const ERROR = 2;

/** A service on a topic of one partition, so that what is produced together is one batch. */
async function started(world: World, settings: Record<string, string>, cwd?: string) {
  const service = startProcess({ ...world.settings, ...settings }, TELEMETRY, cwd);
  const { url } = await service.says('started');
  return { service, url: String(url), metrics: () => scrape(String(url)) };
}
async function scrape(url: string): Promise<string> {
  const answer = await fetch(`${url}/metrics`);
  expect(answer.status).toBe(200);
  return await answer.text();
}
/** The sum of a metric's series whose line matches. */
function sum(text: string, name: string, matching = ''): number {
  const lines = text
    .split('\n')
    .filter((line) => /^[{ ]/.test(line.slice(name.length)) && line.startsWith(name) && line.includes(matching));
  return lines.reduce((total, line) => total + Number(line.split(' ').at(-1)), 0);
}
async function stop(service: Running): Promise<number> {
  const beganMs = performance.now();
  service.signal('SIGTERM');
  expect(await service.ended).toEqual({ code: 0, signal: null });
  return performance.now() - beganMs;
}

/** `users` users, each created and moved: two events each. */
const events = (users: number, prefix = 'u'): Arrival[] =>
  Array.from({ length: users }, (_, n) => [
    cloudEvent('USER_CREATED', userCreated({ userId: `${prefix}${n}`, customerAccountId: undefined }), {
      id: `${prefix}${n}-c`,
      key: `${prefix}${n}`,
    }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: `${prefix}${n}` }), {
      id: `${prefix}${n}-s`,
      key: `${prefix}${n}`,
    }),
  ]).flat();
async function expectHandled(world: World, n: number): Promise<void> {
  await until(async () => expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n }]), 30_000);
}
/** Many batches, one after the other. */
async function pour(world: World, batches: number): Promise<void> {
  for (let n = 0; n < batches; n++) {
    await world.produce(events(2, `p${n}-`));
    await expectHandled(world, (n + 1) * 4);
  }
}
const telemetryLines = ({ lines }: Running) => lines.filter(({ msg }) => String(msg).startsWith('telemetry:'));

const PRODUCER = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) };
const batchIn = (spans: readonly SentSpan[]) =>
  spans.find(({ name, parentSpanId }) => name.startsWith('process ') && parentSpanId === '');

describe('what arrives at a collector', () => {
  /** One batch of a customer, a user of it by a producer that is traced, and its status. */
  async function oneBatch(world: World): Promise<{ sink: Sink; service: Running; batch: SentSpan }> {
    const sink = await openSink();
    await world.createTopic(1);
    const customerAccountId = world.topic; // of this test alone: Redis is shared
    const REDIS_URL = inject('settings').REDIS_URL as string;
    const { service, url } = await started(world, { ...sendTo(sink.url), REDIS_URL });
    await until(async () => {
      const { checks } = (await (await fetch(`${url}/readyz`)).json()) as { checks: { redis: { ok: boolean } } };
      expect(checks.redis.ok).toBe(true);
    });
    await world.produce([
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId }), { id: 'c' }),
      cloudEvent('USER_CREATED', userCreated({ customerAccountId }), {
        id: 'u',
        headers: [traceparent(PRODUCER.traceId, PRODUCER.spanId)],
      }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 's' }),
    ]);
    const batch = await sink.until(batchIn);
    await sink.until((spans) => spans.find(({ name }) => name === 'SET'));
    return { sink, service, batch };
  }

  test('names the service, its version and this process as its log does, and nothing of the machine', async ({
    world,
  }) => {
    const { sink, service } = await oneBatch(world);
    const instance = (await service.says('started'))['service.instance.id'];
    expect(instance).toMatch(new RegExp(`-${service.pid}-[0-9a-f]{6}$`));
    expect(new Set(service.lines.map((line) => line['service.instance.id']))).toEqual(new Set([instance]));
    expect(new Set(service.lines.map((line) => line['service.version']))).toEqual(new Set([SERVICE_VERSION]));
    for (const { resource, scope, schemaUrl } of sink.spans()) {
      expect(resource).toEqual({
        'service.name': 'customer-service',
        'service.version': SERVICE_VERSION,
        'service.instance.id': instance,
        'telemetry.sdk.language': 'nodejs',
        'telemetry.sdk.name': 'opentelemetry',
        'telemetry.sdk.version': expect.stringMatching(/^3\./),
      });
      expect(scope).toEqual({ name: 'customer-service', version: SERVICE_VERSION });
      expect(schemaUrl).toBe('https://opentelemetry.io/schemas/1.45.0');
    }
    const rows = await world.sql`select distinct owner from positions`;
    expect(rows).toEqual([{ owner: instance }]);
  });

  test('is a whole tree of a batch, with the producer linked by offset and its event in its own trace', async ({
    world,
  }) => {
    const { sink, batch } = await oneBatch(world);
    const save = await sink.until(() => sink.named('customer_service.save')[0]);
    const event = await sink.until((spans) => spans.find(({ traceId }) => traceId === PRODUCER.traceId));
    const kinds = (spans: readonly SentSpan[]) => Object.fromEntries(spans.map(({ name, kind }) => [name, kind]));

    expect(batch.kind).toBe(CONSUMER);
    expect(batch.attributes).toMatchObject({
      'messaging.destination.name': world.topic,
      'messaging.destination.partition.id': '0',
      'messaging.batch.message_count': 3,
      'customer_service.batch.first_offset': 0,
      'customer_service.batch.last_offset': 2,
      'customer_service.batch.applied_count': 3,
    });
    expect(batch.links).toEqual([{ ...PRODUCER, attributes: { 'messaging.kafka.offset': 1 } }]);
    expect(kinds(sink.below(batch))).toMatchObject({
      ...{ 'SELECT users': CLIENT, 'SELECT waiting': CLIENT, 'SELECT holds': CLIENT, 'SELECT customers': CLIENT },
      ...{ MGET: CLIENT, SET: CLIENT, 'customer_service.run': INTERNAL, 'customer_service.save': INTERNAL },
    });
    expect(kinds(sink.below(save))).toEqual({
      ...{ 'UPDATE positions': CLIENT, 'INSERT customers': CLIENT, 'INSERT users': CLIENT, 'INSERT history': CLIENT },
      ...{ COMMIT: CLIENT },
    });
    expect(event).toMatchObject({
      ...{ name: `process ${world.topic}`, kind: CONSUMER, parentSpanId: PRODUCER.spanId },
      links: [{ traceId: batch.traceId, spanId: batch.spanId }],
      attributes: { 'messaging.kafka.offset': 1, 'customer_service.outcome': 'applied' },
    });
    // Children lie within their parents; what is written back to Redis may end later.
    const byId = new Map(sink.spans().map((span) => [span.spanId, span]));
    for (const span of sink.spans()) {
      const parent = byId.get(span.parentSpanId);
      expect(span.endMs, span.name).toBeGreaterThanOrEqual(span.startMs);
      if (parent !== undefined) expect(span.traceId, span.name).toBe(parent.traceId);
      if (parent !== undefined && span.name !== 'SET' && !span.name.startsWith('commit ')) {
        expect(span.startMs, span.name).toBeGreaterThanOrEqual(parent.startMs - 1);
        expect(span.endMs, span.name).toBeLessThanOrEqual(parent.endMs + 1);
      }
      expect(span.status.code, span.name).not.toBe(ERROR);
      for (const { spanId } of span.links) expect(spanId).not.toBe(span.parentSpanId);
    }
    expect(JSON.stringify(sink.spans())).not.toMatch(/auth0|ada@|Lovelace|Engines/);
  });

  test('has the commit to Kafka below the batch, with the offset that it told', async ({ world }) => {
    const { sink, batch } = await oneBatch(world);
    const commit = await sink.until(() => sink.named(`commit ${world.topic}`)[0]);
    expect(commit).toMatchObject({ kind: CLIENT, traceId: batch.traceId, parentSpanId: batch.spanId });
    expect(commit.attributes).toMatchObject({
      'messaging.system': 'kafka',
      'messaging.operation.name': 'commit',
      'messaging.operation.type': 'settle',
      'messaging.destination.name': world.topic,
      'messaging.destination.partition.id': '0',
      'messaging.consumer.group.name': world.settings.KAFKA_GROUP_ID,
      'customer_service.committed_offset': 3,
    });
    expect(commit.startMs).toBeGreaterThanOrEqual(batch.startMs);
  });

  test('holds the batch that was in flight when the process was told to stop', async ({ world }) => {
    const sink = await openSink();
    await world.createTopic(1);
    // No timer sends anything: what arrives is sent by the stop.
    const { service } = await started(world, { ...sendTo(sink.url), OTEL_BSP_SCHEDULE_DELAY: '600000' });
    await world.produce(events(1, 'a'));
    await expectHandled(world, 2);
    const block = await world.blockSaves(world.topic);
    await world.produce(events(1, 'b'));
    await block.reached();
    expect(sink.requests()).toBe(0);
    service.signal('SIGTERM');
    await service.says('stopping');
    await block.release();
    expect(await service.ended).toEqual({ code: 0, signal: null });

    const batches = sink.named(`process ${world.topic}`);
    expect(batches.map(({ attributes }) => attributes['customer_service.batch.last_offset'])).toEqual([1, 3]);
    expect(batches.map(({ attributes }) => attributes['customer_service.batch.applied_count'])).toEqual([2, 2]);
    expect(sink.below(batches[1] as SentSpan).map(({ name }) => name)).toContain('customer_service.save');
    await expectHandled(world, 4);
  });
});

describe('a collector that is no help', () => {
  test('hangs: every event is processed, drops are counted, and the process stops in its time', async ({ world }) => {
    const sink = await openSink();
    sink.hang();
    await world.createTopic(1);
    const { service, metrics } = await started(world, {
      ...sendTo(sink.url),
      OTEL_BSP_MAX_QUEUE_SIZE: '10',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '5',
    });
    await pour(world, 10);
    const text = await metrics();
    expect(sum(text, 'otel_sdk_processor_span_processed_total', 'error_type="queue_full"')).toBeGreaterThan(20);
    expect(sum(text, 'otel_sdk_processor_span_queue_size')).toBe(10);
    expect(sum(text, 'customer_service_events_total')).toBe(40);
    expect(sink.requests()).toBe(1); // the one export that is under way
    expect(await stop(service)).toBeLessThan(8_000);
    await expectHandled(world, 40);
  });

  test('refuses: every event is processed, and the log says so once', async ({ world }) => {
    const sink = await openSink();
    sink.refuse(400);
    await world.createTopic(1);
    const { service } = await started(world, sendTo(sink.url));
    await pour(world, 6);
    await service.says('telemetry:');
    const refused = sink.requests();
    await world.produce(events(2, 'late'));
    await sink.until(() => (sink.requests() > refused ? true : undefined));
    expect(await stop(service)).toBeLessThan(8_000);
    expect(telemetryLines(service)).toMatchObject([{ level: 'warn', 'error.type': expect.stringMatching(/400/) }]);
    await expectHandled(world, 28);
  });

  test('is not there: every event is processed, and one line says that it can not be reached', async ({ world }) => {
    await world.createTopic(1);
    const { service } = await started(world, {
      ...sendTo(await nobodysUrl()),
      OTEL_EXPORTER_OTLP_TIMEOUT: '300',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '5',
    });
    await pour(world, 6);
    await service.says('telemetry:');
    await world.produce(events(1, 'late'));
    await expectHandled(world, 26);
    expect(await stop(service)).toBeLessThan(8_000);
    const told = telemetryLines(service);
    expect(told).toMatchObject([{ level: 'warn', 'error.type': 'ECONNREFUSED' }]);
    expect(JSON.stringify(told)).not.toMatch(/stack|\/src\/|node_modules/);
    expect(service.lines.filter(({ level }) => level === undefined)).toEqual([]); // nothing beside the log
  });
});

describe('settings', () => {
  test('OTEL_SDK_DISABLED: no metrics, no spans, and the service works', async ({ world }) => {
    const sink = await openSink();
    await world.createTopic(1);
    const { service, url } = await started(world, { ...sendTo(sink.url), OTEL_SDK_DISABLED: 'true' });
    await pour(world, 2);
    expect((await fetch(`${url}/metrics`)).status).toBe(404);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    await stop(service);
    expect(sink.requests()).toBe(0);
    expect(service.lines.filter(({ trace_id }) => trace_id !== undefined)).toEqual([]);
  });

  for (const [what, settings] of [
    ['without an endpoint', {}],
    ['OTEL_TRACES_EXPORTER=none', { OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' }],
  ] as [string, Record<string, string>][])
    test(`${what}: no span is made, metrics are there`, async ({ world }) => {
      await world.createTopic(1);
      const { service, metrics } = await started(world, { OTEL_TRACES_SAMPLER_ARG: '1', ...settings });
      await pour(world, 2);
      const text = await metrics();
      expect(sum(text, 'customer_service_events_total')).toBe(8);
      expect(text).toContain('nodejs_eventloop_utilization');
      expect(text).toMatch(/^target_info\{.*service_name="customer-service"/m);
      expect(text).not.toContain('otel_sdk_span_started');
      await stop(service);
      expect(service.lines.filter(({ trace_id }) => trace_id !== undefined)).toEqual([]);
      expect(service.lines.filter(({ msg }) => String(msg).includes('no traces are sent'))).toMatchObject([
        { level: 'info' },
      ]);
    });

  test('stand in a .env of the working directory; the environment wins', async ({ world }) => {
    const sink = await openSink();
    const folder = mkdtempSync(join(tmpdir(), 'env-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const inFile = { ...sendTo(sink.url), OTEL_SERVICE_NAME: 'of-the-file', OTEL_RESOURCE_ATTRIBUTES: 'a.b=file' };
    writeFileSync(
      join(folder, '.env'),
      Object.entries(inFile)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    );
    await world.createTopic(1);
    await started(world, { OTEL_RESOURCE_ATTRIBUTES: 'a.b=environment' }, folder);
    await world.produce(events(1));
    const { resource } = await sink.until(batchIn);
    expect(resource).toMatchObject({ 'service.name': 'of-the-file', 'a.b': 'environment' });
  });
});

/** Where nothing listens. */
async function nobodysUrl(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
