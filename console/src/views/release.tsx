// release.tsx — the end of a hold, tried out before: how much waits, and what would become of it.
//
// Owns:          the dialog, wherever a hold is shown. Does not own: which one (the view), the sentences (acts-words.ts).
import { useEffect, useState } from 'preact/hooks';
import type { HoldRow, Problem as ProblemSaid, ReleasePreview } from '../../../src/api/contract.ts';
import { post, problemFor, remove } from '../api.ts';
import { count, upTo } from '../format.ts';
import { Confirm, Loading, Note, OutcomeMark, Problem, Since, say } from '../parts.ts';
import { path } from '../router.ts';
import { EachOf } from './acts.tsx';
import { linesOf, othersInWords, releaseInWords } from './acts-words.ts';
import { visible } from './dead-letters-text.ts';

/** As many waiting events of a hold are counted. */
export const MOST_COUNTED = 1_000;

type ReleaseProps = { hold: HoldRow; onClose: () => void; onDone: () => void };

/** It may be confirmed while it is tried out: what a release lets go can be held again. */
export function ReleaseDialog({ hold, onClose, onDone }: ReleaseProps) {
  const { kind, id } = hold;
  const n = hold.waiting;
  return (
    <Confirm
      title={`Release ${kind} ${id}`}
      scope={
        n === 0
          ? 'Nothing waits because of it.'
          : `${n === null ? 'What waits' : `${upTo(n, MOST_COUNTED)} waiting ${n === 1 ? 'event' : 'events'}`} would be put to the machine, each in its user’s order, in the background.`
      }
      act="Release 1 hold"
      onConfirm={async () => {
        await remove(path`holds/${kind}/${id}`);
        say(`${kind} ${id} is released: what waited goes on`);
        onDone();
      }}
      onClose={onClose}
    >
      <p class="muted">
        Held by {hold.byWhom} for <Since at={hold.since} />: <q>{visible(hold.reason)}</q>
      </p>
      <Rehearsed hold={hold} />
    </Confirm>
  );
}

function Rehearsed({ hold: { kind, id } }: { hold: HoldRow }) {
  const [{ preview, problem }, setSeen] = useState<{ preview?: ReleasePreview; problem?: ProblemSaid }>({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    setSeen({});
    post<ReleasePreview>(path`holds/${kind}/${id}/release`, { dryRun: true }, abort.signal).then(
      (preview) => abort.signal.aborted || setSeen({ preview }),
      (error: unknown) => abort.signal.aborted || setSeen({ problem: problemFor(error) }),
    );
    return () => abort.abort();
  }, [kind, id, turn]);
  const others = preview && othersInWords(preview);
  return (
    <section
      class="rehearsal"
      aria-label="What would happen"
      aria-live="polite"
      aria-busy={preview === undefined && problem === undefined}
    >
      {problem ? (
        <Problem problem={problem} again={() => setTurn(turn + 1)} />
      ) : preview === undefined ? (
        <>
          <p class="muted">Trying it out: the act itself, rolled back. Nothing is written but a line of the audit.</p>
          <Loading lines={3} what="Trying it out" />
        </>
      ) : (
        <>
          <p class="rehearsal-sum">{releaseInWords(preview)}</p>
          <ul class="rehearsal-lines">
            {linesOf(preview.outcomes).map(({ outcome, n, why }) => (
              <li key={outcome}>
                <span class="number">{count(n)}</span>
                <OutcomeMark outcome={outcome} />
                <span class="muted">{outcome === 'dead' ? 'Look at them under Dead letters then.' : why}</span>
              </li>
            ))}
          </ul>
          {others && <p>{others}</p>}
          {preview.note !== null && <Note tone="warn">{preview.note}</Note>}
          {preview.items.length > 0 && (
            <details class="rehearsal-each" open={preview.items.length <= 5}>
              <summary>
                What would become of each
                {preview.items.length < preview.matched ? `: the first ${count(preview.items.length)}` : ''}
              </summary>
              <EachOf items={preview.items} kind="give up" />
            </details>
          )}
        </>
      )}
    </section>
  );
}
