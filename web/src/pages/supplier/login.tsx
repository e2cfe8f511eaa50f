/** Sign in by mail and password; choose a password after confirming the address; choose another one. */
import { useEffect, useState } from "preact/hooks";
import { RequestFailed } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { keepToken } from "../../api/supply.ts";
import { TextField } from "../../app/fields.tsx";
import { Notice } from "../../app/parts.tsx";
import { navigate, usePlace } from "../../app/router.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { loginTexts as texts } from "../../text.ts";
import { APPLY, DASHBOARD, INTAKE, LOGIN } from "./signed-in.tsx";

export const PASSWORD_MIN = 12;
const PAGES = /^\/(supply-dashboard\.html|supplier-kyb-intake\.html|review(\/[\w.-]+)?|operator)(\?[\w=&.-]*)?$/;

/** Returns where a sign-in leads: to what was asked for where that is a page of ours, else by the account. */
export function findNext(asked: string | null, account: Schemas["SupplierAccount"]): string {
  if (asked !== null && PAGES.test(asked)) return asked;
  if (account.role !== "supplier") return account.role === "operator" ? "/operator" : "/review";
  return account.kyb_status === "approved" || account.kyb_status === "suspended" ? DASHBOARD : INTAKE;
}

/** The mail's token: out of the address bar at once, so that it stays in no history. */
function takeToken(): string | null {
  const token = /^#token=([\w-]{20,100})$/.exec(window.location.hash)?.[1] ?? null;
  if (token !== null) window.history.replaceState(null, "", window.location.pathname + window.location.search);
  return token;
}

export function Login() {
  const { query } = usePlace();
  const [token] = useState(takeToken);
  if (query.has("signup")) return <SignUp email={query.get("prefill_email") ?? ""} />;
  if (query.has("reset")) return token === null ? <AskForReset /> : <Reset token={token} />;
  return <SignIn next={query.get("next")} isChanged={query.has("changed")} />;
}

async function signIn(email: string, password: string, code: string | null): Promise<Schemas["SupplierAccount"]> {
  const begun = await api.post("/v1/supply/sessions", { body: { email, password, code } });
  keepToken(begun.csrf_token);
  return begun.account;
}

function SignIn({ next, isChanged }: { readonly next: string | null; readonly isChanged: boolean }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const task = useTask();
  const enter = () =>
    task.run(async () => {
      try {
        navigate(findNext(next, await signIn(email, password, needsCode ? code : null)));
      } catch (error) {
        if (!(error instanceof RequestFailed) || error.code !== "code_needed") throw error;
        setNeedsCode(true);
      }
    });
  return (
    <div class="narrow">
      <h1>{texts.title}</h1>
      {isChanged && <Notice kind="good">{texts.changed}</Notice>}
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void enter();
        }}
      >
        <TextField label={texts.email} type="email" name="email" autocomplete="username" isRequired value={email} onChange={setEmail} />
        <TextField label={texts.password} type="password" name="password" autocomplete="current-password" isRequired value={password} onChange={setPassword} />
        {needsCode && <CodeField value={code} onChange={setCode} />}
        <div class="actions">
          <button type="submit" class="main" disabled={task.isBusy}>
            {texts.signIn}
          </button>
          <a href={`${LOGIN}?reset=1`}>{texts.forgotten}</a>
        </div>
        <TaskSaid task={task} />
      </form>
      <p>
        {texts.noAccount} <a href={APPLY}>{texts.apply}</a>
      </p>
      <p class="quiet">
        {texts.wallets} <a href="/sell">{texts.sell}</a>
      </p>
    </div>
  );
}

/** Six digits; it takes the focus because the visitor is in the middle of signing in. */
function CodeField({ value, onChange }: { readonly value: string; readonly onChange: (value: string) => void }) {
  useEffect(() => document.querySelector<HTMLInputElement>('input[name="code"]')?.focus(), []);
  return (
    <TextField
      label={texts.code}
      hint={texts.codeHint}
      name="code"
      inputMode="numeric"
      autocomplete="one-time-code"
      isRequired
      value={value}
      onChange={(typed) => onChange(typed.replace(/\D/g, "").slice(0, 6))}
    />
  );
}

function SignUp({ email }: { readonly email: string }) {
  const [password, setPassword] = useState("");
  const task = useTask();
  const open = () =>
    task.run(async () => {
      await api.post("/v1/supply/accounts", { body: { password } });
      await signIn(email, password, null);
      navigate(INTAKE);
    });
  return (
    <div class="narrow">
      <h1>{texts.signUp}</h1>
      <Notice kind="good">{texts.confirmed}</Notice>
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void open();
        }}
      >
        <TextField label={texts.email} type="email" name="email" autocomplete="username" isReadOnly value={email} onChange={() => {}} />
        <NewPassword value={password} onChange={setPassword} />
        <button type="submit" class="main" disabled={task.isBusy || password.length < PASSWORD_MIN}>
          {texts.open}
        </button>
        <TaskSaid task={task} />
        {task.error instanceof RequestFailed && task.error.code === "account_exists" && (
          <p>
            <a href={LOGIN}>{texts.signIn}</a> · <a href={`${LOGIN}?reset=1`}>{texts.forgotten}</a>
          </p>
        )}
      </form>
      <p class="quiet">{texts.sameBrowser}</p>
    </div>
  );
}

/** A password that is chosen: can be shown, and says what it lacks. */
export function NewPassword(props: { readonly value: string; readonly onChange: (value: string) => void }) {
  const [isShown, setShown] = useState(false);
  const lacks = PASSWORD_MIN - props.value.length;
  return (
    <>
      <TextField
        label={texts.newPassword}
        hint={lacks > 0 && props.value !== "" ? texts.lacks(lacks) : texts.passwordHint}
        type={isShown ? "text" : "password"}
        name="new-password"
        autocomplete="new-password"
        isRequired
        value={props.value}
        onChange={props.onChange}
      />
      <button type="button" class="link" aria-pressed={isShown} onClick={() => setShown(!isShown)}>
        {isShown ? texts.hide : texts.show}
      </button>
      <p />
    </>
  );
}

function AskForReset() {
  const [email, setEmail] = useState("");
  const task = useTask();
  return (
    <div class="narrow">
      <h1>{texts.reset}</h1>
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void task.run(async () => (await api.post("/v1/supply/password-resets", { body: { email } })).message);
        }}
      >
        <p>{texts.resetHint}</p>
        <TextField label={texts.email} type="email" name="email" autocomplete="username" isRequired value={email} onChange={setEmail} />
        <div class="actions">
          <button type="submit" class="main" disabled={task.isBusy}>
            {texts.sendMail}
          </button>
          <a href={LOGIN}>{texts.back}</a>
        </div>
        <TaskSaid task={task} />
      </form>
    </div>
  );
}

function Reset({ token }: { readonly token: string }) {
  const [password, setPassword] = useState("");
  const task = useTask();
  return (
    <div class="narrow">
      <h1>{texts.choose}</h1>
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          void task.run(async () => {
            await api.post("/v1/supply/password-resets/confirm", { body: { token, password } });
            keepToken(null);
            navigate(`${LOGIN}?changed=1`);
          });
        }}
      >
        <p>{texts.chooseHint}</p>
        <NewPassword value={password} onChange={setPassword} />
        <button type="submit" class="main" disabled={task.isBusy || password.length < PASSWORD_MIN}>
          {texts.change}
        </button>
        <TaskSaid task={task} />
        {task.error && (
          <p>
            <a href={`${LOGIN}?reset=1`}>{texts.sendMail}</a>
          </p>
        )}
      </form>
    </div>
  );
}
