/** Fields of forms: each with its name, its hint and its error. */
import type { InputHTMLAttributes } from "preact";
import { Field } from "./parts.tsx";

interface FieldProps<Value> {
  readonly label: string;
  readonly hint?: string | undefined;
  readonly error?: string | undefined;
  readonly value: Value;
  readonly onChange: (value: Value) => void;
  readonly isDisabled?: boolean;
  readonly isRequired?: boolean;
}

export interface TextProps extends FieldProps<string> {
  readonly type?: "text" | "email" | "password" | "url" | "date";
  readonly inputMode?: "decimal" | "numeric" | "text" | "url";
  readonly autocomplete?: string;
  readonly name?: string;
  readonly isReadOnly?: boolean;
  readonly onLeave?: () => void;
}

export function TextField(props: TextProps) {
  return (
    <Field label={props.label} hint={props.hint} error={props.error}>
      {(ids) => (
        <input
          {...ids}
          {...({ type: props.type ?? "text" } as InputHTMLAttributes<HTMLInputElement>)}
          name={props.name}
          inputMode={props.inputMode}
          autocomplete={props.autocomplete ?? "off"}
          required={props.isRequired}
          readOnly={props.isReadOnly}
          disabled={props.isDisabled}
          value={props.value}
          onInput={(event) => props.onChange(event.currentTarget.value)}
          onBlur={props.onLeave}
        />
      )}
    </Field>
  );
}

export function AreaField(props: FieldProps<string> & { readonly onLeave?: () => void; readonly rows?: number }) {
  return (
    <Field label={props.label} hint={props.hint} error={props.error}>
      {(ids) => (
        <textarea
          {...ids}
          rows={props.rows}
          disabled={props.isDisabled}
          value={props.value}
          onInput={(event) => props.onChange(event.currentTarget.value)}
          onBlur={props.onLeave}
        />
      )}
    </Field>
  );
}

export type Choice = readonly [value: string, name: string];

export function SelectField(props: FieldProps<string> & { readonly choices: readonly Choice[]; readonly empty?: string }) {
  return (
    <Field label={props.label} hint={props.hint} error={props.error}>
      {(ids) => (
        <select {...ids} required={props.isRequired} disabled={props.isDisabled} onChange={(event) => props.onChange(event.currentTarget.value)}>
          {props.empty !== undefined && (
            <option value="" selected={props.value === ""}>
              {props.empty}
            </option>
          )}
          {props.choices.map(([value, name]) => (
            <option key={value} value={value} selected={value === props.value}>
              {name}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function CheckField(props: {
  readonly label: string;
  readonly value: boolean;
  readonly onChange: (value: boolean) => void;
  readonly isDisabled?: boolean;
}) {
  return (
    <label class="choice">
      <input
        type="checkbox"
        checked={props.value}
        disabled={props.isDisabled}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
      {props.label}
    </label>
  );
}
