// index.ts — what the rest of the system uses of the machines: the compiled user machine, its version and its hash.
import { createHash } from 'node:crypto';
import { compile, type Table } from './table.ts';
import { type State, type UserContext, type UserEvent, userMachine, VERSION } from './user.ts';

export * from './roles.ts';
export type { Branch, Step } from './table.ts';
export { NOBODY, STATES, type State, type UserContext, type UserEvent, userMachine, VERSION } from './user.ts';

export const user: Table<State, UserContext, UserEvent> = compile(userMachine);

/** First 8 hex digits of SHA-256 over the compiled branches: tells two definitions of the same VERSION apart. */
export const HASH: string = createHash('sha256')
  .update(JSON.stringify([VERSION, user.branches]))
  .digest('hex')
  .slice(0, 8);
