// live.ts — the numbers that change while one looks: one event stream, as a signal per channel.
//
// Owns:          the connection, the merge of what comes over it, whether it is there. Does not own: how a number is shown.
//
// V1  One stream per tab, closed while the tab is hidden: a browser allows six connections to a host, over all its tabs.
// V2  After a gap, or from another server, everything comes anew (`snapshot`); nothing is merged into what may have missed something.
// V3  Values that stand still say so: `link` tells since when there is no connection, and `newsAtMs` how old the values are.
import { batch, computed, type ReadonlySignal, signal } from '@preact/signals';
import type { Channels, Sample, Stats } from '../../src/api/contract.ts';
import { returns, urlOf } from './api.ts';
import { openSession } from './session.ts';

/** `connecting`: for the first time, or after the tab was hidden. `away`: lost, tried again. `paused`: the reader wants to look at something that stands still. */
export type Link = { is: 'connecting' | 'open' | 'away' | 'paused'; sinceMs: number };
export type News = Partial<Stats>;

const CHANNELS = [
  'counts',
  'transitions',
  'flow',
  'outcomes',
  'lag',
  'dead',
  'waiting',
  'holds',
  'jobs',
  'health',
  'series',
] as const;
/** Samples come every 5 s even where nothing happens: silence for so long is a connection that hangs. */
const SILENCE_MS = 20_000;
const RETRY_MS = [1_000, 2_000, 5_000, 10_000];
/** As many as the server keeps. */
const MOST_SAMPLES = 200;

/** undefined: nothing has come yet. */
export const counts = signal<Channels['counts'] | undefined>(undefined);
export const transitions = signal<Channels['transitions'] | undefined>(undefined);
/** Of the last 10 s. */
export const latestFlow = signal<Channels['flow'] | undefined>(undefined);
/** Where a view lets one choose a longer stretch (machine/stretch.ts), that one. */
export const chosenFlow = signal<ReadonlySignal<Channels['flow'] | undefined>>(latestFlow);
export const flow = computed(() => chosenFlow.value.value);
export const outcomes = signal<Channels['outcomes'] | undefined>(undefined);
export const lag = signal<Channels['lag'] | undefined>(undefined);
export const dead = signal<Channels['dead'] | undefined>(undefined);
export const waiting = signal<Channels['waiting'] | undefined>(undefined);
export const holds = signal<Channels['holds'] | undefined>(undefined);
export const jobs = signal<Channels['jobs'] | undefined>(undefined);
export const health = signal<Channels['health'] | undefined>(undefined);
export const series = signal<readonly Sample[] | undefined>(undefined);
/** Of the machine that the numbers belong to: a page that draws another one loads it anew. */
export const machineHash = signal<string | undefined>(undefined);

export const link = signal<Link>({ is: 'connecting', sinceMs: Date.now() });
/** When something came last, ms since 1970. */
export const newsAtMs = signal<number | undefined>(undefined);
/** What is shown is not what is, and nobody wanted it so: draw it grey. */
export const isOld = computed(
  () => link.value.is === 'away' || (link.value.is === 'connecting' && newsAtMs.value !== undefined),
);

/** All dead letters that are open; `isMore`: there are codes with more than are counted. */
export const deadTotal = computed(() => sumOf(dead.value));

export function sumOf(sums: Readonly<Record<string, number>> | undefined): number | undefined {
  return sums && Object.values(sums).reduce((sum, n) => sum + n, 0);
}

let stream: EventSource | undefined;
let retry: ReturnType<typeof setTimeout> | undefined;
let watch: ReturnType<typeof setTimeout> | undefined;
let tries = 0;
let kept: News = {};

/** Once, when somebody may look. */
export function startLive(): void {
  document.addEventListener('visibilitychange', () => {
    if (link.value.is === 'paused') return;
    if (!document.hidden) return open();
    close();
    link.value = { is: 'connecting', sinceMs: Date.now() };
  });
  if (!document.hidden) open();
}

export function togglePause(): void {
  if (link.value.is === 'paused') {
    link.value = { is: 'connecting', sinceMs: Date.now() };
    open();
  } else {
    close();
    link.value = { is: 'paused', sinceMs: Date.now() };
  }
}

/** After a login, or because somebody does not want to wait. */
export function reopen(): void {
  if (link.value.is !== 'paused') open();
}

function open(): void {
  close();
  const source = new EventSource(urlOf('stream', { channels: CHANNELS.join(',') }));
  stream = source;
  listen();
  source.addEventListener('snapshot', (event) => receive(event, true));
  for (const channel of CHANNELS) source.addEventListener(channel, (event) => receive(event, false));
  source.onerror = () => {
    if (stream !== source) return;
    lost();
    // The browser tries again by itself, but not after an answer that is none.
    if (source.readyState === EventSource.CLOSED) againLater();
  };
}

function receive(event: MessageEvent<string>, isAll: boolean): void {
  if (stream !== event.target) return;
  tries = 0;
  listen();
  const news = JSON.parse(event.data) as News;
  kept = isAll ? news : merged(kept, news);
  publish(isAll ? kept : pick(kept, news));
}

function listen(): void {
  clearTimeout(watch);
  watch = setTimeout(() => {
    lost();
    open();
  }, SILENCE_MS);
}

function lost(): void {
  if (link.value.is !== 'away') link.value = { is: 'away', sinceMs: Date.now() };
}

function againLater(): void {
  stream?.close();
  clearTimeout(watch);
  clearTimeout(retry);
  retry = setTimeout(
    () => {
      // Whether it is the session that ended is said there; the stream itself tells no status.
      void openSession();
      open();
    },
    RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)],
  );
}

function close(): void {
  stream?.close();
  stream = undefined;
  clearTimeout(retry);
  clearTimeout(watch);
}

function publish(news: News): void {
  batch(() => {
    if (news.counts) counts.value = news.counts;
    if (news.transitions) transitions.value = news.transitions;
    if (news.flow) latestFlow.value = news.flow;
    if (news.outcomes) outcomes.value = news.outcomes;
    if (news.lag) lag.value = news.lag;
    if (news.dead) dead.value = news.dead;
    if (news.waiting) waiting.value = news.waiting;
    if (news.holds) holds.value = news.holds;
    if (news.jobs) jobs.value = news.jobs;
    if (news.health) health.value = news.health;
    if (news.series) series.value = news.series;
    if (news.machineHash) machineHash.value = news.machineHash;
    newsAtMs.value = Date.now();
    if (link.value.is === 'away') returns.value += 1;
    if (link.value.is !== 'open') link.value = { is: 'open', sinceMs: Date.now() };
  });
}

/** Of `all`, the channels that `news` spoke of. */
function pick(all: News, news: News): News {
  return Object.fromEntries(Object.keys(news).map((name) => [name, all[name as keyof News]]));
}

/** What is known after `news`: of sums the keys that changed, of partitions the rows, of the series the new samples; of the rest
 *  all of it. */
export function merged(known: News, news: News): News {
  const next: News = { ...known, ...news };
  for (const name of ['counts', 'transitions', 'outcomes'] as const)
    if (news[name]) next[name] = { ...known[name], ...news[name] };
  if (news.lag) {
    const fresh = new Map(news.lag.map((row) => [rowOf(row), row]));
    const old = (known.lag ?? []).map((row) => {
      const now = fresh.get(rowOf(row)) ?? row;
      fresh.delete(rowOf(row));
      return now;
    });
    next.lag = [...old, ...fresh.values()];
  }
  if (news.series) {
    const last = known.series?.at(-1)?.at ?? '';
    next.series = [...(known.series ?? []), ...news.series.filter(({ at }) => at > last)].slice(-MOST_SAMPLES);
  }
  return next;
}
function rowOf({ topic, partition }: Channels['lag'][number]): string {
  return `${topic}/${partition}`;
}
