/** Add an offer: provider, key, models that the key serves, price, cap. */
import { useState } from "preact/hooks";
import { api } from "../../api/market.ts";
import { Field, Notice, Problem } from "../../app/parts.tsx";
import { sellTexts as texts } from "../../text.ts";
import { toProblem } from "../../wallet/problems.ts";

/** The base URLs that a provider's name fills in. */
const PRESETS: readonly (readonly [string, string])[] = [
  ["Venice", "https://api.venice.ai/api/v1"],
  ["OpenRouter", "https://openrouter.ai/api/v1"],
  ["Together", "https://api.together.xyz/v1"],
  ["Groq", "https://api.groq.com/openai/v1"],
  ["DeepInfra", "https://api.deepinfra.com/v1/openai"],
  ["Fireworks", "https://api.fireworks.ai/inference/v1"],
];

interface Wish {
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly model: string;
  readonly by: "price" | "multiplier";
  readonly input: string;
  readonly output: string;
  readonly multiplier: string;
  readonly cap: string;
}

const EMPTY: Wish = { baseUrl: "", apiKey: "", model: "", by: "multiplier", input: "", output: "", multiplier: "0.5", cap: "" };
export const PRICE = /^\d{1,9}(\.\d{1,12})?$/;

/** Returns the body of a new offer, or what is wrong with what was filled in. */
export function toOffer(wish: Wish): { readonly body: Record<string, unknown> } | { readonly wrong: string } {
  if (!wish.model.trim()) return { wrong: texts.needModel };
  if (!/^https?:\/\/\S+$/.test(wish.baseUrl)) return { wrong: texts.needUrl };
  if (!wish.apiKey) return { wrong: texts.needKey };
  const prices = wish.by === "price" ? [wish.input, wish.output] : [wish.multiplier];
  if (!prices.every((price) => PRICE.test(price))) return { wrong: texts.needPrice };
  if (wish.cap !== "" && !PRICE.test(wish.cap)) return { wrong: texts.needCap };
  const price =
    wish.by === "price"
      ? { price_input_per_1m: wish.input, price_output_per_1m: wish.output }
      : { cost_multiplier: wish.multiplier };
  const cap = wish.cap === "" ? {} : { cap_daily_usd: wish.cap };
  return { body: { model: wish.model.trim(), seller_base_url: wish.baseUrl, api_key: wish.apiKey, ...price, ...cap } };
}

export function NewOffer({ done }: { readonly done: () => void }) {
  const [wish, setWish] = useState<Wish>(EMPTY);
  const [models, setModels] = useState<readonly string[]>([]);
  const [problem, setProblem] = useState<Error | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [isListed, setListed] = useState(false);
  const set = (name: keyof Wish) => (event: { readonly currentTarget: { readonly value: string } }) =>
    setWish({ ...wish, [name]: event.currentTarget.value });
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setProblem(null);
    setListed(false);
    try {
      await work();
    } catch (thrown) {
      setProblem(toProblem(thrown));
    }
    setBusy(false);
  };
  const discover = () =>
    attempt(async () => {
      const found = await api.post("/v1/seller/discover", { body: { api_key: wish.apiKey, seller_base_url: wish.baseUrl } });
      setModels(found.models.map((one) => one.model));
    });
  const list = () =>
    attempt(async () => {
      const offer = toOffer(wish);
      if ("wrong" in offer) throw new Error(offer.wrong);
      await api.post("/v1/seller/offers", { body: offer.body });
      // The provider's key is not kept in the page once the market has it.
      setWish({ ...EMPTY, baseUrl: wish.baseUrl });
      setListed(true);
      done();
    });
  return (
    <details class="card">
      <summary>{texts.add}</summary>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void list();
        }}
      >
        <Field label={texts.provider}>
          {(ids) => (
            <select {...ids} onChange={set("baseUrl")}>
              <option value="">{texts.other}</option>
              {PRESETS.map(([name, url]) => (
                <option key={name} value={url} selected={url === wish.baseUrl}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={texts.baseUrl} hint={texts.baseUrlHint}>
          {(ids) => <input {...ids} inputMode="url" value={wish.baseUrl} onInput={set("baseUrl")} />}
        </Field>
        <Field label={texts.key} hint={texts.keyHint}>
          {(ids) => <input {...ids} type="password" autocomplete="off" value={wish.apiKey} onInput={set("apiKey")} />}
        </Field>
        <button type="button" class="small" disabled={isBusy || !wish.apiKey || !wish.baseUrl} onClick={() => void discover()}>
          {texts.discover}
        </button>
        <Field label={texts.model} hint={models.length > 0 ? texts.found(models.length) : undefined}>
          {(ids) => (
            <>
              <input {...ids} list="models" value={wish.model} onInput={set("model")} />
              <datalist id="models">
                {models.map((model) => (
                  <option key={model} value={model} />
                ))}
              </datalist>
            </>
          )}
        </Field>
        <Field label={texts.by}>
          {(ids) => (
            <select {...ids} onChange={set("by")}>
              <option value="multiplier" selected={wish.by === "multiplier"}>{texts.byMultiplier}</option>
              <option value="price" selected={wish.by === "price"}>{texts.byPrice}</option>
            </select>
          )}
        </Field>
        {wish.by === "price" ? (
          <>
            <Field label={texts.input}>
              {(ids) => <input {...ids} inputMode="decimal" value={wish.input} onInput={set("input")} />}
            </Field>
            <Field label={texts.output}>
              {(ids) => <input {...ids} inputMode="decimal" value={wish.output} onInput={set("output")} />}
            </Field>
          </>
        ) : (
          <Field label={texts.multiplier} hint={texts.multiplierHint}>
            {(ids) => <input {...ids} inputMode="decimal" value={wish.multiplier} onInput={set("multiplier")} />}
          </Field>
        )}
        <Field label={texts.capLabel} hint={texts.capHint}>
          {(ids) => <input {...ids} inputMode="decimal" value={wish.cap} onInput={set("cap")} />}
        </Field>
        <button type="submit" class="main" disabled={isBusy}>
          {texts.list}
        </button>
        {problem && <Problem error={problem} />}
        {isListed && <Notice kind="good">{texts.listed}</Notice>}
      </form>
    </details>
  );
}
