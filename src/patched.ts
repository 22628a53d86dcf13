// patched.ts — do the libraries that we patch carry our patches? `npm ci` without scripts leaves them out, and nothing else
// would show it. What each patch mends stands in its test (test/unit/kafkajs-patch.test.ts, test/integration/database.test.ts).
import { readFileSync } from 'node:fs';

type Patched = {
  /** The version that was read and patched. */
  version: string;
  /** By patch (patches/NAME+VERSION+001+PATCH.patch): the file, from the package's folder, that says it is in. */
  patches: Readonly<Record<string, string>>;
};
export const PATCHED: Readonly<Record<string, Patched>> = {
  kafkajs: { version: '2.2.4', patches: { timer: 'src/network/requestQueue/index.js' } },
  postgres: { version: '3.4.9', patches: { closed: 'src/connection.js' } },
};

/** Throws an Error that says what to do, unless each library is the version we know with all its patches in. */
export function assertPatched(libraries = PATCHED): void {
  for (const [name, { version, patches }] of Object.entries(libraries)) {
    const entry = import.meta.resolve(name);
    const folder = entry.slice(0, entry.lastIndexOf(`/node_modules/${name}/`) + `/node_modules/${name}/`.length);
    const read = (file: string) => readFileSync(new URL(file, folder), 'utf8');
    const found = (JSON.parse(read('package.json')) as { version: string }).version;
    if (found !== version) throw new Error(`${name} is ${found}, expected ${version}`);
    const missing = Object.entries(patches).filter(
      ([patch, file]) => !read(file).includes(`customer-service patch: ${patch}`),
    );
    if (missing.length === 0) continue;
    const names = missing.map(([patch]) => patch).join(', ');
    throw new Error(
      `${name} is not patched (${names}): run \`npx patch-package\`; npm ci without scripts leaves it out`,
    );
  }
}
