// program.ts — a command as its own process: what it says, how it ends, and what it leaves behind (Linux).
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Sql } from 'postgres';
import { vi } from 'vitest';

export type Ended = { code: number | null; signal: NodeJS.Signals | null };
export type Program = {
  /** Both so far; `all` is stdout and stderr as they came. */
  text: { out: string; err: string };
  pid: number;
  /** Resolves with the match in what it says on either. Rejects when it ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  ended: Promise<Ended>;
  signal(name: NodeJS.Signals): void;
  /** It and all that it started, directly or not, as far as they live now. */
  family(): number[];
};

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** `user-lifecycle …` in a process of its own, without a terminal. */
export function runProgram(args: readonly string[], env: Record<string, string> = {}): Program {
  const child = spawn(process.execPath, ['--', MAIN, ...args], {
    env: { ...withoutSettings(process.env), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { out: '', err: '' };
  const waiting = new Set<() => void>();
  const news = () => {
    for (const look of waiting) look();
  };
  child.stdout.on('data', (data) => {
    text.out += data;
    news();
  });
  child.stderr.on('data', (data) => {
    text.err += data;
    news();
  });
  const ended = endOf(child);
  void ended.then(news);
  return {
    ...{ text, pid: child.pid as number, ended },
    signal: (name) => void child.kill(name),
    family: () => familyOf(child.pid as number),
    says(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
      const look = () => {
        const found = pattern.exec(text.err) ?? pattern.exec(text.out);
        if (found !== null) resolve(found);
        else if (child.exitCode !== null || child.signalCode !== null)
          reject(new Error(`ended without ${pattern}:\n${text.err}\n${text.out}`));
      };
      waiting.add(look);
      look();
      return promise.finally(() => waiting.delete(look));
    },
  };
}

/** Runs a command that reads histories, and sends it SIGINT while it waits for the table, which it then gets. */
export async function interruptWhileReading(
  { sql, settings }: { sql: Sql; settings: Record<string, string> },
  args: readonly string[],
): Promise<Program> {
  const locked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const holding = sql.begin(async (tx) => {
    await tx`lock table history in access exclusive mode`;
    locked.resolve();
    await released.promise;
  });
  await locked.promise;
  const program = runProgram(args, settings);
  await vi.waitUntil(
    async () => {
      const [row] = await sql`
        select count(*)::int as n from pg_locks l join pg_stat_activity a using (pid)
         where not l.granted and a.application_name = 'user-lifecycle' and a.datname = current_database()`;
      return row?.n > 0;
    },
    { timeout: 15_000, interval: 10 },
  );
  program.signal('SIGINT');
  await program.says(/stopping in order/);
  released.resolve();
  await holding;
  return program;
}

function endOf(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
}

/** What of `pids` still lives after `withinMs`; none is the usual answer, and comes at once. */
export async function leftOf(pids: readonly number[], withinMs = 10_000): Promise<string[]> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const left = pids.filter(isRunning);
    if (left.length === 0 || performance.now() > deadline) return left.map(nameOf);
    await sleep(50);
  }
}

function familyOf(pid: number): number[] {
  const parents = new Map(
    readdirSync('/proc')
      .map(Number)
      .filter((other) => other > 1)
      .map((other) => [other, statOf(other)?.parent]),
  );
  const family = [pid];
  for (let i = 0; i < family.length; i++)
    for (const [other, parent] of parents) if (parent === family[i]) family.push(other);
  return family;
}

function isRunning(pid: number): boolean {
  const state = statOf(pid)?.state;
  return state !== undefined && state !== 'Z';
}

function statOf(pid: number): { state: string; parent: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state, parent] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: state as string, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

function nameOf(pid: number): string {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 100)}`;
  } catch {
    return String(pid);
  }
}

/** vitest's own NODE_OPTIONS, and settings of whoever runs the tests, are not meant for it. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const theirs =
    /^(NODE_OPTIONS|KAFKA_|DB_|DATABASE_URL|PG|REDIS_URL|FILE_SOURCE|HTTP_|AUTH_|HASH_SECRET|OTEL_|JAEGER_|VITEST|FORCE_COLOR)/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !theirs.test(name)));
}
