// users.ts — `users show|history`: one user as saved, and how it came to be so. Personal data is masked unless --reveal.
import type { Command } from 'commander';
import { masked, maskedEvent } from '../mask.ts';
import type { StepShown } from '../queries/history.ts';
import { limit, rowId } from './arguments.ts';
import { act, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { fields, place, plural, quoted, time } from './output.ts';

export function registerUsers(program: Command): void {
  const group = program
    .command('users')
    .description('one user: show, history')
    .addHelpText('after', examples("users show 'auth0|42'", "users history 'auth0|42'"));
  registerShow(group);
  registerHistory(group);
}

function registerShow(group: Command): void {
  group
    .command('show')
    .description('the user as saved, and what keeps its events from going on')
    .argument('<id>', 'the user id')
    .option('--reveal', 'e-mail and name as they are')
    .addHelpText('after', examples("users show 'auth0|42'", "users show 'auth0|42' --reveal"))
    .action(
      act(async ({ out, database }, id: string, { reveal }: { reveal?: true }) => {
        const { user, queue } = await database(({ db }) => lookAt(db, id));
        const { waiting, waitingFor, deadLetters } = queue;
        if (user === undefined) {
          if (waiting === '0' && deadLetters.length === 0) throw new Failure(`There is no user ${id}.`);
          throw new Failure(
            `The user ${id} does not exist yet: ${waiting === '1' ? '1 event waits' : `${waiting} events wait`} for it (${waitingFor.join(', ')})` +
              `${deadLetters.length === 0 ? '' : `, dead letters ${deadLetters.join(', ')}`}.`,
          );
        }
        const hide = reveal ? (text: string) => text : masked;
        const shown = { ...user, email: hide(user.email), name: hide(user.name) };
        out.one({ ...shown, ...queue }, () =>
          fields({
            user: user.userId,
            state: `${user.state}, version ${user.version}, since ${time(user.updatedAt)}`,
            role: `${user.role} / ${user.userType}${user.isCompanyOwner ? ' / owner' : ''} (sent as ${user.sourceRole})`,
            customer: user.customerId === null ? 'none' : `${user.customerId} (${user.customerName ?? 'unknown'})`,
            email: shown.email,
            name: shown.name,
            created: time(user.createdAt),
            deleted: time(user.deletedAt),
            waiting: waiting === '0' ? null : `${plural(BigInt(waiting), 'event')}: ${queue.waitingFor.join(', ')}`,
            'dead letters': queue.deadLetters.join(', '),
            hold: queue.holds.join(', '),
          }),
        );
        const dead = queue.deadLetters[0];
        out.next(`users history ${quoted(id)}`, ...(dead === undefined ? [] : [`dlq show ${dead}`]));
      }),
    );
}

/** The row, and what keeps its events from going on. */
async function lookAt(db: At['db'], id: string) {
  const { readQueue, readUser } = await import('../queries/users.ts');
  const [user, queue] = await Promise.all([readUser(db, id), readQueue(db, id)]);
  return { user, queue };
}

function registerHistory(group: Command): void {
  group
    .command('history')
    .description('one line for each event of the user, the last ones at the end; with --json the events too')
    .argument('<id>', 'the user id')
    .option('--outcome <outcome>', 'only applied, skipped, duplicate, stale or rejected')
    .option('--limit <n>', 'the last n', limit, 50)
    .option('--before <version>', 'those before this step', rowId)
    .option('--reveal', 'with --json: personal data in the events as it is')
    .addHelpText('after', examples("users history 'auth0|42'", "users history 'auth0|42' --outcome rejected --json"))
    .action(
      act(
        async (
          { out, database },
          id: string,
          options: { outcome?: string; limit: number; before?: string; reveal?: true },
        ) => {
          const steps = await database(({ db }) => readHistory(db, id, options));
          const shown = options.reveal
            ? steps
            : steps.map((step) => ({ ...step, event: maskedEvent(step.event ?? {}) }));
          out.many(
            shown,
            STEP_COLUMNS,
            `No history of the user ${id}${options.outcome ? ` is ${options.outcome}` : ''}.`,
          );
          const first = steps[0];
          if (first !== undefined && steps.length === options.limit && (first.version ?? 0) > 1)
            out.next(`users history ${quoted(id)} --before ${first.version}`);
          else out.next(`users show ${quoted(id)}`);
        },
      ),
    );
}

/** The last ones at the end. */
async function readHistory(
  db: At['db'],
  id: string,
  { outcome, limit, before }: { outcome?: string; limit: number; before?: string },
): Promise<StepShown[]> {
  const { findSteps } = await import('../queries/history.ts');
  const steps = await findSteps(
    db,
    id,
    { outcome },
    { before: before === undefined ? undefined : Number(before), limit },
  );
  return steps.reverse();
}

const STEP_COLUMNS = [
  { head: '#', of: ({ version }: StepShown) => version, right: true as const },
  { head: 'OCCURRED', of: ({ occurredAt }: StepShown) => time(occurredAt) },
  { head: 'EVENT', of: ({ type }: StepShown) => type },
  { head: 'OUTCOME', of: ({ outcome, drift }: StepShown) => (drift ? `${outcome}, drift` : outcome) },
  {
    head: 'STATE',
    of: ({ from, to }: StepShown) => (from === to ? to : `${from} -> ${to}`),
  },
  { head: 'AS', of: ({ dialect }: StepShown) => dialect },
  { head: 'AT', of: place },
];
