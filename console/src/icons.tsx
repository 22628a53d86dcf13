// icons.tsx — the few pictures of the page, 16 by 16, drawn with the colour of the text around them.
import type { ComponentChildren } from 'preact';

const LINES = {
  machine: (
    <>
      <circle cx="3.5" cy="8" r="2" />
      <rect x="9.5" y="2.5" width="5" height="4" rx="1.2" />
      <rect x="9.5" y="9.5" width="5" height="4" rx="1.2" />
      <path d="M5.5 8h1.7V4.5h2.3M7.2 8v3.5h2.3" />
    </>
  ),
  users: (
    <>
      <circle cx="6" cy="5" r="2.5" />
      <path d="M1.5 13.5c.3-2.8 2-4.2 4.5-4.2s4.2 1.4 4.5 4.2M10.7 2.8a2.3 2.3 0 0 1 0 4.4M12.3 9.7c1.3.6 2 1.9 2.2 3.8" />
    </>
  ),
  whatif: (
    <>
      <path d="M2 12.5c3.5 0 4.5-9 8-9h4M12 1.5l2 2-2 2M10 12.5h4M12 10.5l2 2-2 2" />
      <path d="M2 3.5c1.4 0 2.4 1.2 3.2 2.7" />
    </>
  ),
  dead: (
    <>
      <path d="M2 4.5 8 9l6-4.5" />
      <rect x="2" y="3" width="12" height="10" rx="1.5" />
    </>
  ),
  waiting: <path d="M4 2h8M4 14h8M5 2v2.5L8 8l3-3.5V2M5 14v-2.5L8 8l3 3.5V14" />,
  partitions: (
    <>
      <rect x="2" y="2.5" width="12" height="3" rx="1" />
      <rect x="2" y="6.5" width="12" height="3" rx="1" />
      <rect x="2" y="10.5" width="12" height="3" rx="1" />
    </>
  ),
  overview: <path d="M2 13.5h12M4 11V8M7 11V4.5M10 11V6.5M13 11V2.5" />,
  operations: <path d="M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6M10 2.7v3.6M6 9.7v3.6" />,
  events: (
    <path d="M5.5 2.5C4 2.5 4 4 4 5s0 2.5-2 3c2 .5 2 2 2 3s0 2.5 1.5 2.5M10.5 2.5C12 2.5 12 4 12 5s0 2.5 2 3c-2 .5-2 2-2 3s0 2.5-1.5 2.5" />
  ),
  search: (
    <>
      <circle cx="7" cy="7" r="4.5" />
      <path d="m10.5 10.5 3.5 3.5" />
    </>
  ),
  copy: (
    <>
      <rect x="5.5" y="5.5" width="8" height="8" rx="1.5" />
      <path d="M10.5 5.5v-2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" />
    </>
  ),
  check: <path d="m3 8.5 3.2 3.2L13 4.8" />,
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  alert: (
    <>
      <path d="M8 2 1.8 13h12.4z" />
      <path d="M8 6.5v3M8 11.3v.1" />
    </>
  ),
  info: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M8 7.3V11M8 5v.1" />
    </>
  ),
  away: (
    <>
      <path d="M2 6.5a8.5 8.5 0 0 1 12 0M4.3 9a5.2 5.2 0 0 1 7.4 0M8 12.3v.1" />
      <path d="m2 2 12 12" />
    </>
  ),
  pause: <path d="M5.5 3.5v9M10.5 3.5v9" />,
  play: <path d="M5 3.2v9.6L12.5 8z" />,
  first: <path d="M4 3.5v9M12 3.8 7 8l5 4.2z" />,
  last: <path d="M12 3.5v9M4 3.8 9 8l-5 4.2z" />,
  back: <path d="M10 3.5 5.5 8l4.5 4.5" />,
  next: <path d="m6 3.5 4.5 4.5L6 12.5" />,
  down: <path d="M3.5 6 8 10.5 12.5 6" />,
  reload: <path d="M13.5 8a5.5 5.5 0 1 1-1.7-4M13.5 1.8V5h-3.2" />,
  external: <path d="M6.5 3.5h-3v9h9v-3M9 2.5h4.5V7M13.5 2.5 7.5 8.5" />,
  eye: (
    <>
      <path d="M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8z" />
      <circle cx="8" cy="8" r="2" />
    </>
  ),
  hold: (
    <>
      <circle cx="8" cy="8" r="6" />
      <path d="M6.3 5.8v4.4M9.7 5.8v4.4" />
    </>
  ),
  plus: <path d="M8 3v10M3 8h10" />,
  minus: <path d="M3 8h10" />,
  tilde: <path d="M3 9c1.7-3 3.3-3 5-1s3.3 2 5-1" />,
  sun: (
    <>
      <circle cx="8" cy="8" r="2.8" />
      <path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9" />
    </>
  ),
  moon: <path d="M13.5 9.3A5.8 5.8 0 0 1 6.7 2.5a5.8 5.8 0 1 0 6.8 6.8z" />,
  auto: (
    <>
      <circle cx="8" cy="8" r="5.5" />
      <path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor" />
    </>
  ),
  graph: (
    <>
      <rect x="1.5" y="5.5" width="4.5" height="5" rx="1" />
      <rect x="10" y="5.5" width="4.5" height="5" rx="1" />
      <path d="M6 8h4" />
    </>
  ),
  table: (
    <>
      <rect x="2" y="3" width="12" height="10" rx="1.5" />
      <path d="M2 6.5h12M6 6.5V13" />
    </>
  ),
  turn: (
    <>
      <path d="M3 5.5h9M9.5 3 12 5.5 9.5 8M13 10.5H4M6.5 8 4 10.5 6.5 13" />
    </>
  ),
  user: (
    <>
      <circle cx="8" cy="5" r="2.7" />
      <path d="M2.8 14c.4-3 2.3-4.7 5.2-4.7s4.8 1.7 5.2 4.7" />
    </>
  ),
  key: (
    <>
      <circle cx="5" cy="10.5" r="2.8" />
      <path d="m7 8.5 6-6M11 4.5l2 2" />
    </>
  ),
  trash: <path d="M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.6 9h6.8l.6-9" />,
  download: <path d="M8 2v8M5 7.3 8 10l3-2.7M2.5 13.5h11" />,
  drift: <path d="M2 5c2-2 4-2 6 0s4 2 6 0M2 11c2-2 4-2 6 0s4 2 6 0" />,
  // The seven outcomes. Filled: it changed the user. Hollow: it came and changed nothing. The last two are not done with.
  applied: <circle cx="8" cy="8" r="4.5" fill="currentColor" />,
  skipped: <circle cx="8" cy="8" r="4.5" />,
  duplicate: (
    <>
      <circle cx="6.3" cy="8" r="4" />
      <path d="M9.5 4.3a4 4 0 1 1 0 7.4" />
    </>
  ),
  stale: (
    <>
      <circle cx="8" cy="8" r="5" />
      <path d="M8 5.2V8l2 1.3" />
    </>
  ),
  rejected: (
    <>
      <circle cx="8" cy="8" r="5" />
      <path d="m4.6 4.6 6.8 6.8" />
    </>
  ),
  deadOutcome: <path d="m4 4 8 8M12 4l-8 8" />,
} satisfies Record<string, ComponentChildren>;

export type IconName = keyof typeof LINES;

/** `label`: only where no word stands beside it. */
export function Icon({ name, size = 16, label }: { name: IconName; size?: number; label?: string }) {
  if (label === undefined)
    return (
      <svg class="icon" viewBox="0 0 16 16" width={size} height={size} {...LOOK} aria-hidden="true">
        {LINES[name]}
      </svg>
    );
  return (
    <svg class="icon" viewBox="0 0 16 16" width={size} height={size} {...LOOK} role="img" aria-label={label}>
      {LINES[name]}
    </svg>
  );
}
const LOOK = {
  fill: 'none',
  stroke: 'currentColor',
  'stroke-width': '1.5',
  'stroke-linecap': 'round',
  'stroke-linejoin': 'round',
} as const;
