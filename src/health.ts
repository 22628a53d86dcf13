// health.ts — is this process alive, and can it do its work? Answered from memory, whatever is away.
//
// Owns:          the rules of /livez, /readyz and /startupz, and the background check that the database can be written.
// Does not own:  the answers' way out (api/server.ts); the page for people (overview.ts); lag, which is shown, raises
//                alarms and never fails a probe.
//
// H1  /livez never looks at Postgres, Redis or lag: an outage elsewhere must not restart every process.
// H2  A detail is one of our own sentences: probes need no token, so no host, id or message of an error stands in one.
import type postgres from 'postgres';
import type { LagFacts } from './lag.ts';
import { type Overview, overview } from './overview.ts';
import type { PartitionFacts } from './partitions.ts';
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
  /** Is the start over? Failing: it still waits for something, which is named. */
  started(): Report;
  /** Everything that is known, for people and the console. Decides nothing. */
  overview(): Overview;
};

export type HealthOptions = {
  source: () => SourceFacts;
  /** Those assigned to this process. */
  partitions: () => readonly PartitionFacts[];
  lag: () => readonly LagFacts[];
  database: () => DatabaseFacts;
  /** Postgres answered, and its schema was found or made as it must be. */
  isMigrated: () => boolean;
  /** Undefined: it runs without Redis. */
  redis: (() => boolean) | undefined;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  clock?: () => number;
};

const SILENCE_AT_LEAST_MS = 60_000; // below, a slow disk or a long rebalance would restart healthy processes (a guess)
const JOIN_AT_LEAST_MS = 120_000; // a guess, as above: a join waits for the slowest member of the group
const ANSWER_AT_MOST_MS = 30_000; // a member asks its brokers something every 15 s: one answer may be missed

export function createHealth(options: HealthOptions): Health {
  const { source, partitions, lag, database, redis, sessionTimeoutMs, rebalanceTimeoutMs } = options;
  const { isMigrated, clock = Date.now } = options;
  let hasJoined = false;
  let withoutStartMs: number | null = null;
  const health = { live, ready, started };
  return { ...health, overview: () => overview(options, health) };

  function live(): Report {
    return report({ progress: progress(source()) });
  }

  function ready(): Report {
    const facts = source();
    return report(
      { group: group(facts), partitions: notAllHalted(), database: writable(database(), clock()) },
      redis === undefined ? {} : { redis: remembered(redis()) },
      { lag: behind() },
    );
  }

  function started(): Report {
    return report({
      schema: isMigrated() ? pass('checked') : fail('not checked yet: Postgres or its migrations are waited for'),
      join: noteJoin(source()) ? pass('joined') : fail('not joined yet'),
    });
  }

  /** One that crashed is built again by its source; one whose brokers are silent can do nothing, and a restart neither. */
  function progress(facts: SourceFacts): Check {
    const { joined, dead, stopping, lastProgressAtMs, lastAnswerAtMs, assigned } = facts;
    if (dead !== null) return fail('it has ended for good, the log says why');
    if (stopping) return pass('stopping');
    if (!joined) return joining(facts);
    if (assigned.length > 0 && assigned.every(({ paused }) => paused)) return pass('paused');
    const silentMs = clock() - lastProgressAtMs;
    if (silentMs <= Math.max(3 * sessionTimeoutMs, SILENCE_AT_LEAST_MS)) return pass('making progress');
    if (lastAnswerAtMs !== null && clock() - lastAnswerAtMs > ANSWER_AT_MOST_MS)
      return pass('no word from the brokers');
    return fail(`no fetch, heartbeat or batch for ${seconds(silentMs)} s`);
  }

  /** One that has not joined may have lost its brokers, which a restart does not bring back. Where they answer, and this
   *  try (each counts as progress) still does not end, the client hangs. */
  function joining({ lastAnswerAtMs, lastProgressAtMs }: SourceFacts): Check {
    const isAnswered = lastAnswerAtMs !== null && clock() - lastAnswerAtMs <= ANSWER_AT_MOST_MS;
    const silentMs = clock() - lastProgressAtMs;
    if (!isAnswered || silentMs <= Math.max(4 * rebalanceTimeoutMs, JOIN_AT_LEAST_MS)) return pass('not joined');
    return fail(`joining for ${seconds(silentMs)} s although the brokers answer`);
  }

  /** Joined without partitions is a healthy standby. A rebalance may take its time: while one is on, nothing progresses,
   *  so it lasts as long as the silence. */
  function group(facts: SourceFacts): Check {
    const { joined, dead, stopping, crashed, lastProgressAtMs, lastAnswerAtMs } = facts;
    noteJoin(facts);
    if (dead !== null) return fail('it has ended for good, the log says why');
    if (stopping) return fail('stopping');
    const silentMs = clock() - lastProgressAtMs;
    if (joined) {
      // After that long the group has given this member up, although it may not have been told yet.
      const isLost = lastAnswerAtMs !== null && silentMs > sessionTimeoutMs; // null: there is no broker
      return isLost ? fail(`no word from the brokers for ${seconds(silentMs)} s`) : pass(membership(facts));
    }
    if (crashed !== null) return fail('not joined: the last try failed, the log says why');
    if (!hasJoined) return fail('not joined yet');
    return silentMs <= rebalanceTimeoutMs ? pass('rebalancing') : fail('rebalancing for too long');
  }

  function membership({ assigned, lastFetchAtMs }: SourceFacts): string {
    const holds = assigned.length === 1 ? '1 partition' : `${assigned.length} partitions`;
    return lastFetchAtMs === null
      ? `joined, ${holds}`
      : `joined, ${holds}, last fetch ${seconds(clock() - lastFetchAtMs)} s ago`;
  }

  /** Has it ever joined? */
  function noteJoin({ joined, rebalances }: SourceFacts): boolean {
    hasJoined ||= joined || rebalances > 0;
    return hasJoined;
  }

  /** Without its start no partition is fetched; the first look that finds it so counts. */
  function notAllHalted(): Check {
    const all = partitions();
    const halted = all.filter(({ state }) => state === 'halted').length;
    const { joined, assigned, lastProgressAtMs } = source();
    const isMember = joined && clock() - lastProgressAtMs <= sessionTimeoutMs; // else `group` says what is wrong
    const waitsForStart = isMember && assigned.length > 0 && all.every(({ next }) => next === null);
    withoutStartMs = waitsForStart ? (withoutStartMs ?? clock()) : null;
    const ms = withoutStartMs === null ? 0 : clock() - withoutStartMs;
    if (ms > rebalanceTimeoutMs) return fail(`no partition has been told its start for ${seconds(ms)} s`);
    if (halted === 0) return pass('none halted');
    return halted < all.length ? pass(`${halted} of ${all.length} halted`) : fail('every partition is halted');
  }

  /** For people: a restart would only add to it. */
  function behind(): Check {
    const lags = lag().filter(({ records }) => records > 0);
    const [first] = lags;
    if (first === undefined) return pass('none');
    const total = lags.reduce((sum, { records }) => sum + records, 0);
    const slowest = lags.reduce((a, b) => (b.seconds > a.seconds ? b : a), first);
    const its = partitions().find((of) => of.topic === slowest.topic && of.partition === slowest.partition);
    const saved = its?.savedAtMs ?? null;
    const last = saved === null ? 'has saved nothing yet' : `saved last ${seconds(clock() - saved)} s ago`;
    const records = total === 1 ? '1 record' : `${total} records`;
    return pass(`${records} behind; the slowest partition is ${Math.floor(slowest.seconds)} s behind and ${last}`);
  }
}

function writable({ writableAtMs, failed }: DatabaseFacts, now: number): Check {
  if (failed !== null) return fail(failed);
  if (writableAtMs === null) return fail('not checked yet');
  const ageMs = now - writableAtMs;
  return ageMs <= 3 * CHECK_EVERY_MS ? pass('writable') : fail(`not checked for ${seconds(ageMs)} s`);
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

type Checks = Record<string, Check>;
function report(needed: Checks, optional: Checks = {}, informing: Checks = {}): Report {
  const allOk = (checks: Checks) => Object.values(checks).every(({ ok }) => ok);
  const status = !allOk(needed) ? 'failing' : allOk(optional) ? 'ok' : 'degraded';
  return { status, checks: { ...needed, ...optional, ...informing } };
}

function seconds(ms: number): number {
  return Math.max(0, Math.floor(ms / 1_000));
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
