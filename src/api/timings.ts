// timings.ts — how long this process' batches and events took since somebody asked last: percentiles in fixed memory.
//
// Owns:          its own few numbers, for the console's charts. Does not own: the histograms of /metrics (metrics.ts), whose buckets
//                are too wide for a percentile.
//
// T1  A batch costs the same however many records it has: of the delays, at most 8 records speak for all of it.
// T2  Values are kept as counts in buckets, each 10 % wider than the one before: a percentile is off by 5 % at most (P6).
import type { SourceRecord } from '../events.ts';
import type { Pipeline } from '../pipeline.ts';
import type { Sample } from './contract.ts';

export type Timings = {
  /** The same pipeline; each batch that it saves is noted. */
  around(pipeline: Pipeline): Pipeline;
  /** What was noted since the last `take`. null: nothing was. */
  take(): Pick<Sample, 'delayMs' | 'batchMs' | 'batchRecords'>;
};
/** `clock`: ms since 1970, as records' timestamps are. `lap`: finer. */
export type TimingsOptions = { clock?: () => number; lap?: () => number };

const SPEAK_FOR_A_BATCH = 8;

export function createTimings({ clock = Date.now, lap = () => performance.now() }: TimingsOptions = {}): Timings {
  const delays = createSpread();
  const durations = createSpread();
  let batches = 0;
  let records = 0;

  return {
    around: (pipeline) => async (work, poisons) => {
      const startMs = lap();
      const ran = await pipeline(work, poisons);
      durations.add(lap() - startMs, 1);
      noteDelays(work.records);
      return ran;
    },
    take() {
      const taken = {
        delayMs: delays.take(),
        batchMs: durations.take(),
        batchRecords: batches === 0 ? null : rounded(records / batches),
      };
      batches = records = 0;
      return taken;
    },
  };

  function noteDelays(of: readonly SourceRecord[]): void {
    const now = clock();
    batches++;
    records += of.length;
    const speakers = Math.min(SPEAK_FOR_A_BATCH, of.length);
    for (let n = 0; n < speakers; n++) {
      const { timestampMs } = of[Math.floor(((n + 0.5) * of.length) / speakers)] as SourceRecord;
      if (timestampMs >= 0) delays.add(now - timestampMs, of.length / speakers); // -1: it has none
    }
  }
}

type Percentiles = { p50: number; p95: number; p99: number };

const LEAST_MS = 0.1;
const STEP = Math.log(1.1);
const BUCKETS = 288; // the last one begins at two years

function createSpread() {
  const counts = new Float64Array(BUCKETS);
  let total = 0;
  return {
    add(ms: number, weight: number): void {
      const bucket = ms <= LEAST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / LEAST_MS) / STEP));
      counts[bucket] = (counts[bucket] as number) + weight;
      total += weight;
    },
    take(): Percentiles | null {
      if (total === 0) return null;
      const percentiles = { p50: percentile(0.5), p95: percentile(0.95), p99: percentile(0.99) };
      counts.fill(0);
      total = 0;
      return percentiles;
    },
  };

  function percentile(part: number): number {
    let left = part * total * (1 - 1e-9); // the sum of fractions may fall short of the total
    let at = 0;
    for (; at < BUCKETS - 1; at++) {
      left -= counts[at] as number;
      if (left <= 0) break;
    }
    return rounded(LEAST_MS * Math.exp(STEP * Math.max(0, at - 0.5)));
  }
}

/** Three digits that mean something. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}
