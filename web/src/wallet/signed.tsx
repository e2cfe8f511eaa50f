/** What only a signed-in wallet sees: a way to sign in, then one of its positions. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Schemas, api } from "../api/proxy.ts";
import { exact, formatUsdc } from "../amounts.ts";
import { Field, Notice, Shown } from "../app/parts.tsx";
import { useRemote } from "../app/remote.ts";
import { sessionTexts as texts } from "../text.ts";
import { useAct } from "./acting.ts";
import { NeedWallet, Progress } from "./panel.tsx";
import { signIn } from "./session.ts";
import { useConnection } from "./store.ts";

export type Session = Schemas["SessionState"];

const CHOSEN = "current.position";

/** Draws `children` for the chosen position of whoever is signed in. */
export function Signed(props: {
  readonly why: string;
  readonly children: (tokenId: string, session: Session, refresh: () => void) => ComponentChildren;
}) {
  const session = useRemote("session", (signal) => api.get("/api/current/session", { signal }));
  const [chosen, setChosen] = useState<string | null>(() => window.sessionStorage.getItem(CHOSEN));
  const choose = (tokenId: string): void => {
    window.sessionStorage.setItem(CHOSEN, tokenId);
    setChosen(tokenId);
  };
  return (
    <Shown of={session}>
      {(data) => {
        if (data.address === null) return <SignIn why={props.why} done={session.refresh} />;
        const owned = data.positions.map((one) => one.token_id.toString());
        const tokenId = chosen !== null && owned.includes(chosen) ? chosen : owned[0];
        if (tokenId === undefined) return <Notice>{texts.noPosition}</Notice>;
        return (
          <>
            {owned.length > 1 && (
              <Field label={texts.which}>
                {(ids) => (
                  <select {...ids} onChange={(event) => choose(event.currentTarget.value)}>
                    {data.positions.map((one) => (
                      <option key={one.token_id} value={one.token_id} selected={one.token_id.toString() === tokenId}>
                        {texts.positionOf(one.token_id.toString(), formatUsdc(exact(one.principal_usdc)))}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
            )}
            {props.children(tokenId, data, session.refresh)}
          </>
        );
      }}
    </Shown>
  );
}

function SignIn({ why, done }: { readonly why: string; readonly done: () => void }) {
  const connection = useConnection();
  const act = useAct();
  const overview = useRemote("overview", (signal) => api.get("/api/current/overview", { signal }));
  if (connection.kind !== "connected") return <NeedWallet why={why} />;
  return (
    <div class="card">
      <p>{why}</p>
      <p class="quiet">{texts.what}</p>
      <Shown of={overview}>
        {(data) => (
          <button
            type="button"
            class="main"
            disabled={act.isBusy}
            onClick={() =>
              void act.run(data.chain_id, async (tools) => {
                await signIn(tools);
                done();
                return texts.signedIn;
              })
            }
          >
            {texts.signIn}
          </button>
        )}
      </Shown>
      <Progress act={act} />
    </div>
  );
}
