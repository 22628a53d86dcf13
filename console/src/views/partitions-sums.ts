// partitions-sums.ts — partitions by topic and by owner, and the words about one. Pure.
//
// M1  A sum of which a part is unknown is unknown (null), never too small.
import type { Moved, PartitionRow } from '../../../src/api/contract.ts';
import { count, duration, percent } from '../format.ts';
import { shellWord } from './dead-letters-filter.ts';

export type State = PartitionRow['state'];
export type TopicSums = {
  topic: string;
  rows: PartitionRow[];
  lag: bigint | null;
  /** Partitions whose lag is unknown. */
  unknown: number;
  lagSeconds: number | null;
  rate: number | null;
  unkeyedShare: number | null;
  records: bigint | null;
  byState: Readonly<Record<State, number>>;
};

/** In the order of their names; within one by number. */
export function byTopic(rows: readonly PartitionRow[]): TopicSums[] {
  const topics = new Map<string, PartitionRow[]>();
  for (const row of rows) topics.set(row.topic, [...(topics.get(row.topic) ?? []), row]);
  return [...topics]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([topic, of]) =>
      sumsOf(
        topic,
        of.toSorted((a, b) => a.partition - b.partition),
      ),
    );
}

export function sumsOf(topic: string, rows: PartitionRow[]): TopicSums {
  const byState = { running: 0, paused: 0, halted: 0 };
  for (const { state } of rows) byState[state]++;
  return {
    topic,
    rows,
    lag: sumOf(rows.map(({ lag }) => lag)),
    unknown: rows.filter(({ lag }) => lag === null).length,
    lagSeconds: mostOf(rows.map(({ lagSeconds }) => lagSeconds)),
    rate: rows.some(({ rate }) => rate === null) ? null : rows.reduce((sum, { rate }) => sum + (rate ?? 0), 0),
    unkeyedShare: shareOf(sumOf(rows.map(({ unkeyed }) => unkeyed)), sumOf(rows.map(({ records }) => records))),
    records: sumOf(rows.map(({ records }) => records)),
    byState,
  };
}
function sumOf(longs: readonly (string | null)[]): bigint | null {
  let sum = 0n;
  for (const long of longs) {
    if (long === null) return null;
    sum += BigInt(long);
  }
  return sum;
}
function mostOf(numbers: readonly (number | null)[]): number | null {
  return numbers.some((n) => n === null) ? null : Math.max(0, ...(numbers as number[]));
}
function shareOf(part: bigint | null, whole: bigint | null): number | null {
  return part === null || whole === null || whole === 0n ? null : Number(part) / Number(whole);
}

/** Of its records, those without a usable key; null: it has had none, or nobody knows. */
function unkeyedOf({ unkeyed, records }: Pick<PartitionRow, 'unkeyed' | 'records'>): number | null {
  return shareOf(sumOf([unkeyed]), sumOf([records]));
}
/** "0%", "–" where no record has come yet. */
export function unkeyedInWords(row: Pick<PartitionRow, 'unkeyed' | 'records'>): string {
  return row.records === '0' ? '–' : percent(unkeyedOf(row));
}

/** How long the lag's bar is, between 0 and 1: against the largest of all, by its logarithm, so that 10 still shows beside 10,000. */
export function barOf(lag: string | null, most: number): number {
  const n = Number(lag ?? 0);
  return n <= 0 || most <= 0 ? 0 : Math.log2(1 + n) / Math.log2(1 + most);
}
export function mostLag(rows: readonly PartitionRow[]): number {
  return rows.reduce((most, { lag }) => Math.max(most, Number(lag ?? 0)), 0);
}

/** "290 (1.2 s)", "0", "?" */
export function lagInWords({ lag, lagSeconds }: Pick<PartitionRow, 'lag' | 'lagSeconds'>): string {
  if (lag === null) return '?';
  return lag === '0' || lagSeconds === null || lagSeconds === 0
    ? count(lag)
    : `${count(lag)} (${duration(lagSeconds * 1_000)})`;
}

export type OwnerSums = { owner: string | null; partitions: number; lag: bigint | null; rate: number | null };

/** The busiest first; those that nobody saved yet at the end. */
export function byOwner(rows: readonly PartitionRow[]): OwnerSums[] {
  const owners = new Map<string | null, PartitionRow[]>();
  for (const row of rows) owners.set(row.owner, [...(owners.get(row.owner) ?? []), row]);
  return [...owners]
    .map(([owner, of]) => {
      const { lag, rate } = sumsOf('', of);
      return { owner, partitions: of.length, lag, rate };
    })
    .sort((a, b) => Number(a.owner === null) - Number(b.owner === null) || b.partitions - a.partitions);
}

/** What a halt's first word says, and what can be done about it (docs/operations.md, "A partition is halted"). */
const HALTS: Readonly<Record<string, readonly [happened: string, todo: string]>> = {
  gap: [
    'Twice running the log was fetched from beyond the saved position. Nothing was skipped.',
    "Somebody moves the group's offsets, or the log lost what lies between. Find the tool that moves them, then resume; if records are lost, restore them, or accept the loss.",
  ],
  lost: [
    'Records that were not read yet are not in the log any more.',
    'Restore them, then resume; or accept the loss: it goes on at the start of the log.',
  ],
  truncated: [
    'The log ends before the saved position: the topic was made anew, or truncated.',
    'Restore the topic, then resume; or set the position in the log as it is now.',
  ],
  cluster: [
    'The position was saved for the log of another cluster.',
    'Point KAFKA_BROKERS at the right cluster, then resume. Where this one is to be read from now on, set the position in it.',
  ],
  waiting: [
    'More events wait in all than WAITING_IN_TOTAL allows, and this batch would add some.',
    'Let what they wait for come, discard what waits for nothing, redrive waiting-full dead letters, or raise the limit; then resume.',
  ],
  defect: [
    'An error that would fail the same way for ever: a missing column, all users failing alike, an invariant broken.',
    'Fix it or roll back, then resume. There are no dead letters to clean up.',
  ],
};

export function haltInWords(why: string | null): { happened: string; todo: string } {
  const [happened, todo] = HALTS[kindOf(why)] ?? [
    'It stopped because going on could lose or spoil something.',
    'See to the reason, then resume.',
  ];
  return { happened, todo };
}

function kindOf(why: string | null): string {
  return /^[a-z]+/.exec(why ?? '')?.[0] ?? '';
}

/** It halted because this may be another log than the one that was read. */
export function isOfAnotherLog(why: string | null): boolean {
  return ['truncated', 'cluster'].includes(kindOf(why));
}

/** What a person may decide about a halted partition. */
export type Answer = 'resume' | 'accept-loss' | 'set-position';

/** Those that fit, the likeliest first. */
export function answersTo({ why, position, logStart }: PartitionRow): readonly Answer[] {
  if (isOfAnotherLog(why)) return ['set-position', 'resume'];
  const isLost = logStart === null ? kindOf(why) === 'lost' : BigInt(logStart) > BigInt(position);
  return isLost ? ['accept-loss', 'resume'] : ['resume'];
}

/** The same by the command line, with a reason to be filled in. */
export function commandOf(
  answer: Answer,
  { topic, partition, logStart }: Pick<PartitionRow, 'topic' | 'partition' | 'logStart'>,
  { to = logStart ?? '0', newLog = true }: { to?: string; newLog?: boolean } = {},
): string {
  const where = answer === 'set-position' ? ` ${shellWord(to)}${newLog ? ' --new-log' : ''}` : '';
  return `npx user-lifecycle partitions ${answer} ${shellWord(topic)} ${partition}${where} --reason '…'`;
}

/** As the server takes one. */
export function isOffset(text: string): boolean {
  return /^(0|[1-9]\d{0,17})$/.test(text);
}

/** "It would go on at 41; it stopped at 19. Lost: 22 offsets, 19 to 40." */
export function moveInWords({ from, generation, position, lost }: Moved): string {
  const log = generation === from.generation ? '' : `, as another log (generation ${generation})`;
  const rest = generation === from.generation ? '' : ` The other log’s rest, from ${from.position} on, is not read.`;
  if (lost === null)
    return `It would go on at ${position}${log}; it stopped at ${from.position}. Nothing of this log is lost.${rest}`;
  const n = `${count(lost.offsets)} ${lost.offsets === '1' ? 'offset' : 'offsets'}`;
  return `It would go on at ${position}${log}; it stopped at ${from.position}. Lost: ${n}, ${lost.first} to ${lost.last}.${rest}`;
}

/** Those that are halted, together where the same can be done about them. */
export function halts(rows: readonly PartitionRow[]): { happened: string; todo: string; rows: PartitionRow[] }[] {
  const kinds = new Map<string, { happened: string; todo: string; rows: PartitionRow[] }>();
  for (const row of rows) {
    if (row.state !== 'halted') continue;
    const said = haltInWords(row.why);
    const kind = kinds.get(said.happened) ?? { ...said, rows: [] };
    kind.rows.push(row);
    kinds.set(said.happened, kind);
  }
  return [...kinds.values()];
}

export type Sort = 'place' | 'lag' | 'rate';
/** Unknown lag counts as the largest: it deserves the look. */
export function sorted(rows: readonly PartitionRow[], by: Sort): PartitionRow[] {
  if (by === 'place') return [...rows];
  const of = ({ lag, rate }: PartitionRow) =>
    by === 'lag' ? (lag === null ? Number.POSITIVE_INFINITY : Number(lag)) : (rate ?? -1);
  return rows.toSorted((a, b) => (of(a) === of(b) ? a.partition - b.partition : of(a) < of(b) ? 1 : -1));
}
