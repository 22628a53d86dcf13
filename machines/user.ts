// user.ts — the behaviour of one user, as a plain XState definition. Imports xstate and the mapping table, nothing else.
//
// Owns:          the states, which event moves a user where, and what it writes into the user's context.
// Does not own:  whether an event may be put to the machine at all (gates: src/run.ts), any I/O, any clock.
//
// M1  The facts a guard needs come in with the event. Nothing here reads a clock, does I/O or spawns an actor.
// M2  What changes nothing is a branch without target and actions: the event is `skipped`. No branch at all: `rejected`.
// M3  A transition's id is `source|event|index of the branch`. Adding or reordering branches changes ids: raise VERSION.
import { assign, setup } from 'xstate';
import { type EventUserType, ROLE_MAPPING, type Role, STATUS_STATE, type Status, type UserType } from './roles.ts';

/** Raised with every change of the definition that old code could not follow. Rows of a newer version wait (`machine`). */
export const VERSION = 1;

export const STATES = ['absent', 'pending', 'active', 'suspended', 'roleChanged', 'deleted'] as const;
export type State = (typeof STATES)[number];

export type UserContext = {
  customerId: string | null;
  email: string;
  name: string;
  role: Role;
  userType: UserType;
  isCompanyOwner: boolean;
  /** The producer's own word for the role, kept as it came. */
  sourceRole: string;
};

export type UserEvent =
  | {
      type: 'USER_CREATED';
      payload: {
        userType: EventUserType;
        role: string;
        email: string;
        name: string;
        customerAccountId?: string;
      };
      /** `customerKnown`: the customer named by the event exists, or the event names none. */
      facts: { customerKnown: boolean };
    }
  | {
      type: 'USER_STATUS_CHANGED';
      payload: { newStatus: Status };
      /** `roleIsNewer`: the last role change comes from another source and is later than this event. */
      facts: { roleIsNewer: boolean };
    }
  | {
      type: 'USER_ROLE_CHANGED';
      payload: { newRole: EventUserType | Role };
      /** `statusIsNewer`: the last status change comes from another source and is later than this event. */
      facts: { statusIsNewer: boolean };
    }
  | { type: 'USER_DELETED'; payload: object; facts: object };

/** The context of a user that does not exist yet; every field is written by USER_CREATED. */
export const NOBODY: UserContext = {
  customerId: null,
  email: '',
  name: '',
  role: 'CUSTOMER_USER',
  userType: 'SME',
  isCompanyOwner: false,
  sourceRole: '',
};

export const userMachine = setup({
  types: { context: {} as UserContext, events: {} as UserEvent },
  guards: {
    customerKnown: ({ event }) => event.type === 'USER_CREATED' && event.facts.customerKnown,
    toPending: ({ event }) =>
      event.type === 'USER_STATUS_CHANGED' && STATUS_STATE[event.payload.newStatus] === 'pending',
    toActive: ({ event }) => event.type === 'USER_STATUS_CHANGED' && STATUS_STATE[event.payload.newStatus] === 'active',
    toActiveBeforeRoleChange: ({ event }) =>
      event.type === 'USER_STATUS_CHANGED' &&
      STATUS_STATE[event.payload.newStatus] === 'active' &&
      event.facts.roleIsNewer,
    toSuspended: ({ event }) =>
      event.type === 'USER_STATUS_CHANGED' && STATUS_STATE[event.payload.newStatus] === 'suspended',
    sameRole: ({ context, event }) => {
      if (event.type !== 'USER_ROLE_CHANGED') return false;
      const meaning = ROLE_MAPPING[event.payload.newRole];
      return (
        meaning.role === context.role &&
        (meaning.userType ?? context.userType) === context.userType &&
        meaning.isCompanyOwner === context.isCompanyOwner
      );
    },
    confirmedSince: ({ event }) => event.type === 'USER_ROLE_CHANGED' && event.facts.statusIsNewer,
  },
  actions: {
    create: assign(({ context, event }) => {
      if (event.type !== 'USER_CREATED') return context;
      const { payload } = event;
      const meaning = ROLE_MAPPING[payload.userType];
      return {
        customerId: payload.customerAccountId ?? null,
        email: payload.email,
        name: payload.name,
        role: meaning.role,
        userType: meaning.userType ?? context.userType,
        isCompanyOwner: meaning.isCompanyOwner,
        sourceRole: payload.role,
      };
    }),
    changeRole: assign(({ context, event }) => {
      if (event.type !== 'USER_ROLE_CHANGED') return context;
      const meaning = ROLE_MAPPING[event.payload.newRole];
      return {
        role: meaning.role,
        userType: meaning.userType ?? context.userType,
        isCompanyOwner: meaning.isCompanyOwner,
      };
    }),
  },
}).createMachine({
  id: 'user',
  context: NOBODY,
  initial: 'absent',
  states: {
    // Every event but USER_CREATED waits outside (the gate in src/run.ts); so does a USER_CREATED whose guard says no.
    absent: {
      on: {
        USER_CREATED: [{ guard: 'customerKnown', target: 'pending', actions: 'create' }],
      },
    },
    pending: {
      on: {
        USER_CREATED: [{}],
        USER_STATUS_CHANGED: [
          { guard: 'toPending' },
          { guard: 'toActiveBeforeRoleChange', target: 'roleChanged' },
          { guard: 'toActive', target: 'active' },
          { guard: 'toSuspended', target: 'suspended' },
        ],
        USER_ROLE_CHANGED: [{ guard: 'sameRole' }, { actions: 'changeRole' }],
        USER_DELETED: [{ target: 'deleted' }],
      },
    },
    active: {
      on: {
        USER_CREATED: [{}],
        USER_STATUS_CHANGED: [
          { guard: 'toActive' },
          { guard: 'toPending', target: 'pending' },
          { guard: 'toSuspended', target: 'suspended' },
        ],
        USER_ROLE_CHANGED: [
          { guard: 'sameRole' },
          { guard: 'confirmedSince', actions: 'changeRole' },
          { target: 'roleChanged', actions: 'changeRole' },
        ],
        USER_DELETED: [{ target: 'deleted' }],
      },
    },
    suspended: {
      on: {
        USER_CREATED: [{}],
        USER_STATUS_CHANGED: [
          { guard: 'toSuspended' },
          { guard: 'toActiveBeforeRoleChange', target: 'roleChanged' },
          { guard: 'toActive', target: 'active' },
          { guard: 'toPending', target: 'pending' },
        ],
        USER_ROLE_CHANGED: [{ guard: 'sameRole' }, { actions: 'changeRole' }],
        USER_DELETED: [{ target: 'deleted' }],
      },
    },
    // An enabled user whose role changed and was not confirmed yet: ACTIVE confirms, a further role change keeps it.
    roleChanged: {
      on: {
        USER_CREATED: [{}],
        USER_STATUS_CHANGED: [
          { guard: 'toActiveBeforeRoleChange' },
          { guard: 'toActive', target: 'active' },
          { guard: 'toPending', target: 'pending' },
          { guard: 'toSuspended', target: 'suspended' },
        ],
        USER_ROLE_CHANGED: [{ guard: 'sameRole' }, { actions: 'changeRole' }],
        USER_DELETED: [{ target: 'deleted' }],
      },
    },
    deleted: { type: 'final' },
  },
});
