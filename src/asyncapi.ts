// asyncapi.ts — the contract for producers as an AsyncAPI 3.1 document: topics, messages, headers, payloads, examples.
//
// Owns:          the words about fields and topics, and the examples.
// Does not own:  the schemas (events.ts), the defaults (settings.ts), how a record is read (decode.ts).
//
// Pure. `npm run generate` writes it to docs/asyncapi.json; GET /asyncapi.json serves it, and the console's Events page draws that.
// JSON and not YAML: YAML's readers take it as it is, and browsers have a reader for it.
// test/unit/asyncapi.test.ts checks it against the official JSON Schema of AsyncAPI, and the examples against decode.ts. The parser of
// the AsyncAPI tools is not used: it brings a package that runs a script when it is installed and reports usage.
import type { TSchema } from 'typebox';
import { EVENT_TYPES, type EventType, type Payload, SCHEMAS } from './events.ts';
import { NATIVE_TOPIC, OPTIONS, partitionsOf } from './settings.ts';

/** Of the contract, not of the service: a new optional field raises the second number; what readers of today could not read is a
 *  new event version (`ce_type` with `.v2`) and raises the first. */
const VERSION = '1.0.0';

/** The document, as it is for the default settings. */
export function asyncapi(): object {
  const topics = defaultOf('KAFKA_TOPICS') as readonly string[];
  const named = topics.filter(isEventType);
  return {
    asyncapi: '3.1.0',
    info: {
      title: 'Customer Service: the events it takes',
      version: VERSION,
      description: ABOUT,
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    channels: {
      ...(topics.includes(NATIVE_TOPIC) && {
        [NATIVE_TOPIC]: channel(NATIVE_TOPIC, NATIVE, EVENT_TYPES.map(nativeName)),
      }),
      ...Object.fromEntries(named.map((topic) => [topic, channel(topic, NAMED, [bareName(topic)])])),
    },
    operations: {
      ...(topics.includes(NATIVE_TOPIC) && { onUserEvents: operation(NATIVE_TOPIC, 'Reads all events of all users.') }),
      ...Object.fromEntries(named.map((topic) => [`on${bareName(topic)}`, operation(topic, `Reads ${topic}.`)])),
    },
    components: {
      messages: {
        ...Object.fromEntries(EVENT_TYPES.map((type) => [nativeName(type), nativeMessage(type)])),
        ...Object.fromEntries(EVENT_TYPES.map((type) => [bareName(type), bareMessage(type)])),
      },
      messageTraits: { cloudEventHeaders: { headers: CLOUD_EVENT_HEADERS } },
      schemas: Object.fromEntries(EVENT_TYPES.map((type) => [payloadName(type), payloadSchema(type)])),
    },
  };
}

// ---- words ------------------------------------------------------------------------------------------------------------------

const ABOUT = paragraphs(
  [
    'The Customer Service keeps its own copy of the users and customers that other services create. It reads five events.',
  ],
  [
    "Within a partition the order of the offsets counts, between partitions the event's own `timestamp`.",
    'So send what concerns one user with one key.',
  ],
  [
    'Fields that are not named here are ignored and kept. What can not be used becomes a dead letter; nothing is dropped.',
    "An event that is sent again (same producer, id, type and content, among a user's last 16) has no further effect.",
  ],
);
const NATIVE = paragraphs([
  'All five events as CloudEvents 1.0 in binary mode: the attributes are headers, the value is the payload.',
  'Also read here: CloudEvents in structured mode (`content-type: application/cloudevents+json`), and a JSON object that',
  'names its event in `type` or `event`, beside the fields of the payload.',
  "Debezium's outbox events are read from the topics that `KAFKA_TOPICS` adds.",
]);
const NAMED = paragraphs([
  'The event that the topic is named after, as `ClientKafka.emit(name, payload)` of NestJS sends it: the value is the',
  'payload, without key and headers. Between partitions only the timestamp orders such events; CloudEvents with a key are',
  'taken here as well.',
]);

function paragraphs(...lines: string[][]): string {
  return lines.map((paragraph) => paragraph.join(' ')).join('\n\n');
}

const SUMMARIES: Record<EventType, string> = {
  USER_CREATED: 'A user was created. Without effect where the user exists; waits until its customer is known.',
  USER_STATUS_CHANGED: 'A user became pending, active or suspended.',
  USER_ROLE_CHANGED: 'A user got another role. An active user becomes roleChanged until the next ACTIVE.',
  USER_DELETED: 'A user was deleted. The row is kept; later events of the user are rejected.',
  CUSTOMER_CREATED: 'A customer was created or renamed. Releases the users that waited for it.',
};

type Field = { [T in EventType]: keyof Payload<T> }[EventType];
const FIELDS: Record<Field, string> = {
  userId: 'The id of the user, as Auth0 gave it. Spellings are compared byte by byte.',
  email: 'Personal data.',
  name: 'Of the user (personal data), or of the customer.',
  role: "The producer's own word for the role; kept, and not interpreted.",
  userType: 'In USER_CREATED it decides role, user type and ownership; elsewhere it is read and not used.',
  customerAccountId: 'The customer. A user that names none is created without one.',
  customerName: "The producer's copy of the customer's name; ours stays.",
  previousStatus: 'What the producer had before. If we had another, the event is applied and counted as drift.',
  newStatus: 'INACTIVE is read as SUSPENDED.',
  previousRole: 'What the producer had before. If we had another, the event is applied and counted as drift.',
  newRole:
    'A whole type of user, or CUSTOMER_USER / CUSTOMER_ADMIN, which leave SME or FINANCIAL_INSTITUTION as it is.',
  changedBy: 'Who or what did it.',
  deletedBy: 'Who or what did it.',
  timestamp:
    "When it happened: RFC 3339 with Z or an offset, from 2000 to one day after the record's own time. It orders events between partitions.",
};

// ---- examples ---------------------------------------------------------------------------------------------------------------

const USER = 'auth0|64f1c0ffee0123456789abcd';
const CUSTOMER = 'acme';
const EXAMPLES: { [T in EventType]: Payload<T> } = {
  USER_CREATED: {
    userId: USER,
    email: 'ada@example.com',
    name: 'Ada Lovelace',
    role: 'OWNER',
    userType: 'SME_OWNER',
    customerAccountId: CUSTOMER,
    customerName: 'Acme Engines',
    timestamp: '2026-01-31T09:30:00.000Z',
  },
  USER_STATUS_CHANGED: {
    userId: USER,
    previousStatus: 'PENDING',
    newStatus: 'ACTIVE',
    userType: 'SME_OWNER',
    changedBy: 'auth0|operator',
    timestamp: '2026-01-31T09:31:00.000Z',
  },
  USER_ROLE_CHANGED: {
    userId: USER,
    previousRole: 'SME_OWNER',
    newRole: 'SME_USER',
    userType: 'SME_OWNER',
    changedBy: 'auth0|operator',
    timestamp: '2026-02-28T14:00:00+01:00',
  },
  USER_DELETED: {
    userId: USER,
    userType: 'SME_USER',
    deletedBy: 'auth0|operator',
    timestamp: '2026-03-31T16:00:00Z',
  },
  CUSTOMER_CREATED: {
    customerAccountId: CUSTOMER,
    name: 'Acme Engines',
    timestamp: '2026-01-31T09:29:00.000Z',
  },
};

// ---- parts ------------------------------------------------------------------------------------------------------------------

const BINDING = { bindingVersion: '0.5.0' };

function channel(topic: string, description: string, messages: readonly string[]): object {
  return {
    address: topic,
    description,
    messages: Object.fromEntries(messages.map((name) => [name, { $ref: `#/components/messages/${name}` }])),
    bindings: {
      kafka: {
        topic,
        partitions: partitionsOf(topic),
        // A compacted topic has lost events: it is refused at the start.
        topicConfiguration: { 'cleanup.policy': ['delete'] },
        ...BINDING,
      },
    },
  };
}

/** `receive` is from our side: producers send. */
function operation(topic: string, summary: string): object {
  const groupId = { type: 'string', const: defaultOf('KAFKA_GROUP_ID') };
  const clientId = { type: 'string', const: defaultOf('KAFKA_CLIENT_ID') };
  return {
    action: 'receive',
    channel: { $ref: `#/channels/${topic}` },
    summary,
    bindings: { kafka: { groupId, clientId, ...BINDING } },
  };
}

function nativeMessage(type: EventType): object {
  const ce_type = { type: 'string', enum: [type, `${type}.v1`] };
  const headers = {
    ce_specversion: '1.0',
    ce_id: '0199d7f2-6c3e-7a51-9f2b-3f1f8e6b0c11',
    ce_type: type,
    ce_source: '/accounting',
    'content-type': 'application/json',
  };
  return {
    ...messageOf(type),
    title: `${type}, a CloudEvent`,
    headers: { type: 'object', properties: { ce_type } },
    traits: [{ $ref: '#/components/messageTraits/cloudEventHeaders' }],
    bindings: { kafka: { key: KEY, ...BINDING } },
    examples: [{ name: 'cloudevents', headers, payload: EXAMPLES[type] }],
  };
}

function bareMessage(type: EventType): object {
  return {
    ...messageOf(type),
    title: `${type}, told by its topic`,
    examples: [{ name: 'nest', payload: EXAMPLES[type] }],
  };
}

function messageOf(type: EventType): object {
  return {
    name: type,
    summary: SUMMARIES[type],
    contentType: 'application/json',
    payload: { $ref: `#/components/schemas/${payloadName(type)}` },
  };
}

/** A usable key (gates.ts). */
const KEY = {
  type: 'string',
  minLength: 1,
  maxLength: 128,
  description:
    'The customerAccountId; where the producer does not know it, the userId. One customer, one partition, one order.',
};

const CLOUD_EVENT_HEADERS = {
  type: 'object',
  required: ['ce_specversion', 'ce_id', 'ce_type', 'ce_source'],
  properties: {
    ce_specversion: { type: 'string', const: '1.0' },
    ce_id: {
      type: 'string',
      minLength: 1,
      maxLength: 256,
      description: 'Of the event: the same when it is sent again.',
    },
    ce_type: {
      type: 'string',
      description: 'The name of the event; a later version of its payload has `.v2` at its end.',
    },
    ce_source: { type: 'string', minLength: 1, maxLength: 500, description: 'The producer, as a URI reference.' },
    ce_time: { type: 'string', format: 'date-time', description: 'For display; the payload has the time that counts.' },
    'content-type': { type: 'string', description: 'Of the value: application/json.' },
    traceparent: {
      type: 'string',
      description: 'W3C Trace Context: the trace goes on here. `ce_traceparent` is read too.',
    },
  },
};

function payloadSchema(type: EventType): object {
  const { properties, ...schema } = SCHEMAS[type];
  const described = Object.entries(properties as Record<string, TSchema>).map(([name, field]) => [
    name,
    // What decode.ts refuses beyond the schema.
    { ...field, ...(name === 'timestamp' && { format: 'date-time' }), description: FIELDS[name as Field] },
  ]);
  return { title: type, description: SUMMARIES[type], ...schema, properties: Object.fromEntries(described) };
}

/** `USER_CREATED` → `UserCreated`. */
function nativeName(type: EventType): string {
  return type.replaceAll(/([A-Z])([A-Z]*)_?/g, (_, first: string, rest: string) => first + rest.toLowerCase());
}

function bareName(type: EventType): string {
  return `${nativeName(type)}ByTopic`;
}

function payloadName(type: EventType): string {
  return `${nativeName(type)}Payload`;
}

function isEventType(topic: string): topic is EventType {
  return (EVENT_TYPES as readonly string[]).includes(topic);
}

function defaultOf(setting: string): unknown {
  return OPTIONS.find(({ name }) => name === setting)?.default;
}
