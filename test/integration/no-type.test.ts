// Dead letters of which not even the type of event is known: beside others of the same code they can be meant alone.
import { describe, expect } from 'vitest';
import type { Db } from '../../db/client.ts';
import * as contract from '../../src/api/contract.ts';
import { NO_TYPE } from '../../src/dead-letter-filter.ts';
import { decoder } from '../../src/decode.ts';
import { EVENT_TYPES } from '../../src/events.ts';
import { readJob } from '../../src/jobs.ts';
import type { Draining } from '../../src/redrive.ts';
import { editDeadLetter, previewRedrive, runSettling, startRedrive } from '../../src/settle.ts';
import { ask, expectFits, OWN } from '../support/api.ts';
import { runProgram } from '../support/program.ts';
import { AT_MS, cloudEvent, debezium, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { type MemoryService, test, until, type World } from '../support/world.ts';

test('no event is named like it', () => {
  for (const type of EVENT_TYPES) expect(type).toMatch(/^[A-Z_]+$/);
  expect(NO_TYPE).toMatch(/^[a-z]+$/);
});

function draining({ db, log }: World): Draining & { db: Db } {
  const saver = { instance: 'test', clusterId: log.clusterId, group: null, serviceVersion: 'test', traceId: null };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db, saver, decode, waitingPerUser: 10_000 };
}
/** Its header says what it is, and its payload is cut off. */
const typed = (id: string) => debezium('USER_STATUS_CHANGED', '{"userId":"auth0|', { id });
const untyped = (n: number) => rawRecord(`{"n":${n}`);

async function twoGroups(world: World): Promise<{ service: MemoryService; typedIds: number[]; untypedIds: number[] }> {
  const service = await world.service();
  world.log.append(typed('a'), untyped(1), untyped(2), typed('b'));
  await service.source.drain();
  const rows = await world.sql<{ id: number; type: string | null; code: string }[]>`
    select id::int as id, type, code from dead_letters order by type, id`;
  expect(rows.map(({ code, type }) => `${code} ${type}`)).toEqual([
    ...['json USER_STATUS_CHANGED', 'json USER_STATUS_CHANGED', 'json null', 'json null'],
  ]);
  const idsOf = (isTyped: boolean) => rows.filter(({ type }) => (type !== null) === isTyped).map(({ id }) => id);
  return { service, typedIds: idsOf(true), untypedIds: idsOf(false) };
}

describe('a group without a type', () => {
  test('is listed, tried out, redriven and discarded alone, by the API', async ({ world }) => {
    const { service, typedIds, untypedIds } = await twoGroups(world);
    const get = (path: string) => ask(service.url, `/api/v1${path}`);
    const filter = { code: 'json', type: 'none' };
    const list = (await get('/dead-letters?code=json&type=none')).json as { items: { id: number }[] };
    expect(list.items.map(({ id }) => id)).toEqual([...untypedIds].reverse());
    const groups = (await get('/dead-letters/groups?type=none')).json;
    expectFits(contract.DeadLetterGroups, groups);
    expect(groups.items).toMatchObject([{ code: 'json', type: null, count: 2 }]);

    const post = (verb: string, body: object) =>
      ask(service.url, `/api/v1/dead-letters/${verb}`, { method: 'POST', headers: OWN, body });
    const dry = (await post('redrive', { filter, dryRun: true })).json as contract.Preview;
    expect(dry.items.map(({ id }) => id)).toEqual(untypedIds);
    const redriven = (await post('redrive', { filter })).json as contract.JobRow;
    await until(async () => expect(await readJob(world.db, redriven.id)).toMatchObject({ state: 'done', done: 2 }));
    const attempts = await world.sql`select id::int as id from dead_letters where attempts = 2 order by id`;
    expect(attempts.map(({ id }) => id)).toEqual(untypedIds);

    const discarded = (await post('discard', { filter, reason: 'test data' })).json as contract.JobRow;
    await until(async () => expect(await readJob(world.db, discarded.id)).toMatchObject({ state: 'done', done: 2 }));
    const left = await world.sql`select id::int as id from dead_letters where status = 'open' order by id`;
    expect(left.map(({ id }) => id)).toEqual(typedIds);
  });

  test('and by the command line, also as an export', async ({ world }) => {
    const { service, untypedIds } = await twoGroups(world);
    await service.stop();
    const said = async (...words: string[]) => {
      const program = runProgram(['dlq', ...words], world.settings);
      await program.ended;
      return program.text.out;
    };
    const ids = (lines: string) =>
      lines
        .trimEnd()
        .split('\n')
        .map((line) => Number(JSON.parse(line).id));
    expect(ids(await said('export', '--type', 'none'))).toEqual(untypedIds);
    const discarded = ['discard', '--type', 'none', '--reason', 'test data', '--yes'];
    await said(...discarded);
    const left = await world.sql`select type from dead_letters where status = 'open'`;
    expect(left.map(({ type }) => type)).toEqual(['USER_STATUS_CHANGED', 'USER_STATUS_CHANGED']);
  });
});

describe('what had no type when it died and can be read by now', () => {
  /** Some that were nobody's, of one user, the later ones first; each can be used since it was edited. */
  async function mended(world: World, many = 2) {
    const service = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ userId: 'u1', customerAccountId: undefined }), { id: 'c' }),
      ...Array.from({ length: many }, (_, n) => untyped(n + 1)),
    );
    await service.source.drain();
    await service.stop();
    const rows = await world.sql<{ id: number }[]>`select id::int as id from dead_letters order by id desc`;
    for (const [n, { id }] of rows.entries()) {
      const timestamp = new Date(AT_MS + n * 60_000).toISOString();
      const payload = statusChanged({ userId: 'u1', newStatus: n % 2 === 0 ? 'ACTIVE' : 'SUSPENDED', timestamp });
      const value = Buffer.from(JSON.stringify({ type: 'USER_STATUS_CHANGED', ...payload }));
      await editDeadLetter(draining(world), id, value, { who: 'ann', reason: 'test' });
    }
  }
  test('is redriven as it was rehearsed, in the order of its user', async ({ world }) => {
    await mended(world);
    const rehearsed = await previewRedrive(draining(world), { type: 'none' }, { who: 'ann' });
    const job = await startRedrive(world.db, { filter: { type: 'none' }, who: 'ann' });
    const { job: ended, ...sums } = await runSettling(draining(world), job);
    expect({ matched: ended.done, ...sums }).toEqual(rehearsed);
    expect(ended).toMatchObject({ state: 'done', total: 2, done: 2 });
    expect(await world.sql`select distinct status, type from dead_letters`).toEqual([
      { status: 'resolved', type: 'USER_STATUS_CHANGED' },
    ]);
  });

  test('also where the job was interrupted when it had just found out whose they are', async ({ world }) => {
    await mended(world);
    const job = await startRedrive(world.db, { filter: { type: 'none' }, who: 'ann' });
    const stopping = new AbortController();
    await runSettling(draining(world), job, { signal: stopping.signal, step: () => stopping.abort() });
    expect(await world.sql`select distinct user_id, status, type from dead_letters`).toEqual([
      { user_id: 'u1', status: 'open', type: null },
    ]);
    await world.expectSound();
    const again = await readJob(world.db, job.id);
    const { job: ended } = await runSettling(draining(world), again as NonNullable<typeof again>);
    expect(ended).toMatchObject({ state: 'done', done: 2, failed: 0 });
    expect(await world.sql`select distinct status from dead_letters`).toEqual([{ status: 'resolved' }]);
  });

  test('also where it was interrupted amid writing down what they are: none is left behind', async ({ world }) => {
    await mended(world, 6);
    let job = await startRedrive(world.db, { filter: { type: 'none' }, who: 'ann' });
    const stopping = new AbortController();
    ({ job } = await runSettling(draining(world), job, { signal: stopping.signal, step: () => stopping.abort() }));

    const cut = draining(world);
    let decoded = 0;
    const decode: Draining['decode'] = (place, record) => {
      if (++decoded === 4) throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
      return cut.decode(place, record);
    };
    await expect(runSettling({ ...cut, decode }, job)).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await world.sql`select distinct user_id, status, type from dead_letters`).toEqual([
      { user_id: 'u1', status: 'open', type: null },
    ]);

    const again = await readJob(world.db, job.id);
    const { job: ended } = await runSettling(draining(world), again as NonNullable<typeof again>);
    expect(ended).toMatchObject({ state: 'done', done: 6, failed: 0 });
    expect(await world.sql`select distinct status from dead_letters`).toEqual([{ status: 'resolved' }]);
    const went = await world.sql`
      select outcome, "offset"::int as offset from history where user_id = 'u1' order by version`;
    expect(went).toEqual(Array.from({ length: 7 }, (_, offset) => ({ outcome: 'applied', offset })));
    await world.expectSound();
  });
});
