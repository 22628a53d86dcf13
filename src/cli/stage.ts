// stage.ts — what the demo plays on: real servers, and the service as a process of its own.
//
// Owns:          the service's process, its log, and the file with the settings that others may use meanwhile.
// Does not own:  the servers (dev/servers.ts), what is played (demo.ts).
//
// T1  The service is kept by a keeper (dev/keeper.ts): it never outlives this process, whatever ends that, and ctrl-C in a
//     terminal does not reach it. It is stopped by SIGTERM, in order, while its servers still answer.
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort, isListening, openKeeper, plainEnv, type Running, type Settings } from '../../dev/child.ts';
import { isAlive, makeRunFolder } from '../../dev/runs.ts';
import { EXIT, Failure } from './command.ts';
import type { Stopping } from './signals.ts';
import { startOrStop, writeEnv } from './stack.ts';

export type Stage = {
  /** Of the servers; FILE_SOURCE where there is no Kafka. */
  settings: Settings;
  url: string;
  log: string;
  envFile: string;
  /** Throws, with its last words, once the service has ended by itself. */
  assertAlive(): void;
  /** The service in order, then the servers. */
  close(): Promise<void>;
};

/** A stage where the service is ready to work; undefined when a signal came first. */
export async function setStage(
  stopping: Stopping,
  options: { files: boolean; stays: boolean },
  say: (text: string) => void,
): Promise<Stage | undefined> {
  const servers = await startOrStop(stopping, say, { kafka: !options.files, jaeger: 'if-there' });
  if (servers === undefined) return undefined;
  const closers = [servers.stop];
  const close = async () => {
    for (let act = closers.pop(); act !== undefined; act = closers.pop()) await act();
  };
  try {
    for (const line of servers.chosen) say(line);
    const keeper = await openKeeper(await makeRunFolder());
    closers.push(keeper.close);
    const settings: Settings = { ...servers.settings, HTTP_PORT: String(await httpPort(options.stays)) };
    if (servers.kafka === undefined) {
      settings.FILE_SOURCE = join(keeper.folder, 'records');
      say('without Kafka: the same events are written to files, which the service reads instead');
    }
    const { log, envFile, forget } = await claimFiles();
    closers.push(forget);

    const service = await keeper.start({
      path: process.execPath,
      args: [...process.execArgv, '--import', TELEMETRY, fileURLToPath(new URL('../main.ts', import.meta.url))],
      cwd: keeper.folder, // not where a `.env` of the service as deployed may lie
      env: { ...EVERY_BATCH, ...withoutServers(plainEnv()), ...settings },
      log,
    });
    closers.push(() => stopService(service));
    const url = `http://127.0.0.1:${settings.HTTP_PORT}`;
    const assertAlive = () => {
      if (service.hasEnded())
        throw new Failure(`the service has ended by itself; its log is ${log}\n${lastLines(log)}`);
    };
    await untilReady(url, assertAlive, stopping.signal);
    if (stopping.signal.aborted) {
      await close();
      return undefined;
    }
    await writeEnv(envFile, settings);
    say(`service: ready at ${url}, process ${service.pid}, log ${log}`);
    return { settings, url, log, envFile, assertAlive, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const TELEMETRY = new URL('../telemetry.ts', import.meta.url).href;
/** All batches are traced, not one in ten: in a demo the batch behind an event is there to be looked at. */
const EVERY_BATCH = { OTEL_TRACES_SAMPLER_ARG: '1' };

const READY_WITHIN_MS = 60_000; // a guess for a busy machine; 1–2 s where measured

async function untilReady(url: string, assertAlive: () => void, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (!signal.aborted) {
    assertAlive();
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    if (performance.now() > deadline)
      throw new Failure(`the service is not ready after ${READY_WITHIN_MS / 1_000} s`, EXIT.unreachable);
    await sleep(50);
  }
}

const STOP_WITHIN_MS = 12_000; // its own limit is 10 s

async function stopService(service: Running): Promise<void> {
  if (service.hasEnded()) return;
  service.signal('SIGTERM');
  const impatience = setTimeout(() => service.signal('SIGKILL'), STOP_WITHIN_MS);
  await service.ended;
  clearTimeout(impatience);
}

/** The address that people know, where it is free and somebody stays to open it. */
async function httpPort(stays: boolean): Promise<number> {
  return stays && !(await isListening(8080)) ? 8080 : freePort();
}

/** What the environment says of other servers is not meant for these. */
function withoutServers(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const ours =
    /^(KAFKA_(BROKERS|SSL|SASL|TOPICS|GROUP_ID|FROM)|DB_|DATABASE_URL|PG|REDIS_URL|FILE_SOURCE|HTTP_|AUTH_|HASH_SECRET|OTEL_EXPORTER_|JAEGER_)/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ours.test(name)));
}

const STACK = fileURLToPath(new URL('../../.stack', import.meta.url));

/** `.stack/demo.log` and `.stack/demo.env`; with our pid in the name while another demo uses those. */
async function claimFiles(): Promise<{ log: string; envFile: string; forget: () => Promise<void> }> {
  await mkdir(STACK, { recursive: true });
  const pidFile = join(STACK, 'demo.pid');
  const isTaken = existsSync(pidFile) && isAlive(Number(readFileSync(pidFile, 'utf8')));
  const name = join(STACK, isTaken ? `demo-${process.pid}` : 'demo');
  if (!isTaken) await writeFile(pidFile, String(process.pid));
  const [log, envFile] = [`${name}.log`, `${name}.env`];
  await writeFile(log, '');
  return {
    log,
    envFile,
    // The log stays: it may be what somebody looks for now.
    forget: async () => {
      await rm(envFile, { force: true });
      if (!isTaken) await rm(pidFile, { force: true });
    },
  };
}

function lastLines(log: string): string {
  return readFileSync(log, 'utf8').trim().split('\n').slice(-10).join('\n');
}
