// filters.tsx — what a list is narrowed by: fields that stand in the address, so that a filtered list can be sent to somebody.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Icon } from '../icons.tsx';
import { currentQuery, setQuery } from '../router.ts';

export type Field = { name: string; label: string; placeholder?: string } & (
  | { kind: 'search' | 'text' }
  | { kind: 'choice'; options: readonly (string | { value: string; label: string })[]; any?: string }
  | { kind: 'time' }
);

/** `children`: what else belongs into the line. */
export function Filters({ fields, children }: { fields: readonly Field[]; children?: ComponentChildren }) {
  const query = currentQuery.value;
  const isNarrow = fields.some(({ name }) => query[name] !== undefined);
  const clear = () => setQuery(Object.fromEntries(fields.map(({ name }) => [name, undefined])));
  return (
    <search class="filters">
      {fields.map((field) => (
        <div key={field.name} class="filter" data-kind={field.kind}>
          <label for={`filter-${field.name}`}>{field.label}</label>
          <Input id={`filter-${field.name}`} field={field} value={query[field.name] ?? ''} />
        </div>
      ))}
      {isNarrow && (
        <button type="button" class="button quiet small" onClick={clear}>
          <Icon name="close" size={12} /> Clear
        </button>
      )}
      {children}
    </search>
  );
}

type InputProps = { id: string; field: Field; value: string };

function Input({ id, field, value }: InputProps) {
  if (field.kind === 'choice')
    return (
      <select id={id} value={value} onChange={(event) => setQuery({ [field.name]: event.currentTarget.value })}>
        <option value="">{field.any ?? 'any'}</option>
        {value !== '' && !field.options.some((option) => textOf(option) === value) && (
          <option value={value}>{value}</option>
        )}
        {field.options.map((option) => (
          <option key={textOf(option)} value={textOf(option)}>
            {typeof option === 'string' ? option : option.label}
          </option>
        ))}
      </select>
    );
  if (field.kind === 'time')
    return (
      <input
        id={id}
        type="datetime-local"
        step={1}
        value={localOf(value)}
        onChange={(event) => setQuery({ [field.name]: isoOf(event.currentTarget.value) })}
      />
    );
  return <TextInput id={id} field={field} value={value} />;
}
function textOf(option: string | { value: string }): string {
  return typeof option === 'string' ? option : option.value;
}

/** Waits until nobody types any more. */
const PAUSE_MS = 300;

function TextInput({ id, field, value }: InputProps) {
  const [typed, setTyped] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const apply = (text: string) => setQuery({ [field.name]: text.trim() });
  return (
    <input
      id={id}
      type="search"
      value={typed}
      placeholder={field.placeholder}
      maxLength={512}
      spellcheck={false}
      autocomplete="off"
      onInput={(event) => {
        const text = event.currentTarget.value;
        setTyped(text);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => apply(text), PAUSE_MS);
      }}
      onKeyDown={(event) => {
        if (event.key !== 'Enter') return;
        clearTimeout(timer.current);
        apply(event.currentTarget.value);
      }}
    />
  );
}

/** What `<input type="datetime-local">` shows of an ISO time: the browser's zone, seconds. */
export function localOf(iso: string): string {
  const ms = Date.parse(iso);
  if (Number.isNaN(ms)) return '';
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
export function isoOf(local: string): string {
  const ms = Date.parse(local);
  return Number.isNaN(ms) ? '' : new Date(ms).toISOString();
}
