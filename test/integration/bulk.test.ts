import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { arrayText } from '../../db/array.ts';
import { createWorld } from '../support/world.ts';

const world = await createWorld();
afterAll(() => world.close());

describe('what is written in bulk', () => {
  test('is read back as it was, whatever characters it has', async () => {
    // NUL and lone surrogates never come here: the decoder refuses them.
    const text = fc.string({ unit: 'binary', maxLength: 40 }).filter((s) => !s.includes('\0') && s.isWellFormed());
    const awkward = fc.constantFrom(
      '',
      '\\',
      '"',
      '\\n',
      '\n',
      '\\"\\',
      '{',
      '}',
      ',',
      'NULL',
      'null',
      ' a ',
      "'",
      '\u2028',
      '\u0001',
    );
    const values = fc.array(fc.option(fc.oneof(text, awkward)), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(values, async (list) => {
        const literal = arrayText(list);
        const rows = await world.sql<
          { value: string | null }[]
        >`select value from unnest(${literal}::text::text[]) as r(value)`;
        expect(rows.map(({ value }) => value)).toEqual(list);
      }),
      { numRuns: 300 },
    );
  });
});
