// keeper.ts — the process that owns the servers, so that they never outlive whoever started them.
//
// Owns:          the servers' processes and the folder of one run. Its parent gives orders over the IPC channel
//                (child.ts); this file only runs, signals and ends.
// Does not own:  what is run, when it is ready, what its settings are.
//
// K1  When the channel closes, for whatever reason (a proper stop, a crash, SIGKILL), every process ends and the folder
//     is removed.
// K2  It is started in a session of its own, so ctrl-C in a terminal reaches neither it nor the servers.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, rmSync } from 'node:fs';
import { killProcessesIn } from './runs.ts';

export type Command = {
  path: string;
  args: string[];
  cwd: string;
  /** File that receives stdout and stderr. */
  log: string;
  env?: NodeJS.ProcessEnv;
  /** Run as this user; only root can. */
  as?: { uid: number; gid: number };
  /** The quickest signal that leaves nothing behind; its data is thrown away. Default SIGKILL. */
  end?: NodeJS.Signals;
};
export type Order =
  | { order: 'run'; id: number; command: Command }
  | { order: 'signal'; id: number; signal: NodeJS.Signals }
  | { order: 'lastly'; command: Command };
export type Ended = { code: number | null; signal: NodeJS.Signals | null };
export type News = { id: number } & ({ pid: number } | { failed: string } | { ended: Ended });

const PATIENCE_MS = 3000; // Postgres gives its backends 5 s; data that is thrown away is not worth the wait

type Child = { process: ChildProcess; end: NodeJS.Signals };

const folder = process.argv[2] as string;
const children = new Map<number, Child>();
const last: Command[] = [];

process.on('message', (order: Order) => {
  if (order.order === 'run') run(order.id, order.command);
  else if (order.order === 'signal') children.get(order.id)?.process.kill(order.signal);
  else last.push(order.command);
});
process.once('disconnect', end);
process.once('SIGTERM', end);

function run(id: number, command: Command): void {
  try {
    const child = start(command);
    children.set(id, { process: child, end: command.end ?? 'SIGKILL' });
    child.once('spawn', () => tell({ id, pid: child.pid as number }));
    child.once('error', (error) => {
      children.delete(id);
      tell({ id, failed: error.message });
    });
    child.once('exit', (code, signal) => {
      children.delete(id);
      tell({ id, ended: { code, signal } });
    });
  } catch (error) {
    tell({ id, failed: String(error) });
  }
}

function start({ path, args, cwd, log, env, as }: Command): ChildProcess {
  const output = openSync(log, 'a');
  try {
    return spawn(path, args, { cwd, env: env ?? process.env, stdio: ['ignore', output, output], ...as });
  } finally {
    closeSync(output);
  }
}

function tell(news: News): void {
  if (process.connected) process.send?.(news, undefined, {}, () => {}); // the parent may be gone; then nobody needs it
}

async function end(): Promise<void> {
  await Promise.all([...children.values()].map(endOne));
  for (const command of last) await exited(start(command));
  await killProcessesIn(folder); // backends that somebody has frozen
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  process.exit();
}

async function endOne(child: Child): Promise<void> {
  const gone = exited(child.process);
  child.process.kill(child.end);
  child.process.kill('SIGCONT'); // a frozen process sees no signal but SIGKILL
  const impatience = setTimeout(() => child.process.kill('SIGKILL'), PATIENCE_MS);
  await gone;
  clearTimeout(impatience);
}

function exited(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
}
