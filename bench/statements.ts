// statements.ts — what each SQL statement costs, from pg_stat_statements: to look closer, not to measure with.
import type { Servers } from '../dev/servers.ts';
import { connect, setAndRestart } from './service.ts';

export async function countStatements(servers: Servers): Promise<void> {
  await setAndRestart(servers, { shared_preload_libraries: "'pg_stat_statements'" });
  await setAndRestart(servers, { 'pg_stat_statements.track_planning': 'on' });
  const sql = connect(servers.settings);
  await sql.unsafe('create extension pg_stat_statements');
  await sql.end();
}

/** Time inside Postgres, waits included. */
export async function statementsInWords({ settings }: Servers, events: number): Promise<string> {
  const sql = connect(settings);
  const rows = await sql<{ query: string; calls: string; plan: number; exec: number; rows: string; wal: string }[]>`
    select left(regexp_replace(query, '\\s+', ' ', 'g'), 110) as query, sum(calls) as calls,
           sum(total_plan_time) as plan, sum(total_exec_time) as exec, sum(rows) as rows, sum(wal_bytes) as wal
      from pg_stat_statements s join pg_database d on d.oid = s.dbid
     where d.datname like 'bench%' and query not like '%pg_current_wal_lsn%' and query not like '%xmin::text%'
     group by 1 order by sum(total_plan_time + total_exec_time) desc limit 15`;
  await sql.end();
  const us = (ms: number) => ((ms * 1e3) / events).toFixed(2);
  return rows
    .map(({ query, calls, plan, exec, rows, wal }) => {
      const bytes = Math.round(Number(wal) / events);
      return `${us(exec)} µs/event + ${us(plan)} to plan · ${calls} calls · ${rows} rows · WAL ${bytes} B/event · ${query}`;
    })
    .join('\n');
}
