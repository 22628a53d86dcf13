// observe.ts — the pipeline, watched: a span and the metrics of each try, made from what the steps return.
//
// Owns:          when each step begins and ends. Does not own: names and labels (spans.ts, metrics.ts).
//
// O1  A try is one call of the pipeline: its second half on locked rows, after a conflict, belongs to it. What fails and is tried
//     again by partitions.ts is another try, with a trace of its own.
// O2  Watching decides nothing: a step's answer and its error go on as they are. Only what never settles is ended here, as what
//     has no end could not be told (retry.ts: inTime).
import { classify } from './errors.ts';
import type { Metrics, Step } from './metrics.ts';
import { type Pipeline, pipeline, type Steps } from './pipeline.ts';
import { inTime } from './retry.ts';
import type { Result, RunOptions } from './run.ts';
import { rowsIn, type Spans } from './spans.ts';

export type Observers = { spans: Spans; metrics: Metrics };

export function observedPipeline<Tx>(steps: Steps<Tx>, options: RunOptions, { spans, metrics }: Observers): Pipeline {
  return async (work, poisons) => {
    const span = spans.batch(work);
    const startMs = performance.now();
    let lapMs = startMs;
    let loadedAtMs = 0;
    let saves = 0;
    const lap = (step: Step) => {
      const now = performance.now();
      metrics.step(step, (now - lapMs) / 1_000);
      lapMs = now;
    };
    const watched: Steps<Tx> = {
      ...steps,
      async load(routed, source) {
        lap('decode');
        span.routed(routed);
        const loaded = await steps.load(routed, source);
        lap('load');
        loadedAtMs = Date.now();
        return loaded;
      },
      async loadLocked(tx, routed) {
        const loaded = await steps.loadLocked(tx, routed);
        lapMs = performance.now();
        loadedAtMs = Date.now();
        return loaded;
      },
      permit(ran) {
        span.step('customer_service.run', loadedAtMs, performance.now() - lapMs, () => ({
          'customer_service.user_count': ran.users.length,
          'customer_service.event_count': ran.results.length,
          'customer_service.transition_count': ran.results.filter(hasMoved).length,
        }));
        if (saves === 0) lap('run');
        steps.permit(ran);
      },
      async save(of, ran) {
        await span.save(
          ++saves,
          () => steps.save(of, ran),
          () => rowsIn(ran),
        );
        lap('save');
      },
      forget(routed) {
        metrics.retried('conflict');
        steps.forget(routed);
      },
      async saveLocked(of, runOn) {
        const beginMs = performance.now();
        const ran = await span.save(++saves, () => steps.saveLocked(of, runOn), rowsIn);
        lapMs = beginMs;
        lap('save');
        return ran;
      },
      saved(of, ran) {
        metrics.saved(of, ran.tallies);
        span.settled(ran.results);
        steps.saved(of, ran);
      },
    };
    try {
      const ran = await inTime(span.in(() => pipeline(watched, options)(work, poisons)));
      metrics.tried(work.place, (performance.now() - startMs) / 1_000);
      span.end();
      return ran;
    } catch (error) {
      const { class: what, code } = classify(error);
      metrics.tried(work.place, (performance.now() - startMs) / 1_000, code);
      if (what !== 'fenced' && what !== 'defect') metrics.retried(code);
      span.end(error);
      throw error;
    }
  };
}

/** A drain under a span of its own. `act` is told to call `tell` with what was saved. */
export async function observedDrain(
  users: number,
  spans: Spans,
  act: (tell: (results: readonly Result[]) => void) => Promise<void>,
): Promise<void> {
  const span = spans.redrive(users);
  try {
    await span.in(() =>
      act((results) => {
        span.links(results.map(({ event }) => event));
        span.settled(results);
      }),
    );
    span.end();
  } catch (error) {
    span.end(error);
    throw error;
  }
}

const hasMoved = (result: Result): boolean => result.outcome === 'applied' && result.transition !== null;
