// envelope.ts — one event as a producer of each dialect would send it. Pure.
//
// Owns:          the payload's fields and the values of those not given, topic, key and headers of each dialect.
// Does not own:  whether the service will take it: what is given goes out as it is, wrong values too.
import {
  type EventUserType,
  ROLE_MAPPING,
  type Role,
  STATUS_STATE,
  type Status,
  type UserType,
} from '../../machines/roles.ts';
import type { EventType } from '../events.ts';
import type { OutgoingRecord } from '../sources/kafka-client.ts';

export const EVENTS = [
  'USER_CREATED',
  'USER_STATUS_CHANGED',
  'USER_ROLE_CHANGED',
  'USER_DELETED',
  'CUSTOMER_CREATED',
] as const satisfies readonly EventType[];
export const WAYS = ['cloudevents', 'structured', 'nest', 'debezium', 'plain'] as const;
export type Way = (typeof WAYS)[number];

/** What a command line may say about an event. */
export type Said = {
  user?: string;
  customer?: string;
  customerName?: string;
  email?: string;
  name?: string;
  userType?: string;
  role?: string;
  previousStatus?: string;
  newStatus?: string;
  previousRole?: string;
  newRole?: string;
  by?: string;
  timestamp?: string;
};
/** What we have of the user: the values before the event, and the customer whose key orders it. */
export type Known = {
  state: string;
  customerId: string | null;
  role: Role;
  userType: UserType;
  isCompanyOwner: boolean;
};
/** What is made up where nothing is said. */
export type Fresh = { now: string; user: string; customer: string; id: string };

export function payloadOf(
  type: EventType,
  said: Said,
  fresh: Fresh,
  known?: Known,
): Record<string, string | undefined> {
  const userId = said.user ?? fresh.user;
  const timestamp = said.timestamp ?? fresh.now;
  const word = known === undefined ? undefined : wordOf(known);
  const userType = said.userType ?? word ?? 'SME_USER';
  const by = said.by ?? 'user-lifecycle';
  switch (type) {
    case 'USER_CREATED':
      return {
        userId,
        email: said.email ?? `${userId.replaceAll(/[^\w.-]+/g, '.')}@example.com`,
        name: said.name ?? 'Ada Lovelace',
        role: said.role ?? 'USER',
        userType,
        customerAccountId: said.customer,
        customerName: said.customerName,
        timestamp,
      };
    case 'USER_STATUS_CHANGED': {
      const previousStatus = said.previousStatus ?? statusOf(known?.state) ?? 'PENDING';
      return { userId, previousStatus, newStatus: said.newStatus ?? 'ACTIVE', userType, changedBy: by, timestamp };
    }
    case 'USER_ROLE_CHANGED': {
      const previousRole = said.previousRole ?? word ?? 'SME_USER';
      return { userId, previousRole, newRole: said.newRole ?? 'SME_OWNER', userType, changedBy: by, timestamp };
    }
    case 'USER_DELETED':
      return { userId, userType, deletedBy: by, timestamp };
    case 'CUSTOMER_CREATED':
      return {
        customerAccountId: said.customer ?? fresh.customer,
        name: said.name ?? said.customerName ?? 'Acme',
        timestamp,
      };
  }
}

/** The producer's word for what a user is: the row of the mapping table that fits. */
function wordOf({ role, userType, isCompanyOwner }: Known): EventUserType | undefined {
  const fits = Object.entries(ROLE_MAPPING).find(
    ([, meaning]) =>
      meaning.role === role && meaning.userType === userType && meaning.isCompanyOwner === isCompanyOwner,
  );
  return fits?.[0] as EventUserType | undefined;
}

function statusOf(state: string | undefined): Status | undefined {
  const enabled = state === 'roleChanged' ? 'active' : state;
  return (Object.keys(STATUS_STATE) as Status[]).find((status) => STATUS_STATE[status] === enabled);
}

export type Wrapping = {
  type: EventType;
  /** The payload's text. Any text for `cloudevents`, `nest` and `debezium`; else it must be JSON. */
  text: string;
  /** Who orders it: the customer, or else the user. */
  key: string | null;
  id: string;
  source: string;
  topic?: string;
  /** An outbox topic that is subscribed, where there is one. */
  outbox?: string;
};

/** Throws a SyntaxError where the payload is no JSON and the dialect needs one. */
export function wrap(way: Way, { type, text, key, id, source, topic, outbox }: Wrapping): OutgoingRecord {
  switch (way) {
    case 'cloudevents':
      return {
        topic: topic ?? 'user-events',
        key,
        value: text,
        headers: Object.entries({
          ce_specversion: '1.0',
          ce_id: id,
          ce_type: type,
          ce_source: source,
          'content-type': 'application/json',
        }),
      };
    case 'structured': {
      const envelope = { specversion: '1.0', id, type, source, datacontenttype: 'application/json' };
      return {
        topic: topic ?? 'user-events',
        key,
        value: JSON.stringify({ ...envelope, data: JSON.parse(text) }),
        headers: [['content-type', 'application/cloudevents+json; charset=UTF-8']],
      };
    }
    // `emit(type, payload)`: a topic named like the event, and neither key nor header.
    case 'nest':
      return { topic: topic ?? type, key: null, value: text };
    // The outbox router: the payload as an escaped JSON string. Its headers tell it on any topic.
    case 'debezium':
      return {
        topic: topic ?? outbox ?? 'user-events',
        key,
        value: JSON.stringify(text),
        headers: [
          ['id', id],
          ['eventType', type],
        ],
      };
    case 'plain':
      return { topic: topic ?? 'user-events', key, value: JSON.stringify({ type, ...JSON.parse(text) }) };
  }
}
