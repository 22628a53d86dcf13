// throughput.ts — one run over a log that is full already: events per second, and what each costs in every process.
//
// Figures are taken between the first look at which something was saved and the one at which all was: the start of the
// process and of Kafka's group do not count, the warm-up of the service's code does.
import { copyFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type postgres from 'postgres';
import type { Servers } from '../dev/servers.ts';
import { cpuSeconds, memoryMb } from './proc.ts';
import { type Service, withService } from './service.ts';

export type Figures = {
  events: number;
  /** From the first save to the last. */
  seconds: number;
  eventsPerSecond: number;
  /** CPU microseconds per event. Null off Linux. */
  cpu: Record<'service' | 'postgres' | 'kafka' | 'redis' | 'all', number | null>;
  /** How many cores all of that used: on a machine of 2, a good deal less than 2 means that others were at work too. */
  cores: number | null;
  /** Of the machine, in the minute before. */
  loadBefore: number;
  walBytesPerEvent: number;
  saves: number;
  eventsPerSave: number;
  serviceMb: { peak: number; now: number } | null;
};

export type RunOptions = {
  name: string;
  /** What the log holds, and what must come out. */
  records: number;
  users: number;
  nodeOptions: readonly string[];
  keepLog: string | undefined;
  /** Settings of the service, beside those of the servers. */
  env?: Record<string, string>;
};

const LOOK_EVERY_MS = 100;
const GIVE_UP_AFTER_MS = 600_000;

/** Throws unless every record came out, of as many users as were sent. */
export async function measure(servers: Servers, options: RunOptions): Promise<Figures> {
  const loadBefore = loadavg()[0] as number;
  return await withService(servers, options, async (service) => {
    const [first, last] = await watch(servers, service, options.records);
    const serviceMb = memoryMb(service.pid);
    await service.stop();
    if (options.keepLog !== undefined) await copyFile(service.log, options.keepLog);

    const { saves, seconds } = await askHistory(service.sql, options);
    const events = last.records - first.records;
    const perEvent = (name: keyof Figures['cpu']) => {
      const [before, after] = [first.cpu[name], last.cpu[name]];
      return before === null || after === null ? null : ((after - before) * 1e6) / events;
    };
    const all = perEvent('all');
    return {
      ...{ events: options.records, seconds, eventsPerSecond: options.records / seconds },
      cpu: {
        ...{ service: perEvent('service'), postgres: perEvent('postgres') },
        ...{ kafka: perEvent('kafka'), redis: perEvent('redis'), all },
      },
      cores: all === null ? null : (all * events) / 1e3 / (last.ms - first.ms),
      ...{ loadBefore, walBytesPerEvent: (last.wal - first.wal) / events },
      ...{ saves, eventsPerSave: options.records / saves, serviceMb },
    };
  });
}

type Look = { ms: number; records: number; wal: number; cpu: Figures['cpu'] };

/** The first look at which something was saved, and the first at which all was. */
async function watch(servers: Servers, service: Service, records: number): Promise<[Look, Look]> {
  let first: Look | undefined;
  const startMs = performance.now();
  while (performance.now() - startMs < GIVE_UP_AFTER_MS) {
    service.assertAlive();
    // Until it has migrated there is no table to look at.
    const now = await look(servers, service).catch(() => undefined);
    if (now !== undefined && now.records > 0) first ??= now;
    if (first !== undefined && now?.records === records) return [first, now];
    await sleep(LOOK_EVERY_MS);
  }
  throw new Error(`not all of it was handled in ${GIVE_UP_AFTER_MS / 1_000} s`);
}

async function look(servers: Servers, { pid, sql }: Service): Promise<Look> {
  const [row] = await sql<{ records: string | null; wal: string }[]>`
    select (select sum((tallies->>'records')::bigint) from positions) as records,
           pg_current_wal_lsn() - '0/0'::pg_lsn as wal`;
  const cpu = {
    service: cpuSeconds(pid),
    postgres: cpuSeconds(servers.postgres.pid, true),
    kafka: cpuSeconds(servers.kafka?.pid),
    redis: cpuSeconds(servers.redis?.pid),
  };
  const parts = Object.values(cpu);
  const all = parts.includes(null) ? null : parts.reduce<number>((sum, part) => sum + (part as number), 0);
  return {
    ...{ ms: performance.now(), records: Number(row?.records ?? 0), wal: Number(row?.wal) },
    cpu: { ...cpu, all },
  };
}

async function askHistory(sql: postgres.Sql, { records, users }: RunOptions) {
  const [history] = await sql<{ saves: string; events: string; users: string; seconds: string }[]>`
    select count(distinct xmin::text) as saves, count(*) as events, count(distinct user_id) as users,
           extract(epoch from (select max(updated_at) from positions) - min(recorded_at)) as seconds from history`;
  if (history?.events !== String(records) || history.users !== String(users))
    throw new Error(`history holds ${history?.events} events of ${history?.users} users`);
  return { saves: Number(history.saves), seconds: Number(history.seconds) };
}
