// console.ts — the console as a test meets it: built from its sources, served by a service of the test's own, opened in a browser.
//
// Owns:          that it is built, the story that its views tell. Does not own: the browser (browser.ts), the world (world.ts).
import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { BrowserContextOptions } from 'playwright-core';
import { afterAll, expect } from 'vitest';
import { type Chromium, NO_CHROMIUM, startChromium, type Tab } from './browser.ts';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  nestRecord,
  type Over,
  rawRecord,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from './records.ts';
import { type MemoryService, type World, test as worldTest } from './world.ts';

export type Console = {
  service: MemoryService;
  /** Appends these to the log, and returns when all of it was handled. */
  send(...arrivals: readonly Arrival[]): Promise<void>;
  /** Opens a path of the console in a tab of its own, which must be clean at the end of the test. */
  open(path: string, options?: BrowserContextOptions): Promise<Tab>;
};

let starting: Promise<Chromium | undefined> | undefined;
/** One browser for all tests of a file. */
function browser(): Promise<Chromium | undefined> {
  starting ??= buildConsole().then(startChromium);
  return starting;
}
afterAll(async () => (await starting?.catch(() => undefined))?.close());

/** A test with a world of its own and a browser: skipped, with the reason, where there is none (in CI: failed). */
export const test = worldTest.extend<{
  /** Opens any address. */
  openUrl: Chromium['open'];
  /** A service in memory, with these settings, that serves the console. */
  serve: (settings?: Record<string, string>) => Promise<Console>;
}>({
  openUrl: async ({ skip }, use) => {
    const chromium = await browser();
    if (chromium === undefined) return skip(NO_CHROMIUM);
    const tabs: Tab[] = [];
    try {
      await use(async (url, options) => {
        const tab = await chromium.open(url, options);
        tabs.push(tab);
        return tab;
      });
      for (const tab of tabs) tab.expectClean();
    } finally {
      await Promise.all(tabs.map((tab) => tab.close()));
    }
  },
  serve: async ({ world, openUrl }, use) => {
    await use(async (settings = {}) => {
      const service = await world.service(settings);
      return {
        service,
        async send(...arrivals) {
          world.log.append(...arrivals);
          await service.source.drain();
        },
        open: (path, options) => openUrl(`${service.url}${path}`, options),
      };
    });
  },
});

/** Builds console/dist where it is older than what it is made of. */
export async function buildConsole(): Promise<void> {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const built = await stat(join(root, 'console/dist/index.html')).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  const sources = ['console/src', 'console/public', 'console/index.html', 'console/vite.config.ts', 'machines'];
  const latest = Math.max(...(await Promise.all(sources.map((path) => latestOf(join(root, path))))));
  if (latest < built) return;
  const { NODE_ENV: _, ...env } = process.env; // "test" would build a page for tests
  await promisify(execFile)(process.execPath, ['dev/build-console.ts'], { cwd: root, env });
}
/** When it, or anything in it, was changed last. */
async function latestOf(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.mtimeMs;
  const names = await readdir(path);
  return Math.max(0, ...(await Promise.all(names.map((name) => latestOf(join(path, name))))));
}

// ---- what happened -----------------------------------------------------------------------------------------------------------

let n = 0;
/** An event in the native form, with an id of its own unless it is given one. */
export function event(type: string, payload: object, over: Over = {}): Arrival {
  return cloudEvent(type, payload, { id: `e${n++}`, ...over });
}
/** ISO, so many minutes after the payloads' usual time. */
export function minute(m: number): string {
  return new Date(AT_MS + m * 60_000).toISOString();
}

export const ADA = 'auth0|ada';
export const BOB = 'auth0|bob';
/** Its creation waits for a customer that nobody created. */
export const EVE = 'auth0|eve';

/** What every view has something to show of. Ada's events end in each of the outcomes; Bob's dead letter blocks one that waits.
 *  Postgres refuses events whose ids begin with "broken", until `mend`. */
export async function tellStory(world: World, { send }: Pick<Console, 'send'>): Promise<void> {
  await breakFor(world, 'broken%');
  const status = (userId: string, newStatus: string, m: number, over: Over & { previousStatus?: string } = {}) => {
    const { previousStatus = 'PENDING', ...rest } = over;
    return event(
      'USER_STATUS_CHANGED',
      statusChanged({ userId, newStatus, previousStatus, timestamp: minute(m) }),
      rest,
    );
  };
  const activated = status(ADA, 'ACTIVE', 1, { id: 'ada-active' });
  await send(
    event('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'acme', name: 'Acme Bakery' })),
    event('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'globex', name: 'Globex Looms' })),
    event('USER_CREATED', userCreated({ userId: ADA, customerAccountId: 'acme', userType: 'SME_USER' })),
    activated,
    activated, // duplicate
    status(ADA, 'ACTIVE', 2, { previousStatus: 'ACTIVE' }), // skipped
    event('USER_ROLE_CHANGED', roleChanged({ userId: ADA, timestamp: minute(3) })),
    status(ADA, 'SUSPENDED', 4, { previousStatus: 'PENDING' }), // drift
  );
  await send(
    nestRecord('USER_STATUS_CHANGED', statusChanged({ userId: ADA, newStatus: 'ACTIVE', timestamp: minute(1) })), // stale
  );
  await send(
    event('USER_DELETED', userDeleted({ userId: ADA, timestamp: minute(6) })),
    status(ADA, 'ACTIVE', 7), // rejected
    status(ADA, 'ACTIVE', 8, { id: 'broken-ada' }), // dead
    status(ADA, 'PENDING', 9), // waiting
    event('USER_CREATED', userCreated({ userId: BOB, customerAccountId: 'globex', userType: 'INSTITUTION_USER' })),
    status(BOB, 'ACTIVE', 1),
    status(BOB, 'SUSPENDED', 2, { id: 'broken-bob', previousStatus: 'ACTIVE' }), // dead, blocks
    status(BOB, 'ACTIVE', 3, { previousStatus: 'SUSPENDED' }), // waits behind it
    event('USER_STATUS_CHANGED', { ...statusChanged({ userId: BOB }), newStatus: 'FROZEN' }), // dead: schema
    rawRecord('{"userId": "auth0|cut', { headers: [['ce_type', 'USER_DELETED']] }), // dead: nobody's
    event('USER_CREATED', userCreated({ userId: EVE, customerAccountId: 'nowhere' })), // waits for a customer
  );
}
export const STEPS_OF_ADA = [
  'applied',
  'applied',
  'duplicate',
  'skipped',
  'applied',
  'applied',
  'stale',
  'applied',
  'rejected',
] as const;

/** Postgres refuses events whose ids are like this: they become dead letters `sql`. */
export async function breakFor(world: World, ids: string): Promise<void> {
  await world.sql.unsafe(`alter table history add constraint broken check (event_id not like '${ids}') not valid`);
}
export async function mend(world: World): Promise<void> {
  await world.sql.unsafe('alter table history drop constraint broken');
}

/** The number of a dead letter: of an event id, or (nobody's) of a code. */
export async function deadLetterOf(world: World, eventId: string | null, code = 'sql'): Promise<number> {
  const rows = await world.sql<{ id: string }[]>`
    select id from dead_letters where event_id is not distinct from ${eventId} and code = ${code}`;
  expect(rows).toHaveLength(1);
  return Number(rows[0]?.id);
}
