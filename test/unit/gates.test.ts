// The gates alone: JSON that is bounded and looked through, a member's own text, timestamps.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isUsableKey, type Json, memberText, Refusal, readJson, readTime, refuseTime } from '../../src/gates.ts';

const code = (it: unknown) => (it instanceof Refusal ? it.code : 'ok');

/** The same JSON with every character of every string and key spelt as an escape. */
function spelt(value: unknown): string {
  if (typeof value === 'string') {
    return `"${value.replace(/[\s\S]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)}"`;
  }
  if (Array.isArray(value)) return `[${value.map(spelt)}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, member]) => `${spelt(key)}:${spelt(member)}`)}}`;
}

describe('JSON is read once, and only when it is safe to read', () => {
  test.each([
    ['64 levels', `${'['.repeat(64)}${']'.repeat(64)}`, 'ok'],
    ['65 levels', `${'['.repeat(65)}${']'.repeat(65)}`, 'depth'],
    ['65 levels of objects', `${'{"a":'.repeat(65)}1${'}'.repeat(65)}`, 'depth'],
    ['500,000 levels, never closed', '['.repeat(500_000), 'depth'],
    ['brackets in a string are no levels', JSON.stringify({ a: '['.repeat(100) }), 'ok'],
    ['an escaped quote does not end a string', JSON.stringify({ a: `"${'['.repeat(100)}` }), 'ok'],
    ['an escaped backslash does', JSON.stringify({ a: '\\', b: 1 }), 'ok'],
    ['10,000 elements', `[${'0,'.repeat(9_998)}0]`, 'ok'],
    ['more of them', `[${'0,'.repeat(10_000)}0]`, 'size'],
    ['as many empty arrays', `[${'[],'.repeat(6_000)}[]]`, 'size'],
    ['a million keys', `{${Array.from({ length: 1_000_000 }, (_, i) => `"${i}":0`).join()}}`, 'size'],
    ['the same key twice', '{"a":1,"b":2,"a":1}', 'dupkey'],
    ['twice, once as escapes', '{"userId":"a","\\u0075serId":"b"}', 'dupkey'],
    ['twice, deep inside', '[{"a":{"b":1,"b":2}}]', 'dupkey'],
    ['the same key in two objects', '{"a":{"x":1},"b":{"x":1},"x":1}', 'ok'],
    ['one key in two cases', '{"userid":1,"userId":1}', 'ok'],
    ['a colon in a string is no key', '{"a":"b:c","d:e":":"}', 'ok'],
    ['__proto__', '{"__proto__":{"admin":true}}', 'proto-key'],
    ['__proto__ as escapes', '{"\\u005f_proto__":1}', 'proto-key'],
    ['__proto__ deep inside', '{"a":[{"__proto__":null}]}', 'proto-key'],
    ['constructor', '{"constructor":{"prototype":{"x":1}}}', 'proto-key'],
    ['__proto__ as a value', '{"a":"__proto__","b":"constructor"}', 'ok'],
    ['toString is a key like any other', '{"toString":1,"hasOwnProperty":2,"valueOf":3}', 'ok'],
  ])('%s', (_, text, expected) => {
    expect(code(readJson(text))).toBe(expected);
    expect(Object.hasOwn(Object.prototype, 'admin')).toBe(false);
  });

  test.each(
    [
      ['', '{', '{"a":1', '{"a":1}}', '{"a":1} {"b":2}', '[1,]', '{a:1}', "{'a':1}", '// no\n{}', '{"a":1}#'],
      ['NaN', 'Infinity', '-', '01', '+1', '.5', '0x1', '"\u0001"', '"\\x41"', 'undefined', '\u0000{}', '\ufeff{}'],
    ].flat(),
  )('%j is not JSON, and the detail does not quote it', (text) => {
    const refusal = readJson(text) as Refusal;
    expect(refusal.code).toBe('json');
    expect(refusal.detail).toMatch(/^(the value is not JSON|the first byte is 0x00: .*)$/);
  });

  test.each([
    ['NUL in a string', '{"a":"x\\u0000y"}', 'nul'],
    ['NUL in a key', '{"x\\u0000y":1}', 'nul'],
    ['NUL in a nested string', '{"a":[{"b":"\\u0000"}]}', 'nul'],
    ['a lone high surrogate', '{"a":"\\ud800"}', 'surrogate'],
    ['a lone low surrogate', '{"a":["\\uDC00x"]}', 'surrogate'],
    ['a lone surrogate in a key', '{"\\ud800":1}', 'surrogate'],
    ['a lone surrogate that is no escape', '{"a":"\ud800"}', 'surrogate'],
    ['halves in the wrong order', '"\\udc00\\ud800"', 'surrogate'],
    ['a whole pair as escapes', '"\\ud83d\\ude00"', 'ok'],
    ['an escaped backslash before u0000', '"\\\\u0000"', 'ok'],
    ['an emoji', '"😀"', 'ok'],
  ])('%s', (_, text, expected) => {
    expect(code((readJson(text) as Json).unstorable)).toBe(expected);
  });

  test('any JSON comes out as JSON.parse gives it, however it is spelt', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = JSON.stringify(value);
        fc.pre(!/"(?:__proto__|constructor)":/.test(text));
        expect(readJson(text)).toMatchObject({ text, value: JSON.parse(text), unstorable: null });
        expect(readJson(spelt(value))).toMatchObject({ value: JSON.parse(text) });
      }),
    );
  });

  test('a repeated key is found wherever it stands', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), fc.jsonValue(), fc.jsonValue(), (around, key, one, other) => {
        fc.pre(key !== '__proto__' && key !== 'constructor');
        const name = JSON.stringify(key);
        const twice = `{${name}:${JSON.stringify(one)},${name}:${JSON.stringify(other)}}`;
        expect(code(readJson(`[${JSON.stringify(around)},${twice}]`))).toBe('dupkey');
      }),
    );
  });
});

describe("a member's text is what was received", () => {
  test.each([
    ['{"data":{"a":1}}', '{"a":1}'],
    ['{ "x" : [1,{"data":0}] , "data" : { "a" : "}," } , "y":2}', '{ "a" : "}," }'],
    ['{"x":"data","data":  1.50  }', '1.50'],
    ['{"data":"a\\"b","z":{}}', '"a\\"b"'],
    ['{"\\u0064ata":[1, 2]}', '[1, 2]'],
    ['{"a\\"":{"data":1},"data":1e2}', '1e2'],
    ['{"data":null}', 'null'],
  ])('%s', (text, expected) => {
    expect(memberText(text, 'data')).toBe(expected);
  });

  test('for any members around it', () => {
    const members = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(members, fc.jsonValue(), members, fc.nat(3), (before, data, after, indent) => {
        const { data: _, ...rest } = after;
        const text = JSON.stringify({ ...before, data, ...rest }, null, indent);
        expect(JSON.parse(memberText(text, 'data'))).toEqual(JSON.parse(JSON.stringify(data)));
      }),
    );
  });
});

describe('a timestamp is read strictly', () => {
  test.each([
    ['2025-01-31T09:30:00Z', '2025-01-31T09:30:00.000Z'],
    ['2025-01-31T09:30:00.5Z', '2025-01-31T09:30:00.500Z'],
    ['2025-01-31T09:30:00.05Z', '2025-01-31T09:30:00.050Z'],
    ['2025-01-31T09:30:00.1239999Z', '2025-01-31T09:30:00.123Z'],
    ['2025-01-31T09:30:00.12+05:30', '2025-01-31T04:00:00.120Z'],
    ['2025-01-31T23:30:00-01:00', '2025-02-01T00:30:00.000Z'],
    ['2025-01-31T09:30:00+23:59', '2025-01-30T09:31:00.000Z'],
    ['2025-01-31T09:30:00-00:00', '2025-01-31T09:30:00.000Z'],
    ['2025-01-31t09:30:00z', '2025-01-31T09:30:00.000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
    ['2000-02-29T00:00:00Z', '2000-02-29T00:00:00.000Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('%s', (text, expected) => {
    expect(new Date(readTime(text) as number).toISOString()).toBe(expected);
  });

  test.each([
    ['no offset', '2025-01-31T09:30:00'],
    ['30 February', '2025-02-30T00:00:00Z'],
    ['29 February of a common year', '2025-02-29T00:00:00Z'],
    ['29 February 1900', '1900-02-29T00:00:00Z'],
    ['31 April', '2025-04-31T00:00:00Z'],
    ['day 0', '2025-01-00T00:00:00Z'],
    ['month 13', '2025-13-01T00:00:00Z'],
    ['month 0', '2025-00-01T00:00:00Z'],
    ['24 hours', '2025-01-31T24:00:00Z'],
    ['minute 60', '2025-01-31T09:60:00Z'],
    ['a leap second', '2016-12-31T23:59:60Z'],
    ['offset of 24 hours', '2025-01-31T09:30:00+24:00'],
    ['offset of 60 minutes', '2025-01-31T09:30:00+01:60'],
    ['offset without a colon', '2025-01-31T09:30:00+0100'],
    ['a space for T', '2025-01-31 09:30:00Z'],
    ['a dot without digits', '2025-01-31T09:30:00.Z'],
    ['a comma', '2025-01-31T09:30:00,5Z'],
    ['no seconds', '2025-01-31T09:30Z'],
    ['a newline at its end', '2025-01-31T09:30:00Z\n'],
    ['the words of Date', 'Fri Jan 31 2025 09:30:00 GMT+0000'],
    ['Arabic digits', '٢٠٢٥-01-31T09:30:00Z'],
    ['infinity', 'infinity'],
  ])('%s: ts-format', (_, text) => {
    expect(code(readTime(text))).toBe('ts-format');
  });

  test.each(['+275760-09-13T00:00:00Z', '-271821-04-20T00:00:00.000Z'])('%s: ts-range', (text) => {
    expect(code(readTime(text))).toBe('ts-range');
  });

  test('every day of the calendar, and no other', () => {
    const day = fc.tuple(
      fc.integer({ min: 0, max: 9999 }),
      fc.integer({ min: 0, max: 13 }),
      fc.integer({ min: 0, max: 32 }),
    );
    fc.assert(
      fc.property(day, ([year, month, date]) => {
        const text = `${String(year).padStart(4, '0')}-${String(month).padStart(2, '0')}-${String(date).padStart(2, '0')}`;
        const real = new Date(0);
        real.setUTCFullYear(year, month - 1, date);
        const exists = month >= 1 && month <= 12 && real.getUTCMonth() === month - 1 && real.getUTCDate() === date;
        expect(readTime(`${text}T00:00:00Z`)).toEqual(exists ? real.getTime() : expect.any(Refusal));
      }),
      { numRuns: 2_000 },
    );
  });

  test('agrees with Date wherever Date is right', () => {
    const offset = fc.record({
      sign: fc.constantFrom('+', '-'),
      hours: fc.integer({ min: 0, max: 23 }),
      minutes: fc.integer({ min: 0, max: 59 }),
    });
    const range = { min: new Date('1970-01-01'), max: new Date('9998-01-01'), noInvalidDate: true };
    fc.assert(
      fc.property(fc.date(range), offset, (date, { sign, hours, minutes }) => {
        const two = (n: number) => String(n).padStart(2, '0');
        const text = date.toISOString().replace('Z', `${sign}${two(hours)}:${two(minutes)}`);
        expect(readTime(text)).toBe(Date.parse(text));
      }),
    );
  });
});

describe("a timestamp is held against the record's own time", () => {
  const now = Date.UTC(2025, 0, 31);
  const day = 24 * 60 * 60_000;
  test.each([
    ['1999-12-31T23:59:59.999Z', now, 'ts-range'],
    ['2000-01-01T00:00:00Z', now, 'ok'],
    ['a day above', now, 'ok', now + day],
    ['a millisecond more', now, 'ts-range', now + day + 1],
    ['far above, but the record has no time', -1, 'ok', now + 1_000 * day],
    ['9999, the record has no time', -1, 'ok', Date.UTC(9999, 11, 31)],
    ['10000, the record has no time', -1, 'ts-range', Date.UTC(10_000, 0, 1)],
    ['10000, as does the record', Date.UTC(10_000, 0, 1), 'ts-range', Date.UTC(10_000, 0, 1)],
  ])('%s', (text, recordMs, expected, atMs = Date.parse(text)) => {
    expect(code(refuseTime(atMs, recordMs) ?? 'ok')).toBe(expected);
  });
});

test('a usable key is 1 to 128 printable ASCII characters', () => {
  const usable = (text: string) => isUsableKey(Buffer.from(text));
  expect(isUsableKey(null)).toBe(false);
  expect(['', 'a b', 'a\n', 'é', '\u007f', 'x'.repeat(129), 'a\u200b'].map(usable)).not.toContain(true);
  expect(['a', '!', '~', 'auth0|1', '{*}:', 'x'.repeat(128)].map(usable)).not.toContain(false);
});
