// rebuild.ts — `rebuild`: the users' rows again from the history, of some or of all, while services run.
//
// Owns:          what is asked before, what is shown, the words about the result.
// Does not own:  what becomes of a row, the passes, the swap (src/rebuild.ts).
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import type { Chosen } from '../rebuild.ts';
import type { Owner, RebuiltAll, Told } from '../rebuild-all.ts';
import type { Sums } from '../rebuilt.ts';
import { act, EXIT, examples, Failure, type Run } from './command.ts';
import { confirm } from './confirm.ts';
import type { At } from './connection.ts';
import { count, fields, type Output, plural, quoted } from './output.ts';
import { createProgress } from './progress.ts';
import { type Stopping, stopOnSignals } from './signals.ts';

type Options = {
  user?: string;
  customer?: string;
  newer?: true;
  all?: true;
  dryRun?: true;
  yes?: true;
  actor?: string;
};

export function registerRebuild(program: Command): void {
  program
    .command('rebuild')
    .description("the users' rows again from their history; services may run meanwhile")
    .option('--user <id>', 'this user')
    .option('--customer <id>', "this customer's users")
    .option('--newer', 'those whose row a newer version of the machine wrote: after a deploy that was rolled back')
    .option('--all', 'all, in a new table that takes the place of the old one')
    .option('--dry-run', 'what would change; nothing is written')
    .option('--yes', 'without being asked')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples("rebuild --user 'auth0|42'", 'rebuild --all --dry-run', 'rebuild --all --yes'))
    .action(act(rebuild));
}

async function rebuild(run: Run, options: Options): Promise<number> {
  const chosen = chosenOf(options);
  const [config, { actorOf, withDatabase }] = await Promise.all([
    run.settings(['database']),
    import('./connection.ts'),
  ]);
  const who = actorOf(options.actor);
  const owned = ownerOf(config);
  return await withDatabase(owned, async (at) => {
    if (!options.dryRun) {
      if (chosen === 'all') await assertOwner(at);
      const refused = await confirm(await questionOf(at, chosen), options.yes);
      if (refused !== undefined) return refused;
    }
    const stopping = stopOnSignals(run.out.say);
    if (chosen !== 'all') return await rebuildChosen(run.out, at, chosen, { ...options, who, stopping });
    if (options.dryRun) return await rehearse(run.out, at, { who, stopping });
    const { alone } = await import('./alone.ts');
    return await alone(owned.database, { what: 'rebuild', who }, () => rebuildTable(run.out, at, { who, stopping }));
  });
}

function chosenOf({ user, customer, newer, all }: Options): Chosen | 'all' {
  const said: (Chosen | 'all')[] = [
    ...(user === undefined ? [] : [{ user }]),
    ...(customer === undefined ? [] : [{ customer }]),
    ...(newer ? [{ newer }] : []),
    ...(all ? (['all'] as const) : []),
  ];
  const [one, ...others] = said;
  if (one === undefined || others.length > 0)
    throw new Failure('Whose rows? One of --user <id>, --customer <id>, --newer or --all.', EXIT.usage);
  return one;
}

async function questionOf({ db }: At, chosen: Chosen | 'all'): Promise<string> {
  if (chosen === 'all') {
    const { countUsers } = await import('../migrate.ts');
    return `Put a new table of all ${plural(await countUsers(db), 'user')}, made from their history, in the place of the old one?`;
  }
  if ('user' in chosen) return `Write the row of user ${chosen.user} again from its history?`;
  if ('customer' in chosen) return `Write the rows of customer ${chosen.customer}'s users again from their history?`;
  return 'Write the rows of a newer machine again from their history, as this version understands it?';
}

/** As the tables' owner, whose statements take as long as they take: a large table is gone through. */
function ownerOf(config: Config): Config {
  const { database } = config;
  const owner = database.ownerUser === undefined ? {} : { user: database.ownerUser, password: database.ownerPassword };
  return { ...config, database: { ...database, ...owner, statementTimeoutMs: 0 } };
}

async function assertOwner({ sql, config }: At): Promise<void> {
  const [row] = await sql<{ mine: boolean }[]>`
    select pg_has_role(current_user, relowner, 'member') as mine from pg_class where oid = 'users'::regclass`;
  if (row?.mine) return;
  throw new Failure(
    `"${config.database.user}" does not own the table users, and rebuild --all puts another in its place: say the owner with DB_OWNER_USER and DB_OWNER_PASSWORD.`,
  );
}

// --- some users ------------------------------------------------------------------------------------------------------

type Deciding = { who: string; stopping: Stopping };

async function rebuildChosen(
  out: Output,
  at: At,
  chosen: Chosen,
  { who, stopping, dryRun }: Deciding & Options,
): Promise<number> {
  const [{ rebuildSome }, { drainingOf }] = await Promise.all([import('../rebuild.ts'), import('./connection.ts')]);
  const { saver } = await drainingOf(at);
  const progress = createProgress(null, out.json);
  const { signal } = stopping;
  const step = (looked: number) => progress.show({ done: looked, text: 'users', facts: {} });
  const sums = await rebuildSome(at.db, saver, chosen, { who, dryRun: dryRun === true, signal, step }).finally(() =>
    progress.end(),
  );
  if (sums.looked === 0 && 'user' in chosen)
    throw new Failure(`There is no user ${chosen.user}, and no history of one.`);
  out.one({ ...sums, dryRun: dryRun === true }, () => inWords(sums, dryRun === true));
  if (sums.queued > 0 && !dryRun)
    out.say(`${plural(sums.queued, 'event')} of them may go now: the service looks for such every 10 s`);
  if (stopping.exitCode() !== undefined) out.say('interrupted: what was written stays; the same command does the rest');
  else if ('user' in chosen) out.next(`users show ${quoted(chosen.user)}`);
  else out.next('audit --verb rebuild');
  return stopping.exitCode() ?? (sums.refused > 0 ? EXIT.failed : EXIT.done);
}

/** How many rows, how many of them otherwise, in what, and whose for example. */
function inWords(sums: Sums, isDry: boolean): string {
  const { looked, changed, made, gone, refused, newer, examples } = sums;
  const would = isDry ? 'would be ' : '';
  const parts = [
    `${plural(looked, 'user')} looked at`,
    ...(changed + made + gone + refused + newer === 0 ? ['all rows are what their history says'] : []),
    ...(changed > 0 ? [`${count(changed)} ${would}changed`] : []),
    ...(made > 0 ? [`${count(made)} missing ${would}made`] : []),
    ...(gone > 0 ? [`${count(gone)} without a history ${would}removed`] : []),
    ...(refused > 0 ? [`${count(refused)} left as they are: this machine does not take their history whole`] : []),
    ...(newer > 0 ? [`${count(newer)} left as they are: a newer machine wrote them, and --newer takes them back`] : []),
  ];
  const shown = Object.fromEntries(
    Object.entries(examples).map(([name, ids]) => {
      const n = sums.fields[name] ?? sums[name as 'made' | 'gone' | 'refused' | 'newer'];
      return [name, `${count(n)}: ${ids.map(quoted).join(' ')}${n > ids.length ? ' …' : ''}`];
    }),
  );
  return [parts.join(' · '), ...(Object.keys(shown).length === 0 ? [] : [fields(shown)])].join('\n');
}

// --- all users -------------------------------------------------------------------------------------------------------

async function rebuildTable(out: Output, at: At, { who, stopping }: Deciding): Promise<number> {
  const { rebuildAll } = await import('../rebuild-all.ts');
  const { signal } = stopping;
  const watch = await watching(out, at);
  const done = await inOwnWords(rebuildAll(ownerAt(at), { who, signal, told: watch.told }).finally(watch.end));
  if (done === undefined) return interrupted(out, stopping);
  out.one(done, () => `${inWords(done, false)}\n${tableInWords(done)}`);
  out.next('status', 'audit --verb rebuild');
  return done.refused > 0 ? EXIT.failed : EXIT.done;
}

function tableInWords({ users, passes, again, lockMs, tallies }: RebuiltAll): string {
  const corrected = Object.entries(tallies).map(([key, n]) => `${key.slice('state|'.length)} ${n > 0 ? '+' : ''}${n}`);
  return fields({
    users: plural(users, 'row'),
    'written meanwhile': `${count(again)} folded again, in ${plural(passes, 'pass').replace(/passs$/, 'passes')}`,
    'table locked': `${count(lockMs)} ms`,
    'totals corrected': corrected.join('  ') || null,
  });
}

async function rehearse(out: Output, at: At, { who, stopping }: Deciding): Promise<number> {
  const { rehearseAll } = await import('../rebuild-all.ts');
  const watch = await watching(out, at);
  const sums = await rehearseAll(ownerAt(at), { who, signal: stopping.signal, told: watch.told }).finally(watch.end);
  if (sums === undefined) return interrupted(out, stopping);
  out.one({ ...sums, dryRun: true }, () => inWords(sums, true));
  out.next('rebuild --all');
  return EXIT.done;
}

function ownerAt({ db, sql }: At): Owner {
  return { db, sql };
}

function interrupted(out: Output, stopping: Stopping): number {
  out.say('interrupted: nothing was changed');
  return stopping.exitCode() ?? EXIT.failed;
}

/** A bar while the new table is filled, then a line for each pass and each try. */
async function watching(out: Output, { db }: At): Promise<{ told: (told: Told) => void; end: () => void }> {
  const { readTallies } = await import('../positions.ts');
  const progress = createProgress(stepsIn(await readTallies(db)), out.json);
  let isFilling = true;
  const end = () => {
    if (isFilling) progress.end();
    isFilling = false;
  };
  const tell = (told: Told, text: string) => {
    end();
    if (out.json) process.stderr.write(`${JSON.stringify(told)}\n`);
    else out.say(text);
  };
  return {
    end,
    told(told) {
      if (told.what === 'filled')
        progress.show({ done: told.steps, text: plural(told.users, 'user'), facts: { users: told.users } });
      else if (told.what === 'pass') tell(told, `pass ${told.pass}: ${plural(told.users, 'user')} written meanwhile`);
      else if (told.what === 'blocked')
        tell(
          told,
          `the table users is in use by ${told.by ?? 'somebody'}: trying again, services go on (ctrl-C gives up)`,
        );
    },
  };
}

/** Of all histories, from the running totals. */
function stepsIn(tallies: Readonly<Record<string, number>>): number {
  return Object.entries(tallies).reduce((steps, [key, n]) => {
    const [kind, type, outcome] = key.split('|');
    const isStep = kind === 'event' && type !== 'CUSTOMER_CREATED' && outcome !== 'waiting' && outcome !== 'dead';
    return isStep ? steps + n : steps;
  }, 0);
}

async function inOwnWords<T>(doing: Promise<T>): Promise<T> {
  const { NotReplaced } = await import('../shadow.ts');
  return await doing.catch((error) => {
    throw error instanceof NotReplaced ? new Failure(error.message) : error;
  });
}
