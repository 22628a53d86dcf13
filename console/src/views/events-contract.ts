// events-contract.ts — an AsyncAPI 3 document as a page shows it: each event with its fields, examples, topics and headers. Pure.
//
// Owns:          reading the document: references, schemas, bindings. Does not own: what the document says (src/events.ts).
//
// W1  What a document does not say is left out, never made up; a part that is of another form than expected is left out too.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type JsonObject = { [name: string]: Json };

export type FieldDoc = {
  name: string;
  type: string;
  isRequired: boolean;
  /** Closed lists of values. */
  allowed: string[];
  /** Length, pattern, format: in words. */
  limits: string[];
  text: string | undefined;
};
export type Example = { name: string | undefined; headers: JsonObject | undefined; payload: string };
/** One way in which an event is sent. */
export type FormDoc = {
  title: string;
  topics: string[];
  key: string | undefined;
  headers: FieldDoc[];
  examples: Example[];
};
export type EventDoc = {
  name: string;
  text: string | undefined;
  fields: FieldDoc[];
  /** May have fields that are not named here. */
  isOpen: boolean;
  forms: FormDoc[];
};
export type TopicDoc = {
  address: string;
  title: string | undefined;
  text: string | undefined;
  facts: [string, string][];
  events: string[];
};
export type ContractDoc = {
  title: string;
  version: string;
  text: string | undefined;
  events: EventDoc[];
  topics: TopicDoc[];
};

export function contractOf(document: unknown): ContractDoc {
  const root = objectOf(document as Json);
  const look = (value: Json | undefined) => resolved(root, value);
  const info = look(root.info);
  const channels = Object.entries(look(root.channels)).map(([name, value]) => ({ name, channel: look(value) }));
  const topics = channels.map(({ name, channel }) => topicOf(name, channel, look));
  return {
    title: textOf(info.title) ?? 'Events',
    version: textOf(info.version) ?? '',
    text: textOf(info.description),
    topics,
    events: formsByEvent(root, channels, look).map(([name, forms]) => eventOf(name, forms, look)),
  };
}

type Look = (value: Json | undefined) => JsonObject;
type Channel = { name: string; channel: JsonObject };

type Message = { message: JsonObject; topics: string[] };

/** Messages of one name are one event, sent in several forms. Each with the topics whose channels have it. */
function formsByEvent(root: JsonObject, channels: readonly Channel[], look: Look): [string, Message[]][] {
  const messages = new Map<JsonObject, { key: string; topics: string[] }>();
  for (const [key, value] of Object.entries(look(look(root.components).messages)))
    messages.set(look(value), { key, topics: [] });
  for (const { name, channel } of channels)
    for (const [key, value] of Object.entries(look(channel.messages))) {
      const known = messages.get(look(value)) ?? { key, topics: [] };
      known.topics.push(textOf(channel.address) ?? name);
      messages.set(look(value), known);
    }
  const events = new Map<string, Message[]>();
  for (const [message, { key, topics }] of messages) {
    const name = textOf(message.name) ?? key;
    events.set(name, [...(events.get(name) ?? []), { message, topics }]);
  }
  return [...events];
}

function topicOf(name: string, channel: JsonObject, look: Look): TopicDoc {
  const kafka = look(look(channel.bindings).kafka);
  const facts: [string, string][] = [];
  for (const fact of ['partitions', 'replicas'] as const)
    if (typeof kafka[fact] === 'number') facts.push([fact, String(kafka[fact])]);
  for (const [option, value] of Object.entries(look(kafka.topicConfiguration))) facts.push([option, plain(value)]);
  return {
    address: textOf(channel.address) ?? name,
    title: textOf(channel.title),
    text: textOf(channel.description) ?? textOf(channel.summary),
    facts,
    events: Object.entries(look(channel.messages)).map(([key, value]) => textOf(look(value).name) ?? key),
  };
}

function eventOf(name: string, messages: readonly Message[], look: Look): EventDoc {
  const texts = messages.map(({ message }) => textOf(message.description) ?? textOf(message.summary));
  const schema = schemaOf(look(messages[0]?.message.payload), look);
  return {
    name,
    text: texts.find((text) => text !== undefined) ?? textOf(schema.description),
    fields: fieldsOf(schema, look),
    isOpen: schema.additionalProperties !== false,
    forms: messages.map(({ message, topics }) => formOf(name, message, topics, look)),
  };
}

function formOf(name: string, message: JsonObject, topics: string[], look: Look): FormDoc {
  const parts = [message, ...listOf(message.traits).map(look)];
  const kafka = parts.map(({ bindings }) => look(look(bindings).kafka)).find(({ key }) => key !== undefined);
  return {
    title: textOf(message.title) ?? name,
    topics,
    key: kafka === undefined ? undefined : inWords(look(kafka.key)),
    headers: merged(parts.flatMap(({ headers }) => fieldsOf(look(headers), look))),
    examples: examplesOf(message, look(message.payload)),
  };
}

/** A field of which several parts say something. */
function merged(fields: readonly FieldDoc[]): FieldDoc[] {
  const all = new Map<string, FieldDoc>();
  for (const field of fields) {
    const known = all.get(field.name);
    all.set(field.name, {
      ...field,
      ...known,
      isRequired: field.isRequired || (known?.isRequired ?? false),
      allowed: known?.allowed.length ? known.allowed : field.allowed,
      limits: [...new Set([...(known?.limits ?? []), ...field.limits])],
      text: known?.text ?? field.text,
    });
  }
  return [...all.values()].toSorted((a, b) => Number(b.isRequired) - Number(a.isRequired));
}

/** A schema may stand in a multi-format frame. */
function schemaOf(payload: JsonObject, look: Look): JsonObject {
  return payload.schemaFormat === undefined ? payload : look(payload.schema);
}

function examplesOf(message: JsonObject, payload: JsonObject): Example[] {
  const own = listOf(message.examples).flatMap((value) => {
    const example = objectOf(value);
    if (example.payload === undefined) return [];
    const headers = objectOf(example.headers);
    return {
      name: textOf(example.name) ?? textOf(example.summary),
      headers: Object.keys(headers).length === 0 ? undefined : headers,
      payload: JSON.stringify(example.payload, null, 2),
    };
  });
  if (own.length > 0) return own;
  return listOf(payload.examples).map((value) => ({
    name: undefined,
    headers: undefined,
    payload: JSON.stringify(value, null, 2),
  }));
}

function fieldsOf(schema: JsonObject, look: Look): FieldDoc[] {
  const parts = [schema, ...listOf(schema.allOf).map(look)];
  return parts.flatMap((part) => {
    const required = listOf(part.required);
    return Object.entries(look(part.properties)).map(([name, value]) =>
      fieldOf(name, look(value), required.includes(name), look),
    );
  });
}

function fieldOf(name: string, schema: JsonObject, isRequired: boolean, look: Look): FieldDoc {
  return {
    name,
    isRequired,
    type: typeOf(schema, look),
    allowed: allowedOf(schema, look),
    limits: limitsOf(schema),
    text: textOf(schema.description),
  };
}

function typeOf(schema: JsonObject, look: Look): string {
  const { type } = schema;
  if (typeof type === 'string') return type;
  if (Array.isArray(type)) return type.map(String).join(' or ');
  const values = allowedOf(schema, look);
  if (values.length > 0) return 'string';
  const either = [...listOf(schema.anyOf), ...listOf(schema.oneOf)].map((one) => typeOf(look(one), look));
  return [...new Set(either)].join(' or ') || 'any';
}

function allowedOf(schema: JsonObject, look: Look): string[] {
  if (schema.const !== undefined) return [plain(schema.const)];
  if (Array.isArray(schema.enum)) return schema.enum.map(plain);
  return [...listOf(schema.anyOf), ...listOf(schema.oneOf)].flatMap((one) => allowedOf(look(one), look));
}

/** "1 to 500 characters", "matches ^…$", "date-time" */
function limitsOf({ minLength, maxLength, minimum, maximum, pattern, format }: JsonObject): string[] {
  return [
    ...(format === undefined ? [] : [plain(format)]),
    ...between(minLength, maxLength, 'characters'),
    ...between(minimum, maximum, ''),
    ...(pattern === undefined ? [] : [`matches ${plain(pattern)}`]),
  ];
}
function between(least: Json | undefined, most: Json | undefined, what: string): string[] {
  const said = (text: string) => [what === '' ? text : `${text} ${what}`];
  if (typeof least === 'number' && typeof most === 'number')
    return said(least === most ? `${least}` : `${least} to ${most}`);
  if (typeof least === 'number') return said(`at least ${least}`);
  return typeof most === 'number' ? said(`at most ${most}`) : [];
}

function inWords(schema: JsonObject): string {
  return (
    textOf(schema.description) ??
    [textOf(schema.type), ...limitsOf(schema)].filter((part) => part !== undefined).join(', ')
  );
}

const MOST_STEPS = 10;

/** What a value is, with its references followed; not without end. */
function resolved(root: JsonObject, value: Json | undefined): JsonObject {
  let at = value;
  for (let steps = 0; steps < MOST_STEPS; steps++) {
    const ref = objectOf(at).$ref;
    if (typeof ref !== 'string') return objectOf(at);
    at = pointedAt(root, ref);
  }
  return {};
}
function pointedAt(root: JsonObject, ref: string): Json | undefined {
  if (!ref.startsWith('#/')) return undefined;
  let at: Json | undefined = root;
  for (const part of ref.slice(2).split('/')) at = objectOf(at)[part.replaceAll('~1', '/').replaceAll('~0', '~')];
  return at;
}

function objectOf(value: Json | undefined): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}
function listOf(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}
function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
function plain(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The events that have all words of the search, in a name, a field, a value, a topic or a text. */
export function searched(events: readonly EventDoc[], search: string): EventDoc[] {
  const words = search
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  return events.filter((event) => {
    const text = JSON.stringify(event).toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
