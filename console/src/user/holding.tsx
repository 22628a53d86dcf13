// holding.tsx — an operator's pause on one user: its events wait, in order, until it is released.
import { useState } from 'preact/hooks';
import type { HoldRow, UserView } from '../../../src/api/contract.ts';
import { post } from '../api.ts';
import { many } from '../format.ts';
import { Act, Confirm, Note, Since, say } from '../parts.ts';
import { ReleaseDialog } from '../views/release.tsx';

type HoldingProps = { userId: string; view: UserView; onDone: () => void };

export function HoldButton({ userId, view, onDone }: HoldingProps) {
  const [isAsking, ask] = useState(false);
  const own = view.holds.find(({ kind }) => kind === 'user');
  if (own !== undefined) return null;
  return (
    <>
      <Act icon="hold" onAct={() => ask(true)}>
        Hold
      </Act>
      {isAsking && (
        <Confirm
          title="Hold this user"
          scope={
            <>
              Events of <span class="mono">{userId}</span> wait from the next batch on, in their order, until somebody
              releases it. Other users go on.
            </>
          }
          act="Hold 1 user"
          reason="needed"
          onClose={() => ask(false)}
          onConfirm={async (reason) => {
            await post('holds', { kind: 'user', id: userId, reason });
            say('Held: its events wait');
            onDone();
          }}
        />
      )}
    </>
  );
}

export function HoldNotes({ view, onDone }: HoldingProps) {
  return (
    <>
      {view.holds.map((hold) => (
        <HoldNote key={hold.kind} hold={hold} onDone={onDone} />
      ))}
    </>
  );
}

function HoldNote({ hold, onDone }: { hold: HoldRow; onDone: () => void }) {
  const [isAsking, ask] = useState(false);
  const what = hold.kind === 'user' ? 'It is on hold' : `Its customer ${hold.id} is on hold`;
  return (
    <Note tone="warn" icon="hold">
      <div class="row">
        <span>
          <strong>{what}</strong>, by {hold.byWhom}, for <Since at={hold.since} />: “{hold.reason}”.{' '}
          {many(hold.waiting, 'event')} waiting.
        </span>
        <span class="grow" />
        {hold.kind === 'user' && (
          <Act isSmall onAct={() => ask(true)}>
            Release
          </Act>
        )}
      </div>
      {isAsking && <ReleaseDialog hold={hold} onClose={() => ask(false)} onDone={onDone} />}
    </Note>
  );
}
