// How much one page of an export asks. What pages hold: test/integration/export.test.ts.
import { expect, test } from 'vitest';
import type { Db } from '../../db/client.ts';
import { readPages } from '../../src/export.ts';

test('where nothing fits among ten million, each page is one question: others ask in between, and who left asks no more', async () => {
  let asked = 0;
  const db = { execute: async () => (asked++ === 0 ? [{ id: 10_000_000 }] : []) } as unknown as Db;
  const pages = readPages(db, { statuses: ['open'], code: 'never' });
  expect(await pages.next()).toEqual({ done: false, value: [] });
  expect(asked).toBe(2); // the first asks for the newest, too
  await pages.next();
  expect(asked).toBe(3);
  await pages.return(undefined);
  expect(asked).toBe(3);
});
