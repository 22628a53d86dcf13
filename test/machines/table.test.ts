// The compiled table against XState itself: same state, same context, same branch; and what it refuses to compile.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { and, assign, createMachine, setup, spawnChild, transition } from 'xstate';
import {
  EVENT_USER_TYPES,
  NOBODY,
  ROLES,
  STATES,
  STATUSES,
  type State,
  USER_TYPES,
  type UserContext,
  type UserEvent,
  user,
  userMachine,
} from '../../machines/index.ts';
import { compile } from '../../machines/table.ts';

// Equal to XState

const word = fc.string({ minLength: 1, maxLength: 8 });
const context: fc.Arbitrary<UserContext> = fc.record({
  customerId: fc.option(word),
  email: word,
  name: word,
  role: fc.constantFrom(...ROLES),
  userType: fc.constantFrom(...USER_TYPES),
  isCompanyOwner: fc.boolean(),
  sourceRole: word,
});
const event: fc.Arbitrary<UserEvent> = fc.oneof(
  fc.record({
    type: fc.constant('USER_CREATED' as const),
    payload: fc.record(
      { userType: fc.constantFrom(...EVENT_USER_TYPES), role: word, email: word, name: word, customerAccountId: word },
      { requiredKeys: ['userType', 'role', 'email', 'name'] },
    ),
    facts: fc.record({ customerKnown: fc.boolean() }),
  }),
  fc.record({
    type: fc.constant('USER_STATUS_CHANGED' as const),
    payload: fc.record({ newStatus: fc.constantFrom(...STATUSES) }),
    facts: fc.record({ roleIsNewer: fc.boolean() }),
  }),
  fc.record({
    type: fc.constant('USER_ROLE_CHANGED' as const),
    payload: fc.record({ newRole: fc.constantFrom(...EVENT_USER_TYPES, ...ROLES) }),
    facts: fc.record({ statusIsNewer: fc.boolean() }),
  }),
  fc.constant<UserEvent>({ type: 'USER_DELETED', payload: {}, facts: {} }),
);

/** What XState makes of it. The branch: its place among those of the state and event. */
function byXState(state: State, before: UserContext, on: UserEvent) {
  const snapshot = userMachine.resolveState({ value: state, context: before });
  const [chosen] = userMachine.getTransitionData(snapshot, on);
  const [next, actions] = transition(userMachine, snapshot, on);
  const branches = userMachine.root.states[state]?.transitions.get(on.type) ?? [];
  return {
    state: next.value as State,
    context: next.context,
    branch: chosen && `${state}|${on.type}|${branches.indexOf(chosen)}`,
    changes: chosen && (chosen.target !== undefined || chosen.actions.length > 0),
    actions,
  };
}

describe('the table does what XState does', () => {
  test('one step from anywhere: state, context, branch', () => {
    fc.assert(
      fc.property(fc.constantFrom(...STATES), context, event, (state, before, on) => {
        const xstate = byXState(state, before, on);
        const step = user.step(state, before, on);
        expect(step?.transition).toBe(xstate.branch);
        expect(step?.changes).toBe(xstate.changes);
        expect(step?.state ?? state).toBe(xstate.state);
        expect({ ...before, ...step?.assigned }).toEqual(xstate.context);
        expect(xstate.actions).toEqual([]); // nothing that somebody would have to perform
      }),
      { numRuns: 4_000 },
    );
  });

  test('many steps from absent, the snapshot going on as XState left it', () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 20 }), (events) => {
        let snapshot = userMachine.resolveState({ value: 'absent', context: NOBODY });
        let state: State = 'absent';
        let mine = NOBODY;
        for (const on of events) {
          [snapshot] = transition(userMachine, snapshot, on);
          const step = user.step(state, mine, on);
          state = step?.state ?? state;
          mine = { ...mine, ...step?.assigned };
          expect([state, mine]).toEqual([snapshot.value, snapshot.context]);
          expect(snapshot.status).toBe(state === 'deleted' ? 'done' : 'active');
        }
      }),
      { numRuns: 500 },
    );
  });

  test('several actions in one branch see each other in order', () => {
    const doubling = setup({
      types: { context: {} as { n: number; seen: number }, events: {} as { type: 'GO' } },
      actions: {
        add: assign(({ context }) => ({ n: context.n + 1 })),
        double: assign(({ context }) => ({ n: context.n * 2, seen: context.n })),
      },
    }).createMachine({
      context: { n: 0, seen: 0 },
      initial: 'a',
      states: { a: { on: { GO: { actions: ['add', 'double', 'add'] } } } },
    });
    const before = { n: 5, seen: 0 };
    const [next] = transition(doubling, doubling.resolveState({ value: 'a', context: before }), { type: 'GO' });
    const step = compile<'a', typeof before, { type: 'GO' }>(doubling).step('a', before, { type: 'GO' });
    expect({ ...before, ...step?.assigned }).toEqual(next.context);
    expect(next.context).toEqual({ n: 13, seen: 6 });
    expect(before).toEqual({ n: 5, seen: 0 });
  });

  test('what a guard throws comes out: the caller decides (N2)', () => {
    const throwing = setup({ guards: { bad: () => fail() } }).createMachine({
      initial: 'a',
      states: { a: { on: { GO: { guard: 'bad' } } } },
    });
    function fail(): never {
      throw new RangeError('bad guard');
    }
    expect(() => compile(throwing).step('a', {}, { type: 'GO' })).toThrow(RangeError);
  });
});

// Refused

const to = (over: object) => createMachine({ id: 'm', initial: 'a', states: { a: over, b: {} } } as object);
const on = (branch: unknown, implementations: object = {}) =>
  setup(implementations as object).createMachine({
    id: 'm',
    initial: 'a',
    states: { a: { on: { GO: branch } }, b: {} },
  } as object);
const whole = (over: object) => createMachine({ id: 'm', initial: 'a', states: { a: {} }, ...over } as object);

describe('a definition that needs more than the table is refused at start, with the part named', () => {
  test.each<[string, unknown, string]>([
    ['entry', to({ entry: 'x' }), '"entry" in state "a"'],
    ['exit', to({ exit: 'x' }), '"exit" in state "a"'],
    ['always', to({ always: 'b' }), '"always" in state "a"'],
    ['after', to({ after: { 1000: 'b' } }), '"after" in state "a"'],
    ['invoke', to({ invoke: { src: 'x' } }), '"invoke" in state "a"'],
    ['onDone', to({ onDone: 'b' }), 'event "xstate.done.state.m.a" in state "a"'],
    ['nested states', to({ initial: 'c', states: { c: {} } }), 'state "a" of type compound'],
    ['parallel states', to({ type: 'parallel', states: { c: {} } }), 'state "a" of type parallel'],
    ['a history state', to({ type: 'history' }), 'state "a" of type history'],
    ['a wildcard', to({ on: { '*': 'b' } }), 'event "*" in state "a"'],
    ['a partial wildcard', to({ on: { 'user.*': 'b' } }), 'event "user.*" in state "a"'],

    ['an unnamed guard', on({ guard: () => true, target: 'b' }), 'a guard that is unnamed, combined or has params'],
    ['a combined guard', on({ guard: and(['x', 'y']) }), 'a guard that is unnamed, combined or has params'],
    [
      'a guard with params',
      on({ guard: { type: 'x', params: {} } }),
      'a guard that is unnamed, combined or has params',
    ],
    ['a combined guard with a name', on({ guard: 'x' }, { guards: { x: and([() => true]) } }), 'guard "x"'],
    ['a guard nobody wrote', on({ guard: 'x' }), 'guard "x", which is no plain function'],
    ['an unnamed action', on({ actions: assign({}) }), 'an action that is unnamed or has params'],
    ['an action with params', on({ actions: { type: 'x', params: {} } }), 'an action that is unnamed or has params'],
    ['an action with effects', on({ actions: 'x' }, { actions: { x: () => {} } }), 'action "x", which is no assign()'],
    ['a spawned actor', on({ actions: 'x' }, { actions: { x: spawnChild('y') } }), 'action "x", which is no assign()'],
    [
      'assign of an object',
      on({ actions: 'x' }, { actions: { x: assign({ n: 1 }) } }),
      'action "x", which is no assign()',
    ],
    ['an action nobody wrote', on({ actions: 'x' }), 'action "x", which is no assign() of a function'],
    ['several targets', on({ target: ['b', 'a'] }), 'several targets in "a" on GO, branch 0'],
    ['the root as target', on({ target: '#m' }), 'target "m", which is no state'],

    ['a parallel root', whole({ initial: undefined, type: 'parallel' }), 'a root of type parallel'],
    ['no states', whole({ initial: undefined, states: {} }), 'a root of type atomic'],
    ['transitions on the root', whole({ on: { GO: '.a' } }), 'transitions on the root'],
    ['entry on the root', whole({ entry: 'x' }), '"entry" on the root'],
    ['exit on the root', whole({ exit: 'x' }), '"exit" on the root'],
    ['invoke on the root', whole({ invoke: { src: 'x' } }), '"invoke" on the root'],
    ['after on the root', whole({ after: { 1000: '.a' } }), '"after" on the root'],
    ['always on the root', whole({ always: { target: '.a', guard: () => false } }), '"always" on the root'],
    ['onDone on the root', whole({ onDone: { actions: 'x' } }), 'transitions on the root'],
    ['actions of the initial state', whole({ initial: { target: 'a', actions: 'x' } }), 'actions of the initial state'],
  ])('%s', (_, machine, named) => {
    expect(() => compile(machine)).toThrow(`Machine "m" can not be compiled to a table: it has ${named}`);
  });

  test('the refusal says where to read on', () => {
    expect(() => compile(to({ entry: 'x' }))).toThrow('machines/README.md');
  });

  test('descriptions, tags and meta are no reason to refuse', () => {
    const described = to({
      description: 'waits',
      tags: 'live',
      meta: { x: 1 },
      on: { GO: { target: 'b', description: 'go' } },
    });
    expect(compile(described).branches).toMatchObject([{ id: 'a|GO|0', target: 'b' }]);
  });
});

describe("what is read of XState's insides is still there", () => {
  const machine = setup({
    types: { context: {} as { n: number } },
    guards: { plain: () => true },
    actions: { write: assign(() => ({ n: 1 })) },
  }).createMachine({
    id: 'm',
    context: { n: 0 },
    initial: 'a',
    states: { a: { on: { GO: [{ guard: 'plain', target: 'b', actions: 'write' }, {}] } }, b: { type: 'final' } },
  });

  test('guards and actions by name, assign() as a function with its assignment', () => {
    const { guards, actions } = machine.implementations;
    expect(guards.plain).toBeTypeOf('function');
    expect(guards.plain).not.toHaveProperty('check');
    expect(and(['x', 'y'])).toHaveProperty('check');
    const { type, assignment } = actions.write as unknown as { type: string; assignment: () => object };
    expect([type, assignment()]).toEqual(['xstate.assign', { n: 1 }]);
  });

  test('states by key, transitions as a map from event to branches in order', () => {
    const { root } = machine;
    expect([root.type, root.transitions.size, root.initial.target?.[0]?.key]).toEqual(['compound', 0, 'a']);
    expect(root.initial.actions).toEqual([]);
    const a = root.states.a as NonNullable<typeof root.states.a>;
    expect(Object.entries(root.states).map(([key, node]) => [key, node.key, node.type])).toEqual([
      ['a', 'a', 'atomic'],
      ['b', 'b', 'final'],
    ]);
    for (const part of ['after', 'entry', 'exit', 'invoke'] as const) expect(a[part]).toEqual([]);
    const { transitions } = a;
    expect([...transitions.keys()]).toEqual(['GO']);
    expect(transitions.get('GO')).toMatchObject([
      { guard: 'plain', target: [{ key: 'b' }], actions: ['write'] },
      { guard: undefined, target: undefined, actions: [] },
    ]);
  });

  test("only the user machine's own branches are in its table", () => {
    const branches = Object.values(userMachine.root.states).flatMap((node) =>
      [...node.transitions].flatMap(([type, list]) => list.map((_, i) => `${node.key}|${type}|${i}`)),
    );
    expect(user.branches.map(({ id }) => id)).toEqual(branches);
  });
});
