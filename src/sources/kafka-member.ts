// kafka-member.ts — one consumer of the group, from joining until it crashes or leaves.
//
// Owns:          the assignment, handing over batches, heartbeats, commits, the looks at the ends of its logs.
// Does not own:  its own rebuilding (kafka.ts), connections (kafka-client.ts), where to go on (the mailbox).
//
// A held partition is in one of four modes; `#setMode` alone changes them:
//   settling  assigned, but the mailbox has not said yet where to start: kafkajs does not fetch it
//   running   fetched; its batches go to `take`
//   halted    not fetched until `seek` says where to go on
//   waiting   not fetched for a moment: its batch could not be saved, and would keep others from being fetched
// Every assignment makes all partitions settling, so a pause of the last one is gone and a seek never comes too early:
// kafkajs keeps both for partitions that left, and applies them when they come back.
//
// K1  Nothing is resolved or committed that the mailbox did not report as saved.
// K2  A batch that was fetched before the last seek, or under an assignment that is gone, never reaches `take`.
// K3  Only errors of kafkajs, and BatchFailed, leave `eachBatch`: a TypeError would stop kafkajs for good.
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, {
  type Admin,
  type Consumer,
  type ConsumerGroupJoinEvent,
  type EachBatchPayload,
  type Batch as KafkajsBatch,
  type KafkaMessage,
} from 'kafkajs';
import type { SourceRecord } from '../events.ts';
import {
  type Client,
  findUnlikeMembers,
  fromHeaders,
  type KafkaConnection,
  keyOf,
  type Log,
  openClient,
  readStatus,
  textOf,
  unlikeText,
  waiter,
  withAdmin,
} from './kafka-client.ts';
import type { Batch, Mailbox, SourceFacts, Start, TopicPartition, Watch } from './source.ts';

export type MemberSettings = KafkaConnection & {
  groupId: string;
  topics: string[];
  sessionTimeoutMs: number;
  heartbeatMs: number;
  rebalanceTimeoutMs: number;
  maxWaitMs: number;
  minBytes: number;
  maxBytesPerPartition: number;
  concurrentPartitions: number;
};

/** How long `leave` lets batches in flight run before it aborts them, and before it cuts the connections. */
const FINISH_MS = 8_000;
const LEAVE_MS = 9_500;
/** How soon partitions that were added to a topic are noticed (kafkajs: 5 minutes). One small request. */
const METADATA_MS = 60_000;
/** How often the ends of the logs are looked at. Fetches tell them too, but not while nothing is fetched (halted, waiting),
 *  nor of an empty one. Scrapes come every 15 to 60 s; a look is one connection and two small requests per topic. */
const LOOK_EVERY_MS = 15_000;

type Held = TopicPartition & {
  mode: 'settling' | 'running' | 'halted' | 'waiting';
  /** Where the mailbox said to go on, and how far the log was found empty from there. */
  next: bigint;
  skippedTo: bigint;
  /** A seek was given and kafkajs has not fetched since: what still arrives is from before it. */
  isSeeking: boolean;
  highWatermark: bigint | null;
  /** The batch that `take` has. */
  inFlight: AbortController | null;
};

function newlyHeld({ topic, partition }: TopicPartition): Held {
  const position = { next: 0n, skippedTo: 0n, isSeeking: false };
  return { topic, partition, mode: 'settling', ...position, highWatermark: null, inFlight: null };
}

/** What members saw, one after the other: written by the one that lives. */
export type Seen = Pick<
  SourceFacts,
  'lastProgressAtMs' | 'lastFetchAtMs' | 'lastHeartbeatAtMs' | 'lastCommitAtMs' | 'lastAnswerAtMs' | 'rebalances'
>;
export function nothingSeen(): Seen {
  const never = { lastFetchAtMs: null, lastHeartbeatAtMs: null, lastCommitAtMs: null, lastAnswerAtMs: null };
  return { lastProgressAtMs: Date.now(), ...never, rebalances: 0 };
}

/** Not an error of kafkajs; what goes wrong around a batch leaves `eachBatch` as this (K3). */
class BatchFailed extends Error {
  override name = 'BatchFailed';
}

/** One consumer, from joining the group until it crashes or leaves. */
export class Member {
  readonly held = new Map<string, Held>();
  joined = false;
  id: string | null = null;

  readonly #settings: MemberSettings;
  readonly #log: Log;
  readonly #mailbox: Mailbox;
  readonly #seen: Seen;
  readonly #watch: Watch | undefined;
  readonly #client: Client;
  readonly #consumer: Consumer;
  readonly #firstJoin = Promise.withResolvers<void>();
  /** Rejects when the consumer is of no use any more. */
  readonly #crash = Promise.withResolvers<never>();
  readonly #commits: Commits;
  #phase: 'connecting' | 'member' | 'leaving' = 'connecting';
  #running: Promise<void> = Promise.resolve();
  #settling = new AbortController();
  readonly #looking = new AbortController();
  #lastHeartbeatAtMs = Date.now();
  /** Why all batches in flight have to end: kafkajs can only join again when it sees this error. */
  #mustEnd: Error | null = null;

  constructor(settings: MemberSettings, log: Log, mailbox: Mailbox, seen: Seen, watch?: Watch) {
    this.#settings = settings;
    this.#log = log;
    this.#mailbox = mailbox;
    this.#seen = seen;
    this.#watch = watch;
    seen.lastProgressAtMs = Date.now();
    this.#client = openClient(settings, log);
    this.#crash.promise.catch(() => {});
    this.#commits = new Commits(log, watch);
    this.#consumer = this.#client.kafka.consumer({
      groupId: settings.groupId,
      sessionTimeout: settings.sessionTimeoutMs,
      heartbeatInterval: settings.heartbeatMs,
      rebalanceTimeout: settings.rebalanceTimeoutMs,
      maxWaitTimeInMs: settings.maxWaitMs,
      minBytes: settings.minBytes,
      maxBytesPerPartition: settings.maxBytesPerPartition,
      metadataMaxAge: METADATA_MS,
      allowAutoTopicCreation: false,
      // One way back from a crash, ours (K4): a restart of kafkajs' own can not be stopped while it is on its way.
      retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5, restartOnFailure: async () => false },
    });
    this.#listen();
    void this.#lookAtEnds();
  }

  #listen(): void {
    const { events, on } = this.#consumer;
    on(events.GROUP_JOIN, ({ payload }) => this.#onJoin(payload));
    on(events.REBALANCING, () => {
      this.joined = false;
    });
    on(events.HEARTBEAT, () => {
      this.#lastHeartbeatAtMs = this.#seen.lastHeartbeatAtMs = this.#seen.lastProgressAtMs = Date.now();
    });
    on(events.FETCH_START, () => {
      this.#mustEnd = null;
      for (const held of this.held.values()) held.isSeeking = false;
    });
    on(events.FETCH, () => {
      this.#seen.lastFetchAtMs = this.#seen.lastProgressAtMs = Date.now();
    });
    on(events.COMMIT_OFFSETS, () => {
      this.#seen.lastCommitAtMs = Date.now();
    });
    on(events.REQUEST, ({ payload: { apiName, broker, duration } }) => {
      this.#seen.lastAnswerAtMs = Date.now();
      this.#watch?.requested(apiName, broker, duration / 1_000);
    });
    on(events.END_BATCH_PROCESS, ({ payload }) => {
      this.#seen.lastProgressAtMs = Date.now();
      if (payload.batchSize === 0) this.#onSkip(payload);
    });
    // A connection that does not answer is dead, whatever TCP thinks: kafkajs would go on using it.
    on(events.REQUEST_TIMEOUT, ({ payload }) => this.#client.drop(payload.broker));
    on(events.CRASH, ({ payload }) => this.#crash.reject(payload.error));
  }

  /** Resolves when the group was joined, throws what went wrong. */
  async join(): Promise<void> {
    this.#running = this.#run().catch((error) => this.#crash.reject(error));
    await Promise.race([this.#firstJoin.promise, this.#crash.promise]);
  }

  /** Throws when the consumer is of no use any more. */
  async crash(): Promise<never> {
    return this.#crash.promise;
  }

  async #run(): Promise<void> {
    await this.#consumer.connect();
    // From the start: should kafkajs ever choose an offset by itself, it shows as a gap and nothing is skipped.
    await this.#consumer.subscribe({ topics: this.#settings.topics, fromBeginning: true });
    if (this.#phase === 'leaving') return;
    this.#phase = 'member';
    await this.#consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: this.#settings.concurrentPartitions,
      eachBatch: (payload) => this.#eachBatch(payload),
    });
  }

  /** Takes no new batch, lets those in flight end, commits, leaves the group. At most LEAVE_MS. */
  async leave(): Promise<void> {
    if (this.#phase === 'leaving') return;
    const isMember = this.#phase === 'member';
    this.#phase = 'leaving';
    this.#settling.abort();
    this.#looking.abort();
    const finish = setTimeout(() => {
      this.#log.warn({ ms: FINISH_MS }, 'batches in flight did not end in time and are given up; they come again');
      this.#abortAll();
    }, FINISH_MS);
    const { promise: tooLate, resolve } = Promise.withResolvers<void>();
    const cut = setTimeout(() => {
      this.#log.warn({ ms: LEAVE_MS }, 'the group was left without a word; it notices after the session timeout');
      resolve();
    }, LEAVE_MS);
    // kafkajs can not stop a join that is under way: it would end as a member that nobody knows of.
    const part = async () => {
      await this.#running;
      await this.#commits.done();
      await this.#consumer.disconnect();
    };
    const parted = part().catch(() => {});
    if (isMember) await Promise.race([parted, tooLate]);
    clearTimeout(finish);
    clearTimeout(cut);
    this.#client.cut();
    this.#abortAll();
    this.joined = false;
    const lost = [...this.held.values()];
    this.held.clear();
    if (lost.length > 0) this.#mailbox.revoked(lost.map(({ topic, partition }) => ({ topic, partition })));
  }

  #onJoin({ memberId, memberAssignment, isLeader }: ConsumerGroupJoinEvent['payload']): void {
    if (this.#phase === 'leaving') return;
    this.id = memberId;
    this.joined = true;
    this.#seen.rebalances++;
    this.#firstJoin.resolve();
    this.#mustEnd = null;
    this.#lastHeartbeatAtMs = this.#seen.lastProgressAtMs = Date.now();
    this.#settling.abort();
    this.#settling = new AbortController();

    const before = new Map(this.held);
    this.held.clear();
    for (const [topic, partitions] of Object.entries(memberAssignment)) {
      for (const partition of partitions) {
        const key = keyOf({ topic, partition });
        this.held.set(key, before.get(key) ?? newlyHeld({ topic, partition }));
        before.delete(key);
      }
    }
    for (const held of this.held.values()) this.#setMode(held, 'settling');
    for (const { inFlight } of before.values()) inFlight?.abort();
    const lost = [...before.values()].map(({ topic, partition }) => ({ topic, partition }));
    if (lost.length > 0) this.#mailbox.revoked(lost);
    this.#log.info({ member: memberId, partitions: [...this.held.keys()], lost: lost.map(keyOf) }, 'joined the group');
    void this.#settle(isLeader, this.#settling.signal);
  }

  /** Asks where to start, until it is known or the assignment is another one. */
  async #settle(isLeader: boolean, signal: AbortSignal): Promise<void> {
    const wait = waiter(signal);
    while (!signal.aborted) {
      try {
        const starts = await this.#askStarts(isLeader, signal);
        if (signal.aborted) return;
        for (const { topic, partition, at, halted } of starts) {
          const held = this.held.get(keyOf({ topic, partition }));
          if (held === undefined) continue;
          if (halted) this.#setMode(held, 'halted');
          else this.#goOn(held, at);
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn({ error: textOf(error) }, 'the partitions wait: where to start could not be read');
        await wait.pause();
      }
    }
  }

  async #askStarts(isLeader: boolean, signal: AbortSignal): Promise<readonly Start[]> {
    const held = [...this.held.values()];
    if (held.length === 0) return [];
    const { groupId, topics } = this.#settings;
    const ask = async (admin: Admin) => {
      const unlike = isLeader ? await findUnlikeMembers(admin, groupId, topics) : [];
      if (unlike.length > 0) this.#log.error({ unlike }, `partitions stay unread: ${unlikeText(groupId, unlike)}`);
      return readStatus(admin, groupId, [...new Set(held.map(({ topic }) => topic))]);
    };
    const status = await withAdmin(this.#settings, this.#log, ask, signal);
    const logs = new Map(status.partitions.map((partition) => [keyOf(partition), partition]));
    const assigned = held.map((one) => {
      const log = logs.get(keyOf(one));
      if (log === undefined) throw new Error(`${keyOf(one)} is assigned, but the cluster does not know it`);
      one.highWatermark = log.logEnd;
      return { ...log, clusterId: status.clusterId };
    });
    return this.#mailbox.assigned(assigned, signal);
  }

  /** Also before the first join: that a broker answers here while the group does not tells a join that hangs. */
  async #lookAtEnds(): Promise<void> {
    const { signal } = this.#looking;
    for (;;) {
      await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      await withAdmin(this.#settings, this.#log, (admin) => this.#readEnds(admin), signal).catch((error) =>
        this.#log.debug({ error: textOf(error) }, 'the ends of the logs could not be read; the next look follows'),
      );
    }
  }

  async #readEnds(admin: Admin): Promise<void> {
    this.#seen.lastAnswerAtMs = Date.now(); // it is connected
    const topics = new Set([...this.held.values()].map(({ topic }) => topic));
    for (const topic of topics) {
      const before = new Map([...this.held.values()].map((held) => [held, held.highWatermark]));
      for (const { partition, high } of await admin.fetchTopicOffsets(topic)) {
        const held = this.held.get(keyOf({ topic, partition }));
        if (held === undefined) continue;
        // A batch may have told a newer one meanwhile; else the log can have become shorter: it may be another one.
        const isTold = before.get(held) !== held.highWatermark;
        if (!isTold || BigInt(high) > (held.highWatermark ?? -1n)) held.highWatermark = BigInt(high);
      }
    }
  }

  /** The client dropped a batch by itself because it held no data (markers, aborted records, compaction). */
  #onSkip({ topic, partition, firstOffset, lastOffset }: TopicPartition & { firstOffset: string; lastOffset: string }) {
    const held = this.held.get(keyOf({ topic, partition }));
    if (held === undefined || held.mode !== 'running' || held.isSeeking) return;
    // firstOffset is null where every record lay below the offset asked for.
    if (firstOffset !== null && BigInt(firstOffset) < held.skippedTo) return;
    const to = BigInt(lastOffset) + 1n;
    if (to > held.skippedTo) held.skippedTo = to;
  }

  async #eachBatch(payload: EachBatchPayload): Promise<void> {
    if (this.#mustEnd !== null) throw this.#mustEnd;
    const held = this.held.get(keyOf(payload.batch));
    // (K2) Nothing is resolved here, so what is dropped is fetched again.
    if (held?.mode !== 'running' || held.inFlight !== null || this.#phase === 'leaving' || payload.isStale()) return;
    try {
      await this.#handOver(held, payload);
    } catch (error) {
      this.#log.error({ partition: keyOf(held), error: textOf(error) }, 'a batch failed outside of the pipeline');
      throw new BatchFailed(`a batch of ${keyOf(held)} failed: ${textOf(error)}`, { cause: error });
    }
    if (this.#mustEnd !== null) throw this.#mustEnd;
  }

  async #handOver(held: Held, payload: EachBatchPayload): Promise<void> {
    const batch = toBatch(payload.batch as RuntimeBatch, held);
    const abort = new AbortController();
    held.inFlight = abort;
    held.highWatermark = batch.highWatermark;
    // Twice as often as needed: kafkajs sends one only when `heartbeatMs` have passed, and a timer may come 1 ms early.
    const timer = setInterval(() => this.#beat(payload), this.#settings.heartbeatMs / 2);
    try {
      const taken = await this.#mailbox.take(batch, abort.signal);
      // Another assignment, or an operator's pause, came meanwhile: where to go on is not this batch's to say.
      if (this.held.get(keyOf(held)) !== held || held.mode !== 'running') return;
      if (taken.what === 'saved') this.#onSaved(held, payload, taken.next);
      else if (taken.what === 'seek') this.#goOn(held, taken.next);
      else if (taken.what === 'halted') this.#setMode(held, 'halted');
      else if (taken.what === 'wait') this.#wait(held, taken.ms);
      else if (taken.what === 'rejoin') this.#crash.reject(new Error(`${keyOf(held)} is worked on by somebody else`));
    } finally {
      clearInterval(timer);
      held.inFlight = null;
    }
    // The group takes no commit of a member that has left.
    if (this.#phase === 'leaving') await this.#commits.done();
  }

  #onSaved(held: Held, { batch, resolveOffset, commitOffsetsIfNecessary }: EachBatchPayload, next: bigint): void {
    const lastRecord = batch.messages.at(-1)?.offset;
    held.next = next;
    // kafkajs goes on behind the whole batch once its last record is resolved: what follows it held no data.
    held.skippedTo = lastRecord === String(next - 1n) ? BigInt(batch.lastOffset()) + 1n : next;
    try {
      resolveOffset(String(next - 1n));
    } catch {
      return; // kafkajs has a new assignment, and its GROUP_JOIN is about to come
    }
    this.#commits.add(held, next, commitOffsetsIfNecessary);
  }

  async #beat({ heartbeat }: EachBatchPayload): Promise<void> {
    try {
      await heartbeat();
    } catch (error) {
      // A lost connection mends itself; when it lasts as long as the session, the group has given us up.
      const isExpelled = Date.now() - this.#lastHeartbeatAtMs > this.#settings.sessionTimeoutMs;
      if (!isExpelled && !asksToRejoin(error)) return;
      if (this.#mustEnd === null) this.#log.info({ error: textOf(error) }, 'the group changes: batches in flight end');
      this.#mustEnd = error instanceof kafkajs.KafkaJSError ? error : new BatchFailed('no heartbeat', { cause: error });
      this.#abortAll();
    }
  }

  #abortAll(): void {
    for (const { inFlight } of this.held.values()) inFlight?.abort();
  }

  seek(partition: TopicPartition, at: bigint): void {
    const held = this.held.get(keyOf(partition));
    // Settling: the start that is being read may be older than this one. Whoever seeks looks again (partitions.ts).
    if (held !== undefined && held.mode !== 'settling') this.#goOn(held, at);
  }

  pause(partition: TopicPartition): void {
    const held = this.held.get(keyOf(partition));
    if (held !== undefined && held.mode !== 'settling') this.#setMode(held, 'halted');
  }

  #goOn(held: Held, at: bigint): void {
    if (this.#phase === 'leaving') return;
    held.next = held.skippedTo = at;
    held.isSeeking = true;
    this.#consumer.seek({ topic: held.topic, partition: held.partition, offset: String(at) });
    this.#setMode(held, 'running');
  }

  #wait(held: Held, ms: number): void {
    this.#setMode(held, 'waiting');
    setTimeout(() => {
      if (this.held.get(keyOf(held)) === held && held.mode === 'waiting') this.#goOn(held, held.next);
    }, ms).unref();
  }

  #setMode(held: Held, mode: Held['mode']): void {
    held.mode = mode;
    if (this.#phase === 'leaving') return;
    const partition = [{ topic: held.topic, partitions: [held.partition] }];
    if (mode === 'running') this.#consumer.resume(partition);
    else this.#consumer.pause(partition);
  }
}

/** Commits the newest saved position of each partition, one request at a time; batches do not wait for it. A commit is
 *  for lag tools only (P2), so one that fails is left to the next. */
class Commits {
  readonly #log: Log;
  readonly #watch: Watch | undefined;
  readonly #waiting = new Map<string, TopicPartition & { next: bigint }>();
  #send: EachBatchPayload['commitOffsetsIfNecessary'] | null = null;
  #sending: Promise<void> | null = null;

  constructor(log: Log, watch: Watch | undefined) {
    this.#log = log;
    this.#watch = watch;
  }

  add({ topic, partition }: TopicPartition, next: bigint, send: EachBatchPayload['commitOffsetsIfNecessary']): void {
    this.#waiting.set(keyOf({ topic, partition }), { topic, partition, next });
    this.#send = send;
    this.#sending ??= this.#run();
  }

  async done(): Promise<void> {
    await this.#sending;
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      const all = [...this.#waiting.values()];
      this.#waiting.clear();
      const topics = [...Map.groupBy(all, ({ topic }) => topic)].map(([topic, partitions]) => ({
        topic,
        partitions: partitions.map(({ partition, next }) => ({ partition, offset: String(next) })),
      }));
      const startMs = Date.now();
      try {
        await this.#send?.({ topics });
        const endMs = Date.now();
        for (const commit of all) this.#watch?.committed({ ...commit, startMs, endMs });
      } catch (error) {
        this.#log.debug({ error: textOf(error) }, 'a commit failed; the position is saved, the next commit covers it');
      }
    }
    this.#sending = null;
  }
}

/** What kafkajs' batch has at run time and its types leave out (test/integration/kafka-source.test.ts pins it). */
type RuntimeBatch = KafkajsBatch & {
  fetchedOffset: string;
  rawMessages: readonly { batchContext?: { partitionLeaderEpoch: number } }[];
};

function toBatch(batch: RuntimeBatch, held: Held): Batch {
  const fetchedOffset = BigInt(batch.fetchedOffset);
  return {
    topic: batch.topic,
    partition: batch.partition,
    fetchedOffset,
    // Only a chain of skips without a break, from our position to what was asked for, explains a gap.
    skippedFrom: fetchedOffset === held.skippedTo ? held.next : fetchedOffset,
    records: batch.messages.map(toRecord),
    lastOffset: BigInt(batch.lastOffset()),
    highWatermark: BigInt(batch.highWatermark),
    leaderEpoch: batch.rawMessages.at(-1)?.batchContext?.partitionLeaderEpoch ?? null,
  };
}

/** Key and value stay slices of the whole fetch: who keeps them copies them. */
function toRecord({ offset, timestamp, key, value, headers }: KafkaMessage): SourceRecord {
  return { offset: BigInt(offset), timestampMs: Number(timestamp), key, value, headers: fromHeaders(headers) };
}

/** The errors with which the coordinator tells a member to join again; kafkajs does when they leave `eachBatch`. */
const REJOIN = new Set([
  ...['REBALANCE_IN_PROGRESS', 'NOT_COORDINATOR_FOR_GROUP', 'ILLEGAL_GENERATION'],
  ...['UNKNOWN_MEMBER_ID', 'FENCED_INSTANCE_ID'],
]);
const asksToRejoin = (error: unknown) => REJOIN.has((error as { type?: string }).type ?? '');
