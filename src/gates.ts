// gates.ts — what bytes must pass before anybody asks what they mean: sizes, key, UTF-8, JSON, timestamps.
//
// Each gate returns what it read, or the Refusal that ends the record. None throws, none quotes input: a detail goes into
// logs and pages, and V8's own message for broken JSON quotes the text, personal data and NUL included.
// Does not own: the order of the gates (decode.ts), what an event is (events.ts, dialects.ts).
import { isUtf8 } from 'node:buffer';
import type { DeadCode, Header } from './events.ts';

export class Refusal {
  readonly code: DeadCode;
  readonly detail: string;
  constructor(code: DeadCode, detail: string) {
    this.code = code;
    this.detail = detail;
  }
}

/** Value and headers together: both are kept with a waiting event. The key has its own rule below. */
export function refuseSize(
  value: Buffer | null,
  headers: readonly Header[],
  limits: { maxRecordBytes: number; maxHeaders: number },
): Refusal | null {
  if (headers.length > limits.maxHeaders) {
    return new Refusal('headers', `expected at most ${limits.maxHeaders} headers, found ${headers.length}`);
  }
  let bytes = value === null ? 0 : value.length;
  for (const [name, content] of headers) bytes += name.length + (content === null ? 0 : content.length);
  if (bytes <= limits.maxRecordBytes) return null;
  return new Refusal('size', `expected at most ${limits.maxRecordBytes} bytes of value and headers, found ${bytes}`);
}

const MAX_KEY_BYTES = 128; // as an id in a body (events.ts)

/** Is the key one that producers can rely on for order: 1–128 bytes of printable ASCII? */
export function isUsableKey(key: Buffer | null): boolean {
  return key !== null && key.length > 0 && key.length <= MAX_KEY_BYTES && isPrintableAscii(key);
}

/** Why a key is not usable. Only KAFKA_KEYS=strict asks. */
export function refuseKey(key: Buffer | null): Refusal | null {
  if (isUsableKey(key)) return null;
  if (key === null || key.length === 0) return new Refusal('key-missing', 'the record has no key');
  if (key.length > MAX_KEY_BYTES) return new Refusal('key-length', `key: expected at most ${MAX_KEY_BYTES} bytes`);
  if (!isUtf8(key)) return new Refusal('key-utf8', 'key: expected UTF-8');
  return new Refusal('key-charset', 'key: expected printable ASCII (0x21 to 0x7E)');
}

function isPrintableAscii(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (byte < 0x21 || byte > 0x7e) return false;
  }
  return true;
}

const FRAMED = 'the first byte is 0x00: values framed for a schema registry are not read, send plain JSON';

/** The value's text. A byte order mark is refused, not stripped: history keeps the text as it was received. */
export function readText(value: Buffer | null): string | Refusal {
  if (value === null) {
    const trap = "NestJS' ClientKafka.emit sends one when the payload has a property `key` and none named `value`";
    return new Refusal('tombstone', `the value is null; ${trap}. Only USER_DELETED deletes a user`);
  }
  if (value.length === 0) return new Refusal('empty', 'the value has 0 bytes');
  if (!isUtf8(value)) return new Refusal('utf8', value[0] === 0 ? FRAMED : 'the value is not UTF-8');
  if (value[0] === 0xef && value[1] === 0xbb && value[2] === 0xbf) {
    return new Refusal('bom', 'the value starts with a byte order mark: send UTF-8 without one');
  }
  return value.toString('utf8');
}

/** A JSON text that can be kept. `unstorable`: Postgres can not hold what its escapes spell (gate 10 refuses it). */
export type Json = { text: string; value: unknown; unstorable: Refusal | null };

const MAX_DEPTH = 64; // JSON.parse takes 500,000 levels; JSON.stringify throws at 10,000: in our save, when it is too late
const MAX_MEMBERS = 10_000; // a million keys in one object are 2.6 s of JSON.parse; our largest event has 8

/** Bounded before it is parsed, then looked through: no key twice, none that reaches for a prototype. */
export function readJson(text: string): Json | Refusal {
  const members = countMembers(text);
  if (members instanceof Refusal) return members;

  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return new Refusal('json', text.charCodeAt(0) === 0 ? FRAMED : 'the value is not JSON');
  }

  // Well-formed text without a backslash spells neither NUL nor half a surrogate pair.
  const found: Found = { members: 0, proto: false, nul: false, surrogate: false };
  look(value, text.includes('\\') || !text.isWellFormed(), found);
  // JSON.parse keeps the last of two equal keys, so repeats show as members that the text has and the value has not.
  if (found.members !== members) return new Refusal('dupkey', 'one object has the same key twice');
  if (found.proto) return new Refusal('proto-key', 'no key may be named `__proto__` or `constructor`');
  const unstorable = found.surrogate
    ? new Refusal('surrogate', 'a string or a key holds half of a surrogate pair')
    : found.nul
      ? new Refusal('nul', 'a string or a key holds the character U+0000')
      : null;
  return { text, value, unstorable };
}

/** How many `"key": value` pairs the text has, if it is JSON. One pass: 0.3 µs per 300 characters, 1 ms per MB. */
function countMembers(text: string): number | Refusal {
  let colons = 0;
  let values = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // " : to the end of the string
        for (i++; i < text.length; i++) {
          const char = text.charCodeAt(i);
          if (char === 0x22) break;
          if (char === 0x5c) i++; // \ : whatever it escapes does not end the string
        }
        break;
      case 0x3a: // :
        colons++;
        break;
      case 0x2c: // ,
        values++;
        break;
      case 0x7b: // {
      case 0x5b: // [
        values++;
        depth++;
        if (depth > MAX_DEPTH) return new Refusal('depth', `expected at most ${MAX_DEPTH} levels of nesting`);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth--;
        break;
    }
    if (values > MAX_MEMBERS) return new Refusal('size', `expected at most ${MAX_MEMBERS} members and elements`);
  }
  return colons;
}

type Found = { members: number; proto: boolean; nul: boolean; surrogate: boolean };

function look(value: unknown, strings: boolean, found: Found): void {
  if (typeof value === 'string') {
    if (strings) lookAtString(value, found);
  } else if (Array.isArray(value)) {
    for (const element of value) look(element, strings, found);
  } else if (typeof value === 'object' && value !== null) {
    for (const key of Object.keys(value)) {
      found.members++;
      if (key === '__proto__' || key === 'constructor') found.proto = true;
      if (strings) lookAtString(key, found);
      look((value as Record<string, unknown>)[key], strings, found);
    }
  }
}

function lookAtString(text: string, found: Found): void {
  if (text.includes('\0')) found.nul = true;
  if (!text.isWellFormed()) found.surrogate = true;
}

/** The text of one member of a JSON object, exactly as it stands there. `text` has passed readJson and has the member. */
export function memberText(text: string, name: string): string {
  let depth = 0;
  let start = -1; // where the member's value begins
  let lastString = '';
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x22) {
      const open = i;
      for (i++; text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
      if (depth === 1 && start === -1) lastString = text.slice(open, i + 1);
    } else if (char === 0x7b || char === 0x5b) depth++;
    else if (char === 0x3a && depth === 1 && start === -1 && JSON.parse(lastString) === name) start = i + 1;
    else if (char === 0x2c && depth === 1 && start !== -1) return text.slice(start, i).trim();
    else if (char === 0x7d || char === 0x5d) {
      depth--;
      if (depth === 0 && start !== -1) return text.slice(start, i).trim();
    }
  }
  throw new Error('memberText: the text does not have the member');
}

const PRINTABLE = /^[\x20-\x7e]+$/;
const CONTROL = /\p{Cc}/u;

/** The text of a header or attribute that names something: 1–`max` characters, none of them a control. */
export function isName(text: unknown, max: number): text is string {
  if (typeof text !== 'string' || text.length === 0 || text.length > max) return false;
  return PRINTABLE.test(text) || (text.isWellFormed() && !CONTROL.test(text));
}

/** A header's text; null where it is absent, null, not UTF-8, or longer than any name is. */
export function headerText(bytes: Buffer | null | undefined): string | null {
  if (bytes === null || bytes === undefined || bytes.length > 4096) return null;
  const text = bytes.toString('latin1');
  if (PRINTABLE.test(text)) return text;
  return isUtf8(bytes) ? bytes.toString('utf8') : null;
}

const DAY_MS = 24 * 60 * 60_000;
const EARLIEST_MS = Date.UTC(2000, 0, 1);
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** An event may say any time from 2000 to a day above its record's own (-1: none, then to 9999). Our clock plays no part. */
export function refuseTime(atMs: number, recordMs: number): Refusal | null {
  const latestMs = recordMs < 0 ? LATEST_MS : Math.min(recordMs + DAY_MS, LATEST_MS);
  if (atMs < EARLIEST_MS) return new Refusal('ts-range', 'timestamp: expected 2000 or later');
  if (atMs <= latestMs) return null;
  return new Refusal('ts-range', "timestamp: expected at most one day above the record's own time");
}

const TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/;
const EXPANDED_YEAR = /^[+-]\d{5,6}-/; // JavaScript's own spelling of years before 0 and after 9999
const LENGTHS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]; // February: 28 but in leap years
const FOUR_CENTURIES_MS = 146_097 * DAY_MS; // the calendar repeats after them

/** RFC 3339, lower-case t and z included, as ms since 1970; a longer fraction is cut. Never `new Date`: it takes 30 February.
 *  Leap seconds (:60) are refused: no JavaScript number stands for one. */
export function readTime(text: string): number | Refusal {
  if (!TIME.test(text)) {
    if (EXPANDED_YEAR.test(text)) return new Refusal('ts-range', 'timestamp: expected a year from 2000 to 9999');
    return new Refusal('ts-format', 'timestamp: expected RFC 3339, for example 2025-01-31T09:30:00.000Z');
  }
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  const hour = digits(text, 11, 13);
  const minute = digits(text, 14, 16);
  const second = digits(text, 17, 19);
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const lastDay = month === 2 && !leap ? 28 : LENGTHS[month - 1];
  if (lastDay === undefined || day < 1 || day > lastDay) return new Refusal('ts-format', 'timestamp: no such day');
  if (hour > 23 || minute > 59 || second > 59) return new Refusal('ts-format', 'timestamp: no such time of day');

  let offsetMinutes = 0;
  let end = text.length - 1; // where Z or the offset begins
  if (text.charCodeAt(end) <= 0x39) {
    end = text.length - 6;
    const offsetHour = digits(text, end + 1, end + 3);
    const offsetMinute = digits(text, end + 4, end + 6);
    if (offsetHour > 23 || offsetMinute > 59) return new Refusal('ts-format', 'timestamp: no such offset');
    offsetMinutes = (text.charCodeAt(end) === 0x2d ? -1 : 1) * (offsetHour * 60 + offsetMinute);
  }
  const fraction = Math.min(end, 23) - 20; // how many of the first three digits there are
  const ms = fraction <= 0 ? 0 : digits(text, 20, 20 + fraction) * 10 ** (3 - fraction);

  // Date.UTC reads years below 100 as 19xx, hence the detour.
  const utc = Date.UTC(year + 400, month - 1, day, hour, minute - offsetMinutes, second, ms);
  return utc - FOUR_CENTURIES_MS;
}

function digits(text: string, from: number, to: number): number {
  let number = 0;
  for (let i = from; i < to; i++) number = number * 10 + text.charCodeAt(i) - 0x30;
  return number;
}
