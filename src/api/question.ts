// question.ts — one question to a server, asked again and again: one at a time, and never so often that the answers become work.
//
// Q1  What takes long is asked less often: it is under way one `oneIn`th of the time at most.
// Q2  Without an answer in time it has failed, and that is told; it is not asked again while it still may be answered, so that a
//     server that hangs gets no queue of questions.
import { classify } from '../errors.ts';
import { inTime } from '../retry.ts';

export type Question<T> = {
  /** The last answer, and when it came. */
  answer(): { value: T; atMs: number } | undefined;
  /** The code of what the last try failed with; null: it did not. */
  failed(): string | null;
  /** Asks, if it is time to. Resolves when it is answered or has failed; at once where it is not time. */
  ask(): Promise<void>;
  /** As `ask`, unless the last answer is younger. */
  fresh(thanMs: number): Promise<void>;
};
export type QuestionOptions<T> = {
  ask: () => Promise<T>;
  /** Called with each answer. */
  answered: (value: T, atMs: number) => void;
  everyMs: number;
  oneIn: number;
  withinMs: number;
  clock: () => number;
};

const GIVEN_UP_AFTER_MS = 30_000;

export function createQuestion<T>({ ask, answered, everyMs, oneIn, withinMs, clock }: QuestionOptions<T>): Question<T> {
  let answer: { value: T; atMs: number } | undefined;
  let failed: string | null = null;
  let running: Promise<void> | undefined;
  let hangs = false;
  let turn = 0;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let tookMs = 0;

  return {
    answer: () => answer,
    failed: () => failed,
    ask: askInTime,
    async fresh(thanMs) {
      if (failed !== null || answer === undefined || clock() - answer.atMs > thanMs) await askInTime();
    },
  };

  async function askInTime(): Promise<void> {
    if (running === undefined && isTime()) running = askNow().finally(() => (running = undefined));
    await running;
  }

  function isTime(): boolean {
    return clock() - askedAtMs >= (hangs ? GIVEN_UP_AFTER_MS : Math.max(everyMs, oneIn * tookMs));
  }

  async function askNow(): Promise<void> {
    const startMs = performance.now();
    askedAtMs = clock();
    hangs = true;
    const mine = ++turn;
    const settled = () => {
      if (turn === mine) hangs = false;
    };
    const asked = ask();
    asked.then(settled, settled);
    try {
      const value = await inTime(asked, withinMs);
      answer = { value, atMs: clock() };
      failed = null;
      tookMs = performance.now() - startMs;
      answered(value, answer.atMs);
    } catch (error) {
      failed = classify(error).code;
    }
  }
}
