// config.ts — every setting: what it is, what it costs, its default; read, checked and frozen in one place.
//
// Owns:          the schema (README's table and .env.example are printed from it: dev/config-table.ts), the loader.
// Does not own:  OTEL_* (OpenTelemetry reads its own), flags of commands (they are merged into `env` by the caller).
//
// C1  A value comes from: environment > `.env` in the working directory > default. In each of the two, NAME or
//     NAME_FILE (secrets; both is an error) > DATABASE_URL > PG*. An empty value is no value.
// C2  All problems are told at once, and no secret is ever part of a text: not in a problem, a warning, a description.
// C3  What is returned is frozen.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { type Static, type TSchema, Type } from 'typebox';
import { Value } from 'typebox/value';
import { EVENT_TYPES } from './events.ts';

const SECOND = 1000;
const TOPIC = '^[A-Za-z0-9._-]{1,249}$';
const HOST_AND_PORT = '^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$';
const HOST = '^(/\\S*|[A-Za-z0-9._:-]+)$';

export const SCHEMA = Type.Object({
  kafka: Type.Object({
    brokers: list(HOST_AND_PORT, {
      name: 'KAFKA_BROKERS',
      what: 'The brokers to start from, separated by commas.',
      cost: 'One is enough to find the others; with two or three the service also starts while one is away.',
      required: 'kafka',
      expected: 'host:port, several separated by commas',
      example: '127.0.0.1:9092',
    }),
    clientId: text('^\\S{1,200}$', {
      name: 'KAFKA_CLIENT_ID',
      what: 'The name this service gives itself in the logs and quotas of the brokers.',
      cost: 'None.',
      default: 'customer-service-consumer',
      expected: 'a name without spaces',
    }),
    groupId: text('^\\S{1,200}$', {
      name: 'KAFKA_GROUP_ID',
      what: 'The consumer group: processes with the same one share the partitions.',
      cost: 'Another group starts as its own reader; positions are saved in Postgres, so it needs its own database.',
      default: 'customer-service-group',
      expected: 'a name without spaces',
    }),
    topics: list(TOPIC, {
      name: 'KAFKA_TOPICS',
      what: 'The topics to read: the native one and one for each event name, as NestJS services send them.',
      cost: 'Equal in all processes of a group, or partitions stay unread.',
      default: ['user-events', ...EVENT_TYPES],
      expected: 'topic names (letters, digits, ".", "_", "-"), separated by commas, each once',
      example: 'user-events,USER_CREATED',
    }),
    from: word(['earliest', 'latest', 'committed'], {
      name: 'KAFKA_FROM',
      what: "Where the group's very first start begins in the partitions that exist then; later ones begin at their start.",
      cost: '`latest` leaves out what is there already; `committed` takes over where another program of this group ended.',
      default: 'earliest',
    }),
    createTopics: flag({
      name: 'KAFKA_CREATE_TOPICS',
      what: 'Create topics that are missing: `user-events` with 12 partitions, the others with 4.',
      cost: 'Needs the right to create. Off: a missing topic ends the start.',
      default: true,
    }),
    allowCompacted: flag({
      name: 'KAFKA_ALLOW_COMPACTED',
      what: 'Read topics with `cleanup.policy=compact` too.',
      cost: 'A compacted log has lost events, and the states they led to. Off: such a topic ends the start.',
      default: false,
    }),
    keys: word(['lenient', 'strict'], {
      name: 'KAFKA_KEYS',
      what: 'Records without a usable key: counted and used, or dead letters.',
      cost: 'The seed services send no keys: `strict` refuses all they send.',
      default: 'lenient',
    }),
    ssl: flag({
      name: 'KAFKA_SSL',
      what: 'TLS to the brokers, with checked certificates.',
      cost: 'Off: everything, the password too, is readable on the way.',
      default: false,
    }),
    saslMechanism: maybe(
      word(['plain', 'scram-sha-256', 'scram-sha-512'], {
        name: 'KAFKA_SASL_MECHANISM',
        what: 'How to log in at the brokers.',
        cost: '`plain` sends the password itself: only with KAFKA_SSL.',
        example: 'scram-sha-512',
      }),
    ),
    saslUsername: maybe(
      text('.', { name: 'KAFKA_SASL_USERNAME', what: 'Who logs in.', cost: 'None.', example: 'customer-service' }),
    ),
    saslPassword: maybe(
      text('.', {
        name: 'KAFKA_SASL_PASSWORD',
        what: 'Its password.',
        cost: 'A file (KAFKA_SASL_PASSWORD_FILE) is harder to leak than the environment.',
        secret: true,
      }),
    ),
    concurrentPartitions: integer(1, 64, {
      name: 'KAFKA_CONCURRENT_PARTITIONS',
      what: 'Partitions worked on at once.',
      cost: 'Each uses a database connection while it saves; more than the processor has to spare gains nothing.',
      default: 3,
    }),
    maxBytesPerPartition: integer(1024, 64 * 1024 * 1024, {
      name: 'KAFKA_MAX_BYTES_PER_PARTITION',
      what: 'How much one fetch brings of a partition, in bytes: the size of a batch.',
      cost: 'Higher: fewer, longer transactions and more memory. Lower: more transactions.',
      default: 512 * 1024,
    }),
    sessionTimeoutMs: integer(1 * SECOND, 30 * 60 * SECOND, {
      name: 'KAFKA_SESSION_TIMEOUT_MS',
      what: 'A process that is silent for so long loses its partitions.',
      cost: 'Higher: a crash is noticed later. Lower: pauses are taken for crashes; brokers refuse below 6000 by default.',
      default: 8 * SECOND,
    }),
    heartbeatMs: integer(100, 10 * 60 * SECOND, {
      name: 'KAFKA_HEARTBEAT_MS',
      what: 'How often a process says that it lives, also while it saves.',
      cost: 'Less than a third of KAFKA_SESSION_TIMEOUT_MS, so that two may be lost.',
      default: 2 * SECOND,
    }),
    rebalanceTimeoutMs: integer(1 * SECOND, 60 * 60 * SECOND, {
      name: 'KAFKA_REBALANCE_TIMEOUT_MS',
      what: 'How long the group waits for a member to end its batches before partitions move on.',
      cost: 'Higher: a stuck member delays the others. Lower: healthy batches are thrown away.',
      default: 15 * SECOND,
    }),
    maxWaitMs: integer(1, 30 * SECOND, {
      name: 'KAFKA_MAX_WAIT_MS',
      what: 'How long a broker keeps a fetch open when there is nothing new.',
      cost: 'Higher: fewer requests when idle. Lower: none for the delay, a new record ends the waiting.',
      default: 100,
    }),
  }),

  database: Type.Object({
    host: text(HOST, {
      name: 'DB_HOST',
      also: 'PGHOST',
      what: 'The Postgres server, or the folder of its socket. `DATABASE_URL` and `PG*` are read too; `DB_*` wins.',
      cost: 'None.',
      required: 'database',
      expected: 'a host name, an address, or the folder of a socket (/var/run/postgresql)',
      example: '127.0.0.1',
    }),
    port: integer(1, 65535, { name: 'DB_PORT', also: 'PGPORT', what: 'Its port.', cost: 'None.', default: 5432 }),
    database: text('.', {
      name: 'DB_DATABASE',
      also: 'PGDATABASE',
      what: 'The database.',
      cost: 'None.',
      default: 'customer_service',
    }),
    user: text('.', { name: 'DB_USER', also: 'PGUSER', what: 'Who logs in.', cost: 'None.', default: 'postgres' }),
    password: maybe(
      text('.', {
        name: 'DB_PASSWORD',
        also: 'PGPASSWORD',
        what: 'Its password.',
        cost: 'A file (DB_PASSWORD_FILE) is harder to leak than the environment.',
        secret: true,
      }),
    ),
    ssl: word(['off', 'require', 'verify-full'], {
      name: 'DB_SSL',
      also: 'PGSSLMODE',
      reads: { disable: 'off' },
      what: 'TLS to Postgres: none, unchecked, or with checked certificate and name.',
      cost: '`require` stops listeners, not impostors; `verify-full` stops both.',
      default: 'off',
    }),
    connections: integer(1, 200, {
      name: 'DB_CONNECTIONS',
      what: 'Connections at most: one for each partition at work, two for drains and checks.',
      cost: 'Each is a process on the server.',
      default: 10,
    }),
    statementTimeoutMs: integer(100, 10 * 60 * SECOND, {
      name: 'DB_STATEMENT_TIMEOUT_MS',
      what: 'Postgres ends a statement that takes longer; the batch is halved and tried again.',
      cost: 'Higher: a stuck one is noticed later, at worst after the partition was given away.',
      default: 4 * SECOND,
    }),
    lockTimeoutMs: integer(50, 10 * 60 * SECOND, {
      name: 'DB_LOCK_TIMEOUT_MS',
      what: 'How long a statement waits for a lock.',
      cost: 'Lower: more repeated saves where two processes meet. Less than DB_STATEMENT_TIMEOUT_MS, or it never acts.',
      default: 2 * SECOND,
    }),
    idleInTransactionMs: integer(500, 10 * 60 * SECOND, {
      name: 'DB_IDLE_IN_TRANSACTION_MS',
      what: 'How long Postgres lets an owner sit idle inside a save before ending it.',
      cost: 'Higher: a paused owner keeps its locks longer. Lower: a pause undoes a healthy save, which is then run again.',
      default: 5 * SECOND,
    }),
    migrate: flag({
      name: 'DB_MIGRATE',
      what: 'Apply missing migrations at the start, one process after the other.',
      cost: 'Needs the rights of an owner. Off: run `npm run db:migrate` before a new version.',
      default: true,
    }),
    ownerUser: maybe(
      text('.', {
        name: 'DB_OWNER_USER',
        what: 'Who migrates, where it is not DB_USER.',
        cost: 'Then DB_USER needs no rights to change tables.',
        example: 'customer_service_owner',
      }),
    ),
    ownerPassword: maybe(text('.', { name: 'DB_OWNER_PASSWORD', what: 'Its password.', cost: 'None.', secret: true })),
  }),

  file: Type.Object({
    folder: maybe(
      text('.', {
        name: 'FILE_SOURCE',
        what: 'A folder of partition logs (`<topic>/<partition>.ndjson`) to read instead of Kafka: demo, backfill.',
        cost: 'No group: one process alone may read it.',
        example: './backfill',
      }),
    ),
  }),

  redis: Type.Object({
    url: maybe(
      text('^rediss?://\\S+$', {
        name: 'REDIS_URL',
        what: 'The Redis that remembers customers for all processes. Without it Postgres is asked.',
        cost: 'None for correctness: it may be empty, old or away at any time.',
        expected: 'redis://host:port, or rediss:// for TLS',
        example: 'redis://127.0.0.1:6379',
        secret: true,
        show: (text) => {
          const url = readUrl(text, /^rediss?:$/);
          return url === undefined ? 'redacted' : `${url.protocol}//${url.host}${url.pathname}`;
        },
      }),
    ),
  }),

  http: Type.Object({
    host: text('^[A-Za-z0-9._:-]+$', {
      name: 'HTTP_HOST',
      what: 'The address that health checks and API listen on.',
      cost: '`0.0.0.0` opens them to the network.',
      default: '127.0.0.1',
      expected: 'a host name or an address',
    }),
    port: integer(0, 65535, {
      name: 'HTTP_PORT',
      what: 'Their port; 0 takes any free one.',
      cost: 'None.',
      default: 8080,
    }),
  }),

  log: Type.Object({
    level: word(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
      name: 'LOG_LEVEL',
      what: 'The lowest level that is written.',
      cost: '`debug` adds a line for each skipped event.',
      default: 'info',
    }),
    events: word(['all', 'sample', 'off'], {
      name: 'LOG_EVENTS',
      what: 'A line for each event: each, at most 100 a second of each outcome and a summary of the rest, or none.',
      cost: '`all` writes about 400 bytes for each event. The complete record is the history table in any case.',
      default: 'sample',
    }),
    userIds: word(['hashed', 'plain'], {
      name: 'LOG_USER_IDS',
      what: 'How users stand in log lines: as a keyed hash, or by their id.',
      cost: '`plain` puts personal data into every place that logs go to.',
      default: 'hashed',
    }),
  }),

  limits: Type.Object({
    usersInMemory: integer(0, 10_000_000, {
      name: 'USERS_IN_MEMORY',
      what: 'Recent user rows a process keeps.',
      cost: 'About 1 kB each. Fewer: more reading from Postgres.',
      default: 200_000,
    }),
    customersInMemory: integer(0, 10_000_000, {
      name: 'CUSTOMERS_IN_MEMORY',
      what: 'Known customers a process keeps.',
      cost: 'About 300 bytes each. Fewer: more questions to Redis or Postgres.',
      default: 50_000,
    }),
    customersTtlMs: integer(0, 24 * 60 * 60 * SECOND, {
      name: 'CUSTOMERS_TTL_MS',
      what: 'How long a known customer is remembered before it is asked again, give or take.',
      cost: 'Lower: more questions.',
      default: 60 * SECOND,
    }),
    waitingPerUser: integer(1, 10_000_000, {
      name: 'WAITING_PER_USER',
      what: 'Events that may wait for one user; further ones become dead letters.',
      cost: 'Higher: one user may fill more of the disk.',
      default: 10_000,
    }),
    waitingInTotal: integer(1, 1_000_000_000, {
      name: 'WAITING_IN_TOTAL',
      what: 'Events that may wait in total; beyond, partitions halt.',
      cost: 'Higher: more disk, about 1 kB each.',
      default: 10_000_000,
    }),
    maxRecordBytes: integer(1024, 100_000_000, {
      name: 'MAX_RECORD_BYTES',
      what: 'The largest record that is decoded; larger ones become dead letters.',
      cost: 'Higher: a single record may take longer and more memory.',
      default: 1_000_000,
    }),
    maxHeaders: integer(1, 10_000, {
      name: 'MAX_HEADERS',
      what: 'The most headers a record may have; others become dead letters.',
      cost: 'As above.',
      default: 256,
    }),
  }),

  hashSecret: text('^[^]{16,}$', {
    name: 'HASH_SECRET',
    what: 'The key of the hashes of user ids in logs and of the seals on entries in Redis; equal for all processes.',
    cost: 'Required unless Kafka, Postgres, Redis and HTTP are all on loopback. Changed: old and new hashes differ.',
    secret: true,
    expected: '16 characters or more, random (openssl rand -hex 32), equal for all processes; required off loopback',
  }),
});

export type Config = Frozen<
  Static<typeof SCHEMA> & {
    database: { applicationName: string };
    /** One line each, for the log: what was read but deserves a look. */
    warnings: string[];
    /** Where each value came from, by name. */
    from: Record<string, string>;
  }
>;

/** What a command can not do without: those settings are required. `kafka` stands for the whole service. */
export type Need = 'kafka' | 'database';

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
  warnings.push(...doubts(config));
  return freeze({
    ...config,
    database: { ...config.database, applicationName: 'customer-service' },
    warnings,
    from,
  }) as Config;
}

export type Problem = { name: string; expected: string; got: string; example: string };

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

/** A value as it is written in the environment. */
export function asText(value: unknown): string {
  return Array.isArray(value) ? value.join(',') : String(value);
}

// --- what a setting tells about itself -------------------------------------------------------------------------------

type About = {
  name: string;
  what: string;
  cost: string;
  default?: unknown;
  example?: string;
  /** In words; made from the schema where it is not given. */
  expected?: string;
  /** Never printed; may come from NAME_FILE. */
  secret?: true;
  /** What of a secret may be shown. */
  show?: (value: string) => string;
  required?: Need;
  /** libpq's name for it. */
  also?: keyof typeof URL_PARTS;
  /** Other words for a word. */
  reads?: Record<string, string>;
};
export type Option = About & { group: string | undefined; key: string; schema: TSchema; expected: string };
type Default<T> = { default?: T };

function text(pattern: string, about: About & Default<string>) {
  return Type.String({ ...about, pattern });
}
function integer(minimum: number, maximum: number, about: About & Default<number>) {
  return Type.Integer({ ...about, minimum, maximum });
}
function flag(about: About & Default<boolean>) {
  return Type.Boolean(about);
}
function word<const W extends string[]>(words: readonly [...W], about: About & Default<W[number]>) {
  return Type.Enum(words, about);
}
function list(pattern: string, about: About & Default<string[]>) {
  return Type.Array(Type.String({ pattern }), { ...about, minItems: 1, uniqueItems: true });
}
function maybe<S extends TSchema>(schema: S) {
  return Type.Union([schema, Type.Undefined()]);
}

const YES = ['true', 'yes', 'on', '1'];
const NO = ['false', 'no', 'off', '0'];

/** All settings in the order of the schema. */
export const OPTIONS: readonly Option[] = Object.entries(SCHEMA.properties).flatMap(([key, schema]) =>
  Type.IsObject(schema)
    ? Object.entries(schema.properties).map(([inner, leaf]) => option(key, inner, leaf as TSchema))
    : [option(undefined, key, schema)],
);

function option(group: string | undefined, key: string, leaf: TSchema): Option {
  const schema = Type.IsUnion(leaf) ? (leaf.anyOf[0] as TSchema) : leaf;
  const about = schema as unknown as About;
  return { ...about, group, key, schema, expected: about.expected ?? inWords(schema) };
}

function inWords(schema: TSchema): string {
  if (Type.IsBoolean(schema)) return `yes or no: ${YES.join(', ')} / ${NO.join(', ')}`;
  if (Type.IsEnum(schema)) return `one of ${schema.enum.join(', ')}`;
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number };
  return minimum === undefined ? 'a text' : `a whole number from ${minimum} to ${maximum}`;
}

function empty({ schema }: Option): unknown {
  return Type.IsArray(schema) ? [] : '';
}

/** Undefined: not even of the right kind. Words, never coercion: the string "false" is truthy. */
function parse({ schema, secret, reads }: Option, text: string): unknown {
  if (secret) return text;
  const trimmed = text.trim();
  if (Type.IsArray(schema)) return trimmed.split(',').flatMap((item) => item.trim() || []);
  if (Type.IsInteger(schema)) return /^-?\d{1,15}$/.test(trimmed) ? Number(trimmed) : undefined;
  const lower = trimmed.toLowerCase();
  if (Type.IsEnum(schema)) return reads?.[lower] ?? lower;
  if (Type.IsBoolean(schema)) return YES.includes(lower) ? true : NO.includes(lower) ? false : undefined;
  return trimmed;
}

// --- where a value is found ------------------------------------------------------------------------------------------

type Layer = { from: string; values: Readonly<Record<string, string>>; url: UrlParts | 'unusable' | undefined };
type UrlParts = Readonly<Record<string, string>>;
type Found = { name: string; from: string; text: string; secret: boolean };

/** libpq's variables and the parts of DATABASE_URL that say the same. */
const URL_PARTS = {
  PGHOST: (url: URL) => url.searchParams.get('host') ?? url.hostname.replace(/^\[(.*)\]$/, '$1'),
  PGPORT: (url: URL) => url.port,
  PGDATABASE: (url: URL) => decodeURIComponent(url.pathname.slice(1)),
  PGUSER: (url: URL) => decodeURIComponent(url.username),
  PGPASSWORD: (url: URL) => decodeURIComponent(url.password),
  PGSSLMODE: (url: URL) => url.searchParams.get('sslmode') ?? '',
};
const URL_QUERY = ['host', 'sslmode'];

function readLayer(from: string, values: NodeJS.ProcessEnv, problems: Problem[], warnings: string[]): Layer {
  const set = Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => !!entry[1]));
  warnings.push(...unknownNames(Object.keys(set)));
  const url = set.DATABASE_URL;
  return { from, values: set, url: url === undefined ? undefined : readUrlParts(url, problems, warnings) };
}

function readEnvFile(file: string, problems: Problem[]): NodeJS.ProcessEnv {
  try {
    return parseEnv(readFileSync(file, 'utf8')) as NodeJS.ProcessEnv;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return {};
    const got = `a file that can not be read (${code ?? 'unknown reason'})`;
    problems.push({ name: file, expected: 'a file with one NAME=value in each line', got, example: '.env.example' });
    return {};
  }
}

function readUrlParts(text: string, problems: Problem[], warnings: string[]): UrlParts | 'unusable' {
  const url = readUrl(text, /^postgres(ql)?:$/);
  if (url !== undefined) {
    const unread = [...url.searchParams.keys()].filter((name) => !URL_QUERY.includes(name));
    if (unread.length > 0) warnings.push('DATABASE_URL: only host and sslmode are read of what follows its "?".');
    return Object.fromEntries(Object.entries(URL_PARTS).map(([name, part]) => [name, part(url)]));
  }
  problems.push({
    name: 'DATABASE_URL',
    expected: 'postgres://user:password@host:port/database, special characters percent-encoded',
    got: 'something else (redacted)',
    example: 'DATABASE_URL=postgres://postgres@127.0.0.1:5432/customer_service',
  });
  return 'unusable';
}

/** Undefined where it is none, and where an "@" after the host shows that it was cut within the password, by a "/" or
 *  "#" that should have been percent-encoded. */
function readUrl(text: string, protocol: RegExp): URL | undefined {
  try {
    const url = new URL(text);
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part);
    const { pathname, search, hash } = url;
    return protocol.test(url.protocol) && !(pathname + search + hash).includes('@') ? url : undefined;
  } catch {
    return undefined;
  }
}

function firstOf(layers: readonly Layer[], option: Option, problems: Problem[]): Found | 'unusable' | undefined {
  for (const layer of layers) {
    const found = find(layer, option, problems);
    if (found !== undefined) return found;
  }
  return undefined;
}

function find({ from, values, url }: Layer, option: Option, problems: Problem[]): Found | 'unusable' | undefined {
  const { name, also } = option;
  const secret = option.secret ?? false;
  const text = values[name];
  const path = secret ? values[`${name}_FILE`] : undefined;
  if (text !== undefined && path !== undefined) {
    problems.push(problem(option, `both ${name} and ${name}_FILE`, name, `one of ${name} and ${name}_FILE`));
    return 'unusable';
  }
  if (text !== undefined) return { name, from, text, secret };
  if (path !== undefined) {
    const content = readSecret(path);
    if (content.text) return { name: `${name}_FILE`, from: `${from} (${name}_FILE)`, text: content.text, secret };
    // The path is not printed: somebody may have put the secret itself there.
    problems.push({
      name: `${name}_FILE`,
      expected: 'the path of a file that holds the secret and nothing else',
      got: content.failed,
      example: `${name}_FILE=/run/secrets/${name.toLowerCase()}`,
    });
    return 'unusable';
  }
  if (also === undefined) return undefined;
  const part = url === undefined || url === 'unusable' ? '' : (url[also] ?? '');
  if (part !== '') return { name: 'DATABASE_URL', from: `${from} (DATABASE_URL)`, text: part, secret: true };
  const libpq = values[also];
  if (libpq !== undefined) return { name: also, from: `${from} (${also})`, text: libpq, secret };
  return url === 'unusable' ? 'unusable' : undefined;
}

function readSecret(path: string): { text: string; failed: string } {
  try {
    return { text: readFileSync(path, 'utf8').replace(/\r?\n$/, ''), failed: 'an empty file' };
  } catch (error) {
    return {
      text: '',
      failed: `a path that can not be read (${(error as NodeJS.ErrnoException).code ?? 'malformed'})`,
    };
  }
}

// --- what is said about it -------------------------------------------------------------------------------------------

function problem(option: Option, got: string, name = option.name, expected = option.expected): Problem {
  return { name, expected, got, example: example(option) };
}

/** "KAFKA_BROKERS=127.0.0.1:9092" */
export function example({ name, example, default: value }: Option): string {
  return `${name}=${example ?? (value === undefined ? '…' : asText(value))}`;
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

/** Names that look like one of ours and are not. */
function unknownNames(names: readonly string[]): string[] {
  const known = new Map(OPTIONS.map((option) => [option.name, option]));
  const prefixes = new Set(OPTIONS.map(({ name }) => name.slice(0, name.indexOf('_') + 1)));
  return names.flatMap((name) => {
    const prefix = name.slice(0, name.indexOf('_') + 1);
    const fileOf = known.get(name.replace(/_FILE$/, ''));
    if (known.has(name) || !prefixes.has(prefix) || (fileOf?.secret && name.endsWith('_FILE'))) return [];
    if (fileOf !== undefined) return [`${name} is not read: only secrets may come from a file.`];
    const close = OPTIONS.find((option) => option.name.startsWith(prefix) && isClose(name, option.name));
    return close === undefined ? [] : [`${name} is not a setting. Did you mean ${close.name}?`];
  });
}

/** DB_USRE, DB_USERNAME and DB_PASS; but not DB_PORT_5432_TCP, which Kubernetes sets for a service named "db". */
function isClose(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 4) return false;
  return a.startsWith(b) || b.startsWith(a) || distance(a, b) <= 2;
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

// --- what must hold between values -----------------------------------------------------------------------------------

function relations(
  { kafka, database, redis, limits }: Static<typeof SCHEMA>,
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

function doubts(config: Static<typeof SCHEMA>): string[] {
  const remote = isRemote(config);
  const open = [
    ...(remote.kafka && !config.kafka.ssl ? ['Kafka (KAFKA_SSL)'] : []),
    ...(remote.database && config.database.ssl === 'off' ? ['Postgres (DB_SSL)'] : []),
    ...(remote.redis && config.redis.url?.startsWith('redis:') ? ['Redis (rediss:// in REDIS_URL)'] : []),
  ];
  return [
    ...(open.length > 0 ? [`Not encrypted and not on loopback: ${open.join(', ')}.`] : []),
    ...(config.log.userIds === 'plain' ? ['LOG_USER_IDS=plain: ids of users stand in the log.'] : []),
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
function isLoopback(host: string): boolean {
  return /^(|\/.*|localhost|127(\.\d{1,3}){3}|(\[?::1\]?))$/i.test(host);
}

// --- freezing --------------------------------------------------------------------------------------------------------

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
