// format.ts — numbers, times and sizes as people read them. Pure; English, whatever the browser's language: so is the page.

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

/** "88,412"; unknown is "?" and never 0. Takes the API's long integers too. */
export function count(n: number | string | null | undefined): string {
  if (n === null || n === undefined) return '?';
  if (typeof n === 'string') return /^-?\d+$/.test(n) ? WHOLE.format(BigInt(n)) : n;
  return WHOLE.format(n);
}
/** "88.4K", where there is no room. */
export function short(n: number | null | undefined): string {
  return n === null || n === undefined ? '?' : n < 10_000 ? WHOLE.format(n) : SHORT.format(n);
}
/** "1 user", "2 users". */
export function many(n: number | null | undefined, one: string, more = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : more}`;
}
/** What is counted up to a limit: "1,000+". */
export function upTo(n: number | null | undefined, limit: number): string {
  return n !== null && n !== undefined && n > limit ? `${count(limit)}+` : count(n);
}

/** Per second: "1,204/s", "4.2/s", "0.03/s"; nothing that moves is never "0/s". */
export function rate(perSecond: number | null | undefined): string {
  if (perSecond === null || perSecond === undefined) return '?';
  if (perSecond === 0) return '0/s';
  if (perSecond >= 100) return `${WHOLE.format(perSecond)}/s`;
  if (perSecond >= 1) return `${perSecond.toFixed(1)}/s`;
  if (perSecond >= 0.01) return `${perSecond.toFixed(2)}/s`;
  return '<0.01/s';
}
export function percent(part: number | null | undefined): string {
  if (part === null || part === undefined || Number.isNaN(part)) return '?';
  const hundredths = part * 100;
  return `${hundredths > 0 && hundredths < 10 ? hundredths.toFixed(1) : Math.round(hundredths)}%`;
}
export function bytes(n: number): string {
  if (n < 1_000) return `${n} B`;
  return n < 1_000_000 ? `${(n / 1_000).toFixed(1)} kB` : `${(n / 1_000_000).toFixed(1)} MB`;
}

/** "850 ms", "2.4 s", "3 min", "5 h", "12 d". Clocks that differ never give a negative one. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return '?';
  const left = Math.max(0, ms);
  if (left < 1_000) return `${Math.round(left)} ms`;
  const s = left / 1_000;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3_600) return `${Math.floor(s / 3_600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}
/** "just now", "12 s ago", "in 3 min". */
export function ago(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  if (ms < -5_000) return `in ${duration(Math.ceil(-ms / 1_000) * 1_000)}`;
  if (ms < 5_000) return 'just now';
  return ms < 60_000 ? `${Math.floor(ms / 1_000)} s ago` : `${duration(ms)} ago`;
}

/** "2026-01-02 14:03:22.118", in the browser's zone. */
export function moment(iso: string | number, { ms = false } = {}): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return String(iso);
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const rest = ms ? `.${String(date.getMilliseconds()).padStart(3, '0')}` : '';
  return `${day} ${clock(date.getTime())}${rest}`;
}
/** "14:03:22". */
export function clock(atMs: number): string {
  const date = new Date(atMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

/** Any value of a row, in one line. */
export function plain(value: unknown): string {
  if (value === null || value === undefined) return '–';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
/** "isCompanyOwner" → "is company owner", "USER_CREATED" stays. */
export function words(name: string): string {
  return /^[A-Z_]+$/.test(name) ? name : name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();
}
