// What is remembered of users between batches. The queries: test/integration.
import { getTableColumns } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import { users } from '../../db/schema.ts';
import { NOBODY, VERSION } from '../../machines/index.ts';
import type { UserRow } from '../../src/put.ts';
import { createUserMemory, USER_COLUMNS } from '../../src/users.ts';

const row = (userId: string, over: Partial<UserRow> = {}): UserRow => ({
  ...NOBODY,
  ...{ userId, state: 'active', version: 1, ring: '\\x', waiting: 0, rev: 1, machineVersion: VERSION },
  ...{ statusAtMs: null, statusSource: null, statusOffset: null, roleAtMs: null, roleSource: null, roleOffset: null },
  ...{ createdAt: '2025-01-31T09:30:00.000Z', deletedAt: null },
  ...over,
});

describe('a remembered user', () => {
  test('is given to the source that wrote it last, and to no other', () => {
    const memory = createUserMemory(10);
    const mine = row('u1');
    memory.keep(mine, 'a/0');
    expect([memory.get('u1', 'a/0'), memory.get('u1', 'b/0'), memory.get('u2', 'a/0')]).toEqual([
      mine,
      undefined,
      undefined,
    ]);
  });

  test('is replaced by its next row, whoever saved it', () => {
    const memory = createUserMemory(10);
    memory.keep(row('u1'), 'a/0');
    const next = row('u1', { rev: 2 });
    memory.keep(next, 'b/0');
    expect([memory.get('u1', 'a/0'), memory.get('u1', 'b/0')]).toEqual([undefined, next]);
  });

  test('has nothing waiting: then its queue must be counted each time', () => {
    const memory = createUserMemory(10);
    memory.keep(row('u1'), 'a/0');
    memory.keep(row('u1', { rev: 2, waiting: 1 }), 'a/0');
    expect(memory.get('u1', 'a/0')).toBeUndefined();
  });

  test.each(['statusSource', 'roleSource'] as const)(
    'is not one that another source feeds too (%s): each save would be a conflict',
    (field) => {
      const memory = createUserMemory(10);
      memory.keep(row('u1'), 'a/0');
      memory.keep(row('u1', { [field]: 'b/0' }), 'a/0');
      expect(memory.get('u1', 'a/0')).toBeUndefined();
      memory.keep(row('u1', { [field]: 'a/0' }), 'a/0');
      expect(memory.get('u1', 'a/0')).toBeDefined();
    },
  );

  test('is forgotten by name, or with all others', () => {
    const memory = createUserMemory(10);
    for (const id of ['u1', 'u2', 'u3']) memory.keep(row(id), 'a/0');
    memory.forget(['u1', 'u9']);
    expect(['u1', 'u2', 'u3'].map((id) => memory.get(id, 'a/0') !== undefined)).toEqual([false, true, true]);
    memory.clear();
    expect(memory.get('u2', 'a/0')).toBeUndefined();
  });

  test('makes place for others: there are never more than the limit', () => {
    const memory = createUserMemory(2);
    for (const id of ['u1', 'u2', 'u3']) memory.keep(row(id), 'a/0');
    expect(['u1', 'u2', 'u3'].map((id) => memory.get(id, 'a/0') !== undefined)).toEqual([false, true, true]);
    expect(memory.facts()).toEqual({ users: 2, hits: 2, misses: 1 });
  });
});

test('a row is read with every column that is written: one left out would be saved as null', () => {
  const read = [...USER_COLUMNS.matchAll(/(?:as )?"?(\w+)"?\s*(?:,|$)/g)].map(([, name]) => name);
  const written = Object.keys(getTableColumns(users)).filter((field) => field !== 'updatedAt');
  expect(read.toSorted()).toEqual(written.toSorted());
});
