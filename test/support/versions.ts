// versions.ts — two versions of the program side by side: a copy of this checkout, and one changed as machines/README.md teaches.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** What the program is made of. */
const PROGRAM = ['bin', 'db', 'dev', 'machines', 'src', 'package.json', 'tsconfig.json'];
const README = readFileSync(join(ROOT, 'machines/README.md'), 'utf8');

/** A command of the README, as typed in one of the checkouts, and what it is said to print. */
export type Typed = { in: 'v1' | 'v2'; command: string; output: string };
export type Said = { code: number; out: string; err: string };

export type Versions = {
  /** The checkouts' folders, side by side; the second is changed by `change`. */
  v1: string;
  v2: string;
  /** The steps of the README that change files: the old definition kept, and the diff. */
  change(): Promise<void>;
  /** Types a command in a checkout, as the README has it; with these settings alone. */
  type(typed: Pick<Typed, 'in' | 'command'>, settings?: Record<string, string>): Promise<Said>;
  remove(): void;
};

/** `more`: what is copied beside the program itself. */
export function makeVersions(more: readonly string[] = []): Versions {
  const folder = mkdtempSync(join(tmpdir(), 'versions-'));
  const [v1, v2] = [join(folder, 'v1'), join(folder, 'v2')];
  for (const checkout of [v1, v2]) {
    mkdirSync(checkout);
    for (const part of [...PROGRAM, ...more]) cpSync(join(ROOT, part), join(checkout, part), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
  }
  // npx itself would take a second for each command.
  writeFileSync(join(folder, 'npx'), NPX, { mode: 0o755 });

  const type: Versions['type'] = ({ in: where, command }, settings = {}) =>
    new Promise((resolve) => {
      const { PATH, HOME } = process.env;
      const env = { PATH: `${folder}:${PATH}`, HOME, ...settings };
      execFile('sh', ['-c', command], { cwd: join(folder, where), env }, (error, out, err) =>
        resolve({ code: error === null ? 0 : Number(error.code), out, err }),
      );
    });
  return {
    ...{ v1, v2, type },
    async change() {
      for (const typed of typedCommands().filter(({ command }) => command.startsWith('mkdir ')))
        expect(await type(typed)).toEqual({ code: 0, out: '', err: '' });
      applyDiff(v2, blocksOf('diff')[0] as string);
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}

const NPX = `#!/bin/sh
name=$1; shift
[ "$name" = user-lifecycle ] && exec node_modules/.bin/node bin/user-lifecycle.js "$@"
exec "node_modules/.bin/$name" "$@"
`;

/** The contents of the README's blocks in this language, in their order. */
export function blocksOf(language: string): string[] {
  return [...README.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text as string);
}

/** All that the README types, in its order. */
export function typedCommands(): Typed[] {
  const typed: Typed[] = [];
  for (const line of blocksOf('console').join('').split('\n')) {
    const [, where, command] = /^(v1|v2)\$ (.*)$/.exec(line) ?? [];
    const last = typed.at(-1);
    if (command !== undefined) typed.push({ in: where as 'v1' | 'v2', command, output: '' });
    else if (last !== undefined && line !== '') last.output += `${line}\n`;
  }
  return typed;
}

/** Makes a change in `folder`. A file begins with `--- path`; its hunks are parted by `@@`, and the old lines of each must stand
 *  exactly once in it. */
export function applyDiff(folder: string, diff: string): void {
  for (const part of diff.split(/^--- /m).slice(1)) {
    const [, file = '', hunks = ''] = /^(.*)\n([\s\S]*)$/.exec(part) ?? [];
    let text = readFileSync(join(folder, file), 'utf8');
    for (const hunk of hunks.split(/^@@\n/m)) {
      const lines = hunk.split('\n').filter((line) => line !== '');
      const without = (sign: string) =>
        lines.flatMap((line) => (line.startsWith(sign) ? [] : [`${line.slice(1)}\n`])).join('');
      const [before, after] = [without('+'), without('-')];
      expect(text.split(before).length - 1, `${file}: ${before}`).toBe(1);
      text = text.replace(before, () => after);
    }
    writeFileSync(join(folder, file), text);
  }
}
