/** Asking a wallet: every question has a time limit and a way out. */
import { walletTexts } from "../text.ts";
import { WalletProblem, toProblem } from "./problems.ts";

export interface Provider {
  request(question: { readonly method: string; readonly params?: unknown }): Promise<unknown>;
  on?(event: string, listener: (value: never) => void): void;
  removeListener?(event: string, listener: (value: never) => void): void;
}

/** How long a wallet may take for what it does by itself. */
export const QUIET_MS = 15_000;
/** How long a person may take to confirm. */
export const PERSON_MS = 180_000;

const ASKS_A_PERSON = /^(eth_requestAccounts|eth_sendTransaction|personal_sign|eth_signTypedData_v4|wallet_(switch|add)EthereumChain|wallet_sendCalls)$/;

/** Asks a wallet. Throws `WalletProblem`; `silent` where it does not answer in time, or the visitor gives up. */
export async function ask<Answer>(
  provider: Provider,
  method: string,
  params: readonly unknown[] = [],
  options: { readonly limitMs?: number; readonly signal?: AbortSignal } = {},
): Promise<Answer> {
  const limitMs = options.limitMs ?? (ASKS_A_PERSON.test(method) ? PERSON_MS : QUIET_MS);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const ending = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new WalletProblem("silent", walletTexts.silent)), limitMs);
    options.signal?.addEventListener("abort", () => reject(new WalletProblem("refused", walletTexts.givenUp)));
  });
  try {
    return (await Promise.race([provider.request({ method, params }), ending])) as Answer;
  } catch (thrown) {
    throw toProblem(thrown);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads a chain id as wallets state it: hex, decimal text or a number. */
export function readChainId(value: unknown): number {
  const id = typeof value === "string" ? Number(value) : value;
  if (typeof id !== "number" || !Number.isSafeInteger(id) || id <= 0) {
    throw new WalletProblem("unknown", walletTexts.oddChain);
  }
  return id;
}

/** Reads the first account; throws where there is none, or what the wallet says is no address. */
export function readAccount(value: unknown): `0x${string}` {
  const first: unknown = Array.isArray(value) ? value[0] : undefined;
  if (typeof first !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(first)) {
    throw new WalletProblem("disconnected", walletTexts.disconnected);
  }
  return first as `0x${string}`;
}
