// The page while things happen to the service: under load on real servers, restarted, and with Postgres away.
import type { Page } from 'playwright-core';
import { describe, expect } from 'vitest';
import { freePort } from '../../dev/child.ts';
import { type Servers, startServers } from '../../dev/servers.ts';
import { test } from '../support/console.ts';
import { FLOOD, handled, SETTINGS, tap } from '../support/flood.ts';
import { startProcess } from '../support/process.ts';
import { cloudEvent, userCreated } from '../support/records.ts';
import { createWorld, until, type World } from '../support/world.ts';

const usersShown = async (page: Page) =>
  Number((await page.locator('.sums li').first().locator('strong').innerText()).replaceAll(',', ''));
const usersOf = async (world: World) => (await world.sql<{ n: number }[]>`select count(*)::int as n from users`)[0]?.n;
const banner = (page: Page) => page.getByText(/^Disconnected since \d\d:\d\d:\d\d/);

describe('a page that stays open', () => {
  test('follows a load, outlives a restart of the service, and goes on by itself with what is new', async ({
    world,
    openUrl,
  }) => {
    await world.createTopic(4);
    const settings = { ...world.settings, ...SETTINGS, HTTP_PORT: String(await freePort()) };
    const first = startProcess(settings);
    const { url } = await first.says('started');
    const more = tap(world, FLOOD);
    const tab = await openUrl(String(url));
    tab.forgive(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|503/);
    const { page } = tab;
    await until(async () => expect(await usersShown(page)).toBe(0));
    await more(10);
    // While it runs: the edges say what passes along them, and the sums grow to what the database has.
    await page.locator('.rate[data-moves="moves"]').first().waitFor();
    await until(async () => expect(await handled(world)).toBe(FLOOD.users * 10 - (FLOOD.users / 10) * 10), 30_000);
    await until(async () => expect(await usersShown(page)).toBe(await usersOf(world)));
    const before = await usersShown(page);
    expect(before).toBeGreaterThan(300);

    await page.evaluate('window.sameAsBefore = true');
    first.signal('SIGTERM');
    await banner(page).waitFor();
    expect((await first.ended).code).toBe(0);
    // What is known stays, and says how old it is.
    expect(await usersShown(page)).toBe(before);
    await page.getByText(/^What is shown is .* old\.$/).waitFor();
    expect(await page.locator('#view').getAttribute('data-old')).toBe('true');
    await tab.expectAccessible();

    await world.produce([
      cloudEvent('USER_CREATED', userCreated({ userId: 'auth0|late', customerAccountId: undefined }), {
        id: 'late',
        key: 'late',
      }),
    ]);
    const second = startProcess(settings);
    await second.says('started');
    await banner(page).waitFor({ state: 'detached', timeout: 30_000 });
    await until(async () => expect(await usersShown(page)).toBe(before + 1), 30_000);
    expect(await page.locator('.live').getAttribute('data-is')).toBe('open');
    expect(await page.evaluate(`'sameAsBefore' in window`), 'the page was not loaded anew').toBe(true);
    second.signal('SIGTERM');
    await second.ended;
  }, 120_000);

  test('keeps its place: a list that could not be asked is asked again when the service is back', async ({
    world,
    openUrl,
  }) => {
    const settings = { ...world.settings, HTTP_PORT: String(await freePort()) };
    await world.createTopic(1);
    await world.produce([
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'u1', key: 'u1' }),
    ]);
    const first = startProcess(settings);
    const { url } = await first.says('started');
    const tab = await openUrl(`${url}/operations`);
    tab.forgive(/ERR_|503/);
    const { page } = tab;
    await page.getByText('Nothing is on hold').waitFor();
    first.signal('SIGTERM');
    await first.ended;
    await banner(page).waitFor();
    await page.getByRole('link', { name: 'Users' }).click();
    await page
      .getByText('The service does not answer')
      .or(page.getByText('This part of the page could not be loaded'))
      .first()
      .waitFor();
    startProcess(settings);
    await page.getByRole('link', { name: 'auth0|u1' }).waitFor({ timeout: 30_000 });
    await banner(page).waitFor({ state: 'detached' });
  }, 120_000);
});

describe('Postgres away', () => {
  test('is said in words on every view, the numbers are called old, and both end by themselves', async ({
    openUrl,
  }) => {
    let servers: Servers | undefined;
    try {
      servers = await startServers({ durable: false, require: true, kafka: true, redis: false });
      const away = await createWorld({}, { servers: servers.settings });
      try {
        await away.createTopic(1);
        const service = startProcess(away.settings);
        const { url } = await service.says('started');
        const tab = await openUrl(`${url}/overview`);
        tab.forgive(/503/);
        const { page } = tab;
        await page.getByText('All is well.').waitFor();
        await servers.postgres.stop('immediate');
        await page.getByText('Postgres is away.').first().waitFor({ timeout: 30_000 });
        await page
          .getByText(/these numbers are old: they can not be read from Postgres/)
          .first()
          .waitFor();
        await page.getByRole('link', { name: 'Users' }).click();
        await page.getByText('Postgres is away.').first().waitFor();
        await page.getByRole('main').getByRole('alert').waitFor({ timeout: 30_000 });
        expect(await page.getByRole('main').getByRole('alert').innerText()).toMatch(/Postgres|database/i);
        await servers.postgres.start();
        await page.getByText('Postgres is away.').first().waitFor({ state: 'detached', timeout: 30_000 });
        await page.getByRole('button', { name: 'Try again' }).click();
        await page.getByText('No users yet').waitFor();
        service.signal('SIGTERM');
        await service.ended;
      } finally {
        await away.close();
      }
    } finally {
      await servers?.stop();
    }
  }, 180_000);
});
