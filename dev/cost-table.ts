// cost-table.ts — what telemetry costs, as docs/operations.md shows it: from the last `npm run bench -- --telemetry`.
import { readFileSync } from 'node:fs';
import { type Mode, more, type Round } from '../bench/telemetry.ts';

type Result = {
  at: string;
  load: { events: number; users: number; partitions: number; sampleOneIn: number };
  machine: { cores: number };
  versions: { node: string; postgres: string; kafka: string };
  rounds: Round[];
};

const WHAT: Record<Mode, string> = {
  off: '`OTEL_SDK_DISABLED=true`',
  metrics: 'no endpoint: metrics only',
  default: 'an endpoint: one batch in ten',
  all: '`OTEL_TRACES_SAMPLER_ARG=1`: every batch',
};

export function costTable(): string {
  const { at, load, machine, versions, rounds } = JSON.parse(
    readFileSync(new URL('../bench/telemetry.json', import.meta.url), 'utf8'),
  ) as Result;
  const mean = (mode: Mode, part: 'service' | 'all') =>
    (rounds.reduce((sum, round) => sum + (round[mode].cpu[part] as number), 0) / rounds.length).toFixed(1);
  const { eventsPerSave } = (rounds[0] as Round).default;
  const rows = (Object.keys(WHAT) as Mode[]).map((mode) => {
    const beside = mode === 'off' ? ['', ''] : [more(rounds, mode, 'service'), more(rounds, mode, 'all')];
    return `| ${WHAT[mode]} | ${mean(mode, 'service')} | ${beside[0]} | ${mean(mode, 'all')} | ${beside[1]} |`;
  });
  return [
    `CPU per event in µs, mean of ${rounds.length} rounds, and how much more than without telemetry in the same round: median, and from`,
    'least to most. The ranges say how much else the machine did.',
    '',
    '| | service | more | all processes | more |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    `${load.events.toLocaleString('en-US')} events of ${load.users.toLocaleString('en-US')} users in ${load.partitions} partitions, ${Math.round(eventsPerSave)} events a save, every record with a`,
    `\`traceparent\`, one in ${load.sampleOneIn} sampled; ${machine.cores} cores, Node ${versions.node.slice(1)}, Postgres ${versions.postgres}, Kafka ${versions.kafka}; ${at.slice(0, 10)}. Cost follows`,
    'batches and spans, not events: with small batches it is a larger share. `npm run bench -- --telemetry` measures it again.',
  ].join('\n');
}
