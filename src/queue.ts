// queue.ts — what stands in `waiting` and `dead_letters` of some users, as a drain needs it: how much, what may be next, their events.
//
// Owns:          those reads, without payloads but of what goes, and how a row leaves its table or stays in it.
// Does not own:  the order (order.ts), what becomes of an event (redrive.ts), statuses that an operator gives (operate.ts).
//
// O1  Of each source only its first events are read, as many as can go in one transaction: beyond them no head can lie. And what could
//     stop them, or must go first: the first blocking dead letter, and the first creation. A user with 200,000 is read in portions.
import { type SQL, sql } from 'drizzle-orm';
import type { Tx } from '../db/client.ts';
import type { Buried } from './bury.ts';
import type { Decoded, Place, SourceRecord } from './events.ts';
import type { Queued } from './order.ts';

/** A waiting event, or a dead letter of the user. `counts`: it is counted in `users.waiting`. */
export type Item = Queued & {
  table: 'waiting' | 'dead_letters';
  code: string | null;
  counts: boolean;
  bytes: number;
  forced: boolean;
};
/** A dead letter that an operator wants to be tried again. */
export const isRedriven = ({ table, blocks }: Item) => table === 'dead_letters' && !blocks;

/** What one source of a user has in the queue. */
export type SourceOfUser = Pick<Place, 'topic' | 'partition' | 'generation'> & {
  userId: string;
  /** Counted in `users.waiting`. */
  counted: number;
  /** May go, as soon as it is its turn. */
  eligible: number;
  /** The first dead letter that nobody redrives: it stops what lies behind it. */
  blockedAt: string | null;
  blockedMs: string | null;
  /** The first creation; it blocks where it is such a dead letter too. */
  creationAt: string | null;
  creationMs: string | null;
  creationBlocks: boolean;
};

/** By user: all that waits, and the dead letters that block or are being redriven. */
export async function readSources(tx: Tx, userIds: readonly string[]): Promise<Map<string, SourceOfUser[]>> {
  if (userIds.length === 0) return new Map();
  const ids = sql.param(userIds);
  const rows = await tx.execute<SourceOfUser>(sql`
    select "userId", topic, partition, generation, counted, eligible, blocked[1] as "blockedAt", blocked[2] as "blockedMs",
           creation[1] as "creationAt", creation[2] as "creationMs", coalesce(creation[3] = 1, false) as "creationBlocks"
      from (select user_id as "userId", topic, partition, generation,
                   count(*) filter (where counts)::float8 as counted, count(*) filter (where goes)::float8 as eligible,
                   min(array["offset", at_ms]) filter (where not goes) as blocked,
                   min(array["offset", at_ms, case when goes then 0 else 1 end]) filter (where type = 'USER_CREATED') as creation
              from (select user_id, topic, partition, generation, "offset", type, at_ms, true as counts, true as goes
                      from waiting where user_id = any(${ids}::text[])
                    union all
                    select user_id, topic, partition, generation, "offset", type, ${DEAD_AT_MS}, blocks, status = 'redriving'
                      from dead_letters
                     where user_id = any(${ids}::text[]) and status in ('open', 'redriving') and (status = 'redriving' or blocks)) queued
             group by user_id, topic, partition, generation) sources`);
  return Map.groupBy(rows, ({ userId }) => userId);
}
const DEAD_AT_MS = sql.raw('coalesce((extract(epoch from occurred_at) * 1000)::bigint, record_ms)');

export type StoredItem = {
  table: Item['table'];
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  type: string | null;
  code: string | null;
  bytes: number;
  atMs: string;
  blocks: boolean;
  forced: boolean;
  status: string;
};
export const COORDINATES = sql.raw('topic, partition, generation, "offset"');

/** By user: of each source its first `most` that wait and its first `most` that are redriven, its first creation, and its first that
 *  blocks (O1). Without the payloads. What blocks is taken from `sources`: if somebody redrives it right now, what lies behind it
 *  is not known here, and must not be overtaken. */
export async function readHeads(tx: Tx, sources: readonly SourceOfUser[], most: number): Promise<Map<string, Item[]>> {
  if (sources.length === 0) return new Map();
  const source = sql`t.user_id = s."userId" collate "C" and ${PLACE_OF_SOURCE} and t."offset" is distinct from s."creationAt"`;
  // Sorted by an expression: along the primary key, which has the order, lie the events of all other users too.
  const first = sql`order by t."offset" + 0 limit ${most}::int`;
  const rows = await tx.execute<StoredItem & { userId: string }>(sql`
    with s as materialized (
         select * from json_to_recordset(${JSON.stringify(sources)}::text::json)
           as r("userId" text, topic text, partition int, generation smallint, "blockedAt" bigint, "creationAt" bigint, "creationBlocks" boolean))
    select h.* from s cross join lateral (
           select ${WAITING_ITEM} from waiting t where ${source} and (s."blockedAt" is null or t."offset" < s."blockedAt") ${first}) h
    union all
    select h.* from s cross join lateral (
           select ${DEAD_ITEM} from dead_letters t where ${source} and ${IS_REDRIVEN} ${first}) h
    union all
    select ${WAITING_ITEM} from s join waiting t on ${PLACE_OF_SOURCE} and t."offset" = s."creationAt"
    union all
    select ${DEAD_ITEM} from s join dead_letters t on ${PLACE_OF_SOURCE} and t."offset" = s."creationAt"
     where not s."creationBlocks" and ${IS_REDRIVEN}`);
  const queues = Map.groupBy(rows, ({ userId }) => userId);
  return new Map(
    [...Map.groupBy(sources, ({ userId }) => userId)].map(([userId, own]) => [
      userId,
      [...(queues.get(userId) ?? []).map(itemOf), ...own.flatMap(blockers)],
    ]),
  );
}
/** Not as the index of those that are redriven says it: while statistics do not know yet that they are many, each user's were looked
 *  for among all of them. */
const IS_REDRIVEN = sql.raw("t.status in ('open', 'redriving') and t.status || '' = 'redriving'");
const PLACE_OF_SOURCE = sql.raw(
  't.topic = s.topic collate "C" and t.partition = s.partition and t.generation = s.generation',
);
const PLACE = 't.user_id as "userId", t.topic, t.partition, t.generation, t."offset"';
const WAITING_ITEM = sql.raw(
  `${PLACE}, 'waiting' as table, t.type, null as code, octet_length(t.value) as bytes, t.at_ms as "atMs", true as blocks, false as forced, 'waiting' as status`,
);
const DEAD_ITEM = sql.raw(
  `${PLACE}, 'dead_letters' as table, t.type, t.code, t.size as bytes, coalesce((extract(epoch from t.occurred_at) * 1000)::bigint, t.record_ms) as "atMs", t.blocks, t.forced, t.status`,
);

function blockers(source: SourceOfUser): Item[] {
  const { topic, partition, generation, blockedAt, blockedMs, creationAt, creationMs, creationBlocks } = source;
  const item = (type: string | null, offset: string, atMs: string | null): Item => ({
    ...{ table: 'dead_letters', topic, partition, generation, type, code: null, bytes: 0, forced: false },
    ...{ offset: BigInt(offset), atMs: Number(atMs), blocks: true, counts: true },
  });
  const isCreation = creationBlocks && creationAt === blockedAt;
  return [
    ...(blockedAt === null ? [] : [item(isCreation ? 'USER_CREATED' : null, blockedAt, blockedMs)]),
    ...(creationAt === null || !creationBlocks || isCreation ? [] : [item('USER_CREATED', creationAt, creationMs)]),
  ];
}

/** "waiting user-events/4#0@99121" */
export function nameOf({
  table,
  topic,
  partition,
  generation,
  offset,
}: Pick<Item, 'table' | keyof Place> & { offset: unknown }): string {
  return `${table} ${topic}/${partition}#${generation}@${offset}`;
}

export function itemOf({ offset, atMs, bytes, blocks, status, ...stored }: StoredItem): Item {
  return {
    ...stored,
    bytes: bytes ?? 0,
    offset: BigInt(offset),
    atMs: Number(atMs),
    blocks: blocks && status === 'open',
    counts: blocks,
  };
}

export type StoredRecord = { key: Buffer | null; value: Buffer | null; headers: string; recordMs: string };

/** These decoded again, as far as they stand there still. */
export async function readEvents(
  tx: Tx,
  decode: (place: Place, record: SourceRecord) => Decoded,
  items: readonly Item[],
): Promise<Map<Item, Decoded>> {
  const records = new Map<string, SourceRecord>();
  for (const table of ['waiting', 'dead_letters'] as const) {
    const of = items.filter((item) => item.table === table);
    if (of.length === 0) continue;
    const value = table === 'dead_letters' ? sql.raw('coalesce(t.edited_value, t.value)') : sql.raw('t.value');
    const rows = await tx.execute<StoredRecord & StoredItem>(sql`
      select ${sql.raw('t.topic, t.partition, t.generation, t."offset", t.key')}, ${value} as value, t.headers::text as headers, t.record_ms as "recordMs"
        from ${sql.raw(table)} t join ${coordinatesOf(of)} on ${SAME_COORDINATES}`);
    for (const row of rows) records.set(nameOf({ ...row, table }), recordOf(row));
  }
  const events = new Map<Item, Decoded>();
  for (const item of items) {
    const record = records.get(nameOf(item));
    if (record !== undefined) events.set(item, decode(item, record));
  }
  return events;
}

/** A record as it stands in the tables. */
export function recordOf({ offset, key, value, headers, recordMs }: StoredRecord & { offset: string }): SourceRecord {
  const pairs = JSON.parse(headers) as [string, string | null][];
  return {
    offset: BigInt(offset),
    timestampMs: Number(recordMs),
    key,
    value,
    headers: pairs.map(([name, text]) => [
      Buffer.from(name, 'base64').toString(),
      text === null ? null : Buffer.from(text, 'base64'),
    ]),
  };
}

function coordinatesOf(items: readonly Item[]): SQL {
  const list = items.map(({ topic, partition, generation, offset }) => ({
    topic,
    partition,
    generation,
    offset: String(offset),
  }));
  return sql`json_to_recordset(${JSON.stringify(list)}::text::json) as r(topic text, partition int, generation smallint, "offset" bigint)`;
}
const SAME_COORDINATES = sql.raw(
  't.topic = r.topic collate "C" and t.partition = r.partition and t.generation = r.generation and t."offset" = r."offset"',
);

export function deleteWaiting(items: readonly Item[]): SQL {
  return sql`delete from waiting t using ${coordinatesOf(items)} where ${SAME_COORDINATES}`;
}
export function resolveDeadLetters(items: readonly Item[]): SQL {
  return sql`update dead_letters t set status = 'resolved', settled_at = now() from ${coordinatesOf(items)}
              where ${SAME_COORDINATES} and ${IS_REDRIVEN}`;
}
export function reopenDeadLetter(item: Item, buried: Buried): SQL {
  const { event, code, stage, class: errorClass, message, blocks, userId } = buried;
  // As much as could be read this time: the tallies take from the type that stands here.
  return sql`update dead_letters t
                set status = 'open', forced = false, attempts = attempts + 1, last_failed_at = now(), code = ${code}, stage = ${stage},
                    class = ${errorClass}, message = ${message}, blocks = ${blocks}, type = ${event.type},
                    dialect = ${event.dialect}, event_id = ${event.eventId}, user_id = coalesce(t.user_id, ${userId})
               from ${coordinatesOf([item])} where ${SAME_COORDINATES} and ${IS_REDRIVEN}`;
}
