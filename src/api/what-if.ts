// what-if.ts — POST /what-if: events put by hand to a copy of a user, or to nobody. Nothing is saved.
//
// Owns:          what is filled in, the gates that matter here, the steps' sentences. Does not own: decoding (decode.ts), what an event
//                does (put.ts): both are the service's own.
//
// They come as NestJS would send them: those of one type from one partition, where their order counts, and from another one than whatever
// was saved, so that against that their timestamps count.
import { VERSION } from '../../machines/index.ts';
import { putOrBury } from '../bury.ts';
import type { SourceRecord, UserEvent } from '../events.ts';
import { readKnownCustomers } from '../load.ts';
import type { UserRow } from '../put.ts';
import { readUsers } from '../users.ts';
import { type App, Query, type Reach, Reveal } from './app.ts';
import { sightOf } from './auth.ts';
import { WhatIf, WhatIfResult } from './contract.ts';
import { notFound, Refused } from './problems.ts';
import { noteOfStep } from './shown.ts';
import { changedBetween, shownRow } from './time-travel.ts';

/** 50 payloads. */
const BODY_BYTES = 512 * 1024;

export function whatIfRoute(app: App, reach: Reach): void {
  app.post(
    '/what-if',
    {
      config: { role: 'viewer', reads: true },
      bodyLimit: BODY_BYTES,
      schema: {
        summary: 'What events would do to a user: nothing is saved.',
        body: WhatIf,
        querystring: Query(Reveal),
        response: { 200: WhatIfResult },
      },
    },
    async (request) => {
      const { userId = NOBODY, events } = request.body;
      assertOfOne(events, userId);
      const isRevealed = (await sightOf(request, reach, { user: userId, whatIf: true })) === 'revealed';
      const row = request.body.userId === undefined ? undefined : await rowOf(reach, request.body.userId);
      const sent = events.map((event, i) => filledIn(event, userId, i));
      const known = await knownCustomers(reach, sent, request.body.customerKnown);
      return whatIf({ row, userId, sent, known, isRevealed, decode: (await reach.acts.draining()).decode });
    },
  );
}

/** Of events that name nobody and are put to nobody. */
const NOBODY = 'auth0|what-if';

type Sent = { type: UserEvent['type']; payload: Record<string, unknown> };

function assertOfOne(events: WhatIf['events'], userId: string): void {
  events.forEach(({ payload }, i) => {
    if (payload.userId === undefined || payload.userId === userId || userId === NOBODY) return;
    throw new Refused('invalid-request', 'All events must be of the one user.', {
      errors: [{ detail: 'names another user', pointer: `/events/${i}/payload/userId` }],
    });
  });
}

async function rowOf({ read }: Reach, userId: string): Promise<UserRow> {
  const row = (await readUsers(read, [userId], { lock: false, waitingPerUser: 1 })).get(userId)?.row;
  if (row === undefined) throw notFound('such user');
  if (row.machineVersion > VERSION)
    throw new Refused('conflict', 'Its row was written by a newer machine, which this process does not have.');
  return row;
}

/** One after the other, a second apart: none is a repeat of another, and none is older than the one before. */
function filledIn({ type, payload }: WhatIf['events'][number], userId: string, nth: number): Sent {
  const now = new Date(Date.now() + nth * 1_000).toISOString();
  const by = type === 'USER_CREATED' ? {} : { [type === 'USER_DELETED' ? 'deletedBy' : 'changedBy']: 'what-if' };
  return { type: type as Sent['type'], payload: { userId, ...by, timestamp: now, ...payload } };
}

async function knownCustomers(
  { read }: Reach,
  sent: readonly Sent[],
  said: boolean | undefined,
): Promise<(customerId: string) => boolean> {
  if (said !== undefined) return () => said;
  const named = sent.flatMap(({ type, payload }) =>
    type === 'USER_CREATED' && typeof payload.customerAccountId === 'string' ? [payload.customerAccountId] : [],
  );
  const storable = named.filter((id) => !id.includes('\0'));
  const known = new Set(storable.length === 0 ? [] : await readKnownCustomers(read, storable));
  return (customerId) => known.has(customerId);
}

type Trial = {
  row: UserRow | undefined;
  userId: string;
  sent: readonly Sent[];
  known: (customerId: string) => boolean;
  isRevealed: boolean;
  decode: Awaited<ReturnType<Reach['acts']['draining']>>['decode'];
};

function whatIf({ row: start, sent, known, isRevealed, decode }: Trial): WhatIfResult {
  let row = start;
  /** Why later events of the user would wait. */
  let behind: string | null = null;
  const steps = sent.map(({ type, payload }, nth): WhatIfResult['steps'][number] => {
    const before = row;
    const nothing = { from: before?.state ?? 'absent', to: null, transition: null, drift: false };
    const step = (step: Pick<WhatIfResult['steps'][number], 'outcome' | 'note'> & Partial<typeof nothing>) => {
      const after = shownRow(row, isRevealed);
      const changed = row === before ? [] : changedBetween(before, row);
      return { ...nothing, ...step, type, payload, row: after, changed };
    };

    const event = decode({ topic: type, partition: 0, generation: OWN_SOURCE }, recordOf(payload, nth));
    if (event.outcome === 'dead') return step({ outcome: 'dead', note: `${event.code}: ${event.detail}` });
    if (behind !== null && before !== undefined) return step({ outcome: 'waiting', note: behind });
    const isKnown = event.customerId === null || known(event.customerId);
    const put = putOrBury(before, event as UserEvent, isKnown);
    if ('reason' in put) return step({ outcome: 'waiting', note: WAITS[put.reason] });
    if (!('row' in put)) {
      behind = 'An event before it would be a dead letter that its user waits behind.';
      return step({ outcome: 'dead', note: `${put.code}: ${put.message}` });
    }
    row = put.row;
    const { outcome, from, to, transition, drift, facts } = put.settled;
    const note = noteOfStep({ outcome, type, from, drift, facts, event: payload });
    return step({ outcome, note, from: from ?? 'absent', to, transition, drift } as never);
  });
  return { start: { state: start?.state ?? 'absent', row: shownRow(start, isRevealed) }, steps };
}

const WAITS = {
  customer: 'Its customer is unknown: it would wait for CUSTOMER_CREATED.',
  user: 'The user does not exist: it would wait for USER_CREATED.',
} as const;

/** A generation that no log has. */
const OWN_SOURCE = 32_767;

/** As NestJS would send it, to the topic that is named like the event. */
function recordOf(payload: Record<string, unknown>, nth: number): SourceRecord {
  return {
    offset: BigInt(nth),
    timestampMs: Date.now() + nth * 1_000,
    key: null,
    value: Buffer.from(JSON.stringify(payload)),
    headers: [],
  };
}
