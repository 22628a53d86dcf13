// dead-letters.ts — `dead-letters list|show`: records that could not be used. What is done about them: settle.ts.
import type { Command } from 'commander';
import type { ActShown, DeadLetterGroup, DeadLetterListed, DeadLetterWhole } from '../queries/dead-letters.ts';
import { DEAD_LETTER_STATUSES } from '../statuses.ts';
import { limit, oneOf, rowId } from './arguments.ts';
import { inOneLine } from './audit.ts';
import { act, examples, Failure } from './command.ts';
import type { At } from './connection.ts';
import { registerExport } from './export.ts';
import { clean, fields, place, plural, quoted, time } from './output.ts';
import { registerSettle } from './settle.ts';
import { listWaiting } from './waiting.ts';

export function registerDeadLetters(program: Command): void {
  const group = program
    .command('dead-letters')
    .alias('dlq')
    .description('records that could not be used: list, show, redrive, discard, export')
    .addHelpText(
      'after',
      examples('dlq list --group', 'dlq show 812', 'dlq redrive 812', 'dlq redrive --code transition'),
    );
  registerList(group);
  registerShow(group);
  registerSettle(group);
  registerExport(group);
}

type ListOptions = {
  code?: string;
  user?: string;
  type?: string;
  topic?: string;
  status?: string;
  limit: number;
  group?: true;
  waiting?: true;
};

function registerList(group: Command): void {
  group
    .command('list')
    .description('the open ones, newest first')
    .option('--code <code>', 'only this code: schema, json, transition, …')
    .option('--type <event>', 'only this type of event; none: of which it is not known')
    .option('--user <id>', 'only this user')
    .option('--topic <topic>', 'only from this topic')
    .option(
      '--status <status>',
      `${DEAD_LETTER_STATUSES.join(', ')} or all (default: open and redriving)`,
      oneOf([...DEAD_LETTER_STATUSES, 'all']),
    )
    .option('--limit <n>', 'how many at most', limit, 50)
    .option('--group', 'one line for each code and type')
    .option('--waiting', 'the events that wait instead: for a customer, a user, behind a dead letter, on hold')
    .addHelpText('after', examples('dlq list', 'dlq list --group', "dlq list --waiting --user 'auth0|42'"))
    .action(
      act(async ({ out, database }, options: ListOptions) => {
        if (options.waiting) return await database((at) => listWaiting(at, out, options));
        if (options.group) {
          const { items: groups, complete } = await database(async ({ db }) => {
            const { groupDeadLetters } = await import('../queries/dead-letters.ts');
            return await groupDeadLetters(db, options);
          });
          out.many(groups, GROUP_COLUMNS, 'No dead letters.');
          if (!complete) out.say('Only the newest were counted: there are more.');
          if (groups[0] !== undefined) out.next(`dlq list --code ${groups[0].code}`);
          return;
        }
        const rows = await database(async ({ db }) => {
          const { findDeadLetters } = await import('../queries/dead-letters.ts');
          const found = await findDeadLetters(db, options, { limit: options.limit });
          return found.map((row) => ({ ...row, id: String(row.id) }));
        });
        out.many(rows, LIST_COLUMNS, 'No dead letters.');
        if (rows.length === options.limit) out.say(`The newest ${rows.length}; --limit shows more.`);
        if (rows[0] !== undefined) out.next(`dlq show ${rows[0].id}`);
      }),
    );
}

type Row = Omit<DeadLetterListed, 'id'> & { id: string };
const LIST_COLUMNS = [
  { head: 'ID', of: (row: Row) => row.id },
  { head: 'CODE', of: (row: Row) => row.code },
  { head: 'EVENT', of: (row: Row) => row.type },
  { head: 'USER', of: (row: Row) => row.userId },
  { head: 'AT', of: place },
  { head: 'STATUS', of: (row: Row) => (row.blocks && row.status === 'open' ? 'open, blocks' : row.status) },
  { head: 'TRIED', of: (row: Row) => row.attempts, right: true as const },
  { head: 'LAST', of: (row: Row) => time(row.lastFailedAt) },
  { head: 'WHY', of: (row: Row) => inOneLine(row.message).slice(0, 60) },
];

const GROUP_COLUMNS = [
  { head: 'CODE', of: (row: DeadLetterGroup) => row.code },
  { head: 'EVENT', of: (row: DeadLetterGroup) => row.type },
  { head: 'COUNT', of: (row: DeadLetterGroup) => row.count, right: true as const },
  { head: 'FIRST', of: (row: DeadLetterGroup) => time(row.firstFailedAt) },
  { head: 'LAST', of: (row: DeadLetterGroup) => time(row.lastFailedAt) },
  {
    head: 'TRIED',
    of: (row: DeadLetterGroup) =>
      row.leastAttempts === row.mostAttempts ? row.mostAttempts : `${row.leastAttempts}-${row.mostAttempts}`,
    right: true as const,
  },
];

function registerShow(group: Command): void {
  group
    .command('show')
    .description('one dead letter, all that is known of it')
    .argument('<id>', 'the number that `list` shows', rowId)
    .option('--payload', 'its headers and value too: they may hold personal data')
    .addHelpText('after', examples('dlq show 812', 'dlq show 812 --payload'))
    .action(
      act(async ({ out, database }, id: string, { payload }: { payload?: true }) => {
        const { row, edit } = await database(({ db }) => lookAt(db, Number(id)));
        if (row === undefined)
          throw new Failure(`There is no dead letter ${id}. \`dlq list --status all\` shows them.`);
        const { key, value, editedValue, headers, ...facts } = row;
        const rest = { ...facts, id, behind: String(row.behind), edited: edit ?? null };
        const raw = {
          key: readable(key),
          value: readable(value),
          ...(editedValue === null ? {} : { editedValue: readable(editedValue) }),
          headers: headers.map(([name, content]) => [name, readable(content)]),
        };
        out.one(payload ? { ...rest, ...raw } : rest, () =>
          [
            fields({
              'dead letter': `${row.id}  ${row.status}`,
              code: row.class === null ? row.code : `${row.code} (${row.class})`,
              why: row.message,
              stage: row.stage,
              at: `${place(row)}${row.generation === 0 ? '' : ` generation ${row.generation}`}`,
              event: row.type,
              dialect: row.dialect,
              'event id': row.eventId,
              user: row.userId,
              blocks: row.blocks ? `the user's later events: ${row.behind} wait` : 'nothing',
              tried: plural(row.attempts, 'time'),
              first: time(row.firstFailedAt),
              last: time(row.lastFailedAt),
              'by whom': row.byWhom,
              settled: time(row.settledAt),
              note: row.note,
              edited: editedBy(row, edit),
              forced: row.forced ? 'it is put through even where the user has seen a newer event' : null,
              service: `${row.serviceVersion}, machine ${row.machineVersion}, ${row.instance}`,
              trace: row.traceId,
              record: `${row.size} bytes of key and value, ${headers.length} headers, sha256 ${row.sha256}`,
            }),
            ...(payload ? ['', ...payloadLines(raw)] : []),
          ].join('\n'),
        );
        if (row.status === 'open') out.next(`dlq redrive ${id}`, `dlq discard ${id} --reason '…'`);
        else if (row.userId !== null) out.next(`users history ${quoted(row.userId)}`);
      }),
    );
}

async function lookAt(db: At['db'], id: number) {
  const { actsOn, readDeadLetter } = await import('../queries/dead-letters.ts');
  const row = await readDeadLetter(db, id);
  const isEdited = row !== undefined && row.editedValue !== null;
  const edit = isEdited ? (await actsOn(db, id)).find(({ verb }) => verb === 'edit') : undefined;
  return { row, edit };
}

/** "by ann, 2025-01-31 09:30:00 (wrong currency), 214 bytes" */
function editedBy({ editedValue }: DeadLetterWhole, edit: ActShown | undefined): string | null {
  if (editedValue === null) return null;
  const by = edit === undefined ? [] : [`by ${edit.who}, ${time(edit.at)} (${edit.reason ?? 'no reason given'})`];
  return [...by, `${editedValue.length} bytes; the original stays`].join(', ');
}

function payloadLines({
  key,
  value,
  editedValue,
  headers,
}: {
  key: string | null;
  value: string | null;
  editedValue?: string | null;
  headers: unknown[][];
}): string[] {
  return [
    `key     ${key ?? '(none)'}`,
    ...headers.map(([name, content]) => `header  ${name}: ${content ?? '(none)'}`),
    'value',
    value === null ? '(none)' : clean(value),
    ...(typeof editedValue === 'string' ? ['edited value', clean(editedValue)] : []),
  ];
}

/** As text where it is text; else base64. */
function readable(bytes: Buffer | null): string | null {
  if (bytes === null) return null;
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) ? text : `base64:${bytes.toString('base64')}`;
}
