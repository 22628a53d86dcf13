// Addresses of the console: ids that hold anything, a base path, filters that survive a link.
import { describe, expect, test } from 'vitest';
import { match, path, pathOf, queryOf, searchOf } from '../../console/src/router.ts';
import { ROUTES, routeOf } from '../../console/src/routes.ts';

describe('an Auth0 id gets through an address whole', () => {
  test.each(['auth0|64f1', 'a/b', 'ü ?#&%', '100%'])('%s', (id) => {
    const address = path`/users/${id}`;
    expect(address.split('/')).toHaveLength(3);
    expect(match('/users/:id', address)).toEqual({ id });
  });
});

test('a path that can not be decoded, is too short or too long is no view', () => {
  expect(match('/users/:id', '/users/%')).toBeUndefined();
  expect(match('/users/:id', '/users/')).toBeUndefined();
  expect(match('/users/:id', '/users/a/b')).toBeUndefined();
  expect(match('/users', '/waiting')).toBeUndefined();
});

test('a list and one of it share a view, so that the list stays when one is opened', () => {
  expect(routeOf('/dead-letters')?.route.name).toBe(routeOf('/dead-letters/7')?.route.name);
  expect(routeOf('/dead-letters/7')?.params).toEqual({ id: '7' });
  expect(routeOf('/nowhere')).toBeUndefined();
});

test('every path leads to its own route', () => {
  for (const route of ROUTES) expect(routeOf(route.path.replace(':id', 'x'))?.route).toBe(route);
});

describe('under a base path', () => {
  test('paths are read without it, whether or not a slash ends them', () => {
    expect(pathOf('/ops/users', '/ops/')).toBe('/users');
    expect(pathOf('/ops/users/', '/ops/')).toBe('/users');
    expect(pathOf('/ops/', '/ops/')).toBe('/');
    expect(pathOf('/', '/')).toBe('/');
  });
  test('an encoded slash stays encoded', () => expect(pathOf('/ops/users/a%2Fb', '/ops/')).toBe('/users/a%2Fb'));
});

test('filters come back from the address as they were set, and empty ones are not in it', () => {
  const search = searchOf({ q: 'auth0|a&b', state: undefined, customer: '', version: 0 });
  expect(search).toBe('?q=auth0%7Ca%26b&version=0');
  expect(queryOf(search)).toEqual({ q: 'auth0|a&b', version: '0' });
  expect(searchOf({ q: '' })).toBe('');
});

test('a filter that is said twice counts once', () => expect(queryOf('?a=1&a=2&b=')).toEqual({ a: '1' }));
