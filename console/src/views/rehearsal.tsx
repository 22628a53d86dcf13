// rehearsal.tsx — an act that is tried out before it is done: how it is asked for, and what would become of each.
//
// Owns:          asking, once for each act that is another one. Does not own: which act (the dialogs), the sentences (acts-words.ts).
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Preview, Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { post, problemFor } from '../api.ts';
import { count } from '../format.ts';
import { Note, OutcomeMark, StateBadge, Table, UserId } from '../parts.ts';
import { type ActKind, linesOf, othersInWords } from './acts-words.ts';
import { visible } from './dead-letters-text.ts';

/** A rehearsal keeps nothing, so nobody is asked why yet; but where the act takes a reason, the server does. */
export const REHEARSED = 'tried out';

/** What `body` (with `dryRun`) would do, asked of the server anew when it or the route is another one. `body` undefined: nothing can be
 *  asked yet. `afterMs`: once it has not changed for so long. */
export function useRehearsal<T>(
  route: string,
  body: object | undefined,
  afterMs = 0,
): { preview?: T; problem?: ProblemSaid; again: () => void } {
  const [seen, setSeen] = useState<{ preview?: T; problem?: ProblemSaid }>({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    setSeen({});
    if (body === undefined) return;
    const abort = new AbortController();
    const ask = () =>
      void post<T>(route, body, abort.signal).then(
        (preview) => abort.signal.aborted || setSeen({ preview }),
        (error: unknown) => abort.signal.aborted || setSeen({ problem: problemFor(error) }),
      );
    const timer = afterMs > 0 ? setTimeout(ask, afterMs) : ask();
    return () => {
      if (timer !== undefined) clearTimeout(timer);
      abort.abort();
    };
  }, [route, JSON.stringify(body), turn]);
  return { ...seen, again: () => setTurn(turn + 1) };
}

type RehearsedProps = {
  preview: Preview;
  kind: ActKind;
  sum: ComponentChildren;
  /** Above the list of them. */
  each: string;
  /** Beside a number of one outcome; default: the act's own words. */
  whyOf?: (outcome: string) => string | undefined;
};

export function Rehearsed({ preview, kind, sum, each, whyOf = () => undefined }: RehearsedProps) {
  const lines = linesOf(preview.outcomes);
  const others = othersInWords(preview);
  return (
    <>
      <p class="rehearsal-sum">{sum}</p>
      {lines.length > 0 && (
        <ul class="rehearsal-lines">
          {lines.map(({ outcome, n, why }) => (
            <li key={outcome}>
              <span class="number">{count(n)}</span>
              <OutcomeMark outcome={outcome} />
              <span class="muted">{whyOf(outcome) ?? why}</span>
            </li>
          ))}
        </ul>
      )}
      {others && <p>{others}</p>}
      {preview.note !== null && <Note tone="warn">{preview.note}</Note>}
      {preview.items.length > 0 && (
        <details class="rehearsal-each" open={preview.items.length <= 5}>
          <summary>
            {each}
            {preview.items.length < preview.matched ? `: the first ${count(preview.items.length)}` : ''}
          </summary>
          <EachOf items={preview.items} kind={kind} />
        </details>
      )}
    </>
  );
}

type Item = Preview['items'][number];

function EachOf({ items, kind }: { items: readonly Item[]; kind: ActKind }) {
  return (
    <Table
      caption="What would become of each"
      rows={items}
      keyOf={(item) => item.id}
      columns={[
        // In a rehearsal what waits would become dead letters whose numbers will be others.
        ...(kind === 'give up'
          ? []
          : [{ head: 'Number', kind: 'tight' as const, cell: ({ id }: Item) => <span class="number">{id}</span> }]),
        {
          head: 'User',
          kind: 'tight',
          cell: ({ userId }) =>
            userId === null ? <span class="muted">nobody’s</span> : <UserId id={userId} copy={false} most={20} />,
        },
        {
          head: 'Event',
          kind: 'tight',
          cell: (item) => (
            <span title={`${item.topic}/${item.partition}@${item.offset}`}>
              {item.type ?? <span class="muted">not known</span>}
            </span>
          ),
        },
        { head: 'Would be', kind: 'wide', cell: (item) => <Would {...item} /> },
      ]}
    />
  );
}

function Would({ outcome, from, to, code, message }: Item) {
  return (
    <span class="would">
      <OutcomeMark outcome={outcome} />
      {outcome === 'applied' && to !== null && (
        <span class="would-move">
          <StateBadge state={from} /> → <StateBadge state={to} />
        </span>
      )}
      {outcome === 'dead' && <span class="muted">{visible(`${code}${message === null ? '' : `: ${message}`}`)}</span>}
    </span>
  );
}
