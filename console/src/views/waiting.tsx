// waiting.tsx — events that are kept because something must happen first: in groups, as a list, one by one; and giving them up.
//
// Owns:          which of them are looked at. Does not own: the act (acts.tsx); what makes them go is not here, they go by themselves.
import { useState } from 'preact/hooks';
import type {
  Content,
  UserView,
  WaitingFilter,
  WaitingGroup,
  WaitingItem,
  WaitingView as WaitingWhole,
} from '../../../src/api/contract.ts';
import { type Pages, useAnswer, usePages } from '../api.ts';
import { count, upTo } from '../format.ts';
import { Icon, type IconName } from '../icons.tsx';
import {
  Act,
  Choice,
  Coordinates,
  CopyButton,
  CustomerId,
  Empty,
  Facts,
  type Field,
  Filters,
  Id,
  Loading,
  Note,
  NotFound,
  Page,
  Pager,
  Problem,
  Since,
  Table,
  Time,
  UserId,
  WhyNot,
} from '../parts.ts';
import { hrefOf, path, searchOf, setQuery, type ViewProps } from '../router.ts';
import { type ActAsked, ActDialog } from './acts.tsx';
import { Bar } from './bar.tsx';
import { filtersInWords, isEmpty, WAITS_FOR, waitingAsked } from './dead-letters-filter.ts';
import { commonFields, Detail, EVENT_TYPES, RecordContent, Split, Tabs } from './dead-letters-parts.tsx';
import { Fold } from './fold.tsx';
import './views.css';
import './dead-letters.css';

/** Beyond it, further events of the user become dead letters (waiting-full). */
const MOST_OF_A_USER = 10_000;

const REASONS: Readonly<Record<string, { icon: IconName; says: string }>> = {
  customer: { icon: 'search', says: 'for an unknown customer' },
  user: { icon: 'user', says: 'for a user that does not exist yet' },
  'dead-letter': { icon: 'dead', says: 'behind a dead letter' },
  hold: { icon: 'hold', says: 'on hold' },
  order: { icon: 'waiting', says: 'behind another event' },
  machine: { icon: 'machine', says: 'for a deploy' },
};

function Reason({ reason }: { reason: string }) {
  const { icon, says } = REASONS[reason] ?? { icon: 'waiting', says: reason };
  return (
    <span class="reason" title={reason}>
      <Icon name={icon} size={14} /> {says}
    </span>
  );
}

export default function WaitingView({ params: { id }, query }: ViewProps) {
  const asked = waitingAsked(query);
  const groups = useAnswer<{ items: WaitingGroup[]; complete: boolean }>('waiting/groups', asked);
  const isList = query.view === 'list' || id !== undefined;
  const list = usePages<WaitingItem>(isList ? 'waiting' : null, asked);
  const [act, setAct] = useState<ActAsked>();
  const [turn, setTurn] = useState(0);
  const matching = groups.value?.items.reduce((sum, group) => sum + group.count, 0);
  /** There are more than were counted. */
  const isMore = groups.value?.complete === false;
  const again = () => {
    groups.again();
    if (isList) list.again();
    setTurn((turn) => turn + 1);
  };
  return (
    <Page
      title="Waiting"
      isFull
      sub={<span>Events that go by themselves as soon as what they wait for has happened.</span>}
    >
      <Tabs at="waiting" />
      <Fold name={filtersInWords(asked)}>
        <Filters fields={fieldsOf(asked)} />
      </Fold>
      <div class="toolbar">
        <Choice
          label="How they are shown"
          value={isList ? 'list' : 'groups'}
          options={[
            { value: 'groups', label: 'Groups' },
            { value: 'list', label: 'List' },
          ]}
          onChoose={(view) => setQuery({ view: view === 'list' ? 'list' : undefined })}
        />
        <span class="toolbar-says" role="status">
          <strong class="number">
            {count(matching)}
            {isMore && '+'}
          </strong>{' '}
          {matching === 1 ? 'matches' : 'match'}
        </span>
        <button type="button" class="button quiet small" onClick={again}>
          <Icon name="reload" size={13} /> Look again
        </button>
        <span class="grow" />
        <WhyNot />
        <Act
          onAct={() => setAct({ kind: 'give up', chosen: { filter: asked }, n: isMore ? undefined : matching })}
          icon="trash"
          isDangerous
          whyNot={
            matching === undefined
              ? 'It is not known yet what matches.'
              : matching === 0
                ? 'There is nothing to do.'
                : undefined
          }
        >
          Discard {matching === undefined ? '' : isMore ? 'all that match' : count(matching)}…
        </Act>
      </div>
      {asked.user !== undefined && matching !== undefined && (
        <AgainstLimit n={matching} isAll={Object.keys(asked).length === 1} />
      )}
      <Split
        list={isList ? <List list={list} query={query} openId={id} /> : <Groups groups={groups} asked={asked} />}
        openId={id}
        open={
          id !== undefined && (
            <WaitingDetail
              key={`${id} ${turn}`}
              id={id}
              backTo={`/waiting${searchOf({ ...query, view: 'list' })}`}
              onAct={setAct}
            />
          )
        }
      />
      {act && <ActDialog {...act} onClose={() => setAct(undefined)} onDone={again} />}
    </Page>
  );
}

function fieldsOf({ before }: WaitingFilter): Field[] {
  const options = WAITS_FOR.map((value) => ({ value, label: REASONS[value]?.says ?? value }));
  return [{ name: 'reason', label: 'Waits', kind: 'choice', options }, ...commonFields(before, 'Since', EVENT_TYPES)];
}

// ---- groups and the list ------------------------------------------------------------------------------------------------------

function Groups({
  groups: { value, problem, isLoading, again },
  asked,
}: {
  groups: ReturnType<typeof useAnswer<{ items: WaitingGroup[] }>>;
  asked: WaitingFilter;
}) {
  if (problem) return <Problem problem={problem} again={again} />;
  if (value === undefined) return <Loading what="Loading groups" />;
  if (value.items.length === 0) return <None asked={asked} />;
  return (
    <Table
      caption="Waiting events, by what they wait for and event"
      rows={value.items}
      isBusy={isLoading}
      keyOf={({ reason, type }) => `${reason} ${type}`}
      toOf={({ reason, type }) => `/waiting${searchOf({ ...asked, view: 'list', reason, type })}`}
      columns={[
        { head: 'They wait', cell: ({ reason }) => <Reason reason={reason} /> },
        { head: 'Event', cell: ({ type }) => type },
        { head: 'Waiting', kind: 'number', cell: (group) => count(group.count) },
        { head: 'Users', kind: 'number', cell: ({ users }) => count(users) },
        { head: 'The oldest since', cell: ({ firstSince }) => <Since at={firstSince} /> },
        { head: 'The newest since', cell: ({ lastSince }) => <Since at={lastSince} /> },
      ]}
    />
  );
}

function None({ asked }: { asked: WaitingFilter }) {
  if (!isEmpty(asked))
    return (
      <Empty title="None match" icon="search">
        Take a filter away to see others.
      </Empty>
    );
  return (
    <Empty title="Nothing waits" good>
      Every event could go at once.
    </Empty>
  );
}

function List({
  list,
  query,
  openId,
}: {
  list: Pages<WaitingItem>;
  query: ViewProps['query'];
  openId: string | undefined;
}) {
  const { items, problem, isLoading, again } = list;
  if (items === undefined)
    return problem ? <Problem problem={problem} again={again} /> : <Loading what="Loading what waits" />;
  if (items.length === 0) return <None asked={waitingAsked(query)} />;
  const isNarrow = openId !== undefined;
  return (
    <>
      {problem && <Problem problem={problem} again={again} />}
      <Table
        caption="Waiting events, the oldest first"
        rows={items}
        isBusy={isLoading}
        keyOf={({ id }) => id}
        toOf={({ id }) => `${path`/waiting/${id}`}${searchOf(query)}`}
        isSelected={({ id }) => String(id) === openId}
        columns={[
          ...(isNarrow
            ? []
            : [
                {
                  head: 'Number',
                  kind: 'tight' as const,
                  cell: ({ id }: WaitingItem) => <span class="number">{id}</span>,
                },
              ]),
          { head: 'It waits', cell: ({ reason }) => <Reason reason={reason} /> },
          ...(isNarrow ? [] : [{ head: 'Event', cell: ({ type }: WaitingItem) => type }]),
          { head: 'User', cell: ({ userId }) => <UserId id={userId} copy={!isNarrow} most={isNarrow ? 14 : 28} /> },
          ...(isNarrow
            ? []
            : [
                {
                  head: 'Customer',
                  isExtra: true,
                  cell: ({ customerId }: WaitingItem) =>
                    customerId === null ? <span class="muted">–</span> : <CustomerId id={customerId} copy={false} />,
                },
                { head: 'Coordinates', isExtra: true, cell: (row: WaitingItem) => <Coordinates {...row} /> },
              ]),
          { head: 'For', kind: 'tight', cell: ({ since }) => <Since at={since} /> },
        ]}
      />
      <Pager {...list} what="waiting events" />
    </>
  );
}

/** How near a user is to what it may have waiting. */
function AgainstLimit({ n, isAll }: { n: number; isAll: boolean }) {
  const isNear = n >= MOST_OF_A_USER * 0.8;
  return (
    <p class="limit">
      <Bar part={n / MOST_OF_A_USER} isHigh={isNear} />
      <span>
        <strong class="number">{upTo(n, MOST_OF_A_USER)}</strong> of at most {count(MOST_OF_A_USER)}{' '}
        {isAll ? 'wait for this user' : 'of this user match'}
        {isNear && ': beyond it, further events of this user become dead letters (waiting-full)'}
      </span>
    </p>
  );
}

// ---- one --------------------------------------------------------------------------------------------------------------------

function WaitingDetail({ id, backTo, onAct }: { id: string; backTo: string; onAct: (act: ActAsked) => void }) {
  const { value, problem, isLoading, again } = useAnswer<WaitingWhole>(
    /^\d{1,15}$/.test(id) ? path`waiting/${id}` : null,
  );
  const [revealed, setRevealed] = useState<Content>();
  const frame = { backTo, what: 'All that waits', name: `Waiting event ${id}` };
  if (problem?.status === 404 || (!isLoading && value === undefined && problem === undefined))
    return (
      <Detail {...frame}>
        <NotFound what={`waiting event ${id}`}>It may have gone: then it stands in its user’s timeline.</NotFound>
      </Detail>
    );
  if (problem)
    return (
      <Detail {...frame}>
        <Problem problem={problem} again={again} />
      </Detail>
    );
  if (value === undefined)
    return (
      <Detail {...frame}>
        <Loading lines={10} what="Loading the waiting event" />
      </Detail>
    );
  const chosen = { ids: [value.id] };
  return (
    <Detail
      {...frame}
      head={
        <>
          <h2>
            Waiting event <span class="number">{value.id}</span> <CopyButton text={String(value.id)} what="number" />
          </h2>
          <Reason reason={value.reason} />
        </>
      }
    >
      <div class="acts">
        <Act onAct={() => onAct({ kind: 'give up', chosen, n: 1 })} icon="trash" isDangerous>
          Discard…
        </Act>
      </div>
      <section aria-label="Why it waits">
        <h3>Why it waits</h3>
        <Note tone="info" icon="waiting">
          {value.note}
        </Note>
        <p class="muted">
          For <Since at={value.since} />, since <Time at={value.since} exact />.
        </p>
      </section>
      <OfItsUser userId={value.userId} />
      <Facts
        facts={[
          ['Coordinates', <Coordinates {...value} />],
          value.generation === 0 ? undefined : ['Generation of the log', count(value.generation)],
          ['Event', value.type],
          ['Event id', value.eventId === null ? '–' : <Id id={value.eventId} what="event id" most={24} />],
          value.customerId === null ? undefined : ['Customer', <CustomerId id={value.customerId} />],
          ['Dialect', value.dialect],
          ['Happened', <Time at={value.occurredAt} exact />],
        ]}
      />
      <section aria-label="What it is made of">
        <h3>The record</h3>
        <RecordContent content={value.content} route={path`waiting/${id}`} revealed={revealed} seen={setRevealed} />
      </section>
    </Detail>
  );
}

/** What else of its user waits, and what stands before it. */
function OfItsUser({ userId }: { userId: string }) {
  const { value } = useAnswer<UserView>(path`users/${userId}`);
  const blocking =
    value?.deadLetters.filter(({ blocks, status }) => blocks && status !== 'resolved' && status !== 'discarded') ?? [];
  return (
    <section aria-label="Its user">
      <h3>Its user</h3>
      <p class="row">
        <UserId id={userId} />
        <a href={hrefOf(path`/users/${userId}`)}>Timeline</a>
        <a href={hrefOf(`/waiting?view=list&user=${encodeURIComponent(userId)}`)}>All that waits for it</a>
      </p>
      {value && <AgainstLimit n={value.waitingCount} isAll />}
      {blocking.length > 0 && (
        <p>
          Blocked by{' '}
          {blocking.map(({ id }, i) => (
            <>
              {i > 0 && ', '}
              <a key={id} href={hrefOf(path`/dead-letters/${id}`)}>
                dead letter {id}
              </a>
            </>
          ))}
          .
        </p>
      )}
      {value?.holds.map(({ kind, id, reason, byWhom }) => (
        <p key={kind + id}>
          On hold: {kind} {id}, by {byWhom} (<q>{reason}</q>). <a href={hrefOf('/operations')}>Holds</a>
        </p>
      ))}
    </section>
  );
}
