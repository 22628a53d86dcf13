// operations.tsx — what operators did and do: holds, jobs, and the audit.
import { useState } from 'preact/hooks';
import type { AuditItem, HoldRow, JobRow } from '../../../src/api/contract.ts';
import { post, problemFor, useAnswer, usePages } from '../api.ts';
import { count, upTo } from '../format.ts';
import { Icon } from '../icons.tsx';
import { holds as liveHolds, jobs as liveJobs } from '../live.ts';
import {
  Act,
  Badge,
  Choice,
  Confirm,
  CustomerId,
  Empty,
  Filters,
  Loading,
  Note,
  now,
  Page,
  Pager,
  Panel,
  Problem,
  Since,
  say,
  shortened,
  Table,
  Time,
  UserId,
  WhyNot,
} from '../parts.ts';
import { hrefOf, path, type ViewProps } from '../router.ts';
import { isOperator } from '../session.ts';
import { CancelJob, JobProgress, JobState } from './acts.tsx';
import { inWords, isQuiet, jobInWords, jobTitle, resultInWords } from './acts-words.ts';
import { visible } from './dead-letters-text.ts';
import { MOST_COUNTED, ReleaseDialog } from './release.tsx';
import './views.css';
import './operations.css';

export default function OperationsView({ query }: ViewProps) {
  return (
    <Page title="Operations" sub={<WhyNot />}>
      <Holds />
      <Jobs />
      <Audit query={query} />
    </Page>
  );
}

function Who({ name }: { name: string }) {
  return <span title={name.length > 24 ? name : undefined}>{visible(shortened(name, 24))}</span>;
}

// ---- holds ------------------------------------------------------------------------------------------------------------------

type HoldAsked = 'new' | HoldRow;

function Holds() {
  const asked = useAnswer<{ items: HoldRow[] }>('holds');
  // The stream has the newest 100, with what waits now; the list has all.
  const live = new Map(liveHolds.value?.map((hold) => [keyOf(hold), hold]));
  const rows = asked.value?.items.map((hold) => live.get(keyOf(hold)) ?? hold);
  const [dialog, setDialog] = useState<HoldAsked>();
  const isOld =
    liveHolds.value !== undefined && rows !== undefined && rows.length <= 100 && rows.length !== liveHolds.value.length;
  return (
    <Panel
      title={rows === undefined ? 'Holds' : `Holds · ${count(rows.length)}`}
      isFlush
      actions={
        <>
          {isOld && (
            <button type="button" class="button quiet small" onClick={asked.again}>
              <Icon name="reload" size={13} /> Changed: look again
            </button>
          )}
          <Act onAct={() => setDialog('new')} icon="hold" isSmall>
            New hold…
          </Act>
        </>
      }
    >
      {asked.problem ? (
        <Problem problem={asked.problem} again={asked.again} />
      ) : rows === undefined ? (
        <Loading lines={2} what="Loading holds" />
      ) : rows.length === 0 ? (
        <Empty title="Nothing is on hold" icon="hold">
          A hold makes the events of one user, or of all users of one customer, wait while the rest flows.
        </Empty>
      ) : (
        <Table
          caption="Holds, the newest first"
          rows={rows}
          keyOf={keyOf}
          columns={[
            { head: 'Of', kind: 'tight', cell: ({ kind }) => kind },
            { head: 'Id', cell: ({ kind, id }) => (kind === 'user' ? <UserId id={id} /> : <CustomerId id={id} />) },
            { head: 'Why', cell: ({ reason }) => visible(reason) },
            { head: 'By', kind: 'tight', cell: ({ byWhom }) => <Who name={byWhom} /> },
            { head: 'For', kind: 'tight', cell: ({ since }) => <Since at={since} /> },
            {
              head: 'Waiting',
              kind: 'number',
              cell: (hold) => (
                <a href={hrefOf(`/waiting?view=list&${hold.kind}=${encodeURIComponent(hold.id)}`)}>
                  {upTo(hold.waiting, MOST_COUNTED)}
                </a>
              ),
            },
            {
              head: 'Acts',
              kind: 'tight',
              isHeadHidden: true,
              cell: (hold) => (
                <Act onAct={() => setDialog(hold)} isSmall icon="play">
                  Release…
                </Act>
              ),
            },
          ]}
        />
      )}
      {dialog === 'new' && <NewHoldDialog onClose={() => setDialog(undefined)} onDone={asked.again} />}
      {dialog !== undefined && dialog !== 'new' && (
        <ReleaseDialog hold={dialog} onClose={() => setDialog(undefined)} onDone={asked.again} />
      )}
    </Panel>
  );
}
function keyOf({ kind, id }: HoldRow): string {
  return `${kind} ${id}`;
}

function NewHoldDialog({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const [kind, setKind] = useState<'user' | 'customer'>('user');
  const [id, setId] = useState('');
  return (
    <Confirm
      title="New hold"
      scope={
        kind === 'user'
          ? 'The events of this user wait from the next batch on, until it is released.'
          : 'The events of all users of this customer wait from the next batch on, until it is released.'
      }
      act={`Hold 1 ${kind}`}
      reason="needed"
      onConfirm={async (reason) => {
        if (id.trim() === '') throw new Error(`Say which ${kind}.`);
        await post('holds', { kind, id: id.trim(), reason });
        say(`The ${kind} ${id.trim()} is on hold`);
        onDone();
      }}
      onClose={onClose}
    >
      <Choice
        label="Of what"
        value={kind}
        options={[
          { value: 'user', label: 'A user' },
          { value: 'customer', label: 'A customer' },
        ]}
        onChoose={setKind}
      />
      <label class="field">
        <span>{kind === 'user' ? 'User id' : 'Customer id'}</span>
        <input
          type="text"
          required
          maxLength={512}
          spellcheck={false}
          autocomplete="off"
          placeholder={kind === 'user' ? 'auth0|…' : 'acme'}
          value={id}
          onInput={(event) => setId(event.currentTarget.value)}
        />
      </label>
    </Confirm>
  );
}

// ---- jobs -------------------------------------------------------------------------------------------------------------------

function Jobs() {
  const list = usePages<JobRow>('jobs');
  const live = new Map(liveJobs.value?.map((job) => [job.id, job]));
  const known = new Set(list.items?.map(({ id }) => id));
  // Those that were started since stand above.
  const rows =
    list.items &&
    [...[...live.values()].filter(({ id }) => !known.has(id) && id > (list.items?.[0]?.id ?? 0)), ...list.items].map(
      (job) => live.get(job.id) ?? job,
    );
  const running = rows?.filter(({ state }) => state === 'running') ?? [];
  const ended = rows?.filter(({ state }) => state !== 'running') ?? [];
  return (
    <Panel title={running.length > 0 ? `Jobs · ${count(running.length)} running` : 'Jobs'} isFlush>
      {list.problem && rows === undefined ? (
        <Problem problem={list.problem} again={list.again} />
      ) : rows === undefined ? (
        <Loading lines={3} what="Loading jobs" />
      ) : rows.length === 0 ? (
        <Empty title="No jobs yet" icon="operations">
          What takes long, such as a redrive of many dead letters, stands here while it runs and after.
        </Empty>
      ) : (
        <>
          {running.length > 0 && (
            <ul class="jobs-running">
              {running.map((job) => (
                <Running key={job.id} job={job} />
              ))}
            </ul>
          )}
          {ended.length > 0 && (
            <Table
              caption="Jobs that ended, the newest first"
              rows={ended}
              keyOf={({ id }) => id}
              columns={[
                { head: 'Number', kind: 'tight', cell: ({ id }) => <span class="number">{id}</span> },
                { head: 'What', cell: (job) => visible(jobTitle(job)) },
                { head: 'State', kind: 'tight', cell: (job) => <JobState job={job} /> },
                { head: 'Done', kind: 'number', cell: (job) => jobInWords(job) },
                { head: 'By', kind: 'tight', cell: ({ startedBy }) => <Who name={startedBy} /> },
                { head: 'Started', kind: 'tight', cell: ({ startedAt }) => <Time at={startedAt} /> },
                {
                  head: 'Why',
                  isExtra: true,
                  cell: ({ options }) =>
                    typeof options.reason === 'string' ? visible(options.reason) : <span class="muted">–</span>,
                },
              ]}
            />
          )}
          <div class="panel-foot">
            <Pager {...list} items={rows} what="jobs" />
          </div>
        </>
      )}
    </Panel>
  );
}

function Running({ job }: { job: JobRow }) {
  const isStuck = isQuiet(job, now.value);
  return (
    <li>
      <p class="job-title">
        <strong>Job {job.id}</strong> {visible(jobTitle(job))}
        <span class="muted">
          {' '}
          · by {job.startedBy}, <Time at={job.startedAt} />
        </span>
      </p>
      <JobProgress job={job}>
        {isStuck && <ResumeJob job={job} />}
        <CancelJob job={job} />
      </JobProgress>
      {isStuck && (
        <p class="muted">
          Nothing has come of it for <Since at={job.updatedAt} />: its process may be gone. It goes on from where it
          was; two who run it do nothing twice.
        </p>
      )}
    </li>
  );
}

function ResumeJob({ job }: { job: JobRow }) {
  const [isBusy, setBusy] = useState(false);
  const resume = async () => {
    setBusy(true);
    try {
      await post(path`jobs/${job.id}/resume`);
      say(`Job ${job.id} goes on here`);
    } catch (error) {
      say(problemFor(error).detail ?? problemFor(error).title, 'bad');
    }
    setBusy(false);
  };
  return (
    <Act onAct={() => void resume()} isSmall icon="play" whyNot={isBusy ? 'It is being done.' : undefined}>
      Resume
    </Act>
  );
}

// ---- the audit --------------------------------------------------------------------------------------------------------------

const VERBS = [
  'hold',
  'release',
  'resume',
  'accept-loss',
  'set-position',
  'redrive',
  'discard',
  'edit',
  'export',
  'reveal',
  'migrate',
  'rebuild',
  'cancel',
];

function Audit({ query: { verb, who } }: { query: ViewProps['query'] }) {
  if (!isOperator.value)
    return (
      <Panel title="Audit">
        <Note tone="info" icon="key">
          Who did what is shown to operators only; you are a viewer.
        </Note>
      </Panel>
    );
  return <AuditList verb={verb} who={who} />;
}

function AuditList({ verb, who }: { verb: string | undefined; who: string | undefined }) {
  const list = usePages<AuditItem>('audit', { verb, who });
  const { items, problem, isLoading, again } = list;
  return (
    <Panel
      title="Audit"
      isFlush
      actions={
        <button type="button" class="button quiet small" onClick={again}>
          <Icon name="reload" size={13} /> Look again
        </button>
      }
    >
      <div class="panel-filters">
        <Filters
          fields={[
            { name: 'verb', label: 'What', kind: 'choice', options: VERBS },
            { name: 'who', label: 'Who', kind: 'text', placeholder: 'name' },
          ]}
        />
      </div>
      {problem && <Problem problem={problem} again={again} />}
      {items === undefined ? (
        !problem && <Loading lines={5} what="Loading the audit" />
      ) : items.length === 0 ? (
        <Empty title={verb || who ? 'None match' : 'Nobody has done anything yet'} icon="key">
          Every write of an operator leaves a line here, dry runs and looks at payloads included.
        </Empty>
      ) : (
        <>
          <Table
            caption="What operators did, the newest first"
            rows={items}
            isBusy={isLoading}
            keyOf={({ id }) => id}
            columns={[
              { head: 'When', kind: 'tight', cell: ({ at }) => <Time at={at} exact /> },
              { head: 'Who', kind: 'tight', cell: (row) => <Who name={row.who} /> },
              {
                head: 'What',
                kind: 'tight',
                cell: (row) => (
                  <>
                    {row.verb} {row.dryRun && <Badge title="It was tried out: nothing was done.">dry run</Badge>}
                  </>
                ),
              },
              { head: 'Which', cell: ({ scope }) => visible(inWords(scope)) || 'all' },
              { head: 'Result', cell: (row) => visible(resultInWords(row)) || <span class="muted">–</span> },
              {
                head: 'Job',
                kind: 'number',
                isExtra: true,
                cell: ({ jobId }) => jobId ?? <span class="muted">–</span>,
              },
            ]}
          />
          <div class="panel-foot">
            <Pager {...list} what="lines" />
          </div>
        </>
      )}
    </Panel>
  );
}
