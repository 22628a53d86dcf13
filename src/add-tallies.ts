// add-tallies.ts — what is added to the running totals by anything but a batch: a drain, a migration, a rebuild, what is given up.
//
// Rows of their own, spread over 16, so that they do not wait for each other or for a partition's fence. Whoever adds holds its row
// until its transaction ends: a rehearsal, which keeps its locks for long and is rolled back, adds nothing.
import { createHash } from 'node:crypto';
import { type SQL, sql } from 'drizzle-orm';
import { REDRIVE_TOPIC } from './positions.ts';
import { mergedTallies } from './save.ts';
import type { Tallies } from './tallies.ts';

const ROWS = 16;

/** `id`: whatever tells this one from others at the same time; by it the row is chosen. */
export function addTallies(id: string, tallies: Tallies): SQL {
  const partition = (createHash('sha256').update(id).digest()[0] as number) % ROWS;
  return sql`insert into positions (topic, partition, next_offset, first_offset, cluster_id, tallies)
             values (${REDRIVE_TOPIC}, ${partition}::int, 0, 0, '', ${JSON.stringify(tallies)}::text::jsonb)
                 on conflict (topic, partition) do update set tallies = ${mergedTallies(tallies)}, updated_at = clock_timestamp()`;
}
