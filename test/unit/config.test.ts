import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { describe, expect, test } from 'vitest';
import { configTable, envExample } from '../../dev/config-table.ts';
import { ConfigError, describeConfig, readConfig } from '../../src/config.ts';
import { type Need, OPTIONS } from '../../src/settings.ts';

const LOCAL = { KAFKA_BROKERS: '127.0.0.1:9092', DB_HOST: 'localhost' };
const REMOTE = { KAFKA_BROKERS: 'broker:9092', DB_HOST: 'db', HASH_SECRET: 'a-secret-of-enough-characters' };
const CANARY = 'c4n4ry-s3cret';

function read(env: NodeJS.ProcessEnv, need?: readonly Need[]) {
  return readConfig(env, { file: null, ...(need ? { need } : {}) });
}

function refusal(env: NodeJS.ProcessEnv, need?: readonly Need[]): ConfigError {
  try {
    read(env, need);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the settings were accepted');
}

const problem = (env: NodeJS.ProcessEnv, name: string) => refusal(env).problems.find((one) => one.name === name);

function folder(files: Record<string, string>): (name: string) => string {
  const path = mkdtempSync(join(tmpdir(), 'config-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return (name) => join(path, name);
}

describe('with the two required settings everything has a value', () => {
  test('brokers and database on this machine: the defaults of the design', () => {
    const config = read(LOCAL);
    expect(config.kafka).toMatchObject({
      brokers: ['127.0.0.1:9092'],
      groupId: 'customer-service-group',
      from: 'earliest',
      sessionTimeoutMs: 8000,
      maxBytesPerPartition: 512 * 1024,
      saslMechanism: undefined,
    });
    expect(config.kafka.topics).toEqual([
      'user-events',
      'USER_CREATED',
      'USER_STATUS_CHANGED',
      'USER_ROLE_CHANGED',
      'USER_DELETED',
      'CUSTOMER_CREATED',
    ]);
    expect(config.database).toMatchObject({
      host: 'localhost',
      port: 5432,
      password: undefined,
      ssl: 'off',
      migrate: true,
    });
    expect(config.redis.url).toBeUndefined();
    expect(config.log).toEqual({ level: 'info', events: 'sample', userIds: 'hashed' });
  });

  test('every option says what it is and what it costs', () => {
    for (const { name, what, cost, expected } of OPTIONS) {
      expect(what, name).toMatch(/\.$/);
      expect(cost, name).toMatch(/\.$/);
      expect(expected, name).toBeTruthy();
    }
  });

  test('nobody can change it afterwards', () => {
    const config = read(LOCAL) as unknown as { kafka: { brokers: string[]; groupId: string } };
    expect(() => config.kafka.brokers.push('other:9092')).toThrow(TypeError);
    expect(() => {
      config.kafka.groupId = 'other';
    }).toThrow(TypeError);
  });

  test('an empty value is no value', () => {
    expect(read({ ...LOCAL, REDIS_URL: '', DB_PORT: '' })).toMatchObject({ redis: {}, database: { port: 5432 } });
  });
});

describe('somebody starts it with nothing set', () => {
  test('both missing settings are named, and the commands that need none', () => {
    const error = refusal({});
    expect(error.exitCode).toBe(2);
    expect(error.problems.map(({ name }) => name)).toEqual(['KAFKA_BROKERS', 'DB_HOST']);
    expect(error.message).toContain('npm run demo');
    expect(error.message).toContain('npm run stack');
    expect(error.message).toContain('KAFKA_BROKERS=127.0.0.1:9092');
  });

  test('a command that only reads the database asks for that alone', () => {
    expect(refusal({}, ['database']).problems.map(({ name }) => name)).toEqual(['DB_HOST']);
    expect(read({ DB_HOST: 'localhost' }, ['database']).kafka.brokers).toEqual([]);
  });

  test('with files to read, no Kafka is missing', () => {
    const config = read({ DB_HOST: 'localhost', FILE_SOURCE: './backfill' });
    expect(config).toMatchObject({ kafka: { brokers: [] }, file: { folder: './backfill' } });
    expect(refusal({ FILE_SOURCE: './backfill' }).problems.map(({ name }) => name)).toEqual(['DB_HOST']);
  });

  test('a command that needs neither gets by without', () => {
    expect(read({}, []).database.host).toBe('');
  });
});

describe('a wrong setting is found at the start, together with all others', () => {
  test('six problems of six kinds are told at once, each with expected, got and example', () => {
    const error = refusal({
      KAFKA_BROKERS: 'broker',
      KAFKA_FROM: 'beginning',
      KAFKA_CREATE_TOPICS: 'maybe',
      DB_PORT: '99999',
      DB_LOCK_TIMEOUT_MS: '4000',
      DB_HOST: 'db',
    });
    expect(error.problems.map(({ name }) => name)).toEqual([
      'KAFKA_BROKERS',
      'KAFKA_FROM',
      'KAFKA_CREATE_TOPICS',
      'DB_PORT',
      'DB_LOCK_TIMEOUT_MS',
      'HASH_SECRET',
    ]);
    expect(error.problems[1]).toEqual({
      name: 'KAFKA_FROM',
      expected: 'one of earliest, latest, committed',
      got: '"beginning"',
      example: 'KAFKA_FROM=earliest',
    });
    expect(error.problems[3]).toMatchObject({ expected: 'a whole number from 1 to 65535', got: '"99999"' });
    for (const { name, expected, got, example } of error.problems) {
      for (const part of [name, expected, got, example]) expect(error.message).toContain(part);
    }
  });

  test.each([
    ['DB_PORT', '1e3'],
    ['DB_PORT', '12.5'],
    ['DB_PORT', ' '],
    ['HTTP_PORT', '0x50'],
    ['KAFKA_TOPICS', 'a,b c'],
    ['KAFKA_TOPICS', 'a,a'],
    ['KAFKA_TOPICS', ','],
    ['KAFKA_BROKERS', 'http://broker:9092'],
    ['DB_HOST', 'two words'],
    ['MAX_HEADERS', '0'],
    ['HASH_SECRET', 'short'],
    ['REDIS_URL', 'localhost:6379'],
    ['REDIS_URL', 'redis://:pa/ss@localhost'],
    ['DB_SSL', 'prefer'],
  ])('%s=%j is refused', (name, value) => {
    expect(problem({ ...LOCAL, [name]: value }, name)).toBeDefined();
  });

  test.each([
    ['yes', true],
    ['ON', true],
    ['1', true],
    ['false', false],
    ['off', false],
    ['0', false],
  ])('the word %s means %s', (text, value) => {
    expect(read({ ...LOCAL, KAFKA_ALLOW_COMPACTED: text }).kafka.allowCompacted).toBe(value);
  });

  test('words are read in any case, lists with spaces and a trailing comma', () => {
    const { kafka } = read({ ...LOCAL, KAFKA_KEYS: 'Strict', KAFKA_BROKERS: '127.0.0.1:9092, [::1]:9093,' });
    expect(kafka).toMatchObject({ keys: 'strict', brokers: ['127.0.0.1:9092', '[::1]:9093'] });
  });
});

describe('two settings that do not go together', () => {
  test.each([
    ['KAFKA_HEARTBEAT_MS', { KAFKA_HEARTBEAT_MS: '3000' }],
    ['KAFKA_HEARTBEAT_MS', { KAFKA_SESSION_TIMEOUT_MS: '6000', DB_IDLE_IN_TRANSACTION_MS: '4000' }],
    ['KAFKA_REBALANCE_TIMEOUT_MS', { KAFKA_REBALANCE_TIMEOUT_MS: '7000' }],
    ['DB_LOCK_TIMEOUT_MS', { DB_LOCK_TIMEOUT_MS: '4000' }],
    ['DB_STATEMENT_TIMEOUT_MS', { DB_STATEMENT_TIMEOUT_MS: '8000' }],
    ['DB_IDLE_IN_TRANSACTION_MS', { DB_IDLE_IN_TRANSACTION_MS: '9000' }],
    ['DB_CONNECTIONS', { DB_CONNECTIONS: '4' }],
    ['WAITING_PER_USER', { WAITING_IN_TOTAL: '9999' }],
    ['KAFKA_SASL_PASSWORD', { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u' }],
    ['KAFKA_SASL_MECHANISM', { KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' }],
    ['DB_OWNER_PASSWORD', { DB_OWNER_USER: 'owner' }],
    ['DB_OWNER_USER', { DB_OWNER_PASSWORD: 'p' }],
  ])('%s is named for %j, and nothing else', (name, settings) => {
    expect(refusal({ ...LOCAL, ...settings }).problems.map((one) => one.name)).toEqual([name]);
  });

  test('one that is wrong by itself is told once', () => {
    const env = { ...LOCAL, KAFKA_SESSION_TIMEOUT_MS: 'x', KAFKA_HEARTBEAT_MS: '9000' };
    expect(refusal(env).problems.map(({ name }) => name)).toEqual(['KAFKA_SESSION_TIMEOUT_MS']);
  });

  test('a command that only reads the database needs one connection', () => {
    expect(read({ DB_HOST: 'localhost', DB_CONNECTIONS: '1' }, ['database']).database.connections).toBe(1);
  });
});

describe('where a value comes from', () => {
  test('the environment wins over .env, which wins over the default', () => {
    const at = folder({
      '.env': 'KAFKA_BROKERS=file:9092\nDB_HOST=localhost\nHTTP_PORT=1\nHASH_SECRET=0123456789abcdef\n',
    });
    const config = readConfig({ HTTP_PORT: '2' }, { file: at('.env') });
    expect(config).toMatchObject({ http: { port: 2 }, kafka: { brokers: ['file:9092'] }, database: { port: 5432 } });
    expect(config.from).toMatchObject({ HTTP_PORT: 'environment', KAFKA_BROKERS: at('.env'), DB_PORT: 'default' });
  });

  test('no .env is no problem, one that can not be read is', () => {
    expect(readConfig(LOCAL, { file: folder({})('.env') }).database.host).toBe('localhost');
    expect(() => readConfig(LOCAL, { file: tmpdir() })).toThrow(/EISDIR/);
  });

  test('DATABASE_URL stands in for DB_*, PG* for both', () => {
    const { database, from } = read({
      KAFKA_BROKERS: LOCAL.KAFKA_BROKERS,
      DATABASE_URL: 'postgres://me:p%40ss@127.0.0.1:5433/mine?sslmode=require',
      DB_PORT: '5434',
      PGUSER: 'other',
      PGDATABASE: 'other',
    });
    expect(database).toMatchObject({
      host: '127.0.0.1',
      port: 5434,
      database: 'mine',
      user: 'me',
      password: 'p@ss',
      ssl: 'require',
    });
    expect(from).toMatchObject({ DB_HOST: 'environment (DATABASE_URL)', DB_PORT: 'environment' });
    const pg = read({ KAFKA_BROKERS: LOCAL.KAFKA_BROKERS, PGHOST: '/var/run/postgresql', PGSSLMODE: 'disable' });
    expect(pg.database).toMatchObject({ host: '/var/run/postgresql', ssl: 'off' });
  });

  test('a kind of TLS that we can not promise is refused, not ignored', () => {
    const env = { KAFKA_BROKERS: LOCAL.KAFKA_BROKERS, DATABASE_URL: 'postgres://localhost/x?sslmode=verify-ca' };
    expect(problem(env, 'DATABASE_URL')?.expected).toBe('one of off, require, verify-full');
  });

  test.each([
    'postgres://u:pa/ss@localhost/db',
    'postgres://u:12#ss@localhost/db',
    'mysql://localhost/db',
    'localhost',
  ])('DATABASE_URL=%s is refused, once', (url) => {
    const { problems } = refusal({ KAFKA_BROKERS: LOCAL.KAFKA_BROKERS, DATABASE_URL: url });
    expect(problems.map(({ name }) => name)).toEqual(['DATABASE_URL']);
  });

  test('a secret from a file, without its last line end', () => {
    const at = folder({ password: `${CANARY}\n` });
    const config = read({ ...LOCAL, DB_PASSWORD_FILE: at('password') });
    expect(config.database.password).toBe(CANARY);
    expect(config.from.DB_PASSWORD).toBe('environment (DB_PASSWORD_FILE)');
  });

  test('a secret given twice, in an empty file, or in a file that is not there, is refused', () => {
    const at = folder({ empty: '\n', full: 'x' });
    expect(problem({ ...LOCAL, DB_PASSWORD: 'x', DB_PASSWORD_FILE: at('full') }, 'DB_PASSWORD')?.got).toBe(
      'both DB_PASSWORD and DB_PASSWORD_FILE',
    );
    expect(problem({ ...LOCAL, DB_PASSWORD_FILE: at('empty') }, 'DB_PASSWORD_FILE')?.got).toBe('an empty file');
    expect(problem({ ...LOCAL, HASH_SECRET_FILE: at('none') }, 'HASH_SECRET_FILE')?.got).toContain('ENOENT');
  });

  test.each(['DB_PASSWORD', 'HASH_SECRET', 'KAFKA_SASL_PASSWORD', 'DB_OWNER_PASSWORD', 'REDIS_URL'])(
    '%s may come from a file',
    (name) => expect(OPTIONS.find((option) => option.name === name)?.secret).toBe(true),
  );
});

describe('the hash secret', () => {
  test('everything on loopback: a fixed value serves, with a warning', () => {
    const config = read({ ...LOCAL, REDIS_URL: 'redis://[::1]:6379' });
    expect(config.hashSecret).toBe(read(LOCAL).hashSecret);
    expect(config.warnings).toEqual([expect.stringContaining('HASH_SECRET')]);
  });

  test.each([
    { KAFKA_BROKERS: '127.0.0.1:9092,10.0.0.1:9092' },
    { DB_HOST: 'localhost.example.org' },
    { REDIS_URL: 'redis://cache:6379' },
    { HTTP_HOST: '0.0.0.0' },
  ])('required with %j', (remote) => {
    expect(refusal({ ...LOCAL, ...remote }).problems.map(({ name }) => name)).toEqual(['HASH_SECRET']);
  });

  test('a command that only reads a remote database gets a random one, never the fixed one', () => {
    const [one, two] = [read({ DB_HOST: 'db' }, ['database']), read({ DB_HOST: 'db' }, ['database'])];
    expect(one.hashSecret).toMatch(/^[0-9a-f]{64}$/);
    expect(one.hashSecret).not.toBe(two.hashSecret);
  });
});

describe('secrets stay secret', () => {
  const secrets = OPTIONS.filter(({ secret }) => secret).map(({ name }) => name);
  const everywhere = Object.fromEntries(secrets.map((name) => [name, `${CANARY}-${name}`]));
  const broken: Record<string, NodeJS.ProcessEnv> = {
    'beside other problems': { ...everywhere, DB_PORT: 'x' },
    'of the wrong form': { ...LOCAL, REDIS_URL: CANARY, HASH_SECRET: CANARY },
    'with the file as well': { ...everywhere, ...Object.fromEntries(secrets.map((name) => [`${name}_FILE`, CANARY])) },
    'where the path should be': { ...LOCAL, ...Object.fromEntries(secrets.map((name) => [`${name}_FILE`, CANARY])) },
    'in a broken DATABASE_URL': { ...LOCAL, DATABASE_URL: `postgres://u:${CANARY}/@db` },
    'in parts of DATABASE_URL': {
      ...LOCAL,
      DB_HOST: '',
      DATABASE_URL: `postgres://u:${CANARY}@a,${CANARY}/db?sslmode=${CANARY}`,
    },
    'in a broken REDIS_URL': { ...LOCAL, REDIS_URL: `redis://u:1/${CANARY}@cache:6379` },
    'in the wrong variable': { ...REMOTE, DB_PASSWORD: CANARY, DB_PORT: CANARY, KAFKA_FROM: `x${CANARY}` },
    'as user info of a broker': { ...REMOTE, KAFKA_BROKERS: `sasl://u:${CANARY}@broker:9092` },
    'without its partners': { ...LOCAL, KAFKA_SASL_PASSWORD: CANARY, DB_OWNER_PASSWORD: CANARY },
    'under a misspelt name': { ...LOCAL, DB_PASSWORT: CANARY, DB_PORT: 'x' },
  };

  test.each(Object.keys(broken))('%s: refused, and not printed', (name) => {
    const error = refusal(broken[name] as NodeJS.ProcessEnv);
    expect(error.message + JSON.stringify(error.problems) + error.stack).not.toContain(CANARY);
  });

  test('a description of good settings shows the value of everything else', () => {
    const config = read({
      ...REMOTE,
      ...everywhere,
      KAFKA_SASL_MECHANISM: 'scram-sha-512',
      KAFKA_SASL_USERNAME: 'u',
      DB_OWNER_USER: 'o',
      DB_PASSWORT: CANARY,
      REDIS_URL: `rediss://u:${CANARY}@cache:6380/1?x=${CANARY}`,
    });
    const lines = describeConfig(config);
    expect(JSON.stringify([lines, config.warnings, config.from])).not.toContain(CANARY);
    expect(lines).toContainEqual({ name: 'DB_PASSWORD', value: 'redacted', from: 'environment' });
    expect(lines).toContainEqual({ name: 'REDIS_URL', value: 'rediss://cache:6380/1', from: 'environment' });
    expect(lines).toContainEqual({ name: 'DB_PORT', value: '5432', from: 'default' });
    expect(lines.map(({ name }) => name)).toEqual(OPTIONS.map(({ name }) => name));
  });
});

describe('what deserves a look is a warning, not a refusal', () => {
  const warnings = (env: NodeJS.ProcessEnv) => read({ ...REMOTE, KAFKA_SSL: 'on', DB_SSL: 'require', ...env }).warnings;

  test.each([
    ['DB_USRE', 'DB_USER'],
    ['DB_USERNAME', 'DB_USER'],
    ['KAFKA_BROKER', 'KAFKA_BROKERS'],
    ['LOG_EVENT', 'LOG_EVENTS'],
    ['REDIS_URI', 'REDIS_URL'],
  ])('%s: did you mean %s', (name, meant) => {
    expect(warnings({ [name]: 'x' })).toEqual([`${name} is not a setting. Did you mean ${meant}?`]);
  });

  test('names of others are left alone', () => {
    expect(warnings({ HTTP_PROXY: 'x', DB_PORT_5432_TCP: 'x', KAFKA_HEAP_OPTS: 'x', PATH: 'x' })).toEqual([]);
  });

  test('a file for what is no secret', () => {
    expect(warnings({ DB_HOST_FILE: 'x' })).toEqual(['DB_HOST_FILE is not read: only secrets may come from a file.']);
  });

  test('open connections off loopback, ids of users in the log', () => {
    expect(warnings({ KAFKA_SSL: 'off', REDIS_URL: 'redis://cache:1', LOG_USER_IDS: 'plain' })).toEqual([
      'Not encrypted and not on loopback: Kafka (KAFKA_SSL), Redis (rediss:// in REDIS_URL).',
      'LOG_USER_IDS=plain: ids of users stand in the log.',
    ]);
  });
});

describe('what is printed from the schema', () => {
  const defaults = () => read(LOCAL);

  test('.env.example is what the schema makes of it', () => {
    expect(readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')).toBe(envExample());
  });

  test('a copy of it is a valid .env, equal to the defaults', () => {
    const { from: _, ...copy } = read(parseEnv(envExample()) as NodeJS.ProcessEnv);
    const { from: __, ...expected } = defaults();
    expect(copy).toEqual({ ...expected, database: { ...expected.database, host: '127.0.0.1' } });
  });

  test('every default in it is the real one', () => {
    const all = parseEnv(envExample().replaceAll(/^#(?=[A-Z_]+=)/gm, '')) as Record<string, string>;
    expect(Object.keys(all).sort()).toEqual(OPTIONS.map(({ name }) => name).sort());
    const withDefault = OPTIONS.filter((option) => option.default !== undefined).map(({ name }) => [name, all[name]]);
    const config = read({ ...LOCAL, ...Object.fromEntries(withDefault) });
    expect({ ...config, from: {} }).toEqual({ ...defaults(), from: {} });
  });

  test('the table has a row for each setting', () => {
    const rows = configTable().split('\n');
    for (const { name } of OPTIONS) expect(rows.filter((row) => row.startsWith(`| \`${name}\``))).toHaveLength(1);
  });
});
