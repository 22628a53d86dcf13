import { afterEach, describe, expect, test, vi } from 'vitest';
import { drawTree, hasPages, readTrace, readWithBatches, spansOf } from '../../src/cli/trace-tree.ts';

const ID = 'f'.repeat(32);
const BATCH = 'b'.repeat(32);
const [SEND, PROCESS] = ['1'.repeat(16), '2'.repeat(16)];

afterEach(() => void vi.unstubAllGlobals());

/** `startMs`, `endMs`: of a day long ago. */
function span(
  name: string,
  spanId: string,
  parentSpanId: string,
  [startMs, endMs]: [number, number],
  more: object = {},
) {
  const ns = (ms: number) => `17000000000${String(ms * 1e6).padStart(8, '0')}`;
  return {
    traceId: ID,
    ...{ spanId, parentSpanId, name, kind: 1, startTimeUnixNano: ns(startMs), endTimeUnixNano: ns(endMs) },
    ...more,
  };
}
const text = (key: string, stringValue: string) => ({ key, value: { stringValue } });
const resource = (service: string, ...spans: object[]) => ({
  resource: { attributes: [text('service.name', service)] },
  scopeSpans: [{ scope: {}, spans }],
});
const answer = (...resourceSpans: object[]) => ({ result: { resourceSpans } });

const APPLIED = answer(
  resource(
    'customer-service',
    span('process user-events', PROCESS, SEND, [5, 17.25], {
      kind: 5,
      attributes: [
        text('customer_service.outcome', 'applied'),
        text('customer_service.machine.state.from', 'pending'),
        text('customer_service.machine.state.to', 'active'),
        { key: 'messaging.kafka.offset', value: { intValue: '9007199254740991' } },
      ],
      links: [{ traceId: BATCH, spanId: '3'.repeat(16) }],
    }),
  ),
  resource('accounting', span('send user-events', SEND, '', [0, 2.5], { kind: 4 })),
);

describe('a trace is drawn', () => {
  test('each span below its parent, whoever sent it first, with what became of the event', () => {
    expect(drawTree(spansOf(APPLIED))).toBe(
      [
        'span                   service           starts ms  takes ms  outcome',
        'send user-events       accounting             +0.0       2.5',
        '  process user-events  customer-service       +5.0      12.3  applied: pending → active',
        '',
      ].join('\n'),
    );
  });

  test('siblings in the order of their starts; a failed one says so', () => {
    const spans = spansOf(
      answer(
        resource(
          'customer-service',
          span('COMMIT', '5'.repeat(16), '3'.repeat(16), [3, 4], { status: { code: 2 } }),
          span('UPDATE positions', '4'.repeat(16), '3'.repeat(16), [1, 2]),
          span('customer_service.save', '3'.repeat(16), '0'.repeat(16), [0, 4], {
            status: { code: 'STATUS_CODE_ERROR' },
          }),
        ),
      ),
    );
    expect(
      drawTree(spans)
        .split('\n')
        .map((line) => line.replace(/ {2,}customer-service.* {2,}/, ' … ')),
    ).toEqual([
      expect.stringContaining('span'),
      expect.stringMatching(/^customer_service\.save .* error$/),
      expect.stringMatching(/^ {2}UPDATE positions /),
      expect.stringMatching(/^ {2}COMMIT .* error$/),
      '',
    ]);
  });

  test('a batch with the counts of its outcomes', () => {
    const count = (name: string, n: number) => ({
      key: `customer_service.batch.${name}`,
      value: { intValue: String(n) },
    });
    const attributes = [count('user_count', 9), count('waiting_count', 1), count('applied_count', 3)];
    const spans = spansOf(answer(resource('customer-service', span('process x', PROCESS, '', [0, 1], { attributes }))));
    expect(drawTree(spans)).toMatch(/ applied 3, waiting 1$/m);
  });

  test('a span whose parent did not arrive, and spans in a circle, are not left out', () => {
    const spans = spansOf(
      answer(
        resource(
          'x',
          span('lost parent', '6'.repeat(16), '7'.repeat(16), [0, 1]),
          span('a', '8'.repeat(16), '9'.repeat(16), [1, 2]),
          span('b', '9'.repeat(16), '8'.repeat(16), [1, 2]),
        ),
      ),
    );
    expect(drawTree(spans).match(/^ *(lost parent|a|b) /gm)).toEqual(['lost parent ', 'a ', '  b ']);
  });

  test('fields that are missing are empty', () => {
    const [one] = spansOf({
      result: { resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: ID, spanId: SEND }] }] }] },
    });
    expect(one).toMatchObject({
      service: '?',
      kind: 0,
      parentId: undefined,
      attributes: {},
      links: [],
      isError: false,
    });
    expect(spansOf({})).toEqual([]);
    expect(spansOf(null)).toEqual([]);
  });
});

describe('a trace is asked for', () => {
  /** Answers in this order, the last one for ever. */
  function jaeger(...answers: [status: number, body: unknown][]) {
    const asked: string[] = [];
    vi.stubGlobal('fetch', async (url: URL) => {
      const [status, body] = (answers.length > 1 ? answers.shift() : answers[0]) as [number, unknown];
      asked.push(String(url));
      return new Response(typeof body === 'string' ? body : JSON.stringify(body), { status });
    });
    return asked;
  }

  test('until it is there', async () => {
    const asked = jaeger([404, { error: {} }], [404, { error: {} }], [200, APPLIED]);
    expect(await readTrace('http://jaeger:1', ID)).toHaveLength(2);
    expect(asked).toEqual(Array(3).fill(`http://jaeger:1/api/v3/traces/${ID}`));
  });

  test('until there is enough of it, or the time is over', async () => {
    jaeger([200, APPLIED]);
    expect(await readTrace('http://jaeger:1', ID, { withinMs: 0, enough: () => false })).toHaveLength(2);
    jaeger([404, {}]);
    expect(await readTrace('http://jaeger:1', ID, { withinMs: 0 })).toEqual([]);
  });

  test('with the batch that handled its event', async () => {
    const asked = jaeger(
      [200, APPLIED],
      [200, answer(resource('customer-service', span('x', '3'.repeat(16), '', [0, 1])))],
    );
    expect(await readWithBatches('http://jaeger:1', ID)).toHaveLength(2);
    expect(asked[1]).toBe(`http://jaeger:1/api/v3/traces/${BATCH}`);
  });

  test('what Jaeger refuses is an error', async () => {
    jaeger([500, 'no']);
    await expect(readTrace('http://jaeger:1', ID)).rejects.toThrow('Jaeger answers 500');
  });

  test('its pages are told from the placeholder of one built from source', async () => {
    jaeger([200, '<title>Jaeger UI</title>'], [200, '<title>Test Page</title> This is not the Jaeger UI']);
    expect(await hasPages('http://jaeger:1')).toBe(true);
    expect(await hasPages('http://jaeger:1')).toBe(false);
  });
});
