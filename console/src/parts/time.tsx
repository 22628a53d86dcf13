// time.tsx — when something was: how long ago, and exactly on a closer look.
import { signal } from '@preact/signals';
import { ago, clock, moment } from '../format.ts';

/** ms since 1970, moved on every 5 s. */
export const now = signal(Date.now());
if (globalThis.document !== undefined)
  setInterval(() => {
    if (!document.hidden) now.value = Date.now();
  }, 5_000);

export function Time({ at, exact = false }: { at: string | null | undefined; exact?: boolean }) {
  if (!at) return <span class="muted">–</span>;
  return (
    <time dateTime={at} title={`${moment(at, { ms: true })}, ${at}`}>
      {exact ? moment(at) : ago(Date.parse(at), now.value)}
    </time>
  );
}
/** How long something has been so: "3 min". */
export function Since({ at }: { at: string | number }) {
  const ms = typeof at === 'number' ? at : Date.parse(at);
  return (
    <time dateTime={new Date(ms).toISOString()} title={moment(ms, { ms: true })}>
      {ago(ms, Math.max(now.value, ms + 5_000)).replace(' ago', '')}
    </time>
  );
}
export function Clock({ at }: { at: string }) {
  return (
    <time dateTime={at} title={moment(at, { ms: true })}>
      {clock(Date.parse(at))}
    </time>
  );
}
