// pager.tsx — the foot of a list: how much of it is shown, and the next page.
import type { Answer, Pages } from '../api.ts';
import { count } from '../format.ts';

type PagerProps = Pick<Pages<unknown>, 'items' | 'hasMore' | 'isLoadingMore' | 'more'> & { what: string };

/** `what`: "users". */
export function Pager({ items, hasMore, isLoadingMore, more, what }: PagerProps) {
  if (items === undefined || items.length === 0) return null;
  return (
    <div class="pager">
      <span class="muted">
        {hasMore
          ? `${count(items.length)} ${what} shown, there are more`
          : `${count(items.length)} ${what}, all of them`}
      </span>
      {hasMore && (
        <button type="button" class="button small" onClick={more} disabled={isLoadingMore}>
          {isLoadingMore ? 'Loading…' : 'Show more'}
        </button>
      )}
    </div>
  );
}

/** Of a list of what happened last: how much was looked at. */
export function Looked({
  answer,
  what,
}: {
  answer: Answer<{ items: unknown[]; scanned: number; complete: boolean }>;
  what: string;
}) {
  if (answer.value === undefined) return null;
  const { items, scanned, complete } = answer.value;
  return (
    <p class="pager muted">
      {`${count(items.length)} ${what}, of the latest ${count(scanned)} events${complete ? ': all there are' : '; older ones were not looked at'}`}
    </p>
  );
}
