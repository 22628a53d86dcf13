// signals.ts — ctrl-C for commands that own processes: the first stops in order, a second one stops at once.
import { constants } from 'node:os';

export type Stopping = {
  /** Aborts at the first signal. */
  signal: AbortSignal;
  /** Resolves with it. */
  asked: Promise<void>;
  /** 130, 143, …; undefined while nobody asked. */
  exitCode(): number | undefined;
};

/** npm and a terminal both send one press of ctrl-C. */
const SAME_PRESS_MS = 500;

/** What is owned must end with this process by itself (dev/keeper.ts): a second signal does not wait for anything. */
export function stopOnSignals(say: (text: string) => void): Stopping {
  const controller = new AbortController();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  let code: number | undefined;
  let firstMs = 0;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (code === undefined) {
        code = 128 + constants.signals[name];
        firstMs = performance.now();
        say('stopping in order (again: at once)');
        controller.abort();
        resolve();
      } else if (performance.now() - firstMs > SAME_PRESS_MS) process.exit(code);
    });
  }
  return { signal: controller.signal, asked, exitCode: () => code };
}
