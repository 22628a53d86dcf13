// A drawing of a definition that means no good: every word of it is text, wherever it is written.
import { expect, test } from 'vitest';
import { picture } from '../../machines/picture.ts';
import { layout } from '../../src/drawing/layout.ts';
import { toSvg } from '../../src/drawing/svg.ts';

/** As an entity it would be a tag again, where only < and > were escaped. */
const EVIL = `<b>"&lt;i&gt;'`;
type Move = { source: string; target: string | undefined; guard?: string; index?: number; actions?: string[] };
const move = ({ source, target, guard, index = 0, actions = [] }: Move) => {
  return { id: `${source}|${EVIL}|${index}`, source, event: EVIL, index, guard, target, actions };
};

test.each(['LR', 'TB'] as const)(
  '%s: in states, on edges, in what stays, in what is said below and aloud',
  async (direction) => {
    const branches = [
      move({ source: 'a', target: 'b', guard: `${EVIL}1` }),
      move({ source: 'a', target: EVIL, guard: `${EVIL}2`, index: 1 }),
      move({ source: 'b', target: undefined, actions: [EVIL] }),
      move({ source: EVIL, target: 'b', guard: EVIL }),
    ];
    const machine = { id: EVIL, initial: 'a', finals: [], branches };
    const drawn = picture(machine, { version: 1, hash: `hostile-${direction}` });
    const svg = toSvg(drawn, await layout(drawn, direction), { counts: { [EVIL]: 1 } });
    expect(svg).toContain('by its guard: ');
    expect(svg).not.toMatch(/<\/?[bi]>/);
    expect(svg.match(/&(?!#\d+;)/g)).toBeNull();
    const words = [...svg.matchAll(/>([^<>]*)<\/(?:text|title|desc)>/g)].map(([, text]) => text);
    expect(words.filter((text) => text?.includes('&#60;b&#62;&#34;&#38;lt;')).length).toBeGreaterThan(6);
  },
);
