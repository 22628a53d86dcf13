// build-console.ts — `npm run build`: the console as the service serves it, console/dist.
//
// `npm ci` runs it too (`prepare`), so that a fresh clone has the page. `--if-vite`: without the packages of development there is
// nothing to build it with, and nothing is said: an image builds it in a stage of its own (deploy/Dockerfile).
import { fileURLToPath } from 'node:url';

const isOptional = process.argv.includes('--if-vite');

if (!isOptional || isInstalled('vite')) {
  const { build } = await import('vite');
  const configFile = fileURLToPath(new URL('../console/vite.config.ts', import.meta.url));
  await build({ configFile, logLevel: isOptional ? 'warn' : 'info' });
}

function isInstalled(name: string): boolean {
  try {
    import.meta.resolve(name);
    return true;
  } catch {
    return false;
  }
}
