// bulk.ts — one statement with one array parameter per column that differs, for any number of rows; made from the Drizzle tables.
//
// Measured per history row, CPU of Postgres: `.values()` of Drizzle 29–40 µs, one JSON parameter 15.4, arrays 10.4; Node builds
// either in about 1–3. The column lists come from the table's definition, so that a new column can not be forgotten.
import { getTableColumns, getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';
import { arrayText } from '../db/array.ts';

/** The value of a column: text, number, boolean or null. JSON columns their text; bytea `\x…`; 64-bit integers decimal. */
export type Read<R, S = undefined> = (row: R, shared: S) => string | number | boolean | null | undefined;
/** `S`: what all rows of an insert share, where its reads need it. */
export type Bulk<R, S = undefined> = {
  name: string;
  insert(rows: readonly R[], shared: S): SQL;
  /** Leaves out rows whose key exists. */
  insertNew(rows: readonly R[]): SQL;
  /** Writes each row where its rev is still what `readRev` says. */
  update(rows: readonly R[], readRev: Read<R>): SQL;
};

/** `key`: the column that tells rows apart. `filled`: by the database's defaults. `kept`: as they are, in an update.
 *  `into`: another table of the same columns. `read`: each column's value, by its name in TypeScript; throws here where one is
 *  missing. */
export function bulkOf<R, S = undefined>(
  table: PgTable,
  {
    key,
    filled,
    kept = [],
    into: name = getTableName(table),
    read,
  }: { key: string; filled: string[]; kept?: string[]; into?: string; read: (field: string) => Read<R, S> },
): Bulk<R, S> {
  const columns = Object.entries(getTableColumns(table))
    .filter(([field]) => !filled.includes(field))
    .map(([field, column]) => ({
      isKey: field === key,
      isKept: kept.includes(field),
      name: `"${column.name}"`,
      type: column.getSQLType().replace(' collate "C"', ''),
      read: read(field),
    }));
  const keyColumn = columns.find(({ isKey }) => isKey) as Column<R, S>;
  const written = columns.filter(({ isKey, isKept }) => !isKey && !isKept);

  const names = sql.raw(columns.map((column) => column.name).join(', '));
  const target = sql.raw(name);
  const isRead = sql.raw(`${name}.${keyColumn.name} = r.${keyColumn.name} and ${name}.rev = r."readRev"`);
  const insert = (rows: readonly R[], shared: S) => {
    const { values, from } = parameters(columns, rows, shared);
    return sql`insert into ${target} (${names}) select ${sql.join(values, sql`, `)} from ${from}`;
  };
  return {
    name,
    insert,
    insertNew: (rows) => sql`${insert(rows, undefined as S)} on conflict do nothing`,
    update: (rows, readRev) => {
      const rev = { isKey: true, name: '"readRev"', type: 'bigint', read: readRev as Read<R, S> };
      const { values, from } = parameters([...written, rev, keyColumn], rows, undefined as S);
      const assignments = written.map((column, i) => sql`${sql.raw(column.name)} = ${values[i]}`);
      return sql`update ${target} set ${sql.join(assignments, sql`, `)}, updated_at = now() from ${from} where ${isRead}`;
    },
  };
}

type Column<R, S> = { isKey: boolean; name: string; type: string; read: Read<R, S> };

/** The expression of each column, and `unnest(…) as r(…)` for those that differ between rows: the others go as one scalar.
 *  The arrays come out of sub-selects, so that the planner does not count them: it would read a whole table for 1,250 keys,
 *  and lock its rows in another order than ours. */
function parameters<R, S>(
  columns: readonly Column<R, S>[],
  rows: readonly R[],
  shared: S,
): { values: SQL[]; from: SQL } {
  const arrays: SQL[] = [];
  const names: string[] = [];
  const values = columns.map(({ isKey, name, type, read }) => {
    const list = rows.map((row) => read(row, shared) ?? null);
    const first = list[0] ?? null;
    if (!isKey && list.every((value) => value === first))
      return sql`${first === null ? null : String(first)}::text::${sql.raw(type)}`;
    // An array of json would be parsed twice.
    const elements = type === 'json' ? 'text' : type;
    arrays.push(sql`(select ${arrayText(list)}::text::${sql.raw(elements)}[])`);
    names.push(name);
    return sql.raw(type === 'json' ? `r.${name}::json` : `r.${name}`);
  });
  return { values, from: sql`unnest(${sql.join(arrays, sql`, `)}) as r(${sql.raw(names.join(', '))})` };
}
