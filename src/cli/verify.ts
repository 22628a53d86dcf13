// verify.ts — `verify`: does every user's history lead to what was saved of it? Reads only; services may run meanwhile.
//
// Owns:          the words, and the options that choose among users (`replay` has the same). Does not own: the comparison (src/verify.ts).
import { type Command, InvalidArgumentError } from 'commander';
import type { Selection } from '../history.ts';
import type { Difference, StepDifference, Verified } from '../verify.ts';
import { limit } from './arguments.ts';
import { act, EXIT, examples, Failure, type Run } from './command.ts';
import type { At } from './connection.ts';
import { count, type Output, place, plural, quoted } from './output.ts';
import { createProgress } from './progress.ts';
import { stopOnSignals } from './signals.ts';

export function registerVerify(program: Command): void {
  const command = program
    .command('verify')
    .description("folds every user's history anew and compares it with what was saved; changes nothing");
  addChoice(command)
    .option('--limit <n>', 'show so many differences', limit, 20)
    .addHelpText('after', examples('verify', 'verify --sample 1%', "verify --user 'auth0|42' --json"))
    .action(
      act((run, options: Selection & { limit: number }) => readingLong(run, (at) => verifyAll(at, run.out, options))),
    );
}

/** Which users. */
export function addChoice(command: Command): Command {
  return command
    .option('--user <id>', 'only this user')
    .option('--customer <id>', "only this customer's users")
    .option('--sample <share>', 'only a share of the users, the same ones each time: 1%', share);
}

function share(text: string): number {
  const [, number] = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(text) ?? [];
  const percent = Number(number);
  if (!(percent > 0 && percent <= 100)) throw new InvalidArgumentError('A share like 1% or 0.1%.');
  return percent / 100;
}

/** What the options say of them. Throws a Failure where one user is meant and more was said. */
export function selectionOf({ user, customer, sample }: Selection): Selection {
  if (user !== undefined && (customer !== undefined || sample !== undefined))
    throw new Failure('--user is one user: leave --customer and --sample out.', EXIT.usage);
  return {
    ...(user === undefined ? {} : { user }),
    ...(customer === undefined ? {} : { customer }),
    ...(sample === undefined ? {} : { sample }),
  };
}

/** Statements take as long as they take: large tables are gone through, and a table that is swapped meanwhile is waited for. */
export async function readingLong<T>({ settings }: Pick<Run, 'settings'>, use: (at: At) => Promise<T>): Promise<T> {
  const [config, { withDatabase }] = await Promise.all([settings(['database']), import('./connection.ts')]);
  const database = { ...config.database, statementTimeoutMs: 0, lockTimeoutMs: 0 };
  return await withDatabase({ ...config, database }, use);
}

/** About how many events there are to read; null: nobody knows. */
export async function countEvents({ sql }: At, { user, customer, sample = 1 }: Selection): Promise<number | null> {
  if (user !== undefined || customer !== undefined) return null;
  const [row] = await sql<{ n: number }[]>`select reltuples::float8 as n from pg_class where oid = 'history'::regclass`;
  return row === undefined || row.n < 1 ? null : Math.round(row.n * sample);
}

async function verifyAll(at: At, out: Output, options: Selection & { limit: number }): Promise<number> {
  const selection = selectionOf(options);
  const { isEqual, verify } = await import('../verify.ts');
  const stopping = stopOnSignals(out.say);
  const progress = createProgress(await countEvents(at, selection), out.json);
  const found: Difference[] = [];
  const verified = await verify(at.sql, selection, {
    signal: stopping.signal,
    progress: (sofar) =>
      progress.show({
        done: sofar.steps,
        text: `${plural(sofar.users, 'user')}, ${count(sofar.differing)} differ`,
        facts: { users: sofar.users, differing: sofar.differing },
      }),
    tell: (difference) => {
      if (found.length < options.limit) found.push(difference);
    },
  }).finally(() => progress.end());
  if (selection.user !== undefined && verified.users === 0)
    throw new Failure(`There is no user ${selection.user}, and no history of one.`);

  if (out.json) out.many(found, [], '');
  const isSound = isEqual(verified);
  out.one({ what: 'summary', ...verified, sound: isSound }, () => inWords(verified));
  if (!out.json && found.length > 0) out.many(found, COLUMNS, '');
  sayTheRest(out, verified, { shown: found.length, isWhole: Object.keys(selection).length === 0 });
  const user = found.find((difference) => difference.what === 'user');
  if (user !== undefined)
    out.next(`users history ${quoted(user.userId)}`, `rebuild --user ${quoted(user.userId)} --dry-run`);
  return stopping.exitCode() ?? (isSound ? EXIT.done : EXIT.failed);
}

function sayTheRest(out: Output, verified: Verified, { shown, isWhole }: { shown: number; isWhole: boolean }): void {
  const all = verified.differing + (verified.customers?.differing ?? 0) + (verified.partitions?.differing ?? 0);
  if (all > shown) out.say(`${plural(all - shown, 'more difference')}: --limit shows more`);
  if (verified.newer > 0)
    out.say('Users of a newer machine were not compared: run the `verify` of the version that wrote them.');
  if (verified.interrupted) out.say('interrupted: what was not read yet was not compared');
  else if (!isWhole)
    out.say('Only a part of the users was read: customers, and whether records are missing, were not looked at.');
}

/** "982 users · 4,711 events checked · 981 equal · 1 differs · 31 customers, equal · 16 partitions, nothing missing" */
function inWords({ users, steps, equal, differing, newer, customers, partitions }: Verified): string {
  return [
    plural(users, 'user'),
    `${plural(steps, 'event')} checked`,
    `${count(equal)} equal`,
    `${count(differing)} ${differing === 1 ? 'differs' : 'differ'}`,
    ...(newer > 0 ? [`${count(newer)} of a newer machine`] : []),
    ...(customers === null
      ? []
      : [`${plural(customers.checked, 'customer')}, ${differ(customers.differing, 'equal')}`]),
    ...(partitions === null
      ? []
      : [
          partitions.differing === 0
            ? `${plural(partitions.checked, 'partition')}, nothing missing`
            : `${count(partitions.differing)} of ${plural(partitions.checked, 'partition')} miss records`,
        ]),
  ].join(' · ');
}
function differ(n: number, none: string): string {
  return n === 0 ? none : `${count(n)} ${n === 1 ? 'differs' : 'differ'}`;
}

const COLUMNS = [
  { head: 'DIFFERS', of: nameOf },
  { head: 'IN', of: fieldsOf },
  {
    head: 'FIRST EVENT',
    of: (difference: Difference) =>
      'first' in difference && difference.first !== null ? eventOf(difference.first) : null,
  },
];

function nameOf(difference: Difference): string {
  if (difference.what === 'user') return difference.userId;
  if (difference.what === 'customer') return `customer ${difference.customerId}`;
  return `${difference.topic}[${difference.partition}]`;
}

/** "state, role", "no row", "2 events", "3 records missing" */
function fieldsOf(difference: Difference): string {
  if (difference.what === 'partition')
    return difference.missing.startsWith('-')
      ? `${plural(BigInt(difference.missing.slice(1)), 'record')} too many`
      : `${plural(BigInt(difference.missing), 'record')} missing`;
  const parts = difference.missing === null ? [...difference.fields] : [`no ${difference.missing}`];
  if (difference.what === 'user' && difference.steps > 0) parts.push(plural(difference.steps, 'event'));
  return parts.join(', ');
}

/** "#41 USER_ROLE_CHANGED at user-events[4]@99121: folded roleChanged, saved suspended" */
function eventOf({ step, type, fields, folded, saved, ...where }: StepDifference): string {
  const shown = (['outcome', 'to', 'from', 'transition', 'version', 'drift'] as const).find((field) =>
    fields.includes(field),
  );
  const what =
    shown === undefined
      ? `${fields.join(', ')} differ`
      : `${shown === 'outcome' || shown === 'to' ? '' : `${shown} `}folded ${folded[shown] ?? 'none'}, saved ${saved[shown] ?? 'none'}`;
  return `#${step} ${type} at ${place(where)}: ${what}`;
}
