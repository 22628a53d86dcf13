// bar.tsx — a part of a whole as a bar; the number stands beside it, so that nobody needs to see it.

/** `part`: between 0 and 1; null: unknown. `isHigh`: it comes near its limit. */
export function Bar({ part, isHigh = false }: { part: number | null; isHigh?: boolean }) {
  // What is there at all is seen.
  const width = part === null || part <= 0 ? '0' : `max(3px, ${Math.round(Math.min(1, part) * 1_000) / 10}%)`;
  return (
    <span class="part" data-unknown={part === null} data-high={isHigh} aria-hidden="true">
      <span style={{ width }} />
    </span>
  );
}
