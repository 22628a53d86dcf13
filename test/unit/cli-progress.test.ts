import { describe, expect, test } from 'vitest';
import { createPace, leftText } from '../../src/cli/progress.ts';

function paced(total: number | null, from = 0) {
  let ms = 1_000;
  const pace = createPace(total, from, () => ms);
  return (atMs: number, done: number) => {
    ms = 1_000 + atMs;
    return pace(done);
  };
}

describe('how fast, and how long still', () => {
  test('nothing is said before there is something to say', () => {
    const at = paced(1_000);
    expect(at(0, 0)).toEqual({ rate: '', secondsLeft: null });
    expect(at(100, 500)).toEqual({ rate: '', secondsLeft: null });
  });

  test('the rate is that of the last second, the time left that of all', () => {
    const at = paced(10_000);
    expect(at(1_000, 1_000)).toEqual({ rate: '1,000/s', secondsLeft: 9 });
    expect(at(2_000, 4_000)).toEqual({ rate: '3,000/s', secondsLeft: 3 });
  });

  test('what was done before counts as done, not as fast', () => {
    const at = paced(10_000, 9_000);
    expect(at(1_000, 9_100)).toEqual({ rate: '100/s', secondsLeft: 9 });
  });

  test('more than was expected is not a negative time', () => {
    expect(paced(100)(1_000, 200).secondsLeft).toBe(0);
  });

  test('without a total there is a rate and no time', () => {
    expect(paced(null)(1_000, 200)).toEqual({ rate: '200/s', secondsLeft: null });
  });

  test('a time is told as coarse as it is long', () => {
    expect([null, 0, 40, 150, 5_400, 9_000].map(leftText)).toEqual([
      ...['', '0 s left', '40 s left', '3 min left', '90 min left', '2.5 h left'],
    ]);
  });
});
