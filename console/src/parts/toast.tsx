// toast.tsx — a word about what was just done, at the lower edge, read aloud, gone by itself.
import { signal } from '@preact/signals';
import { Icon } from '../icons.tsx';

type Said = { n: number; text: string; tone: 'good' | 'bad' };
const said = signal<readonly Said[]>([]);
let n = 0;

export function say(text: string, tone: Said['tone'] = 'good'): void {
  const one = { n: ++n, text, tone };
  said.value = [...said.value.slice(-2), one];
  setTimeout(() => (said.value = said.value.filter((each) => each !== one)), tone === 'bad' ? 8_000 : 4_000);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {said.value.map(({ n, text, tone }) => (
        <p key={n} class="toast" data-tone={tone}>
          <Icon name={tone === 'good' ? 'check' : 'alert'} /> {text}
        </p>
      ))}
    </div>
  );
}
