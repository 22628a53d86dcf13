// settle.ts — `dead-letters redrive|discard`: what is done about one, and what it lets go.
//
// Owns:          the order of an operator's steps: mark, drain, look. Does not own: the statuses (operate.ts), the drain.
import type { Command } from 'commander';
import { rowId } from './arguments.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { drainUsers, inWords, these, type Went, waitingFor } from './draining.ts';
import { type Output, place, plural, quoted } from './output.ts';

export function registerSettle(group: Command): void {
  group
    .command('redrive')
    .description("puts it through the machine again, in its place of the user's order")
    .argument('<id>', 'the number that `list` shows', rowId)
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('dlq redrive 812'))
    .action(
      act(({ out, database }, id: string, { actor }: { actor?: string }) =>
        database((at) => redrive(at, out, id, actor)),
      ),
    );
  group
    .command('discard')
    .description('gives it up: it stays as a row, and nothing waits behind it any more')
    .argument('<id>', 'the number that `list` shows', rowId)
    .requiredOption('--reason <text>', 'why; kept with it')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples("dlq discard 813 --reason 'test data'"))
    .action(
      act(({ out, database }, id: string, options: { reason: string; actor?: string }) =>
        database((at) => discardOne(at, out, id, options)),
      ),
    );
}

async function redrive(at: At, out: Output, id: string, actor: string | undefined): Promise<number> {
  const [{ markForRedrive }, { redriveDeadLetter }, { actorOf, drainingOf }] = await Promise.all([
    import('../operate.ts'),
    import('../redrive.ts'),
    import('./connection.ts'),
  ]);
  const marked = await markForRedrive(at.db, Number(id), actorOf(actor));
  if (marked === undefined) throw unknown(id);
  if (marked.status !== 'open' && marked.status !== 'redriving') throw settledAlready(id, marked.status);

  let { userId } = marked;
  let went: Went | undefined;
  if (userId === null) {
    const redriven = await redriveDeadLetter(await drainingOf(at), Number(id));
    if (redriven !== undefined && 'userId' in redriven) userId = redriven.userId;
    // A customer that exists now: its users' creations waited for it.
    else if (redriven?.result.event.type === 'CUSTOMER_CREATED' && redriven.result.outcome !== 'dead')
      went = await drainUsers(at, waitingFor(at.sql, redriven.result.event.customerId));
  }
  if (userId !== null) went = await drainUsers(at, these(userId));

  const became = await whatBecameOf(at.sql, id);
  const others = Math.max(0, (went?.events ?? 0) - (userId !== null && became.outcome !== 'waiting' ? 1 : 0));
  out.one({ ...became, others }, () =>
    [
      id,
      place(became),
      became.outcome,
      ...(became.outcome === 'applied' && became.fromState !== null
        ? [`${became.fromState} -> ${became.toState}`]
        : []),
      ...(became.outcome === 'dead' ? [`${became.code}: ${became.message}`] : []),
      ...(became.outcome === 'waiting' ? ['it goes as soon as what lies before it has gone, or its user may'] : []),
      ...(others > 0 ? [`${plural(others, 'other event')} went with it`] : []),
    ].join(' · '),
  );
  if (became.outcome === 'dead') out.next(`dlq show ${id} --payload`, `dlq discard ${id} --reason '…'`);
  else if (userId !== null) out.next(`users history ${quoted(userId)}`);
  else out.next('dlq list');
  return became.outcome === 'dead' || (went?.outcomes.dead ?? 0) > 0 ? EXIT.someDead : EXIT.done;
}

type Became = {
  id: string;
  topic: string;
  partition: number;
  offset: string;
  /** `waiting`: it is eligible, and has not gone yet. */
  outcome: string;
  fromState: string | null;
  toState: string | null;
  code: string;
  message: string;
  attempts: number;
  userId: string | null;
};

async function whatBecameOf(sql: At['sql'], id: string): Promise<Became> {
  const [row] = await sql<Became[]>`
    select d.id, d.topic, d.partition, d."offset", d.code, d.message, d.attempts, d.user_id as "userId",
           h.from_state as "fromState", h.to_state as "toState",
           case d.status when 'resolved' then h.outcome when 'redriving' then 'waiting' when 'open' then 'dead' else d.status end as outcome
      from dead_letters d
      left join history h on h.topic = d.topic and h.partition = d.partition and h.generation = d.generation and h."offset" = d."offset"
     where d.id = ${id}::bigint`;
  if (row === undefined) throw unknown(id);
  return row;
}

async function discardOne(
  at: At,
  out: Output,
  id: string,
  { reason, actor }: { reason: string; actor?: string },
): Promise<number> {
  const [{ discard }, { actorOf }] = await Promise.all([import('../operate.ts'), import('./connection.ts')]);
  const before = await discard(at.db, Number(id), actorOf(actor), reason);
  if (before === undefined) throw unknown(id);
  if (before.status !== 'open' && before.status !== 'redriving') throw settledAlready(id, before.status);
  const went = before.userId === null ? undefined : await drainUsers(at, these(before.userId));
  out.one(
    { id, status: 'discarded', userId: before.userId, events: went?.events ?? 0, outcomes: went?.outcomes ?? {} },
    () => [`${id} · discarded`, ...(went === undefined ? [] : [inWords(went)])].join(' · '),
  );
  if (before.userId === null) out.next('dlq list');
  else out.next(`users show ${quoted(before.userId)}`, 'dlq list');
  return (went?.outcomes.dead ?? 0) > 0 ? EXIT.someDead : EXIT.done;
}

function unknown(id: string): Failure {
  return new Failure(`There is no dead letter ${id}. \`dlq list --status all\` shows them.`);
}
function settledAlready(id: string, status: string): Failure {
  return new Failure(`Dead letter ${id} is ${status} already: nothing was changed.`);
}
