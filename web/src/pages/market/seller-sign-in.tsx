/** Signing in as a seller: one signature of the wallet, a cookie that no script can read. */
import type { ComponentChildren } from "preact";
import { orSignedOut } from "../../api/http.ts";
import { api } from "../../api/market.ts";
import { Shown } from "../../app/parts.tsx";
import { type Watched, useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { sellTexts as texts } from "../../text.ts";
import { toHex } from "../../wallet/hex.ts";
import { NeedWallet } from "../../wallet/panel.tsx";
import { toProblem } from "../../wallet/problems.ts";
import { ask } from "../../wallet/provider.ts";
import { useConnection } from "../../wallet/store.ts";

/** Asks for what a seller may see, and draws it; before that the way to sign in. */
export function AsSeller<Data>(props: {
  readonly name: string;
  readonly ask: (signal: AbortSignal) => Promise<Data>;
  readonly why: string;
  readonly children: (data: Data, watched: Watched<Data | null>) => ComponentChildren;
}) {
  const found = useRemote<Data | null>(props.name, (signal) => orSignedOut(props.ask(signal)));
  return (
    <Shown of={found}>
      {(data) => (data === null ? <SignIn why={props.why} done={found.refresh} /> : <>{props.children(data, found)}</>)}
    </Shown>
  );
}

function SignIn({ why, done }: { readonly why: string; readonly done: () => void }) {
  const connection = useConnection();
  const task = useTask();
  if (connection.kind !== "connected") return <NeedWallet why={why} />;
  const { provider, address } = connection.wallet;
  const signIn = () =>
    task.run(async () => {
      try {
        const { message } = await api.get("/v1/seller/auth/challenge", { query: { address } });
        const signature = await ask<string>(provider, "personal_sign", [toHex(message), address]);
        await api.post("/v1/seller/auth/keys", { body: { message, signature, label: texts.thisBrowser, session: true } });
      } catch (thrown) {
        throw toProblem(thrown);
      }
      done();
    });
  return (
    <div class="card">
      <p>{texts.signInHint}</p>
      <button type="button" class="main" disabled={task.isBusy} onClick={() => void signIn()}>
        {texts.signIn}
      </button>
      <TaskSaid task={task} />
    </div>
  );
}
