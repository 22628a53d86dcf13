// jaeger.ts — a real Jaeger that keeps its traces in memory, built from source where there is no container engine.
//
// Owns:          how it is built (once, kept in .stack/cache), and how it is started with every port on loopback.
// Does not own:  the container of docker-compose.yml, which is of a newer Jaeger: 2.x can not be built this way.
//
// It has no pages, only a placeholder: they are no part of the Go module. Its query API answers as that of 2.x does.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CACHE, makeWhole, withLock } from './cache.ts';
import { Absent, freePort, type Keeper, onFreePorts, plainEnv, type Server, serve } from './child.ts';
import { output } from './found.ts';

const VERSION = '1.62.0';
const SOURCE = 'github.com/jaegertracing/jaeger/cmd/all-in-one';
const BINARY = 'jaeger-all-in-one';

/** In an empty folder. `go install` would refuse: Jaeger's go.mod replaces a module, which only a main module may. */
const RECIPE: readonly (readonly string[])[] = [
  ['mod', 'init', 'jaeger-build'],
  ['mod', 'edit', '-go=1.23.0', '-replace=github.com/Shopify/sarama=github.com/Shopify/sarama@v1.33.0'],
  ['get', `${SOURCE}@v${VERSION}`],
  ['build', '-o', BINARY, SOURCE],
];
const PLACE = join(CACHE, `jaeger-${process.platform}-${process.arch}-${hashOf(RECIPE)}`);

/** How to get one, for those who have none. */
export const HOW_TO_GET = 'npm run stack -- --jaeger builds one, once';

/** The program that was built before, if it runs. */
export async function builtJaeger(): Promise<string | undefined> {
  const binary = join(PLACE, BINARY);
  if (!existsSync(binary)) return undefined;
  return (await output(binary, ['version'])) === undefined ? undefined : binary;
}

/** The program, built where it is missing. `go`: 1.23 or newer; undefined where there is none. */
export async function buildJaeger(
  keeper: Keeper,
  go: string | undefined,
  say: (line: string) => void,
): Promise<string> {
  const before = await builtJaeger();
  if (before !== undefined) return before;
  if (go === undefined) throw new Absent('not built yet, and there is no Go 1.23 or newer');
  return withLock('jaeger', 'builds Jaeger', say, async () => {
    const meanwhile = await builtJaeger();
    if (meanwhile !== undefined) return meanwhile;
    say(`building Jaeger ${VERSION} into .stack/cache: once, about 3 minutes on 2 cores, longer where these are busy`);
    try {
      await makeWhole('jaeger', PLACE, (made) => buildInto(made, keeper, go));
    } catch (error) {
      const [reason] = /^go: .*|.*error.*/im.exec(String(error)) ?? [String(error)];
      say(reason);
      throw new Absent('Go could not build it', { cause: error });
    }
    return (await builtJaeger()) ?? absent('what Go built does not run here');
  });
}

async function buildInto(made: string, keeper: Keeper, go: string): Promise<void> {
  const temporary = join(keeper.folder, 'go'); // goes with the run, also when the build is ended in the middle
  await mkdir(temporary, { recursive: true });
  const env = { ...plainEnv(), GOWORK: 'off', GOTMPDIR: temporary };
  const log = join(keeper.folder, 'jaeger-build.log');
  // SIGINT: go then ends the compilers that it started; they would live on otherwise.
  for (const args of RECIPE) await keeper.run({ path: go, args: [...args], cwd: made, env, log, end: 'SIGINT' });
}

/** Starts `binary` on free ports. */
export function startJaeger(keeper: Keeper, binary: string): Promise<Server> {
  return onFreePorts(async () => {
    const ports = await choosePorts();
    const dataDir = join(keeper.folder, 'jaeger');
    await mkdir(dataDir, { recursive: true });
    const health = `http://127.0.0.1:${ports['admin.http.host-port']}/`;
    return serve(keeper, {
      name: 'Jaeger',
      version: VERSION,
      settings: {
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${ports['collector.otlp.http.host-port']}`,
        JAEGER_URL: `http://127.0.0.1:${ports['query.http-server.host-port']}`,
      },
      dataDir,
      command: {
        path: binary,
        args: [
          ...Object.entries(ports).map(([flag, port]) => `--${flag}=127.0.0.1:${port}`),
          '--collector.otlp.enabled=true',
          '--memory.max-traces=10000',
          '--query.enable-tracing=false',
        ],
        cwd: dataDir,
        env: { ...withoutOtel(plainEnv()), OTEL_TRACES_SAMPLER: 'always_off', SPAN_STORAGE_TYPE: 'memory' },
        log: join(keeper.folder, 'jaeger.log'),
      },
      signals: { SIGTERM: 'SIGTERM', SIGKILL: 'SIGKILL', immediate: 'SIGKILL' },
      // 200 when all its parts have started: the receiver of spans and the query API.
      answers: async () => (await fetch(health, { signal: AbortSignal.timeout(1_000) })).ok,
    });
  });
}

/** All that it would otherwise listen on, on every address. The last three are UDP. */
const PORT_FLAGS = [
  'collector.otlp.http.host-port',
  'collector.otlp.grpc.host-port',
  'query.http-server.host-port',
  'query.grpc-server.host-port',
  'admin.http.host-port',
  'collector.grpc-server.host-port',
  'collector.http-server.host-port',
  'http-server.host-port',
  'processor.jaeger-compact.server-host-port',
  'processor.jaeger-binary.server-host-port',
  'processor.zipkin-compact.server-host-port',
] as const;

async function choosePorts(): Promise<Record<(typeof PORT_FLAGS)[number], number>> {
  const ports = new Set<number>();
  while (ports.size < PORT_FLAGS.length) ports.add(await freePort());
  return Object.fromEntries([...ports].map((port, i) => [PORT_FLAGS[i], port])) as Record<
    (typeof PORT_FLAGS)[number],
    number
  >;
}

/** Jaeger traces itself as these say: into somebody else's collector. */
function withoutOtel(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('OTEL_')));
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 12);
}

function absent(why: string): never {
  throw new Absent(why);
}
