// states.tsx — what a view shows when there is nothing to show yet, nothing at all, or something went wrong.
import type { ComponentChildren } from 'preact';
import type { Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { traceOf } from '../api.ts';
import { Icon, type IconName } from '../icons.tsx';
import { TraceLink } from './copy.tsx';

/** What went wrong, in the server's words. `again`: asks anew. */
export function Problem({ problem, again }: { problem: ProblemSaid; again?: () => void }) {
  const trace = traceOf(problem);
  return (
    <div class="problem" role="alert">
      <Icon name={problem.type.endsWith('/unreached') ? 'away' : 'alert'} size={18} />
      <div>
        <p class="problem-title">{problem.title}</p>
        {problem.detail && <p>{problem.detail}</p>}
        {problem.errors && problem.errors.length > 0 && (
          <ul>
            {problem.errors.map(({ detail, pointer }) => (
              <li key={pointer}>
                {pointer && <code>{pointer}</code>} {detail}
              </li>
            ))}
          </ul>
        )}
        <p class="problem-foot">
          {trace && (
            <>
              trace <TraceLink traceId={trace} />
            </>
          )}
          {again && (
            <button type="button" class="button small" onClick={again}>
              <Icon name="reload" size={13} /> Try again
            </button>
          )}
        </p>
      </div>
    </div>
  );
}

/** What would stand here, and how to fill it. `good`: that nothing is here is good news. */
export function Empty({
  title,
  children,
  command,
  icon,
  good = false,
}: {
  title: string;
  children?: ComponentChildren;
  command?: string;
  icon?: IconName;
  good?: boolean;
}) {
  return (
    <div class="empty" data-good={good}>
      <Icon name={icon ?? (good ? 'check' : 'info')} size={22} />
      <p class="empty-title">{title}</p>
      {children && <div class="empty-text">{children}</div>}
      {command && (
        <pre class="command">
          <code>{command}</code>
        </pre>
      )}
    </div>
  );
}

export function NotFound({ what, children }: { what: string; children?: ComponentChildren }) {
  return (
    <Empty title={`There is no ${what}`} icon="search">
      {children}
    </Empty>
  );
}

/** Room for what is on its way: lines as high as rows, so that nothing jumps. */
export function Loading({ lines = 6, what = 'Loading' }: { lines?: number; what?: string }) {
  return (
    <div class="loading" role="status" aria-label={what}>
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} class="skeleton" />
      ))}
    </div>
  );
}

/** A note above or between: something to know, to look at, or to act upon. */
export function Note({
  tone = 'info',
  icon,
  children,
}: {
  tone?: 'info' | 'warn' | 'bad' | 'good';
  icon?: IconName;
  children: ComponentChildren;
}) {
  const drawn = icon ?? (tone === 'info' ? 'info' : tone === 'good' ? 'check' : 'alert');
  return (
    <div class="note" data-tone={tone}>
      <Icon name={drawn} />
      <div>{children}</div>
    </div>
  );
}
