// Every operation of the OpenAPI document, asked with what fits it and with what does not: never a defect of ours, and every answer is
// what the document says.
//
// The same requests each time; FUZZ_SEED and FUZZ_RUNS ask for others and for more.

import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openapi } from '../../src/api/openapi.ts';
import { type Asked, ask, OWN } from '../support/api.ts';
import { cloudEvent, customerCreated, rawRecord, statusChanged, userCreated } from '../support/records.ts';
import { createWorld, type Lines, type MemoryService, until, type World } from '../support/world.ts';

const SEED = Number(process.env.FUZZ_SEED ?? 7);
const RUNS = Number(process.env.FUZZ_RUNS ?? 60);

type Schema = {
  $ref?: string;
  type?: string;
  enum?: unknown[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  format?: string;
};
type Parameter = { name: string; in: string; required: boolean; schema: Schema };
type Described = {
  operationId: string;
  parameters?: Parameter[];
  requestBody?: { content: { 'application/json': { schema: Schema } } };
  responses: Record<string, { content: Record<string, unknown> }>;
};
const document = (await openapi()) as unknown as {
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, Schema> };
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods)
    // One does not end by itself, the other answers in lines.
    .filter(([, { operationId }]) => operationId !== 'getStream' && operationId !== 'getDeadLettersExport')
    .map(([method, described]) => ({ name: described.operationId, method, path, described })),
);

const ajv = new Ajv2020({ strict: false });
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
ajv.addSchema(document, 'openapi');
function answerOf(path: string, method: string, status: string, type: string): ValidateFunction {
  const place = ['paths', path, method, 'responses', status, 'content', type, 'schema'];
  return ajv.compile({
    $ref: `openapi#/${place
      .map((each) => each.replaceAll('~', '~0').replaceAll('/', '~1'))
      .map(encodeURIComponent)
      .join('/')}`,
  });
}

let world: World & Lines;
let service: MemoryService;
beforeAll(async () => {
  world = await createWorld();
  service = await world.service();
  world.log.append(
    cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'e0' }),
    cloudEvent('USER_CREATED', userCreated(), { id: 'e1' }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 'e2' }),
    cloudEvent('USER_STATUS_CHANGED', { ...statusChanged(), newStatus: 'FROZEN' }, { id: 'e3' }),
    cloudEvent('USER_STATUS_CHANGED.v2', statusChanged(), { id: 'e4' }),
    cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 'e5' }),
    cloudEvent('USER_CREATED', userCreated({ userId: 'auth0|u2', customerAccountId: 'c2' }), { id: 'e6' }),
    rawRecord('{"email":"ada@example.com"', { key: null }),
  );
  await service.source.drain();
});
afterAll(async () => {
  await until(async () => expect(await world.sql`select 1 from jobs where state = 'running'`).toHaveLength(0));
  await world.expectSound();
  await world.close();
});

const KNOWN = [
  'auth0|u1',
  'auth0|u2',
  'c1',
  'c2',
  'user-events',
  'sql',
  'schema',
  'pending',
  'USER_CREATED',
  'ada@example.com',
];
const HOSTILE = [
  '',
  '\0',
  '\ud800',
  '\u202e',
  "'; drop table users; --",
  '%',
  '_',
  '\\',
  '__proto__',
  '🎉',
  'x'.repeat(600),
  '../..',
];
const wildText = fc.oneof(
  fc.constantFrom(...HOSTILE),
  fc.constantFrom(...KNOWN),
  fc.string({ unit: 'binary', maxLength: 20 }),
);
const wildNumber = fc.oneof(fc.constantFrom(0, -1, 1.5, 2 ** 31, 2 ** 53, 1e308, -0), fc.integer());
const anything = fc.oneof(
  wildText,
  wildNumber,
  fc.boolean(),
  fc.constant(null),
  fc.constant([]),
  fc.constant({}),
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<unknown>,
);
const someTime = fc
  .date({ noInvalidDate: true, min: new Date('1990-01-01'), max: new Date('2100-01-01') })
  .map((date) => date.toISOString());
const wildTime = fc.constantFrom(
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999999Z',
  '2024-02-30T00:00:00Z',
  '2024-01-01T24:00:00Z',
  '2016-12-31T23:59:60Z',
  '2024-01-01T00:00:00+23:59',
  'now',
);

/** What the schema takes, of what may be there; or, `isWild`, one thing in four that nobody expects. */
function of(schema: Schema, isWild: boolean): fc.Arbitrary<unknown> {
  const or = (right: fc.Arbitrary<unknown>, wild: fc.Arbitrary<unknown>) =>
    isWild ? fc.oneof({ weight: 3, arbitrary: right }, { weight: 1, arbitrary: wild }) : right;
  const { $ref, anyOf, minimum = 1, maximum = 12, properties = {}, required = [] } = schema;
  if ($ref !== undefined) return of(document.components.schemas[$ref.split('/').at(-1) as string] as Schema, isWild);
  if (schema.enum !== undefined) return or(fc.constantFrom(...schema.enum), wildText);
  if (anyOf !== undefined) return or(fc.oneof(...anyOf.map((each) => of(each, isWild))), anything);
  switch (schema.type) {
    case 'string':
      return schema.format === 'date-time' ? or(someTime, wildTime) : or(fc.constantFrom(...KNOWN), wildText);
    case 'integer':
    case 'number':
      return or(fc.integer({ min: minimum, max: Math.min(maximum, minimum + 8) }), wildNumber);
    case 'boolean':
      return or(fc.boolean(), anything);
    case 'array':
      return or(fc.array(of(schema.items ?? {}, isWild), { minLength: 1, maxLength: 3 }), anything);
    case 'object': {
      const fields = Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, of(each, isWild)]));
      const right = fc.record(fields, { requiredKeys: required });
      return or(right, fc.oneof(fc.record({ ...fields, more: anything }, { requiredKeys: [] }), anything));
    }
    default:
      return anything;
  }
}

type Made = { path: string; asked: Asked };
function requestOf(operation: (typeof operations)[number]): fc.Arbitrary<Made> {
  return fc.boolean().chain((isWild) => requestsOf(operation, isWild));
}
function requestsOf({ path, method, described }: (typeof operations)[number], isWild: boolean): fc.Arbitrary<Made> {
  const { parameters = [], requestBody } = described;
  // A cursor that fits is in no schema.
  const named = (where: string) => parameters.filter((each) => each.in === where && (isWild || each.name !== 'cursor'));
  const fields = (where: string) =>
    Object.fromEntries(named(where).map(({ name, schema }) => [name, of(schema, isWild)]));
  const schema = requestBody?.content['application/json'].schema;
  return fc
    .record({
      params: fc.record(fields('path')) as fc.Arbitrary<Record<string, unknown>>,
      query: fc.record(fields('query'), { requiredKeys: [] }) as fc.Arbitrary<Record<string, unknown>>,
      key: fc.option(fc.oneof(fc.uuid(), fc.constantFrom('k1', 'k2', 'a b')), { freq: 2 }),
      body: schema === undefined ? fc.constant(undefined) : of(schema, isWild),
    })
    .map(({ params, query, key, body }) => ({
      path:
        path.replaceAll(/\{(\w+)\}/g, (_, name) => encodeURIComponent(String(params[name]).toWellFormed()) || '%20') +
        `?${new URLSearchParams(Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]))}`,
      asked: {
        method: method.toUpperCase(),
        headers: { ...OWN, ...(key === null || method === 'get' ? {} : { 'idempotency-key': key }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) ?? 'undefined' }),
      },
    }));
}

/** Those that were done at least once: a request that is always refused finds nothing. */
const answered = new Set<string>();

describe.each(operations)('$name', (operation) => {
  const { path, method, described } = operation;
  const problem = answerOf(path, method, 'default', 'application/problem+json');
  const answers = new Map(
    Object.keys(described.responses)
      .filter((status) => status !== 'default')
      .map((status) => [Number(status), answerOf(path, method, status, 'application/json')]),
  );

  test('has no defect that a request could find, and answers as it says', async () => {
    await fc.assert(
      fc.asyncProperty(requestOf(operation), async (made) => {
        const { status, json, text: sent } = await ask(service.url, made.path, made.asked);
        if (status < 400) answered.add(operation.name);
        const validate = status < 400 ? answers.get(status) : problem;
        if (validate === undefined)
          throw new Error(`it answers ${status}, which it does not say: ${sent.slice(0, 500)}`);
        if (status >= 500) throw new Error(`a defect: ${sent}`);
        if (!validate(json))
          throw new Error(`${status} is not as it says: ${ajv.errorsText(validate.errors)}: ${sent.slice(0, 500)}`);
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });
});

test('most operations were done, not refused', () => {
  expect(answered.size).toBeGreaterThan(operations.length * 0.6);
});
