// page.tsx — the frame of a view: its title, what can be done, and panels.

import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';

type PageProps = {
  title: string;
  heading?: ComponentChildren;
  sub?: ComponentChildren;
  actions?: ComponentChildren;
  isFull?: boolean;
  children: ComponentChildren;
};

/** `title`: of the tab, and the heading where there is no other. `isFull`: as wide as the window. */
export function Page({ title, heading, sub, actions, isFull = false, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · Customer Service`;
  }, [title]);
  return (
    <div class="page" data-full={isFull}>
      <header class="page-head">
        <div class="page-title">
          <h1 tabIndex={-1}>{heading ?? title}</h1>
          {sub && <div class="page-sub">{sub}</div>}
        </div>
        {actions && <div class="page-actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Panel({
  title,
  actions,
  children,
  isFlush = false,
}: {
  title?: string;
  actions?: ComponentChildren;
  children: ComponentChildren;
  isFlush?: boolean;
}) {
  return (
    <section class="panel" data-flush={isFlush} aria-label={title}>
      {title && (
        <header class="panel-head">
          <h2>{title}</h2>
          {actions && <div class="panel-actions">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/** Names and values, one under the other. */
export function Facts({
  facts,
}: {
  facts: readonly (readonly [name: string, value: ComponentChildren] | undefined)[];
}) {
  return (
    <dl class="facts">
      {facts
        .filter((fact) => fact !== undefined)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** One of several, side by side: radio buttons that look like one. */
export function Choice<T extends string>({
  label,
  options,
  value,
  onChoose,
}: {
  label: string;
  options: readonly { value: T; label: ComponentChildren; title?: string }[];
  value: T;
  onChoose: (value: T) => void;
}) {
  return (
    <fieldset class="choice" aria-label={label}>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          aria-pressed={option.value === value}
          title={option.title}
          onClick={() => onChoose(option.value)}
        >
          {option.label}
        </button>
      ))}
    </fieldset>
  );
}
