// bulk.ts — one statement with one JSON parameter per table and kind of write, made from the Drizzle tables.
//
// Why not Drizzle's `.values()`: 28–46 µs of Node and 29–40 of Postgres per row, against 4–6 and ~10 here. The column lists
// come from the table's definition, so that a new column can not be forgotten.
import { getTableColumns, getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgTable } from 'drizzle-orm/pg-core';
import { customers, deadLetters, history, users, waiting } from '../db/schema.ts';

/** `rows`: a JSON array of objects whose keys are the columns' names in TypeScript. */
export type Bulk = { name: string; insert(rows: string): SQL; insertNew(rows: string): SQL; update(rows: string): SQL };
export const BULK = {
  customers: bulkOf(customers, { key: 'customerId', leaveOut: ['createdAt', 'updatedAt'], never: ['customerId'] }),
  users: bulkOf(users, { key: 'userId', leaveOut: ['updatedAt'], never: ['userId', 'createdAt'] }),
  history: bulkOf(history, { key: 'offset', leaveOut: ['recordedAt'], never: [] }),
  waiting: bulkOf(waiting, { key: 'offset', leaveOut: ['id', 'since'], never: [] }),
  deadLetters: bulkOf(deadLetters, {
    key: 'offset',
    leaveOut: [
      'id',
      'status',
      'attempts',
      'firstFailedAt',
      'lastFailedAt',
      'traceId',
      'byWhom',
      'settledAt',
      'note',
      'editedValue',
    ],
    never: [],
  }),
};

/** The statements of a table, made from its Drizzle columns. `leaveOut`: filled by the database's defaults. `never`:
 *  columns an update leaves as they are. The JSON's keys are the columns' names in TypeScript. */
function bulkOf(table: PgTable, { key, leaveOut, never }: { key: string; leaveOut: string[]; never: string[] }): Bulk {
  const name = getTableName(table);
  const columns = Object.entries(getTableColumns(table)).filter(([field]) => !leaveOut.includes(field));
  const typeOf = (type: string) => type.replace(' collate "C"', '');
  const list = (parts: string[]) => parts.join(', ');
  const fields = list(columns.map(([field, column]) => `"${field}" ${typeOf(column.getSQLType())}`));
  const insert = `insert into ${name} (${list(columns.map(([, column]) => `"${column.name}"`))})
    select ${list(columns.map(([field]) => `r."${field}"`))} from json_to_recordset(`;
  const keyColumn = columns.find(([field]) => field === key)?.[1].name;
  const updated = columns.filter(([field]) => !never.includes(field));
  const update = `update ${name} set ${list(updated.map(([field, column]) => `"${column.name}" = r."${field}"`))}, updated_at = now()
    from json_to_recordset(`;
  return {
    name,
    insert: (rows) => sql`${sql.raw(insert)}${rows}::text::json) as r(${sql.raw(fields)})`,
    insertNew: (rows) => sql`${sql.raw(insert)}${rows}::text::json) as r(${sql.raw(fields)}) on conflict do nothing`,
    update: (rows) =>
      sql`${sql.raw(update)}${rows}::text::json) as r(${sql.raw(fields)}, "readRev" bigint)
          where ${sql.raw(`${name}.${keyColumn} = r."${key}" and ${name}.rev = r."readRev"`)}`,
  };
}
