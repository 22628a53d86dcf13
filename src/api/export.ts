// export.ts — GET /dead-letters/export: dead letters as lines of JSON, a download of any length.
//
// Owns:          who may take them, how much is on its way, how it ends. Does not own: pages and lines (../export.ts).
//
// E1  Who takes them needs the permission to see personal data, as for a reveal, and stands in the audit before the first byte; how many
//     lines left is written down when it ends, also where the reader went away in the middle. (As a reveal it is a GET: it changes nothing,
//     and a foreign page can neither read it nor send the cookie.)
// E2  A page is read when the one before has been taken. Not the download has a turn, but each of its questions (a page each; where few
//     fit, many are empty): all downloads together ask one at a time, whoever reads slowly keeps no connection, and one that left asks
//     nothing more. Few are open at once, each with one page in memory (P6); one person's leave room for another's.
// E3  While nothing fits, the connection is not silent: whatever lies between would end it. A sign of life is a space around a line, where
//     JSON and its readers take one; so a line's newline comes with what follows it, the next line or the end. Where nothing fits at all,
//     there are spaces alone, or nothing.
// E4  What fails behind the first byte cuts the connection: a part never passes for the whole.
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { Type } from 'typebox';
import { classify } from '../errors.ts';
import { beginExport, type Exported, exportLine, readPages, type Taken } from '../export.ts';
import { statusesOf } from '../statuses.ts';
import { type App, Query, type Reach } from './app.ts';
import { callerOf } from './auth.ts';
import { ExportedLine } from './contract.ts';
import { Filter } from './dead-letters.ts';
import { Refused } from './problems.ts';
import { createTurns } from './turns.ts';

export type ExportOptions = {
  /** Open at once; beyond, 503. Default 4. */
  mostAtOnce?: number;
  /** Of these, one person's; beyond, 503. Who share a token are one person. Default 2. */
  mostEach?: number;
  /** A reader that takes nothing for so long is let go. Default one minute. */
  takesNothingMs?: number;
  /** While nothing fits, a sign of life so often. Default 15 s: proxies let go after 30 to 60 s of silence. */
  signOfLifeMs?: number;
};

const Asked = Query({
  ...Filter,
  after: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
      description: 'Those with a higher number: goes on where another ended.',
    }),
  ),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1, description: 'So many, the oldest. All.' })),
});

export function exportRoute(
  app: App,
  { read, acts }: Pick<Reach, 'read' | 'acts'>,
  { mostAtOnce = 4, mostEach = 2, takesNothingMs = 60_000, signOfLifeMs = 15_000 }: ExportOptions = {},
): void {
  const turns = createTurns({ atOnce: 1, most: mostAtOnce });
  const open = new Map<ServerResponse, { who: string; ended: Promise<void> }>();

  app.get(
    '/dead-letters/export',
    {
      config: { role: 'operator' },
      exposeHeadRoute: false,
      schema: {
        summary:
          'Dead letters as they came, a line of JSON for each, the oldest first. Needs the permission; is audited.',
        description:
          'While nothing fits, a space is sent every 15 s, before a line or behind it: readers of JSON ignore it. Where nothing fits at all, ' +
          'the answer is empty, or spaces.',
        querystring: Asked,
        response: { 200: ExportedLine },
      },
    },
    async (request, reply) => {
      const { who, mayReveal } = callerOf(request);
      if (!mayReveal) throw new Refused('forbidden', 'It needs the permission to see personal data (AUTH_PAYLOADS).');
      assertRoomFor(who);
      const { status, after, limit, ...filter } = request.query;
      const asked = { ...filter, statuses: statusesOf(status), after, limit };
      const to = reply.raw;
      const { promise: ended, resolve: leave } = Promise.withResolvers<void>();
      open.set(to, { who, ended });
      const closed = () => {
        open.delete(to);
        leave();
      };
      try {
        const end = await beginExport(acts.db, { who, filter: asked, target: 'download' });
        const pages = readPages(read, asked);
        const next = () => turns.take(to, () => pages.next());
        const begin = async () => {
          const first = await next();
          // Throws where the server has answered meanwhile that it took too long.
          to.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...headersAt(new Date()) });
          to.flushHeaders(); // the first line may be far
          return first;
        };
        const first = await begin().catch(async (error) => {
          await end({ exported: 0, lastId: null, interrupted: true });
          throw error;
        });
        reply.hijack();
        void writeLines(to, first, next, { takesNothingMs, signOfLifeMs })
          .then(end)
          .catch(() => {}) // Postgres is away: the row stays without a result
          .finally(closed);
      } catch (error) {
        closed();
        throw error;
      }
    },
  );
  // Before the connections to Postgres close: each is written down.
  app.addHook('preClose', async () => {
    for (const to of open.keys()) to.destroy();
    await Promise.all(Array.from(open.values(), ({ ended }) => ended));
  });

  function assertRoomFor(who: string): void {
    const own = Array.from(open.values()).filter((each) => each.who === who).length;
    if (own >= mostEach) throw full(`${mostEach} exports of yours are open, which is the limit for a person.`);
    if (open.size >= mostAtOnce) throw full(`${mostAtOnce} exports are open, which is the limit for all together.`);
  }
}

function full(detail: string): Refused {
  return new Refused('unavailable', detail, { retryAfterSeconds: 30 });
}

/** `dead-letters-20261124T221500Z.ndjson` */
function headersAt(now: Date): OutgoingHttpHeaders {
  const name = `dead-letters-${now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z.ndjson`;
  return {
    'content-type': 'application/x-ndjson; charset=utf-8',
    'content-disposition': `attachment; filename="${name}"`,
    'x-accel-buffering': 'no', // nginx would take all of it to its disk first
  };
}

type Page = IteratorResult<Exported[], void>;

/** Writes page after page as they are taken, and ends `to`. Returns what left, the lines included that were on their way when the reader went
 *  away: that they were read can not be ruled out. Never throws. */
async function writeLines(
  to: ServerResponse,
  first: Page,
  next: () => Promise<Page>,
  { takesNothingMs, signOfLifeMs }: { takesNothingMs: number; signOfLifeMs: number },
): Promise<Taken> {
  const taken: Taken = { exported: 0, lastId: null };
  to.on('error', () => {}); // `close` follows
  const signs = setInterval(() => to.write(' '), signOfLifeMs); // E3
  try {
    for (let page = first; !page.done && !to.destroyed; page = await next())
      for (const { text, some } of portionsOf(page.value)) {
        if (to.destroyed) break;
        const isFirst = taken.lastId === null;
        taken.exported += some.length;
        taken.lastId = some.at(-1)?.id ?? taken.lastId;
        signs.refresh();
        if (!to.write(isFirst ? text : `\n${text}`)) await takenBy(to, 'drain', takesNothingMs);
      }
    clearInterval(signs);
    to.end(taken.lastId === null ? '' : '\n');
    if (!to.writableFinished) await takenBy(to, 'finish', takesNothingMs);
    return to.writableFinished ? taken : { ...taken, interrupted: true };
  } catch (error) {
    const failed = error instanceof Refused || to.destroyed ? {} : { failed: classify(error).code };
    to.destroy(); // E4
    return { ...taken, interrupted: true, ...failed };
  } finally {
    clearInterval(signs);
  }
}

/** Resolves when the reader has taken what was written, or is gone: also by us, where it takes nothing for so long. */
function takenBy(to: ServerResponse, sign: 'drain' | 'finish', takesNothingMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (to.destroyed) return resolve();
    const timer = setTimeout(() => to.destroy(), takesNothingMs);
    const done = () => {
      clearTimeout(timer);
      to.off(sign, done).off('close', done);
      resolve();
    };
    to.on(sign, done).on('close', done);
  });
}

/** As much as is on its way at once, beyond what a socket holds; a line may be longer. */
const CHARACTERS_AT_ONCE = 64 * 1024;

/** Lines with newlines between them, none behind the last (E3). */
function* portionsOf(page: readonly Exported[]): Generator<{ text: string; some: readonly Exported[] }> {
  let [text, some]: [string, Exported[]] = ['', []];
  for (const each of page) {
    text += `${some.length === 0 ? '' : '\n'}${exportLine(each)}`;
    some.push(each);
    if (text.length < CHARACTERS_AT_ONCE) continue;
    yield { text, some };
    [text, some] = ['', []];
  }
  if (some.length > 0) yield { text, some };
}
