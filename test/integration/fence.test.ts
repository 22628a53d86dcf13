// Two owners: whoever believes to own a partition, each event counts once, and what is saved is looked up, never guessed.
import { connect, createServer, type Server, type Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect } from 'vitest';
import { halt, resume } from '../../src/operate.ts';
import { createMemoryLog, createMemorySource, type MemorySource } from '../support/memory-source.ts';
import {
  type Arrival,
  AT_MS,
  cloudEvent,
  customerCreated,
  rawRecord,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { createWorld, type Lines, type MemoryService, test, until, type World } from '../support/world.ts';

const TOPIC = 'user-events';

/** n events of 4 users: created first, then moved to and fro. */
function events(n: number, from = 0): Arrival[] {
  return Array.from({ length: n }, (_, i) => {
    const at = from + i;
    const userId = `u${at % 4}`;
    if (at < 4)
      return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), { id: `e${at}` });
    const newStatus = at % 8 < 4 ? 'ACTIVE' : 'SUSPENDED';
    return cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus }), { id: `e${at}` });
  });
}

async function position(world: World) {
  const [row] = await world.sql`select next_offset::int as next, state, halted_reason as reason from positions`;
  return row as { next: number; state: string; reason: string | null };
}
const counts = ({ facts }: MemoryService) => facts().partitions[0]?.counts;
const messages = ({ lines }: Lines) => lines.map(({ msg }) => String(msg)).join('\n');

describe('the same records again', () => {
  test('the same batch twice changes nothing', async ({ world }) => {
    const service = await world.service();
    world.log.append(...events(8));
    await service.source.drain();
    const before = await world.digest();
    expect(await service.source.deliver(TOPIC, 0, { from: 0n })).toEqual({ what: 'saved', next: 8n });
    expect(await world.digest()).toEqual(before);
    expect(counts(service)?.replayed).toBe(8);
  });

  test('a batch that overlaps: what was saved is dropped and counted, the rest is applied', async ({ world }) => {
    const service = await world.service();
    world.log.append(...events(12));
    await service.source.deliver(TOPIC, 0, { records: 7 });
    expect(await service.source.deliver(TOPIC, 0, { from: 2n })).toEqual({ what: 'saved', next: 12n });
    expect(counts(service)?.replayed).toBe(5);
    expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n: 12 }]);
  });

  test('after a restart: on from the saved position', async ({ world }) => {
    const first = await world.service();
    world.log.append(...events(12));
    await first.source.deliver(TOPIC, 0, { records: 7 });
    await first.stop();
    const second = await world.service();
    await second.source.drain();
    expect(counts(second)?.replayed).toBe(0);
    expect(await position(world)).toMatchObject({ next: 12, state: 'running' });
  });
});

describe('two owners', () => {
  // How much the other one saved meanwhile, of the 8 records that the stale one delivers, and how it goes on.
  for (const [what, saved, taken] of [
    ['less than its batch: it saves the rest', 5, { what: 'saved', next: 8n }],
    ['exactly its batch: it goes on', 8, { what: 'saved', next: 8n }],
    ['more than its batch: it goes on from there', 10, { what: 'seek', next: 10n }],
  ] as const)
    test(`a stale owner can not save. The other one saved ${what}`, async ({ world }) => {
      world.log.append(...events(10));
      const [stale, other] = [await world.service(), await world.service()];
      await stale.source.assign();
      await other.source.deliver(TOPIC, 0, { records: saved });
      expect(await stale.source.deliver(TOPIC, 0, { records: 8 })).toEqual(taken);
      expect(counts(stale)).toMatchObject({ fenced: 1, retries: 0 });
      expect(messages(world)).toContain('fenced: somebody else saved this position');
      expect(messages(world)).not.toContain('unknown error');
      await stale.source.drain();
      expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n: 10 }]);
    });

  test('in the middle of its transaction: who comes second saves nothing', async ({ world }) => {
    world.log.append(...events(8));
    const [one, two] = [await world.service(), await world.service()];
    await Promise.all([one.source.assign(), two.source.assign()]);
    const block = await world.blockSaves(TOPIC);
    const both = [one.source.deliver(TOPIC), two.source.deliver(TOPIC)];
    await block.reached(2); // both have run their machines on the same rows
    await block.release();
    expect(await Promise.all(both)).toEqual([
      { what: 'saved', next: 8n },
      { what: 'saved', next: 8n },
    ]);
    expect((counts(one)?.fenced ?? 0) + (counts(two)?.fenced ?? 0)).toBe(1);
    expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n: 8 }]);
  });

  test('with nothing in its batch but what nobody could read: it saves nothing either', async ({ world }) => {
    world.log.append(...Array.from({ length: 4 }, (_, n) => rawRecord(`{ ${n}`)));
    const [stale, other] = [await world.service(), await world.service()];
    await stale.source.assign();
    await other.source.deliver(TOPIC, 0, { records: 3 });
    expect(await stale.source.deliver(TOPIC, 0, { records: 2 })).toEqual({ what: 'seek', next: 3n });
    expect(counts(stale)).toMatchObject({ fenced: 1, retries: 0 });
    expect(await position(world)).toMatchObject({ next: 3, state: 'running' });
  });

  test('fenced five times in a row: it leaves and joins again', async ({ world }) => {
    world.log.append(...events(20));
    const [stale, other] = [await world.service(), await world.service()];
    await stale.source.assign();
    const taken: unknown[] = [];
    for (let i = 0; i < 5; i++) {
      await other.source.deliver(TOPIC, 0, { records: 2 });
      taken.push((await stale.source.deliver(TOPIC, 0, { records: 1 })).what);
    }
    expect(taken).toEqual(['seek', 'seek', 'seek', 'seek', 'rejoin']);
  });

  test('one that learns of it by its look at the positions goes on from there, without a fence', async ({ world }) => {
    world.log.append(...events(10));
    const [stale, other] = [await world.service(), await world.service()];
    await stale.source.deliver(TOPIC, 0, { records: 2 });
    await other.source.deliver(TOPIC, 0, { records: 7 });
    stale.tick();
    await until(() => expect(stale.source.at(TOPIC)).toBe(7n));
    await stale.source.drain();
    expect(counts(stale)?.fenced).toBe(0);
  });
});

describe('halted', () => {
  test('between load and save: nothing is saved, until it is resumed', async ({ world }) => {
    const service = await world.service();
    world.log.append(...events(8));
    await service.source.assign();
    const block = await world.blockSaves(
      ...([TOPIC, 0, `update positions set state = 'halted', halted_reason = 'by ops'`] as const),
    );
    const delivery = service.source.deliver(TOPIC);
    await block.reached();
    await block.release();
    expect(await delivery).toEqual({ what: 'halted', reason: 'by ops' });
    expect(await world.digest()).toMatchObject({ users: [], history: [], waiting: [], deadLetters: [] });
    expect(await position(world)).toMatchObject({ next: 0, state: 'halted' });

    expect(await resume(world.db, { topic: TOPIC, partition: 0, byWhom: 'test' })).toBe(0n);
    service.tick();
    await until(() => expect(service.source.halted.size).toBe(0));
    await service.source.drain();
    expect(await position(world)).toMatchObject({ next: 8, state: 'running', reason: null });
  });

  test('by somebody else: it stops at its next look, before it would save', async ({ world }) => {
    const service = await world.service();
    world.log.append(...events(8));
    await service.source.deliver(TOPIC, 0, { records: 4 });
    await halt(world.db, { topic: TOPIC, partition: 0, generation: 0 }, 'by ops');
    service.tick();
    await until(() => expect(service.source.halted).toContain(`${TOPIC}/0`));
    expect(service.facts().partitions).toMatchObject([{ state: 'halted', reason: 'by ops' }]);
    expect(await service.source.deliver(TOPIC)).toEqual({ what: 'halted', reason: 'by ops' });
    expect(await position(world)).toMatchObject({ next: 4 });
  });

  test('a new owner does not start it either', async ({ world }) => {
    const first = await world.service();
    world.log.append(...events(8));
    await first.source.deliver(TOPIC, 0, { records: 4 });
    await halt(world.db, { topic: TOPIC, partition: 0, generation: 0 }, 'by ops');
    const second = await world.service();
    await second.source.assign();
    expect(second.source.halted).toContain(`${TOPIC}/0`);
    expect(await second.source.deliver(TOPIC)).toEqual({ what: 'halted', reason: 'by ops' });
  });
});

describe('no silent skip', () => {
  test('fetched from beyond the position: not processed but fetched again; twice running: halted; resumed: all is there', async ({
    world,
  }) => {
    const service = await world.service();
    world.log.append(...events(10));
    await service.source.deliver(TOPIC, 0, { records: 4 });
    expect(await service.source.deliver(TOPIC, 0, { from: 6n })).toEqual({ what: 'seek', next: 4n });
    expect(service.source.at(TOPIC)).toBe(4n);
    expect(await service.source.deliver(TOPIC, 0, { from: 6n })).toMatchObject({ what: 'halted' });
    expect(await position(world)).toMatchObject({ next: 4, state: 'halted', reason: expect.stringContaining('gap') });
    expect(counts(service)?.gaps).toBe(2);

    await resume(world.db, { topic: TOPIC, partition: 0, byWhom: 'test' });
    service.tick();
    await until(() => expect(service.source.halted.size).toBe(0));
    expect(service.source.at(TOPIC)).toBe(4n);
    await service.source.drain();
    expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n: 10 }]);
  });

  test('once, and then right again, is no reason to halt the next time', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(...events(10));
    for (const next of [2n, 4n, 6n]) {
      await source.deliver(TOPIC, 0, { records: 2 });
      expect(await source.deliver(TOPIC, 0, { from: 9n })).toEqual({ what: 'seek', next });
    }
    await source.drain();
    expect(await position(world)).toMatchObject({ next: 10, state: 'running' });
  });

  test('where the log is known to be empty up to what was fetched: processed', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(...events(10));
    await source.deliver(TOPIC, 0, { records: 4 });
    expect(await source.deliver(TOPIC, 0, { from: 6n, skippedFrom: 4n })).toEqual({ what: 'saved', next: 10n });
  });
});

describe('another log', () => {
  /** The log as another owner meets it: shorter, older, of another cluster. */
  async function meets(world: World, change: { clusterId?: string; records?: number; logStart?: bigint }) {
    const first = await world.service();
    world.log.append(...events(8));
    await first.source.drain();
    await first.stop();
    const log = createMemoryLog(change.clusterId ?? world.log.clusterId);
    log.append(...events(change.records ?? 12));
    const source = createMemorySource(log);
    const changed: MemorySource = {
      ...source,
      start: (mailbox) =>
        source.start({
          ...mailbox,
          assigned: (logs, signal) => {
            const { logStart = 0n } = change;
            return mailbox.assigned(
              logs.map((each) => ({ ...each, logStart })),
              signal,
            );
          },
        }),
    };
    const service = await world.service({}, changed);
    await service.source.assign();
    return service;
  }
  for (const [what, change, reason] of [
    ['of another cluster', { clusterId: 'another' }, /^cluster: .*memory.*another/],
    ['that lost what was not read yet', { logStart: 10n }, /^lost: offsets 8 to 9 /],
    ['that ends before the position', { records: 5 }, /^truncated: the log ends at 5, the position is 8/],
  ] as const)
    test(`${what}: halted, nothing is read from it`, async ({ world }) => {
      const service = await meets(world, change);
      expect(service.source.halted).toContain(`${TOPIC}/0`);
      expect(await position(world)).toMatchObject({ next: 8, state: 'halted', reason: expect.stringMatching(reason) });
      const before = await world.digest();
      expect(await service.source.deliver(TOPIC, 0, { from: 8n })).toMatchObject({ what: 'halted' });
      expect(await world.digest()).toEqual(before);
    });
  test('the same log, longer: goes on', async ({ world }) => {
    const service = await meets(world, {});
    await service.source.drain();
    expect(await position(world)).toMatchObject({ next: 12, state: 'running' });
  });
});

describe('a save whose outcome is not known', () => {
  for (const [what, lose, saved] of [
    ['the connection broke before the COMMIT arrived: run again', 'request', 0],
    ['the answer to the COMMIT was lost: it was saved, and is not run again', 'answer', 8],
  ] as const)
    test(what, async ({ world }) => {
      const proxy = await commitLoser(world.settings, lose);
      try {
        const service = await world.service({ DB_HOST: '127.0.0.1', DB_PORT: String(proxy.port) });
        world.log.append(...events(8));
        await service.source.assign();
        proxy.arm();
        const delivery = service.source.deliver(TOPIC);
        await proxy.lost;
        expect(await position(world)).toMatchObject({ next: saved });
        expect(await delivery).toEqual({ what: 'saved', next: 8n });
        expect(counts(service)).toMatchObject({ retries: 1, fenced: 0, replayed: saved });
        expect(await world.sql`select count(*)::int as n from history`).toEqual([{ n: 8 }]);
        await service.stop();
      } finally {
        proxy.close();
      }
    });

  /** Between a service and Postgres: once armed, the next COMMIT or the answer to it is lost, with the connection. */
  async function commitLoser(settings: Record<string, string>, lose: 'request' | 'answer') {
    const lost = Promise.withResolvers<void>();
    const sockets = new Set<Socket>();
    let armed = false;
    const server: Server = createServer((client) => {
      const upstream = connect({ host: settings.DB_HOST as string, port: Number(settings.DB_PORT), noDelay: true });
      const cut = () => {
        client.destroy();
        upstream.destroy();
        lost.resolve();
      };
      let cutAtAnswer = false;
      client.on('data', (data) => {
        if (armed && data.includes('commit\0')) {
          armed = false;
          if (lose === 'request') return cut();
          cutAtAnswer = true;
        }
        upstream.write(data);
      });
      upstream.on('data', (data) => {
        if (cutAtAnswer) cut();
        else client.write(data);
      });
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(socket);
        socket.on('error', () => {}).on('close', () => other.destroy());
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
      port: (server.address() as { port: number }).port,
      lost: lost.promise,
      arm: () => {
        armed = true;
      },
      close: () => {
        server.close();
        for (const socket of sockets) socket.destroy();
      },
    };
  }
});

describe('the database went back in time', () => {
  test('everything remembered is dropped, and what is gone is read again', async ({ world }) => {
    const service = await world.service();
    world.log.append(...events(12));
    await service.source.deliver(TOPIC, 0, { records: 6 });
    const tables = ['users', 'customers', 'history', 'positions', 'waiting', 'dead_letters'];
    for (const table of tables) await world.sql.unsafe(`create table was_${table} as table ${table}`);
    await service.source.deliver(TOPIC, 0, { records: 4 });
    const ahead = await world.digest();
    await world.sql.begin(async (tx) => {
      await tx`set local session_replication_role = replica`; // history's trigger aside, as a failover would be
      for (const table of tables) {
        await tx.unsafe(`delete from ${table}`);
        await tx.unsafe(`insert into ${table} overriding system value select * from was_${table}`);
      }
    });
    service.tick();
    await until(() => expect(service.source.at(TOPIC)).toBe(6n));
    expect(messages(world)).toContain('the database went back in time');
    await service.source.deliver(TOPIC, 0, { records: 4 });
    expect(await world.digest()).toEqual(ahead);
    await service.source.drain();
    expect(counts(service)?.fenced).toBe(0);
  });
});

describe('the result is the same', () => {
  // Users and customers are each fed by one partition: between sources the timestamps decide, see topology.test.ts.
  const PARTITIONS = 3;
  const script = fc.array(
    fc.record({
      user: fc.integer({ min: 0, max: 7 }),
      customer: fc.integer({ min: 0, max: 3 }),
      what: fc.constantFrom('user', 'status', 'status', 'role', 'deleted', 'customer', 'again', 'garbage'),
      word: fc.integer({ min: 0, max: 3 }),
      minutes: fc.integer({ min: 0, max: 20 }),
    }),
    { minLength: 30, maxLength: 90 },
  );
  const steps = fc.array(
    fc.record({
      owner: fc.integer({ min: 0, max: 1 }),
      partition: fc.integer({ min: 0, max: PARTITIONS - 1 }),
      records: fc.integer({ min: 1, max: 12 }),
      together: fc.boolean(),
    }),
    { minLength: 10, maxLength: 40 },
  );
  type Script = typeof script extends fc.Arbitrary<infer T> ? T : never;

  test('whatever the batches, the owners and what they remember', async () => {
    await fc.assert(
      fc.asyncProperty(script, steps, fc.constantFrom('0', '2', '1000'), async (told, way, usersInMemory) => {
        const expected = await runAlone(told);
        const world = await createWorld();
        try {
          world.log.append(...logOf(told));
          const over = { USERS_IN_MEMORY: usersInMemory };
          const owners = [await world.service(over), await world.service(over)];
          await Promise.all(owners.map(({ source }) => source.assign()));
          const busy = new Map<string, Promise<unknown>>();
          for (const { owner, partition, records, together } of way) {
            const key = `${owner} ${partition}`;
            await busy.get(key); // a source gives one batch of a partition at a time
            const delivery = owners[owner]?.source.deliver(TOPIC, partition, { records }) as Promise<unknown>;
            busy.set(key, delivery);
            if (!together) await delivery;
          }
          await Promise.all(busy.values());
          await owners[0]?.source.drain(20);
          await until(async () => expect(await result(world)).toEqual(expected));
          await Promise.all(owners.map(({ stop }) => stop()));
          await world.expectSound();
        } finally {
          await world.close();
        }
      }),
      // A failure takes 15 s to be sure of, so it is not shrunk.
      { numRuns: 8, endOnFailure: true, ...(process.env.SEED ? { seed: Number(process.env.SEED) } : {}) },
    );
  }, 120_000);

  /** A duplicate does not wait, so its place among the versions depends on when the customer came; nothing else does. */
  async function result(world: World) {
    const { history = [], ...others } = await world.digest();
    const told = history.map((text) => {
      const { version, from_state, to_state, ...row } = JSON.parse(text as string);
      return JSON.stringify(row.outcome === 'duplicate' ? row : { ...row, from_state, to_state });
    });
    return { ...others, history: told.sort() };
  }

  async function runAlone(told: Script) {
    const world = await createWorld();
    try {
      world.log.append(...logOf(told));
      const { source, stop } = await world.service();
      await source.drain();
      await stop();
      for (const { id } of await world.sql`select distinct user_id as id from waiting`) await world.drain(id);
      await world.expectSound();
      return await result(world);
    } finally {
      await world.close();
    }
  }

  function logOf(told: Script): Arrival[] {
    const sent: Arrival[] = [];
    for (const [n, { user, customer, what, word, minutes }] of told.entries()) {
      const userId = `u${user}`;
      const timestamp = new Date(AT_MS + minutes * 60_000).toISOString();
      const over = { id: `e${n}`, partition: user % PARTITIONS, timestampMs: AT_MS + 30 * 60_000 };
      const arrival =
        what === 'user'
          ? cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: `c${customer}`, timestamp }), over)
          : what === 'status'
            ? cloudEvent(
                'USER_STATUS_CHANGED',
                statusChanged({
                  userId,
                  newStatus: pick(['PENDING', 'ACTIVE', 'SUSPENDED', 'INACTIVE'], word),
                  timestamp,
                }),
                over,
              )
            : what === 'role'
              ? cloudEvent(
                  'USER_ROLE_CHANGED',
                  roleChanged({
                    userId,
                    newRole: pick(['SME_USER', 'SME_OWNER', 'INSTITUTION_ADMIN', 'CUSTOMER_USER'], word),
                    timestamp,
                  }),
                  over,
                )
              : what === 'deleted'
                ? cloudEvent('USER_DELETED', userDeleted({ userId, timestamp }), over)
                : what === 'customer'
                  ? cloudEvent(
                      'CUSTOMER_CREATED',
                      customerCreated({ customerAccountId: `c${customer}`, name: `Name ${word}`, timestamp }),
                      { ...over, partition: customer % PARTITIONS },
                    )
                  : what === 'again'
                    ? sent.findLast(({ place }) => place.partition === user % PARTITIONS)
                    : cloudEvent('USER_STATUS_CHANGED', '{"userId":', over);
      if (arrival !== undefined) sent.push(arrival);
    }
    return sent;
  }
  function pick<const T>(of: readonly T[], n: number): T {
    return of[n % of.length] as T;
  }
});
