// check.ts — `npm run check`: what a contributor runs before every commit, and CI before the tests. Under a minute.
//
// Format, lint and import arrows (biome), types, unit tests, the compose file against its schema, and whether generated
// files and migrations are up to date. Everything runs, so that one look shows all that is wrong.
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, rmSync } from 'node:fs';

const BIN = 'node_modules/.bin';
type Check = { name: string; command: string[]; mend: string };

// drizzle-kit takes no absolute path here.
const migrations = `.stack/migrations-${process.pid}`;
mkdirSync(migrations, { recursive: true });
cpSync('db/migrations', migrations, { recursive: true });
const CHECKS: readonly Check[] = [
  {
    name: 'format, lint, import arrows',
    command: [`${BIN}/biome`, 'ci', '--error-on-warnings', '.'],
    mend: 'npm run format',
  },
  { name: 'types', command: [`${BIN}/tsc`, '-p', '.'], mend: 'see the lines above' },
  { name: 'types of the console', command: [`${BIN}/tsc`, '-p', 'console'], mend: 'see the lines above' },
  { name: 'generated files', command: [process.execPath, 'dev/generate.ts', '--check'], mend: 'npm run generate' },
  { name: 'compose file', command: [process.execPath, 'dev/compose.ts'], mend: 'see the lines above' },
  {
    name: 'migrations',
    command: [
      process.execPath,
      'node_modules/drizzle-kit/bin.cjs',
      'generate',
      '--dialect=postgresql',
      '--schema=./db/schema.ts',
      `--out=${migrations}`,
    ],
    mend: 'npm run db:generate -- --name what-changed',
  },
  {
    name: 'unit tests',
    command: [process.execPath, 'node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', '--reporter=dot'],
    mend: 'see the lines above',
  },
];

const failed: string[] = [];
const startedAt = Date.now();
// Two at once: one of them is the unit tests most of the time, and there may be only two cores.
// `npm test` runs the unit tests with the others.
const rest = CHECKS.filter(({ name }) => name !== 'unit tests' || !process.argv.includes('--without-tests')).reverse();
await Promise.all([work(), work()]);
rmSync(migrations, { recursive: true });
const seconds = ((Date.now() - startedAt) / 1_000).toFixed(1);
console.log(failed.length === 0 ? `check: all ok in ${seconds} s` : `check: ${failed.length} failed in ${seconds} s`);
for (const line of failed) console.log(`  ${line}`);
process.exit(failed.length === 0 ? 0 : 1);

async function work(): Promise<void> {
  for (let check = rest.shift(); check !== undefined; check = rest.shift()) {
    const { code, output } = await run(check.command);
    const isDrift = check.name === 'migrations' && !output.includes('No schema changes');
    const ok = code === 0 && !isDrift;
    console.log(`${ok ? 'ok    ' : 'FAILED'} ${check.name}`);
    if (ok) continue;
    console.log(output.trimEnd());
    failed.push(`${check.name}: ${check.mend}`);
  }
}

function run([command, ...args]: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (output += text));
    child.on('close', (code) => resolve({ code, output }));
  });
}
