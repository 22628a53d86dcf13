import { describe, expect, test } from 'vitest';
import { clean, createOutput, fields, place, quoted, table, time, toJson } from '../../src/cli/output.ts';

function captured(json: boolean) {
  const lines = { out: '', err: '' };
  const write = (to: 'out' | 'err') => ({
    write(text: string) {
      lines[to] += text;
    },
  });
  return { lines, output: createOutput(json, write('out'), write('err')) };
}

const COLUMNS = [
  { head: 'ID', of: ({ id }: { id: string; n: number }) => id },
  { head: 'N', of: ({ n }: { id: string; n: number }) => n, right: true as const },
];
const ROWS = [
  { id: 'a', n: 1 },
  { id: 'longer', n: 12345 },
];

describe('data can be piped: it alone is on stdout', () => {
  test('a list is an aligned table, numbers to the right', () => {
    const { lines, output } = captured(false);
    output.many(ROWS, COLUMNS, 'none');
    output.next('status');
    expect(lines.out.split('\n')).toEqual(['ID           N', 'a            1', 'longer  12,345', '']);
    expect(lines.err).toContain('next: npx user-lifecycle status');
  });

  test('an empty list leaves stdout empty', () => {
    const { lines, output } = captured(false);
    output.many([], COLUMNS, 'none');
    expect(lines).toEqual({ out: '', err: 'none\n' });
  });

  test('with --json each row is a line, and no hint is given', () => {
    const { lines, output } = captured(true);
    output.many(ROWS, COLUMNS, 'none');
    output.next('status');
    expect(
      lines.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(ROWS);
    expect(lines.err).toBe('');
  });
});

describe('JSON keeps what it is given', () => {
  test('a 64-bit integer keeps its digits', () => {
    expect(toJson({ offset: 9007199254740993n })).toBe('{"offset":"9007199254740993"}\n');
  });

  test("Postgres' times become ISO 8601, other texts stay", () => {
    const at = '2025-01-31 10:30:00.123456+01';
    expect(JSON.parse(toJson({ createdAt: at, note: at, occurredAt: 'yesterday' }))).toEqual({
      createdAt: '2025-01-31T09:30:00.123Z',
      note: at,
      occurredAt: 'yesterday',
    });
  });
});

describe('what came from outside can not steer the terminal', () => {
  test('control and direction signs are replaced, lines and tabs stay', () => {
    expect(clean('a\x1b[2Jb\u202ec\r\nd\te\x9b')).toBe('a\ufffd[2Jb\ufffdc\ufffd\nd\te\ufffd');
  });

  test('in tables too', () => {
    expect(table([{ id: '\x1b]0;x\x07', n: 1 }], COLUMNS)).not.toContain('\x1b]');
  });
});

test('fields without a value are left out, the others aligned', () => {
  expect(fields({ user: 'u', customer: 'c', deleted: null, note: '' })).toBe('user      u\ncustomer  c');
});

test('an id with a bar is quoted for the shell, a plain one is not', () => {
  expect(['auth0|42', "o'x", 'acme-1'].map(quoted)).toEqual(["'auth0|42'", "'o'\\''x'", 'acme-1']);
});

test('coordinates and times read alike everywhere', () => {
  expect(place({ topic: 'user-events', partition: 4, offset: 99121n })).toBe('user-events[4]@99121');
  expect(time('2025-01-31 09:30:00.5+00')).toBe('2025-01-31 09:30:00');
});
