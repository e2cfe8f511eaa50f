/** Keys: get one once, with ready blocks; child keys with limits; where the wallet is signed in. */
import { useState } from "preact/hooks";
import { type Schemas, api, asPosition } from "../../api/proxy.ts";
import { exact, formatTime, formatUsdc, parseUsdc } from "../../amounts.ts";
import { Copy, Field, Notice, Problem, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { keyTexts as texts } from "../../text.ts";
import { useAct } from "../../wallet/acting.ts";
import { Progress } from "../../wallet/panel.tsx";
import { signText } from "../../wallet/session.ts";
import { type Session, Signed } from "../../wallet/signed.tsx";
import { blocksFor } from "./clients.ts";

type Child = Schemas["ChildView"];

export function Keys() {
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <Signed why={texts.why}>
        {(tokenId, session, refresh) => (
          <>
            <RootKey key={`root ${tokenId}`} tokenId={tokenId} />
            <Children key={`children ${tokenId}`} tokenId={tokenId} />
            <section>
              <h2>{texts.leaked}</h2>
              <p>{texts.leakedHint}</p>
              <a class="button danger" href={`/position/${tokenId}`}>
                {texts.leakedGo}
              </a>
            </section>
            <Sessions session={session} refresh={refresh} />
          </>
        )}
      </Signed>
    </>
  );
}

function RootKey({ tokenId }: { readonly tokenId: string }) {
  const act = useAct();
  const [key, setKey] = useState<string | null>(null);
  const overview = useRemote("overview", (signal) => api.get("/api/current/overview", { signal }));
  const get = (chainId: number): void =>
    void act.run(chainId, async (tools) => {
      const nonce = await api.get("/api/current/keys/nonce", { query: { tokenId } });
      const message = nonce.template
        .replace("<address>", tools.chain.getAddress(tools.wallet.address))
        .replace("<time>", new Date().toISOString());
      tools.say(texts.sign);
      const signature = await signText(tools, message);
      const issued = await api.post("/api/current/keys", { body: { message, signature } });
      setKey(issued.apiKey);
      return texts.issued;
    });
  return (
    <section>
      <h2>{texts.root}</h2>
      <p class="quiet">{texts.rootHint}</p>
      <Shown of={overview}>
        {(data) => (
          <button type="button" class="main" disabled={act.isBusy} onClick={() => get(data.chain_id)}>
            {texts.get}
          </button>
        )}
      </Shown>
      <Progress act={act} />
      {key !== null && <ShownOnce apiKey={key} forget={() => setKey(null)} />}
    </section>
  );
}

function ShownOnce({ apiKey, forget }: { readonly apiKey: string; readonly forget: () => void }) {
  const [isShown, setShown] = useState(false);
  return (
    <div class="card">
      <Notice kind="warning">{texts.once}</Notice>
      <p>
        <code>{isShown ? apiKey : `${apiKey.slice(0, 14)}${"•".repeat(20)}`}</code>{" "}
        <Copy text={apiKey} what={texts.copyKey} />{" "}
        <button type="button" class="small" onClick={() => setShown(!isShown)}>
          {isShown ? texts.hide : texts.show}
        </button>{" "}
        <button type="button" class="small" onClick={forget}>
          {texts.put}
        </button>
      </p>
      <h3>{texts.blocks}</h3>
      {blocksFor(window.location.origin, apiKey).map(({ name, text, shown }) => (
        <details key={name}>
          <summary>{name}</summary>
          <pre>{isShown ? text : shown}</pre>
          <Copy text={text} what={texts.copyBlock(name)} />
        </details>
      ))}
    </div>
  );
}

function Children({ tokenId }: { readonly tokenId: string }) {
  const children = useRemote(`children ${tokenId}`, (signal) => api.get("/api/current/keys/children", { signal, ...asPosition(tokenId) }));
  const [made, setMade] = useState<string | null>(null);
  const [problem, setProblem] = useState<Error | null>(null);
  const change = async (work: () => Promise<string | null>): Promise<void> => {
    setProblem(null);
    try {
      setMade(await work());
      children.refresh();
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
    }
  };
  return (
    <section>
      <h2>{texts.children}</h2>
      <p class="quiet">{texts.childrenHint}</p>
      <NewChild
        make={(body) =>
          change(async () => (await api.post("/api/current/keys/children", { body, ...asPosition(tokenId) })).apiKey)
        }
      />
      {problem && <Problem error={problem} />}
      {made !== null && <ShownOnce apiKey={made} forget={() => setMade(null)} />}
      <Shown of={children}>
        {({ data }) =>
          data.length === 0 ? (
            <p class="quiet">{texts.noChildren}</p>
          ) : (
            <Table label={texts.children}>
              <thead>
                <tr>
                  <th scope="col">{texts.label}</th>
                  <th scope="col" class="number">{texts.usedToday}</th>
                  <th scope="col" class="number">{texts.dayLimit}</th>
                  <th scope="col" class="number">{texts.usedEver}</th>
                  <th scope="col">{texts.state}</th>
                  <th scope="col"><span class="hidden">{texts.actions}</span></th>
                </tr>
              </thead>
              <tbody>
                {data.map((one) => (
                  <ChildRow key={one.keyId} one={one} tokenId={tokenId} change={change} />
                ))}
              </tbody>
            </Table>
          )
        }
      </Shown>
    </section>
  );
}

function ChildRow(props: {
  readonly one: Child;
  readonly tokenId: string;
  readonly change: (work: () => Promise<string | null>) => Promise<void>;
}) {
  const { one, tokenId } = props;
  const call = { path: { keyId: one.keyId }, ...asPosition(tokenId) };
  return (
    <tr>
      <th scope="row">{one.label || one.keyId}</th>
      <td class="number">{formatUsdc(exact(one.used.day_usdc))}</td>
      <td class="number">{one.day_usdc_max === null ? texts.none : formatUsdc(exact(one.day_usdc_max))}</td>
      <td class="number">{formatUsdc(exact(one.used.lifetime_usdc))}</td>
      <td>{one.revoked_at ? texts.revoked : texts.live}</td>
      <td>
        {!one.revoked_at && (
          <>
            <button
              type="button"
              class="small"
              onClick={() =>
                void props.change(async () => (await api.post("/api/current/keys/children/{keyId}/rotate", { ...call, body: {} })).apiKey)
              }
            >
              {texts.rotate}
            </button>{" "}
            <button
              type="button"
              class="small danger"
              onClick={() =>
                void props.change(async () => {
                  await api.delete("/api/current/keys/children/{keyId}", call);
                  return null;
                })
              }
            >
              {texts.revoke}
            </button>
          </>
        )}
      </td>
    </tr>
  );
}

function NewChild({ make }: { readonly make: (body: Record<string, unknown>) => Promise<void> }) {
  const [label, setLabel] = useState("");
  const [limit, setLimit] = useState("");
  const parsed = limit.trim() === "" ? null : parseUsdc(limit);
  return (
    <details class="card">
      <summary>{texts.newChild}</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (parsed?.kind === "wrong") return;
          void make({ label, ...(parsed ? { day_usdc_max: Number(parsed.usdc) } : {}) });
        }}
      >
        <Field label={texts.label} hint={texts.labelHint}>
          {(ids) => <input {...ids} maxLength={100} value={label} onInput={(event) => setLabel(event.currentTarget.value)} />}
        </Field>
        <Field label={texts.dayLimit} hint={texts.dayLimitHint} error={parsed?.kind === "wrong" ? parsed.why : undefined}>
          {(ids) => <input {...ids} inputMode="decimal" value={limit} onInput={(event) => setLimit(event.currentTarget.value)} />}
        </Field>
        <button type="submit">{texts.makeChild}</button>
      </form>
    </details>
  );
}

function Sessions({ session, refresh }: { readonly session: Session; readonly refresh: () => void }) {
  const [problem, setProblem] = useState<Error | null>(null);
  const end = async (sessionId: string): Promise<void> => {
    try {
      await api.delete("/api/current/session/{sessionId}", { path: { sessionId } });
      refresh();
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
    }
  };
  return (
    <section>
      <h2>{texts.sessions}</h2>
      {problem && <Problem error={problem} />}
      <ul>
        {session.sessions.map((one) => (
          <li key={one.session_id}>
            {one.is_this ? texts.thisBrowser : texts.browser(one.user_agent.slice(0, 80))}{" "}
            <span class="quiet">{texts.since(formatTime(one.created_at_s), formatTime(one.expires_at_s))}</span>{" "}
            <button type="button" class="small" onClick={() => void end(one.session_id)}>
              {one.is_this ? texts.signOut : texts.endIt}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
