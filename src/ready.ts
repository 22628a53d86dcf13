// ready.ts — what must be true before the first batch: Postgres answers, may be used and is migrated; where a new group begins.
//
// Owns:          waiting for Postgres with a clear line, the checks of the server, KAFKA_FROM.
// Does not own:  waiting for Kafka (sources/kafka.ts), the migrations themselves (db/).
import { sql } from 'drizzle-orm';
import { type Db, migrate, openDatabase } from '../db/client.ts';
import type { Config } from './config.ts';
import { classify, describe } from './errors.ts';
import type { Log } from './log.ts';
import { isFirstStart, makePositions } from './positions.ts';
import { INFRASTRUCTURE, inTime, sleep, waitMs } from './retry.ts';
import { type KafkaStatus, kafkaStatus, textOf } from './sources/kafka-client.ts';
import { kafkaSettings } from './sources/open.ts';

/** Waits for Postgres with a clear line, then migrates unless DB_MIGRATE=false. */
export async function readyDatabase({ database }: Config, log: Log, signal: AbortSignal): Promise<void> {
  const owner = database.ownerUser === undefined ? {} : { user: database.ownerUser, password: database.ownerPassword };
  for (let attempt = 1; ; attempt++) {
    try {
      await answers(database);
      if (database.migrate) await migrate({ ...database, ...owner });
      await checkDatabase(database);
      return;
    } catch (error) {
      if (error instanceof NotUsable) throw error;
      const { class: errorClass, code } = classify(error);
      if (errorClass === 'defect') throw new NotUsable(refusal(code, database, error), { cause: error });
      log.warn(
        { ...describe(error), host: database.host, port: database.port, attempt },
        `waiting for Postgres at ${database.host}:${database.port} (${WORDS[code] ?? describe(error)['exception.message']}); trying again`,
      );
      await sleep(Math.min(waitMs(INFRASTRUCTURE, attempt), 2_000), signal);
      signal.throwIfAborted();
    }
  }
}

const WORDS: Readonly<Record<string, string>> = {
  '3D000': 'the database of DB_DATABASE does not exist',
  '28P01': 'DB_PASSWORD is wrong',
  '28000': 'DB_USER may not log in',
};

function refusal(code: string, { user, ownerUser }: Config['database'], error: unknown): string {
  if (code === '42501')
    return `${ownerUser ?? user} may not do this: let DB_OWNER_USER migrate, and see the grants in docs/operations.md.`;
  return `The database can not be prepared: ${describe(error)['exception.message']}.`;
}

const ANSWER_MS = 10_000;

/** Rejects where Postgres does not answer in time. What accepts connections and never answers (a proxy without its server)
 *  makes postgres.js connect again for ever, and a query never reject. */
async function answers(settings: Config['database']): Promise<void> {
  const { db, close } = openDatabase({ ...settings, connections: 1 });
  try {
    await inTime(db.execute(sql`select 1`), ANSWER_MS);
  } finally {
    await close();
  }
}

/** The database can be reached, and is none that this service may use; the text says what to do. */
class NotUsable extends Error {}

async function checkDatabase(settings: Config['database']): Promise<void> {
  const { db, close } = openDatabase({ ...settings, connections: 1 });
  try {
    const [row] = await db.execute<{ replica: boolean; commit: string; migrated: boolean }>(sql`
      select pg_is_in_recovery() as replica, current_setting('synchronous_commit') as commit, to_regclass('positions') is not null as migrated`);
    if (!row?.migrated)
      throw new NotUsable('The tables are missing: run `npm run db:migrate`, or start with DB_MIGRATE=true.');
    if (row.replica)
      throw new NotUsable(
        'This Postgres is a replica: positions are never read from one. Point DB_HOST at the primary.',
      );
    if (row.commit === 'off' || row.commit === 'local')
      throw new NotUsable(
        `synchronous_commit is ${row.commit}: a saved position could be lost while its Kafka commit stays. Set it to on.`,
      );
  } finally {
    await close();
  }
}

/** KAFKA_FROM counts only before anything was read, for the partitions that exist then. */
export async function applyFrom(config: Config, log: Log, db: Db, signal: AbortSignal): Promise<void> {
  const { from } = config.kafka;
  if (from === 'earliest' || config.file.folder !== undefined || !(await isFirstStart(db))) return;
  const { clusterId, partitions } = await statusOf(config, log, signal);
  const wanted = partitions.map(({ topic, partition, logStart, logEnd, committed }) => {
    const at = from === 'latest' ? logEnd : committed === null || committed < logStart ? logStart : committed;
    return { topic, partition, clusterId, at };
  });
  const made = await makePositions(db, wanted);
  log.info({ from, partitions: made.length }, 'first start of this group: KAFKA_FROM decides where it begins');
}

async function statusOf(config: Config, log: Log, signal: AbortSignal): Promise<KafkaStatus> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await kafkaStatus(kafkaSettings(config), log);
    } catch (error) {
      log.warn({ error: textOf(error) }, `waiting for Kafka at ${config.kafka.brokers.join(', ')}; trying again`);
      await sleep(waitMs(INFRASTRUCTURE, attempt), signal);
      signal.throwIfAborted();
    }
  }
}
