// Questions whose work does not grow with the tables: Postgres must not read all users, or all of history, to answer them.
import { sql } from 'drizzle-orm';
import { expect } from 'vitest';
import type { Db } from '../../db/client.ts';
import { latestSteps, latestUsers } from '../../src/queries/history.ts';
import { cloudEvent, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, test, type World } from '../support/world.ts';

const COPIES = 100_000;

test('who is in a state, and what went along an edge lately, is looked up beside many who are not', async () => {
  const world = await createWorld();
  const { source, stop } = await world.service();
  world.log.append(
    cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 'e2' }),
  );
  await source.drain();
  await stop();
  await multiply(world, 'users', { user_id: `'u' || n` });
  await multiply(world, 'history', { user_id: `'u' || n`, topic: `'before'`, offset: 'n * 10 + x."offset"' });
  await world.db.transaction(async (tx) => {
    const db = tx as unknown as Db;
    const users = await latestUsers(db, 'active', 50);
    const { items } = await latestSteps(db, { outcome: 'applied' }, { limit: 1, mostBytes: 1_000 });
    const filter = { transition: items[0]?.transition as string };
    const steps = await latestSteps(db, filter, { limit: 50, mostBytes: 1_000 });
    expect([users.items.length, steps.items.length]).toEqual([1, 1]);
    expect(await rowsScanned(db)).toEqual([{ read: '0' }, { read: '0' }]);
  });
  await world.close();
});

async function multiply(world: World, table: string, changed: Record<string, string>): Promise<void> {
  const columns = await world.sql<{ name: string }[]>`
    select column_name as name from information_schema.columns where table_name = ${table} order by ordinal_position`;
  const names = columns.map(({ name }) => `"${name}"`).join();
  const values = columns.map(({ name }) => changed[name] ?? `x."${name}"`).join();
  await world.sql.unsafe(
    `insert into ${table} (${names}) select ${values} from ${table} x, generate_series(1, ${COPIES}) n`,
  );
  await world.sql.unsafe(`analyze ${table}`);
}

/** Rows of users and of history that were read without an index, by this transaction. */
async function rowsScanned(db: Db): Promise<unknown> {
  return [
    ...(await db.execute(
      sql`select seq_tup_read as read from pg_stat_xact_user_tables where relname in ('users', 'history')`,
    )),
  ];
}
