// png.ts — a screenshot as small as a picture of few colours can be: the same PNG with a palette of at most 256 colours.
//
// Owns:          reading the PNG that Chromium writes (8 bit, RGB or RGBA, not interlaced), the choice of colours, writing it again.
// Does not own:  what is on it.
//
// P1  A picture of at most 256 colours comes out the same, pixel by pixel. Of others the rarer colours become the nearest kept one.
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const MOST_COLOURS = 256;

/** Throws where it is no such PNG. */
export function withPalette(png: Buffer): Buffer {
  const { width, height, pixels } = read(png);
  const palette = coloursOf(pixels);
  const nearest = new Map<number, number>(palette.map((colour, i) => [colour, i]));
  const lines = Buffer.alloc((width + 1) * height); // each begins with 0: no filter, which suits palettes best
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const colour = pixels[y * width + x] as number;
      let at = nearest.get(colour);
      if (at === undefined) {
        at = nearestOf(palette, colour);
        nearest.set(colour, at);
      }
      lines[y * (width + 1) + 1 + x] = at;
    }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8); // 8 bits, by palette
  const colours = Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 0xff, colour & 0xff]));
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', head),
    chunk('PLTE', colours),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** One number a pixel, 0xRRGGBB. */
function read(png: Buffer): { width: number; height: number; pixels: Uint32Array } {
  if (!png.subarray(0, 8).equals(SIGNATURE)) throw new Error('no PNG: its first bytes are others');
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const [bits, type, , , interlaced] = png.subarray(24, 29);
  if (bits !== 8 || (type !== 2 && type !== 6) || interlaced !== 0)
    throw new Error(`a PNG of another kind: expected 8 bits, RGB or RGBA, got ${bits} bits, type ${type}`);
  const parts: Buffer[] = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const bytesAPixel = type === 6 ? 4 : 3;
  const rows = unfiltered(inflateSync(Buffer.concat(parts)), width * bytesAPixel, height, bytesAPixel);
  const pixels = new Uint32Array(width * height);
  for (let i = 0; i < pixels.length; i++) {
    const at = i * bytesAPixel;
    pixels[i] = ((rows[at] as number) << 16) | ((rows[at + 1] as number) << 8) | (rows[at + 2] as number);
  }
  return { width, height, pixels };
}

/** Each line tells how its bytes differ from what is left of them and above (PNG, section 9). */
function unfiltered(data: Buffer, stride: number, height: number, bytesAPixel: number): Uint8Array {
  const rows = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = data[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x < bytesAPixel ? 0 : (rows[at - bytesAPixel] as number);
      const above = y === 0 ? 0 : (rows[at - stride] as number);
      const corner = y === 0 || x < bytesAPixel ? 0 : (rows[at - stride - bytesAPixel] as number);
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter as number] as number;
      rows[at] = (data[y * (stride + 1) + 1 + x] as number) + guess;
    }
  }
  return rows;
}
function paeth(left: number, above: number, corner: number): number {
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? above : corner;
}

/** The commonest, which are surfaces; and of the rest, which are the edges of letters and lines, one of those that look alike. */
function coloursOf(pixels: Uint32Array): number[] {
  const counts = new Map<number, number>();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const common = [...counts].sort(([a, n], [b, m]) => m - n || a - b).map(([colour]) => colour);
  if (common.length <= MOST_COLOURS) return common;
  for (let least = 12; ; least *= 1.5) {
    const chosen = common.slice(0, MOST_COLOURS / 2);
    for (const colour of common) if (chosen.every((other) => apart(colour, other) >= least)) chosen.push(colour);
    if (chosen.length <= MOST_COLOURS) return chosen;
  }
}

function nearestOf(palette: readonly number[], colour: number): number {
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  for (const [i, other] of palette.entries()) {
    const distance = apart(colour, other);
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}
/** Square of how far two colours are from each other; the eye sees green best. */
function apart(a: number, b: number): number {
  const [r, g, u] = [(a >> 16) - (b >> 16), ((a >> 8) & 0xff) - ((b >> 8) & 0xff), (a & 0xff) - (b & 0xff)];
  return 2 * r * r + 4 * g * g + 3 * u * u;
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
