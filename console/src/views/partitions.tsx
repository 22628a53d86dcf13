// partitions.tsx — how far each partition is, who has it, whether it runs; and the answers to a halt.
//
// Owns:          which rows are shown, in which order. Does not own: sums and words (partitions-sums.ts), the dialogs of an
//                answer (partitions-move.tsx), the numbers (the stream).
//
// T1  Works with a thousand partitions: topics fold, a long one shows its first rows, and a row whose numbers stand still is not drawn
//     again.
import { useMemo, useState } from 'preact/hooks';
import type { PartitionRow } from '../../../src/api/contract.ts';
import { useAnswer } from '../api.ts';
import { count, many, rate } from '../format.ts';
import { Icon, type IconName } from '../icons.tsx';
import { lag } from '../live.ts';
import {
  Badge,
  Choice,
  Empty,
  Filters,
  Id,
  Loading,
  Note,
  Page,
  Panel,
  Problem,
  Table,
  Time,
  type Tone,
  WhyNot,
} from '../parts.ts';
import { currentQuery, hrefOf, setQuery, type ViewProps } from '../router.ts';
import { Bar } from './bar.tsx';
import { visible } from './dead-letters-text.ts';
import { AnswerDialog, type Answering, Answers, Cli, type OnAnswer } from './partitions-move.tsx';
import {
  answersTo,
  barOf,
  byOwner,
  byTopic,
  commandOf,
  halts,
  lagInWords,
  mostLag,
  type Sort,
  type State,
  sorted,
  sumsOf,
  type TopicSums,
  unkeyedInWords,
} from './partitions-sums.ts';
import './views.css';
import './partitions.css';

const STATES: Readonly<Record<State, { tone: Tone; icon: IconName; says: string }>> = {
  running: { tone: 'good', icon: 'play', says: 'running' },
  paused: { tone: 'warn', icon: 'pause', says: 'paused' },
  halted: { tone: 'bad', icon: 'alert', says: 'HALTED' },
};

/** A topic with more is folded at first, where there are many. */
const OPEN_UP_TO = 64;
const SHOWN_AT_FIRST = 100;

export default function PartitionsView({ query }: ViewProps) {
  // The stream's, else asked once: it may not be there yet.
  const asked = useAnswer<{ items: PartitionRow[] }>(lag.value === undefined ? 'partitions' : null);
  const all = lag.value ?? asked.value?.items;
  const [answering, setAnswering] = useState<Answering>();
  return (
    <Page
      title="Partitions"
      isFull
      sub={<span>The position is the truth; that Kafka’s committed offset is behind it is harmless.</span>}
    >
      {all === undefined ? (
        asked.problem ? (
          <Problem problem={asked.problem} again={asked.again} />
        ) : (
          <Loading lines={10} what="Loading partitions" />
        )
      ) : all.length === 0 ? (
        <Empty title="No partition was read yet" command="npx user-lifecycle send CUSTOMER_CREATED --customer acme">
          A row appears as soon as the group gives this service a partition.
        </Empty>
      ) : (
        <>
          <Summary rows={all} />
          <Halted rows={all} onAnswer={setAnswering} />
          <Narrowed rows={all} query={query} onAnswer={setAnswering} />
          <Owners rows={all} />
        </>
      )}
      {answering && <AnswerDialog {...answering} onClose={() => setAnswering(undefined)} />}
    </Page>
  );
}

function Summary({ rows }: { rows: readonly PartitionRow[] }) {
  const { lag, unknown, rate: perSecond, byState } = sumsOf('', [...rows]);
  return (
    <div class="numbers">
      <NumberOf
        name="Partitions"
        value={count(rows.length)}
        note={`of ${many(new Set(rows.map(({ topic }) => topic)).size, 'topic')}`}
      />
      <NumberOf
        name="Lag"
        value={count(lag === null ? null : String(lag))}
        note={unknown > 0 ? `unknown of ${count(unknown)}` : 'records behind the logs’ ends'}
      />
      <NumberOf name="Records" value={rate(perSecond)} note="of the last 10 s" />
      <NumberOf
        name="Running"
        value={count(byState.running)}
        note={byState.paused > 0 ? `${count(byState.paused)} paused` : 'none paused'}
      />
      <NumberOf
        name="Halted"
        value={count(byState.halted)}
        note={byState.halted > 0 ? 'a person decides' : 'good'}
        tone={byState.halted > 0 ? 'bad' : undefined}
      />
    </div>
  );
}
function NumberOf({ name, value, note, tone }: { name: string; value: string; note: string; tone?: Tone | undefined }) {
  return (
    <div class="number-of" data-tone={tone}>
      <span class="muted">{name}</span>
      <strong class="number live-value">{value}</strong>
      <span class="muted">{note}</span>
    </div>
  );
}

/** Of one kind; beyond, the table below shows them. */
const HALTS_SHOWN = 5;

/** What needs a person stands above all else, with what to do: once for all that halted alike. */
function Halted({ rows, onAnswer }: { rows: readonly PartitionRow[]; onAnswer: OnAnswer }) {
  const kinds = halts(rows);
  if (kinds.length === 0) return null;
  return (
    <section class="halts" aria-label="Halted partitions">
      {kinds.map(({ happened, todo, rows }) => (
        <Note key={happened} tone="bad">
          <p>
            <strong>{many(rows.length, 'partition')} halted.</strong> {happened}
          </p>
          <p>{todo}</p>
          <ul class="halted">
            {rows.slice(0, HALTS_SHOWN).map((row) => (
              <li key={`${row.topic}/${row.partition}`}>
                <strong>
                  {row.topic}/{row.partition}
                </strong>{' '}
                at <Id id={row.position} what="position" />
                <span class="message">{visible(row.why ?? 'no reason was given')}</span>
                <span class="acts">
                  <Answers row={row} onAnswer={onAnswer} />
                </span>
                <Cli command={commandOf(answersTo(row)[0] ?? 'resume', row)} />
              </li>
            ))}
          </ul>
          {rows.length > HALTS_SHOWN && (
            <p>
              And {count(rows.length - HALTS_SHOWN)} more:{' '}
              <a href={hrefOf('/partitions?state=halted')}>all that are halted</a>
            </p>
          )}
        </Note>
      ))}
      <WhyNot />
    </section>
  );
}
// ---- the rows ---------------------------------------------------------------------------------------------------------------

const SORTS: readonly { value: Sort; label: string }[] = [
  { value: 'place', label: 'By number' },
  { value: 'lag', label: 'Most lag' },
  { value: 'rate', label: 'Busiest' },
];

function Narrowed({
  rows,
  query,
  onAnswer,
}: {
  rows: readonly PartitionRow[];
  query: ViewProps['query'];
  onAnswer: OnAnswer;
}) {
  const { topic, owner, state, sort = 'place' } = query;
  const fits = rows.filter(
    (row) =>
      (topic ?? row.topic) === row.topic && (owner ?? row.owner) === row.owner && (state ?? row.state) === row.state,
  );
  const topics = byTopic(fits);
  const isMany = fits.length > OPEN_UP_TO;
  const most = mostLag(rows);
  return (
    <>
      <div class="toolbar">
        <Filters
          fields={[
            { name: 'topic', label: 'Topic', kind: 'choice', options: byTopic(rows).map(({ topic }) => topic) },
            {
              name: 'owner',
              label: 'Owner',
              kind: 'choice',
              options: byOwner(rows).flatMap(({ owner }) => owner ?? []),
            },
            { name: 'state', label: 'State', kind: 'choice', options: Object.keys(STATES) },
          ]}
        />
        <span class="grow" />
        <span class="toolbar-says" role="status">
          <strong class="number">{count(fits.length)}</strong> {fits.length === 1 ? 'matches' : 'match'}
        </span>
        <Choice
          label="Order"
          value={sort as Sort}
          options={SORTS}
          onChoose={(sort) => setQuery({ sort: sort === 'place' ? undefined : sort })}
        />
      </div>
      {fits.length === 0 && (
        <Empty title="None match" icon="search">
          Take a filter away to see others.
        </Empty>
      )}
      {topics.map((sums) => (
        <Topic
          key={sums.topic}
          sums={sums}
          sort={sort as Sort}
          most={most}
          isOpenAtFirst={!isMany || topics.length === 1 || sums.byState.halted + sums.byState.paused > 0}
          onAnswer={onAnswer}
        />
      ))}
    </>
  );
}

type TopicProps = {
  sums: TopicSums;
  sort: Sort;
  most: number;
  isOpenAtFirst: boolean;
  onAnswer: OnAnswer;
};

function Topic({ sums, sort, most, isOpenAtFirst, onAnswer }: TopicProps) {
  const [isOpen, setOpen] = useState(isOpenAtFirst);
  const [isAll, setAll] = useState(false);
  const rows = sorted(sums.rows, sort);
  const shown = isAll ? rows : rows.slice(0, SHOWN_AT_FIRST);
  return (
    <details class="topic" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Icon name="next" size={12} />
        <h2>{sums.topic}</h2>
        <span class="muted">{many(sums.rows.length, 'partition')}</span>
        <Sum
          name="lag"
          value={sums.lag === null ? '?' : lagInWords({ lag: String(sums.lag), lagSeconds: sums.lagSeconds })}
        />
        <Sum name="rate" value={rate(sums.rate)} />
        <Sum
          name="unkeyed"
          value={
            sums.records === 0n
              ? '–'
              : unkeyedInWords({
                  unkeyed: String(sums.rows.reduce((n, { unkeyed }) => n + Number(unkeyed ?? 0), 0)),
                  records: String(sums.records ?? 0n),
                })
          }
        />
        {(['paused', 'halted'] as const).map(
          (state) => sums.byState[state] > 0 && <StateOf key={state} state={state} n={sums.byState[state]} />,
        )}
      </summary>
      {isOpen && (
        <>
          <div class="table-box">
            <table class="table partition-table">
              <caption class="sr">Partitions of {sums.topic}</caption>
              <thead>
                <tr>
                  {HEADS.map(([head, kind, isExtra]) => (
                    <th key={head} scope="col" data-kind={kind} data-extra={isExtra}>
                      {head}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {shown.map((row) => (
                  <Row key={row.partition} row={row} most={most} onAnswer={onAnswer} />
                ))}
              </tbody>
            </table>
          </div>
          {shown.length < rows.length && (
            <p class="pager">
              <span class="muted">
                {count(shown.length)} of {count(rows.length)} shown
              </span>
              <button type="button" class="button small" onClick={() => setAll(true)}>
                Show all {count(rows.length)}
              </button>
            </p>
          )}
        </>
      )}
    </details>
  );
}
function Sum({ name, value }: { name: string; value: string }) {
  return (
    <span class="sum">
      <span class="muted">{name}</span> <span class="number live-value">{value}</span>
    </span>
  );
}

const HEADS = [
  ['Partition', 'tight', false],
  ['State', undefined, false],
  ['Lag', 'lag', false],
  ['Position', 'number', false],
  ['Committed', 'number', true],
  ['Log’s end', 'number', false],
  ['Rate', 'number', false],
  ['Unkeyed', 'number', true],
  ['Owner', undefined, false],
  ['Saved', 'tight', true],
] as const;

/** The stream keeps what did not change the same, so most rows are what they were (T1). */
function Row({ row, most, onAnswer }: { row: PartitionRow; most: number; onAnswer: OnAnswer }) {
  // A new largest lag makes all bars shorter; a step of the logarithm is enough to draw them again.
  const scale = Math.ceil(Math.log2(1 + most));
  return useMemo(() => {
    const cells = [
      <strong class="number">
        {row.partition}
        {row.generation > 0 && (
          <span class="muted" title="The log was replaced: its generation">
            {' '}
            #{row.generation}
          </span>
        )}
      </strong>,
      <StateCell row={row} onAnswer={onAnswer} />,
      <LagCell row={row} most={2 ** scale - 1} />,
      count(row.position),
      count(row.committed),
      count(row.high),
      rate(row.rate),
      unkeyedInWords(row),
      row.owner === null ? (
        <span class="muted">nobody yet</span>
      ) : (
        <Id id={row.owner} what="owner" most={20} copy={false} />
      ),
      <Time at={row.savedAt} />,
    ];
    return (
      <tr data-state-of={row.state}>
        {cells.map((cell, i) => {
          const [head, kind, isExtra] = HEADS[i] as (typeof HEADS)[number];
          return (
            <td key={head} data-kind={kind} data-extra={isExtra} data-head={head}>
              {cell}
            </td>
          );
        })}
      </tr>
    );
  }, [row, scale]);
}

function StateOf({ state, n }: { state: State; n?: number }) {
  const { tone, icon, says } = STATES[state];
  return (
    <Badge tone={tone} icon={icon}>
      {n === undefined ? says : `${count(n)} ${says}`}
    </Badge>
  );
}

function StateCell({ row, onAnswer }: { row: PartitionRow; onAnswer: OnAnswer }) {
  if (row.state === 'running') return <StateOf state="running" />;
  return (
    <span class="state-cell">
      <StateOf state={row.state} />
      {row.state === 'paused' ? (
        <span class="why">heals by itself: {visible(row.why ?? 'it is tried again')}</span>
      ) : (
        <>
          <span class="why" title={row.why ?? undefined}>
            {visible(row.why ?? 'no reason was given')}
          </span>
          <span class="acts">
            <Answers row={row} onAnswer={onAnswer} />
          </span>
        </>
      )}
    </span>
  );
}

function LagCell({ row, most }: { row: PartitionRow; most: number }) {
  return (
    <span class="lag" title={row.lag === null ? 'Where the log ends is not known.' : undefined}>
      <Bar part={row.lag === null ? null : barOf(row.lag, most)} />
      <span class="number live-value">{lagInWords(row)}</span>
    </span>
  );
}

// ---- owners -----------------------------------------------------------------------------------------------------------------

function Owners({ rows }: { rows: readonly PartitionRow[] }) {
  const owners = byOwner(rows);
  return (
    <Panel title="Owners" isFlush>
      <Table
        caption="Processes and what they have"
        rows={owners}
        keyOf={({ owner }) => owner ?? ''}
        isSelected={({ owner }) => owner !== null && currentQuery.value.owner === owner}
        columns={[
          {
            head: 'Process',
            kind: 'wide',
            cell: ({ owner }) =>
              owner === null ? (
                <span class="muted">nobody saved these yet</span>
              ) : (
                <Id id={owner} what="owner" most={60} />
              ),
          },
          { head: 'Partitions', kind: 'number', cell: ({ partitions }) => count(partitions) },
          { head: 'Lag', kind: 'number', cell: ({ lag }) => (lag === null ? '?' : count(String(lag))) },
          { head: 'Rate', kind: 'number', cell: (row) => rate(row.rate) },
        ]}
      />
    </Panel>
  );
}
