// events.ts — decoded events of one partition, offset after offset, for tests that begin behind the decoder.
//
// Real ones: each goes through decode.ts as a CloudEvent, so hash, source and atMs are as in the service.
import type { EventUserType, Role, Status } from '../../machines/index.ts';
import { decoder } from '../../src/decode.ts';
import type { CustomerEvent, Event, Outcome, Unreadable, UserEvent, UserEventOf } from '../../src/events.ts';
import type { Result } from '../../src/run.ts';
import {
  AT_MS,
  cloudEvent,
  customerCreated,
  type Over,
  roleChanged,
  statusChanged,
  userCreated,
  userDeleted,
} from './records.ts';

const decode = decoder({ keys: 'lenient', maxRecordBytes: 1_000_000, maxHeaders: 256 });
export const USER = 'auth0|u1';

/** `at`: the event's own time, in seconds after AT. Default: the offset. */
type Said = { at?: number; userId?: string } & Pick<Over, 'id' | 'timestampMs' | 'offset'>;
type Fields<F extends (over: never) => object> = Parameters<F>[0];

export type Partition = ReturnType<typeof partition>;

export function partition(number = 0, { topic = 'user-events', generation = 0 } = {}) {
  let next = 0n;
  function event(
    type: Event['type'],
    { at, id, timestampMs, offset = next }: Said,
    payload: (timestamp: string) => object,
  ) {
    next = BigInt(offset) + 1n;
    const timestamp = new Date(AT_MS + (at ?? Number(offset)) * 1_000).toISOString();
    const arrival = cloudEvent(type, payload(timestamp), {
      ...{ topic, partition: number, generation, offset, id: id ?? `${topic}-${number}-${offset}` },
      ...(timestampMs === undefined ? {} : { timestampMs }),
    });
    const decoded = decode(arrival.place, arrival);
    if (decoded.outcome === 'dead') throw new Error(`${decoded.code}: ${decoded.detail}`);
    return decoded;
  }
  const ids = ({ userId }: Said) => (userId === undefined ? {} : { userId });
  return {
    number,
    /** `customerAccountId: undefined`: without a customer. */
    created: (over: Fields<typeof userCreated> = {}, said: Said = {}) =>
      event('USER_CREATED', said, (timestamp) =>
        userCreated({ ...ids(said), timestamp, ...over }),
      ) as UserEventOf<'USER_CREATED'>,
    status: (newStatus: Status, said: Said & { previousStatus?: string } = {}) =>
      event('USER_STATUS_CHANGED', said, (timestamp) => {
        const { previousStatus = 'UNKNOWN' } = said;
        return statusChanged({ ...ids(said), newStatus, previousStatus, timestamp });
      }) as UserEventOf<'USER_STATUS_CHANGED'>,
    role: (newRole: EventUserType | Role, said: Said & { previousRole?: string } = {}) =>
      event('USER_ROLE_CHANGED', said, (timestamp) => {
        const { previousRole = 'UNKNOWN' } = said;
        return roleChanged({ ...ids(said), newRole, previousRole, timestamp });
      }) as UserEventOf<'USER_ROLE_CHANGED'>,
    deleted: (said: Said = {}) =>
      event('USER_DELETED', said, (timestamp) =>
        userDeleted({ ...ids(said), timestamp }),
      ) as UserEventOf<'USER_DELETED'>,
    customer: (customerAccountId: string, said: Said & { name?: string } = {}) =>
      event('CUSTOMER_CREATED', said, (timestamp) =>
        customerCreated({ customerAccountId, timestamp, ...(said.name === undefined ? {} : { name: said.name }) }),
      ) as CustomerEvent,
    /** A version of an event that we do not know: later events of the user wait behind it. */
    unknownVersion: (type: Event['type'], { userId = USER, at, offset = next }: Said = {}): Unreadable => {
      next = BigInt(offset) + 1n;
      const timestamp = new Date(AT_MS + (at ?? Number(offset)) * 1_000).toISOString();
      const arrival = cloudEvent(`${type}.v2`, { userId, timestamp }, { topic, partition: number, generation, offset });
      return decode(arrival.place, arrival) as Unreadable;
    },
    /** No event at all. */
    garbage: (): Unreadable => {
      const arrival = cloudEvent('USER_DELETED', '{"userId":', {
        topic,
        partition: number,
        generation,
        offset: next++,
      });
      return decode(arrival.place, arrival) as Unreadable;
    },
  };
}

/** The same event, with a payload that makes the machine throw as soon as it looks at it. */
export function throwing<E extends UserEvent>(event: E): E {
  const payload = new Proxy(event.payload, {
    get(said, name) {
      if (name === 'timestamp') return said.timestamp;
      throw new TypeError(`no ${event.userId} here`);
    },
  });
  return { ...event, payload };
}

/** The words of a batch's outcomes, counted. */
export function countOutcomes(results: readonly Result[]): Record<Outcome, number> {
  const counts = { dead: 0, duplicate: 0, waiting: 0, rejected: 0, stale: 0, skipped: 0, applied: 0 };
  for (const { outcome } of results) counts[outcome]++;
  return counts;
}
