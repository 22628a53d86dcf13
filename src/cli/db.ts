// db.ts — `db migrate`: brings the tables up to this version.
import type { Command } from 'commander';
import { act, examples } from './command.ts';
import type { At } from './connection.ts';
import { plural } from './output.ts';

export function registerDb(program: Command): void {
  const group = program.command('db').description('the tables: migrate').addHelpText('after', examples('db migrate'));
  group
    .command('migrate')
    .description('applies the migrations that are missing; several at once wait for each other')
    .addHelpText('after', examples('db migrate', '--env-file production.env db migrate'))
    .action(
      act(async ({ out, settings, database }) => {
        const [{ database: given }, { migrate }, { inWords }] = await Promise.all([
          settings(['database']),
          import('../../db/client.ts'),
          import('./connection.ts'),
        ]);
        const before = await database(({ sql }) => readApplied(sql));
        const owner = given.ownerUser === undefined ? {} : { user: given.ownerUser, password: given.ownerPassword };
        await migrate({ ...given, ...owner }).catch((error) => {
          throw inWords(error, { ...given, ...owner });
        });
        const schema = await database(({ sql }) => readApplied(sql));
        const applied = schema - before;
        out.one({ schema, applied }, () =>
          applied === 0 ? `schema ${schema}: up to date` : `schema ${schema}: applied ${plural(applied, 'migration')}`,
        );
        out.next('start', 'status');
      }),
    );
}

/** How many migrations this database has. */
async function readApplied(sql: At['sql']): Promise<number> {
  const [there] = await sql`select to_regclass('drizzle.__drizzle_migrations') is not null as yes`;
  if (!there?.yes) return 0;
  const [row] = await sql<{ n: number }[]>`select count(*)::int as n from drizzle.__drizzle_migrations`;
  return row?.n ?? 0;
}
