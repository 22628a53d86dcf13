import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OUTCOMES } from '../../src/events.ts';
import { createEventLog, createLog, type EventLine, type EventLogSettings, type LogSettings } from '../../src/log.ts';

function setup(settings: Partial<EventLogSettings & LogSettings> = {}) {
  const written: string[] = [];
  const { level = 'info', mode = 'sample', userIds = 'hashed', secret = 'a secret' } = settings;
  const log = createLog(
    { level, pretty: false },
    { 'service.version': '0.1.0' },
    { write: (line) => void written.push(line) },
  );
  return {
    log,
    events: createEventLog(log, { mode, userIds, secret }),
    text: () => written.join(''),
    lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

function line(part: Partial<EventLine> = {}): EventLine {
  return {
    type: 'USER_CREATED',
    userId: 'auth0|64f1',
    outcome: 'applied',
    topic: 'user-events',
    partition: 3,
    offset: 42n,
    ...part,
  };
}

function many(count: number, write: (i: number) => void): void {
  for (let i = 0; i < count; i++) write(i);
}

const SECOND = 1000;
beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 2) });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a line can be read by people and machines', () => {
  test('time in ISO form, level as a word, the service', () => {
    const { log, lines } = setup();
    log.info('started');
    expect(lines()).toEqual([
      {
        level: 'info',
        time: '2026-01-02T00:00:00.000Z',
        'service.name': 'customer-service',
        'service.version': '0.1.0',
        msg: 'started',
      },
    ]);
  });

  test('an event: type, user, outcome and where it stands', () => {
    const { events, lines } = setup();
    events.record(line({ dialect: 'nest', drift: true }));
    expect(lines()[0]).toMatchObject({
      level: 'info',
      msg: 'USER_CREATED applied',
      'customer_service.event.type': 'USER_CREATED',
      'customer_service.outcome': 'applied',
      'customer_service.dialect': 'nest',
      'customer_service.drift': true,
      'messaging.destination.name': 'user-events',
      'messaging.destination.partition.id': '3',
      'messaging.kafka.offset': 42,
    });
  });

  test('what an event does not have is not in its line', () => {
    const { events, lines } = setup();
    events.record(line({ type: null, userId: null, outcome: 'dead', code: 'json', dialect: null, drift: false }));
    expect(Object.keys(lines()[0] ?? {})).toEqual([
      'level',
      'time',
      'service.name',
      'service.version',
      'customer_service.outcome',
      'customer_service.dead_letter.code',
      'messaging.destination.name',
      'messaging.destination.partition.id',
      'messaging.kafka.offset',
      'msg',
    ]);
  });
});

describe('how loud', () => {
  test('an existing user created again is skipped silently', () => {
    const { events, lines } = setup();
    events.record(line({ outcome: 'skipped' }));
    expect(lines()).toEqual([]);
    const debug = setup({ level: 'debug' });
    debug.events.record(line({ outcome: 'skipped' }));
    expect(debug.lines()).toMatchObject([{ level: 'debug', msg: 'USER_CREATED skipped' }]);
  });

  test('an unknown customer is a warning', () => {
    const { events, lines } = setup();
    events.record(line({ outcome: 'waiting', reason: 'customer' }));
    expect(lines()).toMatchObject([{ level: 'warn', msg: 'customer not found: USER_CREATED waits for it' }]);
  });

  test('waiting in line is none, a dead letter is one', () => {
    const { events, lines } = setup();
    events.record(line({ outcome: 'waiting', reason: 'order' }));
    events.record(line({ outcome: 'dead', code: 'schema' }));
    expect(lines()).toMatchObject([
      { level: 'info', 'customer_service.reason': 'order' },
      { level: 'warn', 'customer_service.dead_letter.code': 'schema', msg: 'USER_CREATED is a dead letter: schema' },
    ]);
  });
});

describe('40,000 events a second do not fill the disk', () => {
  test('sample: 100 lines of each outcome, then one that says how many were left out', () => {
    const { events, lines } = setup();
    many(40_000, () => events.record(line()));
    many(101, () => events.record(line({ outcome: 'stale' })));
    expect(lines()).toHaveLength(200);
    vi.advanceTimersByTime(2 * SECOND);
    expect(lines().slice(200)).toMatchObject([
      { 'customer_service.outcome': 'applied', 'customer_service.left_out': 39_900, level: 'info' },
      { 'customer_service.outcome': 'stale', 'customer_service.left_out': 1, level: 'info' },
    ]);
  });

  test('the next second has its own 100, and its own summary', () => {
    const { events, lines } = setup();
    many(3, () => {
      many(150, () => events.record(line()));
      vi.advanceTimersByTime(SECOND);
    });
    events.flush();
    expect(lines().filter((one) => one['customer_service.left_out'] === 50)).toHaveLength(3);
    expect(lines()).toHaveLength(303);
  });

  test('a busy process, whose timers come late, still writes one summary for each second', () => {
    const { events, lines } = setup();
    many(3, (i) => {
      vi.setSystemTime(Date.UTC(2026, 0, 2) + i * SECOND);
      many(150, () => events.record(line()));
    });
    events.flush();
    expect(lines().map((one) => one['customer_service.left_out'] ?? 0)).toEqual(
      [1, 2, 3].flatMap(() => [...Array(100).fill(0), 50]),
    );
  });

  test('at the end nothing that was left out stays untold, and nothing is told twice', () => {
    const { events, lines } = setup();
    many(102, () => events.record(line({ outcome: 'dead', code: 'json' })));
    events.flush();
    events.flush();
    vi.advanceTimersByTime(5 * SECOND);
    expect(lines().slice(100)).toMatchObject([{ level: 'warn', 'customer_service.left_out': 2 }]);
  });

  test('what the level leaves out is not counted as left out', () => {
    const { events, lines } = setup();
    many(1000, () => events.record(line({ outcome: 'skipped' })));
    events.flush();
    expect(lines()).toEqual([]);
  });

  test('all: each; off: none, not even of dead letters', () => {
    const [all, off] = [setup({ mode: 'all', level: 'debug' }), setup({ mode: 'off', level: 'debug' })];
    for (const { events } of [all, off]) {
      for (const outcome of OUTCOMES) many(150, () => events.record(line({ outcome })));
      events.flush();
    }
    expect(all.lines()).toHaveLength(150 * OUTCOMES.length);
    expect(off.lines()).toEqual([]);
  });
});

describe('no personal data in the log', () => {
  const hashOf = (secret: string) => {
    const { events, lines } = setup({ secret });
    events.record(line());
    return lines()[0]?.['user.hash'];
  };

  test('a user is a keyed hash: the same everywhere, not to be guessed without the secret', () => {
    const { events, text } = setup();
    events.record(line());
    expect(text()).not.toContain('64f1');
    const whole = createHmac('sha256', 'a secret').update('auth0|64f1').digest('hex');
    expect(hashOf('a secret')).toBe(whole.slice(0, 16));
    expect(hashOf('another secret')).not.toBe(hashOf('a secret'));
  });

  test('plain only when told so', () => {
    const { events, lines } = setup({ userIds: 'plain' });
    events.record(line());
    expect(lines()[0]).toMatchObject({ 'user.id': 'auth0|64f1' });
    expect(lines()[0]).not.toHaveProperty('user.hash');
  });

  const row = {
    detail: 'Key (id)=(auth0|64f1) already exists.',
    query: "insert 'jane@x.org'",
    parameters: ['Jane Doe'],
  };
  const database = Object.assign(new Error('invalid input syntax for type uuid: "Jane Doe"'), {
    severity: 'ERROR',
    code: '22P02',
    ...row,
  });
  const drizzle = new Error('Failed query: insert\nparams: Jane Doe,jane@x.org,auth0|64f1', { cause: database });
  const parse = () => {
    try {
      return JSON.parse('{"name": "Jane Doe", "email": "jane@x.org" auth0|64f1}');
    } catch (error) {
      return error as Error;
    }
  };
  const errors: [string, Error][] = [
    ['of the database', database],
    ['of Drizzle', drizzle],
    ['of Drizzle, alone', Object.assign(new Error(drizzle.message), { query: 'insert', params: ['Jane Doe'] })],
    ['of JSON.parse', parse()],
    ['with an address', new Error('no such user: jane@x.org (auth0|64f1, auth0%7C64f1)')],
    ['with a quoted text that is not closed', new Error('unexpected "Jane Doe')],
    ['with a URL', new Error('can not reach redis://Jane:64f1@cache:6379')],
  ];

  test.each(errors)('an error %s is written without what it quotes', (_, error) => {
    const { log, text, lines } = setup();
    log.error(error);
    log.error(error, 'failed');
    log.error({ err: error, attempt: 2 }, 'failed');
    expect(text()).not.toMatch(/Jane|jane|64f1|x\.org/);
    for (const one of lines()) expect(one['exception.stacktrace']).toMatch(/at .*log\.test\.ts/);
    expect(lines().at(-1)).toMatchObject({ attempt: 2, msg: 'failed', 'exception.type': expect.any(String) });
  });

  test('an error keeps what helps: its code, and a message that quotes nothing', () => {
    const { log, lines } = setup();
    log.error(drizzle, 'failed');
    log.error(new TypeError('x is not a function'), 'failed');
    expect(lines()).toMatchObject([
      { 'error.type': '22P02', 'exception.message': '22P02' },
      { 'exception.type': 'TypeError', 'exception.message': 'x is not a function' },
    ]);
  });

  test('a field that should never have been given is not written', () => {
    const { log, text } = setup();
    log.info({ email: 'jane@x.org', payload: { name: 'Jane Doe' }, detail: row.detail }, 'careless');
    expect(text()).not.toMatch(/Jane|jane|64f1/);
  });
});
