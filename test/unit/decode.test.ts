// Records in, events or dead letters out: the steps of the decoder, the five dialects, and everything hostile.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DecodeOptions, decoder } from '../../src/decode.ts';
import {
  DEAD_CODES,
  type DeadCode,
  type Decoded,
  DIALECTS,
  EVENT_TYPES,
  type Event,
  type Unreadable,
} from '../../src/events.ts';
import {
  type Arrival,
  AT,
  AT_MS,
  at,
  cloudEvent,
  customerCreated,
  debezium,
  debeziumValue,
  nestRecord,
  type Over,
  PAYLOADS,
  plain,
  rawRecord,
  roleChanged,
  statusChanged,
  structured,
  structuredBody,
  userCreated,
  userDeleted,
} from '../support/records.ts';

const OPTIONS: DecodeOptions = { keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 };
const lenient = decoder(OPTIONS);
const strict = decoder({ ...OPTIONS, keys: 'strict' });

const decode = (arrival: Arrival, by = lenient): Decoded => by(arrival.place, arrival);

function event(arrival: Arrival, by = lenient): Event {
  const decoded = decode(arrival, by);
  if (decoded.outcome === 'dead') throw new Error(`expected an event: ${decoded.code}, ${decoded.detail}`);
  return decoded;
}

function dead(arrival: Arrival, by = lenient): Unreadable {
  const decoded = decode(arrival, by);
  if (decoded.outcome !== 'dead') throw new Error('expected a dead letter');
  return decoded;
}

/** The dead letter's code, or "ok". */
const code = (arrival: Arrival, by = lenient) => {
  const decoded = decode(arrival, by);
  return decoded.outcome === 'dead' ? decoded.code : 'ok';
};

/** A status change of which some fields are no longer what the contract says. */
const odd = (over: Record<string, unknown>) => nestRecord('USER_STATUS_CHANGED', { ...statusChanged(), ...over });
const oddText = (text: string) => nestRecord('USER_STATUS_CHANGED', text);
const STATUS_TEXT = JSON.stringify(statusChanged());

describe('the steps, in order: the first that fits wins', () => {
  test('1  a value over the limit is kept away from the parser', () => {
    const small = decoder({ ...OPTIONS, maxRecordBytes: 300 });
    expect(code(nestRecord('USER_CREATED', userCreated()), small)).toBe('ok');
    expect(dead(nestRecord('USER_CREATED', userCreated({ name: 'x'.repeat(300) })), small)).toMatchObject({
      code: 'size',
      stage: 'decode',
    });
    for (const header of [
      ['x', 'y'.repeat(300)],
      ['y'.repeat(300), null],
    ] as const) {
      expect(code(nestRecord('USER_CREATED', userCreated(), { headers: [header] }), small)).toBe('size');
    }
  });

  test('2  a tombstone is never a deletion', () => {
    const letter = dead(nestRecord('USER_DELETED', null, { key: 'auth0|u1' }));
    expect(letter).toMatchObject({ code: 'tombstone', type: null, userId: null, blocks: false });
    expect(letter.detail).toContain('ClientKafka.emit');
  });

  test('2  a value of 0 bytes is no event', () => {
    expect(code(nestRecord('USER_DELETED', ''))).toBe('empty');
  });

  test('3  bytes that are not UTF-8, text that is not JSON', () => {
    expect(code(nestRecord('USER_DELETED', Buffer.from([0x22, 0xff, 0xfe, 0x22])))).toBe('utf8');
    expect(code(nestRecord('USER_DELETED', '{"userId":'))).toBe('json');
  });

  test.each([
    ['JSON behind it', [0, 0, 0, 0, 1, 0x7b, 0x7d], 'json'],
    ['Avro behind it', [0, 0, 0, 0, 1, 0xff, 0x80], 'utf8'],
  ])('3  a value framed for a schema registry is told so: %s', (_, bytes, expected) => {
    const letter = dead(nestRecord('USER_DELETED', Buffer.from(bytes)));
    expect(letter.code).toBe(expected);
    expect(letter.detail).toContain('schema registry');
  });

  test('4  a structured CloudEvent carries its payload in `data`', () => {
    const it = event(structured('USER_CREATED', userCreated(), { id: 'e7', source: '/accounting' }));
    expect(it).toMatchObject({
      type: 'USER_CREATED',
      dialect: 'cloudevents-structured',
      eventId: 'e7',
      userId: 'auth0|u1',
    });
    expect(it.text).toBe(JSON.stringify(userCreated()));
  });

  test('4  its text is the slice that was received, spaces and number forms included', () => {
    const data = `{ "userId" : "u9",\n"userType":"SME_USER", "deletedBy":"x", "n": 1.50e+2, "timestamp":"${AT}" }`;
    const body = `{"specversion":"1.0","subject":"data","id":"1","source":"/a","type":"USER_DELETED", "d\\u0061ta" : ${data} ,"z":[]}`;
    expect(event(structuredBody(body)).text).toBe(data);
  });

  test.each(['application/cloudevents+json', 'Application/CloudEvents', 'APPLICATION/CLOUDEVENTS+JSON; charset=UTF-8'])(
    '4  its content type is told by the prefix: %s',
    (contentType) => {
      const body = { specversion: '1.0', id: 'e1', type: 'USER_DELETED', source: '/a', data: userDeleted() };
      expect(event(rawRecord(body, { headers: [['content-type', contentType]] })).dialect).toBe(
        'cloudevents-structured',
      );
    },
  );

  test('4  the content type goes before ce_ headers and before the topic', () => {
    const it = structured('USER_CREATED', userCreated(), {
      topic: 'USER_DELETED',
      headers: Object.entries({ ce_specversion: '1.0', ce_id: 'x', ce_type: 'USER_DELETED', ce_source: '/x' }),
    });
    expect(event(it)).toMatchObject({ type: 'USER_CREATED', dialect: 'cloudevents-structured' });
  });

  test.each([
    ['a batch', [{ type: 'USER_CREATED' }], 'undecodable'],
    ['no type', { specversion: '1.0', id: '1', source: '/a', data: {} }, 'undecodable'],
    [
      'another version of CloudEvents',
      { specversion: '2.0', id: '1', source: '/a', type: 'USER_CREATED' },
      'undecodable',
    ],
    ['no id', { specversion: '1.0', source: '/a', type: 'USER_DELETED', data: userDeleted() }, 'schema'],
    ['no source', { specversion: '1.0', id: '1', type: 'USER_DELETED', data: userDeleted() }, 'schema'],
    ['an id that is too long', { ...envelope(), id: 'x'.repeat(257) }, 'schema'],
    ['a number as id', { ...envelope(), id: 5 }, 'schema'],
    ['a control character in the source', { ...envelope(), source: '/a\n' }, 'schema'],
    ['no data', { ...envelope(), data: undefined }, 'schema'],
    ['data as base64', { ...envelope(), data: undefined, data_base64: 'e30=' }, 'schema'],
    ['data as a string', { ...envelope(), data: JSON.stringify(userDeleted()) }, 'schema'],
  ])('4  a structured CloudEvent with %s is a dead letter', (_, body, expected) => {
    expect(code(structuredBody(body))).toBe(expected);
  });

  test('4  a user named outside of `data` is nobody', () => {
    const { data: _, ...rest } = { ...envelope(), type: 'USER_DELETED.v2', userId: 'u9' };
    expect(dead(structuredBody(rest))).toMatchObject({ code: 'unknown-version', userId: null, blocks: false });
    expect(dead(structuredBody({ userId: 'u9', data: userDeleted() }))).toMatchObject({ userId: 'auth0|u1' });
  });

  test('5  a binary CloudEvent has its attributes in headers', () => {
    const it = event(cloudEvent('USER_ROLE_CHANGED', roleChanged(), { id: 'e7', source: '/portfolio' }));
    expect(it).toMatchObject({ type: 'USER_ROLE_CHANGED', dialect: 'cloudevents', eventId: 'e7', keyed: true });
    expect(it.text).toBe(JSON.stringify(roleChanged()));
  });

  test('5  all four mandatory headers are there, or it is none; the detail names what is missing', () => {
    const headers = Object.entries({ ce_specversion: '1.0', ce_type: 'USER_DELETED', ce_source: '/a' });
    const letter = dead(rawRecord(userDeleted(), { headers }));
    expect(letter).toMatchObject({ code: 'undecodable', dialect: null, userId: 'auth0|u1', occurredAtMs: AT_MS });
    expect(letter.detail).toContain('missing: ce_id;');
    expect(code(rawRecord(userDeleted(), { headers: [...headers, ['ce_id', null]] }))).toBe('undecodable');
    expect(event(rawRecord(userDeleted(), { topic: 'USER_DELETED', headers })).dialect).toBe('nest');
  });

  test.each([
    ['ce_id', '', 'schema'],
    ['ce_id', 'x'.repeat(257), 'schema'],
    ['ce_id', 'a\u0000b', 'schema'],
    ['ce_id', Buffer.from([0xff]), 'schema'],
    ['ce_source', 'x'.repeat(501), 'schema'],
    ['ce_source', Buffer.alloc(100_000, 'a'), 'schema'],
    ['ce_type', Buffer.from([0xff]), 'undecodable'],
    ['ce_type', '', 'unknown-type'],
    ['ce_specversion', '0.3', 'undecodable'],
    ['ce_id', 'x'.repeat(256), 'ok'],
    ['ce_id', 'größe', 'ok'],
    ['ce_specversion', '1.0.2', 'undecodable'],
    ['ce_specversion', '1.1', 'ok'],
  ])('5  %s as %j: %s', (name, value, expected) => {
    expect(code(cloudEvent('USER_DELETED', userDeleted(), { headers: [[name, value]] }))).toBe(expected);
  });

  test('6  Debezium sends the payload as an escaped string; it is unescaped', () => {
    const it = event(debezium('USER_CREATED', userCreated({ name: 'Zoë "Z"' }), { id: 'o1' }));
    expect(it).toMatchObject({ type: 'USER_CREATED', dialect: 'debezium', eventId: 'o1' });
    expect(it.text).toBe(JSON.stringify(userCreated({ name: 'Zoë "Z"' })));
  });

  test('6  with JSON expansion it is the object itself', () => {
    expect(event(debeziumValue('USER_CREATED', userCreated())).text).toBe(JSON.stringify(userCreated()));
  });

  test("6  Connect's {schema, payload} is unwrapped, around either", () => {
    const text = JSON.stringify(userCreated());
    const schema = { type: 'string', optional: true };
    expect(event(debeziumValue('USER_CREATED', { schema, payload: text })).text).toBe(text);
    expect(event(debeziumValue('USER_CREATED', `{"schema":null, "payload": ${text} }`)).text).toBe(text);
  });

  test('6  a payload that has such fields among others is left as it is', () => {
    const it = event(debeziumValue('USER_CREATED', { ...userCreated(), schema: 1, payload: {} }));
    expect(it.payload).toEqual(userCreated());
  });

  test('6  quotes of its JSON converter are taken off headers and key', () => {
    const it = debeziumValue('"USER_CREATED"', userCreated(), { id: '"o1"', key: '"c1"' });
    expect(event(it, strict)).toMatchObject({ type: 'USER_CREATED', eventId: 'o1' });
  });

  test('6  the two headers tell it on any topic, the topic tells it without them', () => {
    expect(event(debezium('USER_DELETED', userDeleted(), { topic: 'USER_CREATED' })).type).toBe('USER_DELETED');
    const letter = dead(rawRecord(userDeleted(), { topic: 'outbox.event.user', headers: [['id', 'o1']] }));
    expect(letter).toMatchObject({ code: 'undecodable', dialect: 'debezium', eventId: 'o1', userId: 'auth0|u1' });
    expect(letter.detail).toContain('table.fields.additional.placement=type:header:eventType');
  });

  test.each([
    [
      'no id',
      rawRecord(userDeleted(), { topic: 'outbox.event.user', headers: [['eventType', 'USER_DELETED']] }),
      'schema',
    ],
    ['a string that is not JSON', debezium('USER_DELETED', 'hello'), 'json'],
    ['a string in a string', debezium('USER_DELETED', JSON.stringify(JSON.stringify(userDeleted()))), 'schema'],
    ['null', debeziumValue('USER_DELETED', 'null'), 'schema'],
    ['a null payload', debeziumValue('USER_DELETED', { schema: null, payload: null }), 'schema'],
    ['depth 65 inside the string', debezium('USER_DELETED', '['.repeat(65)), 'depth'],
    ['a repeated key inside', debezium('USER_DELETED', '{"a":1,"a":2}'), 'dupkey'],
    ['__proto__ inside', debezium('USER_DELETED', '{"__proto__":1}'), 'proto-key'],
    ['NUL inside', debezium('USER_DELETED', { ...userDeleted(), x: '\0' }), 'nul'],
    ['a lone surrogate inside', debezium('USER_DELETED', { ...userDeleted(), x: '\ud800' }), 'surrogate'],
    [
      'a lone surrogate between',
      debezium('USER_DELETED', `{"x":"\ud800",${JSON.stringify(userDeleted()).slice(1)}`),
      'surrogate',
    ],
  ])('6  Debezium with %s is a dead letter', (_, arrival, expected) => {
    expect(code(arrival)).toBe(expected);
  });

  test.each(EVENT_TYPES)('7  NestJS names the topic like the event: %s', (type) => {
    const it = event(nestRecord(type, PAYLOADS[type]));
    expect(it).toMatchObject({ type, dialect: 'nest', payload: PAYLOADS[type], keyed: false });
    expect(it.eventId).toMatch(/^[0-9a-f]{32}$/);
  });

  test('7  there, a field `type` of the body is a field like any other', () => {
    expect(event(nestRecord('USER_DELETED', { ...userDeleted(), type: 'USER_CREATED' })).type).toBe('USER_DELETED');
  });

  test('8  plain JSON says its type in the body, as `type` or as `event`', () => {
    expect(event(plain('USER_DELETED', userDeleted()))).toMatchObject({ type: 'USER_DELETED', dialect: 'plain' });
    expect(event(rawRecord({ event: 'USER_DELETED', ...userDeleted() })).type).toBe('USER_DELETED');
    expect(event(rawRecord({ type: 1, event: 'USER_DELETED', ...userDeleted() })).type).toBe('USER_DELETED');
    expect(code(rawRecord({ type: 'nonsense', event: 'USER_DELETED', ...userDeleted() }))).toBe('unknown-type');
  });

  test('8  its text is the whole value, its payload only the known fields', () => {
    const it = event(plain('USER_DELETED', userDeleted()));
    expect(it.text).toBe(JSON.stringify({ type: 'USER_DELETED', ...userDeleted() }));
    expect(it.payload).toEqual(userDeleted());
  });

  test('9  what fits no dialect is undecodable', () => {
    const letter = dead(rawRecord(userDeleted()));
    expect(letter).toMatchObject({
      code: 'undecodable',
      stage: 'decode',
      type: null,
      userId: 'auth0|u1',
      blocks: false,
    });
  });

  test.each(['null', '[]', '"x"', '1'])('9  %s at the top: schema under a known type, else undecodable', (text) => {
    expect(code(nestRecord('USER_DELETED', text))).toBe('schema');
    expect(code(cloudEvent('USER_DELETED', text))).toBe('schema');
    expect(code(rawRecord(text))).toBe('undecodable');
    expect(code(structuredBody(text))).toBe('undecodable');
  });
});

describe('the five dialects say the same', () => {
  const words = (maxLength: number) =>
    fc.string({ unit: 'binary', minLength: 1, maxLength }).filter((text) => !text.includes('\0'));
  const id = fc.stringMatching(/^[\x21-\x7e]{1,128}$/);
  const timestamp = fc
    .date({ min: new Date('2000-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    .map((date) => date.toISOString());
  const payload = fc.record(
    {
      ...{ userId: id, email: words(320), name: words(500), role: words(100), userType: fc.constant('SME_USER') },
      timestamp,
    },
    { noNullPrototype: true },
  );

  test('the same payload gives the same event, whoever wraps it', () => {
    fc.assert(
      fc.property(payload, fc.option(id, { nil: undefined }), (fields, customer) => {
        const body = customer === undefined ? fields : { ...fields, customerAccountId: customer };
        const over: Over = { timestampMs: -1 };
        const all = [cloudEvent, structured, debezium, nestRecord, plain].map((wrap) =>
          event(wrap('USER_CREATED', body, over)),
        );
        expect(new Set(all.map((it) => it.dialect))).toEqual(new Set(DIALECTS));
        for (const it of all) {
          expect(it).toMatchObject({
            type: 'USER_CREATED',
            payload: body,
            userId: body.userId,
            customerId: customer ?? null,
          });
          expect(it.occurredAtMs).toBe(Date.parse(body.timestamp));
          expect(JSON.parse(it.text)).toMatchObject(body);
        }
      }),
    );
  });
});

describe('versions', () => {
  test('.v1 is the event itself', () => {
    expect(event(cloudEvent('USER_DELETED.v1', userDeleted())).type).toBe('USER_DELETED');
    expect(event(plain('USER_DELETED.v1', userDeleted())).type).toBe('USER_DELETED');
  });

  test('a later version makes its user wait', () => {
    expect(dead(cloudEvent('USER_DELETED.v2', { userId: 'u2', timestamp: AT }))).toMatchObject({
      code: 'unknown-version',
      type: 'USER_DELETED',
      userId: 'u2',
      eventId: 'e1',
      dialect: 'cloudevents',
      occurredAtMs: AT_MS,
      blocks: true,
    });
    expect(dead(structured('USER_DELETED.v2', { userId: 'u2' })).blocks).toBe(true);
    expect(dead(debezium('USER_DELETED.v2', { userId: 'u2' })).blocks).toBe(true);
    expect(dead(plain('USER_DELETED.v2', { userId: 'u2' })).blocks).toBe(true);
  });

  test.each([
    [{}],
    [{ userId: '' }],
    [{ userId: 5 }],
    [{ userId: 'a b' }],
    [{ userId: 'x'.repeat(129) }],
    ['[]'],
    ['null'],
  ])('a later version whose user can not be read makes nobody wait: %j', (body) => {
    expect(dead(cloudEvent('USER_CREATED.v2', body))).toMatchObject({
      code: 'unknown-version',
      userId: null,
      blocks: false,
    });
  });

  test.each([
    'USER_RENAMED',
    'USER_RENAMED.v2',
    'USER_DELETED.v',
    'USER_DELETED.v0',
    'USER_DELETED.v1.v2',
    'user_deleted',
    '__proto__',
    'toString',
    ' USER_DELETED',
  ])('an unknown type makes nobody wait: %s', (type) => {
    const letter = dead(cloudEvent(type, userDeleted()));
    expect(letter).toMatchObject({ code: 'unknown-type', type: null, userId: 'auth0|u1', blocks: false });
  });
});

describe('identity', () => {
  const hashOf = (arrival: Arrival) => event(arrival).hash;
  const one = cloudEvent('USER_DELETED', userDeleted());

  test('the same event has the same hash wherever and whenever it comes', () => {
    const again = cloudEvent('USER_DELETED', userDeleted(), {
      partition: 7,
      generation: 2,
      offset: 99,
      key: 'x',
      timestampMs: -1,
    });
    expect(hashOf(again)).toBe(hashOf(one));
    expect(hashOf(one)).toMatch(/^[0-9a-f]{16}$/);
    expect(hashOf(structured('USER_DELETED', userDeleted()))).toBe(hashOf(one));
  });

  test.each([
    ['id', cloudEvent('USER_DELETED', userDeleted(), { id: 'e2' })],
    ['producer', cloudEvent('USER_DELETED', userDeleted(), { source: '/portfolio' })],
    ['content', cloudEvent('USER_DELETED', userDeleted({ deletedBy: 'x' }))],
    ['type', cloudEvent('USER_CREATED', { ...userCreated(), ...userDeleted() })],
  ])('another %s, another hash', (_, other) => {
    expect(hashOf(other)).not.toBe(hashOf(one));
  });

  test('parts can not run into each other', () => {
    const left = cloudEvent('USER_DELETED', userDeleted(), { id: 'b', source: '/a' });
    const right = cloudEvent('USER_DELETED', userDeleted(), { id: 'ab', source: '/' });
    expect(hashOf(left)).not.toBe(hashOf(right));
  });

  test('without an id of its own the content is the id; the topic is the producer', () => {
    const nest = event(nestRecord('USER_DELETED', userDeleted()));
    expect(event(nestRecord('USER_DELETED', userDeleted(), { partition: 3, offset: 8 })).eventId).toBe(nest.eventId);
    expect(event(nestRecord('USER_DELETED', userDeleted({ deletedBy: 'x' }))).eventId).not.toBe(nest.eventId);
    const here = event(plain('USER_DELETED', userDeleted()));
    expect(event(plain('USER_DELETED', userDeleted(), { topic: 'elsewhere' })).hash).not.toBe(here.hash);
  });
});

describe('what an event is', () => {
  test('it knows where it came from', () => {
    const arrival = cloudEvent('USER_DELETED', userDeleted(), { partition: 3, generation: 1 });
    const it = event(arrival);
    expect(it.source).toBe('user-events/3#1');
    expect(it.place).toBe(arrival.place);
    expect(it.record).toBe(arrival);
    expect(it.outcome).toBeUndefined();
  });

  test('it names the customer that the body names', () => {
    expect(event(nestRecord('USER_CREATED', userCreated())).customerId).toBe('c1');
    const { customerAccountId: _, ...without } = userCreated();
    expect(event(nestRecord('USER_CREATED', without)).customerId).toBeNull();
    expect(event(nestRecord('USER_CREATED', without)).payload).toStrictEqual(without);
    expect(event(nestRecord('CUSTOMER_CREATED', customerCreated()))).toMatchObject({ userId: null, customerId: 'c1' });
    expect(event(odd({ customerAccountId: 'c1' })).customerId).toBeNull();
  });

  test('a timestamp far ahead of the record counts as five minutes ahead', () => {
    const it = (timestamp: string, timestampMs: number) =>
      event(nestRecord('USER_DELETED', userDeleted({ timestamp }), { timestampMs }));
    const hourAhead = it('2025-01-31T10:30:00Z', AT_MS);
    expect(hourAhead).toMatchObject({ occurredAtMs: AT_MS + 3_600_000, atMs: AT_MS + 300_000 });
    expect(it(AT, AT_MS + 1_000)).toMatchObject({ occurredAtMs: AT_MS, atMs: AT_MS });
    expect(it('2025-01-31T10:30:00Z', -1).atMs).toBe(AT_MS + 3_600_000);
  });

  test('numbers of unknown fields stay in the text as they were written', () => {
    const text = STATUS_TEXT.replace('{', '{"n":[1e400,-0,9007199254740993,0.10],');
    expect(event(oddText(text)).text).toBe(text);
  });
});

describe('keys', () => {
  const keyed = (key: string | Buffer | null) => cloudEvent('USER_CREATED', userCreated(), { key });
  const broken: [DeadCode, string | Buffer | null][] = [
    ['key-missing', null],
    ['key-missing', ''],
    ['key-length', Buffer.alloc(2_700, 0x80)],
    ['key-length', 'a'.repeat(1_000_000)],
    ['key-utf8', Buffer.from([0xc3, 0x28])],
    ['key-charset', 'c1\r\n{"level":60}'],
    ['key-charset', 'c1 '],
    ['key-charset', 'c1\u200b'],
    ['key-charset', '\u001b[2J'],
    ['key-charset', 'Å'.normalize('NFD')],
  ];

  test.each(broken)('an unusable key counts as none; strict: %s', (expected, key) => {
    expect(event(keyed(key)).keyed).toBe(false);
    expect(code(keyed(key), strict)).toBe(expected);
  });

  test.each(['c1', 'auth0|u1'])('a key that names the customer or the user: %s', (key) => {
    expect(event(keyed(key), strict).keyed).toBe(true);
  });

  test('a key that names neither is no error; strict: key-mismatch', () => {
    expect(event(keyed('c2')).keyed).toBe(true);
    expect(code(keyed('c2'), strict)).toBe('key-mismatch');
    expect(code(keyed('"c1"'), strict)).toBe('key-mismatch');
  });

  test('without a customer in the body nobody can tell', () => {
    expect(code(cloudEvent('USER_DELETED', userDeleted(), { key: 'c2' }), strict)).toBe('ok');
  });

  test('aimed at Redis or at a log: data', () => {
    expect(event(keyed('*{}:__proto__$[0]')).keyed).toBe(true);
  });
});

describe('hostile input is a dead letter with its code, or data', () => {
  const status = { ...statusChanged() };
  const headers = (list: [string, string | Buffer | null][]) =>
    nestRecord('USER_STATUS_CHANGED', status, { headers: list });
  const many = (n: number) => headers(Array.from({ length: n }, (_, i) => [`h${i}`, 'x']));

  test.each<[string, string, Arrival, string]>([
    ['H1', '0 bytes', oddText(''), 'empty'],
    ['H2', 'a tombstone', nestRecord('USER_DELETED', null), 'tombstone'],
    ['H3', 'no key', odd({}), 'ok'],
    ['H4', 'a stranger as key', cloudEvent('USER_CREATED', userCreated(), { key: 'c9' }), 'ok'],
    ['H8', 'an id with a zero-width space', odd({ userId: 'u1\u200b' }), 'schema'],
    ['H8', 'an id with a trailing space', odd({ userId: 'u1 ' }), 'schema'],
    ['H8', 'a homoglyph', odd({ userId: 'аuth0|u1' }), 'schema'],
    ['H8', 'an id with a newline at its end', odd({ userId: 'u1\n' }), 'schema'],
    ['H8', 'an id of 129 characters', odd({ userId: 'u'.repeat(129) }), 'schema'],
    ['H8', 'an empty id', odd({ userId: '' }), 'schema'],
    ['H10', 'ff fe', oddBytes([0xff, 0xfe]), 'utf8'],
    ['H10', 'an overlong slash', oddBytes([0x22, 0xc0, 0xaf, 0x22]), 'utf8'],
    ['H10', 'a truncated sequence', oddBytes([0x22, 0xe2, 0x82]), 'utf8'],
    ['H10', 'a surrogate in UTF-8', oddBytes([0x22, 0xed, 0xa0, 0x80, 0x22]), 'utf8'],
    ['H11', 'UTF-16 with a mark', nestRecord('USER_DELETED', Buffer.from(`\ufeff${STATUS_TEXT}`, 'utf16le')), 'utf8'],
    ['H11', 'UTF-16 without', nestRecord('USER_DELETED', Buffer.from(STATUS_TEXT, 'utf16le')), 'json'],
    ['H11', 'UTF-8 with a byte order mark', oddText(`\ufeff${STATUS_TEXT}`), 'bom'],
    ['H12', 'truncated JSON', oddText(STATUS_TEXT.slice(0, -1)), 'json'],
    ['H12', 'trailing data', oddText(`${STATUS_TEXT}x`), 'json'],
    ['H12', 'two documents', oddText(STATUS_TEXT + STATUS_TEXT), 'json'],
    ['H12', 'NaN', oddText(STATUS_TEXT.replace('"PENDING"', 'NaN')), 'json'],
    ['H12', 'Infinity', oddText(STATUS_TEXT.replace('"PENDING"', 'Infinity')), 'json'],
    ['H12', 'a comment', oddText(`/**/${STATUS_TEXT}`), 'json'],
    ['H12', 'single quotes', oddText(STATUS_TEXT.replaceAll('"', "'")), 'json'],
    ['H13', 'null under a known type', oddText('null'), 'schema'],
    ['H13', 'an array without a type', rawRecord('[]'), 'undecodable'],
    ['H14', 'depth 65', odd({ x: JSON.parse('['.repeat(64) + ']'.repeat(64)) as unknown }), 'depth'],
    ['H14', 'depth 10,000', oddText('['.repeat(10_000)), 'depth'],
    ['H14', 'depth 500,000', oddText('{"a":'.repeat(190_000)), 'depth'],
    [
      'H15',
      'a hundred thousand keys',
      odd(Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [i, 0]))),
      'size',
    ],
    ['H16', '900 kB in a string field', odd({ changedBy: 'x'.repeat(900_000) }), 'schema'],
    ['H17', 'over our limit', odd({ x: 'x'.repeat(1_000_000) }), 'size'],
    ['H19', '256 headers', many(256), 'ok'],
    ['H19', '10,000 headers', many(10_000), 'headers'],
    ['H19', '100,000 headers', many(100_000), 'headers'],
    [
      'H20',
      'headers named for a prototype',
      headers([
        ['__proto__', 'x'],
        ['constructor', 'x'],
        ['toString', null],
      ]),
      'ok',
    ],
    [
      'H21',
      'odd headers',
      headers([
        ['', ''],
        ['a', null],
        ['a', Buffer.from([0xff])],
        ['content-type', null],
      ]),
      'ok',
    ],
    [
      'H22',
      'forged headers',
      headers([
        ['kafka_dlt-exception-message', 'x'],
        ['traceparent', '00-zz'],
        ['userId', 'u9'],
      ]),
      'ok',
    ],
    ['H23', '__proto__', oddText(`{"__proto__":{"admin":true},${STATUS_TEXT.slice(1)}`), 'proto-key'],
    [
      'H23',
      '__proto__ as an escape',
      oddText(`{"\\u005f_proto__":{"admin":true},${STATUS_TEXT.slice(1)}`),
      'proto-key',
    ],
    ['H24', 'constructor', odd({ constructor: { prototype: { admin: true } } }), 'proto-key'],
    ['H25', 'a name in another case is an unknown field', odd({ userid: 'u2' }), 'ok'],
    ['H25', 'and stands for nothing', odd({ userid: 'u2', userId: undefined }), 'schema'],
    ['H25', 'the same name twice', oddText(`{"userId":"u2",${STATUS_TEXT.slice(1)}`), 'dupkey'],
    ['H26', 'an unknown field', odd({ admin: true, rights: ['*'] }), 'ok'],
    ['H27', 'a number for a string', odd({ userId: 1 }), 'schema'],
    ['H27', 'true for a string', odd({ changedBy: true }), 'schema'],
    ['H27', 'null for a string', odd({ changedBy: null }), 'schema'],
    ['H27', 'an array of one string', odd({ newStatus: ['ACTIVE'] }), 'schema'],
    ['H27', 'a status in lower case', odd({ newStatus: 'active' }), 'schema'],
    ['H27', 'an unknown status', odd({ newStatus: 'DELETED' }), 'schema'],
    ['H27', 'an inherited word as status', odd({ newStatus: 'toString' }), 'schema'],
    ['H28', '1e400 where a string belongs', oddText(STATUS_TEXT.replace('"PENDING"', '1e400')), 'schema'],
    ['H28', '2^53 + 1 as an id', oddText(STATUS_TEXT.replace('"auth0|u1"', '9007199254740993')), 'schema'],
    ['H29', 'NUL in a known string', odd({ changedBy: 'a\0b' }), 'nul'],
    ['H29', 'NUL in an unknown string', odd({ x: [{ y: '\0' }] }), 'nul'],
    ['H29', 'NUL in a key name', odd({ 'a\0': 1 }), 'nul'],
    ['H29', 'NUL in the id: no id at all', odd({ userId: 'u\0' }), 'schema'],
    ['H29', 'NUL in the envelope', structuredBody({ ...envelope(), subject: '\0' }), 'nul'],
    ['H30', 'a lone surrogate in a known string', odd({ changedBy: '\ud800' }), 'surrogate'],
    ['H30', 'a lone surrogate in a key name', oddText(`{"\\udfff":1,${STATUS_TEXT.slice(1)}`), 'surrogate'],
    ['H30', 'a whole pair', odd({ changedBy: '😀' }), 'ok'],
    ['H31', 'RTL override, ANSI, markup', odd({ changedBy: '\u202e\u001b[31m</script><b>' }), 'ok'],
    ['H32', 'injections', odd({ changedBy: `'; drop table users;-- $\{jndi:ldap://x} {{7*7}} %s %n` }), 'ok'],
    ['H33', 'regex bait as id', odd({ userId: `${'a'.repeat(50_000)}!` }), 'schema'],
    ['H33', 'regex bait as type', plain(`${'.v1'.repeat(20_000)}!`, status), 'unknown-type'],
    [
      'H33',
      'regex bait as source',
      cloudEvent('USER_DELETED', status, { source: `${'a'.repeat(50_000)}\n` }),
      'schema',
    ],
    ['H34', 'a negative year', odd({ timestamp: '-000001-01-01T00:00:00Z' }), 'ts-range'],
    ['H34', '1970', odd({ timestamp: '1970-01-01T00:00:00Z' }), 'ts-range'],
    ['H34', 'year 275,760', odd({ timestamp: '+275760-09-13T00:00:00Z' }), 'ts-range'],
    ['H34', 'year −271,821', odd({ timestamp: '-271821-04-20T00:00:00Z' }), 'ts-range'],
    ['H34', '2³¹ seconds', odd({ timestamp: '2038-01-19T03:14:08Z' }), 'ok'],
    ['H34', 'seconds as a number', odd({ timestamp: 2 ** 31 }), 'schema'],
    ['H34', '30 February', odd({ timestamp: '2025-02-30T00:00:00Z' }), 'ts-format'],
    [
      'H34',
      'year 9999, the record has no time',
      nestRecord('USER_DELETED', userDeleted({ timestamp: '9999-12-31T23:59:59Z' }), { timestampMs: -1 }),
      'ok',
    ],
    [
      'H35',
      'ten years back',
      nestRecord('USER_DELETED', userDeleted({ timestamp: '2015-01-31T09:30:00Z' }), { timestampMs: AT_MS }),
      'ok',
    ],
    [
      'H35',
      'two days ahead',
      nestRecord('USER_DELETED', userDeleted(), { timestampMs: AT_MS - 2 * 86_400_000 }),
      'ts-range',
    ],
    ['H36', 'an unknown type', plain('USER_PROMOTED', status), 'unknown-type'],
    ['H36', 'an unknown version', plain('USER_STATUS_CHANGED.v3', status), 'unknown-version'],
  ])('%s: %s', (_, __, arrival, expected) => {
    const before = arrival.value?.toString('latin1');
    const decoded = decode(arrival);
    expect(decoded.outcome === 'dead' ? decoded.code : 'ok').toBe(expected);
    expect(decoded.record).toBe(arrival); // byte-identical, headers in order
    expect(arrival.value?.toString('latin1') === before).toBe(true);
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(Object.hasOwn(Object.prototype, 'admin')).toBe(false);
  });

  test('H26  unknown fields are left out of the payload and stay in the text', () => {
    const it = event(odd({ admin: true }));
    expect(it.payload).toEqual(statusChanged());
    expect(JSON.parse(it.text)).toHaveProperty('admin', true);
  });

  test('H21  of a repeated header the last counts', () => {
    const it = cloudEvent('USER_DELETED', userDeleted(), { id: 'e1', headers: [['ce_id', 'e2']] });
    expect(event(it).eventId).toBe('e2');
  });

  test('H14, H15, H33  none of it takes long', () => {
    const started = performance.now();
    dead(oddText('['.repeat(1_000_000)));
    dead(oddText(`{${'"a":0,'.repeat(160_000)}"a":0}`));
    dead(odd({ timestamp: `2025-01-31T09:30:00.${'0'.repeat(900_000)}` }));
    dead(plain('.v9'.repeat(300_000), {}));
    expect(performance.now() - started).toBeLessThan(1_000); // 12 ms when this was written
  });
});

describe('every code that decode can give, and only these', () => {
  const samples: { [C in DeadCode]?: Arrival } = {
    size: odd({ x: 'x'.repeat(1_000_000) }),
    headers: rawRecord('', { headers: Array.from({ length: 257 }, () => ['a', null] as const) }),
    'key-missing': odd({}),
    'key-length': cloudEvent('USER_CREATED', '', { key: 'x'.repeat(129) }),
    'key-utf8': cloudEvent('USER_CREATED', '', { key: Buffer.from([0xff]) }),
    'key-charset': cloudEvent('USER_CREATED', '', { key: 'a b' }),
    'key-mismatch': cloudEvent('USER_CREATED', userCreated(), { key: 'c2' }),
    empty: cloudEvent('USER_CREATED', ''),
    tombstone: cloudEvent('USER_CREATED', null),
    utf8: cloudEvent('USER_CREATED', Buffer.from([0xff])),
    bom: cloudEvent('USER_CREATED', '\ufeff{}'),
    depth: cloudEvent('USER_CREATED', '['.repeat(65)),
    json: cloudEvent('USER_CREATED', '{'),
    dupkey: cloudEvent('USER_CREATED', '{"a":1,"a":1}'),
    'proto-key': cloudEvent('USER_CREATED', '{"__proto__":1}'),
    undecodable: rawRecord('{}', { key: 'c1' }),
    'unknown-type': cloudEvent('USER_PROMOTED', '{}'),
    'unknown-version': cloudEvent('USER_CREATED.v2', '{}'),
    schema: cloudEvent('USER_CREATED', '{}'),
    nul: cloudEvent('USER_CREATED', userCreated({ name: '\0' })),
    surrogate: cloudEvent('USER_CREATED', userCreated({ name: '\ud800' })),
    'ts-format': cloudEvent('USER_CREATED', userCreated({ timestamp: '2025-02-30T00:00:00Z' })),
    'ts-range': cloudEvent('USER_CREATED', userCreated({ timestamp: '1999-01-01T00:00:00Z' })),
  };
  const elsewhere: DeadCode[] = [
    'bomb', // sources/kafka.ts
    'num-range', // no schema has a number
    'tenant', // no list of tenants can be configured yet
    ...(['waiting-full', 'given-up', 'transition', 'loop', 'state-size', 'sql'] as const), // run, save
  ];

  test('the list is complete', () => {
    expect([...Object.keys(samples), ...elsewhere].sort()).toEqual([...DEAD_CODES].sort());
  });

  test.each(Object.entries(samples))('%s', (expected, arrival) => {
    const { stage, detail, code: found } = dead(arrival, strict);
    expect(found).toBe(expected);
    const late = ['schema', 'nul', 'surrogate', 'key-mismatch', 'ts-format', 'ts-range'];
    expect(stage).toBe(late.includes(expected) ? 'validate' : 'decode');
    expect(detail).toMatch(/^[\x20-\x7e]{8,500}$/);
  });
});

describe('a detail says what was expected, and quotes nothing', () => {
  test.each([
    [{ newStatus: 'GONE' }, 'newStatus: expected one of PENDING, ACTIVE, SUSPENDED, INACTIVE'],
    [{ userId: 'a b' }, 'userId: expected 1 to 128 printable ASCII characters'],
    [{ userId: 'x'.repeat(200) }, 'userId: expected at most 128 characters'],
    [{ changedBy: '' }, 'changedBy: expected at least 1 characters'],
    [{ changedBy: 5 }, 'changedBy: expected a string'],
    [{ changedBy: undefined }, 'changedBy: expected a value, found none'],
    [{ timestamp: '2025-02-30T00:00:00Z' }, 'timestamp: no such day'],
  ])('%j', (over, expected) => {
    expect(dead(odd(over)).detail).toBe(expected);
  });

  test('wherever a secret stands, it is in no detail', () => {
    const canary = 'c4n4ry';
    const place = fc.constantFrom('userId', 'newStatus', 'changedBy', 'timestamp', 'type', 'event', 'data', canary);
    const spoilt = fc.constantFrom(
      canary,
      `${canary}\0`,
      `\ud800${canary}`,
      [canary],
      { [canary]: canary },
      canary.repeat(200),
    );
    const cut = fc.nat(400);
    const wrap = fc.constantFrom(nestRecord, cloudEvent, structured, debezium, plain, (_: string, body: object) =>
      rawRecord(body),
    );
    const type = fc.constantFrom('USER_STATUS_CHANGED', `${canary}`, `USER_CREATED.v2${canary}`);
    fc.assert(
      fc.property(wrap, type, place, spoilt, cut, (make, name, field, value, length) => {
        const arrival = make(
          name,
          { ...statusChanged(), [field]: value },
          { key: `${canary} `, id: `${canary}\n`, source: canary },
        );
        const letters = [arrival, { ...arrival, value: arrival.value?.subarray(0, length) ?? null }].map((it) =>
          decode(it, lenient),
        );
        for (const letter of letters) if (letter.outcome === 'dead') expect(letter.detail).not.toContain(canary);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('whatever comes', () => {
  const topic = fc.constantFrom('user-events', 'outbox.event.user', ...EVENT_TYPES, '__proto__');
  const name = fc.oneof(
    fc.constantFrom(
      'ce_id',
      'ce_type',
      'ce_source',
      'ce_specversion',
      'content-type',
      'eventType',
      'id',
      '__proto__',
      '',
    ),
    fc.string(),
  );
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
  const text = fc.constantFrom('1.0', 'USER_CREATED', 'USER_DELETED.v2', 'application/cloudevents+json', '{}');
  const value = fc.oneof(
    bytes,
    fc.json().map(Buffer.from),
    fc.constantFrom(...Object.values(PAYLOADS)).map((it) => Buffer.from(JSON.stringify(it))),
  );
  const nullable = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
  const header = fc.tuple(
    name,
    nullable(
      fc.oneof(
        bytes,
        text.map((it) => Buffer.from(it)),
      ),
    ),
  );
  const arrival = fc.record({
    place: topic.map((it) => at(it)),
    offset: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    timestampMs: fc.oneof(fc.constant(-1), fc.maxSafeInteger(), fc.constant(AT_MS)),
    key: nullable(bytes),
    value: nullable(value),
    headers: fc.array(header, { maxLength: 12 }),
  });

  /** A good record with some bytes changed. */
  const wrap = fc.constantFrom(nestRecord, cloudEvent, structured, debezium, plain);
  const change = fc.record({
    at: fc.nat(400),
    to: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...Buffer.from('"\\{}[]:,u0'))),
  });
  const mutant = fc
    .tuple(wrap, fc.constantFrom(...EVENT_TYPES), fc.array(change, { maxLength: 4 }))
    .map(([make, type, changes]) => {
      const it = make(type, { ...PAYLOADS[type], x: '\ud83d\ude00\\u0000 \u0001' });
      for (const { at: index, to } of changes) if (it.value !== null && index < it.value.length) it.value[index] = to;
      return it;
    });

  test('decode never throws, and what it lets through can be kept', () => {
    fc.assert(
      fc.property(fc.oneof(arrival, mutant), fc.boolean(), (it, isStrict) => {
        const decoded = decode(it, isStrict ? strict : lenient);
        expect(decoded.record).toBe(it);
        for (const kept of [decoded.eventId, decoded.userId])
          if (typeof kept === 'string') expect(kept).toMatch(/^\P{Cc}{1,256}$/u);
        if (decoded.outcome === 'dead') {
          expect(decoded.detail).toMatch(/^[\x20-\x7e]{8,500}$/);
        } else {
          const spelled = JSON.stringify(JSON.parse(decoded.text));
          expect(spelled.replaceAll('\\\\', '')).not.toMatch(/\\u0000|\\ud[89a-f]/);
          expect(decoded.text.isWellFormed() && !decoded.text.includes('\0')).toBe(true);
          expect(Number.isSafeInteger(decoded.occurredAtMs) && decoded.atMs <= decoded.occurredAtMs).toBe(true);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test('the same record gives the same answer: there is no memory between records', () => {
    fc.assert(
      fc.property(mutant, arrival, (it, between) => {
        const first = decode(it);
        decode(between);
        expect(decode(it)).toEqual(first);
      }),
    );
  });
});

function envelope() {
  return { specversion: '1.0', id: 'e1', source: '/accounting', type: 'USER_DELETED', data: userDeleted() };
}

function oddBytes(bytes: number[]): Arrival {
  return nestRecord('USER_STATUS_CHANGED', Buffer.from(bytes));
}
