// waiting.ts — the events that wait, as a list.
import type { At } from './connection.ts';
import { type Output, place, time } from './output.ts';

type Waiting = {
  id: string;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  type: string;
  userId: string;
  customerId: string | null;
  reason: string;
  since: string;
};

export async function listWaiting(
  { sql }: At,
  out: Output,
  { user, type, topic, limit }: { user?: string; type?: string; topic?: string; limit: number },
): Promise<void> {
  const rows = await sql<Waiting[]>`
    select id, topic, partition, generation, "offset", type, user_id as "userId", customer_id as "customerId", reason, since
      from waiting
     where (${user ?? null}::text is null or user_id = ${user ?? null})
       and (${type ?? null}::text is null or type = ${type ?? null})
       and (${topic ?? null}::text is null or topic = ${topic ?? null})
     order by id limit ${limit}`;
  out.many(
    rows,
    [
      { head: 'ID', of: (row) => row.id },
      { head: 'EVENT', of: (row) => row.type },
      { head: 'USER', of: (row) => row.userId },
      { head: 'FOR', of: ({ reason, customerId }) => (reason === 'customer' ? `customer ${customerId}` : reason) },
      { head: 'AT', of: place },
      { head: 'SINCE', of: (row) => time(row.since) },
    ],
    'Nothing waits.',
  );
  if (rows.length === limit) out.say(`The oldest ${limit}; --limit shows more.`);
  if (rows.length > 0) out.next('dlq list', 'status');
}
