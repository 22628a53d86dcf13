// acts.tsx — the dialog of an act on dead letters or on what waits: first what it would do, then the act, then how far it is.
//
// Owns:          the order of these three. Does not own: the sentences (acts-words.ts), which rows are meant (the view).
//
// D1  Nothing can be confirmed that was not tried out first: the rehearsal is the act itself, rolled back by the server.
// D2  A change of what would be done (force) is tried out anew, and until then there is nothing to confirm.
// D3  The dialog may be closed while a job runs: it goes on, and stands under Operations.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JobRow, Preview, Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { post, problemFor, useAnswer } from '../api.ts';
import { count } from '../format.ts';
import { jobs, link } from '../live.ts';
import { Act, Badge, Dialog, Loading, Note, now, Problem, ReasonField, say } from '../parts.ts';
import { hrefOf } from '../router.ts';
import {
  type ActKind,
  type Chosen,
  chosenInWords,
  isForceWorthIt,
  isQuiet,
  jobInWords,
  previewInWords,
  progressOf,
  scopeOf,
} from './acts-words.ts';
import { REHEARSED, Rehearsed, useRehearsal } from './rehearsal.tsx';

export type ActAsked = {
  kind: ActKind;
  chosen: Chosen;
  /** How many they are, as far as the view knows. */
  n?: number | undefined;
};
type ActProps = ActAsked & {
  onClose: () => void;
  /** A job ended: what is shown is old. */
  onDone: () => void;
};

const ROUTES = {
  redrive: 'dead-letters/redrive',
  discard: 'dead-letters/discard',
  'give up': 'waiting/discard',
} as const;
const VERBS = { redrive: 'Redrive', discard: 'Discard', 'give up': 'Discard' } as const;

export function ActDialog({ kind, chosen, n, onClose, onDone }: ActProps) {
  const [isForced, setForced] = useState(false);
  const [reason, setReason] = useState('');
  const [job, setJob] = useState<JobRow>();
  const [problem, setProblem] = useState<ProblemSaid>();
  const [isBusy, setBusy] = useState(false);
  // What was chosen stays what it was when the dialog was opened.
  const fixed = useRef(chosen).current;
  const tried = { isForced, reason: kind !== 'redrive' || isForced ? REHEARSED : '', dryRun: true as const };
  const rehearsal = useRehearsal<Preview>(ROUTES[kind], bodyOf(kind, fixed, tried)); // D2
  const isDiscard = kind !== 'redrive';
  const isReasonNeeded = isDiscard || isForced;
  const preview = rehearsal.preview;
  const whyNot =
    preview === undefined
      ? 'It is tried out first.'
      : preview.matched === 0
        ? 'There is nothing to do.'
        : isReasonNeeded && reason.trim() === ''
          ? 'Say why first.'
          : undefined;

  const begin = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      setJob(await post<JobRow>(ROUTES[kind], bodyOf(kind, chosen, { isForced, reason: reason.trim() })));
    } catch (error) {
      setProblem(problemFor(error));
    }
    setBusy(false);
  };

  const scope = chosenInWords(chosen, kind, n ?? preview?.matched);
  const title = `${VERBS[kind]} ${scope}`;
  if (job !== undefined)
    return (
      <Dialog
        title={title}
        onClose={onClose}
        foot={
          <button type="button" class="button" onClick={onClose}>
            Close
          </button>
        }
        isWide
      >
        <JobFollowed job={job} onDone={onDone} />
      </Dialog>
    );
  const many =
    preview === undefined ? '' : ` ${count(preview.note === null ? preview.matched : (n ?? preview.matched))}`;
  const foot = (
    <>
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      <Act
        onAct={() => void begin()}
        isPrimary={!isDiscard}
        isDangerous={isDiscard}
        whyNot={isBusy ? 'It is being done.' : whyNot}
      >
        {isBusy ? 'Working…' : `${VERBS[kind]}${many}${isForced ? ', by force' : ''}`}
      </Act>
    </>
  );
  return (
    <Dialog title={title} onClose={onClose} foot={foot} isWide>
      <p class="muted">{SAYS[kind]}</p>
      <section class="rehearsal" aria-label="What would happen" aria-live="polite" aria-busy={preview === undefined}>
        {rehearsal.problem ? (
          <Problem problem={rehearsal.problem} again={rehearsal.again} />
        ) : preview === undefined ? (
          <>
            <p class="muted">Trying it out: the act itself, rolled back. Nothing is written but a line of the audit.</p>
            <Loading lines={4} what="Trying it out" />
          </>
        ) : (
          <Rehearsed
            preview={preview}
            kind={kind}
            sum={previewInWords(preview, kind)}
            each={preview.matched === 1 ? 'What would become of it' : 'What would become of each'}
          />
        )}
      </section>
      {kind === 'redrive' && (isForced || (preview !== undefined && isForceWorthIt(preview))) && (
        <label class="check force">
          <input type="checkbox" checked={isForced} onChange={(event) => setForced(event.currentTarget.checked)} />
          <span>
            <strong>Force.</strong> Put them through although their users have seen newer events since: an older state
            may come back. The history will say that it was forced.
          </span>
        </label>
      )}
      {preview !== undefined && preview.matched > 0 && (
        <ReasonField isNeeded={isReasonNeeded} reason={reason} onReason={setReason}>
          It is kept with {preview.matched === 1 ? 'it' : 'them'}, and in the audit.
        </ReasonField>
      )}
      {problem && <Problem problem={problem} />}
    </Dialog>
  );
}

const SAYS = {
  redrive: 'Put to the machine again, in the place of the user’s order. Then what waited behind follows by itself.',
  discard: 'They stay as rows, marked as discarded, and what waited behind them goes on. It can not be taken back.',
  'give up':
    'They become dead letters that are discarded already, and what is behind them goes on. It can not be taken back.',
} as const;

type How = { isForced: boolean; reason: string; dryRun?: true };

function bodyOf(kind: ActKind, chosen: Chosen, { isForced, reason, dryRun }: How): object {
  return {
    ...scopeOf(chosen),
    ...(dryRun ? { dryRun } : {}),
    ...(kind === 'redrive' && isForced ? { force: true } : {}),
    ...(reason === '' ? {} : { reason }),
  };
}

// ---- jobs -------------------------------------------------------------------------------------------------------------------

/** How a job stands now: as the stream tells it, else as it was. */
function useJob(job: JobRow): JobRow {
  // While the stream stands still, what it told last may be long ago.
  const live = link.value.is === 'open' ? jobs.value?.find(({ id }) => id === job.id) : undefined;
  const isThere = live !== undefined;
  const asked = useAnswer<JobRow>(isThere || job.state !== 'running' ? null : `jobs/${job.id}`);
  const latest = live ?? asked.value ?? job;
  useEffect(() => {
    if (isThere || latest.state !== 'running') return;
    const timer = setTimeout(asked.again, 1_500);
    return () => clearTimeout(timer);
  }, [isThere, latest]);
  return latest;
}

function JobFollowed({ job: begun, onDone }: { job: JobRow; onDone: () => void }) {
  const job = useJob(begun);
  const hasEnded = job.state !== 'running';
  useEffect(() => {
    if (!hasEnded) return;
    say(endInWords(job), job.failed > 0 ? 'bad' : 'good');
    onDone();
  }, [hasEnded]);
  return (
    <>
      <JobProgress job={job} />
      {hasEnded ? (
        <Note tone={job.failed > 0 ? 'warn' : 'good'}>{endInWords(job)}</Note>
      ) : (
        <p class="muted">
          It runs in the background: this may be closed. <a href={hrefOf('/operations')}>Operations</a> shows it.
        </p>
      )}
    </>
  );
}

function endInWords({ id, kind, state, done, failed }: JobRow): string {
  const what = state === 'cancelled' ? 'was cancelled' : 'is done';
  const dead =
    failed === 0 ? '' : kind === 'redrive' ? `, ${count(failed)} are dead again` : `, ${count(failed)} failed`;
  return `Job ${id} (${kind}) ${what}: ${count(done)} settled${dead}.`;
}

/** Bar, numbers, and what can be done about it. */
export function JobProgress({ job, children }: { job: JobRow; children?: ComponentChildren }) {
  const part = progressOf(job);
  const said = jobInWords(job);
  return (
    <div class="job-progress">
      <div class="job-line">
        <JobState job={job} />
        <span class="number live-value">{said}</span>
        <span class="grow" />
        {children ?? (job.state === 'running' && <CancelJob job={job} />)}
      </div>
      <progress class="bar" max={1} {...(part === null ? {} : { value: part })} aria-label={`Job ${job.id}: ${said}`} />
    </div>
  );
}

export function JobState({ job }: { job: JobRow }) {
  if (isQuiet(job, now.value))
    return (
      <Badge tone="warn" icon="alert" title="Nothing has come of it for a minute: its process may be gone.">
        interrupted?
      </Badge>
    );
  if (job.state === 'running')
    return (
      <Badge tone="info" icon="play">
        running
      </Badge>
    );
  if (job.state === 'cancelled') return <Badge icon="close">cancelled</Badge>;
  return job.failed > 0 ? (
    <Badge tone="warn" icon="check">
      done
    </Badge>
  ) : (
    <Badge tone="good" icon="check">
      {job.state}
    </Badge>
  );
}

export function CancelJob({ job }: { job: JobRow }) {
  const [isAsked, setAsked] = useState(false);
  const cancel = async () => {
    setAsked(true);
    try {
      await post(`jobs/${job.id}/cancel`);
      say(`Job ${job.id} ends after its present step; what was done stays done`);
    } catch (error) {
      setAsked(false);
      say(problemFor(error).detail ?? problemFor(error).title, 'bad');
    }
  };
  return (
    <Act onAct={() => void cancel()} icon="close" isSmall whyNot={isAsked ? 'It was asked to end.' : undefined}>
      Cancel job
    </Act>
  );
}
