// theme.ts — light, dark, or as the system says: chosen here, kept in this browser (public/theme.js applies it before the first paint).
import { signal } from '@preact/signals';

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

export const theme = signal<Theme>((globalThis.document?.documentElement.dataset.theme as Theme | undefined) ?? 'auto');

export function setTheme(chosen: Theme): void {
  theme.value = chosen;
  if (chosen === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem('theme', chosen);
  } catch {
    // Storage is off: until the page is closed.
  }
}

/** As it is seen now. */
export function isDark(): boolean {
  return theme.value === 'dark' || (theme.value === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
}
