// A halted partition, and what a person decides beyond "go on": the loss is accepted, or the position set. On a real broker, whose
// logs lose their beginning, or are deleted and made anew; and what a stale view may not do.
import type { Admin } from 'kafkajs';
import { describe, expect } from 'vitest';
import * as contract from '../../src/api/contract.ts';
import { createLog } from '../../src/log.ts';
import type { Service } from '../../src/main.ts';
import { halt, resume } from '../../src/operate.ts';
import { withAdmin } from '../../src/sources/kafka-client.ts';
import { kafkaSettings } from '../../src/sources/open.ts';
import { ask, expectFits, expectProblem, OWN } from '../support/api.ts';
import { cloudEvent, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { type Lines, type MemoryService, test, until, type World } from '../support/world.ts';

const silent = createLog({ level: 'silent' });
const admin = <T>(world: World, act: (admin: Admin) => Promise<T>): Promise<T> =>
  withAdmin(kafkaSettings(world.config()), silent, act);
/** The log begins at `offset` from now on. */
const cut = (world: World, offset: number) =>
  admin(world, async (admin) => {
    await admin.fetchTopicOffsets(world.topic); // kafkajs must know the topic first
    await admin.deleteTopicRecords({ topic: world.topic, partitions: [{ partition: 0, offset: String(offset) }] });
  });
/** The topic is deleted, and there is another one of its name. */
async function makeAnew(world: World): Promise<void> {
  await admin(world, (admin) => admin.deleteTopics({ topics: [world.topic] }));
  await until(() => admin(world, async (admin) => expect(await admin.listTopics()).not.toContain(world.topic)));
  await until(() => world.createTopic(1));
  await world.hangUp();
}
const minute = (n: number) => new Date(Date.UTC(2025, 0, 31, 10, n)).toISOString();

let n = 0;
const created = (userId: string) =>
  cloudEvent('USER_CREATED', userCreated({ userId, customerAccountId: undefined }), { id: `e${n++}` });
const status = (userId: string, newStatus: 'ACTIVE' | 'SUSPENDED', at: string) =>
  cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId, newStatus, timestamp: at }), { id: `e${n++}` });

const post = (service: Service, topic: string, act: string, body: object) =>
  ask(service.url, `/api/v1/partitions/${topic}/0/${act}`, { method: 'POST', headers: OWN, body });
async function rowOf(service: Service, topic: string): Promise<contract.PartitionRow> {
  const { items } = (await ask(service.url, '/api/v1/partitions')).json as { items: contract.PartitionRow[] };
  return items.find((row) => row.topic === topic) as contract.PartitionRow;
}
/** As soon as it says so itself. */
const halted = (service: Service, topic: string, why: RegExp) =>
  until(async () => {
    const row = await rowOf(service, topic);
    expect(row).toMatchObject({ state: 'halted', why: expect.stringMatching(why) });
    return row;
  }, 30_000);
const positionOf = async ({ sql }: World) => {
  const [row] =
    await sql`select generation, next_offset, first_offset, state, halted_reason, cluster_id, leader_epoch, tail_offset from positions
                           where topic <> '#redrive'`;
  return row;
};
const lossesOf = ({ sql }: World) =>
  sql`select topic, partition, generation, first_offset, last_offset, halted_reason, reason, by_whom from losses order by first_offset`;
const auditOf = ({ sql }: World) => sql`select who, verb, dry_run, scope, result from audit order by id`;
const stateOf = async ({ sql }: World, userId: string) => {
  const [row] = await sql`select state from users where user_id = ${userId}`;
  return row?.state;
};

/** A topic of one partition, so many users created by it and read, and nobody who reads on. */
async function readAndStopped(world: World, n: number): Promise<void> {
  await world.createTopic(1);
  const service = await world.kafkaService();
  await world.produce(Array.from({ length: n }, (_, i) => created(`u${i}`)));
  await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: `${n}` }));
  await service.stop();
}

describe('a log that lost its beginning', () => {
  test('goes on there after the loss was accepted, and the loss is kept to the offset', async ({ world }) => {
    const { topic } = world;
    await readAndStopped(world, 2);
    await world.produce(Array.from({ length: 6 }, (_, i) => created(`u${i + 2}`)));
    await cut(world, 5);

    const service = await world.kafkaService();
    const row = await halted(service, topic, /^lost: offsets 2 to 4 /);
    expect(row).toMatchObject({ generation: 0, position: '2', logStart: '5', high: '8', lag: '6' });
    const seen = { generation: 0, position: '2', logStart: '5', reason: 'no copy' };
    const dry = await post(service, topic, 'accept-loss', { ...seen, dryRun: true });
    expectFits(contract.Moved, dry.json);
    const said = {
      ...{ topic, partition: 0, generation: 0, position: '5', from: { generation: 0, position: '2' } },
      lost: { first: '2', last: '4', offsets: '3' },
    };
    expect(dry).toMatchObject({ status: 200, json: { ...said, dryRun: true } });
    expect(await positionOf(world)).toMatchObject({ next_offset: '2', state: 'halted' });
    expect(await lossesOf(world)).toEqual([]);

    // Meanwhile the log has lost more: what was seen is not what would be lost.
    await cut(world, 6);
    const late = expectProblem(await post(service, topic, 'accept-loss', seen), 'conflict', 409);
    expect(late.detail).toContain('begins at 6 by now, not at 5');
    expect(await positionOf(world)).toMatchObject({ next_offset: '2', state: 'halted' });

    const done = await post(service, topic, 'accept-loss', { ...seen, logStart: '6' });
    expect(done).toMatchObject({ status: 200, json: { position: '6', lost: { first: '2', last: '5', offsets: '4' } } });
    await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: '8', state: 'running' }));
    const users = await world.sql`select user_id from users order by 1`;
    expect(users.map(({ user_id }) => user_id)).toEqual(['u0', 'u1', 'u6', 'u7']);
    const halt = 'lost: offsets 2 to 4 are not in the log any more';
    expect(await lossesOf(world)).toEqual([
      {
        ...{
          topic,
          partition: 0,
          generation: 0,
          first_offset: '2',
          last_offset: '5',
          reason: 'no copy',
          by_whom: 'local',
        },
        halted_reason: expect.stringContaining(halt),
      },
    ]);
    expect(await auditOf(world)).toMatchObject([
      { who: 'local', verb: 'accept-loss', dry_run: true, result: { lost: '2 to 4', to: '5' } },
      {
        ...{ who: 'local', verb: 'accept-loss', dry_run: false },
        scope: { topic, partition: 0, generation: 0, position: '2', reason: 'no copy' },
        result: { to: '6', generation: 0, lost: '2 to 5', offsets: '4' },
      },
    ]);
    await until(async () =>
      expect(await rowOf(service, topic)).toMatchObject({ state: 'running', position: '8', lag: '0', lagSeconds: 0 }),
    );
    await service.stop();
    await world.kafkaService(); // and stays so
    await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: '8', state: 'running' }));
  });
});

describe('a topic that was deleted and made anew', () => {
  test('is read as another log: what lies at the old coordinates is taken for neither stale nor done', async ({
    world,
  }) => {
    const { topic } = world;
    await world.createTopic(1);
    const service = await world.kafkaService();
    await world.produce([
      created('u0'),
      status('u0', 'ACTIVE', minute(1)),
      rawRecord('no event'),
      status('nobody', 'ACTIVE', minute(1)),
      created('u1'),
    ]);
    await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: '5' }));
    const old = await positionOf(world);
    expect(old).toMatchObject({ leader_epoch: 0, tail_offset: '4' });

    await makeAnew(world);
    await world.produce([
      status('u0', 'SUSPENDED', minute(2)),
      rawRecord('again no event'),
      created('u2'),
      status('nobody', 'SUSPENDED', minute(2)),
    ]);
    await halted(service, topic, /^truncated: /);
    const [seen, reason] = [{ generation: 0, position: '5' }, 'made anew'];
    const loss = expectProblem(await post(service, topic, 'accept-loss', { ...seen, reason }), 'conflict', 409);
    expect(loss.detail).toMatch(/another log/);
    const done = await post(service, topic, 'set-position', { ...seen, reason, to: '0', newLog: true });
    expect(done).toMatchObject({ status: 200, json: { generation: 1, position: '0', lost: null } });

    await until(async () =>
      expect(await positionOf(world)).toMatchObject({
        generation: 1,
        next_offset: '4',
        first_offset: '0',
        state: 'running',
      }),
    );
    expect(await stateOf(world, 'u0')).toBe('suspended');
    expect(
      await world.sql`select generation, "offset", outcome from history where "offset" in (0, 2) order by 1, 2`,
    ).toEqual([
      { generation: 0, offset: '0', outcome: 'applied' },
      { generation: 1, offset: '0', outcome: 'applied' },
      { generation: 1, offset: '2', outcome: 'applied' },
    ]);
    expect(await world.sql`select generation, "offset" from dead_letters order by 1`).toEqual([
      { generation: 0, offset: '2' },
      { generation: 1, offset: '1' },
    ]);
    expect(await world.sql`select generation, "offset" from waiting order by 1`).toEqual([
      { generation: 0, offset: '3' },
      { generation: 1, offset: '3' },
    ]);
    expect(await lossesOf(world)).toEqual([]);
    expect(world.lines.filter(({ msg }) => /went back in time/.test(String(msg)))).toEqual([]);
    await until(async () =>
      expect(await rowOf(service, topic)).toMatchObject({
        ...{ generation: 1, position: '4', high: '4', lag: '0', lagSeconds: 0, state: 'running' },
      }),
    );
    await service.stop();
    const next = await world.kafkaService();
    await world.produce([status('u0', 'ACTIVE', minute(3))]);
    await until(async () => expect(await stateOf(world, 'u0')).toBe('active'));
    expect(await rowOf(next, topic)).toMatchObject({ state: 'running' });
  });
});

test('a log made anew while its partition was halted: how far it is behind is told of the new one', async ({
  world,
}) => {
  const { topic } = world;
  await world.createTopic(1);
  const service = await world.kafkaService();
  await world.produce(Array.from({ length: 5 }, (_, i) => created(`u${i}`)));
  await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: '5' }));
  await halt(world.db, { topic, partition: 0, generation: 0 }, 'gap: twice');
  await until(() => expect(service.facts().source.assigned).toMatchObject([{ paused: true }]));
  await admin(world, (admin) => admin.deleteTopics({ topics: [topic] }));
  await until(() => world.createTopic(1));
  await world.hangUp();
  await world.produce([created('u9')]);
  const set = { generation: 0, position: '5', reason: 'made anew', to: '1', newLog: true };
  await until(async () => expect(await post(service, topic, 'set-position', set)).toMatchObject({ status: 200 }));
  await until(async () => {
    expect(await rowOf(service, topic)).toMatchObject({
      generation: 1,
      position: '1',
      high: '1',
      lag: '0',
      lagSeconds: 0,
    });
    expect(service.facts().source.assigned).toMatchObject([{ highWatermark: 1n, paused: false }]);
  }, 30_000);
  await world.produce([created('u10')]);
  await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: '2' }));
});

// ---- without a broker -------------------------------------------------------------------------------------------------------

const TOPIC = 'user-events';

/** Five records were read, five more lie there, and the partition is halted. */
async function stopped(world: World & Lines, why: string): Promise<MemoryService> {
  const service = await world.service();
  world.log.append(...Array.from({ length: 5 }, (_, i) => created(`u${i}`)));
  await service.source.drain();
  await halt(world.db, { topic: TOPIC, partition: 0, generation: 0 }, why);
  world.log.append(...Array.from({ length: 5 }, (_, i) => created(`u${i + 5}`)));
  service.tick();
  await until(() => expect(service.source.halted.has(`${TOPIC}/0`)).toBe(true));
  await halted(service, TOPIC, /./);
  return service;
}
async function goesOn(world: World, service: MemoryService, to: bigint): Promise<void> {
  await until(() => {
    service.tick();
    expect(service.source.halted.has(`${TOPIC}/0`)).toBe(false);
  });
  expect(service.source.at(TOPIC)).toBe(to);
  await service.source.drain();
  expect(await positionOf(world)).toMatchObject({ next_offset: '10', state: 'running', halted_reason: null });
}
const SEEN = { generation: 0, position: '5', reason: 'why' };

test('a position is set forward in the same log: what was skipped is kept as lost', async ({ world }) => {
  const service = await stopped(world, 'defect X at offsets 5 to 6: no');
  const set = await post(service, TOPIC, 'set-position', { ...SEEN, to: '7' });
  expectFits(contract.Moved, set.json);
  expect(set.json).toMatchObject({ generation: 0, position: '7', lost: { first: '5', last: '6', offsets: '2' } });
  await goesOn(world, service, 7n);
  expect(await lossesOf(world)).toMatchObject([
    { generation: 0, first_offset: '5', last_offset: '6', by_whom: 'local' },
  ]);
  expect(await positionOf(world)).toMatchObject({ generation: 0, first_offset: '0', tail_offset: '9' });
});

test('another cluster’s log is read from where it is said, and its positions are of that cluster', async ({
  world,
}) => {
  const service = await stopped(world, 'cluster: elsewhere');
  await world.sql`update positions set cluster_id = 'elsewhere' where topic = ${TOPIC}`;
  const set = await post(service, TOPIC, 'set-position', { ...SEEN, to: '6' });
  expect(set.json).toMatchObject({ generation: 1, position: '6', lost: { first: '0', last: '5', offsets: '6' } });
  expect(await positionOf(world)).toMatchObject({
    ...{ generation: 1, next_offset: '6', first_offset: '6', cluster_id: 'memory' },
    ...{ leader_epoch: null, tail_offset: null },
  });
  await goesOn(world, service, 6n);
});

test('a position that a person moved is no speed', async ({ world }) => {
  const service = await stopped(world, 'gap: twice');
  const read = await positionOf(world);
  await world.sql`update positions set next_offset = 1000000 where topic = ${TOPIC}`;
  const moved = await until(async () => {
    const row = await rowOf(service, TOPIC);
    expect(row.position).toBe('1000000');
    return row;
  });
  expect(moved.rate).toBe(0); // in ten seconds it would be 0 again whatever is counted
  await world.sql`update positions set next_offset = ${read?.next_offset} where topic = ${TOPIC}`;
});

describe('nothing is moved, and nobody is told that it was', () => {
  type Said = [title: string, act: string, body: object, says: RegExp];
  const SAID: Said[] = [
    ['another position than the one that was seen', 'set-position', { position: '4', to: '7' }, /is 5 by now, not 4/],
    ['another generation', 'set-position', { generation: 1, to: '7' }, /is 5 by now, not 5 in generation 1/],
    ['a loss seen elsewhere', 'accept-loss', { position: '4' }, /is 5 by now, not 4/],
    ['back in the same log', 'set-position', { to: '4' }, /never goes back/],
    ['beyond the log', 'set-position', { to: '11' }, /ends at 10/],
    ['a loss that there is not', 'accept-loss', {}, /Nothing is lost/],
  ];
  test.for(SAID)('%s', async ([_, act, body, says], { world }) => {
    const service = await stopped(world, 'gap: twice');
    const before = await positionOf(world);
    const problem = expectProblem(await post(service, TOPIC, act, { ...SEEN, ...body }), 'conflict', 409);
    expect(problem.detail).toMatch(says);
    expect(await positionOf(world)).toEqual(before);
    expect(await lossesOf(world)).toEqual([]);
    expect(await auditOf(world)).toEqual([]);
  });

  test('a partition that runs, or was never read', async ({ world }) => {
    const service = await world.service();
    world.log.append(created('u0'), created('u1'));
    await service.source.drain();
    const body = { ...SEEN, position: '2' };
    for (const [act, more] of [
      ['accept-loss', {}],
      ['set-position', { to: '2', newLog: true }],
    ] as const) {
      const problem = expectProblem(await post(service, TOPIC, act, { ...body, ...more }), 'conflict', 409);
      expect(problem.detail).toMatch(/not halted/);
      expectProblem(await post(service, 'elsewhere', act, { ...body, ...more }), 'not-found', 404);
    }
    expect(await positionOf(world)).toMatchObject({ generation: 0, next_offset: '2', state: 'running' });
  });

  test('of two who accept the same loss at once, one does', async ({ world }) => {
    const service = await stopped(world, 'lost: offsets 5 to 6');
    world.log.cut(TOPIC, 0, 7);
    const both = await Promise.all([1, 2].map(() => post(service, TOPIC, 'accept-loss', SEEN)));
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect(await lossesOf(world)).toMatchObject([{ first_offset: '5', last_offset: '6' }]);
    await goesOn(world, service, 7n);
  });

  test('where nobody can say where the log begins', async ({ world }) => {
    const service = await stopped(world, 'lost: offsets 5 to 6');
    service.source.logOf = () => Promise.reject(new Error('away'));
    const answer = await post(service, TOPIC, 'accept-loss', SEEN);
    expectProblem(answer, 'unavailable', 503);
    expect(answer.headers.get('retry-after')).toBe('5');
    service.source.logOf = async () => undefined;
    expectProblem(await post(service, TOPIC, 'accept-loss', SEEN), 'conflict', 409);
    expect(await positionOf(world)).toMatchObject({ next_offset: '5', state: 'halted' });
  });
});

describe('a partition that halted for its log is resumed', () => {
  const users = async ({ sql }: World) =>
    (await sql<{ id: string }[]>`select user_id as id from users order by 1`).map(({ id }) => id);

  test('not in another cluster’s log: nothing of it is passed over', async ({ world }) => {
    const { topic } = world;
    await readAndStopped(world, 2);
    await world.produce([created('u2'), created('u3')]);
    await world.sql`update positions set cluster_id = 'elsewhere' where topic = ${topic}`;
    const service = await world.kafkaService();
    await halted(service, topic, /^cluster/);
    const asked = { reason: 'x', oldLogIsBack: true };
    const { detail } = expectProblem(await post(service, topic, 'resume', asked), 'conflict', 409);
    expect(detail).toMatch(/would halt again: cluster/);
    expect(await positionOf(world)).toMatchObject({ next_offset: '2', state: 'halted' });
    await world.sql`update positions set cluster_id = ${await clusterOf(world)} where topic = ${topic}`;
    expectProblem(await post(service, topic, 'resume', { reason: 'x' }), 'conflict', 409);
    expect((await post(service, topic, 'resume', asked)).status).toBe(200);
    await until(async () => expect(await users(world)).toEqual(['u0', 'u1', 'u2', 'u3']));
  });

  test('not in one that was made anew and grew: it can only be set to its beginning', async ({ world }) => {
    const { topic } = world;
    await readAndStopped(world, 3);
    await makeAnew(world);
    const service = await world.kafkaService();
    const { position, generation } = await halted(service, topic, /^truncated/);
    await world.produce(['n0', 'n1', 'n2', 'n3'].map(created));
    const { detail } = expectProblem(await post(service, topic, 'resume', { reason: 'x' }), 'conflict', 409);
    expect(detail).toMatch(/not clear which log this is/);
    const move = { generation, position, reason: 'made anew', to: '0', newLog: true };
    expect((await post(service, topic, 'set-position', move)).status).toBe(200);
    await until(async () => expect(await users(world)).toEqual(['n0', 'n1', 'n2', 'n3', 'u0', 'u1', 'u2']));
  });
});

test('a log made anew after a person had let its partition run again: it halts again before anything of it is read', async ({
  world,
}) => {
  const { topic } = world;
  await world.createTopic(1);
  const service = await world.kafkaService();
  await world.produce(['u0', 'u1', 'u2'].map(created));
  await until(async () => expect(await positionOf(world)).toMatchObject({ next_offset: '3' }));
  await halt(world.db, { topic, partition: 0, generation: 0 }, 'gap: twice');
  await until(() => expect(service.facts().source.assigned).toMatchObject([{ halted: true }]));
  await makeAnew(world);
  await world.produce([created('n0')]);
  await resume(world.db, { topic, partition: 0, byWhom: 'ann' }); // who looked at the log that is gone
  const { generation, position } = await halted(service, topic, /^truncated: the log ends at 1, the position is 3/);
  expect(service.facts().source.assigned).toMatchObject([{ halted: true }]);
  expect(await stateOf(world, 'n0')).toBeUndefined();
  const move = { generation, position, reason: 'made anew', to: '0', newLog: true };
  expect((await post(service, topic, 'set-position', move)).status).toBe(200);
  await until(async () => expect(await stateOf(world, 'n0')).toBe('pending'));
  await until(async () => expect(await rowOf(service, topic)).toMatchObject({ state: 'running', position: '1' }));
});

async function clusterOf(world: World): Promise<string> {
  return await admin(world, async (admin) => (await admin.describeCluster()).clusterId);
}
