// api.ts — asking the API of a service as a page or a program would, and whether what it says is what its contract says.
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { Value } from 'typebox/value';
import { expect } from 'vitest';
import { Problem } from '../../src/api/contract.ts';

/** What makes a POST one of the console's own. */
export const OWN = { 'x-requested-with': 'customer-service-console' };

export type Asked = { method?: string; headers?: Record<string, string>; body?: unknown };
export type Answer = { status: number; headers: Headers; text: string; json: unknown };

export async function ask(
  url: string,
  path: string,
  { method = 'GET', headers = {}, body }: Asked = {},
): Promise<Answer> {
  const isSent = body !== undefined;
  const answer = await fetch(`${url}${path}`, {
    method,
    headers: { ...(isSent ? { 'content-type': 'application/json' } : {}), ...headers },
    ...(isSent ? { body: typeof body === 'string' ? body : JSON.stringify(body) } : {}),
    redirect: 'manual',
  });
  const text = await answer.text();
  const isJson = /[/+]json/.test(answer.headers.get('content-type') ?? '');
  return { status: answer.status, headers: answer.headers, text, json: isJson ? JSON.parse(text) : undefined };
}

/** The reply is exactly what its schema says: every field, and none beside them. */
export function expectFits<T extends TSchema>(schema: T, value: unknown): asserts value is Static<T> {
  expect([...Compile(schema).Errors(value)]).toEqual([]);
  expect(value, 'fields beside those of the schema').toEqual(Value.Clean(schema, structuredClone(value)));
}

/** A problem of this type; returns it. */
export function expectProblem({ status, headers, json }: Answer, type: string, of: number): Static<typeof Problem> {
  expectFits(Problem, json);
  expect({ status, type: json.type }).toEqual({ status: of, type: `/problems/${type}` });
  expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(json.status).toBe(of);
  return json;
}
