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
    expect(await page.locator('.chosen').innerText()).toMatch(/auth0\|ada.*\s+is\s+deleted/s);
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
      .locator('.canvas')
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
