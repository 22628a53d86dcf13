// file.ts — the file source: partitions kept as files, read and written without a broker. Same port as Kafka.
//
// A partition is <folder>/<topic>/<partition>.ndjson. A line is a record, its offset the number of the line, from 0:
//   {"key":"c-1","value":"{\"userId\":…}","headers":[["ce_type","USER_CREATED"]],"timestamp":1767225600000}
// Key, value and header values are text, null, or {"base64":"/wA="} where the bytes are not UTF-8. Headers are a list of
// pairs, so order and repeats stay; key, headers and timestamp may be left out.
//
// Owns:          the format, both ways; finding files that appear; what of a file is complete.
// Does not own:  positions (mailbox). Nothing is committed: a file has no group, one process reads a folder.
//
// F1  A line that is not such an object loses nothing: it is a record without key whose value is the line as it stands.
// F2  A last line without its newline is still being written, and is left alone.
// F3  Files only grow. One that got shorter is counted anew; the mailbox finds that out at the next assignment.
import { isUtf8 } from 'node:buffer';
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Header, SourceRecord } from '../events.ts';
import type { Mailbox, Source, SourceFacts, Taken, TopicPartition } from './source.ts';

export type FileSettings = {
  folder: string;
  /** Folders of other names are not read. Default: all. */
  topics?: readonly string[];
  /** true: waits for lines and files to come. false: `ended` resolves at the end of all files. */
  follow: boolean;
  concurrentPartitions: number;
  /** A batch has at most this many records and, unless one line is longer, this many bytes. */
  maxRecords: number;
  maxBytes: number;
  /** How often growth is looked for. */
  pollMs: number;
};
type Log = Record<'warn', (fields: object, text: string) => void>;

/** As in kafka.ts: how long `stop` lets batches in flight run. */
const FINISH_MS = 8_000;

export function fileSource(settings: FileSettings, log: Log): Source {
  const reader = new Reader(settings, log);
  return {
    start: (mailbox) => reader.start(mailbox),
    stop: () => reader.stop(),
    seek: (partition, at) => reader.seek(partition, at),
    pause: (partition) => reader.pause(partition),
    facts: () => reader.facts(),
    logOf: (partition) => readFileLog(settings.folder, partition),
    ended: reader.ended.promise,
  };
}

type Held = TopicPartition & {
  log: LogFile;
  mode: 'settling' | 'running' | 'halted';
  next: bigint;
  /** Raised by every seek: a batch that was handed over before may not move `next` any more. */
  seeks: number;
  inFlight: AbortController | null;
};

class Reader {
  readonly ended = Promise.withResolvers<void>();
  readonly #settings: FileSettings;
  readonly #log: Log;
  readonly #held = new Map<string, Held>();
  readonly #stopping = new AbortController();
  #mailbox: Mailbox | null = null;
  #work: Promise<unknown> = Promise.resolve();
  #change = Promise.withResolvers<void>();
  #lastProgressAtMs = Date.now();
  #lastFetchAtMs: number | null = null;

  constructor(settings: FileSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
  }

  async start(mailbox: Mailbox): Promise<void> {
    this.#mailbox = mailbox;
    await this.#look();
    const workers = Array.from({ length: this.#settings.concurrentPartitions }, () => this.#takeBatches());
    this.#work = Promise.all(this.#settings.follow ? [...workers, this.#watch()] : workers);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    const giveUp = setTimeout(() => {
      for (const { inFlight } of this.#held.values()) inFlight?.abort();
    }, FINISH_MS);
    await this.#work;
    clearTimeout(giveUp);
    const lost = [...this.#held.values()];
    this.#held.clear();
    await Promise.all(lost.map(({ log }) => log.close()));
    if (lost.length > 0) this.#mailbox?.revoked(lost.map(({ topic, partition }) => ({ topic, partition })));
  }

  /** Looks for new files and growth of the known ones. */
  async #look(): Promise<void> {
    const found = await findPartitions(this.#settings.folder, this.#settings.topics);
    const fresh = found.filter((partition) => !this.#held.has(keyOf(partition)));
    const held = await Promise.all(fresh.map((one) => openPartition(this.#settings.folder, one)));
    for (const one of held) this.#held.set(keyOf(one), one);
    const ends = await Promise.all([...this.#held.values()].map(({ log }) => log.measure()));
    this.#lastFetchAtMs = Date.now();
    if (held.length > 0) await this.#settle(held);
    if (ends.some((hasGrown) => hasGrown)) this.#wake();
  }

  async #watch(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await sleep(this.#settings.pollMs, this.#stopping.signal);
      this.#lastProgressAtMs = Date.now();
      await this.#look().catch((error) => this.#log.warn({ error: error.message }, 'the folder could not be read'));
    }
  }

  async #settle(partitions: readonly Held[]): Promise<void> {
    const clusterId = clusterIdOf(this.#settings.folder);
    const assigned = partitions.map(({ topic, partition, log }) => {
      return { topic, partition, clusterId, logStart: 0n, logEnd: log.end, committed: null };
    });
    const { signal } = this.#stopping;
    const starts = await (this.#mailbox as Mailbox).assigned(assigned, signal).catch((error) => {
      if (signal.aborted) return [];
      throw error;
    });
    for (const { topic, partition, at, halted } of starts) {
      const held = this.#held.get(keyOf({ topic, partition }));
      if (held === undefined) continue;
      held.next = at;
      held.mode = halted ? 'halted' : 'running';
    }
    this.#wake();
  }

  /** One of several workers: hands over batches of whichever partition has data and no batch in flight. */
  async #takeBatches(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const held = this.#choose();
      if (held === undefined) {
        this.#noteEnd();
        await this.#change.promise;
      } else {
        await this.#handOver(held);
        this.#wake();
      }
    }
  }

  #choose(): Held | undefined {
    for (const [key, held] of this.#held) {
      if (held.mode !== 'running' || held.inFlight !== null || held.next >= held.log.end) continue;
      // To the end of the line, so that every partition has its turn.
      this.#held.delete(key);
      this.#held.set(key, held);
      return held;
    }
    return undefined;
  }

  #noteEnd(): void {
    const isBusy = ({ mode, inFlight }: Held) => mode === 'settling' || inFlight !== null;
    if (!this.#settings.follow && ![...this.#held.values()].some(isBusy)) this.ended.resolve();
  }

  async #handOver(held: Held): Promise<void> {
    const abort = new AbortController();
    held.inFlight = abort;
    const { seeks, next: from } = held;
    try {
      const lines = await held.log.read(from, this.#settings.maxRecords, this.#settings.maxBytes);
      this.#lastFetchAtMs = Date.now();
      if (lines.length === 0) return;
      const records = lines.map((line, i) => toRecord(line, from + BigInt(i)));
      const { topic, partition } = held;
      const batch = { topic, partition, fetchedOffset: from, skippedFrom: from, records, leaderEpoch: null };
      const lastOffset = from + BigInt(lines.length) - 1n;
      const taken = await (this.#mailbox as Mailbox).take(
        { ...batch, lastOffset, highWatermark: held.log.end },
        abort.signal,
      );
      this.#lastProgressAtMs = Date.now();
      if (held.seeks === seeks) await this.#obey(held, taken);
    } catch (error) {
      const { topic, partition } = held;
      this.#log.warn({ topic, partition, error: (error as Error).message }, 'a batch failed and is read again');
      await sleep(this.#settings.pollMs, this.#stopping.signal);
    } finally {
      held.inFlight = null;
    }
  }

  async #obey(held: Held, taken: Taken): Promise<void> {
    if (taken.what === 'saved' || taken.what === 'seek') held.next = taken.next;
    else if (taken.what === 'halted') held.mode = 'halted';
    else if (taken.what === 'wait') await sleep(taken.ms, this.#stopping.signal);
    else if (taken.what === 'rejoin') {
      held.mode = 'settling';
      await this.#settle([held]);
    }
  }

  seek(partition: TopicPartition, at: bigint): void {
    const held = this.#held.get(keyOf(partition));
    if (held === undefined || held.mode === 'settling') return;
    held.next = at;
    held.seeks++;
    held.mode = 'running';
    this.#wake();
  }

  pause(partition: TopicPartition): void {
    const held = this.#held.get(keyOf(partition));
    if (held !== undefined && held.mode !== 'settling') held.mode = 'halted';
  }

  facts(): SourceFacts {
    return {
      joined: this.#mailbox !== null,
      stopping: this.#stopping.signal.aborted,
      crashed: null,
      dead: null,
      lastProgressAtMs: this.#lastProgressAtMs,
      lastFetchAtMs: this.#lastFetchAtMs,
      // There is no group and no broker.
      ...{ lastHeartbeatAtMs: null, lastCommitAtMs: null, lastAnswerAtMs: null, rebalances: 0 },
      member: null,
      assigned: [...this.#held.values()].map(({ topic, partition, log, mode }) => {
        const halted = mode === 'halted';
        return { topic, partition, highWatermark: log.end, paused: halted, halted };
      }),
    };
  }

  #wake(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers<void>();
  }
}

async function findPartitions(folder: string, topics: readonly string[] | undefined): Promise<TopicPartition[]> {
  const isTopic = (name: string) => !name.startsWith('.') && (topics === undefined || topics.includes(name));
  const folders = (await list(folder)).filter((entry) => entry.isDirectory() && isTopic(entry.name));
  const found = await Promise.all(
    folders.map(async ({ name: topic }) => {
      const files = (await list(join(folder, topic))).map(({ name }) => /^(0|[1-9]\d{0,8})\.ndjson$/.exec(name)?.[1]);
      return files.filter((partition) => partition !== undefined).map((p) => ({ topic, partition: Number(p) }));
    }),
  );
  return found.flat().sort((a, b) => a.topic.localeCompare(b.topic, 'en') || a.partition - b.partition);
}

/** A folder that is not there yet has nothing in it. */
async function list(folder: string) {
  return readdir(folder, { withFileTypes: true }).catch((error) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}

/** Folders stand in for clusters. */
function clusterIdOf(folder: string): string {
  return `file:${basename(resolve(folder))}`;
}

/** Begin and end of a partition, counted anew, whoever reads it. Undefined: there is no such file. */
export async function readFileLog(folder: string, { topic, partition }: TopicPartition) {
  const file = await open(fileOf(folder, topic, partition)).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  const log = new LogFile(file);
  try {
    await log.measure();
    return { clusterId: clusterIdOf(folder), logStart: 0n, logEnd: log.end };
  } finally {
    await log.close();
  }
}

async function openPartition(folder: string, { topic, partition }: TopicPartition): Promise<Held> {
  const log = new LogFile(await open(fileOf(folder, topic, partition)));
  return { topic, partition, log, mode: 'settling', next: 0n, seeks: 0, inFlight: null };
}

const NEWLINE = 0x0a;
const CHUNK = 512 * 1024;

/** The complete lines of a growing file, by number. */
class LogFile {
  /** How many complete lines there are. */
  end = 0n;
  readonly #file: FileHandle;
  /** Where some lines begin: one entry per 256 KiB, so that a seek reads little in vain. */
  #marks: { line: bigint; byte: number }[] = [{ line: 0n, byte: 0 }];
  /** Where the last read ended: the next one begins there, as a rule. */
  #cursor = { line: 0n, byte: 0 };
  /** How far `end` has counted, in bytes; always behind a newline. */
  #counted = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** Counts lines that were added. True: there are some. */
  async measure(): Promise<boolean> {
    const { size } = await this.#file.stat();
    if (size < this.#counted) {
      this.end = 0n;
      this.#counted = 0;
      this.#marks = [{ line: 0n, byte: 0 }];
      this.#cursor = { line: 0n, byte: 0 };
    }
    const before = this.end;
    for (let byte = this.#counted; byte < size; ) {
      const chunk = await this.#bytes(byte, Math.min(CHUNK, size - byte));
      if (chunk.length === 0) break;
      let start = 0;
      for (let i = chunk.indexOf(NEWLINE); i !== -1; i = chunk.indexOf(NEWLINE, start)) {
        this.end++;
        start = i + 1;
      }
      if (start > 0) {
        this.#counted = byte + start;
        const isFar = this.#counted - (this.#marks.at(-1)?.byte ?? 0) >= CHUNK / 2;
        if (isFar) this.#marks.push({ line: this.end, byte: this.#counted });
      }
      byte += chunk.length;
    }
    return this.end > before;
  }

  /** The complete lines from number `from`, without their newlines: at least one, unless there is none. */
  async read(from: bigint, maxLines: number, maxBytes: number): Promise<Buffer[]> {
    const mark = this.#marks.findLast((mark) => mark.line <= from) ?? { line: 0n, byte: 0 };
    let { line, byte } = this.#cursor.line === from ? this.#cursor : mark;
    const lines: Buffer[] = [];
    for (let length = maxBytes; lines.length === 0 && line < this.end; ) {
      const chunk = await this.#bytes(byte, Math.min(length, this.#counted - byte));
      if (chunk.length === 0) break; // it got shorter (F3)
      let start = 0;
      for (let i = chunk.indexOf(NEWLINE); i !== -1 && lines.length < maxLines; i = chunk.indexOf(NEWLINE, start)) {
        if (line >= from) lines.push(chunk.subarray(start, i));
        line++;
        start = i + 1;
      }
      byte += start;
      // A line longer than the chunk: a larger chunk.
      if (start === 0) length *= 2;
    }
    this.#cursor = { line, byte };
    return lines;
  }

  async #bytes(position: number, length: number): Promise<Buffer> {
    const { buffer, bytesRead } = await this.#file.read(Buffer.allocUnsafe(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  }
}

export type LineRecord = {
  key: Buffer | string | null;
  value: Buffer | string | null;
  headers?: readonly (readonly [name: string, value: Buffer | string | null])[];
  timestampMs?: number;
};

/** Appends records to a partition, which is made where missing. One writer per partition at a time. */
export async function appendRecords(
  folder: string,
  topic: string,
  partition: number,
  records: readonly LineRecord[],
): Promise<void> {
  const path = fileOf(folder, topic, partition);
  await mkdir(join(folder, topic), { recursive: true });
  const file = await open(path, 'a+');
  try {
    const { size } = await file.stat();
    const last = await file.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1));
    // Half a line is left of a writer that was killed: it ends here, as a line of its own (F1).
    const isTorn = size > 0 && last.buffer[0] !== NEWLINE;
    await file.appendFile((isTorn ? '\n' : '') + records.map((record) => `${toLine(record)}\n`).join(''));
  } finally {
    await file.close();
  }
}

export function toLine({ key, value, headers = [], timestampMs }: LineRecord): string {
  return JSON.stringify({
    key: toJson(key),
    value: toJson(value),
    headers: headers.map(([name, bytes]) => [name, toJson(bytes)]),
    timestamp: timestampMs,
  });
}

function toJson(bytes: Buffer | string | null): string | null | { base64: string } {
  if (bytes === null || typeof bytes === 'string') return bytes;
  return isUtf8(bytes) ? bytes.toString() : { base64: bytes.toString('base64') };
}

/** The record of a line (F1). Key, value and headers are copies or new. Never throws. */
export function toRecord(line: Buffer, offset: bigint): SourceRecord {
  const asItStands = { offset, timestampMs: -1, key: null, value: line, headers: [] };
  if (!isUtf8(line)) return asItStands;
  try {
    const { key = null, value, headers = [], timestamp = -1, ...rest } = JSON.parse(line.toString());
    if (Object.keys(rest).length > 0 || !Number.isSafeInteger(timestamp)) return asItStands;
    return { offset, timestampMs: timestamp, key: fromJson(key), value: fromJson(value), headers: toPairs(headers) };
  } catch {
    return asItStands;
  }
}

function fromJson(value: unknown): Buffer | null {
  if (value === null) return null;
  if (typeof value === 'string' && value.isWellFormed()) return Buffer.from(value);
  const base64 = (value as { base64?: unknown }).base64;
  const bytes = typeof base64 === 'string' ? Buffer.from(base64, 'base64') : null;
  if (bytes === null || bytes.toString('base64') !== base64) throw new TypeError('neither text nor base64');
  return bytes;
}

function toPairs(headers: unknown): Header[] {
  if (!Array.isArray(headers)) throw new TypeError('headers are not a list');
  return headers.map((pair) => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== 'string') throw new TypeError('not a pair');
    return [pair[0], fromJson(pair[1])];
  });
}

const fileOf = (folder: string, topic: string, partition: number) => join(folder, topic, `${partition}.ndjson`);
const keyOf = ({ topic, partition }: TopicPartition) => `${topic}/${partition}`;

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const end = () => resolve();
  signal.addEventListener('abort', end, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  });
}
