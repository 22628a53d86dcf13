// The command line as people use it: a process of its own, against real servers and the settings of a world.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { toMermaid } from '../../machines/picture.ts';
import { WAYS } from '../../src/cli/envelope.ts';
import { halt } from '../../src/operate.ts';
import { AT, cloudEvent, customerCreated, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { ALL_TOPICS, createWorld, test, until, type World } from '../support/world.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LAUNCHER = join(ROOT, 'bin/user-lifecycle.js');
// Without an .env that could add settings.
const EMPTY = mkdtempSync(join(tmpdir(), 'cli-test-'));
afterAll(() => rmSync(EMPTY, { recursive: true }));

type Ended = { code: number | null; out: string; err: string };

function launch(
  settings: Record<string, string>,
  args: readonly string[],
): { child: ChildProcess; ended: Promise<Ended> } {
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...settings };
  const child = spawn(process.execPath, [LAUNCHER, ...args], { cwd: EMPTY, env, stdio: ['ignore', 'pipe', 'pipe'] });
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

    expect(await cli(world, 'partitions', 'resume', 'user-events', '0')).toMatchObject({
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
