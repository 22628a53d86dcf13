// What a batch writes into traces: each row of the table of spans in docs/operations.md, on real Postgres and Redis.
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { AlwaysOnSampler, ParentBasedSampler, type ReadableSpan, SamplingDecision } from '@opentelemetry/sdk-trace';
import { beforeEach, describe, expect, inject } from 'vitest';
import {
  type Arrival,
  cloudEvent,
  customerCreated,
  nestRecord,
  rawRecord,
  statusChanged,
  userCreated,
} from '../support/records.ts';
import { keepSpans, traceparent } from '../support/spans.ts';
import { test, until, type World } from '../support/world.ts';

/** Samples as the SDK does by default, roots as the test says. */
let batches: 'sampled' | 'unsampled' = 'sampled';
const roots = {
  shouldSample: () => ({
    decision: batches === 'sampled' ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD,
  }),
};
const kept = keepSpans(new ParentBasedSampler({ root: roots, remoteParentSampled: new AlwaysOnSampler() }));

beforeEach(() => {
  batches = 'sampled';
  kept.reset();
});

/** A producer's trace of its own for each number. */
const trace = (n: number) => n.toString(16).padStart(32, 'a');
const span = (n: number) => n.toString(16).padStart(16, 'b');
const produced = (n: number, flags?: string) => ({ id: `e${n}`, headers: [traceparent(trace(n), span(n), flags)] });

const withRedis = () => ({ REDIS_URL: inject('settings').REDIS_URL as string });
const rowsOf = (world: World) =>
  world.sql`select "offset"::int as at, outcome, trace_id from history where topic = 'user-events' order by "offset"`;

async function deliver(world: World, arrivals: readonly Arrival[], settings: Record<string, string> = {}) {
  const service = await world.service(settings);
  if (settings.REDIS_URL !== undefined) await untilRedis(service.url);
  world.log.append(...arrivals);
  await service.source.drain();
  return service;
}
async function untilRedis(url: string): Promise<void> {
  await until(async () => {
    const { checks } = (await (await fetch(`${url}/readyz`)).json()) as { checks: { redis: { ok: boolean } } };
    expect(checks.redis.ok).toBe(true);
  });
}
function only(spans: readonly ReadableSpan[]): ReadableSpan {
  expect(spans).toHaveLength(1);
  return spans[0] as ReadableSpan;
}
/** The batch's own span: the one without a parent. */
const batchOf = (topic = 'user-events') =>
  only(kept.named(`process ${topic}`).filter(({ parentSpanContext }) => parentSpanContext === undefined));
/** Those in the producers' traces. */
const eventsOf = (topic = 'user-events') =>
  kept.named(`process ${topic}`).filter(({ parentSpanContext }) => parentSpanContext?.isRemote === true);

describe('the span of a batch', () => {
  test('has the steps below it, and theirs below them, in order', async ({ world }) => {
    await deliver(
      world,
      [
        cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }),
        cloudEvent('USER_CREATED', userCreated(), { id: 'u' }),
        cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|nobody' }), { id: 's' }),
        rawRecord('{'),
      ],
      withRedis(),
    );
    await until(() => expect(kept.named('SET')).toHaveLength(1)); // in the background
    const batch = batchOf();
    expect(batch.kind).toBe(SpanKind.CONSUMER);
    expect(batch.status.code).toBe(SpanStatusCode.UNSET);
    expect(new Set(kept.below(batch))).toEqual(
      new Set([
        ...['SELECT users', 'SELECT waiting', 'SELECT holds', 'SELECT customers'],
        ...['MGET', 'customer_service.run', 'customer_service.save', 'SET'],
      ]),
    );
    expect(kept.below(batch).indexOf('customer_service.run')).toBeGreaterThan(
      kept.below(batch).indexOf('SELECT users'),
    );
    const save = only(kept.named('customer_service.save'));
    expect(kept.below(save)).toEqual([
      ...['UPDATE positions', 'INSERT customers', 'INSERT users', 'INSERT history', 'INSERT waiting'],
      ...['INSERT dead_letters', 'COMMIT'],
    ]);
  });

  test('says in the words of the conventions what it is', async ({ world }) => {
    await deliver(world, [cloudEvent('CUSTOMER_CREATED', customerCreated()), rawRecord('{')], withRedis());
    expect(batchOf().attributes).toEqual({
      'messaging.system': 'kafka',
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.destination.name': 'user-events',
      'messaging.destination.partition.id': '0',
      'messaging.consumer.group.name': world.settings.KAFKA_GROUP_ID,
      'messaging.client.id': 'customer-service-consumer',
      'server.address': '127.0.0.1',
      'server.port': Number(String(world.settings.KAFKA_BROKERS).split(':')[1]),
      'messaging.batch.message_count': 2,
      'customer_service.batch.first_offset': 0,
      'customer_service.batch.last_offset': 1,
      'customer_service.batch.user_count': 0,
      'customer_service.batch.applied_count': 1,
      'customer_service.batch.dead_count': 1,
    });
    expect(only(kept.named('customer_service.run')).attributes).toEqual({
      'customer_service.user_count': 0,
      'customer_service.event_count': 2,
      'customer_service.transition_count': 0,
    });
    expect(only(kept.named('customer_service.save')).attributes).toEqual({
      'customer_service.save.attempt': 1,
      'customer_service.row_count': 3,
    });
  });

  test('shows each statement with its text and without its values', async ({ world }) => {
    await deliver(world, [cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'Secret Ltd' }))], withRedis());
    const insert = only(kept.named('INSERT customers'));
    expect(insert.kind).toBe(SpanKind.CLIENT);
    expect(insert.attributes).toMatchObject({
      'db.system.name': 'postgresql',
      'db.namespace': `${world.settings.DB_DATABASE}|public`,
      'db.operation.name': 'INSERT',
      'db.collection.name': 'customers',
      'db.query.summary': 'INSERT customers',
      'db.query.text': expect.stringMatching(/^insert into customers .*\$1/s),
      'server.address': '127.0.0.1',
      'server.port': Number(world.settings.DB_PORT),
    });
    expect(only(kept.named('COMMIT')).attributes).toMatchObject({
      'db.system.name': 'postgresql',
      'db.operation.name': 'COMMIT',
    });
    const write = await until(() => only(kept.named('SET')));
    expect(write.attributes).toMatchObject({ 'db.system.name': 'redis', 'db.operation.name': 'SET' });
    expect(JSON.stringify(kept.all().map(({ attributes }) => attributes))).not.toMatch(/Secret|c1"|ada@/);
  });

  test('counts what Redis knew', async ({ world }) => {
    const service = await deliver(world, [cloudEvent('CUSTOMER_CREATED', customerCreated())], withRedis());
    await service.stop();
    await until(() => expect(kept.named('SET')).toHaveLength(1));
    kept.reset();
    const again = await world.service(withRedis());
    await untilRedis(again.url);
    world.log.append(
      cloudEvent('USER_CREATED', userCreated(), { id: 'a' }),
      cloudEvent('USER_CREATED', userCreated({ userId: 'auth0|u2', customerAccountId: 'c2' }), { id: 'b' }),
    );
    await again.source.drain();
    expect(only(kept.named('MGET')).attributes).toEqual({
      'db.system.name': 'redis',
      'db.operation.name': 'MGET',
      'db.namespace': '0',
      'server.address': '127.0.0.1',
      'server.port': expect.any(Number),
      'customer_service.cache.hit_count': 1,
      'customer_service.cache.miss_count': 1,
    });
  });

  test('links to the spans of its producers, 32 at most, and counts the others', async ({ world }) => {
    await deliver(
      world,
      Array.from({ length: 40 }, (_, n) =>
        cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: `c${n}` }), produced(n + 1)),
      ),
    );
    const { links, attributes } = batchOf();
    expect(links).toHaveLength(32);
    expect(links[0]).toMatchObject({
      context: { traceId: trace(1), spanId: span(1), traceFlags: 1, isRemote: true },
      attributes: { 'messaging.kafka.offset': 0 },
    });
    expect(attributes['customer_service.batch.links_dropped']).toBe(8);
    for (const each of kept.all())
      for (const { context } of each.links) expect(context.spanId).not.toBe(each.parentSpanContext?.spanId);
  });

  test('has no links where producers sampled nothing, sent nothing or nonsense', async ({ world }) => {
    await deliver(world, [
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'a' }), produced(1, '00')),
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'b' }), {
        headers: [['traceparent', 'nonsense']],
      }),
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'd' })),
    ]);
    expect(batchOf().links).toEqual([]);
    expect(eventsOf()).toEqual([]);
  });

  test('tells with what it failed, and the try that works has a trace of its own', async ({ world }) => {
    await world.sql.unsafe(`create function refuse() returns trigger language plpgsql as $$
      begin raise exception 'not now' using errcode = '53100'; end $$`);
    await world.sql.unsafe('create trigger refuse before insert on customers execute function refuse()');
    const { source } = await world.service();
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated()));
    const delivered = source.deliver('user-events');
    await until(() => expect(kept.named('process user-events').length).toBeGreaterThan(0));
    const [failed] = kept.named('process user-events') as [ReadableSpan];
    expect(failed.attributes['error.type']).toBe('53100');
    expect(failed.status.code).toBe(SpanStatusCode.ERROR);
    expect(only(kept.named('customer_service.save').slice(0, 1))).toMatchObject({
      attributes: { 'error.type': '53100' },
      status: { code: SpanStatusCode.ERROR },
    });
    expect(kept.named('INSERT customers')[0]?.attributes).toMatchObject({
      'error.type': '53100',
      'db.response.status_code': '53100',
    });
    await world.sql.unsafe('drop trigger refuse on customers');
    await delivered;
    await source.drain();
    const last = kept.named('process user-events').at(-1) as ReadableSpan;
    expect(last.status.code).toBe(SpanStatusCode.UNSET);
    expect(last.spanContext().traceId).not.toBe(failed.spanContext().traceId);
  });

  test('holds both saves of a conflict, the second with its own reading', async ({ world }) => {
    const { source } = await deliver(world, [
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }),
      cloudEvent('USER_CREATED', userCreated(), { id: 'u' }),
    ]);
    kept.reset();
    await world.sql`update users set rev = rev + 1`; // somebody else wrote it: what is remembered is old
    world.log.append(cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 's' }));
    await source.drain();
    const [first, second] = kept.named('customer_service.save') as [ReadableSpan, ReadableSpan];
    expect(first.attributes).toMatchObject({ 'customer_service.save.attempt': 1, 'error.type': 'conflict' });
    expect(second.attributes).toMatchObject({ 'customer_service.save.attempt': 2 });
    expect(second.status.code).toBe(SpanStatusCode.UNSET);
    expect(kept.below(second)).toEqual(
      expect.arrayContaining(['SELECT positions', 'SELECT users', 'customer_service.run', 'UPDATE users', 'COMMIT']),
    );
    expect(batchOf().status.code).toBe(SpanStatusCode.UNSET);
  });

  test('ends with its own work: what it woke belongs to no batch', async ({ world }) => {
    const { source } = await deliver(world, [cloudEvent('USER_CREATED', userCreated(), { id: 'u' })]);
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }));
    await source.drain();
    await until(() => expect(kept.named('customer_service.redrive')).not.toEqual([]));
    for (const batch of kept.named('process user-events'))
      expect(kept.below(batch).filter((name) => name === 'SELECT waiting').length).toBeLessThan(2);
  });

  test('makes no span below it, and none of statements in the background, when it is not sampled', async ({
    world,
  }) => {
    batches = 'unsampled';
    const service = await deliver(world, [cloudEvent('CUSTOMER_CREATED', customerCreated())], withRedis());
    service.tick();
    expect(kept.all()).toEqual([]);
  });
});

describe("an event's span in its producer's trace", () => {
  test('says what became of it, from the span that sent it, and links to the batch', async ({ world }) => {
    await deliver(world, [
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }),
      cloudEvent('USER_CREATED', userCreated(), { id: 'u' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), produced(7)),
    ]);
    const event = only(eventsOf());
    expect(event.kind).toBe(SpanKind.CONSUMER);
    expect(event.spanContext().traceId).toBe(trace(7));
    expect(event.parentSpanContext?.spanId).toBe(span(7));
    expect(event.links.map(({ context }) => context.spanId)).toEqual([batchOf().spanContext().spanId]);
    expect(event.startTime).toEqual(batchOf().startTime.map(() => expect.any(Number)));
    expect(event.attributes).toMatchObject({
      'messaging.destination.name': 'user-events',
      'messaging.destination.partition.id': '0',
      'messaging.kafka.offset': 2,
      'customer_service.machine.id': 'user',
      'customer_service.machine.state.from': 'pending',
      'customer_service.machine.state.to': 'active',
      'customer_service.event.type': 'USER_STATUS_CHANGED',
      'customer_service.outcome': 'applied',
      'user.hash': expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    expect(JSON.stringify(event.attributes)).not.toContain('auth0');
  });

  test('is there although the batch is not sampled, without a link to what nobody can find', async ({ world }) => {
    batches = 'unsampled';
    await deliver(world, [cloudEvent('CUSTOMER_CREATED', customerCreated(), produced(1))]);
    expect(only(eventsOf()).links).toEqual([]);
    expect(kept.all()).toHaveLength(1);
  });

  test('is an error for a dead letter, and tells why an event waits', async ({ world }) => {
    await deliver(world, [
      cloudEvent('USER_CREATED', '{', produced(1)),
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: 'late' }), produced(2)),
    ]);
    const [dead, waiting] = eventsOf() as [ReadableSpan, ReadableSpan];
    expect(dead.attributes).toMatchObject({
      'customer_service.outcome': 'dead',
      'customer_service.dead_letter.code': 'json',
      'error.type': 'json',
    });
    expect(dead.status).toEqual({ code: SpanStatusCode.ERROR, message: 'json' });
    expect(waiting.attributes).toMatchObject({
      'customer_service.outcome': 'waiting',
      'customer_service.reason': 'customer',
    });
    expect(waiting.status.code).toBe(SpanStatusCode.UNSET);
  });

  test('is written for 20 events of a batch, first for those that were not applied', async ({ world }) => {
    const customers = Array.from({ length: 30 }, (_, n) =>
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: `c${n}` }), produced(n + 1)),
    );
    await deliver(world, [...customers, cloudEvent('USER_CREATED', '{', produced(99))]);
    expect(eventsOf()).toHaveLength(20);
    expect(eventsOf()[0]?.spanContext().traceId).toBe(trace(99));
  });

  test('is not written where the setting says 0', async ({ world }) => {
    await deliver(world, [cloudEvent('CUSTOMER_CREATED', customerCreated(), produced(1))], {
      TRACE_EVENTS_PER_BATCH: '0',
    });
    expect(eventsOf()).toEqual([]);
  });

  test('comes a second time when what it waited for has come', async ({ world }) => {
    const { source } = await deliver(world, [cloudEvent('USER_CREATED', userCreated(), produced(1))]);
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }));
    await source.drain();
    await until(() => expect(eventsOf()).toHaveLength(2));
    const [waits, applied] = eventsOf() as [ReadableSpan, ReadableSpan];
    expect([waits, applied].map(({ attributes }) => attributes['customer_service.outcome'])).toEqual([
      'waiting',
      'applied',
    ]);
    expect(applied.parentSpanContext?.spanId).toBe(span(1));
    await until(() => expect(kept.named('customer_service.redrive')).not.toEqual([]));
    const drain = only(
      kept
        .named('customer_service.redrive')
        .filter((each) => each.attributes['customer_service.batch.applied_count'] === 1),
    );
    expect(drain.parentSpanContext).toBeUndefined();
    expect(drain.kind).toBe(SpanKind.INTERNAL);
    expect(drain.links.map(({ context }) => context.spanId)).toEqual([span(1)]);
    expect(kept.below(drain)).toEqual(
      expect.arrayContaining(['SELECT users', 'INSERT history', 'DELETE waiting', 'INSERT users', 'COMMIT']),
    );
    expect(applied.links.map(({ context }) => context.spanId)).toEqual([drain.spanContext().spanId]);
  });

  test('never comes from the topics of NestJS, which have no headers', async ({ world }) => {
    await deliver(world, [nestRecord('CUSTOMER_CREATED', customerCreated())]);
    expect(kept.named('process CUSTOMER_CREATED')).toHaveLength(1);
  });
});

describe('a row leads to its trace', () => {
  test("the producer's where it is sampled, else the batch's", async ({ world }) => {
    await deliver(world, [
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'a' }), produced(1)),
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'b' }), produced(2, '00')),
      cloudEvent('USER_CREATED', '{', produced(3)),
      rawRecord('{'),
    ]);
    const batch = batchOf().spanContext().traceId;
    expect((await rowsOf(world)).map(({ trace_id }) => trace_id)).toEqual([trace(1), batch]);
    const dead = await world.sql`select trace_id from dead_letters order by "offset"`;
    expect(dead.map(({ trace_id }) => trace_id)).toEqual([trace(3), batch]);
  });

  test('to none where neither is sampled', async ({ world }) => {
    batches = 'unsampled';
    await deliver(world, [
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'a' }), produced(1)),
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'b' })),
    ]);
    expect((await rowsOf(world)).map(({ trace_id }) => trace_id)).toEqual([trace(1), null]);
  });

  test("of an event that waited: still its producer's", async ({ world }) => {
    const { source } = await deliver(world, [cloudEvent('USER_CREATED', userCreated(), produced(1))]);
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }));
    await source.drain();
    await until(async () => expect(await rowsOf(world)).toHaveLength(2));
    expect((await rowsOf(world))[0]).toMatchObject({ at: 0, outcome: 'applied', trace_id: trace(1) });
  });
});
