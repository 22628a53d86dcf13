// settings.ts — every setting: what it is, what it costs, its default. README's table and .env.example are printed from it.
//
// Owns:          the schema, and what a setting tells about itself (dev/config-table.ts prints it).
// Does not own:  where a value is found (env.ts), whether the values fit together (config.ts).
import { type TSchema, Type } from 'typebox';
import { EVENT_TYPES } from './events.ts';

/** The topic of our own form; the others are named like the events. */
export const NATIVE_TOPIC = 'user-events';
/** How many partitions a topic gets that is created here. */
export const partitionsOf = (topic: string): number => (topic === NATIVE_TOPIC ? 12 : 4);

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
      default: [NATIVE_TOPIC, ...EVENT_TYPES],
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
      what: 'The address that health checks, API and console listen on.',
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
    basePath: text('^/([A-Za-z0-9._~-]+/)*$', {
      name: 'HTTP_BASE_PATH',
      what: 'Under which path a proxy shows the console and the API. It may pass the path on, or take it away.',
      cost: 'None.',
      default: '/',
      expected: 'a path that begins and ends with a slash',
      example: '/customer-service/',
    }),
  }),

  auth: Type.Object({
    mode: word(['none', 'token', 'oidc'], {
      name: 'AUTH_MODE',
      what: 'Who may use the API and the console: whoever is on this machine, bearers of a token, or of one that an identity provider signed.',
      cost: '`none` on another address than loopback: health checks and metrics alone are served.',
      default: 'none',
    }),
    viewerToken: maybe(
      text('^[!-~]{16,}$', {
        name: 'AUTH_VIEWER_TOKEN',
        what: 'With `token`: who sends it may look at everything, with personal data masked.',
        cost: 'Shared by all who look. Changed: whoever is logged in must log in again.',
        secret: true,
        expected: '16 characters or more without spaces, random (openssl rand -hex 24)',
      }),
    ),
    operatorToken: maybe(
      text('^[!-~]{16,}$', {
        name: 'AUTH_OPERATOR_TOKEN',
        what: 'With `token`: who sends it may act too. `audit` says "operator" then, not who it was.',
        cost: 'As above; `oidc` tells people apart.',
        secret: true,
        expected: '16 characters or more without spaces, random (openssl rand -hex 24)',
      }),
    ),
    oidcIssuer: maybe(
      text('^https?://\\S+$', {
        name: 'AUTH_OIDC_ISSUER',
        what: 'With `oidc`: who must have issued a token. Its keys are found below it.',
        cost: 'While it is away, nobody new gets in.',
        expected: 'an address, as it stands in `iss`',
        example: 'https://login.example.com/',
      }),
    ),
    oidcAudience: maybe(
      text('^\\S+$', {
        name: 'AUTH_OIDC_AUDIENCE',
        what: 'With `oidc`: for whom a token must have been issued (`aud`).',
        cost: 'None.',
        example: 'customer-service',
      }),
    ),
    oidcRoleClaim: text('^\\S+$', {
      name: 'AUTH_OIDC_ROLE_CLAIM',
      what: 'With `oidc`: the claim that holds `viewer` or `operator`, as a text or in a list. A dot leads deeper.',
      cost: 'A token without either is refused.',
      default: 'roles',
      example: 'realm_access.roles',
    }),
    payloads: word(['all', 'operators', 'off'], {
      name: 'AUTH_PAYLOADS',
      what: 'Who may ask for e-mail, name and payloads as they are; each time is a row of `audit`.',
      cost: '`off`: nobody, and payloads are not shown masked either, nor edited.',
      default: 'operators',
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

  tracing: Type.Object({
    eventsPerBatch: integer(0, 1_000, {
      name: 'TRACE_EVENTS_PER_BATCH',
      what: "Events of a batch that get a span in their producer's trace, where the producer sampled it. Where traces go: `OTEL_*`.",
      cost: 'A span each, about 5 µs; at 0 a trace ends with the producer.',
      default: 20,
    }),
    jaegerUiUrl: maybe(
      text('^https?://[^\\s/]+(/\\S*)?$', {
        name: 'JAEGER_UI_URL',
        what: "Where the pages of Jaeger are, as seen from a browser: the console's trace ids become links.",
        cost: 'None. Without it they can be copied.',
        expected: 'an address that begins with http:// or https://',
        example: 'http://127.0.0.1:16686',
      }),
    ),
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
    what: 'The key of the hashes of user ids in logs, and of the seals on entries in Redis and on logins; equal for all processes.',
    cost: 'Required unless Kafka, Postgres, Redis and HTTP are all on loopback. Changed: old and new hashes differ, and logins end.',
    secret: true,
    expected: '16 characters or more, random (openssl rand -hex 32), equal for all processes; required off loopback',
  }),
});

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
  also?: LibpqName;
  /** Other words for a word. */
  reads?: Record<string, string>;
};
export type Option = About & { group: string | undefined; key: string; schema: TSchema; expected: string };
export type LibpqName = 'PGHOST' | 'PGPORT' | 'PGDATABASE' | 'PGUSER' | 'PGPASSWORD' | 'PGSSLMODE';
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

export function empty({ schema }: Option): unknown {
  return Type.IsArray(schema) ? [] : '';
}

/** Undefined: not even of the right kind. Words, never coercion: the string "false" is truthy. */
export function parse({ schema, secret, reads }: Option, text: string): unknown {
  if (secret) return text;
  const trimmed = text.trim();
  if (Type.IsArray(schema)) return trimmed.split(',').flatMap((item) => item.trim() || []);
  if (Type.IsInteger(schema)) return /^-?\d{1,15}$/.test(trimmed) ? Number(trimmed) : undefined;
  const lower = trimmed.toLowerCase();
  if (Type.IsEnum(schema)) return reads?.[lower] ?? lower;
  if (Type.IsBoolean(schema)) return YES.includes(lower) ? true : NO.includes(lower) ? false : undefined;
  return trimmed;
}

/** A value as it is written in the environment. */
export function asText(value: unknown): string {
  return Array.isArray(value) ? value.join(',') : String(value);
}

/** "KAFKA_BROKERS=127.0.0.1:9092" */
export function example({ name, example, default: value }: Option): string {
  return `${name}=${example ?? (value === undefined ? '…' : asText(value))}`;
}

/** What a command can not do without: those settings are required. `kafka` stands for the whole service. */
export type Need = 'kafka' | 'database';

/** Undefined where it is none, and where an "@" after the host shows that it was cut within the password, by a "/" or
 *  "#" that should have been percent-encoded. */
export function readUrl(text: string, protocol: RegExp): URL | undefined {
  try {
    const url = new URL(text);
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part);
    const { pathname, search, hash } = url;
    return protocol.test(url.protocol) && !(pathname + search + hash).includes('@') ? url : undefined;
  } catch {
    return undefined;
  }
}
