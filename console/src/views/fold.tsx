// fold.tsx — what has room beside the rest on a wide window, and is folded away on a phone.
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';

const NARROW = '(max-width: 640px)';

/** `name`: on the phone's button, with how much is set: "Filters · 2". */
export function Fold({ name, children }: { name: string; children: ComponentChildren }) {
  const [isNarrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const change = () => setNarrow(media.matches);
    media.addEventListener('change', change);
    return () => media.removeEventListener('change', change);
  }, []);
  if (!isNarrow) return <>{children}</>;
  return (
    <details class="fold">
      <summary class="button">{name}</summary>
      {children}
    </details>
  );
}
