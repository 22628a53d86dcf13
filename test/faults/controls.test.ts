// Negative controls: take a protection out of the source, and a test of what it protects must fail. Each control names the
// one line, and the one test that must see it.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the controls quote source text.
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

type Control = { without: string; file: string; line: string; becomes: string; test: string; title: string };
const CONTROLS: Control[] = [
  {
    without: 'the compare-and-set of the fence',
    file: 'src/save.ts',
    line: "and next_offset = ${String(from)}::bigint and state = 'running'`,\n  );\n  if (count",
    becomes: "and ${String(from)}::bigint >= 0 and state = 'running'`,\n  );\n  if (count",
    test: 'test/integration/fence.test.ts',
    title: 'with nothing in its batch but what nobody could read',
  },
  {
    without: 'the refusal of a halted partition',
    file: 'src/save.ts',
    line: "and next_offset = ${String(from)}::bigint and state = 'running'`,\n  );\n  if (count",
    becomes: 'and next_offset = ${String(from)}::bigint`,\n  );\n  if (count',
    test: 'test/integration/fence.test.ts',
    title: 'between load and save: nothing is saved',
  },
  {
    without: 'looking at what the fence says',
    file: 'src/save.ts',
    line: 'if (count !== 1) throw fenced(advance);\n}\n\nfunction fenced',
    becomes: 'if (count > 1) throw fenced(advance);\n}\n\nfunction fenced',
    test: 'test/integration/fence.test.ts',
    title: 'between load and save: nothing is saved',
  },
  {
    without: 'the rev check',
    file: 'src/bulk.ts',
    line: ' and ${name}.rev = r."readRev"',
    becomes: ' and r."readRev" >= 0',
    test: 'test/integration/conflicts.test.ts',
    title: 'both computed from the same row, partition 0 saves first',
  },
  {
    without: 'the ring of recent events',
    file: 'src/put.ts',
    line: 'if (ring.startsWith(hash, at)) return true;',
    becomes: 'if (ring.startsWith(hash, at)) return false;',
    test: 'test/integration/journey.test.ts',
    title: 'an event sent twice counts once',
  },
  {
    without: 'the gate on what waits',
    file: 'src/run.ts',
    line: 'if (queue.waiting === 0) return undefined;',
    becomes: 'if (queue.waiting >= 0) return undefined;',
    test: 'test/integration/waiting.test.ts',
    title: 'the next event of a source never passes the one that waits',
  },
  {
    without: 'the drain after a save that put an event to wait',
    file: 'src/wake.ts',
    line: "if (result.outcome === 'waiting' ||",
    becomes: "if (result.outcome === 'duplicate' ||",
    test: 'test/integration/waiting.test.ts',
    title: 'at the same time, the customer first: the user is created',
  },
  {
    without: 'the drain after a customer was created',
    file: 'src/wake.ts',
    line: 'if (readRev === null) remember(customers, row.customerId);',
    becomes: 'if (readRev === -1) remember(customers, row.customerId);',
    test: 'test/integration/waiting.test.ts',
    title: 'at the same time, the waiting first: the user is created',
  },
  {
    without: 'the rollback of a rehearsal',
    file: 'src/rolled-back.ts',
    line: 'throw undone;',
    becomes: 'void undone;',
    test: 'test/integration/settle.test.ts',
    title: 'tells what each would become, and writes nothing but its audit row',
  },
  {
    without: "the compare-and-set of a job's cursor",
    file: 'src/jobs.ts',
    line: ' and cursor = ${job.cursor} and done = ${job.done}::bigint',
    becomes: '',
    test: 'test/integration/settle.test.ts',
    title: 'of two processes that run one job, one ends and the other is told',
  },
  {
    without: 'the mark that a forced event leaves as it is',
    file: 'src/put.ts',
    line: 'if (late) facts.forced = true;\n  else raiseMark',
    becomes: 'if (late) facts.forced = true;\n  raiseMark',
    test: 'test/integration/settle.test.ts',
    title: 'one that was forced is no newer than it was',
  },
];

let copy: string;
beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), 'controls-'));
  for (const part of ['src', 'machines', 'db', 'dev', 'test', 'package.json', 'tsconfig.json'])
    await cp(join(ROOT, part), join(copy, part), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  // The servers are the ones that this test has.
  await writeFile(
    join(copy, 'given.ts'),
    `export default (project) => void project.provide('settings', ${JSON.stringify(inject('settings'))});`,
  );
  await writeFile(
    join(copy, 'vitest.config.ts'),
    `export default { test: { globalSetup: ['given.ts'], testTimeout: 5_000, hookTimeout: 20_000 } };`,
  );
}, 60_000);
afterAll(async () => {
  if (copy !== undefined) await rm(copy, { recursive: true, force: true });
});

describe('a test fails without', () => {
  test.for(CONTROLS)('$without', async ({ file, line, becomes, test: testFile, title }) => {
    const source = await readFile(join(ROOT, file), 'utf8');
    expect(source.split(line), `once in ${file}: ${line}`).toHaveLength(2);
    try {
      await writeFile(
        join(copy, file),
        source.replace(line, () => becomes),
      );
      expect(await run(testFile, title)).toMatchObject({ failed: 1, passed: 0 });
    } finally {
      await writeFile(join(copy, file), source);
    }
  });

  test('nothing: the same test passes on the copy as it is', async () => {
    const { test: testFile, title } = CONTROLS[0] as Control;
    expect(await run(testFile, title)).toMatchObject({ failed: 0, passed: 1 });
  });
});

async function run(file: string, title: string): Promise<{ passed: number; failed: number }> {
  const report = join(copy, 'report.json');
  await rm(report, { force: true });
  const escaped = title.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const args = [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', file, '-t', escaped];
  const child = spawn(process.execPath, [...args, '--reporter=json', `--outputFile=${report}`], {
    cwd: copy,
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data));
  await new Promise((resolve) => child.once('close', resolve));
  const text = await readFile(report, 'utf8').catch(() => expect.fail(`no report:\n${said}`));
  const { numPassedTests, numFailedTests } = JSON.parse(text);
  return { passed: numPassedTests, failed: numFailedTests };
}
