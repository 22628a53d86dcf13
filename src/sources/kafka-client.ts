// kafka-client.ts — kafkajs as we want it: one connection, what is asked of the cluster, and the producer.
//
// Owns:          sockets (no delay, can be cut), kafkajs' log lines, the check that it is patched.
// Does not own:  the consumer (kafka.ts, kafka-member.ts). These three files alone import kafkajs.
//
// C1  Nothing here ends up as an error line by itself: what kafkajs calls an error (a coordinator that is not ready, a
//     rebalance, a refused connection) is usually its own daily business. Who acts on a failure writes the line.
// C2  After `cut` no socket of a client lives or is ever opened again. kafkajs can reconnect after `disconnect`.
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import kafkajs, { type Admin, type IHeaders, type KafkaConfig, type LogEntry, type Message } from 'kafkajs';
import type { Header } from '../events.ts';
import type { TopicPartition } from './source.ts';

/** The part of pino's logger that is used here. */
export type Log = Record<'debug' | 'info' | 'warn' | 'error', (fields: object, text: string) => void>;

export type KafkaConnection = {
  brokers: string[];
  clientId: string;
  /** true: certificates are checked against the system's authorities; or the options of tls.connect. */
  ssl?: boolean | tls.ConnectionOptions;
  sasl?: { mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; username: string; password: string };
};

/** A request without an answer for this long means that its connection is dead (no RST seen), and the socket goes. */
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** Short: whoever calls tries again for ever, with a line that says what is waited for. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 };

export type Client = {
  kafka: kafkajs.Kafka;
  /** Ends every connection at once and for good (C2). */
  cut(): void;
  /** Ends the connections to one broker ("host:port"), with an error for all that waits on them. */
  drop(broker: string): void;
};

export function openClient(settings: KafkaConnection, log: Log): Client {
  const sockets = new Map<net.Socket, string>();
  let isCut = false;
  const socketFactory: KafkaConfig['socketFactory'] = ({ host, port, ssl, onConnect }) => {
    if (isCut) throw new Error('this client was closed');
    const socket = ssl
      ? tls.connect({ host, port, ...(net.isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect)
      : net.connect({ host, port }, onConnect);
    socket.setKeepAlive(true, 10_000);
    socket.setNoDelay(true); // kafkajs does not: with Nagle a request waits for the acknowledgement of the one before
    socket.setMaxListeners(0); // kafkajs writes to sockets that are still connecting, and each write listens
    sockets.set(socket, `${host}:${port}`);
    socket.once('close', () => sockets.delete(socket));
    return socket;
  };
  const kafka = new kafkajs.Kafka({
    brokers: settings.brokers,
    clientId: settings.clientId,
    ...(settings.ssl ? { ssl: settings.ssl } : {}),
    ...(settings.sasl ? { sasl: copyOf(settings.sasl) } : {}),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    retry: RETRY,
    socketFactory,
    logLevel: kafkajs.logLevel.INFO,
    logCreator: () => (entry) => writeLine(log, entry),
  });
  const end = (which: (broker: string) => boolean, reason: string) => {
    for (const [socket, broker] of sockets) if (which(broker)) socket.destroy(new Error(reason));
  };
  return {
    kafka,
    cut() {
      isCut = true;
      end(() => true, 'this client was closed');
    },
    drop: (broker) => end((name) => name === broker, `no answer from ${broker} for ${REQUEST_TIMEOUT_MS} ms`),
  };
}

/** kafkajs keeps the first user and password in the object that it is given: one that was shared, or copied from it with a
 *  new password, would go on with the old one. */
function copyOf({ mechanism, username, password }: KafkaConnection['sasl'] & object): KafkaConfig['sasl'] & object {
  return { mechanism, username, password } as KafkaConfig['sasl'] & object;
}

/** What kafkajs says in the course of its normal work, at error level: a rebalance, a coordinator that moves or is not
 *  ready (a fresh broker's first answer), brokers that are away (we say so once, not at every attempt), a transaction
 *  that is still ending; and what we threw ourselves. */
const DAILY =
  /calling eachBatch|authenticat|rebalanc|coordinator|not aware of this member|connection|connect to|no longer available|ECONN|closed|timed out|concurrent transactions|^Response |^Restarting|^Crash|leader/i;

function writeLine(log: Log, { namespace, level, log: entry }: LogEntry): void {
  const { message, timestamp: _, logger: __, stack: ___, ...fields } = entry;
  const isLoud = level <= kafkajs.logLevel.WARN && !DAILY.test(message);
  log[isLoud ? 'warn' : 'debug']({ ...fields, from: namespace }, `kafkajs: ${message}`);
}

/** Runs `act` with an admin connection of its own, which is closed afterwards whatever happened. Throws at once when
 *  `signal` aborts. */
export async function withAdmin<T>(
  settings: KafkaConnection,
  log: Log,
  act: (admin: Admin) => Promise<T>,
  signal: AbortSignal = new AbortController().signal,
): Promise<T> {
  signal.throwIfAborted();
  const client = openClient(settings, log);
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  aborted.catch(() => {});
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort);
  const admin = client.kafka.admin();
  try {
    const result = admin.connect().then(() => act(admin));
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    client.cut();
  }
}

/** A setting or a topic that must be changed by a person; trying again does not help. */
export class Refused extends Error {
  override name = 'Refused';
}

export type TopicSettings = KafkaConnection & {
  topics: string[];
  createTopics: boolean;
  allowCompacted: boolean;
  /** How many partitions a topic gets that is created here. */
  partitions: (topic: string) => number;
};

/** Makes sure that the topics are there and keep every record. Throws Refused, or what kafkajs throws. */
export async function prepareTopics(admin: Admin, settings: TopicSettings, log: Log): Promise<void> {
  const existing = new Set(await admin.listTopics());
  const missing = settings.topics.filter((topic) => !existing.has(topic));
  if (missing.length > 0 && !settings.createTopics) {
    throw new Error(`topics are missing: ${missing.join(', ')} (create them, or set KAFKA_CREATE_TOPICS)`);
  }
  if (missing.length > 0) await createTopics(admin, missing, settings, log);
  if (settings.allowCompacted) return;
  const compacted = await findCompacted(admin, settings.topics, log);
  if (compacted.length > 0) {
    throw new Refused(
      `compacted topics lose events before they are read: ${compacted.join(', ')} has cleanup.policy=compact. ` +
        'Set cleanup.policy=delete, or allow it with KAFKA_ALLOW_COMPACTED',
    );
  }
}

async function createTopics(admin: Admin, missing: string[], settings: TopicSettings, log: Log): Promise<void> {
  const topics = missing.map((topic) => ({ topic, numPartitions: settings.partitions(topic) }));
  try {
    await admin.createTopics({ topics, timeout: REQUEST_TIMEOUT_MS });
  } catch (error) {
    // kafkajs says "Topic creation errors" and keeps the reasons inside.
    const reasons = (error as { errors?: (Error & { topic?: string })[] }).errors ?? [error as Error];
    const texts = reasons.map((reason) => ('topic' in reason ? `${reason.topic}: ${reason.message}` : reason.message));
    throw new Error(`topics could not be created: ${texts.join('; ')}`, { cause: error });
  }
  log.info({ topics }, 'created topics that were missing');
}

async function findCompacted(admin: Admin, topics: readonly string[], log: Log): Promise<string[]> {
  const { TOPIC } = kafkajs.ConfigResourceTypes;
  const resources = topics.map((name) => ({ type: TOPIC, name, configNames: ['cleanup.policy'] }));
  try {
    const described = await admin.describeConfigs({ resources, includeSynonyms: false });
    const isCompacted = (entry: { configName: string; configValue: string }) =>
      entry.configName === 'cleanup.policy' && entry.configValue.includes('compact');
    return described.resources
      .filter(({ configEntries }) => configEntries.some(isCompacted))
      .map(({ resourceName }) => resourceName);
  } catch (error) {
    if ((error as { type?: string }).type !== 'TOPIC_AUTHORIZATION_FAILED') throw error;
    log.warn({}, 'not allowed to read the settings of the topics (DescribeConfigs): compaction goes unnoticed');
    return [];
  }
}

/** Members of the group that subscribe to other topics than we do: partitions would stay unread (kafkajs assigns the
 *  leader's topics to everybody, and each drops what it did not subscribe to). */
export async function findUnlikeMembers(admin: Admin, groupId: string, topics: readonly string[]): Promise<string[]> {
  const { groups } = await admin.describeGroups([groupId]);
  const ours = [...topics].sort().join(', ');
  return groups
    .flatMap(({ members }) => members)
    .flatMap(({ clientId, clientHost, memberMetadata }) => {
      // Empty while the group is rebalancing.
      if (memberMetadata.length === 0) return [];
      const theirs = [...(kafkajs.AssignerProtocol.MemberMetadata.decode(memberMetadata)?.topics ?? [])].sort();
      return theirs.join(', ') === ours ? [] : [`${clientId} at ${clientHost} reads ${theirs.join(', ')}`];
    });
}

export function unlikeText(groupId: string, unlike: readonly string[]): string {
  return `the group ${groupId} has members that read other topics: ${unlike.join('; ')}`;
}

export type PartitionStatus = TopicPartition & { logStart: bigint; logEnd: bigint; committed: bigint | null };
export type KafkaStatus = { clusterId: string; partitions: PartitionStatus[] };

/** Log start and end of every partition of the topics, and what the group committed. Topics that are missing are left
 *  out. Asks the cluster; throws what kafkajs throws. */
export async function readStatus(admin: Admin, groupId: string, topics: readonly string[]): Promise<KafkaStatus> {
  const existing = new Set(await admin.listTopics());
  const known = topics.filter((topic) => existing.has(topic));
  const [{ clusterId }, committed, ...logs] = await Promise.all([
    admin.describeCluster(),
    known.length === 0 ? [] : admin.fetchOffsets({ groupId, topics: known }),
    ...known.map((topic) => admin.fetchTopicOffsets(topic)),
  ]);
  const offsets = new Map(
    committed.flatMap(({ topic, partitions }) => partitions.map((p) => [keyOf({ topic, ...p }), BigInt(p.offset)])),
  );
  const partitions = known.flatMap((topic, i) =>
    (logs[i] ?? [])
      .map(({ partition, low, high }) => {
        const offset = offsets.get(keyOf({ topic, partition })) ?? -1n;
        const logStart = BigInt(low);
        return { topic, partition, logStart, logEnd: BigInt(high), committed: offset < 0n ? null : offset };
      })
      .sort((a, b) => a.partition - b.partition),
  );
  return { clusterId, partitions };
}

/** As it is now, with a connection of its own; the group is not asked, whose coordinator may be away. Undefined: the cluster has no such
 *  partition. */
export async function readLog(
  settings: KafkaConnection,
  log: Log,
  { topic, partition }: TopicPartition,
): Promise<{ clusterId: string; logStart: bigint; logEnd: bigint } | undefined> {
  return await withAdmin(settings, log, async (admin) => {
    if (!(await admin.listTopics()).includes(topic)) return undefined;
    const [{ clusterId }, offsets] = await Promise.all([admin.describeCluster(), admin.fetchTopicOffsets(topic)]);
    const found = offsets.find((each) => each.partition === partition);
    return found && { clusterId, logStart: BigInt(found.low), logEnd: BigInt(found.high) };
  });
}

/** For `status`: as readStatus, with a connection of its own. */
export function kafkaStatus(settings: KafkaConnection & { groupId: string; topics: string[] }, log: Log) {
  return withAdmin(settings, log, (admin) => readStatus(admin, settings.groupId, settings.topics));
}

export type OutgoingRecord = {
  topic: string;
  key: Buffer | string | null;
  value: Buffer | string | null;
  headers?: readonly (readonly [name: string, value: Buffer | string])[];
  /** Default: by the key's hash, as Java's client does; without a key, some partition. */
  partition?: number;
  timestampMs?: number;
};
export type Coordinates = TopicPartition & { offset: bigint };
export type Producer = {
  /** Resolves when all replicas have the records, with their coordinates in the order given. Records of one partition
   *  keep their order as long as one send waits for the one before. A failed attempt may have written some of them: they
   *  are then there twice. */
  send(records: readonly OutgoingRecord[]): Promise<Coordinates[]>;
  close(): Promise<void>;
};

/** kafkajs groups the records of a request in quadratic time. */
const RECORDS_PER_REQUEST = 1_000;

export async function connectProducer(settings: KafkaConnection, log: Log): Promise<Producer> {
  const client = openClient(settings, log);
  const chosen = new WeakMap<Message, number>();
  const producer = client.kafka.producer({
    allowAutoTopicCreation: false,
    retry: { ...RETRY, retries: 15 },
    createPartitioner: () => {
      const choose = kafkajs.Partitioners.DefaultPartitioner();
      return (args) => {
        // A retry groups the records anew: without a key it would choose another partition, out of order.
        const partition = chosen.get(args.message) ?? choose(args);
        chosen.set(args.message, partition);
        return partition;
      };
    },
  });
  await producer.connect().catch((error) => {
    client.cut();
    throw error;
  });

  async function sendSome(records: readonly OutgoingRecord[]): Promise<Coordinates[]> {
    const messages = records.map((record) => ({ topic: record.topic, message: toMessage(record) }));
    const coordinates = new Map<Message, Coordinates>();
    // kafkajs resolves although it left partitions out, when their leader moved between an attempt and its retry to a
    // broker that had answered already (seen with brokers paused): what has no offset is sent again.
    for (let rest = messages; rest.length > 0; rest = messages.filter(({ message }) => !coordinates.has(message))) {
      const topicMessages = [...Map.groupBy(rest, ({ topic }) => topic)].map(([topic, some]) => {
        return { topic, messages: some.map(({ message }) => message) };
      });
      const sent = await producer.sendBatch({ topicMessages });
      const next = new Map(sent.map((one) => [keyOf({ ...one, topic: one.topicName }), BigInt(one.baseOffset ?? -1)]));
      for (const { topic, message } of rest) {
        const place = { topic, partition: chosen.get(message) as number };
        const offset = next.get(keyOf(place));
        if (offset === undefined) continue;
        next.set(keyOf(place), offset + 1n);
        coordinates.set(message, { ...place, offset });
      }
    }
    return messages.map(({ message }) => coordinates.get(message) as Coordinates);
  }

  return {
    async send(records) {
      const coordinates: Coordinates[] = [];
      for (let i = 0; i < records.length; i += RECORDS_PER_REQUEST) {
        coordinates.push(...(await sendSome(records.slice(i, i + RECORDS_PER_REQUEST))));
      }
      return coordinates;
    },
    async close() {
      await producer.disconnect().catch(() => {});
      client.cut();
    },
  };
}

function toMessage({ key, value, headers, partition, timestampMs }: OutgoingRecord): Message {
  const message: Message = { key, value };
  if (headers !== undefined) message.headers = toHeaders(headers);
  if (partition !== undefined) message.partition = partition;
  if (timestampMs !== undefined) message.timestamp = String(timestampMs);
  return message;
}

/** kafkajs takes an object: repeated names become a list, and lose their place among the others. */
function toHeaders(pairs: readonly (readonly [string, Buffer | string])[]): IHeaders {
  const headers: IHeaders = Object.create(null);
  for (const [name, value] of pairs) {
    const before = headers[name];
    headers[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value];
  }
  return headers;
}

/** The other way round. Names such as "toString" come with a function of Object.prototype in front: left out. */
export function fromHeaders(headers: IHeaders | undefined): Header[] {
  const pairs: Header[] = [];
  for (const name in headers) {
    if (!Object.hasOwn(headers, name)) continue;
    const values: unknown = headers[name];
    for (const value of Array.isArray(values) ? values : [values]) {
      if (value === null || Buffer.isBuffer(value)) pairs.push([name, value]);
      else if (typeof value === 'string') pairs.push([name, Buffer.from(value)]);
    }
  }
  return pairs;
}

export const keyOf = ({ topic, partition }: TopicPartition) => `${topic}/${partition}`;
export const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** Pauses that double from 250 ms to 5 s, with jitter, and end at once when `signal` aborts. */
export function waiter(signal: AbortSignal) {
  const first = 250;
  let ms = first;
  return {
    reset() {
      ms = first;
    },
    async pause(): Promise<void> {
      await sleep(ms * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => {});
      ms = Math.min(ms * 2, 5_000);
    },
  };
}
