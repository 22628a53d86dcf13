// text.ts — how wide a text is, without a font at hand: enough to leave room, whichever of FONT the reader has.

/** What systems have, the narrow ones first; of Linux' many the one that is as wide as Arial. */
export const FONT =
  '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Liberation Sans", "Helvetica Neue", Arial, sans-serif';

/** Widths in em, as in Helvetica and Arial (and, by design, Liberation Sans). */
const WIDTHS: readonly (readonly [string, number])[] = [
  ["ijl'|", 0.222],
  [' ft[]/\\,.:;!I', 0.278],
  ['r-()', 0.333],
  ['cksvxyzJ', 0.5],
  ['TFZ', 0.611],
  ['ABEKPSVXY', 0.667],
  ['CDHNRUw', 0.722],
  ['GOQ', 0.778],
  ['mM', 0.833],
  ['W%@', 1],
];
const EM = new Map(WIDTHS.flatMap(([letters, em]) => [...letters].map((letter) => [letter, em] as const)));
const OTHER_ASCII = 0.556;
/** San Francisco and Noto Sans are up to so much wider. */
const OTHER_FONTS = 1.08;
const BOLD = 1.08;

/** px, rounded up. */
export function widthOf(text: string, size: number, { bold = false } = {}): number {
  let em = 0;
  for (const letter of text) em += EM.get(letter) ?? (letter <= '~' ? OTHER_ASCII : 1);
  return Math.ceil(em * size * OTHER_FONTS * (bold ? BOLD : 1));
}
