// event-form.tsx — one event as fields, or as the JSON that a producer would send.
import { useId, useState } from 'preact/hooks';
import { EVENT_USER_TYPES, ROLE_MAPPING, STATUSES } from '../../../machines/roles.ts';
import { Choice } from '../parts.ts';
import { type Draft, type EventType, typed } from './drafts.ts';

type FieldSpec = { name: string; label: string; options?: readonly string[]; hint?: string; isOptional?: true };

const ROLES = Object.keys(ROLE_MAPPING);
const USER_TYPE: FieldSpec = { name: 'userType', label: 'User type', options: EVENT_USER_TYPES };
const WHEN: FieldSpec = { name: 'timestamp', label: 'Timestamp', hint: 'now, if empty', isOptional: true };

const FIELDS: Readonly<Record<EventType, readonly FieldSpec[]>> = {
  USER_CREATED: [
    USER_TYPE,
    { name: 'customerAccountId', label: 'Customer', hint: 'none, if empty', isOptional: true },
    { name: 'email', label: 'E-mail' },
    { name: 'name', label: 'Name' },
    { name: 'role', label: "Producer's word for the role" },
    WHEN,
  ],
  USER_STATUS_CHANGED: [
    { name: 'newStatus', label: 'New status', options: STATUSES },
    { name: 'previousStatus', label: 'Previous status', options: STATUSES },
    USER_TYPE,
    WHEN,
  ],
  USER_ROLE_CHANGED: [
    { name: 'newRole', label: 'New role', options: ROLES },
    { name: 'previousRole', label: 'Previous role', options: ROLES },
    USER_TYPE,
    WHEN,
  ],
  USER_DELETED: [USER_TYPE, WHEN],
};

export function EventForm({ draft, onChange }: { draft: Draft; onChange: (draft: Draft) => void }) {
  const [isJson, setJson] = useState(draft.raw !== undefined);
  const id = useId();
  const mode = isJson || draft.raw !== undefined ? 'json' : 'fields';
  return (
    <div class="event-form">
      <Choice
        label="Write it as"
        value={mode}
        onChoose={(mode) => setJson(mode === 'json')}
        options={[
          { value: 'fields', label: 'Fields' },
          { value: 'json', label: 'JSON' },
        ]}
      />
      {mode === 'json' ? (
        <Json draft={draft} onChange={onChange} />
      ) : (
        <div class="event-fields">
          {FIELDS[draft.type].map((field) => (
            <div key={field.name} class="field">
              <label for={`${id}-${field.name}`}>{field.label}</label>
              <Value
                id={`${id}-${field.name}`}
                field={field}
                value={draft.payload[field.name]}
                onValue={(value) =>
                  onChange({
                    type: draft.type,
                    payload: {
                      ...without(draft.payload, field.name),
                      ...(value === '' && field.isOptional ? {} : { [field.name]: value }),
                    },
                  })
                }
              />
            </div>
          ))}
        </div>
      )}
    </div>
  );
}

function without(payload: Draft['payload'], name: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(payload).filter(([each]) => each !== name));
}

function Value({
  id,
  field: { options, hint },
  value,
  onValue,
}: {
  id: string;
  field: FieldSpec;
  value: unknown;
  onValue: (value: string) => void;
}) {
  const text = value === undefined || value === null ? '' : String(value);
  if (options === undefined)
    return (
      <input
        id={id}
        type="text"
        value={text}
        placeholder={hint}
        spellcheck={false}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    );
  return (
    <select id={id} value={text} onChange={(event) => onValue(event.currentTarget.value)}>
      {!options.includes(text) && <option value={text}>{text}</option>}
      {options.map((option) => (
        <option key={option}>{option}</option>
      ))}
    </select>
  );
}

/** While somebody types, the text is theirs. */
function Json({ draft, onChange }: { draft: Draft; onChange: (draft: Draft) => void }) {
  const [text, setText] = useState(draft.raw ?? JSON.stringify(draft.payload, null, 2));
  return (
    <label class="field">
      <span class="sr">Payload of {draft.type}, as JSON</span>
      <textarea
        class="mono"
        rows={Math.min(14, text.split('\n').length + 1)}
        value={text}
        spellcheck={false}
        aria-invalid={draft.raw !== undefined}
        onInput={(event) => {
          setText(event.currentTarget.value);
          onChange(typed(draft.type, event.currentTarget.value));
        }}
      />
      <small class="muted">
        {draft.raw === undefined
          ? 'A missing userId, timestamp or changedBy is filled in.'
          : 'This is no JSON object yet.'}
      </small>
    </label>
  );
}
