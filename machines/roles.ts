// roles.ts — the role mapping table, and the words for statuses. Pure data; imports nothing.
//
// Source of every row: the event contract (docs/architecture.md, "Events"). An EventUserType decides the whole row;
// CUSTOMER_USER and CUSTOMER_ADMIN (only in USER_ROLE_CHANGED) keep the user type: an admin is owner, a user is not.

export const ROLES = ['CUSTOMER_USER', 'CUSTOMER_ADMIN'] as const;
export type Role = (typeof ROLES)[number];

export const USER_TYPES = ['SME', 'FINANCIAL_INSTITUTION'] as const;
export type UserType = (typeof USER_TYPES)[number];

export const EVENT_USER_TYPES = ['SME_USER', 'SME_OWNER', 'INSTITUTION_USER', 'INSTITUTION_ADMIN'] as const;
export type EventUserType = (typeof EVENT_USER_TYPES)[number];

/** What a producer's word means to us. `userType` is undefined where the word does not say: it stays as it is. */
export type Meaning = { role: Role; userType: UserType | undefined; isCompanyOwner: boolean };

export const ROLE_MAPPING: Readonly<Record<EventUserType | Role, Meaning>> = {
  SME_USER: { role: 'CUSTOMER_USER', userType: 'SME', isCompanyOwner: false },
  SME_OWNER: { role: 'CUSTOMER_ADMIN', userType: 'SME', isCompanyOwner: true },
  INSTITUTION_USER: { role: 'CUSTOMER_USER', userType: 'FINANCIAL_INSTITUTION', isCompanyOwner: false },
  INSTITUTION_ADMIN: { role: 'CUSTOMER_ADMIN', userType: 'FINANCIAL_INSTITUTION', isCompanyOwner: true },
  CUSTOMER_USER: { role: 'CUSTOMER_USER', userType: undefined, isCompanyOwner: false },
  CUSTOMER_ADMIN: { role: 'CUSTOMER_ADMIN', userType: undefined, isCompanyOwner: true },
};

export const STATUSES = ['PENDING', 'ACTIVE', 'SUSPENDED', 'INACTIVE'] as const;
export type Status = (typeof STATUSES)[number];

/** The states a status word moves a user to. INACTIVE is read as SUSPENDED. */
export const STATUS_STATE: Readonly<Record<Status, 'pending' | 'active' | 'suspended'>> = {
  PENDING: 'pending',
  ACTIVE: 'active',
  SUSPENDED: 'suspended',
  INACTIVE: 'suspended',
};
