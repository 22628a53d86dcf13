// what-if.tsx — events put by hand to a copy of a user, or to nobody: what would become of each, and why. Nothing is saved.
//
// Owns:          the sequence of events (in the address, so that it can be sent to somebody), what is asked. Does not own: what the events
//                do: the service runs them through its own machine (POST /what-if).
import { useEffect, useState } from 'preact/hooks';
import type { Problem as ProblemSaid, WhatIf, WhatIfResult } from '../../../src/api/contract.ts';
import { post, problemFor } from '../api.ts';
import { Icon } from '../icons.tsx';
import { useFitting } from '../machine/direction.ts';
import { Drawing } from '../machine/drawing.tsx';
import { machine, needMachine } from '../machine/machine.ts';
import { type Path, pathOf } from '../machine/path.ts';
import {
  Badge,
  Choice,
  CopyButton,
  Empty,
  FindUser,
  Loading,
  Note,
  OutcomeMark,
  Page,
  Panel,
  Problem,
  StateBadge,
  UserId,
} from '../parts.ts';
import { currentQuery, hrefOf, setQuery, type ViewProps } from '../router.ts';
import { RowDiff } from '../user/row-diff.tsx';
import { blank, type Draft, draftsOf, EVENT_TYPES, requestOf, textOf } from '../what-if/drafts.ts';
import { EventForm } from '../what-if/event-form.tsx';
import './user.css';
import './what-if.css';

const PAUSE_MS = 250;

export default function WhatIfPage({ query }: ViewProps) {
  useEffect(needMachine, []);
  const drafts = draftsOf(query.events);
  const request = requestOf({ userId: query.user, customer: query.customer, drafts });
  const { result, problem, isLoading, again } = useResult(request);
  const [open, setOpen] = useState(0);
  const [step, setStep] = useState<number>();
  const write = (next: readonly Draft[]) => setQuery({ events: textOf(next) });
  const add = (type: Draft['type']) => {
    write([...drafts, blank(type)]);
    setOpen(drafts.length);
    setStep(undefined);
  };
  const change = (i: number, draft: Draft) => write(drafts.map((each, n) => (n === i ? draft : each)));
  const drop = (i: number) => write(drafts.filter((_, n) => n !== i));
  const swap = (i: number) =>
    write(drafts.map((each, n) => (n === i ? (drafts[i + 1] ?? each) : n === i + 1 ? (drafts[i] ?? each) : each)));
  const at = Math.min(step ?? drafts.length, result?.steps.length ?? 0);
  return (
    <Page
      title="What if"
      sub={
        <Badge tone="info" icon="info">
          Nothing is saved
        </Badge>
      }
      actions={<ShareButton />}
    >
      <div class="whatif">
        <div class="stack">
          <Subject userId={query.user} customer={query.customer} />
          <ol class="drafts">
            {drafts.map((draft, i) => (
              // A draft has nothing of its own but its place, which is its number.
              <li key={i} class="draft panel" data-open={open === i} data-at={at === i + 1}>
                <header class="draft-head">
                  <button
                    type="button"
                    class="draft-name"
                    aria-expanded={open === i}
                    onClick={() => {
                      setOpen(open === i ? -1 : i);
                      setStep(i + 1);
                    }}
                  >
                    <span class="draft-number">{i + 1}</span>
                    <span class="mono">{draft.type}</span>
                  </button>
                  {result?.steps[i] && <OutcomeMark outcome={result.steps[i].outcome} />}
                  <span class="grow" />
                  {i + 1 < drafts.length && (
                    <button
                      type="button"
                      class="icon-button small"
                      onClick={() => swap(i)}
                      aria-label={`Put event ${i + 1} behind the next`}
                      title="Put it behind the next"
                    >
                      <Icon name="down" size={13} />
                    </button>
                  )}
                  <button
                    type="button"
                    class="icon-button small"
                    onClick={() => drop(i)}
                    aria-label={`Take event ${i + 1} out`}
                    title="Take it out"
                  >
                    <Icon name="close" size={13} />
                  </button>
                </header>
                {open === i && <EventForm draft={draft} onChange={(next) => change(i, next)} />}
                {result?.steps[i] && <StepResult step={result.steps[i]} />}
              </li>
            ))}
          </ol>
          {drafts.length < 50 && (
            <fieldset class="adders" aria-label="Add an event">
              {EVENT_TYPES.map((type) => (
                <button key={type} type="button" class="button small" onClick={() => add(type)}>
                  <Icon name="plus" size={12} /> {type}
                </button>
              ))}
            </fieldset>
          )}
        </div>
        <div class="stack whatif-result">
          {problem && <Problem problem={problem} again={again} />}
          {drafts.length === 0 ? (
            <Panel>
              <Empty title="What would happen?" icon="whatif">
                Choose a user to copy, or begin with nobody, and add events: each is put to the very machine that the
                service runs.
              </Empty>
            </Panel>
          ) : result === undefined ? (
            problem === undefined && (
              <Panel>
                <Loading lines={6} what="Asking the machine" />
              </Panel>
            )
          ) : (
            <Result result={result} at={at} onStep={setStep} isLoading={isLoading} />
          )}
        </div>
      </div>
    </Page>
  );
}

/** The reply to a request, asked when nobody changes it any more. `null`: there is nothing to ask. */
function useResult(request: WhatIf | null | string) {
  const [kept, keep] = useState<{ result?: WhatIfResult; problem?: ProblemSaid; isLoading: boolean }>({
    isLoading: false,
  });
  const [turn, setTurn] = useState(0);
  const text = typeof request === 'string' || request === null ? request : JSON.stringify(request);
  useEffect(() => {
    if (request === null) return keep({ isLoading: false });
    if (typeof request === 'string')
      return keep((before) => ({
        ...before,
        isLoading: false,
        problem: { type: 'about:blank', title: 'It can not be asked yet', status: 0, detail: request },
      }));
    const abort = new AbortController();
    keep((before) => ({ ...before, isLoading: true }));
    const timer = setTimeout(() => {
      post<WhatIfResult>('what-if', request, abort.signal).then(
        (result) => abort.signal.aborted || keep({ result, isLoading: false }),
        (error: unknown) =>
          abort.signal.aborted || keep((before) => ({ ...before, problem: problemFor(error), isLoading: false })),
      );
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text, turn]);
  return { ...kept, again: () => setTurn(turn + 1) };
}

/** Whose copy it is, and whether a customer is known. */
function Subject({ userId, customer }: { userId: string | undefined; customer: string | undefined }) {
  return (
    <Panel>
      <div class="subject">
        <div class="subject-who">
          <h2>Who</h2>
          {userId === undefined ? (
            <p class="muted">Nobody: it does not exist yet.</p>
          ) : (
            <p class="row">
              A copy of <UserId id={userId} />{' '}
              <button type="button" class="button quiet small" onClick={() => setQuery({ user: undefined })}>
                <Icon name="close" size={12} /> Nobody instead
              </button>
            </p>
          )}
        </div>
        <FindUser label="Copy a user" placeholder="Copy a user: id or e-mail" onFind={(user) => setQuery({ user })} />
        <div class="subject-customer">
          <span class="muted small">Is the customer of a USER_CREATED known?</span>
          <Choice
            label="Is the customer known?"
            value={customer === 'known' || customer === 'unknown' ? customer : 'real'}
            onChoose={(said) => setQuery({ customer: said === 'real' ? undefined : said })}
            options={[
              { value: 'real', label: 'as it is', title: 'As it is in this service now' },
              { value: 'known', label: 'yes' },
              { value: 'unknown', label: 'no' },
            ]}
          />
        </div>
      </div>
    </Panel>
  );
}

function StepResult({ step }: { step: WhatIfResult['steps'][number] }) {
  const { from, to, note, drift } = step;
  return (
    <div class="step-result">
      <span class="way">
        <StateBadge state={from} />
        {to !== null && to !== from && (
          <>
            <Icon name="next" size={11} label="to" />
            <StateBadge state={to} />
          </>
        )}
      </span>
      {drift && (
        <Badge tone="warn" icon="drift">
          drift
        </Badge>
      )}
      {note && <span class="muted">{note}</span>}
    </div>
  );
}

function Result({
  result,
  at,
  onStep,
  isLoading,
}: {
  result: WhatIfResult;
  at: number;
  onStep: (step: number) => void;
  isLoading: boolean;
}) {
  const view = machine.value;
  const direction = useFitting();
  const step = result.steps[at - 1];
  const state = step?.to ?? step?.from ?? result.start.state;
  const before = at <= 1 ? result.start.row : (result.steps[at - 2]?.row ?? null);
  return (
    <div class="stack" data-busy={isLoading}>
      <section class="panel user-machine" aria-label="On the machine">
        {view && (
          <div class="canvas-inner" data-direction={direction}>
            <Drawing
              view={view}
              direction={direction}
              path={wayOf(result, at)}
              current={state}
              taking={step?.outcome === 'applied' ? step.transition : undefined}
              label={`What if: after event ${at} it is ${state}.`}
            />
          </div>
        )}
        <div class="whatif-steps">
          <Choice
            label="After which event"
            value={String(at)}
            onChoose={(n) => onStep(Number(n))}
            options={[
              { value: '0', label: 'before' },
              ...result.steps.map((_, i) => ({ value: String(i + 1), label: String(i + 1) })),
            ]}
          />
          <span class="muted small">{at === 0 ? 'before the first event' : `after event ${at}`} it is</span>{' '}
          <StateBadge state={state} />
        </div>
      </section>
      <Panel title={at === 0 ? 'The row before' : `The row after event ${at}`}>
        {step?.outcome === 'waiting' && (
          <Note tone="warn" icon="waiting">
            It would wait: {step.note ?? 'something must happen first.'}
          </Note>
        )}
        <RowDiff before={before} after={step ? step.row : result.start.row} changed={step?.changed ?? []} />
      </Panel>
    </div>
  );
}

function wayOf(result: WhatIfResult, at: number): Path {
  const path = pathOf(
    result.steps.map((step, i) => ({ ...step, version: i + 1 })),
    at,
  );
  return { ...path, visited: new Set([result.start.state, ...path.visited]) };
}

function ShareButton() {
  // Said anew with each change of the address.
  const url =
    location.origin + hrefOf('/what-if') + (Object.keys(currentQuery.value).length > 0 ? location.search : '');
  return (
    <span class="share">
      <CopyButton text={url} what="link to this" /> <span class="muted small">link to this</span>
    </span>
  );
}
