// Jobs in the background of a process: few at once, each once, and none begun while it stops.
import { expect, test, vi } from 'vitest';
import { createJobRunner } from '../../src/api/job-runner.ts';
import type { Job } from '../../src/jobs.ts';
import { createLog } from '../../src/log.ts';

/** A step of each job is in hand until `end`. `begun`: how many there were. */
function setup() {
  const inHand: (() => void)[] = [];
  const draining = () =>
    new Promise<never>((_, reject) => {
      inHand.push(() => reject(new Error('ended by the test')));
    });
  const runner = createJobRunner({ db: {} as never, draining, log: createLog({ level: 'silent' }) });
  const end = async () => {
    for (const each of inHand) each();
    await vi.waitFor(() => expect([...runner.here()]).toEqual([]));
  };
  return { runner, end, begun: () => inHand.length };
}
const job = (id: number) => ({ id, done: 0 }) as Job;
const CONFLICT = expect.objectContaining({ type: 'conflict' });

test('one that runs here is not gone on with by a second runner, and is when it has ended', async () => {
  const { runner, end, begun } = setup();
  runner.run(job(1));
  expect(() => runner.reserve(1)).toThrow('Job 1 runs here already.');
  runner.run(job(1));
  expect(begun()).toBe(1);
  await end();
  runner.reserve(1)();
  runner.run(job(1));
  expect(begun()).toBe(2);
  await end();
});

test('one that somebody is about to go on with is left to them until they give it back', () => {
  const { runner } = setup();
  const giveBack = runner.reserve(1);
  expect(() => runner.reserve(1)).toThrow('Job 1 runs here already.');
  giveBack();
  runner.reserve(1)();
});

test('jobs, rehearsals and those about to be gone on with share two places', async () => {
  const { runner, end } = setup();
  runner.run(job(1));
  const giveBack = runner.reserve(2);
  for (const more of [() => runner.assertFree(), () => runner.occupy(), () => runner.reserve(3)])
    expect(more).toThrow(CONFLICT);
  giveBack();
  const leave = runner.occupy();
  expect(() => runner.reserve(3)).toThrow(CONFLICT);
  leave();
  runner.assertFree();
  await end();
});

test('while it stops none begins, and the stop waits for the step in hand', async () => {
  const { runner, end } = setup();
  runner.run(job(1));
  let hasStopped = false;
  const stopping = runner.stop().then(() => {
    hasStopped = true;
  });
  expect(() => runner.occupy()).toThrow(expect.objectContaining({ type: 'unavailable' }));
  await new Promise(setImmediate);
  expect(hasStopped).toBe(false);
  await end();
  await stopping;
});
