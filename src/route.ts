// route.ts — the decoded events of a batch, grouped by user, offset order kept (P1).
import type { CustomerEvent, Decoded, Unreadable, UserEvent } from './events.ts';

export type Routed = {
  /** Per user: its events, and the unreadable records its later events must wait behind. */
  users: ReadonlyMap<string, readonly (UserEvent | Unreadable)[]>;
  /** They take effect before the users of the batch are run. */
  customers: readonly CustomerEvent[];
  /** Dead letters that stop nobody. */
  unreadable: readonly Unreadable[];
  /** Records without a usable key: order across partitions can not be promised for them. */
  unkeyed: number;
  records: number;
};

export function route(events: readonly Decoded[]): Routed {
  const users = new Map<string, (UserEvent | Unreadable)[]>();
  const customers: CustomerEvent[] = [];
  const unreadable: Unreadable[] = [];
  let unkeyed = 0;
  for (const event of events) {
    if (!event.keyed) unkeyed++;
    if (event.outcome === 'dead') {
      if (event.blocks && event.userId !== null) listOf(users, event.userId).push(event);
      else unreadable.push(event);
    } else if (event.type === 'CUSTOMER_CREATED') customers.push(event);
    else listOf(users, event.userId).push(event);
  }
  return { users, customers, unreadable, unkeyed, records: events.length };
}

function listOf<T>(lists: Map<string, T[]>, userId: string): T[] {
  let list = lists.get(userId);
  if (list === undefined) {
    list = [];
    lists.set(userId, list);
  }
  return list;
}
