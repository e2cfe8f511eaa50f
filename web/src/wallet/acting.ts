/** One action of the visitor's: from the click to its end in a block, and every way it can stop. */
import { useEffect, useRef, useState } from "preact/hooks";
import { walletTexts as texts } from "../text.ts";
import type { Log, Step } from "./contracts.ts";
import { dropPending, keepPending } from "./pending.ts";
import { WalletProblem, toProblem } from "./problems.ts";
import { type Connected, makeReady } from "./store.ts";

export type Acting =
  | { readonly kind: "idle" }
  | { readonly kind: "working"; readonly what: string; readonly canGiveUp: boolean; readonly hash?: string }
  | { readonly kind: "done"; readonly what: string }
  | { readonly kind: "failed"; readonly problem: WalletProblem };

export type Chain = typeof import("./contracts.ts");

export interface Tools {
  readonly wallet: Connected;
  readonly chain: Chain;
  readonly signal: AbortSignal;
  /** Says what is going on. */
  readonly say: (what: string, hash?: string) => void;
  /** Simulates a step, has it signed and sent, and follows it to its end; returns its events. */
  readonly carryOut: (title: string, step: Step) => Promise<readonly Log[]>;
  /** Has steps sent as one by EIP-5792, and follows them to their end; returns their events. */
  readonly carryOutAll: (title: string, steps: readonly Step[]) => Promise<readonly Log[]>;
}

export interface Act {
  readonly state: Acting;
  readonly isBusy: boolean;
  readonly run: (chainId: number, work: (tools: Tools) => Promise<string>) => Promise<void>;
  readonly giveUp: () => void;
  readonly reset: () => void;
}

/** Lets a view carry out one action at a time. What is sent goes on if the view goes away. */
export function useAct(): Act {
  const [state, setState] = useState<Acting>({ kind: "idle" });
  const abort = useRef<AbortController | null>(null);
  useEffect(() => () => abort.current?.abort(), []);
  const run = async (chainId: number, work: (tools: Tools) => Promise<string>): Promise<void> => {
    if (abort.current && !abort.current.signal.aborted && state.kind === "working") return;
    const mine = new AbortController();
    abort.current = mine;
    const say = (what: string, hash?: string): void => {
      if (!mine.signal.aborted) setState({ kind: "working", what, canGiveUp: true, ...(hash ? { hash } : {}) });
    };
    try {
      say(texts.checking);
      const [wallet, chain] = await Promise.all([makeReady(chainId), import("./contracts.ts")]);
      const carryOut = (title: string, step: Step) => carry(wallet, chain, say, mine.signal, title, step);
      const carryOutAll = (title: string, steps: readonly Step[]) => carryAll(wallet, chain, say, mine.signal, title, steps);
      const what = await work({ wallet, chain, signal: mine.signal, say, carryOut, carryOutAll });
      if (!mine.signal.aborted) setState({ kind: "done", what });
    } catch (thrown) {
      if (!mine.signal.aborted) setState({ kind: "failed", problem: toProblem(thrown) });
    }
  };
  return {
    state,
    isBusy: state.kind === "working",
    run,
    giveUp: () => {
      abort.current?.abort();
      setState({ kind: "idle" });
    },
    reset: () => setState({ kind: "idle" }),
  };
}

async function carry(
  wallet: Connected,
  chain: Chain,
  say: (what: string, hash?: string) => void,
  signal: AbortSignal,
  title: string,
  step: Step,
): Promise<readonly Log[]> {
  say(texts.trying(title));
  await chain.simulate(wallet.provider, wallet.address, step);
  signal.throwIfAborted();
  say(texts.confirm(title));
  const sent = await chain.send(wallet.provider, wallet.address, step);
  keepPending({ title, chainId: wallet.chainId, sent });
  say(texts.sent(title), sent.hash);
  const { outcome, logs } = await chain.follow(
    wallet.provider,
    sent,
    (now) => say(now.kind !== "unseen" ? texts.sent(title) : sent.sinceBlock ? texts.owners(title) : texts.unseen(title), sent.hash),
    signal,
  );
  dropPending(sent.hash);
  if (outcome.kind === "cancelled") throw new WalletProblem("refused", texts.cancelled);
  if (outcome.kind === "reverted") throw new WalletProblem("reverted", texts.revertedInBlock);
  return logs;
}

async function carryAll(
  wallet: Connected,
  chain: Chain,
  say: (what: string, hash?: string) => void,
  signal: AbortSignal,
  title: string,
  steps: readonly Step[],
): Promise<readonly Log[]> {
  say(texts.confirm(title));
  const calls = steps.map((step) => ({ to: step.to, data: chain.encode(step) }));
  const id = await chain.sendBatch(wallet.provider, wallet.address, wallet.chainId, calls);
  const [first] = calls;
  keepPending({ title, chainId: wallet.chainId, sent: { hash: id, from: wallet.address, to: first?.to ?? "0x", data: "0x", nonce: null, isBatch: true } });
  say(texts.sent(title), id);
  // Until the wallet says how it ended, it is kept: a reload goes on asking.
  const logs = await chain.followBatch(wallet.provider, id, signal).catch((error: unknown) => {
    if (error instanceof WalletProblem && error.kind === "reverted") dropPending(id);
    throw error;
  });
  dropPending(id);
  return logs;
}
