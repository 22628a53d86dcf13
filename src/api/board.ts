// board.ts — the present values of the stream's channels, and which of them changed since whenever somebody looked last.
//
// Owns:          the number of each change. Does not own: where values come from (live.ts), how they travel (stream.ts).
//
// L1  Who has everything up to a number is told what changed after it, with values as they are now. So nobody needs a queue: whoever
//     is slow, or comes back after a while, is told of each thing once, its latest; all that is kept of a reader is a number.
// L2  What is told of a channel is complete as far as it says: of `counts`, `transitions` and `outcomes` the keys that changed, of
//     `lag` the rows that changed (by topic and partition), of `series` the samples that are new; of the others, all of it.
// L3  A key that is gone (the database was restored to a former time) is 0; when a row is gone, everybody begins anew (`floor`).
import { Channels, type Sample, type Stats } from './contract.ts';

export type Channel = keyof Channels | 'series';
export const CHANNELS = [...Object.keys(Channels.properties), 'series'] as readonly Channel[];

/** `json`: `{"at": …, "<channel>": …}`, a part of Stats. `at`: when that was read. */
export type Part = { channel: Channel; json: string };

export type Board = {
  readonly server: string;
  /** Of the newest change. */
  readonly seq: number;
  /** Who has less than this begins anew, with `stats`. */
  readonly floor: number;
  /** Every channel has been put up. */
  readonly isComplete: boolean;
  put<C extends keyof Channels>(channel: C, value: Channels[C], atMs: number): void;
  /** Keeps the last 200. */
  addSample(sample: Sample): void;
  /** Everything. Only where it is complete. `samples`: so many at most, the newest. */
  stats(samples?: number): Stats;
  /** What changed after `seq`, of these channels. */
  since(seq: number, channels: ReadonlySet<Channel>): Part[];
};

/** P6. One every 5 s: more than a quarter of an hour. */
const MOST_SAMPLES = 200;

type Entry = { json: string; seq: number };
type Kept = { atMs: number; seq: number; value: unknown; entries: Map<string, Entry> };

export function createBoard({ server, machineHash }: Pick<Stats, 'server' | 'machineHash'>): Board {
  const kept = new Map<Channel, Kept>();
  let series: { sample: Sample; seq: number }[] = [];
  let seq = 0;
  let floor = 0;

  return {
    server,
    get seq() {
      return seq;
    },
    get floor() {
      return floor;
    },
    get isComplete() {
      return kept.size === CHANNELS.length - 1; // all but `series`
    },
    put(channel, value, atMs) {
      const is = kept.get(channel) ?? { atMs, seq: 0, value, entries: new Map<string, Entry>() };
      kept.set(channel, Object.assign(is, { atMs, value }));
      const next = seq + 1;
      const gone = new Set(is.entries.keys());
      for (const [key, json] of entriesOf(channel, value)) {
        gone.delete(key);
        if (is.entries.get(key)?.json === json) continue;
        is.entries.set(key, { json, seq: next });
        is.seq = seq = next;
      }
      for (const key of gone) {
        if (channel === 'lag') {
          is.entries.delete(key);
          floor = is.seq = seq = next;
        } else if (is.entries.get(key)?.json !== '0') {
          is.entries.set(key, { json: '0', seq: next });
          is.seq = seq = next;
        }
      }
    },
    addSample(sample) {
      series = [...series, { sample, seq: ++seq }].slice(-MOST_SAMPLES);
    },
    stats(samples = MOST_SAMPLES) {
      const values = Object.fromEntries([...kept].map(([channel, { value }]) => [channel, value])) as Channels;
      const at = iso(kept.get('counts')?.atMs ?? 0);
      return { at, server, machineHash, ...values, series: newest(samples) };
    },
    since(than, channels) {
      return CHANNELS.flatMap((channel) => {
        if (!channels.has(channel)) return [];
        const json = channel === 'series' ? samplesSince(than) : changedSince(channel, than);
        return json === undefined ? [] : [{ channel, json }];
      });
    },
  };

  function newest(most: number): Sample[] {
    return series.slice(Math.max(0, series.length - most)).map(({ sample }) => sample);
  }

  function changedSince(channel: keyof Channels, than: number): string | undefined {
    const is = kept.get(channel);
    if (is === undefined || is.seq <= than) return undefined;
    const changed = [...is.entries].filter(([, entry]) => entry.seq > than);
    return partOf(channel, is.atMs, textOf(channel, changed));
  }

  function samplesSince(than: number): string | undefined {
    const fresh = series.filter((one) => one.seq > than).map(({ sample }) => sample);
    const last = fresh.at(-1);
    return last && partOf('series', Date.parse(last.at), JSON.stringify(fresh));
  }
}

/** What of a channel can change by itself (L2). Written once, for all who are told. */
function* entriesOf<C extends keyof Channels>(channel: C, value: Channels[C]): Generator<[key: string, json: string]> {
  if (channel === 'lag')
    for (const row of value as Channels['lag']) yield [`${row.topic}/${row.partition}`, JSON.stringify(row)];
  else if (isSums(channel)) for (const [key, n] of Object.entries(value as Channels['counts'])) yield [key, String(n)];
  else yield ['', JSON.stringify(value)];
}

function textOf(channel: keyof Channels, entries: readonly [string, Entry][]): string {
  if (channel === 'lag') return `[${entries.map(([, { json }]) => json).join()}]`;
  if (isSums(channel)) return `{${entries.map(([key, { json }]) => `${JSON.stringify(key)}:${json}`).join()}}`;
  return entries[0]?.[1].json ?? 'null';
}

function isSums(channel: keyof Channels): boolean {
  return channel === 'counts' || channel === 'transitions' || channel === 'outcomes';
}

function partOf(channel: Channel, atMs: number, json: string): string {
  return `{"at":"${iso(atMs)}","${channel}":${json}}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
