// memory-source.ts — a partition log in memory behind the Source port, delivered when the test says so.
//
// For the tests about what becomes of a batch: which records come together, again, too early, or to two owners at once is
// decided by the test, not by a broker. Kafka itself: test/integration/kafka-source.test.ts.
import type { SourceRecord } from '../../src/events.ts';
import type { Batch, Mailbox, Source, SourceFacts, Taken, TopicPartition } from '../../src/sources/source.ts';
import type { Arrival } from './records.ts';

/** The log: any number of sources (owners) may read it. */
export type MemoryLog = {
  clusterId: string;
  /** To the partition each arrival names; its offset becomes the next free one. Returns the records as they lie there. */
  append(...arrivals: readonly Arrival[]): SourceRecord[];
  records(topic: string, partition?: number): readonly SourceRecord[];
  /** The log begins at `to` from now on, as after its retention or a deletion. */
  cut(topic: string, partition: number, to: number): void;
  /** Where the log begins. */
  start(topic: string, partition?: number): bigint;
  partitions(): TopicPartition[];
};

export function createMemoryLog(clusterId = 'memory'): MemoryLog {
  const logs = new Map<string, { topic: string; partition: number; records: SourceRecord[] }>();
  const starts = new Map<string, bigint>();
  return {
    clusterId,
    append: (...arrivals) =>
      arrivals.map(({ place, ...record }) => {
        const { records } = at(place.topic, place.partition);
        const appended = { ...record, offset: BigInt(records.length) };
        records.push(appended);
        return appended;
      }),
    records: (topic, partition = 0) => at(topic, partition).records,
    cut: (topic, partition, to) => void starts.set(`${topic}/${partition}`, BigInt(to)),
    start: (topic, partition = 0) => starts.get(`${topic}/${partition}`) ?? 0n,
    partitions: () => [...logs.values()].map(({ topic, partition }) => ({ topic, partition })),
  };

  function at(topic: string, partition: number) {
    const found = logs.get(`${topic}/${partition}`) ?? { topic, partition, records: [] };
    logs.set(`${topic}/${partition}`, found);
    return found;
  }
}

export type MemorySource = Source & {
  /** Assigns all partitions of the log, as a group would. Called by `start` and for partitions that came since. */
  assign(): Promise<void>;
  /** The group assigns them all anew, and this owner keeps them, with the batches that it has in flight. */
  rejoin(): Promise<void>;
  /** One batch: `records` records (default: all) from `from` (default: where this owner believes to be). Follows what
   *  `take` answers. */
  deliver(
    topic: string,
    partition?: number,
    options?: { from?: bigint; records?: number; skippedFrom?: bigint },
  ): Promise<Taken>;
  /** Everything that is left of all partitions, in batches of `size` records, until nothing is left or all are halted. */
  drain(size?: number): Promise<void>;
  /** Where this owner would fetch next. */
  at(topic: string, partition?: number): bigint;
  halted: ReadonlySet<string>;
};

export function createMemorySource(log: MemoryLog): MemorySource {
  const positions = new Map<string, bigint>();
  const halted = new Set<string>();
  const aborting = new AbortController();
  let mailbox: Mailbox | undefined;
  const facts: SourceFacts = {
    joined: false,
    stopping: false,
    crashed: null,
    dead: null,
    lastProgressAtMs: Date.now(),
    ...{ lastFetchAtMs: null, lastHeartbeatAtMs: null, lastCommitAtMs: null, lastAnswerAtMs: null, rebalances: 0 },
    member: 'memory',
    get assigned() {
      return [...positions.keys()].map((key) => {
        const [topic = '', partition] = key.split('/');
        const isHalted = halted.has(key);
        // Nobody looks at its end: what a page shows of that is tested on Kafka.
        return { topic, partition: Number(partition), highWatermark: null, paused: isHalted, halted: isHalted };
      });
    },
  };

  return {
    async start(to) {
      mailbox = to;
      await assign();
      facts.joined = true;
    },
    async stop() {
      facts.stopping = true;
      aborting.abort();
    },
    seek({ topic, partition }, next) {
      const key = `${topic}/${partition}`;
      if (!positions.has(key)) return;
      positions.set(key, next);
      halted.delete(key);
    },
    pause({ topic, partition }) {
      const key = `${topic}/${partition}`;
      if (positions.has(key)) halted.add(key);
    },
    facts: () => facts,
    async logOf({ topic, partition }) {
      const isThere = log.partitions().some((each) => each.topic === topic && each.partition === partition);
      return isThere ? { clusterId: log.clusterId, ...endsOf(topic, partition) } : undefined;
    },
    ended: new Promise(() => {}),
    assign,
    async rejoin() {
      const kept = [...positions.keys()];
      positions.clear();
      halted.clear();
      await assign();
      for (const key of kept) if (!positions.has(key)) throw new Error(`${key} was not assigned again`);
    },
    deliver,
    async drain(size = 1_000) {
      await assign();
      for (let left = true; left && !aborting.signal.aborted; ) {
        left = false;
        for (const { topic, partition } of log.partitions()) {
          const key = `${topic}/${partition}`;
          if (halted.has(key) || (positions.get(key) ?? 0n) >= BigInt(log.records(topic, partition).length)) continue;
          left = true;
          await deliver(topic, partition, { records: size });
        }
      }
    },
    at: (topic, partition = 0) => positions.get(`${topic}/${partition}`) ?? 0n,
    halted,
  };

  async function assign(): Promise<void> {
    const fresh = log.partitions().filter(({ topic, partition }) => !positions.has(`${topic}/${partition}`));
    if (fresh.length === 0 || mailbox === undefined) return;
    const logs = fresh.map(({ topic, partition }) => ({
      topic,
      partition,
      clusterId: log.clusterId,
      committed: null,
      ...endsOf(topic, partition),
    }));
    for (const { topic, partition, at, halted: isHalted } of await mailbox.assigned(logs, aborting.signal)) {
      positions.set(`${topic}/${partition}`, at);
      if (isHalted) halted.add(`${topic}/${partition}`);
    }
  }

  function endsOf(topic: string, partition: number) {
    return { logStart: log.start(topic, partition), logEnd: BigInt(log.records(topic, partition).length) };
  }

  async function deliver(
    topic: string,
    partition = 0,
    options: { from?: bigint; records?: number; skippedFrom?: bigint } = {},
  ): Promise<Taken> {
    await assign();
    const key = `${topic}/${partition}`;
    const from = options.from ?? positions.get(key) ?? 0n;
    const all = log.records(topic, partition);
    const records = all.slice(Number(from), Number(from) + (options.records ?? all.length));
    const batch: Batch = {
      topic,
      partition,
      records,
      fetchedOffset: from,
      skippedFrom: options.skippedFrom ?? from,
      lastOffset: records.at(-1)?.offset ?? from - 1n,
      highWatermark: BigInt(all.length),
      leaderEpoch: 0,
    };
    let taken = await (mailbox as Mailbox).take(batch, aborting.signal);
    while (taken.what === 'wait' && !halted.has(key)) {
      await new Promise((resolve) => setTimeout(resolve, (taken as { ms: number }).ms));
      taken = await (mailbox as Mailbox).take(batch, aborting.signal);
    }
    facts.lastProgressAtMs = Date.now();
    // As in kafka-member.ts: a pause, or an assignment that starts it as halted, came meanwhile.
    if (halted.has(key)) return taken;
    if (taken.what === 'saved' || taken.what === 'seek') positions.set(key, taken.next);
    if (taken.what === 'halted') halted.add(key);
    return taken;
  }
}
