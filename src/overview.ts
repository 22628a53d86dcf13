// overview.ts — everything a process knows about itself, on one page for people (GET /healthz?verbose).
//
// Owns:          what is on the page. Does not own: what it means (health.ts). From memory; it decides nothing.
//
// Names of topics and the member's id (client id and a random part) are on it, so that two processes can be told apart; no
// host, no id of a record or user, no text of an error (H2): of a halt only its kind, `user-lifecycle partitions` has the rest.
import type { Health, HealthOptions, Report } from './health.ts';
import type { TopicPartition } from './sources/source.ts';
import { SERVICE_VERSION } from './version.ts';

export type Overview = {
  status: Report['status'];
  version: string;
  live: Report;
  ready: Report;
  startup: Report;
  redis: 'ok' | 'away' | 'off';
  member: string | null;
  rebalances: number;
  /** null: never yet. */
  secondsSince: Record<'progress' | 'fetch' | 'heartbeat' | 'commit' | 'databaseCheck', number | null>;
  /** Saves that were tried again, of the partitions that are assigned now. */
  saveRetries: number;
  partitions: PartitionOverview[];
};
export type PartitionOverview = TopicPartition & {
  state: 'settling' | 'running' | 'waiting' | 'halted';
  /** The kind of halt, or the code of the error that is waited out. */
  why: string | null;
  /** Not fetched. */
  paused: boolean;
  /** Offsets: text, as they may be larger than a number of JSON. */
  position: string | null;
  highWatermark: string | null;
  lagRecords: number | null;
  lagSeconds: number | null;
  lastSaveSeconds: number | null;
};

export function overview(options: HealthOptions, health: Pick<Health, 'live' | 'ready' | 'started'>): Overview {
  const { clock = Date.now, redis } = options;
  const source = options.source();
  const known = byPlace(options.partitions());
  const lags = byPlace(options.lag());
  const since = (atMs: number | null | undefined) => (atMs == null ? null : Math.max(0, clock() - atMs) / 1_000);
  const [live, ready, startup] = [health.live(), health.ready(), health.started()];
  return {
    status: live.status === 'failing' ? 'failing' : ready.status,
    version: SERVICE_VERSION,
    ...{ live, ready, startup },
    redis: redis === undefined ? 'off' : redis() ? 'ok' : 'away',
    member: source.member,
    rebalances: source.rebalances,
    secondsSince: {
      progress: since(source.lastProgressAtMs),
      fetch: since(source.lastFetchAtMs),
      heartbeat: since(source.lastHeartbeatAtMs),
      commit: since(source.lastCommitAtMs),
      databaseCheck: since(options.database().writableAtMs),
    },
    saveRetries: [...known.values()].reduce((sum, { counts }) => sum + counts.retries, 0),
    partitions: source.assigned.map(({ topic, partition, highWatermark, paused }) => {
      const of = known.get(`${topic}/${partition}`);
      const lag = lags.get(`${topic}/${partition}`);
      return {
        topic,
        partition,
        state: of?.state ?? 'settling',
        why: of?.reason?.split(':')[0] ?? null,
        paused,
        position: text(of?.next),
        highWatermark: text(highWatermark),
        lagRecords: lag?.records ?? null,
        lagSeconds: lag?.seconds ?? null,
        lastSaveSeconds: since(of?.savedAtMs),
      };
    }),
  };
}

function byPlace<T extends TopicPartition>(all: readonly T[]): Map<string, T> {
  return new Map(all.map((one) => [`${one.topic}/${one.partition}`, one]));
}

function text(offset: bigint | null | undefined): string | null {
  return offset == null ? null : String(offset);
}
