/** Signing in with the wallet: one signature, a cookie that no script can read. */
import { api } from "../api/proxy.ts";
import { sessionTexts } from "../text.ts";
import type { Tools } from "./acting.ts";
import { toHex } from "./hex.ts";
import { ask } from "./provider.ts";

/** Has the wallet sign a text by EIP-191. Throws `WalletProblem`. */
export function signText(tools: Tools, text: string): Promise<string> {
  const { provider, address } = tools.wallet;
  return ask<string>(provider, "personal_sign", [toHex(text), address], { signal: tools.signal });
}

/** Signs in. Throws `WalletProblem` or `RequestFailed`. */
export async function signIn(tools: Tools): Promise<void> {
  const { address } = tools.wallet;
  const { message } = await api.get("/api/current/session/message", { query: { address } });
  tools.say(sessionTexts.sign);
  const signature = await signText(tools, message);
  await api.post("/api/current/session", { body: { message, signature } });
}
