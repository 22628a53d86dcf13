// config.ts — the settings of this process: read, checked as a whole, frozen.
//
// Owns:          what must hold between values, and that all problems are named at once.
// Does not own:  each setting (settings.ts), where a value is found (env.ts), OTEL_* (OpenTelemetry reads its own).
//
// C1  A value comes from: environment > `.env` in the working directory > default. In each of the two, NAME or
//     NAME_FILE (secrets; both is an error) > DATABASE_URL > PG*. An empty value is no value.
// C2  All problems are told at once, and no secret is ever part of a text: not in a problem, a warning, a description.
// C3  What is returned is frozen.
import { randomBytes } from 'node:crypto';
import type { Static } from 'typebox';
import { Value } from 'typebox/value';
import { type Found, firstOf, type Layer, type Problem, problem, readEnvFile, readLayer } from './env.ts';
import { asText, empty, type Need, OPTIONS, type Option, parse, readUrl, type SCHEMA } from './settings.ts';

export type Config = Frozen<
  Static<typeof SCHEMA> & {
    database: { applicationName: string };
    /** One line each, for the log: what was read but deserves a look. */
    warnings: string[];
    /** Where each value came from, by name. */
    from: Record<string, string>;
  }
>;

/** Every setting, checked. Throws one ConfigError that names all problems.
 *  `file`: more settings, `.env` by default, null for none; it may be missing. */
export function readConfig(
  env: NodeJS.ProcessEnv,
  { need = ['kafka', 'database'], file = '.env' }: { need?: readonly Need[]; file?: string | null } = {},
): Config {
  const problems: Problem[] = [];
  const warnings: string[] = [];
  const layers = [readLayer('environment', env, problems, warnings)];
  if (file !== null) layers.push(readLayer(file, readEnvFile(file, problems), problems, warnings));

  const from: Record<string, string> = {};
  const groups: Record<string, Record<string, unknown>> = {};
  const single: Record<string, unknown> = {};
  const bad = new Set<string>();
  const secrets = secretsOf(layers);
  // With files to read, no Kafka is missing.
  const required = layers.some(({ values }) => values.FILE_SOURCE) ? need.filter((one) => one !== 'kafka') : need;
  for (const option of OPTIONS) {
    const found = firstOf(layers, option, problems);
    const text = typeof found === 'object' ? found.text : undefined;
    const value = text === undefined ? undefined : parse(option, text);
    const fits = value !== undefined && Value.Check(option.schema, value);
    const missing = found === undefined && option.required !== undefined && required.includes(option.required);
    if (missing) problems.push(problem(option, 'nothing'));
    if (typeof found === 'object' && !fits) problems.push(problem(option, given(option, found, secrets), found.name));
    if (missing || (found !== undefined && !fits)) bad.add(option.name);

    const group = option.group === undefined ? single : (groups[option.group] ?? {});
    if (option.group !== undefined) groups[option.group] = group;
    group[option.key] = fits ? value : (option.default ?? (option.required && empty(option)));
    from[option.name] = typeof found === 'object' ? found.from : option.default === undefined ? 'not set' : 'default';
  }

  const config = { ...groups, ...single } as Static<typeof SCHEMA>;
  // A relation with a value that is wrong by itself says nothing.
  problems.push(...relations(config, need, bad));
  settleHashSecret(config, from, need, bad, problems, warnings);
  if (problems.length > 0) throw new ConfigError(problems);
  warnings.push(...doubts(config, need));
  return freeze({
    ...config,
    database: { ...config.database, applicationName: 'customer-service' },
    warnings,
    from,
  }) as Config;
}

/** The settings can not be used. The text is meant for people as it stands, and holds no secret. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  /** Usage or settings (interfaces.md C3). */
  readonly exitCode = 2;
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    const many = problems.length === 1 ? 'One setting needs' : `${problems.length} settings need`;
    const parts = problems.map(
      ({ name, expected, got, example }) =>
        `  ${name}\n    expected  ${expected}\n    got       ${got}\n    example   ${example}`,
    );
    const lost = problems.some(
      ({ name, got }) => got === 'nothing' && (name === 'KAFKA_BROKERS' || name === 'DB_HOST'),
    );
    if (lost) {
      parts.push(
        '',
        '  npm run demo   shows the service at work without any setting',
        '  npm run stack  starts Kafka, Postgres and Redis on this machine and prints their settings',
      );
    }
    super(`${many} attention:\n\n${parts.join('\n')}\n`);
    this.problems = problems;
  }
}

export type Described = { name: string; value: string; from: string };

/** Each setting, its value (secrets redacted) and where it came from, in the order of the schema. */
export function describeConfig(config: Config): Described[] {
  return OPTIONS.map((option) => {
    const group = option.group === undefined ? config : (config as unknown as Record<string, unknown>)[option.group];
    const value = (group as Record<string, unknown>)[option.key];
    const from = config.from[option.name] ?? 'not set';
    if (value === undefined || from === 'not set') return { name: option.name, value: '', from };
    if (option.secret) return { name: option.name, value: option.show?.(String(value)) ?? 'redacted', from };
    return { name: option.name, value: asText(value), from };
  });
}

/** Quoted, cut, and not at all where it is, or may hold, a secret. */
function given(option: Option, { text, secret }: Found, secrets: readonly string[]): string {
  if (secret || option.secret) return 'something else (redacted)';
  if (text.includes('@') || secrets.some((secret) => text.includes(secret)))
    return 'something that may hold a secret (redacted)';
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

/** Those that were given, so that one in the wrong variable is not printed either. */
function secretsOf(layers: readonly Layer[]): string[] {
  return layers
    .flatMap(({ values, url }) => [
      values.PGPASSWORD,
      typeof url === 'object' ? url.PGPASSWORD : undefined,
      ...OPTIONS.filter(({ secret }) => secret).flatMap(({ name }) => [values[name], values[`${name}_FILE`]]),
    ])
    .filter((secret): secret is string => secret !== undefined && secret.length >= 4);
}

// --- what must hold between values -----------------------------------------------------------------------------------

function relations(
  { kafka, database, redis, limits, auth }: Static<typeof SCHEMA>,
  need: readonly Need[],
  bad: ReadonlySet<string>,
): Problem[] {
  const problems: Problem[] = [];
  /** The first of `names` is the one to change. */
  const check = (names: readonly string[], holds: boolean, expected: string, got: unknown, example: unknown) => {
    if (holds || names.some((name) => bad.has(name))) return;
    problems.push({ name: String(names[0]), expected, got: String(got), example: `${names[0]}=${example}` });
  };
  const together = (values: Record<string, unknown>) => {
    const names = Object.keys(values);
    const set = names.filter((name) => values[name] !== undefined);
    for (const name of names) {
      const expected = `a value, because ${set.join(' and ')} ${set.length > 1 ? 'are' : 'is'} set`;
      check([name, ...names], set.length === 0 || values[name] !== undefined, expected, 'nothing', '…');
    }
  };

  check(
    ['KAFKA_HEARTBEAT_MS', 'KAFKA_SESSION_TIMEOUT_MS'],
    kafka.heartbeatMs * 3 < kafka.sessionTimeoutMs,
    `less than a third of KAFKA_SESSION_TIMEOUT_MS (${kafka.sessionTimeoutMs})`,
    kafka.heartbeatMs,
    Math.ceil(kafka.sessionTimeoutMs / 4),
  );
  check(
    ['KAFKA_REBALANCE_TIMEOUT_MS', 'KAFKA_SESSION_TIMEOUT_MS'],
    kafka.rebalanceTimeoutMs >= kafka.sessionTimeoutMs,
    `at least KAFKA_SESSION_TIMEOUT_MS (${kafka.sessionTimeoutMs})`,
    kafka.rebalanceTimeoutMs,
    2 * kafka.sessionTimeoutMs,
  );
  check(
    ['DB_LOCK_TIMEOUT_MS', 'DB_STATEMENT_TIMEOUT_MS'],
    database.lockTimeoutMs < database.statementTimeoutMs,
    `less than DB_STATEMENT_TIMEOUT_MS (${database.statementTimeoutMs}), or it never acts`,
    database.lockTimeoutMs,
    Math.ceil(database.statementTimeoutMs / 2),
  );
  check(
    ['WAITING_PER_USER', 'WAITING_IN_TOTAL'],
    limits.waitingPerUser <= limits.waitingInTotal,
    `at most WAITING_IN_TOTAL (${limits.waitingInTotal})`,
    limits.waitingPerUser,
    limits.waitingInTotal,
  );
  check(
    ['REDIS_URL'],
    redis.url === undefined || readUrl(redis.url, /^rediss?:$/) !== undefined,
    'redis://user:password@host:port, special characters percent-encoded',
    'something else (redacted)',
    'redis://127.0.0.1:6379',
  );
  together({
    KAFKA_SASL_MECHANISM: kafka.saslMechanism,
    KAFKA_SASL_USERNAME: kafka.saslUsername,
    KAFKA_SASL_PASSWORD: kafka.saslPassword,
  });
  together({ DB_OWNER_USER: database.ownerUser, DB_OWNER_PASSWORD: database.ownerPassword });
  if (!need.includes('kafka')) return problems;

  const { mode, viewerToken, operatorToken, oidcIssuer, oidcAudience } = auth;
  check(
    ['AUTH_OPERATOR_TOKEN', 'AUTH_VIEWER_TOKEN', 'AUTH_MODE'],
    mode !== 'token' || viewerToken !== undefined || operatorToken !== undefined,
    'this or AUTH_VIEWER_TOKEN, because AUTH_MODE is token',
    'nothing',
    '…',
  );
  check(
    ['AUTH_OPERATOR_TOKEN', 'AUTH_VIEWER_TOKEN'],
    viewerToken === undefined || viewerToken !== operatorToken,
    'another one than AUTH_VIEWER_TOKEN',
    'the same',
    '…',
  );
  for (const [name, value] of Object.entries({ AUTH_OIDC_ISSUER: oidcIssuer, AUTH_OIDC_AUDIENCE: oidcAudience }))
    check(
      [name, 'AUTH_MODE'],
      mode !== 'oidc' || value !== undefined,
      'a value, because AUTH_MODE is oidc',
      'nothing',
      '…',
    );
  check(
    ['DB_STATEMENT_TIMEOUT_MS', 'KAFKA_SESSION_TIMEOUT_MS'],
    database.statementTimeoutMs < kafka.sessionTimeoutMs,
    `less than KAFKA_SESSION_TIMEOUT_MS (${kafka.sessionTimeoutMs}): a save ends before the partition is given away`,
    database.statementTimeoutMs,
    Math.ceil(kafka.sessionTimeoutMs / 2),
  );
  check(
    ['DB_IDLE_IN_TRANSACTION_MS', 'KAFKA_SESSION_TIMEOUT_MS'],
    database.idleInTransactionMs < kafka.sessionTimeoutMs,
    `less than KAFKA_SESSION_TIMEOUT_MS (${kafka.sessionTimeoutMs}): a paused owner must not delay the next one`,
    database.idleInTransactionMs,
    Math.ceil(kafka.sessionTimeoutMs / 2),
  );
  check(
    ['DB_CONNECTIONS', 'KAFKA_CONCURRENT_PARTITIONS'],
    database.connections >= kafka.concurrentPartitions + 2,
    `at least KAFKA_CONCURRENT_PARTITIONS + 2 (${kafka.concurrentPartitions + 2})`,
    database.connections,
    kafka.concurrentPartitions + 2,
  );
  return problems;
}

/** Not a secret: for one machine, where everything is on loopback. */
const DEVELOPMENT_SECRET = 'for-development-on-one-machine';

/** Off loopback the service must be given one. A command that only looks into the database gets a random one: its
 *  hashes then mean nothing elsewhere, and no weak key is ever used off loopback. */
function settleHashSecret(
  config: Static<typeof SCHEMA>,
  from: Record<string, string>,
  need: readonly Need[],
  bad: ReadonlySet<string>,
  problems: Problem[],
  warnings: string[],
): void {
  const name = 'HASH_SECRET';
  // With a wrong REDIS_URL it is unknown whether a secret is needed.
  if (config.hashSecret !== undefined || [name, 'REDIS_URL'].some((name) => bad.has(name))) return;
  if (Object.values(isRemote(config)).every((remote) => !remote)) {
    config.hashSecret = DEVELOPMENT_SECRET;
    from[name] = 'development value';
    warnings.push('HASH_SECRET is not set: a development value is used, because everything is on loopback.');
  } else if (need.includes('kafka')) {
    problems.push(problem(OPTIONS.find((option) => option.name === name) as Option, 'nothing'));
  } else {
    config.hashSecret = randomBytes(32).toString('hex');
    from[name] = 'random, for this run';
  }
}

function doubts(config: Static<typeof SCHEMA>, need: readonly Need[]): string[] {
  const remote = isRemote(config);
  const open = [
    ...(remote.kafka && !config.kafka.ssl ? ['Kafka (KAFKA_SSL)'] : []),
    ...(remote.database && config.database.ssl === 'off' ? ['Postgres (DB_SSL)'] : []),
    ...(remote.redis && config.redis.url?.startsWith('redis:') ? ['Redis (rediss:// in REDIS_URL)'] : []),
  ];
  return [
    ...(open.length > 0 ? [`Not encrypted and not on loopback: ${open.join(', ')}.`] : []),
    ...(config.log.userIds === 'plain' ? ['LOG_USER_IDS=plain: ids of users stand in the log.'] : []),
    ...(config.auth.mode === 'none' && remote.http && need.includes('kafka')
      ? [
          `AUTH_MODE is none, and HTTP_HOST ${config.http.host} can be reached from other machines: health checks and metrics alone are served, no API and no console. Set AUTH_MODE to token or oidc.`,
        ]
      : []),
    ...(config.auth.mode === 'none' && config.http.basePath !== '/' && need.includes('kafka')
      ? [
          'HTTP_BASE_PATH is set and AUTH_MODE is none: what a proxy asks for others is refused. Set AUTH_MODE to token or oidc.',
        ]
      : []),
    ...(config.auth.mode === 'oidc' && /^http:/.test(config.auth.oidcIssuer ?? '')
      ? ['AUTH_OIDC_ISSUER is not encrypted: whoever is on the way can sign tokens.']
      : []),
  ];
}

function isRemote({ kafka, database, redis, http }: Static<typeof SCHEMA>) {
  const redisHost = redis.url === undefined ? '' : (readUrl(redis.url, /^rediss?:$/)?.hostname ?? 'unknown');
  return {
    kafka: kafka.brokers.some((broker) => !isLoopback(broker.slice(0, broker.lastIndexOf(':')))),
    database: !isLoopback(database.host),
    redis: !isLoopback(redisHost),
    http: !isLoopback(http.host),
  };
}

/** '' is nothing to reach, '/…' a socket on this machine. */
export function isLoopback(host: string): boolean {
  return /^(|\/.*|localhost|127(\.\d{1,3}){3}|(\[?::1\]?))$/i.test(host);
}

type Frozen<T> = T extends readonly (infer I)[]
  ? readonly Frozen<I>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T;

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freeze(inner);
    Object.freeze(value);
  }
  return value;
}
