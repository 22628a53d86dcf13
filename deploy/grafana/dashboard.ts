// dashboard.ts — our Grafana dashboard. `npm run generate` writes customer-service.json from it; nothing else reads it.
//
// Owns:          which panels there are, their queries, and what each says is normal and what to do.
// Does not own:  the metrics (src/metrics.ts), when somebody is called (../prometheus/alerts.yml).
//
// test/unit/alerts.test.ts parses every query and looks its metrics up. Quantiles come from histogram buckets: one that
// lies in the last bucket is drawn at its bound, so a line that is flat at the top means "at least this".

type Query = [legend: string, expr: string];
type Panel = {
  title: string;
  /** What it shows, what is normal, what to do. */
  about: string;
  /** Of Grafana; an unknown one is printed behind the number. */
  unit: string;
  queries: Query[];
  /** Of 24 columns; 8. */
  width?: number;
  stacked?: true;
  /** Upper end of the axis, where there is one. */
  max?: number;
  /** One number instead of lines: from which value on it is orange, from which red. */
  stat?: { orange: number; red: number } | 'plain';
};

const TOPIC = 'messaging_destination_name';
const TYPE = 'customer_service_event_type';
const OUTCOME = 'customer_service_outcome';
const CACHE = 'customer_service_cache_name';
const RESULT = 'customer_service_cache_result';
const USER_CREATED = `${TYPE}="USER_CREATED"`;

const EVENTS = 'customer_service_events_total';
const DELAY = 'customer_service_event_delay';
const BATCH = 'messaging_process_duration';
const STATEMENT = 'db_client_operation_duration';
const POSTGRES = 'db_system_name="postgresql"';
const REDIS = 'db_system_name="redis"';

const ROWS: { title: string; panels: Panel[] }[] = [
  {
    title: 'Throughput and outcome',
    panels: [
      {
        title: 'Records',
        about: 'Records delivered per second, all topics. Zero is normal when nobody produces; zero with lag is not.',
        unit: 'recps',
        width: 4,
        stat: 'plain',
        queries: [['records', `sum(${rate('messaging_client_consumed_messages_total')})`]],
      },
      {
        title: 'Lag',
        about:
          'Records not handled yet, all partitions. Normal: less than a few seconds of traffic. See "Lag and delay".',
        unit: 'short',
        width: 4,
        stat: 'plain',
        queries: [['lag', `sum(${all('customer_service_kafka_consumer_lag')})`]],
      },
      {
        title: 'Delay, p99',
        about:
          'From the record’s timestamp to its save: what users of this service feel. Above 30 s the alert DelayHigh follows.',
        unit: 's',
        width: 4,
        stat: { orange: 5, red: 30 },
        queries: [['p99', quantile(0.99, DELAY)]],
      },
      {
        title: 'Dead letters, open',
        about:
          'Records that could not be used and that nobody settled. Normal: 0. `user-lifecycle dead-letters list --group`.',
        unit: 'short',
        width: 4,
        stat: { orange: 1, red: 1_000 },
        queries: [['open', `max(${all('customer_service_open_items', 'customer_service_table="dead_letters"')})`]],
      },
      {
        title: 'Partitions halted',
        about: 'Each needs a person. Normal: 0. `user-lifecycle partitions list` says why, and names the answer.',
        unit: 'short',
        width: 4,
        stat: { orange: 1, red: 1 },
        queries: [['halted', `sum(${all('customer_service_kafka_consumer_partitions_halted')})`]],
      },
      {
        title: 'Instances',
        about: 'Processes that answer Prometheus. Fewer than you run: look at the ones that are missing.',
        unit: 'short',
        width: 4,
        stat: 'plain',
        queries: [['up', `sum(${all('up')})`]],
      },
      {
        title: 'USER_CREATED processed',
        about:
          'USER_CREATED events per second, whatever became of them. Follows what the producers send, with the delay below.',
        unit: 'eps',
        queries: [['USER_CREATED', `sum(${rate(EVENTS, USER_CREATED)})`]],
      },
      {
        title: 'USER_CREATED: created, skipped, and the rest',
        about:
          '`applied` = created; `skipped` = the user exists already, normal where a producer sends again. `waiting` = its customer is unknown so far: it goes by itself once CUSTOMER_CREATED was saved. `dead`: see dead letters.',
        unit: 'eps',
        stacked: true,
        queries: [[`{{${OUTCOME}}}`, `sum by (${OUTCOME}) (${rate(EVENTS, USER_CREATED)})`]],
      },
      {
        title: 'Error rate per type of event',
        about:
          'Share of events that became dead letters. Normal: 0. `_OTHER` = unreadable, of no known type: a producer sends something broken. `user-lifecycle dead-letters list --group`.',
        unit: 'percentunit',
        queries: [[`{{${TYPE}}}`, share(`${OUTCOME}="dead"`)]],
      },
      {
        title: 'Events by type',
        about: 'Events per second that were saved, by type. A type that vanishes: ask its producer.',
        unit: 'eps',
        stacked: true,
        queries: [[`{{${TYPE}}}`, `sum by (${TYPE}) (${rate(EVENTS)})`]],
      },
      {
        title: 'Outcomes',
        about:
          'What became of the events, all types. Mostly `applied`. Much `duplicate` or `stale`: a producer sends again, or out of order. `stale` for all after a deploy: look at the producers’ clocks.',
        unit: 'eps',
        stacked: true,
        queries: [[`{{${OUTCOME}}}`, `sum by (${OUTCOME}) (${rate(EVENTS)})`]],
      },
      {
        title: 'Refused and put to wait, per type of event',
        about:
          'Share of events that were `rejected` by the machine or wait for something. Nothing is lost in them. A jump of `rejected` after a deploy of a producer: its events come in an order the machine does not allow.',
        unit: 'percentunit',
        queries: [
          [`{{${TYPE}}} rejected`, share(`${OUTCOME}="rejected"`)],
          [`{{${TYPE}}} waiting`, share(`${OUTCOME}="waiting"`)],
        ],
      },
      {
        title: 'Dead letters by code',
        about:
          'New dead letters per minute. Normal: none. The code says whose move it is: docs/operations.md, "Dead letters".',
        unit: 'cpm',
        stacked: true,
        queries: [
          [
            '{{customer_service_dead_letter_code}}',
            `60 * sum by (customer_service_dead_letter_code) (${rate('customer_service_dead_letters_total')})`,
          ],
        ],
      },
      {
        title: 'Open: waiting, dead letters, holds',
        about:
          'Rows still open. Every instance sees the same, so the highest is drawn. `waiting` that only grows: `user-lifecycle dead-letters list --waiting` shows what for; at WAITING_IN_TOTAL partitions halt.',
        unit: 'short',
        queries: [
          ['{{customer_service_table}}', `max by (customer_service_table) (${all('customer_service_open_items')})`],
        ],
      },
      {
        title: 'Transitions of the machine',
        about:
          'The ten most frequent moves between states per second. A mix that changes suddenly: a producer changed.',
        unit: 'ops',
        queries: [
          [
            '{{customer_service_machine_state_from}} → {{customer_service_machine_state_to}}',
            `topk(10, sum by (customer_service_machine_state_from, customer_service_machine_state_to) (${rate('customer_service_machine_transitions_total')}))`,
          ],
        ],
      },
      {
        title: 'Drift and records without a key',
        about:
          'Events applied although the state they name as the old one was not ours (drift), and records without a key, whose order Kafka does not promise. Normal: a few after a migration; a constant rate is a producer to talk to.',
        unit: 'eps',
        queries: [
          [`drift {{${TYPE}}}`, `sum by (${TYPE}) (${rate('customer_service_drift_total')})`],
          [`unkeyed {{${TOPIC}}}`, `sum by (${TOPIC}) (${rate('customer_service_unkeyed_total')})`],
        ],
      },
    ],
  },
  {
    title: 'Lag and delay',
    panels: [
      {
        title: 'Lag in records',
        about:
          'Records behind the end of the log, per topic. Saw-tooth is normal. Rising for minutes: compare with "Records per second", then "Seconds of work per step": what is the service busy with?',
        unit: 'short',
        queries: [[`{{${TOPIC}}}`, `sum by (${TOPIC}) (${all('customer_service_kafka_consumer_lag')})`]],
      },
      {
        title: 'Lag in seconds',
        about:
          'For how long the slowest partition of each topic has not been at the end of its log. Normal: below a second or two. A straight line upwards is a partition that stands still: `user-lifecycle partitions list`.',
        unit: 's',
        queries: [[`{{${TOPIC}}}`, `max by (${TOPIC}) (${all('customer_service_kafka_consumer_time_lag')})`]],
      },
      {
        title: 'Delay of events',
        about:
          'From the record’s timestamp to its save, over the oldest and the newest record of each batch. High while a backlog is worked off. Stalled partitions save nothing and do not show here: see "Lag in seconds".',
        unit: 's',
        queries: quantiles(DELAY),
      },
      {
        title: 'Records per second',
        about: 'Records delivered, per topic. A batch that is tried again counts again.',
        unit: 'recps',
        queries: [[`{{${TOPIC}}}`, `sum by (${TOPIC}) (${rate('messaging_client_consumed_messages_total')})`]],
      },
      {
        title: 'Delay by topic, p99',
        about:
          'The same delay for each topic: one topic alone means its producer or its partitions, all mean the service.',
        unit: 's',
        queries: [[`{{${TOPIC}}}`, quantile(0.99, DELAY, { by: TOPIC })]],
      },
      {
        title: 'The ten partitions furthest behind',
        about: 'One partition alone: a hot key, a partition that waits or is halted. `user-lifecycle partitions list`.',
        unit: 'short',
        queries: [
          [
            `{{${TOPIC}}}[{{messaging_destination_partition_id}}]`,
            `topk(10, sum by (${TOPIC}, messaging_destination_partition_id) (${all('customer_service_kafka_consumer_lag')}))`,
          ],
        ],
      },
      {
        title: 'Partitions',
        about:
          '`assigned` = all there are, unless nobody is home. `paused` = its batch failed and is tried again: normal for seconds, longer means Postgres. `halted` needs a person.',
        unit: 'short',
        queries: ['assigned', 'paused', 'halted'].map(
          (name): Query => [name, `sum(${all(`customer_service_kafka_consumer_partitions_${name}`)})`],
        ),
      },
      {
        title: 'Rebalances',
        about:
          'Per 15 minutes and instance. Normal: a few at a deploy. Again and again: a member dies or is thrown out.',
        unit: 'short',
        queries: [
          [
            '{{instance}}',
            `sum by (instance) (increase(customer_service_kafka_consumer_rebalances_total{${selected()}}[15m]))`,
          ],
        ],
      },
      {
        title: 'Age of the last poll',
        about:
          'What /livez looks at. Normal: below a second or two. Above a minute without a pause the process is restarted.',
        unit: 's',
        queries: [['{{instance}}', `max by (instance) (${all('customer_service_kafka_consumer_last_poll_age')})`]],
      },
    ],
  },
  {
    title: 'Batch anatomy',
    panels: [
      {
        title: 'Processing time of a batch',
        about: 'From its delivery to the end of its save, each try by itself. Normal: tens of milliseconds.',
        unit: 's',
        queries: quantiles(BATCH),
      },
      {
        title: 'Seconds of work per step',
        about:
          'How many seconds per second go into each step, all instances. `save` leads normally. `run` or `decode` close to 1 per instance: the CPU is the limit, add instances. `save` or `load`: look at Postgres.',
        unit: 's',
        stacked: true,
        queries: [
          [
            '{{customer_service_step}}',
            `sum by (customer_service_step) (${rate('customer_service_step_duration_sum')})`,
          ],
        ],
      },
      {
        title: 'Time of a step, p99',
        about: 'For one batch. A step that got slower while batches did not grow is where to look.',
        unit: 's',
        queries: [
          [
            '{{customer_service_step}}',
            quantile(0.99, 'customer_service_step_duration', { by: 'customer_service_step' }),
          ],
        ],
      },
      {
        title: 'Size of a batch',
        about:
          'Records. Grows with the lag, which is good: big batches are cheaper. Shrinks when Postgres is slow (halved).',
        unit: 'short',
        queries: [
          ['p50', quantile(0.5, 'customer_service_batch_size')],
          ['p99', quantile(0.99, 'customer_service_batch_size')],
        ],
      },
      {
        title: 'Batches, saved and failed',
        about:
          'Tries per second. `saved` are those without an error; the others by error: a SQLSTATE, `fenced` (somebody else saved this position: normal at a rebalance), `conflict`.',
        unit: 'ops',
        stacked: true,
        queries: [
          ['saved', `sum(${rate(`${BATCH}_count`, 'error_type=""')})`],
          ['{{error_type}}', `sum by (error_type) (${rate(`${BATCH}_count`, 'error_type!=""')})`],
        ],
      },
      {
        title: 'Saves tried again',
        about:
          'Per second, by error. A few `conflict` are normal; anything else for minutes means that Postgres is away, slow or refuses: docs/operations.md, "A partition waits".',
        unit: 'ops',
        queries: [['{{error_type}}', `sum by (error_type) (${rate('customer_service_save_retries_total')})`]],
      },
      {
        title: 'Lookups that hit',
        about:
          'Share of users and customers that were remembered. Low after a start and after a rebalance. Low for good: raise USERS_IN_MEMORY or CUSTOMERS_IN_MEMORY.',
        unit: 'percentunit',
        max: 1,
        queries: [
          [
            `{{${CACHE}}}`,
            `sum by (${CACHE}) (${rate('customer_service_cache_lookups_total', `${RESULT}="hit"`)}) / sum by (${CACHE}) (${rate('customer_service_cache_lookups_total')})`,
          ],
        ],
      },
      {
        title: 'Users in memory',
        about: 'Per instance, at most USERS_IN_MEMORY. Falls to zero when partitions move; that is meant.',
        unit: 'short',
        queries: [['{{instance}}', `sum by (instance) (${all('customer_service_users_in_memory')})`]],
      },
      {
        title: 'Requests to Kafka, p99',
        about:
          'Fetch includes the wait for records (KAFKA_MAX_WAIT_MS). Heartbeat or OffsetCommit above a second: the broker is slow, and members may be thrown out of the group.',
        unit: 's',
        queries: [
          [
            '{{messaging_operation_name}}',
            quantile(0.99, 'messaging_client_operation_duration', { by: 'messaging_operation_name' }),
          ],
        ],
      },
    ],
  },
  {
    title: 'Postgres',
    panels: [
      {
        title: 'Time of a statement, p99',
        about:
          'One for each kind of statement. COMMIT is the disk; UPDATE positions is the fence: slow means somebody else holds its row.',
        unit: 's',
        queries: [
          [
            '{{db_operation_name}} {{db_collection_name}}',
            quantile(0.99, STATEMENT, { by: 'db_operation_name, db_collection_name', where: POSTGRES }),
          ],
        ],
      },
      {
        title: 'Seconds in Postgres per second',
        about:
          'Where the time goes, by statement. Divide by the instances: near DB_CONNECTIONS each, connections are the limit.',
        unit: 's',
        stacked: true,
        queries: [
          [
            '{{db_operation_name}} {{db_collection_name}}',
            `sum by (db_operation_name, db_collection_name) (${rate(`${STATEMENT}_sum`, POSTGRES)})`,
          ],
        ],
      },
      {
        title: 'Statements',
        about: 'Per second. Follows batches, not records; far more than batches × 10 would be something new.',
        unit: 'ops',
        stacked: true,
        queries: [
          [
            '{{db_operation_name}} {{db_collection_name}}',
            `sum by (db_operation_name, db_collection_name) (${rate(`${STATEMENT}_count`, POSTGRES)})`,
          ],
        ],
      },
      {
        title: 'Errors by SQLSTATE',
        about:
          'Per second. 40001 and 40P01 are conflicts and run again; 08, 53, 57, 58 mean that the server is away or full; 42 and 23 are defects and halt. Table: docs/operations.md, "A partition waits".',
        unit: 'ops',
        stacked: true,
        queries: [
          [
            '{{error_type}} {{db_operation_name}}',
            `sum by (error_type, db_operation_name) (${rate(`${STATEMENT}_count`, `${POSTGRES},error_type!=""`)})`,
          ],
        ],
      },
      {
        title: 'Wait for a connection',
        about:
          'From asking for one until its transaction has begun. Normal: a few milliseconds. More: the pool is too small (DB_CONNECTIONS), or the server takes none.',
        unit: 's',
        queries: quantiles('db_client_connection_wait_time', 'db_client_connection_pool_name="postgres"'),
      },
      {
        title: 'COMMIT',
        about: 'The time of the disk under load. A p99 above 100 ms: the disk or a synchronous replica is slow.',
        unit: 's',
        queries: quantiles(STATEMENT, `${POSTGRES},db_operation_name="COMMIT"`),
      },
    ],
  },
  {
    title: 'Redis',
    panels: [
      {
        title: 'Time of a command',
        about:
          'Below a millisecond normally, which is the first bucket. After 100 ms the service goes on without the answer.',
        unit: 's',
        queries: quantiles(STATEMENT, REDIS),
      },
      {
        title: 'Commands',
        about: 'Per second; a pipeline counts once. Zero while Redis is away: it is not asked then.',
        unit: 'ops',
        stacked: true,
        queries: [['{{db_operation_name}}', `sum by (db_operation_name) (${rate(`${STATEMENT}_count`, REDIS)})`]],
      },
      {
        title: 'Customers looked up, and errors',
        about:
          'Hits, misses and errors of Redis per second. Errors cost speed only: Postgres answers instead. `error` for long: look at the Redis server, its memory and its rights.',
        unit: 'ops',
        queries: [
          [
            `{{${RESULT}}}`,
            `sum by (${RESULT}) (${rate('customer_service_cache_lookups_total', `${CACHE}="customers_redis"`)})`,
          ],
          [
            'failed {{db_response_status_code}} {{error_type}}',
            `sum by (db_response_status_code, error_type) (${rate(`${STATEMENT}_count`, `${REDIS},error_type!=""`)})`,
          ],
        ],
      },
    ],
  },
  {
    title: 'Node runtime',
    panels: [
      {
        title: 'Event loop delay, p99',
        about:
          'Since the last scrape. 50 ms is idle: it is measured with a timer of 50 ms. Above 0.5 s for minutes heartbeats suffer: fewer partitions per instance, or more CPU.',
        unit: 's',
        queries: [['{{instance}}', `max by (instance) (${all('nodejs_eventloop_delay_p99')})`]],
      },
      {
        title: 'Event loop utilization',
        about: 'Share of time the one thread is busy. Above 0.9 for long: the instance is at its limit, add one.',
        unit: 'percentunit',
        max: 1,
        queries: [['{{instance}}', `max by (instance) (${all('nodejs_eventloop_utilization')})`]],
      },
      {
        title: 'Garbage collection',
        about: 'Share of time spent in it. Normal: below 5 %. Much `major`: the heap is close to its limit.',
        unit: 'percentunit',
        stacked: true,
        queries: [
          ['{{instance}} {{v8js_gc_type}}', `sum by (instance, v8js_gc_type) (${rate('v8js_gc_duration_sum')})`],
        ],
      },
      {
        title: 'Heap used',
        about: 'Saw-tooth. A floor that rises for hours is a leak; close to --max-old-space-size the process ends.',
        unit: 'bytes',
        queries: [['{{instance}}', `sum by (instance) (${all('v8js_memory_heap_used')})`]],
      },
      {
        title: 'Heap by space',
        about: 'Bytes used, all instances. `old_space` holds what is remembered: users and customers.',
        unit: 'bytes',
        stacked: true,
        queries: [['{{v8js_heap_space_name}}', `sum by (v8js_heap_space_name) (${all('v8js_memory_heap_used')})`]],
      },
      {
        title: 'Active resources',
        about: 'Sockets, timers and the like that keep the process alive. A kind that only grows is a leak.',
        unit: 'short',
        queries: [['{{v8js_resource_type}}', `sum by (v8js_resource_type) (${all('v8js_resource_active')})`]],
      },
    ],
  },
  {
    title: 'Telemetry itself',
    panels: [
      {
        title: 'Spans: sampled and not',
        about:
          'Started per second. RECORD_AND_SAMPLE / all = the ratio of OTEL_TRACES_SAMPLER_ARG. Empty: tracing is off.',
        unit: 'ops',
        stacked: true,
        queries: [
          [
            '{{otel_span_sampling_result}}',
            `sum by (otel_span_sampling_result) (${rate('otel_sdk_span_started_total')})`,
          ],
        ],
      },
      {
        title: 'Spans processed and dropped',
        about:
          'Per second. `queue_full` = dropped before they were sent: raise OTEL_BSP_MAX_QUEUE_SIZE, sample less, or look at the collector. Events are never affected.',
        unit: 'ops',
        queries: [
          ['ok', `sum(${rate('otel_sdk_processor_span_processed_total', 'error_type=""')})`],
          [
            '{{error_type}}',
            `sum by (error_type) (${rate('otel_sdk_processor_span_processed_total', 'error_type!=""')})`,
          ],
        ],
      },
      {
        title: 'Queue of spans',
        about: 'How full the fullest queue is. Near 1: the collector is slower than the service.',
        unit: 'percentunit',
        max: 1,
        queries: [
          [
            '{{instance}}',
            `max by (instance) (${all('otel_sdk_processor_span_queue_size')} / ${all('otel_sdk_processor_span_queue_capacity')})`,
          ],
        ],
      },
      {
        title: 'Spans sent',
        about:
          'Per second, and those whose sending failed by error. Failing: is OTEL_EXPORTER_OTLP_ENDPOINT right and up?',
        unit: 'ops',
        queries: [
          ['sent', `sum(${rate('otel_sdk_exporter_span_exported_total', 'error_type=""')})`],
          [
            'failed {{error_type}}',
            `sum by (error_type) (${rate('otel_sdk_exporter_span_exported_total', 'error_type!=""')})`,
          ],
        ],
      },
      {
        title: 'Time of a scrape',
        about: 'What /metrics takes. Normal: below 50 ms. It runs on the thread that does the work.',
        unit: 's',
        queries: [['{{instance}}', `max by (instance) (${all('scrape_duration_seconds')})`]],
      },
      {
        title: 'Series per instance',
        about:
          'Samples of one scrape. Grows with partitions; a steady growth without them is a label that is not bounded.',
        unit: 'short',
        queries: [['{{instance}}', `max by (instance) (${all('scrape_samples_scraped')})`]],
      },
    ],
  },
];

function selected(where = ''): string {
  return ['job="$job"', 'instance=~"$instance"', ...(where === '' ? [] : [where])].join(',');
}

function all(metric: string, where?: string): string {
  return `${metric}{${selected(where)}}`;
}

function rate(counter: string, where?: string): string {
  return `rate(${all(counter, where)}[$__rate_interval])`;
}

function quantile(q: number, histogram: string, { by, where }: { by?: string; where?: string } = {}): string {
  const labels = by === undefined ? 'le' : `le, ${by}`;
  return `histogram_quantile(${q}, sum by (${labels}) (${rate(`${histogram}_bucket`, where)}))`;
}

function quantiles(histogram: string, where?: string): Query[] {
  return [0.5, 0.95, 0.99].map((q) => [`p${q * 100}`, quantile(q, histogram, { where })]);
}

/** Of the events of each type. Nought where there are none of this outcome, so that the line does not vanish. */
function share(where: string): string {
  const those = `sum by (${TYPE}) (${rate(EVENTS, where)})`;
  const total = `sum by (${TYPE}) (${rate(EVENTS)})`;
  return `(${those} or 0 * ${total}) / ${total}`;
}

/** What lies in customer-service.json. */
export function dashboardJson(): string {
  const dashboard = {
    uid: 'customer-service',
    title: 'Customer Service',
    description: 'Made by deploy/grafana/dashboard.ts. What an alert means and what to do: docs/operations.md.',
    tags: ['customer-service'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1 },
        variable('job', 'Job', 'label_values(target_info, job)', { current: one('customer-service') }),
        variable('instance', 'Instance', 'label_values(target_info{job="$job"}, instance)', {
          current: { text: ['All'], value: ['$__all'] },
          multi: true,
          includeAll: true,
          allValue: '.*',
        }),
      ],
    },
    panels: laidOut(),
  };
  // Lists of plain values on one line: as the formatter of this repository has it.
  const text = JSON.stringify(dashboard, null, 2).replaceAll(/\[\n\s+([^[\]{}]*?)\n\s+\]/g, (_, values: string) => {
    return `[${values.replaceAll(/,\n\s+/g, ', ')}]`;
  });
  return `${text}\n`;
}

function variable(name: string, label: string, query: string, more: object): object {
  const definition = { query, refId: name, qryType: 1 };
  return {
    name,
    label,
    type: 'query',
    datasource: DATASOURCE,
    query: definition,
    definition: query,
    refresh: 2,
    ...more,
  };
}

function one(value: string): object {
  return { text: value, value };
}

const DATASOURCE = { type: 'prometheus', uid: '$' + '{datasource}' };
const COLUMNS = 24;

/** Left to right, a new line where one is full. */
function laidOut(): object[] {
  const panels: object[] = [];
  let y = 0;
  for (const row of ROWS) {
    const gridPos = { h: 1, w: COLUMNS, x: 0, y: y++ };
    panels.push({ id: panels.length + 1, type: 'row', title: row.title, collapsed: false, gridPos, panels: [] });
    let x = 0;
    let lineHeight = 0;
    for (const panel of row.panels) {
      const w = panel.width ?? 8;
      const h = panel.stat === undefined ? 9 : 4;
      if (x + w > COLUMNS) {
        x = 0;
        y += lineHeight;
      }
      panels.push(panelOf(panel, panels.length + 1, { h, w, x, y }));
      x += w;
      lineHeight = h;
    }
    y += lineHeight;
  }
  return panels;
}

function panelOf(panel: Panel, id: number, gridPos: object): object {
  const { title, about, unit, queries, stat, stacked, max } = panel;
  const targets = queries.map(([legendFormat, expr], i) => {
    return { refId: String.fromCharCode(65 + i), datasource: DATASOURCE, editorMode: 'code', expr, legendFormat };
  });
  const common = { id, title, description: about, datasource: DATASOURCE, gridPos, targets };
  if (stat !== undefined) {
    const steps = [
      { color: stat === 'plain' ? 'blue' : 'green', value: null },
      ...(stat === 'plain' ? [] : [{ color: 'orange', value: stat.orange }]),
      ...(stat === 'plain' ? [] : [{ color: 'red', value: stat.red }]),
    ];
    return {
      ...common,
      type: 'stat',
      fieldConfig: { defaults: { unit, thresholds: { mode: 'absolute', steps } }, overrides: [] },
      options: { colorMode: 'value', graphMode: 'area', reduceOptions: { calcs: ['lastNotNull'] } },
    };
  }
  const custom = {
    fillOpacity: stacked ? 40 : 5,
    lineWidth: 1,
    showPoints: 'never',
    stacking: { mode: stacked ? 'normal' : 'none' },
  };
  return {
    ...common,
    type: 'timeseries',
    fieldConfig: { defaults: { unit, min: 0, ...(max === undefined ? {} : { max }), custom }, overrides: [] },
    options: {
      legend: { showLegend: true, displayMode: 'table', placement: 'bottom', calcs: ['mean', 'max', 'lastNotNull'] },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  };
}
