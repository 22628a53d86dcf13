import { defineConfig } from 'vitest/config';

// Two prices: `unit` does no I/O and runs in seconds; `servers` starts real Kafka, Postgres and Redis once for all files.
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/{unit,machines}/**/*.test.ts'] } },
      {
        test: {
          name: 'servers',
          include: ['test/{integration,faults,e2e}/**/*.test.ts'],
          globalSetup: ['test/support/servers.ts'],
          // One file after the other: they share one broker, whose topics are named like the events.
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
