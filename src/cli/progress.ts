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
export type Progress = { show(step: Step): void; end(): void };

const LINE_EVERY_MS = 2_000;

/** `total`: null where it is not known; then there is no bar and no percentage. */
export function createProgress(total: number | null, json: boolean): Progress {
  const isTerminal = process.stderr.isTTY === true && process.env.TERM !== 'dumb' && !json;
  return isTerminal && total !== null ? bar(total) : lines(total, json);
}

function bar(total: number): Progress {
  const shown = new cliProgress.SingleBar({
    ...{ stream: process.stderr, format: '{bar} {done}/{all} {rate}  {text}', barsize: 20, hideCursor: true },
    ...{ barCompleteChar: '#', barIncompleteChar: '-', linewrap: false, gracefulExit: false },
  });
  const all = count(total);
  const rate = rateMeter();
  shown.start(total, 0, { done: '0', all, rate: '', text: '' });
  return {
    show: ({ done, text }) => shown.update(Math.min(done, total), { done: count(done), all, rate: rate(done), text }),
    end: () => shown.stop(),
  };
}

function lines(total: number | null, json: boolean): Progress {
  let lastMs = performance.now();
  const rate = rateMeter();
  return {
    show({ done, text, facts }) {
      if (performance.now() - lastMs < LINE_EVERY_MS) return;
      lastMs = performance.now();
      if (json) process.stderr.write(`${JSON.stringify({ done, total, ...facts })}\n`);
      else process.stderr.write(`${count(done)}${total === null ? '' : `/${count(total)}`} ${rate(done)}  ${text}\n`);
    },
    end() {},
  };
}

/** "25,310/s", of about the last second. */
function rateMeter(): (done: number) => string {
  let last = { done: 0, ms: performance.now() };
  let shown = '';
  return (done) => {
    const ms = performance.now() - last.ms;
    if (ms < 900) return shown;
    shown = `${count(Math.round(((done - last.done) * 1_000) / ms))}/s`;
    last = { done, ms: last.ms + ms };
    return shown;
  };
}
