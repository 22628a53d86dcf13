// order.ts — in which order the waiting events of one user go, and where they must stop. Pure.
//
//   A user that does not exist: the earliest among the sources' first creations goes first, wherever it stands; without
//   one, nothing goes.
//   Then the lowest timestamp among the heads of the sources; within a source the offset order (P1).
//   A blocking dead letter stands in its own place of that order: what lies before it goes, what lies behind it waits.

export type Queued = {
  topic: string;
  partition: number;
  generation: number;
  offset: bigint;
  type: string | null;
  atMs: number;
  /** A dead letter that nobody redrives: it goes nowhere, and holds what lies behind it. */
  blocks: boolean;
};

/** What may be put to the machine now, in order, at most `limit`; all of it assuming that each creation succeeds. */
export function nextInOrder<Q extends Queued>(queued: readonly Q[], exists: boolean, limit: number): Q[] {
  const order: Q[] = [];
  let sources = [...Map.groupBy(queued, (each) => `${each.topic}/${each.partition}#${each.generation}`).values()].map(
    (events) => events.sort((a, b) => (a.offset < b.offset ? -1 : 1)),
  );
  if (!exists) {
    const creation = earliest(sources.flatMap((events) => events.find(({ type }) => type === 'USER_CREATED') ?? []));
    if (creation === undefined || creation.blocks) return [];
    order.push(creation);
    sources = sources.map((events) => events.filter((each) => each !== creation));
  }
  const at = sources.map(() => 0);
  while (order.length < limit) {
    const heads = sources.flatMap((source, i) => source[at[i] as number] ?? []);
    const head = earliest(heads);
    if (head === undefined || head.blocks) break;
    order.push(head);
    const source = sources.findIndex((source, i) => source[at[i] as number] === head);
    at[source] = (at[source] as number) + 1;
  }
  return order;
}

/** Lowest timestamp; of equals the lower topic, partition, generation, so that every process chooses alike. At most one of
 *  each source is compared. */
function earliest<Q extends Queued>(queued: readonly Q[]): Q | undefined {
  let first: Q | undefined;
  for (const each of queued) if (first === undefined || isBefore(each, first)) first = each;
  return first;
}
function isBefore(a: Queued, b: Queued): boolean {
  if (a.atMs !== b.atMs) return a.atMs < b.atMs;
  if (a.topic !== b.topic) return a.topic < b.topic;
  if (a.partition !== b.partition) return a.partition < b.partition;
  return a.generation < b.generation;
}
