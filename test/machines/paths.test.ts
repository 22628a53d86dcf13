// The machine by paths: xstate/graph walks every state that can be reached, and each path is walked again on our side,
// saved and restored as Postgres would after every step.
import { describe, expect, test } from 'vitest';
import { transition } from 'xstate';
import { createTestModel, getShortestPaths } from 'xstate/graph';
import {
  NOBODY,
  STATES,
  type State,
  type UserContext,
  type UserEvent,
  user,
  userMachine,
} from '../../machines/index.ts';

const payload = { userType: 'SME_USER', role: 'CLERK', email: 'a@b.c', name: 'A', customerAccountId: 'c1' } as const;
const status = (newStatus: 'PENDING' | 'ACTIVE' | 'SUSPENDED', roleIsNewer: boolean): UserEvent => ({
  ...{ type: 'USER_STATUS_CHANGED', payload: { newStatus }, facts: { roleIsNewer } },
});
const role = (newRole: 'SME_USER' | 'INSTITUTION_ADMIN', statusIsNewer: boolean): UserEvent => ({
  ...{ type: 'USER_ROLE_CHANGED', payload: { newRole }, facts: { statusIsNewer } },
});
/** Two roles are enough: equal, and not. */
const EVENTS: UserEvent[] = [
  { type: 'USER_CREATED', payload, facts: { customerKnown: true } },
  { type: 'USER_CREATED', payload, facts: { customerKnown: false } },
  ...[false, true].flatMap((newer) => (['PENDING', 'ACTIVE', 'SUSPENDED'] as const).map((word) => status(word, newer))),
  ...[false, true].flatMap((newer) => (['SME_USER', 'INSTITUTION_ADMIN'] as const).map((word) => role(word, newer))),
  { type: 'USER_DELETED', payload: {}, facts: {} },
];

type Snapshot = { value: unknown; context: unknown };
type Saved = { state: State; context: UserContext };
/** One step, saved and read again. */
function stepSaved({ state, context }: Saved, event: UserEvent): Saved {
  const step = user.step(state, context, event);
  return JSON.parse(JSON.stringify({ state: step?.state ?? state, context: { ...context, ...step?.assigned } }));
}
/** The first step of a path is XState's own `xstate.init`. */
const eventsOf = (path: { steps: readonly { event: { type: string } }[] }) =>
  path.steps.map(({ event }) => event).filter(({ type }) => type !== 'xstate.init') as UserEvent[];

/** "ACTIVE (older) → SME_USER" */
const title = (events: readonly UserEvent[]) =>
  events
    .map(({ type, payload, facts }) => {
      const word = 'newStatus' in payload ? payload.newStatus : 'newRole' in payload ? payload.newRole : type.slice(5);
      if ('customerKnown' in facts) return facts.customerKnown ? word : `${word} (customer unknown)`;
      return Object.values(facts).includes(true) ? `${word} (older)` : word;
    })
    .join(' → ');

describe('every path', () => {
  // Shortest paths to every state, and a path over every edge.
  const states = getShortestPaths(userMachine, { events: EVENTS });
  const edges = createTestModel(userMachine, { events: EVENTS }).getShortestPaths();

  test('all six states can be reached, each living one in both roles, none more than three events away', () => {
    const reached = states.map(({ state }) => `${state.value} ${state.context.role}`);
    expect(new Set(reached).size).toBe(reached.length);
    expect(reached.sort()).toEqual(
      ['absent CUSTOMER_USER', ...STATES.slice(1).flatMap((s) => [`${s} CUSTOMER_ADMIN`, `${s} CUSTOMER_USER`])].sort(),
    );
    expect(Math.max(...states.map((path) => eventsOf(path).length))).toBe(3);
  });

  test.each(edges.map((path) => [title(eventsOf(path)), path] as const))('%s', async (_, path) => {
    let own: Saved = { state: 'absent', context: NOBODY };
    await path.test({
      states: {
        '*': (snapshot: Snapshot) => expect([own.state, own.context]).toEqual([snapshot.value, snapshot.context]),
      },
      events: Object.fromEntries(
        EVENTS.map(({ type }) => [
          type,
          ({ event }: { event: UserEvent }) => {
            own = stepSaved(own, event);
          },
        ]),
      ),
    });
    expect([own.state, own.context]).toEqual([path.state.value, path.state.context]);
  });

  test('taken up from its saved snapshot after any of its steps, it leads to the same place', () => {
    let taken = 0;
    for (const path of edges) {
      const events = eventsOf(path);
      for (let cut = 0; cut <= events.length; cut++) {
        taken++;
        const half = events.slice(0, cut).reduce(stepSaved, { state: 'absent', context: NOBODY } as Saved);
        let snapshot = userMachine.resolveState({ value: half.state, context: half.context });
        for (const event of events.slice(cut)) {
          [snapshot] = transition(userMachine, snapshot, event);
          const kept = JSON.parse(JSON.stringify(userMachine.getPersistedSnapshot(snapshot)));
          snapshot = userMachine.resolveState({ value: kept.value, context: kept.context });
        }
        expect([snapshot.value, snapshot.context]).toEqual([path.state.value, path.state.context]);
      }
    }
    expect(taken).toBeGreaterThan(150);
  });
});
