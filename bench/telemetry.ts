// telemetry.ts — what telemetry costs: the same load with it off, as it is by default, and with every batch traced, in turns.
//
// Compared within a round, so that what else the machine does falls on all three alike. Producers' headers are as in life: each
// record has one, one in a hundred is sampled. Spans go by OTLP to a server in this process that counts and forgets them.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Servers } from '../dev/servers.ts';
import { type Figures, measure } from './throughput.ts';

/** Without the SDK · metrics, and no endpoint for traces · one batch in ten traced · every batch. */
const MODES = ['off', 'metrics', 'default', 'all'] as const;
export type Mode = (typeof MODES)[number];

export type Round = Record<Mode, Figures> & { exported: Record<Mode, { requests: number; bytes: number }> };
export type Options = { records: number; users: number; rounds: number; nodeOptions: readonly string[] };

/** Each round runs all modes, in an order that turns, so that none is always the first. */
export async function compareTelemetry(
  servers: Servers,
  { records, users, rounds, nodeOptions }: Options,
  say: (line: string) => void,
): Promise<Round[]> {
  const collector = await openCollector();
  const done: Round[] = [];
  try {
    for (let n = 0; n < rounds; n++) {
      const first = n % MODES.length;
      const order = [...MODES.slice(first), ...MODES.slice(0, first)];
      const round: Partial<Record<Mode, Figures>> = {};
      const exported: Partial<Round['exported']> = {};
      for (const mode of order) {
        const before = collector.received();
        const name = `telemetry_${n}_${mode}`;
        const env = settingsOf(mode, collector.url);
        const figures = await measure(servers, { name, records, users, nodeOptions, keepLog: undefined, env });
        const after = collector.received();
        round[mode] = figures;
        exported[mode] = { requests: after.requests - before.requests, bytes: after.bytes - before.bytes };
        const { service, all } = figures.cpu;
        say(`round ${n + 1} ${mode}: service ${service?.toFixed(2)} µs/event, all ${all?.toFixed(2)}`);
      }
      done.push({ ...(round as Record<Mode, Figures>), exported: exported as Round['exported'] });
    }
    return done;
  } finally {
    collector.close();
  }
}

function settingsOf(mode: Mode, endpoint: string): Record<string, string> {
  if (mode === 'off') return { OTEL_SDK_DISABLED: 'true' };
  if (mode === 'metrics') return {};
  const traced = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint };
  return mode === 'default' ? traced : { ...traced, OTEL_TRACES_SAMPLER_ARG: '1' };
}

/** Each mode beside `off`. */
export function inWords(rounds: readonly Round[]): string[] {
  return (['metrics', 'default', 'all'] as const).map((mode) => {
    const sent = rounds.reduce((sum, { exported }) => sum + exported[mode].bytes, 0) / rounds.length;
    const cpu = `CPU of the service ${more(rounds, mode, 'service')}, of all processes ${more(rounds, mode, 'all')}`;
    return `${mode}: ${cpu}; ${Math.round(sent / 1000)} kB of spans`;
  });
}

/** How much more CPU an event took than with telemetry off in the same round: the median, and the range. */
export function more(rounds: readonly Round[], mode: Mode, part: 'service' | 'all'): string {
  const ratios = rounds
    .map((round) => 100 * ((round[mode].cpu[part] ?? Number.NaN) / (round.off.cpu[part] ?? Number.NaN) - 1))
    .toSorted((a, b) => a - b);
  const text = (value: number | undefined) => `${(value as number) >= 0 ? '+' : ''}${value?.toFixed(1)} %`;
  return `${text(ratios[ratios.length >> 1])} (${text(ratios[0])} to ${text(ratios.at(-1))})`;
}

async function openCollector() {
  let requests = 0;
  let bytes = 0;
  const server = createServer((request, response) => {
    requests++;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => ({ requests, bytes }),
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
