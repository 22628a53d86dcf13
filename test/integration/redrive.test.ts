// What an operator redrives, and what the drain must survive.
import type { SQL } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { arrayText } from '../../db/array.ts';
import type { Db } from '../../db/client.ts';
import { decoder } from '../../src/decode.ts';
import { editDeadLetter } from '../../src/edit-dead-letter.ts';
import { discard, hold, markForRedrive } from '../../src/operate.ts';
import { type Draining, drain } from '../../src/redrive.ts';
import { recogniseDeadLetter, redriveDeadLetter } from '../../src/redrive-one.ts';
import type { Result } from '../../src/run.ts';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  plain,
  roleChanged,
  statusChanged,
  userCreated,
} from '../support/records.ts';
import { test, until, type World } from '../support/world.ts';

const customer = (id: string) => cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: id }), { id });
const created = (userId: string, customerAccountId: string, name = 'Ann') =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId, name }), { id: `${userId} created` });
const moved = (userId: string, n: number) =>
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus: n % 2 === 0 ? 'ACTIVE' : 'SUSPENDED' }), {
    id: `${userId} ${n}`,
  });

function draining({ db, log }: World): Draining {
  const saver = { instance: 'test', clusterId: log.clusterId, group: null, serviceVersion: 'test', traceId: null };
  const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
  return { db, saver, decode, waitingPerUser: 10_000 };
}
async function deadLetters(world: World) {
  return [...(await world.sql`select id::int as id, code, status, type, attempts from dead_letters order by id`)];
}

describe('a creation that died', () => {
  test('is applied when it is redriven after the repair, customer and all, and what waited behind it follows', async ({
    world,
  }) => {
    await world.sql`alter table users add constraint broken check (name <> 'poison')`;
    const { source } = await world.service();
    world.log.append(customer('c1'), created('u1', 'c1', 'poison'), moved('u1', 0));
    await source.drain();
    const [{ id } = { id: 0 }] = await deadLetters(world);
    expect(await deadLetters(world)).toMatchObject([{ code: 'sql', status: 'open', type: 'USER_CREATED' }]);
    await world.sql`alter table users drop constraint broken`;

    await markForRedrive(world.db, [id], { byWhom: 'test' });
    await world.drain('u1');
    await until(async () => expect(await deadLetters(world)).toMatchObject([{ status: 'resolved' }]));
    expect([...(await world.sql`select customer_id, state, waiting from users`)]).toEqual([
      { customer_id: 'c1', state: 'active', waiting: 0 },
    ]);
    await world.expectSound();
  });

  test('of a customer on hold waits for the release', async ({ world }) => {
    await world.sql`alter table users add constraint broken check (name <> 'poison')`;
    const { source } = await world.service();
    world.log.append(customer('c1'), created('u1', 'c1', 'poison'));
    await source.drain();
    await world.sql`alter table users drop constraint broken`;
    await world.sql`insert into holds (kind, id, reason, by_whom) values ('customer', 'c1', 'test', 'test')`;
    const [{ id } = { id: 0 }] = await deadLetters(world);
    await markForRedrive(world.db, [id], { byWhom: 'test' });
    expect(await world.drain('u1')).toEqual([]);
    expect(await deadLetters(world)).toMatchObject([{ status: 'redriving' }]);
    await world.sql`delete from holds`;
    expect(await world.drain('u1')).toHaveLength(1);
    await world.expectSound();
  });
});

describe('what died unreadable', () => {
  test('is counted under what could be read, however often it is redriven', async ({ world }) => {
    const { source } = await world.service({ MAX_RECORD_BYTES: '1024' });
    const payload = { ...userCreated({ userId: 'u1' }), email: 1, padding: 'x'.repeat(2_000) };
    world.log.append(plain('USER_CREATED', payload as never));
    await source.drain();
    expect(await deadLetters(world)).toMatchObject([{ code: 'size', type: null }]);
    const [{ id } = { id: 0 }] = await deadLetters(world);
    for (let n = 2; n <= 3; n++) {
      await markForRedrive(world.db, [id], { byWhom: 'test' });
      await redriveDeadLetter(draining(world), id);
      await world.drain('u1'); // whose it is since the first time
      expect(await deadLetters(world)).toMatchObject([
        { code: 'schema', type: 'USER_CREATED', status: 'open', attempts: n },
      ]);
      await world.expectSound();
    }
  });
});

describe("a dead letter that was nobody's", () => {
  test("and is edited into a user's when it is marked already: its drain settles it", async ({ world }) => {
    const { source, stop } = await world.service({ MAX_RECORD_BYTES: '1024' });
    world.log.append(
      arrival('u1', { what: 'created', partition: 0, minutes: 0, tried: false }, 0),
      cloudEvent('USER_STATUS_CHANGED', { not: 'an event', padding: 'x'.repeat(2_000) } as never, { id: 'a' }),
    );
    await source.drain();
    await stop();
    const [{ id } = { id: 0 }] = await deadLetters(world);
    expect(await recogniseDeadLetter(draining(world), id, { isItsTurn: true })).toBeUndefined();
    const mended = Buffer.from(JSON.stringify(statusChanged({ userId: 'u1' })));
    await editDeadLetter(draining(world) as Draining & { db: Db }, id, mended, { who: 'test', reason: 'test' });
    await markForRedrive(world.db, [id], { byWhom: 'test' });
    expect(await redriveDeadLetter(draining(world), id)).toBeUndefined();
    expect((await world.drain('u1')).map(({ outcome }) => outcome)).toEqual(['applied']);
    expect(await deadLetters(world)).toMatchObject([{ status: 'resolved', type: 'USER_STATUS_CHANGED' }]);
  });
});

describe('of a user that does not exist', () => {
  test('what can still not be read is open again at once; what can be waits for the user', async ({ world }) => {
    const { source } = await world.service();
    const broken = statusChanged({ userId: 'u1', newStatus: 'NOPE' as never });
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', broken, { id: 'a' }),
      cloudEvent('USER_STATUS_CHANGED', broken, { id: 'b' }),
    );
    await source.drain();
    const ids = (await deadLetters(world)).map(({ id }) => id as number);
    const mended = Buffer.from(JSON.stringify(statusChanged({ userId: 'u1' }))).toString('hex');
    await world.sql`update dead_letters set edited_value = decode(${mended}, 'hex') where id = ${ids[0] as number}`;
    await markForRedrive(world.db, ids, { byWhom: 'test' });
    expect((await world.drain('u1')).map(({ outcome }) => outcome)).toEqual(['dead']);
    expect(await deadLetters(world)).toMatchObject([
      { status: 'redriving', attempts: 1 },
      { status: 'open', attempts: 2 },
    ]);
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ userId: 'u1', customerAccountId: undefined }), { id: 'c' }),
    );
    await source.drain();
    await until(async () => expect((await deadLetters(world))[0]).toMatchObject({ status: 'resolved' }));
  });
});

describe('a drain ends', () => {
  test('where the first of more than it takes at once may not go', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(created('u1', 'nobody'), ...Array.from({ length: 600 }, (_, n) => moved('u1', n)));
    await source.drain();
    expect(await world.drain('u1')).toEqual([]);
    expect([...(await world.sql`select count(*)::int as n from waiting`)]).toEqual([{ n: 601 }]);
    await world.expectSound();
  });

  test('with large events too: a few megabytes at a time, all of them in the end', async ({ world }) => {
    const { source } = await world.service();
    const large = Array.from({ length: 30 }, (_, n) => {
      const payload = {
        ...statusChanged({ userId: 'u1', newStatus: n % 2 === 0 ? 'ACTIVE' : 'SUSPENDED' }),
        padding: 'x'.repeat(900_000),
      };
      return cloudEvent('USER_STATUS_CHANGED', payload as never, { id: `large ${n}` });
    });
    world.log.append(...large);
    await source.drain(5);
    world.log.append(customer('c1'), created('u1', 'c1'));
    await source.drain();
    await until(async () =>
      expect([...(await world.sql`select version, waiting from users`)]).toEqual([{ version: 31, waiting: 0 }]),
    );
    await world.expectSound();
  });
});

/** What a producer sends for one user, wherever it comes to stand. `tried`: what died of it is redriven. */
type Step = {
  what: 'created' | 'status' | 'role' | 'broken' | 'mended' | 'of a newer version';
  partition: number;
  minutes: number;
  tried: boolean;
};
const step = (what: fc.Arbitrary<Step['what']>): fc.Arbitrary<Step> =>
  fc.record({ what, partition: fc.nat(2), minutes: fc.nat(9), tried: fc.boolean() });
const anyStep = step(fc.constantFrom('status', 'status', 'role', 'broken', 'mended', 'of a newer version', 'created'));
const STORIES: fc.Arbitrary<Step[]> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.array(anyStep), step(fc.constant('created')), fc.array(anyStep))
      .map(([a, b, c]) => [...a, b, ...c]),
  },
  { weight: 1, arbitrary: fc.array(step(fc.constantFrom('status', 'role', 'of a newer version'))) },
);

function arrival(userId: string, { what, partition, minutes }: Step, n: number): Arrival {
  const over = { id: `${userId} ${n}`, partition };
  const timestamp = new Date(AT_MS + minutes * 60_000).toISOString();
  if (what === 'created')
    return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined, timestamp }), over);
  if (what === 'role') {
    const newRole = n % 2 ? 'SME_USER' : 'INSTITUTION_ADMIN';
    return cloudEvent('USER_ROLE_CHANGED', roleChanged({ userId, newRole, timestamp }), over);
  }
  const good = statusChanged({ userId, newStatus: n % 2 ? 'ACTIVE' : 'SUSPENDED', timestamp });
  const payload = what === 'status' || what === 'of a newer version' ? good : { ...good, newStatus: 'NOPE' as never };
  return cloudEvent(what === 'of a newer version' ? 'USER_STATUS_CHANGED.v2' : 'USER_STATUS_CHANGED', payload, over);
}

describe('however few are looked at in one transaction', () => {
  /** All of a user's events, and what became of each; without its name. */
  async function became(world: World, userId: string) {
    const nameless = (rows: readonly Record<string, unknown>[]) =>
      rows.map((row) => JSON.stringify(row).replaceAll(`${userId} `, ''));
    return {
      history: nameless(
        await world.sql`select event_id, outcome, from_state, to_state, version, facts::jsonb - 'hash' as facts from history where user_id = ${userId} order by version`,
      ),
      waiting: nameless(await world.sql`select event_id, type from waiting where user_id = ${userId} order by id`),
      dead: nameless(
        await world.sql`select event_id, type, code, status, attempts from dead_letters where user_id = ${userId} order by id`,
      ),
      row: nameless(await world.sql`select state, version, waiting from users where user_id = ${userId}`),
    };
  }

  test('the same goes in the same order, and the same stays', async ({ world }) => {
    const seed = Number(process.env.SEED ?? 20_250_131);
    const stories = fc.sample(STORIES, { seed, numRuns: 60 });
    const names = stories.flatMap((_, n) => [`few${n}`, `many${n}`]);
    for (const id of names) await hold(world.db, { kind: 'user', id, reason: 'test', byWhom: 'test' });
    const { source, stop } = await world.service();
    for (const [n, story] of stories.entries())
      for (const userId of [`few${n}`, `many${n}`])
        world.log.append(...story.map((each, at) => arrival(userId, each, at)));
    await source.drain();
    await stop(); // its own drains would take part
    await world.sql`delete from holds`;
    await world.sql`
      update dead_letters set edited_value = convert_to(replace(convert_from(value, 'UTF8'), 'NOPE', 'PENDING'), 'UTF8')
       where event_id = any(${arrayText(eventIds(stories, ({ what }) => what === 'mended'))}::text::text[])`;
    const tried = await world.sql<{ id: number }[]>`
      select id::int as id from dead_letters where event_id = any(${arrayText(eventIds(stories, ({ tried }) => tried))}::text::text[])`;
    await markForRedrive(
      world.db,
      tried.map(({ id }) => id),
      { byWhom: 'test' },
    );

    const told = (prefix: string) => names.filter((name) => name.startsWith(prefix));
    await drain(draining(world), told('many'), () => {});
    for (const eventsPerDrain of [1, 2, 3])
      await drain(
        { ...draining(world), eventsPerDrain },
        told('few').filter((_, n) => n % 3 === eventsPerDrain - 1),
        () => {},
      );
    let went = 0;
    for (const n of stories.keys()) {
      const few = await became(world, `few${n}`);
      expect(few, `story ${n} (SEED=${seed}): ${JSON.stringify(stories[n])}`).toEqual(await became(world, `many${n}`));
      went += few.history.length;
    }
    expect(went).toBeGreaterThan(100); // or this was no test
  });
  function eventIds(stories: readonly Step[][], fits: (step: Step) => boolean): string[] {
    return stories.flatMap((story, n) =>
      story.flatMap((each, at) => (fits(each) ? [`few${n} ${at}`, `many${n} ${at}`] : [])),
    );
  }

  /** A user whose events of these minutes wait, and may go now; each third comes by another partition. */
  async function queued(world: World, userId: string, minutes: readonly number[]) {
    await hold(world.db, { kind: 'user', id: userId, reason: 'test', byWhom: 'test' });
    const { source, stop } = await world.service();
    world.log.append(
      arrival(userId, { what: 'created', partition: 0, minutes: 0, tried: false }, 0),
      ...minutes.map((at, n) =>
        arrival(userId, { what: 'status', partition: n % 3 ? 0 : 1, minutes: at, tried: false }, n + 1),
      ),
    );
    await source.drain();
    await stop();
    await world.sql`delete from holds`;
  }

  test('of one user with many: in the order that was looked up ahead', async ({ world }) => {
    const minutes = Array.from({ length: 100 }, (_, n) => n);
    await queued(world, 'u1', minutes);
    const looks: string[] = [];
    const counted = countingLooks(world.db, looks);
    const results: Result[] = [];
    await drain({ ...draining(world), db: counted, eventsPerDrain: 2 }, ['u1'], (_, some) => results.push(...some));
    expect(results.map(({ event }) => event.eventId)).toEqual(['u1 0', ...minutes.map((n) => `u1 ${n + 1}`)]);
    expect(results.every(({ outcome }) => outcome === 'applied')).toBe(true);
    // 40 are looked up at once, 2 go in a transaction.
    expect(looks).toHaveLength(4);
  });
  /** Counts the transactions that look at the queue. */
  function countingLooks(db: Db, looks: string[]): Db {
    const transaction: Db['transaction'] = (act, ...options) =>
      db.transaction(
        (tx) => {
          const execute: typeof tx.execute = (query) => {
            const { sql } = new PgDialect().sqlToQuery(query as SQL);
            if (sql.includes('group by user_id, topic')) looks.push(sql);
            return tx.execute(query as SQL) as never;
          };
          return act(Object.assign(Object.create(tx), { execute }));
        },
        ...options,
      );
    return { transaction } as Db;
  }

  test('what a batch puts to wait meanwhile is not overtaken by what was looked up before', async ({ world }) => {
    await queued(world, 'u1', [1, 2, 3, 4, 5]);
    await world.sql`create table later as select * from waiting where event_id = 'u1 4'`;
    await world.sql`delete from waiting where event_id = 'u1 4'`;
    let transactions = 0;
    const db = {
      async transaction(act: Parameters<Db['transaction']>[0]) {
        const result = await world.db.transaction(act);
        // As a batch would, between two transactions of the drain.
        if (++transactions === 2)
          await world.sql.begin(async (sql) => {
            await sql`insert into waiting overriding system value select * from later`;
            await sql`update users set waiting = waiting + 1, rev = rev + 1`;
          });
        return result;
      },
    } as unknown as Db;
    const results: Result[] = [];
    await drain({ ...draining(world), db, eventsPerDrain: 1 }, ['u1'], (_, some) => results.push(...some));
    expect(results.map(({ event, outcome }) => `${event.eventId} ${outcome}`)).toEqual(
      [0, 1, 2, 3, 4, 5].map((n) => `u1 ${n} applied`),
    );
  });

  test('what is discarded meanwhile is looked for no more, and the rest goes', async ({ world }) => {
    const { source, stop } = await world.service();
    const broken = [1, 2, 3, 4, 5].map((minutes) => ({ what: 'mended' as const, partition: 0, minutes, tried: true }));
    world.log.append(
      arrival('u1', { what: 'created', partition: 0, minutes: 0, tried: false }, 0),
      ...broken.map((each, n) => arrival('u1', each, n + 1)),
    );
    await source.drain();
    await stop();
    const letters = await world.sql<{ id: number }[]>`
      update dead_letters set edited_value = convert_to(replace(convert_from(value, 'UTF8'), 'NOPE', 'ACTIVE'), 'UTF8')
      returning id::int as id`;
    const ids = letters.map(({ id }) => id).sort((a, b) => a - b);
    await markForRedrive(world.db, ids, { byWhom: 'test' });
    let transactions = 0;
    const db = {
      async transaction(act: Parameters<Db['transaction']>[0]) {
        const result = await world.db.transaction(act);
        if (++transactions === 2) await discard(world.db, [ids[3] as number], { byWhom: 'test' });
        return result;
      },
    } as unknown as Db;
    const results: Result[] = [];
    await drain({ ...draining(world), db, eventsPerDrain: 1 }, ['u1'], (_, some) => results.push(...some));
    expect(results.map(({ event }) => event.eventId)).toEqual([1, 2, 3, 5].map((n) => `u1 ${n}`));
  });
});
