// export.ts — `dead-letters export`: dead letters as lines on stdout, or as records of a topic. It changes none of them.
//
// Owns:          where they go, how far it is, and where an interrupted export goes on. Does not own: the forms (src/export.ts).
import { once } from 'node:events';
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import type { Exported, ExportFilter } from '../export.ts';
import type { Producer } from '../sources/kafka-client.ts';
import { DEAD_LETTER_STATUSES, statusesOf } from '../statuses.ts';
import { limit, oneOf, rowId } from './arguments.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { count, type Output, plural } from './output.ts';
import { createProgress } from './progress.ts';
import { age } from './selection.ts';
import { stopOnSignals } from './signals.ts';

type Options = {
  code?: string;
  type?: string;
  user?: string;
  topic?: string;
  status?: string;
  customer?: string;
  olderThan?: number;
  after?: string;
  limit?: number;
  records?: true;
  toTopic?: string;
  actor?: string;
};

export function registerExport(group: Command): void {
  group
    .command('export')
    .description('as lines of JSON, or as records of a topic, with everything in them: they may hold personal data')
    .option('--code <code>', 'only this code: schema, json, transition, …')
    .option('--type <event>', 'only this type of event; none: of which it is not known')
    .option('--user <id>', 'only this user')
    .option('--customer <id>', "only this customer's users")
    .option('--topic <topic>', 'only from this topic')
    .option('--older-than <time>', 'only those that failed last before: 90s, 30m, 2h, 3d', age)
    .option(
      '--status <status>',
      `${DEAD_LETTER_STATUSES.join(', ')} or all (default: open and redriving)`,
      oneOf([...DEAD_LETTER_STATUSES, 'all']),
    )
    .option('--after <id>', 'only those with a higher number: goes on where an export ended', rowId)
    .option('--limit <n>', 'so many at most, the oldest', limit)
    .option('--records', 'the records alone, as FILE_SOURCE reads them')
    .option('--to-topic <topic>', "to this topic, with the headers of Kafka Connect's and Spring Kafka's dead letters")
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText(
      'after',
      examples(
        'dlq export --status all > dead-letters.ndjson',
        'dlq export --topic user-events --records > again/user-events/0.ndjson',
        'dlq export --code schema --to-topic user-events.dead --after 812',
      ),
    )
    .action(
      act(({ out, settings, database }, options: Options) => {
        if (options.records && options.toTopic !== undefined)
          throw new Failure('--records is about lines, --to-topic about a topic: one of them.', EXIT.usage);
        return database(async (at) => {
          const topic = options.toTopic;
          if (topic === undefined) return await exportAll(at, out, options, lines(options.records === true));
          const sink = await openTopic(await settings(['database', 'kafka']), topic);
          return await exportAll(at, out, options, sink).finally(sink.close);
        });
      }),
    );
}

/** Where pages go. `write` resolves when they are there, and tells after each part of a page what its last number is. */
type Sink = {
  target: string;
  write(page: readonly Exported[], written: (some: readonly Exported[]) => void): Promise<void>;
};

async function exportAll(at: At, out: Output, options: Options, sink: Sink): Promise<number> {
  const [{ beginExport, readPages }, { actorOf }] = await Promise.all([
    import('../export.ts'),
    import('./connection.ts'),
  ]);
  const filter = filterOf(options);
  const stopping = stopOnSignals(out.say);
  const progress = createProgress(null, out.json);
  const end = await beginExport(at.db, { who: actorOf(options.actor), filter, target: sink.target });
  const taken: { exported: number; lastId: number | null } = { exported: 0, lastId: null };
  const written = (some: readonly Exported[]) => {
    taken.exported += some.length;
    taken.lastId = some.at(-1)?.id ?? taken.lastId;
    progress.show({ done: taken.exported, text: `the last is ${taken.lastId}`, facts: { lastId: taken.lastId } });
  };
  try {
    for await (const page of readPages(at.db, filter)) {
      if (stopping.signal.aborted) break;
      if (page.length > 0) await sink.write(page, written);
    }
  } catch (error) {
    await end({ ...taken, interrupted: true }).catch(() => {}); // what ended the export may be the database
    goOn(out, options, taken, 'stopped');
    throw error;
  } finally {
    progress.end();
  }
  const isInterrupted = stopping.signal.aborted;
  await end({ ...taken, ...(isInterrupted ? { interrupted: true } : {}) });
  if (isInterrupted) {
    goOn(out, options, taken, 'interrupted');
    return stopping.exitCode() ?? EXIT.failed;
  }
  if (options.toTopic !== undefined)
    out.one({ topic: sink.target, exported: taken.exported, lastId: taken.lastId && String(taken.lastId) }, () =>
      [`${plural(taken.exported, 'dead letter')} to ${sink.target}`, ...lastOf(taken)].join(' · '),
    );
  else
    out.say(
      taken.exported === 0 ? 'No dead letters.' : [`${plural(taken.exported, 'line')}`, ...lastOf(taken)].join(' · '),
    );
  return EXIT.done;
}

function lastOf({ lastId }: { lastId: number | null }): string[] {
  return lastId === null ? [] : [`the last is ${lastId}`];
}

function goOn(
  out: Output,
  options: Options,
  { exported, lastId }: { exported: number; lastId: number | null },
  how: string,
) {
  const after = lastId ?? options.after;
  out.say(
    `${how} after ${count(exported)}${after === undefined ? '' : `: the same command goes on with --after ${after}`}`,
  );
}

function filterOf({ code, type, user, customer, topic, status, olderThan, after, limit }: Options): ExportFilter {
  const before = olderThan === undefined ? undefined : new Date(Date.now() - olderThan).toISOString();
  const number = after === undefined ? undefined : Number(after);
  return { code, type, user, customer, topic, before, statuses: statusesOf(status), after: number, limit };
}

/** Waits for whoever reads: a page is not read before the one before has been taken. */
function lines(recordsOnly: boolean): Sink {
  return {
    target: recordsOnly ? 'records' : 'lines',
    async write(page, written) {
      const { exportLine, recordLine } = await import('../export.ts');
      const text = page.map((each) => `${recordsOnly ? recordLine(each.record) : exportLine(each)}\n`).join('');
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
      written(page);
    },
  };
}

/** A topic takes a batch of records as one, up to its max.message.bytes: 1 MB unless it was changed. */
const BYTES_PER_SEND = 500_000;
/** Beyond the producer's own tries. */
const SEND_WITHIN_MS = 60_000;

/** Throws a Failure where the topic does not exist, or is one that the service reads. */
async function openTopic(config: Config, topic: string): Promise<Sink & Pick<Producer, 'close'>> {
  if (config.kafka.topics.includes(topic))
    throw new Failure(
      `The service reads ${topic} itself: they would come back as new records, out of order. \`dlq redrive\` puts them through again.`,
      EXIT.usage,
    );
  const [{ connectProducer, withAdmin }, { fromKafka, kafkaOf, QUIET }, { exportRecord }] = await Promise.all([
    import('../sources/kafka-client.ts'),
    import('./connection.ts'),
    import('../export.ts'),
  ]);
  const connection = kafkaOf(config);
  const topics = await fromKafka(
    config,
    withAdmin(connection, QUIET, (admin) => admin.listTopics()),
  );
  if (!topics.includes(topic))
    throw new Failure(`There is no topic ${topic}. Create it first: an export creates none.`);
  const producer = await fromKafka(config, connectProducer(connection, QUIET));

  async function send(some: readonly Exported[], written: (some: readonly Exported[]) => void): Promise<void> {
    const sent = producer.send(some.map((each) => exportRecord(each, topic))).then(
      () => true,
      (error) => {
        if (isTooLarge(error)) return false;
        throw error;
      },
    );
    if (await fromKafka(config, sent, SEND_WITHIN_MS)) return written(some);
    if (some.length === 1)
      throw new Failure(
        `Dead letter ${some[0]?.id} does not fit into ${topic}: raise its max.message.bytes, or leave this one out with --after ${some[0]?.id}.`,
      );
    const half = Math.ceil(some.length / 2);
    await send(some.slice(0, half), written);
    await send(some.slice(half), written);
  }
  return {
    target: topic,
    close: producer.close,
    async write(page, written) {
      for (const some of portionsOf(page)) await send(some, written);
    },
  };
}

function isTooLarge(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if ((at as { type?: unknown }).type === 'MESSAGE_TOO_LARGE') return true;
  return false;
}

/** In order, so that what has the same key keeps its order; each at most BYTES_PER_SEND, unless one alone has more. */
function* portionsOf(page: readonly Exported[]): Generator<readonly Exported[]> {
  let some: Exported[] = [];
  let bytes = 0;
  for (const each of page) {
    const size = sizeOf(each);
    if (some.length > 0 && bytes + size > BYTES_PER_SEND) {
      yield some;
      [some, bytes] = [[], 0];
    }
    some.push(each);
    bytes += size;
  }
  if (some.length > 0) yield some;
}
function sizeOf({ record, message, stack }: Exported): number {
  const headers = record.headers.reduce((sum, [name, value]) => sum + name.length + (value?.length ?? 0), 0);
  // Both families of headers have message and stack.
  return (
    (record.key?.length ?? 0) +
    (record.value?.length ?? 0) +
    headers +
    2 * (2 * message.length + (stack?.length ?? 0)) +
    1_000
  );
}
