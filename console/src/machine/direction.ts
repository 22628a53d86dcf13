// direction.ts — which way the machine is drawn where nobody chose: from left to right, but downwards on a phone.
import { useEffect, useState } from 'preact/hooks';
import type { Geometry } from '../../../src/api/contract.ts';

const NARROW = '(max-width: 760px)';

export function useFitting(): Geometry['direction'] {
  const [isNarrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const onChange = () => setNarrow(media.matches);
    media.addEventListener('change', onChange);
    return () => media.removeEventListener('change', onChange);
  }, []);
  return isNarrow ? 'TB' : 'LR';
}
