/** Connect an API: where it is, what may be called, how much is for sale, at what price, and what that comes to. */
import { useState } from "preact/hooks";
import { fieldOf } from "../../api/http.ts";
import { api } from "../../api/market.ts";
import { type Choice, SelectField, TextField } from "../../app/fields.tsx";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { resellTexts as texts } from "../../text.ts";
import { EconomicsTable } from "./economics-table.tsx";
import { type Imported, OperationChooser, toOperations } from "./operation-chooser.tsx";
import { EMPTY, type Form, toBody } from "./connection-form.ts";

const WAYS: readonly Choice[] = [
  ["bearer", "Authorization: Bearer …"],
  ["header", texts.header],
  ["query", texts.query],
  ["basic", "Authorization: Basic …"],
];
const UNITS: readonly Choice[] = [
  ["calls", texts.unitCalls],
  ["credits", texts.unitCredits],
];

/** What the market knows of APIs that are resold often. */
const KNOWN: Readonly<Record<string, Partial<Form>>> = {
  nansen: { baseUrl: "https://api.nansen.ai", way: "header", wayName: "apikey" },
  arkham: { baseUrl: "https://api.arkm.com", way: "header", wayName: "API-Key" },
};

export function NewConnection({ done, isFirst }: { readonly done: () => void; readonly isFirst: boolean }) {
  const [form, setForm] = useState<Form>(EMPTY);
  const [imported, setImported] = useState<Imported>({ kind: "none" });
  const [isOpen, setOpen] = useState(isFirst);
  const [wrong, setWrong] = useState<{ readonly name: string; readonly why: string } | null>(null);
  const task = useTask();
  const set = (name: keyof Form) => (value: string) => setForm({ ...form, [name]: value });
  const refused = fieldOf(task.error);
  const hasOperations = imported.kind !== "none" || KNOWN[form.name] !== undefined;
  const field = (name: keyof Form, param: string) => ({
    value: form[name],
    onChange: set(name),
    error: wrong?.name === name ? wrong.why : refused === param ? task.error?.message : undefined,
  });
  const connect = () =>
    task.run(async () => {
      const read = toBody(form);
      setWrong(read.kind === "wrong" ? read : null);
      if (read.kind === "wrong") return;
      const body = { ...read.body, ...toOperations(imported) };
      const made = await api.post("/v1/seller/connections", { body });
      // The API's key is not kept in the page once the market has it.
      setForm(EMPTY);
      setImported({ kind: "none" });
      setOpen(false);
      done();
      return texts.connected(made.name);
    });
  return (
    <>
      <details class="card" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>{texts.connect}</summary>
        <form
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            void connect();
          }}
        >
          <h2>{texts.where}</h2>
          <div class="pair">
            <TextField
              label={texts.name}
              hint={texts.nameHint}
              {...field("name", "name")}
              onLeave={() => setForm((now) => ({ ...now, ...(now.baseUrl === "" ? KNOWN[now.name] : {}) }))}
            />
            <TextField label={texts.baseUrl} hint={texts.baseUrlHint} inputMode="url" {...field("baseUrl", "base_url")} />
            <SelectField label={texts.way} choices={WAYS} {...field("way", "credential")} />
            {(form.way === "header" || form.way === "query") && <TextField label={texts.wayName} {...field("wayName", "credential")} />}
            <TextField label={texts.key} hint={texts.keyHint} type="password" {...field("apiKey", "api_key")} />
          </div>
          <h2>{texts.what}</h2>
          <OperationChooser
            imported={imported}
            change={(next, baseUrl) => {
              setImported(next);
              if (baseUrl && form.baseUrl === "") setForm({ ...form, baseUrl });
            }}
            error={refused === "operations" || refused === "openapi" ? task.error?.message : undefined}
          />
          <h2>{texts.howMuch}</h2>
          <div class="pair">
            <TextField label={texts.monthly} inputMode="numeric" {...field("quota", "monthly_quota")} />
            <SelectField label={texts.unit} choices={UNITS} {...field("unit", "unit")} />
            <TextField label={texts.reserve} hint={texts.reserveHint} inputMode="numeric" {...field("reserved", "reserved")} />
            <TextField label={texts.buffer} hint={texts.bufferHint} inputMode="numeric" {...field("buffer", "buffer_pct")} />
            <TextField label={texts.resetDay} inputMode="numeric" {...field("resetDay", "reset_day")} />
          </div>
          <h2>{texts.priceTitle}</h2>
          <div class="pair">
            <TextField label={texts.baseCost} inputMode="decimal" {...field("baseCost", "base_cost_usd")} />
            <TextField label={texts.markup} hint={texts.markupHint} inputMode="decimal" {...field("markup", "markup")} />
            <TextField label={texts.subscriptionLabel} inputMode="decimal" {...field("subscription", "subscription_usd")} />
            <TextField label={texts.source} hint={texts.sourceHint} inputMode="decimal" {...field("sourcePrice", "source_price_usd")} />
            <TextField label={texts.guess} hint={texts.guessHint} inputMode="numeric" value={form.guess} onChange={set("guess")} />
          </div>
          <EconomicsTable form={form} />
          <button type="submit" class="main below" disabled={task.isBusy || !hasOperations}>
            {texts.goLive}
          </button>
          {!hasOperations && <p class="quiet">{texts.needOperations}</p>}
          <p class="quiet">{texts.terms}</p>
          {task.error && <TaskSaid task={task} />}
        </form>
      </details>
      {!task.error && <TaskSaid task={task} />}
    </>
  );
}
