/** A withdrawal of unused credit: a text that the wallet signs, sent until the market has answered. */
import { RequestFailed } from "../../api/http.ts";
import { api } from "../../api/market.ts";
import { formatUnits } from "../../amounts.ts";
import { toHex } from "../../wallet/hex.ts";
import { WalletProblem } from "../../wallet/problems.ts";
import { ask, readAccount } from "../../wallet/provider.ts";
import { getConnected } from "../../wallet/store.ts";
import { walletTexts } from "../../text.ts";

export interface Signed {
  readonly message: string;
  readonly signature: string;
}

/**
 * Has `wallet`, whose credit the page shows, sign a withdrawal of `amountUsdc`, null: all of it. Throws
 * `WalletProblem`, `RequestFailed`.
 */
export async function signWithdrawal(wallet: string, amountUsdc: bigint | null): Promise<Signed> {
  const connected = getConnected();
  if (!connected) throw new WalletProblem("disconnected", walletTexts.disconnected);
  const { provider } = connected;
  // Whoever signs is paid: an account that was chosen since has another credit than the page shows.
  const address = readAccount(await ask(provider, "eth_accounts"));
  if (address.toLowerCase() !== wallet.toLowerCase()) throw new WalletProblem("other_account", walletTexts.other_account);
  const amount = amountUsdc === null ? undefined : formatUnits(amountUsdc, 6).replaceAll(",", "");
  const { message } = await api.get("/v1/buyer/withdrawals/challenge", { query: { address, amount_usd: amount } });
  const signature = await ask<string>(provider, "personal_sign", [toHex(message), address]);
  return { message, signature };
}

/**
 * Sends what was signed; tells whether the market answered. The same message is one withdrawal however
 * often it is sent. Throws `RequestFailed` where the market refused it.
 */
export async function sendWithdrawal(signed: Signed): Promise<boolean> {
  try {
    await api.post("/v1/buyer/withdrawals", { body: signed });
    return true;
  } catch (error) {
    if (error instanceof RequestFailed && (error.status === 0 || error.status >= 500)) return false;
    throw error;
  }
}
