import { afterAll, describe, expect, test } from 'vitest';
import { cloudEvent, customerCreated, statusChanged, userCreated } from '../support/records.ts';
import { createWorld } from '../support/world.ts';

const world = await createWorld();
afterAll(() => world.close());

describe('a batch', () => {
  test('creates its users, moves them, and is saved with its position', async () => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated({ customerAccountId: 'acme' })),
      cloudEvent('USER_CREATED', userCreated({ userId: 'auth0|1', customerAccountId: 'acme' })),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ userId: 'auth0|1', newStatus: 'ACTIVE' })),
    );
    await source.drain();
    expect([...(await world.sql`select user_id, state, version, waiting from users`)]).toEqual([
      { user_id: 'auth0|1', state: 'active', version: 2, waiting: 0 },
    ]);
    await world.expectSound();
  });
});
