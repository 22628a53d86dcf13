// main.ts — the service as one process: wires the steps, starts them in order, stops them in order.
//
// Start:  1 settings  2 HTTP (health)  3 Postgres answers, migrated  4 the source joins; batches flow
// Stop (SIGTERM, SIGINT), 10 s as a rule, at most 14:
//   1 no new drain or step starts; the source hands over no new batch, those in flight are saved and committed
//   2 drains and steps of jobs in flight end   3 HTTP closes   4 Redis and Postgres close   5 the last log lines are written   6 spans are sent
// What is cut off by a kill -9 instead is found again: the fence and the position make every step repeatable.
import { openDatabase, type Tx } from '../db/client.ts';
import { outside } from '../db/scope.ts';
import { createApi } from './api/api.ts';
import { createLive } from './api/live.ts';
import { createServer } from './api/server.ts';
import { createTimings } from './api/timings.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { createCustomers } from './customers.ts';
import { decoder } from './decode.ts';
import { describe, Halt } from './errors.ts';
import type { Place } from './events.ts';
import { createHealth, isWritable, watchDatabase } from './health.ts';
import { createLag } from './lag.ts';
import { load, loadLocked } from './load.ts';
import { createEventLog, createLog, type EventLine, hasher, type Log } from './log.ts';
import { createMetrics, type Facts } from './metrics.ts';
import { observedDrain, observedPipeline } from './observe.ts';
import { countOpen } from './operate.ts';
import { createPartitions, type PartitionFacts } from './partitions.ts';
import { assertPatched } from './patched.ts';
import type { Work } from './pipeline.ts';
import { findPoisons } from './poison.ts';
import { readClusterId, readTallies } from './positions.ts';
import { applyFrom, readyDatabase } from './ready.ts';
import { drain, type Told } from './redrive.ts';
import { sleep } from './retry.ts';
import type { Saver } from './rows.ts';
import { type Result, run } from './run.ts';
import { save, saveLocked, write } from './save.ts';
import { openLogs, openSource } from './sources/open.ts';
import type { Source, SourceFacts } from './sources/source.ts';
import { createSpans, sampledTraceId } from './spans.ts';
import { type Tallies, tally } from './tallies.ts';
import type { Telemetry } from './telemetry.ts';
import { createUserMemory } from './users.ts';
import { newInstance, SERVICE_VERSION } from './version.ts';
import { createWake } from './wake.ts';

/** P6. A backlog makes batches of about 1,250 records; more than this in one transaction only holds locks longer. */
const MOST_RECORDS_PER_SAVE = 5_000;
const CHECK_POSITIONS_EVERY_MS = 5_000;
const SWEEP_EVERY_MS = 10_000;
/** A stop that hangs ends here: everything that counts is in Postgres. */
const STOP_AT_MOST_MS = 14_000;
const REDIS_TTL_MS = 24 * 60 * 60 * 1_000;

export type Service = {
  url: string;
  facts(): { source: SourceFacts; partitions: PartitionFacts[] };
  /** The source's: resolves when it has nothing more to give, rejects when it is of no use any more. */
  ended: Promise<void>;
  /** The numbered steps above. Safe to call twice. */
  stop(): Promise<void>;
};

/** `telemetry`: of the process. Without it, metrics and spans go where the tests' own SDK says. `source`: instead of the one that
 *  the settings name. */
export type Options = { telemetry?: Telemetry | undefined; source?: Source | undefined };

/** Starts the service. `signal`: gives up waiting for servers. Rejects where only a person can help. */
export async function startService(
  config: Config,
  log: Log,
  signal: AbortSignal,
  { telemetry, source: given }: Options = {},
): Promise<Service> {
  assertPatched();
  for (const warning of config.warnings) log.warn(warning);
  const instance = telemetry?.instance ?? newInstance();

  const database = openDatabase(config.database);
  const { db } = database;
  const metrics = createMetrics(config.kafka.groupId, config.file.folder === undefined ? 'kafka' : 'file');
  const spans = createSpans({
    group: config.kafka.groupId,
    clientId: config.kafka.clientId,
    broker: config.file.folder === undefined ? config.kafka.brokers[0] : undefined,
    eventsPerBatch: config.tracing.eventsPerBatch,
    hashUser: hasher(config.hashSecret),
  });
  const observers = { spans, metrics };
  const source = given ?? openSource(config, log, MOST_RECORDS_PER_SAVE, { ...metrics, ...spans });
  const memory = createUserMemory(config.limits.usersInMemory);
  const customers = createCustomers({
    redisUrl: config.redis.url,
    secret: config.hashSecret,
    redisTtlMs: REDIS_TTL_MS,
    log,
    l1Size: config.limits.customersInMemory,
    l1TtlMs: config.limits.customersTtlMs,
  });
  if (config.redis.url === undefined) log.info('REDIS_URL is not set: customers are read from Postgres');

  let clusterId = '';
  const saver = (): Saver => {
    const { groupId: group } = config.kafka;
    return { instance, clusterId, group, serviceVersion: SERVICE_VERSION, traceId: sampledTraceId() };
  };
  const eventLog = createEventLog(log, {
    mode: config.log.events,
    userIds: config.log.userIds,
    secret: config.hashSecret,
  });
  const decode = decoder({ keys: config.kafka.keys, ...config.limits });
  const { waitingPerUser } = config.limits;
  const loading = { db, memory, customers, waitingPerUser };
  const warnUnkeyed = onceAMinute((place: Place, records: number) =>
    log.warn(
      { 'messaging.destination.name': place.topic, records },
      'records without a usable key: order across partitions can not be promised',
    ),
  );

  /** Whoever asked for the drain: the wake, or an operator's act. */
  const told: Told = (userId, results) => {
    if (userId !== null) memory.forget([userId]);
    metrics.drained(tally({ results, records: 0, unkeyed: 0 }));
    for (const result of results) eventLog.record(lineOf(result));
  };
  const wake = createWake({
    db,
    log,
    drain: (userIds) =>
      observedDrain(userIds.length, observers.spans, (tell) =>
        drain({ db, saver: saver(), decode, waitingPerUser, told }, userIds, (_, results) => tell(results)),
      ),
  });

  /** More waits in all than the disk should hold. What puts nothing more to wait goes on: it may be what they wait for. */
  let tooMuch: string | null = null;
  const timings = createTimings();
  const pipeline = observedPipeline<Tx>(
    {
      decode,
      load: (routed, from) => load(loading, routed, from),
      loadLocked: (tx, routed) => loadLocked(loading, tx, routed),
      save: (work, ran) => save(db, saver(), advance(work), ran),
      saveLocked: (work, runOn) => saveLocked(db, saver(), advance(work), runOn),
      permit(ran) {
        if (tooMuch !== null && ran.results.some(({ outcome }) => outcome === 'waiting')) throw new Halt(tooMuch);
      },
      forget(routed) {
        log.debug({ records: routed.records, users: routed.users.size }, 'conflict: run again on locked rows');
        memory.forget(routed.users.keys());
      },
      saved(work, ran) {
        for (const { row } of ran.users) memory.keep(row, work.source);
        if (ran.customers.length > 0) customers.remember(ran.customers.map(({ row }) => row));
        outside(() => wake.afterSave(ran));
        for (const result of ran.results) eventLog.record(lineOf(result));
        if (ran.unkeyed > 0) warnUnkeyed(work.place, ran.unkeyed);
      },
    },
    { waitingPerUser },
    observers,
  );

  const partitions = createPartitions({
    db,
    handle: timings.around(pipeline),
    log,
    maxBatchRecords: MOST_RECORDS_PER_SAVE,
    findPoisons: (work, known) =>
      findPoisons(
        {
          db,
          runOn: async (tx, routed, poisons) =>
            run(routed, await loadLocked(loading, tx, routed), { waitingPerUser, poisons }),
          write: (tx, ran) => write(tx, saver(), ran),
        },
        work.records.map((record) => decode(work.place, record)),
        known,
      ),
    forgetUsers: () => memory.clear(),
    rewound: () => customers.rewind(),
    assigned(readFrom) {
      clusterId = readFrom;
      void wake.sweep().catch(() => undefined); // the next one follows
    },
  });
  let checking: NodeJS.Timeout | undefined;
  database.onConnection(() => {
    memory.clear();
    clearTimeout(checking); // the pool opens several at once
    checking = outside(() => setTimeout(() => void partitions.check(source).catch(() => undefined), 100).unref());
  });

  let open: Awaited<ReturnType<Facts['open']>>;
  const lag = createLag({ source: () => source.facts(), partitions: () => partitions.facts() });
  const databaseWatch = watchDatabase(() => isWritable(database.sql));
  let isMigrated = false;
  const health = createHealth({
    source: () => source.facts(),
    partitions: () => partitions.facts(),
    lag: lag.facts,
    database: () => databaseWatch.facts(),
    isMigrated: () => isMigrated,
    redis: config.redis.url === undefined ? undefined : () => customers.facts().redis.state === 'ok',
    sessionTimeoutMs: config.kafka.sessionTimeoutMs,
    rebalanceTimeoutMs: config.kafka.rebalanceTimeoutMs,
  });
  metrics.observe({
    source: () => source.facts(),
    partitions: () => partitions.facts(),
    lag: lag.facts,
    open: () => open,
    memory,
    customers,
  });
  const api = createApi({
    config,
    log,
    wake,
    draining: async () => ({
      saver: { ...saver(), clusterId: clusterId || (await readClusterId(db)) },
      ...{ decode, waitingPerUser, told },
    }),
    logOf: (partition) => source.logOf(partition),
    live: (read, jobsHere) =>
      createLive({
        ...{ db: read, jobsHere, instance, timings },
        source: () => source.facts(),
        partitions: () => partitions.facts(),
        lag: lag.facts,
        health: health.overview,
        customers: customers.facts,
        logs: given === undefined ? openLogs(config, log) : undefined,
      }),
  });
  const server = createServer({ ...config.http, health, log, metrics: telemetry?.metrics, api });
  const url = await server.listen();

  const timers: NodeJS.Timeout[] = [];
  function watchPositions(): void {
    timers.push(
      every(CHECK_POSITIONS_EVERY_MS, async () => {
        lag.look(); // first: Postgres may be away
        const tallies = await readTallies(db);
        const waiting = waitingIn(tallies);
        tooMuch = tooMuchWaits(waiting + refusedToWait(tallies), config.limits.waitingInTotal);
        open = { waiting, ...(await countOpen(db)) };
        await partitions.check(source);
      }),
      every(SWEEP_EVERY_MS, () => wake.sweep()),
    );
  }
  function every(ms: number, act: () => Promise<void>): NodeJS.Timeout {
    return setInterval(() => {
      act().catch((error) => log.debug(describe(error), 'a background check could not be made; the next one follows'));
    }, ms);
  }

  const close = async (): Promise<void> => {
    for (const timer of timers) clearInterval(timer);
    const drained = wake.stop(); // no new drain starts; what is left to drain the next sweep finds
    await source.stop(); // 1
    await Promise.race([Promise.all([drained, api?.stop()]), sleep(1_000)]); // 2
    databaseWatch.stop();
    metrics.stop();
    await server.close(); // 3
    await Promise.all([customers.close(), api?.close(), database.close()]); // 4
    eventLog.flush(); // 5
    log.info('stopped');
  };
  let stopped: Promise<void> | undefined;
  const stop = () => (stopped ??= close());

  // The source may wait for its brokers for ever: a stop must not wait for that.
  signal.addEventListener('abort', () => void stop(), { once: true });
  try {
    await readyDatabase(config, log, signal); // 3
    signal.throwIfAborted();
    isMigrated = true;
    watchPositions();
    await applyFrom(config, log, database.db, signal);
    await source.start({
      ...partitions,
      take(batch, aborted) {
        metrics.delivered(batch, batch.records.length);
        return partitions.take(batch, aborted);
      },
    });
  } catch (error) {
    await stop();
    throw error;
  }
  log.info({ url, instance, topics: config.kafka.topics }, 'started');
  return { url, ended: source.ended, stop, facts: () => ({ source: source.facts(), partitions: partitions.facts() }) };
}

function advance({ place, from, to, leaderEpoch, records }: Work) {
  return { place, from, to, leaderEpoch, tail: records.at(-1) };
}

function waitingIn(tallies: Tallies): number {
  let waits = 0;
  for (const [key, n] of Object.entries(tallies)) if (key.endsWith('|waiting')) waits += n;
  return waits;
}

/** What became a dead letter because too much of its user waited: it takes as much of the disk. */
function refusedToWait(tallies: Tallies): number {
  return tallies['dead|waiting-full'] ?? 0;
}

function tooMuchWaits(waits: number, limit: number): string | null {
  if (waits < limit) return null;
  return `waiting: ${waits} events wait, the limit is ${limit}. Let what they wait for come, redrive dead letters of code waiting-full, or raise WAITING_IN_TOTAL; then resume.`;
}

function lineOf(result: Result): EventLine {
  const { event, outcome } = result;
  const { topic, partition } = event.place;
  const line: EventLine = {
    type: event.type,
    userId: event.userId,
    outcome,
    topic,
    partition,
    offset: event.record.offset,
    dialect: event.dialect,
  };
  if (result.outcome === 'waiting') line.reason = result.reason;
  else if (result.outcome === 'dead') line.code = result.code;
  else if (result.drift) line.drift = true;
  return line;
}

function onceAMinute(act: (place: Place, records: number) => void): (place: Place, records: number) => void {
  const seen = new Map<string, { at: number; records: number }>();
  return (place, records) => {
    const last = seen.get(place.topic) ?? { at: 0, records: 0 };
    last.records += records;
    if (Date.now() - last.at >= 60_000) {
      act(place, last.records);
      Object.assign(last, { at: Date.now(), records: 0 });
    }
    seen.set(place.topic, last);
  };
}

if (import.meta.main) await main();

async function main(): Promise<void> {
  const { telemetry } = await import('./telemetry.ts'); // there already, where it was given to --import
  const stopping = new AbortController();
  let service: Service | undefined;
  let log: Log | undefined;
  const stop = (why: string) => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    log?.info(`${why}: stopping; batches in flight are saved first`);
    setTimeout(() => process.exit(1), STOP_AT_MOST_MS).unref();
    void service?.stop().then(end);
  };
  /** After the last span: what comes later is lost. */
  const end = () => telemetry.stop().then(() => process.exit(0));
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => stop(name));
  try {
    const config = readConfig(process.env);
    const base = {
      'service.name': telemetry.serviceName,
      'service.version': SERVICE_VERSION,
      'service.instance.id': telemetry.instance,
    };
    log = createLog({ level: config.log.level }, base);
    process.on('unhandledRejection', (error) => die(log as Log, error));
    process.on('uncaughtException', (error) => die(log as Log, error));
    telemetry.logTo(log);
    service = await startService(config, log, stopping.signal, { telemetry });
    service.ended.catch((error) => die(log as Log, error));
    if (stopping.signal.aborted) await service.stop().then(end);
  } catch (error) {
    if (stopping.signal.aborted) process.exit(0);
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(error instanceof ConfigError ? 2 : 1);
  }
}

/** Never limp on after an error nobody handled: everything that counts is in Postgres, a restart continues there. */
function die(log: Log, error: unknown): never {
  log.fatal({ err: error }, 'unhandled error: the process ends; nothing is lost, restart it');
  process.exit(1);
}
