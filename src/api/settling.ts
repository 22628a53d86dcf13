// settling.ts — the acts on dead letters and on what waits: redrive, discard, edit, release; rehearsed, or in the background.
//
// Owns:          what must be said with an act, and its answer. Does not own: what it does (settle.ts), jobs (job-runner.ts).
//
// The rules are the command line's: nothing said is not everything, force and discard need a reason.

import { sql } from 'drizzle-orm';
import type { FastifyReply } from 'fastify';
import type { Db } from '../../db/client.ts';
import type { WaitingFilter } from '../give-up.ts';
import type { Job } from '../jobs.ts';
import { type Coordinates, readNumbers } from '../queries/waiting.ts';
import type { Draining } from '../redrive.ts';
import { previewRelease } from '../rehearse-release.ts';
import {
  editDeadLetter,
  type Filter,
  previewDiscard,
  previewGivingUp,
  previewRedrive,
  type Rehearsed,
  type Settlement,
  startDiscard,
  startGivingUp,
  startRedrive,
} from '../settle.ts';
import { type App, type Reach, RowId } from './app.ts';
import { callerOf } from './auth.ts';
import {
  DeadLetterView,
  Discard,
  DiscardWaiting,
  Edit,
  HoldRow,
  JobRow,
  Preview,
  Redrive,
  Release,
  ReleasePreview,
} from './contract.ts';
import { deadLetterView } from './dead-letters.ts';
import { endHold, HoldId } from './operations.ts';
import { notFound, Refused } from './problems.ts';
import { nobodyThere } from './turns.ts';

/** 10,000 numbers. */
const SCOPE_BYTES = 256 * 1024;
/** 1,000,000 characters, each as an escape. */
const EDIT_BYTES = 7_000_000;
/** A rehearsal is the act itself, a portion at a time. */
const REHEARSE_AT_MOST_MS = 120_000;

const act = { config: { role: 'operator' as const }, bodyLimit: SCOPE_BYTES, handlerTimeout: REHEARSE_AT_MOST_MS };

export function settlingRoutes(app: App, reach: Reach): void {
  const { db } = reach.acts;

  app.post(
    '/dead-letters/redrive',
    {
      ...act,
      schema: {
        summary: "Puts dead letters to the machine again, each in its place of its user's order.",
        body: Redrive,
        response: { 200: Preview, 202: JobRow },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const { force = false, reason, dryRun = false } = body;
      const filter = filterOf(body);
      const { who } = callerOf(request);
      if (force && reason === undefined) throw missing('/reason', 'An old event is put over newer ones: say why.');
      await assertOpen(db, filter);
      if (!dryRun) return begun(reach, reply, () => startRedrive(db, { filter, who, reason, force }));
      return await rehearsed(reach, reply, (draining, how) => previewRedrive(draining, filter, { ...how, who, force }));
    },
  );

  app.post(
    '/dead-letters/discard',
    {
      ...act,
      schema: {
        summary: 'Gives dead letters up: they stay as rows, and nothing waits behind them any more.',
        body: Discard,
        response: { 200: Preview, 202: JobRow },
      },
    },
    async (request, reply) => {
      const { reason, dryRun = false } = request.body;
      const filter = filterOf(request.body);
      const { who } = callerOf(request);
      await assertOpen(db, filter);
      if (!dryRun) return begun(reach, reply, () => startDiscard(db, { filter, who, reason }));
      return await rehearsed(reach, reply, (draining, how) => previewDiscard(draining, filter, { ...how, who }));
    },
  );

  app.post(
    '/waiting/discard',
    {
      ...act,
      schema: {
        summary: 'Gives up events that wait: they become dead letters that are discarded already.',
        body: DiscardWaiting,
        response: { 200: Preview, 202: JobRow },
      },
    },
    async (request, reply) => {
      const { reason: why, dryRun = false } = request.body;
      const { reason: waitsFor, ...rest } = filterOf(request.body);
      const filter: WaitingFilter = { ...rest, ...(waitsFor === undefined ? {} : { waitsFor }) };
      const { who } = callerOf(request);
      if (!dryRun) return begun(reach, reply, () => startGivingUp(db, { filter, who, reason: why }));
      const preview = await rehearsed(reach, reply, (draining, how) =>
        previewGivingUp(draining, filter, { ...how, who }),
      );
      return { ...preview, items: await withOwnNumbers(reach.read, preview.items) };
    },
  );

  app.post(
    '/holds/:kind/:id/release',
    {
      ...act,
      schema: {
        summary: 'Ends a pause, as DELETE does: what waited goes on in its order, in the background.',
        params: HoldId,
        body: Release,
        response: { 200: ReleasePreview, 202: HoldRow },
      },
    },
    async (request, reply) => {
      const { params, body } = request;
      const { who } = callerOf(request);
      if (body.dryRun !== true) {
        reply.code(202);
        return await endHold(reach.acts, params, who);
      }
      let users = 0;
      const preview = await rehearsed(reach, reply, async (draining, how) => {
        const released = await previewRelease(draining, params, { ...how, who });
        if (released === undefined) throw notFound('such hold');
        users = released.users;
        return released;
      });
      return { ...preview, users };
    },
  );
}

/** Where payloads are not shown at all, they are not edited either. */
export function editRoute(app: App, reach: Reach): void {
  app.post(
    '/dead-letters/:id/edit',
    {
      config: { role: 'operator' },
      bodyLimit: EDIT_BYTES,
      schema: {
        summary: 'Another payload in the place of its own, for its next redrive; the original stays.',
        params: RowId,
        body: Edit,
        response: { 200: DeadLetterView },
      },
    },
    async (request) => {
      const { id } = request.params;
      const { value, reason } = request.body;
      const { who, mayReveal } = callerOf(request);
      // Whoever may not see what is there can not know what to put in its place.
      if (!mayReveal) throw new Refused('forbidden', 'It needs the permission to see personal data (AUTH_PAYLOADS).');
      const draining = await reach.acts.draining();
      if (value !== null && !value.isWellFormed()) throw new Refused('conflict', 'The edited payload is not UTF-8.');
      await assertExists(reach.acts.db, id);
      await editDeadLetter(draining, id, value === null ? null : Buffer.from(value), { who, reason });
      request.isDone = true;
      return await deadLetterView(reach, id, 'masked');
    },
  );
}

type Scope<F> = { ids?: number[]; filter?: F; all?: boolean };

/** Throws Refused where nothing was said, or something and all. */
function filterOf<F extends object>({ ids, filter, all = false }: Scope<F>): F & { ids?: number[] } {
  const narrows = Object.keys(filter ?? {}).length > 0;
  if (ids !== undefined && filter !== undefined) throw missing('/filter', 'Either `ids` or `filter`, not both.');
  if (ids === undefined && !narrows && !all)
    throw missing('/filter', 'Which ones? Say `ids`, a `filter` that narrows, or `all: true`.');
  if (all && (ids !== undefined || narrows)) throw missing('/all', '`all` is all of them: leave it out, or the rest.');
  return { ...filter, ...(ids === undefined ? {} : { ids: [...new Set(ids)] }) } as F & { ids?: number[] };
}
function missing(pointer: string, detail: string): Refused {
  return new Refused('invalid-request', detail, { errors: [{ detail, pointer }] });
}

/** One that was said by its number must be there, and not settled. */
async function assertOpen(db: Db, { ids }: Filter): Promise<void> {
  const [id] = ids?.length === 1 ? ids : [];
  if (id === undefined) return;
  const status = await assertExists(db, id);
  if (status !== 'open' && status !== 'redriving')
    throw new Refused('conflict', `Dead letter ${id} is ${status} already: nothing was changed.`);
}
async function assertExists(db: Db, id: number): Promise<string> {
  const [row] = await db.execute<{ status: string }>(sql`select status from dead_letters where id = ${id}::bigint`);
  if (row === undefined) throw notFound(`dead letter ${id}`);
  return row.status;
}

/** 202: it goes on in the background, and where to look. */
async function begun({ acts, basePath }: Reach, reply: FastifyReply, start: () => Promise<Job>): Promise<JobRow> {
  const release = acts.runner.occupy();
  const job = await start().finally(release);
  acts.runner.run(job);
  reply.code(202).header('location', `${basePath}api/v1/jobs/${job.id}`);
  return acts.runner.shown(job);
}

/** What is given up has the number of the dead letter that it would be, which nobody has seen: here is its own. */
async function withOwnNumbers(read: Db, items: Preview['items']): Promise<Preview['items']> {
  const numbers = new Map((await readNumbers(read, items)).map(({ id, ...place }) => [nameOf(place), id]));
  return items.map((item) => ({ ...item, id: numbers.get(nameOf(item)) ?? item.id }));
}
function nameOf({ topic, partition, generation, offset }: Coordinates): string {
  return `${topic}/${partition}#${generation}@${offset}`;
}

const MOST_REHEARSED = 5_000;
const MOST_SHOWN = 200;

type How = { tell(each: Settlement): void; signal: AbortSignal };

/** Ends with whoever asked: nobody would see the rest. (`request.signal` ends as soon as a body is read.) Throws Refused where they left
 *  before it began: then nothing is tried, and the audit has no line of it. */
async function rehearsed(
  { acts }: Reach,
  reply: FastifyReply,
  rehearse: (draining: Draining & { db: Db }, how: How) => Promise<Rehearsed>,
): Promise<Preview> {
  const enough = new AbortController();
  reply.raw.once('close', () => enough.abort());
  const items: Preview['items'] = [];
  let told = 0;
  const release = acts.runner.occupy();
  try {
    const draining = await acts.draining();
    if (reply.raw.closed) throw nobodyThere(); // while it was looked at what was asked
    const { matched, outcomes, others, more, interrupted } = await rehearse(draining, {
      signal: enough.signal,
      tell(each) {
        if (++told >= MOST_REHEARSED) enough.abort();
        if (items.length < MOST_SHOWN) items.push(each);
      },
    });
    const notes = [
      ...(interrupted ? [`Only the first ${matched} were tried: there are more.`] : []),
      ...(more ? ['Of a user or customer with very much in its queue only the first events were tried.'] : []),
    ];
    return { matched, outcomes, others, note: notes.join(' ') || null, items };
  } finally {
    release();
  }
}
