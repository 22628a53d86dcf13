import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { confirm } from '../../src/cli/confirm.ts';

/** Asks on a terminal where somebody types that, or on none. */
async function asked(typed: string, { isTTY = true, yes }: { isTTY?: boolean; yes?: true } = {}) {
  const input = Object.assign(new PassThrough(), { isTTY, setRawMode() {} });
  const output = Object.assign(new PassThrough(), { isTTY });
  let shown = '';
  output.on('data', (text) => {
    shown += text;
  });
  const answered = confirm('Redrive 214 \x1b[2Jdead letters?', yes, { input, output });
  input.write(typed);
  return { code: await answered, shown };
}

describe('many rows are changed by somebody who meant it', () => {
  test.each(['y\n', 'Y\n', 'yes\n', ' yes \n'])('%j goes on', async (typed) => {
    expect((await asked(typed)).code).toBeUndefined();
  });

  test.each(['\n', 'n\n', 'no\n', 'yeah\n', 'y n\n'])('%j changes nothing', async (typed) => {
    const { code, shown } = await asked(typed);
    expect(code).toBe(1);
    expect(shown).toContain('Nothing was changed.');
  });

  test('ctrl-C ends like any interrupted command, ctrl-D like a no', async () => {
    expect((await asked('\x03')).code).toBe(130);
    expect((await asked('\x04')).code).toBe(1);
  });

  test('without a terminal it ends as a wrong call, and says what to say', async () => {
    await expect(asked('y\n', { isTTY: false })).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining('--yes'),
    });
  });

  test('--yes asks nobody', async () => {
    expect(await asked('', { yes: true })).toEqual({ code: undefined, shown: '' });
    expect((await asked('', { yes: true, isTTY: false })).code).toBeUndefined();
  });

  test('what came from outside can not steer the terminal', async () => {
    expect((await asked('y\n')).shown).not.toContain('\x1b[2J');
  });
});
