// user.tsx — one user: who it is, its way through the machine, every event and what became of it, and the way back in time.
//
// Owns:          which step is looked at (?version= in the address; none: the last one, as they come). Does not own: the parts (user/).
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { HistoryItem, UserView } from '../../../src/api/contract.ts';
import { urlOf, useAnswer, usePages } from '../api.ts';
import { count, many } from '../format.ts';
import { Icon } from '../icons.tsx';
import { link } from '../live.ts';
import { useFitting } from '../machine/direction.ts';
import { Drawing } from '../machine/drawing.tsx';
import { machine, needMachine } from '../machine/machine.ts';
import { pathOf } from '../machine/path.ts';
import {
  Badge,
  Clock,
  CopyButton,
  CustomerId,
  Empty,
  Facts,
  Filters,
  Loading,
  Note,
  NotFound,
  OUTCOME_NAMES,
  OutcomeMark,
  Page,
  Problem,
  StateBadge,
  Table,
  Time,
  WhyNot,
} from '../parts.ts';
import { hrefOf, path, setQuery, type ViewProps } from '../router.ts';
import { session } from '../session.ts';
import { useAt } from '../user/at.ts';
import { HoldButton, HoldNotes } from '../user/holding.tsx';
import { FoldCheck, Inspector } from '../user/inspector.tsx';
import { Scrubber } from '../user/scrubber.tsx';
import { type Entry, narrowed, timelineOf } from '../user/timeline.ts';
import './user.css';
import { wordsOf } from './users.tsx';

const REFRESH_MS = 5_000;
const PAGE = 200;

export default function UserPage({ params, query }: ViewProps) {
  return <OneUser key={params.id} userId={params.id as string} query={query} />;
}

function OneUser({ userId, query }: { userId: string; query: ViewProps['query'] }) {
  useEffect(needMachine, []);
  const [isRevealed, reveal] = useState(false);
  const asked = isRevealed ? { reveal: 'true' } : {};
  const user = useAnswer<UserView>(path`users/${userId}`, asked);
  const history = usePages<HistoryItem>(path`users/${userId}/history`, { limit: PAGE, ...asked });
  // What is revealed is written into the audit each time it is asked: it is not asked again by itself.
  useRefresh(user.again, !isRevealed);
  const version = user.value?.user?.version;
  const loaded = history.items?.[0]?.version ?? undefined;
  // Something happened to it: the steps are asked for anew.
  useEffect(() => {
    if (version !== undefined && loaded !== undefined && version > loaded && !history.isLoading) history.again();
  }, [version, loaded, history.isLoading]);
  const title = `User ${userId}`;
  if (user.problem?.status === 404)
    return (
      <Page title={title} heading="User">
        <NotFound what="such user">
          Nothing is known of <span class="mono">{userId}</span>, and nothing waits for it.{' '}
          <a href={hrefOf('/users')}>All users</a>
        </NotFound>
      </Page>
    );
  if (user.value === undefined)
    return (
      <Page title={title} heading={<span class="mono user-heading">{userId}</span>}>
        {user.problem ? (
          <Problem problem={user.problem} again={user.again} />
        ) : (
          <Loading lines={8} what="Loading the user" />
        )}
      </Page>
    );
  return (
    <Known
      userId={userId}
      query={query}
      view={user.value}
      history={history}
      isRevealed={isRevealed}
      onReveal={() => reveal(true)}
      onChange={user.again}
    >
      {user.problem && <Problem problem={user.problem} again={user.again} />}
    </Known>
  );
}

/** While the page is live. */
function useRefresh(again: () => void, isOn: boolean): void {
  useEffect(() => {
    if (!isOn) return;
    const timer = setInterval(() => {
      if (!document.hidden && link.peek().is === 'open') again();
    }, REFRESH_MS);
    return () => clearInterval(timer);
  }, [isOn]);
}

type KnownProps = {
  userId: string;
  query: ViewProps['query'];
  view: UserView;
  history: ReturnType<typeof usePages<HistoryItem>>;
  isRevealed: boolean;
  onReveal: () => void;
  onChange: () => void;
  children: ComponentChildren;
};

function Known({ userId, query, view, history, isRevealed, onReveal, onChange, children }: KnownProps) {
  const items = history.items ?? [];
  const steps = Math.max(items[0]?.version ?? 0, 0);
  const wanted = query.version === undefined ? Number.NaN : Number(query.version);
  const version = Number.isInteger(wanted) && wanted >= 0 && wanted <= steps ? wanted : steps;
  const step = items.find((item) => item.version === version);
  // Its page is not loaded yet: on to the next, until it is.
  useEffect(() => {
    if (version > 0 && step === undefined && history.hasMore && !history.isLoadingMore) history.more();
  }, [version, step, history.isLoadingMore, items.length]);
  const at = useAt(userId, steps === 0 ? undefined : version, steps, isRevealed);
  const onStep = (to: number) => setQuery({ version: to === steps ? undefined : to });
  const initial = machine.value?.states.find(({ kind }) => kind === 'initial')?.id ?? 'absent';
  const state = version === 0 ? initial : (step?.to ?? step?.from ?? initial);
  const { user } = view;
  const actions = (
    <>
      <HoldButton userId={userId} view={view} onDone={onChange} />
      <a class="button" href={hrefOf(`/what-if?user=${encodeURIComponent(userId)}`)}>
        <Icon name="whatif" size={14} /> What if
      </a>
      <a class="button" href={hrefOf(`/?user=${encodeURIComponent(userId)}`)}>
        <Icon name="machine" size={14} /> On the machine
      </a>
      <a class="button" href={urlOf(path`users/${userId}`)} target="_blank" rel="noreferrer">
        <Icon name="events" size={14} /> JSON
      </a>
    </>
  );
  const sub = (
    <>
      {user && (
        <span>
          last event <Time at={user.updatedAt} />
        </span>
      )}
      {at.value?.fold.equal === true && (
        <Badge
          tone="good"
          icon="check"
          title={at.value.fold.differences[0] ?? 'Its history, folded anew by the machine, gives the saved row.'}
        >
          {at.value.fold.differences[0]
            ? 'not compared'
            : `history gives the saved row, ${many(at.value.steps, 'step')}`}
        </Badge>
      )}
      <WhyNot />
      {version !== steps && (
        <Badge tone="info" icon="reload">
          looking back: step {version} of {steps}
        </Badge>
      )}
    </>
  );
  return (
    <Page
      title={`User ${userId}`}
      heading={
        <>
          <span class="mono user-heading">{userId}</span>
          <CopyButton text={userId} what="user id" />
          <StateBadge state={user?.state ?? null} />
        </>
      }
      sub={sub}
      actions={actions}
    >
      {children}
      <HoldNotes userId={userId} view={view} onDone={onChange} />
      {at.value && <FoldCheck fold={at.value.fold} steps={at.value.steps} />}
      {user === null && (
        <Note tone="warn">
          It does not exist yet. {many(view.waitingCount, 'event')} wait for it: they are put to it, in order, once it
          is created.
        </Note>
      )}
      {user && <Who view={view} user={user} isRevealed={isRevealed} onReveal={onReveal} />}
      <div class="user-board" data-empty={steps === 0}>
        {steps > 0 && (
          <section class="panel user-machine" aria-label="Its way through the machine">
            <Way userId={userId} items={items} version={version} step={step} state={state} />
            <Scrubber userId={userId} at={version} steps={steps} history={items} onStep={onStep} />
          </section>
        )}
        {steps > 0 && (
          <Inspector userId={userId} version={version} step={step} at={at} state={state} view={machine.value} />
        )}
        <Timeline userId={userId} view={view} history={history} query={query} version={version} />
      </div>
    </Page>
  );
}

type WayProps = {
  userId: string;
  items: readonly HistoryItem[];
  version: number;
  step: HistoryItem | undefined;
  state: string;
};

function Way({ userId, items, version, step, state }: WayProps) {
  const direction = useFitting();
  if (machine.value === undefined) return <Loading lines={3} what="Loading the machine" />;
  return (
    <div class="canvas-inner" data-direction={direction}>
      <Drawing
        view={machine.value}
        direction={direction}
        path={pathOf(items, version)}
        current={state}
        taking={step?.outcome === 'applied' ? step.transition : undefined}
        label={`The way of ${userId}: after step ${version} it is ${state}.`}
      />
    </div>
  );
}

function Who({
  view,
  user,
  isRevealed,
  onReveal,
}: {
  view: UserView;
  user: NonNullable<UserView['user']>;
  isRevealed: boolean;
  onReveal: () => void;
}) {
  const mayReveal = session.value?.mayReveal === true;
  const { source } = view;
  return (
    <section class="panel who-is" aria-label="The saved row">
      <Facts
        facts={[
          [
            'Customer',
            user.customerId === null ? (
              <span class="muted">none</span>
            ) : (
              <>
                <CustomerId id={user.customerId} />{' '}
                {user.customerName && <span class="muted">{user.customerName}</span>}
              </>
            ),
          ],
          [
            'Role',
            <>
              {wordsOf(user.role)}
              {user.isCompanyOwner && <>, owner</>} <span class="muted">of {wordsOf(user.userType)}</span>
            </>,
          ],
          ['E-mail', user.email],
          ['Name', user.name],
          ['Step', count(user.version)],
          [
            'Waiting',
            user.waiting === 0 ? (
              '0'
            ) : (
              <Badge tone="warn" icon="waiting">
                {user.waiting}
              </Badge>
            ),
          ],
          [
            'Last from',
            source === null ? (
              <span class="muted">nowhere</span>
            ) : (
              <span title={source.owner ? `saved by ${source.owner}` : undefined}>
                {source.topic}, partition {source.partition}
              </span>
            ),
          ],
          ['Created', <Time at={user.createdAt} exact />],
        ]}
      />
      <div class="reveal">
        {isRevealed ? (
          <span class="muted small">
            <Icon name="eye" size={13} /> shown as it is; that is in the audit
          </span>
        ) : mayReveal ? (
          <button
            type="button"
            class="button small"
            onClick={onReveal}
            title="Shows name, e-mail and payloads; it is written into the audit"
          >
            <Icon name="eye" size={13} /> Reveal
          </button>
        ) : (
          <span class="muted small">masked: you may not see personal data here</span>
        )}
      </div>
    </section>
  );
}

type TimelineProps = {
  userId: string;
  view: UserView;
  history: KnownProps['history'];
  query: ViewProps['query'];
  version: number;
};

function Timeline({ userId, view, history, query, version }: TimelineProps) {
  const all = timelineOf(history.items ?? [], view.deadLetters, view.waiting);
  const shown = narrowed(all, query);
  const types = [...new Set(all.map(({ type }) => type))].sort();
  return (
    <section class="stack timeline" aria-label="Timeline">
      <div class="timeline-head">
        <h2>Timeline</h2>
        <Filters
          fields={[
            { kind: 'choice', name: 'outcome', label: 'Outcome', options: OUTCOME_NAMES },
            { kind: 'choice', name: 'type', label: 'Event', options: types },
          ]}
        />
      </div>
      {history.problem && <Problem problem={history.problem} again={history.again} />}
      {history.items === undefined && history.problem === undefined && <Loading lines={6} what="Loading the history" />}
      {history.items && all.length === 0 && <Empty title="Nothing happened to it yet" />}
      {all.length > 0 && shown.length === 0 && <Empty title="No event fits" icon="search" />}
      {shown.length > 0 && (
        <Table
          caption="Events, the newest first"
          rows={shown}
          keyOf={keyOf}
          toOf={(entry) => toOf(userId, entry, query)}
          isSelected={(entry) => entry.is === 'step' && entry.step.version === version}
          isDim={(entry) => entry.is === 'step' && (entry.step.version ?? 0) > version}
          columns={COLUMNS}
        />
      )}
      {history.hasMore && (
        <div class="pager">
          <span class="muted">{count(history.items?.length)} steps shown, there are older ones</span>
          <button type="button" class="button small" onClick={history.more} disabled={history.isLoadingMore}>
            {history.isLoadingMore ? 'Loading…' : 'Show more'}
          </button>
        </div>
      )}
      {view.waitingCount > view.waiting.length && (
        <p class="muted small">
          {count(view.waitingCount)} events wait; the first {view.waiting.length} are shown.{' '}
          <a href={hrefOf(`/waiting?user=${encodeURIComponent(userId)}`)}>All</a>
        </p>
      )}
    </section>
  );
}

function keyOf(entry: Entry): string {
  if (entry.is === 'step') return `step ${entry.step.version}`;
  return entry.is === 'dead' ? `dead ${entry.letter.id}` : `waiting ${entry.event.id}`;
}

function toOf(userId: string, entry: Entry, { outcome, type }: ViewProps['query']): string {
  if (entry.is === 'dead') return `/dead-letters/${entry.letter.id}`;
  if (entry.is === 'waiting') return `/waiting/${entry.event.id}`;
  const filter = `${outcome ? `&outcome=${outcome}` : ''}${type ? `&type=${type}` : ''}`;
  return `${path`/users/${userId}`}?version=${entry.step.version}${filter}`;
}

const COLUMNS = [
  {
    head: 'Step',
    kind: 'tight' as const,
    cell: (entry: Entry) => <span class="number muted">{entry.is === 'step' ? entry.step.version : '·'}</span>,
  },
  { head: 'When', kind: 'tight' as const, cell: (entry: Entry) => <When atMs={entry.atMs} /> },
  {
    head: 'Event',
    kind: 'tight' as const,
    isLink: true,
    cell: (entry: Entry) => <span class="mono">{entry.type}</span>,
  },
  {
    head: 'State',
    kind: 'tight' as const,
    cell: (entry: Entry) => {
      if (entry.is !== 'step') return '';
      const { from, to } = entry.step;
      return (
        <span class="way">
          {from !== to && from !== null && (
            <>
              <StateBadge state={from} />
              <Icon name="next" size={11} label="to" />
            </>
          )}
          <StateBadge state={to ?? from} />
        </span>
      );
    },
  },
  {
    head: 'Outcome',
    kind: 'wide' as const,
    cell: (entry: Entry) => (
      <span class="what-came">
        <OutcomeMark outcome={entry.outcome} />
        {entry.is === 'step' && entry.step.drift && (
          <Badge tone="warn" icon="drift" title="The producer's previous value was not what we had">
            drift
          </Badge>
        )}
        <span class="muted">{noteOf(entry)}</span>
      </span>
    ),
  },
];

function noteOf(entry: Entry): string {
  if (entry.is === 'step') return entry.step.note ?? '';
  if (entry.is === 'waiting') return entry.event.note;
  return `${entry.letter.code}: ${entry.letter.message}${entry.letter.blocks ? ' Later events wait behind it.' : ''}`;
}

/** The clock's time on the day itself, else the day before it. */
function When({ atMs }: { atMs: number }) {
  const iso = new Date(atMs).toISOString();
  const isToday = new Date(atMs).toDateString() === new Date().toDateString();
  return isToday ? <Clock at={iso} /> : <Time at={iso} exact />;
}
