// What a record holds, made readable without being changed: whatever a producer sent, and whatever an attacker put into it.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffLines, jsonFault, prettyJson, visible } from '../../console/src/views/dead-letters-text.ts';

describe('JSON in lines', () => {
  test('as people read it', () => {
    expect(prettyJson('{"a":[1,{"b":"c"}],"d":{},"e":[ ]}')).toBe(
      '{\n  "a": [\n    1,\n    {\n      "b": "c"\n    }\n  ],\n  "d": {},\n  "e": []\n}',
    );
  });
  test('no digit of a number is lost, and a name that is there twice stays twice', () => {
    expect(prettyJson('{"n":12345678901234567890.10,"n":1e400}')).toBe(
      '{\n  "n": 12345678901234567890.10,\n  "n": 1e400\n}',
    );
  });
  test('strings stay as they were written, brackets and escapes in them too', () => {
    expect(prettyJson('"a{[\\",:]}\\u202e\\\\"')).toBe('"a{[\\",:]}\\u202e\\\\"');
  });
  test('any JSON is the same value afterwards, and as JSON.stringify writes it', () => {
    fc.assert(
      fc.property(fc.json(), fc.boolean(), (text, isSpread) => {
        const sent = isSpread ? JSON.stringify(JSON.parse(text), null, 3) : text;
        expect(prettyJson(sent)).toBe(JSON.stringify(JSON.parse(text), null, 2));
      }),
    );
  });
  test('what is no JSON is left alone, and what is wrong is said', () => {
    expect(prettyJson('{"a": ')).toBeUndefined();
    expect(prettyJson('')).toBeUndefined();
    expect(jsonFault('{"a": }')).toMatch(/Unexpected token/);
    expect(jsonFault('[1]')).toBeUndefined();
  });
});

describe('what is not seen is shown by its number', () => {
  test('controls, zero-width characters, and what turns the direction of text', () => {
    expect(visible('a\u0000b\u001b[31m\u202egnp.exe\u200b\ufeff\u2028')).toBe(
      'a\\u{0}b\\u{1b}[31m\\u{202e}gnp.exe\\u{200b}\\u{feff}\\u{2028}',
    );
    expect(visible('\u{e0041}')).toBe('\\u{e0041}');
  });
  test('lines and tabs stay lines and tabs, letters of any script stay letters', () => {
    expect(visible('a\n\tb  é 漢字 עברית 😀')).toBe('a\n\tb  é 漢字 עברית 😀');
  });
  test('nothing else is changed', () => {
    expect(visible('<script>alert(1)</script>&amp;')).toBe('<script>alert(1)</script>&amp;');
  });
});

describe('two texts side by side', () => {
  const signs = (before: string, after: string) => diffLines(before, after)?.map(({ sign, text }) => sign + text);
  test('a line that was changed: the old one, then the new one', () => {
    expect(signs('a\nb\nc', 'a\nB\nc')).toEqual([' a', '-b', '+B', ' c']);
  });
  test('lines that came or went', () => {
    expect(signs('a\nc', 'a\nb\nc')).toEqual([' a', '+b', ' c']);
    expect(signs('a\nb\nc', 'a\nc')).toEqual([' a', '-b', ' c']);
  });
  test('taking the new lines away gives the old text, and the other way round', () => {
    const text = fc
      .array(fc.constantFrom('a', 'b', 'c', '{', '}'), { minLength: 1, maxLength: 12 })
      .map((lines) => lines.join('\n'));
    fc.assert(
      fc.property(text, text, (before, after) => {
        const lines = diffLines(before, after) ?? [];
        const without = (sign: string) =>
          lines
            .filter((line) => line.sign !== sign)
            .map((line) => line.text)
            .join('\n');
        expect(without('+')).toBe(before);
        expect(without('-')).toBe(after);
      }),
    );
  });
  test('what is too long is not compared', () => {
    expect(diffLines('a\n'.repeat(1_001), 'b')).toBeUndefined();
  });
});
