// dead-letters-text.ts — what a record holds, made readable: JSON in lines, two texts side by side, letters that are not seen. Pure.
//
// X1  JSON is cut into lines as it stands: numbers keep all their digits, strings their escapes, a repeated name is there twice.
// X2  A character that is invisible, or turns the direction of what is around it, is shown by its number.

/** Undefined: it is no JSON. */
export function prettyJson(text: string): string | undefined {
  if (!isJson(text)) return undefined;
  let out = '';
  let depth = 0;
  const line = () => {
    out += `\n${'  '.repeat(depth)}`;
  };
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (c === '"') {
      const end = endOfString(text, i);
      out += text.slice(i, end);
      i = end - 1;
    } else if (c === '{' || c === '[') {
      const close = nextNonSpace(text, i + 1);
      if (text[close] === '}' || text[close] === ']') {
        out += c + text[close];
        i = close;
      } else {
        out += c;
        depth++;
        line();
      }
    } else if (c === '}' || c === ']') {
      depth--;
      line();
      out += c;
    } else if (c === ',') {
      out += c;
      line();
    } else if (c === ':') out += ': ';
    else if (!isSpace(c)) out += c;
  }
  return out;
}

/** What is wrong with it as JSON, in words; undefined: nothing. */
export function jsonFault(text: string): string | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
function isJson(text: string): boolean {
  return jsonFault(text) === undefined;
}
function endOfString(text: string, from: number): number {
  let i = from + 1;
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i + 1;
}
function nextNonSpace(text: string, from: number): number {
  let i = from;
  while (isSpace(text[i])) i++;
  return i;
}
function isSpace(c: string | undefined): boolean {
  return c === ' ' || c === '\n' || c === '\r' || c === '\t';
}

/** Controls but tab and line feed, and what is there without being seen: zero-width characters, what turns the direction of text. */
const UNSEEN = /(?![\t\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

export function visible(text: string): string {
  return text.replace(UNSEEN, (c) => `\\u{${(c.codePointAt(0) as number).toString(16)}}`);
}

export type DiffLine = { sign: '+' | '-' | ' '; text: string };

/** Beyond so many lines of both the table of the comparison would be large. */
const MOST_LINES = 1_000;

/** Lines that were taken away, added, and kept. Undefined: they are too long to be compared. */
export function diffLines(before: string, after: string): DiffLine[] | undefined {
  const [a, b] = [before.split('\n'), after.split('\n')];
  if (a.length > MOST_LINES || b.length > MOST_LINES) return undefined;
  const width = b.length + 1;
  // common[i * width + j]: how many lines a from i and b from j have in common, in order.
  const common = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      common[i * width + j] =
        a[i] === b[j]
          ? (common[(i + 1) * width + j + 1] as number) + 1
          : Math.max(common[(i + 1) * width + j] as number, common[i * width + j + 1] as number);
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ sign: ' ', text: a[i] as string });
      i++;
      j++;
    } else if (
      j >= b.length ||
      (i < a.length && (common[(i + 1) * width + j] as number) >= (common[i * width + j + 1] as number))
    )
      lines.push({ sign: '-', text: a[i++] as string });
    else lines.push({ sign: '+', text: b[j++] as string });
  }
  return lines;
}
