// main.ts — `user-lifecycle`: what people type. One file per group of commands beside this one; each registers itself.
//
// Reads go straight to Postgres and Kafka with the settings of the environment, and what changes something calls the same
// functions as the service: all of it works while no service runs.
import { Command, CommanderError } from 'commander';
import { SERVICE_VERSION } from '../version.ts';
import { registerAudit } from './audit.ts';
import { registerBackfill } from './backfill.ts';
import { EXIT, examples, explain } from './command.ts';
import { registerConfig } from './config.ts';
import { registerDb } from './db.ts';
import { registerDeadLetters } from './dead-letters.ts';
import { registerDemo } from './demo.ts';
import { addEnvFile } from './env-file.ts';
import { registerHolds } from './holds.ts';
import { registerJobs } from './jobs.ts';
import { registerMachine } from './machine.ts';
import { clean } from './output.ts';
import { registerPartitions } from './partitions.ts';
import { registerRebuild } from './rebuild.ts';
import { registerReplay } from './replay.ts';
import { registerSend } from './send.ts';
import { registerStack } from './stack.ts';
import { registerStart } from './start.ts';
import { registerStatus } from './status.ts';
import { registerUsers } from './users.ts';
import { registerVerify } from './verify.ts';

/** In the order of `--help`: run it, feed it, look, act. */
const GROUPS = [
  registerStart,
  registerDemo,
  registerStack,
  registerSend,
  registerStatus,
  registerUsers,
  registerDeadLetters,
  registerHolds,
  registerPartitions,
  registerJobs,
  registerAudit,
  registerMachine,
  registerVerify,
  registerReplay,
  registerRebuild,
  registerBackfill,
  registerDb,
  registerConfig,
];

/** The whole tree. Ends nothing by itself: what goes wrong is thrown. */
export function createProgram(): Command {
  const program = new Command('user-lifecycle')
    .description('Users of other services, as actors: runs the service and shows what it did.')
    .version(SERVICE_VERSION)
    .option('--json', 'print one JSON object per line instead of text')
    .option('--env-file <file>', 'settings, one NAME=value in each line; the environment wins')
    .option('--no-color', 'no colour (as NO_COLOR)')
    .helpCommand(false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', examples('demo', 'status', "users history 'auth0|42'"))
    .hook('preAction', (_, command) => {
      const { envFile, color } = command.optsWithGlobals();
      if (envFile !== undefined && command.name() !== 'stack') addEnvFile(envFile); // stack writes it
      if (color === false) process.env.NO_COLOR = '1';
    });
  for (const register of GROUPS) register(program);
  for (const command of program.commands) command.helpCommand(false);
  return program;
}

if (import.meta.main) await main(process.argv);

/** Runs one command and ends the process with its exit code. */
export async function main(argv: string[]): Promise<void> {
  // A closed pipe (`| head`) is nobody's mistake.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) =>
      process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed),
    );
  try {
    await createProgram().parseAsync(argv);
  } catch (error) {
    process.exitCode = await endOf(error);
  }
  // Connections that are still being closed must not keep a finished command alive.
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write('', done))));
  process.exit();
}

/** Says what went wrong and returns the exit code. Commander has said its own already. */
async function endOf(error: unknown): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  const { text, exitCode } = await explain(error);
  process.stderr.write(`${clean(text)}\n`);
  return exitCode;
}
