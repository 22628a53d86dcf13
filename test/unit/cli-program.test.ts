import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { addEnvFile, fromEnvFile } from '../../src/cli/env-file.ts';
import { createProgram } from '../../src/cli/main.ts';
import { WAITS_FOR } from '../../src/cli/settle.ts';
import { lastPart, screen } from '../../src/cli/status.ts';
import { WAITING_REASONS } from '../../src/run.ts';

/** Every command with the words that call it. */
function all(command: Command, words: string[] = []): { words: string; command: Command }[] {
  return [
    { words: words.join(' '), command },
    ...command.commands.flatMap((inner) => all(inner, [...words, inner.name()])),
  ];
}
function helpOf(command: Command): string {
  const parts: string[] = [];
  command.configureOutput({ writeOut: (part) => void parts.push(part) });
  command.outputHelp();
  return parts.join('');
}

describe('a command explains itself', () => {
  test.each(all(createProgram()).map(({ words, command }) => [words, command] as const))(
    'user-lifecycle %s: --help shows an example of it',
    (words, command) => {
      const examples = helpOf(command).split(/Examples?:\n/)[1] ?? '';
      expect(examples).toContain('$ user-lifecycle ');
      const called = [words, words.replace('dead-letters', 'dlq')];
      expect(called.some((each) => examples.includes(each))).toBe(true);
    },
  );

  test('an example is a command that exists', () => {
    const known = new Set(all(createProgram()).flatMap(({ words }) => [words, words.replace('dead-letters', 'dlq')]));
    for (const { command } of all(createProgram()))
      for (const [, line = ''] of helpOf(command).matchAll(/\$ user-lifecycle (.*)/g)) {
        const words = line.replace(/^--env-file \S+ /, '').split(' ');
        expect([words.slice(0, 2).join(' '), words[0]].some((called) => known.has(called ?? ''))).toBe(true);
      }
  });
});

describe('a wrong call ends with usage, before anything is done', () => {
  const refused = async (...args: string[]) => {
    const program = createProgram();
    const said: string[] = [];
    for (const { command } of all(program)) command.configureOutput({ writeErr: (text) => void said.push(text) });
    const error = await program.parseAsync(args, { from: 'user' }).catch((error) => error);
    return { said: said.join(''), code: error.code, message: error.message };
  };

  test('a mistyped command: the one that was meant is named', async () => {
    expect((await refused('stauts')).said).toContain('Did you mean status?');
    expect((await refused('dlq', 'redirve', '1')).said).toContain('Did you mean redrive?');
  });

  test('a discard without a reason', async () => {
    expect((await refused('dlq', 'discard', '1')).message).toContain('--reason');
    expect((await refused('dlq', 'discard', '--waiting', '--all')).message).toContain('--reason');
  });

  test('options that mean nothing together', async () => {
    for (const [args, named] of [
      ['dlq redrive 812 --force', '--reason'],
      ['dlq redrive 812 --edit x.json', '--reason'],
      ['dlq redrive 812 813 --edit x.json --reason x', 'for one dead letter'],
      ['dlq redrive 812 --edit x.json --as-received --reason x', 'not both'],
      ['dlq discard --all --for hold --reason x', '--waiting'],
      ['dlq discard --waiting --code json --reason x', 'no code'],
      ['dlq discard --all --waiting --limit 3 --reason x', '--limit'],
      ['dlq export --records --to-topic x', 'one of them'],
    ] as const)
      expect((await refused(...args.split(' '))).message, args).toContain(named);
  });

  test('an event that does not exist: those that do are named', async () => {
    expect((await refused('send', 'USER_RENAMED')).said).toContain('One of USER_CREATED, USER_STATUS_CHANGED');
  });

  test('an id that is no number, a dialect, a kind of hold that does not exist', async () => {
    for (const args of [
      ['dlq', 'show', '1;drop'],
      ['send', 'USER_CREATED', '--as', 'avro'],
      ['hold', 'group', 'x'],
      ['users', 'history', 'u', '--limit', '0'],
    ])
      expect((await refused(...args)).code).toBe('commander.invalidArgument');
  });
});

describe('settings from a file', () => {
  test('count where the environment has none', () => {
    const env: NodeJS.ProcessEnv = { DB_HOST: 'from-environment', DB_PASSWORD_FILE: '/run/secret' };
    addEnvFile('test/unit/fixtures/some.env', env);
    expect(env).toEqual({ DB_HOST: 'from-environment', DB_PASSWORD_FILE: '/run/secret', DB_PORT: '5433' });
    expect([...fromEnvFile.keys()]).toEqual(['DB_PORT']);
  });

  test('a file that is not there ends the command', () => {
    expect(() => addEnvFile('/nowhere.env', {})).toThrow('--env-file: /nowhere.env can not be read (ENOENT).');
  });
});

describe('status on one screen', () => {
  test('the tallies are added up by their last part, without zeros, largest first', () => {
    const tallies = {
      'event|A|applied': 2,
      'event|B|applied': 3,
      'event|A|dead': 9,
      'event|A|waiting': 0,
      'state|active': 1,
    };
    expect(lastPart(tallies, 'event|')).toEqual({ dead: 9, applied: 5 });
  });

  test('a halt is the first word', () => {
    const topics = [{ topic: 'user-events', partitions: 12, halted: 1, position: '1204', lag: null }];
    const status = { kafka: 'away', lag: null, topics, outcomes: { applied: 1204 }, users: {}, waiting: 0, unkeyed: 0 };
    const text = screen({ ...status, deadLetters: { open: '0', codes: {} }, holds: [], jobs: [] });
    expect(text).toMatch(/^HALTED \(1\) {3}lag \?/);
    expect(text).toContain('outcomes      applied 1,204');
    expect(text).not.toContain('jobs');
    const jobs = [
      { id: '18', kind: 'redrive', done: '120', total: '2140' },
      { id: '19', kind: 'rebuild', done: '7', total: null },
    ];
    expect(screen({ ...status, deadLetters: { open: '0', codes: {} }, holds: [], jobs })).toContain(
      'jobs          18 redrive 120/2,140  19 rebuild 7\n',
    );
  });
});

test('all that an event can wait for can be asked for', () => {
  expect(WAITS_FOR).toEqual([...WAITING_REASONS]);
});
