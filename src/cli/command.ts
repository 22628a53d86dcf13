// command.ts — the frame around every command: global options, settings, errors as one sentence, exit codes.
//
// Owns:          how a command ends. Does not own: what it does (one file per group), what it prints (output.ts).
//
// Exit codes:  0 done · 1 failed, or a check found a difference · 2 usage or settings · 3 finished, but some became dead
// letters · 4 a dependency can not be reached · 128 + signal interrupted.
import type { Command } from 'commander';
import type { Config, Need } from '../config.ts';
import { createOutput, type Output } from './output.ts';

export const EXIT = { done: 0, failed: 1, usage: 2, someDead: 3, unreachable: 4 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Ends a command with one clear sentence and what to do. */
export class Failure extends Error {
  override name = 'Failure';
  readonly exitCode: ExitCode;
  constructor(message: string, exitCode: ExitCode = EXIT.failed) {
    super(message);
    this.exitCode = exitCode;
  }
}

export type Run = {
  out: Output;
  /** All settings; throws a ConfigError that names what is missing of `need`. */
  settings(need: readonly Need[]): Promise<Config>;
};

/** The action of a command: `body` gets the run, then the command's arguments and options. What it returns is the exit
 *  code; undefined is 0. What it throws ends in main.ts. */
export function act<Args extends unknown[]>(
  body: (run: Run, ...args: Args) => Promise<ExitCode | number | undefined>,
): (this: Command, ...all: unknown[]) => Promise<void> {
  return async function (this: Command, ...all) {
    const run: Run = { out: createOutput(this.optsWithGlobals().json === true), settings };
    process.exitCode = (await body(run, ...(all.slice(0, -1) as Args))) ?? EXIT.done;
  };
}

async function settings(need: readonly Need[]): Promise<Config> {
  const { readConfig } = await import('../config.ts');
  return readConfig(process.env, { need });
}

/** Shown under the options of `--help`. */
export function examples(...lines: readonly string[]): string {
  return `\n${lines.length === 1 ? 'Example' : 'Examples'}:\n${lines.map((line) => `  $ user-lifecycle ${line}`).join('\n')}\n`;
}

/** The text for people and the code of whatever a command threw. */
export async function explain(error: unknown): Promise<{ text: string; exitCode: number }> {
  if (error instanceof Failure) return { text: error.message, exitCode: error.exitCode };
  const [{ ConfigError }, { classify, describe }] = await Promise.all([import('../config.ts'), import('../errors.ts')]);
  if (error instanceof ConfigError) return { text: error.message.trimEnd(), exitCode: error.exitCode };
  const { class: errorClass, code, known } = classify(error);
  const text = describe(error)['exception.message'];
  const exitCode = errorClass === 'infrastructure' && known ? EXIT.unreachable : EXIT.failed;
  // An error of our own, in words; one of Postgres may quote rows.
  if (!known && code === '_OTHER' && error instanceof Error && error.cause === undefined)
    return { text: error.message, exitCode: EXIT.failed };
  return { text, exitCode };
}
