#!/usr/bin/env -S node --
// user-lifecycle.js — starts src/cli/main.ts with a Node that runs TypeScript as it is.
//
// Plain JavaScript of 2020, so that an old system Node gets this far. The package `node` among the dependencies brings the
// Node of the project; a running one that is new enough (22.18, 24.2) does as well, and saves a process.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const main = new URL('../src/cli/main.ts', import.meta.url);
const [major, minor] = process.versions.node.split('.').map(Number);

if (major > 24 || (major === 24 && minor >= 2)) {
  const program = await import(main.href);
  await program.main(process.argv);
} else if (bundled() !== undefined) run(bundled(), []);
else if (major === 22 && minor >= 18) run(process.execPath, ['--disable-warning=ExperimentalWarning']);
else {
  process.stderr.write(
    `user-lifecycle needs Node 22.18 or newer, this is ${process.versions.node}. Run \`npm ci\` in ${fileURLToPath(
      new URL('..', import.meta.url),
    )}: it brings one.\n`,
  );
  process.exit(2);
}

function bundled() {
  const folder = fileURLToPath(new URL('../node_modules/node/bin/', import.meta.url));
  return ['node', 'node.exe'].map((name) => folder + name).find((path) => existsSync(path));
}

function run(node, options) {
  const child = spawn(node, [...options, '--', fileURLToPath(main), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => child.kill(name));
  child.on('error', (error) => {
    process.stderr.write(`${node} can not be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code === null ? 128 + (constants.signals[signal] || 0) : code));
}
