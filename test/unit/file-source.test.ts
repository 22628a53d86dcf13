// What is written to a folder comes out as records, once each and in order, whatever the bytes are.
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import type { SourceRecord } from '../../src/events.ts';
import { appendRecords, type FileSettings, fileSource, toLine, toRecord } from '../../src/sources/file.ts';
import type { Assigned, Batch, Mailbox, Source, Taken, TopicPartition } from '../../src/sources/source.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** A folder, a source that reads it, and a mailbox that saves everything unless the test says otherwise. */
async function setup(options: Partial<FileSettings> & { take?: Mailbox['take']; starts?: Mailbox['assigned'] } = {}) {
  const { take, starts, ...settings } = options;
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'file-source-')));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  const batches: Batch[] = [];
  const assigned: Assigned[] = [];
  const revoked: TopicPartition[] = [];
  const watchers = new Set<() => void>();
  const mailbox: Mailbox = {
    async assigned(partitions, signal) {
      assigned.push(...partitions);
      return starts?.(partitions, signal) ?? partitions.map((one) => ({ ...one, at: 0n, halted: false }));
    },
    revoked: (partitions) => revoked.push(...partitions),
    async take(batch, signal) {
      batches.push(batch);
      for (const look of watchers) look();
      return (await take?.(batch, signal)) ?? saved(batch);
    },
  };
  const defaults = { follow: false, concurrentPartitions: 3, maxRecords: 1000, maxBytes: 512 * 1024, pollMs: 5 };
  const warnings: string[] = [];
  const source = fileSource({ folder, ...defaults, ...settings }, { warn: (_, text) => warnings.push(text) });
  const write = (partition: string, ...values: string[]) => {
    const [topic, number] = partition.split('/') as [string, string];
    return appendRecords(
      folder,
      topic,
      Number(number),
      values.map((value) => ({ key: null, value })),
    );
  };
  const start = async () => {
    cleanups.push(() => source.stop());
    await source.start(mailbox);
    return source;
  };
  /** Resolves once `isSo` holds; looked at after every batch. */
  const until = (isSo: () => boolean) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => isSo() && resolve();
    watchers.add(look);
    look();
    return promise.finally(() => watchers.delete(look));
  };
  const values = (partition?: string) =>
    batches
      .filter(({ topic, partition: number }) => partition === undefined || partition === `${topic}/${number}`)
      .flatMap(({ records }) => records.map(({ value }) => String(value)));
  return { folder, source, start, write, batches, assigned, revoked, values, until, warnings };
}

const saved = (batch: Batch): Taken => ({ what: 'saved', next: batch.lastOffset + 1n });
const readAll = async (source: Source) => source.ended;

describe('a record survives the file', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
    fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)),
    fc.constant(null),
  );
  const record = fc.record({
    key: bytes,
    value: bytes,
    headers: fc.array(fc.tuple(fc.string({ unit: 'binary', maxLength: 10 }), bytes), { maxLength: 5 }),
    timestampMs: fc.integer({ min: -1, max: 2 ** 45 }),
  });

  test('any bytes, null, repeated headers and their order come back as they were', () => {
    fc.assert(
      fc.property(record, (before) => {
        const line = toLine(before);
        expect(line).not.toContain('\n');
        expect(toRecord(Buffer.from(line), 7n)).toEqual({ ...before, offset: 7n });
      }),
    );
  });

  test.each([
    ['plain JSON of somebody', '{"type":"USER_CREATED"}'],
    ['half a record', '{"key":"a","value":"b'],
    ['an empty line', ''],
    ['bytes that are not UTF-8', Buffer.from([0xff, 0xfe, 0x7b])],
    ['a number as value', '{"value":1}'],
    ['base64 that is none', '{"value":{"base64":"?"}}'],
    ['half a surrogate', '{"value":"\\ud800"}'],
    ['headers that are no pairs', '{"value":"x","headers":[["a"]]}'],
    ['a timestamp that is no number', '{"value":"x","timestamp":"now"}'],
  ])('a line that is no record is kept as it stands: %s', (_, line) => {
    const bytes = Buffer.from(line);
    const asItStands: SourceRecord = { offset: 3n, timestampMs: -1, key: null, value: bytes, headers: [] };
    expect(toRecord(bytes, 3n)).toEqual(asItStands);
  });
});

describe('every line is handed over once, in order', () => {
  test('offsets are line numbers, and a batch has at most as many records as asked for', async () => {
    const { folder, start, write, batches, assigned } = await setup({ maxRecords: 2 });
    await write('user-events/3', 'a', 'b', 'c');
    await readAll(await start());
    const place = { topic: 'user-events', partition: 3 };
    const name = folder.split('/').at(-1);
    expect(assigned).toEqual([{ ...place, clusterId: `file:${name}`, logStart: 0n, logEnd: 3n, committed: null }]);
    expect(batches.map(({ records, ...rest }) => ({ ...rest, offsets: records.map(({ offset }) => offset) }))).toEqual([
      { ...place, fetchedOffset: 0n, skippedFrom: 0n, lastOffset: 1n, ...ends, offsets: [0n, 1n] },
      { ...place, fetchedOffset: 2n, skippedFrom: 2n, lastOffset: 2n, ...ends, offsets: [2n] },
    ]);
  });
  const ends = { highWatermark: 3n, leaderEpoch: null };

  test('lines around the size of a batch are neither lost nor cut', async () => {
    const lines = Array.from({ length: 40 }, (_, i) => `${i}:${'x'.repeat((i * 37) % 400)}`);
    const { start, write, values, batches } = await setup({ maxBytes: 256 });
    await write('a/0', ...lines);
    await readAll(await start());
    expect(values()).toEqual(lines);
    expect(batches.length).toBeGreaterThan(10);
  });

  test('partitions run at once, each in its order', async () => {
    const gate = Promise.withResolvers<void>();
    const running = new Set<string>();
    const { start, write, values } = await setup({
      maxRecords: 1,
      async take(batch) {
        const key = `${batch.topic}/${batch.partition}`;
        expect(running.has(key)).toBe(false);
        running.add(key);
        if (running.size === 3) gate.resolve();
        await gate.promise;
        running.delete(key);
        return saved(batch);
      },
    });
    for (const partition of ['a/0', 'a/1', 'b/0']) await write(partition, '1', '2', '3');
    await readAll(await start());
    for (const partition of ['a/0', 'a/1', 'b/0']) expect(values(partition)).toEqual(['1', '2', '3']);
  });

  test('it starts where the mailbox says, not at the beginning', async () => {
    const starts: Mailbox['assigned'] = async (all) => all.map((one) => ({ ...one, at: 2n, halted: false }));
    const { start, write, values } = await setup({ starts });
    await write('a/0', '0', '1', '2', '3');
    await readAll(await start());
    expect(values()).toEqual(['2', '3']);
  });

  test('what lies around the partitions is not read: other files, hidden folders, topics not asked for', async () => {
    const { folder, start, write, values } = await setup({ topics: ['a'] });
    await write('a/0', 'yes');
    await write('b/0', 'no');
    await mkdir(join(folder, '.git'));
    for (const file of ['a/notes.txt', 'a/01.ndjson', 'a/1.ndjson.swp', '.git/0.ndjson', 'c.ndjson']) {
      await writeFile(join(folder, file), 'no\n');
    }
    await readAll(await start());
    expect(values()).toEqual(['yes']);
  });
});

describe('what the mailbox answers is done', () => {
  test('a batch that was abandoned is handed over again', async () => {
    let first = true;
    const take: Mailbox['take'] = async (batch) => {
      if (!first) return saved(batch);
      first = false;
      return { what: 'abandoned' };
    };
    const { start, write, values } = await setup({ take });
    await write('a/0', '0', '1');
    await readAll(await start());
    expect(values()).toEqual(['0', '1', '0', '1']);
  });

  test('a batch saved in part goes on behind the part', async () => {
    const take: Mailbox['take'] = async ({ fetchedOffset }) => ({ what: 'saved', next: fetchedOffset + 1n });
    const { start, write, values } = await setup({ take });
    await write('a/0', '0', '1');
    await readAll(await start());
    expect(values()).toEqual(['0', '1', '1']);
  });

  test('a seek goes back, and forward, by any number of lines', async () => {
    const targets = [0n, 900n, 1n];
    const take: Mailbox['take'] = async (batch) => {
      const next = targets.shift();
      return next === undefined ? saved(batch) : { what: 'seek', next };
    };
    const lines = Array.from({ length: 1000 }, (_, i) => `${i}`.padEnd(2000, '.'));
    const { start, write, batches } = await setup({ take, maxRecords: 1000, maxBytes: 1_000_000 });
    await write('a/0', ...lines);
    await readAll(await start());
    expect(batches.slice(0, 4).map(({ fetchedOffset }) => fetchedOffset)).toEqual([0n, 0n, 900n, 1n]);
    for (const { records } of batches) {
      for (const { offset, value } of records) expect(Number.parseInt(String(value), 10)).toBe(Number(offset));
    }
    expect(batches.at(-1)?.lastOffset).toBe(999n);
  });

  test('a halted partition stands still while others go on, until it is told where to go on', async () => {
    let isHalted = true;
    const take: Mailbox['take'] = async (batch) =>
      isHalted && batch.topic === 'bad' ? { what: 'halted', reason: 'test' } : saved(batch);
    const { source, start, write, values, until } = await setup({ take, maxRecords: 1, follow: true });
    await write('bad/0', '0', '1');
    await write('good/0', '0', '1', '2');
    await start();
    await until(() => values('good/0').length === 3);
    expect(values('bad/0')).toEqual(['0']);
    const paused = source.facts().assigned.filter((one) => one.paused);
    expect(paused).toEqual([{ topic: 'bad', partition: 0, highWatermark: 2n, paused: true, halted: true }]);
    isHalted = false;
    source.seek({ topic: 'bad', partition: 0 }, 1n);
    await until(() => values('bad/0').length === 2);
    expect(values('bad/0')).toEqual(['0', '1']);
  });

  test('a seek from outside wins over the batch in flight', async () => {
    const inFlight = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const take: Mailbox['take'] = async (batch) => {
      inFlight.resolve();
      await goOn.promise;
      return saved(batch);
    };
    const { source, start, write, values } = await setup({ take });
    await write('a/0', '0', '1');
    await start();
    await inFlight.promise;
    source.seek({ topic: 'a', partition: 0 }, 1n);
    goOn.resolve();
    await source.ended;
    expect(values()).toEqual(['0', '1', '1']);
  });

  test('after "rejoin" the mailbox is asked again where to start', async () => {
    let first = true;
    const take: Mailbox['take'] = async (batch) => {
      if (!first) return saved(batch);
      first = false;
      return { what: 'rejoin' };
    };
    const { start, write, assigned, values } = await setup({ take });
    await write('a/0', '0');
    await readAll(await start());
    expect(assigned).toHaveLength(2);
    expect(values()).toEqual(['0', '0']);
  });
});

describe('a folder that grows', () => {
  test('new lines, new partitions and new topics are found', async () => {
    const { start, write, values, until } = await setup({ follow: true });
    await start();
    await write('a/0', '0');
    await until(() => values('a/0').length === 1);
    await write('a/0', '1');
    await write('a/1', '0');
    await write('b/0', '0');
    await until(() => values().length === 4);
    expect(values('a/0')).toEqual(['0', '1']);
  });

  test('half a line waits for its end', async () => {
    const { folder, source, start, write, values, until } = await setup({ follow: true });
    await write('a/0', '0');
    const line = `${toLine({ key: null, value: 'whole' })}\n`;
    await appendFile(join(folder, 'a/0.ndjson'), line.slice(0, 9));
    await start();
    await write('b/0', 'meanwhile');
    await until(() => values('b/0').length === 1);
    expect(source.facts().assigned.find(({ topic }) => topic === 'a')?.highWatermark).toBe(1n);
    await appendFile(join(folder, 'a/0.ndjson'), line.slice(9));
    await until(() => values('a/0').length === 2);
    expect(values('a/0')).toEqual(['0', 'whole']);
  });

  test('half a line of a killed writer costs the next writer nothing', async () => {
    const { folder, start, write, values } = await setup();
    await write('a/0', '0');
    await appendFile(join(folder, 'a/0.ndjson'), '{"key":"torn');
    await write('a/0', '1');
    await readAll(await start());
    expect(values()).toEqual(['0', '{"key":"torn', '1']);
  });

  test('without following it ends at the end, halted partitions and empty files included', async () => {
    const take: Mailbox['take'] = async () => ({ what: 'halted', reason: 'test' });
    const { folder, start, write } = await setup({ take });
    await write('a/0', '0');
    await writeFile(join(folder, 'a/1.ndjson'), '');
    await readAll(await start());
  });
});

describe('stop', () => {
  test('waits for the batch in flight, hands over no other, and gives all partitions back', async () => {
    const inFlight = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const take: Mailbox['take'] = async (batch) => {
      inFlight.resolve();
      await goOn.promise;
      return saved(batch);
    };
    const { source, start, write, values, revoked } = await setup({ take, maxRecords: 1, follow: true });
    await write('a/0', '0', '1');
    await start();
    await inFlight.promise;
    let isStopped = false;
    const stopped = source.stop().then(() => {
      isStopped = true;
    });
    await new Promise(setImmediate);
    expect(isStopped).toBe(false);
    goOn.resolve();
    await stopped;
    expect(values()).toEqual(['0']);
    expect(revoked).toEqual([{ topic: 'a', partition: 0 }]);
  });
});
