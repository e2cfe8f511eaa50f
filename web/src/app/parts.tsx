/** Small parts that pages are made of. */
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { formatTime, formatUsdc, shorten } from "../amounts.ts";
import { common } from "../text.ts";
import { dataOf, type Watched } from "./remote.ts";

/** Something is on its way. */
export function Waiting({ what = common.loading }: { readonly what?: string }) {
  return (
    <p class="waiting" role="status">
      <span class="spinner" aria-hidden="true" />
      {what}
    </p>
  );
}

/** Something failed: what happened, and a way out. */
export function Problem(props: {
  readonly title?: string;
  readonly error: Error;
  readonly again?: (() => void) | undefined;
  readonly children?: ComponentChildren;
}) {
  return (
    <div class="notice problem" role="alert">
      <strong>{props.title ?? common.failed}</strong> <span>{props.error.message}</span>
      {props.children}
      {props.again && (
        <button type="button" class="small" onClick={props.again}>
          {common.tryAgain}
        </button>
      )}
    </div>
  );
}

/** A remark that needs no action, or a warning. */
export function Notice(props: { readonly kind?: "info" | "warning" | "good"; readonly children: ComponentChildren }) {
  return <div class={`notice ${props.kind ?? "info"}`}>{props.children}</div>;
}

/** Shows what a server said; beside old data it says since when and why. */
export function Shown<Data>(props: {
  readonly of: Watched<Data>;
  readonly what?: string;
  readonly children: (data: Data) => ComponentChildren;
}) {
  const { state, refresh } = props.of;
  if (state.kind === "loading") return <Waiting {...(props.what ? { what: props.what } : {})} />;
  if (state.kind === "failed") return <Problem error={state.error} again={refresh} />;
  const data = dataOf(state) as Data;
  return (
    <>
      {state.kind === "stale" && (
        <Problem title={common.staleSince(formatTime(Math.floor(state.atMs / 1_000)))} error={state.error} again={refresh} />
      )}
      {props.children(data)}
    </>
  );
}

/** An amount of USDC with its unit; null is shown as unknown. */
export function Usdc({ of }: { readonly of: bigint | null | undefined }) {
  if (of === null || of === undefined) return <span class="quiet">{common.unknown}</span>;
  return (
    <span class="amount">
      {formatUsdc(of)} <abbr title="USD Coin">USDC</abbr>
    </span>
  );
}

/** A figure with its name. */
export function Figure(props: {
  readonly name: string;
  readonly hint?: ComponentChildren;
  readonly children: ComponentChildren;
}) {
  return (
    <div class="figure">
      <dt>{props.name}</dt>
      <dd>
        {props.children}
        {props.hint && <small>{props.hint}</small>}
      </dd>
    </div>
  );
}

/** An address or hash: short to look at, whole to copy and to hear. */
export function Hex({ of }: { readonly of: string }) {
  return (
    <span class="hex">
      <code title={of}>{shorten(of)}</code>
      <Copy text={of} what={common.copyOf(shorten(of))} />
    </span>
  );
}

/** A button that copies a text, and says whether it did. */
export function Copy(props: { readonly text: string; readonly what?: string }) {
  const [said, setSaid] = useState("");
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(props.text);
      setSaid(common.copied);
    } catch {
      setSaid(common.notCopied);
    }
    window.setTimeout(() => setSaid(""), 2_000);
  };
  return (
    <button type="button" class="copy" aria-label={said || props.what || common.copy} onClick={() => void copy()}>
      {said || common.copy}
    </button>
  );
}

/** A labelled field with its hint and its error, both read out. */
export function Field(props: {
  readonly label: string;
  readonly hint?: string | undefined;
  readonly error?: string | undefined;
  readonly children: (ids: { readonly id: string; readonly "aria-describedby": string; readonly "aria-invalid": boolean }) => ComponentChildren;
}) {
  const id = useId();
  return (
    <div class={props.error ? "field wrong" : "field"}>
      <label for={id}>{props.label}</label>
      {props.hint && <small id={`${id}-hint`}>{props.hint}</small>}
      {props.children({ id, "aria-describedby": `${id}-hint ${id}-error`, "aria-invalid": props.error !== undefined })}
      <span id={`${id}-error`} class="error" aria-live="polite">
        {props.error}
      </span>
    </div>
  );
}

/** A part that is drawn, and asks the server, once it is opened. */
export function Foldable(props: { readonly title: string; readonly children: ComponentChildren }) {
  const [wasOpened, setOpened] = useState(false);
  return (
    <details class="card" onToggle={(event) => event.currentTarget.open && setOpened(true)}>
      <summary>
        <h2>{props.title}</h2>
      </summary>
      {wasOpened && props.children}
    </details>
  );
}

/** A table that scrolls by itself where the window is narrow, by keyboard too. */
export function Table(props: { readonly label: string; readonly children: ComponentChildren }) {
  return (
    <div class="scroll" role="region" aria-label={props.label} tabIndex={0}>
      <table>{props.children}</table>
    </div>
  );
}
