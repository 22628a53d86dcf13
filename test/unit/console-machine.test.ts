// The drawing on the page: numbers on a user's way, where arrow keys lead, how much comes and goes, the lines themselves.
import { beforeAll, describe, expect, test } from 'vitest';
import { throughOf } from '../../console/src/machine/flows.ts';
import { numbered, pathOf, type Step, stepsOf } from '../../console/src/machine/path.ts';
import { arrowhead, beatOf, curve, inOneLine, widthOf } from '../../console/src/machine/shape.ts';
import { nextSpot, type Spot } from '../../console/src/machine/walk.ts';
import { picture } from '../../machines/picture.ts';
import type { Geometry } from '../../src/api/contract.ts';
import { layout } from '../../src/drawing/layout.ts';

describe("a user's way through the machine", () => {
  const step = (version: number, transition: string | null, from: string, to: string, outcome = 'applied'): Step => ({
    version,
    transition,
    from,
    to,
    outcome,
  });
  // The newest first, as the API gives them.
  const history = [
    step(6, 'pending|S|2', 'pending', 'active'),
    step(5, 'active|S|1', 'active', 'pending'),
    step(4, null, 'active', 'active', 'duplicate'),
    step(3, 'active|S|0', 'active', 'active', 'skipped'),
    step(2, 'pending|S|2', 'pending', 'active'),
    step(1, 'absent|C|0', 'absent', 'pending'),
  ];

  test('numbers are those of the steps, and a transition taken twice has both', () => {
    expect([...pathOf(history).steps]).toEqual([
      ['absent|C|0', [1]],
      ['pending|S|2', [2, 6]],
      ['active|S|1', [5]],
    ]);
  });
  test('what changed nothing took no edge', () => {
    expect(pathOf(history).steps.has('active|S|0')).toBe(false);
  });
  test('looking back, what came later is not there yet', () => {
    const then = pathOf(history, 2);
    expect([...then.steps.values()].flat()).toEqual([1, 2]);
    expect(then.current).toBe('active');
    expect(then.visited).toEqual(new Set(['absent', 'pending', 'active']));
  });
  test('before the first step it is nowhere', () => {
    expect(pathOf(history, 0)).toEqual({ steps: new Map(), visited: new Set(), current: undefined });
  });
  test('a line that stands for several transitions has the steps of all, in order', () => {
    expect(stepsOf(pathOf(history), ['active|S|1', 'pending|S|2', 'never'])).toEqual([2, 5, 6]);
  });
  test('repeats are told in little room', () => {
    expect(numbered([3])).toBe('3');
    expect(numbered([2, 6])).toBe('2 · 6');
    expect(numbered([2, 6, 9, 11])).toBe('2 ×4');
  });
});

describe.each(['LR', 'TB'] as const)('arrow keys follow the edges (%s)', (direction) => {
  let geometry: Geometry;
  beforeAll(async () => {
    geometry = await layout(picture(), direction);
  });
  const KEYS = ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'];

  test('every state and every edge is reached from the first state, by arrows alone', () => {
    const seen = new Set<Spot>(['state absent']);
    for (const spot of seen)
      for (const key of KEYS) {
        const next = nextSpot(geometry, spot, key);
        if (next !== undefined) seen.add(next);
      }
    expect([...seen].filter((spot) => spot.startsWith('state '))).toHaveLength(geometry.states.length);
    expect([...seen].filter((spot) => spot.startsWith('edge '))).toHaveLength(geometry.edges.length);
  });
  test('from an edge, an arrow leads to where the edge goes', () => {
    for (const [i, { target }] of geometry.edges.entries())
      expect(KEYS.map((key) => nextSpot(geometry, `edge ${i}`, key))).toContain(`state ${target}`);
  });
  test('Home leads to the first state, other keys nowhere', () => {
    expect(nextSpot(geometry, 'edge 3', 'Home')).toBe(`state ${geometry.states[0]?.id}`);
    expect(nextSpot(geometry, 'edge 3', 'x')).toBeUndefined();
  });
});

describe('who comes and goes', () => {
  const view = picture();
  const edges = { 'absent|USER_CREATED|0': 4, 'pending|USER_STATUS_CHANGED|2': 3, 'pending|USER_ROLE_CHANGED|1': 9 };
  test('what changes the user and not the state is no way in or out', () => {
    expect(throughOf(view, 'pending', edges)).toEqual({ in: 4, out: 3 });
  });
  test('what is not known yet is not 0', () => {
    expect(throughOf(view, 'pending', undefined)).toEqual({ in: undefined, out: undefined });
  });
});

describe('lines', () => {
  const bend = [
    { x: 0, y: 0 },
    { x: 40, y: 0 },
    { x: 40, y: 40 },
  ];
  test('bends are round, and the line ends inside the arrowhead', () => {
    expect(curve(bend)).toBe('M0 0L32 0Q40 0 40 8L40 33');
  });
  test('the arrowhead has its tip at the end, as wide as the line needs', () => {
    expect(arrowhead(bend)).toBe('M40 40L36 32L44 32z');
    expect(arrowhead(bend, 8)).toBe('M40 40L33.5 32L46.5 32z');
  });
  test('points that lie on each other break nothing', () => {
    expect(
      curve([
        { x: 1, y: 1 },
        { x: 1, y: 1 },
      ]),
    ).not.toMatch(/NaN/);
    expect(
      arrowhead([
        { x: 1, y: 1 },
        { x: 1, y: 1 },
      ]),
    ).not.toMatch(/NaN/);
  });
  test('more traffic is a thicker and faster line, within limits', () => {
    expect(widthOf(0)).toBe(1);
    expect(widthOf(3)).toBe(3);
    expect(widthOf(1e9)).toBe(8);
    expect([0.1, 5, 50, 5_000].map(beatOf)).toEqual([1, 2, 3, 4]);
  });
});

test('a name that is broken in two is said as one, a guard as a word of its own', () => {
  const line = (text: string, ...transitions: string[]) => ({ text, transitions, x: 0, y: 0 });
  expect(inOneLine([line('USER_ROLE_', 'a|R|0'), line('CHANGED'), line('toPending', 'a|S|1')])).toBe(
    'USER_ROLE_CHANGED toPending',
  );
  expect(inOneLine([line('USER_CREATED', 'absent|C|0'), line('[customer'), line('Known]')])).toBe(
    'USER_CREATED [customerKnown]',
  );
});
