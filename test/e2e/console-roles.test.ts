// Who may do what on the page: nobody without a token, a viewer looks, an operator acts.
import { describe, expect } from 'vitest';
import { ADA, BOB, deadLetterOf, mend, tellStory, test } from '../support/console.ts';

const SETTINGS = {
  AUTH_MODE: 'token',
  AUTH_VIEWER_TOKEN: 'a-viewer-token-of-24-signs',
  AUTH_OPERATOR_TOKEN: 'an-operator-token-of-26-s',
};

describe('whoever comes without a session', () => {
  test('is asked for a token, told that a wrong one is refused, and led to where they wanted to go', async ({
    world,
    serve,
  }) => {
    const site = await serve(SETTINGS);
    await tellStory(world, site);
    const tab = await site.open(`/users/${encodeURIComponent(BOB)}`);
    tab.forgive(/401/);
    const { page } = tab;
    const token = page.getByLabel('Token');
    await token.waitFor();
    await tab.expectAccessible();
    expect(await page.content()).not.toContain(BOB);
    await token.fill('a-wrong-token');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').waitFor();
    expect(await page.context().cookies()).toEqual([]);
    await token.fill(SETTINGS.AUTH_VIEWER_TOKEN);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: /auth0\|bob/ }).waitFor();
    expect(await page.evaluate('document.cookie + JSON.stringify({ ...localStorage })')).not.toContain('token');
    await page.getByRole('button', { name: 'Log out' }).click();
    await token.waitFor();
    expect(await page.context().cookies()).toEqual([]);
  });
});

describe('a viewer', () => {
  test('sees the acts and why they are not theirs; the API refuses them too', async ({ world, serve }) => {
    const site = await serve(SETTINGS);
    await tellStory(world, site);
    await mend(world);
    const id = await deadLetterOf(world, 'broken-bob');
    const tab = await site.open(`/dead-letters/${id}`);
    tab.forgive(/40[13]/);
    const { page } = tab;
    await page.getByLabel('Token').fill(SETTINGS.AUTH_VIEWER_TOKEN);
    await page.keyboard.press('Enter');
    const detail = page.getByRole('article');
    for (const name of ['Redrive…', 'Discard…', 'Edit and redrive…']) {
      const act = detail.getByRole('button', {
        name: new RegExp(`^${name}\\s*: Only an operator may do this; you are a viewer\\.$`),
      });
      expect(await act.getAttribute('aria-disabled')).toBe('true');
      await act.click({ force: true });
    }
    const reveal = detail.getByRole('button', { name: /^Show it\s*: It needs the permission/ });
    await reveal.click({ force: true });
    expect(await page.getByRole('dialog').count()).toBe(0);
    const asked = (method: string, path: string, body?: object) =>
      page.evaluate(
        async ([method, path, body]) =>
          (
            await fetch(path as string, {
              method: method as string,
              headers: { 'content-type': 'application/json', 'x-requested-with': 'customer-service-console' },
              ...(body ? { body: JSON.stringify(body) } : {}),
            })
          ).status,
        [method, path, body] as const,
      );
    expect(await asked('POST', '/api/v1/dead-letters/redrive', { ids: [id] })).toBe(403);
    expect(await asked('POST', '/api/v1/holds', { kind: 'user', id: ADA, reason: 'x' })).toBe(403);
    expect(await asked('GET', `/api/v1/dead-letters/${id}?reveal=true`)).toBe(403);
    expect(await asked('GET', '/api/v1/audit')).toBe(403);
    expect(await asked('GET', '/api/v1/dead-letters/export')).toBe(403);
    expect(await asked('POST', `/api/v1/holds/user/${ADA}/release`, { dryRun: true })).toBe(403);
    await page.getByRole('button', { name: 'Export…' }).click();
    const download = page.getByRole('dialog').getByRole('button', {
      name: /^Download\s*: Only an operator may do this; you are a viewer\.$/,
    });
    expect(await download.getAttribute('aria-disabled')).toBe('true');
    await download.click({ force: true });
    await page.keyboard.press('Escape');
    expect(await world.sql`select 1 from audit`).toHaveLength(0);
    await page.goto(new URL('/operations', page.url()).href);
    await page.getByText('Who did what is shown to operators only; you are a viewer.').waitFor();
    await tab.expectAccessible();
  });
});

describe('an operator', () => {
  test('acts, and the audit has the name', async ({ world, serve }) => {
    const site = await serve(SETTINGS);
    await tellStory(world, site);
    await mend(world);
    const tab = await site.open('/dead-letters?code=sql');
    tab.forgive(/401/);
    const { page } = tab;
    await page.getByLabel('Token').fill(SETTINGS.AUTH_OPERATOR_TOKEN);
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Redrive 2…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Redrive 2' }).click();
    await page.getByText('is done: 2 settled.').first().waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).last().click();
    await page.getByRole('button', { name: 'Export…' }).click();
    const downloading = page.waitForEvent('download'); // by its cookie
    await page.getByRole('link', { name: 'Download' }).click();
    expect(await (await downloading).failure()).toBeNull();
    expect(await world.sql`select distinct who from audit`).toEqual([{ who: 'operator' }]);
  });
});
