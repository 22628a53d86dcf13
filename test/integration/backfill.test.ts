// A database made anew: from a folder of files, or from Kafka's log. It says what the first one said.
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { createLoad, SHARES } from '../../dev/load.ts';
import { appendRecords } from '../../src/sources/file.ts';
import { runProgram } from '../support/program.ts';
import { type Arrival, cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, test, until, type World } from '../support/world.ts';

const TOPIC = 'user-events';
const PARTITIONS = 5;
const RECORD_MS = Date.UTC(2026, 0, 1);

/** What two services send, each user by one keyed source: good and bad, twice, too early, for customers that never come. */
function arrivals(events: number): Arrival[] {
  const load = createLoad({
    ...SHARES,
    ...{ bad: 0.02, unkeyed: 0, seed: 7, events, users: events / 6, atMs: RECORD_MS - 1_000 },
  });
  const sent = [...load.more(events), ...load.late().filter(({ record }) => record.key !== null)];
  return sent.map(({ record: { key, value, headers = [] } }) => ({
    place: { topic: TOPIC, partition: partitionOf(String(key)), generation: 0 },
    ...{ offset: 0n, timestampMs: RECORD_MS, key: Buffer.from(String(key)) },
    value: value === null ? null : Buffer.from(value),
    headers: headers.map(([name, content]) => [name, Buffer.from(content)] as const),
  }));
}
function partitionOf(key: string): number {
  let hash = 0;
  for (const byte of Buffer.from(key)) hash = (hash * 31 + byte) % 997;
  return hash % PARTITIONS;
}

async function folder(name = 'export'): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), 'backfill-'));
  onTestFinished(() => rm(parent, { recursive: true }));
  await mkdir(join(parent, name));
  return join(parent, name);
}
async function written(records: readonly Arrival[], name?: string): Promise<string> {
  const path = await folder(name);
  for (const [partition, of] of Map.groupBy(records, ({ place }) => place.partition))
    await appendRecords(path, TOPIC, partition, of);
  return path;
}

/** What the service says of the same log. */
async function original(records: readonly Arrival[]): Promise<Record<string, unknown[]>> {
  const world = await createWorld();
  try {
    const service = await world.service();
    world.log.append(...records);
    await service.source.drain();
    await service.stop();
    await drained(world);
    await world.expectSound();
    return await said(world);
  } finally {
    await world.close();
  }
}
/** All that may go of what waits, as after a while. */
async function drained(world: World): Promise<void> {
  const waiting = await world.sql<{ id: string }[]>`select distinct user_id as id from waiting`;
  for (const { id } of waiting) await world.drain(id);
}
/** All tables; whose log it was stands in each dead letter. */
async function said(world: World): Promise<Record<string, unknown[]>> {
  const { deadLetters = [], ...rest } = await world.digest();
  const rows = deadLetters.map((row) => JSON.parse(String(row)));
  return { ...rest, deadLetters: rows.map(({ cluster_id: _, ...row }) => JSON.stringify(row)) };
}

/** Without Kafka, and with an HTTP port that somebody else has. */
async function settingsOf(world: World, over: Record<string, string> = {}): Promise<Record<string, string>> {
  const { KAFKA_BROKERS: _, ...settings } = world.settings;
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => void server.close());
  return { ...settings, HTTP_PORT: String((server.address() as { port: number }).port), ...over };
}
async function backfill(world: World, path: string, over: Record<string, string> = {}) {
  const program = runProgram(['backfill', path, '--yes', '--json'], await settingsOf(world, over));
  const { code } = await program.ended;
  return { code, err: program.text.err, sums: program.text.out === '' ? undefined : JSON.parse(program.text.out) };
}

/** Its own database without tables; sound at the end. */
const emptyTest = test.extend<{ empty: World }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads from the pattern which fixtures this one needs.
  empty: async ({}, use) => {
    const world = await createWorld({}, { empty: true });
    try {
      await use(world);
      await world.expectSound();
    } finally {
      await world.close();
    }
  },
});

const handled = async ({ sql }: World): Promise<number> => {
  const [there] = await sql`select to_regclass('positions') as name`;
  if (there?.name === null) return 0;
  const [row] = await sql<{ n: number }[]>`select coalesce(sum(next_offset), 0)::int as n from positions`;
  return row?.n ?? 0;
};

describe('a folder of files into an empty database', () => {
  emptyTest('says what the service said of the same log', async ({ empty }) => {
    const records = arrivals(4_000);
    const path = await written(records);
    const { code, sums, err } = await backfill(empty, path);
    expect(code, err).toBe(3);
    expect(sums).toMatchObject({ lines: records.length, total: records.length, halted: [] });
    const first = await original(records);
    expect(await said(empty)).toEqual(first);
    const total = Object.values(sums.outcomes as Record<string, number>).reduce((sum, n) => sum + n, 0);
    expect(total).toBe(records.length);
    expect(sums.waiting).toBe(first.waiting?.length);
    expect(Object.values(sums.users as Record<string, number>).reduce((sum, n) => sum + n, 0)).toBe(
      first.users?.length,
    );

    // It is the same one: nothing is left to do.
    expect((await backfill(empty, path)).sums).toMatchObject({ lines: records.length, outcomes: sums.outcomes });
    expect(await said(empty)).toEqual(first);
  });

  emptyTest('killed or interrupted, goes on with the same command', { timeout: 120_000 }, async ({ empty }) => {
    const records = arrivals(8_000);
    const path = await written(records);
    const slow = await settingsOf(empty, { KAFKA_MAX_BYTES_PER_PARTITION: '4096' });
    const before = new Map<string, number>();
    for (const [signal, code] of [
      ['SIGKILL', null],
      ['SIGINT', 130],
      ['SIGKILL', null],
    ] as const) {
      const from = await handled(empty);
      const program = runProgram(['backfill', path, '--yes'], slow);
      await until(async () => expect(await handled(empty)).toBeGreaterThan(from + 300));
      program.signal(signal);
      expect(await program.ended).toMatchObject({ code });
      const now = await handled(empty);
      expect(now).toBeLessThan(records.length);
      if (signal === 'SIGINT')
        expect(program.text.err).toContain(`interrupted at line ${now.toLocaleString('en-US')} of`);
      before.set(signal, now);
    }
    const { code, sums } = await backfill(empty, path);
    expect(code).toBe(3);
    expect(sums).toMatchObject({ lines: records.length });
    expect(await said(empty)).toEqual(await original(records));
  });

  emptyTest('lets go what waited for a line of another file, and tells what waits still', async ({ empty }) => {
    const path = await folder();
    const created = (userId: string, customerAccountId: string) =>
      cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId }), { id: userId });
    const users = Array.from({ length: 700 }, (_, i) => `u${i}`);
    await appendRecords(path, TOPIC, 0, [
      ...users.map((id) => cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: id }), { id: `${id} moved` })),
      ...users.map((id) => created(id, 'c1')),
      created('w1', 'nobody'),
    ]);
    await appendRecords(path, 'other-topic', 3, [cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c1' })]);
    expect(await backfill(empty, path)).toMatchObject({
      code: 0,
      sums: { users: { active: 700 }, waiting: 1, deadLetters: {}, outcomes: { applied: 1401, waiting: 1 } },
    });
  });

  emptyTest('makes dead letters of lines that are none, and of records that are no events', async ({ empty }) => {
    const path = await folder();
    await mkdir(join(path, TOPIC));
    await writeFile(
      join(path, TOPIC, '0.ndjson'),
      [
        '{"type":"USER_CREATED"',
        '',
        '{"value":"{}"}',
        JSON.stringify({
          value: JSON.stringify({ type: 'CUSTOMER_CREATED', ...customerCreated() }),
          timestamp: RECORD_MS,
        }),
        '',
      ].join('\n'),
    );
    await writeFile(join(path, 'README.md'), 'not a log');
    const { code, sums, err } = await backfill(empty, path);
    expect(code).toBe(3);
    expect(sums).toMatchObject({
      lines: 4,
      outcomes: { applied: 1, dead: 3 },
      deadLetters: { json: 1, empty: 1, undecodable: 1 },
    });
    expect(err).toContain('not read, because of its name: README.md');
  });

  emptyTest('tells where it could not go on, and why', async ({ empty }) => {
    const path = await written(arrivals(60));
    const program = runProgram(['db', 'migrate'], empty.settings);
    await program.ended;
    await empty.sql`alter table history rename column dialect to dialekt`;
    const { code, sums, err } = await backfill(empty, path);
    expect(code).toBe(1);
    expect(sums.halted).not.toHaveLength(0);
    expect(err).toMatch(/halted: user-events\[\d\]: .*42703/);
    await empty.sql`alter table history rename column dialekt to dialect`;
    await empty.sql`update positions set state = 'running', halted_reason = null`;
    expect(await backfill(empty, path)).toMatchObject({ sums: { halted: [] } });
  });
});

describe('it takes no other', () => {
  test('a database that has read something else', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated()));
    await source.drain();
    const before = await world.digest();
    const path = await written(arrivals(60));
    const { code, err } = await backfill(world, path);
    expect(code).toBe(1);
    expect(err).toMatch(/is not empty: it has read memory\. .*DB_DATABASE/);
    expect(await world.digest()).toEqual(before);
  });

  emptyTest('another folder of the same name', async ({ empty }) => {
    await backfill(empty, await written(arrivals(60)));
    const before = await said(empty);
    const { code, err } = await backfill(empty, await written(arrivals(240)));
    expect(code).toBe(1);
    expect(err).toMatch(/another folder of that name: line \d+ of user-events\/\d/);
    expect(await said(empty)).toEqual(before);
  });

  emptyTest('a file whose last line has no end, a folder without logs, no folder', async ({ empty }) => {
    const path = await written(arrivals(60));
    await appendFile(join(path, TOPIC, '1.ndjson'), '{"value":"{}"}');
    expect(await backfill(empty, path)).toMatchObject({
      code: 2,
      err: expect.stringContaining('1.ndjson ends in the middle'),
    });
    expect(await backfill(empty, await folder())).toMatchObject({
      code: 2,
      err: expect.stringContaining('no partition logs'),
    });
    expect(await backfill(empty, '/nowhere')).toMatchObject({
      code: 2,
      err: expect.stringContaining('/nowhere can not be read'),
    });
    expect(await empty.sql`select 1 from pg_tables where schemaname = 'public'`).toHaveLength(0);
    await backfill(empty, await written(arrivals(60)));
  });

  emptyTest('without a word that it may', async ({ empty }) => {
    const path = await written(arrivals(60));
    const program = runProgram(['backfill', path], await settingsOf(empty));
    expect(await program.ended).toMatchObject({ code: 2 });
    expect(program.text.err).toMatch(/into the database "world_\w+" at .*, which is empty\? Nobody can be asked here/);
    expect(await empty.sql`select 1 from pg_tables where schemaname = 'public'`).toHaveLength(0);
    await backfill(empty, path);
  });
});

describe("Kafka's log into an empty database", () => {
  test('says what the first one said', async ({ world }) => {
    const records = arrivals(3_000);
    await world.createTopic(PARTITIONS);
    await world.produce(records);
    const length = await world.logLength();
    const readAll = async (of: World) => {
      const service = await of.kafkaService();
      await until(async () => expect(await handled(of)).toBe(length));
      await service.stop();
      await drained(of);
      return await of.digest();
    };
    const first = await readAll(world);
    const second = await createWorld({ KAFKA_TOPICS: world.topic });
    try {
      expect(await readAll(second)).toEqual(first);
      await second.expectSound();
    } finally {
      await second.close();
    }
  });
});
