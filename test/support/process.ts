// process.ts — the service as a child process, as it is deployed: `node src/main.ts`, told by settings, watched by its log.
import { type ChildProcess, spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export type Ended = { code: number | null; signal: NodeJS.Signals | null };
export type Running = {
  pid: number;
  /** Everything it logged; what is no JSON (a crash) as `{ msg }`. */
  lines: Record<string, unknown>[];
  /** Resolves with the first line, past or to come, whose message contains `text`; rejects when it ends before. */
  says(text: string): Promise<Record<string, unknown>>;
  signal(signal: NodeJS.Signals): void;
  /** Resolves when it is gone. */
  ended: Promise<Ended>;
};

/** Starts it with these settings alone, and ends it with the test at the latest. `nodeArgs`: before the file. `cwd`: by default
 *  no folder with a `.env`. `main`: another checkout's. */
export function startProcess(
  settings: Record<string, string>,
  nodeArgs: readonly string[] = [],
  cwd: string = tmpdir(),
  main: string = MAIN,
): Running {
  const { PATH = '', HOME = '' } = process.env;
  const child: ChildProcess = spawn(process.execPath, [...nodeArgs, main], {
    cwd,
    env: { PATH, HOME, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: Record<string, unknown>[] = [];
  const listeners = new Set<() => void>();
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal });
      for (const listen of listeners) listen();
    });
  });
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => {
      lines.push(parsed(line));
      for (const listen of listeners) listen();
    });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });

  return {
    pid: child.pid as number,
    lines,
    ended,
    signal: (signal) => void child.kill(signal),
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const line = lines.find(({ msg }) => String(msg).includes(text));
          const isGone = child.exitCode !== null || child.signalCode !== null;
          if (line === undefined && !isGone) return;
          listeners.delete(look);
          if (line !== undefined) resolve(line);
          else reject(new Error(`it ended without saying "${text}":\n${lines.map(({ msg }) => msg).join('\n')}`));
        };
        listeners.add(look);
        look();
      }),
  };
}

function parsed(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { msg: line };
  }
}
