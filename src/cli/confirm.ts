// confirm.ts — the question before many rows are changed at once: asked on a terminal; elsewhere --yes must have said it.
import { createInterface } from 'node:readline/promises';
import { EXIT, Failure } from './command.ts';
import { clean } from './output.ts';

type Terminal = {
  input: NodeJS.ReadableStream & { isTTY?: boolean };
  output: NodeJS.WritableStream & { isTTY?: boolean };
};
const TERMINAL: Terminal = { input: process.stdin, output: process.stderr };

/** Undefined: go on. Else the exit code, after "no" (1) and after ctrl-C (130). Throws a Failure where nobody can be asked. */
export async function confirm(
  question: string,
  yes: boolean | undefined,
  { input, output }: Terminal = TERMINAL,
): Promise<number | undefined> {
  if (yes) return undefined;
  if (!input.isTTY || !output.isTTY)
    throw new Failure(`${question} Nobody can be asked here: say --yes. Nothing was changed.`, EXIT.usage);
  const terminal = createInterface({ input, output, terminal: true });
  const interrupted = Promise.withResolvers<'interrupted'>();
  const closed = Promise.withResolvers<'closed'>();
  terminal.once('SIGINT', () => interrupted.resolve('interrupted'));
  terminal.once('close', () => closed.resolve('closed')); // ctrl-D
  try {
    const asked = terminal.question(`${clean(question)} y/N `);
    asked.catch(() => {});
    const answer = await Promise.race([asked, interrupted.promise, closed.promise]);
    if (/^y(es)?$/i.test(answer.trim())) return undefined;
    output.write(`${answer === 'interrupted' || answer === 'closed' ? '\n' : ''}Nothing was changed.\n`);
    return answer === 'interrupted' ? 130 : EXIT.failed;
  } finally {
    terminal.close();
  }
}
