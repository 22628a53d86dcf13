// profile.ts — a .cpuprofile in words: node bench/profile.ts <file> [events]. With `events`, per event.
//
// Two lists: the time in a function itself, and the time in it and all it calls (waits do not count: it is CPU time).
import { readFileSync } from 'node:fs';

type Node = { id: number; callFrame: { functionName: string; url: string; lineNumber: number }; children?: number[] };
type Profile = { nodes: Node[]; samples: number[]; timeDeltas: number[] };

const [file, events = '0'] = process.argv.slice(2);
if (file === undefined) throw new Error('node bench/profile.ts <file.cpuprofile> [events]');
const profile = JSON.parse(readFileSync(file, 'utf8')) as Profile;

const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])));
const own = new Map<number, number>();
profile.samples.forEach((id, i) => {
  own.set(id, (own.get(id) ?? 0) + (profile.timeDeltas[i] as number));
});

const self = new Map<string, number>();
const whole = new Map<string, number>();
let total = 0;
for (const [id, us] of own) {
  const name = nameOf(id);
  if (/^\((idle|program)\)/.test(name)) continue;
  total += us;
  self.set(name, (self.get(name) ?? 0) + us);
  const callers = new Set<string>();
  for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) callers.add(nameOf(at));
  for (const caller of callers) whole.set(caller, (whole.get(caller) ?? 0) + us);
}

function nameOf(id: number): string {
  const { functionName, url, lineNumber } = (nodes.get(id) as Node).callFrame;
  const where = url.replace(/^.*\/node_modules\//, '').replace(/^file:\/\/.*\/(src|db|machines)\//, '$1/');
  return `${functionName || '(anonymous)'} ${where === '' ? '' : `${where}:${lineNumber + 1}`}`;
}
function top(times: ReadonlyMap<string, number>, most: number): string {
  const perEvent = (us: number) => (events === '0' ? '' : `${(us / Number(events)).toFixed(2).padStart(7)} µs/event`);
  return [...times]
    .sort((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([name, us]) => `${((100 * us) / total).toFixed(1).padStart(5)} % ${perEvent(us)}  ${name}`)
    .join('\n');
}
console.log(
  `busy ${(total / 1e6).toFixed(2)} s\n\nin the function itself\n${top(self, 45)}\n\nwith all it calls\n${top(whole, 70)}`,
);
