// schema.ts — the tables. Drizzle makes migrations, types and the column lists of the bulk writes from it.
//
// Ids are `collate "C"`: compared by bytes, as the machine and Redis do, and cheaper. Marks are ms since 1970 in bigint:
// they are compared, not shown. Nothing that changes is indexed (no HOT updates otherwise); fillfactor 80 on users.
// What Drizzle can not say (fillfactor, the append-only trigger, the view) stands in migrations/0001_rules.sql.
// `jobs`, `audit`, `idempotency` and `losses` are operators' writes (src/jobs.ts, src/audit.ts, src/api/again.ts, src/move-position.ts): no
// batch touches them.
import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  customType,
  index,
  integer,
  json,
  jsonb,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
  unique,
} from 'drizzle-orm/pg-core';

const id = customType<{ data: string }>({ dataType: () => 'text collate "C"' });
const bytes = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
/** 64-bit integers travel as decimal strings: JSON numbers lose digits. */
const long = customType<{ data: string }>({ dataType: () => 'bigint' });
const time = (name: string) => timestamp(name, { withTimezone: true, mode: 'string' });

const coordinates = {
  topic: id('topic').notNull(),
  partition: integer('partition').notNull(),
  generation: smallint('generation').notNull(),
  offset: long('offset').notNull(),
};

export const customers = pgTable('customers', {
  customerId: id('customer_id').primaryKey(),
  name: text('name').notNull(),
  atMs: bigint('at_ms', { mode: 'number' }).notNull(),
  source: id('source').notNull(),
  offset: long('source_offset').notNull(),
  rev: bigint('rev', { mode: 'number' }).notNull(),
  createdAt: time('created_at').notNull().defaultNow(),
  updatedAt: time('updated_at').notNull().defaultNow(),
});

export const users = pgTable(
  'users',
  {
    userId: id('user_id').primaryKey(),
    customerId: id('customer_id'),
    state: text('state').notNull(),
    /** Counts the user's history rows: the step number of its time travel. */
    version: integer('version').notNull(),
    role: text('role').notNull(),
    userType: text('user_type').notNull(),
    isCompanyOwner: boolean('is_company_owner').notNull(),
    sourceRole: text('source_role').notNull(),
    email: text('email').notNull(),
    name: text('name').notNull(),
    statusAtMs: bigint('status_at_ms', { mode: 'number' }),
    statusSource: id('status_source'),
    statusOffset: long('status_offset'),
    roleAtMs: bigint('role_at_ms', { mode: 'number' }),
    roleSource: id('role_source'),
    roleOffset: long('role_offset'),
    /** The last 16 events put to the machine, 8 bytes each, oldest first: against a producer that sends twice. */
    ring: bytes('ring').notNull(),
    /** How many of its events wait, or block as a dead letter. */
    waiting: integer('waiting').notNull(),
    rev: bigint('rev', { mode: 'number' }).notNull(),
    machineVersion: integer('machine_version').notNull(),
    createdAt: time('created_at').notNull(),
    updatedAt: time('updated_at').notNull().defaultNow(),
    deletedAt: time('deleted_at'),
  },
  // For people who look; neither changes after the creation, so that updates stay HOT. A new user costs Postgres 13 us with them, 5
  // without.
  (t) => [index('users_customer').on(t.customerId, t.userId), index('users_email').on(sql`lower(${t.email})`)],
);

export const history = pgTable(
  'history',
  {
    ...coordinates,
    userId: id('user_id'),
    customerId: id('customer_id'),
    /** The user's version after the event; null for a customer's own event. */
    version: integer('version'),
    type: text('type').notNull(),
    outcome: text('outcome').notNull(),
    fromState: text('from_state'),
    toState: text('to_state'),
    transition: text('transition'),
    drift: boolean('drift').notNull(),
    /** The payload's text as received. `json`, not `jsonb`: 26 → 21 µs of Postgres per event, and it keeps the text. */
    event: json('event').notNull(),
    facts: json('facts').notNull(),
    occurredAt: time('occurred_at').notNull(),
    recordedAt: time('recorded_at').notNull().defaultNow(),
    dialect: text('dialect').notNull(),
    eventId: text('event_id').notNull(),
    traceId: text('trace_id'),
    machineVersion: integer('machine_version').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.topic, t.partition, t.generation, t.offset] }),
    unique('history_user_version').on(t.userId, t.version),
  ],
);

export const positions = pgTable(
  'positions',
  {
    topic: id('topic').notNull(),
    partition: integer('partition').notNull(),
    generation: smallint('generation').notNull().default(0),
    nextOffset: long('next_offset').notNull(),
    /** Where this generation began to be read. */
    firstOffset: long('first_offset').notNull(),
    clusterId: text('cluster_id').notNull(),
    leaderEpoch: integer('leader_epoch'),
    tailOffset: long('tail_offset'),
    tailHash: bytes('tail_hash'),
    state: text('state').notNull().default('running'),
    haltedReason: text('halted_reason'),
    owner: text('owner'),
    updatedAt: time('updated_at').notNull().default(sql`clock_timestamp()`),
    /** Running totals of this partition; only the sum over all rows means something. */
    tallies: jsonb('tallies').notNull().default({}),
  },
  (t) => [
    primaryKey({ columns: [t.topic, t.partition] }),
    check('positions_next_offset', sql`${t.nextOffset} >= 0`),
    check('positions_state', sql`${t.state} in ('running', 'halted')`),
  ],
);

export const deadLetters = pgTable(
  'dead_letters',
  {
    ...coordinates,
    id: bigint('id', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
    stage: text('stage').notNull(),
    code: text('code').notNull(),
    class: text('class'),
    message: text('message').notNull(),
    stack: text('stack'),
    key: bytes('key'),
    value: bytes('value'),
    /** An ordered list of pairs [name, value], both base64, value null where the header has none. */
    headers: json('headers').notNull(),
    sha256: bytes('sha256').notNull(),
    size: integer('size').notNull(),
    recordMs: bigint('record_ms', { mode: 'number' }).notNull(),
    clusterId: text('cluster_id').notNull(),
    consumerGroup: text('consumer_group'),
    userId: id('user_id'),
    userVersion: integer('user_version'),
    type: text('type'),
    dialect: text('dialect'),
    eventId: text('event_id'),
    occurredAt: time('occurred_at'),
    /** True: the user's later events wait behind it. */
    blocks: boolean('blocks').notNull(),
    status: text('status').notNull().default('open'),
    attempts: integer('attempts').notNull().default(1),
    firstFailedAt: time('first_failed_at').notNull().defaultNow(),
    lastFailedAt: time('last_failed_at').notNull().defaultNow(),
    serviceVersion: text('service_version').notNull(),
    machineVersion: integer('machine_version').notNull(),
    instance: text('instance').notNull(),
    traceId: text('trace_id'),
    byWhom: text('by_whom'),
    settledAt: time('settled_at'),
    note: text('note'),
    /** What an operator put in the place of `value`; that stays as it was received. */
    editedValue: bytes('edited_value'),
    /** An operator's choice: applied even where its user has since seen a newer one. */
    forced: boolean('forced').notNull().default(false),
  },
  (t) => [
    primaryKey({ columns: [t.topic, t.partition, t.generation, t.offset] }),
    unique('dead_letters_id').on(t.id),
    // Settled ones are the most, in time: neither a batch nor a drain may look through them.
    index('dead_letters_unsettled').on(t.userId).where(sql`status in ('open', 'redriving')`),
    index('dead_letters_redriving').on(t.id).where(sql`status = 'redriving'`),
    // For people who look: the newest first, however many are settled.
    index('dead_letters_open').on(t.id).where(sql`status in ('open', 'redriving')`),
    check('dead_letters_status', sql`${t.status} in ('open', 'redriving', 'resolved', 'discarded')`),
  ],
);

export const waiting = pgTable(
  'waiting',
  {
    ...coordinates,
    id: bigint('id', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
    userId: id('user_id').notNull(),
    /** The customer that must exist first (a USER_CREATED's own). */
    customerId: id('customer_id'),
    reason: text('reason').notNull(),
    type: text('type').notNull(),
    key: bytes('key'),
    value: bytes('value'),
    headers: json('headers').notNull(),
    recordMs: bigint('record_ms', { mode: 'number' }).notNull(),
    eventId: text('event_id').notNull(),
    dialect: text('dialect').notNull(),
    occurredAt: time('occurred_at').notNull(),
    /** What orders it between sources, ms since 1970 (the event's own time, capped by the record's). */
    atMs: bigint('at_ms', { mode: 'number' }).notNull(),
    since: time('since').notNull().defaultNow(),
  },
  (t) => [
    primaryKey({ columns: [t.topic, t.partition, t.generation, t.offset] }),
    index('waiting_user').on(t.userId),
    index('waiting_customer').on(t.customerId, t.userId),
    // For people who look, and who say an event by its number.
    index('waiting_id').on(t.id),
    check('waiting_reason', sql`${t.reason} in ('customer', 'user', 'dead-letter', 'hold', 'order', 'machine')`),
  ],
);

export const holds = pgTable(
  'holds',
  {
    kind: text('kind').notNull(),
    id: id('id').notNull(),
    reason: text('reason').notNull(),
    byWhom: text('by_whom').notNull(),
    since: time('since').notNull().defaultNow(),
  },
  (t) => [primaryKey({ columns: [t.kind, t.id] }), check('holds_kind', sql`${t.kind} in ('user', 'customer')`)],
);

/** What an operator started and takes long. It goes on from `cursor` after an interruption. */
export const jobs = pgTable(
  'jobs',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    kind: text('kind').notNull(),
    /** Which rows: the filter. */
    scope: jsonb('scope').notNull(),
    /** What else was said: the reason, forced or not. */
    options: jsonb('options').notNull(),
    state: text('state').notNull().default('running'),
    /** Of what there was when it began; null: not known. */
    total: long('total'),
    done: long('done').notNull().default('0'),
    /** Of those: without success. */
    failed: long('failed').notNull().default('0'),
    /** Where it goes on: the last id or user it has ended with. */
    cursor: id('cursor').notNull().default(''),
    startedBy: text('started_by').notNull(),
    startedAt: time('started_at').notNull().defaultNow(),
    /** Of its last step. */
    updatedAt: time('updated_at').notNull().defaultNow(),
    endedAt: time('ended_at'),
  },
  () => [
    check('jobs_kind', sql`kind in ('redrive', 'discard', 'migrate', 'rebuild')`),
    check('jobs_state', sql`state in ('running', 'done', 'cancelled', 'failed')`),
  ],
);

/** Who did what to which scope, with which result. */
export const audit = pgTable(
  'audit',
  {
    id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    at: time('at').notNull().defaultNow(),
    who: text('who').notNull(),
    verb: text('verb').notNull(),
    scope: jsonb('scope').notNull(),
    dryRun: boolean('dry_run').notNull(),
    /** Null: it did not end yet, or was interrupted. */
    result: jsonb('result'),
    jobId: bigint('job_id', { mode: 'number' }),
  },
  (t) => [index('audit_job').on(t.jobId).where(sql`job_id is not null`)],
);

/** Offsets that were never read, because a person let their partition go on behind them. Never changed. */
export const losses = pgTable(
  'losses',
  {
    topic: id('topic').notNull(),
    partition: integer('partition').notNull(),
    generation: smallint('generation').notNull(),
    firstOffset: long('first_offset').notNull(),
    /** The last one that is lost. */
    lastOffset: long('last_offset').notNull(),
    /** In whose log they were: where a copy is to be looked for. */
    clusterId: text('cluster_id').notNull(),
    /** Why the partition had halted. */
    haltedReason: text('halted_reason'),
    /** What the operator said. */
    reason: text('reason').notNull(),
    byWhom: text('by_whom').notNull(),
    at: time('at').notNull().defaultNow(),
  },
  // Within a generation a position never goes back, so no offset is lost twice.
  (t) => [
    primaryKey({ columns: [t.topic, t.partition, t.generation, t.firstOffset] }),
    check('losses_range', sql`${t.firstOffset} <= ${t.lastOffset}`),
  ],
);

/** What was answered to an act with an Idempotency-Key, for a day: whoever sends it again gets the same answer. */
export const idempotency = pgTable(
  'idempotency',
  {
    who: text('who').notNull(),
    key: text('key').notNull(),
    /** Method and path. */
    route: text('route').notNull(),
    bodyHash: text('body_hash').notNull(),
    /** Null: it is not answered yet, or was cut off. */
    status: integer('status'),
    location: text('location'),
    /** The text as it was sent: not `jsonb`, which can not hold every text. */
    reply: text('reply'),
    at: time('at').notNull().defaultNow(),
  },
  (t) => [primaryKey({ columns: [t.who, t.key] })],
);
