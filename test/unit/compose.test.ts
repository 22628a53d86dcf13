// The container path as far as it can be proved without a container engine; deploy/README.md says what is left.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { checkCompose } from '../../dev/compose.ts';
import { readConfig } from '../../src/config.ts';

const url = (path: string) => new URL(`../../${path}`, import.meta.url);
const read = (path: string) => readFileSync(url(path), 'utf8');
const ours = read('docker-compose.yml');

test('our compose file keeps every promise', () => {
  expect(checkCompose()).toEqual([]);
});

describe('a compose file that breaks a promise is told which', () => {
  const not = (service: string, problem: string): RegExp => new RegExp(`^${service} .*${problem}`);
  const broken: [promise: string, after: string, from: string, to: string, problem: RegExp][] = [
    ['it is YAML', '', 'services:', 'services: [', /^not YAML/],
    ['no key twice', '  postgres:', 'shm_size: 128m', 'shm_size: 1m\n    shm_size: 2m', /^not YAML: .*unique/],
    ['keys of the specification', '', 'stop_grace_period', 'stop_grace', /^against the schema: .* stop_grace$/],
    ['types of the specification', '  service:', '- -e', '- -e: x', /^against the schema: .*healthcheck\/test/],
    ['works with nothing set', '', '$' + '{DB_USER:-postgres}', '$DB_USER', /^\$DB_USER has no default/],

    ['an image has a tag', '  redis:', 'redis:8', 'redis', not('redis', 'no pinned image')],
    ['the tag is a version', '  postgres:', 'postgres:18', 'postgres:latest', not('postgres', 'no pinned image')],
    ['our image has a name', 'x-ours:', 'image: customer-service:0.1.0', '', not('service', 'no image name')],

    ['Postgres is checked', '  postgres:', 'healthcheck:', 'x-health:', not('postgres', 'without a health check')],
    ['Kafka is checked', '  kafka:', 'healthcheck:', 'x-health:', not('kafka', 'without a health check')],
    ['Redis is checked', '  redis:', 'test: [CMD-SHELL', 'test: [NONE', not('redis', 'without a health check')],
    ['Jaeger is checked', '  jaeger:', 'test:', 'disable: true\n      test:', not('jaeger', 'without a health check')],
    ['the service is checked', '  service:', 'healthcheck:', 'x-health:', not('service', 'without a health check')],

    ['Kafka after Postgres', '  kafka:', 'postgres: {', 'redis: {', not('kafka', 'until postgres')],
    ['the service after Postgres', '  service:', 'postgres: {', 'producers: {', not('service', 'until postgres')],
    [
      'the service after Kafka',
      '  service:',
      'kafka: { condition: service_healthy',
      'kafka: { condition: service_started',
      not('service', 'until kafka'),
    ],
    [
      'producers after the service',
      '  producers:',
      'service: { condition: service_healthy',
      'service: { condition: service_started',
      not('producers', 'until service'),
    ],

    ['a port on loopback', '  kafka:', '"127.0.0.1:', '"', not('kafka', 'beyond 127.0.0.1')],
    ['not on another address', '  redis:', '"127.0.0.1:', '"0.0.0.0:', not('redis', 'beyond 127.0.0.1')],
    ['the long form too', '  service:', 'ports: [', 'ports: [{ target: 8081 }, ', not('service', 'beyond 127.0.0.1')],
    ['a network of its own', '  redis:', 'image:', 'network_mode: host\n    image:', not('redis', 'own network')],

    ...['KAFKA_BROKERS', 'DB_HOST', 'DB_PORT', 'DB_DATABASE', 'DB_USER', 'DB_PASSWORD', 'REDIS_URL', 'HASH_SECRET'].map(
      (name): [string, string, string, string, RegExp] => [
        `the service gets ${name}`,
        'x-settings:',
        `${name}:`,
        `X_${name}:`,
        not('service', name),
      ],
    ),
    [
      'the service can be reached',
      '  service:',
      'HTTP_HOST: 0.0.0.0',
      'HTTP_HOST: 127.0.0.1',
      not('service', 'HTTP_HOST'),
    ],

    ['no new privileges', 'x-safe:', 'no-new-privileges:true', 'no-new-privileges:false', not('kafka', 'privileges')],
    ['no privileges', '  redis:', 'image:', 'privileged: true\n    image:', not('redis', 'privileged')],
    ['no capabilities', 'x-ours:', '[ALL]', '[NET_RAW]', not('service', 'capabilities')],
    ['nothing to write to', 'x-ours:', 'read_only: true', 'read_only: false', not('service', 'write')],
    ['limited memory', '  jaeger:', 'mem_limit: 512m', '', not('jaeger', 'memory limit')],
    [
      'room beside the heap',
      '  service:',
      'max-old-space-size=640',
      'max-old-space-size=1000',
      not('service', 'heap of 1000 MB'),
    ],
    ['a limited heap', '  producers:', 'max-old-space-size', 'x', not('producers', 'limit of its heap')],
  ];
  test.each(broken)('%s', (_promise, after, from, to, problem) => {
    expect(checkCompose(replaced(after, from, to))).toContainEqual(expect.stringMatching(problem));
  });
});

test('the service accepts the settings the compose file gives it', () => {
  const given = parse(ours.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1'), { merge: true }).services.service.environment;
  const set = Object.entries(given).filter(([, value]) => value !== null);
  expect(() => readConfig(Object.fromEntries(set) as NodeJS.ProcessEnv, { file: null })).not.toThrow();
});

/** Our file with the first `from` below the line `after` replaced. */
function replaced(after: string, from: string, to: string): string {
  const at = ours.indexOf(from, after === '' ? 0 : ours.indexOf(`\n${after}`));
  if (at < 0 || !ours.includes(after)) throw new Error(`nothing to break: ${after} ${from}`);
  return ours.slice(0, at) + to + ours.slice(at + from.length);
}

describe('the image', () => {
  const dockerfile = read('deploy/Dockerfile');
  const entrypoint: string[] = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)?.[1] ?? '[]');

  test('runs the Node that was tested', () => {
    const tested = JSON.parse(read('package.json')).dependencies.node;
    expect(dockerfile).toContain(`ARG NODE_VERSION=${tested}\n`);
  });

  test('starts the service as somebody who is not root', () => {
    expect(entrypoint).toEqual(['/nodejs/bin/node', '--disable-proto=delete', 'src/cli/main.ts']);
    expect(dockerfile).toMatch(/^CMD \["start"\]$/m);
    expect(dockerfile).toMatch(/^USER [1-9]\d*:[1-9]\d*$/m);
  });

  test('applies our patches and runs no other install script', () => {
    expect(dockerfile).toMatch(/npm ci .*--ignore-scripts/);
    expect(dockerfile.indexOf('COPY patches')).toBeLessThan(dockerfile.indexOf('npm ci'));
    expect(dockerfile).toMatch(/&& npm run postinstall/);
    expect(JSON.parse(read('package.json')).scripts.postinstall).toBe('patch-package');
    expect(existsSync(url('patches'))).toBe(true);
  });

  test('is given named folders only: no .env, no node_modules', () => {
    const [first, ...rest] = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(first).toBe('*');
    expect(rest.every((line) => line.startsWith('!'))).toBe(true);
    expect(rest).toEqual(
      expect.arrayContaining(['!package.json', '!package-lock.json', '!patches', '!src', '!machines', '!db']),
    );
    expect(rest).not.toContain('!node_modules');
  });

  test('builds the console itself, from all that it is made of', () => {
    const letThrough = read('.dockerignore').split('\n');
    for (const part of readdirSync(url('console')).filter((name) => name !== 'dist'))
      expect(letThrough).toContain(`!console/${part}`);
    expect(letThrough).not.toContain('!console');
    expect(dockerfile).toMatch(/^RUN node dev\/build-console\.ts$/m);
    expect(dockerfile).toMatch(/^COPY --from=console \/app\/console\/dist \/app\/console\/dist$/m);
  });

  test('has libraries that load without __proto__', async () => {
    const libraries = ['kafkajs', 'postgres', 'drizzle-orm/postgres-js', 'ioredis', 'fastify', 'pino', 'xstate'];
    const program = `
      if ('__proto__' in {}) throw new Error('__proto__ is still there');
      for (const name of ${JSON.stringify(libraries)}) await import(name);
      console.log('loaded');`;
    const flags = entrypoint.filter((part) => part.startsWith('--'));
    const run = promisify(execFile)(process.execPath, [...flags, '--input-type=module', '-e', program], {
      cwd: url('.'),
    });
    expect((await run).stdout).toBe('loaded\n');
  });
});
