// The README's first command, as written, and the output it shows.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

test('npm run demo ends with what the README shows, whatever the speed', async () => {
  const [, shown = ''] = /<!-- demo:start -->\n```\n([\s\S]*?)\n```\n<!-- demo:end -->/.exec(README) ?? [];
  const demo = spawn('npm', ['run', '--silent', 'demo'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  demo.stdout.setEncoding('utf8').on('data', (text) => {
    out += text;
  });
  const code = await new Promise((resolve) => demo.on('close', resolve));
  expect(code).toBe(0);
  expect(withoutSpeed(out.trim())).toBe(withoutSpeed(shown));
}, 180_000);

function withoutSpeed(text: string): string {
  return text.replace(/in [\d.,]+ s: [\d,]+ events\/s/, 'in … s: … events/s').replaceAll(/\n+/g, '\n');
}
