// status.ts — `status`: one screen from the tallies; nothing is counted that could be large.
import type { Command } from 'commander';
import type { HoldListed } from '../queries/holds.ts';
import { act, examples } from './command.ts';
import type { At } from './connection.ts';
import { HOLD_COLUMNS } from './holds.ts';
import { count, table } from './output.ts';
import { lagOf, readPositions } from './partitions.ts';

export function registerStatus(program: Command): void {
  program
    .command('status')
    .description('one screen: lag, outcomes, users, dead letters, what waits, holds, running jobs')
    .addHelpText('after', examples('status', 'status --json'))
    .action(
      act(async ({ out, database }) => {
        const status = await database(readStatus);
        out.one(status, () => screen(status));
        if (status.kafka !== 'ok') out.say(`lag unknown: ${status.kafka}`);
        const halted = status.topics.find(({ halted }) => halted > 0);
        if (halted !== undefined) out.next('partitions list');
        else if (status.deadLetters.open !== '0') out.next('dlq list --group');
        else if (status.waiting !== 0) out.next('dlq list --waiting');
        else out.next('users show <id>', 'partitions list');
      }),
    );
}

export type TopicStatus = { topic: string; partitions: number; halted: number; position: string; lag: string | null };
export type Status = {
  /** `ok`, or why its logs are unknown. */
  kafka: string;
  lag: string | null;
  topics: TopicStatus[];
  outcomes: Record<string, number>;
  users: Record<string, number>;
  /** `open`: not settled, up to 1,000 counted ("1000+"); `codes`: all that were not resolved. */
  deadLetters: { open: string; codes: Record<string, number> };
  waiting: number;
  unkeyed: number;
  holds: HoldListed[];
  /** Those that run, or were interrupted. */
  jobs: JobStatus[];
};
export type JobStatus = { id: string; kind: string; done: string; total: string | null };

async function readStatus({ sql, db, config }: At): Promise<Status> {
  const [{ readTallies }, { readHolds }, { logsOf }] = await Promise.all([
    import('../positions.ts'),
    import('../queries/holds.ts'),
    import('./connection.ts'),
  ]);
  const [tallies, positions, holds, open, jobs, { logs, why }] = await Promise.all([
    readTallies(db),
    readPositions(sql),
    readHolds(db),
    sql<{ n: number }[]>`
      select count(*)::int as n from (select 1 from dead_letters where status in ('open', 'redriving') limit 1001) x`,
    sql<JobStatus[]>`select id, kind, done, total from jobs where state = 'running' order by id limit 100`,
    logsOf(config),
  ]);
  const topics = [...Map.groupBy(positions, ({ topic }) => topic)].map(([topic, rows]) => ({
    topic,
    partitions: rows.length,
    halted: rows.filter(({ state }) => state === 'halted').length,
    position: sum(rows.map(({ position }) => position)) as string,
    lag: sum(rows.map((row) => lagOf(row, logs).lag)),
  }));
  const outcomes = lastPart(tallies, 'event|');
  const { waiting = 0, ...settled } = outcomes;
  const n = open[0]?.n ?? 0;
  return {
    kafka: why ?? 'ok',
    lag: logs === undefined ? null : sum(topics.map(({ lag }) => lag)),
    topics,
    outcomes: settled,
    users: lastPart(tallies, 'state|'),
    deadLetters: { open: n > 1_000 ? '1000+' : String(n), codes: lastPart(tallies, 'dead|') },
    waiting,
    unkeyed: tallies.unkeyed ?? 0,
    holds,
    jobs: [...jobs],
  };
}

/** The tallies below `prefix`, added up by the last part of their names; none that are 0. */
export function lastPart(tallies: Readonly<Record<string, number>>, prefix: string): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [key, n] of Object.entries(tallies)) {
    if (!key.startsWith(prefix)) continue;
    const name = key.slice(key.lastIndexOf('|') + 1);
    sums[name] = (sums[name] ?? 0) + n;
  }
  return Object.fromEntries(
    Object.entries(sums)
      .filter(([, n]) => n !== 0)
      .sort(([, a], [, b]) => b - a),
  );
}

/** Null where one is unknown. */
function sum(numbers: readonly (string | null)[]): string | null {
  let total = 0n;
  for (const n of numbers) {
    if (n === null) return null;
    total += BigInt(n);
  }
  return String(total);
}

export function screen({ lag, topics, outcomes, users, deadLetters, waiting, unkeyed, holds, jobs }: Status): string {
  const halted = topics.reduce((sum, each) => sum + each.halted, 0);
  const word = halted > 0 ? `HALTED (${halted})` : topics.length === 0 ? 'nothing read yet' : 'ok';
  const list = (of: Record<string, number>) =>
    Object.entries(of)
      .map(([name, n]) => `${name} ${count(n)}`)
      .join('  ') || '-';
  return [
    `${word}   lag ${shown(lag)}   dead letters ${deadLetters.open}   waiting ${count(waiting)}   holds ${holds.length}`,
    '',
    `users         ${list(users)}`,
    `outcomes      ${list(outcomes)}`,
    ...(Object.keys(deadLetters.codes).length > 0 ? [`dead letters  ${list(deadLetters.codes)}`] : []),
    ...(unkeyed > 0 ? [`without key   ${count(unkeyed)} records`] : []),
    ...(jobs.length > 0 ? [`jobs          ${jobs.map(jobText).join('  ')}`] : []),
    ...(topics.length > 0 ? ['', table(topics, TOPIC_COLUMNS).trimEnd()] : []),
    ...(holds.length > 0 ? ['', table(holds.slice(0, 5), HOLD_COLUMNS).trimEnd()] : []),
    ...(holds.length > 5 ? [`and ${holds.length - 5} more: \`hold\` lists them`] : []),
  ].join('\n');
}

/** "18 redrive 120/214" */
function jobText({ id, kind, done, total }: JobStatus): string {
  return `${id} ${kind} ${count(BigInt(done))}${total === null ? '' : `/${count(BigInt(total))}`}`;
}

const TOPIC_COLUMNS = [
  { head: 'TOPIC', of: (row: TopicStatus) => row.topic },
  { head: 'PARTITIONS', of: (row: TopicStatus) => row.partitions, right: true as const },
  { head: 'HALTED', of: (row: TopicStatus) => row.halted, right: true as const },
  { head: 'POSITIONS', of: (row: TopicStatus) => BigInt(row.position), right: true as const },
  { head: 'LAG', of: (row: TopicStatus) => shown(row.lag), right: true as const },
];

function shown(n: string | null): string {
  return n === null ? '?' : count(BigInt(n));
}
