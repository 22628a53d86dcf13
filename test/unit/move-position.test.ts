// Which moves of a halted partition's position are allowed, and exactly what is lost by each.
import { describe, expect, test } from 'vitest';
import { assertResumable, type Halted, lossOf, moveOf, NotMoved, offsetsIn } from '../../src/move-position.ts';

const LOG = { clusterId: 'k1', logStart: 10n, logEnd: 20n };
const row = (over: Partial<Halted> = {}): Halted => ({
  ...{ generation: 3, next: 12n, clusterId: 'k1', state: 'halted', haltedReason: 'gap: twice' },
  ...over,
});
const move =
  (to: bigint, over: Partial<Halted> = {}, newLog = false) =>
  () =>
    moveOf(row(over), LOG, { to, newLog });

describe('a loss is accepted', () => {
  test('up to the start of the log, and not an offset more', () => {
    const { lost, ...move } = lossOf(row({ next: 4n, haltedReason: 'lost: offsets 4 to 9' }), LOG);
    expect(move).toEqual({ generation: 3, to: 10n, clusterId: 'k1' });
    expect(lost).toEqual({ generation: 3, clusterId: 'k1', first: 4n, last: 9n });
    expect(offsetsIn(lost)).toBe(6n);
  });

  test.each([
    ['of a partition that runs', { state: 'running', next: 4n }, /not halted/],
    ['where nothing is lost', { next: 10n }, /Nothing is lost: the log begins at 10, the position is 10/],
    ['of another cluster’s log', { next: 4n, clusterId: 'k0' }, /another log .*of k1 instead of k0/],
    ['of a log that ends before the position', { next: 21n }, /another log .*ends at 20, the position is 21/],
    ['of what may be another log', { next: 4n, haltedReason: 'truncated: …' }, /not clear which log this is/],
  ] as const)('but not %s', (_, over, why) => {
    expect(() => lossOf(row(over), LOG)).toThrow(why);
    expect(() => lossOf(row(over), LOG)).toThrow(NotMoved);
  });
});

describe('a position is set', () => {
  test('forward in the same log: what is skipped is lost', () => {
    expect(move(15n)()).toEqual({
      ...{ generation: 3, to: 15n, clusterId: 'k1' },
      lost: { generation: 3, clusterId: 'k1', first: 12n, last: 14n },
    });
    expect(move(20n)().lost).toMatchObject({ first: 12n, last: 19n });
  });

  test('forward over the start of the log: what is gone is lost with it', () => {
    expect(move(11n, { next: 4n })().lost).toMatchObject({ first: 4n, last: 10n });
  });

  test.each([9n, 21n])('but not to %s, outside of the log', (to) => {
    expect(move(to)).toThrow(`${to} is not in the log, which begins at 10 and ends at 20`);
  });

  test('but never back in the same log, nor to where it is', () => {
    expect(move(11n)).toThrow(/never goes back \(it is 12\).*rebuild users/);
    expect(move(12n)).toThrow(/is 12 already/);
  });

  test('but not of a partition that runs', () => {
    expect(move(15n, { state: 'running' })).toThrow(/not halted/);
    expect(move(15n, { state: 'running' }, true)).toThrow(/not halted/);
  });
});

describe('another log gets another generation', () => {
  const began = { generation: 4, clusterId: 'k1' };

  test('by its cluster', () => {
    expect(move(10n, { clusterId: 'k0', haltedReason: 'cluster: k0' })()).toEqual({
      ...began,
      to: 10n,
      lost: undefined,
    });
  });
  test('because it ends before the position', () => {
    expect(move(10n, { next: 21n, haltedReason: 'truncated: 20' })()).toEqual({ ...began, to: 10n, lost: undefined });
  });
  test('because a person says so', () => {
    expect(move(10n, {}, true)()).toEqual({ ...began, to: 10n, lost: undefined });
  });
  test('and what is skipped of it is lost in that one', () => {
    expect(move(13n, {}, true)()).toEqual({ ...began, to: 13n, lost: { ...began, first: 10n, last: 12n } });
  });
  test('but where the old log may be back, nothing is guessed', () => {
    for (const haltedReason of ['truncated: the log ends at 3', 'cluster: k0'])
      expect(move(15n, { haltedReason })).toThrow(/not clear which log this is/);
    expect(move(15n, { haltedReason: 'truncated: the log ends at 3' }, true)().generation).toBe(4);
  });
});

describe('a partition goes on from where it stopped', () => {
  const resume =
    (over: Partial<Halted>, log: typeof LOG | undefined = LOG, oldLogIsBack = false) =>
    () =>
      assertResumable(row(over), log, { oldLogIsBack });

  test.each([
    ['whose log holds the position', {}, LOG, false],
    ['that halted for no log, where the log can not be asked', { haltedReason: 'defect: 42703' }, undefined, false],
    ['that a person halted, where the log can not be asked', { haltedReason: null }, undefined, false],
    ['that halted for a gap, where the log can not be asked', { haltedReason: 'gap: twice' }, undefined, false],
    ['whose old log is back, as somebody says', { haltedReason: 'truncated: it ends at 3' }, LOG, true],
    ['whose old cluster is back, as somebody says', { haltedReason: 'cluster: of k0' }, LOG, true],
  ] as const)('%s', (_, over, log, oldLogIsBack) => {
    expect(() => assertResumable(row(over), log, { oldLogIsBack })).not.toThrow();
  });

  test.each([
    ['of another cluster', { clusterId: 'k0', haltedReason: 'cluster: of k0' }, /would halt again: cluster/],
    [
      'of a log that ends before the position',
      { next: 21n, haltedReason: 'truncated: …' },
      /would halt again: truncated/,
    ],
    ['of a log that begins behind the position', { next: 4n }, /would halt again: lost: offsets 4 to 9/],
  ] as const)('but not %s, whatever somebody says', (_, over, why) => {
    expect(resume(over, LOG, true)).toThrow(why);
    expect(resume(over, LOG, true)).toThrow(NotMoved);
  });

  test.each(['truncated: it ended at 3', 'cluster: of k0'])(
    'but not after “%s” without a word that the old log is back',
    (haltedReason) => {
      expect(resume({ haltedReason })).toThrow(/not clear which log this is.*--old-log-is-back/);
    },
  );

  test.each(['truncated: …', 'cluster: …'])('but not after “%s” where the log can not be asked', (haltedReason) => {
    expect(() => assertResumable(row({ haltedReason }), undefined, { oldLogIsBack: true })).toThrow(/can not be asked/);
  });
});

test('there is no generation behind the last one', () => {
  expect(move(15n, { generation: 32_767 }, true)).toThrow(/Too many logs/);
});
