// Operators at work while everything is killed: redrives, discards, holds and releases of processes that die in the middle, beside
// services that die too. Whatever was cut off is finished by running it again, and nothing vanishes.
import { describe, expect } from 'vitest';
import { dice, SETTINGS } from '../support/flood.ts';
import { startProcess } from '../support/process.ts';
import { runProgram } from '../support/program.ts';
import { type Arrival, AT_MS, cloudEvent, statusChanged, userCreated } from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const SEED = Number(process.env.SEED ?? 20_250_131);
const USERS = 240;
const ROUNDS = 24;
/** Too large for the service, not for the operator's settings: the user goes on without it. */
const TOO_LARGE_ROUND = 4;
/** Of a version that nobody knows: the user waits behind it until it is discarded. */
const UNKNOWN_ROUND = 8;
const SMALL_RECORDS = { MAX_RECORD_BYTES: '1024' };

/** All rounds of all users, round by round. Every third user has the unknown one. */
function round(n: number): Arrival[] {
  return Array.from({ length: USERS }, (_, user) => eventOf(user, n));
}
function eventOf(user: number, n: number): Arrival {
  const userId = `u${user}`;
  const over = { id: `${userId}-${n}`, key: userId };
  if (n === 0) return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), over);
  const newStatus = n % 2 ? 'ACTIVE' : 'SUSPENDED';
  const payload = statusChanged({ userId, newStatus, timestamp: new Date(AT_MS + n * 1_000).toISOString() });
  if (n === TOO_LARGE_ROUND) return cloudEvent('USER_STATUS_CHANGED', { ...payload, padding: 'x'.repeat(2_000) }, over);
  if (n === UNKNOWN_ROUND && user % 3 === 0) return cloudEvent('USER_STATUS_CHANGED.v2', payload, over);
  return cloudEvent('USER_STATUS_CHANGED', payload, over);
}

async function statuses({ sql }: World, code: string): Promise<Record<string, number>> {
  const rows = await sql`select status, count(*)::int as n from dead_letters where code = ${code} group by status`;
  return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
}

describe('kill -9 of operators and services', () => {
  test(`while dead letters are redriven and discarded, users held and released, and events arrive (SEED=${SEED})`, async ({
    world,
  }) => {
    const between = dice(SEED);
    const settings = { ...world.settings, ...SETTINGS, ...SMALL_RECORDS };
    await world.createTopic(4);
    const services = [startProcess(settings), startProcess(settings)];
    await Promise.all(services.map((service) => service.says('started')));

    for (let n = 0; n <= UNKNOWN_ROUND + 1; n++) await world.produce(round(n));
    await until(async () => expect(await statuses(world, 'size')).toEqual({ open: USERS }), 60_000);
    await until(async () => expect(await statuses(world, 'unknown-version')).toEqual({ open: USERS / 3 }), 60_000);

    let isOver = false;
    const arriving = (async () => {
      for (let n = UNKNOWN_ROUND + 2; n < ROUNDS; n++) {
        await world.produce(round(n));
        await new Promise((resolve) => setTimeout(resolve, between(50, 150)));
      }
    })();
    const dying = (async () => {
      for (let n = 0; !isOver; n++) {
        await new Promise((resolve) => setTimeout(resolve, between(1_500, 3_000)));
        if (isOver) return;
        const at = n % services.length;
        services[at]?.signal('SIGKILL');
        await services[at]?.ended;
        services[at] = startProcess(settings);
        await services[at]?.says('started');
      }
    })();

    for (const beside of [arriving, dying]) beside.catch(() => {}); // told when it is awaited

    const killed = { redrive: 0, discard: 0, hold: 0, release: 0 };
    const holding = holdAndRelease(world, between, killed);
    killed.redrive = await untilDone(world, ['dlq', 'redrive', '--code', 'size', '--yes'], between);
    killed.discard = await untilDone(
      world,
      ['dlq', 'discard', '--code', 'unknown-version', '--reason', 'a test', '--yes'],
      between,
    );
    // What a killed process had marked, a service's sweep takes up: with its settings it dies again, and is redriven again.
    for (let n = 0; n < 5 && (await statuses(world, 'size')).resolved !== USERS; n++)
      await untilDone(world, ['dlq', 'redrive', '--code', 'size', '--yes'], between, 0);
    await holding;
    await arriving;
    isOver = true;
    await dying;

    // Whatever was in flight has landed: all events are history, but for those that were given up.
    const total = USERS * ROUNDS - USERS / 3;
    await until(async () => {
      expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n: total }]);
      expect(await world.sql`select count(*)::int as n from waiting`).toEqual([{ n: 0 }]);
    }, 60_000);
    expect(await statuses(world, 'size')).toEqual({ resolved: USERS });
    expect(await statuses(world, 'unknown-version')).toEqual({ discarded: USERS / 3 });
    expect(
      await world.sql`select code, status from dead_letters where code not in ('size', 'unknown-version')`,
    ).toEqual([]);
    // What was redriven is late, all else was put in the order of its source.
    expect([...(await world.sql`select outcome, count(*)::int as n from history group by 1 order by 1`)]).toEqual([
      { outcome: 'applied', n: total - 2 * USERS - USERS / 3 },
      { outcome: 'skipped', n: USERS + USERS / 3 }, // the event behind one that was late, or given up, says the same again
      { outcome: 'stale', n: USERS },
    ]);
    expect(
      await world.sql`
        select user_id from (select user_id, "offset", lag("offset") over (partition by user_id order by version) as before
                               from history where outcome = 'applied') x where "offset" <= before`,
    ).toHaveLength(0);
    // Each act that was finished says so; those that were killed are there too.
    expect(await world.sql`select 1 from jobs where state not in ('done')`).toEqual([]);
    expect(await world.sql`select 1 from audit where result is null`).toEqual([]);
    expect(killed.redrive + killed.discard).toBeGreaterThan(1); // or this was no test
    const { ended, text } = runProgram(['verify'], world.settings);
    expect(await ended, text.err + text.out).toMatchObject({ code: 0 });
    await world.expectSound();
  }, 240_000);
});

/** Runs it, kills it after a moment, and goes on as a person would: with the job that it left. Returns how often it was killed. */
async function untilDone(
  world: World,
  args: string[],
  between: (from: number, to: number) => number,
  mostKills = 3,
): Promise<number> {
  let kills = 0;
  for (let next = args; ; ) {
    const program = runProgram(next, world.settings);
    const patience = kills < mostKills ? between(700, 1_600) : 60_000;
    const timer = setTimeout(() => program.signal('SIGKILL'), patience);
    const { code, signal } = await program.ended;
    clearTimeout(timer);
    if (signal === null) {
      expect([0, 3], program.text.err + program.text.out).toContain(code);
      return kills;
    }
    kills++;
    const [job] =
      await world.sql`select id from jobs where state = 'running' and kind = ${args[1] as string} order by id limit 1`;
    next = job === undefined ? args : ['jobs', 'resume', String(job.id)];
  }
}

/** One user after the other, by processes that are killed half of the time; at the end none is held. */
async function holdAndRelease(
  world: World,
  between: (from: number, to: number) => number,
  killed: { hold: number; release: number },
): Promise<void> {
  const act = async (verb: 'hold' | 'release', userId: string, mayDie: boolean) => {
    const program = runProgram(
      [verb, 'user', userId, ...(verb === 'hold' ? ['--reason', 'a test'] : [])],
      world.settings,
    );
    const timer = mayDie ? setTimeout(() => program.signal('SIGKILL'), between(400, 1_000)) : undefined;
    const { signal } = await program.ended;
    clearTimeout(timer);
    if (signal !== null) killed[verb]++;
  };
  for (let n = 0; n < 6; n++) {
    const userId = `u${between(0, USERS)}`;
    await act('hold', userId, n % 2 === 0);
    await act('release', userId, n % 2 === 1);
  }
  for (const { id } of await world.sql`select id from holds`) await act('release', id, false);
  expect(await world.sql`select id from holds`).toEqual([]);
}
