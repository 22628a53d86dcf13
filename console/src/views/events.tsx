// events.tsx — the contract: every event with its fields, allowed values, examples, topics and headers; offline, searchable, printable.
import { useEffect, useState } from 'preact/hooks';
import type { Problem as ProblemSaid } from '../../../src/api/contract.ts';
import { count, many } from '../format.ts';
import { Icon } from '../icons.tsx';
import { CopyButton, Empty, Filters, Id, Loading, Page, Panel, Problem } from '../parts.ts';
import { hrefOf, type ViewProps } from '../router.ts';
import {
  type ContractDoc,
  contractOf,
  type EventDoc,
  type Example,
  type FieldDoc,
  type FormDoc,
  searched,
  type TopicDoc,
} from './events-contract.ts';
import { Payload } from './scrolled.tsx';
import './views.css';
import './events.css';

const DOCUMENT = '/asyncapi.json';

export default function EventsView({ query }: ViewProps) {
  const { contract, problem, again } = useContract();
  useEffect(unfoldToPrint, []);
  const found = contract && searched(contract.events, query.q ?? '');
  return (
    <Page
      title="Events"
      isFull
      sub={
        contract && (
          <span>
            {contract.title} {contract.version} · {many(contract.events.length, 'event')} on{' '}
            {many(contract.topics.length, 'topic')}
          </span>
        )
      }
      actions={
        <>
          <a class="button" href={hrefOf(DOCUMENT)} data-outside download="asyncapi.json">
            <Icon name="download" size={14} /> AsyncAPI
          </a>
          <button type="button" class="button" onClick={() => print()}>
            Print
          </button>
        </>
      }
    >
      {problem ? (
        <Problem problem={problem} again={again} />
      ) : contract === undefined || found === undefined ? (
        <Loading lines={10} what="Loading the contract" />
      ) : (
        <>
          {contract.text && <Prose text={contract.text} />}
          <div class="toolbar events-search">
            <Filters
              fields={[{ name: 'q', label: 'Search', kind: 'search', placeholder: 'event, field, value, topic' }]}
            />
            <span class="grow" />
            <span class="toolbar-says" role="status">
              <strong class="number">{count(found.length)}</strong> {found.length === 1 ? 'matches' : 'match'}
            </span>
          </div>
          {found.length === 0 && (
            <Empty title="None match" icon="search">
              No event, field, value or topic has all of these words.
            </Empty>
          )}
          <div class="events">
            <nav class="events-nav" aria-label="Events">
              <ul>
                {found.map(({ name }) => (
                  <li key={name}>
                    <button type="button" class="link" onClick={() => goTo(name)}>
                      {name}
                    </button>
                  </li>
                ))}
              </ul>
            </nav>
            <div class="stack">
              {found.map((event) => (
                <EventPanel key={event.name} event={event} />
              ))}
              <Topics topics={contract.topics} />
            </div>
          </div>
        </>
      )}
    </Page>
  );
}

/** On paper nobody can unfold what is folded. */
function unfoldToPrint(): () => void {
  let folded: HTMLDetailsElement[] = [];
  const unfold = () => {
    folded = [...document.querySelectorAll<HTMLDetailsElement>('.event details:not([open])')];
    for (const details of folded) details.open = true;
  };
  const fold = () => {
    for (const details of folded) details.open = false;
  };
  addEventListener('beforeprint', unfold);
  addEventListener('afterprint', fold);
  return () => {
    removeEventListener('beforeprint', unfold);
    removeEventListener('afterprint', fold);
  };
}

/** The document lies beside the API, and needs no token. */
function useContract() {
  const [seen, setSeen] = useState<{ contract?: ContractDoc; problem?: ProblemSaid }>({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    setSeen({});
    load(abort.signal).then(
      (contract) => abort.signal.aborted || setSeen({ contract }),
      (error: unknown) =>
        abort.signal.aborted ||
        setSeen({
          problem: {
            type: 'about:blank',
            status: 0,
            title: 'The contract could not be loaded',
            detail: error instanceof Error ? error.message : String(error),
          },
        }),
    );
    return () => abort.abort();
  }, [turn]);
  return { ...seen, again: () => setTurn(turn + 1) };
}
async function load(signal: AbortSignal): Promise<ContractDoc> {
  const response = await fetch(hrefOf(DOCUMENT), { signal, headers: { accept: 'application/json' } });
  if (!response.ok) throw new Error(`The service answered ${response.status}.`);
  return contractOf(await response.json());
}

function idOf(name: string): string {
  return `event-${name}`;
}
function goTo(name: string): void {
  const section = document.getElementById(idOf(name));
  section?.scrollIntoView({ block: 'start' });
  section?.focus({ preventScroll: true });
}

/** The document's own text: paragraphs, and what stands between backticks as code. Nothing else of Markdown is used in it. */
function Prose({ text }: { text: string }) {
  return (
    <div class="prose">
      {text.split(/\n{2,}/).map((paragraph) => (
        <p key={paragraph}>
          {paragraph.split('`').map((part, i) => (i % 2 === 1 ? <code key={`${i}`}>{part}</code> : part))}
        </p>
      ))}
    </div>
  );
}

function EventPanel({ event }: { event: EventDoc }) {
  return (
    <section class="panel event" id={idOf(event.name)} tabIndex={-1} aria-label={event.name}>
      <h2>
        <Id id={event.name} what="event" most={60} />
      </h2>
      {event.text && <Prose text={event.text} />}
      <Fields caption={`Fields of ${event.name}`} fields={event.fields} />
      {event.isOpen && <p class="muted small">Other fields may be there: they are kept, and not looked at.</p>}
      {event.forms.map((form) => (
        <Form key={form.title} form={form} />
      ))}
    </section>
  );
}

function Form({ form: { title, topics, key, headers, examples } }: { form: FormDoc }) {
  return (
    <details class="form">
      <summary>
        {title}
        {topics.length > 0 && <span class="muted"> · on {topics.join(', ')}</span>}
      </summary>
      <div class="stack">
        <p>
          <span class="muted">Key of the record:</span> {key ?? 'none'}
        </p>
        {headers.length > 0 && <Fields caption={`Headers of ${title}`} fields={headers} what="Header" />}
        {examples.map(({ name, headers, payload }) => (
          <figure class="example" key={`${name} ${payload}`}>
            <figcaption>
              <span>Example{name === undefined ? '' : `, ${name}`}</span> <CopyButton text={payload} what="payload" />
            </figcaption>
            {headers && <Payload label="Headers of the example" text={headerLines(headers)} />}
            <Payload label="Payload of the example" text={payload} />
          </figure>
        ))}
      </div>
    </details>
  );
}

function headerLines(headers: NonNullable<Example['headers']>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('\n');
}

function Fields({ caption, fields, what = 'Field' }: { caption: string; fields: readonly FieldDoc[]; what?: string }) {
  if (fields.length === 0) return <p class="muted">It has no fields.</p>;
  return (
    <div class="table-box">
      <table class="table fields">
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">{what}</th>
            <th scope="col">Type</th>
            <th scope="col">Required</th>
            <th scope="col">Allowed</th>
          </tr>
        </thead>
        <tbody>
          {fields.map(({ name, type, isRequired, allowed, limits, text }) => (
            <tr key={name}>
              <td>
                <code>{name}</code>
              </td>
              <td data-head="Type">{type}</td>
              <td data-head="Required">{isRequired ? <strong>yes</strong> : <span class="muted">no</span>}</td>
              <td data-head="Allowed" data-kind="wide">
                {allowed.map((value) => (
                  <code key={value} class="allowed">
                    {value}
                  </code>
                ))}
                {limits.map((limit) => (
                  <span key={limit} class="limit-text muted">
                    {limit}
                  </span>
                ))}
                {text && <Prose text={text} />}
                {allowed.length + limits.length === 0 && !text && <span class="muted">anything of its type</span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Topics({ topics }: { topics: readonly TopicDoc[] }) {
  return (
    <Panel title="Topics">
      <dl class="topics">
        {topics.map(({ address, title, text, facts, events }) => (
          <div key={address}>
            <dt>
              <Id id={address} what="topic" most={60} />
            </dt>
            <dd>
              {(title ?? text) && <Prose text={[title, text].filter((part) => part !== undefined).join(': ')} />}
              <p class="muted">
                {events.join(', ')}
                {facts.length > 0 && ` · ${facts.map(([name, value]) => `${name} ${value}`).join(', ')}`}
              </p>
            </dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}
