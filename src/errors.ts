// errors.ts — the closed classification of what can go wrong, named for what must happen next.
//
// Source of the SQLSTATE table: PostgreSQL 18, appendix A, and what each class turned out to mean for a batch
// (docs/operations.md walks them). Unknown = infrastructure with an alarm: retried for ever, never a dead letter.

/** What to do: `poison` find the record and run again knowing it · `conflict` run again on locked rows · `fenced` read the
 *  position and act on it · `infrastructure` wait and retry for ever · `slow` halve the batch, then as infrastructure ·
 *  `defect` halt the partition. */
export type ErrorClass = 'poison' | 'conflict' | 'fenced' | 'infrastructure' | 'slow' | 'defect';
export type Classified = { class: ErrorClass; code: string; known: boolean };

/** The fence changed no row: somebody else saved this position, or it is halted. Nothing was saved. */
export class Fenced extends Error {
  override name = 'Fenced';
}

/** A row was not as it was read (rev), or somebody else wrote it first. Nothing was saved. */
export class Conflict extends Error {
  override name = 'Conflict';
}

/** The partition must stop until a person decides; the text says why and what to do. Nothing was saved. */
export class Halt extends Error {
  override name = 'Halt';
}

/** A sentence that must hold did not. Nothing was saved; the partition halts. */
export class BrokenInvariant extends Error {
  override name = 'BrokenInvariant';
}

const BY_STATE: Readonly<Record<string, ErrorClass>> = {
  '40001': 'conflict', // serialization failure
  '40P01': 'conflict', // deadlock
  '55P03': 'infrastructure', // lock timeout
  '25006': 'infrastructure', // read-only: an old primary
  '25P03': 'infrastructure', // ended by idle_in_transaction_session_timeout
  '57014': 'slow', // statement timeout
  '23514': 'poison', // a check refused the row
};
const BY_CLASS: Readonly<Record<string, ErrorClass>> = {
  // Connection; 08P01 too, with which a pooler (PgBouncer) tells that its server is gone. The other reason for it, more than
  // 65,535 bind parameters, the driver refuses by itself (OURS).
  '08': 'infrastructure',
  '53': 'infrastructure', // disk full, out of memory, too many connections
  '57': 'infrastructure', // shutdown, crash, starting up
  '58': 'infrastructure', // the server's own I/O
  '28': 'infrastructure', // password or role: a rotation in progress
  '22': 'poison', // data exceptions
  '54': 'poison', // program limits: a key too long for an index
  '21': 'defect',
  '23': 'defect', // what remains after the conflict rules
  '42': 'defect', // a table or column missing, or not ours
  XX: 'defect',
};
const DRIVER = new Set([
  ...['CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT'],
  ...['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN'],
  ...['ENOTFOUND', 'EAI_AGAIN', 'ENOENT', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT'],
]);
/** The driver's word for a statement of ours that can never work. */
const OURS = new Set(['MAX_PARAMETERS_EXCEEDED', 'UNDEFINED_VALUE', 'UNSAFE_TRANSACTION']);

/** The class of an error out of `save` or `load`. Drizzle wraps the driver's error: the cause counts. Never throws. */
export function classify(error: unknown): Classified {
  if (error instanceof Fenced) return { class: 'fenced', code: 'fenced', known: true };
  if (error instanceof Conflict) return { class: 'conflict', code: 'conflict', known: true };
  if (error instanceof Halt) return { class: 'defect', code: 'halt', known: true };
  if (error instanceof BrokenInvariant) return { class: 'defect', code: 'invariant', known: true };
  const code = codeOf(error);
  if (code !== undefined && DRIVER.has(code)) return { class: 'infrastructure', code, known: true };
  if (code !== undefined && OURS.has(code)) return { class: 'defect', code, known: true };
  if (code !== undefined && /^[0-9A-Z]{5}$/.test(code)) {
    const known = BY_STATE[code] ?? BY_CLASS[code.slice(0, 2)];
    return { class: known ?? 'infrastructure', code, known: known !== undefined };
  }
  // A defect of our own code would fail the same way for ever.
  if (error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError)
    return { class: 'defect', code: error.name, known: true };
  return { class: 'infrastructure', code: code ?? '_OTHER', known: false };
}

function codeOf(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string') return code;
  }
  return undefined;
}

/** A text about an error that may be logged: its class and code, and no word of the server's or driver's `detail`,
 *  query or parameters, which can hold personal data. */
export function describe(error: unknown): {
  'error.type': string;
  'exception.type': string;
  'exception.message': string;
} {
  const { code } = classify(error);
  let root: unknown = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  const own = [Fenced, Conflict, Halt, BrokenInvariant].some((each) => root instanceof each);
  const name = root instanceof Error ? root.name : typeof root;
  const server = Object(root) as { routine?: unknown; table_name?: unknown; constraint_name?: unknown };
  const message = own
    ? (root as Error).message
    : [code, server.routine, server.table_name, server.constraint_name].filter((x) => typeof x === 'string').join(' ');
  return { 'error.type': code, 'exception.type': name, 'exception.message': message };
}
