import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { addSelection, age, filterOf, onlyId, type Selection, whereOf } from '../../src/cli/selection.ts';

const NOW = Date.UTC(2025, 0, 31, 9, 30);

/** What the words on a command line select. */
function selected(...words: string[]) {
  let filter: ReturnType<typeof filterOf> | undefined;
  addSelection(new Command('redrive').exitOverride().configureOutput({ writeErr() {} }))
    .action((ids: string[], options: Selection) => {
      filter = filterOf(ids, options, { now: NOW });
    })
    .parse(words, { from: 'user' });
  return filter;
}

describe('nothing is selected by accident', () => {
  test('no number, no filter and no --all is an error that names them', () => {
    for (const words of [[], ['--limit', '5']])
      expect(() => selected(...words)).toThrow(/--code, --type, --user, --customer, --topic, --older-than, or --all/);
  });

  test('another option that narrows is enough', () => {
    expect(filterOf([], {}, { isNarrowed: true })).toEqual({});
  });

  test('all and some at once is a mistake', () => {
    expect(() => selected('--all', '--code', 'json')).toThrow('--all');
    expect(() => selected('--all', '812')).toThrow('--all');
  });

  test('a number that is none, a time without a unit', () => {
    for (const words of [
      ['8x'],
      ['812', '-1'],
      ['--older-than', '2'],
      ['--older-than', '2w'],
      ['--limit', '0'],
      ['--all', '--limit', 'x'],
    ])
      expect(() => selected(...words), words.join(' ')).toThrow();
  });
});

describe('what is said is what is meant', () => {
  test('numbers, each once', () => {
    expect(selected('812', '813', '812')).toEqual({ ids: [812, 813] });
  });

  test('every filter, and how many', () => {
    expect(
      selected(
        ...['--code', 'json', '--type', 'USER_CREATED', '--user', 'auth0|42', '--customer', 'acme'],
        ...['--topic', 'user-events', '--older-than', '2h', '--limit', '10'],
      ),
    ).toEqual({
      ...{ code: 'json', type: 'USER_CREATED', user: 'auth0|42', customer: 'acme', topic: 'user-events' },
      ...{ before: '2025-01-31T07:30:00.000Z', limit: 10 },
    });
  });

  test('all of them, or so many of all', () => {
    expect(selected('--all')).toEqual({});
    expect(selected('--all', '--limit', '3')).toEqual({ limit: 3 });
  });

  test('a time has a unit', () => {
    expect(['90s', '30m', '2h', '3d'].map(age)).toEqual([90_000, 1_800_000, 7_200_000, 259_200_000]);
  });

  test('one number alone is one dead letter; two, or one and a filter, are many', () => {
    expect(onlyId({ ids: [812] })).toBe(812);
    for (const filter of [{ ids: [812, 813] }, { ids: [812], code: 'json' }, { ids: [812], limit: 1 }, {}])
      expect(onlyId(filter)).toBeUndefined();
  });

  test('in a question it reads as it was said', () => {
    expect(whereOf({})).toBe('');
    expect(whereOf({ code: 'json', user: 'auth0|42', limit: 3 })).toBe(' where code = json, user = auth0|42');
    expect(whereOf({ ids: [1, 2, 3, 4, 5, 6], before: '2025-01-31T07:30:00.000Z' })).toBe(
      ' where number = 1 2 3 4 5 …, failed last before 2025-01-31 07:30:00',
    );
  });
});
