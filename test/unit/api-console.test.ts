// The console's page: what it lets in, and how it lies under the path of a proxy.
import Fastify from 'fastify';
import { expect, test } from 'vitest';
import { serveConsole, under } from '../../src/api/console.ts';

const PAGE = `<meta name="base" content="/"><link rel="stylesheet" href="/assets/a.css"><script type="module" src="/assets/a.js"></script>
<a href="https://example.com/">elsewhere</a>`;

test('all that the page loads, and where it says that it lies, begins with that path', () => {
  expect(
    under('/x/y/', PAGE),
  ).toBe(`<meta name="base" content="/x/y/"><link rel="stylesheet" href="/x/y/assets/a.css"><script type="module" src="/x/y/assets/a.js"></script>
<a href="https://example.com/">elsewhere</a>`);
});

test('without one it stays as it was built', () => {
  expect(under('/', PAGE)).toBe(PAGE);
});

test('it takes nothing from elsewhere and nothing that stands in it, sends nothing elsewhere, and is part of no other page', async () => {
  const app = Fastify();
  serveConsole(app, '/');
  const { headers } = await app.inject('/');
  const policy = String(headers['content-security-policy']).split('; ');
  expect(Object.fromEntries(policy.map((rule) => rule.split(/ (.*)/)))).toEqual({
    'default-src': "'self'",
    'style-src': "'self'",
    'img-src': "'self' data:",
    'connect-src': "'self'",
    'object-src': "'none'",
    'form-action': "'self'",
    'frame-ancestors': "'none'",
    'base-uri': "'none'",
  });
  expect(headers['cross-origin-opener-policy']).toBe('same-origin');
});
