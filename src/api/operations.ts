// operations.ts — /holds, /partitions, /jobs, /audit: what operators have done, and how far it is.
import { Type } from 'typebox';
import type { Db } from '../../db/client.ts';
import { cancelJob, readJob, readJobs, resumeJob } from '../jobs.ts';
import { hold, release, resume, TooManyHolds } from '../operate.ts';
import { readAudit } from '../queries/audit.ts';
import { readHoldsCounted } from '../queries/holds.ts';
import { type App, Query, type Reach, RowId, Said } from './app.ts';
import { callerOf } from './auth.ts';
import {
  AuditItem,
  HoldRow,
  Holds,
  JobRow,
  NewHold,
  pageOf as PageOf,
  PartitionRow,
  Partitions,
  Resume,
  Stats,
} from './contract.ts';
import { Page, pageAsked, pageOf } from './paging.ts';
import { notFound, Refused } from './problems.ts';

export function operationRoutes(app: App, { read, live, acts, basePath }: Reach): void {
  app.get(
    '/holds',
    {
      config: { role: 'viewer' },
      schema: { summary: 'Pauses on users and customers.', response: { 200: Holds } },
    },
    async () => ({ items: await readHoldsCounted(read) }),
  );

  app.get(
    '/stats',
    {
      config: { role: 'viewer' },
      schema: { summary: 'The numbers that change while somebody looks, all at once.', response: { 200: Stats } },
    },
    () => live.stats(),
  );

  app.get(
    '/partitions',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'How far each partition is, whoever works on it.',
        response: { 200: Partitions },
      },
    },
    async () => ({ items: await live.partitions() }),
  );

  app.get(
    '/jobs',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'What was started and takes long, the newest first.',
        querystring: Query(Page),
        response: { 200: PageOf(JobRow) },
      },
    },
    async ({ query }) => {
      const { after, limit } = pageAsked<number>('jobs', query, 'number');
      const rows = await readJobs(read, limit + 1, after);
      return pageOf('jobs', query, rows, ({ id }) => id, acts.runner.shown);
    },
  );

  app.get(
    '/jobs/:id',
    {
      config: { role: 'viewer' },
      schema: { summary: 'One job.', params: RowId, response: { 200: JobRow } },
    },
    async ({ params: { id } }) => {
      const job = await readJob(read, id);
      if (job === undefined) throw notFound(`job ${id}`);
      return acts.runner.shown(job);
    },
  );

  app.post(
    '/holds',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Pauses a user or a customer: their events wait from the next batch on.',
        body: NewHold,
        response: { 201: HoldRow },
      },
    },
    async (request, reply) => {
      const { kind, id, reason } = request.body;
      const made = await hold(acts.db, { kind, id, reason, byWhom: callerOf(request).who }).catch((error) => {
        throw error instanceof TooManyHolds ? new Refused('conflict', error.message) : error;
      });
      if (!made) throw new Refused('conflict', `The ${kind} is on hold already.`);
      request.isDone = true;
      reply.code(201);
      return await holdOf(acts.db, kind, id);
    },
  );

  app.delete(
    '/holds/:kind/:id',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Ends a pause. What waited goes on in its order, in the background.',
        params: Type.Object({ kind: Type.Union([Type.Literal('user'), Type.Literal('customer')]), id: Said() }),
        response: { 200: HoldRow },
      },
    },
    async (request) => {
      const { kind, id } = request.params;
      const before = await holdOf(acts.db, kind, id);
      if (!(await release(acts.db, { kind, id, byWhom: callerOf(request).who }))) throw notFound('such hold');
      acts.letGo(kind, id);
      return before;
    },
  );

  app.post(
    '/partitions/:topic/:partition/resume',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Lets a halted partition run again from where it stopped; its process notices within 5 seconds.',
        params: Type.Object({ topic: Said(), partition: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }) }),
        body: Resume,
        response: { 200: PartitionRow },
      },
    },
    async (request) => {
      const { topic, partition } = request.params;
      const of = (row: PartitionRow) => row.topic === topic && row.partition === partition;
      const before = (await live.partitions()).find(of);
      if (before === undefined) throw notFound('such partition');
      const { reason } = request.body;
      const next = await resume(acts.db, { topic, partition, reason, byWhom: callerOf(request).who });
      if (next === undefined) throw new Refused('conflict', 'The partition is not halted: nothing to resume.');
      return { ...before, state: 'running' as const, why: null, position: String(next) };
    },
  );

  app.post(
    '/jobs/:id/cancel',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Ends a job after its present step; what was done stays done.',
        params: RowId,
        response: { 200: JobRow },
      },
    },
    async (request) => {
      const { id } = request.params;
      const job = await cancelJob(acts.db, id, callerOf(request).who);
      if (job === undefined) throw await notRunning(id);
      return acts.runner.shown(job);
    },
  );

  app.post(
    '/jobs/:id/resume',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Goes on with a job from where it was interrupted, in the background.',
        params: RowId,
        response: { 202: JobRow },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const before = await readJob(acts.db, id);
      if (before !== undefined && before.kind !== 'redrive' && before.kind !== 'discard')
        throw new Refused('conflict', `A ${before.kind} does not go on here: \`user-lifecycle jobs resume\`.`);
      const giveBack = acts.runner.reserve(id);
      try {
        const job = await resumeJob(acts.db, id, callerOf(request).who);
        if (job === undefined) throw await notRunning(id);
        acts.runner.run(job);
        reply.code(202).header('location', `${basePath}api/v1/jobs/${id}`);
        return acts.runner.shown(job);
      } finally {
        giveBack();
      }
    },
  );

  async function notRunning(id: number): Promise<Refused> {
    const job = await readJob(acts.db, id);
    return job === undefined ? notFound(`job ${id}`) : new Refused('conflict', `Job ${id} is ${job.state} already.`);
  }

  app.get(
    '/audit',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Who did what to which scope, with which result, the newest first.',
        querystring: Query({ verb: Type.Optional(Said()), who: Type.Optional(Said()), ...Page }),
        response: { 200: PageOf(AuditItem) },
      },
    },
    async ({ query }) => {
      const { after, limit } = pageAsked<number>('audit', query, 'number');
      const rows = await readAudit(read, query, { below: after, limit: limit + 1 });
      return pageOf(
        'audit',
        query,
        rows,
        ({ id }) => id,
        (row) => row,
      );
    },
  );
}

/** As it is now. Throws Refused where there is none. */
async function holdOf(db: Db, kind: HoldRow['kind'], id: string): Promise<HoldRow> {
  const [found] = await readHoldsCounted(db, { of: kind === 'user' ? { userId: id } : { customerId: id } });
  if (found === undefined) throw notFound('such hold');
  return found;
}
