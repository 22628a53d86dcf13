// dead-letters-detail.tsx — one dead letter: why it is one, whom it holds up, what was done about it, what it is made of.
import { useState } from 'preact/hooks';
import type { Content, DeadLetterView, Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { post, problemFor, useAnswer } from '../api.ts';
import { count, many, moment, upTo } from '../format.ts';
import { Icon } from '../icons.tsx';
import {
  Act,
  Badge,
  Coordinates,
  CopyButton,
  CustomerId,
  Dialog,
  Facts,
  Id,
  Loading,
  Note,
  NotFound,
  Problem,
  ReasonField,
  StateBadge,
  say,
  Time,
  TraceLink,
  UserId,
} from '../parts.ts';
import { hrefOf, path } from '../router.ts';
import { session } from '../session.ts';
import type { ActAsked } from './acts.tsx';
import { Marks } from './dead-letters.tsx';
import { Detail, RecordContent } from './dead-letters-parts.tsx';
import { jsonFault, prettyJson, visible } from './dead-letters-text.ts';

type DetailProps = {
  id: string;
  backTo: string;
  onAct: (act: ActAsked) => void;
  /** It is another one now: the list is old. */
  onChanged: () => void;
};

export function DeadLetterDetail({ id, backTo, onAct, onChanged }: DetailProps) {
  const { value, problem, isLoading, again } = useAnswer<DeadLetterView>(
    /^\d{1,15}$/.test(id) ? path`dead-letters/${id}` : null,
  );
  const [revealed, setRevealed] = useState<Content>();
  const [isEditing, setEditing] = useState(false);
  const frame = { backTo, what: 'All dead letters', name: `Dead letter ${id}` };
  if (problem?.status === 404 || (!isLoading && value === undefined && problem === undefined))
    return (
      <Detail {...frame}>
        <NotFound what={`dead letter ${id}`}>It may never have been one: they are kept when they are settled.</NotFound>
      </Detail>
    );
  if (problem)
    return (
      <Detail {...frame}>
        <Problem problem={problem} again={again} />
      </Detail>
    );
  if (value === undefined)
    return (
      <Detail {...frame}>
        <Loading lines={10} what="Loading the dead letter" />
      </Detail>
    );
  const letter = value;
  const isOpen = letter.status === 'open' || letter.status === 'redriving';
  const whyNot = isOpen ? undefined : `It is ${letter.status} already.`;
  const chosen = { ids: [letter.id] };
  return (
    <Detail
      {...frame}
      head={
        <>
          <h2>
            Dead letter <span class="number">{letter.id}</span> <CopyButton text={String(letter.id)} what="number" />
          </h2>
          <span class="code">{letter.code}</span>
          <Marks {...letter} />
          {letter.status === 'open' && !letter.blocks && <Badge>open</Badge>}
        </>
      }
    >
      <div class="acts">
        <Act onAct={() => onAct({ kind: 'redrive', chosen, n: 1 })} icon="turn" isPrimary whyNot={whyNot}>
          Redrive…
        </Act>
        <Act onAct={() => setEditing(true)} icon="tilde" whyNot={whyNotEdit(letter)}>
          Edit and redrive…
        </Act>
        <Act onAct={() => onAct({ kind: 'discard', chosen, n: 1 })} icon="trash" isDangerous whyNot={whyNot}>
          Discard…
        </Act>
      </div>

      <section aria-label="Why">
        <h3>Why</h3>
        <p class="message">
          {visible(letter.message)}
          {letter.class && <span class="muted"> ({letter.class})</span>}
        </p>
        <Note tone="info">{letter.advice}</Note>
      </section>

      <HoldsUp letter={letter} />
      <Known letter={letter} />

      <section aria-label="What was done about it">
        <h3>Attempts and acts</h3>
        <Acts letter={letter} />
      </section>

      <section aria-label="What it is made of">
        <h3>The record</h3>
        <RecordContent
          content={letter.content}
          route={path`dead-letters/${id}`}
          revealed={revealed}
          seen={setRevealed}
        />
      </section>
      {isEditing && (
        <EditDialog
          letter={letter}
          revealed={revealed}
          onClose={() => setEditing(false)}
          onEdited={() => {
            setEditing(false);
            onChanged();
            onAct({ kind: 'redrive', chosen, n: 1 });
          }}
        />
      )}
    </Detail>
  );
}

function whyNotEdit({ status, content }: DeadLetterView): string | undefined {
  if (status !== 'open') return status === 'redriving' ? 'It is being put through.' : `It is ${status} already.`;
  if (!session.value?.mayReveal)
    return 'It needs the permission to see personal data (AUTH_PAYLOADS), which you do not have.';
  return content.base64 ? 'Its value is no text.' : undefined;
}

/** Whom it concerns, and what stands still because of it. */
function HoldsUp({ letter: { userId, userState, blocks, behind, status } }: { letter: DeadLetterView }) {
  if (userId === null)
    return <p class="muted">It is nobody’s: its record does not say which user it is of. Nothing waits behind it.</p>;
  const isOpen = status === 'open' || status === 'redriving';
  return (
    <section aria-label="Its user">
      <h3>Its user</h3>
      <p class="row">
        <UserId id={userId} />
        {userState === null ? (
          <span class="muted">does not exist</span>
        ) : (
          <>
            <span class="muted">is now</span> <StateBadge state={userState} />
          </>
        )}
        <a href={hrefOf(path`/users/${userId}`)}>Timeline</a>
      </p>
      {isOpen && (
        <p>
          {!blocks ? (
            'It holds nothing up: the user’s later events went on.'
          ) : behind === 0 ? (
            'The user’s later events would wait behind it; none has come yet.'
          ) : (
            <>
              <strong class="number">{upTo(behind, 10_000)}</strong>{' '}
              {behind === 1 ? 'event of this user waits' : 'events of this user wait'} until it is redriven or
              discarded.{' '}
              <a href={hrefOf(`/waiting?view=list&user=${encodeURIComponent(userId)}`)}>
                Show {behind === 1 ? 'it' : 'them'}
              </a>
            </>
          )}
        </p>
      )}
    </section>
  );
}

function Known({ letter }: { letter: DeadLetterView }) {
  return (
    <Facts
      facts={[
        ['Coordinates', <Coordinates {...letter} />],
        letter.generation === 0 ? undefined : ['Generation of the log', count(letter.generation)],
        ['Event', letter.type ?? 'not known'],
        ['Event id', letter.eventId === null ? '–' : <Id id={letter.eventId} what="event id" most={24} />],
        letter.customerId === null ? undefined : ['Customer', <CustomerId id={letter.customerId} />],
        ['Dialect', letter.dialect ?? 'not known'],
        ['Happened', <Time at={letter.occurredAt} exact />],
        ['First failed', <Time at={letter.firstFailedAt} exact />],
        ['Last failed', <Time at={letter.lastFailedAt} exact />],
        letter.settledAt === null ? undefined : ['Settled', <Time at={letter.settledAt} exact />],
        ['Trace', <TraceLink traceId={letter.traceId} />],
        ['Stage', letter.stage],
        ['Service', `${letter.serviceVersion}, machine ${letter.machineVersion}`],
        ['Process', letter.instance],
        letter.sha256 === null ? undefined : ['SHA-256', <Id id={letter.sha256} what="SHA-256" most={14} />],
      ]}
    />
  );
}

const DID: Readonly<Record<string, string>> = {
  redrive: 'redrove it',
  discard: 'discarded it',
  edit: 'edited it',
  reveal: 'looked at its payload',
};

function Acts({ letter: { attempts, acts, byWhom, note, forced } }: { letter: DeadLetterView }) {
  return (
    <>
      <p>
        It was tried {attempts === 1 ? 'once' : many(attempts, 'time')}.{forced && ' Its last redrive was forced.'}
        {acts.length === 0 && byWhom !== null && ` Last by ${byWhom}${note === null ? '' : `: ${note}`}.`}
      </p>
      {acts.length === 0 ? (
        byWhom === null && <p class="muted">Nobody has done anything about it yet.</p>
      ) : (
        <ol class="acts-done">
          {acts.map(({ at, who, verb, reason }) => (
            <li key={at + verb}>
              <time dateTime={at}>{moment(at)}</time> <strong>{who}</strong> {DID[verb] ?? verb}
              {reason !== null && (
                <>
                  : <q>{visible(reason)}</q>
                </>
              )}
            </li>
          ))}
        </ol>
      )}
    </>
  );
}

// ---- another value in its place -----------------------------------------------------------------------------------------------

type EditProps = { letter: DeadLetterView; revealed: Content | undefined; onClose: () => void; onEdited: () => void };

/** Its value is asked for as it is, since nobody can correct what is hidden. */
function EditDialog({ letter, revealed, onClose, onEdited }: EditProps) {
  const asked = useAnswer<DeadLetterView>(revealed ? null : path`dead-letters/${letter.id}`, { reveal: 'true' });
  const content = revealed ?? asked.value?.content;
  if (content !== undefined) return <Editor letter={letter} content={content} onClose={onClose} onEdited={onEdited} />;
  return (
    <Dialog title={`Edit dead letter ${letter.id}`} onClose={onClose} isWide>
      {asked.problem ? <Problem problem={asked.problem} again={asked.again} /> : <Loading what="Loading its value" />}
    </Dialog>
  );
}

function Editor({ letter, content, onClose, onEdited }: Omit<EditProps, 'revealed'> & { content: Content }) {
  const received = content.value ?? '';
  const start = content.editedValue ?? received;
  const [text, setText] = useState(prettyJson(start) ?? start);
  const [reason, setReason] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemSaid>();
  const fault = jsonFault(text);
  const isAsReceived = text === (prettyJson(received) ?? received);
  const whyNot =
    fault !== undefined
      ? 'It is no JSON.'
      : isAsReceived && content.editedValue === null
        ? 'Nothing was changed.'
        : reason.trim() === ''
          ? 'Say why first.'
          : isBusy
            ? 'It is being done.'
            : undefined;
  const save = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      await post(path`dead-letters/${letter.id}/edit`, { value: isAsReceived ? null : text, reason: reason.trim() });
      say(`Dead letter ${letter.id} was edited; the original stays`);
      onEdited();
    } catch (error) {
      setProblem(problemFor(error));
      setBusy(false);
    }
  };
  const foot = (
    <>
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      <Act onAct={() => void save()} isPrimary whyNot={whyNot}>
        {isBusy ? 'Working…' : 'Save and try it out'}
      </Act>
    </>
  );
  return (
    <Dialog title={`Edit dead letter ${letter.id}`} onClose={onClose} foot={foot} isWide>
      <p class="muted">
        This value takes the place of its own for the next redrive; key and headers stay, and the original is kept. It
        must be of the same user and event. Better still is a corrected event from its producer, where that can be had.
        That you see it as it was received stands in the audit.
      </p>
      <label class="field">
        <span>Value, as JSON</span>
        <textarea
          class="mono edit"
          rows={14}
          spellcheck={false}
          value={text}
          aria-invalid={fault !== undefined}
          aria-describedby="edit-fault"
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <small id="edit-fault" class={fault === undefined ? 'muted' : 'fault'} role="status">
          {fault === undefined ? (isAsReceived ? 'As it was received.' : 'It is JSON.') : `No JSON: ${fault}`}
        </small>
      </label>
      {!isAsReceived && (
        <button
          type="button"
          class="button quiet small as-received"
          onClick={() => setText(prettyJson(received) ?? received)}
        >
          <Icon name="reload" size={12} /> As it was received
        </button>
      )}
      <ReasonField isNeeded reason={reason} onReason={setReason}>
        It is kept with it, and in the audit.
      </ReasonField>
      {problem && <Problem problem={problem} />}
    </Dialog>
  );
}
