// migrations.ts — how a saved user of an older machine version becomes one of the next, and the machines of the past.
//
// Owns:          one function for each step between two versions, where states or context changed.
// Does not own:  when a row is migrated (src/put.ts at its next event; `machine migrate` all at once).
//
// G1  A migration is pure, and total: it takes every user that its older version could save. What it throws makes the next event
//     of that user a dead letter `transition`, behind which the user waits; the row stays as it was.
// G2  A step without a function leaves state and context as they are.
import type { UserContext } from './user.ts';

/** What a migration sees of a saved user, and gives back. */
export type Saved = { state: string; context: UserContext };
export type Migration = (user: Saved) => Saved;

/** By the version it leads *from*: `1` makes a user of version 1 one of version 2. */
export const MIGRATIONS: Readonly<Record<number, Migration>> = {};

/** The definitions of older versions, where an old event means something else today: `{ 1: { ...userV1, ...rolesV1 } }`, of
 *  copies of user.ts and roles.ts as they were. A history is folded with the machine that wrote it; one that is not here is taken
 *  to mean what today's does. */
export const PAST: Readonly<Record<number, object>> = {};
