/** A chat that streams: a quote before sending, the cost after, and a way to stop. */
import { useRef, useState } from "preact/hooks";
import { type Model, type Schemas, api, asPosition } from "../../api/proxy.ts";
import { browserHttp } from "../../api/http.ts";
import { readStream } from "../../api/stream.ts";
import { exact, formatUsdc } from "../../amounts.ts";
import { Field, Notice, Problem } from "../../app/parts.tsx";
import { modelTexts as texts } from "../../text.ts";

const ANSWER_TOKENS = 512;

interface Message {
  readonly role: "user" | "assistant";
  readonly content: string;
  readonly note?: string;
}

type Asking =
  | { readonly kind: "idle" }
  | { readonly kind: "quoting" }
  | { readonly kind: "quoted"; readonly quote: Schemas["QuoteView"] }
  | { readonly kind: "streaming"; readonly text: string }
  | { readonly kind: "failed"; readonly error: Error };

const HOLD_PAUSE_MS = 2_000;
const HOLD_TRIES_MAX = 20;

export function Chat({ tokenId, models }: { readonly tokenId: string; readonly models: readonly Model[] }) {
  const usable = models.filter((model) => model.input_usdc_per_mtok !== null);
  const [model, setModel] = useState("cheapest");
  const [text, setText] = useState("");
  const [messages, setMessages] = useState<readonly Message[]>([]);
  const [state, setState] = useState<Asking>({ kind: "idle" });
  const abort = useRef<AbortController | null>(null);
  const bodyOf = (all: readonly Message[]) => ({
    model,
    max_tokens: ANSWER_TOKENS,
    fit: true,
    messages: all.map(({ role, content }) => ({ role, content })),
  });
  const asked = [...messages, { role: "user", content: text } as const];
  const quote = async (): Promise<void> => {
    setState({ kind: "quoting" });
    const options = { body: bodyOf(asked), ...asPosition(tokenId) };
    try {
      let said = await api.post("/api/current/v1/quote", options);
      // The first question of a while waits for its allowance to be set aside: seconds, so the page asks again by itself.
      for (let tries = 0; said.refusal?.code === "hold_pending" && tries < HOLD_TRIES_MAX; tries++) {
        await new Promise((resolve) => setTimeout(resolve, HOLD_PAUSE_MS));
        said = await api.post("/api/current/v1/quote", options);
      }
      setState({ kind: "quoted", quote: said });
    } catch (error) {
      setState({ kind: "failed", error: toError(error) });
    }
  };
  const send = async (): Promise<void> => {
    if (text.trim() === "") return;
    const mine = new AbortController();
    abort.current = mine;
    setMessages(asked);
    setText("");
    setState({ kind: "streaming", text: "" });
    let said = "";
    let note = "";
    try {
      const options = {
        ...asPosition(tokenId),
        body: { ...bodyOf(asked), stream: true, stream_options: { include_usage: true } },
        signal: mine.signal,
        timeoutMs: 0,
      };
      const response = await browserHttp.send("POST", "/api/current/v1/chat/completions", options);
      if (!response.body) throw new Error(texts.noStream);
      for await (const piece of readStream(response.body)) {
        if (piece.text) setState({ kind: "streaming", text: (said += piece.text) });
        if (piece.costUsdc !== null) note = texts.cost(formatUsdc(exact(piece.costUsdc)));
        if (piece.error !== null) note = `${piece.error} ${note}`;
      }
      setState({ kind: "idle" });
    } catch (error) {
      if (mine.signal.aborted) {
        note = texts.stopped;
        setState({ kind: "idle" });
      } else {
        setState({ kind: "failed", error: toError(error) });
        if (said === "") {
          setMessages(messages);
          setText(text);
          return;
        }
      }
    }
    setMessages([...asked, { role: "assistant", content: said, note }]);
  };
  return (
    <div class="card">
      <div aria-live="polite" aria-busy={state.kind === "streaming"}>
        {messages.map((message, at) => (
          <div key={at} class={message.role === "user" ? "message mine" : "message"}>
            {message.content}
            {message.note && <small>{message.note}</small>}
          </div>
        ))}
        {state.kind === "streaming" && <div class="message">{state.text || texts.thinking}</div>}
      </div>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <Field label={texts.model}>
          {(ids) => (
            <select {...ids} onChange={(event) => setModel(event.currentTarget.value)}>
              <option value="cheapest">{texts.cheapest}</option>
              {usable.map(({ id }) => (
                <option key={id} value={id} selected={id === model}>
                  {id}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={texts.question}>
          {(ids) => <textarea {...ids} value={text} onInput={(event) => setText(event.currentTarget.value)} />}
        </Field>
        <div class="actions">
          {state.kind === "streaming" ? (
            <button type="button" onClick={() => abort.current?.abort()}>
              {texts.stop}
            </button>
          ) : (
            <>
              <button type="submit" class="main" disabled={text.trim() === ""}>
                {texts.send}
              </button>
              <button type="button" disabled={text.trim() === "" || state.kind === "quoting"} onClick={() => void quote()}>
                {texts.quote}
              </button>
            </>
          )}
        </div>
      </form>
      {state.kind === "quoted" && <Quote quote={state.quote} />}
      {state.kind === "failed" && <Problem error={state.error} />}
      <p class="quiet">{texts.charged}</p>
    </div>
  );
}

function Quote({ quote }: { readonly quote: Schemas["QuoteView"] }) {
  return quote.admitted ? (
    <Notice kind="good">{texts.quoted(quote.model ?? "", formatUsdc(exact(quote.required_usdc)))}</Notice>
  ) : (
    <Notice kind="warning">{texts.refusedQuote(quote.refusal?.message ?? "")}</Notice>
  );
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
