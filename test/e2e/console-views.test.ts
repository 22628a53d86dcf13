// Every view of the console: opened by its address, filled, readable by everybody, and as wide as a phone.
import type { Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { PHONE, type Tab } from '../support/browser.ts';
import { ADA, BOB, deadLetterOf, EVE, tellStory, test } from '../support/console.ts';
import { until } from '../support/world.ts';

const user = (id: string) => `/users/${encodeURIComponent(id)}`;
const WHAT_IF = `/what-if?user=${encodeURIComponent(BOB)}&events=${encodeURIComponent(
  JSON.stringify([['USER_DELETED', { userType: 'INSTITUTION_USER' }]]),
)}`;

/** Where, its heading, and what it shows once it is filled. */
type Shown = readonly [path: string, heading: RegExp, shows: string | RegExp];
const viewsOf = (ids: { dead: number; waiting: number }): readonly Shown[] => [
  ['/', /^Machine$/, 'what changes nothing is not drawn'],
  ['/?state=active', /^Machine$/, 'Users that are in it now, the latest first'],
  ['/?show=table', /^Machine$/, 'Share'],
  [`/?user=${encodeURIComponent(ADA)}`, /^Machine$/, 'Open its timeline'],
  ['/users', /^Users$/, BOB],
  [user(ADA), /auth0\|ada/, 'The user is deleted: nothing is taken any more.'],
  [user(EVE), /auth0\|eve/, /It does not exist yet/],
  [user('auth0|nobody'), /^User$/, 'There is no such user'],
  [WHAT_IF, /^What if$/, 'The row after event 1'],
  ['/dead-letters', /^Dead letters$/, 'Wait behind'],
  ['/dead-letters?view=list', /^Dead letters$/, /dead letters, all of them/],
  [`/dead-letters/${ids.dead}`, /^Dead letters$/, 'Attempts and acts'],
  ['/waiting', /^Waiting$/, 'for an unknown customer'],
  ['/waiting?view=list', /^Waiting$/, EVE],
  [`/waiting/${ids.waiting}`, /^Waiting$/, 'Why it waits'],
  ['/partitions', /^Partitions$/, 'Log’s end'],
  ['/overview', /^Overview$/, 'Events since the beginning'],
  ['/operations', /^Operations$/, 'Nothing is on hold'],
  ['/events', /^Events$/, 'customerAccountId'],
  ['/nowhere', /^There is no such page$/, 'Nothing lies at /nowhere'],
];

/** What it shows is there, and nothing of it is still on its way. */
async function filled(page: Page, heading: RegExp, shows: string | RegExp): Promise<void> {
  await page.getByRole('heading', { level: 1, name: heading }).waitFor();
  await page.getByText(shows).filter({ visible: true }).first().waitFor();
  await until(async () => {
    expect(await page.locator('.skeleton').count(), 'parts that are still loading').toBe(0);
    expect(await page.locator('.live').getAttribute('data-is')).toBe('open');
  });
}

describe('every view', () => {
  test('opens by its address, filled, accessible in light and in dark, and no wider than a phone', async ({
    world,
    serve,
  }) => {
    const site = await serve({ JAEGER_UI_URL: 'http://127.0.0.1:1' });
    await tellStory(world, site);
    const wrong: Record<string, string> = {};
    const [waiting] = await world.sql<{ id: string }[]>`select id from waiting where user_id = ${EVE}`;
    const views = viewsOf({ dead: await deadLetterOf(world, 'broken-bob'), waiting: Number(waiting?.id) });
    for (const [path, heading, shows] of views) {
      const tab = await site.open(path, { colorScheme: 'light' });
      await look(tab, heading, shows, path.includes('nobody')).catch((error: Error) => {
        wrong[path] = error.message;
      });
      await tab.close();
    }
    expect(wrong).toEqual({});
  }, 180_000);
});

async function look(tab: Tab, heading: RegExp, shows: string | RegExp, isUnknown: boolean): Promise<void> {
  await filled(tab.page, heading, shows);
  await tab.expectAccessible();
  await tab.page.emulateMedia({ colorScheme: 'dark' });
  await tab.expectAccessible();
  await tab.page.setViewportSize(PHONE.viewport as { width: number; height: number });
  await filled(tab.page, heading, shows);
  await tab.expectAccessible();
  await tab.expectNoOverflow();
  // The API says that there is none, and the browser writes that down.
  if (isUnknown) tab.forgive(/404/);
  tab.expectClean();
}

test('on a phone, where the names of the views scroll, the one that is looked at is in sight', async ({ serve }) => {
  const site = await serve();
  const { page } = await site.open('/operations', PHONE);
  const here = page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: 'Operations' });
  await until(async () => {
    const { x, width } = (await here.boundingBox()) ?? { x: -1, width: 0 };
    expect(x).toBeGreaterThanOrEqual(0);
    expect(x + width).toBeLessThanOrEqual(390);
  });
});
