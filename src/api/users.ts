// users.ts — /users, /recent: who there is, how each came to be so, and what happened last.
//
// Owns:          the routes, and what of a row is shown. Does not own: the questions (queries/), the fold (time-travel.ts).
import { Type } from 'typebox';
import { MACHINE } from '../../machines/index.ts';
import { masked } from '../mask.ts';
import { deadLettersOf } from '../queries/dead-letters.ts';
import { findSteps, latestSteps, latestUsers, type StepShown } from '../queries/history.ts';
import { readHoldsCounted } from '../queries/holds.ts';
import { findUsers, readSource, readUser, type UserListed } from '../queries/users.ts';
import { countWaitingOf, waitingOf } from '../queries/waiting.ts';
import { type App, Moment, Query, type Reach, Reveal, Said, TextId } from './app.ts';
import { assertMayAskForAddress, sightOf } from './auth.ts';
import { HistoryItem, OUTCOMES, pageOf as PageOf, Recent, UserAt, UserItem, UserView } from './contract.ts';
import { Page, pageAsked, pageOf } from './paging.ts';
import { notFound } from './problems.ts';
import { eventIdOf, eventOf, factsOf, noteOfStep, type Sight, shownWaiting } from './shown.ts';
import { userAt } from './time-travel.ts';

const Outcome = Type.Union(OUTCOMES.map((outcome) => Type.Literal(outcome)));
const MOST_LISTED = 100;

export function userRoutes(app: App, reach: Reach): void {
  const { read } = reach;

  app.get(
    '/users',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Users by id. By `state` alone every row is looked at: heavy.',
        querystring: Query({
          state: Type.Optional(Said()),
          customer: Type.Optional(Said('Of this customer.')),
          q: Type.Optional(
            Said('An id, the beginning of one, or, for who may see personal data, a whole e-mail address.'),
          ),
          ...Page,
        }),
        response: { 200: PageOf(UserItem) },
      },
    },
    async (request) => {
      const { query } = request;
      const { after, limit } = pageAsked<string>('users', query, 'text');
      const byEmail = query.q?.includes('@') === true;
      if (byEmail) await assertMayAskForAddress(request, reach);
      const rows = await findUsers(read, { ...query, byEmail }, { after, limit: limit + 1 });
      return pageOf('users', query, rows, ({ userId }) => userId, shownUser);
    },
  );

  app.get(
    '/users/:id',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'One user, and what keeps its events from going on. Also of one that does not exist yet.',
        params: TextId,
        querystring: Query(Reveal),
        response: { 200: UserView },
      },
    },
    async (request) => {
      const { id } = request.params;
      const sight = await sightOf(request, reach, { user: id });
      const [user, waiting, waitingCount, deadLetters, source] = await Promise.all([
        readUser(read, id),
        waitingOf(read, id, MOST_LISTED),
        countWaitingOf(read, id),
        deadLettersOf(read, id, MOST_LISTED),
        readSource(read, id),
      ]);
      const holds = await readHoldsCounted(read, { of: { userId: id, customerId: user?.customerId } });
      if (user === undefined && waitingCount + deadLetters.length + holds.length === 0 && source === undefined)
        throw notFound('such user');
      const { branches } = MACHINE.table;
      const state = user?.state ?? MACHINE.table.initial;
      return {
        user: user === undefined ? null : sight === 'revealed' ? user : shownUser(user),
        holds,
        waiting: waiting.map((row) => shownWaiting(row, sight)),
        waitingCount,
        deadLetters,
        source: source ?? null,
        next: branches
          .filter((branch) => branch.source === state)
          .map(({ event, id: transition, target = null, guard = null }) => ({ event, transition, target, guard })),
      };
    },
  );

  app.get(
    '/users/:id/history',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'What was put to its machine, the newest first.',
        params: TextId,
        querystring: Query({
          outcome: Type.Optional(Outcome),
          type: Type.Optional(Said()),
          from: Type.Optional(Moment('Saved then or later.')),
          to: Type.Optional(Moment('Saved before.')),
          ...Reveal,
          ...Page,
        }),
        response: { 200: PageOf(HistoryItem) },
      },
    },
    async (request) => {
      const { query } = request;
      const { id } = request.params;
      const list = `history ${id}`;
      const { after, limit } = pageAsked<number>(list, query, 'number');
      const show = shownStep(await sightOf(request, reach, { user: id, history: true }));
      const rows = await findSteps(read, id, query, { before: after, limit: limit + 1, mostBytes: MOST_EVENT_BYTES });
      return pageOf(list, query, rows, ({ version }) => version as number, show);
    },
  );

  app.get(
    '/users/:id/at',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The user as of one step of its history, folded anew; the last step where none is named.',
        params: TextId,
        querystring: Query({
          version: Type.Optional(
            Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: '0: before the first.' }),
          ),
          time: Type.Optional(Moment('The last step saved until then.')),
          ...Reveal,
        }),
        response: { 200: UserAt },
      },
    },
    async (request) => {
      const { id } = request.params;
      const sight = await sightOf(request, reach, { user: id, at: request.query.version ?? null });
      return await userAt(reach, id, request.query, sight === 'revealed');
    },
  );

  app.get(
    '/recent/users',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Users that something happened to lately, the newest first; `state`: of those now in it.',
        querystring: Query({ state: Type.Optional(Said()), limit: Page.limit }),
        response: { 200: Recent(UserItem) },
      },
    },
    async ({ query: { state, limit = 50 } }) => {
      const { items, ...scan } = await latestUsers(read, state, limit);
      return { items: items.map(shownUser), ...scan };
    },
  );

  app.get(
    '/recent/events',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'What happened lately, the newest first.',
        querystring: Query({
          transition: Type.Optional(Said('Its stable id.')),
          state: Type.Optional(Said('The state after it.')),
          outcome: Type.Optional(Outcome),
          limit: Page.limit,
        }),
        response: { 200: Recent(HistoryItem) },
      },
    },
    async ({ query: { limit = 50, ...filter } }) => {
      const { items, ...scan } = await latestSteps(read, filter, { limit, mostBytes: MOST_EVENT_BYTES });
      return { items: items.map(shownStep(reach.payloads === 'off' ? 'hidden' : 'masked')), ...scan };
    },
  );
}

function shownUser<T extends UserListed>(user: T): T {
  return { ...user, email: masked(user.email), name: masked(user.name) };
}

function shownStep(sight: Sight) {
  return (step: StepShown): HistoryItem => ({
    ...step,
    note: noteOfStep(step),
    eventId: eventIdOf(step, sight),
    facts: factsOf(step.facts, sight),
    event: step.event === null ? TOO_LARGE : eventOf(step.event, sight),
  });
}

/** P6. An event may have 1 MB, a page 200 of them: to read and write that would keep the process from everything else for seconds. */
const MOST_EVENT_BYTES = 32_768;
const TOO_LARGE = { tooLarge: 'more than 32 kB: `user-lifecycle users history --json` has it' };
