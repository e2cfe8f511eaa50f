/** What an action looks like while it runs, and when it stops; choosing a wallet. */
import { useEffect, useRef, useState } from "preact/hooks";
import { shorten } from "../amounts.ts";
import { Notice, Problem, Waiting } from "../app/parts.tsx";
import { common, walletTexts as texts } from "../text.ts";
import type { Act } from "./acting.ts";
import { dropPending, listPending } from "./pending.ts";
import { WalletProblem, toProblem } from "./problems.ts";
import { connect, disconnect, safeIcon, useConnection, useWallets } from "./store.ts";

/** Shows how an action stands. */
export function Progress({ act }: { readonly act: Act }) {
  const { state } = act;
  return (
    <div aria-live="polite">
      {state.kind === "working" && (
        <div class="notice">
          <Waiting what={state.what} />
          {state.hash && (
            <small>
              <code>{state.hash}</code>
            </small>
          )}
          <button type="button" class="small" onClick={act.giveUp}>
            {state.hash ? texts.stopWaiting : texts.giveUp}
          </button>
        </div>
      )}
      {state.kind === "done" && <Notice kind="good">{state.what}</Notice>}
      {state.kind === "failed" && <Problem title={texts.notDone} error={state.problem} again={act.reset} />}
    </div>
  );
}

/** The button in the header: who is connected, or a way to connect. */
export function WalletButton() {
  const connection = useConnection();
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      {connection.kind === "connected" ? (
        <button type="button" class="small" onClick={() => setOpen(true)} title={texts.connectedAs(connection.wallet.address)}>
          {connection.wallet.name} <code>{shorten(connection.wallet.address)}</code>
        </button>
      ) : (
        <button type="button" class="small" onClick={() => setOpen(true)}>
          {connection.kind === "connecting" ? texts.connecting : texts.connect}
        </button>
      )}
      {isOpen && <Chooser close={() => setOpen(false)} />}
    </>
  );
}

/** In place of what needs a wallet: a button, and why. */
export function NeedWallet({ why }: { readonly why: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <Notice>
      {why}
      <button type="button" class="small main" onClick={() => setOpen(true)}>
        {texts.connect}
      </button>
      {isOpen && <Chooser close={() => setOpen(false)} />}
    </Notice>
  );
}

function Chooser({ close }: { readonly close: () => void }) {
  const wallets = useWallets();
  const connection = useConnection();
  const [problem, setProblem] = useState<Error | null>(null);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const choose = async (index: number): Promise<void> => {
    setProblem(null);
    const detail = wallets[index];
    if (!detail) return;
    try {
      await connect(detail);
      close();
    } catch (thrown) {
      setProblem(toProblem(thrown));
    }
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="wallets">
      <h2 id="wallets">{texts.choose}</h2>
      {connection.kind === "connected" && (
        <p>
          {texts.connectedAs(connection.wallet.address)}
          <button
            type="button"
            class="small"
            onClick={() => {
              disconnect();
              close();
            }}
          >
            {texts.letGo}
          </button>
        </p>
      )}
      {wallets.length === 0 ? (
        <p>{texts.noWallet}</p>
      ) : (
        <ul class="wallets">
          {wallets.map((one, index) => (
            <li key={one.info.uuid}>
              <button type="button" disabled={connection.kind === "connecting"} onClick={() => void choose(index)}>
                {safeIcon(one.info.icon) && <img src={safeIcon(one.info.icon)} alt="" />}
                {one.info.name.slice(0, 60)}
              </button>
            </li>
          ))}
        </ul>
      )}
      {connection.kind === "connecting" && <Waiting what={texts.lookAtWallet(connection.name)} />}
      {problem && <Problem error={problem} />}
      <p class="quiet">{texts.whatConnecting}</p>
      <p class="quiet">{texts.otherWays}</p>
      <button type="button" onClick={() => dialog.current?.close()}>
        {common.close}
      </button>
    </dialog>
  );
}

/** Transactions that were on their way when the page was left; followed again. */
export function PendingList() {
  const connection = useConnection();
  const [all, setAll] = useState(listPending);
  const address = connection.kind === "connected" ? connection.wallet.address : null;
  useEffect(() => {
    if (connection.kind !== "connected") return undefined;
    const abort = new AbortController();
    void import("./contracts.ts").then(async ({ follow, followBatch }) => {
      for (const { sent } of all) {
        const { provider } = connection.wallet;
        const ending = sent.isBatch
          ? followBatch(provider, sent.hash, abort.signal)
          : follow(provider, sent, () => {}, abort.signal);
        await ending.then(
          () => dropPending(sent.hash),
          (error: unknown) => {
            if (error instanceof WalletProblem && error.kind === "reverted") dropPending(sent.hash);
          },
        );
        if (!abort.signal.aborted) setAll(listPending());
      }
    });
    return () => abort.abort();
  }, [address]);
  if (all.length === 0) return null;
  return (
    <Notice>
      {texts.stillPending}
      <ul>
        {all.map(({ title, sent }) => (
          <li key={sent.hash}>
            {title} <code>{shorten(sent.hash)}</code>
            <button
              type="button"
              class="small"
              onClick={() => {
                dropPending(sent.hash);
                setAll(listPending());
              }}
            >
              {texts.forget}
            </button>
          </li>
        ))}
      </ul>
    </Notice>
  );
}
