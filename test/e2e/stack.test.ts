// `stack` as people run it: settings for a shell, and servers that end with it.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { isListening } from '../../dev/child.ts';
import { envText } from '../../src/cli/stack.ts';
import { leftOf, runProgram } from '../support/program.ts';

const NAMES = ['KAFKA_BROKERS', 'DB_HOST', 'DB_PORT', 'DB_DATABASE', 'DB_USER', 'DB_PASSWORD', 'REDIS_URL'];
if (inject('jaeger') !== null) NAMES.push('OTEL_EXPORTER_OTLP_ENDPOINT', 'JAEGER_URL');
// The container's has pages, the built one has none.
if ('JAEGER_UI_URL' in inject('settings')) NAMES.push('JAEGER_UI_URL');
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'stack-test-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test('it prints and writes settings that are true, and SIGTERM ends all of it', async () => {
  const file = join(folder, 'stack.env');
  const program = runProgram(['stack', '--env-file', file]);
  await program.says(/^ready/m);
  await program.says(new RegExp(`^(\\w+=.*\\n){${NAMES.length}}`)); // the other stream
  const family = program.family();
  const settings = parseEnv(program.text.out);
  expect(Object.keys(settings).sort()).toEqual([...NAMES].sort());
  expect(readFileSync(file, 'utf8')).toMatch(/^# Written by .*\n/);
  expect(readFileSync(file, 'utf8').replace(/^#.*\n/, '')).toBe(program.text.out);
  expect(sourced(file)).toEqual(settings);
  if (inject('jaeger') === null) expect(program.text.err).toContain('npm run stack -- --jaeger');
  const addresses = NAMES.filter((name) => /BROKERS|URL|ENDPOINT/.test(name)).map((name) => settings[name]);
  for (const port of [settings.DB_PORT, ...addresses.map((address) => address?.split(':').at(-1))])
    expect(await isListening(Number(port))).toBe(true);

  program.signal('SIGTERM');
  expect((await program.ended).code).toBe(0);
  expect(await leftOf(family)).toEqual([]);
  expect(existsSync(file)).toBe(false); // it would point at nothing
});

test('killed, it takes the servers with it', async () => {
  const program = runProgram(['stack', '--json']);
  await program.says(/^\{.*\}\n/);
  const family = program.family();
  expect(Object.keys(JSON.parse(program.text.out)).sort()).toEqual([...NAMES].sort());
  program.signal('SIGKILL');
  await program.ended;
  expect(await leftOf(family)).toEqual([]);
});

test('ctrl-C while servers start ends all that was started', async () => {
  const program = runProgram(['stack']);
  await program.says(/starting/);
  await program.says(/./);
  const family = program.family();
  program.signal('SIGINT');
  expect((await program.ended).code).toBe(0);
  expect(program.text.out).toBe('');
  expect(await leftOf(family)).toEqual([]);
});

describe('a shell and Node read the same', () => {
  test.each(['plain', '', 'with space', '$HOME `id` "x" \\n', 'a#b', '#', 'a=b', '!x', 'ä'])('%j', (value) => {
    const file = join(folder, 'one.env');
    const text = envText({ DB_HOST: value });
    execFileSync('sh', ['-c', 'cat > "$0"', file], { input: text });
    expect(parseEnv(text)).toEqual({ DB_HOST: value });
    expect(sourced(file).DB_HOST).toBe(value);
  });

  test('what they would read differently is refused', () => {
    expect(() => envText({ DB_PASSWORD: "it's" })).toThrow('DB_PASSWORD');
  });
});

function sourced(file: string): Record<string, string | undefined> {
  const names = NAMES.join('|');
  const out = execFileSync('sh', ['-c', `set -a; . "$0"; env -0`, file], {
    env: { PATH: process.env.PATH },
    encoding: 'utf8',
  });
  const pairs = out.split('\0').map((line) => line.split(/=(.*)/s) as [string, string]);
  return Object.fromEntries(pairs.filter(([name]) => new RegExp(`^(${names})$`).test(name)));
}
