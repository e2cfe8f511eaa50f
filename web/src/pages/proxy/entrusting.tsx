/** A deposit that one wallet signed and another sends: for who has USDC and no ether. */
import { useEffect, useState } from "preact/hooks";
import type { Overview } from "../../api/proxy.ts";
import { formatTime, formatUsdc } from "../../amounts.ts";
import { Field, Notice } from "../../app/parts.tsx";
import { navigate } from "../../app/router.ts";
import { depositTexts as texts } from "../../text.ts";
import { useAct } from "../../wallet/acting.ts";
import { type Entrusted, describeEntrusted, readEntrusted, sendEntrusted } from "../../wallet/deposit.ts";
import { NeedWallet, Progress } from "../../wallet/panel.tsx";
import { useConnection } from "../../wallet/store.ts";

/** In the window's own storage, so that it outlives a reload and a change of the wallet; it is no secret. */
const KEPT = "current.entrusted";
const CHANGED = "current:entrusted";

/** Keeps a signed deposit until it is sent or forgotten; null forgets it. */
export function keepEntrusted(signed: Entrusted | null): void {
  try {
    if (signed === null) window.sessionStorage.removeItem(KEPT);
    else window.sessionStorage.setItem(KEPT, JSON.stringify(signed));
  } catch {
    // A browser without storage: the text to copy is all there is.
  }
  window.dispatchEvent(new CustomEvent(CHANGED, { detail: signed }));
}

/** The deposit that was signed in this window, until it is sent. */
export function Entrusting({ overview }: { readonly overview: Overview }) {
  const [signed, setSigned] = useState(() => readEntrusted(window.sessionStorage.getItem(KEPT) ?? "", overview));
  useEffect(() => {
    const hear = (event: Event): void => setSigned((event as CustomEvent<Entrusted | null>).detail);
    window.addEventListener(CHANGED, hear);
    return () => window.removeEventListener(CHANGED, hear);
  }, []);
  if (signed === null) return null;
  const text = JSON.stringify(signed);
  return (
    <section class="card" aria-label={texts.signedTitle}>
      <h2>{texts.signedTitle}</h2>
      <p>{texts.signedSwitch}</p>
      <Sending overview={overview} signed={signed} />
      <Field label={texts.signedText}>{(ids) => <textarea {...ids} readOnly rows={4} value={text} onFocus={(event) => event.currentTarget.select()} />}</Field>
      <button type="button" class="small" onClick={() => keepEntrusted(null)}>
        {texts.signedForget}
      </button>
    </section>
  );
}

/** For whoever was given a signed deposit. */
export function Pasting({ overview }: { readonly overview: Overview }) {
  const [text, setText] = useState("");
  const signed = text.trim() === "" ? null : readEntrusted(text, overview);
  const error = text.trim() !== "" && signed === null ? texts.pasteWrong : undefined;
  return (
    <details class="card">
      <summary>{texts.paste}</summary>
      <Field label={texts.pasteField} error={error}>
        {(ids) => <textarea {...ids} rows={4} value={text} spellcheck={false} onInput={(event) => setText(event.currentTarget.value)} />}
      </Field>
      {signed && <Sending overview={overview} signed={signed} />}
    </details>
  );
}

function Sending({ overview, signed }: { readonly overview: Overview; readonly signed: Entrusted }) {
  const connection = useConnection();
  const act = useAct();
  const { owner, tokenId, assetsUsdc, validBeforeS } = describeEntrusted(signed);
  const amount = formatUsdc(assetsUsdc);
  const send = (): void =>
    void act.run(overview.chain_id, async (tools) => {
      const sent = await sendEntrusted(tools, overview, signed);
      keepEntrusted(null);
      navigate(`/position/${sent}`);
      return texts.done(sent.toString());
    });
  return (
    <>
      <Notice>
        <ul>
          <li>{owner !== null ? texts.signedOpens(amount, owner) : texts.signedAdds(amount, tokenId ?? "")}</li>
          <li>{texts.signedUntil(formatTime(validBeforeS))}</li>
        </ul>
      </Notice>
      {connection.kind === "connected" ? (
        <button type="button" class="main" disabled={act.isBusy} onClick={send}>
          {texts.signedSend}
        </button>
      ) : (
        <NeedWallet why={texts.needWallet} />
      )}
      <Progress act={act} />
    </>
  );
}
