// dead-letter-rows.ts — the questions about dead letters, as SQL.
import type { At } from './connection.ts';

export const DEAD_LETTER_STATUSES = ['open', 'redriving', 'resolved', 'discarded'] as const;

export type DeadLetter = {
  id: string;
  topic: string;
  partition: number;
  generation: number;
  offset: string;
  code: string;
  type: string | null;
  userId: string | null;
  status: string;
  blocks: boolean;
  attempts: number;
  firstFailedAt: string;
  lastFailedAt: string;
  message: string;
};
export type DeadLetterFilter = { code?: string; user?: string; type?: string; topic?: string; status?: string };

const OPEN = ['open', 'redriving'];

export function statusesOf(status: string | undefined): string[] {
  return status === undefined ? OPEN : status === 'all' ? [...DEAD_LETTER_STATUSES] : [status];
}

function where(sql: At['sql'], { code, user, type, topic, status }: DeadLetterFilter) {
  return sql`
    status = any(${statusesOf(status)}::text[])
      and (${code ?? null}::text is null or code = ${code ?? null})
      and (${user ?? null}::text is null or user_id = ${user ?? null})
      and (${type ?? null}::text is null or type = ${type ?? null})
      and (${topic ?? null}::text is null or topic = ${topic ?? null})`;
}

export async function findDeadLetters(
  sql: At['sql'],
  filter: DeadLetterFilter & { limit: number },
): Promise<DeadLetter[]> {
  return await sql<DeadLetter[]>`
    select id, topic, partition, generation, "offset", code, type, user_id as "userId", status, blocks, attempts,
           first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt", message
      from dead_letters where ${where(sql, filter)} order by id desc limit ${filter.limit}`;
}

export type DeadLetterGroup = {
  code: string;
  type: string | null;
  count: string;
  least: number;
  most: number;
  firstFailedAt: string;
  lastFailedAt: string;
};

export async function groupDeadLetters(sql: At['sql'], filter: DeadLetterFilter): Promise<DeadLetterGroup[]> {
  return await sql<DeadLetterGroup[]>`
    select code, type, count(*) as count, min(attempts) as least, max(attempts) as most,
           min(first_failed_at) as "firstFailedAt", max(last_failed_at) as "lastFailedAt"
      from dead_letters where ${where(sql, filter)} group by code, type order by count(*) desc, code, type`;
}

export type WholeDeadLetter = DeadLetter & {
  stage: string;
  class: string | null;
  dialect: string | null;
  eventId: string | null;
  byWhom: string | null;
  settledAt: string | null;
  note: string | null;
  serviceVersion: string;
  machineVersion: number;
  instance: string;
  traceId: string | null;
  size: number;
  sha256: string;
  key: Buffer | null;
  value: Buffer | null;
  headers: [name: string, value: Buffer | null][];
  forced: boolean;
  /** What an operator put in the place of `value`, by whom and why; null where nobody did. */
  editedValue: Buffer | null;
  edited: { who: string; reason: string | null; editedAt: string } | null;
  /** Events of the user that wait. */
  behind: string;
};

export async function readDeadLetter(sql: At['sql'], id: string): Promise<WholeDeadLetter | undefined> {
  const [row] = await sql<(Omit<WholeDeadLetter, 'headers'> & { headers: string })[]>`
    select id, topic, partition, generation, "offset", code, type, user_id as "userId", status, blocks, attempts,
           first_failed_at as "firstFailedAt", last_failed_at as "lastFailedAt", message, stage, class, dialect,
           event_id as "eventId", by_whom as "byWhom", settled_at as "settledAt", note,
           service_version as "serviceVersion", machine_version as "machineVersion", instance, trace_id as "traceId",
           size, encode(sha256, 'hex') as sha256, key, value, headers::text as headers, forced, edited_value as "editedValue",
           case when edited_value is not null then
             (select jsonb_build_object('who', who, 'reason', scope ->> 'reason', 'editedAt', at) from audit
               where verb = 'edit' and scope ->> 'id' = d.id::text order by id desc limit 1) end as edited,
           (select count(*) from waiting w where w.user_id = d.user_id) as behind
      from dead_letters d where id = ${id}::bigint`;
  if (row === undefined) return undefined;
  const pairs = JSON.parse(row.headers) as [string, string | null][];
  const bytes = (base64: string) => Buffer.from(base64, 'base64');
  return {
    ...row,
    headers: pairs.map(([name, content]) => [bytes(name).toString(), content === null ? null : bytes(content)]),
  };
}
