// audit.ts — what operators did, for people.
import { sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import { allOf } from '../dead-letter-filter.ts';
import { iso, shortScope } from './rows.ts';

export type AuditListed = {
  id: number;
  at: string;
  who: string;
  verb: string;
  scope: Record<string, unknown>;
  dryRun: boolean;
  /** Null: it goes on, or was cut off. */
  result: Record<string, unknown> | null;
  jobId: number | null;
};

/** Those that fit, the newest first, of those below `below`; of numbers the first (shortScope). */
export async function readAudit(
  db: Db,
  { who, verb }: { who?: string | undefined; verb?: string | undefined },
  { below, limit }: { below?: number | undefined; limit: number },
): Promise<AuditListed[]> {
  const where = allOf([
    below === undefined ? undefined : sql`id < ${below}::bigint`,
    who === undefined ? undefined : sql`who = ${who}`,
    verb === undefined ? undefined : sql`verb = ${verb}`,
  ]);
  const rows = await db.execute<AuditListed>(sql`
    select id::float8 as id, at, who, verb, ${shortScope('scope')} as scope, dry_run as "dryRun", result, job_id::float8 as "jobId"
      from audit where ${where} order by id desc limit ${limit}::int`);
  return rows.map((row) => ({ ...row, at: iso(row.at) }));
}
