// The machine's page: how many users are where, what passes, and the way to each of them; by mouse and by keyboard.
import type { Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { evaluate } from '../support/browser.ts';
import { ADA, BOB, event, minute, tellStory, test } from '../support/console.ts';
import { statusChanged, userCreated } from '../support/records.ts';
import { until } from '../support/world.ts';

const symbol = (page: Page, name: RegExp) => page.locator('[role="graphics-symbol"]').and(page.getByLabel(name));
const users = (page: Page, state: string) => page.locator(`.state[data-state="${state}"] .users`);
const panel = (page: Page) => page.getByRole('complementary', { name: 'Selection' });
const creation = (userId: string) =>
  event('USER_CREATED', userCreated({ userId, customerAccountId: undefined, userType: 'SME_USER' }));

describe('what is drawn', () => {
  test('follows the events that pass, without a click', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/');
    await page.getByText('No users yet.').waitFor();
    await until(async () => expect(await users(page, 'pending').textContent()).toBe('0'));
    await site.send(creation('auth0|a'), creation('auth0|b'));
    await until(async () => expect(await users(page, 'pending').textContent()).toMatch(/^2/));
    await page.getByText('No users yet.').waitFor({ state: 'hidden' });
    await site.send(event('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|a', timestamp: minute(1) })));
    await until(async () => {
      expect(await users(page, 'pending').textContent()).toMatch(/^1/);
      expect(await users(page, 'active').textContent()).toMatch(/^1/);
    });
    // Said aloud too, with the rate; and the edge shows it.
    await symbol(page, /^active\. 1 user, .* per second in/).waitFor();
    await symbol(page, /from pending to active\. .*, 1 time so far$/).waitFor();
    expect(await page.locator('.sums').innerText()).toMatch(/Users\s+2/);
  });

  test('stands still while it is paused, says so, and catches up', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/');
    await site.send(creation('auth0|a'));
    await until(async () => expect(await users(page, 'pending').textContent()).toMatch(/^1/));
    await page.keyboard.press('p');
    await page.getByText(/^Paused since/).waitFor();
    await site.send(creation('auth0|b'));
    const { page: other } = await site.open('/');
    await until(async () => expect(await users(other, 'pending').textContent()).toMatch(/^2/));
    expect(await users(page, 'pending').textContent()).toMatch(/^1/);
    await page.getByRole('button', { name: 'Go on', exact: true }).click();
    await until(async () => expect(await users(page, 'pending').textContent()).toMatch(/^2/));
  });

  test('a click on a state lists its users, one on an edge the events that took it', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open('/');
    await symbol(page, /^active\. 1 user/).click();
    await panel(page).getByRole('link', { name: BOB }).waitFor();
    expect(page.url()).toContain('state=active');
    await symbol(page, /from pending to active/).click();
    await panel(page).getByRole('heading', { name: 'Events that took it, the latest first' }).waitFor();
    const rows = panel(page).getByRole('table').getByRole('link');
    await until(async () => expect(await rows.allTextContents()).toEqual([BOB, ADA]));
    await rows.first().click();
    await page.getByRole('heading', { level: 1, name: /auth0\|bob/ }).waitFor();
    expect(page.url()).toContain('version=2');
    // Back in the browser's own history, to where it was.
    await page.goBack();
    await panel(page).getByRole('heading', { name: 'Events that took it, the latest first' }).waitFor();
    await panel(page).getByRole('button', { name: 'Close' }).click();
    await panel(page).waitFor({ state: 'detached' });
  });

  test('a user that is searched for is marked where it is, with the steps that led there', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open('/');
    await page.getByRole('combobox', { name: 'Find a user' }).fill('auth0|a');
    await page.getByRole('option', { name: /auth0\|ada/ }).click();
    await symbol(page, /^deleted, final\. .*the user is here/).waitFor();
    await symbol(page, /from pending to active\. .*taken in step 2/).waitFor();
    await until(async () => expect(await page.locator('.chosen').innerText()).toMatch(/auth0\|ada.*\s+is\s+deleted/s));
    expect(page.url()).toContain('user=auth0%7Cada');
    expect(await page.locator('.state[data-current="true"]').count()).toBe(1);
    await page.getByRole('link', { name: 'Open its timeline' }).click();
    await page.getByRole('heading', { level: 1, name: /auth0\|ada/ }).waitFor();
  });

  test('one that nobody knows is said to be unknown', async ({ serve }) => {
    const site = await serve();
    const tab = await site.open('/');
    tab.forgive(/404/);
    await tab.page.getByRole('combobox', { name: 'Find a user' }).fill('auth0|nobody');
    await tab.page.keyboard.press('Enter');
    await tab.page.getByText('is not known here').waitFor();
  });
});

describe('the drawing', () => {
  test('turned from left-right to top-down is the one that is drawn so from the beginning', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/');
    const ways = () => page.locator('.drawing path.head').evaluateAll((all) => all.map((one) => one.getAttribute('d')));
    await page.locator('.drawing').waitFor();
    const before = await ways();
    await page.getByRole('button', { name: '↓' }).click();
    await until(async () => expect(page.url()).toContain('direction=TB'));
    const turned = await ways();
    expect(turned).not.toEqual(before);
    await page.reload();
    await page.locator('.drawing').waitFor();
    expect(turned).toEqual(await ways());
  });

  test('fits beside the panel: nothing of it is cut off', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/?state=active');
    await panel(page).waitFor();
    const { wide, inner } = await page
      .locator('.canvas-inner')
      .evaluate(({ scrollWidth, clientWidth }) => ({ wide: scrollWidth, inner: clientWidth }));
    expect(wide).toBeLessThanOrEqual(inner);
  });
});

describe('its twin, the table', () => {
  test('has the same states, transitions and numbers', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open('/?show=table');
    const states = page.getByRole('table', { name: /^States/ });
    await states.getByRole('row', { name: /^active 1 / }).waitFor();
    await states.getByRole('row', { name: /^deleted 1 / }).waitFor();
    const transitions = page.getByRole('table', { name: /^Transitions/ });
    const taken = transitions.getByRole('row', { name: /^USER_STATUS_CHANGED toActive pending active/ });
    await until(async () => expect(await taken.getByRole('cell').last().innerText()).toBe('2'));
    await taken.getByRole('link').click();
    await panel(page).getByText('Events that took it, the latest first').waitFor();
  });
});

describe('the flow of a longer stretch', () => {
  const choice = (page: Page) => page.getByRole('combobox', { name: 'Flow of the last' });
  const transitions = (page: Page) => page.getByRole('table', { name: /^Transitions/ });
  const creations = (page: Page) => transitions(page).getByRole('row', { name: /^USER_CREATED/ });

  test('is chosen, stands in the address, is there after a reload, and the table says of how long it is', async ({
    serve,
  }) => {
    const site = await serve();
    const { page, expectAccessible } = await site.open('/');
    await until(async () => expect(await users(page, 'pending').textContent()).toBe('0'));
    await site.send(creation('auth0|a'), creation('auth0|b'));
    await until(async () => expect(await users(page, 'pending').textContent()).toMatch(/^2/));
    await choice(page).focus();
    await page.keyboard.type('1 min');
    await until(async () => expect(new URL(page.url()).search).toBe('?window=60'));
    // The service of a test is not a minute old.
    await page.getByText(/^of \d+ s so far$/).waitFor();
    await symbol(page, /from absent to pending\. 0\.\d+ per second, 2 times so far$/).waitFor();
    await expectAccessible();

    await page.reload();
    await page.locator('.drawing').waitFor();
    expect(await choice(page).inputValue()).toBe('60');
    await page.getByText(/^of \d+ s so far$/).waitFor();
    await page.keyboard.press('t');
    await transitions(page)
      .getByRole('columnheader', { name: /^Last \d+ s$/ })
      .waitFor();
    await creations(page)
      .getByRole('cell', { name: /^0\.\d+\/s$/ })
      .first()
      .waitFor();
    await expectAccessible();
    // A row's link keeps it.
    await creations(page).getByRole('link').first().click();
    await panel(page).getByText('Events that took it, the latest first').waitFor();
    expect(new URL(page.url()).searchParams.get('window')).toBe('60');
    await choice(page).selectOption('10 s');
    await transitions(page).getByRole('columnheader', { name: 'Now' }).waitFor();
    expect(new URL(page.url()).searchParams.get('window')).toBeNull();
  });

  test('that can not be had is unknown; no older one is shown for it', async ({ serve }) => {
    const site = await serve();
    await site.send(creation('auth0|a'));
    const { page, forgive } = await site.open('/?window=300&show=table');
    forgive(/503/);
    await creations(page)
      .getByRole('cell', { name: /^0\/s$/ })
      .first()
      .waitFor();
    await page.route('**/stats?*', (route) => route.fulfill({ status: 503, json: { title: 'away' } }));
    await creations(page).getByRole('cell', { name: '?', exact: true }).first().waitFor();
    await page.unroute('**/stats?*');
    await creations(page)
      .getByRole('cell', { name: /^0\/s$/ })
      .first()
      .waitFor();
  });

  test('stands still while it is paused, and is asked for by nobody once it is not looked at', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/?window=300');
    const asked: string[] = [];
    page.on('request', (request) => request.url().includes('/stats') && asked.push(request.url()));
    await page.clock.install();
    await page.reload();
    await page.getByText(/^of \d+ s so far$/).waitFor();
    await until(() => expect(asked.length).toBeGreaterThan(0));
    expect(new URL(asked[0] as string).search).toBe('?window=300&samples=0');
    const during = async (ms: number) => {
      const before = asked.length;
      await page.clock.runFor(ms);
      return asked.length - before;
    };
    expect(await during(10_000)).toBeGreaterThanOrEqual(1);
    await page.keyboard.press('p');
    await page.getByText(/^Paused since/).waitFor();
    expect(await during(30_000)).toBe(0);
    await page.getByRole('button', { name: 'Go on', exact: true }).click();
    await until(async () => expect(await during(5_000)).toBeGreaterThan(0));
    await page.getByRole('link', { name: 'Users', exact: true }).first().click();
    await page.getByRole('heading', { level: 1, name: 'Users' }).waitFor();
    expect(await during(30_000)).toBe(0);
  });

  test('beside a state: how the number of its users developed, as a line and in words', async ({ serve }) => {
    const site = await serve();
    const { page, expectAccessible } = await site.open('/?state=pending');
    await panel(page).getByRole('heading', { name: 'Users, last 15 min' }).waitFor();
    await site.send(creation('auth0|a'));
    await until(async () => {
      site.service.tick();
      await panel(page)
        .getByText(/^from 0 to 1 in|^1 all the time, for/)
        .waitFor({ timeout: 500 });
    });
    expect(await panel(page).locator('.sparkline path').getAttribute('d')).toMatch(/^M0 /);
    await expectAccessible();
    await page.emulateMedia({ colorScheme: 'dark', forcedColors: 'active' });
    await expectAccessible();
    const line = await evaluate<string>(page, `getComputedStyle(document.querySelector('.sparkline path')).stroke`);
    const ground = await evaluate<string>(
      page,
      `getComputedStyle(document.querySelector('.machine-panel')).backgroundColor`,
    );
    expect(line).not.toBe(ground);
  });
});

describe('by keyboard alone', () => {
  test('arrows follow the edges, Enter opens, Escape closes and comes back to where one was', async ({
    world,
    serve,
  }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open('/');
    await symbol(page, /^active\. 1 user/).waitFor();
    const focused = () => evaluate<string>(page, `document.activeElement.getAttribute('aria-label') ?? ''`);
    // One stop for the whole drawing, behind the controls above it.
    for (let n = 0; n < 60 && !(await focused()).startsWith('absent'); n++) await page.keyboard.press('Tab');
    expect(await focused()).toMatch(/^absent/);
    await page.keyboard.press('ArrowRight');
    expect(await focused()).toMatch(/from absent to pending/);
    await page.keyboard.press('ArrowRight');
    expect(await focused()).toMatch(/^pending/);
    await page.keyboard.press('Enter');
    await panel(page).waitFor();
    expect(page.url()).toContain('state=pending');
    await page.keyboard.press('Escape');
    await panel(page).waitFor({ state: 'detached' });
    await until(async () => expect(await focused()).toMatch(/^pending/));
  });

  test('T changes to the table and back, / goes to the search, P pauses; not while somebody types', async ({
    serve,
  }) => {
    const site = await serve();
    const { page } = await site.open('/');
    await page.locator('.drawing').waitFor();
    await page.keyboard.press('t');
    await page.getByRole('table', { name: /^States/ }).waitFor();
    await page.keyboard.press('t');
    await page.locator('.drawing').waitFor();
    await page.keyboard.press('/');
    const search = page.getByRole('combobox', { name: 'Find a user' });
    expect(await page.evaluate(`document.activeElement.getAttribute('aria-label')`)).toBe('Find a user');
    await page.keyboard.type('pt/');
    expect(await search.inputValue()).toBe('pt/');
    expect(await page.locator('.drawing').count()).toBe(1);
    expect(await page.locator('.live').getAttribute('data-is')).toBe('open');
  });
});
