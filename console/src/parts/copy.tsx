// copy.tsx — ids: shortened where they are long, with a button that copies all of it, and a link to what they are of.
import { useEffect, useState } from 'preact/hooks';
import { Icon } from '../icons.tsx';
import { hrefOf, path } from '../router.ts';
import { session } from '../session.ts';
import { say } from './toast.tsx';

export function CopyButton({ text, what = 'id' }: { text: string; what?: string }) {
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    if (!isDone) return;
    const timer = setTimeout(() => setDone(false), 1_500);
    return () => clearTimeout(timer);
  }, [isDone]);
  const copy = async () => {
    const ok = await copied(text);
    setDone(ok);
    say(ok ? `Copied the ${what}` : `The browser did not let the ${what} be copied`, ok ? 'good' : 'bad');
  };
  return (
    <button
      type="button"
      class="icon-button small copy"
      onClick={copy}
      aria-label={`Copy the ${what}`}
      title={`Copy the ${what}`}
    >
      <Icon name={isDone ? 'check' : 'copy'} size={13} />
    </button>
  );
}

/** The clipboard's own way needs https or loopback. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement('textarea'), { value: text });
    document.body.append(area);
    area.select();
    const ok = document.execCommand('copy');
    area.remove();
    return ok;
  }
}

/** `to`: where it leads, "/users/…". `most`: letters that are shown; the middle of a longer one is left out. */
export function Id({
  id,
  to,
  what = 'id',
  most = 28,
  copy = true,
}: {
  id: string;
  to?: string;
  what?: string;
  most?: number;
  copy?: boolean;
}) {
  const text = (
    <span class="mono" title={id.length > most ? id : undefined}>
      {shortened(id, most)}
    </span>
  );
  return (
    <span class="id">
      {to === undefined ? text : <a href={hrefOf(to)}>{text}</a>}
      {copy && <CopyButton text={id} what={what} />}
    </span>
  );
}
export function shortened(id: string, most: number): string {
  if (id.length <= most) return id;
  const end = Math.floor((most - 1) / 3);
  return `${id.slice(0, most - 1 - end)}…${id.slice(-end)}`;
}

export function UserId({ id, copy = true, most }: { id: string; copy?: boolean; most?: number }) {
  return <Id id={id} to={path`/users/${id}`} what="user id" copy={copy} {...(most === undefined ? {} : { most })} />;
}
export function CustomerId({ id, copy = true }: { id: string; copy?: boolean }) {
  return <Id id={id} to={`/users?customer=${encodeURIComponent(id)}`} what="customer id" copy={copy} />;
}

/** "user-events/4@99121" */
export function Coordinates({ topic, partition, offset }: { topic: string; partition: number; offset: string }) {
  return <Id id={`${topic}/${partition}@${offset}`} what="coordinates" most={40} />;
}

/** To Jaeger, where it has pages; else only to be copied. null: it was not sampled. */
export function TraceLink({ traceId }: { traceId: string | null | undefined }) {
  if (!traceId) return <span class="muted">–</span>;
  const base = session.value?.jaegerUrl;
  return (
    <span class="id">
      {base ? (
        <a href={`${base}/trace/${traceId}`} target="_blank" rel="noreferrer" title={`Trace ${traceId}, in Jaeger`}>
          <span class="mono">{traceId.slice(0, 8)}</span> <Icon name="external" size={11} label="opens Jaeger" />
        </a>
      ) : (
        <span class="mono" title={traceId}>
          {traceId.slice(0, 8)}
        </span>
      )}
      <CopyButton text={traceId} what="trace id" />
    </span>
  );
}
