// mask.ts — personal data as it is shown to whoever may not see it: enough to recognise, too little to know. Pure.
//
// Owns:          what of an event, a payload or a record says nothing about a person. Does not own: who may see the rest.
//
// K1  A field that is not known is taken for personal, and so is a known one whose value does not look like what belongs there:
//     payloads that could not be used are masked too, and anything may stand in them.
import { Refusal, readJson } from './gates.ts';

/** "a***@x.io", "A***": of what is no address as a whole, the first character alone. */
export function masked(text: string): string {
  const domain = /^[^\s@]+(@[\w.-]+)$/.exec(text)?.[1] ?? '';
  return `${[...text.slice(0, 2)][0] ?? ''}***${domain}`;
}

/** What says nothing about a person. */
const PLAIN = new Set([
  ...['type', 'event', 'userId', 'role', 'userType', 'customerAccountId', 'timestamp'],
  ...['previousStatus', 'newStatus', 'previousRole', 'newRole'],
  ...['specversion', 'datacontenttype'],
]);
const ID = new Set(['userId', 'customerAccountId']);
const ID_TEXT = /^[\x21-\x7e]{1,128}$/;
/** A word or two: no "@", no line break, nothing long. */
const WORDS = /^[\x20-\x3f\x41-\x7e]{0,100}$/;
/** The name of a field: anything else may be data itself. */
const NAME = /^[A-Za-z_][\w.-]{0,63}$/;

/** An event's payload, or any other JSON object: the names stay, and the values of what is plain. */
export function maskedEvent(event: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(event).map(([name, value]) => [
      NAME.test(name) ? name : '***',
      typeof value === 'string' && isPlain(name, value) ? value : maskedValue(value),
    ]),
  );
}
function isPlain(name: string, value: string): boolean {
  return PLAIN.has(name) && (ID.has(name) ? ID_TEXT : WORDS).test(value);
}

/** Objects keep their form: an envelope has its payload inside. */
function maskedValue(value: unknown): unknown {
  if (value === null) return null;
  if (Array.isArray(value)) return value.map(maskedValue);
  if (typeof value === 'object') return maskedEvent(value as Record<string, unknown>);
  return typeof value === 'string' ? masked(value) : '***';
}

const HIDDEN = '***';

/** The value of a record: its JSON masked; hidden as a whole where it is none, or is none that could be looked through. */
export function maskedText(text: string): string {
  const json = readJson(text);
  return json instanceof Refusal ? HIDDEN : JSON.stringify(maskedValue(json.value));
}

/** Headers that say how to read a record. */
const PLAIN_HEADERS = new Set(['ce_type', 'ce_specversion', 'content-type', 'eventType', 'traceparent']);

export function maskedHeader(name: string, value: string | null): { name: string; value: string | null } {
  const isPlain = value !== null && PLAIN_HEADERS.has(name) && WORDS.test(value);
  return { name: NAME.test(name) ? name : HIDDEN, value: value === null || isPlain ? value : masked(value) };
}
