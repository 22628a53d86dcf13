// Dead letters that leave: all that were asked for, once each, with their bytes as they came; and it is written down who took them.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import kafkajs from 'kafkajs';
import { describe, expect, onTestFinished } from 'vitest';
import { beginExport, type Exported, type ExportFilter, exportLine, readPages, recordLine } from '../../src/export.ts';
import { appendRecords, fileSource, toRecord } from '../../src/sources/file.ts';
import type { Batch } from '../../src/sources/source.ts';
import { runProgram } from '../support/program.ts';
import { type Arrival, cloudEvent, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const OPEN = { statuses: ['open', 'redriving'] };

async function pagesOf(world: World, filter: Partial<ExportFilter> = {}): Promise<Exported[][]> {
  const pages: Exported[][] = [];
  for await (const page of readPages(world.db, { ...OPEN, ...filter })) if (page.length > 0) pages.push(page);
  return pages;
}
const idsOf = async (world: World, filter: Partial<ExportFilter> = {}) =>
  (await pagesOf(world, filter)).flat().map(({ id }) => id);

async function died(world: World, ...arrivals: Arrival[]): Promise<void> {
  const { source } = await world.service();
  world.log.append(...arrivals);
  await source.drain();
}
/** So many more like the first one, without going through the service. */
async function copies({ sql }: World, n: number, over: { status?: string; value?: string } = {}): Promise<void> {
  await sql`
    insert into dead_letters (topic, partition, generation, "offset", stage, code, message, value, headers, sha256, size, record_ms,
                              cluster_id, blocks, service_version, machine_version, instance, status)
    select topic, partition, 9, n, stage, code, message, coalesce(${over.value ?? null}::text::bytea, value), headers, sha256,
           coalesce(octet_length(${over.value ?? null}::text::bytea), size), record_ms, cluster_id, false, service_version,
           machine_version, instance, ${over.status ?? 'open'}
      from (select * from dead_letters order by id limit 1) first, generate_series((select coalesce(max("offset"), 0) + 1 from dead_letters where generation = 9),
           (select coalesce(max("offset"), 0) + ${n}::int from dead_letters where generation = 9)) n`;
}
/** `copies` are no records that a partition has handled. */
async function forget({ sql }: World): Promise<void> {
  await sql`delete from dead_letters where generation = 9`;
}

/** Bytes of every kind: no UTF-8, none at all, and headers that repeat. */
const AWKWARD: Arrival[] = [
  rawRecord(Buffer.from([0xff, 0x00, 0x0a, 0x22]), { key: Buffer.from([0xfe]), headers: [['h', Buffer.from([0x80])]] }),
  rawRecord(null, { key: null }),
  rawRecord('{"no":"event"}\r\n\u2028', {
    key: '',
    headers: [
      ['h', 'a'],
      ['h', null],
      ['', ''],
    ],
    timestampMs: -1,
  }),
  rawRecord(randomBytes(300), { key: 'c1' }),
];

describe('a filter takes what fits', () => {
  test('by code, type, user, customer, topic, time and status, after a number, and so many', async ({ world }) => {
    await died(
      world,
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e0' }),
      rawRecord('{}'),
      cloudEvent('USER_STATUS_CHANGED.v2', statusChanged(), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', { ...statusChanged(), newStatus: 'NOPE' }, { id: 'e2' }),
    );
    await world.sql`update users set customer_id = 'c7'`;
    const rows = await world.sql`select id::int as id, code from dead_letters order by id`;
    const idOf = (code: string) => rows.find((row) => row.code === code)?.id;
    const all = rows.map(({ id }) => id);
    expect(await idsOf(world)).toEqual(all);
    expect(await idsOf(world, { code: 'schema' })).toEqual([idOf('schema')]);
    expect(await idsOf(world, { type: 'USER_STATUS_CHANGED' })).toContain(idOf('schema'));
    expect(await idsOf(world, { user: 'auth0|u1' })).toEqual(await idsOf(world, { customer: 'c7' }));
    expect(await idsOf(world, { customer: 'c8' })).toEqual([]);
    expect(await idsOf(world, { topic: 'elsewhere' })).toEqual([]);
    expect(await idsOf(world, { before: '2020-01-01T00:00:00Z' })).toEqual([]);
    expect(await idsOf(world, { before: new Date(Date.now() + 60_000).toISOString() })).toEqual(all);
    expect(await idsOf(world, { after: all[0] })).toEqual(all.slice(1));
    expect(await idsOf(world, { limit: 2 })).toEqual(all.slice(0, 2));
    await world.sql`update dead_letters set status = 'discarded' where id = ${all[0]}`;
    expect(await idsOf(world)).toEqual(all.slice(1));
    expect(await idsOf(world, { statuses: ['discarded'] })).toEqual([all[0]]);
    await world.sql`update users set customer_id = null`;
  });
});

describe('however many there are', () => {
  test('they come once each, in the order of their numbers, in pages of 500', async ({ world }) => {
    await died(world, rawRecord('{}'));
    await copies(world, 1_199);
    const pages = await pagesOf(world);
    expect(pages.map(({ length }) => length)).toEqual([500, 500, 200]);
    const ids = pages.flat().map(({ id }) => id);
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
    expect((await pagesOf(world, { limit: 501 })).map(({ length }) => length)).toEqual([500, 1]);
    await forget(world);
  });

  test('a page of large ones is short, and one that is larger than a page comes alone', async ({ world }) => {
    await died(world, rawRecord('{}'));
    await copies(world, 9, { value: `\\x${'61'.repeat(1_000_000)}` });
    await copies(world, 1, { value: `\\x${'61'.repeat(6_000_000)}` });
    await copies(world, 1);
    const pages = await pagesOf(world);
    expect(pages.map((page) => page.length)).toEqual([5, 4, 2, 1]);
    expect(pages[2]?.map(({ record }) => record.value?.length)).toEqual([1_000_000, 6_000_000]);
    await forget(world);
  });

  test('a few open ones among many that are settled are found', async ({ world }) => {
    await died(world, rawRecord('{}'));
    await copies(world, 250_000, { status: 'discarded' });
    await copies(world, 2);
    expect(await idsOf(world)).toHaveLength(3);
    await forget(world);
  });

  test('what dies while it goes on is left for the next one', async ({ world }) => {
    await died(world, rawRecord('{}'));
    await copies(world, 600);
    const pages = readPages(world.db, OPEN);
    const first = await pages.next();
    await copies(world, 10);
    let rest = 0;
    for await (const page of pages) rest += page.length;
    expect([first.value.length, rest]).toEqual([500, 101]);
    await forget(world);
  });
});

describe('what leaves is what came', () => {
  test('a folder of exported records gives the same records again, to a source that never saw them', async ({
    world,
  }) => {
    await died(world, ...AWKWARD);
    const exported = (await pagesOf(world)).flat();
    expect(exported).toHaveLength(AWKWARD.length);
    const folder = await mkdtemp(join(tmpdir(), 'export-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await appendRecords(folder, 'again', 0, []);
    const { appendFile } = await import('node:fs/promises');
    await appendFile(
      join(folder, 'again', '0.ndjson'),
      exported.map(({ record }) => `${recordLine(record)}\n`).join(''),
    );

    const batches: Batch[] = [];
    const settings = { folder, follow: false, concurrentPartitions: 1, maxRecords: 100, maxBytes: 1e6, pollMs: 5 };
    const source = fileSource(settings, { warn() {} });
    await source.start({
      assigned: async (partitions) => partitions.map((one) => ({ ...one, at: 0n, halted: false })),
      revoked() {},
      take: async (batch) => {
        batches.push(batch);
        return { what: 'saved', next: batch.lastOffset + 1n };
      },
    });
    await source.ended;
    await source.stop();
    const came = batches.flatMap(({ records }) => records).map(withoutOffset);
    expect(came).toEqual(AWKWARD.map(({ place: _, ...record }) => withoutOffset(record)));
    // The whole lines hold the same, and say where it came from.
    for (const [i, each] of exported.entries()) {
      const { key, value, headers, timestamp, ...known } = JSON.parse(exportLine(each));
      const alone = toRecord(Buffer.from(JSON.stringify({ key, value, headers, timestamp })), 0n);
      expect(withoutOffset(alone)).toEqual(came[i]);
      expect(known).toMatchObject({ id: String(each.id), topic: 'user-events', offset: each.offset, status: 'open' });
    }
  });
});

const withoutOffset = ({ offset: _, ...record }: { offset: bigint }) => record;

describe('who took what stands in the audit', () => {
  test('before the first byte, and its result when the last one has left', async ({ world }) => {
    const end = await beginExport(world.db, { who: 'ann', filter: { ...OPEN, code: 'json' }, target: 'lines' });
    const row = async () => (await world.sql`select who, verb, scope, dry_run, result from audit`)[0];
    expect(await row()).toEqual({
      ...{ who: 'ann', verb: 'export', dry_run: false, result: null },
      scope: { statuses: ['open', 'redriving'], code: 'json', target: 'lines' },
    });
    await end({ exported: 3, lastId: 812 });
    expect(await row()).toMatchObject({ result: { exported: 3, lastId: 812 } });
  });
});

/** All records of a topic, as a consumer gets them. */
async function consumed(world: World, topic: string, n: number) {
  const { brokers } = world.config().kafka;
  const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING });
  const consumer = kafka.consumer({ groupId: `${topic}-reader` });
  const messages: kafkajs.KafkaMessage[] = [];
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => void messages.push(message) });
    await until(() => expect(messages.length).toBeGreaterThanOrEqual(n), 30_000);
  } finally {
    await consumer.disconnect();
  }
  return messages;
}
async function createTopic(world: World, topic: string, settings: Record<string, string> = {}): Promise<void> {
  const { brokers } = world.config().kafka;
  const admin = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
  await admin.connect();
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1, configEntries }] });
  await admin.disconnect();
}
const exportTo = async (world: World, topic: string, ...more: string[]) => {
  const program = runProgram(['dlq', 'export', '--to-topic', topic, ...more], world.settings);
  const { code } = await program.ended;
  return { code, ...program.text };
};

describe('to a topic', () => {
  test('a consumer gets the same key and value, the headers it came with, and those about the failure', async ({
    world,
  }) => {
    const topic = `${world.topic}-dead`;
    await createTopic(world, topic);
    const old = [
      ['kafka_dlt-original-topic', 'older'],
      ['kafka_dlt-exception-fqcn', 'java.lang.Older'],
      ['__connect.errors.stage', 'OLD'],
    ] as const;
    await died(
      world,
      ...AWKWARD,
      rawRecord('{}', { partition: 0, key: 'c1', headers: [...old, ['tag', Buffer.from([0xff])]] }),
    );
    const before = await world.digest();
    const ids = await idsOf(world);
    const { code, out, err } = await exportTo(world, topic, '--actor', 'ann');
    expect({ code, out }, err).toEqual({ code: 0, out: `5 dead letters to ${topic} · the last is ${ids.at(-1)}\n` });

    const messages = await consumed(world, topic, 5);
    expect(messages).toHaveLength(5);
    const came = [...AWKWARD, { key: Buffer.from('c1'), value: Buffer.from('{}') }];
    expect(messages.map(({ key, value }) => ({ key, value }))).toEqual(came.map(({ key, value }) => ({ key, value })));
    const headers = messages[4]?.headers ?? {};
    expect(headers.tag).toEqual(Buffer.from([0xff]));
    expect(headers['__connect.errors.stage']).toEqual(Buffer.from('decode'));
    expect(headers['__connect.errors.offset']).toEqual(Buffer.from('4'));
    expect(headers['kafka_dlt-original-topic']).toEqual(Buffer.from('user-events'));
    expect(headers['kafka_dlt-original-partition']).toEqual(Buffer.from([0, 0, 0, 0]));
    expect(headers['kafka_dlt-original-offset']).toEqual(Buffer.from([0, 0, 0, 0, 0, 0, 0, 4]));
    expect(headers['kafka_dlt-exception-fqcn']).toEqual(Buffer.from('undecodable'));
    expect(headers['kafka_dlt-original-consumer-group']).toEqual(Buffer.from(world.settings.KAFKA_GROUP_ID as string));
    // A header without a value arrives empty.
    expect(messages[2]?.headers?.h).toEqual([Buffer.from('a'), Buffer.from('')]);
    expect(Number(messages[2]?.timestamp)).toBeGreaterThan(Date.now() - 600_000);

    expect(await world.digest()).toEqual(before);
    expect([...(await world.sql`select who, verb, scope, result from audit`)]).toEqual([
      {
        ...{ who: 'ann', verb: 'export', scope: { statuses: ['open', 'redriving'], target: topic } },
        result: { exported: 5, lastId: ids.at(-1) },
      },
    ]);
  });

  test('goes on after the last one that is there', async ({ world }) => {
    const topic = `${world.topic}-dead`;
    await createTopic(world, topic);
    await died(world, ...[1, 2, 3].map((n) => rawRecord(`{"n":${n}}`)));
    const [first = 0] = await idsOf(world);
    expect(await exportTo(world, topic, '--limit', '1')).toMatchObject({
      code: 0,
      out: expect.stringContaining(`the last is ${first}`),
    });
    expect((await exportTo(world, topic, '--after', String(first))).code).toBe(0);
    const messages = await consumed(world, topic, 3);
    expect(messages.map(({ value }) => String(value))).toEqual(['{"n":1}', '{"n":2}', '{"n":3}']);
    expect((await exportTo(world, topic, '--after', '99999')).out).toBe(`0 dead letters to ${topic}\n`);
  });

  test('many large ones fit, however little the topic takes at once; one that can not is named', async ({ world }) => {
    const topic = `${world.topic}-dead`;
    await createTopic(world, topic, { 'max.message.bytes': '100000' });
    await died(world, rawRecord('{}'));
    await copies(world, 12, { value: `\\x${'61'.repeat(40_000)}` });
    await copies(world, 1, { value: `\\x${'61'.repeat(200_000)}` });
    const { code, err } = await exportTo(world, topic);
    const last = (await idsOf(world)).at(-1) as number;
    expect(code).toBe(1);
    expect(err).toContain(`Dead letter ${last} does not fit into ${topic}`);
    expect(err).toContain(`stopped after 13: the same command goes on with --after ${last - 1}`);
    const messages = await consumed(world, topic, 13);
    expect(messages.map(({ value }) => value?.length)).toEqual([2, ...Array(12).fill(40_000)]);
    await forget(world);
  });

  test('one that does not exist, or that the service reads itself, gets nothing', async ({ world }) => {
    await died(world, rawRecord('{}'));
    expect(await exportTo(world, 'nowhere')).toMatchObject({
      code: 1,
      err: expect.stringContaining('There is no topic nowhere.'),
    });
    expect(await exportTo(world, world.topic)).toMatchObject({ code: 2, err: expect.stringContaining('dlq redrive') });
    expect(await world.sql`select 1 from audit`).toHaveLength(0);
  });

  test('a Kafka that is away is said in a sentence', async ({ world }) => {
    const program = runProgram(['dlq', 'export', '--to-topic', 'x'], {
      ...world.settings,
      KAFKA_BROKERS: '127.0.0.1:1',
    });
    expect((await program.ended).code).toBe(4);
    expect(program.text.err).toContain('Kafka at 127.0.0.1:1 can not be used');
  });
});
