// servers.ts — real Kafka, Redis, Postgres and Jaeger for the demo, `npm run stack` and the tests, on any machine.
//
// Owns:          which way they are started (containers, else native, else without Kafka) and the one line that says so.
// Does not own:  how each is set up (kafka.ts, redis.ts, postgres.ts, jaeger.ts, containers.ts), processes (child.ts,
//                keeper.ts).
//
// S1  Every server listens on loopback only, on a port of its own, with data of its own.
// S2  They end with the process that started them, whatever ends it, and leave nothing behind.
// S3  Postgres is always there; Kafka and Redis where they can be had, or an error where they are required. Jaeger is there
//     where it is asked for.

import { Absent, type Keeper, openKeeper, type Server, type Settings } from './child.ts';
import { type Name, type Started, startContainers } from './containers.ts';
import { fetchParts } from './fetch.ts';
import { lookAround, type Machine } from './found.ts';
import { buildJaeger, builtJaeger, HOW_TO_GET, startJaeger } from './jaeger.ts';
import { startKafka } from './kafka.ts';
import { startPostgres } from './postgres.ts';
import { startRedis } from './redis.ts';
import { makeRunFolder } from './runs.ts';

export type { How, Server, Settings } from './child.ts';
export type Servers = {
  /** Only of what was started: no KAFKA_BROKERS where Kafka could not be had. */
  settings: Settings;
  /** One line each: "kafka: native 4.3.1 on 127.0.0.1:24123 (no container engine: docker does not answer)". */
  chosen: string[];
  kafka?: Server;
  redis?: Server;
  postgres: Server;
  jaeger?: Server;
  /** Ends all of them and removes their data. Until then they keep this process alive. */
  stop(): Promise<void>;
};
export type Want = {
  /** Default true. */
  kafka?: boolean;
  /** Default true. */
  redis?: boolean;
  /** Default `no`. Native: `build` takes minutes where it was not built before; `if-there` starts one that was, and leaves
   *  it out otherwise. In a container it is there in both cases. */
  jaeger?: 'build' | 'if-there' | 'no';
  /** Default true. False: Postgres leaves out fsync, for tests. */
  durable?: boolean;
  /** A server that can not be had is an error, not left out (Jaeger: only with `build`). Default false. */
  require?: boolean;
  /** Leaves the other ways untried. */
  way?: 'containers' | 'native';
  /** Told what is going on, a line at a time. */
  say?: (line: string) => void;
};
type Result = { started: Started; chosen: string[] };

/** Starts what is wanted and resolves when every server answers; after a failure nothing is left running. */
export async function startServers(want: Want = {}): Promise<Servers> {
  const machine = await lookAround();
  const keeper = await openKeeper(await makeRunFolder());
  try {
    const { started, chosen } = await startSomehow(keeper, machine, want);
    const settings = Object.assign({}, ...Object.values(started).map((server) => server.settings));
    return { ...started, settings, chosen, stop: keeper.close };
  } catch (error) {
    await keeper.close();
    throw error;
  }
}

async function startSomehow(keeper: Keeper, machine: Machine, want: Want): Promise<Result> {
  if (want.way === 'native') return startNative(keeper, machine, want, 'as asked for');
  if (machine.engine !== 'answers') {
    if (want.way === 'containers') throw new Error(`no container engine: ${machine.engine}`);
    return startNative(keeper, machine, want, `no container engine: ${machine.engine}`);
  }
  try {
    return await startInContainers(keeper, want);
  } catch (error) {
    if (want.way === 'containers') throw error;
    want.say?.(`containers did not start, trying without: ${(error as Error).message}`);
    return startNative(keeper, machine, want, 'containers did not start');
  }
}

async function startInContainers(keeper: Keeper, want: Want): Promise<Result> {
  want.say?.('starting containers (docker compose; the first time it fetches their images)');
  const names = wanted(want);
  const { started, missing } = await startContainers(keeper, names);
  if (missing !== undefined && mustHave(want, 'jaeger')) throw missing;
  const why = missing?.message.split('\n').at(-1);
  const chosen = names.map((name) => {
    const server = started[name];
    return `${name}: ${server ? `container on ${address(server)}` : `none (its container did not start: ${why})`}`;
  });
  return { started, chosen };
}

async function startNative(keeper: Keeper, machine: Machine, want: Want, because: string): Promise<Result> {
  if (process.platform === 'win32') throw new Error(`${because}; on Windows that is needed, or run this in WSL`);
  const { durable = true, say = () => {} } = want;
  const parts = once(() => fetchParts(keeper, machine.maven, say));
  const jaeger = once(() => (want.jaeger === 'build' ? buildJaeger(keeper, machine.go, say) : builtJaeger()));
  const starts: Record<Name, () => Promise<Server>> = {
    postgres: () => startPostgres(keeper, durable),
    kafka: async () => startKafka(keeper, machine.java ?? absent('no Java 17 or newer'), await parts()),
    redis: async () => startRedis(keeper, machine.redis ?? (await parts()).redis ?? absent('no redis-server on PATH')),
    jaeger: async () => startJaeger(keeper, (await jaeger()) ?? absent(HOW_TO_GET)),
  };
  const chosen: string[] = [];
  const started: Partial<Record<Name, Server>> = {};

  async function startOrLeaveOut(name: Name): Promise<void> {
    try {
      const server = await starts[name]();
      started[name] = server;
      chosen.push(`${name}: native ${server.version} on ${address(server)} (${because})`);
    } catch (error) {
      if (!(error instanceof Absent)) throw error;
      if (mustHave(want, name))
        throw new Error(`${name} is required: ${because}; ${error.message}. ${ADVICE[name]}`, { cause: error });
      chosen.push(`${name}: none (${because}; ${error.message})`);
    }
  }
  const names = wanted(want);
  if (want.jaeger === 'build') await jaeger().catch(() => {}); // before the others: it keeps all cores busy for minutes
  say(`starting ${names.join(', ')} (${because})`);
  await Promise.all(names.map(startOrLeaveOut));
  return { started: started as Started, chosen: chosen.sort() };
}

const ENGINE = 'Start a container engine (docker), or install';
const JAVA = `${ENGINE} Java 17 and Maven (Debian: apt-get install maven).`;
const ADVICE: Record<Name, string> = {
  kafka: JAVA,
  postgres: JAVA,
  redis: JAVA,
  jaeger: `${ENGINE} Go 1.23 or newer (Debian 13: apt-get install golang).`,
};

function wanted({ kafka = true, redis = true, jaeger = 'no' }: Want): Name[] {
  const names: Name[] = ['kafka', 'postgres', 'redis', 'jaeger'];
  const isWanted = { kafka, postgres: true, redis, jaeger: jaeger !== 'no' };
  return names.filter((name) => isWanted[name]);
}

function mustHave({ require = false, jaeger }: Want, name: Name): boolean {
  return require && (name !== 'jaeger' || jaeger === 'build');
}

function address({ settings }: Server): string {
  const { KAFKA_BROKERS, REDIS_URL, JAEGER_URL, DB_HOST, DB_PORT } = settings;
  return KAFKA_BROKERS ?? (REDIS_URL ?? JAEGER_URL)?.replace(/^\w+:\/\//, '') ?? `${DB_HOST}:${DB_PORT}`;
}

function absent(why: string): never {
  throw new Absent(why);
}

function once<T>(act: () => T): () => T {
  let result: { value: T } | undefined;
  return () => {
    result ??= { value: act() };
    return result.value;
  };
}
