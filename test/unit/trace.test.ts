// A producer's trace header decides about spans and links and nothing else: what is not exactly one is none.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Header } from '../../src/events.ts';
import { type ProducerTrace, producerTrace } from '../../src/trace.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const FOUND: ProducerTrace = { traceId: TRACE, spanId: SPAN };
const VALID = `00-${TRACE}-${SPAN}-01`;

const header = (value: string | Buffer | null, name = 'traceparent'): Header => [
  name,
  typeof value === 'string' ? Buffer.from(value) : value,
];
const read = (value: string | Buffer | null) => producerTrace([header(value)]);

const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length });
const notZero = (length: number) => hex(length).filter((text) => !/^0+$/.test(text));
const byte = (value: number) => value.toString(16).padStart(2, '0');
const sampled = fc.nat(127).map((n) => byte(n * 2 + 1));
const unsampled = fc.nat(127).map((n) => byte(n * 2));
const version = fc.nat(254).map(byte);

/** The same rule, said in another way. */
function expected(text: string): ProducerTrace | null {
  const [version = '', traceId = '', spanId = '', flags = '', ...tail] = text.split('-');
  const isHex = (part: string, length: number) =>
    part.length === length && [...part].every((c) => '0123456789abcdef'.includes(c));
  if (!isHex(version, 2) || !isHex(traceId, 32) || !isHex(spanId, 16) || !isHex(flags, 2)) return null;
  if (version === 'ff' || (version === '00' && tail.length > 0)) return null;
  if (BigInt(`0x${traceId}`) === 0n || BigInt(`0x${spanId}`) === 0n) return null;
  return Number(`0x${flags}`) % 2 === 1 ? { traceId, spanId } : null;
}

describe('a sampled trace is found', () => {
  test('whatever its ids, and whatever other flags are set', () => {
    fc.assert(
      fc.property(notZero(32), notZero(16), sampled, (traceId, spanId, flags) => {
        expect(read(`00-${traceId}-${spanId}-${flags}`)).toEqual({ traceId, spanId });
      }),
    );
  });
  test('of a later version too, with what that may have added behind', () => {
    const tail = fc.option(fc.string({ unit: 'grapheme-ascii', maxLength: 100 }), { nil: undefined });
    fc.assert(
      fc.property(version, tail, (version, tail) => {
        fc.pre(version !== '00' || tail === undefined);
        expect(read(`${version}-${TRACE}-${SPAN}-01${tail === undefined ? '' : `-${tail}`}`)).toEqual(FOUND);
      }),
    );
  });
});

describe('what is malformed is no trace', () => {
  test.each([
    ['not sampled', `00-${TRACE}-${SPAN}-00`],
    ['not sampled, with another flag', `00-${TRACE}-${SPAN}-02`],
    ['version ff', `ff-${TRACE}-${SPAN}-01`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
    ['a span id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['version 00 with something behind it', `${VALID}-x`],
    ['version 00 with a dash behind it', `${VALID}-`],
    ['version 00 with a line break behind it', `${VALID}\n`],
    ['version 01 with something behind it that no dash parts', `01-${TRACE}-${SPAN}-01x`],
    ['capital letters', VALID.toUpperCase()],
    ['a space before it', ` ${VALID}`],
    ['cut short', VALID.slice(0, -1)],
    ['no dashes', VALID.replaceAll('-', '')],
    ['nothing', ''],
    ['longer than anybody needs', `01-${TRACE}-${SPAN}-01-${'x'.repeat(1_000)}`],
    ['five megabytes', `01-${TRACE}-${SPAN}-01-${'x'.repeat(5_000_000)}`],
  ])('%s', (_, text) => expect(read(text)).toBeNull());

  test('no value at all', () => expect(read(null)).toBeNull());

  test('unsampled, whatever its ids', () => {
    fc.assert(
      fc.property(notZero(32), notZero(16), unsampled, (traceId, spanId, flags) => {
        expect(read(`00-${traceId}-${spanId}-${flags}`)).toBeNull();
      }),
    );
  });
  test('one character changed, left out or put in: none, or exactly what then stands there', () => {
    const unit = fc.oneof(
      fc.constantFrom(...'0123456789abcdefABCDEFg-_ \n\0é'),
      fc.string({ minLength: 1, maxLength: 1 }),
    );
    const kind = fc.constantFrom('changed', 'left out', 'put in');
    fc.assert(
      fc.property(fc.nat(VALID.length), unit, kind, (at, by, kind) => {
        const rest = VALID.slice(kind === 'put in' ? at : at + 1);
        const text = VALID.slice(0, at) + (kind === 'left out' ? '' : by) + rest;
        expect(read(text)).toEqual(expected(text));
      }),
      { numRuns: 3_000 },
    );
  });
  test('bytes at random: none, and it never throws', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => read(Buffer.from(bytes)) === null));
  });
});

describe('which header counts', () => {
  const other = VALID.replace(SPAN, 'b7ad6b7169203331');
  test("CloudEvents' own where the transport's is absent", () =>
    expect(producerTrace([header(VALID, 'ce_traceparent')])).toEqual(FOUND));
  test("the transport's before it, wherever it stands", () => {
    expect(producerTrace([header(other, 'ce_traceparent'), header(VALID)])).toEqual(FOUND);
    expect(producerTrace([header(VALID), header(other, 'ce_traceparent')])).toEqual(FOUND);
  });
  test("a malformed, empty or unsampled one of the transport's does not give way to it", () => {
    for (const value of ['nonsense', '', null, `00-${TRACE}-${SPAN}-00`])
      expect(producerTrace([header(value), header(VALID, 'ce_traceparent')])).toBeNull();
  });
  test('a repeated one is none, equal or not, however often', () => {
    for (const times of [2, 3, 4])
      for (const name of ['traceparent', 'ce_traceparent'])
        expect(producerTrace(Array.from({ length: times }, () => header(VALID, name)))).toBeNull();
    expect(producerTrace([header(VALID), header(other), header(VALID)])).toBeNull();
    expect(producerTrace([header(VALID), header(null)])).toBeNull();
  });
  test('other names are none of it', () => {
    for (const name of ['Traceparent', 'tracestate', 'traceparent ', '', '__proto__', 'constructor'])
      expect(producerTrace([header(VALID, name)])).toBeNull();
    expect(producerTrace([])).toBeNull();
  });
  test('it is found among 10,000', () => {
    const many = Array.from({ length: 10_000 }, (_, n) => header('x'.repeat(100), `h${n}`));
    for (const at of [0, 5_000, 10_000]) expect(producerTrace(many.toSpliced(at, 0, header(VALID)))).toEqual(FOUND);
    const beganMs = performance.now();
    for (let n = 0; n < 10; n++) producerTrace(many);
    expect(performance.now() - beganMs).toBeLessThan(500);
  });
});
