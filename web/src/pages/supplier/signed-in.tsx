/** What pages for accounts by mail share: the way to sign in, to the others, and out. */
import type { ComponentChildren } from "preact";
import { Notice, Shown } from "../../app/parts.tsx";
import type { Watched } from "../../app/remote.ts";
import { navigate } from "../../app/router.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { keepToken, supply } from "../../api/supply.ts";
import { accountTexts as texts } from "../../text.ts";

export const LOGIN = "/login.html";
export const DASHBOARD = "/supply-dashboard.html";
export const INTAKE = "/supplier-kyb-intake.html";
export const APPLY = "/supplier.html";

/** Draws `children` of what the server said, or the way to sign in where it said null. */
export function SignedIn<Data>(props: {
  readonly of: Watched<Data | null>;
  readonly children: (data: Data) => ComponentChildren;
}) {
  return (
    <Shown of={props.of}>
      {(data) => (data === null ? <SignInFirst /> : <>{props.children(data)}</>)}
    </Shown>
  );
}

function SignInFirst() {
  const here = window.location.pathname + window.location.search;
  return (
    <Notice>
      <p>{texts.signInFirst}</p>
      <p class="actions">
        <a class="button main" href={`${LOGIN}?next=${encodeURIComponent(here)}`}>
          {texts.signIn}
        </a>
        <a class="button" href={APPLY}>
          {texts.apply}
        </a>
      </p>
    </Notice>
  );
}

/** Signs out, and goes to the sign-in. */
export function SignOut({ isEverywhere = false }: { readonly isEverywhere?: boolean }) {
  const task = useTask();
  const leave = () =>
    task.run(async () => {
      await supply.delete("/v1/supply/sessions", isEverywhere ? { query: { everywhere: "true" } } : {});
      keepToken(null);
      navigate(LOGIN);
    });
  return (
    <div>
      <button type="button" class="small" disabled={task.isBusy} onClick={() => void leave()}>
        {isEverywhere ? texts.signOutEverywhere : texts.signOut}
      </button>
      <TaskSaid task={task} />
    </div>
  );
}
