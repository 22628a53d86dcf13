import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createQuestion } from '../../src/api/question.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A server that answers when the test says so. */
function setup() {
  const open: PromiseWithResolvers<number>[] = [];
  const answers: number[] = [];
  const question = createQuestion<number>({
    ask() {
      const one = Promise.withResolvers<number>();
      open.push(one);
      return one.promise;
    },
    answered: (value) => void answers.push(value),
    ...{ everyMs: 500, oneIn: 10, withinMs: 3_000, clock: Date.now },
  });
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
  return { question, open, answers, pass };
}

describe('a question', () => {
  test('is asked once for all who ask at once, and not again before its time', async () => {
    const { question, open, answers, pass } = setup();
    const all = Promise.all([question.ask(), question.ask(), question.fresh(1_000)]);
    expect(open).toHaveLength(1);
    open[0]?.resolve(7);
    await all;
    expect(answers).toEqual([7]);
    expect(question.answer()).toMatchObject({ value: 7 });
    await pass(499);
    await question.ask();
    expect(open).toHaveLength(1);
    await pass(1);
    void question.ask();
    expect(open).toHaveLength(2);
  });

  test('whose answer is young enough is not asked', async () => {
    const { question, open, pass } = setup();
    const first = question.fresh(1_000);
    open[0]?.resolve(1);
    await first;
    await pass(1_000);
    await question.fresh(1_000);
    expect(open).toHaveLength(1);
    await pass(1);
    void question.fresh(1_000);
    expect(open).toHaveLength(2);
  });

  test('that takes long is asked less often', async () => {
    const { question, open, pass } = setup();
    const first = question.ask();
    await pass(400);
    open[0]?.resolve(1);
    await first;
    await pass(3_500); // ten times 400 ms, since it was asked
    await question.ask();
    expect(open).toHaveLength(1);
    await pass(100);
    void question.ask();
    expect(open).toHaveLength(2);
  });

  test('that fails says with what, keeps its last answer, and is asked again', async () => {
    const { question, open, pass } = setup();
    const first = question.ask();
    open[0]?.resolve(1);
    await first;
    await pass(500);
    const second = question.ask();
    open[1]?.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }));
    await second;
    expect(question.failed()).toBe('ECONNREFUSED');
    expect(question.answer()?.value).toBe(1);
    await pass(500);
    const third = question.ask();
    open[2]?.resolve(3);
    await third;
    expect(question.failed()).toBeNull();
  });

  test('without an answer has failed in time, and a server that hangs gets one every 30 s', async () => {
    const { question, open, answers, pass } = setup();
    void question.ask();
    await pass(3_000);
    expect(question.failed()).toBe('ETIMEDOUT');
    for (let s = 0; s < 26; s++) {
      await pass(1_000);
      void question.ask();
    }
    expect(open).toHaveLength(1);
    await pass(1_000);
    void question.ask();
    expect(open).toHaveLength(2);
    // It comes back: what was asked last is answered; what came too late is no answer.
    open[0]?.resolve(1);
    open[1]?.resolve(2);
    await pass(0);
    expect(answers).toEqual([2]);
    expect(question.failed()).toBeNull();
  });

  test('that is answered too late is asked again at once', async () => {
    const { question, open, pass } = setup();
    void question.ask();
    await pass(4_000);
    open[0]?.resolve(1);
    await pass(0);
    void question.ask();
    expect(open).toHaveLength(2);
  });
});
