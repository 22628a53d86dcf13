// A job and who has a hand in it: resumed, cancelled in the middle of a step, in bounded steps however it is cut.
import { describe, expect } from 'vitest';
import type { Db } from '../../db/client.ts';
import { decoder } from '../../src/decode.ts';
import { cancelJob, type Job, JobTaken, readJob, resumeJob } from '../../src/jobs.ts';
import { bounded, countBounded, type Decided, nextPortion } from '../../src/portions.ts';
import type { Draining } from '../../src/redrive.ts';
import { countMatching, runSettling, startDiscard, startRedrive } from '../../src/settle.ts';
import { usersWaitingFor } from '../../src/wake.ts';
import { runProgram } from '../support/program.ts';
import { cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const created = (userId: string, customerAccountId?: string) =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId }), { id: `${userId} created` });
const broken = (userId: string, n = 0) =>
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus: 'NOPE' as never }), { id: `${userId} ${n}` });

function draining({ db, log }: World): Draining & { db: Db } {
  const saver = { instance: 'test', clusterId: log.clusterId, group: null, serviceVersion: 'test', traceId: null };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db, saver, decode, waitingPerUser: 10_000 };
}
/** So many users, each with so many dead letters that die again. */
async function brokenUsers(world: World, users: number, each = 1) {
  const { source, stop } = await world.service();
  const ids = Array.from({ length: users }, (_, n) => `u${String(n).padStart(4, '0')}`);
  world.log.append(...ids.map((id) => created(id)));
  for (let n = 0; n < each; n++) world.log.append(...ids.map((id) => broken(id, n)));
  await source.drain();
  await stop();
}
async function interrupted(world: World): Promise<Job> {
  const stopping = new AbortController();
  const job = await startRedrive(world.db, { filter: {}, who: 'ann' });
  const { job: left } = await runSettling(draining(world), job, {
    step: () => stopping.abort(),
    signal: stopping.signal,
  });
  expect(left).toMatchObject({ state: 'running', done: 500 });
  return left;
}
const audit = async ({ sql }: World) => [
  ...(await sql`select who, verb, scope, result, job_id::int as "jobId" from audit order by id`),
];

describe('who resumes a job', () => {
  test('stands in the audit from the start, and with what came of it at the end', async ({ world }) => {
    await brokenUsers(world, 600);
    const left = await interrupted(world);
    const resumed = await resumeJob(world.db, left.id, 'bob');
    expect(resumed).toEqual(left);
    expect((await audit(world))[1]).toEqual({
      ...{ who: 'bob', verb: 'resume', scope: { job: left.id, after: 500 }, result: null, jobId: left.id },
    });
    await runSettling(draining(world), resumed as Job);
    const result = { state: 'done', done: 600, failed: 600 };
    expect(await audit(world)).toMatchObject([
      { who: 'ann', verb: 'redrive', result },
      { who: 'bob', verb: 'resume', result },
    ]);
    expect(await resumeJob(world.db, left.id, 'bob')).toBeUndefined();
    expect(await audit(world)).toHaveLength(2);
  });

  test('by the command too', async ({ world }) => {
    await brokenUsers(world, 600);
    const { id } = await interrupted(world);
    const program = runProgram(['jobs', 'resume', String(id), '--actor', 'bob'], world.settings);
    expect(await program.ended, program.text.err).toEqual({ code: 3, signal: null });
    expect((await audit(world))[1]).toMatchObject({
      ...{ who: 'bob', verb: 'resume', result: { state: 'done', done: 600 } },
    });
    const again = runProgram(['jobs', 'resume', String(id)], world.settings);
    expect(await again.ended).toEqual({ code: 1, signal: null });
    expect(again.text.err).toMatch(/Job \d+ is done: nothing to resume/);
  });
});

describe('a job that is cancelled', () => {
  test('in the middle of a step has done that step, in its row and in the audit', async ({ world }) => {
    await brokenUsers(world, 600);
    const job = await startRedrive(world.db, { filter: {}, who: 'ann' });
    let cancelled: Promise<unknown> | undefined;
    const { decode, ...rest } = draining(world);
    const ended = runSettling(
      {
        ...rest,
        decode: (...args) => {
          cancelled ??= cancelJob(world.db, job.id, 'bob');
          return decode(...args);
        },
      },
      job,
      { tell: () => expect(cancelled).toBeDefined() },
    );
    await expect(ended).rejects.toBeInstanceOf(JobTaken);
    await cancelled;
    expect(await readJob(world.db, job.id)).toMatchObject({ state: 'cancelled', done: 500, failed: 500 });
    expect(await audit(world)).toMatchObject([
      { who: 'ann', verb: 'redrive', result: { state: 'cancelled', done: 500, failed: 500 } },
      { who: 'bob', verb: 'cancel' },
    ]);
    const [{ tried } = { tried: 0 }] = await world.sql`
      select count(*)::int as tried from dead_letters where attempts = 2`;
    expect(tried).toBe(500); // what it says that it has done
  });
});

describe('a step', () => {
  test('takes 5,000 dead letters, or one user with however many', async ({ world }) => {
    await brokenUsers(world, 4, 1_700);
    await world.sql`update dead_letters set user_id = 'u0003' where user_id = 'u0002'`; // 3,400 of one
    const job = await startDiscard(world.db, { filter: {}, who: 'ann', reason: 'test' });
    const steps: number[] = [];
    await runSettling(draining(world), job, { step: ({ done }) => void steps.push(done) });
    expect(steps).toEqual([3_400, 6_800]);
    await brokenUsersAlone(world);
  });
  /** One with more than a step takes goes in one step. */
  async function brokenUsersAlone(world: World) {
    await world.sql`update dead_letters set status = 'open', user_id = 'u0001'`;
    const job = await startDiscard(world.db, { filter: {}, who: 'ann', reason: 'test' });
    const steps: number[] = [];
    await runSettling(draining(world), job, { step: ({ done }) => void steps.push(done) });
    expect(steps).toEqual([6_800]);
  }

  test('finds the same ones however few are looked through at a time', async ({ world }) => {
    const { source, stop } = await world.service();
    for (let n = 0; n < 30; n++) {
      world.log.append(created(`u${n}`), ...Array.from({ length: 1 + (n % 3) }, (_, i) => broken(`u${n}`, i)));
      if (n % 5 === 0) world.log.append(cloudEvent('NOBODY_KNOWS', {} as never, { id: `unknown ${n}` }));
    }
    await source.drain();
    await stop();
    await world.sql`update dead_letters set code = 'rare' where user_id in ('u7', 'u22') or user_id is null and id % 2 = 0`;
    await world.sql`update dead_letters set status = 'discarded' where user_id = 'u11'`;
    for (const filter of [{}, { code: 'rare' }, { code: 'none' }, { user: 'u22' }]) {
      const within = await bounded(world.db, filter);
      const deciding: Decided = {
        ...{ kind: 'redrive', filter: within, force: false, who: 'ann', note: null, startedAt: '2999-01-01' },
      };
      const walk = async (lookedThrough?: number) => {
        const ids: number[][] = [];
        const size = { users: 4, alone: 3, letters: 7 };
        const options = lookedThrough === undefined ? {} : { lookedThrough };
        for (let cursor = ''; ; ) {
          const portion = await nextPortion(world.db, deciding, cursor, size, options);
          if (portion === undefined) return ids;
          ids.push(portion.ids.toSorted((a, b) => a - b));
          cursor = portion.cursor;
        }
      };
      const expected = (await walk()).flat().toSorted((a, b) => a - b);
      const counted = await countMatching(world.db, filter);
      expect(counted.deadLetters).toBe(expected.length);
      for (const lookedThrough of [1, 2, 5, 1_000]) {
        expect((await walk(lookedThrough)).flat().toSorted((a, b) => a - b)).toEqual(expected);
        expect(await countBounded(world.db, within, { lookedThrough })).toEqual(counted);
      }
    }
    await world.sql`update dead_letters set code = case when user_id is null then 'unknown-type' else 'schema' end`;
  });

  test('of a rehearsal, which recognises more, leaves no user out between two looks', async ({ world }) => {
    await brokenUsers(world, 6);
    const filter = {};
    const deciding: Decided = {
      ...{ kind: 'redrive', filter, force: false, who: 'ann', note: null, startedAt: '2999-01-01' },
    };
    // Found out to be theirs: of somebody without any other, and of somebody behind what one query looks through.
    const recognised = new Map([
      ['u0000a', [1_001]],
      ['u0004', [1_002]],
      ['u9', [1_003]],
    ]);
    const users: string[] = [];
    for (let cursor = ''; ; ) {
      const size = { users: 4, alone: 3, letters: 100 };
      const portion = await nextPortion(world.db, deciding, cursor, size, { recognised, lookedThrough: 2 });
      if (portion === undefined) break;
      users.push(...portion.userIds);
      cursor = portion.cursor;
    }
    expect(users).toEqual(['u0000', 'u0000a', 'u0001', 'u0002', 'u0003', 'u0004', 'u0005', 'u9']);
  });
});

describe('who waits for a customer', () => {
  test('is found once: whose creation waits for it, and of its users those with something waiting', async ({
    world,
  }) => {
    const { source, stop } = await world.service();
    const customer = (id: string) => cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: id }), { id });
    const moved = (userId: string) =>
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId }), { id: `${userId} moved` });
    world.log.append(customer('c1'), customer('c2'), created('a', 'c1'), created('b', 'c1'), created('c', 'c2'));
    await source.drain();
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('customer', 'c1', 'x', 'x'), ('customer', 'c2', 'x', 'x')`;
    const other = (userId: string, customerAccountId: string) =>
      cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId, name: 'B' }), { id: `${userId} again` });
    world.log.append(moved('a'), moved('c'), other('a', 'c1'), other('d', 'c1'), moved('d'), other('e', 'nobody'));
    await source.drain();
    await stop();
    const found = async (customerId: string) => {
      const all: string[] = [];
      for await (const some of usersWaitingFor(world.db, customerId)) all.push(...some);
      return all.toSorted();
    };
    expect(await found('c1')).toEqual(['a', 'd']);
    expect(await found('c2')).toEqual(['c']);
    expect(await found('nobody')).toEqual(['e']);
    await until(async () => expect(await found('unheard of')).toEqual([]));
  });
});
