// The Idempotency-Key of an act: for which act it is, and whose.
import { expect } from 'vitest';
import { ask, expectProblem, OWN } from '../support/api.ts';
import { test } from '../support/world.ts';

const KEY = { 'idempotency-key': 'k1' };

test('with the key of an act the same act on something else is a conflict, and is not done', async ({ world }) => {
  const { url } = await world.service();
  for (const id of ['a', 'b'])
    await ask(url, '/api/v1/holds', { method: 'POST', headers: OWN, body: { kind: 'user', id, reason: 'x' } });
  const release = (id: string) =>
    ask(url, `/api/v1/holds/user/${id}`, { method: 'DELETE', headers: { ...OWN, ...KEY } });
  expect((await release('a')).status).toBe(200);
  expect(expectProblem(await release('b'), 'conflict', 409).detail).toMatch(/another act/);
  expect(await world.sql`select id from holds`).toEqual([{ id: 'b' }]);
  expect((await release('a')).headers.get('idempotency-replayed')).toBe('true');
});

test('the key of one person is none of another’s: both acts are done, and neither sees the answer of the other', async ({
  world,
}) => {
  const token = 'an-operator-token-of-26-s';
  const local = await world.service();
  const remote = await world.service({ AUTH_MODE: 'token', AUTH_OPERATOR_TOKEN: token });
  const hold = (url: string, id: string, headers: Record<string, string>) =>
    ask(url, '/api/v1/holds', {
      method: 'POST',
      headers: { ...headers, ...KEY },
      body: { kind: 'user', id, reason: 'x' },
    });
  const answers = [
    await hold(local.url, 'a', OWN),
    await hold(remote.url, 'b', { authorization: `Bearer ${token}` }),
    await hold(local.url, 'a', OWN),
  ];
  expect(answers.map(({ status, json }) => [status, (json as { byWhom: string }).byWhom])).toEqual([
    [201, 'local'],
    [201, 'operator'],
    [201, 'local'],
  ]);
});
