// partitions.ts — `partitions list|resume`: how far each partition is, and the operator's answer to a halt.
import type { Command } from 'commander';
import { partition as partitionNumber } from './arguments.ts';
import { act, examples, Failure } from './command.ts';
import type { At, Logs } from './connection.ts';
import { time } from './output.ts';

export function registerPartitions(program: Command): void {
  const group = program
    .command('partitions')
    .description('how far each partition is: list, resume')
    .addHelpText('after', examples('partitions list', 'partitions resume USER_CREATED 0'));

  group
    .command('list')
    .description('position, lag and state of each; a halted one says why')
    .addHelpText('after', examples('partitions list', 'partitions list --json'))
    .action(
      act(({ out, database }) =>
        database(async ({ sql, config }) => {
          const { logsOf } = await import('./connection.ts');
          const [positions, { logs, why }] = await Promise.all([readPositions(sql), logsOf(config)]);
          const rows = positions.map((position) => ({ ...position, ...lagOf(position, logs) }));
          out.many(rows, COLUMNS, 'No partition was read yet.');
          for (const { topic, partition, haltedReason } of rows)
            if (haltedReason !== null) out.say(`${topic}[${partition}] is halted: ${haltedReason}`);
          if (why !== undefined) out.say(`lag unknown: ${why}`);
          const halted = rows.find(({ state }) => state === 'halted');
          out.next(halted === undefined ? 'status' : `partitions resume ${halted.topic} ${halted.partition}`);
        }),
      ),
    );

  group
    .command('resume')
    .description('lets a halted partition run again from where it stopped')
    .argument('<topic>')
    .argument('<n>', 'the partition', partitionNumber)
    .option('--reason <text>', 'what was done about it; kept in `audit`')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText(
      'after',
      examples('partitions resume USER_CREATED 0', "partitions resume user-events 4 --reason 'topic restored'"),
    )
    .action(
      act(
        ({ out, database }, topic: string, partition: number, { reason, actor }: { reason?: string; actor?: string }) =>
          database(async ({ db, sql }) => {
            const before = (await readPositions(sql)).find((row) => row.topic === topic && row.partition === partition);
            if (before === undefined)
              throw new Failure(
                `${topic}[${partition}] was never read here. \`partitions list\` shows those that were.`,
              );
            const [{ resume }, { actorOf }] = await Promise.all([import('../operate.ts'), import('./connection.ts')]);
            const said = reason === undefined ? {} : { reason };
            const next = await resume(db, { topic, partition, byWhom: actorOf(actor), ...said });
            if (next === undefined) throw new Failure(`${topic}[${partition}] is not halted: nothing to resume.`);
            out.one({ topic, partition, state: 'running', position: next, wasHalted: before.haltedReason }, () =>
              [
                `${topic}[${partition}] runs again from ${next}`,
                `it was halted: ${before.haltedReason ?? 'no reason given'}`,
              ].join(' · '),
            );
            out.say('A running service notices within 5 seconds.');
            out.next('partitions list');
          }),
      ),
    );
}

export type PositionRow = {
  topic: string;
  partition: number;
  generation: number;
  position: string;
  state: string;
  haltedReason: string | null;
  owner: string | null;
  updatedAt: string;
};

export async function readPositions(sql: At['sql']): Promise<PositionRow[]> {
  return await sql<PositionRow[]>`
    select topic, partition, generation, next_offset as position, state, halted_reason as "haltedReason", owner,
           updated_at as "updatedAt"
      from positions where topic <> '#redrive' order by topic, partition`;
}

/** `lag` and `high`: null where Kafka does not say. */
export function lagOf({ topic, partition, position }: PositionRow, logs: Logs | undefined) {
  const log = logs?.get(`${topic}/${partition}`);
  if (log === undefined) return { high: null, lag: null };
  const lag = log.logEnd - BigInt(position);
  return { high: String(log.logEnd), lag: String(lag < 0n ? 0n : lag) };
}

type Row = PositionRow & { high: string | null; lag: string | null };
const COLUMNS = [
  { head: 'PARTITION', of: ({ topic, partition }: Row) => `${topic}[${partition}]` },
  { head: 'POSITION', of: (row: Row) => BigInt(row.position), right: true as const },
  { head: 'LAG', of: ({ lag }: Row) => (lag === null ? '?' : BigInt(lag)), right: true as const },
  { head: 'STATE', of: (row: Row) => row.state },
  { head: 'SAVED', of: (row: Row) => time(row.updatedAt) },
  { head: 'OWNER', of: (row: Row) => row.owner },
];
