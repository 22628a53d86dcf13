// router.ts — which view an address shows, and how one gets from one address to the next, on the history API.
//
// Owns:          the address as signals, links, the query. Does not own: the views (routes.ts).
//
// N1  The address says all of what is looked at: filters, selection and step stand in it, so that it can be sent to somebody.
// N2  Paths here begin with "/" and know nothing of the base path; `hrefOf` adds it, `pathOf` takes it away.
import { computed, signal } from '@preact/signals';

export type Params = Readonly<Record<string, string>>;
export type Query = Readonly<Record<string, string>>;
/** What a view is given. `query`: of the address, as it is now; empty values are not in it. */
export type ViewProps = { params: Params; query: Query };

/** Under which path the page lies; begins and ends with "/". */
export const BASE = baseOf(globalThis.document?.querySelector('meta[name=base]')?.getAttribute('content'));

function baseOf(content: string | null | undefined): string {
  return `/${(content ?? '').replace(/^\/+|\/+$/g, '')}/`.replace('//', '/');
}

/** The parameters of a path, decoded; undefined where it is another one. `pattern`: "/users/:id". */
export function match(pattern: string, path: string): Params | undefined {
  const [wanted, given] = [pattern.split('/'), path.split('/')];
  if (wanted.length !== given.length) return undefined;
  const params: Record<string, string> = {};
  for (const [i, part] of wanted.entries()) {
    const text = given[i] as string;
    if (!part.startsWith(':')) {
      if (part !== text) return undefined;
      continue;
    }
    const decoded = decode(text);
    if (decoded === undefined || decoded === '') return undefined;
    params[part.slice(1)] = decoded;
  }
  return params;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // a stray "%"
  }
}

/** "/users/auth0%7C42": for ids that may hold anything. */
export function path(strings: TemplateStringsArray, ...ids: (string | number)[]): string {
  return strings
    .map((text, i) => text + (i < ids.length ? encodeURIComponent(ids[i] as string | number) : ''))
    .join('');
}

/** The query of an address; what is said twice counts once, the first. */
export function queryOf(search: string): Query {
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(search)) if (value !== '') query[name] ??= value;
  return query;
}

/** "?a=1&b=2", or nothing. Values that are undefined or empty are left out. */
export function searchOf(query: Readonly<Record<string, string | number | undefined>>): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== '') search.append(name, String(value));
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}

/** A path without the base; paths outside it are as good as unknown. */
export function pathOf(pathname: string, base: string = BASE): string {
  const inside = pathname.startsWith(base) ? pathname.slice(base.length - 1) : pathname;
  return inside.length > 1 ? inside.replace(/\/+$/, '') || '/' : '/';
}

/** What a link needs: `to` is "/users?state=active". */
export function hrefOf(to: string): string {
  return BASE + to.replace(/^\//, '');
}

const here = () => ({ path: pathOf(location.pathname), search: location.search });
const address = signal(globalThis.location === undefined ? { path: '/', search: '' } : here());

export const currentPath = computed(() => address.value.path);
export const currentQuery = computed(() => queryOf(address.value.search));

export function go(to: string, { replace = false } = {}): void {
  const before = address.value.path;
  history[replace ? 'replaceState' : 'pushState'](null, '', hrefOf(to));
  address.value = here();
  if (address.value.path !== before) scrollTo(0, 0);
}

/** Changes parts of the query and keeps the rest; undefined or '' takes a part out. Adds no step to the browser's history
 *  unless told to. */
export function setQuery(change: Readonly<Record<string, string | number | undefined>>, { push = false } = {}): void {
  const search = searchOf({ ...currentQuery.value, ...change });
  if (search === address.value.search) return;
  go(currentPath.value + search, { replace: !push });
}

/** Makes links go without loading the page anew, and the browser's back and forth work. */
export function startRouter(): void {
  addEventListener('popstate', () => {
    address.value = here();
  });
  document.addEventListener('click', (event) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link = (event.target as Element).closest('a');
    if (link === null || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (!link.pathname.startsWith(BASE) || link.dataset.outside !== undefined) return;
    event.preventDefault();
    go(pathOf(link.pathname) + link.search);
  });
}
