// drafts.ts — the events of a what-if as they are written: from the address and back, and what of them is asked. Pure.
import type { WhatIf } from '../../../src/api/contract.ts';

export const EVENT_TYPES = ['USER_CREATED', 'USER_STATUS_CHANGED', 'USER_ROLE_CHANGED', 'USER_DELETED'] as const;
export type EventType = (typeof EVENT_TYPES)[number];
/** `raw`: the payload as somebody typed it, which may be no JSON yet. */
export type Draft = { type: EventType; payload: Readonly<Record<string, unknown>>; raw?: string };

const BLANKS: Readonly<Record<EventType, Readonly<Record<string, unknown>>>> = {
  USER_CREATED: { email: 'ann@example.com', name: 'Ann Example', role: 'member', userType: 'SME_USER' },
  USER_STATUS_CHANGED: { previousStatus: 'PENDING', newStatus: 'ACTIVE', userType: 'SME_USER' },
  USER_ROLE_CHANGED: { previousRole: 'SME_USER', newRole: 'SME_OWNER', userType: 'SME_USER' },
  USER_DELETED: { userType: 'SME_USER' },
};

export function blank(type: EventType): Draft {
  return { type, payload: BLANKS[type] };
}

/** What stands in the address: `[["USER_DELETED", {…}], …]`, or a text in the place of a payload that is none yet. What can not be
 *  read is left out. */
export function draftsOf(text: string | undefined): Draft[] {
  if (text === undefined) return [];
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(parsed)) return [];
  return parsed.flatMap((each: unknown): Draft[] => {
    if (!Array.isArray(each)) return [];
    const [type, payload] = each as unknown[];
    if (!EVENT_TYPES.some((known) => known === type)) return [];
    if (typeof payload === 'string') return [{ type: type as EventType, payload: {}, raw: payload }];
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return [];
    return [{ type: type as EventType, payload: payload as Record<string, unknown> }];
  });
}

/** Undefined: there are none. */
export function textOf(drafts: readonly Draft[]): string | undefined {
  if (drafts.length === 0) return undefined;
  return JSON.stringify(drafts.map(({ type, payload, raw }) => [type, raw ?? payload]));
}

/** What is asked; null: nothing to ask; a text: why it can not be asked. */
export function requestOf({
  userId,
  customer,
  drafts,
}: {
  userId: string | undefined;
  customer: string | undefined;
  drafts: readonly Draft[];
}): WhatIf | null | string {
  if (drafts.length === 0) return null;
  const broken = drafts.findIndex(({ raw }) => raw !== undefined);
  if (broken >= 0) return `The payload of event ${broken + 1} is no JSON object.`;
  return {
    ...(userId === undefined ? {} : { userId }),
    ...(customer === 'known' || customer === 'unknown' ? { customerKnown: customer === 'known' } : {}),
    events: drafts.map(({ type, payload }) => ({ type, payload: { ...payload } })),
  };
}

/** A payload as it was typed. */
export function typed(type: EventType, text: string): Draft {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return { type, payload: value as Record<string, unknown> };
  } catch {
    // Not yet.
  }
  return { type, payload: {}, raw: text };
}
