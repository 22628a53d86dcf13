// service.ts — the service as a process of its own, on a database and a group of its own, for one measurement.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { freePort, openKeeper, plainEnv, type Settings } from '../dev/child.ts';
import { makeRunFolder } from '../dev/runs.ts';
import type { Servers } from '../dev/servers.ts';
import type { Log } from '../src/sources/kafka-client.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));

export type Service = {
  pid: number;
  url: string;
  sql: postgres.Sql;
  log: string;
  /** Throws, with its log, when it has ended by itself. */
  assertAlive(): void;
  untilReady(): Promise<void>;
  /** In order, as SIGTERM does it. */
  stop(): Promise<void>;
};

/** Runs `use` beside a service on the empty database `name`; `nodeOptions`: of its Node. */
export async function withService<T>(
  { settings: servers }: Servers,
  { name, env = {}, nodeOptions = [] }: { name: string; env?: Settings; nodeOptions?: readonly string[] },
  use: (service: Service) => Promise<T>,
): Promise<T> {
  const settings: Settings = { ...servers, DB_DATABASE: name, KAFKA_GROUP_ID: name };
  const admin = connect(servers);
  await admin.unsafe(`create database ${name}`);
  await admin.unsafe('checkpoint');
  await admin.end();

  const keeper = await openKeeper(await makeRunFolder());
  const sql = connect(settings);
  const log = join(keeper.folder, 'service.log');
  const port = String(await freePort());
  try {
    const child = await keeper.start({
      path: process.execPath,
      args: [...nodeOptions, '--import', new URL('../src/telemetry.ts', import.meta.url).href, MAIN],
      cwd: keeper.folder,
      env: { ...plainEnv(), ...settings, HTTP_PORT: port, ...env },
      log,
    });
    const assertAlive = () => {
      if (child.hasEnded())
        throw new Error(`the service has ended:\n${existsSync(log) ? readFileSync(log, 'utf8') : ''}`);
    };
    const untilReady = async () => {
      while (!(await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.ok) {
        assertAlive();
        await sleep(50);
      }
    };
    const stop = async () => {
      child.signal('SIGTERM');
      await child.ended;
    };
    return await use({ pid: child.pid, url: `http://127.0.0.1:${port}`, sql, log, assertAlive, untilReady, stop });
  } finally {
    await sql.end();
    await keeper.close();
  }
}

export function connect({ DB_HOST, DB_PORT, DB_DATABASE, DB_USER, DB_PASSWORD }: Settings): postgres.Sql {
  const to = { host: DB_HOST as string, port: Number(DB_PORT), database: DB_DATABASE as string };
  return postgres({ ...to, username: DB_USER as string, password: DB_PASSWORD as string, max: 1, onnotice: () => {} });
}

/** How many records were handled so far. Rejects before the service has made its tables. */
export async function handledRecords({ sql }: Pick<Service, 'sql'>): Promise<number> {
  const [row] = await sql<{ n: string | null }[]>`select sum((tallies->>'records')::bigint) as n from positions`;
  return Number(row?.n ?? 0);
}

/** Settings of the server that need a restart. */
export async function setAndRestart({ postgres: server, settings }: Servers, values: Settings): Promise<void> {
  const sql = connect(settings);
  for (const [name, value] of Object.entries(values)) await sql.unsafe(`alter system set ${name} = ${value}`);
  await sql.end();
  await server.stop();
  await server.start();
}

export const QUIET: Log = { debug() {}, info() {}, warn() {}, error() {} };
