// routes.ts — which view lies at which path. Each is loaded when it is first looked at.
import type { ComponentType } from 'preact';
import { match, type Params, type ViewProps } from './router.ts';

export type View = ComponentType<ViewProps>;
type Loaded = { default: View };
/** Paths of one `name` share a view, which stays when one goes from one to the other. */
export type Route = { path: string; name: string; load: () => Promise<Loaded> };

export const ROUTES: readonly Route[] = [
  { path: '/', name: 'machine', load: () => import('./views/machine.tsx') },
  { path: '/users', name: 'users', load: () => import('./views/users.tsx') },
  { path: '/users/:id', name: 'user', load: () => import('./views/user.tsx') },
  { path: '/what-if', name: 'what-if', load: () => import('./views/what-if.tsx') },
  { path: '/dead-letters', name: 'dead-letters', load: () => import('./views/dead-letters.tsx') },
  { path: '/dead-letters/:id', name: 'dead-letters', load: () => import('./views/dead-letters.tsx') },
  { path: '/waiting', name: 'waiting', load: () => import('./views/waiting.tsx') },
  { path: '/waiting/:id', name: 'waiting', load: () => import('./views/waiting.tsx') },
  { path: '/partitions', name: 'partitions', load: () => import('./views/partitions.tsx') },
  { path: '/overview', name: 'overview', load: () => import('./views/overview.tsx') },
  { path: '/operations', name: 'operations', load: () => import('./views/operations.tsx') },
  { path: '/events', name: 'events', load: () => import('./views/events.tsx') },
];

export function routeOf(path: string): { route: Route; params: Params } | undefined {
  for (const route of ROUTES) {
    const params = match(route.path, path);
    if (params !== undefined) return { route, params };
  }
  return undefined;
}
