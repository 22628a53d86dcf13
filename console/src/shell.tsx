// shell.tsx — the frame around all views: where one can go, whether the numbers are live, who is looking.
import { Component, type ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { problemFor, returns } from './api.ts';
import { ago, count, moment, short } from './format.ts';
import { Icon, type IconName } from './icons.tsx';
import { dead, deadTotal, health, isOld, link, newsAtMs, reopen, startLive, togglePause, waiting } from './live.ts';
import { Login } from './login.tsx';
import { Loading, Note, Problem } from './parts/states.tsx';
import { now } from './parts/time.tsx';
import { Toasts } from './parts/toast.tsx';
import { currentPath, currentQuery, hrefOf } from './router.ts';
import { type Route, routeOf, type View } from './routes.ts';
import { logout, openSession, session, sessionProblem } from './session.ts';
import { setTheme, THEMES, theme } from './theme.ts';

type Place = { to: string; name: string; icon: IconName; badge?: () => { text: string; says: string } | undefined };

const PLACES: readonly (readonly Place[])[] = [
  [
    { to: '/', name: 'Machine', icon: 'machine' },
    { to: '/users', name: 'Users', icon: 'users' },
    { to: '/what-if', name: 'What if', icon: 'whatif' },
  ],
  [
    { to: '/dead-letters', name: 'Dead letters', icon: 'dead', badge: () => numberOf(deadTotal.value, hasMoreDead()) },
    { to: '/waiting', name: 'Waiting', icon: 'waiting', badge: () => numberOf(waiting.value?.total) },
    { to: '/partitions', name: 'Partitions', icon: 'partitions' },
  ],
  [
    { to: '/overview', name: 'Overview', icon: 'overview' },
    { to: '/operations', name: 'Operations', icon: 'operations' },
    { to: '/events', name: 'Events', icon: 'events' },
  ],
];

function numberOf(n: number | undefined, isMore = false) {
  return n ? { text: short(n) + (isMore ? '+' : ''), says: `${count(n)}${isMore ? ' or more' : ''}` } : undefined;
}
/** Of each code up to 1,000 are counted. */
function hasMoreDead(): boolean {
  return Object.values(dead.value ?? {}).some((n) => n > 1_000);
}

export function Shell() {
  const known = session.value;
  if (known === undefined)
    return (
      <main class="alone">
        {sessionProblem.value ? (
          <Problem problem={sessionProblem.value} again={() => void openSession()} />
        ) : (
          <Loading lines={3} what="Asking the service" />
        )}
        {sessionProblem.value && <AskAgain />}
      </main>
    );
  if (known.role === null) return <Login />;
  return <Frame />;
}

/** While the service is not there. */
function AskAgain() {
  useEffect(() => {
    const timer = setInterval(() => void openSession(), 3_000);
    return () => clearInterval(timer);
  }, []);
  return null;
}

let isStarted = false;

function Frame() {
  useEffect(() => {
    if (isStarted) reopen();
    else startLive();
    isStarted = true;
  }, []);
  const path = currentPath.value;
  // Where the names of the views scroll (a phone), the one that is looked at is in sight.
  useEffect(() => {
    const nav = document.querySelector<HTMLElement>('.nav');
    const here = nav?.querySelector<HTMLElement>('[aria-current="page"]');
    if (nav && here) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;
  }, [path]);
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={focusView}>
        Skip to the content
      </button>
      <aside class="side">
        <a class="brand" href={hrefOf('/')}>
          <img src={hrefOf('/icon.svg')} width="24" height="24" alt="" />
          <span>Customer Service</span>
        </a>
        <nav class="nav" aria-label="Views">
          {PLACES.map((group) => (
            <ul key={group[0]?.to}>
              {group.map((place) => (
                <Entry key={place.to} place={place} />
              ))}
            </ul>
          ))}
        </nav>
        <div class="side-foot">
          <LiveState />
          <ThemeChoice />
          <Who />
        </div>
      </aside>
      <main class="main" id="view" tabIndex={-1} data-old={isOld.value}>
        <Banners />
        <Outlet />
      </main>
      <Toasts />
    </div>
  );
}

function focusView(): void {
  document.querySelector<HTMLElement>('#view')?.focus();
}

function Entry({ place: { to, name, icon, badge } }: { place: Place }) {
  const path = currentPath.value;
  const isHere = to === '/' ? path === '/' : path === to || path.startsWith(`${to}/`);
  const number = badge?.();
  return (
    <li>
      <a
        href={hrefOf(to)}
        aria-current={isHere ? 'page' : undefined}
        onPointerEnter={() =>
          void routeOf(to)
            ?.route.load()
            .catch(() => undefined)
        }
      >
        <Icon name={icon} />
        <span class="nav-name">{name}</span>
        {number && (
          <span class="nav-number">
            <span aria-hidden="true">{number.text}</span>
            <span class="sr">, {number.says}</span>
          </span>
        )}
      </a>
    </li>
  );
}

const LINK_SAYS = { open: 'Live', connecting: 'Connecting', away: 'Disconnected', paused: 'Paused' } as const;

function LiveState() {
  const { is } = link.value;
  const title = newsAtMs.value ? `News came last at ${moment(newsAtMs.value)}` : undefined;
  return (
    <div class="live" data-is={is}>
      <span class="live-dot" aria-hidden="true" />
      <span class="live-word" title={title}>
        {LINK_SAYS[is]}
      </span>
      <button
        type="button"
        class="icon-button"
        onClick={togglePause}
        aria-pressed={is === 'paused'}
        aria-keyshortcuts="p"
        title={is === 'paused' ? 'Go on (P)' : 'Pause what moves (P)'}
        aria-label={is === 'paused' ? 'Go on with live numbers' : 'Pause live numbers'}
      >
        <Icon name={is === 'paused' ? 'play' : 'pause'} />
      </button>
    </div>
  );
}

const THEME_ICONS = { auto: 'auto', light: 'sun', dark: 'moon' } as const;

function ThemeChoice() {
  return (
    <fieldset class="choice icons" aria-label="Theme">
      {THEMES.map((each) => (
        <button
          key={each}
          type="button"
          aria-pressed={theme.value === each}
          title={`Theme: ${each}`}
          aria-label={each}
          onClick={() => setTheme(each)}
        >
          <Icon name={THEME_ICONS[each]} size={14} />
        </button>
      ))}
    </fieldset>
  );
}

function Who() {
  const { role, who, mode } = session.value ?? {};
  return (
    <div class="who">
      <Icon name={role === 'operator' ? 'key' : 'eye'} size={14} />
      <span class="who-name" title={who ?? undefined}>
        {mode === 'none' || who === role ? role : `${who} · ${role}`}
      </span>
      {mode !== 'none' && (
        <button type="button" class="button quiet small" onClick={() => void logout()}>
          Log out
        </button>
      )}
    </div>
  );
}

/** "5 s old" of "5 s ago" */
function ageOf(ago: string): string {
  return ago.endsWith(' ago') ? ago.replace(' ago', ' old') : 'a moment old';
}

/** What concerns every view. Said once a change, not once a second. */
function Banners() {
  const { is, sinceMs } = link.value;
  const { reasons = [], redis, kafka, postgres } = health.value ?? {};
  const away = Object.entries({ Kafka: kafka, Postgres: postgres, Redis: redis })
    .filter(([, how]) => how === 'away')
    .map(([name]) => name);
  const age = newsAtMs.value === undefined ? undefined : ageOf(ago(newsAtMs.value, now.value));
  return (
    <div class="banners" aria-live="polite">
      {is === 'away' && (
        <Note tone="bad" icon="away">
          <strong>Disconnected since {moment(sinceMs).slice(11)}</strong>, trying again.{' '}
          {age !== undefined && <span aria-live="off">What is shown is {age}.</span>}
        </Note>
      )}
      {is === 'paused' && (
        <Note tone="info" icon="pause">
          <strong>Paused since {moment(sinceMs).slice(11)}.</strong> Numbers stand still until you go on.{' '}
          <button type="button" class="link" onClick={togglePause}>
            Go on
          </button>
        </Note>
      )}
      {is !== 'away' && away.length > 0 && (
        <Note tone="warn">
          <strong>
            {away.join(' and ')} {away.length > 1 ? 'are' : 'is'} away.
          </strong>{' '}
          {reasons.join(' ')}
        </Note>
      )}
    </div>
  );
}

/** The view that the address names; the one before stays until the next is there. */
function Outlet() {
  const found = routeOf(currentPath.value);
  const [shown, show] = useState<{ route: Route; View: View }>();
  const [failed, setFailed] = useState<unknown>();
  const wanted = found?.route;
  const isFirst = useRef(true);
  useEffect(() => {
    if (wanted === undefined) return;
    let isCurrent = true;
    setFailed(undefined);
    wanted.load().then(
      ({ default: View }) => isCurrent && show({ route: wanted, View }),
      (error: unknown) => isCurrent && setFailed(error),
    );
    return () => {
      isCurrent = false;
    };
  }, [wanted?.name, returns.value]);
  // Somebody who listens is told that another view is there: its heading gets the focus.
  useEffect(() => {
    if (shown === undefined) return;
    if (!isFirst.current) document.querySelector<HTMLElement>('#view h1')?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [shown]);
  if (found === undefined)
    return (
      <div class="page">
        <h1>There is no such page</h1>
        <p class="muted">
          Nothing lies at {currentPath.value}. <a href={hrefOf('/')}>To the machine</a>
        </p>
      </div>
    );
  if (failed !== undefined)
    return (
      <Problem
        problem={{
          ...problemFor(failed),
          title: 'This part of the page could not be loaded',
          detail:
            link.value.is === 'away'
              ? 'It is loaded once the service answers again.'
              : 'The service may have been updated meanwhile.',
        }}
        again={() => location.reload()}
      />
    );
  if (shown === undefined || shown.route.name !== found.route.name)
    return (
      <div class="page">
        <Loading lines={8} />
      </div>
    );
  return (
    <Guard key={found.route.name}>
      <shown.View params={found.params} query={currentQuery.value} />
    </Guard>
  );
}

/** A mistake in one view takes only that view down. */
class Guard extends Component<{ children: ComponentChildren }, { error?: unknown }> {
  override state: { error?: unknown } = {};
  override componentDidCatch(error: unknown): void {
    console.error(error);
    this.setState({ error });
  }
  override render() {
    if (this.state.error === undefined) return this.props.children;
    return <Problem problem={problemFor(this.state.error)} again={() => this.setState({ error: undefined })} />;
  }
}
