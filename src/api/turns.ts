// turns.ts — questions to Postgres take turns: a few at once, a few that wait, and no more.
//
// Owns:          whose turn it is. Does not own: which routes ask (api.ts), how long a question may take (its statement's timeout).
import type { ServerResponse } from 'node:http';
import { Refused } from './problems.ts';

export type Turns = {
  /** What `question` answers, when its turn comes. Throws Refused where too many wait already; where `to` closes before its turn, it is
   *  not asked at all. */
  take<T>(to: Pick<ServerResponse, 'once' | 'off' | 'closed'>, question: () => Promise<T>): Promise<T>;
};

/** `atOnce`: asked at once. `most`: these and those that wait (P6). */
export function createTurns({ atOnce, most }: { atOnce: number; most: number }): Turns {
  const waiting = new Set<() => void>();
  let asked = 0;

  return {
    async take(to, question) {
      if (asked + waiting.size >= most) throw new Refused('unavailable', 'Too many questions at once: ask again.');
      if (asked >= atOnce) await turnOf(to);
      else asked++;
      try {
        if (to.closed) throw nobodyThere();
        return await question();
      } finally {
        asked--;
        giveOn();
      }
    },
  };

  /** Whoever gives the turn on has counted it already. */
  function turnOf(to: Parameters<Turns['take']>[0]): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        to.off('close', leave);
        resolve();
      };
      const leave = () => {
        if (waiting.delete(begin)) reject(nobodyThere());
      };
      waiting.add(begin);
      to.once('close', leave);
    });
  }

  function giveOn(): void {
    const [next] = waiting;
    if (next === undefined) return;
    waiting.delete(next);
    asked++;
    next();
  }
}

/** Nobody reads it. */
export function nobodyThere(): Refused {
  return new Refused('unavailable', 'Whoever asked has gone.');
}
