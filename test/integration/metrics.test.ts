// What /metrics shows after a load whose counts are known: each name, the exact numbers, and no word of anybody's data.
import { describe, expect, inject } from 'vitest';
import { STATES } from '../../machines/index.ts';
import { DEAD_CODES, EVENT_TYPES, OUTCOMES } from '../../src/events.ts';
import { METRICS } from '../../src/metrics.ts';
import { startProcess } from '../support/process.ts';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  nestRecord,
  type Over,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { keepMetrics, type Labels, readScrape, type Scrape, since } from '../support/scrape.ts';
import { type Lines, test, until, type World } from '../support/world.ts';

const { scrape } = await keepMetrics();
const TOPIC = 'user-events';
const NEST_TOPIC = 'USER_STATUS_CHANGED';
const later = (minutes: number) => new Date(AT_MS + minutes * 60_000).toISOString();
/** Prometheus' name of one of ours. */
const promName = (name: string) => name.replaceAll('.', '_');

const EVENTS = 'customer_service_events_total';
const TYPE = 'customer_service_event_type';
const OUTCOME = 'customer_service_outcome';
const ofTopic = (topic: string) => ({ messaging_destination_name: topic });

// Names as bad as the contract admits, and worse: quotes, backslashes and braces are labels' own syntax.
const EVE = 'auth0|eve"x\\{y},z="1"';
const LATE = 'auth0|late"\\n';
const HELD = 'auth0|held#1';
const NOBODY = 'auth0|no"body\nhere'; // refused by the contract
const EMAIL = 'eve.canary@example.com';
const NAME = 'Eve "Canary"\nLovelace';
const KEY = 'key-of-canary';
const CUSTOMER_NAME = 'Canary "Ltd"';
let ids = 0;

type Load = { sent: Scrape; personal: string[] };

/** Every type, every outcome, drift, a record without a key, a conflict, a fenced owner, dead letters, waiting and its end, a
 *  hold and its end; each once or twice, as `EXPECTED` says. */
async function knownLoad(world: World & Lines): Promise<Load> {
  const CUSTOMER = `${world.topic}-c"\\`;
  const LATE_CUSTOMER = `${world.topic}-late}`;
  const personal = [EVE, LATE, HELD, NOBODY, EMAIL, NAME, KEY, CUSTOMER_NAME, CUSTOMER, LATE_CUSTOMER, 'canary'];
  const event = (type: string, payload: object | string, over: Over = {}): Arrival =>
    cloudEvent(type, payload, { id: `canary-${++ids}`, key: KEY, ...over });
  const created = (userId: string, customerAccountId: string | undefined) =>
    event('USER_CREATED', userCreated({ userId, customerAccountId, email: EMAIL, name: NAME }));
  const moved = (userId: string, newStatus: 'ACTIVE' | 'SUSPENDED', minutes: number, previousStatus = 'PENDING') =>
    statusChanged({ userId, newStatus, previousStatus, timestamp: later(minutes), changedBy: EMAIL });
  const customer = (customerAccountId: string) =>
    event('CUSTOMER_CREATED', customerCreated({ customerAccountId, name: CUSTOMER_NAME }));

  const before = await scrape();
  const service = await world.service({ REDIS_URL: inject('settings').REDIS_URL as string });
  const { source } = service;
  const deliver = async (topic: string, partition: number, ...arrivals: Arrival[]) => {
    world.log.append(...arrivals.map((arrival) => ({ ...arrival, place: { topic, partition, generation: 0 } })));
    expect(await source.deliver(topic, partition)).toMatchObject({ what: 'saved' });
  };
  const historyOf = async (userId: string, n: number) =>
    until(async () => expect(await world.sql`select 1 from history where user_id = ${userId}`).toHaveLength(n));

  const activated = event('USER_STATUS_CHANGED', moved(EVE, 'ACTIVE', 1));
  await deliver(
    TOPIC,
    0,
    ...[customer(CUSTOMER), created(EVE, CUSTOMER), created(EVE, CUSTOMER), activated, activated],
    event('USER_STATUS_CHANGED', moved(EVE, 'SUSPENDED', 3)), // it was ACTIVE: drift
    event(
      'USER_ROLE_CHANGED',
      roleChanged({ userId: EVE, newRole: 'SME_USER', previousRole: 'SME_OWNER', timestamp: later(3) }),
    ),
    event('USER_ROLE_CHANGED', `{"userId":${JSON.stringify(EVE)},`), // no JSON: nobody knows of what type
    event('USER_ROLE_CHANGED', { ...roleChanged({ userId: EVE }), newRole: NAME }),
    event('CANARY"\\\n', userCreated({ userId: EVE })),
    event('USER_CREATED', userCreated({ userId: NOBODY, email: EMAIL })),
    created(LATE, LATE_CUSTOMER),
    event('USER_STATUS_CHANGED', moved(LATE, 'ACTIVE', 1)),
  );
  await deliver(TOPIC, 1, event('USER_STATUS_CHANGED', moved(EVE, 'ACTIVE', 2, 'SUSPENDED')));
  await deliver(
    TOPIC,
    0,
    event('USER_DELETED', userDeleted({ userId: EVE, timestamp: later(10), deletedBy: EMAIL })),
    event('USER_STATUS_CHANGED', moved(EVE, 'ACTIVE', 11)),
    customer(LATE_CUSTOMER),
  );
  await historyOf(LATE, 2);
  await deliver(NEST_TOPIC, 0, nestRecord('USER_STATUS_CHANGED', moved(LATE, 'SUSPENDED', 20, 'ACTIVE')));

  await world.sql`insert into holds (kind, id, reason, by_whom) values ('user', ${HELD}, 'test', 'test')`;
  await deliver(TOPIC, 0, created(HELD, undefined));
  await world.sql`delete from holds`;
  service.tick();
  await historyOf(HELD, 1);

  await deliver(TOPIC, 0, event('USER_STATUS_CHANGED', moved(LATE, 'ACTIVE', 30, 'SUSPENDED')));
  await world.sql`update users set rev = rev + 1 where user_id = ${LATE}`; // what is remembered is old
  await deliver(TOPIC, 0, event('USER_STATUS_CHANGED', moved(LATE, 'SUSPENDED', 40, 'ACTIVE')));

  const stale = await world.service();
  await stale.source.assign();
  await deliver(TOPIC, 0, event('USER_STATUS_CHANGED', moved(LATE, 'ACTIVE', 50, 'SUSPENDED')));
  await stale.source.deliver(TOPIC, 0, { records: 1 });
  expect(stale.facts().partitions.reduce((sum, { counts }) => sum + counts.fenced, 0)).toBe(1);
  return { sent: since(before, await scrape()), personal };
}

/** By type and outcome. What waited counts again with what became of it. */
const EXPECTED = {
  USER_CREATED: { applied: 3, skipped: 1, waiting: 2, dead: 1 },
  USER_STATUS_CHANGED: { applied: 7, duplicate: 1, stale: 1, rejected: 1, waiting: 1 },
  USER_ROLE_CHANGED: { applied: 1, dead: 1 },
  USER_DELETED: { applied: 1 },
  CUSTOMER_CREATED: { applied: 2 },
  _OTHER: { dead: 2 },
};
const BATCHES = 7; // of TOPIC
const RECORDS = 21;

describe('a load whose counts are known', () => {
  test('is counted exactly: events by type and outcome, and all that follows from them', async ({ world }) => {
    const { sent } = await knownLoad(world);
    for (const [type, outcomes] of Object.entries(EXPECTED))
      expect(sent.by(EVENTS, OUTCOME, { [TYPE]: type }), type).toEqual(outcomes);
    expect(new Set(Object.keys(sent.by(EVENTS, TYPE)))).toEqual(new Set(Object.keys(EXPECTED)));
    expect(new Set(Object.keys(sent.by(EVENTS, OUTCOME)))).toEqual(new Set(OUTCOMES));

    expect(sent.by('customer_service_dead_letters_total', 'customer_service_dead_letter_code')).toEqual({
      ...{ json: 1, 'unknown-type': 1, schema: 2 },
    });
    expect(sent.by('customer_service_drift_total', TYPE)).toEqual({ USER_STATUS_CHANGED: 1 });
    expect(sent.by('customer_service_unkeyed_total', 'messaging_destination_name')).toEqual({ [NEST_TOPIC]: 1 });
    expect(sent.by('customer_service_save_retries_total', 'error_type')).toEqual({ conflict: 1 });
    // Steps between states are those of history.
    const rows = await world.sql`select from_state as a, to_state as b, count(*)::int as n from history
       where outcome = 'applied' and transition is not null group by 1, 2`;
    expect(rows.length).toBeGreaterThan(4);
    for (const { a, b, n } of rows) {
      const step = { customer_service_machine_state_from: a, customer_service_machine_state_to: b };
      expect(sent.sum('customer_service_machine_transitions_total', step), `${a} to ${b}`).toBe(n);
    }
  });

  test("answers the seed's four questions", async ({ world }) => {
    const { sent } = await knownLoad(world);
    const of = (type: string, outcome?: string) =>
      sent.sum(EVENTS, { [TYPE]: type, ...(outcome === undefined ? {} : { [OUTCOME]: outcome }) }) ?? 0;
    // 1  USER_CREATED processed   2  created against skipped
    expect(of('USER_CREATED')).toBe(7);
    expect([of('USER_CREATED', 'applied'), of('USER_CREATED', 'skipped')]).toEqual([3, 1]);
    expect(of('USER_CREATED', 'applied')).toBe((await world.sql`select 1 from users`).length);
    // 3  processing time: one point per try of a batch
    const duration = 'messaging_process_duration';
    expect(sent.by(`${duration}_count`, 'error_type', ofTopic(TOPIC))).toEqual({ '': BATCHES, fenced: 1 });
    expect(sent.by(`${duration}_count`, 'error_type', ofTopic(NEST_TOPIC))).toEqual({ '': 1 });
    expect(sent.sum(`${duration}_bucket`, { ...ofTopic(TOPIC), le: '+Inf' })).toBe(BATCHES + 1);
    expect(sent.sum(`${duration}_sum`, ofTopic(TOPIC))).toBeGreaterThan(0);
    expect(sent.sum(`${duration}_sum`, ofTopic(TOPIC))).toBeLessThan(60);
    // 4  error rate per type
    const rates = Object.keys(EXPECTED).map((type) => [type, of(type, 'dead') / of(type)]);
    expect(Object.fromEntries(rates)).toEqual({
      ...{ USER_CREATED: 1 / 7, USER_STATUS_CHANGED: 0, USER_ROLE_CHANGED: 1 / 2, USER_DELETED: 0 },
      ...{ CUSTOMER_CREATED: 0, _OTHER: 1 },
    });
  });

  test('is counted in batches and records as delivered and as saved', async ({ world }) => {
    const { sent } = await knownLoad(world);
    // The fenced owner was handed the last one as well.
    expect(sent.sum('messaging_client_consumed_messages_total', ofTopic(TOPIC))).toBe(RECORDS + 1);
    expect(
      sent.by('messaging_client_consumed_messages_total', 'messaging_destination_partition_id', ofTopic(TOPIC)),
    ).toEqual({ 0: RECORDS, 1: 1 });
    expect(sent.sum('customer_service_batch_size_count', ofTopic(TOPIC))).toBe(BATCHES);
    expect(sent.sum('customer_service_batch_size_sum', ofTopic(TOPIC))).toBe(RECORDS);
    expect(sent.by('customer_service_event_delay_count', 'customer_service_batch_edge', ofTopic(TOPIC))).toEqual({
      ...{ oldest: BATCHES, newest: BATCHES },
    });
    // Each try of a batch decodes, loads and runs; one ran again after a conflict, inside its second save; one was fenced.
    const steps = sent.by('customer_service_step_duration_count', 'customer_service_step');
    expect(steps).toMatchObject({ decode: BATCHES + 2, load: BATCHES + 2, run: BATCHES + 2 });
    expect(steps.save).toBe(BATCHES + 1);
  });

  test('shows every metric that is documented, and in its labels nothing but closed sets', async ({ world }) => {
    await world.createTopic(1);
    const kafka = await world.kafkaService(); // requests to brokers and lag are not there without
    await until(() => expect(kafka.facts().partitions[0]?.next).toBe(0n));
    const { personal } = await knownLoad(world);
    const service = await world.service();
    service.tick();
    const { text, series } = await until(async () => {
      const found = await scrape();
      expect(found.text).toContain('customer_service_open_items');
      return found;
    });
    const ours = series.filter(({ name }) => !/^(nodejs|v8js|otel_sdk)_|^target_info$/.test(name));
    expect(ours.length).toBeGreaterThan(200);

    const shown = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]));
    for (const { name, kind } of METRICS) {
      const isCounter = kind === 'counter' || kind === 'observed counter';
      const expected = kind === 'histogram' ? 'histogram' : isCounter ? 'counter' : 'gauge';
      expect(shown.get(`${promName(name)}${isCounter ? '_total' : ''}`), name).toBe(expected);
    }
    // And nothing that is not documented.
    const documented = METRICS.map(({ name }) => promName(name));
    for (const { name } of ours) expect(documented).toContain(name.replace(/_(total|bucket|sum|count)$/, ''));

    const code = /^([0-9A-Z]{5}|conflict|fenced|halt|invariant|_OTHER|[A-Z_]{5,40})$/;
    const closed: Record<string, readonly string[] | RegExp> = {
      le: /^(\d+(\.\d+)?|\+Inf)$/,
      messaging_system: ['kafka'],
      messaging_operation_name: /^(process|[A-Z][A-Za-z]+)$/,
      messaging_destination_name: [TOPIC, NEST_TOPIC, world.topic],
      messaging_destination_partition_id: ['0', '1'],
      // Earlier tests of this file had groups of their own.
      messaging_consumer_group_name: /^world_[0-9a-f]{12}$/,
      server_address: ['127.0.0.1'],
      server_port: /^\d+$/,
      error_type: code,
      db_response_status_code: code,
      db_system_name: ['postgresql', 'redis'],
      db_operation_name: ['SELECT', 'WITH', 'INSERT', 'UPDATE', 'DELETE', 'COMMIT', 'MGET', 'SET', 'PIPELINE SET'],
      db_collection_name: ['users', 'customers', 'history', 'waiting', 'dead_letters', 'holds', 'positions'],
      db_query_summary: /^[A-Z]+ [a-z_]+$/,
      db_client_connection_pool_name: ['postgres'],
      [TYPE]: [...EVENT_TYPES, '_OTHER'],
      [OUTCOME]: OUTCOMES,
      customer_service_dead_letter_code: DEAD_CODES,
      customer_service_step: ['decode', 'load', 'run', 'save'],
      customer_service_batch_edge: ['oldest', 'newest'],
      customer_service_machine_id: ['user'],
      customer_service_machine_state_from: STATES,
      customer_service_machine_state_to: STATES,
      customer_service_table: ['waiting', 'dead_letters', 'holds'],
      customer_service_cache_name: ['users', 'customers_memory', 'customers_redis'],
      customer_service_cache_result: ['hit', 'miss', 'error'],
    };
    for (const { name, labels } of ours) {
      for (const [label, value] of Object.entries(labels)) {
        const allowed = closed[label];
        expect(allowed, `label ${label} of ${name}`).toBeDefined();
        if (allowed instanceof RegExp) expect(value, `${label} of ${name}`).toMatch(allowed);
        else expect(allowed, `${label} of ${name}`).toContain(value);
      }
    }
    for (const each of personal)
      for (const spelt of [each, JSON.stringify(each).slice(1, -1)]) expect(text.includes(spelt), spelt).toBe(false);
    expect(text).not.toMatch(/canary|auth0|lovelace/i);
  });
});

describe('a save that did not work', () => {
  test('refused at its COMMIT, twice: the batch counts once, each try is timed, each retry counted', async ({
    world,
  }) => {
    await world.sql.unsafe('create sequence refusals');
    await world.sql.unsafe(`create function refuse() returns trigger language plpgsql as $$
      begin if nextval('refusals') <= 2 then raise exception 'not now' using errcode = '53100'; end if; return null; end $$`);
    await world.sql.unsafe(`create constraint trigger refuse after insert on customers deferrable initially deferred
      for each row execute function refuse()`);
    const before = await scrape();
    const { source } = await world.service();
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated()));
    expect(await source.deliver(TOPIC)).toEqual({ what: 'saved', next: 1n });
    const sent = since(before, await scrape());
    expect(sent.by(EVENTS, OUTCOME, { [TYPE]: 'CUSTOMER_CREATED' })).toEqual({ applied: 1 });
    expect(sent.sum('customer_service_batch_size_count')).toBe(1);
    expect(sent.sum('customer_service_event_delay_count')).toBe(2);
    expect(sent.by('messaging_process_duration_count', 'error_type')).toEqual({ '': 1, 53100: 2 });
    expect(sent.by('customer_service_save_retries_total', 'error_type')).toEqual({ 53100: 2 });
    expect(sent.by('db_client_operation_duration_count', 'error_type', { db_operation_name: 'COMMIT' })).toEqual({
      '': 1,
      53100: 2,
    });
    expect(sent.sum('messaging_client_consumed_messages_total')).toBe(1); // one delivery, tried again in place
  });

  test('delivered again after it was saved: consumed counts again, events do not', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated()));
    await source.deliver(TOPIC);
    const before = await scrape();
    expect(await source.deliver(TOPIC, 0, { from: 0n })).toEqual({ what: 'saved', next: 1n });
    const sent = since(before, await scrape());
    expect(sent.sum('messaging_client_consumed_messages_total')).toBe(1);
    expect(sent.sum(EVENTS)).toBeUndefined();
    expect(sent.sum('customer_service_batch_size_count')).toBeUndefined();
  });

  test('that was refused for its record: the dead letter counts once, the others once', async ({ world }) => {
    await world.sql.unsafe(`alter table users add constraint no_canary check (name <> 'Canary')`);
    const before = await scrape();
    const { source } = await world.service();
    const created = (userId: string, name: string) =>
      cloudEvent('USER_CREATED', userCreated({ userId, name, customerAccountId: undefined }), { id: userId });
    world.log.append(created('a', 'Ada'), created('b', 'Canary'), created('c', 'Grace'));
    await source.drain();
    const sent = since(before, await scrape());
    expect(sent.by(EVENTS, OUTCOME)).toEqual({ applied: 2, dead: 1 });
    expect(sent.by('customer_service_dead_letters_total', 'customer_service_dead_letter_code')).toEqual({ sql: 1 });
    expect(sent.by('customer_service_save_retries_total', 'error_type')).toEqual({ 23514: 1 });
    expect(sent.sum('messaging_client_consumed_messages_total')).toBe(3);
    expect(sent.sum('customer_service_batch_size_sum')).toBe(3);
  });
});

describe('what is open and how far behind it is', () => {
  const OPEN = 'customer_service_open_items';
  const LAG = 'customer_service_kafka_consumer_lag';
  const TIME_LAG = 'customer_service_kafka_consumer_time_lag';
  const PARTITION = 'messaging_destination_partition_id';
  const ours = ({ topic }: World): Labels => ofTopic(topic);

  test('rows that wait, dead letters and holds are as many as there are', async ({ world }) => {
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('user', 'x', 'test', 'test'), ('user', 'y', 'test', 'test')`;
    // The third event of the user finds the queue full and is a dead letter: counted there, and not as waiting.
    const service = await world.service({ WAITING_PER_USER: '2' });
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: 'nobody' }), { id: 'u' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 's' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ timestamp: later(1) }), { id: 's2' }),
      cloudEvent('USER_CREATED', '{', { id: 'd' }),
    );
    await service.source.drain();
    service.tick();
    await until(async () =>
      expect((await scrape()).by(OPEN, 'customer_service_table')).toEqual({ waiting: 2, dead_letters: 2, holds: 2 }),
    );
    await service.stop();
    expect((await scrape()).sum(OPEN)).toBeUndefined(); // who has stopped tells nothing any more
  });

  test('the lag is what lies behind the saved position, record by record; its seconds grow until it is saved', async ({
    world,
  }) => {
    await world.createTopic(1);
    const service = await world.kafkaService();
    await until(() => expect(service.facts().partitions[0]?.next).toBe(0n));
    expect((await scrape()).by(LAG, PARTITION, ours(world))).toEqual({ 0: 0 });
    const block = await world.blockSaves(world.topic);
    await world.produce(
      Array.from({ length: 7 }, (_, n) =>
        cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: `c${n}` }), { id: `e${n}` }),
      ),
    );
    await block.reached();
    const [first, second] = [
      await scrape(),
      await until(async () => {
        const found = await scrape();
        expect(found.sum(TIME_LAG, ours(world))).toBeGreaterThan(0.2);
        return found;
      }),
    ];
    expect([first, second].map((each) => each.by(LAG, PARTITION, ours(world)))).toEqual([{ 0: 7 }, { 0: 7 }]);
    expect(first.sum(TIME_LAG, ours(world))).toBeLessThan(second.sum(TIME_LAG, ours(world)) as number);
    await block.release();
    await until(async () => expect((await scrape()).by(LAG, PARTITION, ours(world))).toEqual({ 0: 0 }));
    expect((await scrape()).by(TIME_LAG, PARTITION, ours(world))).toEqual({ 0: 0 });
    await service.stop();
    expect((await scrape()).sum(LAG, ours(world))).toBeUndefined();
  });

  test('a partition that was taken away leaves the gauges of who had it', async ({ world }) => {
    await world.createTopic(4);
    const one = await world.kafkaService();
    const assigned = 'customer_service_kafka_consumer_partitions_assigned';
    const group = { messaging_consumer_group_name: world.settings.KAFKA_GROUP_ID as string };
    const partitionsOf = (found: Scrape) => Object.keys(found.by(LAG, PARTITION, ours(world)));
    await until(async () => expect(partitionsOf(await scrape())).toHaveLength(4));
    expect((await scrape()).sum(assigned, group)).toBe(4);

    const two = startProcess({ ...world.settings, OTEL_TRACES_EXPORTER: 'none' });
    const { url } = await two.says('started');
    const theirs = async () => readScrape(await (await fetch(`${url}/metrics`)).text());
    await until(async () => {
      const [mine, others] = [partitionsOf(await scrape()), partitionsOf(await theirs())];
      expect([...mine, ...others].toSorted()).toEqual(['0', '1', '2', '3']);
      expect(mine).toHaveLength(2);
    });
    expect([(await scrape()).sum(assigned, group), (await theirs()).sum(assigned, group)]).toEqual([2, 2]);
    two.signal('SIGTERM');
    await two.ended;
    await until(async () => expect(partitionsOf(await scrape())).toHaveLength(4), 30_000);
    expect(one.facts().source.rebalances).toBe(
      (await scrape()).sum('customer_service_kafka_consumer_rebalances_total', group),
    );
  });
});
