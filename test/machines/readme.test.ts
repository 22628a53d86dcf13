// The worked example of machines/README.md, made in a copy: its diff fits the files, its types hold, its claims are true.
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const readme = readFileSync(join(root, 'machines/README.md'), 'utf8');
const block = (language: string) => {
  const blocks = [...readme.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))];
  expect(blocks.length, `blocks of ${language}`).toBe(1);
  return blocks[0]?.[1] as string;
};

const copy = mkdtempSync(join(tmpdir(), 'machines-'));
afterAll(() => rmSync(copy, { recursive: true }));
cpSync(join(root, 'machines'), join(copy, 'machines'), { recursive: true });
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
writeFileSync(join(copy, 'package.json'), '{ "type": "module" }');

/** A hunk's old lines must stand exactly once in the file. */
function change(file: string, hunks: string): void {
  let text = readFileSync(join(copy, file), 'utf8');
  for (const hunk of hunks.split(/^@@\n/m)) {
    const lines = hunk.split('\n').filter((line) => line !== '');
    const keep = (sign: string) =>
      lines.flatMap((line) => (line.startsWith(sign) ? [] : [`${line.slice(1)}\n`])).join('');
    const [before, after] = [keep('+'), keep('-')];
    expect(text.split(before).length - 1, `${file}: ${before}`).toBe(1);
    text = text.replace(before, () => after);
  }
  writeFileSync(join(copy, file), text);
}

test('the change of the example can be made, compiles, and does what is said', async () => {
  for (const part of block('diff').split(/^--- /m).slice(1)) {
    const [, file = '', hunks = ''] = /^(.*)\n([\s\S]*)$/.exec(part) ?? [];
    change(file, hunks);
  }
  writeFileSync(join(copy, 'machines/example.ts'), block('ts'));
  cpSync(join(root, 'tsconfig.json'), join(copy, 'tsconfig.json'));

  const run = promisify(execFile);
  const node = join(root, 'node_modules/.bin/node');
  const said = await Promise.all([
    run(node, ['machines/example.ts'], { cwd: copy }),
    run(join(root, 'node_modules/.bin/tsc'), ['-p', '.'], { cwd: copy }).catch(({ stdout }) => ({
      stdout,
      stderr: '',
    })),
  ]);
  expect(said.map(({ stdout, stderr }) => stdout + stderr)).toEqual(['', '']);
}, 20_000);

test('every part that the table refuses is named', () => {
  for (const part of [
    'entry',
    'exit',
    'after',
    'always',
    'invoke',
    'nested',
    'parallel',
    'history',
    'wildcards',
    'params',
  ])
    expect(readme).toContain(part);
});
