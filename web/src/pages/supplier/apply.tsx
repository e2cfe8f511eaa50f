/** Becoming a supplier: what it takes, and the application. */
import { useState } from "preact/hooks";
import { fieldOf } from "../../api/http.ts";
import { api } from "../../api/market.ts";
import { COUNTRIES } from "../../app/countries.ts";
import { useDraft } from "../../app/draft.ts";
import { SelectField, TextField } from "../../app/fields.tsx";
import { Notice } from "../../app/parts.tsx";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { applyTexts as texts, sourceNames } from "../../text.ts";
import { INTAKE, LOGIN } from "./signed-in.tsx";
import { parseTokens, splitList } from "../../app/words.ts";

const EMPTY = {
  legal_name: "",
  country: "",
  website: "",
  contact_name: "",
  email: "",
  source_of_compute: "",
  providers: "",
  expected_monthly_tokens: "",
};

export function Apply() {
  const [sentTo, setSentTo] = useState<string | null>(null);
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <Notice>
        <strong>{texts.who}</strong> {texts.whoText}
      </Notice>
      <div class="columns">
        {sentTo === null ? <Application done={setSentTo} /> : <Sent to={sentTo} again={() => setSentTo(null)} />}
        <div class="card">
          <h2>{texts.way}</h2>
          <ol class="steps">
            {texts.steps.map((step) => (
              <li key={step}>{step}</li>
            ))}
          </ol>
          <h3>{texts.terms}</h3>
          <ul>
            {texts.termLines.map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
          <p class="actions">
            <a class="button" href={LOGIN}>
              {texts.signIn}
            </a>
            <a class="button" href={INTAKE}>
              {texts.goOn}
            </a>
          </p>
        </div>
      </div>
    </>
  );
}

function Sent({ to, again }: { readonly to: string; readonly again: () => void }) {
  return (
    <div class="card" role="status">
      <h2>{texts.sent}</h2>
      <p>{texts.sentTo(to)}</p>
      <p class="quiet">{texts.sentHint}</p>
      <button type="button" onClick={again}>
        {texts.changeAddress}
      </button>
    </div>
  );
}

function Application({ done }: { readonly done: (email: string) => void }) {
  const [draft, setDraft] = useDraft("current.application", EMPTY);
  const [wrong, setWrong] = useState("");
  const task = useTask();
  const set = (name: keyof typeof EMPTY) => (value: string) => setDraft({ ...draft, [name]: value });
  const refused = fieldOf(task.error);
  const errorOf = (name: string) => (refused === name ? task.error?.message : undefined);
  const send = () =>
    task.run(async () => {
      const tokens = parseTokens(draft.expected_monthly_tokens);
      setWrong(tokens === null ? texts.tokensWrong : "");
      if (tokens === null) return;
      const body = { ...draft, providers: splitList(draft.providers), expected_monthly_tokens: tokens };
      await api.post("/v1/supply/applications", { body });
      done(draft.email);
      setDraft(null);
    });
  const text = (name: keyof typeof EMPTY) => ({ name, value: draft[name], onChange: set(name), error: errorOf(name), isRequired: true });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <h2>{texts.apply}</h2>
      <TextField label={texts.legalName} hint={texts.legalNameHint} autocomplete="organization" {...text("legal_name")} />
      <SelectField label={texts.country} choices={COUNTRIES} empty={texts.choose} {...text("country")} />
      <TextField label={texts.website} hint={texts.websiteHint} inputMode="url" autocomplete="url" {...text("website")} />
      <TextField label={texts.contact} autocomplete="name" {...text("contact_name")} />
      <TextField label={texts.email} hint={texts.emailHint} type="email" autocomplete="email" {...text("email")} />
      <SelectField label={texts.source} choices={Object.entries(sourceNames)} empty={texts.choose} {...text("source_of_compute")} />
      <TextField label={texts.providers} hint={texts.providersHint} {...text("providers")} />
      <TextField
        label={texts.tokens}
        hint={texts.tokensHint}
        inputMode="numeric"
        {...text("expected_monthly_tokens")}
        error={wrong || errorOf("expected_monthly_tokens")}
      />
      <button type="submit" class="main" disabled={task.isBusy}>
        {texts.submit}
      </button>
      <TaskSaid task={task} />
    </form>
  );
}
