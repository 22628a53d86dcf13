// problems.ts — what the API says when it can not do what was asked: RFC 9457, from one handler for everything.
//
// Owns:          the types of problems, and what an error becomes. Does not own: when there is one.
//
// B1  Never a stack, a statement, or a word of a server's own message: they can hold personal data. The log has the error.
// B2  A text of ours says what is wrong and where, never what was sent.
import { trace } from '@opentelemetry/api';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { TLocalizedValidationError } from 'typebox/error';
import { classify, describe } from '../errors.ts';
import { JobTaken } from '../jobs.ts';
import type { Log } from '../log.ts';
import { EditRefused } from '../settle.ts';
import type { Problem } from './contract.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** It ended in a problem, and what was begun may have been done all the same. */
    isUncertain: boolean;
    /** The act is done for good: what fails after that is its answer. */
    isDone?: true;
  }
}

export const PROBLEMS = {
  'invalid-request': [400, 'The request is not as it should be', 'Change it as the detail, or each of `errors`, says.'],
  unauthenticated: [401, 'Nobody is logged in', 'Send a token as `Authorization: Bearer …`, or log in.'],
  forbidden: [403, 'This is not allowed', 'It needs the role `operator`, or the permission to see payloads.'],
  'not-found': [404, 'There is nothing at this address', 'Check the id. What waits may have gone meanwhile.'],
  conflict: [409, 'Somebody was faster, or it is so already', 'Look at what it is now, and decide again.'],
  'too-large': [413, 'The request is too large', 'Send less at once.'],
  'too-much': [422, 'This is more than can be looked at at once', 'Narrow it as the detail says.'],
  internal: [500, 'Something went wrong on our side', 'The log says what; the trace id finds it.'],
  heavy: [503, 'The question takes too long', 'Narrow it: by a customer, an id, or the beginning of one.'],
  unavailable: [503, 'Something that is needed is away', 'It is tried again: ask again after `retry-after` seconds.'],
} as const satisfies Record<string, readonly [status: number, title: string, remedy: string]>;
export type ProblemType = keyof typeof PROBLEMS;

export function isProblemType(type: string): type is ProblemType {
  return Object.hasOwn(PROBLEMS, type);
}

type Fault = { detail: string; pointer?: string };

/** Thrown by a route: what it becomes is said here, with a sentence for whoever asked. */
export class Refused extends Error {
  override name = 'Refused';
  readonly type: ProblemType;
  readonly errors: readonly Fault[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** What was begun may have been done. */
  readonly isUncertain: boolean;
  constructor(
    type: ProblemType,
    detail: string,
    {
      errors,
      retryAfterSeconds,
      isUncertain = false,
    }: { errors?: readonly Fault[]; retryAfterSeconds?: number; isUncertain?: boolean } = {},
  ) {
    super(detail);
    this.type = type;
    this.errors = errors;
    this.retryAfterSeconds = retryAfterSeconds;
    this.isUncertain = isUncertain;
  }
}

const DONE = new Refused('unavailable', 'The act was done; its answer could not be read. Look at what it is now.', {
  isUncertain: true,
});

export function notFound(what: string): Refused {
  return new Refused('not-found', `There is no ${what}.`);
}

/** Sends the problem. `base`: where the pages of the types lie. */
export function sendProblem(request: FastifyRequest | undefined, reply: FastifyReply, base: string, refused: Refused) {
  const { type, message, errors, retryAfterSeconds, isUncertain } = request?.isDone === true ? DONE : refused;
  if (request !== undefined) request.isUncertain = isUncertain;
  const [status, title] = PROBLEMS[type];
  const traceId = request && traceIdOf(request);
  const problem: Problem = {
    type: `${base}problems/${type}`,
    title,
    status,
    ...(message === '' ? {} : { detail: message }),
    ...(traceId === undefined ? {} : { instance: `urn:trace:${traceId}` }),
    ...(errors === undefined ? {} : { errors: [...errors] }),
  };
  if (status === 503) reply.header('retry-after', String(retryAfterSeconds ?? 5));
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  return reply
    .code(status)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    .serializer(JSON.stringify)
    .send(problem);
}

/** Of a trace that goes on here, or that the caller names. */
function traceIdOf({ headers }: FastifyRequest): string | undefined {
  const own = trace.getActiveSpan()?.spanContext().traceId;
  const theirs = /^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/.exec(String(headers.traceparent ?? ''))?.[1];
  return own ?? theirs;
}

/** What an error becomes. `log`: hears what nobody expected. */
export function refusedFor(error: unknown, log: Log): Refused {
  if (error instanceof Refused) return error;
  if (error instanceof EditRefused) return new Refused('conflict', sentence(error.message));
  if (error instanceof JobTaken) return new Refused('conflict', sentence(error.message));
  const { code, statusCode, validation, validationContext, name } = error as {
    code?: string;
    statusCode?: number;
    validation?: TLocalizedValidationError[];
    validationContext?: string;
    name?: string;
  };
  if (validation !== undefined) return invalid(validation, validationContext ?? 'body');
  if (code === 'FST_ERR_HANDLER_TIMEOUT')
    return new Refused('unavailable', 'There was no answer in time.', { isUncertain: true });
  if (name === 'NothingRead') return new Refused('unavailable', 'Postgres was not reached yet.');
  if (statusCode === 413) return new Refused('too-large', '');
  if (statusCode === 404) return new Refused('not-found', '');
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new Refused('invalid-request', UNREADABLE[statusCode] ?? 'The request can not be read.');
  return ofDatabase(error, log);
}
const UNREADABLE: Readonly<Record<number, string>> = {
  400: 'The body or the address can not be read: JSON is expected.',
  415: 'The body must be JSON, with content-type: application/json.',
};

function ofDatabase(error: unknown, log: Log): Refused {
  const { class: what, code, known } = classify(error);
  // Perhaps only the answer to an act that was done.
  if (code === '57014')
    return new Refused('heavy', 'Postgres ended it: it took longer than it may.', { isUncertain: true });
  if (code === '55P03')
    return new Refused('unavailable', 'Somebody else has locked what is needed: try again.', { isUncertain: true });
  if (what === 'conflict')
    return new Refused('conflict', 'Somebody else is at work on the same rows. Nothing was changed; try again.');
  if (code === '25006') return new Refused('unavailable', 'Postgres is read-only at the moment.');
  if (what === 'infrastructure' && known)
    return new Refused('unavailable', `Postgres can not be reached (${code}).`, { isUncertain: true });
  // Data exceptions: our own statements have none, so it is a value that was sent.
  if (code.startsWith('22')) return new Refused('invalid-request', 'A value is beyond what can be stored or compared.');
  // Of our own code: where it was. A driver's error holds the statement and its parameters, and a parser's what it could not read.
  const isOwn = what === 'defect' && OWN.has((error as Error).name);
  log.error(isOwn ? { err: error } : describe(error), 'a request failed');
  return new Refused('internal', '', { isUncertain: true });
}

const OWN = new Set(['TypeError', 'RangeError', 'ReferenceError']);

/** One for each field that does not fit, with a pointer to it: a query's and a path's by name. */
function invalid(validation: readonly TLocalizedValidationError[], context: string): Refused {
  const where = { querystring: 'query', params: 'path', headers: 'headers' }[context] ?? 'body';
  const faults = new Map<string, Fault>();
  for (const error of validation) {
    const [pointer, detail] = faultOf(error);
    // Of a union each branch complains: the last word is the union's own.
    if (error.keyword === 'anyOf' || !faults.has(pointer)) faults.set(pointer, { detail, pointer });
  }
  const errors = [...faults.values()].slice(0, 20);
  const names = errors.map(({ pointer }) => pointer).join(', ');
  return new Refused('invalid-request', `The ${where} does not fit${names === '' ? '' : `: ${names}`}.`, { errors });
}

function faultOf(error: TLocalizedValidationError): [pointer: string, detail: string] {
  const at = error.instancePath;
  if (error.keyword === 'required') return [`${at}/${error.params.requiredProperties[0]}`, 'is missing'];
  if (error.keyword === 'additionalProperties')
    return [
      at === '' ? '/' : at,
      `may not have more than its fields (${error.params.additionalProperties.length} more)`,
    ];
  if (error.keyword === 'boolean') return [at, 'is not known here'];
  if (error.keyword === 'anyOf') return [at, 'is none of what may stand here'];
  if (error.keyword === 'pattern') return [at, 'has characters that may not stand here'];
  return [at === '' ? '/' : at, error.message];
}

/** "there is no dead letter 7" → "There is no dead letter 7." */
function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}

/** A page about a type, for people who follow it. */
export function problemPage(type: ProblemType): string {
  const [status, title, remedy] = PROBLEMS[type];
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${type}</title><h1>${type} (${status})</h1><p>${title}.</p><p>${remedy}</p>`;
}
