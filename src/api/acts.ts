// acts.ts — what the acts of operators work with: connections, the drain, the jobs of this process.
//
// Owns:          opening and closing them. Does not own: what an act does (operate.ts, settle.ts), who may (auth.ts).
import { type Db, openDatabase } from '../../db/client.ts';
import type { Config } from '../config.ts';
import { describe } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Draining } from '../redrive.ts';
import type { Source } from '../sources/source.ts';
import { usersWaitingFor, type Wake } from '../wake.ts';
import { createJobRunner, type JobRunner } from './job-runner.ts';

export type Acts = {
  db: Db;
  draining: () => Promise<Draining & { db: Db }>;
  /** Starts the drains of those who waited for the end of a hold, in the background. */
  letGo(kind: 'user' | 'customer', id: string): void;
  runner: JobRunner;
  logOf: Source['logOf'];
  close(): Promise<void>;
};

/** Two jobs with two drains each, and one beside them. */
const CONNECTIONS = 5;

export function createActs({
  config,
  log,
  wake,
  draining,
  logOf,
}: {
  config: Config;
  log: Log;
  wake: Pick<Wake, 'users'>;
  /** The service's own, but for its connections. */
  draining: () => Promise<Omit<Draining, 'db'>>;
  logOf: Source['logOf'];
}): Acts {
  const database = openDatabase({
    ...config.database,
    connections: CONNECTIONS,
    applicationName: `${config.database.applicationName}-acts`,
  });
  const { db } = database;
  const withDb = async () => ({ ...(await draining()), db });
  const runner = createJobRunner({ db, draining: withDb, log });
  return {
    db,
    draining: withDb,
    letGo: (kind, id) => {
      if (kind === 'user') wake.users([id]);
      else
        wakeUsersOf(id).catch((error) =>
          log.warn(describe(error), 'what waited for the end of a hold could not be looked up: the sweeps find it'),
        );
    },
    runner,
    logOf,
    close: () => database.close(),
  };

  async function wakeUsersOf(customerId: string): Promise<void> {
    for await (const userIds of usersWaitingFor(db, customerId)) wake.users(userIds);
  }
}
