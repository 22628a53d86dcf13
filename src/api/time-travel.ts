// time-travel.ts — /users/:id/at: a user as of one step of its history, and whether the whole of it leads to the saved row.
//
// Owns:          the two rows, what differs between them, the sentences about the fold. Does not own: the fold (fold.ts), the comparison
//                (verify.ts), reading (history.ts).
import { sql } from 'drizzle-orm';
import { MACHINE, VERSION } from '../../machines/index.ts';
import { fold, type Step } from '../fold.ts';
import { readHistories, type UserHistory } from '../history.ts';
import { masked } from '../mask.ts';
import type { UserRow } from '../put.ts';
import { differencesOfUser } from '../verify.ts';
import type { Reach } from './app.ts';
import type { UserAt } from './contract.ts';
import { notFound, Refused } from './problems.ts';

const MOST_STEPS = 10_000;
const MOST_BYTES = 50_000_000;

export async function userAt(
  { read, readSql }: Pick<Reach, 'read' | 'readSql'>,
  userId: string,
  at: { version?: number; time?: string },
  isRevealed: boolean,
): Promise<UserAt> {
  await assertFew(read, userId);
  const history = await historyOf(readSql, userId);
  if (history === undefined || history.steps.length === 0) throw notFound('history of such a user');
  const { steps } = history;
  const version = versionOf(steps, at);
  const upTo = (n: number) => fold(userId, steps.slice(0, n), MACHINE);
  const [row, before] = [upTo(version), version === 0 ? undefined : upTo(version - 1)];
  return {
    version,
    steps: steps.length,
    row: shownRow(row, isRevealed),
    before: shownRow(before, isRevealed),
    changed: changedBetween(before, row),
    fold: foldOf(history, isRevealed),
  };
}

/** Before anything is held in memory (P6). */
async function assertFew(read: Reach['read'], userId: string): Promise<void> {
  const [row] = await read.execute<{ steps: number; bytes: number }>(sql`
    select count(*)::int as steps, coalesce(sum(octet_length(event::text)), 0)::float8 as bytes
      from (select event from history where user_id = ${userId} limit ${MOST_STEPS + 1}::int) h`);
  const { steps, bytes } = row ?? { steps: 0, bytes: 0 };
  if (steps > MOST_STEPS || bytes > MOST_BYTES)
    throw new Refused(
      'too-much',
      `Its history has more than ${MOST_STEPS} steps or ${MOST_BYTES / 1_000_000} MB: \`user-lifecycle verify --user\` folds it.`,
    );
}

async function historyOf(sql: Reach['readSql'], userId: string): Promise<UserHistory | undefined> {
  for await (const [history] of readHistories(sql, { user: userId })) return history;
  return undefined;
}

/** The number of a step, from 1; 0: before the first. */
function versionOf(steps: readonly Step[], { version, time }: { version?: number; time?: string }): number {
  if (version !== undefined && time !== undefined)
    throw new Refused('invalid-request', 'Either `version` or `time`, not both.', {
      errors: [{ detail: 'stands beside `version`', pointer: '/time' }],
    });
  if (time !== undefined) {
    if (Number.isNaN(Date.parse(time)))
      throw new Refused('invalid-request', 'There is no such moment.', {
        errors: [{ detail: 'is no moment', pointer: '/time' }],
      });
    const untilMs = Date.parse(time) + 1; // a step's own time as shown is cut to ms, here it is rounded
    return steps.filter(({ recordedAtMs }) => recordedAtMs <= untilMs).length;
  }
  if (version !== undefined && version > steps.length) throw notFound(`step ${version}: it has ${steps.length}`);
  return version ?? steps.length;
}

/** What a row is beside its fold: raised by every write, counted from other tables; and the hashes against repeats, which nobody
 *  reads. */
const LEFT_OUT: ReadonlySet<string> = new Set(['rev', 'waiting', 'ring']);
const PERSONAL: ReadonlySet<string> = new Set(['email', 'name']);
const TIMES: ReadonlySet<string> = new Set(['createdAt', 'deletedAt']);

export function shownRow(row: UserRow | undefined, isRevealed: boolean): Record<string, unknown> | null {
  if (row === undefined) return null;
  return Object.fromEntries(
    Object.entries(row)
      .filter(([name]) => !LEFT_OUT.has(name))
      .map(([name, value]) => [name, shownField(name, value, isRevealed)]),
  );
}
function shownField(name: string, value: unknown, isRevealed: boolean): unknown {
  if (typeof value !== 'string') return value;
  if (TIMES.has(name)) return new Date(value).toISOString();
  return PERSONAL.has(name) && !isRevealed ? masked(value) : value;
}

/** The names of the fields in which two rows differ; all, where one of them does not exist. */
export function changedBetween(before: UserRow | undefined, after: UserRow | undefined): string[] {
  const names = Object.keys(after ?? before ?? {}).filter((name) => !LEFT_OUT.has(name)) as (keyof UserRow)[];
  return names.filter((name) => before?.[name] !== after?.[name]);
}

const MOST_DIFFERENCES = 20;

function foldOf(history: UserHistory, isRevealed: boolean): UserAt['fold'] {
  const { saved, steps } = history;
  if ((saved?.machineVersion ?? steps.at(-1)?.machineVersion ?? 0) > VERSION)
    return { equal: true, differences: ['A newer machine wrote it: it is not compared.'], firstDifference: null };
  // What waits is counted elsewhere, and may be behind for a moment.
  const found = differencesOfUser({ ...history, queued: saved?.waiting ?? 0 }, MACHINE);
  if (found === undefined) return { equal: true, differences: [], firstDifference: null };
  const folded = shownRow(fold(history.userId, steps, MACHINE), isRevealed);
  const stored = shownRow(saved, isRevealed);
  const text = (value: unknown) => (value === null || value === undefined ? 'nothing' : String(value));
  const differences = [
    ...(found.missing === 'row' ? ['There is no saved row.'] : []),
    ...found.fields.map((field) =>
      LEFT_OUT.has(field) || stored === null
        ? `${field} differs.`
        : `${field}: history gives ${text(folded?.[field])}, saved is ${text(stored[field])}.`,
    ),
    ...(found.first === null
      ? []
      : [
          `${found.steps} steps differ, the first at ${found.first.step} (${found.first.type}): ${found.first.fields
            .map(
              (field) =>
                `${field} ${text(found.first?.folded[field as keyof typeof found.first.folded])} instead of ${text(found.first?.saved[field as keyof typeof found.first.saved])}`,
            )
            .join(', ')}.`,
        ]),
  ];
  return {
    equal: false,
    differences: differences.slice(0, MOST_DIFFERENCES),
    firstDifference: found.first?.step ?? null,
  };
}
