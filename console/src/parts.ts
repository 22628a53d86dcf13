// parts.ts — what views are made of, under one name.
export * from './parts/act.tsx';
export * from './parts/badge.tsx';
export * from './parts/copy.tsx';
export * from './parts/dialog.tsx';
export * from './parts/filters.tsx';
export * from './parts/find-user.tsx';
export * from './parts/page.tsx';
export * from './parts/pager.tsx';
export * from './parts/states.tsx';
export * from './parts/table.tsx';
export * from './parts/time.tsx';
export * from './parts/toast.tsx';
