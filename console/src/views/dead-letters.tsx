// dead-letters.tsx — records that could not be used: in groups, as a list, one by one; and what is done about them.
//
// Owns:          which of them are looked at and chosen. Does not own: one of them (dead-letters-detail.tsx), the acts (acts.tsx).
//
// L1  An act means those that were chosen by hand, or else all that fit the filter, on all pages; its button says how many.
// L2  What is new while one looks is said, and not put between rows that somebody reads.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { DeadLetterGroup, DeadLetterItem } from '../../../src/api/contract.ts';
import { type Pages, urlOf, useAnswer, usePages } from '../api.ts';
import { count, many, upTo } from '../format.ts';
import { Icon } from '../icons.tsx';
import { dead, deadTotal } from '../live.ts';
import {
  Act,
  Badge,
  Choice,
  Coordinates,
  CopyButton,
  Dialog,
  Empty,
  type Field,
  Filters,
  Loading,
  Page,
  Pager,
  Problem,
  Table,
  Time,
  UserId,
  WhyNot,
} from '../parts.ts';
import { hrefOf, path, searchOf, setQuery, type ViewProps } from '../router.ts';
import { session, whyNotOperator } from '../session.ts';
import { type ActAsked, ActDialog } from './acts.tsx';
import { chosenInWords } from './acts-words.ts';
import { DeadLetterDetail } from './dead-letters-detail.tsx';
import {
  actFilter,
  type DeadLettersAsked,
  deadLettersAsked,
  exportCommand,
  filtersInWords,
  isEmpty,
  NO_TYPE,
  STATUSES,
  whyNoAct,
} from './dead-letters-filter.ts';
import { commonFields, EVENT_TYPES, Split, Tabs } from './dead-letters-parts.tsx';
import { Fold } from './fold.tsx';
import './views.css';
import './dead-letters.css';

/** As the API lets one say so many numbers. */
const MOST_CHOSEN = 10_000;

export default function DeadLettersView({ params: { id }, query }: ViewProps) {
  const asked = deadLettersAsked(query);
  const groups = useAnswer<{ items: DeadLetterGroup[]; complete: boolean }>('dead-letters/groups', asked);
  const isList = query.view === 'list' || id !== undefined;
  const list = usePages<DeadLetterItem>(isList ? 'dead-letters' : null, asked);
  const [chosen, choose] = useChosen(asked);
  const [act, setAct] = useState<ActAsked>();
  const [isExporting, setExporting] = useState(false);
  const [turn, setTurn] = useState(0);
  const matching = groups.value?.items.reduce((sum, group) => sum + group.count, 0);
  const again = () => {
    groups.again();
    if (isList) list.again();
    setTurn((turn) => turn + 1);
  };

  return (
    <Page
      title="Dead letters"
      isFull
      sub={<span>Records that could not be used, each kept with its exact bytes.</span>}
    >
      <Tabs at="dead-letters" />
      <Fold name={filtersInWords(asked)}>
        <Filters fields={fieldsOf(asked, groups.value?.items ?? [])} />
      </Fold>
      <Toolbar
        asked={asked}
        isList={isList}
        matching={matching}
        isMore={groups.value?.complete === false}
        chosen={chosen}
        shown={list.items}
        choose={choose}
        onAct={setAct}
        onExport={() => setExporting(true)}
      />
      <NewOnes since={groups.atMs} again={again} />
      <Split
        list={
          isList ? (
            <List list={list} query={query} openId={id} chosen={chosen} choose={choose} />
          ) : (
            <Groups groups={groups} asked={asked} onAct={setAct} />
          )
        }
        openId={id}
        open={
          id !== undefined && (
            <DeadLetterDetail
              key={`${id} ${turn}`}
              id={id}
              backTo={`/dead-letters${searchOf({ ...query, view: 'list' })}`}
              onAct={setAct}
              onChanged={again}
            />
          )
        }
      />
      {act && (
        <ActDialog
          {...act}
          onClose={() => setAct(undefined)}
          onDone={() => {
            choose(new Set());
            again();
          }}
        />
      )}
      {isExporting && <ExportDialog asked={asked} matching={matching} onClose={() => setExporting(false)} />}
    </Page>
  );
}

/** Chosen by hand; another filter begins anew, since what is chosen would not be seen any more. */
function useChosen(asked: DeadLettersAsked) {
  const [chosen, choose] = useState<ReadonlySet<number>>(new Set<number>());
  const filter = JSON.stringify(asked);
  const before = useRef(filter);
  useEffect(() => {
    if (before.current !== filter) choose(new Set());
    before.current = filter;
  }, [filter]);
  return [chosen, choose] as const;
}

function fieldsOf(asked: DeadLettersAsked, groups: readonly DeadLetterGroup[]): Field[] {
  const codes = [...new Set([...Object.keys(dead.value ?? {}), ...groups.map(({ code }) => code)])].sort();
  return [
    { name: 'code', label: 'Code', kind: 'choice', options: codes },
    ...commonFields(asked.before, 'Failed', [...EVENT_TYPES, { value: NO_TYPE, label: 'not known' }]),
    { name: 'status', label: 'Status', kind: 'choice', any: 'not settled', options: STATUSES },
  ];
}

type Choose = (chosen: ReadonlySet<number>) => void;
type ToolbarProps = {
  asked: DeadLettersAsked;
  isList: boolean;
  matching: number | undefined;
  /** There are more than were counted. */
  isMore: boolean;
  chosen: ReadonlySet<number>;
  shown: readonly DeadLetterItem[] | undefined;
  choose: Choose;
  onAct: (act: ActAsked) => void;
  onExport: () => void;
};

function Toolbar({ asked, isList, matching, isMore, chosen, shown, choose, onAct, onExport }: ToolbarProps) {
  const isByHand = chosen.size > 0;
  const target = isByHand
    ? { chosen: { ids: [...chosen] }, n: chosen.size }
    : { chosen: { filter: actFilter(asked) }, n: hasStatus(asked) || isMore ? undefined : matching };
  const number = isByHand
    ? `${count(chosen.size)} chosen`
    : hasStatus(asked)
      ? 'all that are open'
      : matching === undefined
        ? ''
        : isMore
          ? 'all that match'
          : count(matching);
  const whyNotFilter =
    matching === undefined
      ? 'It is not known yet what matches.'
      : matching === 0
        ? 'There is nothing to do.'
        : undefined;
  const whyNot = whyNoAct(asked) ?? (isByHand ? undefined : whyNotFilter);
  return (
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
        {isByHand && (
          <>
            {' '}
            · <strong class="number">{count(chosen.size)}</strong> chosen
          </>
        )}
      </span>
      {isList && shown !== undefined && shown.length > 0 && (
        <>
          <button type="button" class="button quiet small" onClick={() => choose(withAll(chosen, shown))}>
            Choose the {count(shown.length)} shown
          </button>
          {isByHand && (
            <button type="button" class="button quiet small" onClick={() => choose(new Set())}>
              Choose none
            </button>
          )}
        </>
      )}
      <span class="grow" />
      <WhyNot />
      <Act onAct={() => onAct({ kind: 'redrive', ...target })} icon="turn" isPrimary whyNot={whyNot}>
        Redrive {number}…
      </Act>
      <Act onAct={() => onAct({ kind: 'discard', ...target })} icon="trash" isDangerous whyNot={whyNot}>
        Discard {number}…
      </Act>
      <button type="button" class="button" onClick={onExport}>
        <Icon name="download" size={14} /> Export…
      </button>
    </div>
  );
}
/** Then the number that matches is not the number of those that an act would reach. */
function hasStatus({ status }: DeadLettersAsked): boolean {
  return status !== undefined;
}
function withAll(chosen: ReadonlySet<number>, shown: readonly DeadLetterItem[]): ReadonlySet<number> {
  return new Set([...chosen, ...shown.filter(isOpen).map(({ id }) => id)].slice(0, MOST_CHOSEN));
}
function isOpen({ status }: DeadLetterItem): boolean {
  return status === 'open' || status === 'redriving';
}

/** L2: how many there were when the view was filled, against now. */
function NewOnes({ since, again }: { since: number | undefined; again: () => void }) {
  const then = useRef<{ since: number | undefined; n: number | undefined }>({ since: undefined, n: undefined });
  const n = deadTotal.value;
  if (then.current.since !== since || then.current.n === undefined) then.current = { since, n };
  const difference = (n ?? 0) - (then.current.n ?? 0);
  if (difference === 0 || since === undefined) return null;
  return (
    <button type="button" class="news" onClick={again}>
      <Icon name="reload" size={13} />
      {difference > 0
        ? `${many(difference, 'more dead letter')} since: show ${difference === 1 ? 'it' : 'them'}`
        : `${count(-difference)} less since: look again`}
    </button>
  );
}

// ---- groups -----------------------------------------------------------------------------------------------------------------

type GroupsProps = {
  groups: ReturnType<typeof useAnswer<{ items: DeadLetterGroup[] }>>;
  asked: DeadLettersAsked;
  onAct: (act: ActAsked) => void;
};

function Groups({ groups: { value, problem, isLoading, again }, asked, onAct }: GroupsProps) {
  if (problem) return <Problem problem={problem} again={again} />;
  if (value === undefined) return <Loading what="Loading groups" />;
  if (value.items.length === 0) return <None asked={asked} />;
  return (
    <Table
      caption="Dead letters, by code and event"
      rows={value.items}
      isBusy={isLoading}
      keyOf={({ code, type }) => `${code} ${type}`}
      toOf={({ code, type }) => `/dead-letters${searchOf({ ...asked, view: 'list', code, type: type ?? NO_TYPE })}`}
      columns={[
        {
          head: 'Code',
          cell: ({ code, looping }) => (
            <span class="code-cell">
              <span class="code">{code}</span>
              {looping && (
                <Badge tone="bad" icon="reload" title="Redriven three times or more, and dead again.">
                  looping
                </Badge>
              )}
            </span>
          ),
        },
        { head: 'Event', cell: ({ type }) => type ?? <span class="muted">not known</span> },
        { head: 'Dead letters', kind: 'number', cell: (group) => count(group.count) },
        {
          head: 'Users',
          kind: 'number',
          isExtra: true,
          cell: ({ users }) => (users === 0 ? <span class="muted">nobody’s</span> : count(users)),
        },
        { head: 'First', kind: 'tight', isExtra: true, cell: ({ firstFailedAt }) => <Time at={firstFailedAt} /> },
        { head: 'Last', kind: 'tight', cell: ({ lastFailedAt }) => <Time at={lastFailedAt} /> },
        {
          head: 'Attempts',
          kind: 'number',
          isExtra: true,
          cell: ({ leastAttempts, mostAttempts }) =>
            leastAttempts === mostAttempts ? count(mostAttempts) : `${count(leastAttempts)}–${count(mostAttempts)}`,
        },
        {
          head: 'Wait behind',
          kind: 'number',
          cell: ({ behind }) => (behind === 0 ? <span class="muted">0</span> : <strong>{upTo(behind, 10_000)}</strong>),
        },
        {
          head: 'Acts',
          kind: 'tight',
          isHeadHidden: true,
          cell: (group) => {
            const whyNot = whyNoAct(asked);
            const filter = { ...actFilter(asked), code: group.code, type: group.type ?? NO_TYPE };
            return (
              <span class="acts">
                <Act
                  isSmall
                  onAct={() =>
                    onAct({
                      kind: 'redrive',
                      chosen: { filter },
                      n: asked.status === undefined ? group.count : undefined,
                    })
                  }
                  icon="turn"
                  whyNot={whyNot}
                >
                  Redrive…
                </Act>
                <Act
                  isSmall
                  onAct={() =>
                    onAct({
                      kind: 'discard',
                      chosen: { filter },
                      n: asked.status === undefined ? group.count : undefined,
                    })
                  }
                  icon="trash"
                  whyNot={whyNot}
                >
                  Discard…
                </Act>
              </span>
            );
          },
        },
      ]}
    />
  );
}

function None({ asked }: { asked: DeadLettersAsked }) {
  if (!isEmpty(asked))
    return (
      <Empty title="None match" icon="search">
        Take a filter away to see others.
      </Empty>
    );
  return (
    <Empty title="No dead letters" good>
      Every record could be used, or was settled.{' '}
      <a href={hrefOf('/dead-letters?status=all')}>Those that were settled</a> are still kept.
    </Empty>
  );
}

// ---- the list ---------------------------------------------------------------------------------------------------------------

type ListProps = {
  list: Pages<DeadLetterItem>;
  query: ViewProps['query'];
  openId: string | undefined;
  chosen: ReadonlySet<number>;
  choose: Choose;
};

function List({ list, query, openId, chosen, choose }: ListProps) {
  const { items, problem, isLoading, again } = list;
  if (items === undefined)
    return problem ? <Problem problem={problem} again={again} /> : <Loading what="Loading dead letters" />;
  if (items.length === 0) return <None asked={deadLettersAsked(query)} />;
  const isNarrow = openId !== undefined;
  const toggle = (id: number) => {
    const next = new Set(chosen);
    if (!next.delete(id) && next.size < MOST_CHOSEN) next.add(id);
    choose(next);
  };
  return (
    <>
      {problem && <Problem problem={problem} again={again} />}
      <Table
        caption="Dead letters, the newest first"
        rows={items}
        isBusy={isLoading}
        keyOf={({ id }) => id}
        toOf={({ id }) => `${path`/dead-letters/${id}`}${searchOf(query)}`}
        isSelected={({ id }) => String(id) === openId}
        isDim={(row) => !isOpen(row)}
        columns={[
          {
            head: 'Choose',
            kind: 'tight',
            isHeadHidden: true,
            cell: (row) => (
              <input
                type="checkbox"
                aria-label={`Choose dead letter ${row.id}`}
                checked={chosen.has(row.id)}
                disabled={!isOpen(row)}
                onChange={() => toggle(row.id)}
              />
            ),
          },
          { head: 'Number', kind: 'tight', isLink: true, cell: ({ id }) => <span class="number">{id}</span> },
          {
            head: 'Code',
            cell: (row) => (
              <span class="code-cell">
                <span class="code">{row.code}</span> <Marks {...row} />
              </span>
            ),
          },
          ...(isNarrow
            ? []
            : [{ head: 'Event', cell: ({ type }: DeadLetterItem) => type ?? <span class="muted">not known</span> }]),
          {
            head: 'User',
            cell: ({ userId }) =>
              userId === null ? (
                <span class="muted">nobody’s</span>
              ) : (
                <UserId id={userId} copy={!isNarrow} most={isNarrow ? 14 : 28} />
              ),
          },
          ...(isNarrow
            ? []
            : [
                {
                  head: 'Customer',
                  isExtra: true,
                  cell: ({ customerId }: DeadLetterItem) => customerId ?? <span class="muted">–</span>,
                },
                { head: 'Coordinates', isExtra: true, cell: (row: DeadLetterItem) => <Coordinates {...row} /> },
                { head: 'Attempts', kind: 'number' as const, cell: ({ attempts }: DeadLetterItem) => count(attempts) },
              ]),
          { head: 'Last failed', kind: 'tight', cell: ({ lastFailedAt }) => <Time at={lastFailedAt} /> },
        ]}
      />
      <Pager {...list} what="dead letters" />
    </>
  );
}

export function Marks({ status, blocks, edited }: Pick<DeadLetterItem, 'status' | 'blocks' | 'edited'>) {
  return (
    <>
      {status === 'open' && blocks && (
        <Badge tone="warn" icon="hold" title="The user’s later events wait behind it.">
          blocks
        </Badge>
      )}
      {status === 'redriving' && (
        <Badge tone="info" icon="turn" title="It is put through as soon as what lies before it has gone.">
          redriving
        </Badge>
      )}
      {status === 'resolved' && (
        <Badge tone="good" icon="check">
          resolved
        </Badge>
      )}
      {status === 'discarded' && <Badge icon="trash">discarded</Badge>}
      {edited && (
        <Badge icon="tilde" title="An operator put another value in its place for the next redrive.">
          edited
        </Badge>
      )}
    </>
  );
}

// ---- export -----------------------------------------------------------------------------------------------------------------

/** They may be gigabytes: a link, so that the browser writes what comes to its file, and nothing of it stands in the page. */
function ExportDialog({
  asked,
  matching,
  onClose,
}: {
  asked: DeadLettersAsked;
  matching: number | undefined;
  onClose: () => void;
}) {
  const command = exportCommand(asked, Date.now());
  return (
    <Dialog
      title="Export as lines of JSON"
      onClose={onClose}
      foot={
        <>
          <button type="button" class="button" onClick={onClose}>
            Close
          </button>
          <Download asked={asked} />
        </>
      }
    >
      <p>
        A download takes {chosenInWords({ filter: asked }, 'redrive', matching)}: a line for each, with the record as it
        was received. It stands in the audit, with how many lines left.
      </p>
      <p>
        This command writes the same to a file. It runs where the service’s settings are, and stands in the audit too.
      </p>
      <div class="command-line">
        <pre class="command">
          <code>{command}</code>
        </pre>
        <CopyButton text={command} what="command" />
      </div>
      <p class="muted">
        The lines hold personal data. <code>--records</code> writes the records alone, <code>--to-topic</code> to a
        topic.
      </p>
    </Dialog>
  );
}

function Download({ asked }: { asked: DeadLettersAsked }) {
  const whyNot =
    whyNotOperator.value ??
    (session.value?.mayReveal
      ? undefined
      : 'It needs the permission to see personal data (AUTH_PAYLOADS), which you do not have.');
  if (whyNot !== undefined)
    return (
      <button type="button" class="button primary" aria-disabled="true" title={whyNot}>
        <Icon name="download" size={14} /> Download<span class="sr">: {whyNot}</span>
      </button>
    );
  return (
    <a class="button primary" href={urlOf('dead-letters/export', asked)} download>
      <Icon name="download" size={14} /> Download
    </a>
  );
}
