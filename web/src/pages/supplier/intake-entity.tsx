/** Section 1: the company. */
import { useRef } from "preact/hooks";
import type { Schemas } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { useAutosave } from "../../app/autosave.ts";
import { COUNTRIES } from "../../app/countries.ts";
import { AreaField, SelectField, TextField } from "../../app/fields.tsx";
import { intakeTexts as texts } from "../../text.ts";
import { type Filing, SectionFrame, errorOf } from "./intake-parts.tsx";
import { orNull } from "../../app/words.ts";

const FIELDS = ["legal_name", "jurisdiction", "registration_number", "incorporated_on", "address"] as const;
type Name = (typeof FIELDS)[number];

export function EntitySection(props: { readonly filing: Filing; readonly loaded: Schemas["EntitySection"] }) {
  const { content } = props.loaded;
  const version = useRef(props.loaded.version);
  const initial = Object.fromEntries(FIELDS.map((name) => [name, content[name] ?? ""])) as Record<Name, string>;
  const form = useAutosave(initial, {
    findGap: () => null,
    save: async (value) => {
      const said = Object.fromEntries(FIELDS.map((name) => [name, orNull(value[name])]));
      const saved = await props.filing.save(() =>
        supply.put("/v1/supply/kyb/entity", { body: { version: version.current, content: said } }),
      );
      version.current = saved.entity.version;
    },
  });
  const field = (name: Name) => ({
    name,
    value: form.value[name],
    onChange: (text: string) => form.change({ ...form.value, [name]: text }),
    error: errorOf(form.saving, `entity.${name}`),
  });
  return (
    <SectionFrame id="entity" number={1} filing={props.filing} lead={texts.entityLead} saving={form.saving} savedAtS={props.loaded.saved_at} saveNow={form.saveNow}>
      <div class="pair">
        <TextField label={texts.legalName} autocomplete="organization" {...field("legal_name")} />
        <SelectField label={texts.jurisdiction} choices={COUNTRIES} empty={texts.choose} {...field("jurisdiction")} />
        <TextField label={texts.registration} hint={texts.registrationHint} {...field("registration_number")} />
        <TextField label={texts.incorporated} type="date" {...field("incorporated_on")} />
      </div>
      <AreaField label={texts.address} rows={3} {...field("address")} />
    </SectionFrame>
  );
}
