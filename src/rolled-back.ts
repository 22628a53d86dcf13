// rolled-back.ts — an act in a transaction that is rolled back: what would happen, and nothing is written.
import type { Db, Tx } from '../db/client.ts';

/** Does `act` and undoes it; its own transactions are savepoints. Inside a transaction it is a savepoint itself. Throws what it throws. */
export async function rolledBack<T>(at: Db | Tx, act: (tx: Tx) => Promise<T>): Promise<T> {
  // Drizzle rolls back when the callback throws. One of its own each time: they may stand in one another.
  const undone = new Error('rolled back');
  let result: { value: T } | undefined;
  try {
    await (at as Db).transaction(async (tx) => {
      result = { value: await act(tx) };
      throw undone;
    });
  } catch (error) {
    if (error !== undone) throw error;
  }
  return (result as { value: T }).value;
}
