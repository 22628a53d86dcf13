// badge.tsx — a word with a picture: states of a user, outcomes of an event, how something is. Never colour alone.
import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from '../icons.tsx';

/** `tone`: how it is meant; the word says it. */
export type Tone = 'plain' | 'good' | 'warn' | 'bad' | 'info';

export function Badge({
  tone = 'plain',
  icon,
  title,
  children,
}: {
  tone?: Tone;
  icon?: IconName;
  title?: string;
  children: ComponentChildren;
}) {
  return (
    <span class="badge" data-tone={tone} title={title}>
      {icon && <Icon name={icon} size={12} />}
      {children}
    </span>
  );
}

/** A state, in its colour (state-colours.ts). null: it did not exist. */
export function StateBadge({ state }: { state: string | null }) {
  return (
    <span class="state-badge" data-state={state ?? 'absent'}>
      {state ?? 'absent'}
    </span>
  );
}

/** What became of an event. `says`: shown beside the mark to whoever can not see it, and as its title. */
const OUTCOMES: Readonly<Record<string, { icon: IconName; says: string }>> = {
  applied: { icon: 'applied', says: 'It changed the user.' },
  skipped: { icon: 'skipped', says: 'It said what was so already, and changed nothing.' },
  duplicate: { icon: 'duplicate', says: 'It had come before, and changed nothing.' },
  stale: { icon: 'stale', says: 'A newer one had come before, so it changed nothing.' },
  rejected: { icon: 'rejected', says: 'The machine does not take it in this state.' },
  waiting: { icon: 'waiting', says: 'It waits for something to happen first.' },
  dead: { icon: 'deadOutcome', says: 'It could not be used, and is kept as a dead letter.' },
};

export function OutcomeMark({ outcome, isShort = false }: { outcome: string; isShort?: boolean }) {
  const { icon, says } = OUTCOMES[outcome] ?? { icon: 'info' as const, says: '' };
  return (
    <span class="outcome" data-outcome={outcome} title={says}>
      <Icon name={icon} size={14} {...(isShort ? { label: outcome } : {})} />
      {!isShort && outcome}
    </span>
  );
}
export const OUTCOME_NAMES = Object.keys(OUTCOMES);
