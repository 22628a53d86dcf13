// live.ts — what the console's live numbers are read with: small however large the tables are.
//
// Owns:          the SQL. Does not own: how often it is asked (../api/live.ts).
//
// Of dead letters and of what waits the newest 20,000 are looked at: where there are more, what is counted is the least there is.
import { sql } from 'drizzle-orm';
import type { Db } from '../../db/client.ts';
import type { Job } from '../jobs.ts';
import { REDRIVE_TOPIC, readTallies } from '../positions.ts';
import type { Tallies } from '../tallies.ts';
import { type HoldCounted, readHoldsCounted } from './holds.ts';
import { iso, shortScope } from './rows.ts';

export type PositionSeen = {
  topic: string;
  partition: number;
  generation: number;
  next: bigint;
  state: 'running' | 'halted';
  haltedReason: string | null;
  owner: string | null;
  updatedAt: string;
  records: number;
  unkeyed: number;
};
/** Of all processes. `tallies`: the sums over all rows, of a moment before or after. */
export type Moment = { tallies: Tallies; positions: PositionSeen[] };

/** Added up by Postgres: of 1,000 rows that costs this process 3 ms, and 12 ms where it adds them up by itself. */
export async function readMoment(db: Db): Promise<Moment> {
  const [tallies, rows] = await Promise.all([
    readTallies(db),
    db.execute<Omit<PositionSeen, 'next'> & { next: string }>(sql`
      select topic, partition, generation, next_offset as next, state, halted_reason as "haltedReason", owner,
             updated_at as "updatedAt", coalesce((tallies->>'records')::float8, 0) as records,
             coalesce((tallies->>'unkeyed')::float8, 0) as unkeyed
        from positions where topic <> ${REDRIVE_TOPIC} order by topic, partition`),
  ]);
  const positions = rows.map((row) => ({ ...row, next: BigInt(row.next), updatedAt: iso(row.updatedAt) }));
  return { tallies, positions };
}

/** What is left to people, and what they do. `dead` by code, `reasons` of what waits; holds and jobs: the newest, of jobs those that
 *  run before all others. */
export type Open = {
  dead: Record<string, number>;
  reasons: Record<string, number>;
  holds: HoldCounted[];
  jobs: Omit<Job, 'cursor'>[];
};

export async function readOpen(db: Db): Promise<Open> {
  const [dead, reasons, holds, jobs] = await Promise.all([
    countBy(db, sql`select code as name from dead_letters where status in ('open', 'redriving') order by id desc`),
    countBy(db, sql`select reason as name from waiting order by id desc`),
    readHoldsCounted(db, { limit: MOST_HOLDS }),
    newestJobs(db),
  ]);
  return { dead, reasons, holds, jobs };
}

const MOST_COUNTED = 1_001;
const MOST_LOOKED_AT = sql.raw('20000');
const MOST_HOLDS = 100;
const MOST_JOBS = sql.raw('20');

async function countBy(db: Db, rows: ReturnType<typeof sql>): Promise<Record<string, number>> {
  const counted = await db.execute<{ name: string; n: number }>(sql`
    select name, count(*)::int as n from (${rows} limit ${MOST_LOOKED_AT}) looked group by name order by name`);
  return Object.fromEntries(counted.map(({ name, n }) => [name, Math.min(n, MOST_COUNTED)]));
}

async function newestJobs(db: Db): Promise<Open['jobs']> {
  return [
    ...(await db.execute<Open['jobs'][number]>(sql`
      select id::float8 as id, kind, ${shortScope('scope')} as scope, options, state, total::float8 as total, done::float8 as done, failed::float8 as failed,
             started_by as "startedBy", started_at as "startedAt", updated_at as "updatedAt", ended_at as "endedAt"
        from (select * from jobs order by id desc limit 1000) newest
       order by state <> 'running', id desc limit ${MOST_JOBS}`)),
  ];
}
