/** The forms of an offer: a new one, and a change of one. */
import { useState } from "preact/hooks";
import { fieldOf } from "../../api/http.ts";
import type { Schemas } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { type Choice, SelectField, TextField } from "../../app/fields.tsx";
import { type Task, TaskSaid, useTask } from "../../app/task.tsx";
import { supplyOfferTexts as texts } from "../../text.ts";
import { orNull, parseTokens, splitList } from "../../app/words.ts";

/** The base URL that each type of provider stands for on the market; "" where it must be given. */
export const PROVIDERS: Readonly<Record<string, readonly [name: string, baseUrl: string]>> = {
  openai_compatible: ["Any endpoint that speaks OpenAI's API", ""],
  openai: ["OpenAI", "https://api.openai.com/v1"],
  anthropic: ["Anthropic", "https://api.anthropic.com/v1"],
  deepseek: ["DeepSeek", "https://api.deepseek.com/v1"],
  bedrock: ["Amazon Bedrock", ""],
  azure_openai: ["Azure OpenAI", ""],
  mistral: ["Mistral", "https://api.mistral.ai/v1"],
  groq: ["Groq", "https://api.groq.com/openai/v1"],
  together: ["Together", "https://api.together.xyz/v1"],
  fireworks: ["Fireworks", "https://api.fireworks.ai/inference/v1"],
  xai: ["xAI", "https://api.x.ai/v1"],
};
const CHOICES = Object.entries(PROVIDERS).map(([value, [name]]): Choice => [value, name]);

interface Terms {
  readonly bid: string;
  readonly rpm: string;
  readonly quota: string;
  readonly basis: string;
  readonly baseUrl: string;
  readonly apiKey: string;
}

type Read = { readonly kind: "terms"; readonly terms: Record<string, unknown> } | { readonly kind: "wrong"; readonly name: string; readonly why: string };

/** Returns what the numbers of a form say, or which is wrong. Empty ceilings are none: null. */
export function readTerms(form: Terms): Read {
  if (!/^\d{1,9}(\.\d{1,6})?$/.test(form.bid)) return { kind: "wrong", name: "bid_price_per_1m_usdt", why: texts.bidWrong };
  const rpm = form.rpm === "" ? null : parseTokens(form.rpm);
  if (form.rpm !== "" && rpm === null) return { kind: "wrong", name: "rate_limit_rpm", why: texts.countWrong };
  const quota = form.quota === "" ? null : parseTokens(form.quota);
  if (form.quota !== "" && quota === null) return { kind: "wrong", name: "quota_total", why: texts.countWrong };
  const terms = { bid_price_per_1m_usdt: form.bid, rate_limit_rpm: rpm, quota_total: quota, legal_basis: orNull(form.basis) };
  return { kind: "terms", terms };
}

interface TermFieldsProps {
  readonly form: Terms;
  readonly set: (changes: Partial<Terms>) => void;
  readonly task: Task;
  readonly wrong: Read | null;
  readonly isChange: boolean;
}

function TermFields({ form, set, task, wrong, isChange }: TermFieldsProps) {
  const errorOf = (name: string): string | undefined => {
    if (wrong?.kind === "wrong" && wrong.name === name) return wrong.why;
    return fieldOf(task.error) === name ? task.error?.message : undefined;
  };
  return (
    <>
      <div class="pair">
        <TextField label={texts.baseUrl} hint={texts.baseUrlHint} inputMode="url" value={form.baseUrl} error={errorOf("base_url")} onChange={(baseUrl) => set({ baseUrl })} />
        <TextField label={texts.apiKey} hint={isChange ? texts.apiKeyChange : texts.apiKeyHint} type="password" value={form.apiKey} error={errorOf("api_key")} onChange={(apiKey) => set({ apiKey })} />
        <TextField label={texts.bidLabel} hint={texts.bidHint} inputMode="decimal" value={form.bid} error={errorOf("bid_price_per_1m_usdt")} onChange={(bid) => set({ bid })} />
        <TextField label={texts.rpmLabel} hint={texts.rpmHint} inputMode="numeric" value={form.rpm} error={errorOf("rate_limit_rpm")} onChange={(rpm) => set({ rpm })} />
        <TextField label={texts.quotaLabel} hint={texts.quotaHint} inputMode="numeric" value={form.quota} error={errorOf("quota_total")} onChange={(quota) => set({ quota })} />
        <TextField label={texts.basis} hint={texts.basisHint} value={form.basis} error={errorOf("legal_basis")} onChange={(basis) => set({ basis })} />
      </div>
    </>
  );
}

const EMPTY: Terms = { bid: "", rpm: "", quota: "", basis: "", baseUrl: "", apiKey: "" };

export function NewSupplyOffer({ done, isFirst }: { readonly done: () => void; readonly isFirst: boolean }) {
  const [provider, setProvider] = useState("openai_compatible");
  const [models, setModels] = useState("");
  const [form, setForm] = useState(EMPTY);
  const [wrong, setWrong] = useState<Read | null>(null);
  const [isOpen, setOpen] = useState(isFirst);
  const task = useTask();
  const choose = (type: string): void => {
    setProvider(type);
    setForm({ ...form, baseUrl: PROVIDERS[type]?.[1] ?? "" });
  };
  const add = () =>
    task.run(async () => {
      const read = readTerms(form);
      setWrong(read);
      if (read.kind === "wrong") return;
      const body = { ...read.terms, provider_type: provider, api_key: form.apiKey, base_url: orNull(form.baseUrl), model_list: splitList(models) };
      await supply.post("/v1/supply/offers", { body });
      // The provider's key is not kept in the page once the market has it.
      setForm(EMPTY);
      setModels("");
      setOpen(false);
      done();
      return texts.added;
    });
  return (
    <>
      <details class="card" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{texts.add}</summary>
        <form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            void add();
          }}
        >
          <div class="pair">
            <SelectField label={texts.provider} hint={texts.providerHint} choices={CHOICES} value={provider} onChange={choose} />
            <TextField label={texts.models} hint={texts.modelsHint} value={models} error={fieldOf(task.error).startsWith("model_list") ? task.error?.message : undefined} onChange={setModels} />
          </div>
          <TermFields form={form} set={(changes) => setForm({ ...form, ...changes })} task={task} wrong={wrong} isChange={false} />
          <button type="submit" class="main" disabled={task.isBusy}>
            {texts.save}
          </button>
        </form>
      </details>
      <TaskSaid task={task} />
    </>
  );
}

export function ChangeOffer({ offer, done }: { readonly offer: Schemas["SupplyOfferView"]; readonly done: () => void }) {
  const before: Terms = {
    bid: offer.bid_price_per_1m_usdt,
    rpm: offer.rate_limit_rpm?.toString() ?? "",
    quota: offer.quota_total?.toString() ?? "",
    basis: offer.legal_basis ?? "",
    baseUrl: offer.base_url,
    apiKey: "",
  };
  const [form, setForm] = useState(before);
  const [wrong, setWrong] = useState<Read | null>(null);
  const task = useTask();
  const change = () =>
    task.run(async () => {
      const [read, old] = [readTerms(form), readTerms(before)];
      setWrong(read);
      if (read.kind === "wrong" || old.kind === "wrong") return;
      const changed = Object.entries(read.terms).filter(([name, value]) => value !== old.terms[name]);
      const body = {
        ...Object.fromEntries(changed),
        ...(form.baseUrl === before.baseUrl ? {} : { base_url: form.baseUrl }),
        ...(form.apiKey === "" ? {} : { api_key: form.apiKey }),
      };
      if (Object.keys(body).length > 0) {
        await supply.patch("/v1/supply/offers/{offer_id}", { path: { offer_id: offer.id }, body });
      }
      done();
    });
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void change();
      }}
    >
      <TermFields form={form} set={(changes) => setForm({ ...form, ...changes })} task={task} wrong={wrong} isChange />
      <div class="actions">
        <button type="submit" class="main" disabled={task.isBusy}>
          {texts.saveChange}
        </button>
        <button type="button" onClick={done}>
          {texts.cancel}
        </button>
      </div>
      <TaskSaid task={task} />
    </form>
  );
}
