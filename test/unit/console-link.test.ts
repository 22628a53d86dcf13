// Whether what is shown is what is: the page behind another tab, and when it is looked at again.
import { beforeEach, expect, test, vi } from 'vitest';

/** The stream as the browser has it. */
class Stream extends EventTarget {
  static CLOSED = 2;
  isClosed = false;
  constructor() {
    super();
    streams.push(this);
  }
  close() {
    this.isClosed = true;
  }
  say(news: object) {
    this.dispatchEvent(new MessageEvent('snapshot', { data: JSON.stringify(news) }));
  }
}
const streams: Stream[] = [];
const tab = Object.assign(new EventTarget(), {
  hidden: false,
  querySelector: () => null,
  baseURI: 'http://127.0.0.1/',
});
const { isOld, link, togglePause } = await (async () => {
  vi.stubGlobal('document', tab);
  vi.stubGlobal('location', new URL('http://127.0.0.1/'));
  vi.stubGlobal('EventSource', Stream);
  const live = await import('../../console/src/live.ts');
  live.startLive();
  return live;
})();
const turn = (hidden: boolean) => {
  tab.hidden = hidden;
  tab.dispatchEvent(new Event('visibilitychange'));
};
beforeEach(() => {
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

test('before the first numbers nothing is old; with them the page is live', () => {
  expect([link.value.is, isOld.value]).toEqual(['connecting', false]);
  streams.at(-1)?.say({ counts: { active: 1 } });
  expect([link.value.is, isOld.value]).toEqual(['open', false]);
});

test('a tab that was hidden shows its numbers grey until news comes, and has one stream', () => {
  turn(true);
  expect(streams.at(-1)?.isClosed).toBe(true);
  turn(false);
  expect([link.value.is, isOld.value]).toEqual(['connecting', true]);
  expect(streams.filter(({ isClosed }) => !isClosed)).toHaveLength(1);
  streams.at(-1)?.say({ counts: { active: 2 } });
  expect([link.value.is, isOld.value]).toEqual(['open', false]);
});

test('numbers that somebody paused stay as they are, also behind another tab, and are not grey', () => {
  togglePause();
  turn(true);
  turn(false);
  expect([link.value.is, isOld.value]).toEqual(['paused', false]);
  expect(streams.every(({ isClosed }) => isClosed)).toBe(true);
  togglePause();
  expect([link.value.is, isOld.value]).toEqual(['connecting', true]);
  streams.at(-1)?.say({});
});
