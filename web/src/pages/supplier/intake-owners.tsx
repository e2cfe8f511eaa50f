/** Section 2: owners of at least 10 %, and legal representatives. */
import { useRef } from "preact/hooks";
import type { Schemas } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { useAutosave } from "../../app/autosave.ts";
import { COUNTRIES } from "../../app/countries.ts";
import { type Choice, SelectField, TextField } from "../../app/fields.tsx";
import { idTypeNames, intakeTexts as texts, ownerRoleNames } from "../../text.ts";
import { type Filing, SectionFrame, errorOf } from "./intake-parts.tsx";
import { type OwnerRow, adoptSaved, findGap, newRow, sumShares, toRow, toWish } from "./owner-rows.ts";

const OWNERS_MAX = 20;
const ID_TYPES: readonly Choice[] = Object.entries(idTypeNames);
const ROLES: readonly Choice[] = Object.entries(ownerRoleNames);

export function OwnersSection(props: { readonly filing: Filing; readonly loaded: Schemas["OwnersSection"] }) {
  const version = useRef(props.loaded.version);
  const form = useAutosave<readonly OwnerRow[]>(props.loaded.content.map(toRow), {
    findGap,
    save: async (rows) => {
      const body = { version: version.current, content: rows.map(toWish) };
      const saved = await props.filing.save(() => supply.put("/v1/supply/kyb/owners", { body }));
      version.current = saved.owners.version;
      form.adopt((now) => adoptSaved(now, rows, saved.owners.content));
    },
  });
  const change = (key: string, changes: Partial<OwnerRow>): void =>
    form.change(form.value.map((row) => (row.key === key ? { ...row, ...changes } : row)));
  return (
    <SectionFrame id="owners" number={2} filing={props.filing} lead={texts.ownersLead} saving={form.saving} savedAtS={props.loaded.saved_at} saveNow={form.saveNow}>
      <p class="notice">{texts.privacy}</p>
      {form.value.map((row, index) => (
        <Owner
          key={row.key}
          row={row}
          index={index}
          errorFor={(name) => errorOf(form.saving, `owners[${index}].${name}`)}
          change={(changes) => change(row.key, changes)}
          remove={() => form.change(form.value.filter((one) => one.key !== row.key))}
        />
      ))}
      <div class="actions">
        <button
          type="button"
          disabled={form.value.length >= OWNERS_MAX}
          onClick={() => form.adopt((rows) => [...rows, newRow()])}
        >
          {texts.addOwner}
        </button>
        <span class="quiet">{texts.shares(form.value.length, sumShares(form.value))}</span>
      </div>
      {errorOf(form.saving, "owners") && <p class="error">{errorOf(form.saving, "owners")}</p>}
    </SectionFrame>
  );
}

interface OwnerProps {
  readonly row: OwnerRow;
  readonly index: number;
  readonly errorFor: (name: string) => string | undefined;
  readonly change: (changes: Partial<OwnerRow>) => void;
  readonly remove: () => void;
}

function Owner({ row, index, errorFor, change, remove }: OwnerProps) {
  const isSaved = row.ownerId !== null;
  return (
    <fieldset>
      <legend>{texts.owner(index + 1)}</legend>
      <div class="pair">
        <TextField label={texts.ownerName} value={row.legalName} error={errorFor("legal_name")} onChange={(legalName) => change({ legalName })} />
        <SelectField label={texts.role} choices={ROLES} value={row.role} error={errorFor("role")} onChange={(role) => change({ role })} />
        <SelectField label={texts.nationality} choices={COUNTRIES} empty={texts.choose} value={row.nationality} error={errorFor("nationality")} onChange={(nationality) => change({ nationality })} />
        <TextField label={texts.share} hint={texts.shareHint} inputMode="decimal" value={row.share} error={errorFor("share_pct")} onChange={(share) => change({ share })} />
        <SelectField label={texts.idType} choices={ID_TYPES} value={row.idType} error={errorFor("id_type")} onChange={(idType) => change({ idType })} />
        <TextField
          label={texts.idNumber}
          hint={isSaved && row.idNumber === "" ? texts.idSaved : texts.idHint}
          value={row.idNumber}
          error={errorFor("id_number")}
          onChange={(idNumber) => change({ idNumber })}
        />
      </div>
      <button type="button" class="small danger" onClick={remove}>
        {texts.removeOwner(index + 1)}
      </button>
    </fieldset>
  );
}
