// connection.ts — what commands reach: Postgres, Kafka, and the drain with the service's own wiring.
//
// Owns:          opening and closing, and the one sentence when something can not be reached (exit code 4, in seconds).
// Does not own:  what is asked there. Imported by a command's action only: it is what makes a start slow.
import { hostname, userInfo } from 'node:os';
import type { Sql } from 'postgres';
import { type Db, openDatabase } from '../../db/client.ts';
import type { Config } from '../config.ts';
import { decoder } from '../decode.ts';
import { classify, describe } from '../errors.ts';
import type { Log as LogNow } from '../position.ts';
import { readClusterId } from '../positions.ts';
import type { Draining } from '../redrive.ts';
import { readFileLog } from '../sources/file.ts';
import { type KafkaStatus, kafkaStatus, type Log, readLog } from '../sources/kafka-client.ts';
import { kafkaSettings } from '../sources/open.ts';
import type { TopicPartition } from '../sources/source.ts';
import { SERVICE_VERSION } from '../version.ts';
import { EXIT, type ExitCode, Failure } from './command.ts';

export type At = {
  db: Db;
  /** For reads: rows as postgres.js gives them, times and 64-bit integers as text. */
  sql: Sql;
  config: Config;
};

/** A drain, and reads beside it. */
const CONNECTIONS = 3;

export async function withDatabase<T>(config: Config, use: (at: At) => Promise<T>): Promise<T> {
  const database = openDatabase({ ...config.database, connections: CONNECTIONS, applicationName: 'user-lifecycle' });
  try {
    await answers(database.sql, config.database);
    const result = await use({ db: database.db, sql: database.sql, config });
    await database.close();
    return result;
  } catch (error) {
    database.close().catch(() => {}); // it would wait for connections that never come
    throw inWords(error, config.database);
  }
}

const POSTGRES_WITHIN_MS = 6_000;

/** A proxy without a server behind it takes every connection and says nothing: postgres.js then tries for ever. */
async function answers(sql: Sql, { host, port }: Config['database']): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const seconds = POSTGRES_WITHIN_MS / 1_000;
    reject(
      new Failure(`Postgres at ${host}:${port} does not answer within ${seconds} s. Is it running?`, EXIT.unreachable),
    );
  }, POSTGRES_WITHIN_MS);
  const asked = sql`select 1`.then(() => {});
  asked.catch(() => {}); // what comes too late is nobody's
  await Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

/** An error of Postgres as a sentence and what to do; any other as it is. */
export function inWords(error: unknown, settings: Config['database']): unknown {
  if (error instanceof Failure) return error;
  const { class: errorClass, code } = classify(error);
  if (code === '_OTHER') return error;
  const where = `Postgres at ${settings.host}:${settings.port}`;
  const failure = (text: string, exitCode: ExitCode = EXIT.failed) => new Failure(text, exitCode);
  if (/^42(P01|703|883)$|^3F000$/.test(code))
    return failure('The tables are missing or of another version: run `npx user-lifecycle db migrate`.');
  if (code === '42501')
    return failure(`${where}: "${settings.user}" may not do this (42501). DB_USER needs the rights.`);
  if (code === '57014')
    return failure(
      `${where} ended a query after ${settings.statementTimeoutMs} ms. Ask for less, or raise DB_STATEMENT_TIMEOUT_MS.`,
    );
  if (code === '25006') return failure(`${where} is read-only: a replica? Point DB_HOST at the primary.`);
  if (code === '55P03' || errorClass === 'conflict')
    return failure('Somebody else is at work on the same rows. Nothing was changed by this; try again.');
  if (code.startsWith('28'))
    return failure(
      `${where} refuses the login of "${settings.user}". Check DB_USER and DB_PASSWORD.`,
      EXIT.unreachable,
    );
  if (code === '3D000')
    return failure(`${where} has no database "${settings.database}". Create it, or set DB_DATABASE.`, EXIT.unreachable);
  if (errorClass === 'infrastructure')
    return failure(
      `${where} can not be reached (${code}). Is it running? DB_HOST and DB_PORT say where.`,
      EXIT.unreachable,
    );
  return failure(`${where}: ${describe(error)['exception.message']}.`);
}

/** The service's own drain, from here. */
export async function drainingOf({ db, config }: Pick<At, 'db' | 'config'>): Promise<Draining> {
  return {
    db,
    saver: {
      instance: `${hostname()}-user-lifecycle-${process.pid}`,
      clusterId: await readClusterId(db),
      group: config.kafka.groupId,
      serviceVersion: SERVICE_VERSION,
      traceId: null,
    },
    decode: decoder({ keys: config.kafka.keys, ...config.limits }),
    waitingPerUser: config.limits.waitingPerUser,
  };
}

/** Who does it, for the rows that keep it. */
export function actorOf(given: string | undefined): string {
  if (given !== undefined) return given;
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`; // a container's user without a name
  }
}

const KAFKA_WITHIN_MS = 6_000;

/** As the service connects, under a name of our own in the brokers' logs. */
export function kafkaOf(config: Config) {
  return { ...kafkaSettings(config), clientId: 'user-lifecycle' };
}

export const QUIET: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Kafka's answer, or a Failure within seconds. */
export async function fromKafka<T>(config: Config, asked: Promise<T>, withinMs = KAFKA_WITHIN_MS): Promise<T> {
  const brokers = config.kafka.brokers.join(', ');
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(reject, withinMs, new Error(`no answer within ${withinMs / 1_000} s`));
  asked.catch(() => {}); // what comes too late is nobody's
  try {
    return await Promise.race([asked, late]);
  } catch (error) {
    if (error instanceof Failure) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure(
      `Kafka at ${brokers} can not be used (${why}). Is it running? KAFKA_BROKERS says where.`,
      EXIT.unreachable,
    );
  } finally {
    clearTimeout(timer);
  }
}

export type Logs = ReadonlyMap<string, KafkaStatus['partitions'][number]>;

/** Log start and end by "topic/partition"; undefined and why where Kafka does not say. Never throws. */
export async function logsOf(config: Config): Promise<{ logs: Logs | undefined; why: string | undefined }> {
  if (config.kafka.brokers.length === 0) return { logs: undefined, why: 'KAFKA_BROKERS is not set' };
  try {
    const { partitions } = await fromKafka(config, kafkaStatus(kafkaOf(config), QUIET), 3_000);
    return { logs: new Map(partitions.map((each) => [`${each.topic}/${each.partition}`, each])), why: undefined };
  } catch (error) {
    return { logs: undefined, why: (error as Error).message };
  }
}

/** Where the log of one partition begins and ends now, and who keeps it. Throws a Failure where that can not be known. */
export async function logOf(config: Config, partition: TopicPartition): Promise<LogNow> {
  if (config.file.folder === undefined && config.kafka.brokers.length === 0)
    throw new Failure('KAFKA_BROKERS is not set: nobody can be asked where the log begins and ends.', EXIT.usage);
  const { folder } = config.file;
  const log =
    folder === undefined
      ? await fromKafka(config, readLog(kafkaOf(config), QUIET, partition))
      : await readFileLog(folder, partition);
  const { topic, partition: n } = partition;
  if (log === undefined)
    throw new Failure(`${topic}[${n}] is no log: its topic is gone, or has fewer partitions. Restore it first.`);
  return log;
}
