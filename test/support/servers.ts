// servers.ts — real Kafka, Postgres, Redis and Jaeger, started once for all test files (vitest's globalSetup).
//
// A template database is migrated once and cloned per world (world.ts). A server that can not be had is an error here;
// Jaeger, which takes minutes to build the first time, only in CI.
import postgres from 'postgres';
import type { TestProject } from 'vitest/node';
import { migrate } from '../../db/client.ts';
import { startServers } from '../../dev/servers.ts';
import { readConfig } from '../../src/config.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** KAFKA_BROKERS, DB_HOST, … of the shared servers. */
    settings: Record<string, string>;
    /** Not among the settings: only tests of traces send any. Null: there is none on this machine. */
    jaeger: { url: string; endpoint: string } | null;
  }
}

export const TEMPLATE = 'world_template';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const servers = await startServers({
    durable: false,
    require: true,
    jaeger: process.env.CI ? 'build' : 'if-there',
    say: (line) => process.stderr.write(`${line}\n`),
  });
  for (const line of servers.chosen) process.stderr.write(`${line}\n`);
  const { database } = readConfig(servers.settings, { need: ['database'], file: null });
  const sql = postgres({ ...database, username: database.user, password: database.password ?? '', ssl: false, max: 1 });
  await sql.unsafe(`create database ${TEMPLATE}`);
  await sql.end();
  await migrate({ ...database, database: TEMPLATE });
  const { JAEGER_URL: url, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, ...settings } = servers.settings;
  project.provide('settings', settings);
  project.provide('jaeger', url === undefined || endpoint === undefined ? null : { url, endpoint });
  return () => servers.stop();
}
