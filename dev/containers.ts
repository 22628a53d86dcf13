// containers.ts — the servers of docker-compose.yml, as a project of this run only.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, type How, type Keeper, plainEnv, type Server, type Settings } from './child.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export type Name = 'kafka' | 'postgres' | 'redis';
export type Started = { kafka?: Server; redis?: Server; postgres: Server };

/** Starts the named services, Postgres among them, and waits until compose calls them healthy. The ports and the password are ours to choose:
 *  the compose file takes them from KAFKA_PORT, DB_PORT, REDIS_PORT, DB_USER, DB_PASSWORD and DB_DATABASE. */
export async function startContainers(keeper: Keeper, names: Name[]): Promise<Started> {
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
  await keeper.run(compose('up', '-d', '--wait', ...names));

  const server = (name: Name): Server => ({
    settings: settings[name],
    version: undefined,
    pid: undefined,
    dataDir: '',
    stop: (how = 'SIGTERM') => keeper.run(compose('kill', '-s', SIGNALS[name][how], name)),
    start: () => keeper.run(compose('up', '-d', '--wait', '--no-recreate', name)),
  });
  return Object.fromEntries(names.map((name) => [name, server(name)])) as Started;
}

const ANY: Record<How, string> = { SIGTERM: 'SIGTERM', SIGKILL: 'SIGKILL', immediate: 'SIGKILL' };
const SIGNALS: Record<Name, Record<How, string>> = {
  kafka: ANY,
  redis: ANY,
  postgres: { SIGTERM: 'SIGINT', SIGKILL: 'SIGKILL', immediate: 'SIGQUIT' },
};

async function chooseSettings(): Promise<Record<Name | 'compose', Settings>> {
  const [kafkaPort, dbPort, redisPort] = [await freePort(), await freePort(), await freePort()].map(String);
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
    compose: { KAFKA_PORT: `${kafkaPort}`, REDIS_PORT: `${redisPort}`, ...login },
  };
}
