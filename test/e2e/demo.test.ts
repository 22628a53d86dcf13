// `demo` as people run it: with real servers of its own, the real service, and nothing left afterwards.
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseEnv } from 'node:util';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { leftOf, type Program, runProgram } from '../support/program.ts';
import { ALL_TOPICS, createWorld } from '../support/world.ts';

const programs: { program: Program; family: number[] }[] = [];

function demo(...args: string[]): Program {
  const program = runProgram(['demo', ...args]);
  programs.push({ program, family: [] });
  return program;
}

/** After it was ready: whom it started. What is left of them at the end of a test is a failure of that test. */
function watchFamily(program: Program): void {
  const entry = programs.find((each) => each.program === program);
  entry?.family.push(...program.family());
}

afterEach(async () => {
  for (const { program, family } of programs.splice(0)) {
    const left = await leftOf(family);
    program.signal('SIGKILL');
    await program.ended;
    expect(left).toEqual([]);
  }
});

describe('without a terminal it ends by itself', () => {
  test('with exit 0 and the expected counts', async () => {
    const program = demo('--events', '4000', '--seed', '3');
    const [, pid] = await program.says(/service: ready at \S+, process (\d+)/);
    watchFamily(program);
    expect(program.family()).toContain(Number(pid));
    expect((await program.ended).code).toBe(0);
    expect(program.text.err).toContain('as expected');
    expect(program.text.err).toMatch(/^kafka: .*\npostgres: .*\nredis: /m);
    expect(program.text.out).toMatch(/4,000 events of [\d,]+ users and [\d,]+ customers in .* events\/s, lag 0/);
    expect(program.text.out).not.toContain('differs');
    if (inject('jaeger') === null) return expect(program.text.err).toContain('npm run stack -- --jaeger');
    expect(program.text.err).toMatch(/^one trace, from its producer to the row: [0-9a-f]{32}$/m);
    expect(program.text.err).toMatch(/^send user-events +(accounting|portfolio) /m);
    expect(program.text.err).toMatch(/^ {2}process user-events +customer-service .* applied/m);
    expect(program.text.err).toMatch(/^ {4}COMMIT +customer-service /m);
  });

  test('without Kafka too, by way of files, and says so', async () => {
    const program = demo('--events', '4000', '--files', '--json');
    await program.says(/service: ready/);
    watchFamily(program);
    expect((await program.ended).code).toBe(0);
    expect(program.text.err).toContain('without Kafka');
    const result = JSON.parse(program.text.out);
    expect(result).toMatchObject({ differ: [], lag: '0', got: { records: 4_000 } });
    expect(result.got).toEqual(result.expected);
  });
});

describe('interrupted, it stops in order', () => {
  test('ctrl-C while events flow: exit 130, what was handled is told, the service has stopped by itself', async () => {
    const program = demo('--rate', '500/s', '--for', '60s');
    const [, log] = await program.says(/service: ready .* log (\S+)/);
    await program.says(/applied [1-9]/);
    watchFamily(program);
    program.signal('SIGINT');
    expect((await program.ended).code).toBe(130);
    expect(program.text.err).toMatch(/interrupted: [\d,]+ were sent, [\d,]+ handled/);
    expect(readFileSync(log as string, 'utf8')).toContain('"msg":"stopped"');
  });

  test('ctrl-C while servers start', async () => {
    const program = demo();
    await program.says(/starting kafka/);
    while (program.family().length < 4) await sleep(20);
    watchFamily(program);
    program.signal('SIGINT');
    expect((await program.ended).code).toBe(130);
  });

  test('a second ctrl-C does not wait for a service that hangs', async () => {
    const program = demo('--rate', '500/s', '--for', '60s');
    const [, pid] = await program.says(/service: ready .* process (\d+)/);
    watchFamily(program);
    process.kill(Number(pid), 'SIGSTOP');
    program.signal('SIGINT');
    await program.says(/stopping in order/);
    await sleep(600); // two signals within half a second are one press
    const pressedMs = performance.now();
    program.signal('SIGINT');
    expect((await program.ended).code).toBe(130);
    expect(performance.now() - pressedMs).toBeLessThan(2_000);
  });

  test('killed, it takes all with it', async () => {
    const program = demo('--rate', '500/s', '--for', '60s');
    await program.says(/service: ready/);
    watchFamily(program);
    program.signal('SIGKILL');
    expect((await program.ended).signal).toBe('SIGKILL');
  });
});

describe('when it stays up', () => {
  test('the commands that it names work', async () => {
    const program = demo('--events', '3000', '--stay');
    await program.says(/ctrl-C stops all of it/);
    watchFamily(program);
    const commands = [...program.text.err.matchAll(/^ {2}npx user-lifecycle (.*?) +# /gm)].map(([, line]) => line);
    expect(commands.length).toBe(5);
    for (const command of commands) {
      const args = (command as string).split(' ').map((word) => word.replaceAll("'", ''));
      const told = runProgram(args);
      expect({ command, ...(await told.ended), text: told.text.err }).toMatchObject({ command, code: 0 });
    }
    const [, file] = /--env-file (\S+)/.exec(program.text.err) as RegExpExecArray;
    expect(Object.keys(parseEnv(readFileSync(file as string, 'utf8')))).toEqual(
      expect.arrayContaining([
        'KAFKA_BROKERS',
        'DB_HOST',
        'DB_PORT',
        'DB_DATABASE',
        'DB_USER',
        'DB_PASSWORD',
        'REDIS_URL',
      ]),
    );
    program.signal('SIGTERM');
    expect((await program.ended).code).toBe(0);
  });

  test('and its service dies: it says so, with the last words, and ends', async () => {
    const program = demo('--events', '500', '--stay', '--files');
    const [, pid] = await program.says(/service: ready .* process (\d+)/);
    await program.says(/ctrl-C stops all of it/);
    watchFamily(program);
    process.kill(Number(pid), 'SIGKILL');
    expect((await program.ended).code).toBe(1);
    expect(program.text.err).toContain('the service has ended by itself; its log is');
  });
});

describe('beside a service that runs already', () => {
  test('the producers alone: they send, wait until all is handled, compare, and end', async () => {
    const world = await createWorld({ KAFKA_FROM: 'latest', KAFKA_TOPICS: ALL_TOPICS });
    try {
      await world.kafkaService();
      const args = ['demo', '--producers-only', '--events', '3000', '--seed', String(randomInt(1_000_000))];
      const program = runProgram(args, world.settings);
      expect({ ...(await program.ended), text: program.text.err }).toMatchObject({ code: 0 });
      expect(program.text.out).toContain('3,000 events');
      await world.expectSound();
    } finally {
      await world.close();
    }
  });

  test('a setting that is missing: exit 2, before anything is sent', async () => {
    const program = runProgram(['demo', '--producers-only']);
    expect((await program.ended).code).toBe(2);
    expect(program.text.err).toContain('KAFKA_BROKERS');
  });
});
