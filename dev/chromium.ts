// chromium.ts — the browser of this machine, which shows the console to tests and takes its pictures. Nothing downloads one.
import { onPath } from './found.ts';

/** As Debian, Alpine and Google call it. */
const NAMES = ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'];

/** Its path: that of CHROMIUM, else the first on PATH; undefined where there is none. */
export function findChromium(): string | undefined {
  return process.env.CHROMIUM ?? NAMES.map(onPath).find((path) => path !== undefined);
}

/** Headless, also as root and in containers with a small /dev/shm, and silent towards its maker. */
export const CHROMIUM_FLAGS = [
  ...['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-quic'],
  ...['--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
];
