/** Several calls as one by EIP-5792: for wallets that are contracts, or can be for one transaction. */
import type { Hex } from "viem";
import { walletTexts } from "../text.ts";
import type { Log } from "./contracts.ts";
import { WalletProblem } from "./problems.ts";
import { type Provider, ask } from "./provider.ts";

const LOOK_EVERY_MS = 1_000;
const CAPABILITIES_MS = 3_000;

type Capabilities = Record<string, { readonly atomic?: { readonly status?: string } } | undefined>;

/** Whether the wallet sends several calls as one (EIP-5792). Never throws: most wallets cannot. */
export async function canBatch(provider: Provider, address: Hex, chainId: number): Promise<boolean> {
  try {
    const hex = `0x${chainId.toString(16)}`;
    const limit = { limitMs: CAPABILITIES_MS };
    const said = await ask<Capabilities>(provider, "wallet_getCapabilities", [address, [hex]], limit);
    // 0x0 stands for every chain.
    const able = [hex, "0x0"].map((chain) => said[chain]?.atomic?.status ?? "");
    return able.some((status) => ["supported", "ready"].includes(status));
  } catch {
    return false;
  }
}

/** Has calls sent as one; returns the wallet's number for them. Throws `WalletProblem`. */
export async function sendBatch(
  provider: Provider,
  from: Hex,
  chainId: number,
  calls: readonly { readonly to: Hex; readonly data: Hex }[],
): Promise<Hex> {
  const all = calls.map((call) => ({ ...call, value: "0x0" }));
  const wish = { version: "2.0.0", chainId: `0x${chainId.toString(16)}`, from, atomicRequired: true, calls: all };
  const answer = await ask<string | { id?: string } | null>(provider, "wallet_sendCalls", [wish]);
  const id = typeof answer === "string" ? answer : answer?.id;
  if (typeof id !== "string" || id === "") throw new WalletProblem("unknown", walletTexts.oddHash);
  return id as Hex;
}

interface Status {
  readonly status: number;
  readonly receipts?: readonly { readonly status: string; readonly logs: readonly Log[] }[];
}

/** Asks the wallet how calls ended, until it says so; returns their events. Throws `WalletProblem`. */
export async function followBatch(provider: Provider, id: string, signal: AbortSignal): Promise<readonly Log[]> {
  for (;;) {
    if (signal.aborted) throw new WalletProblem("refused", walletTexts.givenUp);
    const { status, receipts } = await askStatus(provider, id);
    const all = receipts ?? [];
    if (status >= 400 || all.some((one) => one.status === "0x0")) {
      throw new WalletProblem("reverted", walletTexts.batchFailed);
    }
    if (status >= 200) return all.flatMap((one) => one.logs);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function askStatus(provider: Provider, id: string): Promise<Status> {
  try {
    const said = await ask<Status | null>(provider, "wallet_getCallsStatus", [id]);
    if (typeof said?.status === "number") return said;
  } catch (error) {
    // What is sent must not be tried another way because the wallet cannot say how it went.
    if (!(error instanceof WalletProblem) || error.kind !== "unsupported") throw error;
  }
  throw new WalletProblem("unknown", walletTexts.oddHash);
}
