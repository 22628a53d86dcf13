// The way of a batch from the log to the tables: what each event leads to, what history says of it, and what the log says.
import { describe, expect } from 'vitest';
import type { EventUserType } from '../../machines/index.ts';
import {
  type Arrival,
  AT,
  cloudEvent,
  customerCreated,
  debezium,
  nestRecord,
  plain,
  rawRecord,
  roleChanged,
  statusChanged,
  structured,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { type Lines, test, until, type World } from '../support/world.ts';

/** Minutes after AT. */
const later = (minutes: number) => new Date(Date.parse(AT) + minutes * 60_000).toISOString();

async function users(world: World) {
  return [...(await world.sql`select user_id, state, version, waiting from users order by user_id`)];
}
async function outcomes(world: World) {
  const rows = await world.sql`select type, outcome from history order by topic, partition, "offset"`;
  return rows.map(({ type, outcome }) => `${type} ${outcome}`);
}

describe('every dialect leads to the same user', () => {
  const dialects: Record<string, (type: string, payload: object) => Arrival> = {
    cloudevents: (type, payload) => cloudEvent(type, payload, { id: `${type}-1` }),
    'cloudevents-structured': (type, payload) => structured(type, payload, { id: `${type}-1` }),
    nest: (type, payload) => nestRecord(type, payload),
    debezium: (type, payload) => debezium(type, payload, { id: `${type}-1` }),
    plain: (type, payload) => plain(type, payload),
  };
  test.for(Object.entries(dialects))('%s', async ([dialect, wrap], { world }) => {
    const { source } = await world.service();
    world.log.append(wrap('CUSTOMER_CREATED', customerCreated()));
    await source.drain();
    world.log.append(wrap('USER_CREATED', userCreated()));
    await source.drain();
    world.log.append(wrap('USER_STATUS_CHANGED', statusChanged()));
    await source.drain();
    world.log.append(wrap('USER_ROLE_CHANGED', roleChanged({ newRole: 'SME_USER', timestamp: later(1) })));
    await source.drain();
    expect(await users(world)).toEqual([{ user_id: 'auth0|u1', state: 'roleChanged', version: 3, waiting: 0 }]);
    world.log.append(wrap('USER_DELETED', userDeleted({ timestamp: later(2) })));
    await source.drain();

    expect(await users(world)).toEqual([{ user_id: 'auth0|u1', state: 'deleted', version: 4, waiting: 0 }]);
    expect(await world.sql`select distinct dialect from history`).toEqual([{ dialect }]);
    expect(await world.sql`select count(*)::int as n from history where outcome = 'applied'`).toEqual([{ n: 5 }]);
  });
});

describe("the seed's rules", () => {
  const mapping: [EventUserType, string, string, boolean][] = [
    ['SME_USER', 'CUSTOMER_USER', 'SME', false],
    ['SME_OWNER', 'CUSTOMER_ADMIN', 'SME', true],
    ['INSTITUTION_USER', 'CUSTOMER_USER', 'FINANCIAL_INSTITUTION', false],
    ['INSTITUTION_ADMIN', 'CUSTOMER_ADMIN', 'FINANCIAL_INSTITUTION', true],
  ];
  test.for(mapping)('%s becomes %s of %s, owner: %s', async ([userType, role, type, owner], { world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'Ours' }), { id: 'c' }),
      cloudEvent('USER_CREATED', userCreated({ userType, role: 'their word', customerName: 'Theirs' }), { id: 'u' }),
    );
    await source.drain();
    expect(
      await world.sql`select u.*, c.name as customer from users u join customers c using (customer_id)`,
    ).toMatchObject([
      {
        ...{ user_id: 'auth0|u1', customer_id: 'c1', state: 'pending', role, user_type: type, is_company_owner: owner },
        ...{ source_role: 'their word', email: 'ada@example.com', name: 'Ada Lovelace', customer: 'Ours' },
        ...{ created_at: new Date(AT), deleted_at: null },
      },
    ]);
  });

  test('a user without a customer is created without one', async ({ world }) => {
    const { source } = await world.service();
    const { customerAccountId: _, ...payload } = userCreated();
    world.log.append(cloudEvent('USER_CREATED', payload));
    await source.drain();
    expect(await world.sql`select state, customer_id from users`).toEqual([{ state: 'pending', customer_id: null }]);
  });

  test('an existing user is skipped, keeps its data, and no line at info or above says so', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }),
      cloudEvent('USER_CREATED', userCreated(), { id: 'u' }),
    );
    await source.drain();
    const before = world.lines.length;
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ name: 'Somebody Else', userType: 'SME_USER' }), { id: 'again' }),
    );
    await source.drain();
    expect(await world.sql`select name, user_type, is_company_owner, version from users`).toEqual([
      { name: 'Ada Lovelace', user_type: 'SME', is_company_owner: true, version: 2 },
    ]);
    expect(await outcomes(world)).toEqual(['CUSTOMER_CREATED applied', 'USER_CREATED applied', 'USER_CREATED skipped']);
    expect(world.lines.slice(before).filter(({ level }) => level !== 'debug')).toEqual([]);
  });

  test('an unknown customer is a warning, creates nothing, and the event waits', async ({ world }) => {
    const { source } = await world.service();
    world.log.append(
      cloudEvent('USER_CREATED', userCreated({ customerAccountId: 'nobody' }), { id: 'u' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 's' }),
    );
    await source.drain();
    expect(await users(world)).toEqual([]);
    expect(await world.sql`select count(*)::int as n from customers`).toEqual([{ n: 0 }]);
    expect(await world.sql`select type, reason, customer_id from waiting order by "offset"`).toEqual([
      { type: 'USER_CREATED', reason: 'customer', customer_id: 'nobody' },
      { type: 'USER_STATUS_CHANGED', reason: 'order', customer_id: null },
    ]);
    const warnings = eventLines(world).filter(({ level }) => level === 'warn');
    expect(warnings).toMatchObject([
      { 'customer_service.event.type': 'USER_CREATED', 'customer_service.reason': 'customer' },
    ]);
    expect(String(warnings[0]?.msg)).toContain('customer not found');
  });

  test('statuses move the user, INACTIVE is SUSPENDED, an equal one is skipped', async ({ world }) => {
    const { source } = await world.service();
    const moves = [
      ['PENDING', 'pending', 'skipped'],
      ['ACTIVE', 'active', 'applied'],
      ['ACTIVE', 'active', 'skipped'],
      ['INACTIVE', 'suspended', 'applied'],
      ['SUSPENDED', 'suspended', 'skipped'],
      ['PENDING', 'pending', 'applied'],
      ['SUSPENDED', 'suspended', 'applied'],
      ['ACTIVE', 'active', 'applied'],
    ] as const;
    const { customerAccountId: _, ...payload } = userCreated();
    world.log.append(cloudEvent('USER_CREATED', payload, { id: 'u' }));
    for (const [n, [newStatus]] of moves.entries())
      world.log.append(cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus }), { id: `s${n}` }));
    await source.drain();
    const rows = await world.sql`select to_state, outcome from history where version > 1 order by version`;
    expect([...rows]).toEqual(moves.map(([, to_state, outcome]) => ({ to_state, outcome })));
  });

  test('a role change gives the whole row of the mapping, marks an active user, and ACTIVE confirms it', async ({
    world,
  }) => {
    const { source } = await world.service();
    const { customerAccountId: _, ...payload } = userCreated({ userType: 'SME_USER' });
    const events = [
      ['USER_CREATED', payload],
      ['USER_ROLE_CHANGED', roleChanged({ newRole: 'CUSTOMER_ADMIN' })],
      ['USER_STATUS_CHANGED', statusChanged()],
      ['USER_ROLE_CHANGED', roleChanged({ newRole: 'INSTITUTION_USER' })],
      ['USER_ROLE_CHANGED', roleChanged({ newRole: 'CUSTOMER_USER' })],
      ['USER_STATUS_CHANGED', statusChanged()],
    ] as const;
    const seen: unknown[] = [];
    for (const [n, [type, body]] of events.entries()) {
      world.log.append(cloudEvent(type, body, { id: `e${n}` }));
      await source.drain();
      const [row] = await world.sql`select state, role, user_type, is_company_owner from users`;
      seen.push(Object.values(row ?? {}));
    }
    expect(seen).toEqual([
      ['pending', 'CUSTOMER_USER', 'SME', false],
      ['pending', 'CUSTOMER_ADMIN', 'SME', true],
      ['active', 'CUSTOMER_ADMIN', 'SME', true],
      ['roleChanged', 'CUSTOMER_USER', 'FINANCIAL_INSTITUTION', false],
      ['roleChanged', 'CUSTOMER_USER', 'FINANCIAL_INSTITUTION', false],
      ['active', 'CUSTOMER_USER', 'FINANCIAL_INSTITUTION', false],
    ]);
    expect((await outcomes(world)).at(4)).toBe('USER_ROLE_CHANGED skipped');
  });

  test('a deleted user is kept, and everything after is rejected', async ({ world }) => {
    const { source } = await world.service();
    const { customerAccountId: _, ...payload } = userCreated();
    world.log.append(
      cloudEvent('USER_CREATED', payload, { id: '1' }),
      cloudEvent('USER_DELETED', userDeleted({ timestamp: later(1) }), { id: '2' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: '3' }),
      cloudEvent('USER_CREATED', payload, { id: '4' }),
      cloudEvent('USER_DELETED', userDeleted(), { id: '5' }),
    );
    await source.drain();
    expect(await world.sql`select state, version, deleted_at, email from users`).toEqual([
      { state: 'deleted', version: 5, deleted_at: new Date(later(1)), email: 'ada@example.com' },
    ]);
    expect((await outcomes(world)).map((text) => text.split(' ')[1])).toEqual([
      ...['applied', 'applied', 'rejected', 'rejected', 'rejected'],
    ]);
  });

  test('a customer is created, renamed, left alone when equal, and never renamed by an older event', async ({
    world,
  }) => {
    const { source } = await world.service();
    const customer = (id: string, name: string, timestamp: string, partition = 0) =>
      world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated({ name, timestamp }), { id, partition }));
    customer('1', 'First', later(0));
    customer('2', 'First', later(1));
    customer('3', 'Second', later(2));
    await source.drain();
    customer('4', 'Old', later(1), 1); // from another source: the timestamp decides
    await source.drain();
    customer('5', 'Third', later(0)); // in its own source the offset does
    await source.drain();
    expect(await world.sql`select customer_id, name from customers`).toEqual([{ customer_id: 'c1', name: 'Third' }]);
    const rows = await world.sql`select event_id, outcome from history order by event_id`;
    expect(rows.map(({ outcome }) => outcome)).toEqual(['applied', 'skipped', 'applied', 'stale', 'applied']);
  });

  test('an event sent twice counts once, whatever partition it comes by', async ({ world }) => {
    const { source } = await world.service();
    const { customerAccountId: _, ...payload } = userCreated();
    world.log.append(
      cloudEvent('USER_CREATED', payload, { id: '1' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED' }), { id: '2' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'ACTIVE', timestamp: later(1) }), { id: '3' }),
    );
    await source.drain();
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED' }), { id: '2' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'SUSPENDED' }), { id: '2', partition: 1 }),
      // The same id with another content is another event: nothing is lost to a producer that reuses ids.
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ newStatus: 'PENDING', timestamp: later(2) }), { id: '2' }),
    );
    await source.drain();
    expect(await users(world)).toMatchObject([{ state: 'pending', version: 6 }]);
    expect(await world.sql`select count(*)::int as n from history where outcome = 'duplicate'`).toEqual([{ n: 2 }]);
  });
});

describe('history', () => {
  test('keeps the text as received, the facts, the way through the machine and where it came from', async ({
    world,
  }) => {
    const { source } = await world.service();
    // Spaces, escapes, unknown fields, numbers that a parser would write in another way: all stay.
    const text = `{ "userId":"auth0|u1",\n\t"email":"ada@example.com","name":"Ad\\u0061 \\/ L","role":"OWNER" ,"userType":"SME_OWNER","timestamp":"${AT}","extra":1.0, "more":[ 1e2 ] }`;
    const status = statusChanged({ previousStatus: 'SUSPENDED', timestamp: later(30) });
    world.log.append(
      cloudEvent('USER_CREATED', text, { id: 'created' }),
      // 30 minutes ahead of its own record: counts as 5 minutes ahead.
      cloudEvent('USER_STATUS_CHANGED', status, { id: 'moved', timestampMs: Date.parse(AT) }),
    );
    await source.drain();
    const rows = await world.sql`
      select topic, partition, generation, "offset", user_id, customer_id, version, type, outcome, from_state, to_state, transition,
             drift, event::text as event, facts, occurred_at, dialect, event_id, machine_version, recorded_at > now() - interval '1 minute' as fresh
        from history order by "offset"`;
    const hash = expect.stringMatching(/^[0-9a-f]{16}$/);
    const common = { topic: 'user-events', partition: 0, generation: 0, user_id: 'auth0|u1', customer_id: null };
    expect([...rows]).toEqual([
      {
        ...{ ...common, offset: '0', version: 1, type: 'USER_CREATED', outcome: 'applied', event: text },
        ...{ from_state: 'absent', to_state: 'pending', transition: 'absent|USER_CREATED|0', drift: false },
        ...{ facts: { hash, customerKnown: true }, occurred_at: new Date(AT), dialect: 'cloudevents' },
        ...{ event_id: 'created', machine_version: 1, fresh: true },
      },
      {
        ...{ ...common, offset: '1', version: 2, type: 'USER_STATUS_CHANGED', outcome: 'applied' },
        ...{ event: JSON.stringify(status), facts: { hash, atMs: Date.parse(later(5)) } },
        ...{ from_state: 'pending', to_state: 'active', transition: 'pending|USER_STATUS_CHANGED|2', drift: true },
        ...{
          occurred_at: new Date(later(30)),
          dialect: 'cloudevents',
          event_id: 'moved',
          machine_version: 1,
          fresh: true,
        },
      },
    ]);
  });

  test('can not be altered: update, delete and truncate are refused', async ({ world }) => {
    const { source } = await world.service();
    const { customerAccountId: _, ...payload } = userCreated();
    world.log.append(cloudEvent('USER_CREATED', payload));
    await source.drain();
    const before = await world.sql`select * from history`;
    for (const statement of [
      `update history set outcome = 'stale'`,
      `update history set outcome = outcome where false`,
      'delete from history',
      'truncate history',
      'truncate history cascade',
    ])
      await expect(world.sql.unsafe(statement), statement).rejects.toThrow(/append-only/);
    expect(await world.sql`select * from history`).toEqual(before);
  });
});

describe('a bad record stops nobody', () => {
  test('its bytes are kept as they came, the others are saved', async ({ world }) => {
    const { source } = await world.service();
    const value = Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]);
    const key = Buffer.from([0x00, 0xff]);
    world.log.append(
      rawRecord(value, {
        key,
        headers: [
          ['x', 'a'],
          ['x', null],
          ['', Buffer.from([0xff])],
        ],
      }),
      cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }),
      cloudEvent('USER_CREATED', '{"userId": "auth0|u1", "name": ', { id: 'broken' }),
      cloudEvent('USER_CREATED', userCreated(), { id: 'u' }),
      cloudEvent('SOMETHING_ELSE', userCreated(), { id: 'other' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 's' }),
    );
    await source.drain();
    expect(await users(world)).toMatchObject([{ state: 'active', version: 2 }]);
    const dead =
      await world.sql`select "offset", code, key, value, headers, blocks from dead_letters order by "offset"`;
    expect(dead.map(({ code }) => code)).toEqual(['utf8', 'json', 'unknown-type']);
    expect(dead[0]).toMatchObject({
      ...{ offset: '0', key, value, blocks: false },
      headers: [
        [Buffer.from('x').toString('base64'), Buffer.from('a').toString('base64')],
        [Buffer.from('x').toString('base64'), null],
        ['', Buffer.from([0xff]).toString('base64')],
      ],
    });
  });
});

describe('what the log says', () => {
  test('type, hashed user, outcome and reason of each event', async ({ world }) => {
    const { source } = await world.service({ LOG_USER_IDS: 'hashed' });
    world.log.append(
      cloudEvent('USER_CREATED', userCreated(), { id: 'u' }),
      cloudEvent('USER_STATUS_CHANGED', statusChanged(), { id: 's' }),
      rawRecord('{'),
    );
    await source.drain();
    const told = eventLines(world).sort((a, b) => Number(a[OFFSET]) - Number(b[OFFSET]));
    const hash = told[0]?.['user.hash'];
    expect(hash).toMatch(/^[0-9a-f]{16}$/);
    expect(told).toMatchObject([
      {
        ...{ level: 'warn', 'customer_service.event.type': 'USER_CREATED', 'customer_service.outcome': 'waiting' },
        ...{ 'customer_service.reason': 'customer', 'user.hash': hash, 'messaging.kafka.offset': 0 },
      },
      {
        ...{ level: 'info', 'customer_service.event.type': 'USER_STATUS_CHANGED', 'user.hash': hash },
        ...{ 'customer_service.outcome': 'waiting', 'customer_service.reason': 'order', 'messaging.kafka.offset': 1 },
      },
      { level: 'warn', 'customer_service.outcome': 'dead', 'customer_service.dead_letter.code': 'json' },
    ]);
    world.log.append(cloudEvent('CUSTOMER_CREATED', customerCreated(), { id: 'c' }));
    await source.drain();
    // What a drain released is told as well.
    await until(() => {
      const applied = eventLines(world).filter((line) => line['customer_service.outcome'] === 'applied');
      expect(applied.filter((line) => line['user.hash'] === hash)).toHaveLength(2);
    });
  });

  test('never an e-mail address, a name or a user id, not even when Postgres refuses', async ({ world }) => {
    const secret = { email: 'canary-mail@example.com', name: 'Canary Name', userId: 'auth0|canary' };
    const { source } = await world.service({ LOG_LEVEL: 'trace' });
    await world.sql.unsafe(`alter table users add constraint no_canary check (name <> 'Canary Name' or version < 2)`);
    world.log.append(
      cloudEvent('CUSTOMER_CREATED', customerCreated({ name: 'Canary Customer' }), { id: 'c' }),
      cloudEvent('USER_CREATED', userCreated(secret), { id: 'u' }),
      cloudEvent('USER_CREATED', userCreated({ ...secret, customerAccountId: 'unknown' }), { id: 'again' }),
      cloudEvent('USER_CREATED', { ...userCreated(secret), timestamp: 'canary time' }, { id: 'bad' }),
      rawRecord('{"canary": "canary-mail@example.com"'),
    );
    await source.drain();
    // A row somebody removed the column of: every statement's text and detail would hold the row.
    await world.sql.unsafe('alter table users rename column email to e_mail');
    world.log.append(
      cloudEvent('USER_STATUS_CHANGED', statusChanged({ ...secret, changedBy: 'canary-by' }), { id: 's' }),
    );
    await source.drain();
    await world.sql.unsafe('alter table users rename column e_mail to email');
    expect(await world.sql`select state from positions where state = 'halted'`).toHaveLength(1);
    expect(eventLines(world)).toHaveLength(5);
    const text = JSON.stringify(world.lines);
    expect(text).toContain('42703');
    expect(text).not.toMatch(/canary/i);
    expect(
      await world.sql`select message, stack from dead_letters where message ~* 'canary' or stack ~* 'canary'`,
    ).toEqual([]);
    expect(await world.sql`select 1 from positions where halted_reason ~* 'canary'`).toEqual([]);
  });
});

const OFFSET = 'messaging.kafka.offset';
function eventLines({ lines }: Lines) {
  return lines.filter((line) => line['customer_service.outcome'] !== undefined);
}
