// backfill.ts — `backfill`: a folder of partition logs through the service's own pipeline into an empty database.
//
//    files checked ─▶ empty, or the same backfill ─▶ service on the files, to their end ─▶ what may go of what waits ─▶ sums
//
// Owns:          which database is taken, what is shown meanwhile, the sums.
// Does not own:  how a file is read (sources/file.ts), what becomes of a record (pipeline.ts), one word of Kafka.
//
// B1  It can be interrupted and killed: the positions say where the same command goes on. That it is the same folder is seen by
//     the last record that was handled, not by the folder's name alone.
// B2  No record is left out in silence: a last line without its end, which the source leaves alone, is refused before.
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import type { Service } from '../main.ts';
import { act, EXIT, examples, Failure, type Run } from './command.ts';
import { confirm } from './confirm.ts';
import type { At } from './connection.ts';
import { count, fields, type Output, plural, quoted } from './output.ts';
import { createProgress } from './progress.ts';
import { type Stopping, stopOnSignals } from './signals.ts';
import { lastPart } from './status.ts';

type Options = { yes?: true; actor?: string };

export function registerBackfill(program: Command): void {
  program
    .command('backfill')
    .description('reads a folder of <topic>/<partition>.ndjson into an empty database, as the service would; no Kafka')
    .argument('<folder>', 'the partition logs, as FILE_SOURCE takes them')
    .option('--yes', 'without being asked')
    .option('--actor <name>', 'who does it (default: the user of this system)')
    .addHelpText('after', examples('backfill ./export', '--env-file empty.env backfill ./export --yes'))
    .action(act(backfill));
}

async function backfill(run: Run, folder: string, { yes, actor }: Options): Promise<number> {
  const { out } = run;
  const files = await findFiles(folder, out);
  const config = settingsFor(folder, await run.settings(['database']));
  const [{ withDatabase, actorOf }, { alone }] = await Promise.all([import('./connection.ts'), import('./alone.ts')]);
  const { database, host, port } = config.database;
  return await withDatabase(config, (at) =>
    alone(config.database, { what: 'backfill', who: actorOf(actor) }, async () => {
      const goesOn = await assertMine(at, folder, files);
      const into = goesOn ? 'which was begun with them' : 'which is empty';
      const refused = await confirm(
        `Read ${plural(files.length, 'file')} of ${folder} into the database "${database}" at ${host}:${port}, ${into}?`,
        yes,
      );
      if (refused !== undefined) return refused;
      const stopping = stopOnSignals(out.say);
      const done = await readAll(run, { at, config, folder, files, stopping });
      if (done.what === 'interrupted') return interrupted(out, folder, stopping, done);
      const sums = await sumsOf(at);
      return show(out, folder, done, sums);
    }),
  );
}

/** As the service has them, but for: files for Kafka, no Redis (it may know customers of another database), no port that somebody
 *  else may have, and only what goes wrong in the log. */
function settingsFor(folder: string, config: Config): Config {
  return {
    ...config,
    file: { folder },
    redis: { url: undefined },
    http: { host: '127.0.0.1', port: 0, basePath: '/' },
    log: { ...config.log, level: 'warn', events: 'off' },
    warnings: [], // of settings that nothing here looks at
  };
}

// --- what is read, and into what -------------------------------------------------------------------------------------

type PartitionFile = { topic: string; partition: number; path: string };

/** Kafka's own names of topics, so that none is taken for a row of ours in `positions`. */
const FILE = /^((?!\.)[A-Za-z0-9._-]{1,249})\/(0|[1-9]\d{0,8})\.ndjson$/;

async function findFiles(folder: string, out: Output): Promise<PartitionFile[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch((error) => {
    throw new Failure(`${folder} can not be read (${error.code}).`, EXIT.usage);
  });
  const names = entries.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name));
  const files: PartitionFile[] = [];
  const others: string[] = [];
  for (const path of names.sort()) {
    const name = path.slice(join(folder, '/').length);
    const [, topic, partition] = FILE.exec(name) ?? [];
    if (topic === undefined) others.push(name);
    else files.push({ topic, partition: Number(partition), path });
  }
  if (files.length === 0)
    throw new Failure(`${folder} has no partition logs: they are called <topic>/<partition>.ndjson.`, EXIT.usage);
  const torn = await Promise.all(files.map(async (file) => ((await isTorn(file)) ? [file.path] : [])));
  const [first] = torn.flat();
  if (first !== undefined)
    throw new Failure(`${first} ends in the middle of a line: end it with a newline, or remove it.`, EXIT.usage);
  if (others.length > 0)
    out.say(`not read, because of its name: ${others.slice(0, 3).join(', ')}${others.length > 3 ? ' …' : ''}`);
  return files;
}

const NEWLINE = 0x0a;

/** Is there something behind the last newline? (B2) */
async function isTorn({ path }: PartitionFile): Promise<boolean> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size === 0) return false;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
    return buffer[0] !== NEWLINE;
  } finally {
    await file.close();
  }
}

type Tail = { topic: string; partition: number; offset: string; hash: string };

/** True: the same backfill has begun in this database. Throws a Failure where it holds anything else. */
async function assertMine({ sql, config }: At, folder: string, files: readonly PartitionFile[]): Promise<boolean> {
  const { database, migrate } = config.database;
  const [there] = await sql`select to_regclass('positions') is not null as yes`;
  if (!there?.yes) {
    if (migrate) return false;
    throw new Failure('The tables are missing: run `npx user-lifecycle db migrate`, or set DB_MIGRATE=true.');
  }
  const clusters = await sql<
    { id: string }[]
  >`select distinct cluster_id as id from positions where topic <> '#redrive'`;
  const [held] = await sql<{ rows: boolean }[]>`
    select exists (select from positions) or exists (select from users) or exists (select from customers)
        or exists (select from history) as rows`;
  if (!held?.rows) return false;
  const clusterId = `file:${basename(resolve(folder))}`; // as the file source calls it
  const other = clusters.find(({ id }) => id !== clusterId);
  if (other !== undefined || clusters.length === 0) {
    const has = other === undefined ? 'it has rows already' : `it has read ${other.id}`;
    throw new Failure(
      `The database "${database}" is not empty: ${has}. A backfill needs one of its own; DB_DATABASE says which.`,
    );
  }
  const tails = await sql<Tail[]>`
    select topic, partition, tail_offset as offset, tail_hash::text as hash from positions
     where topic <> '#redrive' and tail_offset is not null order by topic, partition`;
  for (const tail of tails) await assertTail(tail, folder, files);
  return true;
}

/** The last record that was handled stands where it stood (B1). */
async function assertTail(tail: Tail, folder: string, files: readonly PartitionFile[]): Promise<void> {
  const [{ tailHash }, { toRecord }] = await Promise.all([import('../save.ts'), import('../sources/file.ts')]);
  const file = files.find(({ topic, partition }) => topic === tail.topic && partition === tail.partition);
  const line = file && (await lineOf(file, Number(tail.offset)));
  if (line !== undefined && tailHash(toRecord(line, BigInt(tail.offset))) === tail.hash) return;
  throw new Failure(
    `This database was begun with another folder of that name: line ${Number(tail.offset) + 1} of ${tail.topic}/${tail.partition}.ndjson ` +
      `in ${folder} is not the one that was read.`,
  );
}

async function lineOf({ path }: PartitionFile, number: number): Promise<Buffer | undefined> {
  const file: FileHandle = await open(path);
  try {
    let line = 0;
    const parts: Buffer[] = [];
    for await (const chunk of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
        if (line === number) return Buffer.concat([...parts, chunk.subarray(start, end)]);
        line++;
        start = end + 1;
      }
      if (line === number) parts.push(chunk.subarray(start));
    }
    return undefined;
  } finally {
    await file.close();
  }
}

// --- the pipeline ----------------------------------------------------------------------------------------------------

type Reading = { at: At; config: Config; folder: string; files: readonly PartitionFile[]; stopping: Stopping };
type Read = { lines: number; total: number; before: number; seconds: number; halted: readonly string[] };
type Done = Read & { what: 'read' | 'interrupted' };

/** As the service's own: a backlog makes batches of about 1,250 records. */
const MOST_RECORDS_PER_SAVE = 5_000;
const LOOK_EVERY_MS = 200;

async function readAll({ out }: Run, { at, config, folder, files, stopping }: Reading): Promise<Done> {
  const [{ startService }, { createLog }, { fileSource }] = await Promise.all([
    import('../main.ts'),
    import('../log.ts'),
    import('../sources/file.ts'),
  ]);
  const log = createLog({ level: config.log.level, pretty: false }, {}, { write: (line) => tell(out, line) });
  const source = fileSource(
    {
      folder,
      topics: [...new Set(files.map(({ topic }) => topic))],
      follow: false,
      concurrentPartitions: config.kafka.concurrentPartitions,
      maxRecords: MOST_RECORDS_PER_SAVE,
      maxBytes: config.kafka.maxBytesPerPartition,
      pollMs: config.kafka.maxWaitMs,
    },
    log,
  );
  out.say(`counting the lines of ${plural(files.length, 'file')}`);
  let service: Service;
  try {
    service = await startService(config, log, stopping.signal, { source });
  } catch (error) {
    if (stopping.signal.aborted) return { what: 'interrupted', lines: 0, total: 0, before: 0, seconds: 0, halted: [] };
    throw await inWords(error, config);
  }
  const { done: before, total } = howFar(service);
  const startMs = performance.now();
  const progress = createProgress(total, out.json, before);
  const look = () => {
    const { done, ended, halted } = howFar(service);
    const text = `${plural(ended, 'file')} of ${count(files.length)} done${halted.length > 0 ? `, ${halted.length} halted` : ''}`;
    progress.show({ done, text, facts: { files: files.length, ended, halted: halted.length } });
  };
  let isOver = false;
  const over = Promise.race([service.ended, stopping.asked]).finally(() => {
    isOver = true;
  });
  while (!isOver) {
    look();
    await Promise.race([over, sleep(LOOK_EVERY_MS)]);
  }
  await over;
  const { halted } = howFar(service);
  await service.stop();
  const seconds = (performance.now() - startMs) / 1_000;
  progress.end();
  const lines = await readLines(at); // with the batches that were in flight
  return { what: stopping.signal.aborted ? 'interrupted' : 'read', lines, total, before, seconds, halted };
}

async function readLines({ sql }: At): Promise<number> {
  const [row] = await sql<{ lines: number }[]>`
    select coalesce(sum(next_offset), 0)::float8 as lines from positions where topic <> '#redrive'`;
  return row?.lines ?? 0;
}

/** From memory: the positions of all partitions, and where their files end. */
function howFar(service: Service): { done: number; total: number; ended: number; halted: string[] } {
  const { source, partitions } = service.facts();
  const ends = new Map(source.assigned.map((each) => [`${each.topic}/${each.partition}`, each.highWatermark ?? 0n]));
  let done = 0n;
  let ended = 0;
  const halted: string[] = [];
  for (const { topic, partition, next, state, reason } of partitions) {
    done += next ?? 0n;
    if (next !== null && next === ends.get(`${topic}/${partition}`)) ended++;
    if (state === 'halted') halted.push(`${topic}[${partition}]: ${reason}`);
  }
  let total = 0n;
  for (const end of ends.values()) total += end;
  return { done: Number(done), total: Number(total), ended, halted };
}

/** A line of the service's log, for a person. */
function tell(out: Output, line: string): void {
  if (out.json) return void process.stderr.write(line);
  const { level, msg, 'exception.message': message } = JSON.parse(line);
  out.say(`${level}: ${msg}${message === undefined ? '' : ` (${message})`}`);
}

/** A start that only a person can help: the service's own sentence. */
async function inWords(error: unknown, config: Config): Promise<unknown> {
  const { inWords } = await import('./connection.ts');
  const told = inWords(error, config.database);
  return told === error && error instanceof Error ? new Failure(error.message) : told;
}

// --- the end ---------------------------------------------------------------------------------------------------------

type Sums = { outcomes: Record<string, number>; users: Record<string, number>; dead: Record<string, number> };

/** First what a drain had no time for: whoever waits and may go, goes. A drain releases nothing of another user, so once is
 *  enough. */
async function sumsOf(at: At): Promise<Sums> {
  const [{ drainUsers }, { readTallies }] = await Promise.all([import('./draining.ts'), import('../positions.ts')]);
  await drainUsers(at, whoMayGo(at.sql));
  const tallies = await readTallies(at.db);
  return {
    outcomes: lastPart(tallies, 'event|'),
    users: lastPart(tallies, 'state|'),
    dead: lastPart(tallies, 'dead|'),
  };
}

const USERS_PER_QUERY = 500;

async function* whoMayGo(sql: At['sql']): AsyncGenerator<readonly string[]> {
  for (let after = ''; ; ) {
    const rows = await sql<{ userId: string }[]>`
      select distinct w.user_id as "userId"
        from waiting w left join users u on u.user_id = w.user_id left join customers c on c.customer_id = w.customer_id
       where w.user_id > ${after}
         and (u.user_id is not null or w.type = 'USER_CREATED' and (w.customer_id is null or c.customer_id is not null))
       order by w.user_id limit ${USERS_PER_QUERY}`;
    yield rows.map(({ userId }) => userId);
    if (rows.length < USERS_PER_QUERY) return;
    after = rows.at(-1)?.userId as string;
  }
}

function interrupted(out: Output, folder: string, stopping: Stopping, { lines, total }: Read): number {
  const how = total === 0 ? 'before the first line' : `at line ${count(lines)} of ${count(total)}`;
  out.say(`interrupted ${how}: nothing is lost or doubled, the same command goes on from there`);
  out.next(`backfill ${quoted(folder)}`);
  return stopping.exitCode() ?? EXIT.failed;
}

function show(out: Output, folder: string, read: Read, { outcomes, users, dead }: Sums): number {
  const { lines, total, before, seconds, halted } = read;
  const rate = Math.round((lines - before) / Math.max(seconds, 0.001));
  const { waiting = 0 } = outcomes;
  const list = (of: Record<string, number>) =>
    Object.entries(of)
      .map(([name, n]) => `${name} ${count(n)}`)
      .join('  ') || '-';
  out.one({ folder, lines, total, seconds, rate, outcomes, users, deadLetters: dead, waiting, halted }, () =>
    fields({
      lines: `${count(lines)} of ${count(total)}${before > 0 ? `, ${count(before)} of them before` : ''}`,
      took: `${seconds.toFixed(1)} s, ${count(rate)} a second`,
      outcomes: list(outcomes),
      users: list(users),
      'dead letters': list(dead),
      waiting: count(waiting),
    }),
  );
  for (const each of halted) out.say(`halted: ${each}`);
  if (halted.length > 0) {
    out.next('partitions list', `backfill ${quoted(folder)}`);
    return EXIT.failed;
  }
  if (Object.keys(dead).length > 0) out.next('dlq list --group');
  else if (waiting > 0) out.next('dlq list --waiting');
  else out.next('status', 'users show <id>');
  return Object.keys(dead).length > 0 ? EXIT.someDead : EXIT.done;
}
