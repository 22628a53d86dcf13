// users.ts — `users show|history`: one user as saved, and how it came to be so. Personal data is masked unless --reveal.
import type { Command } from 'commander';
import { limit, rowId } from './arguments.ts';
import { act, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { fields, masked, place, plural, quoted, time } from './output.ts';

export function registerUsers(program: Command): void {
  const group = program
    .command('users')
    .description('one user: show, history')
    .addHelpText('after', examples("users show 'auth0|42'", "users history 'auth0|42'"));
  registerShow(group);
  registerHistory(group);
}

type User = {
  userId: string;
  state: string;
  version: number;
  role: string;
  userType: string;
  isCompanyOwner: boolean;
  sourceRole: string;
  customerId: string | null;
  customerName: string | null;
  email: string;
  name: string;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
};
type Around = { waiting: string; reasons: string[] | null; deadLetters: string[] | null; holds: string[] | null };

function registerShow(group: Command): void {
  group
    .command('show')
    .description('the user as saved, and what keeps its events from going on')
    .argument('<id>', 'the user id')
    .option('--reveal', 'e-mail and name as they are')
    .addHelpText('after', examples("users show 'auth0|42'", "users show 'auth0|42' --reveal"))
    .action(
      act(async ({ out, database }, id: string, { reveal }: { reveal?: true }) => {
        const { user, around } = await database(({ sql }) => readUser(sql, id));
        const { waiting, reasons, deadLetters, holds } = around;
        if (user === undefined) {
          if (waiting === '0' && deadLetters === null) throw new Failure(`There is no user ${id}.`);
          throw new Failure(
            `The user ${id} does not exist yet: ${waiting === '1' ? '1 event waits' : `${waiting} events wait`} for it (${(reasons ?? []).join(', ')})` +
              `${deadLetters === null ? '' : `, dead letters ${deadLetters.join(', ')}`}.`,
          );
        }
        const hide = reveal ? (text: string) => text : masked;
        const shown = { ...user, email: hide(user.email), name: hide(user.name) };
        const queue = { waiting, waitingFor: reasons ?? [], deadLetters: deadLetters ?? [], holds: holds ?? [] };
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

async function readUser(sql: At['sql'], id: string): Promise<{ user: User | undefined; around: Around }> {
  const [users, [around]] = await Promise.all([
    sql<User[]>`
      select u.user_id as "userId", state, version, role, user_type as "userType", is_company_owner as "isCompanyOwner",
             source_role as "sourceRole", u.customer_id as "customerId", c.name as "customerName", email, u.name,
             u.created_at as "createdAt", u.updated_at as "updatedAt", u.deleted_at as "deletedAt"
        from users u left join customers c on c.customer_id = u.customer_id where u.user_id = ${id}`,
    sql<Around[]>`
      select (select count(*) from waiting where user_id = ${id}) as waiting,
             (select json_agg(distinct reason) from waiting where user_id = ${id}) as reasons,
             (select json_agg(id::text order by id) from dead_letters
               where user_id = ${id} and blocks and status in ('open', 'redriving')) as "deadLetters",
             (select json_agg(kind || ': ' || reason) from holds
               where kind = 'user' and id = ${id}
                  or kind = 'customer' and id = (select customer_id from users where user_id = ${id})) as holds`,
  ]);
  return { user: users[0], around: around as Around };
}

type Step = {
  version: number;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  type: string;
  outcome: string;
  fromState: string;
  toState: string;
  transition: string | null;
  drift: boolean;
  dialect: string;
  eventId: string;
  occurredAt: string;
  recordedAt: string;
  machineVersion: number;
  traceId: string | null;
  event: Record<string, unknown>;
};

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
          const steps = await database(({ sql }) => readHistory(sql, id, options));
          const shown = options.reveal ? steps : steps.map((step) => ({ ...step, event: maskedEvent(step.event) }));
          out.many(
            shown,
            STEP_COLUMNS,
            `No history of the user ${id}${options.outcome ? ` is ${options.outcome}` : ''}.`,
          );
          const first = steps[0];
          if (first !== undefined && steps.length === options.limit && first.version > 1)
            out.next(`users history ${quoted(id)} --before ${first.version}`);
          else out.next(`users show ${quoted(id)}`);
        },
      ),
    );
}

async function readHistory(
  sql: At['sql'],
  id: string,
  { outcome, limit, before }: { outcome?: string; limit: number; before?: string },
): Promise<Step[]> {
  return await sql<Step[]>`
    select * from (
      select version, topic, partition, generation, "offset", type, outcome, from_state as "fromState", to_state as "toState",
             transition, drift, dialect, event_id as "eventId", occurred_at as "occurredAt", recorded_at as "recordedAt",
             machine_version as "machineVersion", trace_id as "traceId", event
        from history
       where user_id = ${id} and (${outcome ?? null}::text is null or outcome = ${outcome ?? null})
         and (${before ?? null}::int is null or version < ${before ?? null}::int)
       order by version desc limit ${limit}) last
     order by version`;
}

const STEP_COLUMNS = [
  { head: '#', of: ({ version }: Step) => version, right: true as const },
  { head: 'OCCURRED', of: ({ occurredAt }: Step) => time(occurredAt) },
  { head: 'EVENT', of: ({ type }: Step) => type },
  { head: 'OUTCOME', of: ({ outcome, drift }: Step) => (drift ? `${outcome}, drift` : outcome) },
  {
    head: 'STATE',
    of: ({ fromState, toState }: Step) => (fromState === toState ? toState : `${fromState} -> ${toState}`),
  },
  { head: 'AS', of: ({ dialect }: Step) => dialect },
  { head: 'AT', of: place },
];

/** What says nothing about a person. A field that we do not know is taken for personal. */
const PLAIN = new Set([
  ...['type', 'event', 'userId', 'role', 'userType', 'customerAccountId', 'timestamp'],
  ...['previousStatus', 'newStatus', 'previousRole', 'newRole'],
]);

export function maskedEvent(event: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(event).map(([name, value]) => [
      name,
      PLAIN.has(name) ? value : typeof value === 'string' ? masked(value) : '***',
    ]),
  );
}
