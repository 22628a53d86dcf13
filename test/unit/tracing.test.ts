import { describe, expect, test } from 'vitest';
import { createLoad, type Sent, SHARES } from '../../dev/load.ts';
import { openTracing } from '../../src/cli/tracing.ts';
import { producerTrace } from '../../src/trace.ts';

// No span is ended here, so nothing is sent.
const open = () => openTracing('http://127.0.0.1:9');
const EVENTS = createLoad({ ...SHARES, seed: 7, events: 4_000, users: 600, atMs: 1_700_000_000_000 }).more(3_000);

function traceOf({ record }: Sent) {
  const headers = (record.headers ?? []).map(([name, value]) => [name, Buffer.from(value)] as const);
  return producerTrace(headers);
}

describe('producers begin few traces', () => {
  test('one in 100 of the events with headers, always the same ones, over several sends', () => {
    const chosen = (sizes: number) => {
      const tracing = open();
      const sent: Sent[] = [];
      for (let i = 0; i < EVENTS.length; i += sizes) sent.push(...tracing.begin(EVENTS.slice(i, i + sizes)).events);
      return sent.flatMap((event, i) => (traceOf(event) === null ? [] : [i]));
    };
    const withHeaders = EVENTS.filter(({ record }) => record.headers !== undefined).length;
    expect(chosen(3_000)).toHaveLength(Math.ceil(withHeaders / 100));
    expect(chosen(170)).toEqual(chosen(3_000));
  });

  test('an event is otherwise sent as it is, and its copy in the load stays untraced', () => {
    const [event] = EVENTS.filter(({ record }) => record.headers !== undefined) as [Sent];
    const tracing = open();
    const [sent] = tracing.begin([event]).events as [Sent];
    const { headers, ...rest } = sent.record;
    expect({ ...sent, record: { ...rest, headers: headers?.slice(0, -1) } }).toEqual(event);
    expect(traceOf(event)).toBeNull();
    expect([...tracing.begun.keys()]).toEqual([traceOf(sent)?.traceId]);
  });

  test('what is sent as NestJS sends it stays without headers', () => {
    const nest = EVENTS.filter(({ record }) => record.headers === undefined);
    expect(nest.length).toBeGreaterThan(100);
    expect(open().begin(nest).events).toEqual(nest);
  });

  test('however long it runs, a bounded number is remembered', () => {
    const tracing = open();
    const [event] = EVENTS.filter(({ record }) => record.headers !== undefined) as [Sent];
    const many = Array<Sent>(100_000).fill(event);
    for (let i = 0; i < 6; i++) tracing.begin(many);
    expect(tracing.begun.size).toBe(5_000);
  });
});
