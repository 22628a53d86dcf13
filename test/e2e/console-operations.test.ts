// Partitions, operations, overview and the contract's page: what needs a person is said and can be done there.
import { describe, expect } from 'vitest';
import { PHONE } from '../support/browser.ts';
import { event, mend, minute, tellStory, test } from '../support/console.ts';
import { customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { until } from '../support/world.ts';

describe('a halted partition', () => {
  test('says why and what to do; a resume, with a reason, lets it go on', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    await world.sql`update positions set state = 'halted', halted_reason = 'gap: offsets 19 to 41 are missing' where topic = 'user-events'`;
    site.service.tick();
    await until(() => expect(site.service.source.halted.has('user-events/0')).toBe(true));
    const { page } = await site.open('/partitions');
    const halts = page.getByRole('region', { name: 'Halted partitions' });
    await halts.getByText('1 partition halted.').waitFor();
    await halts.getByText('gap: offsets 19 to 41 are missing').waitFor();
    const row = page.getByRole('row', { name: /HALTED/ });
    await row.getByText('gap: offsets 19 to 41 are missing').waitFor();
    await halts.getByRole('button', { name: 'Resume…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Resume user-events/0' });
    expect(await dialog.getByRole('button', { name: 'Resume 1 partition' }).isDisabled()).toBe(true);
    await dialog.getByRole('textbox').fill('they were test records');
    await dialog.getByRole('button', { name: 'Resume 1 partition' }).click();
    await halts.waitFor({ state: 'detached' });
    site.service.tick();
    await until(() => expect(site.service.source.halted.has('user-events/0')).toBe(false));
    await site.send(event('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'initech', name: 'Initech' })));
    expect(await world.sql`select name from customers where customer_id = 'initech'`).toEqual([{ name: 'Initech' }]);
    expect(await world.sql`select verb, dry_run from audit`).toEqual([{ verb: 'resume', dry_run: false }]);
  });

  test('whose log lost its beginning: says exactly what is lost, and goes on behind it once that is accepted', async ({
    world,
    serve,
  }) => {
    const site = await serve();
    await tellStory(world, site);
    const [{ next }] = await world.sql<[{ next: number }]>`
      update positions set state = 'halted', halted_reason = 'lost: offsets are not in the log any more' where topic = 'user-events'
      returning next_offset::int as next`;
    site.service.tick();
    await until(() => expect(site.service.source.halted.has('user-events/0')).toBe(true));
    for (const name of ['lost-1', 'lost-2', 'kept'])
      world.log.append(event('CUSTOMER_CREATED', customerCreated({ customerAccountId: name, name })));
    world.log.cut('user-events', 0, next + 2);

    const tab = await site.open('/partitions');
    const { page } = tab;
    const halts = page.getByRole('region', { name: 'Halted partitions' });
    await halts.getByText('npx user-lifecycle partitions accept-loss user-events 0').waitFor();
    await halts.getByRole('button', { name: 'Accept loss…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Accept the loss of user-events/0' });
    const says = dialog.getByRole('region', { name: 'What would happen' });
    await says.getByText(`Lost: 2 offsets, ${next} to ${next + 1}.`).waitFor();
    await tab.expectAccessible();
    const accept = dialog.getByRole('button', { name: 'Accept the loss' });
    expect(await accept.getAttribute('aria-disabled')).toBe('true');
    await dialog.getByRole('textbox').fill('nobody has a copy');
    await accept.click();
    await halts.waitFor({ state: 'detached' });
    site.service.tick();
    await until(() => expect(site.service.source.halted.has('user-events/0')).toBe(false));
    await site.service.source.drain();
    expect(await world.sql`select name from customers where name in ('lost-1', 'lost-2', 'kept')`).toEqual([
      { name: 'kept' },
    ]);
    expect(await world.sql`select first_offset::int as first, last_offset::int as last, reason from losses`).toEqual([
      { first: next, last: next + 1, reason: 'nobody has a copy' },
    ]);
  });
});

describe('a halted partition whose topic was made anew', () => {
  test('goes on where it is said, once it was tried out as what it is', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const end = world.log.records('user-events').length;
    await world.sql`update positions set state = 'halted', halted_reason = 'truncated: the log ends at 3' where topic = 'user-events'`;
    site.service.tick();
    await until(() => expect(site.service.source.halted.has('user-events/0')).toBe(true));
    const tab = await site.open('/partitions', { ...PHONE, colorScheme: 'dark' });
    tab.forgive(/409/);
    const { page } = tab;
    const halts = page.getByRole('region', { name: 'Halted partitions' });
    await halts.getByRole('button', { name: 'Set position…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Set the position of user-events/0' });
    const says = dialog.getByRole('region', { name: 'What would happen' });
    await says.getByText('as another log (generation 1)').waitFor();
    await dialog.getByRole('checkbox').uncheck();
    await says.getByText('It is not clear which log this is').waitFor();
    await dialog.getByRole('checkbox').check();
    await dialog.getByLabel(/^Go on at offset/).fill(String(end));
    await says.getByText(`Lost: ${end} offsets, 0 to ${end - 1}.`).waitFor();
    await dialog.getByText(`partitions set-position user-events 0 ${end} --new-log`).waitFor();
    await tab.expectAccessible();
    await tab.expectNoOverflow();
    await dialog.getByLabel(/^Why/).fill('made anew');
    await dialog.getByRole('button', { name: 'Set the position' }).click();
    await halts.waitFor({ state: 'detached' });
    expect(
      await world.sql`select generation, next_offset::int as next from positions where topic = 'user-events'`,
    ).toEqual([{ generation: 1, next: end }]);
  });
});

describe('operations', () => {
  test('a hold of a customer is set and released; its users wait meanwhile', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    const userId = 'auth0|held';
    await site.send(event('USER_CREATED', userCreated({ userId, customerAccountId: 'globex' })));
    const { page } = await site.open('/operations');
    await page.getByText('Nothing is on hold').waitFor();
    await page.getByRole('button', { name: 'New hold…' }).click();
    const dialog = page.getByRole('dialog', { name: 'New hold' });
    await dialog.getByRole('button', { name: 'A customer' }).click();
    await dialog.getByLabel('Customer id').fill('globex');
    await dialog.getByLabel(/^Reason/).fill('bad import');
    await dialog.getByRole('button', { name: 'Hold 1 customer' }).click();
    const row = page
      .getByRole('table', { name: 'Holds, the newest first' })
      .getByRole('row', { name: /globex.* bad import/ });
    await row.waitFor();
    await site.send(event('USER_STATUS_CHANGED', statusChanged({ userId, timestamp: minute(1) })));
    await until(async () => expect(await row.innerText()).toMatch(/\s1\s/));
    await row.getByRole('button', { name: 'Release…' }).click();
    const release = page.getByRole('dialog', { name: 'Release customer globex' });
    // One of Bob's waits behind a dead letter, hold or not.
    await release.getByText('2 events of 2 users wait: 1 would be applied and 1 would wait on.').waitFor();
    await release.getByText('pending → active').waitFor();
    expect(await world.sql`select 1 from holds`).toHaveLength(1);
    expect(await world.sql`select state from users where user_id = ${userId}`).toEqual([{ state: 'pending' }]);
    await release.getByRole('button', { name: 'Release 1 hold' }).click();
    await page.getByText('Nothing is on hold').waitFor();
    await until(async () =>
      expect(await world.sql`select state from users where user_id = ${userId}`).toEqual([{ state: 'active' }]),
    );
  });

  test('jobs stand there when they have ended, and all that was done in the audit', async ({ world, serve }) => {
    const site = await serve();
    await tellStory(world, site);
    await mend(world);
    const { page } = await site.open('/dead-letters?code=sql');
    await page.getByRole('button', { name: 'Redrive 2…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Redrive 2' }).click();
    await page.getByText('is done: 2 settled.').first().waitFor();
    await page.goto(new URL('/operations', page.url()).href);
    const jobs = page.getByRole('table', { name: 'Jobs that ended, the newest first' });
    await jobs.getByRole('row', { name: /redrive of dead letters where the code is sql.* done / }).waitFor();
    const audit = page.getByRole('table', { name: 'What operators did, the newest first' });
    await until(async () => expect(await audit.locator('tbody tr').count()).toBe(2));
    await audit.getByRole('row', { name: /redrive dry run/ }).waitFor();
    await page.getByRole('combobox', { name: 'What' }).selectOption('discard');
    await page.getByText('None match').waitFor();
    expect(page.url()).toContain('verb=discard');
  });
});

describe('the overview', () => {
  test('has its charts, each with the table that says the same, and sums that are those of the database', async ({
    world,
    serve,
  }) => {
    const site = await serve();
    await tellStory(world, site);
    const { page } = await site.open('/overview');
    await page.getByText('All is well.').waitFor();
    const charts = page.getByRole('figure');
    await until(async () => {
      site.service.tick(); // a sample is taken
      expect(await charts.locator('canvas').count()).toBe(5);
    });
    expect(await charts.getByRole('heading').allTextContents()).toContain('Events per second, by outcome');
    for (const chart of await charts.all()) {
      await chart.getByText('As a table').click();
      await chart.getByRole('table').locator('tbody tr').first().waitFor();
    }
    const outcomes = page.getByRole('table', { name: 'Events by outcome' });
    const rows = await world.sql<
      { outcome: string; n: number }[]
    >`select outcome, count(*)::int as n from history group by 1`;
    for (const { outcome, n } of rows)
      await until(async () =>
        expect(await outcomes.getByRole('row', { name: new RegExp(`^${outcome} `) }).innerText()).toMatch(
          new RegExp(`\\b${n}\\b`),
        ),
      );
    await page
      .getByRole('table', { name: 'Users by state' })
      .getByRole('row', { name: /^active/ })
      .waitFor();
  });
});

describe('the page of the events', () => {
  test('has every event with its fields, found by any word, without anything from elsewhere', async ({ serve }) => {
    const site = await serve();
    const { page } = await site.open('/events');
    for (const name of ['USER_CREATED', 'USER_STATUS_CHANGED', 'USER_ROLE_CHANGED', 'USER_DELETED', 'CUSTOMER_CREATED'])
      await page
        .getByRole('region', { name })
        .getByRole('row', { name: /timestamp/ })
        .first()
        .waitFor();
    await page.getByRole('searchbox', { name: 'Search' }).fill('previousRole');
    await until(async () => expect(await page.locator('.event').count()).toBe(1));
    await page.getByRole('region', { name: 'USER_ROLE_CHANGED' }).getByText('SME_OWNER').first().waitFor();
    expect(page.url()).toContain('q=previousRole');
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'AsyncAPI' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('asyncapi.json');
    expect(await download.failure()).toBeNull();
  });
});
