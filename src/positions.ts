// positions.ts — the rows that say how far each partition is. Read and first made here; moved by save.ts (the fence),
// and of a halted one by a person (move-position.ts).
import { sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import type { Tallies } from './tallies.ts';

export type Position = {
  topic: string;
  partition: number;
  generation: number;
  next: bigint;
  clusterId: string;
  state: 'running' | 'halted';
  haltedReason: string | null;
};

/** Where drains keep their tallies: rows of this topic are no partition of Kafka. */
export const REDRIVE_TOPIC = '#redrive';

type NewPosition = { topic: string; partition: number; clusterId: string; at: bigint };

/** Makes the rows that are missing, starting at `at`; rows that exist stay as they are. Returns what was made. */
export async function makePositions(
  db: Db,
  wanted: readonly NewPosition[],
): Promise<{ topic: string; partition: number }[]> {
  const rows = wanted.map(({ topic, partition, clusterId, at }) => ({ topic, partition, clusterId, at: String(at) }));
  return [
    ...(await db.execute<{ topic: string; partition: number }>(sql`
      insert into positions (topic, partition, next_offset, first_offset, cluster_id)
      select topic, partition, at, at, "clusterId"
        from json_to_recordset(${JSON.stringify(rows)}::text::json) as r(topic text, partition int, at bigint, "clusterId" text)
       order by topic, partition
          on conflict do nothing returning topic, partition`)),
  ];
}

export async function readPositions(db: Db, of: readonly { topic: string; partition: number }[]): Promise<Position[]> {
  if (of.length === 0) return [];
  const wanted = JSON.stringify(of.map(({ topic, partition }) => ({ topic, partition })));
  const rows = await db.execute<Omit<Position, 'next'> & { next: string }>(sql`
    select p.topic, p.partition, p.generation, p.next_offset as next, p.cluster_id as "clusterId", p.state,
           p.halted_reason as "haltedReason"
      from positions p join json_to_recordset(${wanted}::text::json) as r(topic text, partition int)
        on p.topic = r.topic collate "C" and p.partition = r.partition`);
  return rows.map((row) => ({ ...row, next: BigInt(row.next) }));
}

/** True before this database has read anything: the moment in which KAFKA_FROM counts. */
export async function isFirstStart(db: Db): Promise<boolean> {
  const rows = await db.execute(sql`select 1 from positions where topic <> ${REDRIVE_TOPIC} limit 1`);
  return rows.length === 0;
}

/** The running totals over all partitions and drains (tallies.ts). */
export async function readTallies(db: Db): Promise<Tallies> {
  const rows = await db.execute<{ key: string; total: string }>(
    sql`select key, sum(value::bigint) as total from positions cross join jsonb_each_text(tallies) group by key`,
  );
  return Object.fromEntries(rows.map(({ key, total }) => [key, Number(total)]));
}

/** Whose logs were read here; '' before anything was. */
export async function readClusterId(db: Db): Promise<string> {
  const [row] = await db.execute<{ clusterId: string }>(
    sql`select cluster_id as "clusterId" from positions where topic <> ${REDRIVE_TOPIC} limit 1`,
  );
  return row?.clusterId ?? '';
}
