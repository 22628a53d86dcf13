// bulk.ts — one statement with one array parameter per column that differs, for any number of rows; made from the Drizzle tables.
//
// Measured per history row, CPU of Postgres: `.values()` of Drizzle 29–40 µs, one JSON parameter 15.4, arrays 10.4; Node builds
// either in about 1–3. The column lists come from the table's definition, so that a new column can not be forgotten.
import { getTableColumns, getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';
import { customers, deadLetters, history, users, waiting } from '../db/schema.ts';

/** A row by the columns' names in TypeScript. JSON columns hold their text; bytea `\x…`; 64-bit integers decimal strings. */
export type Row = Readonly<Record<string, unknown>>;
export type Bulk = {
  name: string;
  insert(rows: readonly Row[]): SQL;
  /** Leaves out rows whose key exists. */
  insertNew(rows: readonly Row[]): SQL;
  /** Writes each row where its rev is still `readRev`. */
  update(rows: readonly Row[]): SQL;
};

export const BULK = {
  customers: bulkOf(customers, { key: 'customerId', filled: ['createdAt', 'updatedAt'], kept: [] }),
  users: bulkOf(users, { key: 'userId', filled: ['updatedAt'], kept: ['createdAt'] }),
  history: bulkOf(history, { key: 'offset', filled: ['recordedAt'], kept: [] }),
  waiting: bulkOf(waiting, { key: 'offset', filled: ['id', 'since'], kept: [] }),
  deadLetters: bulkOf(deadLetters, {
    key: 'offset',
    filled: ['id', 'status', 'attempts', 'firstFailedAt', 'lastFailedAt', 'byWhom', 'settledAt', 'note', 'editedValue'],
    kept: [],
  }),
};

/** `filled`: by the database's defaults. `kept`: as they are, in an update. */
function bulkOf(table: PgTable, { key, filled, kept }: { key: string; filled: string[]; kept: string[] }): Bulk {
  const name = getTableName(table);
  const columns = Object.entries(getTableColumns(table))
    .filter(([field]) => !filled.includes(field))
    .map(([field, column]) => ({
      field,
      name: `"${column.name}"`,
      type: column.getSQLType().replace(' collate "C"', ''),
    }));
  const written = columns.filter(({ field }) => field !== key && !kept.includes(field));
  const readRev = { field: 'readRev', name: '"readRev"', type: 'bigint' };
  const keyName = columns.find(({ field }) => field === key)?.name;

  const names = sql.raw(columns.map((column) => column.name).join(', '));
  const target = sql.raw(name);
  const isRead = sql.raw(`${name}.${keyName} = r.${keyName} and ${name}.rev = r."readRev"`);
  const insert = (rows: readonly Row[]) => {
    const { values, from } = parameters(columns, key, rows);
    return sql`insert into ${target} (${names}) select ${sql.join(values, sql`, `)} from ${from}`;
  };
  return {
    name,
    insert,
    insertNew: (rows) => sql`${insert(rows)} on conflict do nothing`,
    update: (rows) => {
      const { values, from } = parameters(
        [...written, readRev, ...columns.filter(({ field }) => field === key)],
        key,
        rows,
      );
      const assignments = written.map((column, i) => sql`${sql.raw(column.name)} = ${values[i]}`);
      return sql`update ${target} set ${sql.join(assignments, sql`, `)}, updated_at = now() from ${from} where ${isRead}`;
    },
  };
}

type Column = { field: string; name: string; type: string };

/** The expression of each column, and `unnest(…) as r(…)` for those that differ between rows: the others go as one scalar.
 *  The arrays come out of sub-selects, so that the planner does not count them: it would read a whole table for 1,250 keys,
 *  and lock its rows in another order than ours. */
function parameters(columns: readonly Column[], key: string, rows: readonly Row[]): { values: SQL[]; from: SQL } {
  const arrays: SQL[] = [];
  const names: string[] = [];
  const values = columns.map(({ field, name, type }) => {
    if (field !== key && field !== 'readRev' && isSame(rows, field)) {
      const value = (rows[0] as Row)[field] ?? null;
      return sql`${value === null ? null : String(value)}::text::${sql.raw(type)}`;
    }
    // An array of json would be parsed twice.
    const elements = type === 'json' ? 'text' : type;
    arrays.push(sql`(select ${arrayText(rows, field)}::text::${sql.raw(elements)}[])`);
    names.push(name);
    return sql.raw(type === 'json' ? `r.${name}::json` : `r.${name}`);
  });
  return { values, from: sql`unnest(${sql.join(arrays, sql`, `)}) as r(${sql.raw(names.join(', '))})` };
}

function isSame(rows: readonly Row[], field: string): boolean {
  const first = (rows[0] as Row)[field] ?? null;
  for (const row of rows) if ((row[field] ?? null) !== first) return false;
  return true;
}

/** Postgres' array literal of one field: `{1,2}`, `{"a","b\"c",null}`. JSON's text of the same list is one, brackets aside
 *  (0.85 instead of 1.9 µs per history row), unless a control character made it escape by a letter: `\n` would be an n. */
export function arrayText(rows: readonly Row[], field: string): string {
  const list = rows.map((row) => row[field] ?? null);
  const json = JSON.stringify(list);
  if (!ESCAPED_BY_LETTER.test(json)) return `{${json.slice(1, -1)}}`;
  return `{${list.map((value) => (typeof value === 'string' ? `"${value.replace(SPECIAL, '\\$&')}"` : String(value))).join(',')}}`;
}
const ESCAPED_BY_LETTER = /\\[^"\\]/;
const SPECIAL = /["\\]/g;
