// table.tsx — rows and columns: a caption for whoever can not see it, one link per row, arrow keys between rows, cards on a phone.
import type { ComponentChildren } from 'preact';
import { hrefOf } from '../router.ts';

export type Column<T> = {
  head: string;
  cell: (row: T) => ComponentChildren;
  /** `number`: to the right, digits under digits. `tight`: no wider than it must be. `wide`: takes what is left. */
  kind?: 'number' | 'tight' | 'wide';
  /** The row's link is around this cell; else around the first. */
  isLink?: boolean;
  /** Left out below 900 px. */
  isExtra?: boolean;
  /** No heading is seen, but said: of checkboxes and buttons. */
  isHeadHidden?: boolean;
};

export type TableProps<T> = {
  /** What the rows are; said, not seen. */
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string | number;
  /** Where a row leads: "/dead-letters/7". */
  toOf?: (row: T) => string | undefined;
  /** Instead of a link: what a click or Enter does. */
  onOpen?: (row: T) => void;
  isSelected?: (row: T) => boolean;
  isDim?: (row: T) => boolean;
  /** What is loading now will replace these rows. */
  isBusy?: boolean;
};

export function Table<T>({
  caption,
  columns,
  rows,
  keyOf,
  toOf,
  onOpen,
  isSelected,
  isDim,
  isBusy = false,
}: TableProps<T>) {
  const linked = Math.max(
    0,
    columns.findIndex(({ isLink }) => isLink),
  );
  return (
    <div class="table-box" data-busy={isBusy}>
      <table class="table" onKeyDown={walkRows}>
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ head, kind, isExtra, isHeadHidden }) => (
              <th key={head} scope="col" data-kind={kind} data-extra={isExtra}>
                {isHeadHidden ? <span class="sr">{head}</span> : head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr
              key={keyOf(row)}
              data-open={toOf !== undefined || onOpen !== undefined}
              data-selected={isSelected?.(row)}
              data-dim={isDim?.(row)}
            >
              {columns.map(({ head, cell, kind, isExtra, isHeadHidden }, i) => (
                <td key={head} data-kind={kind} data-extra={isExtra} data-head={isHeadHidden ? undefined : head}>
                  {i === linked ? (
                    <RowLink to={toOf?.(row)} onOpen={onOpen && (() => onOpen(row))} isSelected={isSelected?.(row)}>
                      {cell(row)}
                    </RowLink>
                  ) : (
                    cell(row)
                  )}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

type RowLinkProps = {
  to: string | undefined;
  onOpen: (() => void) | undefined;
  isSelected: boolean | undefined;
  children: ComponentChildren;
};

/** Covers the whole row (style.css), so that a click anywhere opens it; what else can be pressed lies above it. */
function RowLink({ to, onOpen, isSelected, children }: RowLinkProps) {
  if (to !== undefined)
    return (
      <a class="row-link" href={hrefOf(to)} aria-current={isSelected ? 'true' : undefined}>
        {children}
      </a>
    );
  if (onOpen !== undefined)
    return (
      <button type="button" class="row-link" onClick={onOpen} aria-pressed={isSelected}>
        {children}
      </button>
    );
  return <>{children}</>;
}

function walkRows(event: KeyboardEvent): void {
  const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
  const target = event.target as HTMLElement;
  if (step === 0 || !target.classList.contains('row-link')) return;
  const links = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>('.row-link')];
  const next = links[links.indexOf(target) + step];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
}
