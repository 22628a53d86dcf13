// dialects.ts — the five ways an event is wrapped on the wire, in the order they are tried; the first that fits wins.
//
// Owns:          telling the dialects apart, and where each keeps its type, its id, its producer and its payload.
// Does not own:  which types exist, what a payload must be (decode.ts, events.ts); bytes and JSON (gates.ts).
//
// Header names are compared exactly: CloudEvents' Kafka binding writes them in lower case. Of a repeated header the last
// counts, as with Kafka's own `lastHeader`. A name from input is compared, never looked up in an object.
import { type Dialect, EVENT_TYPES, type Header } from './events.ts';
import { headerText, isName, type Json, memberText, Refusal, readJson } from './gates.ts';

/** What the envelope says, as far as it could be read. */
export type Wrapped = {
  dialect: Dialect | null;
  /** As the producer wrote it, version included. Null: the record can not be told to be an event; `fault` says why. */
  type: string | null;
  /** Null: the dialect has none, the content stands for it. */
  id: string | null;
  producer: string;
  payload: Json;
  /** What is wrong with the envelope; it counts once the type is known. */
  fault: Refusal | null;
};

export function unwrap(topic: string, headers: readonly Header[], json: Json): Wrapped {
  const named = pick(headers);
  if (isStructured(named)) return structured(topic, json);
  if (isBinary(named)) return binary(topic, named, json);
  if (isDebezium(topic, named)) return debezium(topic, named, json);
  if (NEST_TOPICS.has(topic)) return nest(topic, json);
  return plain(topic, named, json);
}

/** The headers that say how to read the value. All others are data. */
type Named = {
  contentType: Buffer | null;
  specversion: Buffer | null;
  ceId: Buffer | null;
  ceType: Buffer | null;
  ceSource: Buffer | null;
  eventType: Buffer | null;
  id: Buffer | null;
};

function pick(headers: readonly Header[]): Named {
  const named: Named = {
    contentType: null,
    specversion: null,
    ceId: null,
    ceType: null,
    ceSource: null,
    eventType: null,
    id: null,
  };
  for (const [name, value] of headers) {
    if (name === 'ce_id') named.ceId = value;
    else if (name === 'ce_type') named.ceType = value;
    else if (name === 'ce_source') named.ceSource = value;
    else if (name === 'ce_specversion') named.specversion = value;
    else if (name === 'content-type') named.contentType = value;
    else if (name === 'eventType') named.eventType = value;
    else if (name === 'id') named.id = value;
  }
  return named;
}

const MAX_ID = 256; // a guess: a UUID has 36; ids stand in history and in an index of dead letters
const MAX_SOURCE = 500; // a guess: a URI reference, seldom over 100; it is hashed, not kept

// CloudEvents 1.0, structured: the whole event is the value, the payload its member `data`.

const CLOUDEVENTS = 'application/cloudevents';

function isStructured({ contentType }: Named): boolean {
  if (contentType === null || contentType.length < CLOUDEVENTS.length) return false;
  return contentType.toString('latin1', 0, CLOUDEVENTS.length).toLowerCase() === CLOUDEVENTS;
}

function structured(topic: string, json: Json): Wrapped {
  const dialect = 'cloudevents-structured';
  const envelope = asObject(json.value);
  if (envelope === null) return misfit(dialect, topic, json, 'a structured CloudEvent is one JSON object (no batches)');
  const { specversion, type, id, source, data } = envelope;
  const payload = { ...json, text: data === undefined ? json.text : memberText(json.text, 'data'), value: data };
  if (!isSpecVersion(specversion)) return misfit(dialect, topic, payload, 'specversion: expected "1.0"');
  if (typeof type !== 'string') return misfit(dialect, topic, payload, "type: expected the event's name");
  return {
    dialect,
    type,
    id: isName(id, MAX_ID) ? id : null,
    producer: isName(source, MAX_SOURCE) ? source : topic,
    payload,
    fault: refuseName('id', id, MAX_ID) ?? refuseName('source', source, MAX_SOURCE) ?? refuseNoData(data),
  };
}

function refuseNoData(data: unknown): Refusal | null {
  return data === undefined ? new Refusal('schema', 'data: expected an object (data_base64 is not read)') : null;
}

// CloudEvents 1.0, binary: the value is the payload, the attributes are headers. All four mandatory ones, or it is none.

function isBinary(named: Named): boolean {
  return named.specversion !== null && named.ceId !== null && named.ceType !== null && named.ceSource !== null;
}

function binary(topic: string, named: Named, json: Json): Wrapped {
  const dialect = 'cloudevents';
  const version = headerText(named.specversion);
  if (!isSpecVersion(version)) return misfit(dialect, topic, json, 'ce_specversion: expected 1.0');
  const type = headerText(named.ceType);
  if (type === null) return misfit(dialect, topic, json, "ce_type: expected the event's name");
  const id = headerText(named.ceId);
  const source = headerText(named.ceSource);
  const idFault = refuseName('ce_id', id, MAX_ID);
  const sourceFault = refuseName('ce_source', source, MAX_SOURCE);
  return {
    dialect,
    type,
    id: idFault === null ? id : null,
    producer: sourceFault === null && source !== null ? source : topic,
    payload: json,
    fault: idFault ?? sourceFault,
  };
}

/** 1.x may only add to 1.0; a later major version is another envelope. */
function isSpecVersion(text: unknown): boolean {
  return text === '1.0' || (typeof text === 'string' && /^1\.\d{1,3}$/.test(text));
}

// Debezium's outbox: the payload is an escaped JSON string, or with JSON expansion an object; Connect's JSON converter may
// put either into `{schema, payload}`, and header values and key into quotes.

function isDebezium(topic: string, { eventType, id }: Named): boolean {
  return (eventType !== null && id !== null) || topic.startsWith('outbox.event.');
}

function debezium(topic: string, named: Named, json: Json): Wrapped {
  const dialect = 'debezium';
  const type = unquote(headerText(named.eventType));
  const id = unquote(headerText(named.id));
  const payload = outboxPayload(json);
  const fault = payload instanceof Refusal ? payload : refuseName('header id', id, MAX_ID);
  return {
    dialect,
    type,
    id: isName(id, MAX_ID) ? id : null,
    producer: topic,
    payload: payload instanceof Refusal ? json : payload,
    fault: type === null ? new Refusal('undecodable', NO_EVENT_TYPE) : fault,
  };
}

const NO_EVENT_TYPE =
  'the header eventType is missing: set table.fields.additional.placement=type:header:eventType on the Debezium connector';

function outboxPayload(json: Json): Json | Refusal {
  let { text, value } = json;
  const converted = asObject(value);
  if (converted !== null && isConnectEnvelope(converted)) {
    text = memberText(text, 'payload');
    value = converted.payload;
  }
  if (typeof value !== 'string') return { ...json, text, value };
  const inner = readJson(value);
  return inner instanceof Refusal ? inner : { ...inner, unstorable: json.unstorable ?? inner.unstorable };
}

function isConnectEnvelope(value: Record<string, unknown>): boolean {
  return Object.keys(value).length === 2 && Object.hasOwn(value, 'schema') && Object.hasOwn(value, 'payload');
}

/** Connect's JSON converter writes a string as JSON. Shared with the key (decode.ts). */
export function unquote(text: string | null): string | null {
  if (text === null || text.length < 2 || !text.startsWith('"') || !text.endsWith('"')) return text;
  try {
    return JSON.parse(text) as string;
  } catch {
    return text;
  }
}

// NestJS: `ClientKafka.emit(name, payload)` makes a topic named like the event, and says no more.

const NEST_TOPICS: ReadonlySet<string> = new Set(EVENT_TYPES);

function nest(topic: string, json: Json): Wrapped {
  return { dialect: 'nest', type: topic, id: null, producer: topic, payload: json, fault: null };
}

// Plain JSON that names its type itself. `type` comes before `event`.

function plain(topic: string, named: Named, json: Json): Wrapped {
  const body = asObject(json.value);
  const type = body === null ? undefined : typeof body.type === 'string' ? body.type : body.event;
  if (typeof type === 'string') {
    return { dialect: 'plain', type, id: null, producer: topic, payload: json, fault: null };
  }
  return misfit(
    null,
    topic,
    json,
    `${missingHeaders(named)}the value is not an object with a string \`type\` or \`event\``,
  );
}

/** Some ce_ headers, but not the four: worth a word, it is the likeliest mistake of a producer of CloudEvents. */
function missingHeaders({ specversion, ceId, ceType, ceSource }: Named): string {
  const mandatory = { ce_specversion: specversion, ce_id: ceId, ce_type: ceType, ce_source: ceSource };
  const missing = Object.entries(mandatory).flatMap(([name, value]) => (value === null ? [name] : []));
  return missing.length === 4 ? '' : `CloudEvents headers missing: ${missing.join(', ')}; `;
}

function misfit(dialect: Dialect | null, producer: string, payload: Json, detail: string): Wrapped {
  return { dialect, type: null, id: null, producer, payload, fault: new Refusal('undecodable', detail) };
}

function refuseName(name: string, value: unknown, max: number): Refusal | null {
  return isName(value, max) ? null : new Refusal('schema', `${name}: expected 1 to ${max} characters, none a control`);
}

function asObject(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}
