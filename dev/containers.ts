// containers.ts — the servers of docker-compose.yml, as a project of this run only.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, type How, type Keeper, plainEnv, type Server, type Settings } from './child.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export type Name = 'kafka' | 'postgres' | 'redis' | 'jaeger';
export type Started = { kafka?: Server; redis?: Server; postgres: Server; jaeger?: Server };

/** Starts the named services, Postgres among them, and waits until compose calls them healthy. The ports and the password are ours to choose:
 *  the compose file takes them from KAFKA_PORT, DB_PORT, REDIS_PORT, JAEGER_PORT, OTLP_HTTP_PORT, OTLP_GRPC_PORT, DB_USER,
 *  DB_PASSWORD and DB_DATABASE. `missing`: why Jaeger did not start; it is not worth the others. */
export async function startContainers(
  keeper: Keeper,
  names: Name[],
): Promise<{ started: Started; missing: Error | undefined }> {
  const settings = await chooseSettings();
  const project = `customer-service-${randomBytes(4).toString('hex')}`;
  const compose = (...args: string[]) => ({
    path: 'docker',
    args: ['compose', '-p', project, '-f', 'docker-compose.yml', ...args],
    cwd: ROOT,
    env: { ...plainEnv(), ...settings.compose },
    log: join(keeper.folder, 'docker.log'),
  });
  keeper.lastly(compose('down', '-v', '--timeout', '5'));
  await keeper.run(compose('up', '-d', '--wait', ...names.filter((name) => name !== 'jaeger')));
  let missing: Error | undefined;
  if (names.includes('jaeger'))
    await keeper.run(compose('up', '-d', '--wait', 'jaeger')).catch((error: Error) => {
      missing = error;
    });
  const running = names.filter((name) => name !== 'jaeger' || missing === undefined);

  const server = (name: Name): Server => ({
    settings: settings[name],
    version: undefined,
    pid: undefined,
    dataDir: '',
    stop: (how = 'SIGTERM') => keeper.run(compose('kill', '-s', SIGNALS[name][how], name)),
    start: () => keeper.run(compose('up', '-d', '--wait', '--no-recreate', name)),
  });
  return { started: Object.fromEntries(running.map((name) => [name, server(name)])) as Started, missing };
}

const ANY: Record<How, string> = { SIGTERM: 'SIGTERM', SIGKILL: 'SIGKILL', immediate: 'SIGKILL' };
const SIGNALS: Record<Name, Record<How, string>> = {
  kafka: ANY,
  redis: ANY,
  jaeger: ANY,
  postgres: { SIGTERM: 'SIGINT', SIGKILL: 'SIGKILL', immediate: 'SIGQUIT' },
};

async function chooseSettings(): Promise<Record<Name | 'compose', Settings>> {
  const ports = new Set<number>();
  while (ports.size < 6) ports.add(await freePort());
  const [kafkaPort, dbPort, redisPort, jaegerPort, otlpHttpPort, otlpGrpcPort] = [...ports].map(String);
  const login = {
    DB_PORT: `${dbPort}`,
    DB_USER: 'postgres',
    DB_PASSWORD: randomBytes(18).toString('base64url'),
    DB_DATABASE: 'customer_service',
  };
  return {
    kafka: { KAFKA_BROKERS: `127.0.0.1:${kafkaPort}` },
    redis: { REDIS_URL: `redis://127.0.0.1:${redisPort}` },
    postgres: { DB_HOST: '127.0.0.1', ...login },
    jaeger: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${otlpHttpPort}`,
      JAEGER_URL: `http://127.0.0.1:${jaegerPort}`,
      JAEGER_UI_URL: `http://127.0.0.1:${jaegerPort}`, // the built one has no pages
    },
    compose: {
      ...{ KAFKA_PORT: `${kafkaPort}`, REDIS_PORT: `${redisPort}`, JAEGER_PORT: `${jaegerPort}` },
      ...{ OTLP_HTTP_PORT: `${otlpHttpPort}`, OTLP_GRPC_PORT: `${otlpGrpcPort}` },
      ...login,
    },
  };
}
