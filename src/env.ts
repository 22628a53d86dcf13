// env.ts — where a setting's value is found: the environment, then `.env`; NAME, NAME_FILE, DATABASE_URL, PG*.
//
// Does not own:  what a setting is (settings.ts), whether the value fits (config.ts).
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { example, type LibpqName, OPTIONS, type Option, readUrl } from './settings.ts';

export type Problem = { name: string; expected: string; got: string; example: string };

export type Layer = { from: string; values: Readonly<Record<string, string>>; url: UrlParts | 'unusable' | undefined };
type UrlParts = Readonly<Record<string, string>>;
export type Found = { name: string; from: string; text: string; secret: boolean };

/** libpq's variables and the parts of DATABASE_URL that say the same. */
const URL_PARTS: Record<LibpqName, (url: URL) => string> = {
  PGHOST: (url) => url.searchParams.get('host') ?? url.hostname.replace(/^\[(.*)\]$/, '$1'),
  PGPORT: (url) => url.port,
  PGDATABASE: (url) => decodeURIComponent(url.pathname.slice(1)),
  PGUSER: (url) => decodeURIComponent(url.username),
  PGPASSWORD: (url) => decodeURIComponent(url.password),
  PGSSLMODE: (url) => url.searchParams.get('sslmode') ?? '',
};
const URL_QUERY = ['host', 'sslmode'];

export function readLayer(from: string, values: NodeJS.ProcessEnv, problems: Problem[], warnings: string[]): Layer {
  const set = Object.fromEntries(Object.entries(values).filter((entry): entry is [string, string] => !!entry[1]));
  warnings.push(...unknownNames(Object.keys(set)));
  const url = set.DATABASE_URL;
  return { from, values: set, url: url === undefined ? undefined : readUrlParts(url, problems, warnings) };
}

export function readEnvFile(file: string, problems: Problem[]): NodeJS.ProcessEnv {
  try {
    return parseEnv(readFileSync(file, 'utf8')) as NodeJS.ProcessEnv;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return {};
    const got = `a file that can not be read (${code ?? 'unknown reason'})`;
    problems.push({ name: file, expected: 'a file with one NAME=value in each line', got, example: '.env.example' });
    return {};
  }
}

function readUrlParts(text: string, problems: Problem[], warnings: string[]): UrlParts | 'unusable' {
  const url = readUrl(text, /^postgres(ql)?:$/);
  if (url !== undefined) {
    const unread = [...url.searchParams.keys()].filter((name) => !URL_QUERY.includes(name));
    if (unread.length > 0) warnings.push('DATABASE_URL: only host and sslmode are read of what follows its "?".');
    return Object.fromEntries(Object.entries(URL_PARTS).map(([name, part]) => [name, part(url)]));
  }
  problems.push({
    name: 'DATABASE_URL',
    expected: 'postgres://user:password@host:port/database, special characters percent-encoded',
    got: 'something else (redacted)',
    example: 'DATABASE_URL=postgres://postgres@127.0.0.1:5432/customer_service',
  });
  return 'unusable';
}

export function firstOf(layers: readonly Layer[], option: Option, problems: Problem[]): Found | 'unusable' | undefined {
  for (const layer of layers) {
    const found = find(layer, option, problems);
    if (found !== undefined) return found;
  }
  return undefined;
}

function find({ from, values, url }: Layer, option: Option, problems: Problem[]): Found | 'unusable' | undefined {
  const { name, also } = option;
  const secret = option.secret ?? false;
  const text = values[name];
  const path = secret ? values[`${name}_FILE`] : undefined;
  if (text !== undefined && path !== undefined) {
    problems.push(problem(option, `both ${name} and ${name}_FILE`, name, `one of ${name} and ${name}_FILE`));
    return 'unusable';
  }
  if (text !== undefined) return { name, from, text, secret };
  if (path !== undefined) {
    const content = readSecret(path);
    if (content.text) return { name: `${name}_FILE`, from: `${from} (${name}_FILE)`, text: content.text, secret };
    // The path is not printed: somebody may have put the secret itself there.
    problems.push({
      name: `${name}_FILE`,
      expected: 'the path of a file that holds the secret and nothing else',
      got: content.failed,
      example: `${name}_FILE=/run/secrets/${name.toLowerCase()}`,
    });
    return 'unusable';
  }
  if (also === undefined) return undefined;
  const part = url === undefined || url === 'unusable' ? '' : (url[also] ?? '');
  if (part !== '') return { name: 'DATABASE_URL', from: `${from} (DATABASE_URL)`, text: part, secret: true };
  const libpq = values[also];
  if (libpq !== undefined) return { name: also, from: `${from} (${also})`, text: libpq, secret };
  return url === 'unusable' ? 'unusable' : undefined;
}

function readSecret(path: string): { text: string; failed: string } {
  try {
    return { text: readFileSync(path, 'utf8').replace(/\r?\n$/, ''), failed: 'an empty file' };
  } catch (error) {
    return {
      text: '',
      failed: `a path that can not be read (${(error as NodeJS.ErrnoException).code ?? 'malformed'})`,
    };
  }
}

export function problem(option: Option, got: string, name = option.name, expected = option.expected): Problem {
  return { name, expected, got, example: example(option) };
}

/** Names that look like one of ours and are not. */
function unknownNames(names: readonly string[]): string[] {
  const known = new Map(OPTIONS.map((option) => [option.name, option]));
  const prefixes = new Set(OPTIONS.map(({ name }) => name.slice(0, name.indexOf('_') + 1)));
  return names.flatMap((name) => {
    const prefix = name.slice(0, name.indexOf('_') + 1);
    const fileOf = known.get(name.replace(/_FILE$/, ''));
    if (known.has(name) || !prefixes.has(prefix) || (fileOf?.secret && name.endsWith('_FILE'))) return [];
    if (fileOf !== undefined) return [`${name} is not read: only secrets may come from a file.`];
    const close = OPTIONS.find((option) => option.name.startsWith(prefix) && isClose(name, option.name));
    return close === undefined ? [] : [`${name} is not a setting. Did you mean ${close.name}?`];
  });
}

/** DB_USRE, DB_USERNAME and DB_PASS; but not DB_PORT_5432_TCP, which Kubernetes sets for a service named "db". */
function isClose(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 4) return false;
  return a.startsWith(b) || b.startsWith(a) || distance(a, b) <= 2;
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
