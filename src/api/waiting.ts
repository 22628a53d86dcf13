// waiting.ts — /waiting: events that wait for something to happen first.
import { Type } from 'typebox';
import { findWaiting, groupWaiting, readWaiting } from '../queries/waiting.ts';
import { WAITING_REASONS } from '../run.ts';
import { type App, Moment, Query, type Reach, Reveal, RowId, Said } from './app.ts';
import { sightOf } from './auth.ts';
import { pageOf as PageOf, WaitingGroups, WaitingItem, WaitingView } from './contract.ts';
import { Page, pageAsked, pageOf } from './paging.ts';
import { notFound } from './problems.ts';
import { contentOf, shownWaiting } from './shown.ts';

const Filter = {
  reason: Type.Optional(Type.Union(WAITING_REASONS.map((reason) => Type.Literal(reason)))),
  type: Type.Optional(Said()),
  customer: Type.Optional(Said('Those that wait for it, and those of its users.')),
  user: Type.Optional(Said()),
  topic: Type.Optional(Said()),
  before: Type.Optional(Moment('Those that wait since before.')),
};

export function waitingRoutes(app: App, reach: Reach): void {
  const { read } = reach;

  app.get(
    '/waiting',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Events that wait, the oldest first.',
        querystring: Query({ ...Filter, ...Page }),
        response: { 200: PageOf(WaitingItem) },
      },
    },
    async ({ query }) => {
      const { after, limit } = pageAsked<number>('waiting', query, 'number');
      const { reason: waitsFor, ...filter } = query;
      const rows = await findWaiting(read, { ...filter, waitsFor }, { above: after, limit: limit + 1 });
      return pageOf(
        'waiting',
        query,
        rows,
        ({ id }) => id,
        (row) => shownWaiting(row),
      );
    },
  );

  app.get(
    '/waiting/groups',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The same in groups of a reason and a type.',
        querystring: Query(Filter),
        response: { 200: WaitingGroups },
      },
    },
    ({ query: { reason: waitsFor, ...filter } }) => groupWaiting(read, { ...filter, waitsFor }),
  );

  app.get(
    '/waiting/:id',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'One event that waits, and what it is made of.',
        params: RowId,
        querystring: Query(Reveal),
        response: { 200: WaitingView },
      },
    },
    async (request) => {
      const { id } = request.params;
      const sight = await sightOf(request, reach, { waiting: id });
      const found = await readWaiting(read, id);
      if (found === undefined) throw notFound(`waiting event ${id}: it may have gone`);
      const { key, value, headers, ...row } = found;
      return { ...shownWaiting(row, sight), content: contentOf({ key, value, headers }, sight) };
    },
  );
}
