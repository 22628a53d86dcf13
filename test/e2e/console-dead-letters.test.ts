// Dead letters and what waits, on the page: looked at, tried out, redriven, discarded, corrected; nothing is done before it was tried.
import { readFile } from 'node:fs/promises';
import type { Locator, Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { BOB, deadLetterOf, EVE, event, mend, tellStory, test } from '../support/console.ts';
import { debezium, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { until, type World } from '../support/world.ts';

const detail = (page: Page) => page.getByRole('article');
const dialog = (page: Page) => page.getByRole('dialog');
const act = (where: Locator | Page, name: RegExp | string) =>
  where.getByRole('button', { name, exact: typeof name === 'string' });
const statusOf = async (world: World, id: number) =>
  (await world.sql<{ status: string }[]>`select status from dead_letters where id = ${id}`)[0]?.status;
const stateOf = async (world: World, id: string) =>
  (await world.sql<{ state: string }[]>`select state from users where user_id = ${id}`)[0]?.state;

describe('what it is made of', () => {
  test('is hidden until somebody asks, and that is written down', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const id = await deadLetterOf(world, 'broken-bob');
    const { page } = await site.open(`/dead-letters/${id}`);
    await detail(page).getByText('Personal data is hidden').waitFor();
    expect(await page.content()).not.toContain('admin@example.com');
    await act(detail(page), 'Show it').click();
    await detail(page)
      .getByText(/"changedBy": "admin@example\.com"/)
      .waitFor();
    expect(await world.sql`select verb, who, dry_run from audit`).toEqual([
      { verb: 'reveal', who: 'local', dry_run: false },
    ]);
    await act(detail(page), 'Hide again').click();
    await detail(page).getByText('Personal data is hidden').waitFor();
    expect(await page.content()).not.toContain('admin@example.com');
  });
});

describe('a redrive', () => {
  test('is tried out before it can be confirmed; then its user goes on, and the job ends', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const id = await deadLetterOf(world, 'broken-bob');
    const { page } = await site.open(`/dead-letters/${id}`);
    await detail(page).getByText('event of this user waits').waitFor();
    await act(detail(page), 'Redrive…').click();
    await dialog(page).getByText('It would be dead again.').waitFor();
    expect(await statusOf(world, id)).toBe('open');
    await act(dialog(page), 'Cancel').click();

    await mend(world);
    await act(detail(page), 'Redrive…').click();
    await dialog(page).getByText('It would be applied.').waitFor();
    await dialog(page).getByText('1 other event would go with it: 1 applied.').waitFor();
    await dialog(page).getByText('active → suspended').waitFor();
    expect(await statusOf(world, id)).toBe('open');
    expect(await world.sql`select dry_run from audit`).toEqual([{ dry_run: true }, { dry_run: true }]);
    await act(dialog(page), 'Redrive 1').click();
    await dialog(page).getByText('is done: 1 settled.').waitFor();
    expect(await statusOf(world, id)).toBe('resolved');
    await act(dialog(page), 'Close').last().click();
    await detail(page).getByText('resolved').first().waitFor();
    await act(detail(page), /^Redrive…\s*: It is resolved already/).waitFor();
    await until(async () => expect(await stateOf(world, BOB)).toBe('active'));
    expect(await world.sql`select outcome from history where user_id = ${BOB} order by version`).toMatchObject(
      Array.from({ length: 4 }, () => ({ outcome: 'applied' })),
    );
  });

  test('of several that were chosen by hand says what becomes of each', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    await mend(world);
    const ids = [await deadLetterOf(world, 'broken-bob'), await deadLetterOf(world, 'broken-ada')];
    const { page } = await site.open('/dead-letters');
    await page.getByRole('table').getByRole('link', { name: 'sql' }).click();
    for (const id of ids) await page.getByRole('checkbox', { name: `Choose dead letter ${id}`, exact: true }).check();
    await act(page, 'Redrive 2 chosen…').click();
    await dialog(page).getByText('Of 2 dead letters, 1 would be applied and 1 would be rejected.').waitFor();
    await act(dialog(page), 'Redrive 2').click();
    await dialog(page).getByText('is done: 2 settled.').waitFor();
    await act(dialog(page), 'Close').last().click();
    await page.getByText('None match').waitFor();
    expect(await Promise.all(ids.map((id) => statusOf(world, id)))).toEqual(['resolved', 'resolved']);
  });

  test('of all that a filter means names them all, also those that are not on the page', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    await mend(world);
    const { page } = await site.open('/dead-letters?code=sql');
    await act(page, 'Redrive 2…').click();
    await dialog(page).getByRole('heading', { name: 'Redrive all 2 dead letters where the code is sql' }).waitFor();
    await act(dialog(page), 'Redrive 2').click();
    await dialog(page).getByText('is done: 2 settled.').waitFor();
    expect(await world.sql`select distinct status from dead_letters where code = 'sql'`).toEqual([
      { status: 'resolved' },
    ]);
  });
});

describe('a group', () => {
  test('of which the event is not known is acted upon alone, beside another of the same code', async ({
    world,
    serve,
  }) => {
    const site = await serve();
    await site.send(
      rawRecord('{"cut'),
      debezium('USER_STATUS_CHANGED', '{"cut', { id: 'typed' }),
      debezium('USER_STATUS_CHANGED', '{"cut off', { id: 'typed too' }),
    );
    const { page } = await site.open('/dead-letters');
    const row = page.getByRole('row', { name: /json not known/ });
    await act(row, 'Discard…').click();
    await dialog(page)
      .getByRole('heading', { name: 'Discard all 1 dead letter where the code is json and the event is not known' })
      .waitFor();
    await dialog(page).getByText('It would be discarded.').waitFor();
    await act(dialog(page), 'Cancel').click();
    await row.getByRole('link', { name: 'json' }).click();
    await page.getByRole('table', { name: 'Dead letters, the newest first' }).waitFor();
    await until(async () => expect(await page.getByRole('checkbox', { name: /^Choose dead letter/ }).count()).toBe(1));
    expect(new URL(page.url()).searchParams.get('type')).toBe('none');
    expect(await page.getByRole('combobox', { name: 'Event' }).inputValue()).toBe('none');
    await act(page, 'Discard 1…').click();
    await dialog(page).getByRole('textbox').fill('cut off');
    await act(dialog(page), 'Discard 1').click();
    await dialog(page).getByText('is done: 1 settled.').waitFor();
    expect(await world.sql`select type, status from dead_letters where status = 'open'`).toEqual([
      { type: 'USER_STATUS_CHANGED', status: 'open' },
      { type: 'USER_STATUS_CHANGED', status: 'open' },
    ]);
  });
});

describe('an export', () => {
  test('is a download of what the filter means, and stands in the audit', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open('/dead-letters?code=sql');
    await act(page, 'Export…').click();
    await dialog(page).getByText('npx user-lifecycle dead-letters export --code sql').waitFor();
    const downloading = page.waitForEvent('download');
    await dialog(page).getByRole('link', { name: 'Download' }).click();
    const download = await downloading;
    expect(download.suggestedFilename()).toMatch(/^dead-letters-\d{8}T\d{6}Z\.ndjson$/);
    const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).code)).toEqual(['sql', 'sql']);
    await until(async () =>
      expect(
        await world.sql`select verb, who, scope ->> 'code' as code, result ->> 'exported' as n from audit`,
      ).toEqual([{ verb: 'export', who: 'local', code: 'sql', n: '2' }]),
    );
  });
});

describe('a discard', () => {
  test('needs a reason, which stays with it', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const id = await deadLetterOf(world, null, 'json').catch(() => deadLetterOf(world, 'none', 'json'));
    const { page } = await site.open(`/dead-letters/${id}`);
    await act(detail(page), 'Discard…').click();
    await dialog(page).getByText('It would be discarded.').waitFor();
    await act(dialog(page), /^Discard 1\s*: Say why first\./).click({ force: true });
    expect(await statusOf(world, id)).toBe('open');
    await dialog(page).getByRole('textbox').fill('cut off by a proxy');
    await act(dialog(page), 'Discard 1').click();
    await dialog(page).getByText('is done: 1 settled.').waitFor();
    await act(dialog(page), 'Close').last().click();
    await detail(page).getByText('cut off by a proxy').waitFor();
    expect(await statusOf(world, id)).toBe('discarded');
  });

  test('of an event that waits lets what is behind it go', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const [row] = await world.sql<{ id: string }[]>`select id from waiting where user_id = ${EVE}`;
    const tab = await site.open(`/waiting/${row?.id}`);
    tab.forgive(/404/); // asked for once more when it is gone
    const { page } = tab;
    await detail(page).getByText('Its customer nowhere is unknown').waitFor();
    await act(detail(page), 'Discard…').click();
    await dialog(page).getByRole('textbox').fill('nobody creates it');
    await act(dialog(page), 'Discard 1').click();
    await dialog(page).getByText('is done: 1 settled.').waitFor();
    await act(dialog(page), 'Close').last().click();
    await detail(page).getByText('It may have gone').waitFor();
    expect(await world.sql`select status, note from dead_letters where user_id = ${EVE}`).toEqual([
      { status: 'discarded', note: 'nobody creates it' },
    ]);
  });
});

describe('an edit', () => {
  test('corrects the value for the next redrive; the original stays', async ({ world, serve }) => {
    const site = await serve();
    const userId = 'auth0|frozen';
    await site.send(
      event('USER_CREATED', userCreated({ userId, customerAccountId: undefined })),
      event('USER_STATUS_CHANGED', { ...statusChanged({ userId }), newStatus: 'FROZEN' }, { id: 'frozen' }),
    );
    const id = await deadLetterOf(world, 'frozen', 'schema');
    const { page } = await site.open(`/dead-letters/${id}`);
    await act(detail(page), 'Edit and redrive…').click();
    const value = dialog(page).getByRole('textbox', { name: 'Value, as JSON' });
    const text = await value.inputValue();
    await value.fill('{"userId": ');
    await dialog(page)
      .getByText(/^No JSON: /)
      .waitFor();
    await value.fill(text.replace('FROZEN', 'SUSPENDED'));
    await dialog(page).getByRole('textbox', { name: 'Why (needed)' }).fill('FROZEN means SUSPENDED');
    await act(dialog(page), 'Save and try it out').click();
    await dialog(page).getByText('It would be applied.').waitFor();
    await act(dialog(page), 'Redrive 1').click();
    await dialog(page).getByText('is done: 1 settled.').waitFor();
    expect(await stateOf(world, userId)).toBe('suspended');
    const [row] = await world.sql`
      select convert_from(value, 'UTF8') as value, convert_from(edited_value, 'UTF8') as edited from dead_letters where id = ${id}`;
    expect(row?.value).toContain('FROZEN');
    expect(row?.edited).toContain('SUSPENDED');
  });
});

test('what is new while one looks is said, and not put between the rows', async ({ world, serve }) => {
  const site = await serve();
  await tellStory(world, site);
  const { page } = await site.open('/dead-letters?view=list');
  const rows = page.getByRole('table').locator('tbody tr');
  await page.getByText('4 dead letters, all of them').waitFor();
  await site.send(event('USER_STATUS_CHANGED', { ...statusChanged({ userId: BOB }), newStatus: 'MELTED' }));
  await act(page, /^1 more dead letter since/).waitFor();
  expect(await rows.count()).toBe(4);
  await act(page, /^1 more dead letter since/).click();
  await until(async () => expect(await rows.count()).toBe(5));
});
