// Each patch of kafkajs (patches/kafkajs+2.2.4+…): what was wrong, and that it is not wrong any more. Every group fails
// without its patch. A new version of kafkajs fails the first test: read its code against these before raising it.
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { assertPatched, PATCHED } from '../../src/patched.ts';

const require = createRequire(import.meta.url);

describe('the service refuses to run on libraries that it does not know', () => {
  test('their versions are those that were read and patched', () => {
    expect(() => assertPatched()).not.toThrow();
    expect(() => assertPatched({ kafkajs: { version: '2.2.5', patches: {} } })).toThrow(
      'kafkajs is 2.2.4, expected 2.2.5',
    );
  });

  test('every patch file is one that is looked for at start, and the other way round', () => {
    const files = readdirSync(new URL('../../patches', import.meta.url)).map((file) => file.split('+'));
    const named = files.map(([name, version, , patch]) => `${name} ${version} ${patch}`).sort();
    const lookedFor = Object.entries(PATCHED).flatMap(([name, { version, patches }]) =>
      Object.keys(patches).map((patch) => `${name} ${version} ${patch}.patch`),
    );
    expect(named).toEqual(lookedFor.sort());
  });

  test('a patch that is not in is named, with what to do about it', () => {
    const patches = { timer: 'src/network/requestQueue/index.js', other: 'src/index.js' };
    expect(() => assertPatched({ kafkajs: { version: '2.2.4', patches } })).toThrow(
      'kafkajs is not patched (other): run `npx patch-package`',
    );
  });
});

type RequestQueue = {
  push(request: { entry: object; expectResponse: boolean; sendRequest(): void }): void;
  fulfillRequest(response: { correlationId: number; payload: Buffer; size: number }): void;
  maybeThrottle(ms: number): void;
  destroy(): void;
};

/** timer. Symptom: an idle connection wakes up some 800 times a second (4–5 % of a core), and Node 24 warns of a negative
 *  timeout. Cause: after every answer the queue arms a timer for the end of a throttling that never was (`throttledUntil`
 *  is -1, so the delay is negative, so 1 ms), which arms the next. kafkajs#1556, #1604, #1704, #1751; #1667 unmerged. */
describe('patch timer', () => {
  let delays: (number | undefined)[];
  beforeEach(() => {
    vi.useFakeTimers({ now: 1_700_000_000_000 });
    delays = [];
    const arm = globalThis.setTimeout;
    vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms?: number) => {
      delays.push(ms);
      return arm(run, ms);
    }) as typeof setTimeout);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  function setup({ maxInFlightRequests = null as number | null } = {}) {
    const Queue = require('kafkajs/src/network/requestQueue/index.js');
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const settings = { requestTimeout: 1000, enforceRequestTimeout: false, clientId: 'c', broker: 'b:1', logger };
    const queue: RequestQueue = new Queue({ ...settings, maxInFlightRequests });
    const sent: number[] = [];
    let correlationId = 0;
    const push = () => {
      const id = correlationId++;
      const entry = { correlationId: id, resolve() {}, reject() {} };
      queue.push({ entry, expectResponse: true, sendRequest: () => sent.push(id) });
    };
    const answer = (id: number) => queue.fulfillRequest({ correlationId: id, payload: Buffer.alloc(0), size: 0 });
    return { queue, push, answer, sent };
  }

  test('an idle connection arms no timer', () => {
    const { push, answer, sent } = setup();
    for (let id = 0; id < 3; id++) {
      push();
      answer(id);
    }
    vi.advanceTimersByTime(10_000);
    expect(sent).toEqual([0, 1, 2]);
    expect(delays).toEqual([]);
  });

  test('a throttled request goes out when the throttling ends, without a negative delay', () => {
    const { queue, push, sent } = setup();
    queue.maybeThrottle(500);
    push();
    vi.advanceTimersByTime(499);
    expect(sent).toEqual([]);
    vi.advanceTimersByTime(11);
    expect(sent).toEqual([0]);
    expect(delays.every((ms) => ms !== undefined && ms > 0)).toBe(true);
  });

  test('a request behind too many others goes out when one is answered, and no timer is left', () => {
    const { push, answer, sent } = setup({ maxInFlightRequests: 1 });
    push();
    push();
    expect(sent).toEqual([0]);
    answer(0);
    expect(sent).toEqual([0, 1]);
    answer(1);
    vi.advanceTimersByTime(100);
    expect(vi.getTimerCount()).toBe(0);
  });
});
