// Groups of more rows than anybody looks through: of the newest 200,000, and they say so.
import { expect } from 'vitest';
import { groupDeadLetters } from '../../src/queries/dead-letters.ts';
import { groupWaiting } from '../../src/queries/waiting.ts';
import { cloudEvent, rawRecord, statusChanged } from '../support/records.ts';
import { createWorld, test } from '../support/world.ts';

test('of 200,001 dead letters and as many events that wait the oldest are not counted', async () => {
  const world = await createWorld();
  const { source, stop } = await world.service();
  world.log.append(rawRecord('{"'), cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 'e1' }));
  await source.drain();
  await stop();
  for (const table of ['dead_letters', 'waiting']) {
    const [{ columns } = { columns: '' }] = await world.sql<{ columns: string }[]>`
      select string_agg(quote_ident(column_name), ',') as columns from information_schema.columns
       where table_name = ${table} and column_name not in ('id', 'offset')`;
    await world.sql.unsafe(`insert into ${table} (id, "offset", ${columns}) overriding system value
      select n, n, ${columns} from (select * from ${table}) x, generate_series(1000, 200999) n`);
  }
  expect(await groupDeadLetters(world.db, {})).toMatchObject({ complete: false, items: [{ count: 200_000 }] });
  expect(await groupWaiting(world.db, {})).toMatchObject({ complete: false, items: [{ count: 200_000 }] });
  await world.sql`delete from dead_letters where "offset" = 1000`;
  await world.sql`delete from waiting where "offset" = 1000`;
  expect(await groupDeadLetters(world.db, {})).toMatchObject({ complete: true, items: [{ count: 200_000 }] });
  expect(await groupWaiting(world.db, {})).toMatchObject({ complete: true, items: [{ count: 200_000 }] });
  await world.close();
});
