// operate.ts — what operators wait for: verify, replay, migrate, rebuild, redrive and the drain after a release, on one large database.
//
// The database is filled by the service itself from `user-events`, as in throughput.ts; then some customers are held and some records
// broken. Each act runs in this process through the function that the command calls, with nothing else at work.
import { setTimeout as sleep } from 'node:timers/promises';
import type postgres from 'postgres';
import { openDatabase } from '../db/client.ts';
import type { Servers } from '../dev/servers.ts';
import * as today from '../machines/index.ts';
import { readConfig } from '../src/config.ts';
import { decoder } from '../src/decode.ts';
import { runMigration, startMigration } from '../src/migrate.ts';
import { hold, release } from '../src/operate.ts';
import { rebuildAll } from '../src/rebuild-all.ts';
import { type Draining, drain } from '../src/redrive.ts';
import { replay } from '../src/replay.ts';
import { runSettling, startRedrive } from '../src/settle.ts';
import { connectProducer, type OutgoingRecord } from '../src/sources/kafka-client.ts';
import { verify } from '../src/verify.ts';
import { usersWaitingFor } from '../src/wake.ts';
import { cpuSeconds } from './proc.ts';
import { handledRecords, QUIET, type Service, withService } from './service.ts';

export type Rate = {
  act: string;
  /** Of what: events, users, dead letters. */
  unit: string;
  n: number;
  seconds: number;
  /** Of this process and of Postgres; null off Linux. */
  nodeSeconds: number;
  postgresSeconds: number | null;
  note?: string;
};
export type Operated = { users: number; steps: number; rates: Rate[] };

const HELD_CUSTOMERS = 16;
const EVENTS_OF_HELD = 5;
const BROKEN_USERS = 50_000;
const BROKEN_EACH = 2;
const NAME = 'bench_operate';
const GIVE_UP_AFTER_MS = 1_800_000;

/** A changed machine: every role change counts, and what was `roleChanged` is active. */
const NEXT = today.machineOf({
  ...today,
  VERSION: today.VERSION + 1,
  userMachine: today.userMachine.provide({ guards: { sameRole: () => false } }),
  MIGRATIONS: {
    [today.VERSION]: (user: today.Saved) => (user.state === 'roleChanged' ? { ...user, state: 'active' } : user),
  },
});

/** `records`: what the log holds. Throws unless each act did all that it should. */
export async function measureOperating(
  servers: Servers,
  records: number,
  say: (line: string) => void,
): Promise<Operated> {
  return await withService(servers, { name: NAME, env: { LOG_EVENTS: 'off' } }, async (service) => {
    await untilHandled(service, records);
    say(`${records} records handled`);
    const config = readConfig({ ...servers.settings, DB_DATABASE: NAME, KAFKA_GROUP_ID: NAME }, { file: null });
    const settings = { ...config.database, connections: 4, statementTimeoutMs: 0, applicationName: 'bench' };
    const database = openDatabase(settings);
    const { db, sql } = database;
    const rates: Rate[] = [];
    const run = async (act: string, unit: string, body: () => Promise<{ n: number; note?: string }>) => {
      const before = { at: performance.now(), cpu: process.cpuUsage(), pg: cpuSeconds(servers.postgres.pid, true) };
      const { n, note } = await body();
      const { user, system } = process.cpuUsage(before.cpu);
      const pg = cpuSeconds(servers.postgres.pid, true);
      rates.push({
        ...{ act, unit, n, seconds: (performance.now() - before.at) / 1_000, nodeSeconds: (user + system) / 1e6 },
        postgresSeconds: before.pg === null || pg === null ? null : pg - before.pg,
        ...(note === undefined ? {} : { note }),
      });
      say(inWords(rates.at(-1) as Rate));
    };

    const held = await holdSome(db, sql);
    const sent = await sendMore(servers, sql, held);
    await untilHandled(service, records + sent);
    await service.stop();
    await sql`vacuum analyze`; // as autovacuum would by and by; or the first act pays for it

    const saver = { instance: 'bench', clusterId: '', group: NAME, serviceVersion: 'bench', traceId: null };
    const decode = decoder({ keys: config.kafka.keys, ...config.limits });
    const draining: Draining & { db: typeof db } = { db, saver, decode, waitingPerUser: config.limits.waitingPerUser };

    await run('verify', 'events', async () => {
      const { steps, users, differing } = await verify(sql, {});
      if (differing !== 0) throw new Error(`${differing} users differ`);
      return { n: steps, note: `${users.toLocaleString('en-US')} users` };
    });
    await run('replay', 'events', async () => {
      const { steps } = await replay(sql, {}, { machine: NEXT });
      return { n: steps };
    });
    await run('drain after a release', 'events', async () => {
      let n = 0;
      for (const id of held) {
        await release(db, { kind: 'customer', id, byWhom: 'bench' });
        for await (const userIds of usersWaitingFor(db, id))
          await drain(draining, userIds, (_, results) => {
            n += results.length;
          });
      }
      return { n, note: `${held.length} customers` };
    });
    await repair(sql);
    await run('redrive', 'dead letters', async () => {
      const job = await startRedrive(db, { filter: {}, who: 'bench' });
      const { outcomes, job: ended } = await runSettling(draining, job);
      if (outcomes.dead !== undefined) throw new Error(`${outcomes.dead} died again`);
      return { n: ended.done, note: `of ${BROKEN_USERS.toLocaleString('en-US')} users` };
    });
    await run('rebuild', 'events', async () => {
      const rebuilt = await rebuildAll({ db, sql }, { who: 'bench' });
      if (rebuilt === undefined) throw new Error('the rebuild was interrupted');
      const [row] = await sql<{ n: number }[]>`select count(*)::int as n from history where user_id is not null`;
      return { n: row?.n as number, note: `the table was locked for ${Math.round(rebuilt.lockMs)} ms` };
    });
    await run('migrate, every row changes', 'users', () => migrate(NEXT));
    await run('migrate, no row changes', 'users', () => migrate(NEXT));
    const [counts] = await sql<{ users: number; steps: number }[]>`
      select (select count(*)::int from users) as users, (select count(*)::int from history where user_id is not null) as steps`;
    await database.close();
    return { ...(counts as { users: number; steps: number }), rates };

    async function migrate(machine: today.Machine): Promise<{ n: number }> {
      const job = await startMigration(db, 'bench', machine);
      const { job: ended, failed } = await runMigration(db, saver, job, {}, machine);
      if (failed.length > 0) throw new Error(`${failed.length} users failed`);
      return { n: ended.done };
    }
  });
}

async function untilHandled(service: Service, records: number): Promise<void> {
  const untilMs = performance.now() + GIVE_UP_AFTER_MS;
  for (;;) {
    service.assertAlive();
    const handled = await handledRecords(service).catch(() => 0);
    if (handled === records) return;
    if (performance.now() > untilMs) throw new Error(`${handled} of ${records} records were handled`);
    await sleep(200);
  }
}

async function holdSome(db: Parameters<typeof hold>[0], sql: postgres.Sql): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select customer_id as id from customers order by customer_id limit ${HELD_CUSTOMERS}`;
  for (const { id } of rows) await hold(db, { kind: 'customer', id, reason: 'bench', byWhom: 'bench' });
  return rows.map(({ id }) => id);
}

/** Events of users on hold, which wait; and events whose status nobody knows, which die. To the partitions of their users. */
async function sendMore({ settings }: Servers, sql: postgres.Sql, held: readonly string[]): Promise<number> {
  const placed = (where: postgres.PendingQuery<postgres.Row[]>) => sql<
    { userId: string; customerId: string; partition: number }[]
  >`
    select u.user_id as "userId", u.customer_id as "customerId", h.partition
      from users u join history h on h.user_id = u.user_id and h.version = 1 where ${where}`;
  const waiting = await placed(sql`u.customer_id = any(${[...held]}::text[])`);
  const broken = await placed(
    sql`u.state <> 'deleted' and not u.customer_id = any(${[...held]}::text[]) order by u.user_id limit ${BROKEN_USERS}`,
  );
  const producer = await connectProducer({ brokers: [settings.KAFKA_BROKERS as string], clientId: 'bench' }, QUIET);
  let sent = 0;
  let chunk: OutgoingRecord[] = [];
  const add = async (to: (typeof waiting)[number], n: number, newStatus: string) => {
    const { userId, customerId: key, partition } = to;
    const payload = { userId, previousStatus: 'ACTIVE', newStatus, userType: 'SME_USER', changedBy: 'bench' };
    const headers: [string, string][] = [
      ['ce_specversion', '1.0'],
      ['ce_id', `${userId} more ${n}`],
      ['ce_type', 'USER_STATUS_CHANGED'],
      ['ce_source', '/bench'],
      ['content-type', 'application/json'],
    ];
    const value = JSON.stringify({ ...payload, timestamp: new Date().toISOString() });
    chunk.push({ topic: 'user-events', key, partition, headers, value });
    if (chunk.length === 1_000) await flush();
  };
  const flush = async () => {
    await producer.send(chunk);
    sent += chunk.length;
    chunk = [];
  };
  for (let n = 0; n < EVENTS_OF_HELD; n++)
    for (const each of waiting) await add(each, n, n % 2 === 0 ? 'SUSPENDED' : 'ACTIVE');
  for (let n = 0; n < BROKEN_EACH; n++) for (const each of broken) await add(each, n, 'ENABLED');
  await flush();
  await producer.close();
  return sent;
}

/** As an operator's edits would, all at once. */
async function repair(sql: postgres.Sql): Promise<void> {
  await sql`update dead_letters
               set edited_value = convert_to(replace(convert_from(value, 'UTF8'), 'ENABLED', 'SUSPENDED'), 'UTF8')`;
}

export function inWords({ act, unit, n, seconds, nodeSeconds, postgresSeconds, note }: Rate): string {
  const count = (value: number) => Math.round(value).toLocaleString('en-US');
  const perNode = `${count(n / nodeSeconds)} per second of Node's CPU`;
  const pg = postgresSeconds === null ? '' : `, ${count(n / postgresSeconds)} per second of Postgres'`;
  return `${act}: ${count(n)} ${unit} in ${seconds.toFixed(1)} s, ${count(n / seconds)}/s (${perNode}${pg})${note ? ` · ${note}` : ''}`;
}
