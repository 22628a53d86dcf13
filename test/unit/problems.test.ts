// What an error becomes: what was sent, what is away, and whether an act may have been done all the same.
import { DrizzleQueryError } from 'drizzle-orm';
import { describe, expect, test } from 'vitest';
import { Refused, refusedFor } from '../../src/api/problems.ts';
import { Conflict } from '../../src/errors.ts';
import { JobTaken } from '../../src/jobs.ts';
import { createLog } from '../../src/log.ts';
import { EditRefused } from '../../src/settle.ts';

const CANARY = 'c4n4ry@example.com';
const coded = (code: string, more: object = {}) => Object.assign(new Error(CANARY), { code, ...more });
/** As a statement's error comes through Drizzle. */
const ofPostgres = (code: string) =>
  new DrizzleQueryError(`update holds … ${CANARY}`, [CANARY], coded(code, { name: 'PostgresError' }));

const lines: string[] = [];
const log = createLog({ level: 'debug', pretty: false }, {}, { write: (line) => void lines.push(line) });
const about = (error: unknown) => {
  const { type, isUncertain, message } = refusedFor(error, log);
  expect(message).not.toContain(CANARY);
  return { type, isUncertain };
};

describe('an act that may have been done keeps its key', () => {
  test.each([
    ['no answer in time', coded('FST_ERR_HANDLER_TIMEOUT', { statusCode: 503 }), 'unavailable'],
    ['a statement that took too long', ofPostgres('57014'), 'heavy'],
    ['a lock that was not to be had', ofPostgres('55P03'), 'unavailable'],
    ['a connection that broke', ofPostgres('CONNECTION_CLOSED'), 'unavailable'],
    ['Postgres that shut down', ofPostgres('57P01'), 'unavailable'],
    ['a mistake of our own', new TypeError(CANARY), 'internal'],
    ['a table that is missing', ofPostgres('42P01'), 'internal'],
    ['what nobody has thought of', new Error(CANARY), 'internal'],
  ])('%s', (_, error, type) => {
    expect(about(error)).toEqual({ type, isUncertain: true });
  });
});

describe('an act of which nothing was done gives its key back', () => {
  test.each([
    ['refused by us', new Refused('conflict', 'It is on hold already.'), 'conflict'],
    ['an edit that was refused', new EditRefused('the edited payload is no JSON'), 'conflict'],
    ['a job that somebody else runs', new JobTaken('job 7 is done'), 'conflict'],
    ['rows that somebody else wrote first', new Conflict(CANARY), 'conflict'],
    ['a deadlock', ofPostgres('40P01'), 'conflict'],
    ['Postgres that is read-only', ofPostgres('25006'), 'unavailable'],
    ['a value that no column holds', ofPostgres('22008'), 'invalid-request'],
    ['a body that is too large', coded('FST_ERR_CTP_BODY_TOO_LARGE', { statusCode: 413 }), 'too-large'],
    ['a body that is no JSON', coded('FST_ERR_CTP_INVALID_JSON_BODY', { statusCode: 400 }), 'invalid-request'],
  ])('%s', (_, error, type) => {
    expect(about(error)).toEqual({ type, isUncertain: false });
  });
});

test('of an error that is not ours the log has its class and code, and no word of it', () => {
  lines.length = 0;
  about(ofPostgres('42P01'));
  about(new SyntaxError(CANARY));
  expect(lines).toHaveLength(2);
  expect(lines.join()).toContain('42P01');
  expect(lines.join()).not.toContain(CANARY);
});
