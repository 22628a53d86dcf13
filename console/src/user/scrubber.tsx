// scrubber.tsx — through the steps of a history: a slider with a mark per step, buttons, play, keys, and a time to jump to.
import { useEffect, useRef, useState } from 'preact/hooks';
import type { HistoryItem, UserAt } from '../../../src/api/contract.ts';
import { get, problemFor } from '../api.ts';
import { Icon, type IconName } from '../icons.tsx';
import { Choice, isoOf, say } from '../parts.ts';
import { path } from '../router.ts';

type ScrubberProps = {
  userId: string;
  /** 0: before the first event. */
  at: number;
  steps: number;
  history: readonly HistoryItem[];
  onStep: (version: number) => void;
};

const BEAT_MS = 900;
/** More marks than that lie on each other. */
const MOST_MARKS = 240;

export function Scrubber({ userId, at, steps, history, onStep }: ScrubberProps) {
  const [speed, setSpeed] = useState<'1' | '4'>('1');
  const [isPlaying, setPlaying] = useState(false);
  const place = useRef(at);
  place.current = at;
  const go = (version: number) => onStep(Math.max(0, Math.min(steps, version)));
  useEffect(() => {
    if (!isPlaying) return;
    const timer = setInterval(() => {
      if (place.current >= steps) setPlaying(false);
      else onStep(place.current + 1);
    }, BEAT_MS / Number(speed));
    return () => clearInterval(timer);
  }, [isPlaying, speed, steps]);
  // Anywhere on the page where a key means nothing else.
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target as Element;
      if (target !== document.body && target.closest('h1, .main') !== target) return;
      const to = { ArrowLeft: place.current - 1, ArrowRight: place.current + 1, Home: 0, End: steps }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      setPlaying(false);
      go(to);
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [steps]);
  const play = () => {
    if (!isPlaying && at >= steps) onStep(0);
    setPlaying(!isPlaying);
  };
  const button = (name: IconName, label: string, to: number, isOff: boolean) => (
    <button type="button" class="icon-button" onClick={() => go(to)} disabled={isOff} aria-label={label} title={label}>
      <Icon name={name} />
    </button>
  );
  return (
    <div class="scrubber">
      <div class="scrubber-line">
        <div class="scrubber-marks" aria-hidden="true">
          {steps <= MOST_MARKS &&
            history.map(
              ({ version, outcome }) =>
                version !== null && (
                  <span
                    key={version}
                    class="mark"
                    data-outcome={outcome}
                    data-at={version === at}
                    style={{ left: `${(version / Math.max(1, steps)) * 100}%` }}
                  />
                ),
            )}
        </div>
        <input
          type="range"
          style={{ '--at': steps === 0 ? 0 : at / steps }}
          min={0}
          max={steps}
          value={at}
          aria-label="Step"
          aria-valuetext={at === 0 ? 'before the first event' : `step ${at} of ${steps}`}
          onInput={(event) => {
            setPlaying(false);
            go(Number(event.currentTarget.value));
          }}
        />
      </div>
      <div class="scrubber-buttons">
        {button('first', 'Before the first event (Home)', 0, at === 0)}
        {button('back', 'One step back (←)', at - 1, at === 0)}
        <button
          type="button"
          class="icon-button play"
          onClick={play}
          disabled={steps === 0}
          aria-pressed={isPlaying}
          aria-label={isPlaying ? 'Stop' : 'Play'}
          title={isPlaying ? 'Stop' : 'Play'}
        >
          <Icon name={isPlaying ? 'pause' : 'play'} />
        </button>
        {button('next', 'One step on (→)', at + 1, at >= steps)}
        {button('last', 'The last step (End)', steps, at >= steps)}
        <Choice
          label="Speed"
          value={speed}
          onChoose={setSpeed}
          options={[
            { value: '1', label: '1×' },
            { value: '4', label: '4×' },
          ]}
        />
        <output class="scrubber-at">
          {at === 0 ? (
            'before the first event'
          ) : (
            <>
              step <strong>{at}</strong> of {steps}
            </>
          )}
        </output>
        <AtTime userId={userId} onStep={go} />
      </div>
    </div>
  );
}

/** As it was at a time: the step that was the last one then. */
function AtTime({ userId, onStep }: { userId: string; onStep: (version: number) => void }) {
  const [isBusy, setBusy] = useState(false);
  const jump = async (local: string) => {
    const time = isoOf(local);
    if (time === '') return;
    setBusy(true);
    try {
      const { version } = await get<UserAt>(path`users/${userId}/at`, { time });
      onStep(version);
    } catch (error) {
      say(problemFor(error).title, 'bad');
    }
    setBusy(false);
  };
  return (
    <label class="scrubber-time">
      <span>as it was at</span>
      <input
        type="datetime-local"
        step={1}
        disabled={isBusy}
        onChange={(event) => void jump(event.currentTarget.value)}
      />
    </label>
  );
}
