// Each server away while events arrive: nobody needs to do anything, nothing is lost, and no good record is refused for it.
import { afterAll, beforeAll, describe, expect, test as plainTest } from 'vitest';
import { type Server, type Servers, startServers } from '../../dev/servers.ts';
import { expectAllArrived, handled, tap } from '../support/flood.ts';
import { type Running, startProcess } from '../support/process.ts';
import { createWorld, until, type World } from '../support/world.ts';

const FLOOD = { users: 200, each: 60 };
let servers: Servers;
beforeAll(async () => {
  servers = await startServers({ durable: false, require: true });
}, 120_000);
afterAll(() => servers?.stop(), 60_000);

type Load = { service: Running; world: World; more(rounds: number): Promise<void> };

/** A service under load: `outage` begins when a part of it has arrived, and sends `more` while it lasts. */
async function underLoad(outage: (load: Load) => Promise<void>): Promise<void> {
  const world = await createWorld(
    {
      LOG_LEVEL: 'info',
      LOG_EVENTS: 'off',
      KAFKA_MAX_BYTES_PER_PARTITION: '32768',
      REDIS_URL: servers.settings.REDIS_URL as string,
    },
    { servers: servers.settings },
  );
  try {
    await world.createTopic(4);
    const service = startProcess(world.settings);
    const died = service.ended.then(({ code, signal }) => {
      throw new Error(`the service ended (${code ?? signal}): ${JSON.stringify(service.lines.slice(-3))}`);
    });
    await Promise.race([died, liveThrough(world, service, outage)]);
    // The same process lived through it, tells that it is well, and stops in order.
    const { url } = await service.says('started');
    await until(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200));
    died.catch(() => {});
    service.signal('SIGTERM');
    expect(await service.ended).toEqual({ code: 0, signal: null });
  } finally {
    await world.close();
  }
}

async function liveThrough(world: World, service: Running, outage: (load: Load) => Promise<void>): Promise<void> {
  await service.says('started');
  const more = tap(world, FLOOD);
  await more(10);
  await until(async () => expect(await handled(world)).toBeGreaterThan(500), 30_000);
  await outage({ service, world, more });
  await more(FLOOD.each);
  await expectAllArrived(world, FLOOD);
}

/** More events arrive than before. */
async function goesOn(world: World, before: number): Promise<void> {
  await until(async () => expect(await handled(world)).toBeGreaterThan(before), 30_000);
}

describe('Postgres', () => {
  plainTest(
    'crashes and comes back, three times',
    () =>
      underLoad(async ({ service, world, more }) => {
        for (let n = 0; n < 3; n++) {
          const before = await until(() => handled(world));
          const pouring = more(10);
          await servers.postgres.stop('immediate');
          await pouring; // with nobody there to take it
          await servers.postgres.start();
          await goesOn(world, before);
        }
        await service.says('database error');
      }),
    120_000,
  );

  plainTest(
    'is away for longer than many would wait',
    () =>
      underLoad(async ({ service, more }) => {
        await servers.postgres.stop('immediate');
        await more(20);
        // It says so at most every 10 s: a second time means that it goes on trying.
        await until(() => {
          const errors = service.lines.filter(({ msg }) => String(msg).includes('database error'));
          const times = errors.map(({ time }) => Date.parse(String(time)));
          expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(8_000);
        }, 40_000);
        await servers.postgres.start();
      }),
    120_000,
  );
});

describe('Redis', () => {
  plainTest(
    'is stopped and started again: the same result',
    () =>
      underLoad(async ({ service, world, more }) => {
        await (servers.redis as Server).stop('SIGKILL');
        const before = await handled(world);
        await more(25); // customers are created, and asked for, without it
        await goesOn(world, before + 4_000);
        await service.says('Redis is away');
        await (servers.redis as Server).start();
      }),
    120_000,
  );
});

describe('Kafka', () => {
  plainTest(
    'its broker is restarted',
    () =>
      underLoad(async ({ world, more }) => {
        await more(20);
        await world.hangUp();
        await (servers.kafka as Server).stop(); // what was not read of these comes afterwards
        await (servers.kafka as Server).start();
        await until(() => world.logLength()); // or the producer sends again what one partition took and another did not
        const before = await handled(world);
        await more(5);
        await goesOn(world, before);
      }),
    120_000,
  );
});
