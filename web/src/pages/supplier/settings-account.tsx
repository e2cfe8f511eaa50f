/** The account's own safety: its password, one-time codes, and where it is signed in. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { formatTime } from "../../amounts.ts";
import { TextField } from "../../app/fields.tsx";
import { Copy, Notice, Shown } from "../../app/parts.tsx";
import { QrCode } from "../../app/qr-code.tsx";
import { useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { accountTexts as texts } from "../../text.ts";
import { Confirm, useConfirming } from "./confirming.tsx";
import { NewPassword, PASSWORD_MIN } from "./login.tsx";
import { SignOut } from "./signed-in.tsx";

export function Password() {
  const [password, setPassword] = useState("");
  const [chosen, setChosen] = useState("");
  const task = useTask();
  const change = () =>
    task.run(async () => {
      await supply.put("/v1/supply/password", { body: { password, new_password: chosen } });
      setPassword("");
      setChosen("");
      return texts.passwordChanged;
    });
  return (
    <section>
      <details class="card">
        <summary>
          <h2>{texts.changePassword}</h2>
        </summary>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void change();
          }}
        >
          <TextField label={texts.present} type="password" autocomplete="current-password" isRequired value={password} onChange={setPassword} />
          <NewPassword value={chosen} onChange={setChosen} />
          <button type="submit" class="main" disabled={task.isBusy || chosen.length < PASSWORD_MIN}>
            {texts.changePassword}
          </button>
        </form>
      </details>
      <TaskSaid task={task} />
    </section>
  );
}

export function Codes({ hasCodes, changed }: { readonly hasCodes: boolean; readonly changed: () => void }) {
  const [begun, setBegun] = useState<Schemas["CodesBegun"] | null>(null);
  const [code, setCode] = useState("");
  const asking = useConfirming();
  const checking = useTask();
  const begin = () => asking.run(async () => setBegun(await supply.post("/v1/supply/codes")));
  const end = () =>
    asking.run(async () => {
      await supply.delete("/v1/supply/codes");
      changed();
      return texts.codesOff;
    });
  const confirm = () =>
    checking.run(async () => {
      await supply.post("/v1/supply/codes/confirm", { body: { code } });
      setBegun(null);
      setCode("");
      changed();
      return texts.codesOn;
    });
  return (
    <section>
      <h2>{texts.codes}</h2>
      <p>{hasCodes ? texts.codesAreOn : texts.codesAreOff}</p>
      {begun === null ? (
        <button type="button" class={hasCodes ? "danger" : ""} disabled={asking.task.isBusy} onClick={hasCodes ? end : begin}>
          {hasCodes ? texts.endCodes : texts.beginCodes}
        </button>
      ) : (
        <form
          class="card"
          onSubmit={(event) => {
            event.preventDefault();
            void confirm();
          }}
        >
          <p>{texts.secretHint}</p>
          <QrCode text={begun.url} label={texts.qrOf} />
          <p class="actions">
            <code>{begun.secret.replace(/(.{4})/g, "$1 ").trim()}</code>
            <Copy text={begun.secret} what={texts.copySecret} />
            <a href={begun.url}>{texts.openApp}</a>
          </p>
          <TextField
            label={texts.firstCode}
            inputMode="numeric"
            autocomplete="one-time-code"
            isRequired
            value={code}
            onChange={(typed) => setCode(typed.replace(/\D/g, "").slice(0, 6))}
          />
          <div class="actions">
            <button type="submit" class="main" disabled={checking.isBusy || code.length !== 6}>
              {texts.turnOn}
            </button>
            <button type="button" onClick={() => setBegun(null)}>
              {texts.cancel}
            </button>
          </div>
        </form>
      )}
      <TaskSaid task={checking} />
      <Confirm of={asking} hasCodes={hasCodes} />
    </section>
  );
}

export function Sessions() {
  const sessions = useRemote("sessions", (signal) => api.get("/v1/supply/sessions", { signal }));
  const task = useTask();
  const end = (sessionId: string) =>
    task.run(async () => {
      await supply.delete("/v1/supply/sessions/{session_id}", { path: { session_id: sessionId } });
      sessions.refresh();
    });
  return (
    <>
      <Shown of={sessions}>
        {({ sessions: all }) => (
          <ul>
            {all.map((one) => (
              <li key={one.session_id}>
                {one.is_current ? <strong>{texts.thisBrowser}</strong> : texts.browser(one.user_agent)}{" "}
                <span class="quiet">{texts.since(formatTime(one.created_at), formatTime(one.seen_at))}</span>{" "}
                {!one.is_current && (
                  <button type="button" class="small" disabled={task.isBusy} onClick={() => void end(one.session_id)}>
                    {texts.endIt}
                  </button>
                )}
              </li>
            ))}
          </ul>
        )}
      </Shown>
      <TaskSaid task={task} />
      <p class="actions">
        <SignOut />
        <SignOut isEverywhere />
      </p>
      <Notice>{texts.leaked}</Notice>
    </>
  );
}
