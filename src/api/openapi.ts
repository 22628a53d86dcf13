// openapi.ts — the API as an OpenAPI 3.1 document: docs/openapi.json, and GET /openapi.json.
//
// Owns:          the document's frame, names for the contract's schemas, what every route has. Does not own: routes and schemas: they say
//                themselves what they take and give.
import swagger from '@fastify/swagger';
import Fastify, { type FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { SERVICE_VERSION } from '../version.ts';
import { registerApi } from './api.ts';
import type { Reach } from './app.ts';
import { createAuth, type Needed } from './auth.ts';
import * as contract from './contract.ts';

type Json = { [name: string]: Json } | Json[] | string | number | boolean | null;

/** To be called before the routes are added. */
export function describeRoutes(app: FastifyInstance): void {
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Customer Service',
        version: SERVICE_VERSION,
        description: INTRODUCTION,
      },
      components: {
        securitySchemes: {
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: 'A token of AUTH_*_TOKEN, or of the identity provider.',
          },
          cookie: { type: 'apiKey', in: 'cookie', name: 'customer-service', description: 'Of POST /login.' },
        },
      },
    },
    transform: ({ schema, url, route }) => {
      const role = route.config?.role;
      if (!url.startsWith('/api/v1/') || role === undefined) return { schema: { ...schema, hide: true }, url };
      return { schema: { ...schema, ...ofEveryRoute(url, String(route.method), role, schema as never) }, url };
    },
  });
}

const INTRODUCTION = `Every user's machine: look, and act. 64-bit integers are decimal strings; times are ISO 8601 in UTC; null is unknown
or none. A list is \`{items, nextCursor}\`, without nextCursor it has ended; a cursor fits its own list and filter only. Errors are RFC 9457
problems. An act (all but GET and /what-if) needs a bearer token or the header \`x-requested-with: customer-service-console\`, takes an
\`Idempotency-Key\`, and leaves a row of /audit.`;

const SECURITY: Record<string, string[]>[] = [{ bearer: [] }, { cookie: [] }];

/** Roles, errors and headers that no route says itself; its own description behind the role. */
function ofEveryRoute(
  url: string,
  method: string,
  role: Needed,
  schema: { response?: object; params?: object; description?: string },
) {
  const path = url.slice('/api/v1/'.length);
  const acts = method !== 'GET' && path !== 'what-if';
  return {
    operationId: `${method.toLowerCase()} ${path}`.replaceAll(/[^A-Za-z0-9]+(.)?/g, (_, next = '') =>
      next.toUpperCase(),
    ),
    tags: [path.split('/')[0] as string],
    security: role === 'public' ? [] : SECURITY,
    ...(role === 'public'
      ? {}
      : { description: [`Needs the role ${role}.`, ...(schema.description ? [schema.description] : [])].join(' ') }),
    ...(acts
      ? {
          headers: Type.Object({
            'x-requested-with': Type.Optional(
              Type.String({ description: 'Without a bearer token: customer-service-console.' }),
            ),
            ...(role === 'public'
              ? {}
              : {
                  'idempotency-key': Type.Optional(
                    Type.String({
                      maxLength: 200,
                      description: 'Sent again with the same act, it gets the same answer.',
                    }),
                  ),
                }),
          }),
        }
      : {}),
    response: {
      ...described(schema.response ?? { 200: Type.String() }, path),
      default: { description: 'A problem', content: { 'application/problem+json': { schema: contract.Problem } } },
    },
  };
}

const MEANS: Readonly<Record<string, string>> = {
  200: 'This',
  201: 'It was made',
  202: 'It goes on in the background, and where to look',
};
const TYPES: Readonly<Record<string, string>> = {
  stream: 'text/event-stream',
  'dead-letters/export': 'application/x-ndjson',
};
function described(response: object, path: string) {
  const type = TYPES[path] ?? 'application/json';
  return Object.fromEntries(
    Object.entries(response).map(([status, schema]) => [
      status,
      { description: MEANS[status], content: { [type]: { schema } } },
    ]),
  );
}

/** The document of an app that is ready, with the contract's schemas under their names. */
export function documentOf(app: FastifyInstance): Json {
  const document = simpler(JSON.parse(JSON.stringify(app.swagger()))) as { components: Json; paths: Json };
  const named = Object.entries(contract).flatMap(([name, each]): [string, Json][] =>
    !Array.isArray(each) && Type.IsSchema(each) ? [[name, simpler(JSON.parse(JSON.stringify(each)))]] : [],
  );
  const names = new Map(named.map(([name, schema]) => [JSON.stringify(schema), name]));
  const schemas = Object.fromEntries(named.map(([name, schema]) => [name, withRefs(schema, names, true)]));
  const paths = withRefs(document.paths, names);
  return {
    ...document,
    paths,
    components: { ...(document.components as Record<string, Json>), schemas: onlyUsed(paths, schemas) },
  };
}

/** One of several words as an enumeration; constants and records as the plugin writes them, so that equal ones are found. */
function simpler(value: Json): Json {
  if (Array.isArray(value)) return value.map(simpler);
  if (typeof value !== 'object' || value === null) return value;
  const { const: word, patternProperties, anyOf, ...rest } = value as Record<string, Json>;
  const inner: Record<string, Json> = {};
  for (const [name, each] of Object.entries(rest)) inner[name] = simpler(each);
  if (word !== undefined) inner.enum = [word];
  if (patternProperties !== undefined)
    inner.additionalProperties = simpler(Object.values(patternProperties as object)[0] as Json);
  if (anyOf === undefined) return inner;
  const branches = (anyOf as Json[]).map(simpler) as Record<string, Json>[];
  const isWords = branches.every((branch) => branch.enum !== undefined && branch.type === 'string');
  return isWords
    ? { ...inner, type: 'string', enum: branches.flatMap((branch) => branch.enum as Json[]) }
    : { ...inner, anyOf: branches };
}

function withRefs(value: Json, names: ReadonlyMap<string, string>, isRoot = false): Json {
  if (typeof value !== 'object' || value === null) return value;
  const name = isRoot ? undefined : names.get(JSON.stringify(value));
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
  if (Array.isArray(value)) return value.map((each) => withRefs(each, names));
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withRefs(each, names)]));
}

/** In the order of the contract. */
function onlyUsed(paths: Json, schemas: Record<string, Json>): Record<string, Json> {
  const used = new Set<string>();
  const look = (value: Json): void => {
    for (const [, name] of JSON.stringify(value).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (name === undefined || used.has(name)) continue;
      used.add(name);
      look(schemas[name] as Json);
    }
  };
  look(paths);
  return Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)));
}

/** The document without a service: nothing is reached to say what the routes are. */
export async function openapi(): Promise<Json> {
  const app = Fastify();
  const settings = { host: '127.0.0.1', basePath: '/', secret: '', oidcRoleClaim: '' };
  registerApi(
    app,
    { acts: {}, live: { board: {} } } as Reach,
    createAuth({
      ...settings,
      mode: 'token',
      payloads: 'operators',
      viewerToken: undefined,
      operatorToken: undefined,
      oidcIssuer: undefined,
      oidcAudience: undefined,
    }),
  );
  await app.ready();
  const document = documentOf(app);
  await app.close();
  return document;
}
