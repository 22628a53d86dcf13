// colours.ts — the colours of the drawing, on light and on dark: one hue for each state, so that it is known again everywhere.
//
// Colour is never alone: a state's name stands in its box, an edge's text on its pill. Imports nothing: the console and the
// exported picture use the same.
//
// C1  `text` on `fill` and on `surface` reaches 4.5 to 1, `line` on `surface` and on `ground` 3 to 1 (test/unit/drawing.test.ts).

/** `line`: border of its box and edges that lead to it. `fill`: its box. `text`: its name, and what is written on those edges. */
export type StateColour = { line: string; fill: string; text: string };
export type Palette = {
  /** Behind everything · inside a group's box · behind the text on an edge. */
  page: string;
  ground: string;
  surface: string;
  /** Borders that carry no meaning · words that carry less · the rest of the words. */
  border: string;
  muted: string;
  text: string;
  states: Readonly<Record<string, StateColour>>;
  /** For states that are not named above, in turn. */
  others: readonly StateColour[];
};

export const STATE_COLOURS: { light: Palette; dark: Palette } = {
  light: {
    page: '#ffffff',
    ground: '#f6f8fb',
    surface: '#ffffff',
    border: '#d5dce6',
    muted: '#5b6778',
    text: '#1c2431',
    states: {
      absent: { line: '#7a8798', fill: '#f3f5f8', text: '#4a5567' },
      pending: { line: '#b7791a', fill: '#fdf4e1', text: '#855209' },
      active: { line: '#21916b', fill: '#e4f6ee', text: '#10694b' },
      suspended: { line: '#cf4f5b', fill: '#fdebec', text: '#a82b3a' },
      roleChanged: { line: '#7463d6', fill: '#efecfd', text: '#5443b8' },
      deleted: { line: '#6b7686', fill: '#eceff3', text: '#465063' },
    },
    others: [
      { line: '#2f80c9', fill: '#e6f1fb', text: '#155e9e' },
      { line: '#a8559b', fill: '#f9ebf6', text: '#85357a' },
      { line: '#6f8a1d', fill: '#f1f5df', text: '#52680e' },
      { line: '#b5653a', fill: '#fbeee6', text: '#8c441c' },
      { line: '#1b8b9a', fill: '#e0f4f6', text: '#0d6570' },
    ],
  },
  dark: {
    page: '#0f141b',
    ground: '#151b24',
    surface: '#1a212c',
    border: '#303a49',
    muted: '#98a5b7',
    text: '#e5eaf1',
    states: {
      absent: { line: '#8391a5', fill: '#1f2733', text: '#b9c4d3' },
      pending: { line: '#cf9636', fill: '#33270f', text: '#f0c376' },
      active: { line: '#3aa981', fill: '#0f3025', text: '#7fdcb8' },
      suspended: { line: '#de6b76', fill: '#3a1b20', text: '#f8a5ac' },
      roleChanged: { line: '#8f80ea', fill: '#262049', text: '#bfb5fb' },
      deleted: { line: '#8794a6', fill: '#242c38', text: '#c0cad7' },
    },
    others: [
      { line: '#4f9fe3', fill: '#12293f', text: '#99cbf7' },
      { line: '#c473b7', fill: '#371b33', text: '#ebabdf' },
      { line: '#8fae35', fill: '#252d0d', text: '#c6de7e' },
      { line: '#d08355', fill: '#372013', text: '#f3b48f' },
      { line: '#35a7b6', fill: '#0d2d32', text: '#82d8e4' },
    ],
  },
};

/** The colour of a state; `place`: its place among all states. */
export function colourOf(palette: Palette, state: string, place: number): StateColour {
  const colour = palette.states[state] ?? palette.others[place % palette.others.length];
  if (colour === undefined) throw new Error('A palette needs at least one colour for other states.');
  return colour;
}
