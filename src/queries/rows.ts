// rows.ts — what all questions to the tables share: times, and a count that ends.
import { type SQL, sql } from 'drizzle-orm';

/** A time as Postgres writes it, as ISO 8601 in UTC. */
export function iso(time: string): string {
  return new Date(time).toISOString();
}
export function isoOrNull(time: string | null): string | null {
  return time === null ? null : iso(time);
}

const IDS_SHOWN = 20;

/** A job's or an act's scope for a list: of numbers (there may be 10,000) the first 20, and how many there are as `idsCount`. */
export function shortScope(scope: string): SQL {
  const ids = `${scope} -> 'ids'`;
  return sql.raw(`
    case when jsonb_typeof(${ids}) = 'array' and jsonb_array_length(${ids}) > ${IDS_SHOWN}
         then ${scope} || jsonb_build_object('ids', jsonb_path_query_array(${scope}, '$.ids[0 to ${IDS_SHOWN - 1}]'),
                                             'idsCount', jsonb_array_length(${ids}))
         else ${scope} end`);
}

/** How many rows `select` has, at most `most`: nobody waits for a count of millions. */
export function countUpTo(most: number, select: SQL): SQL<number> {
  return sql<number>`(select count(*)::int from (${select} limit ${sql.raw(String(most))}) counted)`;
}
