// sizes.ts — how large states and labels are, whatever they say. px at scale 1.
import type { Sketch, Words } from './sketch.ts';
import { widthOf } from './text.ts';

/** Sizes of letters. */
export const LETTERS = { state: 15, line: 12 } as const;
/** The part of a state that is free for its name. */
export const HEAD = 48;
/** A state's lines stand below its head, each behind a `sign`. */
export const STATE = { length: 88, line: 16, above: 4, below: 4, side: 16, sign: 16 } as const;
export const LABEL = { line: 16, above: 4, side: 7 } as const;
/** How wide and high the mark is where everything begins. */
export const START = 12;

export function widthOfState({ id, lines }: Sketch['states'][number]): number {
  const words = [
    widthOf(id, LETTERS.state, { bold: true }),
    ...lines.map(({ text }) => STATE.sign + widthOf(text, LETTERS.line)),
  ];
  return evenly(Math.max(STATE.length, Math.max(...words) + 2 * STATE.side));
}

export function heightOfState({ lines }: Sketch['states'][number]): number {
  return HEAD + (lines.length > 0 ? STATE.above + lines.length * STATE.line + STATE.below : 0);
}

export function sizeOfLabel(lines: readonly Words[]): { width: number; height: number } {
  const widest = Math.max(...lines.map(({ text }) => widthOf(text, LETTERS.line)));
  return { width: evenly(widest + 2 * LABEL.side), height: lines.length * LABEL.line + 2 * LABEL.above };
}

/** Up to a multiple of 4, so that a middle is a whole px. */
function evenly(length: number): number {
  return Math.ceil(length / 4) * 4;
}
