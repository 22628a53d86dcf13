// sparkline.tsx — the users of a state over the last quarter of an hour, as a small line with its sentence.
//
// Owns:          the drawing. Does not own: points and words (users-line.ts).
import { counts, series } from '../live.ts';
import './sparkline.css';
import { developed, lineThrough, pointsOf } from './users-line.ts';

const SIZE = { width: 300, height: 36 };
/** Room for the line's own width. */
const EDGE = 2;

export function UsersLine({ state }: { state: string }) {
  const points = pointsOf(state, series.value ?? [], counts.value);
  const said = developed(points);
  if (said === undefined) return <p class="muted small">Not known yet: it is measured every 15 s.</p>;
  return (
    <figure class="sparkline live-value" data-state={state}>
      {/* What it says is the sentence below it. */}
      <svg
        viewBox={`0 ${-EDGE} ${SIZE.width} ${SIZE.height + 2 * EDGE}`}
        preserveAspectRatio="none"
        aria-hidden="true"
        focusable="false"
      >
        <path d={lineThrough(points, SIZE)} vector-effect="non-scaling-stroke" />
      </svg>
      <figcaption class="muted small">{said}</figcaption>
    </figure>
  );
}
