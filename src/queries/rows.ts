// rows.ts — what all questions to the tables share: times, and a count that ends.
import { type SQL, sql } from 'drizzle-orm';

/** A time as Postgres writes it, as ISO 8601 in UTC. */
export function iso(time: string): string {
  return new Date(time).toISOString();
}
export function isoOrNull(time: string | null): string | null {
  return time === null ? null : iso(time);
}

/** How many rows `select` has, at most `most`: nobody waits for a count of millions. */
export function countUpTo(most: number, select: SQL): SQL<number> {
  return sql<number>`(select count(*)::int from (${select} limit ${sql.raw(String(most))}) counted)`;
}
