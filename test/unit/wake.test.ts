// Who is drained after which save, and what a failing drain leaves behind. The drains themselves: streams.test.ts,
// model.test.ts and test/integration.
import type { SQL } from 'drizzle-orm';
import { PgDialect } from 'drizzle-orm/pg-core';
import { describe, expect, test, vi } from 'vitest';
import type { Db } from '../../db/client.ts';
import type { Decoded } from '../../src/events.ts';
import { route } from '../../src/route.ts';
import { type Ran, run, type UserView } from '../../src/run.ts';
import { createWake } from '../../src/wake.ts';
import { partition, throwing, USER } from '../support/events.ts';

/** Tables that answer the four questions of wake.ts; `mayGo` undefined: everybody who is asked about. `fail`: throws instead of
 *  answering a question. */
function setup({
  mayGo,
  waiting = [],
  redriving = [],
  fail = () => {},
}: {
  mayGo?: string[];
  waiting?: string[];
  redriving?: string[];
  fail?: (question: string) => void;
} = {}) {
  const dialect = new PgDialect();
  const asked: string[] = [];
  const tables = { waiting, redriving };
  const db = {
    async execute(query: SQL) {
      const { sql, params } = dialect.sqlToQuery(query);
      const rows = (ids: readonly string[]) => ids.map((userId) => ({ userId }));
      if (sql.includes('left join users')) {
        const ids = params[0] as string[];
        asked.push(`who of ${ids.length}`);
        fail(`who of ${ids.length}`);
        return rows(ids.filter((userId) => mayGo === undefined || mayGo.includes(userId)));
      }
      if (sql.includes('customer_id =')) {
        asked.push(`customer ${params[0]}`);
        fail(`customer ${params[0]}`);
        return rows(tables.waiting.filter((userId) => userId > String(params[1])).slice(0, Number(params[2])));
      }
      if (sql.includes('from dead_letters where status')) return rows(tables.redriving);
      asked.push(`sweep from ${JSON.stringify(params[0])}`);
      return rows(tables.waiting.filter((userId) => userId > String(params[0])).slice(0, Number(params[1])));
    },
  } as unknown as Db;
  const drained: string[] = [];
  const drain = vi.fn(async (userIds: readonly string[]) => {
    drained.push(...userIds);
  });
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn(), debug: vi.fn() };
  const wake = createWake({ db, drain, log: log as never });
  return { wake, drain, drained, asked, tables, log };
}

function ranOf(events: readonly Decoded[], view: Partial<UserView> = {}, known = ['c1']): Ran {
  const user: UserView = { row: undefined, waiting: 0, blocking: 0, creationWaits: false, ...view };
  const holds = { users: new Set<string>(), customers: new Set<string>() };
  const loaded = { users: new Map([[USER, user]]), customers: new Map(), known: new Set(known), holds };
  return run(route(events), loaded, { waitingPerUser: 9 });
}
const away = () => Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' });
const locked = () => Object.assign(new Error('canceling statement due to lock timeout'), { code: '55P03' });
const slow = () => Object.assign(new Error('canceling statement due to statement timeout'), { code: '57014' });

const p = partition();
const created = ranOf([p.created()]);
const saved = created.users[0]?.row;

describe('a save starts a drain', () => {
  test.each([
    ['that created a user', created],
    ['that put an event to wait', ranOf([p.status('ACTIVE')])],
    ['that buried an event behind which its user waits', ranOf([throwing(p.status('PENDING'))], { row: saved })],
  ])('%s', async (_, ran) => {
    const { wake, drained } = setup();
    wake.afterSave(ran);
    await wake.idle();
    expect(drained).toEqual([USER]);
  });

  test('that created a customer: of all who wait for it', async () => {
    const { wake, drained, asked } = setup({ waiting: ['u1', 'u2'] });
    wake.afterSave(ranOf([p.customer('c9')]));
    await wake.idle();
    expect([drained.sort(), asked[0]]).toEqual([['u1', 'u2'], 'customer c9']);
  });

  test.each([
    ['that moved a user', ranOf([p.status('ACTIVE')], { row: saved })],
    ['that buried what stops nobody', ranOf([p.garbage()])],
    ['of nothing', ranOf([])],
  ])('but not one %s', async (_, ran) => {
    const { wake, asked } = setup();
    wake.afterSave(ran);
    await wake.idle();
    expect(asked).toEqual([]);
  });
});

describe('the others wait', () => {
  test('who can not go is not drained: one question for five hundred', async () => {
    const ids = Array.from({ length: 1_200 }, (_, i) => `u${i}`);
    const { wake, drained, asked } = setup({ mayGo: ['u7', 'u800'] });
    wake.users(ids);
    await wake.idle();
    expect([drained, asked]).toEqual([
      ['u7', 'u800'],
      ['who of 500', 'who of 500', 'who of 200'],
    ]);
  });

  test('those who may go are drained fifty together', async () => {
    const { wake, drain } = setup();
    wake.users(Array.from({ length: 120 }, (_, i) => `u${i}`));
    await wake.idle();
    expect(drain.mock.calls.map(([userIds]) => userIds.length)).toEqual([50, 50, 20]);
  });

  test('who is named twice is drained once', async () => {
    const { wake, drained } = setup();
    wake.users(['u1', 'u1']);
    await wake.idle();
    expect(drained).toEqual(['u1']);
  });

  test('who is named while a drain is on its way is drained after it', async () => {
    const { wake, drain, drained } = setup();
    drain.mockImplementationOnce(async () => {
      wake.users(['u1', 'u2']);
    });
    wake.users(['u1']);
    await wake.idle();
    expect([drain.mock.calls.length, drained.sort()]).toEqual([2, ['u1', 'u2']]);
  });

  test('a customer with many who wait: slice after slice', async () => {
    const waiting = Array.from({ length: 1_100 }, (_, i) => `u${String(i).padStart(4, '0')}`);
    const { wake, drained, asked } = setup({ waiting });
    wake.customers(['c1']);
    await wake.idle();
    expect(drained.sort()).toEqual(waiting);
    expect(asked.filter((question) => question === 'customer c1')).toHaveLength(3);
  });
});

describe('what a crash or a failure left is found by the sweep', () => {
  test('slice after slice, round and round, with the dead letters being redriven', async () => {
    const { wake, drained, asked } = setup({ waiting: ['u1', 'u2'], redriving: ['u9'] });
    for (let i = 0; i < 3; i++) {
      await wake.sweep();
      await wake.idle();
    }
    const sweeps = asked.filter((question) => question.startsWith('sweep'));
    const again = ['sweep from "u2"', 'sweep from ""'];
    expect(sweeps).toEqual(['sweep from ""', ...again, ...again]);
    expect(drained.filter((userId) => userId !== 'u9').sort()).toEqual(['u1', 'u1', 'u1', 'u2', 'u2', 'u2']);
    expect(drained).toContain('u9');
  });

  test('a drain that fails is told once, and tried again with all that is listed', async () => {
    const { wake, drain, drained, log } = setup();
    drain.mockRejectedValueOnce(away()).mockRejectedValueOnce(away());
    const ids = Array.from({ length: 700 }, (_, i) => `u${i}`);
    wake.users(ids);
    await wake.idle();
    expect([new Set(drained), log.warn.mock.calls.length]).toEqual([new Set(ids), 1]);
  });

  test('a customer whose users could not be read is asked about again', async () => {
    const { wake, drain, drained } = setup({ waiting: ['u1'] });
    drain.mockRejectedValueOnce(away());
    wake.customers(['c1']);
    await wake.idle();
    expect(drained).toEqual(['u1']);
  });

  test('nothing is tried again after the end', async () => {
    const { wake, drain, log } = setup();
    drain.mockRejectedValue(away());
    wake.users(['u1']);
    await vi.waitFor(() => expect(log.warn).toHaveBeenCalled());
    await wake.stop();
    const tried = drain.mock.calls.length;
    wake.users(['u2']);
    await wake.idle();
    expect(drain).toHaveBeenCalledTimes(tried);
  });
});

describe('somebody holds the rows of a user', () => {
  const ids = Array.from({ length: 120 }, (_, i) => `u${i}`);
  function holding(held: (userId: string) => boolean, tables: Parameters<typeof setup>[0] = {}) {
    const made = setup(tables);
    let isHeld = true;
    made.drain.mockImplementation(async (userIds) => {
      if (isHeld && userIds.some(held)) throw locked();
      made.drained.push(...userIds);
    });
    return {
      ...made,
      letGo: () => {
        isHeld = false;
      },
    };
  }

  test('all others go, those in its group too, and it goes as soon as it can', async () => {
    const { wake, drained, log, letGo } = holding((userId) => ['u0', 'u50'].includes(userId));
    vi.useFakeTimers();
    try {
      wake.users(ids);
      await vi.advanceTimersByTimeAsync(0);
      await wake.idle();
      expect(new Set(drained)).toEqual(new Set(ids.filter((id) => !['u0', 'u50'].includes(id))));
      letGo();
      await vi.advanceTimersByTimeAsync(5_000);
      await wake.idle();
      expect(new Set(drained)).toEqual(new Set(ids));
      expect(log.warn).toHaveBeenCalledTimes(1);
    } finally {
      vi.useRealTimers();
    }
  });

  test('the others of its customer go, and those of other lists', async () => {
    const waiting = Array.from({ length: 700 }, (_, i) => `w${String(i).padStart(3, '0')}`);
    const { wake, drained } = holding((userId) => userId === 'w000', { waiting });
    wake.customers(['c1']);
    wake.users(['x1', 'x2']);
    await wake.idle();
    expect(new Set(drained)).toEqual(new Set([...waiting.slice(1), 'x1', 'x2']));
    await wake.stop();
  });

  test('of all users, as who holds the table: only a few are tried one by one', async () => {
    const { wake, drain } = holding(() => true);
    wake.users(ids);
    await wake.idle();
    expect(drain.mock.calls.filter(([userIds]) => userIds.length === 1)).toHaveLength(9);
    await wake.stop();
  });

  test('nothing of it is tried after the end', async () => {
    vi.useFakeTimers();
    try {
      const { wake, drain } = holding(() => true);
      wake.users(['u1']);
      await vi.advanceTimersByTimeAsync(0);
      await wake.stop();
      expect(vi.getTimerCount()).toBe(0);
      expect(drain).toHaveBeenCalledTimes(1);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('a customer whose users can not be looked up', () => {
  const failing = (error: () => Error) => {
    let fails = true;
    const made = setup({
      waiting: ['w1'],
      fail: (question) => {
        if (fails && question === 'customer c1') throw error();
      },
    });
    const mend = () => {
      fails = false;
    };
    return { ...made, mend };
  };

  test('keeps no user from going and no other customer, and is asked about again until it can be', async () => {
    const { wake, drained, asked, log, mend } = failing(slow);
    vi.useFakeTimers();
    try {
      wake.customers(['c1', 'c2']);
      wake.users(['u1']);
      await vi.advanceTimersByTimeAsync(0);
      await wake.idle();
      expect(drained).toEqual(['u1', 'w1']);
      expect(asked.filter((question) => question === 'customer c1')).toHaveLength(1);
      expect(log.warn.mock.calls).toEqual([
        [expect.objectContaining({ 'error.type': '57014' }), expect.stringContaining('customer')],
      ]);

      await vi.advanceTimersByTimeAsync(5_000);
      mend();
      await vi.advanceTimersByTimeAsync(5_000);
      await wake.idle();
      expect(drained).toEqual(['u1', 'w1', 'w1']);
      expect(asked.filter((question) => question === 'customer c1')).toHaveLength(3);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test('is told once a minute for as long', async () => {
    const { wake, asked, log, mend } = failing(slow);
    vi.useFakeTimers();
    try {
      wake.customers(['c1']);
      for (const [seconds, warnings] of [
        [0, 1],
        [55, 1],
        [5, 2],
      ] as const) {
        await vi.advanceTimersByTimeAsync(seconds * 1_000);
        expect(log.warn).toHaveBeenCalledTimes(warnings);
      }
      expect(asked).toHaveLength(13);
      mend();
      await vi.advanceTimersByTimeAsync(5_000);
    } finally {
      vi.useRealTimers();
    }
  });

  test('for whatever reason: the users go in the same round', async () => {
    const { wake, drained, mend } = failing(away);
    wake.customers(['c1']);
    wake.users(['u1']);
    await vi.waitFor(() => expect(drained).toEqual(['u1']));
    mend();
    await wake.idle();
    expect(drained).toEqual(['u1', 'w1']);
  });

  test('nor do users who can not be looked up keep a customer from it', async () => {
    const { wake, drained } = setup({
      waiting: ['w1'],
      fail: (question) => {
        if (question === 'who of 1') throw slow();
      },
    });
    wake.users(['u1']);
    wake.customers(['c1']);
    await vi.waitFor(() => expect(drained).toEqual(['w1']));
    await wake.stop();
  });
});

describe('a drain that has no end', () => {
  test('is given up after ten minutes, and its user set apart: all others go', async () => {
    const { wake, drain, drained, log } = setup();
    drain.mockImplementation(async (userIds) => {
      if (userIds.includes('u1')) await new Promise(() => {});
      drained.push(...userIds);
    });
    vi.useFakeTimers();
    try {
      wake.users(['u0', 'u1', 'u2']);
      await vi.advanceTimersByTimeAsync(10 * 60_000); // the three together
      expect(drained).toEqual(['u0']);
      await vi.advanceTimersByTimeAsync(10 * 60_000); // this one alone
      await wake.idle();
      expect(drained).toEqual(['u0', 'u2']);
      expect(log.warn.mock.calls).toEqual([
        [expect.objectContaining({ 'error.type': 'ETIMEDOUT' }), expect.stringContaining('held up')],
      ]);
      await vi.advanceTimersByTimeAsync(5_000);
      expect(drain).toHaveBeenLastCalledWith(['u1']);
    } finally {
      vi.useRealTimers();
    }
  });

  test('a socket that gave up with the same code is no sign of it: Postgres is away', async () => {
    const { wake, drain, drained } = setup();
    drain.mockRejectedValueOnce(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
    wake.users(['u1', 'u2']);
    await wake.idle();
    expect(drain.mock.calls).toEqual([[['u1', 'u2']], [['u1', 'u2']]]);
    expect(drained).toEqual(['u1', 'u2']);
  });
});

describe('at the end', () => {
  test('no new drain starts, and the running ones are waited for', async () => {
    const { wake, drain, drained, asked } = setup();
    const { promise, resolve } = Promise.withResolvers<void>();
    drain.mockReturnValueOnce(promise);
    wake.users(['u1']);
    await vi.waitFor(() => expect(drain).toHaveBeenCalled());
    wake.customers(['c1']);
    let stopped = false;
    const stopping = wake.stop().then(() => {
      stopped = true;
    });
    wake.users(['u2']);
    await Promise.resolve();
    expect(stopped).toBe(false);
    resolve();
    await stopping;
    expect([drain.mock.calls.length, drained, asked]).toEqual([1, [], ['who of 1']]);
  });
});
