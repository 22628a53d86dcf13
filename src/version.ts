// version.ts — which version this is, from package.json, and which process.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

export const SERVICE_VERSION: string = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
).version;

/** A name that no other process has, nor this one twice. */
export function newInstance(): string {
  return `${hostname()}-${process.pid}-${randomBytes(3).toString('hex')}`;
}
