// What a person decides about a halted partition by the command line, where it may not be: exit code 1, the reason, and nothing moved.
import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { readFileLog } from '../../src/sources/file.ts';
import { runProgram } from '../support/program.ts';
import { test } from '../support/world.ts';

type Case = {
  what: string;
  why: string | null;
  /** The log has five records. */
  position?: number;
  clusterId?: string;
  asked: string;
  code: number;
  says: RegExp;
};
const YES = '--reason=x --yes';
const CASES: Case[] = [
  { what: 'a gap', why: 'gap: twice', asked: 'resume t 0', code: 0, says: /runs again from 3/ },
  { what: 'a gap', why: 'gap: twice', asked: `accept-loss t 0 ${YES}`, code: 1, says: /Nothing is lost.*Resume/ },
  { what: 'a gap', why: 'gap: twice', asked: `set-position t 0 2 ${YES}`, code: 1, says: /never goes back/ },
  { what: 'a gap', why: 'gap: twice', asked: `set-position t 0 6 ${YES}`, code: 1, says: /not in the log.*ends at 5/ },
  { what: 'a gap, no reason', why: 'gap: twice', asked: 'set-position t 0 4 --yes', code: 2, says: /Say why/ },
  { what: 'a short log', why: 'truncated: at 5', position: 9, asked: 'resume t 0', code: 1, says: /halt again/ },
  { what: 'a log that grew', why: 'truncated: at 2', asked: 'resume t 0', code: 1, says: /not clear which log/ },
  { what: 'another cluster', why: 'cluster: k0', clusterId: 'k0', asked: 'resume t 0', code: 1, says: /halt again/ },
  { what: 'one that runs', why: null, asked: `accept-loss t 0 ${YES}`, code: 1, says: /not halted/ },
];

test('each refusal has its exit code, says why, and moves nothing', async ({ world }) => {
  const folder = await mkdtemp(join(tmpdir(), 'log-'));
  await mkdir(join(folder, 't'));
  await appendFile(join(folder, 't', '0.ndjson'), '{"value":"x"}\n'.repeat(5));
  const here = (await readFileLog(folder, { topic: 't', partition: 0 }))?.clusterId as string;
  for (const { what, why, position = 3, clusterId = here, asked, code, says } of CASES) {
    await world.sql`delete from positions`;
    await world.sql`
      insert into positions (topic, partition, next_offset, first_offset, cluster_id, state, halted_reason)
      values ('t', 0, ${position}, 0, ${clusterId}, ${why === null ? 'running' : 'halted'}, ${why})`;
    const program = runProgram(['partitions', ...asked.split(' ')], { ...world.settings, FILE_SOURCE: folder });
    const ended = await program.ended;
    const said = `${program.text.out}${program.text.err}`;
    expect({ what, asked, code: ended.code, said }).toEqual({ what, asked, code, said: expect.stringMatching(says) });
    expect(said).not.toContain('a defect');
    if (code === 0) continue;
    expect(await world.sql`select next_offset::int as at, state from positions`).toEqual([
      { at: position, state: why === null ? 'running' : 'halted' },
    ]);
  }
  await world.sql`delete from positions`;
  await world.sql`delete from losses`;
  await rm(folder, { recursive: true });
});
