// The drawing where there is little room: it can be read, and what is out of sight can be reached.
import type { Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { evaluate, PHONE } from '../support/browser.ts';
import { ADA, tellStory, test } from '../support/console.ts';
import { until } from '../support/world.ts';

const LEAST = 10;
const FADE = 28;

/** How high the letters of its labels are on the screen, px. */
async function lettersOf(page: Page): Promise<number> {
  const label = page.locator('.drawing .label .words').first();
  await label.waitFor();
  return evaluate(
    page,
    `(() => {
      const label = document.querySelector('.drawing .label .words');
      return Number.parseFloat(getComputedStyle(label).fontSize) * label.getScreenCTM().a;
    })()`,
  );
}

/** How far the drawing's box can be scrolled, and is. */
async function scrollOf(page: Page): Promise<{ most: number; now: number }> {
  return evaluate(
    page,
    `(() => {
      const { scrollWidth, clientWidth, scrollLeft } = document.querySelector('.canvas-inner');
      return { most: scrollWidth - clientWidth, now: scrollLeft };
    })()`,
  );
}

describe('in a window of 1,440 px', () => {
  test('its letters are 10 px or more: alone, beside the panel, with a user, in What if', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const user = encodeURIComponent(ADA);
    const events = encodeURIComponent(JSON.stringify([['USER_DELETED', { userType: 'SME_USER' }]]));
    for (const path of ['/', '/?state=active', `/users/${user}`, `/what-if?user=${user}&events=${events}`]) {
      const { page } = await site.open(path);
      expect(await lettersOf(page), path).toBeGreaterThanOrEqual(LEAST);
      expect((await scrollOf(page)).most, path).toBe(0);
    }
  });

  test('it is not larger than the window is high', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/');
    const box = await page.locator('.drawing').boundingBox();
    expect((box?.y ?? 0) + (box?.height ?? 0)).toBeLessThanOrEqual(900);
  });
});

describe('on a phone', () => {
  test('its letters stay 10 px, it begins at its beginning, and scrolls in a box of its own', async ({ serve }) => {
    const site = await serve();
    const { page, expectNoOverflow } = await site.open('/', PHONE);
    expect(await lettersOf(page)).toBeGreaterThanOrEqual(LEAST);
    const { most, now } = await scrollOf(page);
    expect(most).toBeGreaterThan(100);
    expect(now).toBe(0);
    await expectNoOverflow();
  });

  test('what the arrow keys lead to comes into sight, clear of the fading edge', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/', PHONE);
    const symbol = (name: RegExp) => page.locator('[role="graphics-symbol"]').and(page.getByLabel(name));
    await symbol(/^absent/).focus();
    await page.keyboard.press('Home');
    const seen = new Set<string>();
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowRight']) {
      await page.keyboard.press(key);
      await until(async () => {
        const [name, left, right, room] = await evaluate<[string, number, number, number]>(
          page,
          `(() => {
            const box = document.querySelector('.canvas-inner').getBoundingClientRect();
            const { left, right } = document.activeElement.getBoundingClientRect();
            return [document.activeElement.getAttribute('aria-label'), left - box.left, box.right - right, box.width];
          })()`,
        );
        seen.add(name);
        // A state is wider than the box: some of it is in sight.
        if (/^(pending|roleChanged|active|suspended)/.test(name)) expect(Math.min(left, right)).toBeLessThan(room);
        else expect(Math.min(left, right), name).toBeGreaterThanOrEqual(FADE);
      });
    }
    expect(seen.size).toBeGreaterThanOrEqual(4);
    expect((await scrollOf(page)).now).toBeGreaterThan(0);
  });

  test('it fades out where it goes on, and nowhere else', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/', PHONE);
    await page.locator('.drawing').waitFor();
    const fades = (of: Page) =>
      evaluate<string[]>(
        of,
        `['::before', '::after'].map((each) => getComputedStyle(document.querySelector('.canvas-inner'), each).content)`,
      );
    expect(await fades(page)).toEqual(['""', '""']);
    const { page: wide } = await site.open('/');
    await wide.locator('.drawing').waitFor();
    expect(await fades(wide)).toEqual(['none', 'none']);
  });
});
