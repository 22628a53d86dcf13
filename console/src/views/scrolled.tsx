// scrolled.tsx — what is long and scrolls in a frame of its own: reached by the keyboard, and named.
import type { ComponentChildren } from 'preact';

/** `label`: what is in it. */
export function Scrolled({ label, look, children }: { label: string; look: string; children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: without it, nobody could scroll it by keyboard.
    <section class={look} aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}

/** A text as it stands: of a record, of an example. */
export function Payload({ label, text }: { label: string; text: string }) {
  return (
    <Scrolled label={label} look="payload">
      <pre>{text}</pre>
    </Scrolled>
  );
}
