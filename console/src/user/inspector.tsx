// inspector.tsx — one step of a user: the event, what became of it and why, what it did to the row, what could follow.
import { useState } from 'preact/hooks';
import type { HistoryItem, MachineView, UserAt } from '../../../src/api/contract.ts';
import { duration } from '../format.ts';
import { Icon } from '../icons.tsx';
import { leads } from '../machine/flows.ts';
import { Coordinates, Facts, Id, Loading, Note, OutcomeMark, Problem, StateBadge, Time, TraceLink } from '../parts.ts';
import { hrefOf, setQuery } from '../router.ts';
import type { useAt } from './at.ts';
import { RowDiff } from './row-diff.tsx';

type InspectorProps = {
  userId: string;
  version: number;
  step: HistoryItem | undefined;
  at: ReturnType<typeof useAt>;
  state: string;
  view: MachineView | undefined;
};

export function Inspector({ userId, version, step, at, state, view }: InspectorProps) {
  const [isWhole, setWhole] = useState(false);
  const { value, problem, isLoading, again } = at;
  const isThis = value?.version === version;
  return (
    <aside class="inspector panel" aria-label="Step">
      <header class="panel-head">
        <h2>
          {version === 0 ? (
            'Before its first event'
          ) : step === undefined ? (
            `Step ${version}`
          ) : (
            <span class="mono">{step.type}</span>
          )}
        </h2>
        {step && <OutcomeMark outcome={step.outcome} />}
      </header>
      {version === 0 && (
        <p class="muted">
          It does not exist: {view ? <StateBadge state={state} /> : 'nothing'} is where each user begins.
        </p>
      )}
      {step && <Told step={step} />}
      <section class="panel-section">
        <header>
          <h3>The row after it</h3>
          <button type="button" class="link small" aria-pressed={isWhole} onClick={() => setWhole(!isWhole)}>
            {isWhole ? 'only what changed' : 'all fields'}
          </button>
        </header>
        {problem && <Problem problem={problem} again={again} />}
        {value === undefined && isLoading && <Loading lines={4} />}
        {value && (
          <div data-busy={isLoading || !isThis} class="inspector-row">
            <RowDiff before={value.before} after={value.row} changed={value.changed} isLean={!isWhole} />
          </div>
        )}
      </section>
      {step && <Details step={step} />}
      {view && <Next userId={userId} view={view} state={state} />}
    </aside>
  );
}

function Told({ step }: { step: HistoryItem }) {
  const { from, to, drift, note, event } = step;
  const believed = event.previousStatus ?? event.previousRole;
  return (
    <>
      <p class="way">
        <StateBadge state={from} />
        {to !== null && to !== from ? (
          <>
            <Icon name="next" size={12} label="to" /> <StateBadge state={to} />
          </>
        ) : (
          <span class="muted">stays</span>
        )}
      </p>
      {note && !drift && <p>{note}</p>}
      {drift && (
        <Note tone="warn" icon="drift">
          <strong>Drift.</strong>{' '}
          {believed === undefined ? (
            (note ?? 'The producer knew it otherwise.')
          ) : (
            <>
              The producer believed it to be <code>{String(believed)}</code>, and it was not. It was applied
              nevertheless.
            </>
          )}
        </Note>
      )}
    </>
  );
}

function Details({ step }: { step: HistoryItem }) {
  const {
    recordedAt,
    occurredAt,
    topic,
    partition,
    offset,
    dialect,
    eventId,
    traceId,
    transition,
    machineVersion,
    event,
    facts,
  } = step;
  const tookMs = Date.parse(recordedAt) - Date.parse(occurredAt);
  return (
    <>
      <Facts
        facts={[
          ['Happened', <Time at={occurredAt} exact />],
          [
            'Saved',
            <>
              <Time at={recordedAt} exact />{' '}
              <span class="muted nowrap">{tookMs >= 0 ? `${duration(tookMs)} later` : ''}</span>
            </>,
          ],
          [
            'Transition',
            transition === null ? (
              <span class="muted">none</span>
            ) : (
              <a href={hrefOf(`/?transition=${encodeURIComponent(transition)}`)} class="mono small">
                {transition}
              </a>
            ),
          ],
          ['Record', <Coordinates topic={topic} partition={partition} offset={offset} />],
          ['Dialect', dialect],
          ['Event id', eventId === null ? '–' : <Id id={eventId} what="event id" most={22} />],
          ['Trace', <TraceLink traceId={traceId} />],
          ['Machine', `version ${machineVersion}`],
        ]}
      />
      <details class="payload-box">
        <summary>Payload, and the facts it was judged by</summary>
        <pre class="code">
          <code>{JSON.stringify(event, null, 2)}</code>
        </pre>
        <pre class="code">
          <code>{JSON.stringify(facts, null, 2)}</code>
        </pre>
      </details>
    </>
  );
}

function Next({ userId, view, state }: { userId: string; view: MachineView; state: string }) {
  const ways = view.transitions.filter(({ source, changes }) => source === state && changes);
  return (
    <section class="panel-section">
      <header>
        <h3>Can happen next, from {state}</h3>
      </header>
      {ways.length === 0 ? (
        <p class="muted">Nothing: it is final, and whatever comes is rejected.</p>
      ) : (
        <ul class="next">
          {ways.map((one) => (
            <li key={one.id}>
              <span class="mono small">
                {one.event}
                {one.guard && <span class="muted"> if {one.guard}</span>}
              </span>
              {leads(one) ? <StateBadge state={one.target} /> : <span class="muted nowrap">stays</span>}
            </li>
          ))}
        </ul>
      )}
      <a class="button small" href={hrefOf(`/what-if?user=${encodeURIComponent(userId)}`)}>
        <Icon name="whatif" size={13} /> Try it, without saving
      </a>
    </section>
  );
}

export type Fold = UserAt['fold'];

/** Whether history leads to the saved row: quietly where it does, loudly where it does not. */
export function FoldCheck({ fold, steps }: { fold: Fold; steps: number }) {
  if (fold.equal) return null;
  return (
    <Note tone="bad">
      <strong>Its history does not give the saved row</strong>
      {fold.firstDifference !== null && (
        <>
          : the first of its {steps} steps that this machine decides otherwise is{' '}
          <button type="button" class="link" onClick={() => setQuery({ version: fold.firstDifference ?? undefined })}>
            step {fold.firstDifference}
          </button>
        </>
      )}
      .
      <ul class="bullets">
        {fold.differences.map((difference) => (
          <li key={difference}>{difference}</li>
        ))}
      </ul>
    </Note>
  );
}
