// The API's contract as a document: complete, and the same words everywhere.
import { describe, expect, test } from 'vitest';
import { openapi } from '../../src/api/openapi.ts';
import { ADVICE } from '../../src/api/shown.ts';
import { DEAD_CODES } from '../../src/events.ts';

type Operation = {
  operationId: string;
  summary?: string;
  tags: string[];
  parameters?: { in: string; name: string }[];
  responses: Record<string, { content: Record<string, { schema: { $ref?: string } }> }>;
};
const document = (await openapi()) as unknown as {
  paths: Record<string, Record<string, Operation>>;
  components: object;
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

describe('every operation', () => {
  test('has a name of its own and a sentence', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(operations.filter(({ operation }) => !/^[A-Z].*\.$/.test(operation.summary ?? ''))).toEqual([]);
    expect(ids.filter((id) => !/^[a-z][A-Za-z]+$/.test(id))).toEqual([]);
  });

  test('says what a problem looks like, and an act that it may be sent again', () => {
    for (const { path, method, operation } of operations) {
      expect(operation.responses.default?.content['application/problem+json']?.schema.$ref, path).toMatch(/Problem$/);
      const mayRepeat = operation.parameters?.some(({ name }) => name === 'idempotency-key') ?? false;
      const acts = method !== 'get' && !/what-if|log(in|out)$/.test(path);
      expect({ path, mayRepeat }).toEqual({ path, mayRepeat: acts });
    }
  });

  test('a list that goes on takes a limit and a cursor', () => {
    const paged = operations.filter(({ operation }) => operation.parameters?.some(({ name }) => name === 'cursor'));
    expect(paged.map(({ path }) => path.slice('/api/v1/'.length))).toEqual([
      'users',
      'users/{id}/history',
      'customers',
      'dead-letters',
      'waiting',
      'jobs',
      'audit',
    ]);
    for (const { operation } of paged) expect(operation.parameters?.map(({ name }) => name)).toContain('limit');
  });
});

test('a schema of the contract stands there once, under its name', () => {
  const text = JSON.stringify(document.paths);
  expect(text).not.toContain('"fold"'); // of UserAt
  expect(text.match(/"\$ref":"#\/components\/schemas\/\w+"/g)?.length).toBeGreaterThan(60);
});

test('there is advice for every code of a dead letter', () => {
  expect(Object.keys(ADVICE).sort()).toEqual([...DEAD_CODES].sort());
});
