// The page's acts: each carries a key, and one without a clear answer keeps it, so that it is never done twice.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

const keys: (string | undefined)[] = [];
let sent: Record<string, string> = {};
let answers: (() => Response)[] = [];
const { post, remove } = await (async () => {
  vi.stubGlobal('document', { querySelector: () => null, baseURI: 'http://127.0.0.1/' });
  vi.stubGlobal('location', new URL('http://127.0.0.1/'));
  return await import('../../console/src/api.ts');
})();

beforeEach(() => {
  keys.length = 0;
  vi.useFakeTimers();
  vi.stubGlobal('fetch', async (_url: string, { headers }: { headers: Record<string, string> }) => {
    keys.push(headers['idempotency-key']);
    sent = headers;
    const answer = answers.shift();
    if (answer === undefined) throw new TypeError('network');
    return answer();
  });
});
afterEach(() => {
  vi.useRealTimers();
  answers = [];
});

const ok = () => new Response('{}');
const unavailable = () => new Response('{"title":"x","status":503}', { status: 503 });

describe('an act that is sent again', () => {
  test('after no answer at all: with the same key', async () => {
    answers = [];
    await expect(post('holds', { id: 'lost' })).rejects.toThrow();
    answers = [ok];
    await post('holds', { id: 'lost' });
    expect(keys[1]).toBe(keys[0]);
  });

  test('after a 503: with the same key', async () => {
    answers = [unavailable, ok];
    await expect(post('holds', { id: 'away' })).rejects.toThrow();
    await post('holds', { id: 'away' });
    expect(keys[1]).toBe(keys[0]);
  });

  test('after an answer: with another key, because it is meant anew', async () => {
    answers = [ok, ok];
    await post('holds', { id: 'done' });
    await post('holds', { id: 'done' });
    expect(keys[1]).not.toBe(keys[0]);
  });

  test('two minutes after no answer: with another key', async () => {
    await expect(post('holds', { id: 'late' })).rejects.toThrow();
    vi.advanceTimersByTime(121_000);
    answers = [ok];
    await post('holds', { id: 'late' });
    expect(keys[1]).not.toBe(keys[0]);
  });

  test('with another body: with another key', async () => {
    answers = [unavailable, ok];
    await expect(post('holds', { id: 'one' })).rejects.toThrow();
    await post('holds', { id: 'two' });
    expect(keys[1]).not.toBe(keys[0]);
  });

  test('to another address, or as another act there: with another key', async () => {
    answers = [unavailable, unavailable, ok];
    await expect(post('jobs/1/cancel')).rejects.toThrow();
    await expect(post('jobs/2/cancel')).rejects.toThrow();
    await remove('jobs/1/cancel', {});
    expect(new Set(keys).size).toBe(3);
  });
});

test('an act carries the header that no page from elsewhere can send', async () => {
  for (const act of [() => post('holds'), () => remove('holds/user/a')]) {
    answers = [ok];
    await act();
    expect(sent['x-requested-with']).toBe('customer-service-console');
  }
});
