// What a browser loads: little for the first view, all of it from here, each file compressed beside it.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

const FIRST_VIEW_BYTES = 60_000;
const ALL_BYTES = 120_000;

const dir = mkdtempSync(join(tmpdir(), 'console-'));
const file = (name: string) => join(dir, name);
let page = '';
let scripts: string[] = [];

beforeAll(async () => {
  vi.stubEnv('NODE_ENV', undefined); // "test" would build a page for tests, which is larger
  await build({
    configFile: fileURLToPath(new URL('../../console/vite.config.ts', import.meta.url)),
    logLevel: 'error',
    build: { outDir: dir },
  });
  vi.unstubAllEnvs();
  page = readFileSync(file('index.html'), 'utf8');
  scripts = readdirSync(file('assets')).filter((name) => name.endsWith('.js'));
}, 60_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Bytes over the wire, gzip. */
const sizeOf = (names: readonly string[]) =>
  names.reduce((sum, name) => sum + statSync(file(`assets/${name}.gz`)).size, 0);

/** What a script needs before it runs: `import … from`, not `import()`. */
function needed(name: string, seen: Set<string> = new Set()): Set<string> {
  if (seen.has(name)) return seen;
  seen.add(name);
  const text = readFileSync(file(`assets/${name}`), 'utf8');
  for (const [, other] of text.matchAll(/(?:from|import)["'`]\.\/([\w.-]+\.js)["'`]/g)) needed(other as string, seen);
  return seen;
}

describe('the start page', () => {
  test('is less than 60 kB of JavaScript', () => {
    const [, main = ''] = /src="\/assets\/(index-[\w-]+\.js)"/.exec(page) ?? [];
    const machine = scripts.find(
      (name) => /^machine-/.test(name) && readFileSync(file(`assets/${name}`), 'utf8').includes('recent/users'),
    );
    const first = [...needed(machine as string, needed(main))];
    expect(first.length).toBeGreaterThan(2);
    expect(sizeOf(first)).toBeLessThan(FIRST_VIEW_BYTES);
  });
  test('does not load what draws charts', () => {
    const [, main = ''] = /src="\/assets\/(index-[\w-]+\.js)"/.exec(page) ?? [];
    for (const name of needed(main)) expect(readFileSync(file(`assets/${name}`), 'utf8')).not.toMatch(/u-legend/);
  });
});

test('of the service nothing but types is in it', () => {
  const from = fileURLToPath(new URL('../../console/src/', import.meta.url));
  const sources = readdirSync(from, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name));
  for (const name of sources) {
    const imports = readFileSync(join(from, name), 'utf8').matchAll(/^(import [^;]*?from) '[./]*\/src\/[^']*'/gm);
    for (const [, words] of imports) expect(`${name}: ${words}`).toMatch(/: import type /);
  }
});

test('all views together stay small', () => expect(sizeOf(scripts)).toBeLessThan(ALL_BYTES));

test('every address in the page begins with a slash, in front of which the server writes its base path', () => {
  const addresses = [...page.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => address as string);
  expect(addresses.length).toBeGreaterThan(3);
  for (const address of addresses) expect(address).toMatch(/^\/[^/]/);
  expect(page).toContain('<meta name="base" content="/">');
});

test('nothing inline runs, so that the content security policy may forbid it', () => {
  expect(page).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>/);
  expect(page).not.toMatch(/<style|style="|\son\w+="/);
});

test('parts find each other wherever the page lies', () => {
  for (const name of scripts) expect(readFileSync(file(`assets/${name}`), 'utf8')).not.toMatch(/["'`]\/assets\//);
});

test('nothing is loaded from elsewhere', () => {
  const texts = [page, ...scripts.map((name) => readFileSync(file(`assets/${name}`), 'utf8'))];
  for (const text of texts) expect(text).not.toMatch(/(?:src|href|import|fetch)\W{1,3}["'`]?https?:/);
});

test('each file lies beside its compressed copies', () => {
  const names = readdirSync(file('assets')).filter((name) => /\.(js|css)$/.test(name));
  for (const name of names) {
    const text = readFileSync(file(`assets/${name}`));
    expect(gunzipSync(readFileSync(file(`assets/${name}.gz`)))).toEqual(text);
    expect(brotliDecompressSync(readFileSync(file(`assets/${name}.br`)))).toEqual(text);
  }
  expect(existsSync(file('theme.js'))).toBe(true);
});
