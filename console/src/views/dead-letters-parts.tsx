// dead-letters-parts.tsx — what the views of dead letters and of what waits have in common: tabs, the list beside the one that is
// open, what a record is made of.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Content } from '../../../src/api/contract.ts';
import { get, problemFor } from '../api.ts';
import { bytes, count } from '../format.ts';
import { Icon } from '../icons.tsx';
import { dead, lag, waiting } from '../live.ts';
import { CopyButton, type Field, Note, now, say } from '../parts.ts';
import { hrefOf } from '../router.ts';
import { session } from '../session.ts';
import { deadInWords } from './acts-words.ts';
import { AGES, beforeOf } from './dead-letters-filter.ts';
import { diffLines, prettyJson, visible } from './dead-letters-text.ts';
import { Payload, Scrolled } from './scrolled.tsx';

export const EVENT_TYPES = [
  'USER_CREATED',
  'USER_STATUS_CHANGED',
  'USER_ROLE_CHANGED',
  'USER_DELETED',
  'CUSTOMER_CREATED',
];

/** How many there are is said before one is looked at. */
export function Tabs({ at }: { at: 'dead-letters' | 'waiting' }) {
  const numbers = {
    'dead-letters': deadInWords(dead.value),
    waiting: waiting.value === undefined ? '' : count(waiting.value.total),
  };
  return (
    <nav class="tabs" aria-label="Dead letters and what waits">
      {(['dead-letters', 'waiting'] as const).map((name) => (
        <a key={name} href={hrefOf(`/${name}`)} aria-current={name === at ? 'page' : undefined}>
          <Icon name={name === 'waiting' ? 'waiting' : 'dead'} size={14} />
          {name === 'waiting' ? 'Waiting' : 'Dead letters'}
          <span class="tab-number live-value">{numbers[name]}</span>
        </a>
      ))}
    </nav>
  );
}

type Option = string | { value: string; label: string };

/** The fields that both lists are narrowed by. `before`: as the address says it. `types`: of events. */
export function commonFields(before: string | undefined, beforeLabel: string, types: readonly Option[]): Field[] {
  const minute = Math.floor(now.value / 60_000) * 60_000;
  const ages = AGES.map(([name, ms]) => ({ value: beforeOf(ms, minute), label: `over ${name} ago` }));
  const isChosen = before === undefined || ages.some(({ value }) => value === before);
  const topics = [...new Set(lag.value?.map(({ topic }) => topic))].sort();
  return [
    { name: 'type', label: 'Event', kind: 'choice', options: types },
    { name: 'user', label: 'User', kind: 'text', placeholder: 'auth0|…' },
    { name: 'customer', label: 'Customer', kind: 'text', placeholder: 'customer id' },
    { name: 'topic', label: 'Topic', kind: 'choice', options: topics },
    {
      name: 'before',
      label: beforeLabel,
      kind: 'choice',
      any: 'any time',
      options: isChosen
        ? ages
        : [...ages, { value: before, label: `before ${before.slice(0, 16).replace('T', ' ')} UTC` }],
    },
  ];
}

/** A list, and beside it (on a phone: instead of it) the one that is open. `openId`: of that one. */
export function Split({
  list,
  open,
  openId,
}: {
  list: ComponentChildren;
  open: ComponentChildren;
  openId: string | undefined;
}) {
  const box = useRef<HTMLDivElement>(null);
  const before = useRef(openId);
  useEffect(() => {
    const closed = before.current;
    before.current = openId;
    if (closed === undefined || openId !== undefined) return;
    // Whoever closed it by keyboard goes on in the list where it was opened.
    const links = [...(box.current?.querySelectorAll<HTMLAnchorElement>('a.row-link') ?? [])];
    links.find(({ pathname }) => pathname.endsWith(`/${encodeURIComponent(closed)}`))?.focus();
  }, [openId]);
  return (
    <div class="split" data-open={openId !== undefined} ref={box}>
      <div class="split-list">{list}</div>
      {openId !== undefined && <div class="split-open">{open}</div>}
    </div>
  );
}

/** Below it the one that is open stands instead of the list (dead-letters.css). */
const INSTEAD = '(max-width: 1239px)';

type DetailProps = {
  name: string;
  head?: ComponentChildren;
  backTo: string;
  what: string;
  children: ComponentChildren;
};

/** The frame of the one that is open. `what`: the list that it goes back to. */
export function Detail({ name, head, backTo, what, children }: DetailProps) {
  const article = useRef<HTMLElement>(null);
  useEffect(() => {
    if (matchMedia(INSTEAD).matches) article.current?.focus({ preventScroll: true });
  }, [name]);
  return (
    <article class="detail" aria-label={name} tabIndex={-1} ref={article}>
      <header class="detail-head">
        <a class="button quiet small back-to-list" href={hrefOf(backTo)}>
          <Icon name="back" size={12} /> {what}
        </a>
        {head ?? <h2>{name}</h2>}
        <a class="icon-button close-detail" href={hrefOf(backTo)} aria-label="Close" title="Close">
          <Icon name="close" />
        </a>
      </header>
      {children}
    </article>
  );
}

// ---- what a record is made of -------------------------------------------------------------------------------------------------

/** Personal data stays hidden until somebody asks, which is written down. `route`: of the one it belongs to. `seen`: called with what
 *  was revealed; undefined: it is hidden again. */
export function RecordContent({
  content,
  route,
  revealed,
  seen,
}: {
  content: Content;
  route: string;
  revealed: Content | undefined;
  seen: (content: Content | undefined) => void;
}) {
  const shown = revealed ?? content;
  return (
    <div class="record">
      <Reveal route={route} isRevealed={revealed !== undefined} seen={seen} />
      <dl class="record-parts">
        <dt>Key</dt>
        <dd>{shown.key === null ? <span class="muted">none</span> : <code class="text">{visible(shown.key)}</code>}</dd>
        <dt>Headers</dt>
        <dd>
          {shown.headers.length === 0 ? (
            <span class="muted">none</span>
          ) : (
            <ul class="headers">
              {shown.headers.map(({ name, value }, i) => (
                // Names repeat; their order is all they have.
                <li key={i}>
                  <code class="text">{visible(name)}</code>{' '}
                  <code class="text">{value === null ? '(no value)' : visible(value)}</code>
                </li>
              ))}
            </ul>
          )}
        </dd>
        <dt>Value</dt>
        <dd>
          <Value content={shown} />
        </dd>
      </dl>
    </div>
  );
}

function Reveal({
  route,
  isRevealed,
  seen,
}: {
  route: string;
  isRevealed: boolean;
  seen: (content: Content | undefined) => void;
}) {
  const [isBusy, setBusy] = useState(false);
  const whyNot = session.value?.mayReveal
    ? undefined
    : 'It needs the permission to see personal data (AUTH_PAYLOADS), which you do not have.';
  const reveal = async () => {
    setBusy(true);
    try {
      seen((await get<{ content: Content }>(route, { reveal: 'true' })).content);
    } catch (error) {
      const { title, detail } = problemFor(error);
      say(detail ?? title, 'bad');
    }
    setBusy(false);
  };
  if (isRevealed)
    return (
      <p class="reveal">
        <Icon name="eye" size={14} /> <span>Shown as it was received. That you looked stands in the audit.</span>
        <button type="button" class="button small" onClick={() => seen(undefined)}>
          Hide again
        </button>
      </p>
    );
  return (
    <p class="reveal">
      <span class="muted">
        Personal data is hidden{whyNot ? `. ${whyNot}` : '; whoever looks at it is written down in the audit.'}
      </span>
      <button
        type="button"
        class="button small"
        disabled={isBusy}
        aria-disabled={whyNot !== undefined}
        onClick={() => whyNot === undefined && void reveal()}
      >
        <Icon name="eye" size={13} /> {isBusy ? 'Asking…' : 'Show it'}
        {whyNot && <span class="sr">: {whyNot}</span>}
      </button>
    </p>
  );
}

const HIDDEN = '***';

function Value({ content: { value, base64, masked, size, editedValue } }: { content: Content }) {
  if (value === null) return <span class="muted">none: a null value, 0 bytes</span>;
  const what = [bytes(size), base64 ? 'no UTF-8, shown as base64' : undefined]
    .filter((part) => part !== undefined)
    .join(' · ');
  if (masked && value === HIDDEN && editedValue === null)
    return <p class="muted">{what} · hidden as a whole: it is nothing that could be looked through.</p>;
  const pretty = base64 ? undefined : prettyJson(value);
  return (
    <>
      <p class="value-head muted">
        {what}
        {pretty === undefined && !base64 ? ' · no JSON' : ''}
        {masked ? null : <CopyButton text={value} what="value" />}
      </p>
      {editedValue === null ? (
        <Payload label="Value" text={visible(pretty ?? value)} />
      ) : (
        <EditedBeside original={pretty ?? value} edited={prettyJson(editedValue) ?? editedValue} isMasked={masked} />
      )}
    </>
  );
}

/** What an operator put in its place, line by line. */
function EditedBeside({ original, edited, isMasked }: { original: string; edited: string; isMasked: boolean }) {
  const lines = diffLines(original, edited);
  return (
    <>
      <Note tone="info">
        An operator edited it for the next redrive; the original stays.
        {isMasked && ' What is hidden is hidden on both sides: a change there is not seen.'}
      </Note>
      {lines === undefined ? (
        <div class="beside">
          <Payload label="Original value" text={visible(original)} />
          <Payload label="Edited value" text={visible(edited)} />
        </div>
      ) : (
        <Scrolled
          look="payload diff"
          label="What the edit changes: lines with a minus are the original’s, those with a plus the edited ones"
        >
          <pre>
            {lines.map(({ sign, text }, i) => (
              <span key={i} data-sign={sign}>{`${sign} ${visible(text)}\n`}</span>
            ))}
          </pre>
        </Scrolled>
      )}
    </>
  );
}
