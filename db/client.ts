// client.ts — one pool of connections to Postgres, Drizzle on top, and the migrations.
//
// The pool's sockets are our own: postgres.js sets no TCP_NODELAY, and every large statement could stall 40 ms.
// The server ends what a paused owner leaves open (idle_in_transaction_session_timeout), so that no stale owner delays
// the next one: measured 1.97 s at a 2 s timeout, and the late COMMIT then fails.
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { drizzle, type PostgresJsDatabase, type PostgresJsTransaction } from 'drizzle-orm/postgres-js';
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator';
import postgres from 'postgres';
import { arrayText } from './array.ts';
import { observedSql } from './operations.ts';
import * as schema from './schema.ts';

export type DatabaseSettings = {
  host: string;
  port: number;
  database: string;
  user: string;
  password: string | undefined;
  ssl: 'off' | 'require' | 'verify-full';
  connections: number;
  statementTimeoutMs: number;
  lockTimeoutMs: number;
  idleInTransactionMs: number;
  applicationName: string;
};

export type Db = PostgresJsDatabase<typeof schema>;
// biome-ignore lint/suspicious/noExplicitAny: Drizzle's own third parameter; nothing of ours depends on it.
export type Tx = PostgresJsTransaction<typeof schema, any>;

export type Database = {
  db: Db;
  /** The client below Drizzle, for streaming reads and LISTEN-like needs of tools; the service itself goes through `db`. */
  sql: postgres.Sql;
  /** Calls back for every new connection: what was remembered may be ahead of a rewound database. */
  onConnection(listener: () => void): void;
  close(): Promise<void>;
};

export function openDatabase(settings: DatabaseSettings): Database {
  const listeners: (() => void)[] = [];
  const sql = postgres({
    host: settings.host,
    port: settings.port,
    database: settings.database,
    username: settings.user,
    ...(settings.password === undefined ? {} : { password: settings.password }),
    ssl: { off: false as const, require: 'require' as const, 'verify-full': 'verify-full' as const }[settings.ssl],
    max: settings.connections,
    connect_timeout: 5,
    idle_timeout: 0,
    max_lifetime: null,
    backoff: (attempt: number) => Math.min(0.1 * 2 ** attempt, 2) * (0.75 + Math.random() / 2),
    onnotice: () => {},
    // Read on every new connection, and a connection that breaks meanwhile rejects a promise that nobody holds.
    fetch_types: false,
    types: { texts: TEXTS },
    // biome-ignore lint/suspicious/noExplicitAny: `socket` is documented for postgres.js but missing in its types.
    ...({ socket: () => connectingSocket(settings) } as any),
    connection: {
      application_name: settings.applicationName,
      statement_timeout: settings.statementTimeoutMs,
      lock_timeout: settings.lockTimeoutMs,
      idle_in_transaction_session_timeout: settings.idleInTransactionMs,
    },
  });
  return {
    db: drizzle(observedSql(sql, settings), { schema }),
    sql,
    onConnection: (listener) => void listeners.push(listener),
    close: () => sql.end({ timeout: 2 }),
  };

  // Still connecting when it is returned, and never awaited: a rejected `socket` option leaves its slot of postgres.js'
  // pool taken for ever, while 'error' and 'close' of a returned socket free it.
  function connectingSocket({ host, port }: DatabaseSettings): Socket {
    const path = host.startsWith('/') ? `${host}/.s.PGSQL.${port}` : undefined;
    const socket = Object.assign(new Socket(), { host });
    if (settings.statementTimeoutMs > 0) endWhereNothingAnswers(socket, settings.statementTimeoutMs + ANSWER_MARGIN_MS);
    socket.once('connect', () => {
      for (const listener of listeners) listener();
    });
    if (path !== undefined) socket.connect({ path });
    else socket.setNoDelay(true).setKeepAlive(true, 5_000).connect({ host, port });
    return socket;
  }
}

/** Beyond the server's own statement timeout, for what it sends before and after. */
const ANSWER_MARGIN_MS = 6_000;

/** Destroys a socket that wrote and got nothing back for so long: a server that vanished without a word (no RST) would be
 *  waited for as long as TCP sends again, 15 minutes, since keepalive is silent while data is on its way. */
function endWhereNothingAnswers(socket: Socket, ms: number): void {
  let waits = false;
  const limit = setTimeout(() => {
    if (waits) socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
  }, ms).unref();
  const write = socket.write.bind(socket);
  socket.write = ((...args: Parameters<Socket['write']>) => {
    if (!waits) {
      waits = true;
      limit.refresh();
    }
    return write(...args);
  }) as Socket['write'];
  socket.on('data', () => {
    waits = false;
  });
  socket.once('close', () => clearTimeout(limit));
}

/** The one array type that is sent. */
const TEXTS = {
  to: 1009, // text[]
  from: [1009],
  serialize: (texts: readonly string[]) => arrayText(texts),
  parse: (text: string) => text,
};

const MIGRATIONS = fileURLToPath(new URL('./migrations', import.meta.url));
/** Any number no other program uses: several processes that start at once migrate one after the other. */
const MIGRATION_LOCK = 7_290_551_204;

/** Applies the migrations that are missing, under an advisory lock (Drizzle's own migrate takes none and races). */
export async function migrate(settings: DatabaseSettings): Promise<void> {
  const database = openDatabase({
    ...settings,
    connections: 1,
    statementTimeoutMs: 0,
    lockTimeoutMs: 0,
    idleInTransactionMs: 0,
  });
  try {
    await database.sql`select pg_advisory_lock(${MIGRATION_LOCK})`;
    await applyMigrations(database.db, { migrationsFolder: MIGRATIONS });
    await database.sql`select pg_advisory_unlock(${MIGRATION_LOCK})`;
  } finally {
    await database.close();
  }
}
