// release.tsx — the end of a hold, tried out before: how much waits, and what would become of it.
//
// Owns:          the dialog, wherever a hold is shown. Does not own: which one (the view), the sentences (acts-words.ts).
import type { HoldRow, ReleasePreview } from '../../../src/api/contract.ts';
import { remove } from '../api.ts';
import { upTo } from '../format.ts';
import { Confirm, Loading, Problem, Since, say } from '../parts.ts';
import { path } from '../router.ts';
import { releaseInWords } from './acts-words.ts';
import { visible } from './dead-letters-text.ts';
import { Rehearsed, useRehearsal } from './rehearsal.tsx';

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
      <TriedOut hold={hold} />
    </Confirm>
  );
}

function TriedOut({ hold: { kind, id } }: { hold: HoldRow }) {
  const { preview, problem, again } = useRehearsal<ReleasePreview>(path`holds/${kind}/${id}/release`, { dryRun: true });
  return (
    <section
      class="rehearsal"
      aria-label="What would happen"
      aria-live="polite"
      aria-busy={preview === undefined && problem === undefined}
    >
      {problem ? (
        <Problem problem={problem} again={again} />
      ) : preview === undefined ? (
        <>
          <p class="muted">Trying it out: the act itself, rolled back. Nothing is written but a line of the audit.</p>
          <Loading lines={3} what="Trying it out" />
        </>
      ) : (
        <Rehearsed
          preview={preview}
          kind="give up"
          sum={releaseInWords(preview)}
          each="What would become of each"
          whyOf={(outcome) => (outcome === 'dead' ? 'Look at them under Dead letters then.' : undefined)}
        />
      )}
    </section>
  );
}
