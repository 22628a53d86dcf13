// paging.ts — lists in pages: what may be asked, and the cursor that says where the next page begins.
//
// Owns:          limits and cursors. Does not own: the order of a list (its query).
//
// G1  A cursor is the key of the last row, never an offset: rows that come and go meanwhile move nothing.
// G2  It is bound to its list and filter by a hash: one of another question is refused, not half understood.
import { hash } from 'node:crypto';
import { Type } from 'typebox';
import { Refused } from './problems.ts';

export const Page = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200, description: 'Rows of a page; 50 by default.' })),
  cursor: Type.Optional(
    Type.String({ maxLength: 2_000, pattern: '^[A-Za-z0-9_-]*$', description: '`nextCursor` of the page before.' }),
  ),
};
const LIMIT = 50;

type Asked = { limit?: number; cursor?: string; [filter: string]: unknown };
type Key = string | number;

/** How many rows, and the key they come after. Throws Refused where the cursor is not one of this list and filter. */
export function pageAsked<K extends Key>(
  list: string,
  { limit = LIMIT, cursor, ...filter }: Asked,
  kind: 'text' | 'number',
) {
  return { limit, after: cursor === undefined ? undefined : keyOf<K>(cursor, boundTo(list, filter), kind) };
}

/** `rows` were asked for with one more than the page holds: if it came, there is a next page. */
export function pageOf<T, U>(
  list: string,
  { limit = LIMIT, cursor: _, ...filter }: Asked,
  rows: readonly T[],
  keyOf: (row: T) => Key,
  show: (row: T) => U,
): { items: U[]; nextCursor?: string } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const items = shown.map(show);
  if (rows.length <= limit || last === undefined) return { items };
  const cursor = JSON.stringify([boundTo(list, filter), keyOf(last)]);
  return { items, nextCursor: Buffer.from(cursor).toString('base64url') };
}

function boundTo(list: string, filter: Readonly<Record<string, unknown>>): string {
  const asked = Object.entries(filter)
    .filter(([name, value]) => value !== undefined && name !== 'reveal')
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return hash('sha256', JSON.stringify([list, asked]), 'base64url').slice(0, 12);
}

function keyOf<K extends Key>(cursor: string, bound: string, kind: 'text' | 'number'): K {
  const [of, key] = parsed(cursor);
  const fits = kind === 'text' ? typeof key === 'string' : Number.isSafeInteger(key);
  if (of !== bound || !fits)
    throw new Refused('invalid-request', 'The cursor is of another list or filter: begin again without it.', {
      errors: [{ detail: 'is not one of this list', pointer: '/cursor' }],
    });
  return key as K;
}
function parsed(cursor: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
