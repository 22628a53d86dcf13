// metrics.ts — everything that `/metrics` shows of this service: names, units, labels, and where the numbers come from.
//
// Owns:          the list (METRICS; docs/operations.md explains it), the closed sets of labels, recording and observing.
// Does not own:  calls to Postgres and Redis (db/operations.ts), Node's own (a library), the text (telemetry.ts).
//
// M1  Per event nothing happens here: a batch is counted from its tallies, once, after its save, however many tries that took. Where
//     the answer to COMMIT was lost it is not counted at all: the tallies and tables are exact, these are not.
// M2  Labels are closed sets of our own words, topics and partitions. No id, key, offset or text of an error.
// M3  What somebody counts already is read when it is scraped.
import type { Attributes, BatchObservableResult, Counter, Observable } from '@opentelemetry/api';
import { DB_METRICS } from '../db/operations.ts';
import { histogram, meter } from '../db/scope.ts';
import { user as userTable } from '../machines/index.ts';
import type { CustomersFacts } from './customers.ts';
import type { Place } from './events.ts';
import type { LagFacts } from './lag.ts';
import type { PartitionFacts } from './partitions.ts';
import type { Work } from './pipeline.ts';
import type { SourceFacts } from './sources/source.ts';
import { placeOf, serverOf } from './spans.ts';
import type { Tallies } from './tallies.ts';
import type { UserMemory } from './users.ts';

const FAST = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const DELAYS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900];

type Kind = 'counter' | 'histogram' | 'gauge' | 'updown' | 'observed counter';
type Metric = { name: string; kind: Kind; unit: string; description: string; buckets?: readonly number[] };

const DEFINED = {
  consumed: {
    name: 'messaging.client.consumed.messages',
    kind: 'counter',
    unit: '{message}',
    description: 'Records handed over by the source, again if they come again.',
  },
  duration: {
    name: 'messaging.process.duration',
    kind: 'histogram',
    unit: 's',
    description: 'One try of a batch, from decoding to its save; error.type where it failed.',
    buckets: FAST,
  },
  requests: {
    name: 'messaging.client.operation.duration',
    kind: 'histogram',
    unit: 's',
    description: 'How long a broker took to answer a request of the consumer. A fetch waits for records.',
    buckets: FAST,
  },
  events: {
    name: 'customer_service.events',
    kind: 'counter',
    unit: '{event}',
    description: 'Events by type and outcome; one that waited or was dead counts again with what became of it.',
  },
  delay: {
    name: 'customer_service.event.delay',
    kind: 'histogram',
    unit: 's',
    description: 'From the record in the log to the row in the table: the oldest and the newest of each batch.',
    buckets: DELAYS,
  },
  size: {
    name: 'customer_service.batch.size',
    kind: 'histogram',
    unit: '{record}',
    description: 'Records in one save.',
    buckets: SIZES,
  },
  steps: {
    name: 'customer_service.step.duration',
    kind: 'histogram',
    unit: 's',
    description: 'How long a batch spent in each step. A save after a conflict holds its own load and run.',
    buckets: FAST,
  },
  transitions: {
    name: 'customer_service.machine.transitions',
    kind: 'counter',
    unit: '{transition}',
    description: 'Steps of the machine, from state to state.',
  },
  drift: {
    name: 'customer_service.drift',
    kind: 'counter',
    unit: '{event}',
    description: 'Applied events whose producer believed the user in another state.',
  },
  unkeyed: {
    name: 'customer_service.unkeyed',
    kind: 'counter',
    unit: '{record}',
    description: 'Records without a usable key: order across partitions can not be promised for them.',
  },
  deadLetters: {
    name: 'customer_service.dead_letters',
    kind: 'counter',
    unit: '{record}',
    description: 'Events that became dead letters, by code.',
  },
  retries: {
    name: 'customer_service.save.retries',
    kind: 'counter',
    unit: '{retry}',
    description: 'Tries of a batch that are made again, by what the try before failed with.',
  },
  openItems: {
    name: 'customer_service.open_items',
    kind: 'gauge',
    unit: '{row}',
    description: 'Rows that wait for something or somebody. Every process sees the same: take the maximum.',
  },
  lookups: {
    name: 'customer_service.cache.lookups',
    kind: 'observed counter',
    unit: '{lookup}',
    description: 'Questions to each layer of memory.',
  },
  lag: {
    name: 'customer_service.kafka.consumer.lag',
    kind: 'gauge',
    unit: '{record}',
    description: "Records between the saved position and the log's end.",
  },
  timeLag: {
    name: 'customer_service.kafka.consumer.time_lag',
    kind: 'gauge',
    unit: 's',
    description: "How long ago the saved position was at the log's end. Grows while a partition stands still.",
  },
  assigned: {
    name: 'customer_service.kafka.consumer.partitions.assigned',
    kind: 'updown',
    unit: '{partition}',
    description: 'Partitions of this process.',
  },
  paused: {
    name: 'customer_service.kafka.consumer.partitions.paused',
    kind: 'updown',
    unit: '{partition}',
    description: 'Of those: waiting to be tried again, because a save failed, or where they start can not be read.',
  },
  halted: {
    name: 'customer_service.kafka.consumer.partitions.halted',
    kind: 'updown',
    unit: '{partition}',
    description: 'Of those: stopped until a person resumes them.',
  },
  rebalances: {
    name: 'customer_service.kafka.consumer.rebalances',
    kind: 'observed counter',
    unit: '{rebalance}',
    description: 'Assignments that this process was given.',
  },
  pollAge: {
    name: 'customer_service.kafka.consumer.last_poll.age',
    kind: 'gauge',
    unit: 's',
    description: 'Since the last fetch, heartbeat or end of a batch: what /livez looks at.',
  },
  usersInMemory: {
    name: 'customer_service.users.in_memory',
    kind: 'updown',
    unit: '{user}',
    description: 'Users whose rows this process remembers.',
  },
} as const satisfies Record<string, Metric>;

/** All of them, for documents and tests. */
export const METRICS: readonly Metric[] = [...Object.values(DEFINED), ...DB_METRICS];

export type Step = 'decode' | 'load' | 'run' | 'save';
export type Facts = {
  source: () => SourceFacts;
  partitions: () => readonly PartitionFacts[];
  lag: () => readonly LagFacts[];
  memory: Pick<UserMemory, 'facts'>;
  customers: { facts(): CustomersFacts };
  /** Undefined: not known yet. */
  open: () => { waiting: number; deadLetters: number; holds: number } | undefined;
};

export type Metrics = {
  delivered(place: { topic: string; partition: number }, records: number): void;
  /** One try; `errorType`: what it failed with. */
  tried(place: Place, seconds: number, errorType?: string): void;
  retried(errorType: string): void;
  step(step: Step, seconds: number): void;
  saved(work: Work, tallies: Tallies): void;
  /** Of a drain: what became of events that waited. */
  drained(tallies: Tallies): void;
  requested(apiName: string, broker: string, seconds: number): void;
  /** Reads these whenever somebody scrapes, until `stop`. */
  observe(facts: Facts): void;
  stop(): void;
};

/** `group`: of the consumer; `system`: where records come from. Asks for the meter: the SDK must have started. */
export function createMetrics(group: string, system: 'kafka' | 'file', clock: () => number = Date.now): Metrics {
  const of = meter();
  const counter = ({ name, unit, description }: Metric) => of.createCounter(name, { unit, description });
  const consumed = counter(DEFINED.consumed);
  const duration = histogram(DEFINED.duration);
  const requests = histogram(DEFINED.requests);
  const delay = histogram(DEFINED.delay);
  const size = histogram(DEFINED.size);
  const steps = histogram(DEFINED.steps);
  const unkeyed = counter(DEFINED.unkeyed);
  const retries = counter(DEFINED.retries);
  const count = tallyCounter({
    event: counter(DEFINED.events),
    dead: counter(DEFINED.deadLetters),
    drift: counter(DEFINED.drift),
    transition: counter(DEFINED.transitions),
  });
  const process = { 'messaging.system': system, 'messaging.operation.name': 'process' };
  let unobserve = () => {};

  /** Attribute objects are made once for each topic and partition, and kept: there are few. */
  const ofTopic = memo((topic: string) => ({
    messages: { ...process, 'messaging.destination.name': topic, 'messaging.consumer.group.name': group },
    name: { 'messaging.destination.name': topic },
    oldest: { 'messaging.destination.name': topic, 'customer_service.batch.edge': 'oldest' },
    newest: { 'messaging.destination.name': topic, 'customer_service.batch.edge': 'newest' },
  }));
  const ofPartition = memo((key: string) => {
    const at = key.lastIndexOf('/');
    return { ...ofTopic(key.slice(0, at)).messages, 'messaging.destination.partition.id': key.slice(at + 1) };
  });
  const ofRequest = memo((key: string) => {
    const [apiName = '', broker = ''] = key.split(' ');
    return { 'messaging.system': 'kafka', 'messaging.operation.name': apiName, ...serverOf(broker) };
  });
  const ofStep = memo((step: string) => ({ 'customer_service.step': step }));

  return {
    delivered: ({ topic, partition }, records) => consumed.add(records, ofPartition(`${topic}/${partition}`)),
    tried({ topic }, seconds, errorType) {
      const { messages } = ofTopic(topic);
      duration.record(seconds, errorType === undefined ? messages : { ...messages, 'error.type': errorType });
    },
    retried: (errorType) => retries.add(1, { 'error.type': errorType }),
    step: (step, seconds) => steps.record(seconds, ofStep(step)),
    saved({ place, records }, tallies) {
      const { name, oldest, newest } = ofTopic(place.topic);
      count(tallies);
      size.record(records.length, name);
      if (tallies.unkeyed !== undefined) unkeyed.add(tallies.unkeyed, name);
      const nowMs = clock();
      const record = (timestampMs: number | undefined, attributes: Attributes) => {
        if (timestampMs !== undefined && timestampMs >= 0)
          delay.record(Math.max(0, nowMs - timestampMs) / 1_000, attributes);
      };
      record(records[0]?.timestampMs, oldest);
      record(records.at(-1)?.timestampMs, newest);
    },
    drained: count,
    requested: (apiName, broker, seconds) => requests.record(seconds, ofRequest(`${apiName} ${broker}`)),
    observe(facts) {
      unobserve = observeAll(group, facts, clock);
    },
    stop: () => unobserve(),
  };
}

/** Adds what a batch adds to the running totals. Keys of `tallies.ts`; stocks (`state`) are not counted here. */
function tallyCounter(counters: Record<'event' | 'dead' | 'drift' | 'transition', Counter>) {
  const branches = new Map(userTable.branches.map((branch) => [branch.id, branch]));
  const known = memo((key: string): [Counter, Attributes] | null => {
    const [what = '', ...words] = key.split('|');
    const [first = '', second = ''] = words;
    if (what === 'event')
      return [counters.event, { 'customer_service.event.type': first, 'customer_service.outcome': second }];
    if (what === 'dead') return [counters.dead, { 'customer_service.dead_letter.code': first }];
    if (what === 'drift') return [counters.drift, { 'customer_service.event.type': first }];
    if (what !== 'transition') return null;
    const branch = branches.get(words.join('|'));
    if (branch === undefined) return null;
    return [
      counters.transition,
      {
        'customer_service.machine.id': userTable.id,
        'customer_service.machine.state.from': branch.source,
        'customer_service.machine.state.to': branch.target ?? branch.source,
      },
    ];
  });
  return (tallies: Tallies) => {
    for (const key in tallies) {
      const found = known(key);
      const n = tallies[key] as number;
      if (found !== null && n > 0) found[0].add(n, found[1]);
    }
  };
}

/** What others count or know. Returns how to end it. */
function observeAll(group: string, facts: Facts, clock: () => number): () => void {
  const of = meter();
  const made = new Map<Metric, Observable>();
  const observable = (metric: Metric): Observable => {
    const { name, unit, description } = metric;
    const found = {
      gauge: () => of.createObservableGauge(name, { unit, description }),
      updown: () => of.createObservableUpDownCounter(name, { unit, description }),
      'observed counter': () => of.createObservableCounter(name, { unit, description }),
    }[metric.kind as 'gauge' | 'updown' | 'observed counter']();
    made.set(metric, found);
    return found;
  };
  const { openItems, lookups, lag, timeLag, assigned, paused, halted, rebalances, pollAge, usersInMemory } = DEFINED;
  const all = [openItems, lookups, lag, timeLag, assigned, paused, halted, rebalances, pollAge, usersInMemory];
  const read = (result: BatchObservableResult) => {
    const tell = (metric: Metric, n: number, attributes: Attributes = {}) =>
      result.observe(made.get(metric) as Observable, n, attributes);
    const source = facts.source();
    const ofGroup = { 'messaging.consumer.group.name': group };
    for (const { topic, partition, records, seconds } of facts.lag()) {
      const where = { ...placeOf({ topic, partition }), ...ofGroup };
      tell(lag, records, where);
      tell(timeLag, seconds, where);
    }
    const mine = facts.partitions();
    tell(assigned, source.assigned.length, ofGroup);
    tell(paused, source.assigned.filter((one) => isNotRead(one, mine)).length, ofGroup);
    tell(halted, mine.filter(({ state }) => state === 'halted').length, ofGroup);
    tell(rebalances, source.rebalances, ofGroup);
    if (source.lastProgressAtMs > 0) tell(pollAge, Math.max(0, clock() - source.lastProgressAtMs) / 1_000);
    const open = facts.open();
    if (open !== undefined) {
      tell(openItems, open.waiting, { 'customer_service.table': 'waiting' });
      tell(openItems, open.deadLetters, { 'customer_service.table': 'dead_letters' });
      tell(openItems, open.holds, { 'customer_service.table': 'holds' });
    }
    const users = facts.memory.facts();
    tell(usersInMemory, users.users);
    const looked = (name: string, counts: Partial<Record<'hit' | 'miss' | 'error', number>>) => {
      for (const [outcome, n] of Object.entries(counts))
        tell(lookups, n, { 'customer_service.cache.name': name, 'customer_service.cache.result': outcome });
    };
    const { memory, redis } = facts.customers.facts();
    looked('users', { hit: users.hits, miss: users.misses });
    looked('customers_memory', { hit: memory.hits, miss: memory.misses });
    if (redis.state !== 'off') looked('customers_redis', { hit: redis.hits, miss: redis.misses, error: redis.errors });
  };
  const observables = all.map(observable);
  of.addBatchObservableCallback(read, observables);
  return () => of.removeBatchObservableCallback(read, observables);
}

/** Waiting to be tried again, or without a known start: nothing of it is handled, and nobody has halted it. */
function isNotRead(one: { topic: string; partition: number }, all: readonly PartitionFacts[]): boolean {
  const found = all.find(({ topic, partition }) => topic === one.topic && partition === one.partition);
  return found === undefined || found.state === 'waiting' || found.state === 'settling';
}

function memo<T>(make: (key: string) => T): (key: string) => T {
  const made = new Map<string, T>();
  return (key) => {
    let found = made.get(key);
    if (found === undefined) {
      found = make(key);
      made.set(key, found);
    }
    return found;
  };
}
