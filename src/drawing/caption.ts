// caption.ts — what must be said below a drawing, or beside it where there is room: which guards stand for which event, and what
// is not drawn.
import type { Picture } from '../../machines/picture.ts';
import type { Box, Geometry, Point } from './layout.ts';
import { LETTERS } from './sizes.ts';
import { legend } from './sketch.ts';
import { widthOf } from './text.ts';

/** `bottom`: what the drawing must reach down to, px. `hasSign`: behind the sign of what stays in its state. */
export type Caption = { lines: (Point & { text: string; hasSign: boolean })[]; bottom: number };

const LINE = 16;
const MARGIN = 16;
const SIGN = 16;
/** Between two sentences, px. */
const GAP = 8;

export function captionOf(drawn: Picture, geometry: Geometry): Caption {
  const sentences = sentencesOf(drawn);
  if (sentences.length === 0) return { lines: [], bottom: 0 };
  const room = roomBeside(geometry);
  if (room !== undefined) {
    const beside = written(sentences, room);
    const left = room.y + room.height - beside.bottom;
    const isNarrow = beside.lines.some(({ text }) => widthOf(text, LETTERS.line) > room.width);
    if (left >= 0 && !isNarrow) {
      const down = Math.floor(left / 2);
      return { lines: beside.lines.map((line) => ({ ...line, y: line.y + down })), bottom: 0 };
    }
  }
  const below = written(sentences, { x: MARGIN, y: geometry.height, width: geometry.width - 2 * MARGIN });
  return { ...below, bottom: below.bottom + MARGIN };
}

function sentencesOf(drawn: Picture): { text: string; hasSign: boolean }[] {
  const guards = legend(drawn).map(({ event, guards }) => `${event}, by its guard: ${guards.join(', ')}`);
  const stays = drawn.transitions.some(({ changes, source, target }) => changes && (target ?? source) === source);
  const isLeftOut = drawn.transitions.some(({ changes }) => !changes);
  return [
    ...guards.map((text) => ({ text, hasSign: false })),
    ...(stays ? [{ text: 'changes the user, not the state', hasSign: true }] : []),
    ...(isLeftOut ? [{ text: 'What changes nothing is not drawn.', hasSign: false }] : []),
  ];
}

/** The room that a group leaves: left of it between what stands there, or above it on the right of what stands there. */
function roomBeside({ direction, width, groups: [group], states, edges, start }: Geometry): Box | undefined {
  if (group === undefined) return undefined;
  const labels = edges.map(({ label }) => label);
  const bends = [start, ...edges.flatMap(({ points }) => points)].map(({ x, y }) => ({ x, y, width: 0, height: 0 }));
  const things = [...states, ...labels, ...bends];
  if (direction === 'TB') {
    const above = things.filter(({ y }) => y < group.y);
    const x = Math.max(...above.map((thing) => thing.x + thing.width)) + 2 * MARGIN;
    return { x, y: MARGIN, width: width - MARGIN - x, height: group.y - 2 * MARGIN };
  }
  const column = things.filter(({ x }) => x < group.x).sort((a, b) => a.y - b.y);
  let [reached, widest] = [group.y, { y: 0, height: 0 }];
  for (const thing of column) {
    if (thing.y - reached > widest.height) widest = { y: reached, height: thing.y - reached };
    reached = Math.max(reached, thing.y + thing.height);
  }
  return { x: MARGIN, y: widest.y + MARGIN, width: group.x - 2 * MARGIN, height: widest.height - 2 * MARGIN };
}

function written(
  sentences: readonly { text: string; hasSign: boolean }[],
  { x, y, width }: Omit<Box, 'height'>,
): Caption {
  const lines: Caption['lines'] = [];
  let bottom = y;
  for (const { text, hasSign } of sentences) {
    const indent = hasSign ? SIGN : 0;
    wrap(text, width - indent).forEach((line, i) => {
      lines.push({ text: line, x: x + indent, y: bottom + 12, hasSign: hasSign && i === 0 });
      bottom += LINE;
    });
    bottom += GAP;
  }
  return { lines, bottom: Math.max(y, bottom - GAP) };
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    const longer = line === undefined ? word : `${line} ${word}`;
    if (line !== undefined && widthOf(longer, LETTERS.line) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}
