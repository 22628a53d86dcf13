// run.ts — `npm run bench`: what an event costs, and how many go through in a second, on real servers on this machine.
//
// The log is filled before the service starts, so that the load's maker takes no part; each run reads it anew into a new
// database, as a new group. README.md: what was measured, beside what, and what was not.
//
// Options: --events 400000 --users 98000 --partitions 8 --runs 3 --seed 1
// To look closer: --profile <folder> (a .cpuprofile of each run: node bench/profile.ts <file>), --sql (what each statement
// costs), --node=<option> (of the service's Node), --keep-log <file>. Nothing is then written to results.json.
// --telemetry: instead of all that, what telemetry costs (telemetry.ts), --runs rounds; written to telemetry.json.
// --streams: instead of all that, what open pages of the console cost (streams.ts), 10 pairs a run; written to streams.json.
// --scale: instead of all that, what people at the console wait for beside --users users (scale.ts); written to scale.json.
// --operate: instead of all that, how fast operators' acts are (operate.ts); written to operate.json.
import { writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Servers, startServers } from '../dev/servers.ts';
import { withAdmin } from '../src/sources/kafka-client.ts';
import { type EvenOptions, evenLoad } from './even.ts';
import { type Latency, measureLatency } from './latency.ts';
import { measureOperating, inWords as rateInWords } from './operate.ts';
import { drawnInWords, measureScale, inWords as waitedInWords } from './scale.ts';
import { sendAll } from './send.ts';
import { QUIET } from './service.ts';
import { countStatements, statementsInWords } from './statements.ts';
import { compareStreams, streamsInWords } from './streams.ts';
import { compareTelemetry, inWords as telemetryInWords } from './telemetry.ts';
import { type Figures, measure } from './throughput.ts';

const RESULTS = fileURLToPath(new URL('results.json', import.meta.url));
const OPERATE = fileURLToPath(new URL('operate.json', import.meta.url));
const SCALE = fileURLToPath(new URL('scale.json', import.meta.url));
const STREAMS = fileURLToPath(new URL('streams.json', import.meta.url));
const PAIRS_A_RUN = 10; // of streams
const TELEMETRY = fileURLToPath(new URL('telemetry.json', import.meta.url));

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '400000' },
    users: { type: 'string', default: '98000' },
    partitions: { type: 'string', default: '8' },
    runs: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
    profile: { type: 'string' },
    sql: { type: 'boolean', default: false },
    node: { type: 'string', multiple: true, default: [] },
    'keep-log': { type: 'string' },
    telemetry: { type: 'boolean', default: false },
    operate: { type: 'boolean', default: false },
    streams: { type: 'boolean', default: false },
    scale: { type: 'boolean', default: false },
  },
});

await main();

async function main(): Promise<void> {
  const load: EvenOptions = {
    ...{ events: Number(values.events), users: Number(values.users) },
    ...{ partitions: Number(values.partitions), seed: Number(values.seed) },
  };
  const isCloser = values.sql || values.profile !== undefined || values.node.length > 0;
  const nodeOptions = [...values.node];
  if (values.profile !== undefined) nodeOptions.push('--cpu-prof', `--cpu-prof-dir=${resolve(values.profile)}`);

  const servers = await startServers({ require: true, way: 'native', say: (line) => console.error(line) });
  try {
    for (const line of servers.chosen) console.error(line);
    if (values.sql) await countStatements(servers);
    if (values.telemetry) return await measureTelemetry(servers, { ...load, sampleOneIn: 100 });
    if (values.operate) return await measureOperators(servers, load);
    if (values.streams) return await measureStreams(servers, load);
    if (values.scale) return await measureConsole(servers, load);
    const records = await fill(servers, load);
    const runs: Figures[] = [];
    for (let n = 1; n <= Number(values.runs); n++) {
      const keepLog = values['keep-log'];
      runs.push(await measure(servers, { name: `bench_${n}`, records, users: load.users, nodeOptions, keepLog }));
      console.error(inWords(`run ${n}`, runs.at(-1) as Figures));
    }
    const median = runs.toSorted((a, b) => a.eventsPerSecond - b.eventsPerSecond)[runs.length >> 1] as Figures;
    console.log(inWords('median', median));
    if (values.sql) console.log(await statementsInWords(servers, records * runs.length));
    if (isCloser) return;

    const latency = await measureLatency(servers, load.partitions);
    console.log(latencyInWords(latency));
    const result = { at: new Date().toISOString(), load, ...about(servers), median, latency, runs };
    await writeFile(RESULTS, `${JSON.stringify(result, null, 2)}\n`);
    console.error(`written to ${RESULTS}`);
  } finally {
    await servers.stop();
  }
}

async function measureTelemetry(servers: Servers, load: EvenOptions): Promise<void> {
  const records = await fill(servers, load);
  const options = { records, users: load.users, rounds: Number(values.runs), nodeOptions: values.node };
  const rounds = await compareTelemetry(servers, options, (line) => console.error(line));
  const text = telemetryInWords(rounds);
  for (const line of text) console.log(line);
  const result = { at: new Date().toISOString(), load, ...about(servers), beside: 'off', text, rounds };
  await writeFile(TELEMETRY, `${JSON.stringify(result, null, 2)}\n`);
}

async function measureOperators(servers: Servers, load: EvenOptions): Promise<void> {
  const records = await fill(servers, load);
  const operated = await measureOperating(servers, records, (line) => console.error(line));
  for (const rate of operated.rates) console.log(rateInWords(rate));
  const result = { at: new Date().toISOString(), load, ...about(servers), ...operated };
  await writeFile(OPERATE, `${JSON.stringify(result, null, 2)}\n`);
}

async function measureStreams(servers: Servers, { partitions }: EvenOptions): Promise<void> {
  await createTopic(servers, partitions);
  const options = { partitions, pairs: PAIRS_A_RUN * Number(values.runs), nodeOptions: values.node };
  const streamed = await compareStreams(servers, options, (line) => console.error(line));
  const text = streamsInWords(streamed);
  for (const line of text) console.log(line);
  const result = { at: new Date().toISOString(), partitions, ...about(servers), text, ...streamed };
  await writeFile(STREAMS, `${JSON.stringify(result, null, 2)}\n`);
}

async function measureConsole(servers: Servers, { users, ...load }: EvenOptions): Promise<void> {
  await createTopic(servers, load.partitions);
  const meanwhile = { ...load, users: Math.ceil(load.events / 4) };
  const scaled = await measureScale(servers, { users, load: meanwhile }, (line) => console.error(line));
  for (const waited of scaled.waited) console.log(waitedInWords(waited));
  if (scaled.drawn !== undefined) console.log(drawnInWords(scaled.drawn));
  console.log(`${scaled.users} users, ${scaled.steps} steps, ${scaled.eventsPerSecond} events/s meanwhile`);
  const result = { at: new Date().toISOString(), load: meanwhile, ...about(servers), ...scaled };
  await writeFile(SCALE, `${JSON.stringify(result, null, 2)}\n`);
}

async function createTopic({ settings }: Servers, numPartitions: number): Promise<void> {
  const connection = { brokers: [settings.KAFKA_BROKERS as string], clientId: 'bench' };
  await withAdmin(connection, QUIET, (admin) =>
    admin.createTopics({ topics: [{ topic: 'user-events', numPartitions }] }),
  );
}

/** Puts the load into `user-events`. Returns how many records that are. */
async function fill(servers: Servers, load: EvenOptions): Promise<number> {
  await createTopic(servers, load.partitions);
  const records = await sendAll(servers, evenLoad(load));
  const { events, users, partitions, seed } = load;
  console.error(
    `${records} records sent: ${events} events of ${users} distinct users in ${partitions} partitions, and their customers (seed ${seed})`,
  );
  return records;
}

function about({ postgres, kafka, redis }: Servers) {
  return {
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, memoryGb: Math.round(totalmem() / 2 ** 30) },
    versions: {
      ...{ node: process.version, postgres: postgres.version, kafka: kafka?.version, redis: redis?.version },
    },
  };
}

function inWords(name: string, figures: Figures): string {
  const { eventsPerSecond, seconds, cpu, cores, walBytesPerEvent, eventsPerSave, saves, serviceMb } = figures;
  const us = (value: number | null) => (value === null ? '-' : value.toFixed(1));
  return (
    `${name}: ${Math.round(eventsPerSecond).toLocaleString('en-US')} events/s (${seconds.toFixed(1)} s, ` +
    `${cores?.toFixed(2) ?? '-'} cores used) · CPU µs/event: ${us(cpu.all)} = service ${us(cpu.service)} + ` +
    `postgres ${us(cpu.postgres)} + kafka ${us(cpu.kafka)} + redis ${us(cpu.redis)} · ` +
    `WAL ${Math.round(walBytesPerEvent)} B/event · ${Math.round(eventsPerSave)} events/save (${saves} saves) · ` +
    `service ${serviceMb?.peak ?? '-'} MB at most`
  );
}

function latencyInWords({ perSecond, events, p50Ms, p99Ms, maxMs }: Latency): string {
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  return `sent to committed, ${events} events at ${perSecond}/s: p50 ${ms(p50Ms)}, p99 ${ms(p99Ms)}, max ${ms(maxMs)}`;
}
