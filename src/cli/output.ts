// output.ts — what a command prints: data on stdout, everything else on stderr.
//
// O1  `--json`: one JSON object per line, field names as in the API, 64-bit integers as strings; no hints.
// O2  Texts that came from outside lose their control characters: a name must not steer somebody's terminal.
// O3  Colour only on a terminal and without NO_COLOR (styleText asks both), and never as the only carrier of meaning.
import { styleText } from 'node:util';

export type Cell = string | number | bigint | boolean | null | undefined;
export type Column<Row> = { head: string; of: (row: Row) => Cell; right?: true };

export type Output = {
  json: boolean;
  /** One thing: as a line of JSON, or as the text. */
  one(value: object, text: () => string): void;
  /** Many things: each a line of JSON, or all an aligned table. `none`: said on stderr when there are none. */
  many<Row extends object>(rows: readonly Row[], columns: readonly Column<Row>[], none: string): void;
  /** To the person, on stderr. */
  say(text: string): void;
  /** The next useful command; not with --json. */
  next(...commands: readonly string[]): void;
};

type Stream = { write(text: string): unknown };

export function createOutput(json: boolean, stdout: Stream = process.stdout, stderr: Stream = process.stderr): Output {
  return {
    json,
    one: (value, text) => void stdout.write(json ? toJson(value) : `${clean(text())}\n`),
    many(rows, columns, none) {
      if (json) for (const row of rows) stdout.write(toJson(row));
      else if (rows.length > 0) stdout.write(table(rows, columns));
      else stderr.write(`${none}\n`);
    },
    say: (text) => void stderr.write(`${clean(text)}\n`),
    next(...commands) {
      if (!json) stderr.write(`${styleText('dim', `next: ${commands.map(callable).join('   ')}`, TO_STDERR)}\n`);
    },
  };
}

/** A command as it can be typed in the repository. */
function callable(command: string): string {
  return `npx user-lifecycle ${command}`;
}

const TO_STDOUT = { stream: process.stdout };
const TO_STDERR = { stream: process.stderr };

/** 64-bit integers as strings: JSON numbers lose digits. Times as ISO 8601: Postgres writes them in its own way. */
export function toJson(value: object): string {
  const text = JSON.stringify(value, (name, inner) => {
    if (typeof inner === 'bigint') return String(inner);
    const isTime = typeof inner === 'string' && /(At|^since)$/.test(name) && POSTGRES_TIME.test(inner);
    return isTime ? new Date(inner).toISOString() : inner;
  });
  return `${text}\n`;
}
const POSTGRES_TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?[+-]\d\d(:\d\d)?$/;

/** Aligned by two spaces; numbers to the right. Ends with a newline. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const cells = rows.map((row) => columns.map(({ of }) => clean(toText(of(row)))));
  const widths = columns.map(({ head }, i) => Math.max(head.length, ...cells.map((row) => row[i]?.length ?? 0)));
  const line = (texts: readonly string[]) =>
    texts
      .map((text, i) => (columns[i]?.right ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  const head = styleText('dim', line(columns.map(({ head }) => head)), TO_STDOUT);
  return `${[head, ...cells.map(line)].join('\n')}\n`;
}

/** Names and their values, aligned: one thing's fields. Those without a value are left out. */
export function fields(values: Readonly<Record<string, Cell>>): string {
  const shown = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${toText(value)}`).join('\n');
}

function toText(value: Cell): string {
  if (value === null || value === undefined) return '-';
  return typeof value === 'number' || typeof value === 'bigint' ? count(value) : String(value);
}

/** 1,204 */
export function count(value: number | bigint): string {
  return value.toLocaleString('en-US');
}

/** "1 event", "1,204 events" */
export function plural(n: number | bigint, word: string): string {
  return `${count(n)} ${word}${Number(n) === 1 ? '' : 's'}`;
}

/** "user-events[4]@99121" */
export function place({ topic, partition, offset }: { topic: string; partition: number; offset: string | bigint }) {
  return `${topic}[${partition}]@${offset}`;
}

/** Ids hold a bar, which shells take for a pipe. */
export function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Without what steers a terminal: C0, C1, and the signs that turn the direction of writing. Newline and tab stay. */
export function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return text.replaceAll(/[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

/** "2025-01-31 09:30:00", UTC. */
export function time(value: string | Date | null): string | null {
  if (value === null) return null;
  const date = typeof value === 'string' ? new Date(value) : value;
  return date.toISOString().slice(0, 19).replace('T', ' ');
}
