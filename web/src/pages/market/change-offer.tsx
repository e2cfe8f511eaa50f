/** Changing an offer: its price or multiplier, its cap, its key. What stays empty stays as it is. */
import { useState } from "preact/hooks";
import { fieldOf } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { TextField } from "../../app/fields.tsx";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { sellTexts as texts } from "../../text.ts";
import { PRICE } from "./new-offer.tsx";

type Offer = Schemas["OfferView"];

interface Form {
  readonly input: string;
  readonly output: string;
  readonly multiplier: string;
  readonly cap: string;
  readonly apiKey: string;
}

const textOf = (value: number | null): string => (value === null ? "" : String(value));

/** Returns the changes that a form says, or what is wrong with it. An empty cap lifts it. */
export function toChange(form: Form, before: Form): { readonly body: Record<string, unknown> } | { readonly wrong: string } {
  const changed = (name: keyof Form): boolean => form[name] !== before[name];
  const prices = (["input", "output", "multiplier"] as const).filter(changed);
  if (!prices.every((name) => PRICE.test(form[name]))) return { wrong: texts.needPrice };
  if (form.cap !== "" && !PRICE.test(form.cap)) return { wrong: texts.needCap };
  return {
    body: {
      ...(changed("input") ? { price_input_per_1m: form.input } : {}),
      ...(changed("output") ? { price_output_per_1m: form.output } : {}),
      ...(changed("multiplier") ? { cost_multiplier: form.multiplier } : {}),
      ...(changed("cap") ? { cap_daily_usd: form.cap === "" ? null : form.cap } : {}),
      ...(form.apiKey === "" ? {} : { api_key: form.apiKey }),
    },
  };
}

export function ChangeOffer({ offer, done }: { readonly offer: Offer; readonly done: () => void }) {
  const before: Form = {
    input: textOf(offer.price_input_per_1m),
    output: textOf(offer.price_output_per_1m),
    multiplier: textOf(offer.cost_multiplier),
    cap: textOf(offer.cap_daily_usd),
    apiKey: "",
  };
  const [form, setForm] = useState(before);
  const task = useTask();
  const set = (name: keyof Form) => (value: string) => setForm({ ...form, [name]: value });
  const refused = fieldOf(task.error);
  const errorOf = (name: string) => (refused === name ? task.error?.message : undefined);
  const save = () =>
    task.run(async () => {
      const change = toChange(form, before);
      if ("wrong" in change) throw new Error(change.wrong);
      if (Object.keys(change.body).length > 0) {
        await api.patch("/v1/seller/offers/{offer_id}", { path: { offer_id: offer.id }, body: change.body });
      }
      done();
    });
  return (
    <form
      class="card"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <h3>{texts.changeOf(offer.model)}</h3>
      <div class="pair">
        {offer.cost_multiplier === null ? (
          <>
            <TextField label={texts.input} inputMode="decimal" value={form.input} error={errorOf("price_input_per_1m")} onChange={set("input")} />
            <TextField label={texts.output} inputMode="decimal" value={form.output} error={errorOf("price_output_per_1m")} onChange={set("output")} />
          </>
        ) : (
          <TextField label={texts.multiplier} hint={texts.multiplierHint} inputMode="decimal" value={form.multiplier} error={errorOf("cost_multiplier")} onChange={set("multiplier")} />
        )}
        <TextField label={texts.capLabel} hint={texts.capHint} inputMode="decimal" value={form.cap} error={errorOf("cap_daily_usd")} onChange={set("cap")} />
        <TextField label={texts.key} hint={texts.keyKept} type="password" value={form.apiKey} error={errorOf("api_key")} onChange={set("apiKey")} />
      </div>
      <div class="actions">
        <button type="submit" class="main" disabled={task.isBusy}>{texts.saveChange}</button>
        <button type="button" onClick={done}>{texts.cancel}</button>
      </div>
      <TaskSaid task={task} />
    </form>
  );
}
