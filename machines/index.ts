// index.ts — what the rest of the system uses of the machines: the user machine of today, and how to make one of another file.
import { MIGRATIONS, type Migration, PAST } from './migrations.ts';
import { type Meaning, ROLE_MAPPING, STATUS_STATE } from './roles.ts';
import { compile, type Table } from './table.ts';
import { NOBODY, STATES, type State, type UserContext, type UserEvent, userMachine, VERSION } from './user.ts';

export { MIGRATIONS, type Migration, PAST, type Saved } from './migrations.ts';
export * from './roles.ts';
export type { Branch, Step, Table } from './table.ts';
export { NOBODY, STATES, type State, type UserContext, type UserEvent, userMachine, VERSION } from './user.ts';

/** All that a user's events are put to: the definition, compiled, and the words and steps that belong to it. */
export type Machine = {
  version: number;
  /** 8 hex digits over the compiled branches: tells two definitions of the same version apart. */
  hash: string;
  table: Table<State, UserContext, UserEvent>;
  states: readonly string[];
  /** The context of a user that does not exist yet. */
  nobody: UserContext;
  statusState: Readonly<Record<string, string>>;
  roleMapping: Readonly<Record<string, Meaning>>;
  migrations: Readonly<Record<number, Migration>>;
  /** The machines of older versions that are kept, by version. */
  past: Readonly<Record<number, Machine>>;
};

/** A machine from what a module like user.ts or this one exports; what it does not export is today's. Throws an Error that
 *  says what is missing, or which part of the definition the table can not take. */
export function machineOf(module: object): Machine {
  const given = module as Partial<typeof import('./user.ts') & typeof import('./roles.ts')> & {
    MIGRATIONS?: typeof MIGRATIONS;
    PAST?: typeof PAST;
  };
  if (given.userMachine === undefined) throw new Error('It exports no `userMachine`, as machines/user.ts does.');
  const version = given.VERSION ?? VERSION;
  if (!Number.isSafeInteger(version) || version < 1) throw new Error('Its `VERSION` is no whole number above 0.');
  const table = compile<State, UserContext, UserEvent>(given.userMachine);
  return {
    version,
    hash: fnv1a(JSON.stringify([version, table.branches])),
    table,
    states: Object.keys((given.userMachine as { states: object }).states),
    nobody: given.NOBODY ?? NOBODY,
    statusState: given.STATUS_STATE ?? STATUS_STATE,
    roleMapping: given.ROLE_MAPPING ?? ROLE_MAPPING,
    migrations: given.MIGRATIONS ?? MIGRATIONS,
    past: Object.fromEntries(
      Object.entries(given.PAST ?? {}).map(([older, module]) => [older, machineOf({ PAST: {}, ...module })]),
    ),
  };
}

/** Today's. */
export const MACHINE: Machine = machineOf({
  userMachine,
  VERSION,
  NOBODY,
  STATES,
  STATUS_STATE,
  ROLE_MAPPING,
  MIGRATIONS,
  PAST,
});
export const user: Table<State, UserContext, UserEvent> = MACHINE.table;
export const HASH: string = MACHINE.hash;

/** FNV-1a, because the page that folds a history runs this file in a browser. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
