// Statements watched: what they are called, what is remembered of them, and that nobody notices being watched.
import { context, metrics, trace } from '@opentelemetry/api';
import fc from 'fast-check';
import type postgres from 'postgres';
import { beforeEach, describe, expect, test } from 'vitest';
import { beginOperation, observedSql, parsed } from '../../db/operations.ts';
import { tracer } from '../../db/scope.ts';
import { keepSpans } from '../support/spans.ts';

const kept = keepSpans();
type Point = { name: string; seconds: number; attributes: Record<string, unknown> };
const points: Point[] = [];
metrics.setGlobalMeterProvider({
  getMeter: () =>
    ({
      createHistogram: (name: string) => ({
        record: (seconds: number, attributes: Point['attributes']) => void points.push({ name, seconds, attributes }),
      }),
    }) as never,
});
beforeEach(() => {
  points.length = 0;
  kept.reset();
});
const durations = () => points.filter(({ name }) => name === 'db.client.operation.duration');
const waits = () => points.filter(({ name }) => name === 'db.client.connection.wait_time');
const PLACE = { host: '127.0.0.1', port: 5432, database: 'db' };

describe('a statement is called by its verb and its table', () => {
  // As src/ sends them, cut short.
  test.each([
    [
      'UPDATE positions',
      'update positions set next_offset = $1::bigint, tallies = (select coalesce(jsonb_object_agg(key, total), $2) from (select key from (select * from jsonb_each_text(positions.tallies)) parts) sums) where topic = $3',
    ],
    [
      'UPDATE users',
      'update users set "state" = r."state", updated_at = now() from unnest((select $6::text::bigint[])) as r("readRev") where users."user_id" = r."user_id"',
    ],
    [
      'UPDATE customers',
      'update customers set "name" = $1::text::text, updated_at = now() from unnest((select $6::text::bigint[])) as r("readRev")',
    ],
    [
      'INSERT users',
      'insert into users ("user_id", "from") select r."user_id", $1::text::text from unnest((select $2::text::text[])) as r("user_id") on conflict do nothing',
    ],
    [
      'INSERT customers',
      'insert into customers ("customer_id") select r."customer_id" from unnest((select $1::text::text[])) as r("customer_id")',
    ],
    [
      'INSERT history',
      'insert into history ("topic") select $1::text::text from unnest((select $2::text::text[])) as r("offset")',
    ],
    [
      'INSERT waiting',
      'insert into waiting ("topic") select $1::text::text from unnest((select $2::text::text[])) as r("offset")',
    ],
    [
      'INSERT dead_letters',
      'insert into dead_letters ("topic") select $1::text::text from unnest((select $2::text::text[])) as r("offset")',
    ],
    [
      'INSERT positions',
      '\n      insert into positions (topic, partition) select topic, partition from json_to_recordset($1::text::json) as r(topic text)',
    ],
    [
      'SELECT users',
      '\n    select user_id as "userId", state\n      from users where user_id = any($1::text[])\n     order by user_id for no key update',
    ],
    ['SELECT customers', 'select customer_id as id from customers where customer_id = any($1::text[])'],
    ['SELECT holds', 'select kind, id from holds'],
    ['SELECT positions', "select 1 from positions where topic = $1 and state = 'running' for no key update"],
    [
      'SELECT positions',
      'select key, sum(value::bigint) as total from positions cross join jsonb_each_text(tallies) group by key',
    ],
    [
      'SELECT waiting',
      'select i.id as "userId" from (select user_id as id from waiting where user_id = any($1::text[]) union select user_id from dead_letters) i',
    ],
    [
      'SELECT waiting',
      'select distinct user_id as "userId" from (select user_id from waiting where user_id > $1 limit $2) slice order by user_id',
    ],
    [
      'SELECT waiting',
      'select distinct w.user_id as "userId"\n        from (select user_id, type from waiting where user_id = any($1::text[])\n union all select user_id from dead_letters) w',
    ],
    [
      'SELECT waiting',
      `select t.topic, t.headers::text as headers from waiting t join json_to_recordset($1::text::json) as r(topic text) on t.topic = r.topic collate "C"`,
    ],
    [
      'SELECT dead_letters',
      'select topic, \'dead_letters\' as table, coalesce((extract(epoch from occurred_at) * 1000)::bigint, record_ms) as "atMs" from dead_letters where user_id = $1',
    ],
    [
      'SELECT dead_letters',
      'select (select count(*)::int from (select 1 from dead_letters where status in (\'open\') limit $1) d) as "deadLetters", (select count(*)::int from holds) as holds',
    ],
    [
      'DELETE waiting',
      'delete from waiting t using json_to_recordset($1::text::json) as r(topic text) where t.topic = r.topic',
    ],
    ['DELETE holds', 'delete from holds where kind = $1 and id = $2'],
    [
      'UPDATE dead_letters',
      "update dead_letters t set status = 'resolved', settled_at = now() from json_to_recordset($1::text::json) as r(topic text)",
    ],
    ['WITH', 'with before as (select * from dead_letters where id = $1::bigint for update) select id from before'],
    ['SELECT', 'select 1'],
    ['SELECT', 'select pg_is_in_recovery() as replica'],
  ])('%s', (summary, text) => {
    const [name, collection] = summary.split(' ');
    expect(parsed(text)).toEqual({
      summary,
      attributes: {
        'db.system.name': 'postgresql',
        'db.operation.name': name,
        ...(collection === undefined ? {} : { 'db.collection.name': collection }),
      },
    });
  });

  test('whatever stands in its strings and parameters stays out of its name', () => {
    fc.assert(
      fc.property(fc.string(), (any) => {
        const { summary, attributes } = parsed(`select kind from holds where id = '${any.replaceAll("'", "''")}'`);
        expect(summary).toBe('SELECT holds');
        expect(attributes['db.collection.name']).toBe('holds');
      }),
    );
  });
  test('what is no statement has a name all the same', () => {
    for (const text of ['', ' ', '-- a comment', '/* x */', '(select 1)']) expect(parsed(text).summary).toBe('_OTHER');
  });
});

/** What the driver does, as far as it is used: statements in order, each answered as its text says. */
function fakeClient(calls: string[]): postgres.Sql {
  const answer = (text: string, args: unknown[]) => {
    calls.push(`${text} ${JSON.stringify(args)}`);
    const promise = text.includes('fail') ? Promise.reject(failure(text)) : Promise.resolve([{ text }]);
    return Object.assign(promise, { values: () => promise.then(() => [[text]]) });
  };
  const client = (prefix: string) => ({
    unsafe: (text: string, ...args: unknown[]) => answer(prefix + text, args),
    other: () => `${prefix}other`,
  });
  const nested = (kind: string) => ({
    [kind]: async (...args: unknown[]) => {
      const act = args.pop() as (tx: unknown) => Promise<unknown>;
      calls.push(`${kind} ${JSON.stringify(args)}`);
      try {
        const result = await act({ ...client(`${kind}: `), ...nested('savepoint') });
        calls.push(`${kind} committed`);
        if (args.includes('refused')) throw failure('40001 at commit');
        return result;
      } catch (error) {
        calls.push(`${kind} rolled back`);
        throw error;
      }
    },
  });
  return { ...client(''), ...nested('begin') } as never;
}
const failures = new Map<string, Error>();
/** One object for each text: the same error must come out. */
function failure(text: string): Error {
  const found = failures.get(text) ?? Object.assign(new Error(text), { code: '23505', detail: 'Key (x)=(y)' });
  failures.set(text, found);
  return found;
}

type Step = { what: 'unsafe'; text: string; values: boolean } | { what: 'begin'; refused: boolean; steps: Step[] };
const { step } = fc.letrec<{ step: Step }>((tie) => ({
  step: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({
      what: fc.constant('unsafe' as const),
      text: fc.constantFrom('select 1', 'update users', 'fail', 'fail 2'),
      values: fc.boolean(),
    }),
    fc.record({
      what: fc.constant('begin' as const),
      refused: fc.boolean(),
      steps: fc.array(tie('step'), { maxLength: 4 }),
    }),
  ),
}));

async function play(client: unknown, steps: readonly Step[], together: boolean): Promise<unknown[]> {
  const sql = client as Record<
    'unsafe' | 'begin' | 'savepoint',
    (...args: unknown[]) => Promise<unknown> & { values(): Promise<unknown> }
  >;
  const results: Promise<unknown>[] = [];
  for (const each of steps) {
    let result: Promise<unknown>;
    if (each.what === 'unsafe') {
      const query = sql.unsafe(each.text, [1], { prepare: true });
      result = each.values ? query.values() : query;
      if (each.values) query.catch(() => {});
    } else {
      const open = sql.begin === undefined ? 'savepoint' : 'begin';
      result = sql[open](...(each.refused ? ['refused'] : []), (tx: unknown) => play(tx, each.steps, together));
    }
    results.push(result);
    if (!together) await result;
  }
  return await Promise.all(results);
}
const settle = async (played: Promise<unknown[]>) => (await Promise.allSettled([played]))[0];

describe('who is watched does not notice', () => {
  test('results, rejections (the very object) and the order of calls are the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 6 }),
        fc.boolean(),
        fc.boolean(),
        async (steps, together, traced) => {
          const [plain, watched]: [string[], string[]] = [[], []];
          const expected = await settle(play(fakeClient(plain), steps, together));
          const act = () => settle(play(observedSql(fakeClient(watched), PLACE), steps, together));
          const span = tracer.startSpan('batch');
          const found = traced ? await context.with(trace.setSpan(context.active(), span), act) : await act();
          expect(found).toEqual(expected);
          if (found?.status === 'rejected' && expected?.status === 'rejected')
            expect(found.reason).toBe(expected.reason);
          await new Promise((resolve) => setImmediate(resolve));
          // Blocks that run at once may end in another order: they are nobody's to wait for.
          const told = (calls: string[]) =>
            together ? calls.filter((call) => !/committed|rolled back/.test(call)) : calls;
          expect(told(watched)).toEqual(told(plain));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('what is not watched is there as before', () => {
    const client = fakeClient([]) as unknown as { other(): string };
    expect((observedSql(client as never, PLACE) as unknown as typeof client).other()).toBe('other');
  });
});

const nameOf = ({ 'db.operation.name': name, 'db.collection.name': table }: Point['attributes']) =>
  [name, table].filter((word) => word !== undefined).join(' ');

describe('every statement is timed', () => {
  const run = async (act: (sql: postgres.Sql) => Promise<unknown>) => {
    await act(observedSql(fakeClient([]), PLACE)).catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
    return durations().map(({ attributes }) => [nameOf(attributes), attributes['error.type']]);
  };

  test('alone, in a transaction, in a savepoint; and the COMMIT, which nobody sends by hand', async () => {
    const seen = await run((sql) =>
      sql.begin(async (tx) => {
        await tx.unsafe('update users set x = 1');
        await tx.savepoint(async (inner) => await inner.unsafe('insert into history select 1'));
      }),
    );
    expect(seen).toEqual([
      ['UPDATE users', undefined],
      ['INSERT history', undefined],
      ['COMMIT', undefined],
    ]);
    expect(waits()).toHaveLength(1);
    for (const { seconds } of points) expect(seconds).toBeGreaterThanOrEqual(0);
  });
  test('one that is refused: with its SQLSTATE, and without a word of its message or detail', async () => {
    expect(await run((sql) => sql.unsafe('select fail'))).toEqual([['SELECT', '23505']]);
    expect(JSON.stringify(points)).not.toMatch(/Key|detail/);
  });
  test('a COMMIT that is refused is told; after a failure inside there is none', async () => {
    expect(await run((sql) => sql.begin('refused', async () => {}))).toEqual([['COMMIT', '23505']]);
    points.length = 0;
    expect(await run((sql) => sql.begin(async (tx) => await tx.unsafe('select fail')))).toEqual([['SELECT', '23505']]);
  });
  test('what is no code of a server is not taken for one', async () => {
    for (const code of [undefined, 7, 'a@b.c', '', 'x'.repeat(100), 'lower', 'KEY (X)=(Y)']) {
      points.length = 0;
      const client = { unsafe: () => Promise.reject(Object.assign(new Error('m'), { code })) } as never;
      await (observedSql(client, PLACE).unsafe('select 1') as unknown as Promise<void>).catch(() => {});
      await new Promise((resolve) => setImmediate(resolve));
      expect(durations()[0]?.attributes['error.type']).toBe('_OTHER');
    }
  });
});

describe('a span is made', () => {
  const below = async (act: (sql: postgres.Sql) => Promise<unknown>, parent = tracer.startSpan('batch')) => {
    await context.with(trace.setSpan(context.active(), parent), () =>
      act(observedSql(fakeClient([]), PLACE)).catch(() => {}),
    );
    await new Promise((resolve) => setImmediate(resolve));
    return kept.all().filter(({ name }) => name !== 'batch');
  };
  test('below one that is recording, for each statement and its COMMIT, with its text and never its values', async () => {
    const spans = await below((sql) =>
      sql.begin(async (tx) => await tx.unsafe('update users set x = $1', ['secret' as never])),
    );
    expect(spans.map(({ name }) => name)).toEqual(['UPDATE users', 'COMMIT']);
    expect(spans[0]?.attributes).toMatchObject({
      'db.query.text': 'update users set x = $1',
      'db.namespace': 'db|public',
    });
    expect(JSON.stringify(spans.map(({ attributes, status }) => [attributes, status]))).not.toContain('secret');
  });
  test('its text is cut where it is longer than anybody reads', async () => {
    const [span] = await below((sql) => sql.unsafe(`select ${'x'.repeat(100_000)}`));
    expect(String(span?.attributes['db.query.text'])).toHaveLength(2_000);
  });
  test('and none without a parent, or below one that is not recording or has ended', async () => {
    await observedSql(fakeClient([]), PLACE).unsafe('select 1');
    expect(kept.all()).toEqual([]);
    const unsampled = trace.wrapSpanContext({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 0 });
    expect(await below((sql) => sql.unsafe('select 1'), unsampled)).toEqual([]);
    const ended = tracer.startSpan('batch');
    ended.end();
    expect(await below((sql) => sql.unsafe('select 1'), ended)).toEqual([]);
    expect(durations()).toHaveLength(3);
  });
  test('ended once, with what was learned meanwhile and what it failed with', () => {
    const parent = tracer.startSpan('batch');
    context.with(trace.setSpan(context.active(), parent), () => {
      const end = beginOperation({ summary: 'MGET', attributes: { 'db.operation.name': 'MGET' } }, () => ({ more: 1 }));
      end({ code: 'OOM', status: 'OOM', learned: { hits: 3 } });
    });
    expect(kept.named('MGET')[0]).toMatchObject({
      attributes: {
        'db.operation.name': 'MGET',
        more: 1,
        hits: 3,
        'error.type': 'OOM',
        'db.response.status_code': 'OOM',
      },
      status: { code: 2, message: 'OOM' },
    });
    // What is for the span alone is no label.
    expect(durations()[0]?.attributes).toEqual({
      'db.operation.name': 'MGET',
      'error.type': 'OOM',
      'db.response.status_code': 'OOM',
    });
  });
});

describe('what is remembered has a limit', () => {
  test('500 texts; those that came later are read each time, to the same name', async () => {
    const sql = observedSql(fakeClient([]), PLACE);
    const attributesOf = async (text: string) => {
      points.length = 0;
      await sql.unsafe(text);
      await new Promise((resolve) => setImmediate(resolve));
      return durations()[0]?.attributes;
    };
    const first = await attributesOf('select 0 from users');
    expect(await attributesOf('select 0 from users')).toBe(first); // remembered: the very object
    for (let n = 0; n < 1_000; n++) await sql.unsafe(`select ${n} from users`);
    expect(await attributesOf('select 0 from users')).toBe(first);
    const late = await attributesOf('select 999 from users');
    expect(late).toEqual(first);
    expect(await attributesOf('select 999 from users')).not.toBe(late);
  });
});
