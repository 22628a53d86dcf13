// sse.ts — a page of the console as far as its stream goes: opens it, keeps what came, and adds each part to what it has.
import type { Sample, Stats } from '../../src/api/contract.ts';

export type Event = { name: string; data: Record<string, unknown>; id: string | undefined };
export type Page = {
  status: number;
  headers: Headers;
  /** Of a response that is no stream. */
  body: string;
  /** All that came, in order. */
  events: Event[];
  comments: number;
  retryMs: number | undefined;
  lastEventId: string | undefined;
  /** The snapshot and everything since. Undefined: there was no snapshot. */
  has: Stats | undefined;
  /** Resolves when the stream has ended, from whichever side. */
  ended: Promise<void>;
  /** It ended without a word. */
  wasCut: boolean;
  leave(): void;
};

export async function openPage(
  url: string,
  { lastEventId, has }: { lastEventId?: string; has?: Stats } = {},
): Promise<Page> {
  const leaving = new AbortController();
  const headers: Record<string, string> = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
  const response = await fetch(url, { headers, signal: leaving.signal });
  const page: Page = {
    ...{ status: response.status, headers: response.headers, body: '', events: [], comments: 0, retryMs: undefined },
    ...{
      lastEventId,
      has: structuredClone(has),
      ended: Promise.resolve(),
      wasCut: false,
      leave: () => leaving.abort(),
    },
  };
  if (response.status !== 200) page.body = await response.text();
  else
    page.ended = read(response, page).catch(() => {
      page.wasCut = true;
    });
  return page;
}

async function read(response: Response, page: Page): Promise<void> {
  let text = '';
  for await (const chunk of (response.body as ReadableStream<Uint8Array>).pipeThrough(
    new TextDecoderStream() as never,
  )) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop() as string;
    for (const block of blocks) take(page, block);
  }
}

function take(page: Page, block: string): void {
  const fields = new Map(
    block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  );
  if (fields.has('')) page.comments++;
  if (fields.has('retry')) page.retryMs = Number(fields.get('retry'));
  page.lastEventId = fields.get('id') ?? page.lastEventId;
  const name = fields.get('event');
  if (name === undefined) return;
  const data = JSON.parse(fields.get('data') as string);
  page.events.push({ name, data, id: fields.get('id') });
  if (name === 'snapshot') page.has = data;
  else if (page.has !== undefined) page.has = merged(page.has, name as keyof Stats, data);
}

const SUMS: readonly string[] = ['counts', 'transitions', 'outcomes'];

/** What a page does with a part (src/api/board.ts, L2). */
export function merged(has: Stats, channel: keyof Stats, data: Partial<Stats>): Stats {
  const { at = has.at, [channel]: value } = data;
  if (SUMS.includes(channel)) return { ...has, at, [channel]: { ...(has[channel] as object), ...(value as object) } };
  if (channel === 'series') return { ...has, at, series: [...has.series, ...(value as Sample[])].slice(-200) };
  if (channel !== 'lag') return { ...has, at, [channel]: value };
  const rows = new Map([...has.lag, ...(value as Stats['lag'])].map((row) => [`${row.topic}/${row.partition}`, row]));
  return { ...has, at, lag: [...rows.values()] };
}
