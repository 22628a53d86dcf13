// health.ts — is this process alive, and can it do its work? Answered from memory, whatever is away.
//
// Owns:          the rules of /livez and /readyz, and the background check that the database can be written.
// Does not own:  the answers' way out (api/server.ts); lag, which raises alarms and never fails a probe.
//
// H1  /livez never looks at Postgres, Redis or lag: an outage elsewhere must not restart every process.
// H2  A detail is one of our own sentences: probes need no token, so no host, id or message of an error stands in one.
import type postgres from 'postgres';
import type { SourceFacts } from './sources/source.ts';

export type Check = { ok: boolean; detail: string };
export type Report = {
  /** `degraded`: everything works, something slower. */
  status: 'ok' | 'degraded' | 'failing';
  checks: Record<string, Check>;
};
export type Health = {
  /** Does the process make progress? Failing: restart it. */
  live(): Report;
  /** Can it do its work now? Failing: a roll-out waits; consumption goes on. */
  ready(): Report;
};

export type HealthOptions = {
  source: () => SourceFacts;
  /** Those assigned to this process. */
  partitions: () => readonly { state: 'running' | 'halted' | 'waiting' }[];
  database: () => DatabaseFacts;
  /** Undefined: it runs without Redis. */
  redis: (() => boolean) | undefined;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  clock?: () => number;
};

const SILENCE_AT_LEAST_MS = 60_000; // below, a slow disk or a long rebalance would restart healthy processes (a guess)

export function createHealth(options: HealthOptions): Health {
  const { source, partitions, database, redis, sessionTimeoutMs, rebalanceTimeoutMs, clock = Date.now } = options;
  let hasJoined = false;
  return {
    live: () => report({ progress: progress(source()) }),
    ready: () => {
      const facts = source();
      return report(
        { group: group(facts), partitions: notAllHalted(), database: writable(database(), clock()) },
        redis === undefined ? {} : { redis: remembered(redis()) },
      );
    },
  };

  /** Only a member that has something to do can be stuck. One that has not joined may have lost its brokers, which a
   *  restart does not bring back, and a consumer that crashed is built again by its source. */
  function progress({ joined, stopping, lastProgressAtMs, assigned }: SourceFacts): Check {
    if (stopping) return pass('stopping');
    if (!joined) return pass('not joined');
    if (assigned.length > 0 && assigned.every(({ paused }) => paused)) return pass('paused');
    const silentMs = clock() - lastProgressAtMs;
    if (silentMs <= Math.max(3 * sessionTimeoutMs, SILENCE_AT_LEAST_MS)) return pass('making progress');
    return fail(`no fetch, heartbeat or batch for ${Math.floor(silentMs / 1000)} s`);
  }

  /** Joined without partitions is a healthy standby. A rebalance may take its time: while one is on, nothing progresses,
   *  so it lasts as long as the silence. */
  function group({ joined, stopping, crashed, lastProgressAtMs, assigned }: SourceFacts): Check {
    hasJoined ||= joined;
    if (stopping) return fail('stopping');
    if (joined) return pass(`joined, ${assigned.length === 1 ? '1 partition' : `${assigned.length} partitions`}`);
    if (crashed !== null) return fail('not joined: the last try failed, the log says why');
    if (!hasJoined) return fail('not joined yet');
    return clock() - lastProgressAtMs <= rebalanceTimeoutMs ? pass('rebalancing') : fail('rebalancing for too long');
  }

  function notAllHalted(): Check {
    const all = partitions();
    const halted = all.filter(({ state }) => state === 'halted').length;
    if (halted === 0) return pass('none halted');
    return halted < all.length ? pass(`${halted} of ${all.length} halted`) : fail('every partition is halted');
  }
}

function writable({ writableAtMs, failed }: DatabaseFacts, now: number): Check {
  if (failed !== null) return fail(failed);
  if (writableAtMs === null) return fail('not checked yet');
  const ageMs = now - writableAtMs;
  return ageMs <= 3 * CHECK_EVERY_MS ? pass('writable') : fail(`not checked for ${Math.floor(ageMs / 1000)} s`);
}

/** Redis is optional: it never fails a probe. */
function remembered(up: boolean): Check {
  return up ? pass('up') : fail('away: Postgres answers for it');
}

function pass(detail: string): Check {
  return { ok: true, detail };
}
function fail(detail: string): Check {
  return { ok: false, detail };
}

function report(needed: Record<string, Check>, optional: Record<string, Check> = {}): Report {
  const allOk = (checks: Record<string, Check>) => Object.values(checks).every(({ ok }) => ok);
  const status = !allOk(needed) ? 'failing' : allOk(optional) ? 'ok' : 'degraded';
  return { status, checks: { ...needed, ...optional } };
}

// --- the database, in the background ---------------------------------------------------------------------------------

export type DatabaseFacts = {
  /** When it was last known to be writable. */
  writableAtMs: number | null;
  /** Why the last check failed; null: it did not. */
  failed: string | null;
};
export type DatabaseWatch = { facts(): DatabaseFacts; stop(): void };

const CHECK_EVERY_MS = 5_000;
const CHECK_LIMIT_MS = 3_000; // our own: a query waits for a free connection as long as that takes
const ASK_AGAIN_MS = 30_000; // one that hangs on a dead connection is given up; a hung database gets no queue of checks

/** Asks at once and every 5 s. */
export function watchDatabase(isWritable: () => Promise<boolean>, clock: () => number = Date.now): DatabaseWatch {
  const facts: DatabaseFacts = { writableAtMs: null, failed: null };
  let asked = 0;
  let answered = 0;
  let askedAtMs = 0;
  const timer = setInterval(ask, CHECK_EVERY_MS).unref();
  ask();
  return { facts: () => ({ ...facts }), stop: () => clearInterval(timer) };

  function ask(): void {
    if (asked > answered && clock() - askedAtMs < ASK_AGAIN_MS) return;
    const turn = ++asked;
    askedAtMs = clock();
    const limit = setTimeout(() => note(turn, 'the database does not answer'), CHECK_LIMIT_MS).unref();
    isWritable()
      .then(
        (yes) => answer(turn, yes ? null : 'the database is read-only'),
        () => answer(turn, 'the database can not be reached'),
      )
      .finally(() => clearTimeout(limit));
  }

  function answer(turn: number, failed: string | null): void {
    note(turn, failed);
    answered = Math.max(answered, turn);
  }

  /** An answer that comes after a later question's was answered says nothing any more. */
  function note(turn: number, failed: string | null): void {
    if (turn < answered) return;
    facts.failed = failed;
    if (failed === null) facts.writableAtMs = clock();
  }
}

/** A primary that takes writes? Rejects where the database is away. */
export async function isWritable(sql: postgres.Sql): Promise<boolean> {
  const [row] = await sql<{ writable: boolean }[]>`
    select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as writable`;
  return row?.writable === true;
}
