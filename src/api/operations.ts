// operations.ts — /holds, /partitions, /jobs, /audit: what operators have done, and how far it is.
import { type Static, Type } from 'typebox';
import type { Db } from '../../db/client.ts';
import { cancelJob, readJob, readJobs, resumeJob } from '../jobs.ts';
import {
  acceptLoss,
  assertResumable,
  type Moved as HasMoved,
  NotMoved,
  offsetsIn,
  setPosition,
} from '../move-position.ts';
import { hold, release, resume, TooManyHolds } from '../operate.ts';
import type { Log } from '../position.ts';
import { readAudit } from '../queries/audit.ts';
import { readHoldsCounted } from '../queries/holds.ts';
import { inTime } from '../retry.ts';
import type { TopicPartition } from '../sources/source.ts';
import type { Acts } from './acts.ts';
import { type App, Query, type Reach, RowId, Said } from './app.ts';
import { callerOf } from './auth.ts';
import {
  AcceptLoss,
  AuditItem,
  HoldRow,
  Holds,
  JobRow,
  Moved,
  NewHold,
  pageOf as PageOf,
  PartitionRow,
  Partitions,
  Resume,
  SetPosition,
  Stats,
  StatsAsked,
} from './contract.ts';
import { Page, pageAsked, pageOf } from './paging.ts';
import { notFound, Refused } from './problems.ts';

const PartitionAsked = Type.Object({ topic: Said(), partition: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }) });
/** Below what a caller waits for an answer; a broker that is there says it in milliseconds. */
const LOG_WITHIN_MS = 5_000;

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
      schema: {
        summary: 'The numbers that change while somebody looks, all at once.',
        querystring: Query(StatsAsked),
        response: { 200: Stats },
      },
    },
    ({ query }) => live.stats(query),
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
        params: HoldId,
        response: { 200: HoldRow },
      },
    },
    async (request) => await endHold(acts, request.params, callerOf(request).who),
  );

  app.post(
    '/partitions/:topic/:partition/resume',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Lets a halted partition run again from where it stopped; its process notices within 5 seconds.',
        params: PartitionAsked,
        body: Resume,
        response: { 200: PartitionRow },
      },
    },
    async (request) => {
      const { topic, partition } = request.params;
      const before = await rowOf({ topic, partition });
      const { reason, oldLogIsBack = false } = request.body;
      const log = await inTime(acts.logOf({ topic, partition }), LOG_WITHIN_MS).catch(() => undefined);
      const asked = { topic, partition, reason, byWhom: callerOf(request).who };
      const next = await resume(acts.db, asked, (row) => assertResumable(row, log, { oldLogIsBack })).catch(refuseMove);
      if (next === undefined) throw new Refused('conflict', 'The partition is not halted: nothing to resume.');
      return { ...before, state: 'running' as const, why: null, position: String(next) };
    },
  );

  app.post(
    '/partitions/:topic/:partition/accept-loss',
    {
      config: { role: 'operator' },
      schema: {
        summary:
          'Lets a halted partition go on at the start of its log; what lay before is lost, and kept in `losses`.',
        params: PartitionAsked,
        body: AcceptLoss,
        response: { 200: Moved },
      },
    },
    async (request) => {
      const { logStart, ...body } = request.body;
      const seen = { ...seenOf(body), logStart: logStart === undefined ? undefined : BigInt(logStart) };
      const { reason, dryRun = false } = body;
      const asked = { ...request.params, seen, reason, dryRun, byWhom: callerOf(request).who };
      return await moved(asked, (log) => acceptLoss(acts.db, asked, log));
    },
  );

  app.post(
    '/partitions/:topic/:partition/set-position',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Lets a halted partition go on at an offset: further in its log, or anywhere in another log.',
        params: PartitionAsked,
        body: SetPosition,
        response: { 200: Moved },
      },
    },
    async (request) => {
      const { to, newLog = false, ...body } = request.body;
      const { reason, dryRun = false } = body;
      const asked = { ...request.params, seen: seenOf(body), reason, dryRun, byWhom: callerOf(request).who };
      return await moved(asked, (log) => setPosition(acts.db, { ...asked, to: BigInt(to), newLog }, log));
    },
  );

  /** Throws Refused: unknown, not allowed, or the log can not be asked. */
  async function moved(
    asked: TopicPartition & { dryRun: boolean },
    move: (log: Log) => Promise<HasMoved | undefined>,
  ): Promise<Moved> {
    const { topic, partition, dryRun } = asked;
    await rowOf({ topic, partition });
    const log = await logOf({ topic, partition });
    const done = await move(log).catch(refuseMove);
    if (done === undefined) throw notFound('such partition');
    const { from, generation, to, lost } = done;
    return {
      ...{ topic, partition, generation, dryRun },
      from: { generation: from.generation, position: String(from.next) },
      position: String(to),
      lost: lost === undefined ? null : inText(lost),
    };
  }

  /** Throws Refused where it was never read. */
  async function rowOf({ topic, partition }: TopicPartition): Promise<PartitionRow> {
    const row = (await live.partitions()).find((row) => row.topic === topic && row.partition === partition);
    if (row === undefined) throw notFound('such partition');
    return row;
  }

  async function logOf(partition: TopicPartition): Promise<Log> {
    const log = await inTime(acts.logOf(partition), LOG_WITHIN_MS).catch(() => {
      const detail = 'It can not be asked where the log begins and ends. Nothing was changed.';
      throw new Refused('unavailable', detail, { retryAfterSeconds: 5 });
    });
    if (log === undefined)
      throw new Refused(
        'conflict',
        'There is no such log: its topic is gone, or has fewer partitions. Restore it first.',
      );
    return log;
  }

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

function refuseMove(error: unknown): never {
  throw error instanceof NotMoved ? new Refused('conflict', error.message) : error;
}
function seenOf({ generation, position }: Pick<AcceptLoss, 'generation' | 'position'>) {
  return { generation, next: BigInt(position) };
}
function inText(lost: { first: bigint; last: bigint }): NonNullable<Moved['lost']> {
  return { first: String(lost.first), last: String(lost.last), offsets: String(offsetsIn(lost)) };
}

export const HoldId = Type.Object({ kind: Type.Union([Type.Literal('user'), Type.Literal('customer')]), id: Said() });

/** Ends it; what waited goes on in the background. Returns the hold as it was. Throws Refused where there is none. */
export async function endHold(acts: Acts, { kind, id }: Static<typeof HoldId>, byWhom: string): Promise<HoldRow> {
  const before = await holdOf(acts.db, kind, id);
  if (!(await release(acts.db, { kind, id, byWhom }))) throw notFound('such hold');
  acts.letGo(kind, id);
  return before;
}

/** As it is now. Throws Refused where there is none. */
async function holdOf(db: Db, kind: HoldRow['kind'], id: string): Promise<HoldRow> {
  const [found] = await readHoldsCounted(db, { of: kind === 'user' ? { userId: id } : { customerId: id } });
  if (found === undefined) throw notFound('such hold');
  return found;
}
