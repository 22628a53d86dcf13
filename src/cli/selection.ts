// selection.ts — which dead letters a command is about: by number, by what they have in common, or all; as options, and in words.
import { type Command, InvalidArgumentError } from 'commander';
import type { Filter } from '../settle.ts';
import { limit, rowId } from './arguments.ts';
import { EXIT, Failure } from './command.ts';

export type Selection = {
  code?: string;
  type?: string;
  user?: string;
  customer?: string;
  topic?: string;
  /** In milliseconds. */
  olderThan?: number;
  all?: true;
  limit?: number;
};

export function addSelection(command: Command): Command {
  return command
    .argument('[id...]', 'the numbers that `list` shows', rowIds)
    .option('--code <code>', 'those of this code: schema, json, transition, …')
    .option('--type <event>', 'those of this type of event; none: of which it is not known')
    .option('--user <id>', 'those of this user')
    .option('--customer <id>', "those of this customer's users")
    .option('--topic <topic>', 'those from this topic')
    .option('--older-than <time>', 'those that failed last before: 90s, 30m, 2h, 3d', age)
    .option('--all', 'all that are not settled')
    .option('--limit <n>', 'so many at most, the oldest', limit);
}

/** Throws a Failure where nothing was said, or something and all. `now`: ms since 1970. `isNarrowed`: by an option beside these. */
export function filterOf(
  ids: readonly string[],
  { code, type, user, customer, topic, olderThan, all, limit }: Selection,
  { now = Date.now(), isNarrowed = false }: { now?: number; isNarrowed?: boolean } = {},
): Filter {
  const filter: Filter = {
    ...(ids.length === 0 ? {} : { ids: [...new Set(ids.map(Number))] }),
    ...(code === undefined ? {} : { code }),
    ...(type === undefined ? {} : { type }),
    ...(user === undefined ? {} : { user }),
    ...(customer === undefined ? {} : { customer }),
    ...(topic === undefined ? {} : { topic }),
    ...(olderThan === undefined ? {} : { before: new Date(now - olderThan).toISOString() }),
  };
  const chosen = Object.keys(filter).length > 0;
  if (!chosen && !all && !isNarrowed)
    throw new Failure(
      'Which dead letters? Say their numbers, or --code, --type, --user, --customer, --topic, --older-than, or --all.',
      EXIT.usage,
    );
  if (chosen && all) throw new Failure('--all is all of them: leave it out, or the rest.', EXIT.usage);
  return { ...filter, ...(limit === undefined ? {} : { limit }) };
}

/** The one number that was said, if nothing else was. */
export function onlyId({ ids, ...rest }: Filter): number | undefined {
  return ids?.length === 1 && Object.keys(rest).length === 0 ? ids[0] : undefined;
}

/** " where code = transition, user = auth0|42"; empty for all. `since`: what a time means here. */
export function whereOf({ ids, before, limit, ...equal }: Filter, since = 'failed last'): string {
  const parts = [
    ...(ids === undefined ? [] : [`number = ${ids.slice(0, 5).join(' ')}${ids.length > 5 ? ' …' : ''}`]),
    ...Object.entries(equal).map(([name, value]) => `${name} = ${value}`),
    ...(before === undefined ? [] : [`${since} before ${before.slice(0, 19).replace('T', ' ')}`]),
  ];
  return parts.length === 0 ? '' : ` where ${parts.join(', ')}`;
}

function rowIds(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), rowId(text)];
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "2h" in milliseconds. */
export function age(text: string): number {
  const [, number, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const ms = UNITS[unit];
  if (number === undefined || ms === undefined) throw new InvalidArgumentError('A time like 90s, 30m, 2h or 3d.');
  return Number(number) * ms;
}
