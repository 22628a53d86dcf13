// stack.ts — `stack`: real Kafka, Postgres, Redis and Jaeger on this machine, and the settings that point at them.
//
// Does not own: how they start and that they end with this process (dev/servers.ts).
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Servers, Settings, Want } from '../../dev/servers.ts';
import { act, EXIT, examples, Failure, type Run } from './command.ts';
import { type Stopping, stopOnSignals } from './signals.ts';

export function registerStack(program: Command): void {
  program
    .command('stack')
    .description('starts Kafka, Postgres and Redis, prints their settings, and stops them at ctrl-C')
    .option(
      '--jaeger',
      'Jaeger too, for traces: without a container engine it is built from source, once (some minutes)',
    )
    .addHelpText('after', '\nHere --env-file is written, once all servers answer, and removed when they stop.')
    .addHelpText('after', 'A Jaeger that was built before is started without --jaeger too.')
    .addHelpText('after', examples('stack', 'stack --env-file .env', 'stack --jaeger'))
    .action(act(stack));
}

async function stack({ out, envFile }: Run, { jaeger }: { jaeger?: true }): Promise<number> {
  if (envFile !== undefined) await refuseForeign(envFile);
  const stopping = stopOnSignals(out.say);
  const servers = await startOrStop(stopping, out.say, { jaeger: jaeger ? 'build' : 'if-there' });
  if (servers === undefined) return EXIT.done;
  for (const line of servers.chosen) out.say(line);
  try {
    if (envFile !== undefined) await writeEnv(envFile, servers.settings);
    process.stdout.write(out.json ? `${JSON.stringify(servers.settings)}\n` : envText(servers.settings));
    out.say('ready; ctrl-C stops all of it');
    await stopping.asked;
  } finally {
    if (envFile !== undefined) await rm(envFile, { force: true }); // it would point at nothing
    await servers.stop();
  }
  return EXIT.done;
}

/** Servers, or undefined when a signal came first: they then end with this process. */
export async function startOrStop(
  stopping: Stopping,
  say: (text: string) => void,
  want: Pick<Want, 'kafka' | 'jaeger'>,
): Promise<Servers | undefined> {
  const { startServers } = await import('../../dev/servers.ts');
  return await Promise.race([startServers({ say, ...want }), stopping.asked.then(() => undefined)]);
}

/** Nobody's own settings are written over, nor removed at the end. */
async function refuseForeign(file: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined || text.startsWith(MINE)) return;
  throw new Failure(
    `--env-file: ${file} exists and was not written by \`stack\`. Name another file, or remove it.`,
    EXIT.usage,
  );
}
const MINE = '# Written by `user-lifecycle stack`';

/** `file` is there whole or not at all; for the owner only, it holds a password. */
export async function writeEnv(file: string, settings: Settings): Promise<void> {
  const half = `${file}.${process.pid}`;
  await writeFile(half, `${MINE}; it is removed when the servers stop.\n${envText(settings)}`, { mode: 0o600 });
  await rename(half, file);
}

/** NAME=value lines that a shell's `source` and Node's parseEnv both read. Throws on a value that they read differently. */
export function envText(settings: Settings): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${quote(name, value)}\n`)
    .join('');
}

function quote(name: string, value: string): string {
  if (/^[\w./:@%+,=-]*$/.test(value)) return value;
  if (!/['\n]/.test(value)) return `'${value}'`;
  throw new Error(`${name} can not be written so that a shell and Node read the same: it has a quote or a new line`);
}
