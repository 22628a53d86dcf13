// users.ts — the saved rows of a batch's users: remembered where possible, else one query.
//
// Owns:          the bounded memory of recent rows, and the queries that fill its gaps.
// Does not own:  writing (save.ts), what a row means (machines/user.ts), who owns a partition (the fence).
//
// U1  A remembered row may be old but never harmful: every event that meets a user writes its row by rev.
// U2  An assignment, a conflict and a new database connection drop what is remembered.
// U3  A bounded number of queries per batch with one text[] parameter each, however many users (P6). An array parameter,
//     because a plan over `select jsonb_array_elements_text(…)` cached on an empty table cost 24 µs per event, not 5.
// U4  A remembered user has nothing waiting, and was last written by the source that asks: another source's write would
//     make every save a conflict.
import { sql } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import type { Db, Tx } from '../db/client.ts';
import type { UserRow } from './put.ts';
import type { UserView } from './run.ts';

export type UserMemory = {
  get(userId: string, source: string): UserRow | undefined;
  keep(row: UserRow, source: string): void;
  forget(userIds: Iterable<string>): void;
  clear(): void;
  facts(): { users: number; hits: number; misses: number };
};

/** `limit`: at most this many rows; 0: none. */
export function createUserMemory(limit: number): UserMemory {
  const rows = new LRUCache<string, { row: UserRow; source: string }>({ max: Math.max(limit, 1) });
  let hits = 0;
  let misses = 0;
  return {
    get(userId, source) {
      const kept = rows.get(userId);
      if (kept !== undefined && kept.source === source) {
        hits++;
        return kept.row;
      }
      misses++;
      return undefined;
    },
    keep(row, source) {
      const foreign = (from: string | null) => from !== null && from !== source;
      if (limit === 0) return;
      if (row.waiting > 0 || foreign(row.statusSource) || foreign(row.roleSource)) rows.delete(row.userId);
      else {
        const kept = rows.get(row.userId);
        if (kept === undefined) rows.set(row.userId, { row, source });
        else Object.assign(kept, { row, source });
      }
    },
    forget(userIds) {
      for (const userId of userIds) rows.delete(userId);
    },
    clear: () => rows.clear(),
    facts: () => ({ users: rows.size, hits, misses }),
  };
}

/** The users' saved rows, then what waits for each. `lock`: for the second try inside the
 *  transaction; rows are then locked in id order and stay as they are. Users that do not exist have no `row`. */
export async function readUsers(
  db: Db | Tx,
  userIds: readonly string[],
  options: { lock: boolean; waitingPerUser: number },
): Promise<Map<string, UserView>> {
  const views = new Map<string, UserView>();
  if (userIds.length === 0) return views;
  // One after the other: what is put to wait after a row was read raises its rev and makes the save a conflict; a queue
  // read before its row would be older than the rev, and its news would be missed for good.
  const rows = await db.execute<StoredUser>(selectUsers(userIds, options.lock));
  const queues = await db.execute<StoredQueue>(selectQueues(userIds, options.waitingPerUser));
  for (const stored of rows) views.set(stored.userId, { row: rowOf(stored), ...NOTHING_WAITS });
  for (const { userId, waiting, blocking, creationWaits } of queues)
    views.set(userId, { row: views.get(userId)?.row, waiting: waiting + blocking, blocking, creationWaits });
  return views;
}
const NOTHING_WAITS = { waiting: 0, blocking: 0, creationWaits: false };

export type StoredUser = Omit<UserRow, 'statusAtMs' | 'roleAtMs' | 'rev'> & {
  statusAtMs: string | null;
  roleAtMs: string | null;
  rev: string;
};
type StoredQueue = { userId: string; waiting: number; blocking: number; creationWaits: boolean };

/** A `StoredUser`, from `users`. */
export const USER_COLUMNS = `
           user_id as "userId", customer_id as "customerId", state, version, role, user_type as "userType",
           is_company_owner as "isCompanyOwner", source_role as "sourceRole", email, name,
           status_at_ms as "statusAtMs", status_source as "statusSource", status_offset as "statusOffset",
           role_at_ms as "roleAtMs", role_source as "roleSource", role_offset as "roleOffset",
           ring::text as ring, waiting, rev, machine_version as "machineVersion",
           created_at::text as "createdAt", deleted_at::text as "deletedAt"`;

function selectUsers(userIds: readonly string[], lock: boolean) {
  return sql`
    select ${sql.raw(USER_COLUMNS)}
      from users where user_id = any(${sql.param(userIds)}::text[])
     ${lock ? sql`order by user_id for no key update` : sql``}`;
}

// The rows themselves are counted, not `users.waiting`: an event put to wait while its user was being created elsewhere
// is not in that counter yet, and the next one of its source must not pass it (P1).
function selectQueues(userIds: readonly string[], waitingPerUser: number) {
  return sql`
    select i.id as "userId", w.n as waiting, w.creation or coalesce(d.creation, false) as "creationWaits", d.n as blocking
      from (select user_id as id from waiting where user_id = any(${sql.param(userIds)}::text[])
             union select user_id from dead_letters
                    where blocks and status in ('open', 'redriving') and user_id = any(${sql.param(userIds)}::text[])) i
     cross join lateral (select count(*)::int as n, coalesce(bool_or(type = 'USER_CREATED'), false) as creation
                           from (select type from waiting where user_id = i.id limit ${waitingPerUser + 1}) x) w
     cross join lateral (select count(*)::int as n, bool_or(type = 'USER_CREATED') as creation
                           from (select type from dead_letters where blocks and status in ('open', 'redriving') and user_id = i.id
                                  limit ${waitingPerUser + 1}) y) d`;
}

export function rowOf(stored: StoredUser): UserRow {
  return {
    ...stored,
    statusAtMs: stored.statusAtMs === null ? null : Number(stored.statusAtMs),
    roleAtMs: stored.roleAtMs === null ? null : Number(stored.roleAtMs),
    rev: Number(stored.rev),
  };
}
