// svg.ts — the drawing of a machine as one file that stands alone: colours computed, no font, script or other file needed.
//
// Owns:          how it looks, and what it says to those who can not see it.
// Does not own:  where things lie (layout.ts), which colour is whose (machines/colours.ts, shared with the console).
//
// G1  Attributes carry the colours, so that any renderer shows the light drawing; theme `auto` adds a style for readers who
//     prefer dark, which a renderer without styles leaves out.
// G2  Whatever comes from a definition is escaped.
import { colourOf, type Palette, STATE_COLOURS, type StateColour } from '../../machines/colours.ts';
import type { Picture } from '../../machines/picture.ts';
import { type Caption, captionOf } from './caption.ts';
import type { Box, Geometry, Point } from './layout.ts';
import { HEAD, LETTERS } from './sizes.ts';
import { inOneLine } from './sketch.ts';
import { FONT } from './text.ts';

export type Theme = 'light' | 'dark' | 'auto';
export type SvgOptions = {
  /** `auto` (the default): light, and dark for readers who prefer it. */
  theme?: Theme;
  /** Users by state; written under the states' names. */
  counts?: Readonly<Record<string, number>>;
};

/** An SVG document, ending with a newline. The same input gives the same bytes. */
export function toSvg(drawn: Picture, geometry: Geometry, { theme = 'auto', counts = {} }: SvgOptions = {}): string {
  const inks = createInks(theme);
  const hues = new Map(drawn.states.map(({ id }, i) => [id, hueOf(id, i)]));
  const caption = captionOf(drawn, geometry);
  const { width } = geometry;
  const height = Math.max(geometry.height, caption.bottom);
  const pen: Pen = { ...inks, hue: (state) => hues.get(state) ?? hueOf(state, 0) };
  const finals = drawn.states.filter(({ kind }) => kind === 'final').map(({ id }) => id);
  const parts = [
    `<rect width="${width}" height="${height}" rx="16"${pen.ink({ fill: page })}/>`,
    ...geometry.groups.flatMap((group) => drawGroup(pen, group)),
    ...geometry.edges.flatMap((edge) => drawEdge(pen, edge, geometry)),
    ...drawStart(pen, geometry),
    ...geometry.states.flatMap((state) => drawState(pen, state, finals.includes(state.id), counts[state.id])),
    ...drawCaption(pen, caption),
  ];
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    `  font-family="${xml(FONT)}" role="graphics-document" aria-labelledby="machine-title machine-words">`,
    `<title id="machine-title">The machine ${xml(drawn.id)}, version ${drawn.version}</title>`,
    `<desc id="machine-words">${xml(inWords(geometry))}</desc>`,
    ...pen.style(),
    ...parts,
    '</svg>',
  ].join('\n')}\n`;
}

// ---- colours ----------------------------------------------------------------------------------------------------------------

type Ink = (palette: Palette) => string;
type Hue = Record<keyof StateColour, Ink>;
type Pen = {
  /** Attributes, with a space before each. */
  ink(attributes: Record<string, Ink>): string;
  style(): string[];
  hue(state: string): Hue;
};
const page: Ink = (palette) => palette.page;
const ground: Ink = (palette) => palette.ground;
const surface: Ink = (palette) => palette.surface;
const border: Ink = (palette) => palette.border;
const muted: Ink = (palette) => palette.muted;
const text: Ink = (palette) => palette.text;

function hueOf(state: string, place: number): Hue {
  const part =
    (name: keyof StateColour): Ink =>
    (palette) =>
      colourOf(palette, state, place)[name];
  return { line: part('line'), fill: part('fill'), text: part('text') };
}

/** With `auto`, each combination of colours is a class, whose rule says what it is in the dark. */
function createInks(theme: Theme): Omit<Pen, 'hue'> {
  const { light, dark } = STATE_COLOURS;
  const classes = new Map<string, string>();
  return {
    ink(attributes) {
      const inks = Object.entries(attributes);
      const written = inks.map(([name, of]) => ` ${name}="${of(theme === 'dark' ? dark : light)}"`).join('');
      if (theme !== 'auto') return written;
      const rule = inks.map(([name, of]) => `${name}:${of(dark)}`).join(';');
      const known = classes.get(rule) ?? `c${classes.size}`;
      classes.set(rule, known);
      return ` class="${known}"${written}`;
    },
    style() {
      if (classes.size === 0) return [];
      const rules = [...classes].map(([rule, name]) => `.${name}{${rule}}`);
      return ['<style>', '@media (prefers-color-scheme: dark) {', ...rules, '}', '</style>'];
    },
  };
}

// ---- shapes -----------------------------------------------------------------------------------------------------------------

function drawGroup({ ink }: Pen, { title, x, y, width, height }: Geometry['groups'][number]): string[] {
  return [
    `<rect ${sizes({ x: x + 0.5, y: y + 0.5, width: width - 1, height: height - 1 })} rx="16"${ink({ fill: ground, stroke: border })}/>`,
    `<text x="${x + 16}" y="${y + 24}" font-size="${LETTERS.line}" font-weight="600" letter-spacing="0.6"${ink({ fill: muted })}>${xml(title)}</text>`,
  ];
}

/** In the hue of what it leads to. What a whole group shares is thin: it is one of the state's ways, not its main one. */
function drawEdge(
  { ink, hue }: Pen,
  { source, target, points, label }: Geometry['edges'][number],
  all: Geometry,
): string[] {
  const { line, text } = hue(target);
  const width = all.groups.some(({ id }) => id === source) ? 1 : 1.5;
  return [
    `<g role="graphics-symbol" aria-label="${xml(`${nameOf(source, all)} to ${target}: ${inOneLine(label.lines)}`)}">`,
    `<path d="${curve(points)}" fill="none" stroke-width="${width}"${ink({ stroke: line })}/>`,
    `<path d="${arrowhead(points)}"${ink({ fill: line })}/>`,
    `<rect ${sizes(label)} rx="${label.lines.length > 1 ? 10 : label.height / 2}"${ink({ fill: surface, stroke: line })}/>`,
    ...label.lines.map(
      (each) =>
        `<text x="${each.x}" y="${each.y}" font-size="${LETTERS.line}" text-anchor="middle"${ink({ fill: text })}>${xml(each.text)}</text>`,
    ),
    '</g>',
  ];
}

function drawStart({ ink }: Pen, { start }: Geometry): string[] {
  return [
    `<circle cx="${start.x}" cy="${start.y}" r="${start.radius}"${ink({ fill: text })}/>`,
    `<path d="${curve(start.points)}" fill="none" stroke-width="1.5"${ink({ stroke: text })}/>`,
    `<path d="${arrowhead(start.points)}"${ink({ fill: text })}/>`,
  ];
}

function drawState({ ink, hue }: Pen, state: Geometry['states'][number], isFinal: boolean, count?: number): string[] {
  const { id, x, y, width, height, lines } = state;
  const colours = hue(id);
  const box = { x: x + 0.75, y: y + 0.75, width: width - 1.5, height: height - 1.5 };
  const inner = { x: x + 4, y: y + 4, width: width - 8, height: height - 8 };
  const users = count === undefined ? undefined : `${count.toLocaleString('en')} ${count === 1 ? 'user' : 'users'}`;
  const words = [id, users, ...lines.map((line) => line.text)].filter((word) => word !== undefined);
  const middle = x + width / 2;
  return [
    `<g role="graphics-symbol" aria-label="${xml(words.join(', '))}">`,
    `<rect ${sizes(box)} rx="10" stroke-width="1.5"${ink({ fill: colours.fill, stroke: colours.line })}/>`,
    ...(isFinal ? [`<rect ${sizes(inner)} rx="7" fill="none"${ink({ stroke: colours.line })}/>`] : []),
    `<text x="${middle}" y="${y + (users === undefined ? 29 : 22)}" font-size="${LETTERS.state}" font-weight="600" text-anchor="middle"${ink({ fill: colours.text })}>${xml(id)}</text>`,
    ...(users === undefined
      ? []
      : [
          `<text x="${middle}" y="${y + 39}" font-size="${LETTERS.line}" text-anchor="middle"${ink({ fill: colours.text })}>${users}</text>`,
        ]),
    ...(lines.length === 0
      ? []
      : [
          `<path d="M${x + 1.5} ${y + HEAD}H${x + width - 1.5}" stroke-opacity="0.35"${ink({ stroke: colours.line })}/>`,
        ]),
    ...lines.flatMap((line) => [
      ...(line.transitions.length === 0 ? [] : sign(line, ink({ stroke: colours.text }), ink({ fill: colours.text }))),
      `<text x="${line.x}" y="${line.y}" font-size="${LETTERS.line}"${ink({ fill: colours.text })}>${xml(line.text)}</text>`,
    ]),
    '</g>',
  ];
}

function drawCaption({ ink }: Pen, { lines }: Caption): string[] {
  return lines.flatMap((line) => [
    ...(line.hasSign ? sign(line, ink({ stroke: muted }), ink({ fill: muted })) : []),
    `<text x="${line.x}" y="${line.y}" font-size="${LETTERS.line}"${ink({ fill: muted })}>${xml(line.text)}</text>`,
  ]);
}

/** A small arrow that leads back to where it began, left of a text that begins at `x`, `y`. */
function sign({ x, y }: Point, stroke: string, fill: string): string[] {
  const [cx, cy] = [x - 10, y - 4];
  return [
    `<path d="M${cx + 3.1} ${cy - 2.2}A3.8 3.8 0 1 0 ${cx + 3.8} ${cy + 0.4}" fill="none" stroke-width="1.2"${stroke}/>`,
    `<path d="M${cx + 4.6} ${cy - 4.6}V${cy - 0.6}H${cx + 0.8}z"${fill}/>`,
  ];
}

function sizes({ x, y, width, height }: Box): string {
  return `x="${x}" y="${y}" width="${width}" height="${height}"`;
}

const ARROW = { length: 8, half: 4 };
const ROUND = 8;

/** The path with round bends; it ends inside the arrowhead, whose tip stays sharp. */
function curve(points: readonly Point[]): string {
  const path = points.map((point, i) => {
    const [before, after] = [points[i - 1], points[i + 1]];
    if (before === undefined) return `M${point.x} ${point.y}`;
    if (after === undefined) return to(towards(point, before, ARROW.length - 1));
    const radius = Math.min(ROUND, distance(before, point) / 2, distance(point, after) / 2);
    const [begin, end] = [towards(point, before, radius), towards(point, after, radius)];
    return `${to(begin)}Q${point.x} ${point.y} ${end.x} ${end.y}`;
  });
  return path.join('');
}

function to({ x, y }: Point): string {
  return `L${x} ${y}`;
}

function arrowhead(points: readonly Point[]): string {
  const [before, tip] = points.slice(-2);
  if (before === undefined || tip === undefined) return '';
  const foot = towards(tip, before, ARROW.length);
  const across = { x: Math.sign(tip.y - before.y) * ARROW.half, y: Math.sign(tip.x - before.x) * ARROW.half };
  return `M${tip.x} ${tip.y}L${foot.x + across.x} ${foot.y + across.y}L${foot.x - across.x} ${foot.y - across.y}z`;
}

/** The point `length` px away from `from` on the upright or level way to `end`. */
function towards(from: Point, end: Point, length: number): Point {
  return { x: from.x + Math.sign(end.x - from.x) * length, y: from.y + Math.sign(end.y - from.y) * length };
}

function distance(a: Point, b: Point): number {
  return Math.abs(a.x - b.x) + Math.abs(a.y - b.y);
}

// ---- words ------------------------------------------------------------------------------------------------------------------

function inWords(geometry: Geometry): string {
  const moves = geometry.edges.map(
    ({ source, target, label }) => `${nameOf(source, geometry)} to ${target}: ${inOneLine(label.lines)}.`,
  );
  const stays = geometry.states.flatMap(({ id, lines }) =>
    lines.length === 0 ? [] : [`${id} stays: ${lines.map((line) => line.text).join(' ')}.`],
  );
  return [...moves, ...stays].join(' ');
}

function nameOf(source: string, { groups }: Geometry): string {
  return groups.find(({ id }) => id === source)?.states.join(', ') ?? source;
}

function xml(words: string): string {
  return words.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
