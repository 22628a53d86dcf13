// row-diff.tsx — a user's row at one step, and what that step did to it: + new, ~ changed, – gone.
import { moment, plain, words } from '../format.ts';

type Row = Readonly<Record<string, unknown>> | null;
export type Field = { name: string; sign: '+' | '~' | '–' | ''; before: unknown; after: unknown };

/** Changed fields first, each half in the row's own order. */
export function fieldsOf(before: Row, after: Row, changed: readonly string[]): Field[] {
  const names = [...new Set([...Object.keys(after ?? {}), ...Object.keys(before ?? {})])];
  const fields = names.map((name): Field => {
    const [was, is] = [before?.[name], after?.[name]];
    const nothing = (value: unknown) => value === null || value === undefined;
    const sign =
      !changed.includes(name) || (nothing(was) && nothing(is)) ? '' : nothing(was) ? '+' : nothing(is) ? '–' : '~';
    return { name, sign, before: was, after: is };
  });
  return [...fields.filter(({ sign }) => sign !== ''), ...fields.filter(({ sign }) => sign === '')];
}

/** Times as such: ISO, or ms since 1970. */
function shown(name: string, value: unknown): string {
  const isTime =
    (name.endsWith('AtMs') && typeof value === 'number') || (name.endsWith('At') && typeof value === 'string');
  return isTime ? moment(value, { ms: true }) : plain(value);
}

const SAYS = { '+': 'new', '~': 'changed', '–': 'gone', '': 'same' } as const;

/** `isLean`: only what changed. */
export function RowDiff({
  before,
  after,
  changed,
  isLean = false,
}: {
  before: Row;
  after: Row;
  changed: readonly string[];
  isLean?: boolean;
}) {
  const fields = fieldsOf(before, after, changed).filter(({ sign }) => !isLean || sign !== '');
  if (fields.length === 0) return <p class="muted">{isLean ? 'No field of the row changed.' : 'There is no row.'}</p>;
  return (
    <table class="diff">
      <caption class="sr">The row, with what this step changed</caption>
      <tbody>
        {fields.map(({ name, sign, before, after }) => (
          <tr key={name} data-sign={SAYS[sign]}>
            <td class="diff-sign">
              <span aria-hidden="true">{sign}</span>
              <span class="sr">{SAYS[sign]}</span>
            </td>
            <th scope="row">{words(name.replace(/AtMs$/, 'At'))}</th>
            <td class="diff-value">
              {sign === '~' && (
                <>
                  <del>{shown(name, before)}</del>{' '}
                  <span class="muted" aria-hidden="true">
                    →
                  </span>{' '}
                </>
              )}
              {sign === '–' ? (
                <del>{shown(name, before)}</del>
              ) : sign === '' ? (
                shown(name, after)
              ) : (
                <ins>{shown(name, after)}</ins>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
