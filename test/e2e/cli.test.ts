// The command line as people use it: a process of its own, against real servers and the settings of a world.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { toMermaid } from '../../machines/picture.ts';
import { WAYS } from '../../src/cli/envelope.ts';
import { createLog } from '../../src/log.ts';
import { startMigration } from '../../src/migrate.ts';
import { halt } from '../../src/operate.ts';
import { makePositions } from '../../src/positions.ts';
import { withAdmin } from '../../src/sources/kafka-client.ts';
import { kafkaSettings } from '../../src/sources/open.ts';
import { AT, cloudEvent, customerCreated, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { ALL_TOPICS, createWorld, test, until, type World } from '../support/world.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LAUNCHER = join(ROOT, 'bin/user-lifecycle.js');
/** Gives a program a terminal, where there is such a thing. */
const SCRIPT = ['/usr/bin/script'].find(existsSync);
// Without an .env that could add settings.
const EMPTY = mkdtempSync(join(tmpdir(), 'cli-test-'));
afterAll(() => rmSync(EMPTY, { recursive: true }));

type Ended = { code: number | null; out: string; err: string };

/** `typed`: on its stdin. */
function launch(
  settings: Record<string, string>,
  args: readonly string[],
  typed?: string,
): { child: ChildProcess; ended: Promise<Ended> } {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...settings };
  const stdin = typed === undefined ? 'ignore' : 'pipe';
  const child = spawn(process.execPath, [LAUNCHER, ...args], { cwd: EMPTY, env, stdio: [stdin, 'pipe', 'pipe'] });
  child.stdin?.end(typed);
  return { child, ended: ended(child) };
}
function ended(child: ChildProcess): Promise<Ended> {
  const out: string[] = [];
  const err: string[] = [];
  child.stdout?.on('data', (text) => void out.push(String(text)));
  child.stderr?.on('data', (text) => void err.push(String(text)));
  const { promise, resolve } = Promise.withResolvers<Ended>();
  child.on('close', (code) => resolve({ code, out: out.join(''), err: err.join('') }));
  return promise;
}

function cli(world: Pick<World, 'settings'>, ...args: string[]): Promise<Ended> {
  return launch(world.settings, args).ended;
}
/** One that must succeed: its lines of JSON. */
async function json(world: Pick<World, 'settings'>, ...args: string[]) {
  const { code, out, err } = await cli(world, ...args, '--json');
  expect(code, err).toBe(0);
  return lines(out);
}
function lines(out: string): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

async function stateOf(world: World, userId: string): Promise<string | undefined> {
  const [row] = await world.sql`select state from users where user_id = ${userId}`;
  return row?.state;
}
async function onlyDeadLetter(world: World): Promise<string> {
  const rows = await world.sql`select id from dead_letters`;
  expect(rows).toHaveLength(1);
  return String(rows[0]?.id);
}
const silent = createLog({ level: 'silent' });
const later = (minutes: number) => new Date(Date.parse(AT) + minutes * 60_000).toISOString();

describe('an event from the command line is one that a producer could have sent', () => {
  let world: World;
  beforeAll(async () => {
    // Other files use the same topics.
    world = await createWorld({ KAFKA_FROM: 'latest', KAFKA_TOPICS: ALL_TOPICS });
    await world.kafkaService();
  });
  afterAll(async () => {
    await world.expectSound();
    await world.close();
  });

  test.for(WAYS)('as %s it creates a user, and the outcome is told', async (way) => {
    const { code, out, err } = await cli(
      world,
      'send',
      'USER_CREATED',
      '--user',
      `auth0|${way}`,
      '--as',
      way,
      '--wait',
    );
    expect(code, err).toBe(0);
    expect(out).toMatch(/^[\w-]+\[\d+\]@\d+ · applied · absent -> pending · \d+ ms\n$/);
    expect(await stateOf(world, `auth0|${way}`)).toBe('pending');
    const [row] = await world.sql`select dialect from history where user_id = ${`auth0|${way}`}`;
    expect(row?.dialect).toBe(way === 'structured' ? 'cloudevents-structured' : way);
  });

  test('it waits for its customer, and goes when that is there', async () => {
    const sent = await cli(world, 'send', 'user-created', '--user', 'auth0|w', '--customer', 'acme', '--wait');
    expect(sent).toMatchObject({ code: 0, out: expect.stringContaining('· waiting · for its customer ·') });
    await json(world, 'send', 'CUSTOMER_CREATED', '--customer', 'acme', '--wait');
    await until(async () => expect(await stateOf(world, 'auth0|w')).toBe('pending'));
  });

  test('one customer, one partition: the key is found by the user', async () => {
    await json(world, 'send', 'CUSTOMER_CREATED', '--customer', 'keyed', '--wait');
    const [created] = await json(world, 'send', 'USER_CREATED', '--user', 'auth0|k', '--customer', 'keyed', '--wait');
    const [moved] = await json(world, 'send', 'USER_STATUS_CHANGED', '--user', 'auth0|k', '--wait');
    expect(moved).toMatchObject({
      partition: created?.partition,
      outcome: 'applied',
      toState: 'active',
      offset: expect.stringMatching(/^\d+$/),
    });
  });

  test('a payload that is no good is a dead letter, told at once with exit code 3', async () => {
    const { code, out, err } = await cli(world, 'send', 'USER_DELETED', '--data', '{"userId":42}', '--wait');
    expect(code).toBe(3);
    expect(out).toMatch(/· dead · schema: \w+: expected .* · dead letter \d+ · \d+ ms\n$/);
    expect(err).toContain('next: npx user-lifecycle dlq show');
  });

  test('with nobody to handle it, --wait ends and says where to look', async () => {
    const { code, err } = await cli({ settings: { ...world.settings, DB_DATABASE: 'world_template' } }, ...NOBODY);
    expect(code).toBe(1);
    expect(err).toContain('was sent, but not handled within 0.5 s');
  });
  const NOBODY = ['send', 'CUSTOMER_CREATED', '--wait', '--timeout', '0.5'];
});

describe('an operator settles dead letters', () => {
  test('a discard lets those go that waited behind it', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined })),
      cloudEvent('USER_STATUS_CHANGED.v2', statusChanged(), { id: 'e2' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ timestamp: later(1) }), { id: 'e3' }),
    );
    await source.drain();
    expect(await stateOf(world, 'auth0|u1')).toBe('pending');
    const id = await onlyDeadLetter(world);
    expect((await cli(world, 'dlq', 'list')).out).toContain('open, blocks');

    const { code, out } = await cli(world, 'dlq', 'discard', id, '--reason', 'test data', '--actor', 'ann');
    expect({ code, out }).toEqual({ code: 0, out: `${id} · discarded · 1 event went: applied 1\n` });
    expect(await stateOf(world, 'auth0|u1')).toBe('active');
    expect((await cli(world, 'dlq', 'show', id)).out).toMatch(/discarded.*by whom +ann.*note +test data/s);
    expect(await cli(world, 'dlq', 'discard', id, '--reason', 'again')).toMatchObject({
      code: 1,
      err: `Dead letter ${id} is discarded already: nothing was changed.\n`,
    });
  });

  test('a redrive puts it in its place of the order', async ({ world }) => {
    const { source } = await world.service({ WAITING_PER_USER: '1' });
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED', timestamp: later(1) }), { id: 'e2' }),
    );
    await source.drain();
    world.log.append(cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e3' }));
    await source.drain();
    await until(async () => expect(await stateOf(world, 'auth0|u1')).toBe('active'));

    const id = await onlyDeadLetter(world);
    const { code, out } = await cli(world, 'dlq', 'redrive', id);
    expect({ code, out }).toEqual({ code: 0, out: `${id} · user-events[0]@1 · applied · active -> suspended\n` });
    expect((await json(world, 'dlq', 'list', '--status', 'all'))[0]).toMatchObject({ id, status: 'resolved' });
  });

  test('what can still not be read is dead again: exit code 3', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(rawRecord('{"no":"event"}'));
    await source.drain();
    const id = await onlyDeadLetter(world);
    expect(await cli(world, 'dlq', 'redrive', id)).toMatchObject({
      code: 3,
      out: expect.stringContaining('· dead · undecodable: '),
    });
    expect((await json(world, 'dlq', 'list'))[0]).toMatchObject({ id, attempts: 2, status: 'open' });
  });

  test('a customer that can be read now lets its users go', async ({ world }) => {
    const { source } = await world.service({ MAX_RECORD_BYTES: '1024' });
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', { ...customerCreated(), more: 'x'.repeat(1_024) }, { id: 'e1' }),
      cloudEvent('USER_CREATED', userCreated(), { id: 'e2' }),
    );
    await source.drain();
    expect(await stateOf(world, 'auth0|u1')).toBeUndefined();
    const { code, out } = await cli(world, 'dlq', 'redrive', await onlyDeadLetter(world));
    expect(code).toBe(0);
    expect(out).toContain('· applied · 1 other event went with it');
    expect(await stateOf(world, 'auth0|u1')).toBe('pending');
  });

  test('an event whose user could not be read finds its user', async ({ world }) => {
    const { source } = await world.service({ MAX_RECORD_BYTES: '1024' });
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', { ...statusChanged(), more: 'x'.repeat(1_024) }, { id: 'e2' }),
    );
    await source.drain();
    const { code, out } = await cli(world, 'dlq', 'redrive', await onlyDeadLetter(world));
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringMatching(/· applied · pending -> active\n$/) });
  });

  test('personal data is shown where it is asked for, and nowhere else', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', { ...userCreated({ customerAccountId: undefined }), userType: 'ALIEN' }, { id: 'e1' }),
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e2' }),
    );
    await source.drain();
    const id = await onlyDeadLetter(world);
    const calls = [
      ['dlq', 'show', id],
      ['users', 'show', 'auth0|u1'],
      ['users', 'history', 'auth0|u1'],
    ].flatMap((args) => [args, [...args, '--json']]);
    for (const { code, out } of await Promise.all(calls.map((args) => cli(world, ...args)))) {
      expect(code).toBe(0);
      expect(out).not.toMatch(/ada@example\.com|Lovelace|Engines/);
    }
    expect((await cli(world, 'dlq', 'show', id, '--payload')).out).toContain('"email":"ada@example.com"');
    expect((await cli(world, 'users', 'show', 'auth0|u1', '--reveal')).out).toContain('ada@example.com');
  });

  test('one that does not exist changes nothing', async ({ world }) => {
    const calls = [
      ['redrive', '99'],
      ['discard', '99', '--reason', 'x'],
      ['show', '99'],
    ];
    for (const ended of await Promise.all(calls.map((args) => cli(world, 'dlq', ...args))))
      expect(ended).toMatchObject({ code: 1, out: '', err: expect.stringContaining('There is no dead letter 99') });
  });
});

/** Two users, each with an event that Postgres refused and one that waits behind it, and a record that nobody can read. What was
 *  refused is accepted now. */
async function someDead(world: World): Promise<void> {
  await world.sql`alter table history add constraint broken check (event ->> 'changedBy' is distinct from 'poison')`;
  const { source } = await world.service();
  const of = (userId: string) => [
    cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), { id: `${userId} created` }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus: 'SUSPENDED', changedBy: 'poison' }), {
      id: `${userId} dies`,
    }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, timestamp: later(1) }), { id: `${userId} waits` }),
  ];
  world.log.append(...of('auth0|u1'), ...of('auth0|u2'), rawRecord('{}'));
  await source.drain();
  await world.sql`alter table history drop constraint broken`;
}
async function statuses({ sql }: World): Promise<Record<string, number>> {
  const rows = await sql`select status, count(*)::int as n from dead_letters group by status order by status`;
  return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
}

describe('an operator settles many at once', () => {
  test('a rehearsed discard tells what it would let go', async ({ world }) => {
    await someDead(world);
    const before = await world.digest();
    const { code, out, err } = await cli(world, 'dlq', 'discard', '--user', 'auth0|u1', '--dry-run');
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/^\d+ user-events\[0\]@1 · discarded\n$/) });
    expect(err).toContain('of 1: discarded 1 · 1 other event would go with it: applied 1 · nothing was written\n');
    expect(await world.digest()).toEqual(before);
  });

  test('a rehearsal tells what would become of each, and writes nothing but who asked', async ({ world }) => {
    await someDead(world);
    const before = await world.digest();
    const { code, out, err } = await cli(world, 'dlq', 'redrive', '--all', '--dry-run', '--actor', 'ann');
    expect(out.split('\n')).toEqual([
      expect.stringMatching(/^\d+ user-events\[0\]@6 · dead · undecodable: /),
      expect.stringMatching(/^\d+ user-events\[0\]@1 · applied · pending -> suspended$/),
      expect.stringMatching(/^\d+ user-events\[0\]@4 · applied · pending -> suspended$/),
      '',
    ]);
    expect(err).toContain(
      'of 3: applied 2, dead 1 · 2 other events would go with them: applied 2 · nothing was written\n',
    );
    expect(code).toBe(3);
    const lines = await json(world, 'dlq', 'redrive', '--code', 'sql', '--dry-run');
    expect(lines).toMatchObject([
      { userId: 'auth0|u1', code: 'sql', outcome: 'applied', fromState: 'pending', toState: 'suspended' },
      { userId: 'auth0|u2', offset: '4' },
    ]);
    expect(await world.digest()).toEqual(before);
    expect(await world.sql`select 1 from jobs`).toHaveLength(0);
    expect([...(await world.sql`select who, dry_run from audit order by id limit 1`)]).toEqual([
      { who: 'ann', dry_run: true },
    ]);
  });

  test('which ones must be said; many need a yes; then each goes in its place, and what waited follows', async ({
    world,
  }) => {
    await someDead(world);
    const refused = await Promise.all([
      cli(world, 'dlq', 'redrive'),
      cli(world, 'dlq', 'discard', '--reason', 'x'),
      cli(world, 'dlq', 'redrive', '--all', '--code', 'sql'),
      cli(world, 'dlq', 'redrive', '--code', 'sql', '--force', '--yes'),
      cli(world, 'dlq', 'redrive', '--code', 'sql'),
    ]);
    expect(refused.map(({ code, out }) => ({ code, out }))).toEqual(refused.map(() => ({ code: 2, out: '' })));
    expect(refused[0]?.err).toContain('--older-than, or --all');
    expect(refused[4]?.err).toBe(
      'Redrive 2 dead letters of 2 users where code = sql? Nobody can be asked here: say --yes. Nothing was changed.\n',
    );
    expect(await statuses(world)).toEqual({ open: 3 });

    const redriven = await cli(world, 'dlq', 'redrive', '--code', 'sql', '--reason', 'repaired', '--yes');
    expect(redriven.code, redriven.err).toBe(0);
    expect(redriven.out).toMatch(/^job \d+ · 2 of 2 · applied 2 · 2 other events went with them\n$/);
    expect(await statuses(world)).toEqual({ open: 1, resolved: 2 });
    expect([await stateOf(world, 'auth0|u1'), await stateOf(world, 'auth0|u2')]).toEqual(['active', 'active']);

    const again = await cli(world, 'dlq', 'redrive', '--all', '--yes');
    expect(again).toMatchObject({ code: 3, out: expect.stringMatching(/^job \d+ · 1 of 1 · dead 1\n$/) });
    const none = await cli(world, 'dlq', 'redrive', '--code', 'sql', '--yes');
    expect(none).toMatchObject({
      code: 0,
      out: '',
      err: expect.stringContaining('No open dead letter where code = sql'),
    });
  });

  test.skipIf(SCRIPT === undefined)('on a terminal somebody is asked, and what is typed counts', async ({ world }) => {
    await someDead(world);
    const asked = async (typed: string) => {
      const command = [process.execPath, LAUNCHER, 'dlq', 'redrive', '--code', 'sql'].join(' ');
      const child = spawn(SCRIPT as string, ['-qec', command, '/dev/null'], {
        ...{ cwd: EMPTY, env: { PATH: process.env.PATH, HOME: process.env.HOME, TERM: 'xterm', ...world.settings } },
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      const end = ended(child);
      child.stdout.on('data', (text) => String(text).includes('y/N') && child.stdin.write(typed));
      return await end;
    };
    const no = await asked('n\n');
    expect(no).toMatchObject({
      code: 1,
      out: expect.stringContaining('Redrive 2 dead letters of 2 users where code = sql? y/N'),
    });
    expect(await statuses(world)).toEqual({ open: 3 });
    expect((await asked('\x03')).code).toBe(130);
    expect(await world.sql`select 1 from jobs`).toHaveLength(0);
    const yes = await asked('y\n');
    expect(yes).toMatchObject({
      code: 0,
      out: expect.stringMatching(/job \d+ · 2 of 2 · applied 2 · 2 other events went/),
    });
  });

  test('by number, by user, by age, the oldest so many; given up, they let go what waited', async ({ world }) => {
    await someDead(world);
    const old = await cli(world, 'dlq', 'discard', '--older-than', '1h', '--reason', 'old', '--yes');
    expect(old).toMatchObject({ code: 0, out: '', err: expect.stringContaining('nothing to do') });
    const [ofUser] = await json(world, 'dlq', 'discard', '--user', 'auth0|u2', '--reason', 'test data', '--yes');
    expect(ofUser).toMatchObject({
      state: 'done',
      done: '1',
      total: '1',
      outcomes: { discarded: 1 },
      others: { applied: 1 },
    });
    expect(await stateOf(world, 'auth0|u2')).toBe('active');
    const [newest, oldest] = (await json(world, 'dlq', 'list')).map(({ id }) => String(id));
    const [first] = await json(world, 'dlq', 'discard', '--all', '--limit', '1', '--reason', 'test data', '--yes');
    expect(first).toMatchObject({ done: '1' });
    expect(await json(world, 'dlq', 'list')).toMatchObject([{ id: newest }]);
    const both = await cli(world, 'dlq', 'discard', newest as string, oldest as string, '--reason', 'rest', '--yes');
    expect(both).toMatchObject({ code: 0, out: expect.stringMatching(/· 1 of 1 · discarded 1/) });
    expect(await statuses(world)).toEqual({ discarded: 3 });
  });

  test('events that wait can be given up too, and what is behind them goes', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: 'never' }), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|nobody' }), { id: 'e2' }),
    );
    await source.drain();
    const before = await world.digest();
    const rehearsed = await cli(world, 'dlq', 'discard', '--waiting', '--customer', 'never', '--dry-run');
    expect(rehearsed).toMatchObject({ code: 0, out: 'user-events[0]@0 · discarded\n' });
    expect(rehearsed.err).toContain('of 1: discarded 1 · nothing was written\n');
    expect(await world.digest()).toEqual(before);
    expect((await cli(world, 'dlq', 'discard', '--waiting', '--for', 'hold', '--reason', 'x', '--yes')).err).toContain(
      'No waiting event where waits for = hold: nothing to do.',
    );
    expect(await cli(world, 'dlq', 'discard', '--waiting', '--for', 'customer', '--reason', 'x')).toMatchObject({
      code: 2,
    });
    const [job] = await json(
      world,
      'dlq',
      'discard',
      '--waiting',
      '--all',
      '--for',
      'customer',
      '--reason',
      'left',
      '--yes',
    );
    expect(job).toMatchObject({ kind: 'discard', done: '1', outcomes: { discarded: 1 } });
    expect(await json(world, 'dlq', 'list', '--waiting')).toMatchObject([{ userId: 'auth0|nobody' }]);
    expect(await json(world, 'dlq', 'list', '--status', 'discarded')).toMatchObject([{ userId: 'auth0|u1' }]);
  });

  test('a late one is told as stale, and put through all the same only by force, with a reason', async ({ world }) => {
    const { source } = await world.service({ MAX_RECORD_BYTES: '1024' });
    const late = { ...statusChanged({ newStatus: 'SUSPENDED' }), more: 'x'.repeat(1_024) };
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', late, { id: 'e2' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ timestamp: later(1) }), { id: 'e3' }),
    );
    await source.drain();
    const id = await onlyDeadLetter(world);
    expect((await cli(world, 'dlq', 'redrive', id, '--dry-run')).out).toBe(`${id} user-events[0]@1 · stale\n`);
    const forced = await cli(world, 'dlq', 'redrive', id, '--force', '--reason', 'the newer one was a mistake');
    expect(forced).toMatchObject({ code: 0, out: `${id} · user-events[0]@1 · applied · active -> suspended\n` });
    expect((await json(world, 'audit', '--verb', 'redrive'))[0]).toMatchObject({
      scope: { force: true, reason: 'the newer one was a mistake' },
    });
  });
});

describe('a payload is repaired for the redrive, and the original stays', () => {
  const wrong = { ...statusChanged({ newStatus: 'NOPE' as never, changedBy: 'ann@example.com' }) };
  async function oneWrong(world: World): Promise<string> {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', wrong, { id: 'e2' }),
    );
    await source.drain();
    return await onlyDeadLetter(world);
  }
  function fileWith(text: string): string {
    const file = join(mkdtempSync(join(EMPTY, 'edit-')), 'fixed.json');
    writeFileSync(file, text);
    return file;
  }
  const right = `${JSON.stringify({ ...wrong, newStatus: 'SUSPENDED' })}\n`;

  test('rehearsed first, then done, and shown with both payloads', async ({ world }) => {
    const id = await oneWrong(world);
    const edit = ['--edit', fileWith(right), '--reason', 'agreed with accounting', '--actor', 'ann'];
    const before = await world.digest();
    const rehearsed = await cli(world, 'dlq', 'redrive', id, ...edit, '--dry-run');
    expect(rehearsed).toMatchObject({ code: 0, out: `${id} user-events[0]@1 · applied · pending -> suspended\n` });
    expect(await world.digest()).toEqual(before);
    expect(await json(world, 'audit')).toMatchObject([
      {
        who: 'ann',
        verb: 'redrive',
        dryRun: true,
        scope: { edit: true },
        result: { matched: 1, outcomes: { applied: 1 } },
      },
    ]);

    const redriven = await cli(world, 'dlq', 'redrive', id, ...edit);
    expect(redriven).toMatchObject({ code: 0, out: `${id} · user-events[0]@1 · applied · pending -> suspended\n` });
    const shown = await cli(world, 'dlq', 'show', id);
    expect(shown.out).toMatch(/edited +by ann, \d{4}-.* \(agreed with accounting\), \d+ bytes; the original stays\n/);
    expect(shown.out).not.toContain('ann@example.com');
    const [whole] = await json(world, 'dlq', 'show', id, '--payload');
    expect(whole).toMatchObject({
      ...{ value: JSON.stringify(wrong), editedValue: right.trimEnd() },
      edited: { who: 'ann', reason: 'agreed with accounting' },
    });
    expect((await cli(world, 'dlq', 'show', id, '--payload')).out).toContain(`edited value\n${right}`);
  });

  test('from stdin, and taken back again', async ({ world }) => {
    const id = await oneWrong(world);
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('user', 'auth0|u1', 'test', 'test')`;
    const program = launch(world.settings, ['dlq', 'redrive', id, '--edit', '-', '--reason', 'by hand'], right);
    expect(await program.ended).toMatchObject({ code: 0, out: expect.stringContaining('· waiting ·') });
    await world.sql`delete from holds`;
    await world.sql`update dead_letters set status = 'open'`;
    expect(await cli(world, 'dlq', 'redrive', id, '--as-received')).toMatchObject({
      code: 3,
      out: expect.stringContaining('· dead · schema: '),
    });
    expect((await cli(world, 'dlq', 'show', id)).out).not.toMatch(/^edited/m);
  });

  test('one that is no better, names somebody else, or is for several, changes nothing', async ({ world }) => {
    const id = await oneWrong(world);
    const before = await world.digest();
    const edit = (text: string) => cli(world, 'dlq', 'redrive', id, '--edit', fileWith(text), '--reason', 'x');
    const other = JSON.stringify({ ...wrong, newStatus: 'ACTIVE', userId: 'auth0|u2' });
    expect(await edit('{')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^The edited payload can not be used .*json/),
    });
    expect(await edit(other)).toMatchObject({ code: 1, err: expect.stringContaining('names another user') });
    const calls = [
      ['redrive', id, '--edit', '/nowhere.json', '--reason', 'x'],
      ['redrive', id, '--edit', fileWith(right)],
      ['redrive', '--all', '--edit', fileWith(right), '--reason', 'x'],
      ['redrive', id, '--edit', fileWith(right), '--as-received', '--reason', 'x'],
    ];
    for (const ended of await Promise.all(calls.map((args) => cli(world, 'dlq', ...args))))
      expect(ended).toMatchObject({ code: 2, out: '' });
    expect(await world.digest()).toEqual(before);
  });
});

describe('what takes long can be interrupted, resumed and cancelled', () => {
  /** A redrive of all that stands at its first step, which is the record that nobody can read. */
  async function stalled(world: World) {
    await someDead(world);
    const [first] = await world.sql`select id::int as id from dead_letters where code = 'undecodable'`;
    const released = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const lock = world.sql.begin(async (tx) => {
      await tx`select 1 from dead_letters where id = ${first?.id} for update`;
      locked.resolve();
      await released.promise;
    });
    await locked.promise;
    const started = launch(patient(world), ['dlq', 'redrive', '--all', '--yes', '--actor', 'ann']);
    await stands(world, 1);
    const [job] = await world.sql`select id from jobs`;
    return {
      ...started,
      job: String(job?.id),
      release: async () => {
        released.resolve();
        await lock;
      },
    };
  }
  const patient = ({ settings }: World) => ({
    ...settings,
    DB_LOCK_TIMEOUT_MS: '10000',
    DB_STATEMENT_TIMEOUT_MS: '20000',
  });
  /** So many wait for the row of that dead letter. */
  const stands = (world: World, n: number) =>
    until(async () => {
      const [row] = await world.sql`
        select count(*)::int as n from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and query like '%dead_letters%'`;
      expect(row?.n).toBe(n);
    });

  test('ctrl-C ends after the present step and says how to go on', async ({ world }) => {
    const { child, ended, job, release } = await stalled(world);
    child.kill('SIGINT');
    await release();
    const { code, out, err } = await ended;
    expect({ code, out }, err).toEqual({ code: 130, out: '' });
    expect(err).toContain(`interrupted after 1 of 3: npx user-lifecycle jobs resume ${job}\n`);
    expect(await statuses(world)).toEqual({ open: 3 });
    expect(await json(world, 'jobs', 'list')).toMatchObject([
      { id: job, kind: 'redrive', state: 'running', done: '1', failed: '1', total: '3', startedBy: 'ann' },
    ]);
    expect((await cli(world, 'status')).out).toMatch(new RegExp(`jobs +${job} redrive 1/3\n`));
    await world.sql`update jobs set updated_at = now() - interval '2 minutes'`;
    const listed = await cli(world, 'jobs', 'list');
    expect(listed.out).toContain('interrupted?');
    expect(listed.err).toContain(`next: npx user-lifecycle jobs resume ${job}`);
    expect((await cli(world, 'jobs', 'show', job)).out).toMatch(/state +interrupted\?\ndone +1 of 3\n/);

    const resumed = await cli(world, 'jobs', 'resume', job);
    expect(resumed).toMatchObject({
      code: 3, // the first one died again before the interruption
      out: `job ${job} · 3 of 3 · since it was resumed: applied 2 · 2 other events went with them\n`,
    });
    expect(await statuses(world)).toEqual({ open: 1, resolved: 2 });
    expect(await cli(world, 'jobs', 'resume', job)).toMatchObject({
      code: 1,
      err: `Job ${job} is done: nothing to resume.\n`,
    });
    expect(await cli(world, 'jobs', 'cancel', job)).toMatchObject({
      code: 1,
      err: `Job ${job} is done: nothing to cancel.\n`,
    });
    expect(await cli(world, 'jobs', 'show', '99')).toMatchObject({ code: 1 });
  });

  test('of two who run the same job one gets on, and nothing is done twice', async ({ world }) => {
    const { ended, job, release } = await stalled(world);
    const second = launch(patient(world), ['jobs', 'resume', job]);
    await stands(world, 2);
    await release();
    const both = [await ended, await second.ended];
    // The one that gets on may see the record that died again just as the other one tries it once more: 0, not 3.
    expect(both.filter(({ code }) => code === 1)).toHaveLength(1);
    expect(both.filter(({ code }) => code === 0 || code === 3)).toHaveLength(1);
    expect(both.map(({ err }) => err).join('')).toMatch(/Job \d+ is (run by somebody else too|done)/);
    expect([await stateOf(world, 'auth0|u1'), await stateOf(world, 'auth0|u2')]).toEqual(['active', 'active']);
    const [row] = await world.sql`select state, done::int as done from jobs`;
    expect(row).toEqual({ state: 'done', done: 3 });
  });

  test('a job that is cancelled ends after its step, and what was done stays', async ({ world }) => {
    const { ended, job, release } = await stalled(world);
    const cancelled = await cli(world, 'jobs', 'cancel', job, '--actor', 'bob');
    expect(cancelled).toMatchObject({ code: 0, out: `job ${job} is cancelled · 0 of 3 were done\n` });
    await release();
    expect(await ended).toMatchObject({
      code: 1,
      err: expect.stringContaining(`Job ${job} is cancelled. What was done stays done.`),
    });
    expect(await statuses(world)).toEqual({ open: 3 });
    expect(await json(world, 'audit', '--who', 'bob')).toMatchObject([{ verb: 'cancel', scope: { job: Number(job) } }]);
  });

  test('a migration of users is resumed as any other job; what is no job of this kind says so', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined })));
    await source.drain();
    const { id } = await startMigration(world.db, 'ann');
    const [done] = await json(world, 'jobs', 'resume', String(id));
    expect(done).toMatchObject({ job: String(id), kind: 'migrate', state: 'done' });
    await world.sql`insert into jobs (kind, scope, options, started_by) values ('rebuild', '{}', '{}', 'ann')`;
    expect(await cli(world, 'jobs', 'resume', String(id + 1))).toMatchObject({
      code: 1,
      err: expect.stringContaining(`Job ${id + 1} is a rebuild`),
    });
  });

  test('an export goes on after the last line that was taken', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(...Array.from({ length: 1_200 }, (_, n) => rawRecord(`{"n":${n},"more":"${'x'.repeat(1_000)}"}`)));
    await source.drain();
    const { child, ended } = launch(world.settings, ['dlq', 'export']);
    // It stands in the middle of its first page, until somebody reads on.
    child.stdout?.once('data', () => {
      child.stdout?.pause();
      child.kill('SIGINT');
      child.stdout?.resume();
    });
    const { code, out, err } = await ended;
    expect(code, err).toBe(130);
    const [, last = ''] = /goes on with --after (\d+)/.exec(err) ?? [];
    const first = lines(out);
    expect(first.at(-1)?.id).toBe(last);
    expect(first.length).toBeLessThan(1_200);
    const rest = lines((await cli(world, 'dlq', 'export', '--after', last)).out);
    expect([...first, ...rest].map(({ offset }) => Number(offset))).toEqual(Array.from({ length: 1_200 }, (_, n) => n));
    expect(await json(world, 'audit')).toMatchObject([
      { result: { exported: rest.length } },
      { result: { exported: first.length, lastId: Number(last), interrupted: true } },
    ]);
  });
});

/** The log of these worlds is in memory: a Kafka that knows its topic would be another cluster. */
const withoutKafka = ({ settings }: World) => ({ settings: { ...settings, KAFKA_BROKERS: '127.0.0.1:1' } });

describe('who did what', () => {
  test('every write of an operator is a row, newest first; what somebody typed stays text', async ({ world }) => {
    await someDead(world);
    const hostile = 'x\x1b[2J\u202e\nnext';
    await json(world, 'hold', 'user', 'auth0|u1', '--reason', hostile, '--actor', 'ann');
    await json(world, 'release', 'user', 'auth0|u1', '--actor', 'bob');
    await halt(world.db, { topic: 'user-events', partition: 0, generation: 0 }, 'gap: test');
    await json(
      withoutKafka(world),
      'partitions',
      'resume',
      'user-events',
      '0',
      '--reason',
      'moved back',
      '--actor',
      'cy',
    );
    await json(world, 'dlq', 'discard', '--code', 'undecodable', '--reason', hostile, '--yes', '--actor', 'ann');
    await json(world, 'dlq', 'export', '--actor', 'dee');

    const rows = await json(world, 'audit');
    expect(rows.map(({ who, verb }) => `${who} ${verb}`)).toEqual([
      ...['dee export', 'ann discard', 'cy resume', 'bob release', 'ann hold'],
    ]);
    expect(rows[2]).toMatchObject({ scope: { topic: 'user-events', partition: 0, reason: 'moved back' } });
    expect(rows[1]).toMatchObject({
      scope: { code: 'undecodable', reason: hostile },
      result: { done: 1, state: 'done' },
    });
    expect(rows[0]).toMatchObject({ result: { exported: 2 }, at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) });
    const { code, out } = await cli(world, 'audit', '--who', 'ann', '--limit', '1');
    expect(code).toBe(0);
    expect(out).toContain('discard');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
    expect(out).not.toMatch(/[\x1b\u202e]/);
    expect(out.split('\n')).toHaveLength(3);
    expect(await cli(world, 'audit', '--verb', 'delete')).toMatchObject({ code: 2 });

    await world.sql`update dead_letters set message = ${hostile}, status = 'open'`;
    const listed = await cli(world, 'dlq', 'list', '--limit', '1');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
    expect(listed.out).not.toMatch(/[\x1b\u202e]/);
    expect(listed.out.split('\n')).toHaveLength(3);
    await world.sql`update dead_letters set status = 'discarded' where code = 'undecodable'`;
  });
});

describe('an operator pauses and resumes', () => {
  test("a customer's users wait on hold, others flow, and after the release they go in their order", async ({
    world,
  }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'e1' }),
      cloudEvent('USER_CREATED', userCreated(), { id: 'e2' }),
      cloudEvent('USER_CREATED', userCreated({ userId: 'auth0|free', customerAccountId: undefined }), { id: 'e3' }),
    );
    await source.drain();
    expect(await cli(world, 'hold', 'customer', 'c1', '--reason', 'bad import', '--actor', 'ann')).toMatchObject({
      code: 0,
    });
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ timestamp: later(1) }), { id: 'e4' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED', timestamp: later(2) }), { id: 'e5' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|free' }), { id: 'e6' }),
    );
    await source.drain();
    expect([await stateOf(world, 'auth0|u1'), await stateOf(world, 'auth0|free')]).toEqual(['pending', 'active']);
    expect(await json(world, 'hold')).toMatchObject([
      { kind: 'customer', id: 'c1', reason: 'bad import', byWhom: 'ann' },
    ]);
    expect(await json(world, 'dlq', 'list', '--waiting')).toMatchObject([{ reason: 'hold' }, { reason: 'hold' }]);
    expect((await cli(world, 'users', 'show', 'auth0|u1')).out).toMatch(
      /waiting +2 events: hold\n.*hold +customer: bad import/s,
    );

    const held = await world.digest();
    expect(await cli(world, 'release', 'customer', 'c1', '--dry-run')).toMatchObject({
      code: 0,
      out: 'customer c1 would be released · 2 events would go: applied 2 · nothing was written\n',
    });
    expect(await cli(world, 'release', 'customer', 'c2', '--dry-run')).toMatchObject({ code: 1 });
    expect(await world.digest()).toEqual(held);
    expect(await json(world, 'hold')).toHaveLength(1);

    const released = await cli(world, 'release', 'customer', 'c1');
    expect(released).toMatchObject({ code: 0, out: 'customer c1 is released · 2 events went: applied 2\n' });
    expect(await stateOf(world, 'auth0|u1')).toBe('suspended');
    expect(await cli(world, 'release', 'customer', 'c1')).toMatchObject({ code: 1 });
  });

  test('a halted partition says why, and runs again from where it stopped', async ({ world }) => {
    const service = await world.service();
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated()));
    await service.source.drain();
    await halt(world.db, { topic: 'user-events', partition: 0, generation: 0 }, 'gap: somebody moved offsets');
    expect((await cli(world, 'status')).out).toMatch(/^HALTED \(1\)/);
    const listed = await cli(world, 'partitions', 'list');
    expect(listed.out).toMatch(/user-events\[0\] +1 +\S+ +halted/);
    expect(listed.err).toContain('user-events[0] is halted: gap: somebody moved offsets');
    expect(listed.err).toContain('next: npx user-lifecycle partitions resume user-events 0');

    expect(await cli(withoutKafka(world), 'partitions', 'resume', 'user-events', '0')).toMatchObject({
      code: 0,
      out: 'user-events[0] runs again from 1 · it was halted: gap: somebody moved offsets\n',
    });
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'c2' }), { id: 'e2' }));
    await until(async () => {
      service.tick();
      await service.source.drain();
      expect(await world.sql`select customer_id from customers where customer_id = 'c2'`).toHaveLength(1);
    });
    expect(await cli(world, 'partitions', 'resume', 'user-events', '0')).toMatchObject({ code: 1 });
    expect(await cli(world, 'partitions', 'resume', 'nowhere', '0')).toMatchObject({ code: 1 });
  });
});

describe('a halted partition whose log is not what it was', () => {
  /** Of four records two were read; then the log lost the third, and the partition halted. */
  async function halted(world: World): Promise<string> {
    const { topic } = world;
    await world.createTopic(1);
    await world.produce(
      ['c1', 'c2', 'c3', 'c4'].map((id) => cloudEvent('CUSTOMER_CREATED', customerCreated({ name: id }))),
    );
    const settings = kafkaSettings(world.config());
    const { clusterId } = await withAdmin(settings, silent, (admin) => admin.describeCluster());
    await withAdmin(settings, silent, async (admin) => {
      await admin.fetchTopicOffsets(topic); // kafkajs must know the topic first
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] });
    });
    await makePositions(world.db, [{ topic, partition: 0, clusterId, at: 2n }]);
    await halt(world.db, { topic, partition: 0, generation: 0 }, 'lost: offsets 2 to 2 are not in the log any more');
    return topic;
  }
  const positionOf = async ({ sql }: World) =>
    (await sql`select generation, next_offset, state from positions`)[0] as Record<string, unknown>;

  test('the loss is tried out, asked about, accepted, and kept', async ({ world }) => {
    const topic = await halted(world);
    const listed = await cli(world, 'partitions', 'list');
    expect(listed.err).toContain(`next: npx user-lifecycle partitions accept-loss ${topic} 0 --dry-run`);
    const accept = ['partitions', 'accept-loss', topic, '0'];
    expect(await cli(world, ...accept, '--dry-run')).toMatchObject({
      code: 0,
      out: `${topic}[0] would go on at 3 · it was at 2 · 1 offset is lost: 2 to 2 · nothing was written\n`,
    });
    expect(await cli(world, ...accept)).toMatchObject({ code: 2, err: expect.stringContaining('--reason') });
    const unasked = await cli(world, ...accept, '--reason', 'no copy');
    expect(unasked).toMatchObject({ code: 2, err: expect.stringContaining('1 offset is lost: 2 to 2') });
    expect(await positionOf(world)).toEqual({ generation: 0, next_offset: '2', state: 'halted' });

    expect(await json(world, ...accept, '--reason', 'no copy', '--yes', '--actor', 'ann')).toEqual([
      {
        ...{ topic, partition: 0, generation: 0, position: '3', dryRun: false },
        ...{ from: { generation: 0, position: '2' }, lost: { first: '2', last: '2', offsets: '1' } },
      },
    ]);
    expect(await positionOf(world)).toEqual({ generation: 0, next_offset: '3', state: 'running' });
    expect(await world.sql`select first_offset, last_offset, reason, by_whom from losses`).toEqual([
      { first_offset: '2', last_offset: '2', reason: 'no copy', by_whom: 'ann' },
    ]);
    // Each try of what was asked about is a row too.
    const audit = await json(world, 'audit', '--verb', 'accept-loss');
    expect(audit.map(({ who, dryRun }) => [who, dryRun])).toEqual([
      ['ann', false],
      ['ann', true],
      [expect.any(String), true],
      [expect.any(String), true],
    ]);
    const again = await cli(world, ...accept, '--reason', 'no copy', '--yes');
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('not halted') });
    await world.sql`delete from positions`;
  });

  test('the position is set in another log, never back in the same one', async ({ world }) => {
    const topic = await halted(world);
    const set = (to: string, ...more: string[]) =>
      cli(world, 'partitions', 'set-position', topic, '0', to, '--reason', 'made anew', '--yes', ...more);
    expect(await set('2')).toMatchObject({ code: 1, err: expect.stringContaining('begins at 3 and ends at 4') });
    expect(await set('x')).toMatchObject({ code: 2 });
    await world.sql`update positions set next_offset = 4, halted_reason = 'truncated: the log ends at 3'`;
    expect((await cli(world, 'partitions', 'list')).err).toContain(`set-position ${topic} 0 3 --new-log --dry-run`);
    expect(await set('3')).toMatchObject({ code: 1, err: expect.stringContaining('not clear which log') });
    expect(await set('3', '--new-log')).toMatchObject({
      code: 0,
      out: `${topic}[0] goes on at 3, as generation 1 of its log · it was at 4 · nothing of this log is lost; what the other log held from 4 on and was not read is not read\n`,
    });
    expect(await positionOf(world)).toEqual({ generation: 1, next_offset: '3', state: 'running' });
    await world.sql`delete from positions`;
  });

  test('nothing is moved where nobody can say where the log begins', async ({ world }) => {
    await makePositions(world.db, [{ topic: world.topic, partition: 0, clusterId: 'k', at: 2n }]);
    await halt(world.db, { topic: world.topic, partition: 0, generation: 0 }, 'lost: offsets 0 to 1');
    const accept = ['partitions', 'accept-loss', world.topic, '0', '--dry-run'];
    expect(await cli(world, ...accept)).toMatchObject({ code: 1, err: expect.stringContaining('is no log') });
    const away = { settings: { ...world.settings, KAFKA_BROKERS: '127.0.0.1:1' } };
    expect(await cli(away, ...accept)).toMatchObject({ code: 4, err: expect.stringContaining('can not be used') });
    expect(await cli(world, 'partitions', 'accept-loss', 'nowhere', '0', '--dry-run')).toMatchObject({ code: 1 });
  });
});

describe('one look', () => {
  test('status shows what the tables hold, and each line of --json is JSON', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e1' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|nobody' }), { id: 'e2' }),
      rawRecord('{}'),
    );
    await source.drain();
    expect(await json(world, 'status')).toMatchObject([
      {
        users: { pending: 1 },
        outcomes: { applied: 1, dead: 1 },
        waiting: 1,
        deadLetters: { open: '1', codes: { undecodable: 1 } },
        topics: [{ topic: 'user-events', position: '3', halted: 0 }],
      },
    ]);
    expect((await cli(world, 'status')).out).toMatch(/^ok {3}lag .* dead letters 1 {3}waiting 1 {3}holds 0\n/);
    expect(await json(world, 'users', 'history', 'auth0|u1')).toMatchObject([
      { version: 1, outcome: 'applied', offset: '0', recordedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) },
    ]);
    const lists = ['partitions list', 'dlq list', 'dlq list --group', 'dlq list --waiting', 'config print', 'hold'];
    await Promise.all(lists.map((args) => json(world, ...args.split(' '))));
    expect(await cli(world, 'users', 'show', 'auth0|nobody')).toMatchObject({
      code: 1,
      err: 'The user auth0|nobody does not exist yet: 1 event waits for it (user).\n',
    });
  });

  test('the settings of a file are used and named, and no secret is shown', async ({ world }) => {
    const file = join(EMPTY, 'some.env');
    writeFileSync(
      file,
      Object.entries(world.settings)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    );
    const { code, out } = await cli({ settings: {} }, '--env-file', file, 'config', 'print');
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`DB_DATABASE +${world.settings.DB_DATABASE} +${file}`));
    if (world.settings.DB_PASSWORD) expect(out).not.toContain(world.settings.DB_PASSWORD);
  });

  test('the tables are made, once', async ({ world }) => {
    const name = `${world.settings.DB_DATABASE}_new`;
    await world.sql.unsafe(`create database ${name}`);
    try {
      const fresh = { settings: { ...world.settings, DB_DATABASE: name } };
      expect(await cli(fresh, 'status')).toMatchObject({ code: 1, err: expect.stringContaining('db migrate') });
      expect((await cli(fresh, 'db', 'migrate')).out).toMatch(/^schema \d+: applied \d+ migrations\n$/);
      expect((await cli(fresh, 'db', 'migrate')).out).toMatch(/^schema \d+: up to date\n$/);
      expect(await cli(fresh, 'status')).toMatchObject({ code: 0, out: expect.stringMatching(/^nothing read yet/) });
    } finally {
      await world.sql.unsafe(`drop database ${name} with (force)`);
    }
  });
});

describe('what is missing is said in a sentence, never a stack', () => {
  const sentence = (err: string) => expect(err).not.toMatch(/\n\s+at /);

  test('settings: exit code 2, all of them at once', async () => {
    const { code, err } = await cli({ settings: {} }, 'start');
    expect(code).toBe(2);
    for (const part of ['KAFKA_BROKERS', 'DB_HOST', 'npm run demo', 'npm run stack']) expect(err).toContain(part);
    expect(await cli({ settings: {} }, 'status')).toMatchObject({ code: 2, err: expect.stringContaining('DB_HOST') });
    expect(await cli({ settings: {} }, 'stauts')).toMatchObject({ code: 2, err: expect.stringContaining('status') });
    sentence(err);
  });

  test('Postgres: exit code 4, within seconds', { timeout: 20_000 }, async ({ world }) => {
    const { code, out, err } = await cli({ settings: { ...world.settings, DB_PORT: '1' } }, 'status');
    expect({ code, out }).toEqual({ code: 4, out: '' });
    expect(err).toContain('Postgres at 127.0.0.1:1 can not be reached (ECONNREFUSED)');
    sentence(err);
  });

  test('Kafka: exit code 4 where it is needed, "?" where it is not', { timeout: 30_000 }, async ({ world }) => {
    const away = { settings: { ...world.settings, KAFKA_BROKERS: '127.0.0.1:1' } };
    const { code, err } = await cli(away, 'send', 'CUSTOMER_CREATED');
    expect(code).toBe(4);
    expect(err).toContain('Kafka at 127.0.0.1:1 can not be used');
    sentence(err);
    expect(await cli(away, 'status')).toMatchObject({ code: 0, out: expect.stringContaining('lag ?') });
  });
});

describe('as a program', () => {
  test('start runs the service, passes a signal on and its exit code back', { timeout: 60_000 }, async ({ world }) => {
    const { child, ended } = launch({ ...world.settings, KAFKA_FROM: 'latest' }, ['start']);
    const { promise: started, resolve } = Promise.withResolvers<void>();
    child.stdout?.on('data', (text) => String(text).includes('"msg":"started"') && resolve());
    await Promise.race([started, ended]);
    child.kill('SIGTERM');
    const { code, out, err } = await ended;
    expect(code, err).toBe(0);
    expect(out).toContain('"msg":"stopped"');
  });

  test('npx finds it in the repository', async () => {
    const child = spawn('npx', ['--no-install', 'user-lifecycle', 'machine', 'export'], { cwd: ROOT });
    expect(await ended(child)).toMatchObject({ code: 0, out: toMermaid() });
  });
});
