// redis.ts — the customers that Redis remembers for all processes: a layer that may be away, slow, full or poisoned.
//
// Owns:          the connection, when Redis is asked at all (the breaker), the namespace, names and entries.
// Does not own:  the order of the layers and what *known* means (customers.ts), Postgres.
//
// R1  Nothing here rejects or waits longer than LIMIT_MS; while Redis is away nothing waits at all.
// R2  Two modes. *ok*: asked, one MGET per batch. *away*: not asked; left only by a greeting that both writes and reads
//     (so OOM and READONLY count as away). A greeting follows every new connection, and a pause that grows to 5 s.
// R3  An entry is believed when it equals, byte for byte, the one we would write: schema version, HMAC over (schema,
//     namespace, id), id. Anything else is counted and written over. Only *known* is ever written.
// R4  The namespace is a random value under one key of Redis, and the first key of every MGET: an answer under another
//     namespace than ours is dropped, and so is what this process remembered. Rewinding the database (reliability.md
//     section 2) means replacing that value, so every process follows at its next MGET, without a message. Where the
//     key is missing (flushed, evicted) the value is a *fresh* one: an old one put back could revive old entries.
// R5  No id, name or entry is ever logged; an error is told by its code, as ioredis keeps a command's arguments in it.
import { createHmac, createSecretKey, hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type ChainableCommander, Redis } from 'ioredis';
import { beginOperation, type End } from '../db/operations.ts';
import { outside } from '../db/scope.ts';

export type RedisOptions = {
  url: string;
  /** Equal for all processes: they believe each other's entries. */
  secret: string;
  ttlMs: number;
  log: Log;
  /** The namespace is another one: what was remembered under the last may be ahead of the database. */
  forget: () => void;
};
export type Log = { info(facts: object, text: string): void; warn(facts: object, text: string): void };
export type SharedCustomers = {
  /** What to ask and write under now. Undefined: Redis is not to be asked. */
  namespace(): string | undefined;
  /** Which of these Redis vouches for. Resolves, within LIMIT_MS, with nothing when Redis is of no help. */
  ask(ids: readonly string[], namespace: string): Promise<string[]>;
  /** Writes in the background. What was read under a namespace is written under it, so that old news lands nowhere. */
  write(known: readonly string[], unknown: readonly string[], namespace: string): void;
  /** Replaces the namespace; until that is done, however long Redis is away, nothing is asked. */
  rewind(): void;
  facts(): RedisFacts;
  close(): void;
};
/** `sinceMs`: ms since 1970. `errors`: commands that failed. `rejected`: entries that failed their check. */
export type RedisFacts = {
  state: 'ok' | 'away';
  sinceMs: number;
  why: string | null;
  hits: number;
  misses: number;
  errors: number;
  rejected: number;
};

// 1,250 ids: MGET 0.8–1.5 ms, pipeline of as many SETs 4–9 ms; 20,000: 18–57 ms and 110–240 ms (same machine, 2 cores).
const LIMIT_MS = 100;
const ASK_AT_MOST = 10_000;
const WRITE_AT_MOST = 2_000;
const PIPELINES_AT_ONCE = 8; // a guess: more partitions than run at once
const PREFIX = 'customer-service:customers:';
const HITS = 'customer_service.cache.hit_count';
const MISSES = 'customer_service.cache.miss_count';
const NAMESPACE_KEY = `${PREFIX}namespace`;

export function openRedis({ url, secret, ttlMs, log, forget }: RedisOptions): SharedCustomers {
  const counts = { hits: 0, misses: 0, errors: 0, rejected: 0 };
  const codec = createCodec(secret);
  let writing = 0;
  let namespace: string | undefined;
  let lastNamespace: string | undefined;
  let replacement: string | undefined;
  let state: Pick<RedisFacts, 'state' | 'sinceMs' | 'why'> = { state: 'away', sinceMs: Date.now(), why: 'connecting' };

  const breaker = createBreaker({ probe: greet, opened, closed });
  const redis = new Redis(url, {
    lazyConnect: false,
    connectionName: 'customer-service',
    disableClientInfo: true,
    enableReadyCheck: false, // it needs INFO, which a user without @dangerous may not call; the greeting is the check
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 2_000,
    socketTimeout: 5_000, // replaces a connection whose other end is gone without a word
    keepAlive: 5_000,
    retryStrategy: (times) => pauseMs(Math.max(times, breaker.failures())),
    reconnectOnError: (error) => error.message.startsWith('READONLY'), // after a failover the name leads to the primary
  });
  redis.on('ready', () => breaker.tryNow());
  redis.on('error', (error) => breaker.failed(error));
  redis.on('close', () => breaker.failed(new Error('closed')));

  async function ask(ids: readonly string[], under: string): Promise<string[]> {
    const asked = ids.filter(fits).slice(0, ASK_AT_MOST);
    const end = begin('MGET');
    try {
      const names = asked.map((id) => codec.name(under, id));
      const [current, ...entries] = await within(LIMIT_MS, redis.mgetBuffer([NAMESPACE_KEY, ...names]));
      if (entries.length !== asked.length) throw new Error('ANSWER of another length');
      const known =
        current?.toString('latin1') === under ? asked.filter((id, i) => vouches(entries[i], under, id)) : null;
      end({ learned: { [HITS]: known?.length ?? 0, [MISSES]: asked.length - (known?.length ?? 0) } });
      if (known === null) return notOurs(under);
      counts.hits += known.length;
      counts.misses += asked.length - known.length;
      return known;
    } catch (error) {
      end(failureOf(error));
      counts.errors++;
      breaker.failed(error);
      return [];
    }
  }
  function vouches(entry: Buffer | null | undefined, under: string, id: string): boolean {
    if (entry === null || entry === undefined) return false;
    const believed = codec.isEntry(entry, under, id);
    if (!believed) counts.rejected++;
    return believed;
  }
  function notOurs(under: string): [] {
    if (namespace === under) {
      namespace = undefined;
      forget();
      breaker.tryNow();
    }
    return [];
  }

  function write(known: readonly string[], unknown: readonly string[], under: string): void {
    const put = known.filter(fits).slice(0, WRITE_AT_MOST);
    const drop = unknown.filter(fits).slice(0, WRITE_AT_MOST);
    if (put.length + drop.length === 0 || writing >= PIPELINES_AT_ONCE || redis.status !== 'ready') return;
    const pipeline = redis.pipeline();
    for (const id of put) pipeline.set(codec.name(under, id), codec.entry(under, id), 'PX', jittered(ttlMs));
    if (drop.length > 0) pipeline.unlink(...drop.map((id) => codec.name(under, id)));
    writing++;
    const end = begin(nameOf(put.length, drop.length), pipeline.length);
    answersOf(pipeline)
      .then(() => end())
      .catch((error) => {
        end(failureOf(error));
        counts.errors++;
        breaker.failed(error);
      })
      .finally(() => writing--);
  }

  function nameOf(sets: number, drops: number): string {
    if (sets === 0) return 'UNLINK';
    if (drops > 0) return 'PIPELINE';
    return sets === 1 ? 'SET' : 'PIPELINE SET';
  }

  /** No `db.query.text`: it would hold the keys. */
  function begin(name: string, commands = 1): End {
    return beginOperation(
      { summary: name, attributes: { 'db.system.name': 'redis', 'db.operation.name': name } },
      () => {
        const { host, port, db } = redis.options;
        const place = { 'db.namespace': String(db ?? 0), 'server.address': String(host), 'server.port': Number(port) };
        return commands > 1 ? { ...place, 'db.operation.batch.size': commands } : place;
      },
    );
  }

  /** Agrees with all other processes on a namespace. Throws unless Redis takes writes and answers. */
  async function greet(): Promise<void> {
    for (let tries = 0; tries < 5; tries++) {
      if (redis.status !== 'ready') throw new Error('closed');
      const replacing = replacement;
      const [, found] = await answersOf(
        replacing === undefined
          ? redis.pipeline().set(NAMESPACE_KEY, randomName(), 'NX').getrange(NAMESPACE_KEY, 0, NAME_LENGTH)
          : redis.pipeline().set(NAMESPACE_KEY, replacing).getrange(NAMESPACE_KEY, 0, NAME_LENGTH),
      ).catch((error) => {
        if (replacing !== undefined || codeOf(error) !== 'WRONGTYPE') throw error;
        return [];
      });
      if (replacement !== replacing) continue; // rewound meanwhile
      replacement = undefined;
      if (isName(found)) return adopt(found);
      replacement = randomName(); // somebody else's value stands there
    }
    throw new Error('ANSWER that is no namespace');
  }
  function adopt(found: string): void {
    if (lastNamespace !== undefined && lastNamespace !== found) forget();
    namespace = lastNamespace = found;
  }
  function rewind(): void {
    replacement = randomName();
    namespace = undefined;
    if (redis.status === 'ready') breaker.tryNow();
  }

  function opened(error: unknown): void {
    namespace = undefined;
    const why = codeOf(error);
    state = { state: 'away', sinceMs: Date.now(), why };
    log.warn(
      { redis: 'away', why },
      `Redis is away (${why}): customers are read from Postgres, slower but right. ${ADVICE.get(why) ?? ADVICE_ELSE} It is used again by itself.`,
    );
  }
  function closed(): void {
    const awayMs = Date.now() - state.sinceMs;
    if (state.why !== 'connecting') log.info({ redis: 'ok', awayMs }, `Redis is back after ${awayMs / 1000} s.`);
    state = { state: 'ok', sinceMs: Date.now(), why: null };
  }
  function close(): void {
    breaker.stop();
    namespace = undefined;
    redis.disconnect(); // sends what was written before it
  }
  return { namespace: () => namespace, ask, write, rewind, facts: () => ({ ...state, ...counts }), close };
}

const ADVICE_ELSE = 'See the log of Redis.';
const ADVICE = new Map([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'ECONNRESET', 'CLOSED'].map(
    (code) => [code, 'Check that it runs and that REDIS_URL names it.'] as const,
  ),
  ['SLOW', `It did not answer within ${LIMIT_MS} ms: check its load (SLOWLOG) and the network.`],
  ['OOM', 'Raise its maxmemory, or set its maxmemory-policy to allkeys-lru.'],
  ['READONLY', 'REDIS_URL names a replica: name the primary.'],
  ['LOADING', 'It is reading its data from disk: wait.'],
  ...['NOAUTH', 'WRONGPASS', 'NOPERM'].map(
    (code) =>
      [code, `Check the user in REDIS_URL: it needs MGET, GETRANGE, SET and UNLINK on ${PREFIX}*, and HELLO.`] as const,
  ),
]);

/** One word for what went wrong, safe to log. */
function codeOf(error: unknown): string {
  const { code, message, name } = error as NodeJS.ErrnoException;
  // The words of ioredis for a connection that went away: it gives them no codes.
  if (/closed|connection close|max retries|isn't writeable/.test(message)) return 'CLOSED';
  return code ?? /^[A-Z]{2,20}\b/.exec(message)?.[0] ?? name;
}

/** What Redis itself answered is its status; that it did not answer is ours to say. */
function failureOf(error: unknown): { code: string; status?: string } {
  const code = codeOf(error);
  return (error as Error).name === 'ReplyError' ? { code, status: code } : { code };
}

/** The answers of all commands. Rejects with the first error, or when they take longer than LIMIT_MS. */
async function answersOf(pipeline: ChainableCommander): Promise<unknown[]> {
  const results = (await within(LIMIT_MS, pipeline.exec())) ?? [];
  return results.map(([error, answer]) => {
    if (error !== null) throw error;
    return answer;
  });
}

/** Rejects when it takes longer. A timer that comes late because this process was busy, not Redis, first lets the
 *  answer in that lies in the socket: timers run before sockets are read, immediates after. */
function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const tooLong = () => reject(new Error('SLOW'));
    const timer = setTimeout(() => setImmediate(tooLong), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

const SCHEMA = 1;

/** Names and entries; hash 0.5 µs, HMAC 2 µs. The name hides nothing and proves nothing: it only keeps the id's characters out. */
export function createCodec(secret: string) {
  const key = createSecretKey(secret, 'utf8');
  const name = (namespace: string, id: string) => `${PREFIX}${namespace}:${hash('sha256', id, 'base64url')}`;
  const entry = (namespace: string, id: string) => {
    const proof = createHmac('sha256', key).update(`customers\n${SCHEMA}\n${namespace}\n${id}`).digest('base64url');
    return `${SCHEMA}.${proof}.${id}`;
  };
  const isEntry = (found: Buffer, namespace: string, id: string) => {
    if (found.length > ENTRY_AT_MOST) return false;
    const ours = Buffer.from(entry(namespace, id));
    return found.length === ours.length && timingSafeEqual(found, ours);
  };
  return { name, entry, isEntry };
}
const ENTRY_AT_MOST = 256;
/** The ids of the contract (events.ts); others, if there ever were some, are asked of Postgres each time. */
const fits = (id: string) => /^[\x21-\x7e]{1,128}$/.test(id);

const randomName = () => randomBytes(16).toString('base64url');
const NAME_LENGTH = 22;
const isName = (value: unknown): value is string => typeof value === 'string' && /^[\w-]{22}$/.test(value);
const jittered = (ms: number) => Math.ceil(ms * (0.9 + Math.random() / 10));

export type Breaker = {
  /** Something else than the probe failed: opens. */
  failed(error: unknown): void;
  /** Probes now instead of after the pause. */
  tryNow(): void;
  /** How often it failed without 30 s of calm between. */
  failures(): number;
  stop(): void;
};

/** Decides when to try again. Starts untried: neither open nor closed until the first probe or failure tells.
 *  `opened` is called once when it opens, `closed` once when a probe succeeds after that. One probe at a time. */
export function createBreaker(port: {
  probe: () => Promise<void>;
  opened: (error: unknown) => void;
  closed: () => void;
}): Breaker {
  let mode: 'untried' | 'open' | 'closed' | 'stopped' = 'untried';
  let failures = 0;
  let lastFailureMs = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let probing = false;
  let again = false;

  function failed(error: unknown): void {
    if (mode !== 'open') fail(error);
  }
  function fail(error: unknown): void {
    if (mode === 'stopped') return;
    const nowMs = performance.now();
    failures = nowMs - lastFailureMs > CALM_MS ? 1 : failures + 1;
    lastFailureMs = nowMs;
    clearTimeout(timer);
    timer = outside(() => setTimeout(tryNow, pauseMs(failures)).unref());
    if (mode === 'open') return;
    mode = 'open';
    port.opened(error);
  }
  function tryNow(): void {
    if (mode === 'stopped') return;
    clearTimeout(timer);
    if (probing) again = true;
    else void tryUntilTold();
  }
  async function tryUntilTold(): Promise<void> {
    probing = true;
    do {
      again = false;
      await port.probe().then(succeed, fail);
    } while (again && mode !== 'stopped');
    probing = false;
  }
  function succeed(): void {
    if (mode === 'stopped' || mode === 'closed') return;
    clearTimeout(timer);
    mode = 'closed';
    port.closed();
  }
  function stop(): void {
    clearTimeout(timer);
    mode = 'stopped';
  }
  return { failed, tryNow, failures: () => failures, stop };
}

const CALM_MS = 30_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** Between 75 and 100 % of 100 ms, 200 ms, … 5 s: not all processes at the same moment. */
function pauseMs(failures: number): number {
  return Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS) * (0.75 + Math.random() / 4);
}
