// runs.ts — the folder of one run: its servers' data and logs. Removed by the keeper; by the next run if that was killed.

import { readlinkSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HOME = fileURLToPath(new URL('../.stack/run', import.meta.url));
const PREFIX = 'customer-service-';
const KEEPER = 'keeper'; // the file that says whose folder it is

/** Makes the folder of a new run, after removing what killed runs left. */
export async function makeRunFolder(): Promise<string> {
  const home = await runHome();
  await sweep(home);
  const folder = await mkdtemp(join(home, PREFIX));
  await chmod(folder, 0o711); // as root, Postgres runs as another user, who has to get at its data
  return folder;
}

/** Says who removes this folder. */
export function signRunFolder(folder: string, keeperPid: number): Promise<void> {
  return writeFile(join(folder, KEEPER), JSON.stringify({ pid: keeperPid, host: hostname() }));
}

/** Below the checkout; for root below the first folder that other users may enter. */
async function runHome(): Promise<string> {
  await mkdir(HOME, { recursive: true });
  if (process.getuid?.() !== 0) return realpath(HOME);
  for (const home of [HOME, tmpdir(), '/tmp']) {
    if (await isOpenToAll(home)) return realpath(home); // as /proc names it
  }
  throw new Error(`Postgres can not run as root, and another user can not enter ${HOME} nor ${tmpdir()}`);
}

/** May any user enter every folder on the way to `path`, and `path` itself (or run it)? */
export async function isOpenToAll(path: string): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

async function sweep(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    if (!name.startsWith(PREFIX)) continue;
    const folder = join(home, name);
    try {
      if (await isInUse(folder)) continue;
      await killProcessesIn(folder);
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    } catch {
      // of another user, or another run is sweeping too
    }
  }
}

async function isInUse(folder: string): Promise<boolean> {
  const { mtimeMs } = await stat(folder);
  const ageMs = Date.now() - mtimeMs;
  try {
    const { pid, host } = JSON.parse(await readFile(join(folder, KEEPER), 'utf8'));
    if (host !== hostname()) return true; // a container with this checkout mounted: its processes can not be seen
    return isAlive(pid) && (workingFolder(pid) ?? folder) === folder;
  } catch {
    return ageMs < 60_000; // not signed yet
  }
}

/** Ends the other processes that work in a folder or below it: on Linux only, elsewhere none is found. */
export async function killProcessesIn(folder: string): Promise<void> {
  if (process.platform !== 'linux') return;
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 1 && pid !== process.pid);
  for (const pid of pids) {
    if (`${workingFolder(pid)}/`.startsWith(`${folder}/`)) kill(pid);
  }
}

function workingFolder(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

/** Does a process with this id run? */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // already gone
  }
}
