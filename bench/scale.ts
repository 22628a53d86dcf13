// scale.ts — what somebody at the console waits for, with millions of users in the tables and the log being worked off at full speed.
//
// A few users are made by the service itself; SQL then multiplies their rows: users by the million, histories for every fifth of them
// (what people look at of history are single users, and the ends of the partitions). The load then adds others.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { chromium } from 'playwright-core';
import { CHROMIUM_FLAGS, findChromium } from '../dev/chromium.ts';
import type { Servers } from '../dev/servers.ts';
import { type EvenOptions, evenLoad } from './even.ts';
import { sendAll } from './send.ts';
import { handledRecords, type Service, withService } from './service.ts';

/** Milliseconds. */
export type Waited = { question: string; times: number; p50: number; p95: number; max: number };
export type Drawn = {
  /** Between two frames of the page, ms. */
  frames: { n: number; p50: number; p99: number; max: number };
  /** Of the page's own thread, in all, of the seconds that it was watched. */
  longTasksMs: number;
  seconds: number;
  heapMb: { start: number; end: number };
};
export type Scaled = {
  users: number;
  steps: number;
  /** While people looked. */
  eventsPerSecond: number;
  waited: Waited[];
  /** Undefined without a Chromium. */
  drawn?: Drawn;
};

const TEMPLATES: EvenOptions = { events: 500, users: 100, partitions: 8, seed: 7 };
const TIMES = 30;
const WATCH_S = 30;

/** `user-events` is empty. `load`: what is worked off meanwhile. */
export async function measureScale(
  servers: Servers,
  { users, load }: { users: number; load: EvenOptions },
  say: (line: string) => void,
): Promise<Scaled> {
  return await withService(servers, { name: 'bench_scale', env: { LOG_EVENTS: 'off' } }, async (service) => {
    await service.untilReady();
    let sent = await sendAll(servers, evenLoad(TEMPLATES));
    await untilSaved(service, sent);
    const steps = await multiply(service, users, say);
    say('sending the load');
    sent += await sendAll(servers, evenLoad(load));
    const before = { at: performance.now(), n: await handledRecords(service) };
    const waited: Waited[] = [];
    for (const [question, paths] of await questions(service)) {
      const ms: number[] = [];
      for (let n = 0; n < TIMES; n++) ms.push(await ask(`${service.url}/api/v1${paths[n % paths.length]}`));
      waited.push({ question, times: TIMES, ...of(ms) });
      say(inWords(waited.at(-1) as Waited));
    }
    const drawn = await draw(service, say);
    const after = { at: performance.now(), n: await handledRecords(service) };
    if (after.n === sent) throw new Error('the load ended before the looking did: send more --events');
    const eventsPerSecond = Math.round(((after.n - before.n) * 1_000) / (after.at - before.at));
    return { users, steps, eventsPerSecond, waited, ...(drawn === undefined ? {} : { drawn }) };
  });
}

export function inWords({ question, p50, p95, max }: Waited): string {
  return `${question}: p50 ${p50} ms, p95 ${p95} ms, at most ${max} ms`;
}

function of(ms: number[]): { p50: number; p95: number; max: number } {
  const all = ms.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(all[Math.min(all.length - 1, Math.floor(share * all.length))] as number);
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

async function untilSaved(service: Service, n: number): Promise<void> {
  while ((await handledRecords(service)) < n) {
    service.assertAlive();
    await sleep(100);
  }
}

/** Returns how many rows of history there are then. */
async function multiply({ sql }: Service, users: number, say: (line: string) => void): Promise<number> {
  const copies = Math.ceil(users / TEMPLATES.users);
  const columns = async (table: string, changed: Record<string, string>) => {
    const rows = await sql<{ name: string }[]>`
      select attname as name from pg_attribute where attrelid = ${table}::regclass and attnum > 0 and not attisdropped order by attnum`;
    const names = rows.map(({ name }) => `"${name}"`);
    return { into: names.join(), from: rows.map(({ name }) => changed[name] ?? `t."${name}"`).join() };
  };
  // In no order of time or customer, as ids are; every tenth copy belongs to one large customer.
  const userId = `'auth0|' || substr(md5(t.user_id || '/' || c), 1, 24)`;
  const customerId = `case when c % 10 = 0 then 'customer-0-0' else t.customer_id end`;
  const ofUsers = await columns('users', {
    user_id: userId,
    customer_id: customerId,
    email: `'u' || c || '.' || t.email`,
  });
  await sql.unsafe('set synchronous_commit = off');
  await sql.unsafe(`set maintenance_work_mem = '1GB'`);
  await sql.unsafe(`create temp table templates as select * from users`);
  await sql.unsafe(
    `create temp table steps as select * from history where user_id is not null and version is not null`,
  );
  const indexAgain = await dropIndexes(sql); // row by row, ids in no order: ten minutes instead of three
  for (let first = 1; first <= copies; first += 5_000) {
    const copiesNow = `generate_series(${first}, ${Math.min(copies, first + 4_999)}) c`;
    await sql.unsafe(`insert into users (${ofUsers.into}) select ${ofUsers.from} from templates t, ${copiesNow}`);
  }
  say(`${users} users`);
  const ofHistory = await columns('history', {
    ...{ user_id: userId, customer_id: customerId, topic: `'before'`, partition: '0' },
    offset: `(c::bigint * 100000 + row_number() over (partition by c order by t.partition, t."offset"))`,
  });
  for (let first = 5; first <= copies; first += 5_000) {
    const copiesNow = `generate_series(${first}, ${Math.min(copies, first + 4_999)}, 5) c`;
    await sql.unsafe(`insert into history (${ofHistory.into}) select ${ofHistory.from} from steps t, ${copiesNow}`);
  }
  await indexAgain();
  // The sums that nobody ever counts, in the row of one partition.
  await sql.unsafe(`
    update positions set tallies = tallies || (select jsonb_object_agg('state|' || state, n + coalesce((tallies->>('state|' || state))::bigint, 0))
                                                 from (select state, count(*) * ${copies} as n from templates group by state) s)
     where (topic, partition) = ('user-events', 0)`);
  await sql.unsafe('vacuum analyze users');
  await sql.unsafe('vacuum analyze history');
  const [row] = await sql<{ n: string }[]>`select reltuples::bigint as n from pg_class where oid = 'history'::regclass`;
  say(`${row?.n} steps of history`);
  return Number(row?.n);
}

/** Returns how to make them again. */
async function dropIndexes(sql: Service['sql']): Promise<() => Promise<void>> {
  const constraints = await sql<{ table: string; name: string; definition: string }[]>`
    select conrelid::regclass::text as table, conname as name, pg_get_constraintdef(oid) as definition from pg_constraint
     where contype in ('p', 'u') and conrelid in ('users'::regclass, 'history'::regclass)`;
  const indexes = await sql<{ name: string; definition: string }[]>`
    select indexname as name, indexdef as definition from pg_indexes
     where tablename in ('users', 'history') and not indexname = any(${constraints.map(({ name }) => name)})`;
  for (const { table, name } of constraints) await sql.unsafe(`alter table ${table} drop constraint ${name}`);
  for (const { name } of indexes) await sql.unsafe(`drop index ${name}`);
  return async () => {
    for (const { definition } of indexes) await sql.unsafe(definition);
    for (const { table, name, definition } of constraints)
      await sql.unsafe(`alter table ${table} add constraint ${name} ${definition}`);
  };
}

/** What a person asks, one group a kind of question. */
async function questions({ sql }: Service): Promise<[string, string[]][]> {
  const some = await sql<{ id: string; email: string }[]>`
    select user_id as id, email from users where customer_id <> 'customer-0-0' and user_id > 'auth0|8' order by user_id limit 30`;
  const withHistory = await sql<{ id: string }[]>`
    select user_id as id from history where topic = 'before' and user_id > 'auth0|8' order by user_id limit 30`;
  const each = (to: (id: string) => string) => withHistory.map(({ id }) => to(encodeURIComponent(id)));
  const [edge] = await sql<
    { transition: string }[]
  >`select transition from history where transition is not null limit 1`;
  return [
    ['all live numbers', ['/stats']],
    ['find a user by the beginning of its id', some.map(({ id }) => `/users?q=${encodeURIComponent(id.slice(0, 14))}`)],
    ['find a user by its address', some.map(({ email }) => `/users?q=${encodeURIComponent(email)}`)],
    ['a page of a customer with a million users', ['/users?customer=customer-0-0']],
    ['the same, suspended ones only', ['/users?customer=customer-0-0&state=suspended']],
    ['one user', each((id) => `/users/${id}`)],
    ['its history', each((id) => `/users/${id}/history`)],
    ['as it was at step 1', each((id) => `/users/${id}/at?version=1`)],
    ['who is in a state, the newest', ['/recent/users?state=suspended', '/recent/users?state=active']],
    [
      'what went along an edge, the newest',
      [`/recent/events?transition=${encodeURIComponent(edge?.transition ?? '')}`],
    ],
    ['all suspended users, a page (reads rows until it has them)', ['/users?state=suspended']],
    ['customers', ['/customers']],
    ['dead letters, by group', ['/dead-letters/groups']],
    ['what waits, by group', ['/waiting/groups']],
    ['partitions', ['/partitions']],
  ];
}

async function ask(url: string): Promise<number> {
  const startMs = performance.now();
  const response = await fetch(url);
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} was answered with ${response.status}: ${text.slice(0, 300)}`);
  return performance.now() - startMs;
}

export function drawnInWords({ frames, longTasksMs, seconds, heapMb }: Drawn): string {
  return `the machine in a browser, ${seconds} s: ${Math.round(frames.n / seconds)} frames/s, ${frames.p99} ms between two (p99), at most ${frames.max} ms; long tasks ${longTasksMs} ms; heap ${heapMb.start} to ${heapMb.end} MB`;
}

async function draw(service: Service, say: (line: string) => void): Promise<Drawn | undefined> {
  const executablePath = findChromium();
  if (executablePath === undefined) return undefined;
  const browser = await chromium.launch({ executablePath, args: CHROMIUM_FLAGS });
  try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.goto(service.url);
    await page.getByRole('heading', { name: 'Machine' }).waitFor();
    await sleep(3_000);
    const start = await heapMb(page);
    const watched = (await page.evaluate(WATCH)) as { gaps: number[]; long: number };
    const gaps = watched.gaps.toSorted((a, b) => a - b);
    const at = (share: number) =>
      Math.round(gaps[Math.min(gaps.length - 1, Math.floor(share * gaps.length))] as number);
    const drawn = {
      frames: { n: gaps.length, p50: at(0.5), p99: at(0.99), max: at(1) },
      ...{ longTasksMs: Math.round(watched.long), seconds: WATCH_S, heapMb: { start, end: await heapMb(page) } },
    };
    say(drawnInWords(drawn));
    return drawn;
  } finally {
    await browser.close();
  }
}

async function heapMb(page: Page): Promise<number> {
  return Math.round(((await page.evaluate('performance.memory.usedJSHeapSize')) as number) / 1e5) / 10;
}

/** A text: nothing here knows the types of a page. */
const WATCH = `new Promise((resolve) => {
  const gaps = [];
  let long = 0;
  new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => { long += duration; })).observe({ type: 'longtask' });
  const start = performance.now();
  let last = start;
  requestAnimationFrame(function frame(now) {
    gaps.push(now - last);
    last = now;
    if (now - start < ${WATCH_S * 1_000}) requestAnimationFrame(frame);
    else resolve({ gaps: gaps.slice(1), long });
  });
})`;
