/** The connected wallet: which there are, which is chosen, and whether it is still what it says. */
import { type EIP6963ProviderDetail, createStore } from "mipd";
import { useEffect, useState } from "preact/hooks";
import { walletTexts } from "../text.ts";
import { findChain } from "./chains.ts";
import { WalletProblem } from "./problems.ts";
import { type Provider, ask, readAccount, readChainId } from "./provider.ts";

export type Connection =
  | { readonly kind: "none" }
  | { readonly kind: "connecting"; readonly name: string }
  | { readonly kind: "connected"; readonly wallet: Connected };

export interface Connected {
  readonly provider: Provider;
  readonly name: string;
  readonly address: `0x${string}`;
  readonly chainId: number;
}

const REMEMBERED = "current.wallet";
const RECONNECT_MS = 3_000;

const announced = createStore();
let connection: Connection = { kind: "none" };
const watchers = new Set<() => void>();
let forget = (): void => {};

function change(next: Connection): void {
  connection = next;
  for (const watcher of watchers) watcher();
}

/** Returns the wallets that announced themselves. */
export function useWallets(): readonly EIP6963ProviderDetail[] {
  const [wallets, setWallets] = useState(announced.getProviders());
  useEffect(() => announced.subscribe((all) => setWallets(all)), []);
  return wallets;
}

/** Returns the connection; the view is drawn again when it changes. */
export function useConnection(): Connection {
  const [now, setNow] = useState(connection);
  useEffect(() => {
    const watcher = (): void => setNow(connection);
    watchers.add(watcher);
    watcher();
    return () => void watchers.delete(watcher);
  }, []);
  return now;
}

/** Returns the connected wallet, or undefined. */
export function getConnected(): Connected | undefined {
  return connection.kind === "connected" ? connection.wallet : undefined;
}

/** Returns an icon only where it is a data image: no wallet makes a page ask another host. */
export function safeIcon(icon: string): string | undefined {
  return /^data:image\/(png|jpeg|gif|webp|svg\+xml)[;,]/i.test(icon) ? icon : undefined;
}

/** Connects a wallet, asking its owner. Throws `WalletProblem`. */
export async function connect(detail: EIP6963ProviderDetail, isQuiet = false): Promise<void> {
  const provider = detail.provider as unknown as Provider;
  const name = detail.info.name.slice(0, 60);
  change({ kind: "connecting", name });
  try {
    const limit = isQuiet ? { limitMs: RECONNECT_MS } : {};
    const accounts = await ask(provider, isQuiet ? "eth_accounts" : "eth_requestAccounts", [], limit);
    const address = readAccount(accounts);
    const chainId = readChainId(await ask(provider, "eth_chainId", [], limit));
    listen(provider, name);
    change({ kind: "connected", wallet: { provider, name, address, chainId } });
    window.localStorage.setItem(REMEMBERED, detail.info.rdns);
  } catch (error) {
    change({ kind: "none" });
    if (!isQuiet) throw error;
  }
}

/** Lets the wallet go. */
export function disconnect(): void {
  forget();
  window.localStorage.removeItem(REMEMBERED);
  change({ kind: "none" });
}

function listen(provider: Provider, name: string): void {
  forget();
  const look = async (): Promise<void> => {
    try {
      const address = readAccount(await ask(provider, "eth_accounts"));
      const chainId = readChainId(await ask(provider, "eth_chainId"));
      change({ kind: "connected", wallet: { provider, name, address, chainId } });
    } catch {
      change({ kind: "none" });
    }
  };
  const events = ["accountsChanged", "chainChanged", "disconnect"];
  for (const event of events) provider.on?.(event, look as () => void);
  forget = () => {
    for (const event of events) provider.removeListener?.(event, look as () => void);
    forget = () => {};
  };
}

/** Connects again what was connected before, without a prompt and without holding up the page. */
export function reconnect(): void {
  let rdns: string | null = null;
  try {
    rdns = window.localStorage.getItem(REMEMBERED);
  } catch {
    return;
  }
  if (rdns === null) return;
  const wanted = rdns;
  const look = (): boolean => {
    const found = announced.getProviders().find((one) => one.info.rdns === wanted);
    if (found && connection.kind === "none") void connect(found, true);
    return found !== undefined;
  };
  if (look()) return;
  const stop = announced.subscribe(() => {
    if (look()) stop();
  });
}

/**
 * Asks the wallet again who it is and where, and has it switch to our chain; returns it as it is now.
 *
 * Called before each action, because a wallet can be another one than the page shows. Throws
 * `WalletProblem`.
 */
export async function makeReady(chainId: number): Promise<Connected> {
  const shown = getConnected();
  if (!shown) throw new WalletProblem("disconnected", walletTexts.disconnected);
  const address = readAccount(await ask(shown.provider, "eth_accounts"));
  if (address.toLowerCase() !== shown.address.toLowerCase()) {
    change({ kind: "connected", wallet: { ...shown, address } });
    throw new WalletProblem("other_account", walletTexts.other_account);
  }
  const there = readChainId(await ask(shown.provider, "eth_chainId"));
  if (there !== chainId) await switchChain(shown.provider, chainId);
  const ready = { ...shown, address, chainId };
  if (shown.chainId !== chainId) change({ kind: "connected", wallet: ready });
  return ready;
}

/**
 * Has a wallet switch to a chain; a wallet that does not know the chain is offered it first, and switches
 * then, because not every wallet does so by itself. Throws `WalletProblem`.
 */
export async function switchChain(provider: Provider, chainId: number): Promise<void> {
  const hex = `0x${chainId.toString(16)}`;
  const change = (): Promise<unknown> => ask(provider, "wallet_switchEthereumChain", [{ chainId: hex }]);
  const isThere = async (): Promise<boolean> => readChainId(await ask(provider, "eth_chainId")) === chainId;
  try {
    await change();
  } catch (error) {
    const chain = findChain(chainId);
    if (!(error instanceof WalletProblem) || error.kind !== "other_chain" || chain === null) throw error;
    await ask(provider, "wallet_addEthereumChain", [{ chainId: hex, ...chain }]);
    if (!(await isThere())) await change();
  }
  if (!(await isThere())) throw new WalletProblem("other_chain", walletTexts.stillOtherChain);
}
