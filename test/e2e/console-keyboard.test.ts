// A whole errand without a mouse: find a user, step back in time, redrive its dead letter.
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { evaluate } from '../support/browser.ts';
import { BOB, deadLetterOf, mend, tellStory, test } from '../support/console.ts';
import { until } from '../support/world.ts';

/** On by Tab until what has the focus is called like this. Fails where nothing in reach is. */
async function tabTo(page: Page, name: RegExp, key = 'Tab'): Promise<void> {
  for (let n = 0; n < 120; n++) {
    const focused = await evaluate<string>(
      page,
      `document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText ?? ''`,
    );
    if (name.test(focused.replaceAll(/\s+/g, ' ').trim())) {
      // Whoever goes by keyboard sees where they are.
      expect(await evaluate(page, `document.activeElement.matches(':focus-visible')`)).toBe(true);
      return;
    }
    await page.keyboard.press(key);
  }
  throw new Error(`No ${key} leads to ${name}`);
}

test('a user is found, looked at as it was, and its dead letter redriven, by keyboard alone', async ({
  world,
  serve,
}) => {
  const site = await serve();
  await tellStory(world, site);
  await mend(world);
  const id = await deadLetterOf(world, 'broken-bob');
  const { page } = await site.open('/');
  await page.locator('.drawing').waitFor();

  await page.keyboard.press('/');
  await page.keyboard.type('auth0|b');
  await page.getByRole('option', { name: /auth0\|bob/ }).waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.getByText('Open its timeline').waitFor();
  await tabTo(page, /^Open its timeline$/);
  await page.keyboard.press('Enter');
  await page.getByText('step 2 of 2').waitFor();

  await page.keyboard.press('ArrowLeft');
  await page.getByText('looking back: step 1 of 2').waitFor();
  expect(await page.locator('.user-machine .state[data-current="true"]').getAttribute('data-state')).toBe('pending');
  // Said as well as drawn.
  await page
    .locator('.user-machine')
    .getByLabel(/^pending\. the user is here$/)
    .waitFor();
  await page.keyboard.press('End');

  // Rows by arrows; the newest is what waits, then the dead letters.
  await tabTo(page, /^USER_STATUS_CHANGED$/);
  const href = () => evaluate<string>(page, 'document.activeElement.pathname');
  for (let n = 0; n < 5 && (await href()) !== `/dead-letters/${id}`; n++) await page.keyboard.press('ArrowDown');
  expect(await href()).toBe(`/dead-letters/${id}`);
  await page.keyboard.press('Enter');
  await page
    .getByRole('article', { name: `Dead letter ${id}` })
    .getByText('Attempts and acts')
    .waitFor();
  await tabTo(page, /^Redrive…$/); // of the toolbar or of this one
  for (let n = 0; n < 40; n++) {
    const isOfThis = await evaluate<boolean>(page, `document.activeElement.closest('article') !== null`);
    if (isOfThis) break;
    await page.keyboard.press('Tab');
    await tabTo(page, /^Redrive…$/);
  }
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByText('It would be applied.').waitFor();
  await tabTo(page, /^Redrive 1$/);
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByText('is done: 1 settled.').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  expect(await world.sql`select status from dead_letters where id = ${id}`).toEqual([{ status: 'resolved' }]);
  await until(async () =>
    expect(await world.sql`select state from users where user_id = ${BOB}`).toEqual([{ state: 'active' }]),
  );
});
