/** Signing in as a seller or a buyer: one signature of the wallet, a cookie that no script can read. */
import type { ComponentChildren } from "preact";
import { orSignedOut } from "../../api/http.ts";
import { api } from "../../api/market.ts";
import { Shown } from "../../app/parts.tsx";
import { type Watched, useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { holderTexts as texts } from "../../text.ts";
import { toHex } from "../../wallet/hex.ts";
import { NeedWallet } from "../../wallet/panel.tsx";
import { toProblem } from "../../wallet/problems.ts";
import { ask } from "../../wallet/provider.ts";
import { useConnection } from "../../wallet/store.ts";

export type Role = "seller" | "buyer";

interface Asked<Data> {
  readonly name: string;
  readonly ask: (signal: AbortSignal) => Promise<Data>;
  readonly why: string;
  readonly everyMs?: (data: Data) => number;
  readonly children: (data: Data, watched: Watched<Data | null>) => ComponentChildren;
}

export function AsSeller<Data>(props: Asked<Data>) {
  return <AsHolder role="seller" {...props} />;
}

export function AsBuyer<Data>(props: Asked<Data>) {
  return <AsHolder role="buyer" {...props} />;
}

/** Asks for what the wallet may see in a role, and draws it; before that the way to sign in. */
function AsHolder<Data>(props: Asked<Data> & { readonly role: Role }) {
  const { everyMs } = props;
  const found = useRemote<Data | null>(
    props.name,
    (signal) => orSignedOut(props.ask(signal)),
    (data) => (data === null || !everyMs ? 0 : everyMs(data)),
  );
  return (
    <Shown of={found}>
      {(data) => (data === null ? <SignIn role={props.role} why={props.why} done={found.refresh} /> : <>{props.children(data, found)}</>)}
    </Shown>
  );
}

function SignIn({ role, why, done }: { readonly role: Role; readonly why: string; readonly done: () => void }) {
  const connection = useConnection();
  const task = useTask();
  if (connection.kind !== "connected") return <NeedWallet why={why} />;
  const { provider, address } = connection.wallet;
  const signIn = () =>
    task.run(async () => {
      try {
        const { message } = await api.get(`/v1/${role}/auth/challenge`, { query: { address } });
        const signature = await ask<string>(provider, "personal_sign", [toHex(message), address]);
        await api.post(`/v1/${role}/auth/keys`, { body: { message, signature, label: texts.thisBrowser, session: true } });
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
