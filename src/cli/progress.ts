// progress.ts — how far a long command is, on stderr: a bar on a terminal, elsewhere a plain line every 2 s.
//
// Does not own: what is shown. `show` may be called as often as there is news.
import cliProgress from 'cli-progress';
import { count } from './output.ts';

export type Step = {
  done: number;
  /** What stands behind the numbers. */
  text: string;
  /** The same as fields, for `--json`. */
  facts: object;
};
/** Nothing is shown any more after `end`, which may be called again. */
export type Progress = { show(step: Step): void; end(): void };

const LINE_EVERY_MS = 2_000;

/** `total`: null where it is not known; then there is no bar, no percentage and no time left. `from`: what was done before. */
export function createProgress(total: number | null, json: boolean, from = 0): Progress {
  const isTerminal = process.stderr.isTTY === true && process.env.TERM !== 'dumb' && !json;
  const shown = isTerminal && total !== null ? bar(total, from) : lines(total, json, from);
  let isOn = true;
  return {
    show: (step) => isOn && shown.show(step),
    end() {
      if (isOn) shown.end();
      isOn = false;
    },
  };
}

function bar(total: number, from: number): Progress {
  const shown = new cliProgress.SingleBar({
    ...{ stream: process.stderr, format: '{bar} {done}/{all} {rate} {left}  {text}', barsize: 20, hideCursor: true },
    ...{ barCompleteChar: '#', barIncompleteChar: '-', linewrap: false, gracefulExit: false },
  });
  const all = count(total);
  const pace = createPace(total, from);
  shown.start(total, from, { done: count(from), all, rate: '', left: '', text: '' });
  return {
    show({ done, text }) {
      const { rate, secondsLeft } = pace(done);
      shown.update(Math.min(done, total), { done: count(done), all, rate, left: leftText(secondsLeft), text });
    },
    end: () => shown.stop(),
  };
}

function lines(total: number | null, json: boolean, from: number): Progress {
  let lastMs = performance.now();
  const pace = createPace(total, from);
  return {
    show({ done, text, facts }) {
      const { rate, secondsLeft } = pace(done);
      if (performance.now() - lastMs < LINE_EVERY_MS) return;
      lastMs = performance.now();
      if (json) process.stderr.write(`${JSON.stringify({ done, total, secondsLeft, ...facts })}\n`);
      else {
        const of = total === null ? '' : `/${count(total)}`;
        process.stderr.write(
          `${[`${count(done)}${of} ${rate}`, leftText(secondsLeft), text].filter(Boolean).join('  ')}\n`,
        );
      }
    },
    end() {},
  };
}

/** Over how long the rate is an average: over less, a step of many jumps from nothing to all. */
const RATE_OVER_MS = 900;

/** "25,310/s", of about the last second; and how long the rest takes at the pace since the beginning, null while that is unknown. */
export function createPace(
  total: number | null,
  from: number,
  clock: () => number = () => performance.now(),
): (done: number) => { rate: string; secondsLeft: number | null } {
  const start = { done: from, ms: clock() };
  let last = start;
  let rate = '';
  return (done) => {
    const now = clock();
    if (now - last.ms >= RATE_OVER_MS) {
      rate = `${count(Math.round(((done - last.done) * 1_000) / (now - last.ms)))}/s`;
      last = { done, ms: now };
    }
    const isKnown = total !== null && done > start.done && now - start.ms >= RATE_OVER_MS;
    const msLeft = isKnown ? ((now - start.ms) / (done - start.done)) * Math.max(0, total - done) : null;
    return { rate, secondsLeft: msLeft === null ? null : Math.ceil(msLeft / 1_000) };
  };
}

/** "40 s left", "3 min left", "2.5 h left"; empty where it is not known. */
export function leftText(seconds: number | null): string {
  if (seconds === null) return '';
  if (seconds < 100) return `${seconds} s left`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min left`;
  return `${count(Math.round(seconds / 360) / 10)} h left`;
}
