// waiting.ts — the events that wait, as a list.
import type { WaitingListed } from '../queries/waiting.ts';
import type { At } from './connection.ts';
import { type Output, place, time } from './output.ts';

export async function listWaiting(
  { db }: At,
  out: Output,
  { user, type, topic, limit }: { user?: string; type?: string; topic?: string; limit: number },
): Promise<void> {
  const { findWaiting } = await import('../queries/waiting.ts');
  const rows = await findWaiting(db, { user, type, topic }, { limit });
  out.many(
    rows.map((row) => ({ ...row, id: String(row.id) })),
    COLUMNS,
    'Nothing waits.',
  );
  if (rows.length === limit) out.say(`The oldest ${limit}; --limit shows more.`);
  if (rows.length > 0) out.next('dlq list', 'status');
}

type Row = Omit<WaitingListed, 'id'> & { id: string };
const COLUMNS = [
  { head: 'ID', of: (row: Row) => row.id },
  { head: 'EVENT', of: (row: Row) => row.type },
  { head: 'USER', of: (row: Row) => row.userId },
  { head: 'FOR', of: ({ reason, customerId }: Row) => (reason === 'customer' ? `customer ${customerId}` : reason) },
  { head: 'AT', of: place },
  { head: 'SINCE', of: (row: Row) => time(row.since) },
];
