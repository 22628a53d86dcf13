// cache.ts — .stack/cache: what is fetched or built once and then kept.
//
// M1  What is kept appears whole or not at all: it is made beside its place and renamed.
// M2  Two processes may want to make the same thing at once; the second waits for the first, or goes on alone when that
//     one has died.

import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isAlive } from './runs.ts';

export const CACHE = fileURLToPath(new URL('../.stack/cache', import.meta.url));

/** Two kinds do not wait for each other: a build takes minutes, a fetch seconds. */
export type Kind = 'parts' | 'jaeger';

/** Runs `act` while no other process is in an act of this kind. `doing`: what somebody who waits is told of the other. */
export async function withLock<T>(
  kind: Kind,
  doing: string,
  say: (line: string) => void,
  act: () => Promise<T>,
): Promise<T> {
  await mkdir(CACHE, { recursive: true });
  const lock = join(CACHE, `${kind}.lock`);
  for (let tries = 0; !(await takeLock(lock)); tries++) {
    if (tries === 0) say(`waiting for another process that ${doing}`);
    if (await isAbandoned(lock)) await rm(lock, { force: true });
    else await sleep(200);
  }
  try {
    return await act();
  } finally {
    await rm(lock, { force: true });
  }
}

/** Makes the folder `place` by `make`, which is given an empty folder to fill (M1). Call it with the lock. */
export async function makeWhole(kind: Kind, place: string, make: (folder: string) => Promise<void>): Promise<void> {
  const half = `tmp-${kind}-`;
  for (const name of await readdir(CACHE)) {
    if (name.startsWith(half)) await removeFolder(join(CACHE, name)); // of one that was killed
  }
  const made = join(CACHE, half + randomBytes(6).toString('hex'));
  await mkdir(made);
  try {
    await make(made);
    await removeFolder(place);
    await rename(made, place);
  } finally {
    await removeFolder(made);
  }
}

/** Also while a process that was told to end still writes there. */
function removeFolder(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true, maxRetries: 5 });
}

async function takeLock(lock: string): Promise<boolean> {
  try {
    const file = await open(lock, 'wx');
    await file.writeFile(String(process.pid));
    await file.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Its owner is dead; or it is so old that another process has got the owner's number meanwhile. */
const TOO_OLD_MS = 30 * 60_000; // Jaeger is built in 3 minutes on 2 cores, in 8 on busy ones

async function isAbandoned(lock: string): Promise<boolean> {
  try {
    const ageMs = Date.now() - (await stat(lock)).mtimeMs;
    const owner = Number(await readFile(lock, 'utf8'));
    if (ageMs > TOO_OLD_MS) return true;
    return owner > 0 && !isAlive(owner);
  } catch {
    return false; // it has just been given back
  }
}
