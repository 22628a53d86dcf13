// command.ts — the frame around every command: global options, settings, errors as one sentence, exit codes.
//
// Owns:          how a command ends. Does not own: what it does (one file per group), what it prints (output.ts).
//
// Exit codes:  0 done · 1 failed, or a check found a difference · 2 usage or settings · 3 finished, but some became dead
// letters · 4 a dependency can not be reached · 128 + signal interrupted.
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import type { Need } from '../settings.ts';
import type { At } from './connection.ts';
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
  /** --env-file: read already, but for `stack`, which writes it. */
  envFile: string | undefined;
  out: Output;
  /** All settings; throws a ConfigError that names what is missing of `need`. */
  settings(need: readonly Need[]): Promise<Config>;
  /** Opens Postgres for `use` and closes it again. Its errors come as a Failure in words. */
  database<T>(use: (at: At) => Promise<T>): Promise<T>;
};

/** The action of a command: `body` gets the run, then the command's arguments and options. What it returns is the exit
 *  code; undefined is 0. What it throws ends in main.ts. */
export function act<Args extends unknown[]>(
  body: (run: Run, ...args: Args) => Promise<number | undefined> | Promise<void>,
): (this: Command, ...all: unknown[]) => Promise<void> {
  return async function (this: Command, ...all) {
    const { json, envFile } = this.optsWithGlobals();
    const run: Run = { out: createOutput(json === true), envFile, settings, database };
    process.exitCode = (await body(run, ...(all.slice(0, -1) as Args))) ?? EXIT.done;
  };
}

// The parts that make a start slow are loaded when a command needs them: `--help` takes 0.1 s instead of 0.5 s.
async function settings(need: readonly Need[]): Promise<Config> {
  const { readConfig } = await import('../config.ts');
  return readConfig(process.env, { need });
}
async function database<T>(use: (at: At) => Promise<T>): Promise<T> {
  const [config, { withDatabase }] = await Promise.all([settings(['database']), import('./connection.ts')]);
  return await withDatabase(config, use);
}

/** Shown under the options of `--help`. */
export function examples(...lines: readonly string[]): string {
  return `\n${lines.length === 1 ? 'Example' : 'Examples'}:\n${lines.map((line) => `  $ user-lifecycle ${line}`).join('\n')}\n`;
}

/** The text for people and the code of whatever a command threw. */
export async function explain(error: unknown): Promise<{ text: string; exitCode: number }> {
  if (error instanceof Failure) return { text: error.message, exitCode: error.exitCode };
  const { ConfigError } = await import('../config.ts');
  if (error instanceof ConfigError) return { text: error.message.trimEnd(), exitCode: error.exitCode };
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { text: `This is a defect of user-lifecycle: ${text}`, exitCode: EXIT.failed };
}
