import { describe, expect, test } from 'vitest';
import { createEnds } from '../../src/api/log-ends.ts';

const SECOND = 1_000;
const PLACE = { topic: 'user-events', partition: 3 };

function setup() {
  const world = { now: Date.UTC(2025, 0, 31) };
  const ends = createEnds(() => world.now);
  /** A look, and then `seconds` pass. */
  const look = (logEnd: bigint, seconds = 10) => {
    ends.saw([{ ...PLACE, logStart: 0n, logEnd, committed: logEnd - 1n }], world.now);
    world.now += seconds * SECOND;
  };
  return { world, ends, look };
}

describe('how far a partition of another process is behind', () => {
  test('unknown, where nobody looked; none, at the end', () => {
    const { ends, look } = setup();
    expect(ends.of(PLACE, 5n)).toBeUndefined();
    look(7n);
    expect(ends.of({ ...PLACE, partition: 4 }, 5n)).toBeUndefined();
    expect(ends.of(PLACE, 7n)).toEqual({ start: 0n, end: 7n, committed: 6n, seconds: 0 });
    expect(ends.of(PLACE, 9n)?.seconds).toBe(0); // saved since the look
  });

  test('a log that became shorter is another one: what was seen of the first says nothing of it', () => {
    const { ends, look } = setup();
    look(100n);
    expect(ends.of(PLACE, 100n)?.seconds).toBe(0);
    look(3n);
    expect(ends.of(PLACE, 1n)).toMatchObject({ end: 3n, seconds: null });
    look(5n);
    expect(ends.of(PLACE, 3n)?.seconds).toBe(20);
  });

  test('seconds: since the newest look whose end it has reached; before it has reached one, unknown', () => {
    const { ends, look } = setup();
    look(100n);
    look(200n);
    look(300n);
    expect(ends.of(PLACE, 99n)?.seconds).toBeNull();
    expect(ends.of(PLACE, 150n)?.seconds).toBe(30);
    expect(ends.of(PLACE, 200n)?.seconds).toBe(20);
    expect(ends.of(PLACE, 299n)?.seconds).toBe(20);
    look(300n);
    expect(ends.of(PLACE, 299n)?.seconds).toBe(30); // it stands still
    expect(ends.of(PLACE, 300n)?.seconds).toBe(0);
  });

  test('however far behind: its oldest looks are not forgotten, and memory is bounded', () => {
    const { ends, look } = setup();
    look(0n);
    ends.of(PLACE, 0n);
    for (let n = 1; n <= 2_000; n++) look(BigInt(100 * n));
    expect(ends.of(PLACE, 50n)?.seconds).toBe(2_001 * 10);
    expect(ends.of(PLACE, 100n)?.seconds).toBe(2_000 * 10);
    expect(ends.of(PLACE, 199_950n)?.seconds).toBe(20);
  });

  test('what was not looked at for a minute is unknown', () => {
    const { world, ends, look } = setup();
    look(7n, 60);
    expect(ends.of(PLACE, 7n)).toBeDefined();
    world.now += 1;
    expect(ends.of(PLACE, 7n)).toBeUndefined();
  });
});
