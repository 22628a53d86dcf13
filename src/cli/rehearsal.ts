// rehearsal.ts — the act itself in a transaction that is rolled back: what would happen, and nothing is written.
import type { Db } from '../../db/client.ts';

/** Does `act` and undoes it. Its own transactions are savepoints. Throws what it throws. */
export async function rolledBack<T>(db: Db, act: (db: Db) => Promise<T>): Promise<T> {
  const undone = new Error('rolled back');
  let result: { value: T } | undefined;
  await db
    .transaction(async (tx) => {
      result = { value: await act(tx as unknown as Db) };
      throw undone;
    })
    .catch((error) => {
      if (error !== undone) throw error;
    });
  return (result as { value: T }).value;
}
