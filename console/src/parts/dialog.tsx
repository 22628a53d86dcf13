// dialog.tsx — a question before an act: the browser's own <dialog>, with what it is about and how much of it.

import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { problemFor } from '../api.ts';
import { Icon } from '../icons.tsx';
import { Problem } from './states.tsx';

type DialogProps = {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  foot?: ComponentChildren;
  isWide?: boolean;
};

/** Shown as long as it is rendered. Escape and the cross close it; a click beside it does not: what was typed would be lost. */
export function Dialog({ title, onClose, children, foot, isWide = false }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    box.current?.showModal();
    return () => (before instanceof HTMLElement && before.isConnected ? before.focus() : undefined);
  }, []);
  return (
    <dialog
      ref={box}
      class="dialog"
      data-wide={isWide}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <div class="dialog-frame">
        <header class="dialog-head">
          <h2 id={id}>{title}</h2>
          <button type="button" class="icon-button" onClick={onClose} aria-label="Close">
            <Icon name="close" />
          </button>
        </header>
        <div class="dialog-body">{children}</div>
        {foot && <footer class="dialog-foot">{foot}</footer>}
      </div>
    </dialog>
  );
}

export type ConfirmProps = {
  title: string;
  /** What it is about and how much: "5 dead letters of 4 users, where code = transition". */
  scope: ComponentChildren;
  children?: ComponentChildren;
  /** On the button: "Discard 5". */
  act: string;
  isDangerous?: boolean;
  /** Something of `children` must be said first. */
  isIncomplete?: boolean;
  /** Whether one says why; the text goes into the audit. */
  reason?: 'asked' | 'needed';
  reasonLabel?: string;
  /** May throw: then the dialog stays and says what went wrong. */
  onConfirm: (reason: string) => Promise<void>;
  onClose: () => void;
};

export function Confirm({
  title,
  scope,
  children,
  act,
  isDangerous = false,
  isIncomplete = false,
  reason,
  reasonLabel = 'Reason',
  onConfirm,
  onClose,
}: ConfirmProps) {
  const [text, setText] = useState('');
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<ProblemSaid>();
  const isMissing = isIncomplete || (reason === 'needed' && text.trim() === '');
  const confirm = async () => {
    if (isMissing || isBusy) return;
    setBusy(true);
    setProblem(undefined);
    try {
      await onConfirm(text.trim());
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
      <button
        type="button"
        class={`button ${isDangerous ? 'danger' : 'primary'}`}
        onClick={confirm}
        disabled={isBusy || isMissing}
      >
        {isBusy ? 'Working…' : act}
      </button>
    </>
  );
  return (
    <Dialog title={title} onClose={onClose} foot={foot}>
      <p class="dialog-scope">{scope}</p>
      {children}
      {reason && (
        <label class="field">
          <span>
            {reasonLabel}
            {reason === 'needed' ? '' : ' (optional)'}
          </span>
          <textarea
            rows={2}
            maxLength={500}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            required={reason === 'needed'}
          />
          <small class="muted">It stands in the audit.</small>
        </label>
      )}
      {problem && <Problem problem={problem} />}
    </Dialog>
  );
}

type ReasonProps = {
  isNeeded: boolean;
  reason: string;
  onReason: (reason: string) => void;
  children: ComponentChildren;
};

/** Why one does it; `children` say where that is kept. */
export function ReasonField({ isNeeded, reason, onReason, children }: ReasonProps) {
  return (
    <label class="field">
      <span>Why {isNeeded ? '(needed)' : '(optional)'}</span>
      <textarea
        rows={2}
        maxLength={500}
        required={isNeeded}
        value={reason}
        onInput={(event) => onReason(event.currentTarget.value)}
      />
      <small class="muted">{children}</small>
    </label>
  );
}
