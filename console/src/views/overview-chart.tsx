// overview-chart.tsx — one chart: lines over a quarter of an hour, a legend that reads them, a sentence and a table that say the same.
//
// Owns:          the drawing by uPlot. Does not own: which lines and values (charts.ts).
//
// G1  Colours are read from the legend's marks, which the style sheet colours: so the canvas follows the theme.
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Sample } from '../../../src/api/contract.ts';
import { type Chart, chartInWords, dataOf, type Line, minutesOf, windowOf } from '../charts.ts';
import { clock } from '../format.ts';
import { isDark, theme } from '../theme.ts';

import { Scrolled } from './scrolled.tsx';

const HEIGHT = 180;

export function ChartView({ chart, samples }: { chart: Chart; samples: readonly Sample[] }) {
  const [at, setAt] = useState<number | null>(null);
  const sample = at === null ? samples.at(-1) : samples[at];
  const id = `chart-${chart.id}`;
  return (
    <figure class="chart panel" data-chart={chart.id} aria-labelledby={id}>
      <figcaption>
        <h2 id={id}>{chart.title}</h2>
        <span class="chart-at muted">{at === null || sample === undefined ? 'now' : clock(Date.parse(sample.at))}</span>
      </figcaption>
      <Plot chart={chart} samples={samples} onPoint={setAt} />
      <ul class="legend" data-many={chart.lines.length > 3}>
        {chart.lines.map((line) => (
          <li key={line.name}>
            <Mark line={line} />
            <span>{line.name}</span>
            <strong class="number live-value">{chart.unit(sample === undefined ? null : line.of(sample))}</strong>
          </li>
        ))}
      </ul>
      <p class="sr">{chartInWords(chart, samples)}</p>
      <Twin chart={chart} samples={samples} />
    </figure>
  );
}

/** A piece of the line, with its colour and dash. */
function Mark({ line: { colour, dash = [] } }: { line: Line }) {
  return (
    <svg class="mark" data-colour={colour} width="22" height="8" viewBox="0 0 22 8" aria-hidden="true">
      <line
        x1="0"
        y1="4"
        x2="22"
        y2="4"
        stroke="currentColor"
        stroke-width="2"
        stroke-dasharray={dash.join(' ') || undefined}
      />
    </svg>
  );
}

type PlotProps = { chart: Chart; samples: readonly Sample[]; onPoint: (at: number | null) => void };

function Plot({ chart, samples, onPoint }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  // Points that break a line are no samples: the n-th point is not the n-th sample.
  const xs = useRef<readonly number[]>([]);
  const known = useRef(samples);
  known.current = samples;

  useEffect(() => {
    const into = box.current as HTMLDivElement;
    const sampleAt = (point: number | null | undefined): number | null => {
      const x = point == null ? undefined : xs.current[point];
      const found = x === undefined ? -1 : known.current.findIndex(({ at }) => Date.parse(at) / 1_000 === x);
      return found < 0 ? null : found;
    };
    const drawn = new uPlot(
      optionsOf(chart, into, (point) => onPoint(sampleAt(point))),
      [[]] as unknown as uPlot.AlignedData,
      into,
    );
    plot.current = drawn;
    const resized = new ResizeObserver(() => drawn.setSize({ width: into.clientWidth, height: HEIGHT }));
    resized.observe(into);
    return () => {
      resized.disconnect();
      drawn.destroy();
    };
  }, [chart]);

  useEffect(() => {
    const data = dataOf(chart, samples);
    xs.current = data[0];
    const [min, max] = windowOf(samples, Date.now());
    plot.current?.batch(() => {
      plot.current?.setData(data as uPlot.AlignedData, false);
      plot.current?.setScale('x', { min, max });
    });
  }, [chart, samples]);

  useEffect(() => {
    const redraw = () => plot.current?.redraw(false, true);
    redraw();
    const system = matchMedia('(prefers-color-scheme: dark)');
    system.addEventListener('change', redraw);
    return () => system.removeEventListener('change', redraw);
  }, [theme.value]);

  return <div ref={box} class="plot" aria-hidden="true" />;
}

function optionsOf(
  chart: Chart,
  into: HTMLElement,
  onPoint: (point: number | null | undefined) => void,
): uPlot.Options {
  const figure = into.closest('.chart') as HTMLElement;
  // Asked anew at each drawing (G1).
  const coloured = (colour: string) => () =>
    getComputedStyle(figure.querySelector(`.mark[data-colour="${colour}"]`) as Element).color;
  const written = () => getComputedStyle(into).color;
  const ruled = () => getComputedStyle(into).borderTopColor;
  const axis: uPlot.Axis = {
    stroke: written,
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: ruled, width: 1 },
    ticks: { show: false },
  };
  return {
    width: into.clientWidth,
    height: HEIGHT,
    padding: [8, 28, 0, 0], // the last time on the axis is written around its point
    legend: { show: false },
    cursor: { sync: { key: 'overview' }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true, auto: false }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [
      {
        ...axis,
        size: 24,
        space: 70,
        values: (_, ticks, __, ___, step) => ticks.map((s) => clock(s * 1_000).slice(0, step < 60 ? 8 : 5)),
      },
      { ...axis, size: 56, space: 36, values: (_, ticks) => ticks.map(chart.tick) },
    ],
    series: [
      {},
      ...chart.lines.map(({ name, colour, dash = [] }) => ({
        label: name,
        stroke: coloured(colour),
        width: isDark() ? 1.75 : 1.5,
        dash: [...dash],
        points: { show: true, size: 4, filter: alone },
        spanGaps: false,
      })),
    ],
    hooks: { setCursor: [({ cursor }) => onPoint(cursor.idx)] },
  };
}

/** Values without a neighbour, which no line would show. */
const alone: uPlot.Series.Points.Filter = (plot, i) => {
  const values = plot.data[i] as (number | null)[];
  return values.flatMap((value, at) =>
    value !== null && values[at - 1] == null && values[at + 1] == null ? [at] : [],
  );
};

/** The same as a table, minute by minute. */
function Twin({ chart, samples }: { chart: Chart; samples: readonly Sample[] }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="twin" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>As a table</summary>
      {isOpen && (
        <Scrolled look="twin-box" label={`${chart.title}, as a table`}>
          <table class="twin-table">
            <caption class="sr">{chart.title}: the mean of each minute, the newest first</caption>
            <thead>
              <tr>
                <th scope="col">Minute</th>
                {chart.lines.map(({ name }) => (
                  <th key={name} scope="col" data-kind="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {minutesOf(chart, samples).map(({ atMs, values }) => (
                <tr key={atMs}>
                  <th scope="row">{clock(atMs).slice(0, 5)}</th>
                  {values.map((value, i) => (
                    <td key={chart.lines[i]?.name} data-kind="number">
                      {chart.unit(value)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Scrolled>
      )}
    </details>
  );
}
