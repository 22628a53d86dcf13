// What a look at a partition's saved row leads to: compared with what was believed, and with what the source really does.
import { describe, expect, test } from 'vitest';
import { compare } from '../../src/partitions.ts';

type Row = Parameters<typeof compare>[0];
const row = (over: Partial<Row> = {}): Row => ({ next: 5n, generation: 0, state: 'running', ...over });
const HALTED = row({ state: 'halted' });

describe('of a partition that runs by its row', () => {
  test.each([
    ['fetched, as expected: nothing is to do', row(), false, 'nothing'],
    ['fetched, nothing expected: its next batch reads the row', undefined, false, 'nothing'],
    ['fetched, another position: it is sent there', row({ next: 4n }), false, 'seek'],
    ['fetched, another log: it goes on if that fits', row({ generation: 1 }), false, 'judge'],
    ['fetched, believed halted: it goes on if its log fits', HALTED, false, 'judge'],
    ['not fetched, halted before: it goes on if its log fits', HALTED, true, 'judge'],
    ['not fetched, though believed to run: it goes on if its log fits', row(), true, 'judge'],
    ['not fetched, nothing expected: it goes on if its log fits', undefined, true, 'judge'],
  ] as const)('%s', (_, before, isHalted, toDo) => expect(compare(row(), before, isHalted)).toBe(toDo));
});

describe('of a partition that is halted by its row', () => {
  test.each([
    ['not fetched: nothing is to do', HALTED, true, 'nothing'],
    ['not fetched, believed to run: nothing is to do', row(), true, 'nothing'],
    ['fetched: it is stopped', row(), false, 'stop'],
    ['fetched, nothing expected: it is stopped', undefined, false, 'stop'],
    ['fetched, though believed halted: it is stopped', HALTED, false, 'stop'],
  ] as const)('%s', (_, before, isHalted, toDo) => expect(compare(HALTED, before, isHalted)).toBe(toDo));
});
