// find-user.tsx — a field that finds a user while one types: an id, the beginning of one, or a whole e-mail address.
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { Page, UserItem } from '../../../src/api/contract.ts';
import { get, problemFor } from '../api.ts';
import { Icon } from '../icons.tsx';
import { StateBadge } from './badge.tsx';

const MOST = 8;
const PAUSE_MS = 200;

type FindUserProps = {
  /** With the id that was chosen. What was typed whole is taken as it is, found or not. */
  onFind: (userId: string) => void;
  label?: string;
  placeholder?: string;
  inputRef?: { current: HTMLInputElement | null };
};

export function FindUser({
  onFind,
  label = 'Find a user',
  placeholder = 'Find a user: id or e-mail',
  inputRef,
}: FindUserProps) {
  const [typed, setTyped] = useState('');
  const [found, setFound] = useState<{ of: string; items: UserItem[]; problem?: string }>();
  const [at, setAt] = useState(-1);
  const [isOpen, setOpen] = useState(false);
  const own = useRef<HTMLInputElement>(null);
  const input = inputRef ?? own;
  const list = useId();
  const q = typed.trim();
  useEffect(() => {
    if (q === '') return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      get<Page<UserItem>>('users', { q, limit: MOST }, abort.signal).then(
        ({ items }) => abort.signal.aborted || setFound({ of: q, items }),
        (error: unknown) => abort.signal.aborted || setFound({ of: q, items: [], problem: problemFor(error).title }),
      );
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [q]);
  const items = found?.of === q ? found.items : [];
  const isShown = isOpen && q !== '' && found?.of === q;
  const choose = (userId: string) => {
    setOpen(false);
    setTyped('');
    onFind(userId);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape') {
      setOpen(false);
      if (!isShown) input.current?.blur();
    } else if (event.key === 'Enter') {
      const one = items[at] ?? (items.length === 1 ? items[0] : undefined);
      if (one !== undefined) choose(one.userId);
      else if (q !== '' && !q.includes('@')) choose(q);
    } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      if (items.length > 0) setAt((at + step + items.length) % items.length);
    }
  };
  return (
    <div class="find">
      <Icon name="search" size={14} />
      <input
        ref={input}
        type="text"
        role="combobox"
        aria-label={label}
        aria-expanded={isShown}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={isShown && at >= 0 ? `${list}-${at}` : undefined}
        placeholder={placeholder}
        value={typed}
        maxLength={512}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setAt(-1);
          setOpen(true);
        }}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <div class="find-list" id={list} role="listbox" aria-label="Users" hidden={!isShown}>
        {items.map(({ userId, state, customerId }, i) => (
          <div
            key={userId}
            id={`${list}-${i}`}
            role="option"
            tabIndex={-1}
            aria-selected={i === at}
            class="find-item"
            // Before the field loses the focus.
            onMouseDown={(event) => {
              event.preventDefault();
              choose(userId);
            }}
          >
            <span class="mono">{userId}</span>
            <span class="muted">{customerId ?? 'no customer'}</span>
            <StateBadge state={state} />
          </div>
        ))}
        {items.length === 0 && (
          <p class="find-none muted">
            {found?.problem ?? 'No user begins like that. Enter looks for events of one that does not exist yet.'}
          </p>
        )}
      </div>
    </div>
  );
}
