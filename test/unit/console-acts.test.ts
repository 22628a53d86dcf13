// Acts in words: what is said before one confirms is exactly what the server rehearsed.
import { describe, expect, test } from 'vitest';
import {
  chosenInWords,
  deadInWords,
  inWords,
  isForceWorthIt,
  isQuiet,
  jobInWords,
  jobTitle,
  linesOf,
  othersInWords,
  previewInWords,
  progressOf,
  releaseInWords,
  resultInWords,
  scopeOf,
  total,
} from '../../console/src/views/acts-words.ts';
import type { JobRow, Preview } from '../../src/api/contract.ts';

const preview = (outcomes: Record<string, number>, more: Partial<Preview> = {}): Preview => ({
  matched: total(outcomes),
  outcomes,
  others: {},
  note: null,
  items: [],
  ...more,
});
const job = (more: Partial<JobRow> = {}): JobRow => ({
  ...{ id: 18, kind: 'redrive', state: 'running', scope: {}, options: {}, total: 214, done: 120, failed: 0 },
  ...{ rate: null, secondsLeft: null, startedBy: 'ann', startedAt: '2026-11-24T12:00:00Z' },
  ...{ updatedAt: '2026-11-24T12:00:00Z', endedAt: null },
  ...more,
});

describe('before a release', () => {
  const release = { ...preview({ applied: 4, waiting: 2, dead: 1 }), users: 2 };
  test('how many wait, of how many users, and what would become of them', () => {
    expect(releaseInWords(release)).toBe(
      '7 events of 2 users wait: 4 would be applied, 2 would wait on and 1 would be a dead letter.',
    );
    expect(releaseInWords({ ...release, matched: 1, users: 1, outcomes: { waiting: 1 } })).toBe(
      '1 event of 1 user waits: 1 would wait on.',
    );
  });
  test('nothing, where nothing waits; and no more than was tried', () => {
    expect(releaseInWords({ ...release, matched: 0, users: 0, outcomes: {} })).toBe(
      'Nothing waits that it would let go.',
    );
    expect(releaseInWords({ ...release, note: 'Only the first 7 were tried: there are more.' })).toMatch(
      /^7 events of 2 users wait, as far as was tried: /,
    );
  });
});

describe('which ones the server is told', () => {
  test('those that were chosen by hand, by their numbers', () => {
    expect(scopeOf({ ids: [3, 1] })).toEqual({ ids: [3, 1] });
  });
  test('those of a filter', () => {
    expect(scopeOf({ filter: { code: 'json' } })).toEqual({ filter: { code: 'json' } });
  });
  test('all, where there is no filter: that must be meant', () => {
    expect(scopeOf({ filter: {} })).toEqual({ all: true });
  });
});

describe('which ones, in words', () => {
  test('by hand: one by its number, several by how many', () => {
    expect(chosenInWords({ ids: [7] }, 'redrive', 1)).toBe('dead letter 7');
    expect(chosenInWords({ ids: [7, 8, 9] }, 'discard', 3)).toBe('3 dead letters, chosen by hand');
  });
  test('of a filter: how many, and which', () => {
    expect(chosenInWords({ filter: { code: 'json' } }, 'redrive', 1_214)).toBe(
      'all 1,214 dead letters where the code is json',
    );
    expect(chosenInWords({ filter: {} }, 'give up', 41)).toBe('all 41 waiting events');
  });
  test('a number that is not known is not made up', () => {
    expect(chosenInWords({ filter: {} }, 'redrive', undefined)).toBe('all dead letters');
  });
});

describe('what would happen', () => {
  test('every outcome with its number, the good ones first', () => {
    expect(previewInWords(preview({ dead: 2, applied: 21, stale: 4 }), 'redrive')).toBe(
      'Of 27 dead letters, 21 would be applied, 4 would be stale and 2 would be dead again.',
    );
  });
  test('all alike, or only one', () => {
    expect(previewInWords(preview({ discarded: 5 }), 'discard')).toBe('All 5 would be discarded.');
    expect(previewInWords(preview({ waiting: 1 }), 'redrive')).toBe('It would wait.');
  });
  test('nothing fits any more', () => {
    expect(previewInWords(preview({}), 'give up')).toBe('No waiting event fits any more: there is nothing to do.');
  });
  test('where not all were tried, it does not speak of all', () => {
    const partly = preview({ dead: 5_000 }, { note: 'Only the first 5000 were tried: there are more.' });
    expect(previewInWords(partly, 'redrive')).toBe('All 5,000 that were tried out would be dead again.');
    expect(previewInWords({ ...partly, outcomes: { dead: 1, applied: 4_999 } }, 'redrive')).toMatch(
      /^Of 5,000 dead letters that were tried out, /,
    );
  });
  test('a word for each outcome, for one and for several; an outcome of another version still has its name', () => {
    for (const outcome of ['applied', 'skipped', 'duplicate', 'stale', 'rejected', 'waiting', 'dead', 'discarded']) {
      const [one, several] = [linesOf({ [outcome]: 1 })[0], linesOf({ [outcome]: 2 })[0]];
      expect(one?.why).not.toBe('');
      expect(one?.why).not.toBe(several?.why);
    }
    expect(linesOf({ vanished: 3 })[0]?.would).toBe('would be vanished');
  });
  test('what would go with them, or that nothing would', () => {
    expect(othersInWords(preview({ applied: 2 }, { others: { skipped: 1, applied: 10 } }))).toBe(
      '11 other events would go with them: 10 applied and 1 skipped.',
    );
    expect(othersInWords(preview({ applied: 1 }, { others: { applied: 1 } }))).toBe(
      '1 other event would go with it: 1 applied.',
    );
    expect(othersInWords(preview({ applied: 1 }))).toBeUndefined();
  });
  test('force is offered for what would be stale, and for nothing else', () => {
    expect(isForceWorthIt(preview({ stale: 1, applied: 3 }))).toBe(true);
    expect(isForceWorthIt(preview({ rejected: 1, dead: 3 }))).toBe(false);
  });
});

describe('how many dead letters there are', () => {
  test('what is counted up to a limit is not said to be all', () => {
    expect(deadInWords({ json: 5, schema: 2 })).toBe('7');
    expect(deadInWords({ json: 1_001, schema: 42 })).toBe('1,043+');
    expect(deadInWords({ json: 1_000 })).toBe('1,000');
  });
  test('none, and not known yet, are two things', () => {
    expect(deadInWords({})).toBe('0');
    expect(deadInWords(undefined)).toBe('');
  });
});

describe('jobs', () => {
  test('how far, how fast, how long still', () => {
    expect(jobInWords(job({ rate: 55, secondsLeft: 2, failed: 1 }))).toBe(
      '120 of 214 · 55.0/s · 2.0 s left · 1 dead again',
    );
  });
  test('what this process does not run has no rate, and none is made up', () => {
    expect(jobInWords(job())).toBe('120 of 214');
  });
  test('when it has ended, no time is left', () => {
    expect(jobInWords(job({ state: 'done', done: 214, rate: 55, secondsLeft: 0 }))).toBe('214');
    expect(jobInWords(job({ state: 'cancelled' }))).toBe('120 of 214');
  });
  test('of a total that nobody knows there is no share', () => {
    expect(progressOf(job({ total: null }))).toBeNull();
    expect(progressOf(job({ total: 0, done: 0 }))).toBe(1);
    expect(progressOf(job({ total: 100, done: 150 }))).toBe(1);
    expect(progressOf(job({ total: 200, done: 50 }))).toBe(0.25);
  });
  test('one that says it runs and does nothing for a minute may have been interrupted', () => {
    const at = Date.parse('2026-11-24T12:00:00Z');
    expect(isQuiet(job(), at + 60_000)).toBe(false);
    expect(isQuiet(job(), at + 60_001)).toBe(true);
    expect(isQuiet(job({ state: 'done' }), at + 3_600_000)).toBe(false);
  });
  test('what it is about', () => {
    expect(jobTitle(job({ scope: { code: 'json' } }))).toBe('redrive of dead letters where the code is json');
    expect(jobTitle(job({ scope: { ids: [7] } }))).toBe('redrive of dead letter 7');
    expect(jobTitle(job({ scope: { ids: [7, 8] } }))).toBe('redrive of 2 dead letters');
    expect(jobTitle(job({ kind: 'discard', scope: { waiting: true, waitsFor: 'hold' } }))).toBe(
      'discard of waiting events where they wait for: hold',
    );
    expect(jobTitle(job({ scope: { upTo: 812 } }))).toBe('redrive of all dead letters, up to number 812');
    expect(jobTitle(job({ kind: 'rebuild', scope: { schema: 'next' } }))).toBe('rebuild: schema next');
  });
});

describe('the audit', () => {
  test('a scope is read by people: flags by their names, long lists by their length', () => {
    expect(inWords({ code: 'transition', force: true, reason: null, dry: false })).toBe('code transition, force');
    expect(inWords({ ids: [1, 2, 3, 4, 5, 6, 7] })).toBe('ids 1 2 3 4 5 … 7 in all');
    expect(inWords({})).toBe('');
  });
  test('of a result, what went as it should needs no word', () => {
    expect(resultInWords({ result: { state: 'done', done: 21, failed: 0, outcomes: { applied: 21 } } })).toBe(
      'done 21, outcomes (applied 21)',
    );
    expect(resultInWords({ result: { state: 'cancelled', done: 3, failed: 2 } })).toBe(
      'done 3, failed 2, state cancelled',
    );
    expect(resultInWords({ result: null })).toBe('not ended');
  });
});
