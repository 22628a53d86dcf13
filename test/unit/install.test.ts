// What npm installs of OpenTelemetry: two copies of one of these, and spans of one are lost in the other without a word.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));
const { dependencies, devDependencies } = read('package.json') as Record<string, Record<string, string>>;
const { packages } = read('package-lock.json') as { packages: Record<string, { version?: string }> };

/** Where in node_modules a package lies. */
const copiesOf = (name: string) =>
  Object.entries(packages).flatMap(([path, { version }]) => (path.endsWith(`node_modules/${name}`) ? [version] : []));
const ours = Object.entries({ ...dependencies, ...devDependencies }).filter(([name]) =>
  name.startsWith('@opentelemetry/'),
);

test.each(['api', 'core', 'sdk-trace', 'sdk-metrics', 'resources', 'context-async-hooks'])(
  'there is one copy of @opentelemetry/%s',
  (name) => expect(copiesOf(`@opentelemetry/${name}`)).toHaveLength(1),
);

test('every package of it is pinned, and installed as pinned', () => {
  expect(ours.length).toBeGreaterThan(5);
  for (const [name, version] of ours) {
    expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
    expect(copiesOf(name), name).toEqual([version]);
  }
});

test('one release of the SDK: its parts have one version', () => {
  const versions = ['sdk-trace', 'sdk-metrics', 'resources', 'core'].flatMap((name) =>
    copiesOf(`@opentelemetry/${name}`),
  );
  expect(new Set(versions).size).toBe(1);
});
