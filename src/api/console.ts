// console.ts — the files of the console, as vite builds them into console/dist.
//
// Owns:          headers and paths. Does not own: the page.
//
// C1  What has a hash in its name (assets/) never changes; the page itself is asked for each time.
// C2  Whoever asks for a page under a path that is no file gets the console: it reads the path (deep links).
// C3  Everything comes from here and nothing inline runs, so a text that slipped into the page as HTML does nothing.
import { readFile } from 'node:fs/promises';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import files from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

const DIST = fileURLToPath(new URL('../../console/dist/', import.meta.url));

const PAGE = {
  'content-security-policy': [
    "default-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "object-src 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-cache',
};

/** Returns what sends the page, for paths that are no file's. */
export function serveConsole(app: FastifyInstance, basePath: string): (reply: FastifyReply) => Promise<FastifyReply> {
  app.register(files, {
    root: DIST,
    index: false,
    redirect: false,
    preCompressed: true,
    cacheControl: false,
    decorateReply: false,
    setHeaders(reply, path) {
      const isHashed = path.includes(`${sep}assets${sep}`);
      reply.header('cache-control', isHashed ? 'public, max-age=31536000, immutable' : 'no-cache');
    },
  });
  for (const path of ['/', '/index.html']) app.get(path, (_request, reply) => sendPage(reply));
  return sendPage;

  async function sendPage(reply: FastifyReply): Promise<FastifyReply> {
    reply.headers(PAGE).type('text/html; charset=utf-8');
    const page = await readFile(`${DIST}index.html`, 'utf8').catch(() => undefined);
    return reply.send(page === undefined ? NOT_BUILT : under(basePath, page));
  }
}

/** The page as it lies under this path: all that it names begins with a slash, what it loads and (`<meta name="base">`) where it is. */
export function under(basePath: string, page: string): string {
  return page.replaceAll(ADDRESS, `$1${basePath}`);
}
const ADDRESS = /((?:src|href|content)=")\//g;

const NOT_BUILT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Customer Service</title>
<h1>The console is not built yet</h1><p>Run <code>npm run build</code>, then load this page again. The API is there: <a href="openapi.json">openapi.json</a>.</p>`;

const OWN = /^\/(api|assets|livez|readyz|startupz|healthz|metrics|openapi\.json|asyncapi\.json|problems)(\/|$)/;

/** Does somebody look for a page, under a path that only the console knows? */
export function isForPage({ method, url, headers }: FastifyRequest): boolean {
  const path = url.split('?', 1)[0] as string;
  const accept = headers.accept ?? '*/*';
  return (method === 'GET' || method === 'HEAD') && !OWN.test(path) && /text\/html|\*\/\*/.test(accept);
}
