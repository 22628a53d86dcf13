// A user's page: what happened to it and why, the way back in time, what waits, and an operator's hold; and what would happen if.
import type { Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { PHONE } from '../support/browser.ts';
import { ADA, BOB, deadLetterOf, EVE, event, minute, STEPS_OF_ADA, tellStory, test } from '../support/console.ts';
import { statusChanged, userCreated } from '../support/records.ts';
import { until } from '../support/world.ts';

const user = (id: string) => `/users/${encodeURIComponent(id)}`;
const timeline = (page: Page) => page.getByRole('table', { name: 'Events, the newest first' });
const step = (page: Page) => page.getByRole('complementary', { name: 'Step' });
const drawn = (page: Page) => page.locator('.user-machine .state[data-current="true"]');
const stateDrawn = (page: Page) => drawn(page).getAttribute('data-state');

describe('the timeline', () => {
  test('has every event with its outcome, and says in words why it did nothing', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(user(ADA));
    const rows = timeline(page).locator('tbody tr');
    await until(async () => expect(await rows.count()).toBe(STEPS_OF_ADA.length + 2));
    const marks = await timeline(page).locator('tbody .outcome').allTextContents();
    expect(marks.map((mark) => mark.trim())).toEqual(['waiting', 'dead', ...STEPS_OF_ADA.toReversed()]);
    for (const why of [
      'The same event was put to the machine before: its producer sent it again.',
      'It has this status already.',
      'A newer event of its kind was seen before it.',
      'The user is deleted: nothing is taken any more.',
      'Drift: its producer believed in the status PENDING before it, the user was roleChanged with another.',
      `A dead letter of ${ADA} lies before it: it goes when that is redriven or discarded.`,
    ])
      await timeline(page).getByText(why).waitFor();
    await timeline(page)
      .getByText(/^sql: .*Later events wait behind it\.$/)
      .waitFor();
    await page.getByText(`history gives the saved row, ${STEPS_OF_ADA.length} steps`).waitFor();
    await page.getByRole('combobox', { name: 'Outcome' }).selectOption('stale');
    await until(async () => expect(await rows.count()).toBe(1));
    expect(page.url()).toContain('outcome=stale');
  });

  test('leads to the dead letter and to what waits; a new event appears by itself', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(user(BOB));
    const dead = await deadLetterOf(world, 'broken-bob');
    await timeline(page).waitFor();
    expect(await timeline(page).locator(`a[href="/dead-letters/${dead}"]`).count()).toBe(1);
    expect(await timeline(page).locator('a[href^="/waiting/"]').count()).toBe(1);
    await site.send(event('USER_STATUS_CHANGED', statusChanged({ userId: BOB, timestamp: minute(20) })));
    await until(async () => expect(await timeline(page).locator('a[href^="/waiting/"]').count()).toBe(2));
  });

  test('of one that does not exist yet says for whom its creation waits', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(user(EVE));
    await page.getByText('It does not exist yet. 1 event wait for it').waitFor();
    await page.getByText('Its customer nowhere is unknown: it goes when CUSTOMER_CREATED of it arrives.').waitFor();
  });
});

describe('on a phone', () => {
  test('an event of the timeline takes two lines, and another where there is something to say', async ({
    world,
    serve,
  }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(user(ADA), PHONE);
    const rows = timeline(page).locator('tbody tr');
    await until(async () => expect(await rows.count()).toBe(STEPS_OF_ADA.length + 2));
    const heights = await Promise.all((await rows.all()).map(async (row) => (await row.boundingBox())?.height ?? 0));
    expect(heights.at(-1), 'one that simply was applied').toBeLessThan(70);
    expect(heights.reduce((sum, height) => sum + height, 0) / heights.length).toBeLessThan(100);
  });
});

describe('time travel', () => {
  test('by keys, by buttons, by the address: the machine, the row and its changes are those of the step', async ({
    world,
    serve,
  }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(user(ADA));
    await until(async () => expect(await stateDrawn(page)).toBe('deleted'));
    await page.getByText('step 9 of 9').waitFor();
    await page.keyboard.press('ArrowLeft');
    await page.getByText('looking back: step 8 of 9').waitFor();
    expect(page.url()).toContain('version=8');
    await page.keyboard.press('Home');
    await page.getByRole('status').filter({ hasText: 'before the first event' }).waitFor();
    expect(await stateDrawn(page)).toBe('absent');
    await page.getByRole('button', { name: 'One step on (→)' }).click();
    await until(async () => expect(await stateDrawn(page)).toBe('pending'));
    await page.getByRole('slider', { name: 'Step' }).fill('5');
    await until(async () => expect(await stateDrawn(page)).toBe('roleChanged'));
    await step(page).getByRole('heading', { name: 'USER_ROLE_CHANGED' }).waitFor();
    await step(page)
      .getByRole('row', { name: /^changed state active roleChanged/ })
      .waitFor();
    await page.goto(new URL(`${user(ADA)}?version=6`, page.url()).href);
    await until(async () => expect(await stateDrawn(page)).toBe('suspended'));
    await step(page).getByText('The producer believed it to be').waitFor();
    await step(page)
      .getByRole('row', { name: /^changed state roleChanged suspended/ })
      .waitFor();
    await page.keyboard.press('End');
    await until(async () => expect(await stateDrawn(page)).toBe('deleted'));
    await step(page).getByText('Nothing: it is final, and whatever comes is rejected.').waitFor();
    expect(page.url()).not.toContain('version=');
  });

  test('to how it was at a time', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    // Saved an hour apart, as if it had taken so long.
    await world.sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica`; // history refuses to be rewritten
      await tx`update history set recorded_at = '2025-06-01T00:00:00Z'::timestamptz + version * interval '1 hour' where user_id = ${ADA}`;
    });
    const { page } = await site.open(user(ADA), { timezoneId: 'UTC' });
    await page.getByText('step 9 of 9').waitFor();
    await page.getByLabel('as it was at').fill('2025-06-01T03:30:00');
    await page.getByText('looking back: step 3 of 9').waitFor();
    expect(await stateDrawn(page)).toBe('active');
  });

  test('plays the steps one after the other', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(`${user(ADA)}?version=7`);
    await page.getByText('looking back: step 7 of 9').waitFor();
    await page.getByRole('button', { name: '4×' }).click();
    await page.getByRole('button', { name: 'Play' }).click();
    await page.getByText('step 9 of 9').waitFor();
    await page.getByRole('button', { name: 'Play' }).waitFor();
  });

  test('a saved row that history does not lead to is said loudly', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    await world.sql`update users set state = 'pending' where user_id = ${BOB}`;
    const { page } = await site.open(user(BOB));
    await page.getByText('Its history does not give the saved row').waitFor();
    await world.sql`update users set state = 'active' where user_id = ${BOB}`;
  });
});

describe('what is beside it', () => {
  const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
  test.for([
    ['leads to its trace in Jaeger where that has pages', { JAEGER_UI_URL: 'http://127.0.0.1:1' }, 1],
    ['is only copied where there are none', {}, 0],
  ] as const)('a trace id %s', async ([, settings, links], { world, serve }) => {
    const site = await serve(settings);
    await tellStory(world, site);
    const headers = [['traceparent', `00-${TRACE}-00f067aa0ba902b7-01`]] as const;
    await site.send(
      event('USER_CREATED', userCreated({ userId: 'auth0|traced', customerAccountId: 'acme' }), { headers }),
    );
    const { page } = await site.open(user('auth0|traced'));
    await step(page).getByText(TRACE.slice(0, 8)).waitFor();
    const hrefs = await step(page)
      .getByRole('link', { name: /opens Jaeger/ })
      .evaluateAll((all) => all.map((a) => a.getAttribute('href')));
    expect(hrefs).toEqual(links === 1 ? [`http://127.0.0.1:1/trace/${TRACE}`] : []);
    await step(page).getByRole('button', { name: 'Copy the trace id' }).waitFor();
  });

  test('personal data is hidden until it is asked for, which is written down', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open(user(BOB));
    await page.getByText('a***@example.com').first().waitFor();
    expect(await page.content()).not.toMatch(/ada@example\.com|Ada Lovelace/);
    await page.getByRole('button', { name: 'Reveal' }).click();
    await page.getByText('ada@example.com').first().waitFor();
    expect(await world.sql`select distinct verb, who from audit`).toEqual([{ verb: 'reveal', who: 'local' }]);
  });
});

describe('a hold', () => {
  test('needs a reason, makes its events wait, and its release lets them go', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const FREE = 'auth0|free';
    const { page } = await site.open(user(ADA));
    await page.getByRole('button', { name: 'Hold', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'Hold this user' });
    expect(await dialog.getByRole('button', { name: 'Hold 1 user' }).isDisabled()).toBe(true);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'detached' });
    expect(await world.sql`select 1 from holds`).toHaveLength(0);

    await site.send(event('USER_CREATED', userCreated({ userId: FREE, customerAccountId: undefined })));
    await page.goto(new URL(user(FREE), page.url()).href);
    await page.getByRole('button', { name: 'Hold', exact: true }).click();
    await dialog.getByRole('textbox').fill('bad import');
    await dialog.getByRole('button', { name: 'Hold 1 user' }).click();
    await page.getByText('It is on hold').waitFor();
    await page.getByText(/“bad import”/).waitFor();
    await site.send(event('USER_STATUS_CHANGED', statusChanged({ userId: FREE, timestamp: minute(1) })));
    await timeline(page).getByText(`${FREE} or its customer is on hold: it goes when that is released.`).waitFor();

    await page.getByRole('button', { name: 'Release', exact: true }).click();
    const release = page.getByRole('dialog', { name: `Release user ${FREE}` });
    await release.getByText('1 event of 1 user waits: 1 would be applied.').waitFor();
    expect(await world.sql`select 1 from holds`).toHaveLength(1);
    await release.getByRole('button', { name: 'Release 1 hold' }).click();
    await page.getByText('It is on hold').waitFor({ state: 'detached' });
    await until(async () => expect(await stateDrawn(page)).toBe('active'));
    expect(await world.sql`select verb, dry_run, scope->>'reason' as reason from audit order by id`).toMatchObject([
      { verb: 'hold' },
      { verb: 'release', dry_run: true },
      { verb: 'release', dry_run: false },
    ]);
  });
});

describe('what if', () => {
  test('shows what an event would do to a copy, and saves nothing', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const before = await world.digest();
    const [row] = await world.sql`select rev, version from users where user_id = ${BOB}`;
    const { page } = await site.open(user(BOB));
    await page.getByRole('main').getByRole('link', { name: 'What if', exact: true }).click();
    await page.getByRole('heading', { level: 1, name: 'What if' }).waitFor();
    await page.getByText('A copy of').waitFor();
    await page.getByRole('group', { name: 'Add an event' }).getByRole('button', { name: 'USER_DELETED' }).click();
    const machine = page.getByRole('region', { name: 'On the machine' });
    await machine.locator('.state[data-state="deleted"][data-current="true"]').waitFor();
    await page.getByRole('heading', { name: 'The row after event 1' }).waitFor();
    await page.getByRole('row', { name: /^changed state active deleted/ }).waitFor();
    await page
      .getByRole('group', { name: 'Add an event' })
      .getByRole('button', { name: 'USER_STATUS_CHANGED' })
      .click();
    await page.getByText('The user is deleted: nothing is taken any more.').waitFor();
    expect(await world.sql`select rev, version from users where user_id = ${BOB}`).toEqual([row]);
    expect(await world.digest()).toEqual(before);
    // The address holds all of it.
    const { page: other } = await site.open(new URL(page.url()).pathname + new URL(page.url()).search);
    await other.getByText('The user is deleted: nothing is taken any more.').waitFor();
  });

  test('tells what is wrong with an event that could not be read', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/what-if');
    await page.getByRole('group', { name: 'Add an event' }).getByRole('button', { name: 'USER_CREATED' }).click();
    await page.getByRole('button', { name: 'JSON' }).click();
    await page.getByRole('textbox', { name: /^Payload of USER_CREATED/ }).fill('{"userType": "NOBODY"}');
    await page
      .locator('.step-result')
      .getByText(/expected|one of|required/i)
      .waitFor();
    await page.getByRole('textbox', { name: /^Payload of USER_CREATED/ }).fill('{"userType": ');
    await page.getByText('The payload of event 1 is no JSON object.').waitFor();
  });
});
