// child.ts — processes that end with us, and a server as one of them: started, awaited, stopped, started again.
//
// Owns:          the parent's side of keeper.ts, the run's folder, free ports, waiting until a server answers.
// Does not own:  which servers there are (servers.ts) and how each is set up (kafka.ts, redis.ts, postgres.ts).
//
// C1  A server is ready when it answers its own protocol, not when its process runs.
// C2  Whatever fails says what was run and shows the end of its log.
// C3  If the keeper itself is killed, we kill what it kept.

import { type ChildProcess, fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Command, Ended, News, Order } from './keeper.ts';
import { kill, signRunFolder } from './runs.ts';

export type { Command } from './keeper.ts';
export type Settings = Record<string, string>;
export type How = 'SIGTERM' | 'SIGKILL' | 'immediate';
export type Server = {
  /** What points at it: KAFKA_BROKERS, DB_HOST, REDIS_URL, … */
  settings: Settings;
  /** Undefined for a container. */
  version: string | undefined;
  /** Undefined while it is stopped, and for a container. */
  readonly pid: number | undefined;
  /** Empty for a container. */
  dataDir: string;
  /** Ends it and resolves when it is gone. Default SIGTERM: in order, without waiting for clients.
   *  `immediate`: as a crash, but it may still clean up its memory (Postgres: `pg_ctl -m immediate`). */
  stop(how?: How): Promise<void>;
  /** Starts it again on the same port and data. */
  start(): Promise<void>;
};

/** A server that can not be had on this machine: no fault, it is left out where it may be. The message says why. */
export class Absent extends Error {}

export type Running = { pid: number; ended: Promise<Ended>; hasEnded(): boolean; signal(name: NodeJS.Signals): void };
export type Keeper = {
  folder: string;
  start(command: Command): Promise<Running>;
  /** Runs to the end. Throws unless it ends with 0. */
  run(command: Command): Promise<void>;
  /** Is run when all else has ended. */
  lastly(command: Command): void;
  /** Ends everything and removes the folder. */
  close(): Promise<void>;
};

/** Starts the process that keeps the others. `folder` exists, is the run's own, and is removed at the end. */
export async function openKeeper(folder: string): Promise<Keeper> {
  const keeper = fork(fileURLToPath(new URL('keeper.ts', import.meta.url)), [folder], {
    cwd: folder,
    detached: true,
    env: plainEnv(),
    execArgv: [],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const gone = new Promise<void>((resolve) => keeper.once('exit', () => resolve()));
  const kept = keepBooks(keeper, folder);
  await signRunFolder(folder, keeper.pid as number);

  async function start(command: Command): Promise<Running> {
    try {
      return await kept.start(command);
    } catch (cause) {
      throw new Error(`${command.path} could not be started`, { cause });
    }
  }
  async function run(command: Command): Promise<void> {
    const log = followLog(command.log);
    const { code, signal } = await (await start(command)).ended;
    if (code !== 0) throw new Error(`${shown(command)} ended with ${signal ?? code}\n${lastLines(log())}`);
  }
  async function close(): Promise<void> {
    if (keeper.connected) keeper.disconnect();
    await gone;
  }
  return { folder, start, run, lastly: (command) => kept.send({ order: 'lastly', command }), close };
}

function keepBooks(keeper: ChildProcess, folder: string) {
  type Entry = { pid?: number; started: PromiseWithResolvers<number>; ended: PromiseWithResolvers<Ended> };
  const entries = new Map<number, Entry>();
  let lastId = 0;

  keeper.on('message', (news: News) => {
    const entry = entries.get(news.id);
    if (entry === undefined) return;
    if ('pid' in news) {
      entry.pid = news.pid;
      entry.started.resolve(news.pid);
      return;
    }
    entries.delete(news.id);
    if ('failed' in news) entry.started.reject(new Error(news.failed));
    else entry.ended.resolve(news.ended);
  });
  keeper.once('exit', (code) => {
    for (const entry of entries.values()) {
      entry.started.reject(new Error('the process that keeps the servers has ended'));
      if (entry.pid !== undefined && code !== 0) kill(entry.pid);
      entry.ended.resolve({ code: null, signal: 'SIGKILL' });
    }
    entries.clear();
    if (code !== 0) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });

  function send(order: Order): void {
    if (keeper.connected) keeper.send(order, () => {}); // if it has just been killed, its exit tells
  }
  async function start(command: Command): Promise<Running> {
    if (!keeper.connected) throw new Error('the process that keeps the servers has ended');
    const id = ++lastId;
    const entry: Entry = { started: Promise.withResolvers(), ended: Promise.withResolvers() };
    entries.set(id, entry);
    send({ order: 'run', id, command });
    return {
      pid: await entry.started.promise,
      ended: entry.ended.promise,
      hasEnded: () => !entries.has(id),
      signal: (signal) => send({ order: 'signal', id, signal }),
    };
  }
  return { send, start };
}

export type Kind = {
  name: string;
  version: string | undefined;
  settings: Settings;
  dataDir: string;
  command: Command;
  /** How its process is told each way to stop. */
  signals: Record<How, NodeJS.Signals>;
  /** Does it answer its own protocol? Throws or returns false while it does not. */
  answers(): Promise<boolean>;
  /** A start that fails with this in its log is tried again: the last process has not quite gone. */
  tryAgain?: RegExp;
};

const READY_WITHIN_MS = 60_000; // a guess for a slow, busy machine; 1–4 s where measured
const STOP_WITHIN_MS = 30_000;

/** Starts a server and gives the handle that stops it and starts it again. Throws PortTaken if its port is not free. */
export async function serve(keeper: Keeper, kind: Kind): Promise<Server> {
  let running: Running | undefined;

  async function start(): Promise<void> {
    if (running !== undefined && !running.hasEnded()) return;
    const deadline = Date.now() + READY_WITHIN_MS;
    for (;;) {
      const log = followLog(kind.command.log);
      running = await keeper.start(kind.command);
      const state = await untilReady(running, kind, deadline);
      if (state === 'ready') return;
      const what = `${kind.name} ${state}: ${shown(kind.command)}\n${lastLines(log())}`;
      if (/address already in use/i.test(log())) throw new PortTaken(what);
      if (state === 'silent' || Date.now() > deadline || !kind.tryAgain?.test(log())) throw new Error(what);
      await sleep(100);
    }
  }
  async function stop(how: How = 'SIGTERM'): Promise<void> {
    if (running === undefined || running.hasEnded()) return;
    const { signal, ended } = running;
    signal(kind.signals[how]);
    const impatience = setTimeout(() => signal('SIGKILL'), STOP_WITHIN_MS);
    await ended;
    clearTimeout(impatience);
  }

  await start();
  const { settings, version, dataDir } = kind;
  return {
    settings,
    version,
    dataDir,
    start,
    stop,
    get pid() {
      return running?.hasEnded() ? undefined : running?.pid;
    },
  };
}

async function untilReady(running: Running, kind: Kind, deadline: number): Promise<'ready' | 'ended' | 'silent'> {
  while (!running.hasEnded()) {
    if (await kind.answers().catch(() => false)) return 'ready';
    if (Date.now() > deadline) {
      running.signal('SIGKILL');
      await running.ended;
      return 'silent';
    }
    await sleep(40);
  }
  return 'ended';
}

export class PortTaken extends Error {}

/** Sets a server up again, with other ports, when somebody took one between the choice and the start. */
export async function onFreePorts(setUp: () => Promise<Server>): Promise<Server> {
  for (let triesLeft = 3; ; triesLeft--) {
    try {
      return await setUp();
    } catch (error) {
      if (triesLeft === 0 || !(error instanceof PortTaken)) throw error;
    }
  }
}

/** A free port on loopback, below the range from which systems draw the ports of outgoing connections: a client that
 *  retries while its server is stopped would else meet, and hold, the server's own port. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(true)));
  });
}

/** Sends `say` (may be empty) and gives the first bytes that come back. */
export function firstAnswer(port: number, say: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true }, () => socket.write(say));
    socket.setTimeout(1000, () => socket.destroy(new Error('no answer within 1 s')));
    socket.once('data', (data) => {
      socket.destroy();
      resolve(data.toString('latin1'));
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without an answer')));
  });
}

/** Does anybody listen on this port? */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Our environment without what is meant for this Node process only. */
export function plainEnv(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS, NODE_V8_COVERAGE, NODE_CHANNEL_FD, ...rest } = process.env;
  return rest;
}

function shown({ path, args }: Command): string {
  return [basename(path), ...args].join(' ').slice(0, 300);
}

/** Gives what is written to a log from now on. */
function followLog(path: string): () => string {
  const text = () => (existsSync(path) ? readFileSync(path, 'utf8') : '');
  const before = text().length;
  return () => text().slice(before);
}

function lastLines(log: string): string {
  return log.trim().split('\n').slice(-15).join('\n');
}
