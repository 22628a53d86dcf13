// What if another machine had run all along? What would be otherwise is counted, with examples, and nothing is written.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { MACHINE, type Machine } from '../../machines/index.ts';
import { machineFrom } from '../../src/cli/replay.ts';
import type { Selection } from '../../src/history.ts';
import { hasChanged, type ReplayOptions, redefined, replay } from '../../src/replay.ts';
import { type Ended, interruptWhileReading, runProgram } from '../support/program.ts';
import {
  type Arrival,
  cloudEvent,
  customerCreated,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from '../support/records.ts';
import { createWorld, test, type World } from '../support/world.ts';

// Machines: copies of ours, changed, in an ignored folder where xstate is found.

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
mkdirSync(join(ROOT, 'tmp'), { recursive: true });
const FOLDER = mkdtempSync(join(ROOT, 'tmp', 'replay-'));
afterAll(() => rmSync(FOLDER, { recursive: true }));

type Changes = Record<string, readonly (readonly [string, string])[]>;

/** A copy of `machines/` in which these texts stand for those; each must be there. */
function machines(name: string, changes: Changes): string {
  const folder = join(FOLDER, name);
  cpSync(join(ROOT, 'machines'), folder, { recursive: true });
  for (const [file, replacements] of Object.entries(changes)) {
    let text = readFileSync(join(folder, file), 'utf8');
    for (const [before, after] of replacements) {
      expect(text, `${file}: ${before}`).toContain(before);
      text = text.replace(before, after);
    }
    writeFileSync(join(folder, file), text);
  }
  return folder;
}

const RAISED = ['export const VERSION = 1;', 'export const VERSION = 2;'] as const;
const SUSPENDED = readFileSync(join(ROOT, 'machines/user.ts'), 'utf8').match(
  /^ {4}suspended: \{[\s\S]*?^ {4}\},$/m,
)?.[0] as string;
/** A suspended user's new role is to be confirmed too. */
const CONFIRMS: Changes = {
  'user.ts': [
    RAISED,
    [SUSPENDED, SUSPENDED.replace("{ actions: 'changeRole' }", "{ target: 'roleChanged', actions: 'changeRole' }")],
  ],
};
const confirms = join(machines('confirms', CONFIRMS), 'user.ts');

/** The example of machines/README.md. */
const locks = machines('locks', {
  'roles.ts': [
    ["'INACTIVE'] as const", "'INACTIVE', 'LOCKED'] as const"],
    ["'pending' | 'active' | 'suspended'>", "'pending' | 'active' | 'suspended' | 'locked'>"],
    ["INACTIVE: 'suspended',", "INACTIVE: 'suspended', LOCKED: 'locked',"],
  ],
  'user.ts': [
    RAISED,
    ["'roleChanged', 'deleted'] as const", "'roleChanged', 'locked', 'deleted'] as const"],
    [
      'guards: {',
      "guards: { toLocked: ({ event }) => event.type === 'USER_STATUS_CHANGED' && STATUS_STATE[event.payload.newStatus] === 'locked',",
    ],
    [
      "{ guard: 'toSuspended', target: 'suspended' },\n        ],\n        USER_ROLE_CHANGED: [\n",
      "{ guard: 'toSuspended', target: 'suspended' }, { guard: 'toLocked', target: 'locked' },\n        ],\n        USER_ROLE_CHANGED: [\n",
    ],
    [
      "    deleted: { type: 'final' }",
      "    locked: { on: { USER_STATUS_CHANGED: [{ guard: 'toActive', target: 'active' }] } },\n    deleted: { type: 'final' }",
    ],
  ],
});

// Events

let sent = 0;
const send = (type: string, payload: object): Arrival => cloudEvent(type, payload, { id: `e${sent++}` });
const created = (userId: string, customerAccountId?: string) =>
  send('USER_CREATED', userCreated({ userId, customerAccountId, userType: 'SME_USER' }));
const status = (userId: string, newStatus: 'ACTIVE' | 'SUSPENDED' | 'PENDING') =>
  send('USER_STATUS_CHANGED', statusChanged({ userId, newStatus }));
const role = (userId: string, newRole: 'SME_OWNER' | 'INSTITUTION_ADMIN') =>
  send('USER_ROLE_CHANGED', roleChanged({ userId, newRole }));

let world: World;
beforeAll(async () => {
  world = await createWorld();
  const { source } = await world.service();
  world.log.append(
    send('CUSTOMER_CREATED', customerCreated()),
    // Ends elsewhere; what is skipped there is skipped here, too.
    ...[created('u1', 'c1'), status('u1', 'SUSPENDED'), role('u1', 'SME_OWNER'), created('u1', 'c1')],
    // Goes another way, to the same end.
    ...[created('u2'), status('u2', 'SUSPENDED'), role('u2', 'SME_OWNER'), status('u2', 'ACTIVE')],
    // As it was.
    ...[created('u3'), status('u3', 'ACTIVE'), role('u3', 'INSTITUTION_ADMIN'), status('u3', 'ACTIVE')],
    ...[created('u4', 'c1'), send('USER_DELETED', userDeleted({ userId: 'u4' })), status('u4', 'ACTIVE')],
  );
  await source.drain();
  await world.expectSound();
}, 60_000);
afterAll(() => world.close());

async function whatIf(file: string | Machine, selection: Selection = {}, options: Partial<ReplayOptions> = {}) {
  const machine = typeof file === 'string' ? await machineFrom(file) : file;
  return await replay(world.sql, selection, { ...options, machine });
}
async function offsetOf(userId: string, version: number): Promise<string> {
  const [row] = await world.sql`select "offset" from history where user_id = ${userId} and version = ${version}`;
  return row?.offset;
}

describe('another machine', () => {
  test('that is the same changes nothing', async () => {
    const replayed = await whatIf(MACHINE);
    expect(replayed).toMatchObject({ users: 4, steps: 15, same: 4, changed: 0, kinds: [], ends: [], unsound: 0 });
    expect(hasChanged(replayed)).toBe(false);
    expect(redefined(MACHINE, MACHINE)).toEqual({
      states: { added: [], removed: [] },
      branches: { added: [], removed: [], changed: [] },
    });
  });

  test('with one branch changed: which users end elsewhere, which events go another way, and where to look', async () => {
    const replayed = await whatIf(confirms);
    expect(replayed).toMatchObject({
      ...{ users: 4, steps: 15, same: 3, elsewhere: 1, otherwise: 0, unsound: 0, changed: 3, changedBeyond: 0 },
      ...{ ends: [{ recorded: 'suspended', now: 'roleChanged', count: 1, examples: ['u1'] }], migratedElsewhere: 0 },
    });
    const [role, active] = replayed.kinds;
    expect(role).toEqual({
      type: 'USER_ROLE_CHANGED',
      recorded: { outcome: 'applied', from: 'suspended', to: 'suspended', transition: 'suspended|USER_ROLE_CHANGED|1' },
      now: { outcome: 'applied', from: 'suspended', to: 'roleChanged', transition: 'suspended|USER_ROLE_CHANGED|1' },
      count: 2,
      examples: [
        { userId: 'u1', step: 3, topic: 'user-events', partition: 0, offset: await offsetOf('u1', 3) },
        { userId: 'u2', step: 3, topic: 'user-events', partition: 0, offset: await offsetOf('u2', 3) },
      ],
    });
    expect(active).toMatchObject({
      ...{ type: 'USER_STATUS_CHANGED', count: 1, recorded: { from: 'suspended', to: 'active' } },
      ...{ now: { outcome: 'applied', from: 'roleChanged', to: 'active' } },
    });
    expect(hasChanged(replayed)).toBe(true);
    expect(redefined(MACHINE, await machineFrom(confirms)).branches).toEqual({
      ...{ added: [], removed: [] },
      changed: [{ id: 'suspended|USER_ROLE_CHANGED|1', before: 'stays / changeRole', now: 'roleChanged / changeRole' }],
    });
  });

  test('is put to events of every version, whatever past it has', async () => {
    const machine = { ...(await machineFrom(confirms)), past: { 1: MACHINE } };
    expect(await whatIf(machine)).toEqual(await whatIf(confirms));
  });

  test('with a new state that no event has led to: the definition differs, nothing else', async () => {
    const machine = await machineFrom(join(locks, 'index.ts'));
    const replayed = await whatIf(machine);
    expect(replayed).toMatchObject({ same: 4, changed: 0 });
    expect(redefined(MACHINE, machine)).toEqual({
      states: { added: ['locked'], removed: [] },
      branches: {
        added: ['active|USER_STATUS_CHANGED|3', 'locked|USER_STATUS_CHANGED|0'],
        ...{ removed: [], changed: [] },
      },
    });
    expect(redefined(machine, MACHINE)).toMatchObject({
      states: { added: [], removed: ['locked'] },
      branches: { removed: ['active|USER_STATUS_CHANGED|3', 'locked|USER_STATUS_CHANGED|0'] },
    });
  });

  test('with another meaning of a role: the same states, other fields', async () => {
    const roles = readFileSync(join(ROOT, 'machines/roles.ts'), 'utf8').match(/INSTITUTION_ADMIN: .*/)?.[0] as string;
    const folder = machines('roles', {
      'roles.ts': [[roles, roles.replace('isCompanyOwner: true', 'isCompanyOwner: false')]],
    });
    expect(await whatIf(join(folder, 'index.ts'))).toMatchObject({
      ...{ same: 3, elsewhere: 0, otherwise: 1, fields: { isCompanyOwner: 1 }, changed: 0 },
    });
  });

  test('that throws: those events are dead, and nothing breaks', async () => {
    const folder = machines('throws', {
      'user.ts': [
        [
          'changeRole: assign(({ context, event }) => {',
          "changeRole: assign(({ context, event }) => {\n      if (context.customerId === null) throw new Error('no customer of Ada');",
        ],
      ],
    });
    const { changed, kinds, elsewhere } = await whatIf(join(folder, 'user.ts'));
    expect(changed).toBe(3);
    expect(
      kinds.map(({ type, recorded, now, count }) => `${count} ${type} ${recorded.outcome} ${now.outcome} ${now.from}`),
    ).toEqual([
      '1 USER_ROLE_CHANGED applied dead suspended',
      '1 USER_ROLE_CHANGED applied dead active',
      '1 USER_STATUS_CHANGED applied skipped active', // u3 never left `active`
    ]);
    expect(elsewhere).toBe(0);
  });

  test('that takes no creations: the users do not come to be', async () => {
    const folder = machines('nobody', {
      'user.ts': [["[{ guard: 'customerKnown', target", "[{ guard: 'sameRole', target"]],
    });
    const replayed = await whatIf(join(folder, 'user.ts'));
    expect(replayed).toMatchObject({ same: 0, elsewhere: 4, changed: 15 });
    expect(replayed.ends.map(({ recorded, now, count }) => `${recorded} ${now} ${count}`).sort()).toEqual([
      'active absent 2',
      'deleted absent 1',
      'suspended absent 1',
    ]);
    expect(replayed.kinds.every(({ now }) => now.outcome === 'waiting')).toBe(true);
  });

  test('whose migration leads elsewhere than the history would is told apart', async () => {
    const migrations = (body: string) => ({
      'user.ts': [RAISED],
      'migrations.ts': [
        ['Readonly<Record<number, Migration>> = {}', `Readonly<Record<number, Migration>> = { 1: ${body} }`],
      ] as const,
    });
    const folder = machines(
      'migrates',
      migrations("(user) => (user.state === 'suspended' ? { ...user, state: 'pending' } : user)"),
    );
    expect(await whatIf(join(folder, 'index.ts'))).toMatchObject({
      ...{ same: 3, elsewhere: 1, migratedElsewhere: 1, migrationFails: 0, changed: 0 },
      ends: [{ recorded: 'pending', now: 'suspended', count: 1, examples: ['u1'] }],
    });
    const failing = machines(
      'fails',
      migrations("(user) => { if (user.state === 'active') throw new Error('no'); return user; }"),
    );
    const replayed = await whatIf(join(failing, 'index.ts'));
    expect(replayed).toMatchObject({ same: 2, migrationFails: 2, unsound: 2, changed: 0 });
    expect(hasChanged(replayed)).toBe(true);
  });
});

describe('what is counted', () => {
  test('only what was recorded since then, of users that have such; the fold begins at the start all the same', async () => {
    await world.sql`alter table history disable trigger history_append_only`;
    await world.sql`update history set recorded_at = '2020-01-01' where user_id in ('u2', 'u3', 'u4') and version < 4`;
    try {
      const replayed = await whatIf(confirms, {}, { sinceMs: Date.parse('2020-01-02') });
      // u2's role change is before; its ACTIVE, met in another state, is since.
      expect(replayed).toMatchObject({ users: 3, steps: 6, changed: 2, elsewhere: 1, same: 2 });
      expect(await whatIf(confirms, {}, { sinceMs: Date.now() + 1_000 })).toMatchObject({
        users: 0,
        steps: 0,
        changed: 0,
      });
    } finally {
      await world.sql`update history set recorded_at = now()`;
    }
  });

  test('the same on every size of page; a selection is a part of it', async () => {
    const whole = await whatIf(confirms);
    for (const stepsPerPage of [1, 3, 5]) expect(await whatIf(confirms, {}, { stepsPerPage })).toEqual(whole);
    expect(await whatIf(confirms, { customer: 'c1' })).toMatchObject({ users: 2, elsewhere: 1, changed: 1 });
    expect(await whatIf(confirms, { user: 'u2' })).toMatchObject({ users: 1, elsewhere: 0, changed: 2 });
    expect(await whatIf(confirms, { sample: 1 })).toEqual(whole);
  });

  test('so many examples of each kind', async () => {
    const { kinds } = await whatIf(confirms, {}, { examples: 1 });
    expect(kinds.map(({ count, examples }) => [count, examples.length])).toEqual([
      [2, 1],
      [1, 1],
    ]);
  });

  test('kinds have a limit: what is beyond is a number', async () => {
    let n = 0;
    const step: Machine['table']['step'] = (...args) => {
      const result = MACHINE.table.step(...args);
      return result && { ...result, transition: `branch ${n++ % 1_100}` };
    };
    await world.sql`alter table history disable trigger history_append_only`;
    // Enough steps: copies of u3 under other names and offsets.
    await world.sql`
      insert into history select (jsonb_populate_record(h, jsonb_build_object('user_id', 'v' || g, 'offset', 100000 + 10 * g + h.version))).*
        from history h, generate_series(1, 400) g where user_id = 'u3'`;
    try {
      const replayed = await whatIf({ ...MACHINE, table: { ...MACHINE.table, step } });
      expect(replayed.kinds).toHaveLength(1_000);
      expect(replayed.changedBeyond).toBeGreaterThan(0);
      expect(replayed.kinds.reduce((sum, { count }) => sum + count, replayed.changedBeyond)).toBe(replayed.changed);
      // Those have no row.
      expect(replayed.unsound).toBe(400);
    } finally {
      await world.sql`delete from history where user_id like 'v%'`;
    }
  });
});

// The command

async function cli(...args: string[]): Promise<Ended & { out: string; err: string }> {
  const program = runProgram(args, world.settings);
  const ended = await program.ended;
  return { ...ended, ...program.text };
}

describe('user-lifecycle replay', () => {
  test('says what would be otherwise; nothing is written, nothing personal printed', async () => {
    const before = await world.digest();
    const { code, out, err } = await cli('replay', '--machine', confirms);
    const { hash } = await machineFrom(confirms);
    expect(
      out
        .trimEnd()
        .split('\n')
        .map((line) => line.trim().replace(/ {2,}/g, ' | ')),
    ).toEqual([
      `machine 1 (${MACHINE.hash}) -> 2 (${hash}) · 4 users · 15 events · nothing written`,
      'edges | ~ suspended|USER_ROLE_CHANGED|1: stays / changeRole -> roleChanged / changeRole',
      'users | 3 same · 1 end elsewhere: suspended -> roleChanged 1',
      'outcomes | 3 of 15 change',
      `first | u1 #3 USER_ROLE_CHANGED at user-events[0]@${await offsetOf('u1', 3)}: applied stays -> applied roleChanged`,
      'EVENTS | EVENT | IN | RECORDED | NOW | FOR EXAMPLE',
      '2 | USER_ROLE_CHANGED | suspended | applied stays | applied roleChanged | u1 #3, u2 #3',
      '1 | USER_STATUS_CHANGED | suspended | applied active | applied active (from roleChanged) | u2 #4',
    ]);
    expect(code).toBe(0);
    expect(out + err).not.toMatch(/Ada|example\.com/);
    expect(await world.digest()).toEqual(before);
  });

  test('works where nothing may be written', async () => {
    const { DB_DATABASE } = world.settings;
    await world.sql.unsafe(`alter database ${DB_DATABASE} set default_transaction_read_only = on`);
    try {
      expect(await cli('replay', '--machine', confirms)).toMatchObject({ code: 0 });
    } finally {
      await world.sql.unsafe(`alter database ${DB_DATABASE} reset default_transaction_read_only`);
    }
  });

  test('--fail-on-change: 1 where anything is otherwise, 0 where only the definition is', async () => {
    expect(await cli('replay', '--machine', confirms, '--fail-on-change')).toMatchObject({ code: 1 });
    const { code, out } = await cli('replay', '--machine', join(locks, 'index.ts'), '--fail-on-change');
    expect(out).toContain(
      'states    + locked\nedges     + active|USER_STATUS_CHANGED|3\n          + locked|USER_STATUS_CHANGED|0\n',
    );
    expect(out).toContain('outcomes  none of 15 change');
    expect(code).toBe(0);
  });

  test('--json: a line for each kind, then the sums', async () => {
    const { code, out } = await cli('replay', '--machine', confirms, '--user', 'u2', '--examples', '1', '--json');
    const lines = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ what }) => what)).toEqual(['kind', 'kind', 'summary']);
    expect(lines[0]).toMatchObject({ count: 1, examples: [{ userId: 'u2', offset: expect.any(String) }] });
    expect(lines[2]).toMatchObject({
      machine: { before: { version: 1 }, now: { version: 2 } },
      users: 1,
      same: 1,
      changed: 2,
    });
    expect(lines[2]).not.toHaveProperty('kinds');
    expect(code).toBe(0);
  });

  test('a definition of the same version is told to be raised', async () => {
    const same = machines('same', { 'user.ts': [CONFIRMS['user.ts']?.[1] as [string, string]] });
    expect((await cli('replay', '--machine', join(same, 'user.ts'))).err).toContain(
      'Both say version 1: raise VERSION',
    );
  });

  test.each([
    ['is not there', 'gone.ts', undefined, /can not be imported: .*gone\.ts/],
    ['has a syntax error', 'broken.ts', 'export const userMachine = {;', /can not be imported: .*broken\.ts/s],
    ['throws', 'throwing.ts', "throw new Error('not today');", /can not be imported: not today/],
    ['is no machine', 'other.ts', 'export const VERSION = 2;', /is no machine.*exports no `userMachine`/],
    [
      'has a part that the table can not take',
      'nested.ts',
      "import { setup } from 'xstate';\nexport const userMachine = setup({}).createMachine({ id: 'user', initial: 'a', states: { a: { after: { 5: 'b' } }, b: {} } });",
      /is no machine.*"after" in state "a"/,
    ],
    [
      'has no proper version',
      'version.ts',
      "export * from './confirms/user.ts';\nexport const VERSION = 'two';",
      /`VERSION` is no whole number/,
    ],
  ] as [string, string, string | undefined, RegExp][])('a file that %s: 2, and why', async (_, name, text, reason) => {
    const file = join(FOLDER, name);
    if (text !== undefined) writeFileSync(file, text);
    const { code, out, err } = await cli('replay', '--machine', file);
    expect(err).toMatch(reason);
    expect(err).not.toContain('defect');
    expect([code, out]).toEqual([2, '']);
  });

  test('what makes no sense: 2; nobody to look at: 1', async () => {
    expect(await cli('replay')).toMatchObject({ code: 2 });
    expect(await cli('replay', '--machine', confirms, '--since', 'yesterday')).toMatchObject({ code: 2 });
    expect(await cli('replay', '--machine', confirms, '--examples', '0')).toMatchObject({ code: 2 });
    expect(await cli('replay', '--machine', confirms, '--user', 'nobody')).toMatchObject({ code: 1, out: '' });
    expect(await cli('replay', '--machine', confirms, '--since', '1d')).toMatchObject({ code: 0 });
  });

  test('interrupted, it says so, and ends with 130', async () => {
    const program = await interruptWhileReading(world, ['replay', '--machine', confirms]);
    expect(await program.ended).toEqual({ code: 130, signal: null });
    expect(program.text.err).toContain('interrupted: what was not read yet is not in it');
  });
});
