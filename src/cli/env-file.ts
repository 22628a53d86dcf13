// env-file.ts — `--env-file F`: its lines count as if they stood in the environment, which wins over them.
//
// Node takes this option for its own even behind the script's name, and ends with code 9 where the file is missing, unless it
// is started as `node -- script`: so the launcher and the npm scripts do.
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { EXIT, Failure } from './command.ts';

/** The names that came from the file, for `config print`. */
export const fromEnvFile = new Map<string, string>();

/** Adds to `env`. Of NAME and NAME_FILE, the one in the environment wins over the other in the file too. */
export function addEnvFile(file: string, env: NodeJS.ProcessEnv = process.env): void {
  for (const [name, value] of Object.entries(read(file))) {
    const other = name.endsWith('_FILE') ? name.slice(0, -'_FILE'.length) : `${name}_FILE`;
    if ((env[name] && env[name] !== value) || (env[other] && !fromEnvFile.has(other))) continue;
    env[name] = value;
    fromEnvFile.set(name, file);
  }
}

function read(file: string): NodeJS.Dict<string> {
  try {
    return parseEnv(readFileSync(file, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Failure(`--env-file: ${file} can not be read (${code ?? 'unknown reason'}).`, EXIT.usage);
  }
}
