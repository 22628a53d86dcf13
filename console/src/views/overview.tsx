// overview.tsx — how the service does: what it depends on, what flows, how late it is, what it all comes to.
import type { ComponentChildren } from 'preact';
import type { Dependencies, PartitionRow, Stats } from '../../../src/api/contract.ts';
import { useAnswer } from '../api.ts';
import { CHARTS, OUTCOMES } from '../charts.ts';
import { count, duration, percent, rate } from '../format.ts';
import { Icon } from '../icons.tsx';
import { counts, dead, flow, health, lag, outcomes, series, waiting } from '../live.ts';
import { Badge, Empty, Loading, OutcomeMark, Page, Panel, Problem, StateBadge, type Tone } from '../parts.ts';
import { hrefOf } from '../router.ts';
import { deadInWords, listed, total } from './acts-words.ts';
import { Bar } from './bar.tsx';
import { ChartView } from './overview-chart.tsx';
import { sumsOf, unkeyedInWords } from './partitions-sums.ts';
import './views.css';
import './overview.css';

export default function OverviewView() {
  // The stream's, else asked once: a page that may not keep a stream open still shows how it was.
  const asked = useAnswer<Stats>(series.value === undefined ? 'stats' : null);
  const samples = series.value ?? asked.value?.series;
  const known = {
    health: health.value ?? asked.value?.health,
    outcomes: outcomes.value ?? asked.value?.outcomes,
    counts: counts.value ?? asked.value?.counts,
    lag: lag.value ?? asked.value?.lag,
  };
  return (
    <Page title="Overview" isFull>
      {known.health && <Servers health={known.health} />}
      <Numbers lag={known.lag} health={known.health} />
      {samples === undefined ? (
        asked.problem ? (
          <Problem problem={asked.problem} again={asked.again} />
        ) : (
          <Loading lines={8} what="Loading the charts" />
        )
      ) : (
        <section class="charts" aria-label="The last 15 minutes">
          {samples.length === 0 ? (
            <Empty title="No samples yet" icon="overview">
              One comes every 5 seconds; these charts fill by themselves.
            </Empty>
          ) : (
            CHARTS.map((chart) => <ChartView key={chart.id} chart={chart} samples={samples} />)
          )}
        </section>
      )}
      <div class="sums">
        <Outcomes outcomes={known.outcomes} />
        <States counts={known.counts} />
        <Unkeyed rows={known.lag} />
      </div>
    </Page>
  );
}

// ---- what it depends on -----------------------------------------------------------------------------------------------------

const HOW: Readonly<Record<'ok' | 'away' | 'off', { tone: Tone; icon: 'check' | 'away' | 'minus'; says: string }>> = {
  ok: { tone: 'good', icon: 'check', says: 'is there' },
  away: { tone: 'bad', icon: 'away', says: 'is away' },
  off: { tone: 'plain', icon: 'minus', says: 'is not used' },
};

function Servers({ health: { status, kafka, postgres, redis, reasons, member } }: { health: Dependencies }) {
  const servers = { Kafka: kafka, Postgres: postgres, Redis: redis };
  const away = Object.entries(servers)
    .filter(([, how]) => how === 'away')
    .map(([name]) => name);
  return (
    <div class="servers" role="status">
      <p class="servers-say">
        {away.length === 0 && reasons.length === 0 ? (
          <strong>All is well.</strong>
        ) : (
          <strong>
            {away.length > 0 ? `${listed(away)} ${away.length === 1 ? 'is' : 'are'} away.` : `Status: ${status}.`}
          </strong>
        )}{' '}
        {reasons.join(' · ')}
      </p>
      {Object.entries(servers).map(([name, how]) => (
        <Badge key={name} tone={HOW[how].tone} icon={HOW[how].icon}>
          {name} {HOW[how].says}
        </Badge>
      ))}
      {member !== null && (
        <span class="muted">
          this process: <span class="mono">{member}</span>
        </span>
      )}
    </div>
  );
}

// ---- the numbers ------------------------------------------------------------------------------------------------------------

function Numbers({
  lag: rows,
  health,
}: {
  lag: readonly PartitionRow[] | undefined;
  health: Dependencies | undefined;
}) {
  const sums = rows && sumsOf('', read(rows));
  const rates = flow.value;
  const delay = series.value?.findLast(({ delayMs }) => delayMs !== null)?.delayMs;
  return (
    <div class="numbers">
      <NumberOf name="Records" value={rate(rates?.records)} note={`of the last ${rates?.window ?? 10} s`} />
      <NumberOf
        name="Events saved"
        value={rate(rates && total(rates.outcomes))}
        note={`applied ${rate(rates && (rates.outcomes.applied ?? 0))}`}
      />
      <NumberOf
        name="Lag"
        value={count(sums?.lag === null || sums === undefined ? null : String(sums.lag))}
        note={
          sums?.lag === 0n
            ? 'nothing is left to read'
            : !sums?.lagSeconds
              ? 'records'
              : `records, ${duration(sums.lagSeconds * 1_000)}`
        }
        to="/partitions"
      />
      <NumberOf
        name="Record to saved, p95"
        value={delay ? duration(delay.p95) : '?'}
        note={delay ? `p50 ${duration(delay.p50)}, p99 ${duration(delay.p99)}` : 'nothing was saved lately'}
      />
      <NumberOf name="Dead letters" value={deadInWords(dead.value) || '?'} note={codesInWords()} to="/dead-letters" />
      <NumberOf name="Waiting" value={count(waiting.value?.total)} note={waitingInWords()} to="/waiting" />
      <NumberOf
        name="Customers from cache"
        value={percent(health?.cacheHitRate)}
        note={health?.cacheHitRate === null ? 'none was asked for yet' : 'since the start, of this process'}
      />
    </div>
  );
}
/** Topics of which nothing is known are not read any more: their rows are kept, and count for nothing here. */
function read(rows: readonly PartitionRow[]): PartitionRow[] {
  const known = new Set(rows.filter(({ lag }) => lag !== null).map(({ topic }) => topic));
  return rows.filter(({ topic }) => known.size === 0 || known.has(topic));
}
function codesInWords(): string {
  const codes = Object.entries(dead.value ?? {}).filter(([, n]) => n > 0);
  const [most] = codes.toSorted(([, a], [, b]) => b - a);
  return most === undefined ? 'none: good' : codes.length === 1 ? `all ${most[0]}` : `most: ${most[0]}`;
}
function waitingInWords(): string {
  const [most] = Object.entries(waiting.value?.reasons ?? {})
    .filter(([, n]) => n > 0)
    .sort(([, a], [, b]) => b - a);
  return most === undefined ? 'nothing waits' : `most for: ${most[0]}`;
}

function NumberOf({ name, value, note, to }: { name: string; value: string; note: string; to?: string }) {
  return (
    <div class="number-of">
      <span class="muted">{to === undefined ? name : <a href={hrefOf(to)}>{name}</a>}</span>
      <strong class="number live-value">{value}</strong>
      <span class="muted">{note}</span>
    </div>
  );
}

// ---- what it all comes to ---------------------------------------------------------------------------------------------------

function Outcomes({ outcomes }: { outcomes: Stats['outcomes'] | undefined }) {
  const all = outcomes && total(outcomes);
  const names = [
    ...OUTCOMES,
    ...Object.keys(outcomes ?? {}).filter((name) => !(OUTCOMES as readonly string[]).includes(name)),
  ];
  return (
    <Panel title="Events since the beginning">
      <Shares
        rows={names.map((name) => ({
          key: name,
          name: <OutcomeMark outcome={name} />,
          n: outcomes?.[name] ?? (outcomes ? 0 : undefined),
        }))}
        all={all}
        caption="Events by outcome"
      />
    </Panel>
  );
}

function States({ counts }: { counts: Stats['counts'] | undefined }) {
  return (
    <Panel title="Users now">
      <Shares
        rows={Object.entries(counts ?? {}).map(([state, n]) => ({
          key: state,
          name: (
            <a href={hrefOf(`/users?state=${encodeURIComponent(state)}`)}>
              <StateBadge state={state} />
            </a>
          ),
          n,
        }))}
        all={counts && total(counts)}
        caption="Users by state"
      />
    </Panel>
  );
}

type Share = { key: string; name: ComponentChildren; n: number | undefined };

function Shares({ rows, all, caption }: { rows: readonly Share[]; all: number | undefined; caption: string }) {
  return (
    <table class="shares">
      <caption class="sr">{caption}</caption>
      <thead class="sr">
        <tr>
          <th scope="col">What</th>
          <th scope="col">Share</th>
          <th scope="col">Count</th>
          <th scope="col">Percent</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ key, name, n }) => (
          <tr key={key}>
            <th scope="row">{name}</th>
            <td class="share-bar">
              <Bar part={all === undefined || n === undefined ? null : all === 0 ? 0 : n / all} />
            </td>
            <td data-kind="number" class="live-value">
              {count(n)}
            </td>
            <td data-kind="number" class="muted">
              {all === undefined || all === 0 || n === undefined ? '–' : percent(n / all)}
            </td>
          </tr>
        ))}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">All</th>
          <td />
          <td data-kind="number" class="live-value">
            {count(all)}
          </td>
          <td />
        </tr>
      </tfoot>
    </table>
  );
}

/** Between partitions only the key keeps the order; without one, the producers' clocks do. */
function Unkeyed({ rows }: { rows: readonly PartitionRow[] | undefined }) {
  const sum = (of: 'unkeyed' | 'records') => rows?.reduce((n, row) => n + BigInt(row[of] ?? 0), 0n);
  const [unkeyed, records] = [sum('unkeyed'), sum('records')];
  const isSome = unkeyed !== undefined && unkeyed > 0n;
  return (
    <Panel title="Records without a key">
      <p class="unkeyed">
        <strong class="number live-value">{unkeyed === undefined ? '?' : count(String(unkeyed))}</strong>{' '}
        <span class="muted">
          of {records === undefined ? '?' : count(String(records))},{' '}
          {records === undefined ? '?' : unkeyedInWords({ unkeyed: String(unkeyed), records: String(records) })}
        </span>
      </p>
      <p class="muted">
        {isSome ? (
          <>
            <Icon name="info" size={13} /> Of these the order between partitions can not be promised: there, only the
            time their producers wrote decides. <a href={hrefOf('/partitions')}>Partitions</a> shows where they come
            from.
          </>
        ) : (
          'Every record had a key: its customer’s events are in one partition, in one order.'
        )}
      </p>
    </Panel>
  );
}
