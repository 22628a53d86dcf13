// The machine as one table: every state against every event. A cell is what the picture says; each has its title.
import { describe, expect, test } from 'vitest';
import { NOBODY, STATES, type State, type UserContext, type UserEvent, user, VERSION } from '../../machines/index.ts';

// A cell: the branch taken and what it does. `0 pending`: branch 0 leads to pending · `0 =`: branch 0 changes nothing,
// the event is skipped · `1 role`: the role is written, the state stays · `–`: no branch, the event is rejected (in
// `absent`: it waits). "older", "newer": than the last status or role change, which came from another source.
const TABLE = `
                                   | absent    | pending       | active             | suspended     | roleChanged | deleted
CREATED                            | 0 pending | 0 =           | 0 =                | 0 =           | 0 =         | –
CREATED, customer unknown          | –         | 0 =           | 0 =                | 0 =           | 0 =         | –
PENDING                            | –         | 0 =           | 1 pending          | 3 pending     | 2 pending   | –
PENDING, role is newer             | –         | 0 =           | 1 pending          | 3 pending     | 2 pending   | –
ACTIVE                             | –         | 2 active      | 0 =                | 2 active      | 1 active    | –
ACTIVE, role is newer              | –         | 1 roleChanged | 0 =                | 1 roleChanged | 0 =         | –
SUSPENDED                          | –         | 3 suspended   | 2 suspended        | 0 =           | 3 suspended | –
SUSPENDED, role is newer           | –         | 3 suspended   | 2 suspended        | 0 =           | 3 suspended | –
INACTIVE                           | –         | 3 suspended   | 2 suspended        | 0 =           | 3 suspended | –
INACTIVE, role is newer            | –         | 3 suspended   | 2 suspended        | 0 =           | 3 suspended | –
other role                         | –         | 1 role        | 2 roleChanged role | 1 role        | 1 role      | –
other role, status is newer        | –         | 1 role        | 1 role             | 1 role        | 1 role      | –
same role                          | –         | 0 =           | 0 =                | 0 =           | 0 =         | –
same role, status is newer         | –         | 0 =           | 0 =                | 0 =           | 0 =         | –
DELETED                            | –         | 0 deleted     | 0 deleted          | 0 deleted     | 0 deleted   | –
`;

/** An owner of a small company; USER_CREATED and a role of the same meaning leave it as it is. */
const OWNER: UserContext = {
  customerId: 'c1',
  email: 'ada@example.com',
  name: 'Ada',
  role: 'CUSTOMER_ADMIN',
  userType: 'SME',
  isCompanyOwner: true,
  sourceRole: 'OWNER',
};

function created(customerKnown: boolean): UserEvent {
  const payload = { userType: 'SME_USER', role: 'CLERK', email: 'bob@example.com', name: 'Bob' } as const;
  return { type: 'USER_CREATED', payload, facts: { customerKnown } };
}
function status(newStatus: 'PENDING' | 'ACTIVE' | 'SUSPENDED' | 'INACTIVE', roleIsNewer: boolean): UserEvent {
  return { type: 'USER_STATUS_CHANGED', payload: { newStatus }, facts: { roleIsNewer } };
}
type RoleWord = (UserEvent & { type: 'USER_ROLE_CHANGED' })['payload']['newRole'];
function role(newRole: RoleWord, statusIsNewer = false): UserEvent {
  return { type: 'USER_ROLE_CHANGED', payload: { newRole }, facts: { statusIsNewer } };
}

const EVENTS: Record<string, UserEvent> = {
  CREATED: created(true),
  'CREATED, customer unknown': created(false),
  ...Object.fromEntries(
    (['PENDING', 'ACTIVE', 'SUSPENDED', 'INACTIVE'] as const).flatMap((word) => [
      [word, status(word, false)],
      [`${word}, role is newer`, status(word, true)],
    ]),
  ),
  'other role': role('INSTITUTION_USER'),
  'other role, status is newer': role('INSTITUTION_USER', true),
  'same role': role('SME_OWNER'),
  'same role, status is newer': role('SME_OWNER', true),
  DELETED: { type: 'USER_DELETED', payload: {}, facts: {} },
};

const [head = [], ...rows] = TABLE.trim()
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()));
// The head's first cell is empty and trimmed away with the text.
const states = (head[0] === '' ? head.slice(1) : head) as State[];
const cells = rows.flatMap(([event = '', ...row]) =>
  states.map((state, i) => [event, state, row[i] as string] as const),
);

describe('every event in every state', () => {
  test('the table has all states and all events, and each branch of the definition is taken somewhere', () => {
    expect(states).toEqual(STATES);
    expect(rows.map(([event]) => event)).toEqual(Object.keys(EVENTS));
    const taken = cells.flatMap(([event, state]) => user.step(state, OWNER, EVENTS[event] as UserEvent) ?? []);
    expect(new Set(taken.map(({ transition }) => transition))).toEqual(new Set(user.branches.map(({ id }) => id)));
  });

  test.each(cells)('%s in %s: %s', (event, state, cell) => {
    const context = state === 'absent' ? NOBODY : OWNER;
    const step = user.step(state, context, EVENTS[event] as UserEvent);
    if (cell === '–') return expect(step).toBeUndefined();
    const [branch, ...effects] = cell.split(' ');
    const target = effects.find((word) => (STATES as readonly string[]).includes(word));
    expect(step).toMatchObject({
      transition: `${state}|${EVENTS[event]?.type}|${branch}`,
      state: target ?? state,
      changes: cell !== `${branch} =`,
    });
    const writes = effects.includes('role') || (state === 'absent' && target === 'pending');
    expect(step?.assigned !== undefined).toBe(writes);
  });
});

describe('a role word means one row of the mapping', () => {
  const FOUR: readonly [RoleWord, UserContext['role'], UserContext['userType'], boolean][] = [
    ['SME_USER', 'CUSTOMER_USER', 'SME', false],
    ['SME_OWNER', 'CUSTOMER_ADMIN', 'SME', true],
    ['INSTITUTION_USER', 'CUSTOMER_USER', 'FINANCIAL_INSTITUTION', false],
    ['INSTITUTION_ADMIN', 'CUSTOMER_ADMIN', 'FINANCIAL_INSTITUTION', true],
  ];

  test.each(FOUR)('a user created as %s is %s of type %s, owner: %s', (word, ...[role, userType, isCompanyOwner]) => {
    const payload = {
      userType: word as 'SME_USER',
      role: 'their word',
      email: 'a@b.c',
      name: 'A',
      customerAccountId: 'c9',
    };
    const step = user.step('absent', NOBODY, { type: 'USER_CREATED', payload, facts: { customerKnown: true } });
    expect(step?.assigned).toEqual({
      ...{ customerId: 'c9', email: 'a@b.c', name: 'A', sourceRole: 'their word' },
      ...{ role, userType, isCompanyOwner },
    });
  });

  test('a user created without a customer has none', () => {
    expect(user.step('absent', NOBODY, created(true))?.assigned?.customerId).toBeNull();
  });

  test.each(FOUR)(
    'a role changed to %s writes the whole row, whatever it was',
    (word, role, userType, isCompanyOwner) => {
      for (const [, ...before] of FOUR) {
        const context: UserContext = { ...OWNER, role: before[0], userType: before[1], isCompanyOwner: before[2] };
        const step = user.step('pending', context, {
          ...EVENTS['other role'],
          payload: { newRole: word },
        } as UserEvent);
        const after = { ...context, ...step?.assigned };
        expect(after).toEqual({ ...OWNER, role, userType, isCompanyOwner });
        const same = role === before[0] && userType === before[1] && isCompanyOwner === before[2];
        expect(step?.changes).toBe(!same);
      }
    },
  );

  test.each([
    ['CUSTOMER_USER', false],
    ['CUSTOMER_ADMIN', true],
  ] as const)('%s keeps the user type; owner: %s', (word, isCompanyOwner) => {
    for (const userType of ['SME', 'FINANCIAL_INSTITUTION'] as const) {
      const context: UserContext = { ...OWNER, role: 'CUSTOMER_ADMIN', userType, isCompanyOwner: false };
      const step = user.step('active', context, role(word));
      expect(step?.assigned).toEqual({ role: word, userType, isCompanyOwner });
    }
  });

  test.each([
    ['the role', { role: 'CUSTOMER_USER' }],
    ['the user type', { userType: 'FINANCIAL_INSTITUTION' }],
    ['the owner', { isCompanyOwner: false }],
  ] as const)('%s alone differs: that is a change', (_, other) => {
    expect(user.step('active', { ...OWNER, ...other }, role('SME_OWNER'))?.state).toBe('roleChanged');
  });
});

describe('what the rest of the system relies on', () => {
  test('a user starts absent and ends deleted, from which nothing leads', () => {
    expect([user.initial, user.finals]).toEqual(['absent', ['deleted']]);
    expect(user.branches.filter(({ source }) => source === 'deleted')).toEqual([]);
  });

  test('what changes nothing has neither target nor actions, and is skipped (M2)', () => {
    for (const { id, target, actions } of user.branches) {
      const [event, state] = cells.find(
        ([event, state]) => user.step(state, OWNER, EVENTS[event] as UserEvent)?.transition === id,
      ) as (typeof cells)[number];
      const step = user.step(state, OWNER, EVENTS[event] as UserEvent);
      expect(step?.changes, id).toBe(target !== undefined || actions.length > 0);
    }
  });

  test('the transitions are those of this VERSION (M3): change one, raise it', () => {
    const lines = user.branches.map(
      ({ id, guard, target, actions }) => `${id} [${guard ?? ''}] ${target ?? '='} ${actions.join()}`,
    );
    expect([`VERSION ${VERSION}`, ...lines]).toMatchInlineSnapshot(`
      [
        "VERSION 1",
        "absent|USER_CREATED|0 [customerKnown] pending create",
        "pending|USER_CREATED|0 [] = ",
        "pending|USER_STATUS_CHANGED|0 [toPending] = ",
        "pending|USER_STATUS_CHANGED|1 [toActiveBeforeRoleChange] roleChanged ",
        "pending|USER_STATUS_CHANGED|2 [toActive] active ",
        "pending|USER_STATUS_CHANGED|3 [toSuspended] suspended ",
        "pending|USER_ROLE_CHANGED|0 [sameRole] = ",
        "pending|USER_ROLE_CHANGED|1 [] = changeRole",
        "pending|USER_DELETED|0 [] deleted ",
        "active|USER_CREATED|0 [] = ",
        "active|USER_STATUS_CHANGED|0 [toActive] = ",
        "active|USER_STATUS_CHANGED|1 [toPending] pending ",
        "active|USER_STATUS_CHANGED|2 [toSuspended] suspended ",
        "active|USER_ROLE_CHANGED|0 [sameRole] = ",
        "active|USER_ROLE_CHANGED|1 [confirmedSince] = changeRole",
        "active|USER_ROLE_CHANGED|2 [] roleChanged changeRole",
        "active|USER_DELETED|0 [] deleted ",
        "suspended|USER_CREATED|0 [] = ",
        "suspended|USER_STATUS_CHANGED|0 [toSuspended] = ",
        "suspended|USER_STATUS_CHANGED|1 [toActiveBeforeRoleChange] roleChanged ",
        "suspended|USER_STATUS_CHANGED|2 [toActive] active ",
        "suspended|USER_STATUS_CHANGED|3 [toPending] pending ",
        "suspended|USER_ROLE_CHANGED|0 [sameRole] = ",
        "suspended|USER_ROLE_CHANGED|1 [] = changeRole",
        "suspended|USER_DELETED|0 [] deleted ",
        "roleChanged|USER_CREATED|0 [] = ",
        "roleChanged|USER_STATUS_CHANGED|0 [toActiveBeforeRoleChange] = ",
        "roleChanged|USER_STATUS_CHANGED|1 [toActive] active ",
        "roleChanged|USER_STATUS_CHANGED|2 [toPending] pending ",
        "roleChanged|USER_STATUS_CHANGED|3 [toSuspended] suspended ",
        "roleChanged|USER_ROLE_CHANGED|0 [sameRole] = ",
        "roleChanged|USER_ROLE_CHANGED|1 [] = changeRole",
        "roleChanged|USER_DELETED|0 [] deleted ",
      ]
    `);
  });
});
