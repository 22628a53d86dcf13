// The tutorial of machines/README.md as far as it needs no server: its change fits the files, its types hold, its claims are true,
// and its tests are the tests of it. What it types on real servers: test/e2e/rolling-deploy.test.ts.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MACHINE } from '../../machines/index.ts';
import { applyDiff, blocksOf, makeVersions, typedCommands } from '../support/versions.ts';

const readme = readFileSync(new URL('../../machines/README.md', import.meta.url), 'utf8');
const versions = makeVersions(['test', 'bench', 'deploy', 'vitest.config.ts']);
afterAll(versions.remove);
beforeAll(versions.change);

test('the change does what is said of it', async () => {
  const [claims, ...others] = blocksOf('ts');
  expect(others).toEqual([]);
  writeFileSync(join(versions.v2, 'machines/try.ts'), claims as string);
  const [typed, ...further] = typedCommands().filter(({ command }) => command.includes('machines/try.ts'));
  expect(further).toEqual([]);
  expect(await versions.type({ in: 'v2', command: typed?.command as string })).toEqual({ code: 0, out: '', err: '' });
}, 30_000);

test('the old definition is kept whole: it steps as version 1 does, and by its words', async () => {
  const fields = '{ version, hash, statusState, roleMapping }';
  const script = `import { MACHINE } from './machines/index.ts'; const ${fields} = MACHINE.past[1]; console.log(JSON.stringify(${fields}));`;
  writeFileSync(join(versions.v2, 'told.ts'), script);
  const { version, hash, statusState, roleMapping } = MACHINE;
  expect(await versions.type({ in: 'v2', command: 'npx node told.ts && rm told.ts' })).toEqual({
    code: 0,
    out: `${JSON.stringify({ version, hash, statusState, roleMapping })}\n`,
    err: '',
  });
});

test('its own tests say what it is now, once they are changed as shown', async () => {
  const [, tests] = blocksOf('diff');
  applyDiff(versions.v2, tests as string);
  const file = join(versions.v2, 'test/machines/user.test.ts');
  const table = readFileSync(file, 'utf8').replace(
    /(const TABLE = `\n)[^`]*/,
    (_, head: string) => head + blocksOf('text')[0],
  );
  writeFileSync(file, table);
  const files = 'test/machines/user test/machines/paths test/unit/decode test/unit/picture';
  const { code, out, err } = await versions.type({
    in: 'v2',
    command: `npx tsc -p . && npx node node_modules/vitest/vitest.mjs run --project unit ${files} -u`,
  });
  expect(code, out + err).toBe(0);
  expect(out).toContain('2 updated');
}, 120_000);

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
