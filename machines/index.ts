// index.ts — what the rest of the system uses of the machines: the compiled user machine, its version and its hash.
import { compile, type Table } from './table.ts';
import { type State, type UserContext, type UserEvent, userMachine, VERSION } from './user.ts';

export * from './roles.ts';
export type { Branch, Step } from './table.ts';
export { NOBODY, STATES, type State, type UserContext, type UserEvent, userMachine, VERSION } from './user.ts';

export const user: Table<State, UserContext, UserEvent> = compile(userMachine);

/** 8 hex digits over the compiled branches: tells two definitions of the same VERSION apart. FNV-1a, because the page
 *  that folds a history runs this file in a browser. */
export const HASH: string = fnv1a(JSON.stringify([VERSION, user.branches]));

function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
