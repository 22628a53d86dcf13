// browser.ts — the console in a real Chromium, as a person meets it: by roles and text, and never outside loopback.
//
// B1  What holds for every page of every test, and is compared at its end: no request left loopback, nothing was written to the
//     page's log as an error or thrown, no dialog of the browser's own opened (a script of somebody else's would open one).
import axe, { type AxeResults } from 'axe-core';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import { CHROMIUM_FLAGS, findChromium } from '../../dev/chromium.ts';

const STANDARDS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const WITHIN_MS = 15_000;

export const NO_CHROMIUM = 'There is no Chromium on this machine: install one, or say where it is with CHROMIUM.';
export const PHONE: BrowserContextOptions = { viewport: { width: 390, height: 844 }, hasTouch: true };

export type Tab = {
  page: Page;
  /** Errors that the test makes on purpose; all others fail it (B1). */
  forgive(expected: RegExp): void;
  /** Fails with what went wrong on the page so far (B1). */
  expectClean(): void;
  /** No violation of WCAG 2 A and AA, as axe finds them. */
  expectAccessible(): Promise<void>;
  /** Nothing makes the page wider than its window. */
  expectNoOverflow(): Promise<void>;
  close(): Promise<void>;
};
export type Chromium = {
  open(url: string, options?: BrowserContextOptions): Promise<Tab>;
  close(): Promise<void>;
};

/** Undefined where this machine has no Chromium; in CI that is an error. */
export async function startChromium(): Promise<Chromium | undefined> {
  const executablePath = findChromium();
  if (executablePath === undefined) {
    if (process.env.CI) throw new Error(NO_CHROMIUM);
    return undefined;
  }
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_FLAGS });
  return { open: (url, options) => openTab(browser, url, options), close: () => browser.close() };
}

/** What an expression gives on the page. A text: nothing here knows the types of a page. */
export async function evaluate<T>(page: Page, expression: string): Promise<T> {
  return (await page.evaluate(expression)) as T;
}

async function openTab(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(WITHIN_MS);
  const page = await context.newPage();
  const wrong: string[] = [];
  let forgiven: RegExp | undefined;
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(`${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => wrong.push(String(error.stack ?? error)));
  page.on('dialog', (dialog) => {
    wrong.push(`a dialog of the browser opened: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await context.route('**/*', (route) => {
    const { hostname, protocol } = new URL(route.request().url());
    if (hostname === '127.0.0.1' || hostname === 'localhost' || protocol === 'data:') return route.continue();
    wrong.push(`it asked ${hostname}`);
    return route.abort();
  });
  await page.goto(url);
  return {
    page,
    forgive(expected) {
      forgiven = expected;
    },
    expectClean: () => expect(wrong.filter((each) => !forgiven?.test(each))).toEqual([]),
    async expectAccessible() {
      // By the debugger, which the page's content security policy does not stop.
      await page.evaluate(axe.source);
      const violations = (await page.evaluate(
        `axe.run(document, { runOnly: ${JSON.stringify(STANDARDS)} }).then(({ violations }) => violations)`,
      )) as AxeResults['violations'];
      const found = violations.map(({ id, help, nodes }) => ({
        ...{ id, help },
        where: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`),
      }));
      expect(found).toEqual([]);
    },
    async expectNoOverflow() {
      // What is only said is cut off, and what scrolls within a box of its own does not count.
      const [wide, inner] = await evaluate<[number, number]>(
        page,
        '[document.documentElement.scrollWidth, document.documentElement.clientWidth]',
      );
      expect(wide, 'how wide the page is').toBeLessThanOrEqual(inner);
    },
    close: () => context.close(),
  };
}
