// redis.ts — a Redis that keeps nothing on disk.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Absent, firstAnswer, freePort, type Keeper, onFreePorts, plainEnv, type Server, serve } from './child.ts';
import { output } from './found.ts';

/** Starts `binary`, a redis-server, on a free port. */
export async function startRedis(keeper: Keeper, binary: string): Promise<Server> {
  const version = /v=([\d.]+)/.exec((await output(binary, ['--version'])) ?? '')?.[1];
  if (version === undefined) throw new Absent(`${binary} does not run here`);
  const dataDir = join(keeper.folder, 'redis');
  await mkdir(dataDir);
  return onFreePorts(async () => {
    const port = await freePort();
    return serve(keeper, {
      name: 'Redis',
      version,
      settings: { REDIS_URL: `redis://127.0.0.1:${port}` },
      dataDir,
      command: {
        path: binary,
        args: ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no'],
        cwd: dataDir,
        env: plainEnv(),
        log: join(keeper.folder, 'redis.log'),
      },
      signals: { SIGTERM: 'SIGTERM', SIGKILL: 'SIGKILL', immediate: 'SIGKILL' },
      answers: async () => (await firstAnswer(port, 'PING\r\n')).startsWith('+PONG'),
    });
  });
}
