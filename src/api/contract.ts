// contract.ts — what the API says and takes, once: TypeBox schemas that are the validation, the serialisation, openapi.json and,
// as types, what the console reads (it imports types alone).
//
// Owns:          names and shapes. Does not own: who answers (the routes beside this file), what anything means (the glossary).
//
// A1  64-bit integers (offsets, sums that may be large) are decimal strings; times ISO 8601 UTC; ids of rows are numbers.
// A2  A list is `{ items, nextCursor }`; no nextCursor: that was the end. Cursors are opaque and bound to their filter.
// A3  Personal data (e-mail, name, payloads, keys, headers) is masked here unless a route says `reveal`, which needs the
//     permission of AUTH_PAYLOADS and is audited.
// A4  null is unknown or none, never 0.
import { type Static, type TSchema, Type } from 'typebox';

const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const Text = Type.String();
const Long = Type.String({ pattern: '^-?[0-9]+$' });
const Time = Type.String({ format: 'date-time' });
const Count = Type.Number({ minimum: 0 });
const Sums = Type.Record(Text, Type.Number());
const page = <T extends TSchema>(item: T) => Type.Object({ items: Type.Array(item), nextCursor: Type.Optional(Text) });

export const OUTCOMES = ['applied', 'skipped', 'duplicate', 'stale', 'rejected', 'waiting', 'dead'] as const;

/** Where a record stands in Kafka. */
const Coordinates = { topic: Text, partition: Type.Integer(), generation: Type.Integer(), offset: Long };

// ---- who is asking ----------------------------------------------------------------------------------------------------------

export const Session = Type.Object({
  /** `none`: only on loopback. */
  mode: Type.Union([Type.Literal('none'), Type.Literal('token'), Type.Literal('oidc')]),
  /** null: nobody yet; log in. */
  role: Nullable(Type.Union([Type.Literal('viewer'), Type.Literal('operator')])),
  who: Nullable(Text),
  mayReveal: Type.Boolean(),
  /** Base of Jaeger's pages, without a slash at its end; null: trace ids can only be copied. */
  jaegerUrl: Nullable(Text),
  version: Text,
  machine: Type.Object({ id: Text, version: Type.Integer(), hash: Text }),
});

// ---- the machine ------------------------------------------------------------------------------------------------------------

const Point = Type.Object({ x: Type.Number(), y: Type.Number() });
const Box = { x: Type.Number(), y: Type.Number(), width: Type.Number(), height: Type.Number() };
/** A written line, in letters of 11 px. `x`: its begin in a state, its middle on an edge; `y`: its baseline. `transitions`: what
 *  it stands for; several where it is drawn once for a group, none where it goes on from the line above. */
const Line = Type.Object({ text: Text, x: Type.Number(), y: Type.Number(), transitions: Type.Array(Text) });
/** Lengths are px at scale 1; a box's x and y are its upper left corner. A transition that changes nothing is in no line; every
 *  other one is in exactly one. */
export const Geometry = Type.Object({
  direction: Type.Union([Type.Literal('LR'), Type.Literal('TB')]),
  width: Type.Number(),
  height: Type.Number(),
  /** The dot from which an arrow leads to the initial state. */
  start: Type.Object({ x: Type.Number(), y: Type.Number(), radius: Type.Number(), points: Type.Array(Point) }),
  /** `lines`: what changes the user and not the state, written in the lower part of the box; above them, 48 px are free for the
   *  name and whatever belongs to it. */
  states: Type.Array(Type.Object({ id: Text, ...Box, lines: Type.Array(Line) })),
  /** A box around states whose common transitions are drawn once, from the box's border. Its id ("*") is no state's. */
  groups: Type.Array(Type.Object({ id: Text, title: Text, states: Type.Array(Text), ...Box })),
  edges: Type.Array(
    Type.Object({
      /** A state or a group. */
      source: Text,
      target: Text,
      /** From the source's border over the bends to the target's border. */
      points: Type.Array(Point),
      /** Lies on the edge: its background hides the line behind it. */
      label: Type.Object({ ...Box, lines: Type.Array(Line) }),
    }),
  ),
});
export const MachineView = Type.Object({
  id: Text,
  version: Type.Integer(),
  hash: Text,
  states: Type.Array(
    Type.Object({
      id: Text,
      kind: Type.Union([Type.Literal('initial'), Type.Literal('normal'), Type.Literal('final')]),
    }),
  ),
  transitions: Type.Array(
    Type.Object({
      id: Text,
      source: Text,
      event: Text,
      guard: Nullable(Text),
      target: Nullable(Text),
      actions: Type.Array(Text),
      /** False: what takes it is `skipped`. */
      changes: Type.Boolean(),
      label: Text,
    }),
  ),
  edges: Type.Array(Type.Object({ source: Text, target: Text, transitions: Type.Array(Text) })),
  geometry: Type.Object({ LR: Geometry, TB: Geometry }),
});

// ---- live sums (one read a tick for all clients) ----------------------------------------------------------------------------

export const PartitionRow = Type.Object({
  topic: Text,
  partition: Type.Integer(),
  generation: Type.Integer(),
  /** The process that saved last; null: none yet. */
  owner: Nullable(Text),
  position: Long,
  committed: Nullable(Long),
  /** The first offset that the log still has. */
  logStart: Nullable(Long),
  /** The log's end. */
  high: Nullable(Long),
  lag: Nullable(Long),
  lagSeconds: Nullable(Type.Number()),
  /** Records per second, of the last 10 s. */
  rate: Nullable(Type.Number()),
  /** `paused`: heals by itself, `why` says what it waits for. `halted`: a person decides. */
  state: Type.Union([Type.Literal('running'), Type.Literal('paused'), Type.Literal('halted')]),
  why: Nullable(Text),
  savedAt: Nullable(Time),
  unkeyed: Nullable(Long),
  records: Nullable(Long),
});
export const HoldRow = Type.Object({
  kind: Type.Union([Type.Literal('user'), Type.Literal('customer')]),
  id: Text,
  reason: Text,
  byWhom: Text,
  since: Time,
  /** Its events that wait; at most 1,001 are counted. */
  waiting: Nullable(Count),
});
export const JobRow = Type.Object({
  id: Type.Integer(),
  kind: Text,
  state: Text,
  scope: Type.Record(Text, Type.Unknown()),
  options: Type.Record(Text, Type.Unknown()),
  total: Nullable(Count),
  done: Count,
  failed: Count,
  /** Per second since it was started or resumed here; null: not run by this process. */
  rate: Nullable(Type.Number()),
  secondsLeft: Nullable(Type.Number()),
  startedBy: Text,
  startedAt: Time,
  updatedAt: Time,
  endedAt: Nullable(Time),
});
export const Rates = Type.Object({
  /** Over so many seconds. */
  window: Type.Number(),
  /** Records handled per second. */
  records: Type.Number(),
  /** Events per second, by outcome. */
  outcomes: Sums,
  /** Per second by transition id; those that moved. */
  edges: Sums,
});
/** One point of the charts: what happened in the `seconds` before `at`. */
export const Sample = Type.Object({
  at: Time,
  seconds: Type.Number(),
  records: Type.Number(),
  /** Events, by outcome. */
  outcomes: Sums,
  /** Users by state, at `at`; those that have any. In one sample of three. */
  counts: Type.Optional(Sums),
  lag: Nullable(Type.Number()),
  /** From record to saved, ms, of this process; null: nothing was saved. */
  delayMs: Nullable(Type.Object({ p50: Type.Number(), p95: Type.Number(), p99: Type.Number() })),
  /** From a batch's begin to its end, ms, of this process. */
  batchMs: Nullable(Type.Object({ p50: Type.Number(), p95: Type.Number(), p99: Type.Number() })),
  batchRecords: Nullable(Type.Number()),
});
export const Dependencies = Type.Object({
  status: Text,
  kafka: Type.Union([Type.Literal('ok'), Type.Literal('away'), Type.Literal('off')]),
  postgres: Type.Union([Type.Literal('ok'), Type.Literal('away')]),
  redis: Type.Union([Type.Literal('ok'), Type.Literal('away'), Type.Literal('off')]),
  /** Why, in words; empty when all is well. */
  reasons: Type.Array(Text),
  member: Nullable(Text),
  cacheHitRate: Nullable(Type.Number()),
});
/** The channels of the stream; each event carries one of these, complete as far as it says (board.ts, L2), as a part of Stats: with
 *  `at`, when it was read. New samples come as `series`. */
export const Channels = Type.Object({
  /** Users by state. */
  counts: Sums,
  /** Totals by transition id since the beginning. */
  transitions: Sums,
  flow: Rates,
  /** Totals by outcome since the beginning. */
  outcomes: Sums,
  lag: Type.Array(PartitionRow),
  /** Dead letters that are open, by code; up to 1,000 of each are counted, then 1001. */
  dead: Sums,
  /** Events that wait, by reason; the same bound. `total` is exact. */
  waiting: Type.Object({ total: Count, reasons: Sums }),
  holds: Type.Array(HoldRow),
  jobs: Type.Array(JobRow),
  health: Dependencies,
});
export const Stats = Type.Object({
  at: Time,
  /** Changes when another process answers, or the machine is another one: then everything is fetched anew. */
  server: Text,
  machineHash: Text,
  ...Channels.properties,
  series: Type.Array(Sample),
});
export const StatsAsked = {
  window: Type.Optional(
    Type.Union([Type.Literal(10), Type.Literal(60), Type.Literal(300), Type.Literal(900)], {
      description:
        'Of the last so many seconds is `flow`; 10 by default. Where less is remembered, its `window` says of how many it is.',
    }),
  ),
  samples: Type.Optional(
    Type.Integer({ minimum: 0, maximum: 200, description: 'So many samples at most, the newest; all by default.' }),
  ),
};

// ---- users ------------------------------------------------------------------------------------------------------------------

export const UserItem = Type.Object({
  userId: Text,
  state: Text,
  version: Type.Integer(),
  customerId: Nullable(Text),
  role: Text,
  userType: Text,
  isCompanyOwner: Type.Boolean(),
  email: Text,
  name: Text,
  waiting: Type.Integer(),
  machineVersion: Type.Integer(),
  createdAt: Time,
  updatedAt: Time,
  deletedAt: Nullable(Time),
});
/** `scanned`: rows that were looked at; `complete` false: there may be more, older ones. */
export const Recent = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item), scanned: Count, complete: Type.Boolean() });

/** One event that was put to the machine. */
export const HistoryItem = Type.Object({
  version: Nullable(Type.Integer()),
  userId: Nullable(Text),
  customerId: Nullable(Text),
  type: Text,
  outcome: Text,
  from: Nullable(Text),
  to: Nullable(Text),
  transition: Nullable(Text),
  drift: Type.Boolean(),
  /** Why it did nothing, or what deserves a look, in words; null: it simply was applied. */
  note: Nullable(Text),
  ...Coordinates,
  dialect: Text,
  /** Its producer's; null: it has none, and what stands for it, made of its content, is not shown. */
  eventId: Nullable(Text),
  traceId: Nullable(Text),
  occurredAt: Time,
  recordedAt: Time,
  machineVersion: Type.Integer(),
  facts: Type.Record(Text, Type.Unknown()),
  /** The payload; personal fields masked. */
  event: Type.Record(Text, Type.Unknown()),
});

export const WaitingItem = Type.Object({
  id: Type.Integer(),
  ...Coordinates,
  type: Text,
  userId: Text,
  customerId: Nullable(Text),
  /** customer, user, dead-letter, hold, order or machine. */
  reason: Text,
  /** The same in a sentence, with whom it waits for. */
  note: Text,
  dialect: Text,
  /** Its producer's; null: it has none, and what stands for it, made of its content, is not shown. */
  eventId: Nullable(Text),
  occurredAt: Time,
  since: Time,
});
export const DeadLetterItem = Type.Object({
  id: Type.Integer(),
  ...Coordinates,
  stage: Text,
  code: Text,
  message: Text,
  type: Nullable(Text),
  userId: Nullable(Text),
  customerId: Nullable(Text),
  status: Text,
  /** The user's later events wait behind it. */
  blocks: Type.Boolean(),
  attempts: Type.Integer(),
  firstFailedAt: Time,
  lastFailedAt: Time,
  traceId: Nullable(Text),
  byWhom: Nullable(Text),
  note: Nullable(Text),
  edited: Type.Boolean(),
});

export const UserView = Type.Object({
  /** null: it does not exist yet, and something waits for it. */
  user: Nullable(Type.Object({ ...UserItem.properties, sourceRole: Text, customerName: Nullable(Text) })),
  holds: Type.Array(HoldRow),
  /** At most 100 of each, in their order. */
  waiting: Type.Array(WaitingItem),
  waitingCount: Count,
  deadLetters: Type.Array(DeadLetterItem),
  /** The source that its last event came from; null without history. */
  source: Nullable(Type.Object({ topic: Text, partition: Type.Integer(), owner: Nullable(Text) })),
  /** What the machine takes in this state, and where it would lead (guards not asked). */
  next: Type.Array(Type.Object({ event: Text, transition: Text, target: Nullable(Text), guard: Nullable(Text) })),
});

/** A row of a user as folded; the fields of `users`, without rev and what waits. null: it did not exist. */
const Row = Nullable(Type.Record(Text, Type.Unknown()));
export const UserAt = Type.Object({
  version: Type.Integer(),
  /** Of all steps. */
  steps: Type.Integer(),
  row: Row,
  /** The row one step before. */
  before: Row,
  /** Names of fields that differ between the two. */
  changed: Type.Array(Text),
  /** Of the whole history against the saved row. `differences`: at most 20, in words. */
  fold: Type.Object({
    equal: Type.Boolean(),
    differences: Type.Array(Text),
    /** The first step that this machine decides otherwise. */
    firstDifference: Nullable(Type.Integer()),
  }),
});

// ---- customers, partitions, dead letters -------------------------------------------------------------------------------------

export const CustomerItem = Type.Object({ customerId: Text, name: Text, createdAt: Time, updatedAt: Time });
export const CustomerView = Type.Object({
  /** null: unknown, and something waits for it. */
  customer: Nullable(CustomerItem),
  hold: Nullable(HoldRow),
  /** At most 1,001 are counted. */
  users: Count,
  waiting: Count,
});

export const DeadLetterGroup = Type.Object({
  code: Text,
  type: Nullable(Text),
  count: Count,
  users: Count,
  leastAttempts: Count,
  mostAttempts: Count,
  /** Events that wait behind these; at most 10,001 are counted. */
  behind: Count,
  firstFailedAt: Time,
  lastFailedAt: Time,
  /** Redriven three times or more, and dead again. */
  looping: Type.Boolean(),
});
export const WaitingGroup = Type.Object({
  reason: Text,
  type: Text,
  count: Count,
  users: Count,
  firstSince: Time,
  lastSince: Time,
});
/** What a dead letter or a waiting event is made of. `masked`: the values of personal fields are hidden, or all of what can not
 *  be read. Text where it is UTF-8, else `base64`. */
export const Content = Type.Object({
  masked: Type.Boolean(),
  key: Nullable(Text),
  value: Nullable(Text),
  /** The value is base64, because it is no UTF-8. */
  base64: Type.Boolean(),
  size: Count,
  headers: Type.Array(Type.Object({ name: Text, value: Nullable(Text) })),
  /** What an operator put in the place of the value. */
  editedValue: Nullable(Text),
});
export const DeadLetterView = Type.Object({
  ...DeadLetterItem.properties,
  class: Nullable(Text),
  dialect: Nullable(Text),
  eventId: Nullable(Text),
  occurredAt: Nullable(Time),
  settledAt: Nullable(Time),
  serviceVersion: Text,
  machineVersion: Type.Integer(),
  instance: Text,
  /** Of the payload; null unless it is revealed: it would tell a guess from a miss. */
  sha256: Nullable(Text),
  forced: Type.Boolean(),
  /** What can be done about this code, in a sentence or two. */
  advice: Text,
  behind: Count,
  userState: Nullable(Text),
  content: Content,
  /** What operators did with it, the newest first; at most 20. */
  acts: Type.Array(Type.Object({ at: Time, who: Text, verb: Text, reason: Nullable(Text) })),
});
export const WaitingView = Type.Object({ ...WaitingItem.properties, content: Content });
/** Where they are no UTF-8: base64. */
const Bytes = Type.Union([Text, Type.Object({ base64: Text }), Type.Null()]);
/** A line of an export: the record as it came, then what is known of its failure. */
export const ExportedLine = Type.Object({
  key: Bytes,
  value: Bytes,
  /** Pairs of a name and a value. */
  headers: Type.Array(Type.Array(Bytes)),
  /** Kafka's, ms since 1970; -1: none. */
  timestamp: Type.Integer(),
  id: Long,
  ...Coordinates,
  code: Text,
  stage: Text,
  class: Nullable(Text),
  message: Text,
  userId: Nullable(Text),
  type: Nullable(Text),
  attempts: Type.Integer(),
  firstFailedAt: Time,
  lastFailedAt: Time,
  status: Text,
});

// ---- acts -------------------------------------------------------------------------------------------------------------------

const Ids = Type.Array(Type.Integer({ minimum: 1 }), { minItems: 1, maxItems: 10_000 });
/** Postgres can not hold the character U+0000. */
const pattern = '^[^\\u0000]*$';
const Reason = Type.String({ minLength: 1, maxLength: 500, pattern });
const Id = Type.String({ minLength: 1, maxLength: 512, pattern });

/** All that is given must fit. */
export const DeadLetterFilter = Type.Object(
  {
    code: Type.Optional(Id),
    /** `none`: those of which it is not known. */
    type: Type.Optional(Id),
    customer: Type.Optional(Id),
    user: Type.Optional(Id),
    topic: Type.Optional(Id),
    /** Those that failed last before. */
    before: Type.Optional(Time),
  },
  { additionalProperties: false },
);
export const WaitingFilter = Type.Object(
  {
    reason: Type.Optional(Id),
    type: Type.Optional(Id),
    customer: Type.Optional(Id),
    user: Type.Optional(Id),
    topic: Type.Optional(Id),
    before: Type.Optional(Time),
  },
  { additionalProperties: false },
);
/** Either `ids` or `filter`; an empty filter means all and needs `all: true`. */
const scope = <T extends TSchema>(filter: T) => ({
  ids: Type.Optional(Ids),
  filter: Type.Optional(filter),
  all: Type.Optional(Type.Boolean()),
  dryRun: Type.Optional(Type.Boolean()),
});
export const Redrive = Type.Object(
  {
    ...scope(DeadLetterFilter),
    /** Even where the user has since seen a newer event; then with a reason. */
    force: Type.Optional(Type.Boolean()),
    reason: Type.Optional(Reason),
  },
  { additionalProperties: false },
);
export const Discard = Type.Object({ ...scope(DeadLetterFilter), reason: Reason }, { additionalProperties: false });
export const DiscardWaiting = Type.Object({ ...scope(WaitingFilter), reason: Reason }, { additionalProperties: false });
export const Edit = Type.Object(
  {
    /** null: as it was received again. */
    value: Nullable(Type.String({ maxLength: 1_000_000 })),
    reason: Reason,
  },
  { additionalProperties: false },
);
/** What an act would do; nothing was written but its audit row. */
export const Preview = Type.Object({
  matched: Count,
  /** The dead letters (or waiting events) by outcome. */
  outcomes: Sums,
  /** Events that would go with them. */
  others: Sums,
  /** That it did not get to the end, and why; null: it did. */
  note: Nullable(Text),
  /** The first 200. */
  items: Type.Array(
    Type.Object({
      id: Type.Integer(),
      ...Coordinates,
      userId: Nullable(Text),
      type: Nullable(Text),
      code: Text,
      outcome: Text,
      from: Nullable(Text),
      to: Nullable(Text),
      message: Nullable(Text),
    }),
  ),
});
export const Release = Type.Object({ dryRun: Type.Optional(Type.Boolean()) }, { additionalProperties: false });
/** What the end of a hold would do: `matched` of the events that wait, of so many users. `items` have the numbers of waiting events, and a
 *  code where they would die. */
export const ReleasePreview = Type.Object({ ...Preview.properties, users: Count });
export const NewHold = Type.Object(
  { kind: Type.Union([Type.Literal('user'), Type.Literal('customer')]), id: Id, reason: Reason },
  { additionalProperties: false },
);
export const Resume = Type.Object(
  {
    reason: Reason,
    /** Of a partition that halted `truncated` or `cluster`: said by somebody who knows. */
    oldLogIsBack: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);
const Offset = Type.String({ pattern: '^(0|[1-9][0-9]{0,17})$' });
/** `generation` and `position`: what was seen, so that nobody moves what somebody else has moved meanwhile. */
const moving = {
  generation: Type.Integer({ minimum: 0, maximum: 32_767 }),
  position: Offset,
  reason: Reason,
  /** What would be done, and nothing is written but its audit row. */
  dryRun: Type.Optional(Type.Boolean()),
};
export const AcceptLoss = Type.Object(
  {
    ...moving,
    /** The log's start that was seen: where it is further by now, more would be lost, and nothing is done. */
    logStart: Type.Optional(Offset),
  },
  { additionalProperties: false },
);
export const SetPosition = Type.Object(
  {
    ...moving,
    to: Offset,
    /** It is another log than the one that was read, where neither its cluster nor its end tells. */
    newLog: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);
/** A partition's position before and after. */
export const Moved = Type.Object({
  topic: Text,
  partition: Type.Integer(),
  from: Type.Object({ generation: Type.Integer(), position: Long }),
  generation: Type.Integer(),
  position: Long,
  /** What is never read, both offsets included; null: nothing. */
  lost: Nullable(Type.Object({ first: Long, last: Long, offsets: Long })),
  dryRun: Type.Boolean(),
});

export const AuditItem = Type.Object({
  id: Type.Integer(),
  at: Time,
  who: Text,
  verb: Text,
  scope: Type.Record(Text, Type.Unknown()),
  dryRun: Type.Boolean(),
  result: Nullable(Type.Record(Text, Type.Unknown())),
  jobId: Nullable(Type.Integer()),
});

// ---- what if ----------------------------------------------------------------------------------------------------------------

/** Events put by hand to a copy of a user, or to nobody; nothing is saved. */
export const WhatIf = Type.Object(
  {
    /** A saved user to copy; without it, one that does not exist. */
    userId: Type.Optional(Id),
    /** Is the customer that a USER_CREATED names known? Without it: as it really is. */
    customerKnown: Type.Optional(Type.Boolean()),
    events: Type.Array(
      Type.Object(
        {
          type: Type.Union([
            Type.Literal('USER_CREATED'),
            Type.Literal('USER_STATUS_CHANGED'),
            Type.Literal('USER_ROLE_CHANGED'),
            Type.Literal('USER_DELETED'),
          ]),
          /** As a producer would send it; a missing userId, timestamp or changedBy is filled in. */
          payload: Type.Record(Text, Type.Unknown()),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 50 },
    ),
  },
  { additionalProperties: false },
);
export const WhatIfResult = Type.Object({
  /** Before the first event. */
  start: Type.Object({ state: Text, row: Row }),
  steps: Type.Array(
    Type.Object({
      type: Text,
      payload: Type.Record(Text, Type.Unknown()),
      outcome: Text,
      from: Nullable(Text),
      to: Nullable(Text),
      transition: Nullable(Text),
      drift: Type.Boolean(),
      /** Why, in words; of a payload that can not be read, what is wrong with it. */
      note: Nullable(Text),
      /** After it. */
      row: Row,
      changed: Type.Array(Text),
    }),
  ),
});

// ---- errors -----------------------------------------------------------------------------------------------------------------

/** RFC 9457. */
export const Problem = Type.Object({
  type: Text,
  title: Text,
  status: Type.Integer(),
  detail: Type.Optional(Text),
  instance: Type.Optional(Text),
  errors: Type.Optional(Type.Array(Type.Object({ detail: Text, pointer: Type.Optional(Text) }))),
});

export const pageOf = page;
/** Lists that are always given whole. */
const all = <T extends TSchema>(item: T) => Type.Object({ items: Type.Array(item) });
export const Partitions = all(PartitionRow);
export const Holds = all(HoldRow);
/** `complete` false: there are more than were looked at, older ones; counts are the least there is. */
const groups = <T extends TSchema>(item: T) => Type.Object({ items: Type.Array(item), complete: Type.Boolean() });
export const DeadLetterGroups = groups(DeadLetterGroup);
export const WaitingGroups = groups(WaitingGroup);

export type Session = Static<typeof Session>;
export type Geometry = Static<typeof Geometry>;
export type MachineView = Static<typeof MachineView>;
export type PartitionRow = Static<typeof PartitionRow>;
export type HoldRow = Static<typeof HoldRow>;
export type JobRow = Static<typeof JobRow>;
export type Rates = Static<typeof Rates>;
export type Sample = Static<typeof Sample>;
export type Dependencies = Static<typeof Dependencies>;
export type Channels = Static<typeof Channels>;
export type Stats = Static<typeof Stats>;
/** Seconds. */
export type FlowWindow = Static<typeof StatsAsked.window>;
export type UserItem = Static<typeof UserItem>;
export type UserView = Static<typeof UserView>;
export type UserAt = Static<typeof UserAt>;
export type HistoryItem = Static<typeof HistoryItem>;
export type CustomerItem = Static<typeof CustomerItem>;
export type CustomerView = Static<typeof CustomerView>;
export type WaitingItem = Static<typeof WaitingItem>;
export type WaitingView = Static<typeof WaitingView>;
export type WaitingGroup = Static<typeof WaitingGroup>;
export type DeadLetterItem = Static<typeof DeadLetterItem>;
export type DeadLetterView = Static<typeof DeadLetterView>;
export type DeadLetterGroup = Static<typeof DeadLetterGroup>;
export type Content = Static<typeof Content>;
export type DeadLetterFilter = Static<typeof DeadLetterFilter>;
export type WaitingFilter = Static<typeof WaitingFilter>;
export type Redrive = Static<typeof Redrive>;
export type Discard = Static<typeof Discard>;
export type DiscardWaiting = Static<typeof DiscardWaiting>;
export type Edit = Static<typeof Edit>;
export type Preview = Static<typeof Preview>;
export type ReleasePreview = Static<typeof ReleasePreview>;
export type NewHold = Static<typeof NewHold>;
export type AcceptLoss = Static<typeof AcceptLoss>;
export type SetPosition = Static<typeof SetPosition>;
export type Moved = Static<typeof Moved>;
export type AuditItem = Static<typeof AuditItem>;
export type WhatIf = Static<typeof WhatIf>;
export type WhatIfResult = Static<typeof WhatIfResult>;
export type Problem = Static<typeof Problem>;
export type Page<T> = { items: T[]; nextCursor?: string };
export type RecentOf<T> = { items: T[]; scanned: number; complete: boolean };
