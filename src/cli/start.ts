// start.ts — `start`: the service as a process of its own; signals go to it, its exit code comes back.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { act, examples } from './command.ts';

export function registerStart(program: Command): void {
  program
    .command('start')
    .description('runs the service as deployed; needs KAFKA_BROKERS and DB_HOST')
    .addHelpText('after', examples('start', '--env-file production.env start'))
    .action(act(() => runService(new URL('../main.ts', import.meta.url))));
}

const FORWARDED = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Resolves with the exit code of the process, 128 + number where a signal ended it. */
function runService(main: URL): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const telemetry = new URL('telemetry.ts', main).href; // before everything else
  const args = [...process.execArgv, '--import', telemetry, fileURLToPath(main)];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  for (const name of FORWARDED) process.on(name, () => child.kill(name === 'SIGHUP' ? 'SIGTERM' : name));
  child.on('error', reject);
  child.on('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  return promise;
}
