// pipeline.ts — the journey of a batch. Read this first; then decode, route, load, run, save, each a file of that name.
//
//    Kafka partition batch
//      └─▶ decode ─────────── unreadable ───────────▶ dead letter, saved with the batch
//            └─▶ route by user, offset order kept
//                  └─▶ load users, customers, holds ── Postgres away ─▶ retried; Redis away ─▶ Postgres, slower
//                        └─▶ run machines ── one throws ─▶ that user's event is dead, its later ones wait; others go on
//                              └─▶ save, one transaction ── fenced ─▶ read the row · conflict ─▶ run again on locked rows
//
// P1  Events of one user are applied once each, in order.
// P2  The position is saved in the same transaction as the effects; the Kafka commit follows.
// P3  `run` is pure: no I/O, no clock, no randomness.
// P4  A bad record never stops its batch; a failed save always stops its partition.
// P5  Only `save` writes users, customers, history and positions; only the Kafka source commits.
// P6  Everything has a limit: batch size, retries, cache, waiting events per user, record size.
//
// Owns:          the order of the steps, and the two waits: load and save.
// Does not own:  when a batch comes and what an error makes its partition do (partitions.ts), Kafka, SQL, Redis, tracing.
import { Conflict } from './errors.ts';
import type { Decoded, Place, SourceRecord } from './events.ts';
import { type Routed, route } from './route.ts';
import { type Loaded, type Poisons, type Ran, type RunOptions, run } from './run.ts';

/** A part of a partition's log, contiguous from the saved position. */
export type Work = {
  place: Place;
  source: string;
  from: bigint;
  to: bigint;
  leaderEpoch: number | null;
  records: readonly SourceRecord[];
};

/** The steps as main.ts wires them, spans around each. */
export type Steps<Tx> = {
  decode(place: Place, record: SourceRecord): Decoded;
  load(routed: Routed, source: string): Promise<Loaded>;
  loadLocked(tx: Tx, routed: Routed): Promise<Loaded>;
  save(work: Work, ran: Ran): Promise<void>;
  saveLocked(work: Work, runOn: (tx: Tx) => Promise<Ran>): Promise<Ran>;
  /** May this be saved? Throws Halt where a person must decide first. */
  permit(ran: Ran): void;
  /** A conflict: what is remembered of these users and customers is old. */
  forget(routed: Routed): void;
  /** Saved: remember the rows, wake what waited, write the log lines. */
  saved(work: Work, ran: Ran): void;
};

export type Pipeline = (work: Work, poisons?: Poisons) => Promise<Ran>;

export function pipeline<Tx>(steps: Steps<Tx>, options: RunOptions): Pipeline {
  return async function handle(work, poisons): Promise<Ran> {
    const routed = route(work.records.map((record) => steps.decode(work.place, record)));
    const knowing = poisons === undefined ? options : { ...options, poisons };

    const ran = await firstTry().catch((error) => {
      if (!(error instanceof Conflict)) throw error;
      steps.forget(routed);
      return secondTry();
    });
    steps.saved(work, ran);
    return ran;

    async function firstTry(): Promise<Ran> {
      const ran = decide(await steps.load(routed, work.source));
      await steps.save(work, ran);
      return ran;
    }
    /** On rows read and locked inside the transaction: nobody else can change them now. */
    function secondTry(): Promise<Ran> {
      return steps.saveLocked(work, async (tx) => decide(await steps.loadLocked(tx, routed)));
    }
    function decide(loaded: Loaded): Ran {
      const ran = run(routed, loaded, knowing);
      steps.permit(ran);
      return ran;
    }
  };
}
