// verify.ts — is what was saved what its history leads to? Every user folded anew and compared, then what belongs to the whole.
//
// Owns:          what is compared, and the sums. Does not own: the fold (fold.ts), reading (history.ts), the repair (rebuild.ts).
//
// Y1  It only reads, and each user's history, row and queue in one snapshot: it may run beside the service, and what it finds was
//     so at one moment.
// Y2  What a newer machine wrote is counted, not compared: this code does not know what it means.
// Y3  What a row counts as waiting may be behind for a moment: an event that was put to wait while its user was created elsewhere is
//     not in it until the drain comes, at the latest the sweep, every 10 s. So where nothing else differs it is looked at again,
//     however many there are.
// Y4  Customers and partitions are looked at as a whole or not at all: a part of the users says nothing about them.
import type postgres from 'postgres';
import { arrayText } from '../db/array.ts';
import { MACHINE, type Machine } from '../machines/index.ts';
import type { EventType } from './events.ts';
import { differencesOfRow, differencesOfStep, fold, type Refolded, type Step } from './fold.ts';
import { isWhole, readHistories, type Selection, type UserHistory } from './history.ts';
import { sleep } from './retry.ts';

/** A user, a customer or a partition that is not as it should be. */
export type Difference =
  | ({ what: 'user'; userId: string } & UserDifference)
  | { what: 'customer'; customerId: string; missing: 'row' | 'history' | null; fields: string[] }
  | { what: 'partition'; topic: string; partition: number; missing: string };

export type UserDifference = {
  /** There is no such row, or no history of it. */
  missing: 'row' | 'history' | null;
  /** Of its row. */
  fields: string[];
  /** How many steps differ, and the first. */
  steps: number;
  first: StepDifference | null;
};
export type StepDifference = {
  /** Its number, from 1. */
  step: number;
  type: EventType;
  topic: string;
  partition: number;
  offset: string;
  fields: string[];
  folded: Told;
  saved: Told;
};
type Told = Pick<Refolded, 'outcome' | 'version' | 'from' | 'to' | 'transition' | 'drift'>;

export type Verified = {
  users: number;
  /** Of them: events folded, those of `newer` users left out. */
  steps: number;
  /** users = equal + differing + newer */
  equal: number;
  differing: number;
  newer: number;
  /** Null: not looked at (Y4). */
  customers: { checked: number; differing: number } | null;
  partitions: { checked: number; differing: number } | null;
  interrupted: boolean;
};

export type VerifyOptions = {
  machine?: Machine;
  /** Each difference as it is found. */
  tell?: (difference: Difference) => void;
  /** After each page. */
  progress?: (sofar: Verified) => void;
  /** Ends it after a page. */
  signal?: AbortSignal;
  /** How long a row may be behind in what it counts as waiting (Y3). */
  patienceMs?: number;
  stepsPerPage?: number;
  /** Of those that are behind so many are remembered before they are looked at again. */
  mostBehind?: number;
};

/** Reads all that is selected, and compares. Throws what Postgres throws. */
export async function verify(sql: postgres.Sql, selection: Selection, options: VerifyOptions = {}): Promise<Verified> {
  const { machine = MACHINE, tell = () => {}, progress = () => {}, signal, stepsPerPage } = options;
  const { mostBehind = MOST_BEHIND } = options;
  const sums: Verified = {
    ...{ users: 0, steps: 0, equal: 0, differing: 0, newer: 0 },
    ...{ customers: null, partitions: null, interrupted: false },
  };
  const count: Count = (userId, difference) => {
    if (difference === undefined) sums.equal++;
    else {
      sums.differing++;
      tell({ what: 'user', userId, ...difference });
    }
  };
  let behind: string[] = [];
  for await (const page of readHistories(sql, selection, stepsPerPage === undefined ? {} : { stepsPerPage })) {
    for (const user of page) {
      sums.users++;
      if (isNewer(user, machine)) {
        sums.newer++;
        continue;
      }
      sums.steps += user.steps.length;
      const difference = differencesOfUser(user, machine);
      if (difference !== undefined && isBehind(difference)) behind.push(user.userId);
      else count(user.userId, difference);
    }
    progress(sums);
    if (signal?.aborted) break;
    if (behind.length >= mostBehind) {
      await lookAgain(sql, behind, options, count);
      behind = [];
    }
  }
  await lookAgain(sql, behind, options, count);
  if (signal?.aborted) return { ...sums, interrupted: true };
  if (isWhole(selection)) {
    sums.customers = await verifyCustomers(sql, tell);
    if (signal?.aborted) return { ...sums, interrupted: true };
    sums.partitions = await verifyPartitions(sql, tell);
  }
  return sums;
}

type Count = (userId: string, difference: UserDifference | undefined) => void;

/** Beyond the sweep of the drains, every 10 s. */
const PATIENCE_MS = 12_000;
const LOOK_EVERY_MS = 500;
/** Ids of users (P6). Where all of a million users were behind for good, the patience were needed ten times. */
const MOST_BEHIND = 100_000;

/** Counts each of these users when it is not behind any more, or the patience is over (Y3). */
async function lookAgain(
  sql: postgres.Sql,
  behind: readonly string[],
  { machine = MACHINE, signal, patienceMs = PATIENCE_MS }: VerifyOptions,
  count: Count,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  for (let left = behind; left.length > 0; ) {
    const isLast = signal?.aborted || performance.now() >= deadline;
    const miscounted = await readMiscounted(sql, left);
    const still: string[] = [];
    for (const userId of left) {
      const difference = miscounted.has(userId) ? BEHIND : await lookAt(sql, userId, machine);
      if (!isLast && difference !== undefined && isBehind(difference)) still.push(userId);
      else count(userId, difference);
    }
    left = still;
    if (left.length > 0) await sleep(LOOK_EVERY_MS, signal);
  }
}

const BEHIND: UserDifference = { missing: null, fields: ['waiting'], steps: 0, first: null };
const USERS_PER_QUERY = 5_000;

/** Those of them whose rows count something else than what waits. */
async function readMiscounted(sql: postgres.Sql, userIds: readonly string[]): Promise<Set<string>> {
  const miscounted = new Set<string>();
  for (let at = 0; at < userIds.length; at += USERS_PER_QUERY) {
    const ids = arrayText(userIds.slice(at, at + USERS_PER_QUERY));
    const rows = await sql<{ userId: string }[]>`
      select user_id as "userId" from users u
       where user_id = any(${ids}::text::text[])
         and waiting <> (select count(*) from waiting w where w.user_id = u.user_id)
                      + (select count(*) from dead_letters d
                          where d.user_id = u.user_id and d.blocks and d.status in ('open', 'redriving'))`;
    for (const { userId } of rows) miscounted.add(userId);
  }
  return miscounted;
}

/** Does no more differ than its count of what waits? */
function isBehind({ missing, fields, steps }: UserDifference): boolean {
  return missing === null && steps === 0 && fields.length === 1 && fields[0] === 'waiting';
}

async function lookAt(sql: postgres.Sql, userId: string, machine: Machine): Promise<UserDifference | undefined> {
  for await (const [user] of readHistories(sql, { user: userId }))
    if (user !== undefined && !isNewer(user, machine)) return differencesOfUser(user, machine);
  return undefined;
}

/** Is everything that was looked at equal? */
export function isEqual({ differing, customers, partitions }: Verified): boolean {
  return differing === 0 && (customers?.differing ?? 0) === 0 && (partitions?.differing ?? 0) === 0;
}

function isNewer({ saved, steps }: UserHistory, { version }: Machine): boolean {
  return (saved?.machineVersion ?? 0) > version || (steps.at(-1)?.machineVersion ?? 0) > version;
}

/** Undefined: none. */
export function differencesOfUser(
  { userId, steps, saved, queued }: UserHistory,
  machine: Machine,
): UserDifference | undefined {
  if (steps.length === 0) return { missing: 'history', fields: [], steps: 0, first: null };
  let wrong = 0;
  let first: StepDifference | null = null;
  let number = 0;
  const folded = fold(userId, steps, machine, (step, refolded, wroteIt) => {
    number++;
    const fields = wroteIt ? differencesOfStep(step, refolded) : [];
    // What another machine's fold says of a version may be off; the count is not.
    if (step.version !== number && !fields.includes('version')) fields.push('version');
    if (fields.length === 0) return;
    wrong++;
    first ??= stepDifference(step, refolded, number, fields);
  });
  if (saved === undefined) return { missing: 'row', fields: [], steps: wrong, first };
  // A creation that was refused all along is no user: then the row is what is too much.
  const fields = folded === undefined ? ['state'] : differencesOfRow(saved, folded, machine);
  if (saved.waiting !== queued) fields.push('waiting');
  return fields.length === 0 && wrong === 0 ? undefined : { missing: null, fields, steps: wrong, first };
}

function stepDifference(step: Step, refolded: Refolded, number: number, fields: string[]): StepDifference {
  const { type, topic, partition, offset } = step;
  return { step: number, type, topic, partition, offset, fields, folded: toldOf(refolded), saved: toldOf(step) };
}
function toldOf({ outcome, version, from, to, transition, drift }: Told): Told {
  return { outcome, version, from, to, transition, drift };
}

const MOST_TOLD = 1_000;

/** A customer has no version, so its history has no order that could be folded. But its row must be what one of its events said,
 *  under the latest time of those that counted. */
async function verifyCustomers(
  sql: postgres.Sql,
  tell: (difference: Difference) => void,
): Promise<{ checked: number; differing: number }> {
  const [row] = await sql<
    {
      checked: number;
      differing: number;
      first: { customerId: string; missing: 'row' | 'history' | null; fields: string[] }[];
    }[]
  >`
    with told as materialized (
           select customer_id, "offset", outcome, event ->> 'name' as name,
                  topic || '/' || partition || case generation when 0 then '' else '#' || generation end as source,
                  coalesce((facts ->> 'atMs')::bigint, round(date_part('epoch', occurred_at) * 1000)::bigint) as at_ms
             from history where user_id is null and type = 'CUSTOMER_CREATED'),
         latest as (select customer_id, max(at_ms) filter (where outcome <> 'stale') as at_ms from told group by customer_id),
         compared as (
           select coalesce(c.customer_id, l.customer_id) as "customerId",
                  case when c.customer_id is null then 'row' when l.customer_id is null then 'history' end as missing,
                  array_remove(array[case when t.customer_id is null then 'source' end,
                                     case when t.name <> c.name then 'name' end,
                                     case when l.at_ms is distinct from c.at_ms then 'atMs' end], null) as fields
             from customers c
             full join latest l using (customer_id)
             left join told t on t.customer_id = c.customer_id and t.source = c.source and t."offset" = c.source_offset
                             and t.outcome <> 'stale'),
         wrong as (select "customerId", missing, case when missing is null then fields else '{}' end as fields
                     from compared where missing is not null or fields <> '{}')
    select (select count(*)::int from compared) as checked, (select count(*)::int from wrong) as differing,
           (select coalesce(json_agg(w), '[]')
              from (select * from wrong order by "customerId" limit ${MOST_TOLD}::int) w) as first`;
  const { checked, differing, first } = row ?? { checked: 0, differing: 0, first: [] };
  for (const { customerId, missing, fields } of first) tell({ what: 'customer', customerId, missing, fields });
  return { checked, differing };
}

/** Nothing vanishes: every record handled is in exactly one place. */
async function verifyPartitions(
  sql: postgres.Sql,
  tell: (difference: Difference) => void,
): Promise<{ checked: number; differing: number }> {
  const rows = await sql<{ topic: string; partition: number; missing: string }[]>`
    select topic, partition, missing from accounting order by topic, partition`;
  const wrong = rows.filter(({ missing }) => missing !== '0');
  for (const { topic, partition, missing } of wrong) tell({ what: 'partition', topic, partition, missing });
  return { checked: rows.length, differing: wrong.length };
}
