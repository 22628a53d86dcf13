// partitions-move.tsx — the answers to a halted partition, and the dialogs in which one is given: first what would be lost, then the act.
//
// Owns:          how the answers are shown. Does not own: which there are, and their words (partitions-sums.ts).
//
// W1  Nothing can be confirmed that was not tried out first; what was tried out is what is done, or it is a conflict.
import { useState } from 'preact/hooks';
import type { Moved, PartitionRow, Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { post, problemFor } from '../api.ts';
import type { IconName } from '../icons.tsx';
import { Act, Confirm, CopyButton, Dialog, Loading, Note, Problem, ReasonField, say } from '../parts.ts';
import { path } from '../router.ts';
import { visible } from './dead-letters-text.ts';
import {
  type Answer,
  answersTo,
  commandOf,
  haltInWords,
  isOfAnotherLog,
  isOffset,
  moveInWords,
} from './partitions-sums.ts';
import { REHEARSED, useRehearsal } from './rehearsal.tsx';

export type Answering = { row: PartitionRow; answer: Answer };
export type OnAnswer = (asked: Answering) => void;

const BUTTONS: Readonly<Record<Answer, { says: string; icon: IconName }>> = {
  'accept-loss': { says: 'Accept loss…', icon: 'last' },
  'set-position': { says: 'Set position…', icon: 'next' },
  resume: { says: 'Resume…', icon: 'play' },
};

/** The answers that fit its reason, the likeliest first. */
export function Answers({ row, onAnswer }: { row: PartitionRow; onAnswer: OnAnswer }) {
  return answersTo(row).map((answer) => {
    const { says, icon } = BUTTONS[answer];
    return (
      <Act key={answer} onAct={() => onAnswer({ row, answer })} icon={icon} isSmall>
        {says}
      </Act>
    );
  });
}

export function AnswerDialog({ row, answer, onClose }: Answering & { onClose: () => void }) {
  if (answer === 'resume') return <ResumeDialog row={row} onClose={onClose} />;
  return <MoveDialog row={row} answer={answer} onClose={onClose} />;
}

function ResumeDialog({ row, onClose }: { row: PartitionRow; onClose: () => void }) {
  const [isBack, setBack] = useState(false);
  const isOfLog = isOfAnotherLog(row.why);
  return (
    <Confirm
      title={`Resume ${row.topic}/${row.partition}`}
      scope={<>It goes on from position {row.position}, within 5 s, on whichever process has it.</>}
      act="Resume 1 partition"
      isIncomplete={isOfLog && !isBack}
      reason="needed"
      reasonLabel="What was done about it"
      onConfirm={async (reason) => {
        const word = isOfLog ? { oldLogIsBack: true } : {};
        await post(path`partitions/${row.topic}/${row.partition}/resume`, { reason, ...word });
        say(`${row.topic}/${row.partition} goes on`);
      }}
      onClose={onClose}
    >
      <Why row={row} />
      {isOfLog && (
        <label class="check">
          <input type="checkbox" checked={isBack} onChange={(event) => setBack(event.currentTarget.checked)} />
          <span>
            <strong>The old log is back.</strong> Of one that was made anew, what lies below {row.position} would never
            be read.
          </span>
        </label>
      )}
    </Confirm>
  );
}

function Why({ row }: { row: PartitionRow }) {
  const { happened, todo } = haltInWords(row.why);
  return (
    <Note tone="warn">
      <p>{happened}</p>
      <p class="message">{visible(row.why ?? '')}</p>
      <p>{todo}</p>
    </Note>
  );
}

// ---- a position that is moved -----------------------------------------------------------------------------------------------

type Move = { row: PartitionRow; answer: 'accept-loss' | 'set-position' };

function MoveDialog({ row, answer, onClose }: Move & { onClose: () => void }) {
  const [to, setTo] = useState(row.logStart ?? '0');
  const [isNew, setNew] = useState(answer === 'set-position');
  const [reason, setReason] = useState('');
  const [problem, setProblem] = useState<ProblemSaid>();
  const [isBusy, setBusy] = useState(false);
  const choice = answer === 'set-position' ? { to, newLog: isNew } : {};
  // The row stays what it was when the dialog was opened.
  const canAsk = answer === 'accept-loss' || isOffset(to);
  const body = canAsk ? { ...bodyOf(row, REHEARSED), ...choice, dryRun: true } : undefined;
  const tried = useRehearsal<Moved>(routeOf({ row, answer }), body, answer === 'accept-loss' ? 0 : TYPED_MS);
  const moved = tried.preview;
  const isTrying = canAsk && moved === undefined && tried.problem === undefined;
  const name = `${row.topic}/${row.partition}`;
  const whyNot = isBusy
    ? 'It is being done.'
    : moved === undefined
      ? 'It is tried out first.'
      : reason.trim() === ''
        ? 'Say why first.'
        : undefined;

  const move = async () => {
    if (moved === undefined) return;
    setBusy(true);
    setProblem(undefined);
    try {
      const seen = answer === 'accept-loss' ? { logStart: moved.position } : {};
      await post(routeOf({ row, answer }), { ...bodyOf(row, reason.trim()), ...choice, ...seen });
      say(`${name} goes on at ${moved.position}`);
      onClose();
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
      <Act onAct={() => void move()} isDangerous whyNot={whyNot}>
        {isBusy ? 'Working…' : answer === 'accept-loss' ? 'Accept the loss' : 'Set the position'}
      </Act>
    </>
  );
  const title = answer === 'accept-loss' ? `Accept the loss of ${name}` : `Set the position of ${name}`;
  return (
    <Dialog title={title} onClose={onClose} foot={foot} isWide>
      <p class="dialog-scope">{SAYS[answer]}</p>
      <Why row={row} />
      {answer === 'set-position' && (
        <>
          <label class="field">
            <span>Go on at offset</span>
            <input
              class="input"
              inputMode="numeric"
              value={to}
              aria-invalid={!isOffset(to)}
              onInput={(event) => setTo(event.currentTarget.value.trim())}
            />
            <small class="muted">
              {row.logStart === null || row.high === null
                ? 'Where the log begins and ends is not known here.'
                : `When last looked at, the log began at ${row.logStart} and ended at ${row.high}.`}
            </small>
          </label>
          <label class="check">
            <input type="checkbox" checked={isNew} onChange={(event) => setNew(event.currentTarget.checked)} />
            <span>
              <strong>This is another log</strong>: the topic was made anew.
            </span>
          </label>
        </>
      )}
      <section class="move-rehearsal" aria-label="What would happen" aria-live="polite" aria-busy={isTrying}>
        {tried.problem ? (
          <Problem problem={tried.problem} again={tried.again} />
        ) : moved === undefined ? (
          isTrying ? (
            <Loading lines={2} what="Trying it out" />
          ) : (
            <p class="muted">Say at which offset.</p>
          )
        ) : (
          <p class="move-says">{moveInWords(moved)}</p>
        )}
      </section>
      <ReasonField isNeeded reason={reason} onReason={setReason}>
        It is kept with the loss, and in the audit.
      </ReasonField>
      <Cli command={commandOf(answer, row, choice)} />
      {problem && <Problem problem={problem} />}
    </Dialog>
  );
}

const SAYS = {
  'accept-loss':
    'It goes on at the start of its log, within 5 s. What lay before is never read; it can not be taken back.',
  'set-position': 'It goes on there, within 5 s. What is skipped is never read; it can not be taken back.',
} as const;

export function Cli({ command }: { command: string }) {
  return (
    <span class="acts">
      <code class="cli">{command}</code>
      <CopyButton text={command} what="command" />
    </span>
  );
}

function routeOf({ row, answer }: Move): string {
  return path`partitions/${row.topic}/${row.partition}/${answer}`;
}
function bodyOf({ generation, position }: PartitionRow, reason: string) {
  return { generation, position, reason };
}

/** Each try leaves a line in the audit: not one for every digit that is typed. */
const TYPED_MS = 600;
