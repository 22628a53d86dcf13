// A rehearsal whose asker has left: what it still reads. What it tells: test/integration/release.test.ts.
import type { SQL } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import { expect, test } from 'vitest';
import type { Db } from '../../db/client.ts';
import { previewRelease } from '../../src/rehearse-release.ts';

test('ends with the slice in hand, also where a customer has nobody in a thousand slices', async () => {
  const dialect = new PgDialect();
  const leaving = new AbortController();
  let slices = 0;
  const written: unknown[] = [];
  const db = {
    async execute(query: SQL) {
      const { sql, params } = dialect.sqlToQuery(query);
      if (sql.includes('insert into audit')) written.push(...params);
      if (sql.startsWith('delete from holds')) return Object.assign([], { count: 1 });
      if (!sql.includes('max(w.user_id)')) return [];
      slices++;
      leaving.abort();
      return [{ last: slices < 1_000 ? `u${String(slices).padStart(6, '0')}` : null, userIds: [] }];
    },
    transaction: <T>(act: (tx: unknown) => Promise<T>) => act(db),
  };
  const draining = { db: db as unknown as Db } as Parameters<typeof previewRelease>[0];
  const hold = { kind: 'customer', id: 'c1' } as const;
  expect(await previewRelease(draining, hold, { who: 'ada', signal: leaving.signal })).toMatchObject({
    matched: 0,
    interrupted: true,
  });
  expect(slices).toBe(1);
  expect(JSON.stringify(written)).toContain('interrupted');
});
