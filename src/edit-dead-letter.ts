// edit-dead-letter.ts — another payload in the place of a dead letter's, for its next redrive; the original stays.
import { sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { audited } from './audit.ts';
import { recordOf } from './queue.ts';
import type { Draining } from './redrive.ts';

/** A payload that can not stand in the place of a dead letter's: its text says why, and is meant for people. */
export class EditRefused extends Error {
  override name = 'EditRefused';
}

/** Puts another payload in the place of a dead letter's value, for its next redrive; null: as it was received again. The
 *  original stays. Throws EditRefused. */
export async function editDeadLetter(
  { db, decode }: Pick<Draining, 'decode'> & { db: Db },
  id: number,
  value: Buffer | null,
  { who, reason }: { who: string; reason: string },
): Promise<void> {
  await audited(db, { who, verb: 'edit', scope: { id, reason } }, async (tx) => {
    const [found] = await tx.execute<Stored>(sql`
      select topic, partition, generation, "offset", key, value, headers::text as headers, record_ms as "recordMs", user_id as "userId",
             type, status
        from dead_letters where id = ${id}::bigint for update`);
    if (found === undefined) throw new EditRefused(`there is no dead letter ${id}`);
    if (found.status !== 'open')
      throw new EditRefused(`dead letter ${id} is ${found.status}: only an open one can be edited`);
    const event = decode(found, recordOf(value === null ? found : { ...found, value }));
    if (value !== null) {
      if (event.outcome === 'dead')
        throw new EditRefused(`the edited payload can not be used either (${event.code}): ${event.detail}`);
      if (found.userId !== null && event.userId !== found.userId)
        throw new EditRefused('the edited payload names another user: its order would be another one');
      if (found.type !== null && event.type !== found.type)
        throw new EditRefused(`the edited payload is a ${event.type}, the dead letter a ${found.type}`);
    }
    const occurredAt = event.occurredAtMs === null ? null : new Date(event.occurredAtMs).toISOString();
    await tx.execute(sql`
      update dead_letters set edited_value = ${value === null ? null : `\\x${value.toString('hex')}`}::text::bytea, by_whom = ${who},
                              note = ${reason}, occurred_at = ${occurredAt}::timestamptz
       where id = ${id}::bigint`);
    return { bytes: value?.length ?? null };
  });
}
type Stored = Parameters<typeof recordOf>[0] & {
  topic: string;
  partition: number;
  generation: number;
  userId: string | null;
  type: string | null;
  status: string;
};
