// state-colours.ts — the colours of the states, of the same palette as the exported drawing, as rules of a style sheet: whatever has
// `data-state` has --state-line, --state-fill and --state-text.
import { colourOf, STATE_COLOURS } from '../../machines/colours.ts';

const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
paintStates(Object.keys(STATE_COLOURS.light.states));

/** `states`: of the machine, in its order. */
export function paintStates(states: readonly string[]): void {
  sheet.replaceSync(
    states
      .map((state, place) => {
        const [light, dark] = [colourOf(STATE_COLOURS.light, state, place), colourOf(STATE_COLOURS.dark, state, place)];
        const both = (part: keyof typeof light) => `light-dark(${light[part]}, ${dark[part]})`;
        return `[data-state="${CSS.escape(state)}"] { --state-line: ${both('line')}; --state-fill: ${both('fill')}; --state-text: ${both('text')}; }`;
      })
      .join('\n'),
  );
}
