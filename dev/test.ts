// test.ts — `npm test`: everything that must pass, on real Kafka, Postgres and Redis that it starts itself.
//
// The check, then the tests with servers. In CI a missing server is a failure, never a skip (test/support/servers.ts).
// Ends with one line: "N passed, N failed".
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'tests-'));
const report = join(folder, 'report.json');
const checked = await run(process.execPath, ['dev/check.ts', '--without-tests']);
const tested = await run(process.execPath, [
  'node_modules/vitest/vitest.mjs',
  ...['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
  ...process.argv.slice(2),
]);
const { numPassedTests = 0, numFailedTests = 0, testResults = [] } = readReport();
rmSync(folder, { recursive: true });
// A file that could not be loaded has no failed test, and a check that failed is none: both count.
const unloaded = testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
).length;
const failed = Math.max(numFailedTests + unloaded, tested === 0 ? 0 : 1) + (checked === 0 ? 0 : 1);
console.log(`${numPassedTests} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

type Report = {
  numPassedTests?: number;
  numFailedTests?: number;
  /** One per file. */
  testResults?: { status: string; assertionResults: { status: string }[] }[];
};
function readReport(): Report {
  try {
    return JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    return {};
  }
}

function run(command: string, args: string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
    child.on('close', (code) => resolve(code ?? 1));
  });
}
