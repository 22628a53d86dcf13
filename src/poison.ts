// poison.ts — which record of a batch does Postgres refuse? Found by bisecting under savepoints; everything is rolled back.
//
// The gates (decode.ts) find nearly all bad input; this is for what only Postgres sees. The batch is then run again
// knowing the culprits, which become dead letters `sql`.
import type { Db, Tx } from '../db/client.ts';
import { classify } from './errors.ts';
import type { Decoded } from './events.ts';
import { rolledBack } from './rolled-back.ts';
import { type Routed, route } from './route.ts';
import type { Poisons, Ran } from './run.ts';
import { inOrder } from './save.ts';

export type Probing = {
  db: Db;
  runOn(tx: Tx, routed: Routed, poisons: Poisons): Promise<Ran>;
  write(tx: Tx, ran: Ran): Promise<void>[];
};

/** The known poisons and those found in `events`, by offset, each with its SQLSTATE. Nothing found: `known` itself.
 *  Throws what is no poison (Postgres away, a conflict). */
export async function findPoisons(
  { db, runOn, write }: Probing,
  events: readonly Decoded[],
  known: Poisons,
): Promise<Poisons> {
  const found = new Map(known);
  // A customer's events take effect before the batch's users are run: without them a user would wait, and pass.
  const customers = events.filter(({ outcome, type }) => outcome === undefined && type === 'CUSTOMER_CREATED');
  const others = events.filter((event) => !customers.includes(event));
  await rolledBack(db, async (tx) => {
    let before: readonly Decoded[] = [];
    await bisect(customers.map((event) => [event]));
    before = customers;
    if ((await refusal([])) !== undefined) return; // refused whatever is left out: no record's fault
    // One user's events stay together and in order: what a later one writes depends on the earlier ones.
    await bisect([...Map.groupBy(others, (event) => event.userId ?? event.record.offset).values()]);

    async function bisect(groups: readonly Decoded[][]): Promise<void> {
      if (groups.length === 0 || (await refusal(groups.flat())) === undefined) return;
      if (groups[1] === undefined) return findIn(groups[0] ?? []);
      const middle = groups.length >> 1;
      await bisect(groups.slice(0, middle));
      await bisect(groups.slice(middle));
    }

    async function findIn(group: readonly Decoded[]): Promise<void> {
      for (let n = 1; n <= group.length; n++) {
        const sqlstate = await refusal(group.slice(0, n));
        const offset = group[n - 1]?.record.offset as bigint;
        if (sqlstate === undefined) continue;
        if (found.has(offset)) return; // refused as a dead letter too: no record's fault
        found.set(offset, sqlstate);
      }
    }

    /** The SQLSTATE with which Postgres refuses these events' rows, if it does. */
    async function refusal(some: readonly Decoded[]): Promise<string | undefined> {
      try {
        await rolledBack(tx, async (savepoint) => {
          await inOrder(write(savepoint, await runOn(savepoint, route([...before, ...some]), found)));
        });
        return undefined;
      } catch (error) {
        const { class: errorClass, code } = classify(error);
        if (errorClass !== 'poison') throw error;
        return code;
      }
    }
  });
  return found.size > known.size ? found : known;
}
