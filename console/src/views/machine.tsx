// machine.tsx — the start page: the machine with how many users are in each state and what passes along each edge, now.
//
// Owns:          what is selected and over how long the flow is (in the address: ?state=, ?transition=, ?user=, ?window=), keys, the
//                table twin. Does not own: the drawing (machine/drawing.tsx), what is said about the selection
//                (machine/panel.tsx), the flow of a longer stretch (machine/stretch.ts).
import { useComputed } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Geometry, HistoryItem, MachineView, Page as PageOf, UserView } from '../../../src/api/contract.ts';
import { useAnswer } from '../api.ts';
import { count, many, percent, rate } from '../format.ts';
import { Icon } from '../icons.tsx';
import { counts, deadTotal, flow, lag, sumOf, togglePause, transitions as totals, waiting } from '../live.ts';
import { useFitting } from '../machine/direction.ts';
import { Drawing, type Selection } from '../machine/drawing.tsx';
import { leads, throughOf } from '../machine/flows.ts';
import { askMachine, machine, machineProblem, needMachine } from '../machine/machine.ts';
import { SelectionPanel } from '../machine/panel.tsx';
import { pathOf } from '../machine/path.ts';
import { STRETCHES, type Stretch, shorterThan, stretchInWords, useChosenStretch } from '../machine/stretch.ts';
import { Choice, FindUser, Id, Loading, Note, Page, Panel, Problem, Since, StateBadge, Table } from '../parts.ts';
import { hrefOf, path, searchOf, setQuery, type ViewProps } from '../router.ts';
import './machine.css';
import '../machine/stretch.css';

export default function MachinePage({ query }: ViewProps) {
  useEffect(needMachine, []);
  const view = machine.value;
  const find = useRef<HTMLInputElement>(null);
  const isTable = query.show === 'table';
  useKeys(isTable, find);
  const [direction, choose] = useDirection(query.direction);
  const stretch = useChosenStretch(query.window);
  const sub = view && (
    <>
      <span>
        {view.id}, version {view.version}
      </span>
      <Id id={view.hash} what="hash of the machine" />
    </>
  );
  const actions = (
    <>
      <FindUser
        onFind={(user) => setQuery({ user, state: undefined, transition: undefined }, { push: true })}
        inputRef={find}
      />
      <StretchChoice stretch={stretch} />
      <Choice
        label="Show as"
        value={isTable ? 'table' : 'graph'}
        onChoose={(show) => setQuery({ show: show === 'table' ? show : undefined })}
        options={[
          {
            value: 'graph',
            label: (
              <>
                <Icon name="graph" size={14} /> Graph
              </>
            ),
            title: 'The drawing (T)',
          },
          {
            value: 'table',
            label: (
              <>
                <Icon name="table" size={14} /> Table
              </>
            ),
            title: 'The same as a table (T)',
          },
        ]}
      />
      {!isTable && (
        <Choice
          label="Direction"
          value={direction}
          onChoose={choose}
          options={[
            { value: 'LR', label: '→', title: 'From left to right' },
            { value: 'TB', label: '↓', title: 'From top to bottom' },
          ]}
        />
      )}
    </>
  );
  return (
    <Page title="Machine" sub={sub} actions={actions} isFull>
      <Sums />
      <NobodyYet />
      {query.user !== undefined && <Chosen key={query.user} userId={query.user} />}
      {machineProblem.value && <Problem problem={machineProblem.value} again={() => void askMachine()} />}
      {view === undefined ? (
        <div class="canvas machine-room">
          <Loading lines={1} what="Loading the machine" />
        </div>
      ) : (
        <Board view={view} direction={direction} isTable={isTable} stretch={stretch} query={query} />
      )}
      <Summary />
    </Page>
  );
}

function Board({
  view,
  direction,
  isTable,
  stretch,
  query,
}: {
  view: MachineView;
  direction: Geometry['direction'];
  isTable: boolean;
  stretch: Stretch;
  query: ViewProps['query'];
}) {
  const selected: Selection = { state: query.state, transition: query.transition };
  const isOpen = selected.state !== undefined || selected.transition !== undefined;
  const history = useAnswer<PageOf<HistoryItem>>(query.user === undefined ? null : path`users/${query.user}/history`, {
    limit: 200,
  });
  const user = useAnswer<UserView>(query.user === undefined ? null : path`users/${query.user}`);
  const way = query.user !== undefined && history.value ? pathOf(history.value.items) : undefined;
  const select = ({ state, transition }: Selection) => setQuery({ state, transition }, { push: true });
  return (
    <div class="machine-board" data-open={isOpen}>
      {isTable ? (
        <Twin view={view} stretch={stretch} />
      ) : (
        <div class="stack">
          <div class="canvas">
            <div class="canvas-inner" data-direction={direction}>
              <Drawing
                view={view}
                direction={direction}
                isLive
                selected={selected}
                onSelect={select}
                path={way}
                current={query.user === undefined ? undefined : (user.value?.user?.state ?? way?.current)}
                label={`The machine ${view.id}: ${view.states.length} states. Arrow keys follow its edges, Enter opens.`}
              />
            </div>
          </div>
          <Legend />
        </div>
      )}
      {isOpen && (
        <SelectionPanel
          view={view}
          selected={selected}
          stretch={stretch}
          onClose={() => setQuery({ state: undefined, transition: undefined })}
        />
      )}
    </div>
  );
}

/** `T`, `/`, `P`, Escape: wherever the focus is, unless somebody types. */
function useKeys(isTable: boolean, find: { current: HTMLInputElement | null }): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        (event.target as Element).closest('input, textarea, select, dialog')
      )
        return;
      if (event.key === 't') setQuery({ show: isTable ? undefined : 'table' });
      else if (event.key === 'p') togglePause();
      else if (event.key === 'Escape') setQuery({ state: undefined, transition: undefined, user: undefined });
      else if (event.key === '/') find.current?.focus();
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [isTable]);
}

/** As chosen; else as fits the window. */
function useDirection(chosen: string | undefined): [Geometry['direction'], (direction: Geometry['direction']) => void] {
  const fitting = useFitting();
  const direction = chosen === 'LR' || chosen === 'TB' ? chosen : fitting;
  return [direction, (direction) => setQuery({ direction: direction === fitting ? undefined : direction })];
}

/** Over how long the flow is that is drawn; and over how long it truly is, while the service is not that old. */
function StretchChoice({ stretch }: { stretch: Stretch }) {
  const shorter = useComputed(() => shorterThan(stretch, flow.value));
  return (
    <div class="stretch">
      <label for="stretch">Flow of the last</label>
      <select
        id="stretch"
        value={stretch}
        onChange={({ currentTarget: { value } }) => setQuery({ window: value === '10' ? undefined : value })}
      >
        {STRETCHES.map((each) => (
          <option key={each} value={each}>
            {stretchInWords(each)}
          </option>
        ))}
      </select>
      {shorter.value && <span class="muted nowrap">of {shorter.value} so far</span>}
    </div>
  );
}

/** The whole in a line. */
function Sums() {
  const users = useComputed(() => (counts.value === undefined ? '–' : count(sumOf(counts.value))));
  const records = useComputed(() => (flow.value === undefined ? '–' : rate(flow.value.records)));
  const behind = useComputed(() => (lag.value === undefined ? '–' : count(lagOf())));
  const waits = useComputed(() => (waiting.value === undefined ? '–' : count(waiting.value.total)));
  const dead = useComputed(() => (deadTotal.value === undefined ? '–' : count(deadTotal.value)));
  return (
    <ul class="sums live-value">
      <li>
        <span>Users</span>
        <strong>{users}</strong>
      </li>
      <li>
        <span>Records</span>
        <strong>{records}</strong>
      </li>
      <li>
        <a href={hrefOf('/partitions')}>Lag</a>
        <strong>{behind}</strong>
      </li>
      <li>
        <a href={hrefOf('/waiting')}>Waiting outside</a>
        <strong>{waits}</strong>
      </li>
      <li>
        <a href={hrefOf('/dead-letters')}>Dead letters</a>
        <strong>{dead}</strong>
      </li>
    </ul>
  );
}
/** undefined: of one of them it is not known. */
function lagOf(): number | undefined {
  let sum = 0;
  for (const { lag: behind } of lag.value ?? []) {
    if (behind === null) return undefined;
    sum += Number(behind);
  }
  return sum;
}

function NobodyYet() {
  const isEmpty = useComputed(() => counts.value !== undefined && sumOf(counts.value) === 0);
  if (!isEmpty.value) return null;
  return (
    <Note icon="users">
      <strong>No users yet.</strong> They come with the first events: <code>npm run demo</code> sends some, as does{' '}
      <code>user-lifecycle send USER_CREATED --user 'auth0|42'</code>.
    </Note>
  );
}

const SUMMARY_MS = 10_000;

/** For whoever listens: the whole in a sentence, at most every 10 s. */
function Summary() {
  const [text, setText] = useState('');
  useEffect(() => {
    const tell = () => {
      if (counts.peek() === undefined) return;
      setText(
        `${many(sumOf(counts.peek()), 'user')}, ${rate(flow.peek()?.records).replace('/s', ' records per second')}, ${many(waiting.peek()?.total, 'event')} waiting, ${many(deadTotal.peek(), 'dead letter')}.`,
      );
    };
    const timer = setInterval(tell, SUMMARY_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <p class="sr" aria-live="polite">
      {text}
    </p>
  );
}

function Legend() {
  return (
    <p class="legend muted">
      <span>
        <Icon name="reload" size={12} /> inside a box: changes the user, not the state
      </span>
      <span>what changes nothing is not drawn</span>
      <span class="legend-keys">
        <kbd>←</kbd> <kbd>↑</kbd> <kbd>↓</kbd> <kbd>→</kbd> follow edges <kbd>Enter</kbd> opens <kbd>T</kbd> table{' '}
        <kbd>/</kbd> find <kbd>P</kbd> pause
      </span>
    </p>
  );
}

/** The user whose way is drawn. */
function Chosen({ userId }: { userId: string }) {
  const { value, problem, again } = useAnswer<UserView>(path`users/${userId}`);
  const close = () => setQuery({ user: undefined });
  if (problem && problem.status !== 404) return <Problem problem={problem} again={again} />;
  return (
    <div class="chosen">
      <Icon name="user" />
      <Id id={userId} to={path`/users/${userId}`} what="user id" most={48} />
      {problem ? (
        <span>is not known here: it has no row, and nothing waits for it.</span>
      ) : value === undefined ? (
        <span class="muted">…</span>
      ) : value.user === null ? (
        <span>does not exist yet; {many(value.waitingCount, 'event')} wait for it.</span>
      ) : (
        <span>
          is <StateBadge state={value.user.state} /> since <Since at={value.user.updatedAt} />, after{' '}
          {many(value.user.version, 'step')}
          {value.waitingCount > 0 && <>; {many(value.waitingCount, 'event')} waiting</>}
        </span>
      )}
      <span class="grow" />
      <a class="button small" href={hrefOf(path`/users/${userId}`)}>
        Open its timeline
      </a>
      <button type="button" class="icon-button small" onClick={close} aria-label="Show all users again">
        <Icon name="close" size={13} />
      </button>
    </div>
  );
}

/** The drawing's twin: everything it says, as two tables. */
function Twin({ view, stretch }: { view: MachineView; stretch: Stretch }) {
  const all = sumOf(counts.value);
  const edges = flow.value?.edges;
  const time = shorterThan(stretch, flow.value) ?? stretchInWords(stretch);
  const toOf = (selected: Selection) =>
    `/${searchOf({ show: 'table', window: stretch === 10 ? undefined : stretch, ...selected })}`;
  return (
    <div class="stack live-value">
      <Panel title="States" isFlush>
        <Table
          caption={`States, how many users are in each, and how many come and go: of the last ${time}`}
          rows={view.states.filter(({ kind }) => kind !== 'initial')}
          keyOf={({ id }) => id}
          toOf={({ id }) => toOf({ state: id })}
          columns={[
            { head: 'State', cell: ({ id }) => <StateBadge state={id} /> },
            { head: 'Users', kind: 'number', cell: ({ id }) => (counts.value ? count(counts.value[id] ?? 0) : '–') },
            { head: 'Share', kind: 'number', cell: ({ id }) => (all ? percent((counts.value?.[id] ?? 0) / all) : '–') },
            { head: 'In', kind: 'number', cell: ({ id }) => rate(throughOf(view, id, edges).in) },
            { head: 'Out', kind: 'number', cell: ({ id }) => rate(throughOf(view, id, edges).out) },
            {
              head: 'Kind',
              kind: 'wide',
              cell: ({ kind }) => <span class="muted">{kind === 'normal' ? '' : kind}</span>,
            },
          ]}
        />
      </Panel>
      <Panel title="Transitions" isFlush>
        <Table
          caption={`Transitions, how often each is taken: of the last ${time}, and in all`}
          rows={view.transitions}
          keyOf={({ id }) => id}
          toOf={({ id }) => toOf({ transition: id })}
          isDim={({ changes }) => !changes}
          columns={[
            { head: 'Event', cell: ({ event }) => <span class="mono">{event}</span> },
            { head: 'If', cell: ({ guard }) => (guard === null ? '' : <span class="mono">{guard}</span>) },
            { head: 'From', cell: ({ source }) => <StateBadge state={source} /> },
            {
              head: 'To',
              cell: (one) =>
                leads(one) ? (
                  <StateBadge state={one.target} />
                ) : (
                  <span class="muted">{one.changes ? 'stays, changed' : 'stays, skipped'}</span>
                ),
            },
            {
              head: stretch === 10 ? 'Now' : `Last ${time}`,
              kind: 'number',
              cell: ({ id, changes }) => (changes ? rate(edges && (edges[id] ?? 0)) : ''),
            },
            {
              head: 'In all',
              kind: 'number',
              cell: ({ id, changes }) => (changes ? count(totals.value && (totals.value[id] ?? 0)) : ''),
            },
          ]}
        />
      </Panel>
    </div>
  );
}
