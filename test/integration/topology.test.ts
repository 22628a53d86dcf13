// The seed's topology: the events of one user come by three topics, without keys. Whatever the order of delivery, the user
// is the same in the end.
import { describe, expect } from 'vitest';
import { AT_MS, nestRecord, roleChanged, statusChanged, userCreated } from '../support/records.ts';
import { test, until } from '../support/world.ts';

const later = (minutes: number) => new Date(AT_MS + minutes * 60_000).toISOString();
type Status = 'PENDING' | 'ACTIVE' | 'SUSPENDED';
type RoleWord = 'SME_USER' | 'SME_OWNER' | 'INSTITUTION_USER' | 'INSTITUTION_ADMIN' | 'CUSTOMER_USER';
type Script = { statuses: [Status, number][]; roles: [RoleWord, number][]; ends: object };

/** What the producers did, with minutes; the user is created as SME_USER at 0. */
const SCRIPTS: Record<string, Script> = {
  'active, role, active again, another role': {
    statuses: [
      ['ACTIVE', 1],
      ['ACTIVE', 3],
    ],
    roles: [
      ['SME_OWNER', 2],
      ['INSTITUTION_USER', 4],
    ],
    ends: { state: 'roleChanged', role: 'CUSTOMER_USER', user_type: 'FINANCIAL_INSTITUTION', is_company_owner: false },
  },
  'both roles before both statuses': {
    statuses: [
      ['SUSPENDED', 3],
      ['ACTIVE', 4],
    ],
    roles: [
      ['INSTITUTION_ADMIN', 1],
      ['SME_OWNER', 2],
    ],
    ends: { state: 'active', role: 'CUSTOMER_ADMIN', user_type: 'SME', is_company_owner: true },
  },
  'both statuses before both roles': {
    statuses: [
      ['SUSPENDED', 1],
      ['ACTIVE', 2],
    ],
    roles: [
      ['INSTITUTION_ADMIN', 3],
      ['CUSTOMER_USER', 4],
    ],
    ends: { state: 'roleChanged', role: 'CUSTOMER_USER', user_type: 'FINANCIAL_INSTITUTION', is_company_owner: false },
  },
  'suspended at the end': {
    statuses: [
      ['ACTIVE', 1],
      ['SUSPENDED', 4],
    ],
    roles: [
      ['SME_OWNER', 2],
      ['INSTITUTION_ADMIN', 3],
    ],
    ends: { state: 'suspended', role: 'CUSTOMER_ADMIN', user_type: 'FINANCIAL_INSTITUTION', is_company_owner: true },
  },
};

/** Every order in which 1 creation, 2 statuses and 2 roles can arrive, each topic's own order kept: 30. */
function interleavings(left: { c: number; s: number; r: number }): string[] {
  if (left.c + left.s + left.r === 0) return [''];
  return (['c', 's', 'r'] as const).flatMap((next) =>
    left[next] === 0 ? [] : interleavings({ ...left, [next]: left[next] - 1 }).map((rest) => next + rest),
  );
}
const TOPICS = { c: 'USER_CREATED', s: 'USER_STATUS_CHANGED', r: 'USER_ROLE_CHANGED' } as const;

describe('one user by three topics', () => {
  test.for(Object.entries(SCRIPTS))('%s: the same user in all 30 orders of delivery', async ([, script], { world }) => {
    const { source } = await world.service();
    const orders = interleavings({ c: 1, s: 2, r: 2 });
    expect(orders).toHaveLength(30);
    // A user and a partition for each order, so that the offsets are alike as well.
    for (const [partition] of orders.entries()) {
      const userId = `u${partition}`;
      const over = { partition, timestampMs: AT_MS + 10 * 60_000 };
      const { statuses, roles } = script;
      world.log.append(
        nestRecord(TOPICS.c, userCreated({ userId, userType: 'SME_USER', customerAccountId: undefined }), over),
        ...statuses.map(([newStatus, at]) =>
          nestRecord(TOPICS.s, statusChanged({ userId, newStatus, timestamp: later(at) }), over),
        ),
        ...roles.map(([newRole, at]) =>
          nestRecord(TOPICS.r, roleChanged({ userId, newRole, timestamp: later(at) }), over),
        ),
      );
    }
    await source.assign();
    for (let step = 0; step < 5; step++)
      for (const [partition, order] of orders.entries())
        await source.deliver(TOPICS[order[step] as keyof typeof TOPICS], partition, { records: 1 });
    await until(async () => expect(await world.sql`select 1 from waiting`).toHaveLength(0));

    const rows = await world.sql`
      select state, role, user_type, is_company_owner, version, waiting, octet_length(ring) / 8 as ring, email, name, source_role,
             status_at_ms, status_offset, role_at_ms, role_offset, created_at, deleted_at,
             split_part(status_source, '/', 1) as status_topic, split_part(role_source, '/', 1) as role_topic
        from users order by user_id`;
    expect(rows).toHaveLength(30);
    expect(rows[0]).toMatchObject({ ...script.ends, version: 5, waiting: 0, ring: 5 });
    for (const row of rows) expect(row).toEqual(rows[0]);
  });
});
