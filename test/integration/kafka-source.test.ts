// The Kafka source against a real broker, with a mailbox that keeps positions as Postgres would: compare and set.
// What most tests ask at the end: each record was saved once, in the order of its partition, without a gap (`expectSaved`).
import { randomUUID } from 'node:crypto';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Admin } from 'kafkajs';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { type Servers, startServers } from '../../dev/servers.ts';
import { type KafkaSettings, kafkaSource } from '../../src/sources/kafka.ts';
import {
  connectProducer,
  kafkaStatus,
  type Log,
  type OutgoingRecord,
  type Producer,
  Refused,
  withAdmin,
} from '../../src/sources/kafka-client.ts';
import type { Assigned, Batch, Mailbox, Taken, TopicPartition } from '../../src/sources/source.ts';

const SECOND = 1000;
/** A broker, and a producer that is connected to it. */
type Kafka = { brokers: string[]; clientId: string; producer: Producer };
let shared: Kafka;
const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };
const keyOf = ({ topic, partition }: TopicPartition) => `${topic}/${partition}`;

async function connect(brokers: string): Promise<Kafka> {
  const client = { brokers: [brokers], clientId: 'test' };
  return { ...client, producer: await connectProducer(client, quiet) };
}
beforeAll(async () => {
  shared = await connect(inject('settings').KAFKA_BROKERS as string);
});
afterAll(() => shared?.producer.close());

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((clean) => clean()));
});

/** What Postgres is to the real mailbox: positions, and what was saved. Shared by the members of a test. */
class Store {
  readonly positions = new Map<string, bigint>();
  readonly saved = new Map<string, string[]>();
  /** Offsets that the source jumped over without saying why. */
  unexplained = 0;
  readonly #watchers = new Set<() => void>();

  changed(): void {
    for (const look of this.#watchers) look();
  }

  /** Resolves once `isSo` holds. */
  until(isSo: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => isSo() && resolve();
    this.#watchers.add(look);
    look();
    return promise.finally(() => this.#watchers.delete(look));
  }

  count(): number {
    return [...this.saved.values()].reduce((sum, values) => sum + values.length, 0);
  }

  /** Saves a batch if its partition stands where the batch begins. */
  save(batch: Batch): Taken {
    const key = keyOf(batch);
    const position = this.positions.get(key) ?? 0n;
    if (batch.skippedFrom > position) {
      this.unexplained++;
      return { what: 'seek', next: position };
    }
    const fresh = batch.records.filter(({ offset }) => offset >= position);
    this.saved.set(key, [...(this.saved.get(key) ?? []), ...fresh.map(({ value }) => String(value))]);
    if (batch.lastOffset + 1n > position) this.positions.set(key, batch.lastOffset + 1n);
    this.changed();
    return { what: 'saved', next: this.positions.get(key) as bigint };
  }
}

type Options = Partial<KafkaSettings> & { take?: Mailbox['take'] };

/** A topic and a group of the test's own, and as many members as it likes. */
async function setup({ partitions = 1, kafka = shared }: { partitions?: number; kafka?: Kafka } = {}) {
  const { producer, ...client } = kafka;
  const topic = `t-${randomUUID()}`;
  const groupId = `g-${randomUUID()}`;
  const store = new Store();
  const defaults = {
    ...client,
    groupId,
    topics: [topic],
    createTopics: true,
    allowCompacted: false,
    partitions: () => partitions,
    ...{ sessionTimeoutMs: 3000, heartbeatMs: 500, rebalanceTimeoutMs: 6000 },
    ...{ maxWaitMs: 50, minBytes: 1, maxBytesPerPartition: 512 * 1024, concurrentPartitions: 3 },
  };
  await withAdmin(client, quiet, (admin) => admin.createTopics({ topics: [{ topic, numPartitions: partitions }] }));

  function member({ take, ...options }: Options = {}) {
    const batches: Batch[] = [];
    const assigned: (readonly Assigned[])[] = [];
    const revoked: TopicPartition[] = [];
    const lines: string[] = [];
    const write = (level: string) => (fields: object, text: string) => {
      lines.push(`${level} ${text} ${JSON.stringify(fields)}`);
      store.changed();
    };
    const log = { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
    const source = kafkaSource({ ...defaults, ...options }, log);
    const mailbox: Mailbox = {
      async assigned(partitions) {
        assigned.push(partitions);
        queueMicrotask(() => store.changed());
        return partitions.map((one) => ({
          ...one,
          at: store.positions.get(keyOf(one)) ?? one.logStart,
          halted: false,
        }));
      },
      revoked(partitions) {
        revoked.push(...partitions);
        store.changed();
      },
      async take(batch, signal) {
        batches.push(batch);
        store.changed();
        return take === undefined ? store.save(batch) : take(batch, signal);
      },
    };
    const stop = () => source.stop();
    cleanups.push(stop);
    const holds = () => source.facts().assigned.map(keyOf).sort();
    const start = () => source.start(mailbox);
    return { source, start, stop, batches, assigned, revoked, lines, holds };
  }

  /** Records of `partition` whose values count up from `from`. */
  const send = (partition: number, count: number, from = 0) =>
    producer.send(Array.from({ length: count }, (_, i) => ({ topic, partition, key: null, value: `${from + i}` })));
  /** That each partition's records were saved once, in order. */
  const expectSaved = (...counts: number[]) => {
    const saved = counts.map((_, partition) => store.saved.get(`${topic}/${partition}`) ?? []);
    expect(saved).toEqual(counts.map((count) => Array.from({ length: count }, (_, i) => `${i}`)));
    expect(store.unexplained).toBe(0);
  };
  const all = (count: number) => store.until(() => store.count() >= count);
  const committed = async () => {
    const { partitions } = await kafkaStatus({ ...client, groupId, topics: [topic] }, quiet);
    return partitions.map(({ committed }) => committed);
  };
  const admin = <T>(act: (admin: Admin) => Promise<T>) => withAdmin(client, quiet, act);
  return { topic, groupId, client, producer, admin, store, member, send, all, expectSaved, committed };
}

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve());
  });

describe('reading', () => {
  test('several partitions are read at once, each record once and in order', async () => {
    const { store, member, send, all, expectSaved } = await setup({ partitions: 4 });
    const gate = Promise.withResolvers<void>();
    const running = new Set<string>();
    const reader = member({
      async take(batch) {
        expect(running.has(keyOf(batch))).toBe(false);
        running.add(keyOf(batch));
        if (running.size === 3) gate.resolve();
        await gate.promise;
        running.delete(keyOf(batch));
        return store.save(batch);
      },
    });
    await Promise.all([0, 1, 2, 3].map((partition) => send(partition, 300)));
    await reader.start();
    await all(1200);
    await Promise.all([0, 1, 2, 3].map((partition) => send(partition, 200, 300)));
    await all(2000);
    expectSaved(500, 500, 500, 500);
  });

  test('a record arrives with its key, bytes, time, and repeated headers', async () => {
    const { producer, topic, store, member } = await setup();
    const bytes = Buffer.from([0, 0xff, 0x80]);
    const record: OutgoingRecord = {
      ...{ topic, key: bytes, value: bytes, timestampMs: 1_700_000_000_123 },
      headers: [
        ['a', 'x'],
        ['b', bytes],
        ['b', ''],
        ['toString', 'y'],
      ],
    };
    const [place] = await producer.send([record, { topic, key: null, value: null }]);
    expect(place).toEqual({ topic, partition: 0, offset: 0n });
    const reader = member();
    await reader.start();
    await store.until(() => store.count() === 2);
    const [first, second] = reader.batches.flatMap(({ records }) => records);
    expect(first).toEqual({
      ...{ offset: 0n, timestampMs: 1_700_000_000_123, key: bytes, value: bytes },
      headers: [
        ['a', Buffer.from('x')],
        ['b', bytes],
        ['b', Buffer.alloc(0)],
        ['toString', Buffer.from('y')],
      ],
    });
    expect(second).toMatchObject({ offset: 1n, key: null, value: null, headers: [] });
  });

  test('a batch tells what was asked for, how far the log goes, and the epoch of its leader', async () => {
    const { topic, store, member, send, all } = await setup();
    await send(0, 10);
    store.positions.set(`${topic}/0`, 4n);
    const reader = member();
    await reader.start();
    await all(6);
    const expected = { fetchedOffset: 4n, skippedFrom: 4n, lastOffset: 9n, highWatermark: 10n, leaderEpoch: 0 };
    expect(reader.batches[0]).toMatchObject(expected);
    expect(reader.batches[0]?.records[0]?.offset).toBe(4n);
  });

  test('it starts at the position of the mailbox, whatever was committed', async () => {
    const { admin, topic, groupId, store, member, send, all } = await setup();
    await send(0, 10);
    await admin((admin) => admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '8' }] }));
    store.positions.set(`${topic}/0`, 2n);
    const reader = member();
    await reader.start();
    await all(8);
    expect(reader.assigned[0]).toEqual([
      { topic, partition: 0, clusterId: expect.any(String), logStart: 0n, logEnd: 10n, committed: 8n },
    ]);
    expect(reader.batches[0]?.fetchedOffset).toBe(2n);
    expect(store.unexplained).toBe(0);
  });

  test('markers and aborted transactions leave no unexplained gap', async () => {
    const { client, topic, member, send, all, expectSaved } = await setup();
    const kafka = new kafkajs.Kafka({ brokers: client.brokers, logLevel: kafkajs.logLevel.NOTHING });
    const transactional = kafka.producer({ transactionalId: randomUUID(), maxInFlightRequests: 1, idempotent: true });
    await transactional.connect();
    cleanups.push(() => transactional.disconnect());
    const write = async (values: string[], end: 'commit' | 'abort') => {
      const transaction = await transactional.transaction();
      await transaction.send({ topic, messages: values.map((value) => ({ value })) });
      await transaction[end]();
    };
    const reader = member();
    await reader.start();
    await write(['0', '1'], 'commit');
    await all(2);
    // Nothing but what is filtered, read while nothing else is there: the client goes past it by itself.
    for (let i = 0; i < 3; i++) await write(['no', 'no'], 'abort');
    await write(['2'], 'commit');
    await all(3);
    await write(['no'], 'abort');
    await send(0, 1, 3);
    await all(4);
    expectSaved(4);
    expect(reader.batches.some(({ skippedFrom, fetchedOffset }) => skippedFrom < fetchedOffset)).toBe(true);
  });

  test('records that were deleted unread are a gap that nothing explains', async () => {
    const { admin, topic, store, member, send } = await setup();
    await send(0, 10);
    await admin(async (admin) => {
      await admin.fetchTopicOffsets(topic); // kafkajs deletes only where it knows the leaders
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
    });
    store.positions.set(`${topic}/0`, 2n);
    const reader = member();
    await reader.start();
    await store.until(() => store.unexplained > 0);
    expect(reader.assigned[0]?.[0]).toMatchObject({ logStart: 5n, logEnd: 10n });
    expect(reader.batches[0]).toMatchObject({ fetchedOffset: 5n, skippedFrom: 5n });
    expect(store.count()).toBe(0);
  });
});

describe('what the mailbox answers is done', () => {
  test('an abandoned batch comes again', async () => {
    const { store, member, send, all, expectSaved } = await setup();
    let left = 2;
    const reader = member({ take: async (batch) => (left-- > 0 ? { what: 'abandoned' } : store.save(batch)) });
    await send(0, 5);
    await reader.start();
    await all(5);
    expectSaved(5);
    expect(reader.batches.slice(0, 3).map(({ fetchedOffset }) => fetchedOffset)).toEqual([0n, 0n, 0n]);
  });

  test('a batch saved in part goes on behind the part', async () => {
    const { topic, store, member, send, all, expectSaved } = await setup();
    const reader = member({
      async take(batch) {
        const part = batch.records.slice(0, 2);
        return store.save({ ...batch, records: part, lastOffset: part.at(-1)?.offset ?? batch.lastOffset });
      },
    });
    await send(0, 5);
    await reader.start();
    await all(5);
    expectSaved(5);
    expect(store.positions.get(`${topic}/0`)).toBe(5n);
  });

  test('a commit follows the save, never comes before it', async () => {
    const { store, member, send, all, committed } = await setup();
    const arrived = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const reader = member({
      async take(batch) {
        arrived.resolve();
        await goOn.promise;
        return store.save(batch);
      },
    });
    await send(0, 5);
    await reader.start();
    await arrived.promise;
    expect(await committed()).toEqual([null]);
    goOn.resolve();
    await all(5);
    await vi.waitFor(async () => expect(await committed()).toEqual([5n]), 5 * SECOND);
  });

  test('a seek goes back and forward', async () => {
    const { store, member, send, all } = await setup();
    const targets = [1n, 4n, 0n];
    const reader = member({
      async take(batch) {
        const next = targets.shift();
        return next === undefined ? store.save(batch) : { what: 'seek', next };
      },
    });
    await send(0, 5);
    await reader.start();
    await all(5);
    expect(reader.batches.map(({ fetchedOffset }) => fetchedOffset)).toEqual([0n, 1n, 4n, 0n]);
  });

  test('a seek from outside fetches again what was read', async () => {
    const { topic, store, member, send, all } = await setup();
    await send(0, 5);
    const reader = member();
    await reader.start();
    await all(5);
    store.positions.set(`${topic}/0`, 1n);
    reader.source.seek({ topic, partition: 0 }, 1n);
    await all(9);
    expect(reader.batches.at(-1)?.fetchedOffset).toBe(1n);
    expect(store.unexplained).toBe(0);
  });

  test('a halted partition stands still while others go on, until it is told where to go on', async () => {
    const { topic, store, member, send, expectSaved } = await setup({ partitions: 2 });
    let isHalted = true;
    const reader = member({
      take: async (batch) =>
        isHalted && batch.partition === 0 ? { what: 'halted', reason: 'test' } : store.save(batch),
    });
    await reader.start();
    await send(0, 5);
    await store.until(() => reader.batches.some(({ partition }) => partition === 0));
    for (let i = 0; i < 5; i++) {
      await send(1, 1, i);
      await store.until(() => store.saved.get(`${topic}/1`)?.length === i + 1);
    }
    expect(reader.batches.filter(({ partition }) => partition === 0)).toHaveLength(1);
    expect(reader.source.facts().assigned.map(({ paused, halted }) => [paused, halted])).toEqual([
      [true, true],
      [false, false],
    ]);
    isHalted = false;
    reader.source.seek({ topic, partition: 0 }, 0n);
    await store.until(() => store.saved.get(`${topic}/0`)?.length === 5);
    expectSaved(5, 5);
  });

  test('a partition that the mailbox starts as halted is not fetched', async () => {
    const { topic, store, member, send } = await setup({ partitions: 2 });
    await send(0, 1);
    const reader = member();
    const taken: number[] = [];
    await reader.source.start({
      assigned: async (all) => all.map((one) => ({ ...one, at: 0n, halted: one.partition === 0 })),
      revoked() {},
      async take(batch) {
        taken.push(batch.partition);
        return store.save(batch);
      },
    });
    await send(1, 1);
    await store.until(() => store.count() === 1);
    await send(1, 1, 1);
    await store.until(() => store.count() === 2);
    expect(taken).not.toContain(0);
    reader.source.seek({ topic, partition: 0 }, 0n);
    await store.until(() => store.count() === 3);
  });

  test('a partition that waits is paused, and not taken for a halted one', async () => {
    const { store, member, send, expectSaved } = await setup();
    let mayWait = true;
    const reader = member({
      async take(batch) {
        if (!mayWait) return store.save(batch);
        mayWait = false;
        return { what: 'wait', ms: 500 };
      },
    });
    await reader.start();
    await send(0, 3);
    await vi.waitFor(() => expect(reader.source.facts().assigned).toMatchObject([{ paused: true, halted: false }]));
    await store.until(() => store.count() === 3);
    expect(reader.source.facts().assigned).toMatchObject([{ paused: false, halted: false }]);
    expectSaved(3);
  });

  test('a seek that comes before the start is known does nothing, and the facts say what became of the partition', async () => {
    const { topic, store, member, send, expectSaved } = await setup();
    const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const reader = member();
    await send(0, 3);
    await reader.source.start({
      async assigned(all) {
        asked.resolve();
        await answer.promise;
        return all.map((one) => ({ ...one, at: 0n, halted: true }));
      },
      revoked() {},
      take: async (batch) => store.save(batch),
    });
    await asked.promise;
    reader.source.seek({ topic, partition: 0 }, 0n);
    answer.resolve();
    await vi.waitFor(() => expect(reader.source.facts().assigned).toMatchObject([{ paused: true, halted: true }]));
    reader.source.seek({ topic, partition: 0 }, 0n);
    await store.until(() => store.count() === 3);
    expect(reader.source.facts().assigned).toMatchObject([{ paused: false, halted: false }]);
    expectSaved(3);
  });

  test('after "rejoin" another member takes the place of the old one', async () => {
    const { store, member, send, all, expectSaved } = await setup();
    let first = true;
    const reader = member({
      async take(batch) {
        if (!first) return store.save(batch);
        first = false;
        return { what: 'rejoin' };
      },
    });
    await send(0, 5);
    await reader.start();
    const before = reader.source.facts().member;
    await all(5);
    expectSaved(5);
    expect(reader.source.facts().member).not.toBe(before);
    expect(reader.assigned).toHaveLength(2);
  });

  test('a take that throws, whatever it throws, is asked again', async () => {
    const { store, member, send, all, expectSaved } = await setup();
    const errors = [new TypeError('a'), new SyntaxError('b'), new RangeError('c'), new Error('d')];
    const reader = member({
      async take(batch) {
        const error = errors.shift();
        if (error !== undefined) throw error;
        return store.save(batch);
      },
    });
    await send(0, 5);
    await reader.start();
    await all(5);
    expectSaved(5);
  });
});

describe('a group of several members', () => {
  test('members share the partitions; what one leaves behind goes on at the position of the mailbox', async () => {
    const { topic, store, member, send, all, expectSaved } = await setup({ partitions: 4 });
    const [a, b] = [member(), member()];
    await a.start();
    await b.start();
    await store.until(() => a.holds().length === 2 && b.holds().length === 2);
    await Promise.all([0, 1, 2, 3].map((partition) => send(partition, 10)));
    await all(40);
    expectSaved(10, 10, 10, 10);
    // As after a failover of the database that lost its tail: Kafka's commits are ahead of the positions.
    const left = a.source.facts().assigned;
    for (const one of left) store.positions.set(keyOf(one), 7n);
    a.revoked.length = 0;
    await a.stop();
    expect(a.revoked.map(keyOf).sort()).toEqual(left.map(keyOf).sort());
    await all(40 + 3 * left.length);
    for (const { partition } of left) {
      const again = b.batches.filter((batch) => batch.partition === partition);
      expect(again.map(({ fetchedOffset }) => fetchedOffset)).toEqual([7n]);
      expect(store.saved.get(`${topic}/${partition}`)?.slice(10)).toEqual(['7', '8', '9']);
    }
  });

  test('members that start at once end up with every partition held once, and lose nothing', async () => {
    const { topic, store, member, send, all, expectSaved } = await setup({ partitions: 6 });
    for (let partition = 0; partition < 6; partition++) await send(partition, 50);
    const members = [member(), member(), member()];
    await Promise.all(members.map(({ start }) => start()));
    const everything = Array.from({ length: 6 }, (_, partition) => `${topic}/${partition}`);
    await store.until(() => members.every(({ holds }) => holds().length === 2));
    expect(members.flatMap(({ holds }) => holds()).sort()).toEqual(everything);
    for (let partition = 0; partition < 6; partition++) await send(partition, 50, 50);
    await all(600);
    expectSaved(100, 100, 100, 100, 100, 100);
  });

  test('members that come and go, abandon, seek and throw lose nothing and read nothing twice', async () => {
    const { store, member, send, all, expectSaved } = await setup({ partitions: 4 });
    const random = generator(20_261_124);
    const take: Mailbox['take'] = async (batch, signal) => {
      await sleep(random() * 20);
      if (signal.aborted || random() < 0.1) return { what: 'abandoned' };
      if (random() < 0.1) return { what: 'seek', next: store.positions.get(keyOf(batch)) ?? 0n };
      if (random() < 0.02) throw new TypeError('made up');
      const half = batch.records.slice(0, Math.ceil(batch.records.length / 2));
      return random() < 0.2
        ? store.save({ ...batch, records: half, lastOffset: at(half, -1).offset })
        : store.save(batch);
    };
    const small = { maxBytesPerPartition: 1_000, take };
    const members = [member(small)];
    const load = (async () => {
      for (let i = 0; i < 40; i++) await Promise.all([0, 1, 2, 3].map((partition) => send(partition, 25, i * 25)));
    })();
    await at(members, 0).start();
    for (let goal = 500; goal <= 3500; goal += 500) {
      await all(goal);
      const [first] = members.length > 1 ? members.splice(0, 1) : [];
      const next = member(small);
      members.push(next);
      await Promise.all([first?.stop(), next.start()]);
    }
    await Promise.all([load, all(4000)]);
    expectSaved(1000, 1000, 1000, 1000);
  });

  test('a batch in flight is aborted when another member comes, and read by whoever has it then', async () => {
    const { store, member, send, all, expectSaved } = await setup({ partitions: 2 });
    let isSlow = true;
    let aborted = 0;
    const a = member({
      async take(batch, signal) {
        if (!isSlow) return store.save(batch);
        await untilAborted(signal);
        aborted++;
        return { what: 'abandoned' };
      },
    });
    const b = member();
    await Promise.all([send(0, 5), send(1, 5)]);
    await a.start();
    await store.until(() => a.batches.length === 2);
    await b.start();
    expect(aborted).toBe(2);
    isSlow = false;
    await all(10);
    expectSaved(5, 5);
  });

  test('a batch that takes longer than the session keeps its partition', async () => {
    const { store, member, send, all, expectSaved } = await setup();
    const goOn = Promise.withResolvers<void>();
    const reader = member({
      sessionTimeoutMs: 1000,
      heartbeatMs: 200,
      async take(batch, signal) {
        setTimeout(goOn.resolve, 3 * SECOND);
        await goOn.promise;
        expect(signal.aborted).toBe(false);
        return store.save(batch);
      },
    });
    await send(0, 5);
    await reader.start();
    await all(5);
    expectSaved(5);
    expect(reader.assigned).toHaveLength(1);
    expect(reader.batches).toHaveLength(1);
  });

  test('a member with other topics is refused, with the names of both', async () => {
    const { topic, groupId, member } = await setup();
    const other = `t-${randomUUID()}`;
    await member().start();
    const unlike = member({ topics: [topic, other], sessionTimeoutMs: 1000, heartbeatMs: 200 });
    const refused = unlike.start();
    await expect(refused).rejects.toThrow(Refused);
    await expect(refused).rejects.toThrow(`the group ${groupId} has members that read other topics: test at`);
  });
});

describe('the producer', () => {
  test('gives each record its coordinates; one key goes to one partition, in order', async () => {
    const { producer, topic, store, member, all } = await setup({ partitions: 3 });
    const records = Array.from({ length: 2500 }, (_, i) => ({ topic, key: `k${i % 7}`, value: `${i}` }));
    const coordinates = await producer.send(records);
    await member().start();
    await all(2500);
    const expected = new Map<string, string[]>();
    for (const [i, place] of coordinates.entries()) {
      const values = expected.get(keyOf(place)) ?? [];
      expect(place.offset).toBe(BigInt(values.length));
      expected.set(keyOf(place), [...values, `${i}`]);
    }
    expect(store.saved).toEqual(expected);
    const partitionsOf = (key: string) => new Set(coordinates.filter((_, i) => at(records, i).key === key).map(keyOf));
    for (let k = 0; k < 7; k++) expect(partitionsOf(`k${k}`).size).toBe(1);
  });
});

describe('topics', () => {
  test('are created when missing, with as many partitions as asked for', async () => {
    const { member, store } = await setup();
    const topics = [`t-${randomUUID()}`, `t-${randomUUID()}`];
    const reader = member({ topics, partitions: (topic) => (topic === topics[0] ? 3 : 2) });
    await reader.start();
    await store.until(() => reader.holds().length === 5);
  });

  test('are waited for when missing and not to be created, with a line that names them', async () => {
    const { admin, member, store } = await setup();
    const topic = `t-${randomUUID()}`;
    const reader = member({ topics: [topic], createTopics: false });
    const started = reader.start();
    await store.until(() => reader.lines.some((line) => line.includes(`topics are missing: ${topic}`)));
    await admin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }));
    await started;
    expect(reader.source.facts()).toMatchObject({ joined: true, crashed: null });
  });

  test('with cleanup.policy=compact are refused, unless allowed', async () => {
    const { admin, member } = await setup();
    const topic = `t-${randomUUID()}`;
    const configEntries = [{ name: 'cleanup.policy', value: 'compact,delete' }];
    await admin((admin) => admin.createTopics({ topics: [{ topic, configEntries }] }));
    const refused = member({ topics: [topic] }).start();
    await expect(refused).rejects.toThrow(Refused);
    await expect(refused).rejects.toThrow(`${topic} has cleanup.policy=compact`);
    await expect(refused).rejects.toThrow('KAFKA_ALLOW_COMPACTED');
    await member({ topics: [topic], allowCompacted: true }).start();
  });
});

describe('stop', () => {
  test('under load: the batch in flight is saved and committed, none comes after, the group is free at once', async () => {
    const { producer, topic, store, member, all, expectSaved, committed } = await setup({ partitions: 4 });
    const reader = member({ maxBytesPerPartition: 10_000 });
    await reader.start();
    let isLoading = true;
    const counts = [0, 0, 0, 0];
    const load = async () => {
      while (isLoading) {
        const records = counts.flatMap((count, partition) =>
          Array.from({ length: 100 }, (_, i) => ({ topic, partition, key: null, value: `${count + i}` })),
        );
        await producer.send(records);
        for (const partition of counts.keys()) counts[partition] = (counts[partition] ?? 0) + 100;
      }
    };
    const loading = load();
    await all(2000);
    const startedAtMs = performance.now();
    await reader.stop();
    expect(performance.now() - startedAtMs).toBeLessThan(5 * SECOND);
    const seen = reader.batches.length;
    isLoading = false;
    await loading;
    expect(reader.batches).toHaveLength(seen);
    const positions = counts.map((_, partition) => store.positions.get(`${topic}/${partition}`) ?? null);
    expect(await committed()).toEqual(positions);
    expect(reader.holds()).toEqual([]);

    await member().start();
    await all(counts.reduce((sum, count) => sum + count));
    expectSaved(...counts);
  });

  test('a batch that does not end is aborted, and the whole takes at most 10 s', async () => {
    const { member, send, store } = await setup();
    const reader = member({
      async take(_, signal) {
        await untilAborted(signal);
        return { what: 'abandoned' };
      },
    });
    await send(0, 1);
    await reader.start();
    await store.until(() => reader.batches.length === 1);
    const startedAtMs = performance.now();
    await reader.stop();
    expect(performance.now() - startedAtMs).toBeLessThan(10 * SECOND);
    expect(reader.lines.some((line) => line.includes('given up'))).toBe(true);
  });

  test('while joining: nothing is left behind in the group', async () => {
    const { admin, member, store, groupId } = await setup();
    const reader = member();
    const started = reader.start();
    await store.until(() => reader.lines.some((line) => line.includes('Starting')));
    await reader.stop();
    await started;
    const { groups } = await admin((admin) => admin.describeGroups([groupId]));
    expect(groups[0]?.members).toEqual([]);
  });
});

describe('brokers away', () => {
  let servers: Servers;
  let own: Kafka;
  beforeAll(async () => {
    servers = await startServers({ kafka: true, redis: false, require: true, durable: false });
    own = await connect(servers.settings.KAFKA_BROKERS as string);
  });
  afterAll(async () => {
    await own?.producer.close();
    await servers?.stop();
  });

  test('killed and started again: the source goes on by itself', async () => {
    const { store, member, send, all, expectSaved } = await setup({ partitions: 2, kafka: own });
    const reader = member();
    await reader.start();
    await Promise.all([send(0, 10), send(1, 10)]);
    await all(20);
    await servers.kafka?.stop('SIGKILL');
    await store.until(() => reader.lines.some((line) => line.startsWith('warn waiting for Kafka at')));
    expect(reader.source.facts()).toMatchObject({ joined: false, crashed: expect.any(String) });
    await servers.kafka?.start();
    await Promise.all([send(0, 10, 10), send(1, 10, 10)]);
    await all(40);
    expectSaved(20, 20);
    expect(reader.source.facts()).toMatchObject({ joined: true, crashed: null });
  });

  test('killed while a batch is in flight: the batch is aborted when the session is over, and saved once', async () => {
    const { store, member, send, all, expectSaved } = await setup({ kafka: own });
    const arrived = Promise.withResolvers<void>();
    let isFirst = true;
    const reader = member({
      async take(batch, signal) {
        if (!isFirst) return store.save(batch);
        isFirst = false;
        arrived.resolve();
        await untilAborted(signal);
        return { what: 'abandoned' };
      },
    });
    await send(0, 10);
    await reader.start();
    await arrived.promise;
    await servers.kafka?.stop('SIGKILL');
    await store.until(() => reader.lines.some((line) => line.includes('batches in flight end')));
    await servers.kafka?.start();
    await all(10);
    await send(0, 10, 10);
    await all(20);
    expectSaved(20);
  });

  test('not there yet: says what it waits for, and can be stopped', async () => {
    const { member, store } = await setup();
    const port = await closedPort();
    const reader = member({ brokers: [`127.0.0.1:${port}`] });
    const started = reader.start();
    await store.until(() => reader.lines.some((line) => line.includes(`waiting for Kafka at 127.0.0.1:${port}`)));
    expect(reader.lines.filter((line) => line.startsWith('error'))).toEqual([]);
    const startedAtMs = performance.now();
    await reader.stop();
    await started;
    expect(performance.now() - startedAtMs).toBeLessThan(SECOND);
  });
});

const at = <T>(list: readonly T[], i: number) => list.at(i) as T;

/** Numbers from 0 to 1, the same in every run (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A port where nobody listens. */
async function closedPort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
