// act.tsx — a button for what only an operator may do: a viewer sees it, can not press it, and is told why.
import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from '../icons.tsx';
import { whyNotOperator } from '../session.ts';

type ActProps = {
  onAct: () => void;
  icon?: IconName;
  isDangerous?: boolean;
  isPrimary?: boolean;
  isSmall?: boolean;
  whyNot?: string | undefined;
  children: ComponentChildren;
};

/** `whyNot`: another reason why it can not be done now. */
export function Act({
  onAct,
  icon,
  isDangerous = false,
  isPrimary = false,
  isSmall = false,
  whyNot,
  children,
}: ActProps) {
  const reason = whyNotOperator.value ?? whyNot;
  const look = `button${isDangerous ? ' danger' : ''}${isPrimary ? ' primary' : ''}${isSmall ? ' small' : ''}`;
  // Not `disabled`: then nobody could reach it to hear why.
  return (
    <button
      type="button"
      class={look}
      aria-disabled={reason !== undefined}
      title={reason}
      onClick={() => reason === undefined && onAct()}
    >
      {icon && <Icon name={icon} size={14} />}
      {children}
      {reason !== undefined && <span class="sr">: {reason}</span>}
    </button>
  );
}

/** Once in a view with such buttons. */
export function WhyNot() {
  const reason = whyNotOperator.value;
  return reason === undefined ? null : (
    <p class="why-not muted">
      <Icon name="key" size={13} /> {reason}
    </p>
  );
}
