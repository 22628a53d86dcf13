// While as many questions as may be are at work: who is answered all the same, and who is not.
import { expect, vi } from 'vitest';
import { ask, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, rawRecord, userCreated } from '../support/records.ts';
import { openPage, type Page } from '../support/sse.ts';
import { test, type World } from '../support/world.ts';

/** The API's questions about a table take until Postgres ends them, after 3 s. */
async function slow({ sql }: World, table: 'users' | 'dead_letters') {
  await sql.unsafe(`create sequence asked_${table}; alter table ${table} rename to all_${table}; create view ${table} as
    select * from all_${table} where case when current_setting('application_name') <> 'customer-service-api' then true
                                          when nextval('asked_${table}') > 0 then pg_sleep(60) is not null end`);
  return {
    atWork: (n: number) =>
      vi.waitFor(async () => {
        const asked = await sql.unsafe(`select last_value::int as n from asked_${table} where is_called`);
        expect([...asked]).toEqual([{ n }]);
      }),
    over: () => sql.unsafe(`drop view ${table}; alter table all_${table} rename to ${table}`),
  };
}

/** A service of which four questions are at work. */
async function busy(world: World) {
  const { source, url } = await world.service();
  world.log.append(cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }));
  await source.drain();
  await ask(url, '/api/v1/machine'); // laid out
  const users = await slow(world, 'users');
  const atWork = Array.from({ length: 4 }, () => ask(url, '/api/v1/users'));
  await users.atWork(4);
  return {
    url,
    atWork,
    async over() {
      await Promise.all(atWork);
      await users.over();
    },
  };
}

test('the live numbers and the machine wait for no question of others', async ({ world }) => {
  const { url, atWork, over } = await busy(world);
  const look = async () => {
    for (const path of ['/stats', '/partitions', '/machine'])
      expect({ path, status: (await ask(url, `/api/v1${path}`)).status }).toEqual({ path, status: 200 });
    const page = await openPage(`${url}/api/v1/stream`);
    await vi.waitFor(() => expect(page.events[0]?.name).toBe('snapshot'));
    page.leave();
    return 'before one of them was answered';
  };
  expect(await Promise.race([look(), ...atWork])).toBe('before one of them was answered');
  await over();
});

test('what only reads takes its turn also where it is a POST', async ({ world }) => {
  const { url, over } = await busy(world);
  const leaving = new AbortController();
  const more = Array.from({ length: 13 }, () =>
    fetch(`${url}/api/v1/users`, { signal: leaving.signal }).catch(() => undefined),
  );
  expect((await Promise.race(more))?.headers.get('retry-after')).toBe('5'); // now all places are taken
  const whatIf = { method: 'POST', headers: OWN, body: { events: [{ type: 'USER_DELETED', payload: {} }] } };
  expectProblem(await ask(url, '/api/v1/what-if', whatIf), 'unavailable', 503);
  leaving.abort();
  await Promise.all(more);
  await over();
  expect((await ask(url, '/api/v1/what-if', whatIf)).status).toBe(200);
});

test('exports that wait for one another keep no turn of others: a connection that is free is used', async ({
  world,
}) => {
  const { source, url } = await world.service();
  world.log.append(
    cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
    rawRecord('no event'),
  );
  await source.drain();
  const [users, deadLetters] = [await slow(world, 'users'), await slow(world, 'dead_letters')];
  // One asks, the other one waits for it.
  const exports = Array.from({ length: 2 }, () => ask(url, '/api/v1/dead-letters/export'));
  await deadLetters.atWork(1);
  await vi.waitFor(async () => expect(await world.sql`select 1 from audit`).toHaveLength(2));
  const others = Array.from({ length: 3 }, () => ask(url, '/api/v1/users'));
  const all = users.atWork(3).then(() => 'all are asked');
  expect(await Promise.race([all, ...exports, ...others])).toBe('all are asked');
  await Promise.all([...exports, ...others]);
  await Promise.all([users.over(), deadLetters.over()]);
});

test('200 pages may have the live numbers at once; the next one is told when to come again', async ({ world }) => {
  const { url } = await world.service();
  const pages: Page[] = [];
  for (let n = 0; n < 200; n++) pages.push(await openPage(`${url}/api/v1/stream`));
  expect(new Set(pages.map(({ status }) => status))).toEqual(new Set([200]));
  const { status, headers } = await openPage(`${url}/api/v1/stream`);
  expect([status, headers.get('retry-after')]).toEqual([503, '30']);
  for (const page of pages) page.leave();
  await Promise.all(pages.map(({ ended }) => ended));
});
