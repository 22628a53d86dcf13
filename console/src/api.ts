// api.ts — asking the server: typed replies, problems as it tells them (RFC 9457), and how a component asks.
//
// Owns:          requests and their errors. Does not own: the stream (live.ts), types of replies (src/api/contract.ts).
//
// F1  Whatever goes wrong becomes a `Problem`: of the server, of the way to it, or of a reply that is none.
// F2  An act carries the header that a foreign page can not send, and a key of its own; where no clear answer came, the same act sent
//     again carries the same key, so that it is never done twice.
// F3  What is asked is aborted when nobody waits for it any more; a reply that comes late is dropped.
import { signal } from '@preact/signals';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { Page, Problem } from '../../src/api/contract.ts';
import { BASE, searchOf } from './router.ts';

export type Asked = Readonly<Record<string, string | number | undefined>>;

export class Failed extends Error {
  override name = 'Failed';
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

/** Called where the server no longer knows who is asking (session.ts). */
export let onUnauthenticated: () => void = () => {};
export function whenUnauthenticated(act: () => void): void {
  onUnauthenticated = act;
}

/** Raised when the service can be reached again (live.ts): what could not be asked meanwhile is asked then. */
export const returns = signal(0);

/** `route`: below /api/v1, "users/auth0%7C42". Throws Failed. */
export function get<T>(route: string, query: Asked = {}, signal?: AbortSignal): Promise<T> {
  return send<T>('GET', route + searchOf(query), undefined, signal);
}
export function post<T>(route: string, body: unknown = {}, signal?: AbortSignal): Promise<T> {
  return send<T>('POST', route, body, signal);
}
/** `DELETE`: of holds. */
export function remove<T>(route: string, body?: unknown): Promise<T> {
  return send<T>('DELETE', route, body);
}

export function urlOf(route: string, query: Asked = {}): string {
  return `${BASE}api/v1/${route}${searchOf(query)}`;
}

async function send<T>(method: string, route: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' };
  const act = `${method} ${route} ${JSON.stringify(body)}`;
  if (method !== 'GET') {
    headers['x-requested-with'] = 'customer-service-console';
    headers['idempotency-key'] = keyOf(act);
    if (body !== undefined) headers['content-type'] = 'application/json';
  }
  const init: RequestInit = { method, headers, credentials: 'same-origin' };
  if (body !== undefined) init.body = JSON.stringify(body);
  if (signal !== undefined) init.signal = signal;
  const response = await fetch(urlOf(route), init).catch((error: unknown) => {
    if (signal?.aborted) throw error;
    throw new Failed(UNREACHED);
  });
  const text = await response.text();
  // 5xx: it may have been done all the same.
  if (response.status < 500) unanswered.delete(act);
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T;
  if (response.status === 401) onUnauthenticated();
  throw new Failed(problemOf(response.status, text));
}

const UNREACHED: Problem = {
  type: '/problems/unreached',
  title: 'The service does not answer',
  status: 0,
  detail: 'It may be starting anew, or the network is away.',
};

function problemOf(status: number, text: string): Problem {
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.title === 'string') return problem;
  } catch {
    // A proxy's page.
  }
  return { type: 'about:blank', title: `The service answered ${status}`, status };
}

/** Acts without a clear answer, with their keys. Somebody who does the same much later means it anew. */
const unanswered = new Map<string, { key: string; atMs: number }>();
const SAME_ACT_MS = 120_000;

function keyOf(act: string): string {
  for (const [other, { atMs }] of unanswered) if (Date.now() - atMs > SAME_ACT_MS) unanswered.delete(other);
  const entry = unanswered.get(act) ?? { key: key(), atMs: Date.now() };
  unanswered.set(act, entry);
  return entry.key;
}

/** Not `crypto.randomUUID`: it is only there on https and on loopback. */
function key(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** 32 hex digits, where the server named its trace. */
export function traceOf({ instance }: Problem): string | undefined {
  return /^urn:trace:([0-9a-f]{32})$/.exec(instance ?? '')?.[1];
}

export function problemFor(error: unknown): Problem {
  if (error instanceof Failed) return error.problem;
  return { type: 'about:blank', title: 'This page made a mistake', status: 0, detail: String(error) };
}

export type Answer<T> = {
  /** The last one of this route; kept, while the same is asked again with another query. */
  value: T | undefined;
  problem: Problem | undefined;
  isLoading: boolean;
  /** When `value` came, ms since 1970. */
  atMs: number | undefined;
  /** Asks again. */
  again: () => void;
};

type Kept<T> = {
  route: string | null;
  value: T | undefined;
  problem: Problem | undefined;
  isLoading: boolean;
  atMs: number | undefined;
};

/** What the server says to a GET, asked again when route or query change. `null`: nothing is asked. */
export function useAnswer<T>(route: string | null, query: Asked = {}): Answer<T> {
  const [kept, keep] = useState<Kept<T>>({
    route: null,
    value: undefined,
    problem: undefined,
    isLoading: route !== null,
    atMs: undefined,
  });
  const [turn, setTurn] = useState(0);
  const asked = route === null ? null : route + searchOf(query);
  const again = useCallback(() => setTurn((turn) => turn + 1), []);
  const back = kept.problem === undefined ? undefined : returns.value;
  const asksAgain = useRef(back);
  useEffect(() => {
    if (route === null) return;
    const abort = new AbortController();
    keep((before) => ({ ...before, route, value: before.route === route ? before.value : undefined, isLoading: true }));
    get<T>(asked as string, {}, abort.signal).then(
      (value) => abort.signal.aborted || keep({ route, value, problem: undefined, isLoading: false, atMs: Date.now() }),
      (error: unknown) => {
        if (abort.signal.aborted) return;
        keep((before) => ({ ...before, problem: problemFor(error), isLoading: false }));
      },
    );
    return () => abort.abort();
  }, [route, asked, turn]);
  useEffect(() => {
    if (back !== undefined && asksAgain.current !== undefined && back > asksAgain.current) again();
    asksAgain.current = back;
  }, [back]);
  const isOfThis = kept.route === route;
  return {
    value: isOfThis ? kept.value : undefined,
    problem: isOfThis ? kept.problem : undefined,
    isLoading: route !== null && (!isOfThis || kept.isLoading),
    atMs: kept.atMs,
    again,
  };
}

export type Pages<T> = Omit<Answer<T>, 'value'> & {
  /** Of all pages so far; undefined before the first. */
  items: T[] | undefined;
  /** There is a next page. */
  hasMore: boolean;
  isLoadingMore: boolean;
  more: () => void;
};

/** A list, page by page; from the first again when route or query change. */
export function usePages<T>(route: string | null, query: Asked = {}): Pages<T> {
  const first = useAnswer<Page<T>>(route, query);
  const asked = route === null ? '' : route + searchOf(query);
  const none = {
    of: first.value,
    items: [] as T[],
    cursor: first.value?.nextCursor,
    problem: undefined as Problem | undefined,
    isLoading: false,
  };
  const [kept, keep] = useState(none);
  const latest = useRef(first.value);
  latest.current = first.value;
  const rest = kept.of === first.value ? kept : none;
  const more = () => {
    const of = first.value;
    if (route === null || rest.cursor === undefined || rest.isLoading) return;
    keep({ ...rest, isLoading: true });
    get<Page<T>>(route, { ...query, cursor: rest.cursor }).then(
      (page) => {
        if (latest.current !== of) return;
        keep({
          of,
          items: [...rest.items, ...page.items],
          cursor: page.nextCursor,
          problem: undefined,
          isLoading: false,
        });
      },
      (error: unknown) => latest.current === of && keep({ ...rest, problem: problemFor(error), isLoading: false }),
    );
  };
  useEffect(() => keep(none), [asked]);
  return {
    items: first.value && [...first.value.items, ...rest.items],
    problem: first.problem ?? rest.problem,
    isLoading: first.isLoading,
    atMs: first.atMs,
    again: first.again,
    hasMore: rest.cursor !== undefined,
    isLoadingMore: rest.isLoading,
    more,
  };
}
