// alone.ts — one at a time in a database: an advisory lock on a connection of its own, for as long as something runs.
//
// The server lets go of it with the connection, whatever ends the process. It keeps others from beginning; that nothing is spoilt
// where it was lost meanwhile, is what the work itself has to see to.
import { openDatabase } from '../../db/client.ts';
import type { Config } from '../config.ts';
import { EXIT, Failure } from './command.ts';
import { time } from './output.ts';

/** Any number no other program uses. */
const LOCK = 7_290_551_205;

/** Does `act` unless somebody else in this database does such a thing: then a Failure that says who. `what`: "rebuild". */
export async function alone<T>(
  settings: Config['database'],
  { what, who }: { what: string; who: string },
  act: () => Promise<T>,
): Promise<T> {
  const { sql, close } = openDatabase({
    ...settings,
    connections: 1,
    // What a second one finds in pg_stat_activity.
    applicationName: `user-lifecycle ${what} by ${who}`.slice(0, 63),
    statementTimeoutMs: 0,
    idleInTransactionMs: 0,
  });
  try {
    const [lock] = await sql`select pg_try_advisory_lock(${LOCK}) as mine`;
    if (lock?.mine) return await act();
    const [other] = await sql<{ name: string; since: Date | null }[]>`
      select a.application_name as name, a.backend_start as since
        from pg_locks l join pg_stat_activity a using (pid)
       where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.classid::bigint << 32 | l.objid::bigint = ${LOCK}
         and l.database = (select oid from pg_database where datname = current_database())`;
    const since = other?.since ? `, connected since ${time(other.since)}` : '';
    const by = other === undefined ? 'somebody else' : `"${other.name}"${since}`;
    throw new Failure(`One at a time: ${by} is at work on this database. Nothing was changed.`, EXIT.failed);
  } finally {
    await close();
  }
}
