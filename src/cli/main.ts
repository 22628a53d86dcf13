// main.ts — `user-lifecycle`: what people type. One file per group of commands beside this one; each registers itself.
//
// Reads go straight to Postgres and Kafka with the settings of the environment, and what changes something calls the same
// functions as the service: all of it works while no service runs.
import { existsSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { SERVICE_VERSION } from '../version.ts';
import { EXIT, examples, explain } from './command.ts';
import { addEnvFile } from './env-file.ts';
import { clean } from './output.ts';
import { registerStart } from './start.ts';

/** The whole tree. Ends nothing by itself: what goes wrong is thrown. */
export async function createProgram(): Promise<Command> {
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
      if (envFile !== undefined) addEnvFile(envFile);
      if (color === false) process.env.NO_COLOR = '1';
    });
  registerStart(program);
  await registerLater(program);
  return program;
}

// Until both files exist.
async function registerLater(program: Command): Promise<void> {
  for (const name of ['demo', 'stack'] as const) {
    const file = new URL(`${name}.ts`, import.meta.url);
    if (!existsSync(file)) continue;
    const { [name === 'demo' ? 'registerDemo' : 'registerStack']: register } = await import(file.href);
    register(program);
  }
}

if (import.meta.main) await main(process.argv);

async function main(argv: string[]): Promise<void> {
  // A closed pipe (`| head`) is nobody's mistake.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) =>
      process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed),
    );
  try {
    await (await createProgram()).parseAsync(argv);
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
