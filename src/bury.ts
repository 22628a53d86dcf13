// bury.ts — why an event becomes a dead letter after it was routed, in words that quote nothing of it. Pure (P3).
import { VERSION } from '../machines/index.ts';
import type { DeadCode, Event, Unreadable, UserEvent } from './events.ts';
import { type Put, type PutOptions, put, type UserRow } from './put.ts';

export type Buried = {
  outcome: 'dead';
  event: Event | Unreadable;
  stage: 'decode' | 'validate' | 'route' | 'run' | 'save';
  code: DeadCode;
  /** SQLSTATE or error name, where there is one. */
  class: string | null;
  message: string;
  stack: string | null;
  blocks: boolean;
  userId: string | null;
  userVersion: number | null;
};

/** `put`, and the one place where a machine that throws is caught (N2). */
export function putOrBury(
  row: UserRow | undefined,
  event: UserEvent,
  customerKnown: boolean,
  options?: PutOptions,
): Put | Buried {
  try {
    return put(row, event, customerKnown, options);
  } catch (error) {
    return {
      outcome: 'dead',
      event,
      stage: 'run',
      code: 'transition',
      class: error instanceof Error ? error.name : typeof error,
      // The machine's own text could quote the event.
      message: `the machine of version ${VERSION} threw in state ${row?.state ?? 'absent'}`,
      stack: error instanceof Error ? ownStack(error) : null,
      blocks: true,
      userId: event.userId,
      userVersion: row?.version ?? null,
    };
  }
}

export function buryUnreadable(event: Unreadable, userVersion: number | null): Buried {
  const { stage, code, detail, blocks, userId } = event;
  return {
    outcome: 'dead',
    event,
    stage,
    code,
    class: null,
    message: detail,
    stack: null,
    blocks,
    userId,
    userVersion,
  };
}
/** For a record that only Postgres refused. */
export function buryPoison(event: Event, sqlstate: string, row: UserRow | undefined): Buried {
  return {
    outcome: 'dead',
    event,
    stage: 'save',
    code: 'sql',
    class: sqlstate,
    stack: null,
    message: `Postgres refused the rows of this event with SQLSTATE ${sqlstate}`,
    blocks: event.userId !== null,
    userId: event.userId,
    userVersion: row?.version ?? null,
  };
}
export function buryFull(event: UserEvent, limit: number, row: UserRow | undefined): Buried {
  return {
    outcome: 'dead',
    event,
    stage: 'run',
    code: 'waiting-full',
    class: null,
    stack: null,
    message: `${limit} events of this user wait already`,
    blocks: true,
    userId: event.userId,
    userVersion: row?.version ?? null,
  };
}

/** For what an operator gave up while it waited. It blocks nobody. */
export function buryGivenUp(event: Event | Unreadable, reason: string, row: UserRow | undefined): Buried {
  return {
    outcome: 'dead',
    event,
    stage: 'run',
    code: 'given-up',
    class: null,
    stack: null,
    message: `given up by an operator while it waited (${reason})`,
    blocks: false,
    userId: event.userId,
    userVersion: row?.version ?? null,
  };
}

/** Our own frames only, without the first line, which could quote input; at most 8 kB. */
function ownStack(error: Error): string | null {
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line) && !line.includes('node:'));
  return frames.length === 0 ? null : frames.join('\n').slice(0, 8_000);
}
