// One user on the page: what stands where in its timeline, and what a step did to its row.
import { describe, expect, test } from 'vitest';
import { fieldsOf } from '../../console/src/user/row-diff.tsx';
import { narrowed, timelineOf } from '../../console/src/user/timeline.ts';
import type { DeadLetterItem, HistoryItem, WaitingItem } from '../../src/api/contract.ts';

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 12, 0, second)).toISOString();
const step = (version: number, second: number, type = 'USER_STATUS_CHANGED', outcome = 'applied') =>
  ({ version, recordedAt: at(second), type, outcome }) as HistoryItem;
const letter = (id: number, second: number) => ({ id, firstFailedAt: at(second), type: null }) as DeadLetterItem;
const event = (id: number, second: number) => ({ id, since: at(second), type: 'USER_ROLE_CHANGED' }) as WaitingItem;
const names = (entries: ReturnType<typeof timelineOf>) =>
  entries.map((entry) =>
    entry.is === 'step'
      ? `step ${entry.step.version}`
      : entry.is === 'dead'
        ? `dead ${entry.letter.id}`
        : `waiting ${entry.event.id}`,
  );

describe('a timeline, the newest first', () => {
  test('a dead letter and what waits behind it stand where they came', () => {
    expect(names(timelineOf([step(2, 20), step(1, 10)], [letter(7, 15)], [event(8, 16)]))).toEqual([
      'step 2',
      'waiting 8',
      'dead 7',
      'step 1',
    ]);
  });
  test('steps keep the order of their numbers, whatever the clocks say', () => {
    expect(names(timelineOf([step(1, 30), step(3, 20), step(2, 25)], [], []))).toEqual(['step 3', 'step 2', 'step 1']);
  });
  test('what came before every step, or without any, is there too', () => {
    expect(names(timelineOf([step(1, 10)], [letter(7, 5)], []))).toEqual(['step 1', 'dead 7']);
    expect(names(timelineOf([], [], [event(1, 1), event(2, 2)]))).toEqual(['waiting 2', 'waiting 1']);
    expect(names(timelineOf([], [], [event(1, 1), event(2, 1)]))).toEqual(['waiting 2', 'waiting 1']);
  });
  test('narrowed by outcome and by event, both at once', () => {
    const all = timelineOf(
      [step(2, 20, 'USER_DELETED'), step(1, 10, 'USER_CREATED', 'skipped')],
      [letter(7, 15)],
      [event(8, 16)],
    );
    expect(names(narrowed(all, { outcome: 'applied' }))).toEqual(['step 2']);
    expect(names(narrowed(all, { outcome: 'dead' }))).toEqual(['dead 7']);
    expect(names(narrowed(all, { type: 'USER_ROLE_CHANGED', outcome: 'waiting' }))).toEqual(['waiting 8']);
    expect(names(narrowed(all, { type: 'USER_DELETED', outcome: 'waiting' }))).toEqual([]);
    expect(narrowed(all, {})).toEqual(all);
  });
});

describe('what a step did to the row', () => {
  test('changed fields come first, with their sign', () => {
    const fields = fieldsOf({ a: 1, b: 'x', c: null, d: 'y' }, { a: 1, b: 'z', c: 2, d: null }, ['b', 'c', 'd']);
    expect(fields.map(({ name, sign }) => name + sign)).toEqual(['b~', 'c+', 'd–', 'a']);
  });
  test('of a user that did not exist before, every field is new that holds something', () => {
    expect(fieldsOf(null, { a: 1, b: null }, ['a', 'b']).map(({ sign }) => sign)).toEqual(['+', '']);
  });
  test('without a row there is nothing', () => expect(fieldsOf(null, null, [])).toEqual([]));
});
