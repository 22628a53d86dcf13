// dead-letters.ts — /dead-letters: records that could not be used, and what is done about them.
import { Type } from 'typebox';
import { NO_TYPE } from '../dead-letter-filter.ts';
import type { DeadCode } from '../events.ts';
import { actsOn, findDeadLetters, groupDeadLetters, readDeadLetter } from '../queries/dead-letters.ts';
import { DEAD_LETTER_STATUSES } from '../statuses.ts';
import { type App, Moment, Query, type Reach, Reveal, RowId, Said } from './app.ts';
import { sightOf } from './auth.ts';
import { DeadLetterGroups, DeadLetterItem, DeadLetterView, pageOf as PageOf } from './contract.ts';
import { Page, pageAsked, pageOf } from './paging.ts';
import { notFound } from './problems.ts';
import { ADVICE, contentOf, eventIdOf, type Sight } from './shown.ts';

/** Which ones, as a query says it. */
export const Filter = {
  status: Type.Optional(
    Type.Union(
      [...DEAD_LETTER_STATUSES, 'all' as const].map((status) => Type.Literal(status)),
      { description: 'By default those that are not settled: open and redriving.' },
    ),
  ),
  code: Type.Optional(Said()),
  type: Type.Optional(Said(`Of an event; \`${NO_TYPE}\`: those of which it is not known.`)),
  customer: Type.Optional(Said('Of users of this customer.')),
  user: Type.Optional(Said()),
  topic: Type.Optional(Said()),
  before: Type.Optional(Moment('Those that failed last before.')),
};

export function deadLetterRoutes(app: App, reach: Reach): void {
  const { read } = reach;

  app.get(
    '/dead-letters',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Dead letters, the newest first.',
        querystring: Query({ ...Filter, ...Page }),
        response: { 200: PageOf(DeadLetterItem) },
      },
    },
    async ({ query }) => {
      const { after, limit } = pageAsked<number>('dead-letters', query, 'number');
      const rows = await findDeadLetters(read, query, { below: after, limit: limit + 1 });
      return pageOf(
        'dead-letters',
        query,
        rows,
        ({ id }) => id,
        (row) => row,
      );
    },
  );

  app.get(
    '/dead-letters/groups',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The same in groups of a code and a type.',
        querystring: Query(Filter),
        response: { 200: DeadLetterGroups },
      },
    },
    ({ query }) => groupDeadLetters(read, query),
  );

  app.get(
    '/dead-letters/:id',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'One dead letter, what it is made of, and what can be done about it.',
        params: RowId,
        querystring: Query(Reveal),
        response: { 200: DeadLetterView },
      },
    },
    async (request) => {
      const { id } = request.params;
      return await deadLetterView(reach, id, await sightOf(request, reach, { id }));
    },
  );
}

/** Throws Refused where there is none. */
export async function deadLetterView({ read }: Reach, id: number, sight: Sight): Promise<DeadLetterView> {
  const [found, acts] = await Promise.all([readDeadLetter(read, id), actsOn(read, id)]);
  if (found === undefined) throw notFound(`dead letter ${id}`);
  const { key, value, headers, editedValue, size: _, ...row } = found;
  return {
    ...row,
    eventId: eventIdOf(row, sight),
    sha256: sight === 'revealed' ? row.sha256 : null,
    advice: ADVICE[row.code as DeadCode] ?? 'This code is of another version of the service.',
    content: contentOf({ key, value, headers, editedValue }, sight),
    acts,
  };
}
