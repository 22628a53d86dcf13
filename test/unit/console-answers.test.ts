// Which command the command line names for a halt: the one that a person comes to on the page, too.
import { describe, expect, test } from 'vitest';
import { type Answer, answersTo } from '../../console/src/views/partitions-sums.ts';
import type { PartitionRow } from '../../src/api/contract.ts';
import { answerTo } from '../../src/cli/partitions.ts';

type Halt = { why: string | null; logStart: string | null };
/** It stopped at 10. */
const HALTS: [what: string, halt: Halt, answer: Answer, command: string][] = [
  ['a gap', { why: 'gap: fetched from 12', logStart: '0' }, 'resume', 'resume t 4'],
  ['a gap, and records are gone', { why: 'gap: twice', logStart: '12' }, 'accept-loss', 'accept-loss t 4 --dry-run'],
  ['a gap, Kafka does not say', { why: 'gap: twice', logStart: null }, 'resume', 'resume t 4'],
  ['records are gone', { why: 'lost: 10 to 11', logStart: '12' }, 'accept-loss', 'accept-loss t 4 --dry-run'],
  ['they are there again', { why: 'lost: 10 to 11', logStart: '10' }, 'resume', 'resume t 4'],
  [
    'records are gone, Kafka does not say',
    { why: 'lost: 10 to 11', logStart: null },
    'accept-loss',
    'accept-loss t 4 --dry-run',
  ],
  [
    'it ends before the position',
    { why: 'truncated: it ends at 3', logStart: '0' },
    'set-position',
    'set-position t 4 0 --new-log --dry-run',
  ],
  [
    'it ends before, and begins later',
    { why: 'truncated: it ends at 3', logStart: '12' },
    'set-position',
    'set-position t 4 12 --new-log --dry-run',
  ],
  [
    'of another cluster, Kafka does not say',
    { why: 'cluster: of k0', logStart: null },
    'set-position',
    'set-position t 4 0 --new-log --dry-run',
  ],
  ['too much waits', { why: 'waiting: 10 million', logStart: '0' }, 'resume', 'resume t 4'],
  ['a defect', { why: 'defect 42703: no column', logStart: '0' }, 'resume', 'resume t 4'],
  ['something that is not known here', { why: 'by an operator', logStart: '0' }, 'resume', 'resume t 4'],
  ['nobody said why', { why: null, logStart: '0' }, 'resume', 'resume t 4'],
  ['nobody said why, and records are gone', { why: null, logStart: '12' }, 'accept-loss', 'accept-loss t 4 --dry-run'],
];

describe('the answer to a halt', () => {
  test.each(HALTS)('%s: by the command line', (_, { why, logStart }, _answer, command) => {
    const row = { topic: 't', partition: 4, position: '10', haltedReason: why, logStart };
    expect(answerTo(row)).toBe(`partitions ${command}`);
  });

  test.each(HALTS)('%s: on the page, first', (_, halt, answer) => {
    expect(answersTo({ ...halt, position: '10' } as PartitionRow)[0]).toBe(answer);
  });

  test('is for its own log, beyond what a double can hold', () => {
    const row = { topic: "it's", partition: 0, position: '9007199254740992', haltedReason: null };
    expect(answerTo({ ...row, logStart: '9007199254740993' })).toBe(`partitions accept-loss 'it'\\''s' 0 --dry-run`);
  });
});
