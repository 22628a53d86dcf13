// Whose turn it is: a few questions at once, a few that wait as long as their askers do, and no more.
import { EventEmitter } from 'node:events';
import { describe, expect, test } from 'vitest';
import { createTurns } from '../../src/api/turns.ts';

/** Two at once, two more that wait. `asked`: the questions that were put, in order. */
function setup() {
  const turns = createTurns({ atOnce: 2, most: 4 });
  const asked: string[] = [];

  function ask(question: string) {
    const to = Object.assign(new EventEmitter(), { closed: false });
    const answer = Promise.withResolvers<string>();
    const answered = turns.take(to as never, () => {
      asked.push(question);
      return answer.promise;
    });
    answered.catch(() => {}); // each test looks at those that it is about
    const leave = () => {
      to.closed = true;
      to.emit('close');
    };
    return { to, answered, answer: () => answer.resolve(question), fail: answer.reject, leave };
  }
  return { asked, ask };
}
/** All that happens by itself has happened then. */
const settled = () => new Promise(setImmediate);

describe('questions take turns', () => {
  test('two are put at once; each answer lets the next one go, in the order they came', async () => {
    const { asked, ask } = setup();
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(ask);
    await settled();
    expect(asked).toEqual(['a', 'b']);
    b?.answer();
    expect(await b?.answered).toBe('b');
    await settled();
    expect(asked).toEqual(['a', 'b', 'c']);
    a?.answer();
    c?.answer();
    d?.answer();
    expect(await Promise.all([a?.answered, c?.answered, d?.answered])).toEqual(['a', 'c', 'd']);
    const [e, f, g] = ['e', 'f', 'g'].map(ask);
    await settled();
    expect(asked.slice(4)).toEqual(['e', 'f']); // two at once again, not more and not fewer
    for (const each of [e, f, g]) each?.answer();
    await g?.answered;
  });

  test('one that fails lets the next one go as well', async () => {
    const { asked, ask } = setup();
    const [a, b, c] = ['a', 'b', 'c'].map(ask);
    a?.fail(new Error('heavy'));
    b?.fail(new Error('heavy'));
    await expect(a?.answered).rejects.toThrow('heavy');
    await settled();
    expect(asked).toEqual(['a', 'b', 'c']);
    c?.answer();
    expect(await c?.answered).toBe('c');
  });

  test('one more than may wait is refused at once, and not put later; an answer makes room', async () => {
    const { asked, ask } = setup();
    const [a] = ['a', 'b', 'c', 'd'].map(ask);
    await expect(ask('e').answered).rejects.toMatchObject({ type: 'unavailable' });
    a?.answer();
    await a?.answered;
    ask('f');
    await settled();
    expect(asked).toEqual(['a', 'b', 'c']);
    await expect(ask('g').answered).rejects.toMatchObject({ type: 'unavailable' });
  });
});

describe('whoever has gone', () => {
  test('while its question waited: it is not put, and its place is free', async () => {
    const { asked, ask } = setup();
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(ask);
    c?.leave();
    await expect(c?.answered).rejects.toMatchObject({ type: 'unavailable' });
    const e = ask('e');
    for (const each of [a, b, d, e]) each?.answer();
    expect(await Promise.all([d?.answered, e.answered])).toEqual(['d', 'e']);
    expect(asked).toEqual(['a', 'b', 'd', 'e']);
  });

  test('in the moment its turn came: it is not put either, and the turn goes on', async () => {
    const { asked, ask } = setup();
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(ask);
    if (c !== undefined) c.to.closed = true; // its `close` is still on its way
    a?.answer();
    await expect(c?.answered).rejects.toMatchObject({ type: 'unavailable' });
    d?.answer();
    expect(await d?.answered).toBe('d');
    expect(asked).toEqual(['a', 'b', 'd']);
    b?.answer();
  });

  test('while its question was being answered: the turn is given on once, when it is over', async () => {
    const { asked, ask } = setup();
    const [a, b, c] = ['a', 'b', 'c'].map(ask);
    a?.leave();
    await settled();
    expect(asked).toEqual(['a', 'b']); // Postgres is still at work on it
    a?.answer();
    await settled();
    expect(asked).toEqual(['a', 'b', 'c']);
    b?.answer();
    c?.answer();
  });

  test('nobody listens to a connection whose question has been answered', async () => {
    const { ask } = setup();
    const all = ['a', 'b', 'c', 'd'].map(ask);
    for (const each of all) each.answer();
    await Promise.all(all.map(({ answered }) => answered));
    expect(all.map(({ to }) => to.listenerCount('close'))).toEqual([0, 0, 0, 0]);
  });
});
