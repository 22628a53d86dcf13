// A drawing can be read: nothing lies on something else, edges can be followed, colours can be told apart.
import fc from 'fast-check';
import { Check } from 'typebox/value';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { colourOf, STATE_COLOURS } from '../../machines/colours.ts';
import { STATES } from '../../machines/index.ts';
import { type Picture, picture, toMermaid } from '../../machines/picture.ts';
import { Geometry as Schema } from '../../src/api/contract.ts';
import { createProgram } from '../../src/cli/main.ts';
import { captionOf } from '../../src/drawing/caption.ts';
import { type Box, crossingsOf, type Geometry, layout, type Point } from '../../src/drawing/layout.ts';
import { LETTERS } from '../../src/drawing/sizes.ts';
import { type SvgOptions, toSvg } from '../../src/drawing/svg.ts';
import { widthOf } from '../../src/drawing/text.ts';

const DIRECTIONS = ['LR', 'TB'] as const;

/** Machines of up to six states; often with an event that all live states share. */
const machines = fc
  .record({
    live: fc.integer({ min: 1, max: 4 }),
    finals: fc.integer({ min: 0, max: 2 }),
    moves: fc.array(
      fc.record({
        source: fc.nat(),
        target: fc.option(fc.nat(), { nil: undefined }),
        event: fc.constantFrom('E', 'OPENED', 'SOMETHING_LONG_HAPPENED'),
        guard: fc.option(fc.constantFrom('g', 'isAllowed', 'wasConfirmedByTwoPeopleBefore'), { nil: undefined }),
        acts: fc.boolean(),
      }),
      { maxLength: 12 },
    ),
    isShared: fc.boolean(),
  })
  .map(({ live, finals, moves, isShared }): Picture => {
    const lives = ['a', 'waitingForSomething', 'c', 'd'].slice(0, live);
    const ends = ['gone', 'lost'].slice(0, finals);
    const sources = ['start', ...lives];
    const all = [...sources, ...ends];
    const written = [
      ...moves.map(({ source, target, event, guard, acts }) => ({
        source: sources[source % sources.length] ?? 'start',
        target: target === undefined ? undefined : all[target % all.length],
        event,
        guard,
        actions: acts ? ['act'] : [],
      })),
      ...(isShared && finals > 0
        ? lives.map((source) => ({ source, target: 'gone', event: 'ENDED', guard: undefined, actions: [] }))
        : []),
    ];
    const branches = written.map((branch, i) => {
      const index = written.slice(0, i).filter((b) => b.source === branch.source && b.event === branch.event).length;
      return { ...branch, index, id: `${branch.source}|${branch.event}|${index}` };
    });
    return picture({ id: 'random', initial: 'start', finals: ends, branches }, { version: 1, hash: fresh() });
  });
/** A hash that was never laid out: the memory of layouts has no part in these tests. */
const fresh = (() => {
  let count = 0;
  return () => `test-${count++}`;
})();

/** The same machines for every test of a run, each laid out once. A failure prints the seed. */
async function forMachines(check: (drawn: Picture, geometry: Geometry) => void): Promise<void> {
  await fc.assert(
    fc.asyncProperty(machines, fc.constantFrom(...DIRECTIONS), async (drawn, direction) => {
      const key = JSON.stringify([drawn.states, drawn.transitions, direction]);
      const geometry = laidOut.get(key) ?? (await layout(drawn, direction));
      laidOut.set(key, geometry);
      check(drawn, geometry);
    }),
    { numRuns: 40, seed },
  );
}
const laidOut = new Map<string, Geometry>();
const seed = Date.now() % 2 ** 31;

describe('whatever the machine, its drawing can be read', { timeout: 60_000 }, () => {
  test('no label lies on another one or on a state', () =>
    forMachines((_, { states, edges }) => {
      const labels = edges.map(({ label }) => label);
      for (const [i, label] of labels.entries())
        for (const other of [...labels.slice(i + 1), ...states]) expect(overlaps(label, other)).toBe(false);
    }));

  test('no edge runs through a label of another one, through a state, or through a group it has no part in', () =>
    forMachines((_, { states, groups: [group], edges }) => {
      for (const edge of edges)
        for (const piece of piecesOf(edge.points)) {
          if (group !== undefined && ![edge.source, edge.target].some((id) => group.states.includes(id)))
            expect(overlaps(piece, group)).toBe(false);
          for (const other of edges) if (other !== edge) expect(overlaps(piece, other.label)).toBe(false);
          for (const state of states) expect(overlaps(piece, state)).toBe(false);
        }
    }));

  test('no two edges run on top of each other', () =>
    forMachines((_, { edges }) => {
      const pieces = edges.flatMap(({ points }, edge) => piecesOf(points).map((piece) => ({ edge, ...piece })));
      for (const a of pieces)
        for (const b of pieces) {
          const isUpright = a.width === 0 && b.width === 0 && a.x === b.x;
          const isLevel = a.height === 0 && b.height === 0 && a.y === b.y;
          const touching = {
            ...b,
            ...(isUpright && { x: b.x - 1, width: 2 }),
            ...(isLevel && { y: b.y - 1, height: 2 }),
          };
          if (a.edge < b.edge && (isUpright || isLevel)) expect(overlaps(a, touching)).toBe(false);
        }
    }));

  test('every edge leads from the border of its source to the border of its target, upright or level', () =>
    forMachines((_, { states, groups, edges, start }) => {
      const boxes = new Map<string, Box>([...states, ...groups].map((box) => [box.id, box]));
      for (const { source, target, points, label } of edges) {
        expect(isOnBorder(points[0], boxes.get(source))).toBe(true);
        expect(isOnBorder(points.at(-1), boxes.get(target))).toBe(true);
        expect(piecesOf(points).every(({ width, height }) => width === 0 || height === 0)).toBe(true);
        expect(piecesOf(points).some((piece) => overlaps(piece, label))).toBe(true);
      }
      expect(isOnBorder(start.points.at(-1), boxes.get('start'))).toBe(true);
    }));

  test('each transition that changes something stands in one line, and no other in any', () =>
    forMachines((drawn, { states, edges }) => {
      const lines = [...states.flatMap((state) => state.lines), ...edges.flatMap(({ label }) => label.lines)];
      const ids = drawn.transitions.filter(({ changes }) => changes).map(({ id }) => id);
      expect(lines.flatMap(({ transitions }) => transitions).sort()).toEqual(ids.sort());
    }));

  test('an edge has the states that its transitions have', () =>
    forMachines((drawn, { groups: [group], edges }) => {
      const byId = new Map(drawn.transitions.map((each) => [each.id, each]));
      for (const { source, target, label } of edges) {
        const sources = source === group?.id ? group.states : [source];
        const told = label.lines.flatMap(({ transitions }) => transitions).map((id) => byId.get(id));
        expect(new Set(told.map((each) => each?.source))).toEqual(new Set(sources));
        expect(new Set(told.map((each) => each?.target))).toEqual(new Set([target]));
      }
    }));

  test('states lie beside each other, those of the group in its box, and all within the drawing', () =>
    forMachines((_, { states, groups: [group], edges, width, height }) => {
      const paper = { x: 0, y: 0, width, height };
      for (const [i, state] of states.entries()) {
        for (const other of states.slice(i + 1)) expect(overlaps(state, other)).toBe(false);
        if (group !== undefined) expect(overlaps(state, group)).toBe(group.states.includes(state.id));
        if (group?.states.includes(state.id)) expect(contains(group, state)).toBe(true);
      }
      for (const box of [
        ...states,
        ...edges.map(({ label }) => label),
        ...edges.flatMap(({ points }) => piecesOf(points)),
      ])
        expect(contains(paper, box)).toBe(true);
    }));

  test('words have room: in a label, in a state, below the drawing', () =>
    forMachines((drawn, geometry) => {
      for (const { label } of geometry.edges)
        for (const { text, x } of label.lines) {
          expect(widthOf(text, LETTERS.line)).toBeLessThanOrEqual(label.width - 8);
          expect(x).toBe(label.x + label.width / 2);
        }
      for (const { id, x, width, lines } of geometry.states) {
        expect(widthOf(id, LETTERS.state, { bold: true })).toBeLessThanOrEqual(width - 16);
        for (const line of lines) expect(line.x + widthOf(line.text, LETTERS.line)).toBeLessThanOrEqual(x + width - 8);
      }
      const drawing = [...geometry.states, ...geometry.groups, ...geometry.edges.map(({ label }) => label)];
      for (const { text, x, y } of captionOf(drawn, geometry).lines) {
        const words = { x, y: y - LETTERS.line, width: widthOf(text, LETTERS.line), height: LETTERS.line };
        for (const box of drawing) expect(overlaps(words, box)).toBe(false);
      }
    }));

  test('laid out again, it is the same', async () => {
    await fc.assert(
      fc.asyncProperty(machines, fc.constantFrom(...DIRECTIONS), async (drawn, direction) => {
        const [first, second] = [await layout(drawn, direction), await layout({ ...drawn, hash: fresh() }, direction)];
        expect(second).not.toBe(first);
        expect(JSON.stringify(second)).toBe(JSON.stringify(first));
        expect(JSON.stringify(first)).not.toContain('$H');
      }),
      { numRuns: 10 },
    );
  });
});

test('a way in goes around what stands in front of its state', async () => {
  const branch = (source: string, event: string, target: string) => {
    const id = `${source}|${event}|0`;
    return { id, source, event, index: 0, guard: undefined, target, actions: [] };
  };
  const branches = [
    ...[branch('start', 'OPENED', 'a'), branch('start', 'IMPORTED', 'b'), branch('a', 'GO', 'b')],
    ...[branch('b', 'BACK', 'a'), branch('b', 'WAIT', 'c'), branch('c', 'BACK', 'a')],
    ...['a', 'b', 'c'].map((state) => branch(state, 'ENDED', 'gone')),
  ];
  const machine = { id: 'm', initial: 'start', finals: ['gone'], branches };
  const { edges, states } = await layout(picture(machine, { version: 1, hash: fresh() }), 'LR');
  const ways = edges.filter(({ source }) => source === 'start');
  expect(ways).toHaveLength(2);
  for (const way of ways)
    for (const piece of piecesOf(way.points))
      for (const thing of [...states, ...edges.filter((edge) => edge !== way).map(({ label }) => label)])
        expect(overlaps(piece, thing)).toBe(false);
  expect(crossingsOf(ways)).toBe(0);
});

describe('the user machine', () => {
  test.each(DIRECTIONS)('%s: its edges never cross, and are straight within the group', async (direction) => {
    const { edges } = await layout(picture(), direction);
    expect(crossingsOf(edges)).toBe(0);
    const bent = edges.filter(({ points }) => points.length > 2).map(({ source, target }) => [source, target]);
    const across = [
      ['absent', 'pending'],
      ['*', 'deleted'],
    ];
    expect(bent).toEqual(direction === 'LR' ? across : []);
  });

  test('from left to right it fits a page of 840 px, from top to bottom one of 680', async () => {
    expect((await layout(picture(), 'LR')).width).toBeLessThanOrEqual(840);
    expect((await layout(picture(), 'TB')).width).toBeLessThanOrEqual(680);
  });

  test('what all live states share is drawn once, for all of them', async () => {
    const { groups, edges } = await layout(picture(), 'LR');
    const live = picture().states.filter(({ kind }) => kind === 'normal');
    expect(groups.map(({ states }) => states)).toEqual([live.map(({ id }) => id)]);
    const deletions = edges.filter(({ target }) => target === 'deleted');
    expect(deletions.map(({ source, label }) => [source, label.lines.map(({ text }) => text)])).toEqual([
      [groups[0]?.id, ['USER_DELETED']],
    ]);
  });

  test.each(DIRECTIONS)('%s: its geometry is what the API promises', async (direction) => {
    expect(Check(Schema, await layout(picture(), direction))).toBe(true);
  });

  test('a machine is laid out once', async () => {
    expect(layout(picture(), 'LR')).toBe(layout(picture(), 'LR'));
  });

  test('docs/machine.svg is the drawing of it', async () => {
    const svg = toSvg(picture(), await layout(picture(), 'LR'));
    await expect(svg).toMatchFileSnapshot('../../docs/machine.svg');
  });
});

describe('machine export', () => {
  const typed = async (...words: string[]) => {
    const out: string[] = [];
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => out.push(String(text)) > 0);
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    await createProgram().parseAsync(['machine', 'export', ...words], { from: 'user' });
    return out.join('');
  };
  afterEach(() => vi.restoreAllMocks());

  test('--format svg writes the drawing, from left to right unless --direction says otherwise', async () => {
    expect(await typed('--format', 'svg')).toBe(toSvg(picture(), await layout(picture(), 'LR')));
    const down = await typed('--format', 'svg', '--direction', 'TB');
    expect(down).toBe(toSvg(picture(), await layout(picture(), 'TB')));
  });

  test('without a format it stays Mermaid, which takes no direction', async () => {
    expect(await typed()).toBe(toMermaid());
    await expect(typed('--direction', 'TB')).rejects.toMatchObject({ exitCode: 2, message: /--format svg/ });
  });
});

test('while a machine is laid out, others have their turn', async () => {
  let turns = 0;
  const ticking = setInterval(() => turns++, 1);
  await layout({ ...picture(), hash: fresh() }, 'TB');
  clearInterval(ticking);
  expect(turns).toBeGreaterThan(3);
});

describe('the SVG stands alone', () => {
  const svgOf = async (options: SvgOptions = {}, drawn = picture()) => toSvg(drawn, await layout(drawn, 'LR'), options);

  test('no script, no style that has to be computed, nothing from elsewhere', async () => {
    for (const theme of ['light', 'dark', 'auto'] as const) {
      const svg = await svgOf({ theme });
      expect(svg).not.toMatch(/<script|<image|<use|<foreignObject|href|url\(|var\(|@import|@font-face|currentColor/);
      expect(unclosed(svg)).toEqual([]);
    }
  });

  test('whatever a definition is called, it is text', async () => {
    const name = `<script>alert("&'")</script>`;
    const branch = { id: `a|${name}|0`, source: 'a', event: name, index: 0, guard: name, target: name, actions: [] };
    const machine = { id: name, initial: 'a', finals: [name], branches: [branch] };
    const svg = await svgOf({ counts: { [name]: 1 } }, picture(machine, { version: 1, hash: fresh() }));
    expect(svg).not.toContain('<script>');
    expect(unclosed(svg)).toEqual([]);
    expect(svg.match(/&#60;script&#62;/g)?.length).toBeGreaterThan(3);
  });

  test('it is read aloud: every state, and every edge from where to where and by what', async () => {
    const svg = await svgOf({ counts: { active: 88_412, deleted: 1 } });
    const said = [...svg.matchAll(/role="graphics-symbol" aria-label="(.*?)"/g)].map(([, words]) => words);
    const { states, edges, groups } = await layout(picture(), 'LR');
    expect(said).toHaveLength(states.length + edges.length);
    expect(said).toContain('active, 88,412 users, confirmedSince');
    expect(said).toContain('deleted, 1 user');
    expect(said).toContain('active to roleChanged: USER_ROLE_CHANGED');
    expect(said).toContain(`${groups[0]?.states.join(', ')} to deleted: USER_DELETED`);
    expect(svg).toMatch(/<svg [^>]*role="graphics-document" aria-labelledby="machine-title machine-words">/);
    expect(svg).toContain(`<title id="machine-title">The machine user, version ${picture().version}</title>`);
  });

  test('colours are computed: light, dark, or light with a style for those who prefer dark', async () => {
    const [light, dark, auto] = [
      await svgOf({ theme: 'light' }),
      await svgOf({ theme: 'dark' }),
      await svgOf({ theme: 'auto' }),
    ];
    expect(common(coloursIn(light), coloursOf(STATE_COLOURS.dark))).toEqual([]);
    expect(common(coloursIn(dark), coloursOf(STATE_COLOURS.light))).toEqual([]);
    const [style = ''] = /<style>.*<\/style>\n/s.exec(auto) ?? [];
    expect(auto.replace(style, '').replaceAll(/ class="\w+"/g, '')).toBe(light);
    expect(coloursIn(style)).toEqual(coloursIn(dark));
  });

  test('a final state has two borders, and only that', async () => {
    const svg = await svgOf();
    const boxes = (state: string) =>
      new RegExp(`aria-label="${state}[",].*?</g>`, 's').exec(svg)?.[0].match(/<rect/g)?.length;
    expect(STATES.map((state) => [state, boxes(state)])).toEqual(
      STATES.map((state) => [state, state === 'deleted' ? 2 : 1]),
    );
  });
});

describe('the colours can be read', () => {
  const palettes = Object.entries(STATE_COLOURS);

  test.each(palettes)('on %s: words 4.5 to 1, lines 3 to 1', (_, palette) => {
    const { page, ground, surface, muted, text, states, others } = palette;
    for (const paper of [page, ground, surface]) {
      expect(contrast(muted, paper)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(text, paper)).toBeGreaterThanOrEqual(4.5);
    }
    for (const [name, colour] of [...Object.entries(states), ...others.map((each, i) => [`${i}`, each] as const)]) {
      expect(contrast(colour.text, colour.fill), name).toBeGreaterThanOrEqual(4.5);
      expect(contrast(colour.text, surface), name).toBeGreaterThanOrEqual(4.5);
      for (const paper of [page, ground, surface, colour.fill])
        expect(contrast(colour.line, paper), `${name} on ${paper}`).toBeGreaterThanOrEqual(3);
    }
  });

  test('every state of the user machine has its own; unknown ones take turns', () => {
    const { light, dark } = STATE_COLOURS;
    for (const palette of [light, dark]) {
      expect(STATES).toEqual(expect.arrayContaining(Object.keys(palette.states)));
      const hues = [...Object.values(palette.states), ...palette.others].map(({ line }) => line);
      expect(new Set(hues).size).toBe(hues.length);
      const drawn = STATES.map((state, place) => colourOf(palette, state, place).line);
      expect(new Set(drawn).size).toBe(STATES.length);
    }
    expect(dark.others).toHaveLength(light.others.length);
    expect([0, 1, light.others.length].map((place) => colourOf(light, 'unheardOf', place))).toEqual([
      light.others[0],
      light.others[1],
      light.others[0],
    ]);
  });
});

/** Touching is not overlapping. A line is a box of no height or width. */
function overlaps(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

function contains(outer: Box, inner: Box): boolean {
  const right = inner.x + inner.width <= outer.x + outer.width;
  return inner.x >= outer.x && inner.y >= outer.y && right && inner.y + inner.height <= outer.y + outer.height;
}

function isOnBorder(point: Point | undefined, box: Box | undefined): boolean {
  if (point === undefined || box === undefined) return false;
  const [left, right] = [point.x - box.x, box.x + box.width - point.x];
  const [top, bottom] = [point.y - box.y, box.y + box.height - point.y];
  return Math.min(left, right, top, bottom) === 0;
}

function piecesOf(points: readonly Point[]): Box[] {
  return points.slice(1).map((end, i) => {
    const begin = points[i] ?? end;
    const [width, height] = [Math.abs(end.x - begin.x), Math.abs(end.y - begin.y)];
    return { x: Math.min(begin.x, end.x), y: Math.min(begin.y, end.y), width, height };
  });
}

/** The tags of an XML text that are not closed in their order; attributes must be quoted. */
function unclosed(xml: string): string[] {
  const open: string[] = [];
  for (const [tag, end, name = '', , alone] of xml.matchAll(
    /<(\/?)([\w]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|<[^>]*>?/g,
  )) {
    if (name === '') open.push(tag);
    else if (end === '/')
      open.splice(open.at(-1) === name ? -1 : open.length, 1, ...(open.at(-1) === name ? [] : [tag]));
    else if (alone === '') open.push(name);
  }
  return open;
}

function coloursIn(text: string): Set<string> {
  return new Set(text.match(/#[0-9a-f]{6}\b/g));
}

function common<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): T[] {
  return [...a].filter((each) => b.has(each));
}

function coloursOf(palette: object): Set<string> {
  return coloursIn(JSON.stringify(palette));
}

/** WCAG 2: from 1 (the same) to 21. */
function contrast(a: string, b: string): number {
  const [high = 0, low = 0] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (high + 0.05) / (low + 0.05);
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
