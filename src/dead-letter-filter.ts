// dead-letter-filter.ts — which dead letters an operator means, as SQL over `dead_letters d`: the same words for settling and export.
import { type SQL, sql } from 'drizzle-orm';

/** In the place of a type: those of which it is not known. The types of events are in upper case. */
export const NO_TYPE = 'none';

/** All of them must fit. */
export type DeadLetterFilter = {
  code?: string | undefined;
  /** Of an event, or NO_TYPE. */
  type?: string | undefined;
  user?: string | undefined;
  /** Of users of this customer. */
  customer?: string | undefined;
  topic?: string | undefined;
  /** ISO 8601: those that failed last before. */
  before?: string | undefined;
};

/** Undefined where a condition was not asked for (`allOf`). */
export function fitting({ code, type, user, customer, topic, before }: DeadLetterFilter): (SQL | undefined)[] {
  return [
    code === undefined ? undefined : sql`d.code = ${code}`,
    type === undefined ? undefined : type === NO_TYPE ? sql`d.type is null` : sql`d.type = ${type}`,
    user === undefined ? undefined : sql`d.user_id = ${user}`,
    topic === undefined ? undefined : sql`d.topic = ${topic}`,
    before === undefined ? undefined : sql`d.last_failed_at < ${before}::timestamptz`,
    customer === undefined
      ? undefined
      : sql`d.user_id in (select u.user_id from users u where u.customer_id = ${customer})`,
  ];
}

/** The conditions that were asked for, joined; `true` without any. */
export function allOf(conditions: readonly (SQL | undefined)[]): SQL {
  const asked = conditions.filter((each) => each !== undefined);
  return asked.length === 0 ? sql`true` : sql.join(asked, sql` and `);
}
