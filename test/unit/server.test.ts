// The frame around every answer: nothing of it is a page, a part of one, or told to others.
import { expect, test } from 'vitest';
import { createServer } from '../../src/api/server.ts';
import type { Health } from '../../src/health.ts';
import { createLog } from '../../src/log.ts';

test.each(['/livez', '/nothing', '/%'])('%s comes with all that keeps browsers from misusing it', async (path) => {
  const health = { live: () => ({ status: 'ok', checks: {} }) } as unknown as Health;
  const { app } = createServer({ host: '127.0.0.1', port: 0, health, log: createLog({ level: 'silent' }) });
  const { headers } = await app.inject(path);
  expect(headers).toMatchObject({
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-store',
  });
});
