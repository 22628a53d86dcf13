// panel.tsx — what is selected in the drawing, beside it: a state with its users, or a transition with the events that took it.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { HistoryItem, MachineView, RecentOf, UserItem } from '../../../src/api/contract.ts';
import { useAnswer } from '../api.ts';
import { count, rate } from '../format.ts';
import { Icon } from '../icons.tsx';
import { counts, flow, latestFlow, transitions as totals } from '../live.ts';
import {
  Empty,
  Facts,
  Loading,
  Looked,
  OutcomeMark,
  Problem,
  StateBadge,
  shortened,
  Table,
  Time,
  UserId,
} from '../parts.ts';
import { hrefOf, path, setQuery } from '../router.ts';
import type { Selection } from './drawing.tsx';
import { leads, type Transition, throughOf } from './flows.ts';
import { UsersLine } from './sparkline.tsx';
import { type Stretch, shorterThan, stretchInWords, useFlowOf } from './stretch.ts';

const MOST = 20;

export function SelectionPanel({
  view,
  selected: { state, transition },
  stretch,
  onClose,
}: {
  view: MachineView;
  selected: Selection;
  /** Over how long the flow is that is looked at. */
  stretch: Stretch;
  onClose: () => void;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  // Whoever opened it by a key is led into it, and back to where it was opened.
  useEffect(() => {
    const before = document.activeElement;
    heading.current?.focus();
    return () => {
      if (before instanceof SVGElement && before.isConnected) before.focus();
    };
  }, [state, transition]);
  const found = view.transitions.find(({ id }) => id === transition);
  return (
    <aside class="machine-panel panel" aria-label="Selection">
      <header class="panel-head">
        <h2 ref={heading} tabIndex={-1}>
          {transition === undefined ? (
            <StateBadge state={state ?? ''} />
          ) : (
            <span class="mono">{found?.event ?? transition}</span>
          )}
        </h2>
        <button type="button" class="icon-button" onClick={onClose} aria-label="Close" title="Close (Esc)">
          <Icon name="close" />
        </button>
      </header>
      {transition !== undefined ? (
        found === undefined ? (
          <Empty title="This machine has no such transition">It may be one of another version.</Empty>
        ) : (
          <OfTransition key={transition} view={view} transition={found} stretch={stretch} />
        )
      ) : view.states.some(({ id }) => id === state) ? (
        <OfState key={state} view={view} state={state as string} stretch={stretch} />
      ) : (
        <Empty title="This machine has no such state" />
      )}
    </aside>
  );
}

function OfState({ view, state, stretch }: { view: MachineView; state: string; stretch: Stretch }) {
  const users = useAnswer<RecentOf<UserItem>>('recent/users', { state, limit: MOST });
  const through = throughOf(view, state, flow.value?.edges);
  const out = view.transitions.filter(({ source }) => source === state);
  const idle = out.filter(({ changes }) => !changes);
  return (
    <>
      <Facts
        facts={[
          ['Users', <strong class="number">{counts.value ? count(counts.value[state] ?? 0) : '–'}</strong>],
          ['In', rate(through.in)],
          ['Out', rate(through.out)],
        ]}
      />
      <p class="muted small">In and out: of the last {shorterThan(stretch, flow.value) ?? stretchInWords(stretch)}</p>
      <Section title="Users, last 15 min">
        <UsersLine state={state} />
      </Section>
      <Section title="Leads to">
        <Ways
          transitions={out.filter(({ changes }) => changes)}
          none={out.length === 0 ? 'Nothing: it is final, and whatever comes is rejected.' : undefined}
        />
      </Section>
      {idle.length > 0 && (
        <Section title="Changes nothing">
          <Ways transitions={idle} isCounted={false} />
        </Section>
      )}
      <Section title="Users that are in it now, the latest first" again={users.again} isBusy={users.isLoading}>
        {users.problem && <Problem problem={users.problem} again={users.again} />}
        {users.value === undefined && users.problem === undefined && <Loading lines={5} />}
        {users.value?.items.length === 0 && <Empty title="None among the latest events" />}
        {users.value && users.value.items.length > 0 && (
          <ul class="lines">
            {users.value.items.map(({ userId, updatedAt }) => (
              <li key={userId}>
                <UserId id={userId} copy={false} most={32} />
                <span class="muted nowrap">
                  <Time at={updatedAt} />
                </span>
              </li>
            ))}
          </ul>
        )}
        <Looked answer={users} what="users" />
        <a class="button small" href={hrefOf(`/users?state=${encodeURIComponent(state)}`)}>
          All users in {state}
        </a>
      </Section>
    </>
  );
}

/** `isCounted`: what changes nothing is in no tally. */
function Ways({
  transitions,
  isCounted = true,
  none,
}: {
  transitions: readonly Transition[];
  isCounted?: boolean;
  none?: string | undefined;
}) {
  const edges = flow.value?.edges;
  if (none !== undefined) return <p class="muted">{none}</p>;
  return (
    <ul class="lines ways" data-counted={isCounted}>
      {transitions.map((one) => (
        <li key={one.id}>
          <button
            type="button"
            class="link way-name"
            title={one.label}
            onClick={() => setQuery({ state: undefined, transition: one.id }, { push: true })}
          >
            {one.event}
            {one.guard !== null && <span class="muted">if {one.guard}</span>}
          </button>
          <span class="way-to">
            {leads(one) ? <StateBadge state={one.target} /> : <span class="muted">stays</span>}
            {isCounted && (
              <span class="number">
                {rate(edges && (edges[one.id] ?? 0))}
                <span class="muted"> · {totals.value ? count(totals.value[one.id] ?? 0) : '–'} in all</span>
              </span>
            )}
          </span>
        </li>
      ))}
    </ul>
  );
}

function OfTransition({ view, transition, stretch }: { view: MachineView; transition: Transition; stretch: Stretch }) {
  const { id, source, target, guard, actions, changes } = transition;
  const rates = useRates(transition, stretch);
  const events = useAnswer<RecentOf<HistoryItem>>('recent/events', { transition: id, limit: MOST });
  const together = drawnWith(view, id);
  const hasOthers = view.transitions.some(
    (one) => one.source === source && one.event === transition.event && one.id !== id,
  );
  return (
    <>
      <p class="way">
        <StateBadge state={source} /> <Icon name="next" size={12} label="to" />{' '}
        {leads(transition) ? <StateBadge state={target} /> : <span class="muted">stays</span>}
      </p>
      <Facts
        facts={[
          ...rates.map(
            ({ time, perSecond }) =>
              [time, <strong class="number">{rate(perSecond)}</strong>] as [string, ComponentChildren],
          ),
          changes ? ['In all', totals.value ? count(totals.value[id] ?? 0) : '–'] : undefined,
          ['If', guard ?? (hasOthers ? 'no other fits' : 'always')],
          ['Does', actions.length > 0 ? actions.join(', ') : changes ? 'moves only' : 'nothing: skipped'],
        ]}
      />
      <p class="muted small">
        id <span class="mono">{id}</span>
      </p>
      {together.length > 1 && (
        <Section title="Drawn once, from each of">
          <p class="row">
            {together.map((one) => (
              <button
                key={one.id}
                type="button"
                class="pick"
                aria-pressed={one.id === id}
                onClick={() => setQuery({ transition: one.id })}
              >
                <StateBadge state={one.source} />
              </button>
            ))}
          </p>
        </Section>
      )}
      <Section title="Events that took it, the latest first" again={events.again} isBusy={events.isLoading}>
        {events.problem && <Problem problem={events.problem} again={events.again} />}
        {events.value === undefined && events.problem === undefined && <Loading lines={5} />}
        {events.value?.items.length === 0 && <Empty title="None among the latest events" />}
        {events.value && events.value.items.length > 0 && (
          <Table
            caption="Events that took this transition"
            rows={events.value.items}
            keyOf={(one) => `${one.topic}/${one.partition}/${one.generation}/${one.offset}`}
            toOf={({ userId, version }) =>
              userId === null ? undefined : `${path`/users/${userId}`}${version === null ? '' : `?version=${version}`}`
            }
            columns={[
              {
                head: 'User',
                cell: ({ userId }) => (
                  <span class="mono" title={userId ?? undefined}>
                    {userId === null ? '–' : shortened(userId, 21)}
                  </span>
                ),
                kind: 'wide',
              },
              { head: 'Outcome', kind: 'tight', cell: ({ outcome }) => <OutcomeMark outcome={outcome} isShort /> },
              {
                head: 'Saved',
                kind: 'tight',
                cell: ({ recordedAt }) => (
                  <span class="muted">
                    <Time at={recordedAt} />
                  </span>
                ),
              },
            ]}
          />
        )}
        <Looked answer={events} what="events" />
      </Section>
    </>
  );
}

/** How often it is taken: now, of the last 1 and 15 min, and of what is looked at. What is not known yet is left out, and what is no
 *  longer than the one before, since the service is not that old; what changes nothing is in no tally. */
function useRates({ id, changes }: Transition, stretch: Stretch): { time: string; perSecond: number | undefined }[] {
  const minute = useFlowOf(changes ? 60 : 10);
  const longest = useFlowOf(changes ? 900 : 10);
  if (!changes) return [];
  const flows = [
    [10, latestFlow.value],
    [60, minute.value],
    [300, stretch === 300 ? flow.value : undefined],
    [900, longest.value],
  ] as const;
  let known = 10;
  return flows.flatMap(([of, flow]) => {
    const perSecond = flow && (flow.edges[id] ?? 0);
    if (of === 10) return [{ time: 'Now', perSecond }];
    if (flow === undefined || flow.window <= 1.1 * known) return [];
    known = flow.window;
    return [{ time: `Last ${shorterThan(of, flow) ?? stretchInWords(of)}`, perSecond }];
  });
}

/** The transitions of the line in the drawing that stands for this one. */
function drawnWith({ geometry, transitions }: MachineView, id: string): Transition[] {
  const lines = geometry.LR.edges.flatMap(({ label }) => label.lines);
  const line = lines.find((each) => each.transitions.includes(id));
  return transitions.filter((one) => line?.transitions.includes(one.id));
}

function Section({
  title,
  again,
  isBusy,
  children,
}: {
  title: string;
  again?: () => void;
  isBusy?: boolean;
  children: ComponentChildren;
}) {
  return (
    <section class="panel-section">
      <header>
        <h3>{title}</h3>
        {again && (
          <button
            type="button"
            class="icon-button small"
            onClick={again}
            disabled={isBusy}
            aria-label="Ask again"
            title="Ask again"
          >
            <Icon name="reload" size={13} />
          </button>
        )}
      </header>
      {children}
    </section>
  );
}
