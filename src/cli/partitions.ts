// partitions.ts — `partitions list|resume|accept-loss|set-position`: how far each partition is, and the answers to a halt.
//
// Owns:          what is asked, shown and said. Does not own: what is allowed (../move-position.ts), the writes.
import { type Command, InvalidArgumentError } from 'commander';
import type { Moved } from '../move-position.ts';
import type { Log } from '../position.ts';
import { partition as partitionNumber } from './arguments.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import { confirm } from './confirm.ts';
import type { At, Logs } from './connection.ts';
import { type Output, quoted, time } from './output.ts';

export function registerPartitions(program: Command): void {
  const group = program
    .command('partitions')
    .description(
      'how far each partition is, and what to do about a halted one: list, resume, accept-loss, set-position',
    )
    .addHelpText(
      'after',
      examples('partitions list', 'partitions resume USER_CREATED 0', 'partitions accept-loss user-events 4 --dry-run'),
    );
  registerList(group);
  registerResume(group);
  registerAcceptLoss(group);
  registerSetPosition(group);
}

function registerList(group: Command): void {
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
          out.next(halted === undefined ? 'status' : answerTo(halted));
        }),
      ),
    );
}

/** The next command for a halt, by the first word of its reason. */
export function answerTo(
  row: Pick<PositionRow, 'topic' | 'partition' | 'haltedReason' | 'position'> & { logStart: string | null },
) {
  const of = `${quoted(row.topic)} ${row.partition}`;
  const word = /^[a-z]+/.exec(row.haltedReason ?? '')?.[0];
  const isLost = row.logStart === null ? word === 'lost' : BigInt(row.logStart) > BigInt(row.position);
  if (isLost && word !== 'truncated' && word !== 'cluster') return `partitions accept-loss ${of} --dry-run`;
  if (word === 'truncated' || word === 'cluster')
    return `partitions set-position ${of} ${row.logStart ?? 0} --new-log --dry-run`;
  return `partitions resume ${of}`;
}

function registerResume(group: Command): void {
  group
    .command('resume')
    .description('lets a halted partition run again from where it stopped')
    .argument('<topic>')
    .argument('<n>', 'the partition', partitionNumber)
    .option('--reason <text>', 'what was done about it; kept in `audit`')
    .option('--old-log-is-back', 'where it halted `truncated` or `cluster`: the log that was read is back')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText(
      'after',
      examples('partitions resume USER_CREATED 0', "partitions resume user-events 4 --reason 'topic restored'"),
    )
    .action(
      act(({ out, database }, topic: string, partition: number, { reason, actor, oldLogIsBack = false }: Resuming) =>
        database(async ({ db, sql, config }) => {
          const before = await positionOf(sql, topic, partition);
          const [{ resume }, { actorOf, logOf }, { assertResumable, NotMoved }] = await Promise.all([
            import('../operate.ts'),
            import('./connection.ts'),
            import('../move-position.ts'),
          ]);
          const log = await logOf(config, { topic, partition }).catch(() => undefined);
          const asked = { topic, partition, byWhom: actorOf(actor), ...(reason === undefined ? {} : { reason }) };
          const next = await resume(db, asked, (row) => assertResumable(row, log, { oldLogIsBack })).catch((error) => {
            throw error instanceof NotMoved ? new Failure(`${topic}[${partition}]: ${error.message}`) : error;
          });
          if (next === undefined) throw new Failure(`${topic}[${partition}] is not halted: nothing to resume.`);
          out.one({ topic, partition, state: 'running', position: next, wasHalted: before.haltedReason }, () =>
            [
              `${topic}[${partition}] runs again from ${next}`,
              `it was halted: ${before.haltedReason ?? 'no reason given'}`,
            ].join(' · '),
          );
          noticed(out);
        }),
      ),
    );
}

type Resuming = { reason?: string; actor?: string; oldLogIsBack?: boolean };
type Moving = { reason?: string; actor?: string; yes?: true; dryRun?: true };

function registerAcceptLoss(group: Command): void {
  addMoving(
    group
      .command('accept-loss')
      .description(
        'lets a halted partition go on at the start of its log; what lay before is lost, and kept in `losses`',
      )
      .argument('<topic>')
      .argument('<n>', 'the partition', partitionNumber),
  )
    .addHelpText(
      'after',
      examples(
        'partitions accept-loss user-events 4 --dry-run',
        "partitions accept-loss user-events 4 --reason 'retention was too short; nobody has a copy' --yes",
      ),
    )
    .action(
      act(({ out, database }, topic: string, partition: number, options: Moving) =>
        database(async (at) => {
          const { acceptLoss } = await import('../move-position.ts');
          return await move(at, out, { topic, partition }, options, (asked, log) =>
            acceptLoss(at.db, { ...asked, seen: { ...asked.seen, logStart: asked.log.logStart } }, log),
          );
        }),
      ),
    );
}

function registerSetPosition(group: Command): void {
  addMoving(
    group
      .command('set-position')
      .description('lets a halted partition go on at an offset: further in its log, or anywhere in another log')
      .argument('<topic>')
      .argument('<n>', 'the partition', partitionNumber)
      .argument('<offset>', 'the first one to read', offset)
      .option('--new-log', 'it is another log than the one that was read, though neither cluster nor end tells'),
  )
    .addHelpText(
      'after',
      examples(
        'partitions set-position user-events 4 0 --new-log --dry-run',
        "partitions set-position user-events 4 0 --new-log --reason 'the topic was made anew' --yes",
        "partitions set-position user-events 4 1201 --reason 'the batch at 1200 is corrupt' --yes",
      ),
    )
    .action(
      act(({ out, database }, topic: string, partition: number, to: bigint, options: Moving & { newLog?: true }) =>
        database(async (at) => {
          const { setPosition } = await import('../move-position.ts');
          return await move(at, out, { topic, partition }, options, (asked, log) =>
            setPosition(at.db, { ...asked, to, newLog: options.newLog ?? false }, log),
          );
        }),
      ),
    );
}

function addMoving(command: Command): Command {
  return command
    .option('--dry-run', 'what would be done and lost; nothing is written')
    .option('--reason <text>', 'why; kept with the loss; needed')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .option('--yes', 'without being asked');
}

function offset(text: string): bigint {
  if (!/^\d{1,18}$/.test(text)) throw new InvalidArgumentError('An offset: a whole number.');
  return BigInt(text);
}

type Asked = {
  topic: string;
  partition: number;
  seen: { generation: number; next: bigint };
  log: Log;
  reason: string;
  byWhom: string;
  dryRun: boolean;
};

/** Tried out first, so that the question says exactly what is lost; what moved between the two is a conflict. */
async function move(
  { sql, config }: Pick<At, 'sql' | 'config'>,
  out: Output,
  { topic, partition }: { topic: string; partition: number },
  { reason, actor, yes, ...options }: Moving,
  act: (asked: Asked, log: Log) => Promise<Moved | undefined>,
): Promise<number> {
  const dryRun = options.dryRun === true;
  if (reason === undefined && !dryRun) throw new Failure('Say why: --reason. It is kept with the loss.', EXIT.usage);
  const [{ NotMoved, offsetsIn }, { actorOf, logOf }] = await Promise.all([
    import('../move-position.ts'),
    import('./connection.ts'),
  ]);
  const before = await positionOf(sql, topic, partition);
  const log = await logOf(config, { topic, partition });
  const seen = { generation: before.generation, next: BigInt(before.position) };
  const asked = { topic, partition, seen, log, reason: reason ?? 'tried out', byWhom: actorOf(actor) };
  const tried = await moved(true, log);
  if (!dryRun) {
    const refused = await confirm(`${inWords(tried, true)}. Do it?`, yes);
    if (refused !== undefined) return refused;
  }
  const done = dryRun ? tried : await moved(false, await logOf(config, { topic, partition }));
  out.one(
    {
      ...{ topic, partition, generation: done.generation, position: done.to, dryRun },
      from: { generation: done.from.generation, position: done.from.next },
      lost: done.lost === undefined ? null : { ...rangeOf(done.lost), offsets: offsetsIn(done.lost) },
    },
    () => `${inWords(done, dryRun)}${dryRun ? ' · nothing was written' : ''}`,
  );
  if (!dryRun) noticed(out);
  return EXIT.done;

  async function moved(isTried: boolean, log: Log): Promise<Moved> {
    const result = await act({ ...asked, dryRun: isTried }, log).catch((error) => {
      throw error instanceof NotMoved ? new Failure(`${topic}[${partition}]: ${error.message}`) : error;
    });
    if (result === undefined) throw neverRead(topic, partition);
    return result;
  }
  function inWords({ from, to, generation, lost }: Moved, isTried: boolean): string {
    const n = offsetsIn(lost);
    const isAnother = generation !== from.generation;
    const inLog = isAnother ? `, as generation ${generation} of its log` : '';
    const rest = isAnother ? `; what the other log held from ${from.next} on and was not read is not read` : '';
    const loss =
      lost === undefined
        ? `nothing${isAnother ? ' of this log' : ''} is lost`
        : `${n} ${n === 1n ? 'offset is' : 'offsets are'} lost: ${lost.first} to ${lost.last}`;
    return `${topic}[${partition}] ${isTried ? 'would go' : 'goes'} on at ${to}${inLog} · it was at ${from.next} · ${loss}${rest}`;
  }
}
function rangeOf({ first, last }: { first: bigint; last: bigint }) {
  return { first, last };
}

function noticed(out: Output): void {
  out.say('A running service notices within 5 seconds.');
  out.next('partitions list');
}

/** Throws a Failure where it was never read. */
async function positionOf(sql: At['sql'], topic: string, partition: number): Promise<PositionRow> {
  const found = (await readPositions(sql)).find((row) => row.topic === topic && row.partition === partition);
  if (found === undefined) throw neverRead(topic, partition);
  return found;
}
function neverRead(topic: string, partition: number): Failure {
  return new Failure(`${topic}[${partition}] was never read here. \`partitions list\` shows those that were.`);
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

/** `lag`, `high` and `logStart`: null where Kafka does not say. */
export function lagOf({ topic, partition, position }: PositionRow, logs: Logs | undefined) {
  const log = logs?.get(`${topic}/${partition}`);
  if (log === undefined) return { logStart: null, high: null, lag: null };
  const lag = log.logEnd - BigInt(position);
  return { logStart: String(log.logStart), high: String(log.logEnd), lag: String(lag < 0n ? 0n : lag) };
}

type Row = PositionRow & ReturnType<typeof lagOf>;
const COLUMNS = [
  { head: 'PARTITION', of: ({ topic, partition }: Row) => `${topic}[${partition}]` },
  { head: 'POSITION', of: (row: Row) => BigInt(row.position), right: true as const },
  { head: 'LAG', of: ({ lag }: Row) => (lag === null ? '?' : BigInt(lag)), right: true as const },
  { head: 'STATE', of: (row: Row) => row.state },
  { head: 'SAVED', of: (row: Row) => time(row.updatedAt) },
  { head: 'OWNER', of: (row: Row) => row.owner },
];
