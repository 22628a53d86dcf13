// holds.ts — `hold` and `release`: an operator's pause on one user, or on all users of one customer.
import type { Command } from 'commander';
import type { HoldListed } from '../queries/holds.ts';
import { oneOf } from './arguments.ts';
import { inOneLine } from './audit.ts';
import { act, EXIT, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { drainUsers, inWords, these } from './draining.ts';
import { sumsInWords, total } from './jobs.ts';
import { count, type Output, plural, quoted, time } from './output.ts';

const KINDS = ['user', 'customer'] as const;
type Kind = (typeof KINDS)[number];

export function registerHolds(program: Command): void {
  program
    .command('hold')
    .description('pauses a user or a customer: their events wait, all others flow; without arguments: the holds')
    .argument('[kind]', 'user or customer', oneOf(KINDS))
    .argument('[id]', 'its id')
    .option('--reason <text>', 'why; shown to others', 'no reason given')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('hold', "hold customer acme --reason 'bad import'", "hold user 'auth0|42'"))
    .action(
      act(
        async (
          { out, database },
          kind: Kind | undefined,
          id: string | undefined,
          options: { reason: string; actor?: string },
        ) => {
          if (kind === undefined) {
            const { readHolds } = await import('../queries/holds.ts');
            const holds = await database(({ db }) => readHolds(db));
            out.many(holds, HOLD_COLUMNS, 'Nothing is on hold.');
            if (holds[0] !== undefined) out.next(`release ${holds[0].kind} ${quoted(holds[0].id)}`);
            return;
          }
          if (id === undefined) throw new Failure(`Which ${kind}? \`hold ${kind} <id>\``, EXIT.usage);
          const { reason } = options;
          const made = await database(async ({ db }) => {
            const [{ hold }, { actorOf }] = await Promise.all([import('../operate.ts'), import('./connection.ts')]);
            return await hold(db, { kind, id, reason, byWhom: actorOf(options.actor) });
          });
          out.one({ kind, id, reason, held: true, made }, () =>
            made
              ? `${kind} ${id} is on hold: its events wait from the next batch on`
              : `${kind} ${id} was on hold already`,
          );
          out.next(`release ${kind} ${quoted(id)}`, 'dlq list --waiting');
        },
      ),
    );

  program
    .command('release')
    .description('ends a hold; what waited goes on in its order')
    .argument('<kind>', 'user or customer', oneOf(KINDS))
    .argument('<id>', 'its id')
    .option('--dry-run', 'what would go; nothing is written')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('release customer acme --dry-run', "release user 'auth0|42'"))
    .action(
      act(({ out, database }, kind: Kind, id: string, { actor, dryRun }: { actor?: string; dryRun?: true }) =>
        database(async (at) => {
          if (dryRun) return await rehearseRelease(at, out, { kind, id, actor });
          const [{ release }, { usersWaitingFor }, { actorOf }] = await Promise.all([
            import('../operate.ts'),
            import('../wake.ts'),
            import('./connection.ts'),
          ]);
          if (!(await release(at.db, { kind, id, byWhom: actorOf(actor) }))) throw notHeld(kind, id);
          const went = await drainUsers(at, kind === 'user' ? these(id) : usersWaitingFor(at.db, id));
          out.one({ kind, id, held: false, ...went }, () => `${kind} ${id} is released · ${inWords(went)}`);
          out.next(...(kind === 'user' ? [`users show ${quoted(id)}`] : []), 'status');
          return (went.outcomes.dead ?? 0) > 0 ? EXIT.someDead : EXIT.done;
        }),
      ),
    );
}

function notHeld(kind: Kind, id: string): Failure {
  return new Failure(`${kind} ${id} is not on hold. \`hold\` lists the holds.`);
}

async function rehearseRelease(
  at: At,
  out: Output,
  { kind, id, actor }: { kind: Kind; id: string; actor: string | undefined },
): Promise<number> {
  const [{ previewRelease }, { actorOf, drainingOf }] = await Promise.all([
    import('../rehearse-release.ts'),
    import('./connection.ts'),
  ]);
  const draining = { ...(await drainingOf(at)), db: at.db };
  const rehearsed = await previewRelease(draining, { kind, id }, { who: actorOf(actor) });
  if (rehearsed === undefined) throw notHeld(kind, id);
  const { waiting = 0, ...outcomes } = rehearsed.outcomes;
  for (const [outcome, n] of Object.entries(rehearsed.others)) outcomes[outcome] = (outcomes[outcome] ?? 0) + n;
  const events = total(outcomes);
  out.one({ kind, id, held: true, events, outcomes, waiting, complete: rehearsed.more !== true }, () =>
    [
      `${kind} ${id} would be released`,
      events === 0 ? 'no event would go' : `${plural(events, 'event')} would go: ${sumsInWords(outcomes)}`,
      ...(waiting === 0 ? [] : [`${count(waiting)} would wait on`]),
      ...(rehearsed.more ? ['of a user with very much in its queue only the first were tried'] : []),
      'nothing was written',
    ].join(' · '),
  );
  out.next(`release ${kind} ${quoted(id)}`);
  return (outcomes.dead ?? 0) > 0 ? EXIT.someDead : EXIT.done;
}

export const HOLD_COLUMNS = [
  { head: 'HOLD', of: ({ kind, id }: HoldListed) => `${kind} ${id}` },
  { head: 'REASON', of: (row: HoldListed) => inOneLine(row.reason) },
  { head: 'BY', of: (row: HoldListed) => inOneLine(row.byWhom) },
  { head: 'SINCE', of: (row: HoldListed) => time(row.since) },
];
