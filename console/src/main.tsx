// main.tsx — the page begins here: who is looking, the frame around all views, and the view that the address names.
import { render } from 'preact';
import './style.css';
import { currentPath, startRouter } from './router.ts';
import { routeOf } from './routes.ts';
import { openSession } from './session.ts';
import { Shell } from './shell.tsx';
import './state-colours.ts';

startRouter();
void openSession();
// Beside the question who is looking, not after it. What goes wrong is said where it is shown.
routeOf(currentPath.value)
  ?.route.load()
  .catch(() => undefined);
render(<Shell />, document.querySelector('#app') as HTMLElement);
