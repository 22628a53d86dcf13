// at.ts — a user as of one step, asked when the reader stays on it for a moment, and kept.
import { useEffect, useState } from 'preact/hooks';
import type { Problem, UserAt } from '../../../src/api/contract.ts';
import { get, problemFor } from '../api.ts';
import { path } from '../router.ts';

/** Nobody waits for the steps that are only passed by. */
const PAUSE_MS = 120;
const MOST_KEPT = 300;
const kept = new Map<string, UserAt>();

/** `steps`: of its history so far: when there are more, the fold of the whole is another one. */
export function useAt(userId: string, version: number | undefined, steps: number, isRevealed: boolean) {
  const key = version === undefined ? undefined : JSON.stringify([userId, version, steps, isRevealed]);
  const known = key === undefined ? undefined : kept.get(key);
  const [last, setLast] = useState<{ key: string; value?: UserAt; problem?: Problem }>();
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (key === undefined || kept.has(key)) return;
    const abort = new AbortController();
    const ask = () =>
      get<UserAt>(path`users/${userId}/at`, { version, ...(isRevealed ? { reveal: 'true' } : {}) }, abort.signal).then(
        (value) => {
          if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value as string);
          kept.set(key, value);
          setLast({ key, value });
        },
        (error: unknown) => abort.signal.aborted || setLast({ key, problem: problemFor(error) }),
      );
    const timer = setTimeout(ask, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key, turn]);
  const again = () => setTurn(turn + 1);
  if (known !== undefined) return { value: known, problem: undefined, isLoading: false, again };
  if (last?.key === key && last?.problem) return { value: undefined, problem: last.problem, isLoading: false, again };
  // The step before stays in sight, greyed, until this one is there.
  return { value: last?.value, problem: undefined, isLoading: key !== undefined, again };
}
