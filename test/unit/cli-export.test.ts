// What leaves with an export: the same bytes, and headers that others know how to read.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Header, SourceRecord } from '../../src/events.ts';
import { type Exported, exportHeaders, exportLine, exportRecord, recordLine } from '../../src/export.ts';
import { toRecord } from '../../src/sources/file.ts';

function exported(over: Partial<Exported> = {}, record: Partial<SourceRecord> = {}): Exported {
  return {
    ...{ id: 812, topic: 'user-events', partition: 4, generation: 0, offset: '99140' },
    ...{ code: 'schema', stage: 'validate', class: null, message: 'newStatus: expected one of PENDING, ACTIVE' },
    ...{ stack: null, userId: 'auth0|42', type: 'USER_STATUS_CHANGED', attempts: 2, status: 'open' },
    ...{
      firstFailedAt: '2025-01-31T09:30:00.000Z',
      lastFailedAt: '2025-01-31T10:30:00.000Z',
      consumerGroup: 'customer-service',
    },
    ...over,
    record: {
      ...{
        offset: 99140n,
        timestampMs: 1_738_315_800_000,
        key: Buffer.from('c1'),
        value: Buffer.from('{"a":1}'),
        headers: [],
      },
      ...record,
    },
  };
}
/** All of one name, as text, or as hex where it is none. */
function valuesOf(headers: readonly Header[], name: string): (string | undefined)[] {
  return headers.filter(([each]) => each === name).map(([, value]) => value?.toString());
}
const hexOf = (headers: readonly Header[], name: string) =>
  headers.find(([each]) => each === name)?.[1]?.toString('hex');

describe('a line is the record, and what is known of its failure', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
    fc.string({ unit: 'binary', maxLength: 40 }).map((text) => Buffer.from(text)),
    fc.constant(null),
  );
  const name = fc.string({ unit: 'binary', maxLength: 10 }).map((text) => text.toWellFormed());
  const record = fc.record({
    key: bytes,
    value: bytes,
    headers: fc.array(fc.tuple(name, bytes), { maxLength: 5 }),
    timestampMs: fc.oneof(fc.constant(-1), fc.integer({ min: 0, max: 4_102_444_800_000 })),
  });

  test('whatever its bytes are, the file source reads the same record from the line of it alone', () => {
    fc.assert(
      fc.property(record, fc.bigInt({ min: 0n, max: 2n ** 62n }), (given, offset) => {
        const line = recordLine({ ...given, offset });
        expect(line).not.toContain('\n');
        expect(toRecord(Buffer.from(line), offset)).toEqual({ ...given, offset });
      }),
    );
  });

  test('the whole line begins with the same record', () => {
    fc.assert(
      fc.property(record, (given) => {
        const line = exportLine(exported({}, given));
        expect(line).not.toContain('\n');
        const { key, value, headers, timestamp } = JSON.parse(line);
        const alone = JSON.stringify({ key, value, headers, timestamp });
        expect(toRecord(Buffer.from(alone), 7n)).toEqual({ ...given, offset: 7n });
      }),
    );
  });

  test('numbers that JSON would round are text, and what is only for headers is left out', () => {
    const line = JSON.parse(exportLine(exported({ id: 812, offset: '9007199254740993', stack: '    at put' })));
    expect(line).toEqual({
      ...{ key: 'c1', value: '{"a":1}', headers: [], timestamp: 1_738_315_800_000 },
      ...{ id: '812', topic: 'user-events', partition: 4, generation: 0, offset: '9007199254740993' },
      ...{ code: 'schema', stage: 'validate', class: null, message: 'newStatus: expected one of PENDING, ACTIVE' },
      ...{ userId: 'auth0|42', type: 'USER_STATUS_CHANGED', attempts: 2, status: 'open' },
      ...{ firstFailedAt: '2025-01-31T09:30:00.000Z', lastFailedAt: '2025-01-31T10:30:00.000Z' },
    });
  });
});

describe('other tools find the failure where they look for it', () => {
  test("Kafka Connect's: text, all of it", () => {
    const headers = exportHeaders(exported());
    expect(
      headers.filter(([name]) => name.startsWith('__connect.')).map(([name, value]) => [name, value?.toString()]),
    ).toEqual([
      ['__connect.errors.topic', 'user-events'],
      ['__connect.errors.partition', '4'],
      ['__connect.errors.offset', '99140'],
      ['__connect.errors.connector.name', 'customer-service'],
      ['__connect.errors.task.id', '0'],
      ['__connect.errors.stage', 'validate'],
      ['__connect.errors.class.name', 'customer_service.validate'],
      ['__connect.errors.exception.class.name', 'schema'],
      ['__connect.errors.exception.message', 'newStatus: expected one of PENDING, ACTIVE'],
      ['__connect.errors.exception.stacktrace', 'schema: newStatus: expected one of PENDING, ACTIVE'],
    ]);
  });

  test("Spring Kafka's: numbers big-endian, the rest text", () => {
    const headers = exportHeaders(exported());
    expect(headers.map(([name]) => name).filter((name) => name.startsWith('kafka_'))).toEqual([
      ...['kafka_dlt-original-topic', 'kafka_dlt-original-partition', 'kafka_dlt-original-offset'],
      ...['kafka_dlt-original-timestamp', 'kafka_dlt-original-timestamp-type', 'kafka_dlt-original-consumer-group'],
      ...['kafka_dlt-exception-fqcn', 'kafka_dlt-exception-message', 'kafka_dlt-exception-stacktrace'],
    ]);
    expect(hexOf(headers, 'kafka_dlt-original-partition')).toBe('00000004');
    expect(hexOf(headers, 'kafka_dlt-original-offset')).toBe('0000000000018344');
    expect(hexOf(headers, 'kafka_dlt-original-timestamp')).toBe('00000194bbb21dc0');
    expect(valuesOf(headers, 'kafka_dlt-original-topic')).toEqual(['user-events']);
    expect(valuesOf(headers, 'kafka_dlt-original-timestamp-type')).toEqual(['CreateTime']);
    expect(valuesOf(headers, 'kafka_dlt-original-consumer-group')).toEqual(['customer-service']);
    expect(valuesOf(headers, 'kafka_dlt-exception-fqcn')).toEqual(['schema']);
  });

  test('an offset of 63 bits keeps them, and a record without a time says so', () => {
    const headers = exportHeaders(exported({ offset: '9223372036854775807' }, { timestampMs: -1 }));
    expect(hexOf(headers, 'kafka_dlt-original-offset')).toBe('7fffffffffffffff');
    expect(hexOf(headers, 'kafka_dlt-original-timestamp')).toBe('ffffffffffffffff');
    expect(valuesOf(headers, 'kafka_dlt-original-timestamp-type')).toEqual(['NoTimestampType']);
  });

  test('an error has its class and its stack', () => {
    const headers = exportHeaders(
      exported({
        code: 'transition',
        class: 'TypeError',
        message: 'the machine threw',
        stack: '    at put (put.ts:1:1)',
      }),
    );
    for (const name of ['__connect.errors.exception.class.name', 'kafka_dlt-exception-fqcn'])
      expect(valuesOf(headers, name)).toEqual(['transition.TypeError']);
    for (const name of ['__connect.errors.exception.stacktrace', 'kafka_dlt-exception-stacktrace'])
      expect(valuesOf(headers, name)).toEqual(['transition.TypeError: the machine threw\n    at put (put.ts:1:1)']);
  });

  test('without a group the headers that would name it are left out', () => {
    const names = exportHeaders(exported({ consumerGroup: null })).map(([name]) => name);
    expect(names).not.toContain('__connect.errors.connector.name');
    expect(names).not.toContain('kafka_dlt-original-consumer-group');
    expect(names).toHaveLength(17);
  });

  test('an earlier failure elsewhere is replaced, and every other header stays, in its order', () => {
    const old: Header[] = [
      ['ce_id', Buffer.from('e1')],
      ['kafka_dlt-original-topic', Buffer.from('older')],
      ['kafka_dlt-key-exception-fqcn', Buffer.from('java.lang.IllegalStateException')],
      ['__connect.errors.topic', Buffer.from('older')],
      ['tag', Buffer.from([0xff])],
      ['tag', null],
      ['kafka_dlt', Buffer.from('no prefix of ours')],
    ];
    const headers = exportHeaders(exported({}, { headers: old }));
    expect(headers.slice(0, 4)).toEqual([old[0], old[4], old[5], old[6]]);
    expect(valuesOf(headers, 'kafka_dlt-original-topic')).toEqual(['user-events']);
    expect(valuesOf(headers, '__connect.errors.topic')).toEqual(['user-events']);
    expect(valuesOf(headers, 'kafka_dlt-key-exception-fqcn')).toEqual([]);
  });

  test('exported twice, it has what it had after the first time', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.constant(Buffer.from('x')))), (headers) => {
        const once = exportHeaders(exported({}, { headers }));
        expect(exportHeaders(exported({}, { headers: once }))).toEqual(once);
      }),
    );
  });
});

describe('a record for a topic', () => {
  test('has the same key and value, also where there is none', () => {
    const value = Buffer.from([0x00, 0xff, 0x7b]);
    expect(exportRecord(exported({}, { value }), 'dead')).toMatchObject({
      topic: 'dead',
      key: Buffer.from('c1'),
      value,
    });
    expect(exportRecord(exported({}, { key: null, value: null }), 'dead')).toMatchObject({ key: null, value: null });
  });

  test('has its own time: the old one would let retention delete it at once', () => {
    expect(exportRecord(exported(), 'dead')).not.toHaveProperty('timestampMs');
  });
});
