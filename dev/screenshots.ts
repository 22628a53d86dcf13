// screenshots.ts — `npm run screenshots`: the console's pictures, taken of the real service under a demo's load (docs/console/*.png).
//
//    servers, service ─▶ pictures of what is empty ─▶ load ─▶ acts of an operator ─▶ pictures under load ─▶ pictures of what goes wrong
//
// Owns:          what is looked at, in which light and width. Does not own: the load (load.ts), the stage (src/cli/stage.ts), the browser.
//
// H1  The same ids and event times each time (seed, fixed time); clocks of saves, rates and the traces' ids are those of the run.
// H2  A picture is taken when what it shows is there, never after a while.
//
// `--all <folder>`: instead, every view in light, in dark and on a phone, to be looked at after a change.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium, type Page } from 'playwright-core';
import postgres from 'postgres';
import { openProducers, sendAll } from '../src/cli/producers.ts';
import { stopOnSignals } from '../src/cli/signals.ts';
import { setStage } from '../src/cli/stage.ts';
import { readConfig } from '../src/config.ts';
import { CHROMIUM_FLAGS, findChromium } from './chromium.ts';
import { createLoad, SHARES } from './load.ts';
import { withPalette } from './png.ts';

const SEED = 7;
const AT_MS = Date.UTC(2026, 0, 15, 12);
const EVENTS = { before: 24_000, meanwhile: 40_000, perSecond: 250 };
const MOST_BYTES = 150_000;
const SAMPLES = 20; // of 5 s each, in a chart: enough for a line

const WIDE = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

type Look = {
  name: string;
  path: string;
  /** Once this is seen, it is there. */
  shows: string | RegExp;
  says: string;
  isDark?: true;
  isPhone?: true;
  /** Only with `--all`. */
  isExtra?: true;
  /** What is done before it is taken. */
  before?: (page: Page) => Promise<void>;
};

type Known = { busy: string; active: string; waiting: string; dead: number };

/** As `docs/console.md` shows them. */
function looksOf({ busy, active, waiting, dead }: Known): Look[] {
  const user = (id: string) => `/users/${encodeURIComponent(id)}`;
  const whatIf = [
    ['USER_ROLE_CHANGED', { previousRole: 'SME_USER', newRole: 'SME_OWNER', userType: 'SME_USER' }],
    ['USER_DELETED', { userType: 'SME_OWNER' }],
    ['USER_STATUS_CHANGED', { previousStatus: 'ACTIVE', newStatus: 'SUSPENDED', userType: 'SME_USER' }],
  ];
  return [
    {
      ...{ name: 'machine', path: '/', shows: /\d\/s/ },
      says: 'The machine, drawn from the code: how many users are in each state, and what passes along each edge now.',
    },
    {
      ...{
        name: 'machine-panel',
        path: '/?state=active',
        shows: 'Users that are in it now, the latest first',
        isDark: true,
      },
      before: (page) => page.getByText(/^from [\d,]+ to [\d,]+ in/).waitFor({ timeout: 60_000 }),
      says: 'A state that was clicked: its users, what comes and goes, how many there were lately, where it leads.',
    },
    {
      ...{
        name: 'machine-user',
        isExtra: true,
        path: `/?user=${encodeURIComponent(busy)}`,
        shows: 'Open its timeline',
      },
      says: 'A user that was searched for: where it is, and by which steps it came there.',
    },
    {
      ...{ name: 'machine-phone', path: '/', shows: 'what changes nothing is not drawn', isPhone: true },
      says: 'The machine on a phone, from top to bottom.',
    },
    {
      ...{ name: 'user', path: user(busy), shows: /history gives the saved row/ },
      before: async (page) => {
        await page.keyboard.press('ArrowLeft');
        await page.keyboard.press('ArrowLeft');
        await page.getByText(/^looking back/).waitFor();
        await page.locator('.inspector-row[data-busy="false"]').waitFor();
      },
      says: 'A user: its way through the machine, its timeline, and one step back in time with what it did to the row.',
    },
    {
      ...{ name: 'user-phone', path: user(busy), shows: /history gives the saved row/, isPhone: true },
      before: (page) => page.getByRole('heading', { name: 'Timeline' }).scrollIntoViewIfNeeded(),
      says: 'Its timeline on a phone.',
    },
    {
      ...{ name: 'user-waiting', isExtra: true, path: user(waiting), shows: /It does not exist yet/, isDark: true },
      says: 'A user whose creation waits for a customer that is not known yet.',
    },
    {
      ...{
        name: 'what-if',
        path: `/what-if?customer=known&user=${encodeURIComponent(active)}&events=${encodeURIComponent(JSON.stringify(whatIf))}`,
        shows: /The row after event/,
      },
      says: 'What would happen if: events put to a copy of a user; nothing is saved.',
    },
    {
      ...{ name: 'dead-letters', path: '/dead-letters', shows: 'Wait behind' },
      says: 'Dead letters in groups, with how many events wait behind them.',
    },
    {
      ...{ name: 'dead-letter', path: `/dead-letters/${dead}`, shows: 'Attempts and acts', isDark: true },
      says: 'One dead letter: why it is one, what can be done, what it is made of (hidden until somebody asks).',
    },
    {
      ...{ name: 'redrive', path: `/dead-letters/${dead}`, shows: 'Attempts and acts' },
      before: async (page) => {
        await page.getByRole('article').getByRole('button', { name: 'Redrive…', exact: true }).click();
        await page.getByText(/^It would be/).waitFor();
      },
      says: 'Before a redrive: the act itself, rolled back, says what would become of it.',
    },
    {
      ...{ name: 'waiting', path: '/waiting?view=list', shows: 'for an unknown customer' },
      says: 'What waits, for what, and since when.',
    },
    {
      ...{ name: 'partitions', path: '/partitions', shows: '1 partition halted.' },
      says: 'Partitions: position, lag and owner of each; one that halted says why, and what to do.',
    },
    {
      ...{ name: 'overview', path: '/overview', shows: 'Events since the beginning', isDark: true },
      before: async (page) => {
        await page.locator('canvas').nth(4).waitFor();
        await untilSampled();
      },
      says: 'How the service does: what it depends on, events by outcome, lag, how long it takes.',
    },
    {
      ...{ name: 'operations', path: '/operations', shows: /lines, all of them|there are more/ },
      says: 'What operators did and do: holds, jobs, and the audit.',
    },
    {
      ...{ name: 'events', path: '/events', shows: 'customerAccountId' },
      says: 'The contract: every event with its fields, allowed values and examples, without a network.',
    },
  ];
}

const EMPTY: Look[] = [
  {
    ...{ name: 'empty', path: '/', shows: 'No users yet.' },
    says: 'Before the first event: what would stand here, and the commands that send some.',
  },
];
const EMPTY_TOO: Look[] = [
  { name: 'empty-users', path: '/users', shows: 'No users yet', says: '' },
  { name: 'empty-dead-letters', path: '/dead-letters', shows: 'No dead letters', says: '' },
  { name: 'empty-waiting', path: '/waiting', shows: 'Nothing waits', says: '' },
  { name: 'empty-operations', path: '/operations', shows: 'No jobs yet', says: '' },
  { name: 'empty-overview', path: '/overview', shows: 'All is well.', says: '' },
];

/** Opened while all is well, and taken when the service has stopped. */
const DISCONNECTED: Look[] = [
  {
    ...{ name: 'disconnected', path: '/', shows: /\d\/s/ },
    says: 'The service does not answer: since when, and the last numbers, greyed. The page goes on by itself when it is back.',
  },
];
/** What goes wrong: the answers of the API are replaced on their way. */
const WRONG: Look[] = [
  {
    ...{ name: 'error', path: '/users', shows: 'Machine', says: '' },
    before: async (page) => {
      await page.route('**/api/v1/users?**', (route) =>
        route.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify(AWAY) }),
      );
      await page.reload();
      await page.getByText('Try again').waitFor();
    },
  },
  {
    ...{ name: 'loading', path: '/users', shows: 'Machine', says: '' },
    before: async (page) => {
      await page.route('**/api/v1/users?**', () => {});
      await page.reload();
      await page.locator('.skeleton').first().waitFor();
    },
  },
];
const AWAY = {
  ...{ type: '/problems/unavailable', title: 'A server that this needs is away', status: 503 },
  ...{ detail: 'Postgres is away; it is tried again.', instance: 'urn:trace:4bf92f3577b34da6a3ce929d0e0e4736' },
};

const { values } = parseArgs({ options: { all: { type: 'string' } } });
const say = (text: string) => process.stderr.write(`${text}\n`);
const stopping = stopOnSignals(say);
const stage = await setStage(stopping, { files: false, stays: false }, say);
if (stage === undefined) process.exit(stopping.exitCode() ?? 1);
const executablePath = findChromium();
if (executablePath === undefined) {
  await stage.close();
  throw new Error('There is no Chromium: install one, or say where it is with CHROMIUM.');
}
const browser = await chromium.launch({ executablePath, args: CHROMIUM_FLAGS });
try {
  await (values.all === undefined ? takeForDocs() : takeAll(values.all));
} finally {
  await browser.close();
  await stage.close();
}
process.exit();

async function takeForDocs(): Promise<void> {
  const folder = fileURLToPath(new URL('../docs/console/', import.meta.url));
  const looks: Look[] = [];
  await take(EMPTY, folder);
  const open = await underLoad(async (known) => {
    const shown = looksOf(known).filter(({ isExtra }) => !isExtra);
    looks.push(...shown, ...EMPTY, ...DISCONNECTED);
    await take(shown, folder);
    return openAll(DISCONNECTED);
  });
  await takeDisconnected(open, folder);
  await writeFile(join(folder, '../console.md'), pageOf(looks));
}

async function takeAll(folder: string): Promise<void> {
  await take([...EMPTY, ...EMPTY_TOO].flatMap(everyWay), folder);
  const open = await underLoad(async (known) => {
    await take([...looksOf(known), ...WRONG].flatMap(everyWay), folder);
    return openAll(DISCONNECTED.flatMap(everyWay));
  });
  await takeDisconnected(open, folder);
}

async function takeDisconnected(open: readonly Open[], folder: string): Promise<void> {
  await stage?.close();
  for (const { look, page } of open) {
    await page.getByText(/^Disconnected since/).waitFor();
    await keep(look, await shot(page), folder);
    await page.context().close();
  }
}
function everyWay({ isDark: _, isPhone: __, ...look }: Look): Look[] {
  const name = look.name.replace('-phone', '');
  if (name !== look.name) return [];
  return [look, { ...look, name: `${name}.dark`, isDark: true }, { ...look, name: `${name}.phone`, isPhone: true }];
}

/** Sends the load, lets an operator act, and goes on sending while `look` looks. */
async function underLoad<T>(look: (known: Known) => Promise<T>): Promise<T> {
  const config = readConfig(stage?.settings as Record<string, string>, { file: null });
  const sql = postgres({
    ...config.database,
    username: config.database.user,
    password: config.database.password ?? '',
    ssl: false,
    max: 1,
  });
  const load = createLoad({
    ...SHARES,
    seed: SEED,
    events: EVENTS.before + EVENTS.meanwhile,
    users: 9_000,
    atMs: AT_MS,
  });
  const producers = await openProducers(config, undefined);
  const ended = new AbortController();
  let sending: Promise<void> | undefined;
  try {
    let left = EVENTS.before;
    const some = (most: number) => {
      const events = left > 0 ? load.more(Math.min(most, left)) : [];
      left -= events.length;
      return events;
    };
    await sendAll(producers, some, null, stopping.signal);
    await untilQuiet(sql);
    await operate(sql);
    sending = sendAll(producers, load.more, EVENTS.perSecond, AbortSignal.any([ended.signal, stopping.signal]));
    const [letter] = await sql<
      { id: string }[]
    >`select id from dead_letters where code = 'schema' and status = 'open' order by id limit 1`;
    const [busy] = await sql<{ user_id: string }[]>`
      select user_id from history join users using (user_id) where state in ('active', 'roleChanged', 'suspended') group by 1
      having count(*) between 7 and 24 and count(distinct outcome) >= 3
       order by count(distinct outcome) desc, count(*) desc, user_id limit 1`;
    const [active] = await sql<{ user_id: string }[]>`
      select user_id from users where state = 'active' and version > 3 and waiting = 0 order by user_id desc limit 1`;
    const { waiting } = load.examples();
    return await look({
      busy: busy?.user_id as string,
      active: active?.user_id as string,
      waiting: waiting as string,
      dead: Number(letter?.id),
    });
  } finally {
    ended.abort();
    await sending;
    await producers.close();
    await sql.end();
  }
}

/** Nothing is behind any more. */
async function untilQuiet(sql: postgres.Sql): Promise<void> {
  for (let before = -1; !stopping.signal.aborted; ) {
    const [row] = await sql<
      { n: number }[]
    >`select coalesce(sum((tallies->>'records')::bigint), 0)::int as n from positions`;
    const n = row?.n ?? 0;
    if (n >= EVENTS.before && n === before) return;
    before = n;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** What an operator would have done on a day like this. */
async function operate(sql: postgres.Sql): Promise<void> {
  const asked = async (method: string, path: string, body: object) => {
    const answer = await fetch(`${stage?.url}/api/v1/${path}`, {
      method,
      headers: { 'content-type': 'application/json', 'x-requested-with': 'customer-service-console' },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  };
  const [customer] = await sql<
    { customer_id: string }[]
  >`select customer_id from users group by 1 order by count(*) desc, 1 limit 1`;
  const [user] = await sql<
    { user_id: string }[]
  >`select user_id from users where state = 'active' order by user_id limit 1`;
  await asked('POST', 'holds', { kind: 'customer', id: customer?.customer_id, reason: 'bad import, ticket 4711' });
  await asked('POST', 'holds', { kind: 'user', id: user?.user_id, reason: 'asked for by support' });
  await asked('POST', 'dead-letters/redrive', { filter: { code: 'schema' }, dryRun: true });
  await asked('POST', 'dead-letters/discard', {
    filter: { code: 'tombstone' },
    reason: 'tombstones of the old exporter',
  });
  await asked('POST', 'dead-letters/redrive', { filter: { code: 'json' } });
  await sql`update positions set state = 'halted', halted_reason = 'gap: the log was fetched from ' || next_offset + 40 || ', the saved position is ' || next_offset
             where topic = 'USER_DELETED' and partition = 3`;
}

async function take(looks: readonly Look[], folder: string): Promise<void> {
  for (const look of looks) {
    const { page } = await opened(look);
    await keep(look, await shot(page), folder);
    await page.context().close();
  }
}

async function untilSampled(): Promise<void> {
  while (!stopping.signal.aborted) {
    const { series } = (await (await fetch(`${stage?.url}/api/v1/stats`)).json()) as { series: unknown[] };
    if (series.length >= SAMPLES) return;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

type Open = { look: Look; page: Page };

async function openAll(looks: readonly Look[]): Promise<Open[]> {
  const open: Open[] = [];
  for (const look of looks) open.push(await opened(look));
  return open;
}

/** A page in a browser of its own that shows all of it (H2). */
async function opened(look: Look): Promise<Open> {
  const context = await browser.newContext({
    viewport: look.isPhone ? PHONE : WIDE,
    colorScheme: look.isDark ? 'dark' : 'light',
    reducedMotion: 'reduce',
    timezoneId: 'UTC',
    hasTouch: look.isPhone === true,
  });
  const page = await context.newPage();
  try {
    await page.goto(`${stage?.url}${look.path}`);
    await page.getByText(look.shows).filter({ visible: true }).first().waitFor();
    await page.locator('.skeleton').first().waitFor({ state: 'detached' });
    await page.locator('.live:not([data-is="connecting"])').waitFor();
    await look.before?.(page);
  } catch (error) {
    throw new Error(`${look.name} (${look.path}): ${(error as Error).message}`, { cause: error });
  }
  return { look, page };
}

async function shot(page: Page): Promise<Buffer> {
  return withPalette(await page.screenshot({ animations: 'disabled', caret: 'hide' }));
}

async function keep({ name }: Look, picture: Buffer, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${name}.png`), picture);
  say(`${name}.png: ${Math.ceil(picture.length / 1_000)} kB`);
  if (picture.length > MOST_BYTES) say(`  that is more than ${MOST_BYTES / 1_000} kB: too much for a repository`);
}

/** docs/console.md: the pictures, and what each shows. */
function pageOf(looks: readonly Look[]): string {
  const parts = looks.map(({ name, says }) => `${says}\n\n![${says}](console/${name}.png)\n`);
  return [
    '# The console\n\n',
    'The service serves it itself, beside its API: nothing to install, and nothing of it comes from elsewhere. Views, keys and what an\n',
    'operator can do there: below, picture by picture. `npm run screenshots` takes them of the real service under the load of the demo;\n',
    'the dark ones and those of a phone are the same page.\n\n',
    parts.join('\n'),
  ].join('');
}
