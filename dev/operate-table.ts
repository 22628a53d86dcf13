// operate-table.ts — how fast operators' acts are, as docs/operations.md shows it: from the last `npm run bench -- --operate`.
import { readFileSync } from 'node:fs';
import type { Operated, Rate } from '../bench/operate.ts';

type Result = Operated & {
  at: string;
  machine: { cores: number };
  versions: { node: string; postgres: string };
};

const COMMANDS: Readonly<Record<string, string>> = {
  verify: '`verify`',
  replay: '`replay`',
  'drain after a release': '`release` of held customers',
  redrive: '`dlq redrive`, users known',
  rebuild: '`rebuild --all`',
  'migrate, every row changes': '`machine migrate`, every row changes',
  'migrate, no row changes': '`machine migrate`, no row changes',
};

export function operateTable(): string {
  const { at, users, steps, rates, machine, versions } = JSON.parse(
    readFileSync(new URL('../bench/operate.json', import.meta.url), 'utf8'),
  ) as Result;
  return [
    `On ${count(users)} users with ${count(steps)} events in their histories, no service running beside:`,
    '',
    '| | | took | a second | of Node’s CPU | of Postgres’ CPU |',
    '|---|---|---|---|---|---|',
    ...rates.map(rowOf),
    '',
    `A second of CPU: as many as one core does. ${machine.cores} cores, Node ${versions.node.slice(1)}, Postgres ${versions.postgres}, all on one machine; ${at.slice(0, 10)}.`,
    'Others used the machine meanwhile: how long it took is an upper bound, the CPU is what counts. Redrive and drain are bound by transactions:',
    'they wait more than they work. `npm run bench -- --operate` measures it again.',
  ].join('\n');
}

function rowOf({ act, unit, n, seconds, nodeSeconds, postgresSeconds, note }: Rate): string {
  const postgres = postgresSeconds === null ? '' : count(n / postgresSeconds);
  const what = `${count(n)} ${unit}${note === undefined ? '' : `; ${note}`}`;
  return `| ${COMMANDS[act] ?? act} | ${what} | ${seconds.toFixed(1)} s | ${count(n / seconds)} | ${count(n / nodeSeconds)} | ${postgres} |`;
}

function count(n: number): string {
  return Math.round(n).toLocaleString('en-US');
}
