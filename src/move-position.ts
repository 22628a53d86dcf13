// move-position.ts — what a person may do about a halted partition beside letting it run again: accept a loss, set the position.
//
// Owns:          which moves are allowed, the write of the position, and the row of `losses`.
// Does not own:  halting and resuming (operate.ts), what a log holds now (the source), how a process goes on there (partitions.ts).
//
// L1  Only a halted partition is moved, and only from the generation and offset that the person saw: of two the later one is refused.
// L2  Within a generation a position never goes back: coordinates name one record each. Another log gets another generation.
// L3  What is skipped of a log is written down with the move itself: no offset between two positions is forgotten. How far another log
//     went on behind the old position nobody knows: that position stands in the audit.
// L4  Before a running process goes on it looks at the log as at a start, and halts again where that does not fit (partitions.ts). A log
//     that was made anew and grew past the position it can not tell: who resumes has to.
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';
import { audited } from './audit.ts';
import { judgeStart, type Log } from './position.ts';

/** Offsets, both included. `generation`: of the log they were in, whose cluster is `clusterId`. */
export type Loss = { generation: number; clusterId: string; first: bigint; last: bigint };
export type Move = { generation: number; to: bigint; clusterId: string; lost: Loss | undefined };

/** A smallint. */
const MOST_GENERATIONS = 32_767;

/** What the row of a position says, as far as a move depends on it. */
export type Halted = {
  generation: number;
  next: bigint;
  clusterId: string;
  state: 'running' | 'halted';
  haltedReason: string | null;
};

/** The position stays as it was; the message says why, and what to do. */
export class NotMoved extends Error {
  override name = 'NotMoved';
}

/** The move to the start of a log that begins behind the position. Throws NotMoved. */
export function lossOf(row: Halted, log: Log): Move {
  assertHalted(row);
  if (isAnother(row, log))
    throw new NotMoved(
      `This is another log than the one that was read (${differenceOf(row, log)}). Restore that one, or set the position in this one.`,
    );
  if (mayBeAnother(row)) throw new NotMoved(UNCLEAR);
  if (row.next >= log.logStart)
    throw new NotMoved(
      `Nothing is lost: the log begins at ${log.logStart}, the position is ${row.next}. Resume the partition.`,
    );
  return { generation: row.generation, to: log.logStart, clusterId: row.clusterId, lost: rangeOf(row, log.logStart) };
}

/** The move to `to`. `newLog`: a person says that this is another log, where neither its cluster nor its end does. Throws NotMoved. */
export function moveOf(row: Halted, log: Log, { to, newLog }: { to: bigint; newLog: boolean }): Move {
  assertHalted(row);
  if (to < log.logStart || to > log.logEnd)
    throw new NotMoved(`${to} is not in the log, which begins at ${log.logStart} and ends at ${log.logEnd}.`);
  if (newLog || isAnother(row, log)) {
    if (row.generation >= MOST_GENERATIONS)
      throw new NotMoved('Too many logs were read here under this name: use another topic.');
    const began = { generation: row.generation + 1, clusterId: log.clusterId, next: log.logStart };
    return { generation: began.generation, to, clusterId: log.clusterId, lost: rangeOf(began, to) };
  }
  if (mayBeAnother(row)) throw new NotMoved(UNCLEAR);
  if (to < row.next)
    throw new NotMoved(
      `Within the same log the position never goes back (it is ${row.next}): what lies before it was handled. ` +
        'To run it again, rebuild users from their history, or read the log into new tables.',
    );
  if (to === row.next) throw new NotMoved(`The position is ${to} already. Resume the partition.`);
  return { generation: row.generation, to, clusterId: row.clusterId, lost: rangeOf(row, to) };
}

const UNCLEAR =
  'It is not clear which log this is: it halted for another one, but now cluster and length fit the position, as those of a log ' +
  'that was made anew and grew would. If the old log is back, resume with --old-log-is-back (oldLogIsBack); if this is a new one, ' +
  'set the position with --new-log (newLog).';

/** May it run again from where it stopped? `log`: undefined where it can not be asked, which matters where it may be another one: a gap and
 *  a loss are seen by whoever reads on. Throws NotMoved: events would be skipped without a trace, or it would halt again. */
export function assertResumable(
  { haltedReason, ...row }: Pick<Halted, 'next' | 'clusterId' | 'haltedReason'>,
  log: Log | undefined,
  { oldLogIsBack }: { oldLogIsBack: boolean },
): void {
  if (log === undefined) {
    if (!mayBeAnother({ haltedReason })) return;
    throw new NotMoved('It halted for its log, and where that begins and ends can not be asked now: try again later.');
  }
  const why = judgeStart(row, log);
  if (why !== undefined) throw new NotMoved(`It would halt again: ${why}`);
  if (mayBeAnother({ haltedReason }) && !oldLogIsBack) throw new NotMoved(UNCLEAR);
}

function mayBeAnother({ haltedReason }: Pick<Halted, 'haltedReason'>): boolean {
  return /^(truncated|cluster)\b/.test(haltedReason ?? '');
}

function assertHalted({ state }: Halted): void {
  if (state !== 'halted') throw new NotMoved('The partition is not halted: its position is its own to move.');
}

/** A log never ends before what was read of it. */
function isAnother(row: Halted, log: Log): boolean {
  return row.clusterId !== log.clusterId || row.next > log.logEnd;
}
function differenceOf(row: Halted, log: Log): string {
  return row.clusterId === log.clusterId
    ? `it ends at ${log.logEnd}, the position is ${row.next}`
    : `of ${log.clusterId} instead of ${row.clusterId}`;
}

/** Undefined: nothing is skipped. */
function rangeOf(
  { generation, clusterId, next }: Omit<Halted, 'state' | 'haltedReason'>,
  to: bigint,
): Loss | undefined {
  return to > next ? { generation, clusterId, first: next, last: to - 1n } : undefined;
}

export function offsetsIn(loss: Pick<Loss, 'first' | 'last'> | undefined): bigint {
  return loss === undefined ? 0n : loss.last - loss.first + 1n;
}

/** `seen`: what the person had before their eyes; `logStart`: the same, where the loss depends on it. */
type Asked = {
  topic: string;
  partition: number;
  seen: { generation: number; next: bigint; logStart?: bigint | undefined };
  reason: string;
  byWhom: string;
  /** Says what would be done, and writes nothing but its audit row. */
  dryRun?: boolean;
};
/** `from`: the position before. */
export type Moved = Move & { from: { generation: number; next: bigint }; haltedReason: string | null };

/** Lets a halted partition go on at the start of its log, and writes down what lay before. Undefined: it was never read. Throws NotMoved. */
export async function acceptLoss(db: Db, asked: Asked, log: Log): Promise<Moved | undefined> {
  const { logStart } = asked.seen;
  if (logStart !== undefined && logStart !== log.logStart)
    throw new NotMoved(`The log begins at ${log.logStart} by now, not at ${logStart}: more is lost. Look again.`);
  return await move(db, 'accept-loss', asked, {}, (row) => lossOf(row, log));
}

/** Lets a halted partition go on at `to`. Undefined: it was never read. Throws NotMoved. */
export async function setPosition(
  db: Db,
  { to, newLog, ...asked }: Asked & { to: bigint; newLog: boolean },
  log: Log,
): Promise<Moved | undefined> {
  return await move(db, 'set-position', asked, { to: String(to), newLog }, (row) => moveOf(row, log, { to, newLog }));
}

async function move(
  db: Db,
  verb: 'accept-loss' | 'set-position',
  { topic, partition, seen, reason, byWhom, dryRun = false }: Asked,
  choice: object,
  decide: (row: Halted) => Move,
): Promise<Moved | undefined> {
  const scope = { topic, partition, generation: seen.generation, position: String(seen.next), ...choice, reason };
  let moved: Moved | undefined;
  await audited(db, { who: byWhom, verb, scope, dryRun }, async (tx) => {
    const row = await lockRow(tx, topic, partition);
    if (row === undefined) return undefined;
    if (row.generation !== seen.generation || row.next !== seen.next)
      throw new NotMoved(
        `The position is ${inWords(row)} by now, not ${inWords(seen)}: somebody else moved it. Look again.`,
      );
    const decided = decide(row);
    moved = { ...decided, from: { generation: row.generation, next: row.next }, haltedReason: row.haltedReason };
    if (!dryRun) {
      await writePosition(tx, { topic, partition }, row, decided);
      if (decided.lost !== undefined)
        await writeLoss(tx, { topic, partition, haltedReason: row.haltedReason, reason, byWhom }, decided.lost);
    }
    return {
      to: decided.to,
      generation: decided.generation,
      lost: lossInWords(decided.lost),
      offsets: offsetsIn(decided.lost),
    };
  });
  return moved;
}

function inWords({ generation, next }: { generation: number; next: bigint }): string {
  return generation === 0 ? String(next) : `${next} in generation ${generation}`;
}
function lossInWords(lost: Loss | undefined): string | null {
  return lost === undefined ? null : `${lost.first} to ${lost.last}`;
}

/** Until the move is written nobody else resumes or moves it. */
async function lockRow(tx: Tx, topic: string, partition: number): Promise<Halted | undefined> {
  const [row] = await tx.execute<Omit<Halted, 'next'> & { next: string }>(sql`
    select generation, next_offset as next, cluster_id as "clusterId", state, halted_reason as "haltedReason"
      from positions where topic = ${topic} and partition = ${partition}::int for update`);
  return row === undefined ? undefined : { ...row, next: BigInt(row.next) };
}

/** Leader epoch and tail are of a record of the old log: another log has none yet. */
async function writePosition(
  tx: Tx,
  { topic, partition }: { topic: string; partition: number },
  row: Halted,
  { generation, to, clusterId }: Move,
): Promise<void> {
  const isAnother = generation !== row.generation;
  await tx.execute(sql`
    update positions
       set next_offset = ${String(to)}::bigint, generation = ${generation}::int, cluster_id = ${clusterId},
           first_offset = case when ${isAnother}::boolean then ${String(to)}::bigint else first_offset end,
           leader_epoch = case when ${isAnother}::boolean then null else leader_epoch end,
           tail_offset = case when ${isAnother}::boolean then null else tail_offset end,
           tail_hash = case when ${isAnother}::boolean then null else tail_hash end,
           state = 'running', halted_reason = null, updated_at = clock_timestamp()
     where topic = ${topic} and partition = ${partition}::int`);
}

async function writeLoss(
  tx: Tx,
  of: { topic: string; partition: number; haltedReason: string | null; reason: string; byWhom: string },
  { generation, clusterId, first, last }: Loss,
): Promise<void> {
  await tx.execute(sql`
    insert into losses (topic, partition, generation, first_offset, last_offset, cluster_id, halted_reason, reason, by_whom)
    values (${of.topic}, ${of.partition}::int, ${generation}::int, ${String(first)}::bigint, ${String(last)}::bigint, ${clusterId},
            ${of.haltedReason}, ${of.reason}, ${of.byWhom})`);
}
