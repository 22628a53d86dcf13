// export.ts — dead letters for use elsewhere: as lines of text, and as records of a topic with the headers that other tools look for.
//
// Owns:          the two forms, reading them in bounded pages, and the row of `audit` that says who took what.
// Does not own:  where they go (cli/export.ts, api/export.ts). It changes no dead letter: an exported one is as open as before.
//
// E1  Key, value and headers of a record leave as they came, byte for byte; what an operator edited stays here.
// E2  A page has at most 500 of them and about 4 MB (one that is larger comes alone), a query looks at 100,000 numbers at
//     most: neither the payloads nor a filter that fits few of millions make it grow (P6).
// E3  The row of `audit` is there before the first byte leaves, its result when the last one has: an export that was cut off has none.
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { endAudit, writeAudit } from './audit.ts';
import { allOf, type DeadLetterFilter, fitting } from './dead-letter-filter.ts';
import type { Header, SourceRecord } from './events.ts';
import { recordOf, type StoredRecord } from './queue.ts';
import { toLine } from './sources/file.ts';
import type { OutgoingRecord } from './sources/kafka-client.ts';

export type ExportFilter = DeadLetterFilter & {
  statuses: readonly string[];
  /** Those with a higher number. */
  after?: number | undefined;
  /** So many, the oldest. */
  limit?: number | undefined;
};

export type Exported = {
  id: number;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  code: string;
  stage: string;
  /** SQLSTATE or error name, where there is one. */
  class: string | null;
  message: string;
  stack: string | null;
  userId: string | null;
  type: string | null;
  attempts: number;
  /** ISO 8601. */
  firstFailedAt: string;
  lastFailedAt: string;
  status: string;
  consumerGroup: string | null;
  record: SourceRecord;
};

/** A line of JSON, without its newline: the record as a line of sources/file.ts has it, and then what is known of its failure.
 *  64-bit integers are strings. Never throws. */
export function exportLine({ record, stack: _, consumerGroup: __, ...known }: Exported): string {
  return `${recordLine(record).slice(0, -1)},${JSON.stringify({ ...known, id: String(known.id) }).slice(1)}`;
}

/** The record alone: a line that the file source reads as the same record again. */
export function recordLine(record: SourceRecord): string {
  return toLine(record);
}

/** The record for another topic: key and value untouched (a null stays null), its headers, and those about its failure. Its
 *  own timestamp is a header only: retention of that topic would delete what is old already. */
export function exportRecord(exported: Exported, topic: string): OutgoingRecord {
  const { key, value } = exported.record;
  // kafkajs can send no header without a value: it arrives empty.
  const headers = exportHeaders(exported).map(([name, content]) => [name, content ?? ''] as const);
  return { topic, key, value, headers };
}

/** The record's headers without what an earlier failure elsewhere left among them, then the failure here: by Kafka Connect's names
 *  and by Spring Kafka's. Never throws.
 *
 *  Connect: `ERROR_HEADER_…` of org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter (KIP-298); every value is UTF-8
 *  text. Spring: `DLT_…` of org.springframework.kafka.support.KafkaHeaders, as org.springframework.kafka.listener.
 *  DeadLetterPublishingRecoverer fills them: numbers are big-endian, 4 bytes for the partition and 8 for offset and timestamp, the rest
 *  is UTF-8 text; the timestamp's type is org.apache.kafka.common.record.TimestampType's own text. A topic that stamps records
 *  when it appends them is not told apart: we keep the time alone. */
export function exportHeaders(exported: Exported): Header[] {
  const { topic, partition, offset, stage, message, consumerGroup: group, record } = exported;
  const failure = failureOf(exported);
  const trace = `${failure}: ${message}${exported.stack === null ? '' : `\n${exported.stack}`}`;
  const connect: [string, string | null][] = [
    ['topic', topic],
    ['partition', String(partition)],
    ['offset', offset],
    ['connector.name', group],
    ['task.id', '0'],
    ['stage', stage],
    ['class.name', `customer_service.${stage}`],
    ['exception.class.name', failure],
    ['exception.message', message],
    ['exception.stacktrace', trace],
  ];
  const spring: [string, string | Buffer | null][] = [
    ['original-topic', topic],
    ['original-partition', int32(partition)],
    ['original-offset', int64(BigInt(offset))],
    ['original-timestamp', int64(BigInt(record.timestampMs))],
    ['original-timestamp-type', record.timestampMs < 0 ? 'NoTimestampType' : 'CreateTime'],
    ['original-consumer-group', group],
    ['exception-fqcn', failure],
    ['exception-message', message],
    ['exception-stacktrace', trace],
  ];
  return [
    ...record.headers.filter(([name]) => !name.startsWith(CONNECT) && !name.startsWith(SPRING)),
    ...named(CONNECT, connect),
    ...named(SPRING, spring),
  ];
}

const CONNECT = '__connect.errors.';
const SPRING = 'kafka_dlt-';

/** In the place of an exception's class: "schema", "sql.23514", "transition.TypeError". */
function failureOf({ code, class: errorClass }: Exported): string {
  return errorClass === null ? code : `${code}.${errorClass}`;
}

function named(prefix: string, values: readonly (readonly [string, string | Buffer | null])[]): Header[] {
  return values.flatMap(([name, value]) =>
    value === null ? [] : [[prefix + name, typeof value === 'string' ? Buffer.from(value) : value] as const],
  );
}
function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

const ROWS_PER_PAGE = 500;
const BYTES_PER_PAGE = 4_000_000;
const NUMBERS_PER_QUERY = 100_000;

/** In the order of their numbers, as of now: what dies meanwhile is the next export's. A number is given before its batch is saved:
 *  of batches in flight right now one with a lower number may still appear. A page for each question: where few fit, many are empty. */
export async function* readPages(db: Db, filter: ExportFilter): AsyncGenerator<Exported[]> {
  const [newest] = await db.execute<{ id: number | null }>(sql`select max(id)::float8 as id from dead_letters`);
  const end = newest?.id ?? 0;
  let left = filter.limit ?? Number.POSITIVE_INFINITY;
  for (let after = filter.after ?? 0; after < end && left > 0; ) {
    const until = Math.min(after + NUMBERS_PER_QUERY, end);
    const page = await readPage(db, filter, { after, until, rows: Math.min(left, ROWS_PER_PAGE) });
    yield page;
    left -= page.length;
    after = page.at(-1)?.id ?? until;
  }
}

async function readPage(
  db: Db,
  filter: ExportFilter,
  { after, until, rows }: { after: number; until: number; rows: number },
): Promise<Exported[]> {
  const found = await db.execute<Stored>(sql`
    with found as (select d.id, d.size + octet_length(d.headers::text) as bytes from dead_letters d
                   where d.id > ${after}::bigint and d.id <= ${until}::bigint and ${matching(filter)} order by d.id limit ${rows}::int),
         page as (select id, sum(bytes) over (order by id) - bytes as before from found)
    select d.id::float8 as id, topic, partition, generation, "offset", code, stage, class, message, stack, user_id as "userId", type,
           attempts, first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt", status, consumer_group as "consumerGroup",
           key, value, headers::text as headers, record_ms as "recordMs"
      from page join dead_letters d using (id) where page.before < ${BYTES_PER_PAGE}::int order by d.id`);
  return found.map(({ key, value, headers, recordMs, ...row }) => ({
    ...row,
    firstFailedAt: new Date(row.firstFailedAt).toISOString(),
    lastFailedAt: new Date(row.lastFailedAt).toISOString(),
    record: recordOf({ offset: row.offset, key, value, headers, recordMs }),
  }));
}
type Stored = Omit<Exported, 'record'> & StoredRecord;

function matching({ statuses, ...filter }: ExportFilter): SQL {
  return allOf([sql`d.status = any(${sql.param(statuses)}::text[])`, ...fitting(filter)]);
}

/** What was taken, for the audit. `lastId`: where a next one may go on; null: nothing was. `failed`: the code of what cut it off. */
export type Taken = { exported: number; lastId: number | null; interrupted?: true; failed?: string };

/** The row of `audit` before the export; returns what writes down its result (E3). `target`: a topic, or "lines", "records", "download". */
export async function beginExport(
  db: Db,
  { who, filter, target }: { who: string; filter: ExportFilter; target: string },
): Promise<(taken: Taken) => Promise<void>> {
  const id = await writeAudit(db, { who, verb: 'export', scope: { ...filter, target } }, null);
  return (taken) => endAudit(db, id, taken);
}
