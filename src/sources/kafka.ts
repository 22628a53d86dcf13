// kafka.ts — the Kafka source: a member of the group, and another one whenever it ends, until `stop`.
//
// Owns:          what is checked before joining, the rebuilding for ever, the facts.
// Does not own:  the member and its batches (kafka-member.ts), connections and the producer (kafka-client.ts).
import type { Admin } from 'kafkajs';
import {
  findUnlikeMembers,
  type Log,
  prepareTopics,
  Refused,
  readLog,
  type TopicSettings,
  textOf,
  unlikeText,
  waiter,
  withAdmin,
} from './kafka-client.ts';
import { Member, type MemberSettings, nothingSeen } from './kafka-member.ts';
import type { Mailbox, Source, Watch } from './source.ts';

export type KafkaSettings = TopicSettings & MemberSettings;

/** While the brokers are away, a line this often. */
const SAY_EVERY_MS = 30_000;

/** The source for `settings.topics`. `start` resolves when the group was joined or `stop` called, waits for ever while
 *  brokers are away, and throws Refused where only a person can help (a compacted topic, members with other topics). */
export function kafkaSource(settings: KafkaSettings, log: Log, watch?: Watch): Source {
  const stopping = new AbortController();
  const { signal } = stopping;
  const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  const say = seldom(log);
  let member: Member | null = null;
  let crashed: string | null = null;
  let dead: string | null = null;
  const seen = nothingSeen();
  let life: Promise<void> = Promise.resolve();
  const { promise: ended, reject: end } = Promise.withResolvers<void>();
  ended.catch(() => {}); // there may be nobody who asks

  /** One member after the other. The mailbox keeps the positions, so nothing is carried from one to the next. */
  async function live(mailbox: Mailbox, onJoin: () => void): Promise<void> {
    const wait = waiter(signal);
    let hasJoined = false;
    while (!signal.aborted) {
      try {
        await withAdmin(settings, log, (admin) => prepareTopics(admin, settings, log), signal);
        if (!hasJoined) await refuseUnlikeMembers(settings, log, signal);
        member = new Member(settings, log, mailbox, seen, watch);
        await Promise.race([member.join(), stopped]);
        hasJoined = true;
        crashed = null;
        onJoin();
        wait.reset();
        await Promise.race([member.crash(), stopped]);
      } catch (error) {
        if (error instanceof Refused && !hasJoined) throw error;
        crashed = textOf(error);
        if (member?.joined) log.warn({ error: crashed }, 'the consumer ended, another is built');
        else if (!signal.aborted) say({ error: crashed }, `waiting for Kafka at ${settings.brokers.join(', ')}`);
      }
      await member?.leave();
      if (crashed !== null) await wait.pause();
    }
  }

  return {
    start(mailbox) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      life = live(mailbox, resolve).then(resolve, (error) => {
        dead = textOf(error);
        reject(error);
        end(error);
      });
      return promise;
    },
    async stop() {
      stopping.abort();
      await life;
    },
    seek: (partition, at) => member?.seek(partition, at),
    pause: (partition) => member?.pause(partition),
    facts: () => ({
      joined: member?.joined ?? false,
      stopping: signal.aborted,
      crashed,
      dead,
      ...seen,
      member: member?.id ?? null,
      assigned: [...(member?.held.values() ?? [])].map(({ topic, partition, highWatermark, mode, next, skippedTo }) => {
        const empty = skippedTo > next ? { from: next, to: skippedTo } : undefined;
        const halted = mode === 'halted';
        return { topic, partition, highWatermark, paused: halted || mode === 'waiting', halted, empty };
      }),
    }),
    logOf: (partition) => readLog(settings, log, partition),
    ended,
  };
}

/** Throws Refused when members with other topics stay for longer than a dead one would. */
async function refuseUnlikeMembers(settings: KafkaSettings, log: Log, signal: AbortSignal): Promise<void> {
  const wait = waiter(signal);
  const giveUpAtMs = Date.now() + settings.sessionTimeoutMs + 2_000;
  while (!signal.aborted) {
    const find = (admin: Admin) => findUnlikeMembers(admin, settings.groupId, settings.topics);
    const unlike = await withAdmin(settings, log, find, signal);
    if (unlike.length === 0) return;
    const text = unlikeText(settings.groupId, unlike);
    if (Date.now() > giveUpAtMs) {
      throw new Refused(`${text}. Partitions would stay unread: stop them first, or use another KAFKA_GROUP_ID`);
    }
    log.warn({ unlike }, `${text}; waiting for them to leave`);
    await wait.pause();
  }
}

/** A warning, unless the same one was written a moment ago. */
function seldom(log: Log): Log['warn'] {
  let last = { text: '', atMs: 0 };
  return (fields, text) => {
    const atMs = Date.now();
    if (text === last.text && atMs - last.atMs < SAY_EVERY_MS) return;
    last = { text, atMs };
    log.warn(fields, text);
  };
}
