// open.ts — the source that the settings name: Kafka, or a folder of partition logs.
import type { Config } from '../config.ts';
import type { Log } from '../log.ts';
import { partitionsOf } from '../settings.ts';
import { fileSource } from './file.ts';
import { kafkaSource } from './kafka.ts';
import { kafkaStatus, type PartitionStatus } from './kafka-client.ts';
import type { Source, Watch } from './source.ts';

/** `mostRecords`: of one batch of a file; Kafka's are bounded by bytes. `watch`: of Kafka's requests; files have none. */
export function openSource(config: Config, log: Log, mostRecords: number, watch?: Watch): Source {
  const { kafka, file } = config;
  if (file.folder !== undefined)
    return fileSource(
      {
        folder: file.folder,
        topics: kafka.topics,
        follow: true,
        concurrentPartitions: kafka.concurrentPartitions,
        maxRecords: mostRecords,
        maxBytes: kafka.maxBytesPerPartition,
        pollMs: kafka.maxWaitMs,
      },
      log,
    );
  return kafkaSource(kafkaSettings(config), log, watch);
}

/** What the Kafka client needs of the settings. */
export function kafkaSettings({ kafka }: Config) {
  const { saslMechanism: mechanism, saslUsername: username = '', saslPassword: password = '' } = kafka;
  return {
    ...kafka,
    brokers: [...kafka.brokers],
    topics: [...kafka.topics],
    minBytes: 1,
    partitions: partitionsOf,
    ...(mechanism === undefined ? {} : { sasl: { mechanism, username, password } }),
  };
}

/** Asks for the log's end and the group's commit of every partition of the topics, whoever has it; each time with a connection of
 *  its own. Undefined: there is no Kafka. */
export function openLogs(config: Config, log: Log): (() => Promise<readonly PartitionStatus[]>) | undefined {
  if (config.file.folder !== undefined) return undefined;
  const settings = kafkaSettings(config);
  return async () => (await kafkaStatus(settings, log)).partitions;
}
