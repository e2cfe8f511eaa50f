/** Section 3: where the compute comes from, and by what right it is sold. */
import { useRef } from "preact/hooks";
import type { Schemas } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { useAutosave } from "../../app/autosave.ts";
import { formatCount } from "../../amounts.ts";
import { AreaField, CheckField, SelectField, TextField } from "../../app/fields.tsx";
import { applyTexts, intakeTexts as texts, sourceNames } from "../../text.ts";
import { type Filing, SectionFrame, errorOf } from "./intake-parts.tsx";
import { orNull, parseTokens, splitList } from "../../app/words.ts";

type Content = Schemas["SourceContent"];

interface Form {
  readonly source_of_compute: string;
  readonly providers: string;
  readonly legal_basis: string;
  readonly contract_holder: string;
  readonly contract_reference: string;
  readonly expected_monthly_tokens: string;
  readonly no_personal_accounts: boolean;
}

function toForm(content: Content): Form {
  const tokens = content.expected_monthly_tokens;
  return {
    source_of_compute: content.source_of_compute ?? "",
    providers: (content.providers ?? []).join(", "),
    legal_basis: content.legal_basis ?? "",
    contract_holder: content.contract_holder ?? "",
    contract_reference: content.contract_reference ?? "",
    expected_monthly_tokens: tokens === null || tokens === undefined ? "" : formatCount(tokens),
    no_personal_accounts: content.no_personal_accounts ?? false,
  };
}

function toContent(form: Form): Record<string, unknown> {
  return {
    source_of_compute: orNull(form.source_of_compute),
    providers: splitList(form.providers),
    legal_basis: orNull(form.legal_basis),
    contract_holder: orNull(form.contract_holder),
    contract_reference: orNull(form.contract_reference),
    expected_monthly_tokens: form.expected_monthly_tokens === "" ? null : parseTokens(form.expected_monthly_tokens),
    no_personal_accounts: form.no_personal_accounts,
  };
}

function findGap(form: Form): string | null {
  const tokens = form.expected_monthly_tokens;
  return tokens !== "" && parseTokens(tokens) === null ? texts.tokensWrong : null;
}

export function SourceSection(props: { readonly filing: Filing; readonly loaded: Schemas["SourceSection"] }) {
  const version = useRef(props.loaded.version);
  const form = useAutosave(toForm(props.loaded.content), {
    findGap,
    save: async (value) => {
      const body = { version: version.current, content: toContent(value) };
      const saved = await props.filing.save(() => supply.put("/v1/supply/kyb/source", { body }));
      version.current = saved.source.version;
    },
  });
  const field = (name: Exclude<keyof Form, "no_personal_accounts">) => ({
    name,
    value: form.value[name],
    onChange: (text: string) => form.change({ ...form.value, [name]: text }),
    error: errorOf(form.saving, `source.${name}`),
  });
  return (
    <SectionFrame id="source" number={3} filing={props.filing} lead={texts.sourceLead} saving={form.saving} savedAtS={props.loaded.saved_at} saveNow={form.saveNow}>
      <div class="pair">
        <SelectField label={texts.source} choices={Object.entries(sourceNames)} empty={texts.choose} {...field("source_of_compute")} />
        <TextField label={texts.providers} hint={texts.providersHint} {...field("providers")} />
        <TextField label={texts.holder} hint={texts.holderHint} {...field("contract_holder")} />
        <TextField label={texts.reference} {...field("contract_reference")} />
      </div>
      <AreaField label={texts.basis} hint={texts.basisHint} rows={4} {...field("legal_basis")} />
      <TextField label={texts.tokens} inputMode="numeric" {...field("expected_monthly_tokens")} error={findGap(form.value) === null ? errorOf(form.saving, "source.expected_monthly_tokens") : applyTexts.tokensWrong} />
      <CheckField
        label={texts.declared}
        value={form.value.no_personal_accounts}
        onChange={(is) => form.change({ ...form.value, no_personal_accounts: is })}
      />
    </SectionFrame>
  );
}
