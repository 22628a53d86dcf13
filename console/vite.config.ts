// vite.config.ts — how the page is built: console/dist, plain files with hashes in their names, compressed once at build.
//
// No plugin for Preact: Vite compiles JSX by itself, and the preset only adds hot reloading and Babel.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  // Where the service is reached is known when it runs: parts find each other relative to themselves, and the server writes its
  // base path in front of the addresses that stand in the page (src/api/console.ts).
  experimental: { renderBuiltUrl: (file, { hostType }) => (hostType === 'html' ? `/${file}` : { relative: true }) },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    cssTarget: 'es2022',
    outDir: 'dist',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    // The content security policy lets nothing inline in.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  plugins: [compressed()],
  server: { proxy: { '/api': process.env.CONSOLE_API ?? 'http://127.0.0.1:8080' } },
});

/** Beside each text file the same as .br and .gz: the server sends them as they are. */
function compressed(): Plugin {
  let dir = '';
  return {
    name: 'compressed',
    apply: 'build',
    configResolved({ root, build }) {
      dir = join(root, build.outDir);
    },
    async writeBundle(options, bundle) {
      const into = options.dir ?? dir;
      await Promise.all(
        Object.keys(bundle)
          .filter((file) => /\.(js|css)$/.test(file))
          .map((file) => compress(join(into, file))),
      );
    },
  };
}
async function compress(file: string): Promise<void> {
  const text = await readFile(file);
  const best = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  await writeFile(`${file}.br`, await promisify(brotliCompress)(text, best));
  await writeFile(`${file}.gz`, await promisify(gzip)(text, { level: 9 }));
}
