// In which order waiting events go, and where they stop.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nextInOrder, type Queued } from '../../src/order.ts';

/** "a3@5": source a, offset 3, time 5. "+": a creation. "!": a dead letter that blocks. */
function queued(text: string): Queued[] {
  return text.split(' ').flatMap((word) => {
    const match = /^([a-z])(\d+)@(-?\d+)(\+?)(!?)$/.exec(word);
    if (match === null) return [];
    const [, topic = '', offset = '', at = '', creation, blocks] = match;
    return [
      {
        ...{ topic, partition: 0, generation: 0, offset: BigInt(offset), atMs: Number(at), blocks: blocks === '!' },
        type: creation === '+' ? 'USER_CREATED' : 'USER_STATUS_CHANGED',
      },
    ];
  });
}
const names = (list: readonly Queued[]) => list.map(({ topic, offset }) => `${topic}${offset}`).join(' ');
const order = (text: string, { exists = true, limit = 500 } = {}) => names(nextInOrder(queued(text), exists, limit));

describe('a user that exists', () => {
  test.each([
    ['nothing waits', '', ''],
    ['one source: by offset, whatever the clocks say', 'a2@1 a1@9 a3@5', 'a1 a2 a3'],
    ['two sources: the lower time first', 'a1@1 a2@4 b1@2 b2@3', 'a1 b1 b2 a2'],
    ['a source whose clock ran back is not overtaken by itself', 'a1@9 a2@1 b1@5', 'b1 a1 a2'],
    ['equal times: the lower topic', 'b1@1 a1@1', 'a1 b1'],
    ['creations are events like others', 'a1@5 b1@2+ b2@9+', 'b1 a1 b2'],
    ['ten is more than nine', 'a10@1 a9@1', 'a9 a10'],
  ])('%s', (_, waiting, expected) => {
    expect(order(waiting)).toBe(expected);
  });

  test('equal times of one topic: the lower partition, then the older log, so that every process chooses alike', () => {
    const [base] = queued('a1@1') as [Queued];
    const list = [
      { ...base, partition: 2 },
      { ...base, partition: 1, generation: 1 },
      { ...base, partition: 1 },
    ];
    const places = nextInOrder(list, true, 500).map(({ partition, generation }) => [partition, generation]);
    expect(places).toEqual([
      [1, 0],
      [1, 1],
      [2, 0],
    ]);
  });

  test('another generation of a log is another source', () => {
    const [a, b] = queued('a9@1 a1@2') as [Queued, Queued];
    expect(names(nextInOrder([a, { ...b, generation: 1 }], true, 500))).toBe('a9 a1');
  });

  test('at most so many', () => {
    expect(order('a1@1 a2@2 b1@3', { limit: 2 })).toBe('a1 a2');
    expect(order('a1@1', { limit: 0 })).toBe('');
  });
});

describe('a user that does not exist', () => {
  test.each([
    ['without a creation nothing goes', 'a1@1 b1@2', ''],
    ['the creation goes first, wherever it stands', 'a1@1 a2@2 b1@3 b2@9+', 'b2 a1 a2 b1'],
    ['the earliest of several', 'a1@5+ b1@3+ c1@4', 'b1 c1 a1'],
    ['within a source the first, whatever the clocks say', 'a1@9+ a2@1+', 'a1 a2'],
    ['the first of each source, then the time', 'a1@9+ a2@1+ b1@5+', 'b1 a1 a2'],
    ['a creation that blocks stops all', 'a1@1+! a2@2', ''],
    ['so does one whose time is later than a blocking one’s', 'a1@1+! b1@2+', ''],
    ['an earlier creation goes before a blocking one', 'a1@3+! b1@2+ b2@9', 'b1'],
    ['a blocking event of its own source stops what lies behind it, not the creation', 'a1@1! a2@2+ b1@0', 'a2 b1'],
  ])('%s', (_, waiting, expected) => {
    expect(order(waiting, { exists: false })).toBe(expected);
  });

  test('the creation counts towards the limit', () => {
    expect(order('a1@1 a2@2+ a3@3', { exists: false, limit: 2 })).toBe('a2 a1');
  });
});

describe('a dead letter that blocks stands in its own place', () => {
  test.each([
    ['what lies before it goes, what lies behind it waits', 'a1@1 a2@2! a3@3', 'a1'],
    ['other sources too, by time', 'a1@5! b1@4 b2@6', 'b1'],
    ['of equal times the lower topic', 'b1@5! a1@5 c1@5', 'a1'],
    ['first of all: nothing goes', 'a1@1! a2@2 b1@3', ''],
    // A head with a high time holds its source: what is behind it does not count yet.
    ['behind a later head it does not stop the others', 'a1@9 a2@1! b1@5', 'b1 a1'],
  ])('%s', (_, waiting, expected) => {
    expect(order(waiting)).toBe(expected);
  });
});

describe('whatever waits', () => {
  const item = fc.record({
    topic: fc.constantFrom('a', 'b'),
    partition: fc.nat(1),
    generation: fc.nat(1),
    offset: fc.bigInt({ min: 0n, max: 12n }),
    type: fc.constantFrom('USER_CREATED', 'USER_STATUS_CHANGED', null),
    atMs: fc.nat(5),
    blocks: fc.boolean().map((blocks) => blocks),
  });
  const sourceOf = ({ topic, partition, generation }: Queued) => `${topic}/${partition}#${generation}`;
  const queue = fc.uniqueArray(item, { maxLength: 14, selector: (each) => `${sourceOf(each)}@${each.offset}` });
  const few = fc.uniqueArray(
    item.map((each) => ({ ...each, blocks: each.blocks && each.offset > 9n })),
    { maxLength: 14, selector: (each) => `${sourceOf(each)}@${each.offset}` },
  );

  test('no event overtakes one of its own source, but the one creation that comes first', () => {
    fc.assert(
      fc.property(few, fc.boolean(), (waiting, exists) => {
        const order = nextInOrder(waiting, exists, 500);
        const rest = exists ? order : order.slice(1);
        if (!exists && order.length > 0) expect(order[0]?.type).toBe('USER_CREATED');
        for (const [source, events] of Map.groupBy(rest, sourceOf)) {
          expect(events.map(({ offset }) => offset)).toEqual(
            events.map(({ offset }) => offset).sort((a, b) => Number(a - b)),
          );
          // Without gaps from its first: nothing of the source is left in front of what went.
          const last = events.at(-1)?.offset as bigint;
          const before = waiting.filter((each) => sourceOf(each) === source && each.offset <= last);
          expect(before.every((each) => order.includes(each))).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('nothing that blocks goes, nothing goes twice, and without blocks all of it goes', () => {
    fc.assert(
      fc.property(queue, fc.boolean(), (waiting, exists) => {
        const order = nextInOrder(waiting, exists, 500);
        expect(order.some(({ blocks }) => blocks)).toBe(false);
        expect(new Set(order).size).toBe(order.length);
        const free = waiting.map((each) => ({ ...each, blocks: false }));
        const goes = exists || free.some(({ type }) => type === 'USER_CREATED');
        expect(nextInOrder(free, exists, 500)).toHaveLength(goes ? free.length : 0);
      }),
      { numRuns: 1_000 },
    );
  });

  test('every process chooses alike, however its rows come, and a smaller step only stops earlier', () => {
    fc.assert(
      fc.property(queue, fc.boolean(), fc.nat(14), fc.infiniteStream(fc.nat(99)), (waiting, exists, limit, dice) => {
        const order = nextInOrder(waiting, exists, 500);
        const shuffled = waiting
          .map((each) => [dice.next().value, each] as const)
          .sort(([a], [b]) => Number(a) - Number(b));
        expect(
          nextInOrder(
            shuffled.map(([, each]) => each),
            exists,
            500,
          ),
        ).toEqual(order);
        // The one exception: the creation of a user that does not exist goes even then.
        expect(nextInOrder(waiting, exists, limit)).toEqual(order.slice(0, exists ? limit : Math.max(limit, 1)));
      }),
      { numRuns: 1_000 },
    );
  });
});
