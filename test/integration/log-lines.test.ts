// What the log says of each batch while it is traced: where to find its trace, and no word of anybody's data, whatever fails.
import { ParentBasedSampler, type ReadableSpan, SamplingDecision } from '@opentelemetry/sdk-trace';
import { beforeEach, describe, expect } from 'vitest';
import { ask, OWN } from '../support/api.ts';
import {
  type Arrival,
  cloudEvent,
  customerCreated,
  nestRecord,
  rawRecord,
  statusChanged,
  userCreated,
} from '../support/records.ts';
import { keepSpans } from '../support/spans.ts';
import { type Lines, test, until, type World } from '../support/world.ts';

let sampled = true;
const kept = keepSpans(
  new ParentBasedSampler({
    root: {
      shouldSample: () => ({
        decision: sampled ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD,
      }),
    },
  }),
);
beforeEach(() => {
  sampled = true;
  kept.reset();
});

type Line = Record<string, unknown>;
const TOPIC = 'user-events';
const OUTCOME = 'customer_service.outcome';
const OFFSET = 'messaging.kafka.offset';
const eventLines = ({ lines }: Lines) => lines.filter((line) => line[OUTCOME] !== undefined);
const problems = ({ lines }: Lines) => lines.filter(({ level }) => level === 'error' || level === 'fatal');
const messages = (lines: readonly Line[]) => lines.map(({ msg }) => msg).join('\n');
const traceOf = ({ trace_id, span_id, trace_flags }: Line) => ({ trace_id, span_id, trace_flags });
const idsOf = (span: ReadableSpan) => {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return { trace_id: traceId, span_id: spanId, trace_flags: `0${traceFlags}` };
};
const batches = () => kept.named(`process ${TOPIC}`);
const drains = () => kept.named('customer_service.redrive');

const SECRET = {
  userId: 'auth0|canary-user',
  email: 'canary-mail@example.com',
  name: 'Canary "Name"\nJr',
};
let ids = 0;
const secret = (type: string, payload: object | string): Arrival =>
  cloudEvent(type, payload, {
    id: `canary-event-${++ids}`,
    key: 'canary-key',
    headers: [['x-canary', 'canary-header']],
  });
const created = (over: object = {}) =>
  secret('USER_CREATED', userCreated({ ...SECRET, customerAccountId: undefined, ...over }));
const moved = (over: object = {}) =>
  secret('USER_STATUS_CHANGED', statusChanged({ userId: SECRET.userId, changedBy: SECRET.email, ...over }));
function expectNoCanary({ lines }: Lines): void {
  expect(JSON.stringify(lines)).not.toMatch(/canary/i);
  expect(
    JSON.stringify(kept.all().map(({ name, attributes, status, events }) => ({ name, attributes, status, events }))),
  ).not.toMatch(/canary/i);
}

/** Every write to `table` is refused with a message, a detail and a hint that hold the row. */
async function refuse({ sql }: World, table: string, errcode: string): Promise<void> {
  await sql.unsafe(`create or replace function refuse() returns trigger language plpgsql as $$
    begin raise exception 'no %', to_jsonb(new) using errcode = '${errcode}', detail = to_jsonb(new)::text,
          hint = to_jsonb(new)::text, column = 'canary', constraint = 'refusing'; end $$`);
  await sql.unsafe(`create trigger refuse before insert or update on ${table} for each row execute function refuse()`);
}
const allow = ({ sql }: World, table: string) => sql.unsafe(`drop trigger refuse on ${table}`);

describe('a line leads to its trace', () => {
  test('of an event: to its batch, with where it was read and what became of it', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      created(),
      moved(),
      created({ userId: 'auth0|canary-2', customerAccountId: 'nobody' }),
      rawRecord('{'),
    );
    await source.deliver(TOPIC);
    world.log.append(moved({ newStatus: 'SUSPENDED' }));
    await source.deliver(TOPIC);

    const lines = eventLines(world);
    expect(new Map(lines.map((line) => [line[OFFSET], line[OUTCOME]]))).toEqual(
      new Map([
        ...([
          [0, 'applied'],
          [1, 'applied'],
          [2, 'waiting'],
          [3, 'dead'],
          [4, 'applied'],
        ] as const),
      ]),
    );
    const [first, second] = batches() as [ReadableSpan, ReadableSpan];
    for (const line of lines) {
      expect(traceOf(line)).toEqual(idsOf(line[OFFSET] === 4 ? second : first));
      expect(line).toMatchObject({ 'messaging.destination.name': TOPIC, 'messaging.destination.partition.id': '0' });
      if (line[OUTCOME] !== 'dead') expect(line['user.hash']).toMatch(/^[0-9a-f]{16}$/);
    }
    expect(new Set(lines.map(({ trace_flags }) => trace_flags))).toEqual(new Set(['01']));
    expectNoCanary(world);
  });

  test('of a batch that is not sampled: with flags 00, in the form of one', async ({ world }) => {
    sampled = false;
    const { source } = await world.service();
    world.log.append(created(), moved());
    await source.deliver(TOPIC);
    const [one, two] = eventLines(world).map(traceOf);
    expect(one).toEqual({
      trace_id: expect.stringMatching(/^(?!0{32})[0-9a-f]{32}$/),
      span_id: expect.stringMatching(/^(?!0{16})[0-9a-f]{16}$/),
      trace_flags: '00',
    });
    expect(two).toEqual(one);
    expect(kept.all()).toEqual([]);
    expectNoCanary(world);
  });

  test('of an event that waited: first to its batch, then to the drain that released it', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created({ customerAccountId: 'c1' }), moved());
    await source.deliver(TOPIC);
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'Canary Ltd' }), { id: 'c' }));
    await source.deliver(TOPIC);
    const released = () => eventLines(world).filter((line) => line[OUTCOME] === 'applied' && line[OFFSET] !== 2);
    await until(() => expect(released()).toHaveLength(2));
    await until(() => expect(drains()).not.toEqual([]));
    for (const line of released()) {
      const drain = drains().find((span) => span.spanContext().traceId === line.trace_id);
      expect(traceOf(line)).toEqual(idsOf(drain as ReadableSpan));
    }
    const waits = eventLines(world).filter((line) => line[OUTCOME] === 'waiting');
    for (const line of waits) expect(traceOf(line)).toEqual(idsOf(batches()[0] as ReadableSpan));
    expectNoCanary(world);
  });

  test('of a database error, a fence and a halt: to the batch that failed', async ({ world }) => {
    const { source } = await world.service();
    await refuse(world, 'users', '53100');
    world.log.append(created());
    const delivered = source.deliver(TOPIC);
    const failed = await until(() => {
      const [line] = problems(world);
      expect(line?.msg).toContain('database error');
      return line as Line;
    });
    await allow(world, 'users');
    await delivered;
    await source.drain();
    expect(failed).toMatchObject({ 'error.type': '53100', 'messaging.destination.name': TOPIC });
    const firstFailed = batches().find((span) => span.attributes['error.type'] === '53100') as ReadableSpan;
    expect(traceOf(failed)).toEqual(idsOf(firstFailed));

    const stale = await world.service();
    await stale.source.assign();
    world.log.append(moved(), moved({ newStatus: 'SUSPENDED' }));
    await source.deliver(TOPIC, 0, { records: 1 });
    await stale.source.deliver(TOPIC, 0);
    const fenced = world.lines.find(({ msg }) => String(msg).startsWith('fenced')) as Line;
    const lost = batches().find((span) => span.attributes['error.type'] === 'fenced') as ReadableSpan;
    expect(traceOf(fenced)).toEqual(idsOf(lost));

    await world.sql.unsafe('alter table users rename column email to e_mail');
    world.log.append(moved());
    await stale.source.deliver(TOPIC);
    await world.sql.unsafe('alter table users rename column e_mail to email');
    const halted = problems(world).find(({ msg }) => String(msg).startsWith('halted')) as Line;
    expect(traceOf(halted)).toEqual(idsOf(batches().at(-1) as ReadableSpan));
  });

  test('of what belongs to no batch: to none', async ({ world }) => {
    const service = await world.service();
    world.log.append(created());
    await service.source.deliver(TOPIC);
    service.tick();
    await service.stop();
    const others = world.lines.filter((line) => line[OUTCOME] === undefined && line[OFFSET] === undefined);
    expect(others.map(({ msg }) => msg)).toContain('started');
    for (const line of others) expect(line.trace_id, String(line.msg)).toBeUndefined();
  });
});

describe('no word of anybody, although Postgres says it', () => {
  for (const [errcode, what] of [
    ['53100', 'database error'],
    ['23505', 'halted'],
    ['XX000', 'halted'],
    ['58030', 'database error'],
  ] as const)
    test(`${errcode} with the row in its message, detail and hint: ${what}`, async ({ world }) => {
      await refuse(world, 'users', errcode);
      const { source } = await world.service({ LOG_LEVEL: 'trace' });
      world.log.append(created());
      const delivered = source.deliver(TOPIC);
      await until(() => expect(messages(problems(world))).toContain(what));
      await allow(world, 'users');
      await delivered;
      const text = JSON.stringify(problems(world));
      expect(text).toContain(errcode);
      expectNoCanary(world);
      expect(await world.sql`select 1 from positions where halted_reason ~* 'canary'`).toEqual([]);
    });

  test('a real unique violation, whose detail quotes the e-mail', async ({ world }) => {
    await world.sql.unsafe('create unique index one_each on users (email, state)');
    const { source } = await world.service({ LOG_LEVEL: 'trace' });
    const other = { userId: 'auth0|canary-2' };
    for (const arrival of [created(), moved(), created(other), moved(other)]) {
      world.log.append(arrival);
      await source.deliver(TOPIC);
    }
    expect(messages(problems(world))).toContain('halted');
    const save = kept.named('customer_service.save').at(-1) as ReadableSpan;
    expect(save.attributes['error.type']).toBe('23505');
    expect(save.status.message).toContain('one_each');
    expectNoCanary(world);
  });

  test('a check that refuses a row: its dead letter is told by code', async ({ world }) => {
    await world.sql.unsafe(`alter table users add constraint decent check (name not like 'Canary%')`);
    const { source } = await world.service({ LOG_LEVEL: 'trace' });
    world.log.append(created(), created({ userId: 'auth0|ada', name: 'Ada' }));
    await source.drain();
    const dead = eventLines(world).filter((line) => line[OUTCOME] === 'dead');
    expect(dead).toMatchObject([{ 'customer_service.dead_letter.code': 'sql', [OFFSET]: 0, trace_flags: '01' }]);
    expectNoCanary(world);
  });

  test('a drain that fails', async ({ world }) => {
    const { source, ...service } = await world.service({ LOG_LEVEL: 'trace' });
    world.log.append(created({ customerAccountId: 'c1' }), moved());
    await source.deliver(TOPIC);
    await refuse(world, 'users', '53100');
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'Canary Ltd' }), { id: 'c' }));
    await source.deliver(TOPIC);
    const line = await until(() => {
      const found = world.lines.find(({ msg }) => String(msg).startsWith('a drain failed'));
      expect(found).toBeDefined();
      return found as Line;
    });
    expect(line).toMatchObject({ level: 'warn', 'error.type': '53100' });
    const drain = drains().find((span) => span.attributes['error.type'] === '53100') as ReadableSpan;
    expect(drain.status.message).toContain('53100');
    await allow(world, 'users');
    service.tick();
    await until(() => expect(eventLines(world).filter((each) => each[OUTCOME] === 'applied')).toHaveLength(3));
    expectNoCanary(world);
  });

  test('an operator lets a dead letter go over HTTP: its event is told as any other', async ({ world }) => {
    await world.sql.unsafe(`alter table users add constraint decent check (name not like 'Canary%')`);
    const { source, url } = await world.service({ LOG_LEVEL: 'trace' });
    world.log.append(created(), rawRecord('{'));
    await source.drain();
    await world.sql.unsafe('alter table users drop constraint decent');
    const before = eventLines(world).length;
    expect(
      await ask(url, '/api/v1/dead-letters/redrive', { method: 'POST', headers: OWN, body: { all: true } }),
    ).toMatchObject({ status: 202 });
    await until(() => expect(eventLines(world)).toHaveLength(before + 2));
    const told = eventLines(world).slice(before);
    expect(told.map((line) => [line[OFFSET], line[OUTCOME]]).sort()).toEqual([
      [0, 'applied'],
      [1, 'dead'],
    ]);
    expectNoCanary(world);
  });

  test('records that nobody can read, or that have no key', async ({ world }) => {
    const { source } = await world.service({ LOG_LEVEL: 'trace' });
    world.log.append(
      secret('USER_CREATED', '{"email":"canary-mail@example.com",'),
      secret('USER_CREATED', { ...userCreated(SECRET), timestamp: 'canary time' }),
      secret('CANARY', userCreated(SECRET)),
      rawRecord(Buffer.from('canary \xff', 'latin1')),
    );
    await source.deliver(TOPIC);
    world.log.append(nestRecord('USER_STATUS_CHANGED', statusChanged({ userId: SECRET.userId })));
    await source.drain();
    expect(eventLines(world)).toHaveLength(5);
    expect(world.lines.some(({ msg }) => String(msg).includes('without a usable key'))).toBe(true);
    expectNoCanary(world);
  });
});
