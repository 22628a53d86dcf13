// Which error makes a partition do what: the whole table, and that no text about an error quotes data.
import { DrizzleQueryError } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import { BrokenInvariant, Conflict, classify, describe as describeError, Fenced } from '../../src/errors.ts';

const CANARY = 'c4n4ry@example.com';

/** As postgres.js throws it: the server's fields on an Error. */
function server(code: string, fields: object = {}): Error {
  const error = new Error(`duplicate key value violates: ${CANARY}`);
  return Object.assign(error, {
    name: 'PostgresError',
    code,
    severity: 'ERROR',
    detail: `Key (email)=(${CANARY})`,
    ...fields,
  });
}
function driver(code: string): Error {
  return Object.assign(new Error(`write ${code} ${CANARY}`), { code });
}
/** As Drizzle passes it on. */
const wrapped = (cause: Error) => new DrizzleQueryError(`insert into users … ${CANARY}`, [CANARY], cause);
const classOf = (error: unknown) => classify(error).class;

describe('what Postgres answers', () => {
  // PostgreSQL 18, appendix A.
  test.each([
    ['40001', 'conflict', 'serialization failure'],
    ['40P01', 'conflict', 'deadlock'],
    ['55P03', 'infrastructure', 'lock timeout'],
    ['25006', 'infrastructure', 'read-only: an old primary'],
    ['25P03', 'infrastructure', 'idle in transaction'],
    ['57014', 'slow', 'statement timeout'],
    ['23514', 'poison', 'a check refused the row'],
    ['08P01', 'infrastructure', 'a pooler in between: its server is gone'],

    ['08000', 'infrastructure', 'connection'],
    ['08006', 'infrastructure', 'connection lost'],
    ['53100', 'infrastructure', 'disk full'],
    ['53200', 'infrastructure', 'out of memory'],
    ['53300', 'infrastructure', 'too many connections'],
    ['57P01', 'infrastructure', 'terminated by an administrator'],
    ['57P02', 'infrastructure', 'crash'],
    ['57P03', 'infrastructure', 'starting up'],
    ['58030', 'infrastructure', 'I/O error'],
    ['28P01', 'infrastructure', 'password: a rotation in progress'],
    ['28000', 'infrastructure', 'role'],

    ['22001', 'poison', 'string too long'],
    ['22003', 'poison', 'number out of range'],
    ['22007', 'poison', 'no timestamp'],
    ['22021', 'poison', 'character not in the encoding'],
    ['22P02', 'poison', 'not a value of the type'],
    ['22P05', 'poison', 'untranslatable character'],
    ['54000', 'poison', 'key too long for an index'],

    ['21000', 'defect', 'cardinality'],
    ['23502', 'defect', 'not null'],
    ['23503', 'defect', 'foreign key'],
    ['23505', 'defect', 'unique'],
    ['42703', 'defect', 'a column is missing after a bad deploy'],
    ['42P01', 'defect', 'a table is missing'],
    ['42501', 'defect', 'a privilege is missing'],
    ['42601', 'defect', 'syntax'],
    ['XX000', 'defect', 'internal error'],
    ['XX001', 'defect', 'data corrupted'],
  ])('%s → %s: %s', (code, expected) => {
    expect(classify(server(code))).toEqual({ class: expected, code, known: true });
    expect(classify(wrapped(server(code)))).toEqual({ class: expected, code, known: true });
  });

  test.each(['99999', '0A000', '55006', '25001', '3D000', 'P0001'])(
    '%s is unknown: retried for ever, with an alarm',
    (code) => {
      expect(classify(server(code))).toEqual({ class: 'infrastructure', code, known: false });
    },
  );

  test.each(['2300', '235055', '23a05', ''])('%j is no SQLSTATE', (code) => {
    expect(classify(server(code))).toMatchObject({ class: 'infrastructure', known: false });
  });
});

describe('what the driver and the network say', () => {
  test.each([
    ...['CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT'],
    ...['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN'],
    ...['ENOTFOUND', 'EAI_AGAIN', 'ENOENT', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  ])('%s → infrastructure', (code) => {
    expect(classify(driver(code))).toEqual({ class: 'infrastructure', code, known: true });
    expect(classify(wrapped(driver(code)))).toEqual({ class: 'infrastructure', code, known: true });
  });

  test('EPIPE has five letters and is no SQLSTATE', () => {
    expect(classify(driver('EPIPE')).known).toBe(true);
  });

  test('the code of the outermost error that has one counts', () => {
    expect(classOf(Object.assign(new Error('x', { cause: server('22021') }), { code: '40001' }))).toBe('conflict');
  });
});

describe('what our own code says', () => {
  test.each([
    [new Fenced('x'), 'fenced', 'fenced'],
    [new Conflict('x'), 'conflict', 'conflict'],
    [new BrokenInvariant('x'), 'defect', 'invariant'],
    [new TypeError('x'), 'defect', 'TypeError'],
    [new RangeError('x'), 'defect', 'RangeError'],
    [new ReferenceError('x'), 'defect', 'ReferenceError'],
  ])('%s', (error, expected, code) => {
    expect(classify(error)).toEqual({ class: expected, code, known: true });
  });

  test('a plain Error is unknown', () => {
    expect(classify(new Error('x'))).toEqual({ class: 'infrastructure', code: '_OTHER', known: false });
  });

  test.each([undefined, null, 'a word', 7, {}, { code: '40001' }])(
    '%j, thrown, is unknown too: it never throws itself',
    (thrown) => {
      expect(classify(thrown)).toEqual({ class: 'infrastructure', code: '_OTHER', known: false });
    },
  );

  test('causes that go round in circles end', () => {
    const error = new Error('x');
    error.cause = error;
    expect(classOf(error)).toBe('infrastructure');
  });
});

describe('a text about an error', () => {
  test.each<[string, unknown]>([
    [
      'of the server',
      server('23505', {
        routine: '_bt_check_unique',
        table_name: 'users',
        constraint_name: 'users_pkey',
        query: CANARY,
        parameters: [CANARY],
      }),
    ],
    ['of the server, wrapped', wrapped(server('22021', { where: CANARY, hint: CANARY, internal_query: CANARY }))],
    ['of the network', wrapped(driver('ECONNRESET'))],
    ['of ours by mistake', new TypeError(`can not read ${CANARY}`)],
    ['of anybody', new Error(CANARY)],
    ['thrown as a word', CANARY],
    ['thrown as an object', { message: CANARY }],
  ])('%s quotes nothing', (_, error) => {
    const text = describeError(error);
    expect(JSON.stringify(text)).not.toContain('c4n4ry');
    expect(Object.keys(text)).toEqual(['error.type', 'exception.type', 'exception.message']);
  });

  test('says which code, which table, which rule', () => {
    const error = server('23505', {
      routine: '_bt_check_unique',
      table_name: 'history',
      constraint_name: 'history_user_version',
    });
    expect(describeError(wrapped(error))).toEqual({
      'error.type': '23505',
      'exception.type': 'PostgresError',
      'exception.message': '23505 _bt_check_unique history history_user_version',
    });
  });

  test('of our own says its sentence', () => {
    expect(describeError(new Conflict('1 of 2 rows of users were written by somebody else meanwhile'))).toEqual({
      'error.type': 'conflict',
      'exception.type': 'Conflict',
      'exception.message': '1 of 2 rows of users were written by somebody else meanwhile',
    });
  });

  test.each([undefined, null])('of %s is a text too', (thrown) => {
    expect(describeError(thrown)['error.type']).toBe('_OTHER');
  });
});
