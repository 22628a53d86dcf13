// What producers write is shown as text, whatever it is: no element of it comes into being, no script of it runs, nothing bursts.
import type { Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { evaluate, PHONE } from '../support/browser.ts';
import { breakFor, event, minute, test } from '../support/console.ts';
import { cloudEvent, customerCreated, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { until } from '../support/world.ts';

// An id is printable ASCII without spaces, 128 characters at most: enough for this.
const ELEMENT = '<img/src=x/onerror=alert(document.domain)>';
const BEGIN = '<img/src=x/'; // of longer ones the middle is left out in lists
const LONG = `auth0|${'W'.repeat(122)}`;
const CUSTOMER = '"><svg/onload=alert(1)>';
const SCRIPT = '<script>window.hacked=true</script><b>bold</b>';
const TURNED = 'abc\u202Egnp.exe\u202C\u200B👩‍🚀🔥';
const NUL = 'a\u0000b'; // Postgres can not hold it

const user = (id: string) => `/users/${encodeURIComponent(id)}`;

/** Nothing that was written became part of the page. */
async function expectHarmless(page: Page): Promise<void> {
  expect(
    await evaluate(
      page,
      `({
        elements: document.querySelectorAll('img[src="x"], [onerror], [onload], b').length,
        scripts: [...document.scripts].filter(({ src }) => src === '').length,
        hacked: 'hacked' in window,
      })`,
    ),
  ).toEqual({ elements: 0, scripts: 0, hacked: false });
}

describe('hostile text', () => {
  test('in ids, names, payloads, reasons and records is text everywhere', async ({ world, serve }) => {
    const site = await serve();
    await breakFor(world, 'broken%');
    await site.send(
      event('CUSTOMER_CREATED', customerCreated({ customerAccountId: CUSTOMER, name: SCRIPT })),
      ...[ELEMENT, LONG].map((userId) =>
        event(
          'USER_CREATED',
          userCreated({ userId, customerAccountId: CUSTOMER, name: SCRIPT, email: TURNED, role: SCRIPT }),
        ),
      ),
      event(
        'USER_STATUS_CHANGED',
        statusChanged({ userId: ELEMENT, timestamp: minute(1), changedBy: SCRIPT, previousStatus: SCRIPT }),
        {
          id: SCRIPT,
        },
      ),
      event('USER_STATUS_CHANGED', statusChanged({ userId: ELEMENT, timestamp: minute(2), changedBy: TURNED }), {
        id: 'broken',
      }),
      event('USER_STATUS_CHANGED', statusChanged({ userId: ELEMENT, timestamp: minute(3) }), { id: TURNED }),
      cloudEvent(SCRIPT, { [SCRIPT]: TURNED }, { id: SCRIPT, source: SCRIPT, headers: [[SCRIPT, TURNED]] }),
      event('USER_CREATED', userCreated({ userId: ELEMENT, name: NUL })),
      rawRecord(`${SCRIPT}${TURNED}`),
      event('USER_CREATED', userCreated({ userId: '<b>later</b>', customerAccountId: `${CUSTOMER}2` })),
    );
    await world.sql`update positions set state = 'halted', halted_reason = ${`gap: ${SCRIPT}${TURNED}`} where topic = 'user-events'`;
    const letters = await world.sql<{ id: string; code: string }[]>`select id, code from dead_letters order by id`;
    expect(letters.map(({ code }) => code).sort()).toContain('nul');
    const [waiting] = await world.sql<{ id: string }[]>`select id from waiting where customer_id = ${`${CUSTOMER}2`}`;
    const hold = await fetch(`${site.service.url}/api/v1/holds`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-requested-with': 'customer-service-console' },
      body: JSON.stringify({ kind: 'user', id: LONG, reason: SCRIPT + TURNED }),
    });
    expect(hold.status).toBe(201);

    const views: [path: string, shows: string][] = [
      [`/?user=${encodeURIComponent(ELEMENT)}`, ELEMENT],
      ['/?state=active', BEGIN],
      ['/users', BEGIN],
      [user(ELEMENT), CUSTOMER],
      [user(LONG), SCRIPT],
      [user('<b>later</b>'), 'It does not exist yet'],
      [
        `/what-if?user=${encodeURIComponent(ELEMENT)}&events=${encodeURIComponent(JSON.stringify([['USER_DELETED', { userType: SCRIPT }]]))}`,
        'The row after event 1',
      ],
      ['/dead-letters', 'Wait behind'],
      ['/dead-letters?view=list', BEGIN],
      ...letters.map(({ id }): [string, string] => [`/dead-letters/${id}`, 'Attempts and acts']),
      [`/waiting/${waiting?.id}`, `Its customer ${CUSTOMER}2 is unknown`],
      ['/waiting?view=list', CUSTOMER],
      ['/partitions', '1 partition halted.'],
      ['/operations', 'bold'],
      [`/dead-letters?user=${encodeURIComponent(SCRIPT)}`, 'None match'],
      [`/${encodeURIComponent(SCRIPT)}`, 'There is no such page'],
    ];
    const wrong: Record<string, string> = {};
    for (const [path, shows] of views) {
      const tab = await site.open(path);
      try {
        await tab.page.getByText(shows).filter({ visible: true }).first().waitFor();
        for (const reveal of await tab.page.getByRole('button', { name: /^(Show it|Reveal)$/ }).all())
          await reveal.click();
        if (path.startsWith('/dead-letters/')) await tab.page.getByText('Shown as it was received.').waitFor();
        await until(async () => expect(await tab.page.locator('.skeleton').count()).toBe(0));
        await expectHarmless(tab.page);
        await tab.page.setViewportSize(PHONE.viewport as { width: number; height: number });
        await tab.expectNoOverflow();
        tab.expectClean();
      } catch (error) {
        wrong[path] = (error as Error).message;
      }
      await tab.close();
    }
    expect(wrong).toEqual({});
    await world.sql`update positions set state = 'running', halted_reason = null where topic = 'user-events'`;
  }, 120_000);

  test('what can not be seen, or turns what is around it, is shown by its number', async ({ world, serve }) => {
    const site = await serve();
    await site.send(rawRecord(`${SCRIPT}${TURNED}`));
    const [letter] = await world.sql<{ id: string }[]>`select id from dead_letters`;
    const { page } = await site.open(`/dead-letters/${letter?.id}`);
    await page.getByRole('button', { name: 'Show it' }).click();
    await page
      .getByText('<script>window.hacked=true</script><b>bold</b>abc\\u{202e}gnp.exe\\u{202c}\\u{200b}')
      .waitFor();
    await expectHarmless(page);
  });
});
