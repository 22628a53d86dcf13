// A partition that a person halts, moves or lets run again while a process has it: the process does what the row says, whatever
// it believed, whatever was on its way, and only in a log that fits.
//
// The person is always somewhere else: all that the process ever sees is the row.
import { describe, expect } from 'vitest';
import { setPosition } from '../../src/move-position.ts';
import { halt, resume } from '../../src/operate.ts';
import type { Log } from '../../src/position.ts';
import type { Mailbox } from '../../src/sources/source.ts';
import { ask } from '../support/api.ts';
import { createMemorySource, type MemorySource } from '../support/memory-source.ts';
import { type Arrival, cloudEvent, userCreated } from '../support/records.ts';
import { type Lines, type MemoryService, test, until, type World } from '../support/world.ts';

const TOPIC = 'user-events';
const PLACE = { topic: TOPIC, partition: 0 };
const KEY = `${TOPIC}/0`;
const ROW = { ...PLACE, generation: 0 };
const ANN = { ...PLACE, byWhom: 'ann' };

let sent = 0;
/** So many users, each created. */
function users(n: number): Arrival[] {
  return Array.from({ length: n }, () => {
    const userId = `u${sent++}`;
    return cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), { id: userId });
  });
}
async function position({ sql }: World) {
  const [row] = await sql`select next_offset::int as next, generation, state, halted_reason as reason from positions`;
  return row;
}
const linesOf = ({ lines }: Lines, text: string) => lines.filter(({ msg }) => String(msg).includes(text));
const isStopped = ({ source }: MemoryService) => source.halted.has(KEY);

/** It looks until it fetches again; then all that is left is handled. */
async function goesOn(world: World, service: MemoryService, end: number): Promise<void> {
  await until(() => {
    service.tick();
    expect(isStopped(service)).toBe(false);
  });
  await service.source.drain();
  expect(await position(world)).toMatchObject({ next: end, state: 'running' });
  expect(service.facts().partitions).toMatchObject([{ state: 'running', next: BigInt(end) }]);
}

/** Five records were handled, five more lie there, and the process stands still because a person halted the partition. */
async function stopped(world: World): Promise<MemoryService> {
  const service = await world.service();
  world.log.append(...users(5));
  await service.source.drain();
  await halt(world.db, ROW, 'by ops');
  world.log.append(...users(5));
  service.tick();
  await until(() => expect(isStopped(service)).toBe(true));
  return service;
}

/** Four records are being handled; the partition was halted and assigned anew meanwhile. `load`: what they wait for. */
async function haltedWithBatchInFlight(world: World) {
  const service = await world.service();
  world.log.append(...users(4));
  await service.source.assign();
  const load = await blockLoads(world);
  const delivery = service.source.deliver(TOPIC);
  await load.reached();
  await halt(world.db, ROW, 'by ops');
  await service.source.rejoin();
  return { service, load, delivery };
}

describe('a halted partition that a person lets run again goes on', () => {
  test('where a batch of before the rebalance that found it halted was saved after it', async ({ world }) => {
    const { service, load, delivery } = await haltedWithBatchInFlight(world);
    expect(isStopped(service)).toBe(true);
    await resume(world.db, ANN);
    await load.release();
    await delivery;
    expect(await position(world)).toMatchObject({ next: 4, state: 'running' });
    expect(isStopped(service)).toBe(true);
    world.log.append(...users(2));
    await goesOn(world, service, 6);
  });

  test('where a batch of before the rebalance failed, so that the row was never read again', async ({ world }) => {
    const { service, load, delivery } = await haltedWithBatchInFlight(world);
    expect(await delivery).toMatchObject({ what: 'wait' }); // Postgres ends what waits for a lock for 2 s
    await load.release();
    await resume(world.db, ANN);
    await goesOn(world, service, 4);
  });

  test('where that came while the process was being told its start', async ({ world }) => {
    const { source, hold } = slowToStart(world);
    const service = await world.service({}, source);
    world.log.append(...users(4));
    await service.source.drain();
    await halt(world.db, ROW, 'by ops');
    const start = hold();
    const joined = service.source.rejoin();
    await start.read;
    await resume(world.db, ANN);
    service.tick();
    await until(() => expect(service.facts().partitions).toMatchObject([{ state: 'settling' }]));
    start.tell();
    await joined;
    expect(isStopped(service)).toBe(true);
    world.log.append(...users(2));
    await goesOn(world, service, 6);
  });

  test('and one that is fetched although its row is halted stops', async ({ world }) => {
    const { source, hold } = slowToStart(world);
    const service = await world.service({}, source);
    world.log.append(...users(4));
    await service.source.drain();
    const start = hold();
    const joined = service.source.rejoin();
    await start.read;
    await halt(world.db, ROW, 'by ops');
    service.tick();
    await until(() => expect(service.facts().partitions).toMatchObject([{ state: 'halted' }]));
    start.tell();
    await joined;
    expect(isStopped(service)).toBe(false);
    service.tick();
    await until(() => expect(isStopped(service)).toBe(true));
  });
});

describe('before it goes on its log is looked at, as at a start', () => {
  const LOGS: [what: string, log: Log, reason: RegExp][] = [
    ['another cluster’s', { clusterId: 'k2', logStart: 0n, logEnd: 10n }, /^cluster: .*memory.*k2/],
    ['one that begins later', { clusterId: 'memory', logStart: 7n, logEnd: 10n }, /^lost: offsets 5 to 6 /],
    ['one that ends before', { clusterId: 'memory', logStart: 0n, logEnd: 4n }, /^truncated: the log ends at 4, /],
  ];
  test.for(LOGS)('%s: it halts again, and nothing is read', async ([_, log, reason], { world }) => {
    const service = await stopped(world);
    const asItWas = service.source.logOf;
    service.source.logOf = async () => log;
    await resume(world.db, ANN);
    service.tick();
    await until(async () =>
      expect(await position(world)).toMatchObject({ state: 'halted', reason: expect.stringMatching(reason), next: 5 }),
    );
    await until(() => expect(service.facts().partitions).toMatchObject([{ state: 'halted' }]));
    expect(isStopped(service)).toBe(true);
    expect(linesOf(world, 'halted: this partition stops')).toMatchObject([
      { 'messaging.destination.name': TOPIC, reason: expect.stringMatching(reason) },
    ]);
    service.source.logOf = asItWas;
    await resume(world.db, ANN);
    await goesOn(world, service, 10);
  });

  test('also where a person halted it and moved it to another log between two looks', async ({ world }) => {
    const service = await world.service();
    world.log.append(...users(5));
    await service.source.drain();
    service.source.logOf = async () => ({ clusterId: 'memory', logStart: 3n, logEnd: 5n });
    await world.sql`update positions set generation = 1, next_offset = 2, first_offset = 2`;
    service.tick();
    await until(async () =>
      expect(await position(world)).toMatchObject({ state: 'halted', reason: expect.stringMatching(/^lost: /) }),
    );
    expect(isStopped(service)).toBe(true);
  });

  test('where it can not be asked the partition stays stopped, says so, and goes on once it can', async ({ world }) => {
    const service = await stopped(world);
    const asItWas = service.source.logOf;
    service.source.logOf = () => Promise.reject(Object.assign(new Error('away'), { code: 'ECONNREFUSED' }));
    await resume(world.db, ANN);
    service.tick();
    const warned = () => linesOf(world, 'where its log begins and ends can not be asked');
    const place = { 'messaging.destination.name': TOPIC, 'messaging.destination.partition.id': '0' };
    // A new connection to Postgres starts a look too: there may be more of them.
    await until(() => expect(warned()[0]).toMatchObject({ level: 'warn', ...place, 'error.type': 'ECONNREFUSED' }));
    expect(isStopped(service)).toBe(true);
    expect(service.facts().partitions).toMatchObject([{ state: 'settling', next: 5n, reason: null }]);
    await until(async () => {
      const { json } = await ask(service.url, '/api/v1/partitions');
      expect(json).toMatchObject({ items: [{ state: 'paused', position: '5' }] });
    });

    service.source.logOf = async () => undefined;
    service.tick();
    await until(() => expect(warned().at(-1)).toMatchObject({ ...place, 'error.type': 'no-such-log' }));
    expect(isStopped(service)).toBe(true);
    expect(await position(world)).toMatchObject({ next: 5, state: 'running' });

    service.source.logOf = asItWas;
    await goesOn(world, service, 10);
  });

  test('moved while its log is asked: it goes on from where it is then, and the log is asked once at a time', async ({
    world,
  }) => {
    const service = await stopped(world);
    const asItWas = service.source.logOf;
    const answer = Promise.withResolvers<Log>();
    let asked = 0;
    service.source.logOf = () => {
      asked++;
      return answer.promise;
    };
    const log = { clusterId: 'memory', logStart: 0n, logEnd: 10n };
    await resume(world.db, ANN);
    service.tick();
    await until(() => expect(asked).toBe(1));
    await halt(world.db, ROW, 'by ops');
    const seen = { generation: 0, next: 5n };
    await setPosition(world.db, { ...ANN, seen, to: 7n, newLog: false, reason: 'broken records' }, log);
    service.tick();
    await until(() => expect(service.facts().partitions).toMatchObject([{ next: 7n, state: 'settling' }]));
    expect(asked).toBe(1);
    answer.resolve(log);
    await new Promise(setImmediate);
    expect(isStopped(service)).toBe(true);
    service.source.logOf = asItWas;
    await goesOn(world, service, 10);
    expect(await world.sql`select count(*)::int as n from users`).toEqual([{ n: 8 }]);
  });
});

test('a batch of the log before is not taken for one of the log that a person moved to, though its offsets fit', async ({
  world,
}) => {
  const service = await world.service();
  world.log.append(...users(8));
  await service.source.assign();
  const move = 'update positions set generation = 1, next_offset = 2, first_offset = 2';
  const block = await world.blockSaves(TOPIC, 0, move);
  const delivery = service.source.deliver(TOPIC);
  await block.reached();
  await block.release();
  expect(await delivery).toEqual({ what: 'seek', next: 2n });
  expect(await position(world)).toMatchObject({ generation: 1, next: 2 });
  expect(await world.sql`select 1 from history`).toEqual([]);
  await service.source.drain();
  expect(await world.sql`select generation, count(*)::int as n from history group by 1`).toEqual([
    { generation: 1, n: 6 },
  ]);
});

/** A source whose next assignment, after `hold`, is answered only when the test says so. */
function slowToStart(world: World): { source: MemorySource; hold(): { read: Promise<void>; tell(): void } } {
  const source = createMemorySource(world.log);
  let held: { read(): void; told: Promise<void> } | undefined;
  const assigned =
    (mailbox: Mailbox): Mailbox['assigned'] =>
    async (logs, signal) => {
      const starts = await mailbox.assigned(logs, signal);
      held?.read();
      await held?.told;
      return starts;
    };
  const start = (mailbox: Mailbox) => source.start({ ...mailbox, assigned: assigned(mailbox) });
  return {
    source: { ...source, start },
    hold() {
      const [read, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      held = { read: read.resolve, told: told.promise };
      return { read: read.promise, tell: told.resolve };
    },
  };
}

/** Batches stop while they load what they need, before their save, until `release`. */
async function blockLoads({ sql }: World): Promise<{ reached(): Promise<void>; release(): Promise<void> }> {
  const [locked, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const ended = sql.begin(async (tx) => {
    await tx`lock table holds in access exclusive mode`;
    locked.resolve();
    await released.promise;
  });
  await locked.promise;
  return {
    reached: () =>
      until(async () => {
        const waits = await sql`select 1 from pg_locks l join pg_stat_activity a using (pid)
                                 where not l.granted and a.datname = current_database() and a.query like '%holds%'`;
        expect(waits.length).toBeGreaterThan(0);
      }),
    async release() {
      released.resolve();
      await ended;
    },
  };
}
