// version.ts — the version of this service, from package.json.
import { readFileSync } from 'node:fs';

export const SERVICE_VERSION: string = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
).version;
