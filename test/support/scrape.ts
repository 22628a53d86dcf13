// scrape.ts — Prometheus' text format, read back: the series of a scrape, and how they grew since another one.
export type Labels = Record<string, string>;
export type Series = { name: string; labels: Labels; value: number };
export type Scrape = {
  text: string;
  series: readonly Series[];
  /** The sum of a metric's series that have these labels; undefined: there is none. */
  sum(name: string, labels?: Labels): number | undefined;
  /** The values of a metric by one of its labels, summed over the others; "" where a series does not have it. */
  by(name: string, label: string, labels?: Labels): Record<string, number>;
};

/** Starts the service's own telemetry in this process, without traces: what `scrape` reads is what `/metrics` answers. Before a
 *  service starts; once in a file, so counters go on from test to test, and tests look at what was added (`since`). */
export async function keepMetrics(): Promise<{ scrape(): Promise<Scrape> }> {
  for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) delete process.env[name];
  process.env.OTEL_TRACES_EXPORTER = 'none';
  const { telemetry } = await import('../../src/telemetry.ts');
  return { scrape: async () => readScrape(await (telemetry.metrics as () => Promise<string>)()) };
}

export function readScrape(text: string): Scrape {
  return scrapeOf(text, text.split('\n').flatMap(readLine));
}

/** What was added between two scrapes: for counters and histograms, not for gauges. */
export function since(before: Scrape, after: Scrape): Scrape {
  const key = ({ name, labels }: Series) => `${name} ${JSON.stringify(labels)}`;
  const then = new Map(before.series.map((series) => [key(series), series.value]));
  const grown = after.series
    .map((series) => ({ ...series, value: series.value - (then.get(key(series)) ?? 0) }))
    .filter(({ value }) => value !== 0);
  return scrapeOf(after.text, grown);
}

function scrapeOf(text: string, series: readonly Series[]): Scrape {
  const found = (name: string, wanted: Labels) =>
    series.filter((each) => each.name === name && Object.entries(wanted).every(([l, v]) => each.labels[l] === v));
  return {
    text,
    series,
    sum(name, labels = {}) {
      const all = found(name, labels);
      return all.length === 0 ? undefined : all.reduce((total, { value }) => total + value, 0);
    },
    by(name, label, labels = {}) {
      const sums: Record<string, number> = {};
      for (const each of found(name, labels)) {
        const key = each.labels[label] ?? '';
        sums[key] = (sums[key] ?? 0) + each.value;
      }
      return sums;
    },
  };
}

function readLine(line: string): Series[] {
  if (line === '' || line.startsWith('#')) return [];
  const [, name, inside = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$/.exec(line) ?? [];
  if (name === undefined) throw new Error(`not a line of Prometheus' text format: ${line}`);
  const labels: Labels = {};
  let rest = inside;
  while (rest !== '') {
    const [all, label, quoted] = /^([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/.exec(rest) ?? [];
    if (all === undefined) throw new Error(`labels that can not be read: ${line}`);
    labels[label as string] = (quoted as string).replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    rest = rest.slice(all.length);
  }
  return [{ name, labels, value: Number(value) }];
}
