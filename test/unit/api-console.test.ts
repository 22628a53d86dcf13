// The console's page under the path of a proxy.
import { expect, test } from 'vitest';
import { under } from '../../src/api/console.ts';

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
