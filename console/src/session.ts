// session.ts — who is looking, and what they may.
import { computed, signal } from '@preact/signals';
import type { Problem, Session } from '../../src/api/contract.ts';
import { get, post, problemFor, whenUnauthenticated } from './api.ts';

/** Undefined: not asked yet. */
export const session = signal<Session | undefined>(undefined);
export const sessionProblem = signal<Problem | undefined>(undefined);

export const isOperator = computed(() => session.value?.role === 'operator');
/** Why an act is not offered, in words; undefined: it is. */
export const whyNotOperator = computed(() =>
  isOperator.value ? undefined : 'Only an operator may do this; you are a viewer.',
);

export async function openSession(): Promise<void> {
  try {
    session.value = await get<Session>('session');
    sessionProblem.value = undefined;
  } catch (error) {
    sessionProblem.value = problemFor(error);
  }
}

/** Throws Failed where the token is not accepted. */
export async function login(token: string): Promise<void> {
  await post('login', { token });
  await openSession();
}
export async function logout(): Promise<void> {
  await post('logout');
  await openSession();
}

// The cookie ended: what is looked at stays, behind the question for a token.
whenUnauthenticated(() => {
  if (session.value !== undefined && session.value.role !== null)
    session.value = { ...session.value, role: null, who: null };
});
