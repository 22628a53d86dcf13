// Dead letters as a download: whole, as they came, for whoever may see them; and the audit knows how many left, however it ended.
import { once } from 'node:events';
import { type IncomingMessage, request as requestOf } from 'node:http';
import { type SQL, sql } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import Fastify from 'fastify';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Db, openDatabase } from '../../db/client.ts';
import { type App, checked, type Reach } from '../../src/api/app.ts';
import { ExportedLine } from '../../src/api/contract.ts';
import { type ExportOptions, exportRoute } from '../../src/api/export.ts';
import { refusedFor, sendProblem } from '../../src/api/problems.ts';
import { exportLine, readPages } from '../../src/export.ts';
import { createLog } from '../../src/log.ts';
import { toRecord } from '../../src/sources/file.ts';
import { ask, expectFits, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, type MemoryService, until, type World } from '../support/world.ts';

const TOKENS = { viewer: 'a-viewer-token-of-24-signs', operator: 'an-operator-token-of-26-s' };
const SETTINGS = { AUTH_MODE: 'token', AUTH_VIEWER_TOKEN: TOKENS.viewer, AUTH_OPERATOR_TOKEN: TOKENS.operator };
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const PATH = '/api/v1/dead-letters/export';

/** A value that would break out of its line, and other bytes that are awkward. */
const HOSTILE = [
  rawRecord('{"a":"\r\n{\\"id\\":\\"1\\"}\n\u2028\u2029\u0085"}\n\n', { key: 'k\n"', headers: [['h\n', 'v\r\n']] }),
  rawRecord(Buffer.from([0xff, 0x0a, 0x00, 0x22]), { key: Buffer.from([0xfe, 0x0a]), headers: [['h', null]] }),
  rawRecord(null, { key: null }),
];

let world: World;
let service: MemoryService;
beforeAll(async () => {
  world = await createWorld();
  service = await world.service(SETTINGS);
  world.log.append(
    cloudEvent('USER_CREATED', userCreated({ customerAccountId: undefined }), { id: 'e0' }),
    ...HOSTILE,
    cloudEvent('USER_STATUS_CHANGED', { ...statusChanged(), newStatus: 'FROZEN' }, { id: 'e1' }),
  );
  await service.source.drain();
});
/** What a test holds back: a failed one does not let it go by itself. */
const held = new Set<() => void>();
afterEach(async () => {
  for (const goOn of held) goOn();
  await world.sql`delete from dead_letters where generation = 9`;
  await until(async () => expect(await world.sql`select 1 from audit where result is null`).toHaveLength(0));
  await world.sql`delete from audit`;
});
afterAll(async () => {
  await world.expectSound();
  await world.close();
});

const download = (query = '', token = TOKENS.operator, url = service.url) =>
  ask(url, `${PATH}${query}`, { headers: bearer(token) });
const linesOf = (text: string) => text.split('\n').slice(0, -1);
const audit = async () => [...(await world.sql`select who, verb, scope, result, dry_run from audit order by id`)];
/** So many more, each with a value of so many bytes. */
async function copies(n: number, bytes: number): Promise<void> {
  await world.sql`
    insert into dead_letters (topic, partition, generation, "offset", stage, code, message, value, headers, sha256, size, record_ms,
                              cluster_id, blocks, service_version, machine_version, instance, status)
    select topic, partition, 9, n, stage, 'copy', message, convert_to(repeat('a', ${bytes}::int), 'UTF8'), headers, sha256, ${bytes}::int,
           record_ms, cluster_id, false, service_version, machine_version, instance, 'open'
      from (select * from dead_letters order by id limit 1) first, generate_series(1, ${n}::int) n`;
}
/** One behind ten million numbers that nobody has. */
async function farOff(): Promise<void> {
  await copies(1, 1);
  await world.sql`
    insert into dead_letters (id, topic, partition, generation, "offset", stage, code, message, headers, sha256, size, record_ms,
                              cluster_id, blocks, service_version, machine_version, instance, status)
    overriding system value
    select 10000000, topic, partition, 9, 2, stage, 'copy', message, headers, sha256, 0, record_ms,
           cluster_id, false, service_version, machine_version, instance, 'open'
      from dead_letters where code = 'copy'`;
}
/** The answer as far as its head; nothing of the rest is read. */
function unread(url: string, token = TOKENS.operator): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    requestOf(url, { headers: bearer(token), agent: false }, resolve)
      .on('error', reject)
      .end();
  });
}
/** What has come so far, and when all has. */
function heard(answer: IncomingMessage): { text: () => string; ended: Promise<unknown> } {
  let text = '';
  answer.setEncoding('utf8').on('data', (some: string) => {
    text += some;
  });
  return { text: () => text, ended: once(answer, 'end') };
}
const wholeOf = async (answer: IncomingMessage) => (await answer.toArray()).length;
const linesIn = async (answer: IncomingMessage) => linesOf(Buffer.concat(await answer.toArray()).toString()).length;
const EIGHT_MEGABYTES = [800, 10_000] as const;
/** What the sockets of both sides may hold, and a page; the whole is 30 MB. */
const ON_ITS_WAY = 12_000_000;

describe('who may take them', () => {
  test('a viewer, an operator without the permission, nobody: refused, and no line of the audit', async () => {
    expectProblem(await download('', TOKENS.viewer), 'forbidden', 403);
    expectProblem(await ask(service.url, PATH), 'unauthenticated', 401);
    const off = await world.service({ ...SETTINGS, AUTH_PAYLOADS: 'off' });
    expect(expectProblem(await download('', TOKENS.operator, off.url), 'forbidden', 403).detail).toMatch(
      /AUTH_PAYLOADS/,
    );
    const all = await world.service({ ...SETTINGS, AUTH_PAYLOADS: 'all' });
    expectProblem(await download('', TOKENS.viewer, all.url), 'forbidden', 403);
    expect(await audit()).toEqual([]);
    await Promise.all([off.stop(), all.stop()]);
  });

  test('a browser that is logged in: its cookie is enough, as for a link', async () => {
    const login = await ask(service.url, '/api/v1/login', {
      method: 'POST',
      headers: OWN,
      body: { token: TOKENS.operator },
    });
    const cookie = login.headers.get('set-cookie')?.split(';')[0] as string;
    const answer = await ask(service.url, `${PATH}?code=schema`, { headers: { cookie } });
    expect(linesOf(answer.text)).toHaveLength(1);
  });
});

describe('what comes', () => {
  test('is a line for each, the same as of the command line, which gives the record again byte for byte', async () => {
    const answer = await download();
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8');
    expect(answer.headers.get('content-disposition')).toMatch(
      /^attachment; filename="dead-letters-\d{8}T\d{6}Z\.ndjson"$/,
    );
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    const lines = linesOf(answer.text);
    const own: string[] = [];
    for await (const page of readPages(world.db, { statuses: ['open', 'redriving'] }))
      own.push(...page.map(exportLine));
    expect(lines).toEqual(own);
    expect(lines).toHaveLength(HOSTILE.length + 1);
    for (const line of lines) expectFits(ExportedLine, JSON.parse(line));
    const records = lines.slice(0, HOSTILE.length).map((line) => {
      const { key, value, headers, timestamp } = JSON.parse(line);
      const { offset: _, ...record } = toRecord(Buffer.from(JSON.stringify({ key, value, headers, timestamp })), 0n);
      return record;
    });
    expect(records).toEqual(HOSTILE.map(({ place: _, offset: __, ...record }) => record));
  });

  test('is what fits the filter, and stands in the audit with it', async () => {
    const [schema] = await world.sql<{ id: string }[]>`select id from dead_letters where code = 'schema'`;
    const ids = async (query: string) => linesOf((await download(query)).text).map((line) => JSON.parse(line).id);
    const all = await ids('');
    expect(await ids('?code=schema&user=auth0%7Cu1')).toEqual([schema?.id]);
    expect(await ids('?type=none')).toEqual(all.filter((id) => id !== schema?.id));
    expect(await ids(`?after=${all[0]}&limit=2`)).toEqual(all.slice(1, 3));
    expect(await ids('?status=discarded')).toEqual([]);
    expect(await ids('?before=2020-01-01T00:00:00Z')).toEqual([]);
    expectProblem(await download('?kode=schema'), 'invalid-request', 400);
    await until(async () => expect(await world.sql`select 1 from audit where result is null`).toHaveLength(0));
    const rows = await audit();
    expect(rows.map(({ result }) => result.exported)).toEqual([4, 1, 3, 2, 0, 0]);
    expect(rows[1]).toEqual({
      ...{ who: 'operator', verb: 'export', dry_run: false, result: { exported: 1, lastId: Number(schema?.id) } },
      scope: { code: 'schema', user: 'auth0|u1', statuses: ['open', 'redriving'], target: 'download' },
    });
  });

  test('is all of it, however large, to a reader who takes its time', async () => {
    await copies(...EIGHT_MEGABYTES);
    const answer = await unread(`${service.url}${PATH}?code=copy`);
    let bytes = 0;
    let lines = 0;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      lines += chunk.filter((byte) => byte === 0x0a).length;
      await new Promise(setImmediate);
    }
    expect([lines, answer.complete]).toEqual([EIGHT_MEGABYTES[0], true]);
    expect(bytes).toBeGreaterThan(EIGHT_MEGABYTES[0] * EIGHT_MEGABYTES[1]);
  });
});

describe('a reader that does not read', () => {
  test('is not read ahead for, keeps no connection from others, and when it leaves the audit has how many left', async () => {
    await copies(3_000, 10_000);
    const own = await served({});
    const url = `${own.url}/dead-letters/export?code=copy`;
    const slow = await Promise.all(['ann', 'ann', 'bob'].map((who) => unread(url, who)));
    // While one goes to its end, page by page in turn with the others, they have time to be read ahead for.
    expect(await linesIn(await unread(url, 'bob'))).toBe(3_000);
    await until(async () => expect((await audit()).filter(({ result }) => result !== null)).toHaveLength(1));
    await world.sql`delete from audit where result is not null`;
    slow.push(await unread(url, 'bob'));
    // Four that are open, as many as there are connections for reads.
    await own.db.execute(sql`select 1`);
    const refused = await ask(own.url, '/dead-letters/export', { headers: bearer('cid') });
    expect(expectProblem(refused, 'unavailable', 503).detail).toMatch(/^4 exports are open.* all together/);
    expect(refused.headers.get('retry-after')).toBe('30');
    expect((await audit()).map(({ result }) => result)).toEqual([null, null, null, null]);
    for (const answer of slow) answer.destroy();
    await until(async () => expect((await audit()).every(({ result }) => result !== null)).toBe(true));
    for (const { result } of await audit()) {
      expect(result).toEqual({ exported: expect.any(Number), lastId: expect.any(Number), interrupted: true });
      expect(result.exported).toBeGreaterThan(0);
      expect(result.exported * 10_000).toBeLessThan(ON_ITS_WAY);
      const [last] = await world.sql`
        select id::int as id from dead_letters where code = 'copy' order by id offset ${result.exported - 1} limit 1`;
      expect(result.lastId).toBe(last?.id);
    }
    expect(linesOf((await download('?code=schema')).text)).toHaveLength(1);
  });

  test('has two at once: a third of the same person is refused, another person begins, and so does the third when one has left', async () => {
    await copies(3_000, 10_000);
    const own = await served({});
    const url = `${own.url}/dead-letters/export?code=copy`;
    const [first, second] = await Promise.all([unread(url, 'ann'), unread(url, 'ann')]);
    const refused = await ask(own.url, '/dead-letters/export', { headers: bearer('ann') });
    expect(expectProblem(refused, 'unavailable', 503).detail).toMatch(/^2 exports of yours are open/);
    expect((await audit()).map(({ who }) => who)).toEqual(['ann', 'ann']);
    const other = await unread(url, 'bob');
    expect(other.statusCode).toBe(200);
    first.destroy();
    await until(async () => {
      const third = await unread(`${own.url}/dead-letters/export?code=schema`, 'ann');
      expect([third.statusCode, await linesIn(third)]).toEqual([200, 1]);
    });
    for (const answer of [second, other]) answer.destroy();
  });

  test('is let go after a while', async () => {
    await copies(3_000, 10_000);
    const own = await served({ takesNothingMs: 50 });
    const answer = await unread(`${own.url}/dead-letters/export?code=copy`);
    await until(async () => expect((await audit())[0]?.result).toMatchObject({ interrupted: true }));
    await expect(wholeOf(answer)).rejects.toThrow('aborted');
  });

  test('is written down too where the service stops', async () => {
    await copies(3_000, 10_000);
    const other = await world.service(SETTINGS);
    const answer = await unread(`${other.url}${PATH}?code=copy`);
    answer.on('error', () => {});
    await other.stop();
    const [row] = await audit();
    expect(row?.result).toMatchObject({ exported: expect.any(Number), interrupted: true });
  });
});

describe('a search among ten million that finds nothing', () => {
  test('has its head after one question, and others ask between its questions', async () => {
    await farOff();
    const questions = watched();
    const own = await served({}, questions.of);
    const search = await unread(`${own.url}/dead-letters/export?code=never`, 'ann'); // its second question waits
    const other = unread(`${own.url}/dead-letters/export?code=schema`, 'bob');
    await until(async () => expect(await audit()).toHaveLength(2));
    questions.goOn();
    expect(await Promise.all([linesIn(search), other.then(linesIn)])).toEqual([0, 1]);
    expect(questions.asked.filter((code) => code === 'never')).toHaveLength(100);
    const begun = questions.asked.indexOf('schema');
    const inTurn = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? 'schema' : 'never'));
    expect(questions.asked.slice(begun, begun + 20)).toEqual(inTurn);
  });

  test('ends with its reader: nothing more is asked, and the audit says that nothing left', async () => {
    await farOff();
    const questions = watched();
    const own = await served({}, questions.of);
    const search = await unread(`${own.url}/dead-letters/export?code=never`, 'ann');
    search.destroy();
    await own.firstLeft;
    questions.goOn();
    await until(async () =>
      expect((await audit()).map(({ result }) => result)).toEqual([{ exported: 0, lastId: null, interrupted: true }]),
    );
    expect(questions.asked).toEqual(['never', 'never']);
  });
});

describe('while nothing fits, the connection is not silent', () => {
  test('a line found at last, one before it: both are JSON with spaces around, and each has its newline in the end', async () => {
    await farOff();
    const questions = watched();
    const own = await served({ signOfLifeMs: 5 }, questions.of);
    const { text, ended } = heard(await unread(`${own.url}/dead-letters/export?code=copy`));
    await until(async () => expect(text()).toMatch(/^{.*} {3,}$/)); // after the first line, in the second question
    questions.goOn();
    await ended;
    const lines = linesOf(text());
    expect(lines.map((line) => JSON.parse(line).id)).toEqual([expect.any(String), '10000000']);
    expect(text().at(-1)).toBe('\n');
    for (const line of lines) expectFits(ExportedLine, JSON.parse(line));
  });

  test('nothing at all: spaces, and no line', async () => {
    await farOff();
    const questions = watched();
    const own = await served({ signOfLifeMs: 5 }, questions.of);
    const { text, ended } = heard(await unread(`${own.url}/dead-letters/export?code=never`));
    await until(async () => expect(text().length).toBeGreaterThan(2));
    questions.goOn();
    await ended;
    expect(text()).toMatch(/^ +$/);
  });

  test('as long as there is none, no byte is added', async () => {
    expect((await download('?code=never')).text).toBe('');
    expect((await download('?code=schema')).text).toMatch(/^{[^\n]*}\n$/);
  });
});

test('what fails behind the first byte cuts the connection: a part does not pass for the whole', async () => {
  await copies(1_500, 10_000);
  const answer = await unread(`${service.url}${PATH}?code=copy`);
  await locked(() => expect(wholeOf(answer)).rejects.toThrow('aborted'));
  await until(async () => expect((await audit())[0]?.result).toMatchObject({ interrupted: true, failed: '55P03' }));
  expect((await audit())[0]?.result.exported).toBeLessThan(1_500);
});

test('what fails before it is a problem like any other, and the audit says that nothing left', async () => {
  await locked(async () => expectProblem(await download(), 'unavailable', 503));
  expect((await audit()).map(({ result }) => result)).toEqual([{ exported: 0, lastId: null, interrupted: true }]);
});

/** While nobody can read dead letters. */
async function locked(use: () => Promise<unknown>): Promise<void> {
  const isLocked = Promise.withResolvers<void>();
  const isOver = Promise.withResolvers<void>();
  const holding = world.sql.begin(async (tx) => {
    await tx`lock table dead_letters in access exclusive mode`;
    isLocked.resolve();
    await isOver.promise;
  });
  await isLocked.promise;
  await use().finally(isOver.resolve);
  await holding;
}

/** The route alone, with its own limits, for operators: a token is their name. `firstLeft`: the first reader has left. */
async function served(options: ExportOptions, readsOf = (db: Db) => db) {
  const database = openDatabase({ ...world.config().database, connections: 4 });
  const app = Fastify({ forceCloseConnections: true }) as unknown as App;
  const { promise: firstLeft, resolve: leave } = Promise.withResolvers<void>();
  app.setValidatorCompiler(checked);
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, '/', refusedFor(error, SILENT)));
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request, reply) => {
    const who = request.headers.authorization?.slice('Bearer '.length) ?? '';
    request.caller = { role: 'operator', who, mayReveal: true };
    reply.raw.once('close', leave);
  });
  exportRoute(app, { read: readsOf(database.db), acts: { db: world.db } as Reach['acts'] }, options);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    await app.close();
    await database.close();
  });
  return { url, db: database.db, firstLeft };
}
const SILENT = createLog({ level: 'silent' });

/** Which code each question for a page is about, as they come; the second waits until it may go on. */
function watched() {
  const asked: unknown[] = [];
  const { promise: mayGoOn, resolve: goOn } = Promise.withResolvers<void>();
  held.add(goOn);
  const execute = async (db: Db, question: SQL) => {
    const { sql: text, params } = new PgDialect().sqlToQuery(question);
    if (text.includes('dead_letters d ')) {
      asked.push(params.find((param) => param === 'never' || param === 'schema'));
      if (asked.length === 2) await mayGoOn;
    }
    return await db.execute(question);
  };
  const of = (db: Db) => ({ execute: (question: SQL) => execute(db, question) }) as unknown as Db;
  return { asked, of, goOn };
}
