// audit.ts — who did what to which scope, with which result: a row for every write of an operator, in the write's own transaction.
import { sql } from 'drizzle-orm';
import type { Db, Tx } from '../db/client.ts';

export const VERBS = [
  ...['hold', 'release', 'resume', 'accept-loss', 'set-position'],
  ...['redrive', 'discard', 'edit', 'export', 'reveal'],
  ...['migrate', 'rebuild', 'cancel'],
] as const;
export type Verb = (typeof VERBS)[number];

/** `who`: as the operator is called. `scope`: which rows, by ids and filters; no payloads, nothing personal. */
export type Act = { who: string; verb: Verb; scope: object; dryRun?: boolean };

/** Does `body` in one transaction and writes down its result with it. */
export async function audited<R extends object | undefined>(
  db: Db,
  act: Act,
  body: (tx: Tx) => Promise<R>,
): Promise<R> {
  return await db.transaction(async (tx) => {
    const result = await body(tx);
    await writeAudit(tx, act, result ?? { found: false });
    return result;
  });
}

/** `result` null: it goes on as a job, which writes it at its end. Returns the row's id. */
export async function writeAudit(
  db: Db | Tx,
  { who, verb, scope, dryRun = false }: Act,
  result: object | null,
  jobId: number | null = null,
): Promise<number> {
  const [row] = await db.execute<{ id: string }>(sql`
    insert into audit (who, verb, scope, dry_run, result, job_id)
    values (${who.slice(0, 200)}, ${verb}, ${toText(scope)}::text::jsonb, ${dryRun}::boolean,
            ${result && toText(result)}::text::jsonb, ${jobId}::bigint)
    returning id`);
  return Number(row?.id);
}

/** The result of what was begun with `writeAudit(…, null)`. */
export async function endAudit(db: Db | Tx, id: number, result: object): Promise<void> {
  await db.execute(sql`update audit set result = ${toText(result)}::text::jsonb where id = ${id}::bigint`);
}

/** jsonb takes no NUL and no lone surrogates. */
export function toText(value: object): string {
  return JSON.stringify(value, (_, inner) =>
    typeof inner === 'bigint'
      ? String(inner)
      : typeof inner === 'string'
        ? inner.toWellFormed().replaceAll('\0', '')
        : inner,
  );
}
