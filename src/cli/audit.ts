// audit.ts — `audit`: who did what to which scope, with which result, newest first.
import type { Command } from 'commander';
import type { Verb } from '../audit.ts';
import type { AuditListed } from '../queries/audit.ts';
import { limit, oneOf } from './arguments.ts';
import { act, examples } from './command.ts';
import type { At } from './connection.ts';
import { time } from './output.ts';

/** Of src/audit.ts, which is loaded by the action only. */
export const VERBS = [
  ...(['hold', 'release', 'resume', 'accept-loss', 'set-position'] as const),
  ...(['redrive', 'discard', 'edit', 'export', 'reveal'] as const),
  ...(['migrate', 'rebuild', 'cancel'] as const),
] satisfies readonly Verb[];

type Row = Omit<AuditListed, 'id' | 'jobId'> & { id: string; jobId: string | null };
type Options = { who?: string; verb?: string; limit: number };

export function registerAudit(program: Command): void {
  program
    .command('audit')
    .description('what operators did, newest first')
    .option('--who <name>', 'only what this person did')
    .option('--verb <verb>', VERBS.join(', '), oneOf(VERBS))
    .option('--limit <n>', 'how many at most', limit, 50)
    .addHelpText('after', examples('audit', 'audit --verb discard --who ann', 'audit --json --limit 1000'))
    .action(
      act(async ({ out, database }, options: Options) => {
        const rows = await database(({ db }) => read(db, options));
        out.many(rows, COLUMNS, 'Nobody has done anything yet.');
        if (rows.length === options.limit) out.say(`The newest ${rows.length}; --limit shows more.`);
        const job = rows.find(({ jobId }) => jobId !== null);
        if (job !== undefined) out.next(`jobs show ${job.jobId}`);
      }),
    );
}

async function read(db: At['db'], { limit, ...filter }: Options): Promise<Row[]> {
  const { readAudit } = await import('../queries/audit.ts');
  const rows = await readAudit(db, filter, { limit });
  return rows.map((row) => ({ ...row, id: String(row.id), jobId: row.jobId === null ? null : String(row.jobId) }));
}

const COLUMNS = [
  { head: 'AT', of: (row: Row) => time(row.at) },
  { head: 'WHO', of: (row: Row) => inOneLine(row.who) },
  { head: 'VERB', of: ({ verb, dryRun }: Row) => (dryRun ? `${verb}, dry run` : verb) },
  { head: 'SCOPE', of: ({ scope }: Row) => inWords(scope) || 'all' },
  { head: 'RESULT', of: ({ result }: Row) => resultInWords(result) },
  { head: 'JOB', of: (row: Row) => row.jobId },
];

/** "done 21, outcomes (applied 21)": what went as it should needs no word. */
function resultInWords(result: Row['result']): string {
  if (result === null) return 'not ended';
  const { done, failed, state, ...rest } = result;
  return inWords({ done, failed: failed === 0 ? null : failed, state: state === 'done' ? null : state, ...rest });
}

const SHOWN_OF_A_LIST = 5;

/** What stands in a scope, options or a result, for people: "code transition, force", "ids 812 813 … 40 in all". */
export function inWords(value: Readonly<Record<string, unknown>>): string {
  return Object.entries(value)
    .flatMap(([name, inner]) => {
      const text = wordsOf(inner);
      return text === undefined ? [] : [text === '' ? name : `${name} ${text}`];
    })
    .join(', ');
}
/** Undefined: not worth a word. */
function wordsOf(value: unknown): string | undefined {
  if (value === null || value === undefined || value === false) return undefined;
  if (value === true) return '';
  if (Array.isArray(value)) {
    const shown = value.slice(0, SHOWN_OF_A_LIST).map(String).join(' ');
    return value.length > SHOWN_OF_A_LIST ? `${shown} … ${value.length} in all` : shown || undefined;
  }
  if (typeof value === 'object') {
    const inner = inWords(value as Record<string, unknown>);
    return inner === '' ? undefined : `(${inner})`;
  }
  return inOneLine(String(value));
}

/** What somebody typed must not look like a row of its own. */
export function inOneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ');
}
