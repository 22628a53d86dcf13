// Rules and panels that can be evaluated, about metrics and labels that exist, and a page that explains each of them.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parser } from '@prometheus-io/lezer-promql';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { METRICS } from '../../src/metrics.ts';

const path = (of: string) => fileURLToPath(new URL(`../../${of}`, import.meta.url));
const read = (of: string) => readFileSync(path(of), 'utf8');

type Rule = {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: Record<'summary' | 'description' | 'runbook_url', string>;
};
type Target = { expr: string; legendFormat: string };
type Panel = {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { h: number; w: number; x: number; y: number };
  fieldConfig?: { defaults: { unit?: string } };
  targets?: Target[];
};

const page = read('docs/operations.md');
const rules: Rule[] = parse(read('deploy/prometheus/alerts.yml')).groups.flatMap(
  (group: { rules: Rule[] }) => group.rules,
);
const dashboard: { panels: Panel[]; templating: { list: { name: string }[] } } = JSON.parse(
  read('deploy/grafana/customer-service.json'),
);
const panels = dashboard.panels.filter(({ type }) => type !== 'row');

/** Of our metrics as Prometheus names them. */
const OURS = METRICS.map(({ name, kind }) => `${name.replaceAll('.', '_')}${kind.endsWith('counter') ? '_total' : ''}`);
const SERIES = new Set([
  ...METRICS.flatMap(({ name, kind }, i) =>
    kind === 'histogram' ? ['bucket', 'sum', 'count'].map((part) => `${name.replaceAll('.', '_')}_${part}`) : [OURS[i]],
  ),
  'up',
  'target_info',
]);
/** Of libraries, and of Prometheus itself about a scrape. */
const ELSEWHERE = /^(nodejs|v8js|otel_sdk|scrape)_\w+$/;
/** Those that the page names; in its table three long ones go by short names. */
const LABELS = new Set([
  ...['job', 'instance', 'le', 'messaging_destination_name', 'messaging_destination_partition_id'],
  ...['messaging_consumer_group_name'],
  ...rowsOf('Metrics').flatMap(([, , labels = '']) => namesIn(labels)),
]);

describe('every query', () => {
  const queries: [of: string, expr: string][] = [
    ...rules.map(({ alert, expr }): [string, string] => [alert, expr]),
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }): [string, string] => [title, expr])),
  ];

  test.each(queries)('%s', (_of, expr) => {
    expect(problemsOf(expr)).toEqual([]);
  });

  test('of a rule names the job: other services may have metrics of the same names', () => {
    for (const { alert, expr } of rules) expect([alert, looked(expr).withoutJob]).toEqual([alert, []]);
  });

  test('that is wrong is told so', () => {
    const right =
      'sum by (customer_service_outcome) (rate(customer_service_events_total{job="$job"}[$__rate_interval]))';
    expect(problemsOf(right)).toEqual([]);
    expect(problemsOf(right.replace('[$__rate_interval]', '[]'))).toContainEqual(expect.stringMatching(/^not PromQL/));
    expect(problemsOf(right.slice(0, -1))).toContainEqual(expect.stringMatching(/^not PromQL/));
    expect(problemsOf(`${right} >`)).toContainEqual(expect.stringMatching(/^not PromQL/));
    expect(problemsOf(right.replace('$job', '$jobs'))).toEqual(['no such variable: $jobs']);
    expect(problemsOf(right.replace('events_total', 'events'))).toEqual(['no such metric: customer_service_events']);
    expect(problemsOf(right.replace('_outcome', '_result_'))).toEqual(['no such label: customer_service_result_']);
    expect(problemsOf(right.replace('job=', 'jobs='))).toEqual(['no such label: jobs']);
    expect(problemsOf('{job="customer-service"}')).toEqual(['a series without a name']);
    expect(problemsOf('v8js_gc_duration')).toEqual([]);
  });
});

describe('every alert', () => {
  test('has a row in docs/operations.md, and every row an alert, with the same severity', () => {
    const rows = rowsOf('Alerts').map(([name, severity]) => [name?.replace(/<a id="[^"]*"><\/a>/, ''), severity]);
    expect(sorted(rows)).toEqual(sorted(rules.map(({ alert, labels }) => [alert, labels.severity])));
  });

  test.each(rules)('$alert tells what to do, and leads to its row', ({ alert, labels, annotations }) => {
    expect(['critical', 'warning', 'info']).toContain(labels.severity);
    expect(annotations.summary).toMatch(/\S/);
    expect(annotations.description.length).toBeGreaterThan(80);
    expect(annotations.runbook_url).toBe(`docs/operations.md#alert-${alert.toLowerCase()}`);
    expect(page).toContain(`<a id="alert-${alert.toLowerCase()}"></a>${alert} `);
  });

  test.each(rules)('$alert puts only labels into its text that its query leaves', ({ expr, annotations }) => {
    const used = [...`${annotations.summary} ${annotations.description}`.matchAll(/\$labels\.(\w+)/g)];
    for (const [, label] of used) expect(expr).toMatch(new RegExp(`by \\([^)]*\\b${label}\\b|up\\{`));
  });
});

test('every metric of the service has a row in docs/operations.md, and every row a metric', () => {
  const rows = rowsOf('Metrics').flatMap(([name = '', type = '']) => namesIn(name).map((each) => [each, type]));
  const ours = rows.filter(([name = '']) => !ELSEWHERE.test(name) && name !== 'target_info');
  const kinds = { updown: 'gauge', 'observed counter': 'counter' } as Record<string, string>;
  const word = ({ kind, unit }: (typeof METRICS)[number]) => `${kinds[kind] ?? kind}, ${unit.replaceAll(/[{}]/g, '')}`;
  expect(sorted(ours)).toEqual(sorted(METRICS.map((metric, i) => [OURS[i], word(metric)])));
});

describe('the dashboard', () => {
  test('has panels that say what is normal, with a unit, and none over another', () => {
    const taken = new Map<string, string>();
    for (const { title, description, fieldConfig, targets, gridPos } of panels) {
      expect([title, description?.length]).toEqual([title, expect.toSatisfy((length) => length > 40)]);
      expect([title, fieldConfig?.defaults.unit]).toEqual([title, expect.stringMatching(/./)]);
      for (const { legendFormat } of targets ?? [])
        expect([title, legendFormat]).toEqual([title, expect.stringMatching(/./)]);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(x).toBeLessThan(24);
          expect([title, taken.get(`${x}/${y}`)]).toEqual([title, undefined]);
          taken.set(`${x}/${y}`, title);
        }
    }
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  });

  test('has legends whose labels their queries leave', () => {
    for (const { expr, legendFormat } of panels.flatMap(({ targets }) => targets ?? []))
      for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) expect(looked(expr).kept).toContain(label);
  });

  test('draws every metric of the service', () => {
    const drawn = panels.flatMap(({ targets }) => targets ?? []).flatMap(({ expr }) => looked(expr).metrics);
    for (const name of OURS) expect(drawn).toContainEqual(expect.stringMatching(new RegExp(`^${name}(_bucket)?$`)));
  });
});

describe('promtool, where it is installed', () => {
  const promtool = (args: string[], input?: string) => {
    const { status, stdout, stderr } = spawnSync('promtool', args, { input, cwd: path('deploy/prometheus') });
    return { status, output: `${stdout}${stderr}` };
  };
  const isThere = spawnSync('promtool', ['--version']).error === undefined;

  test.skipIf(!isThere)('accepts the rules, the scrape example and every panel', () => {
    const ofPanels = panels.flatMap(({ targets = [] }, p) =>
      targets.map(({ expr }, i) => ({ record: 'a:b', labels: { of: `${p}/${i}` }, expr: filledIn(expr).text })),
    );
    for (const { status, output } of [
      promtool(['check', 'rules', 'alerts.yml']),
      promtool(['check', 'config', 'prometheus.yml']),
      promtool(['check', 'rules'], JSON.stringify({ groups: [{ name: 'panels', rules: ofPanels }] })),
    ])
      expect([output, status]).toEqual([output, 0]);
  });

  test.skipIf(!isThere)('sees the alerts come when they should, and only then', () => {
    const { status, output } = promtool(['test', 'rules', 'alerts.test.yml']);
    expect([output, status]).toEqual([output, 0]);
  });
});

/** In words; none: it can be evaluated, and what it asks for exists. */
function problemsOf(expr: string): string[] {
  const { text, unknown } = filledIn(expr);
  const { errors, metrics, labels, nameless } = looked(text);
  return [
    ...unknown.map((name) => `no such variable: ${name}`),
    ...errors.map((at) => `not PromQL at ${at}: ${text.slice(at, at + 40)}`),
    ...(nameless ? ['a series without a name'] : []),
    ...metrics.filter((name) => !isMetric(name)).map((name) => `no such metric: ${name}`),
    ...labels.filter((name) => !LABELS.has(name)).map((name) => `no such label: ${name}`),
  ];
}

function isMetric(name: string): boolean {
  return SERIES.has(name) || ELSEWHERE.test(name);
}

/** Grafana's variables as Grafana would fill them in. */
function filledIn(expr: string): { text: string; unknown: string[] } {
  const variables = new Map(dashboard.templating.list.map(({ name }) => [`$${name}`, '.*']));
  variables.set('$__rate_interval', '5m');
  const unknown: string[] = [];
  const text = expr.replaceAll(/\$\w+/g, (name) => {
    const value = variables.get(name);
    if (value === undefined) unknown.push(name);
    return value ?? name;
  });
  return { text, unknown };
}

/** What a query is made of. `kept`: labels of its result. `withoutJob`: metrics asked for without saying of which job. */
function looked(expr: string) {
  const { text } = filledIn(expr);
  const errors: number[] = [];
  const metrics: string[] = [];
  const labels: string[] = [];
  const kept: string[] = [];
  const withoutJob: string[] = [];
  let nameless = false;
  parser.parse(text).iterate({
    enter({ type, node, from, to }) {
      const word = text.slice(from, to);
      if (type.isError) errors.push(from);
      if (type.name === 'VectorSelector') {
        const name = node.getChild('Identifier');
        if (name === null) nameless = true;
        else metrics.push(text.slice(name.from, name.to));
        if (!word.includes('job=')) withoutJob.push(word);
      }
      if (type.name === 'LabelName') labels.push(word);
      if (type.name === 'LabelName' && node.parent?.name === 'GroupingLabels') kept.push(word);
    },
  });
  return { errors, metrics, labels, kept, withoutJob, nameless };
}

/** Cells of the tables below a heading of the page. */
function rowsOf(heading: string): string[][] {
  const section = page.split(/^## /m).find((each) => each.startsWith(`${heading}\n`)) ?? '';
  const lines = section.split('\n').filter((line) => line.startsWith('| ') && !/^\| (alert|metric) \|/.test(line));
  return lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

function namesIn(cell: string): string[] {
  return [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name as string);
}

function sorted(rows: readonly unknown[][]): string[] {
  return rows.map((row) => row.join(' ')).sort();
}
