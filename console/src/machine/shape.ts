// shape.ts — the lines of the drawing: rounded paths and arrowheads from the points of a geometry. Pure; px at scale 1.
import type { Geometry } from '../../../src/api/contract.ts';

export type Point = { x: number; y: number };
export type Edge = Geometry['edges'][number];
export type StateBox = Geometry['states'][number];

/** What a label says, as one reads it: a guard is a word of its own, the second half of a broken name is none. */
export function inOneLine(lines: Edge['label']['lines']): string {
  return lines.reduce((said, { text, transitions: [own] }, i) => {
    const isSameWord = i === 0 || (own === undefined && !text.startsWith('['));
    return `${said}${isSameWord ? '' : ' '}${text}`;
  }, '');
}

const ROUND = 8;
const HEAD = 8;

/** With round bends; ends inside the arrowhead, so that a thick line does not look out of its tip. */
export function curve(points: readonly Point[]): string {
  return points
    .map((point, i) => {
      const [before, after] = [points[i - 1], points[i + 1]];
      if (before === undefined) return `M${point.x} ${point.y}`;
      if (after === undefined) {
        const end = towards(point, before, HEAD - 1);
        return `L${end.x} ${end.y}`;
      }
      const radius = Math.min(ROUND, lengthOf(before, point) / 2, lengthOf(point, after) / 2);
      const [begin, end] = [towards(point, before, radius), towards(point, after, radius)];
      return `L${begin.x} ${begin.y}Q${point.x} ${point.y} ${end.x} ${end.y}`;
    })
    .join('');
}

/** `width`: of the line that ends in it. */
export function arrowhead(points: readonly Point[], width = 1.5): string {
  const [before, tip] = points.slice(-2);
  if (before === undefined || tip === undefined) return '';
  const half = Math.max(4, width * 0.5 + 2.5);
  const foot = towards(tip, before, HEAD);
  const [dx, dy] = [(foot.y - tip.y) / HEAD, (tip.x - foot.x) / HEAD];
  return `M${tip.x} ${tip.y}L${foot.x + dx * half} ${foot.y + dy * half}L${foot.x - dx * half} ${foot.y - dy * half}z`;
}

function towards(from: Point, end: Point, length: number): Point {
  const whole = lengthOf(from, end);
  if (whole === 0) return from;
  return { x: from.x + ((end.x - from.x) * length) / whole, y: from.y + ((end.y - from.y) * length) / whole };
}

function lengthOf(a: Point, b: Point): number {
  return Math.hypot(b.x - a.x, b.y - a.y);
}

export function middleOf({ x, y, width, height }: { x: number; y: number; width: number; height: number }): Point {
  return { x: x + width / 2, y: y + height / 2 };
}

/** How thick an edge is that is taken so often a second; beyond 8 px it says no more. */
export function widthOf(perSecond: number): number {
  return Math.min(8, 1 + Math.log2(1 + perSecond));
}

/** How fast its dashes go, 1 to 4: what is under 1, 10 and 100 a second, and more. */
export function beatOf(perSecond: number): 1 | 2 | 3 | 4 {
  return perSecond < 1 ? 1 : perSecond < 10 ? 2 : perSecond < 100 ? 3 : 4;
}
