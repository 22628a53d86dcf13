// app.ts — what all routes have in common: their types, how they are checked and written, and what they reach.
//
// Owns:          the type of the app, validation and serialisation. Does not own: errors (problems.ts), who may what (auth.ts).
//
// R1  What comes in is checked against its schema: queries and paths are converted as far as words are numbers, bodies not at all.
// R2  What goes out is a plain `JSON.stringify`, so that any text arrives as it is: Fastify's own serialiser writes half of a surrogate
//     pair as it stands, which UTF-8 can not. That a reply has its schema's form is the compiler's business, and the tests'.

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance, FastifySchemaCompiler, RawServerDefault } from 'fastify';
import type postgres from 'postgres';
import { type TSchema, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { Value } from 'typebox/value';
import type { Db } from '../../db/client.ts';
import type { Config } from '../config.ts';
import type { Acts } from './acts.ts';
import type { Live } from './live.ts';

export type App = FastifyInstance<
  RawServerDefault,
  import('node:http').IncomingMessage,
  import('node:http').ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/** What routes reach. */
export type Reach = {
  /** For reads: connections of their own, whose statements end after 3 s. */
  read: Db;
  /** The same, below Drizzle. */
  readSql: postgres.Sql;
  live: Live;
  acts: Acts;
  /** `off`: they are not shown at all. */
  payloads: Config['auth']['payloads'];
  /** Under which path all of it lies; ends with a slash. */
  basePath: string;
  /** Without a slash at its end. */
  jaegerUrl: string | null;
};

export const checked: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const validator = Compile(schema);
  return (sent: unknown) => {
    const value = httpPart === 'body' ? sent : Value.Convert(schema, sent);
    return validator.Check(value) ? { value } : { error: validator.Errors(value) as never };
  };
};

/** Text from outside, as far as Postgres can compare it. */
export const Said = (description?: string) =>
  Type.String({
    minLength: 1,
    maxLength: 512,
    pattern: '^[^\\u0000]*$',
    ...(description === undefined ? {} : { description }),
  });
export const Moment = (description: string) => Type.String({ format: 'date-time', description });
/** The number of a row. */
export const RowId = Type.Object({ id: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) });
export const TextId = Type.Object({ id: Said() });
export const Reveal = {
  reveal: Type.Optional(Type.Boolean({ description: 'Personal data as it is: needs the permission, and is audited.' })),
};
/** A query: what is not in it is refused, so that a misspelt filter does not pass for none. */
export const Query = <T extends Record<string, TSchema>>(properties: T) =>
  Type.Object(properties, { additionalProperties: false });
