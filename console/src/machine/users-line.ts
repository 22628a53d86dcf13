// users-line.ts — how the number of users in a state developed: points, the line through them, and one sentence. Pure.
//
// U1  What was not measured is a gap in the line, never a straight way over it.
import type { Sample } from '../../../src/api/contract.ts';
import { count, duration } from '../format.ts';

type Sums = Readonly<Record<string, number>>;
export type Point = { atMs: number; users: number };

const LONGEST_MS = 15 * 60_000;
/** Numbers of users come every 15 s; beyond this some are missing. */
const GAP_MS = 40_000;

/** The oldest first. `now`: users by state as they are shown beside the line, so that both end with the same number. */
export function pointsOf(state: string, samples: readonly Sample[], now: Sums | undefined): Point[] {
  const newest = samples.at(-1);
  if (newest === undefined) return [];
  const endMs = Date.parse(newest.at);
  const points = samples.flatMap(({ at, counts }) =>
    counts === undefined || (at === newest.at && now !== undefined)
      ? []
      : [{ atMs: Date.parse(at), users: counts[state] ?? 0 }],
  );
  if (now !== undefined) points.push({ atMs: endMs, users: now[state] ?? 0 });
  return points.filter(({ atMs }) => atMs >= endMs - LONGEST_MS);
}

/** From the left border to the right, the most at the top; what never changes lies in the middle. Fewer than two points: nothing. */
export function lineThrough(points: readonly Point[], { width, height }: { width: number; height: number }): string {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || points.length < 2) return '';
  const users = points.map((point) => point.users);
  const [least, most] = [Math.min(...users), Math.max(...users)];
  const x = ({ atMs }: Point) => tenths(((atMs - first.atMs) / (last.atMs - first.atMs)) * width);
  const y = (point: Point) =>
    most === least ? height / 2 : tenths(height - ((point.users - least) / (most - least)) * height);
  return points
    .map((point, i) => {
      const before = points[i - 1];
      return `${before === undefined || point.atMs - before.atMs > GAP_MS ? 'M' : 'L'}${x(point)} ${y(point)}`;
    })
    .join('');
}
function tenths(n: number): number {
  return Math.round(n * 10) / 10;
}

/** "from 1,204 to 1,310 in 12 min"; undefined: not known yet. */
export function developed(points: readonly Point[]): string | undefined {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || points.length < 2) return undefined;
  const time = duration(last.atMs - first.atMs);
  const least = points.reduce((least, { users }) => Math.min(least, users), first.users);
  const most = points.reduce((most, { users }) => Math.max(most, users), first.users);
  if (least === most) return `${count(last.users)} all the time, for ${time}`;
  const isBetween = [first.users, last.users].includes(least) && [first.users, last.users].includes(most);
  const between = isBetween ? '' : `, between ${count(least)} and ${count(most)}`;
  return `from ${count(first.users)} to ${count(last.users)} in ${time}${between}`;
}
