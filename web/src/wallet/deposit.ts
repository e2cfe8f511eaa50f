/** A deposit by the fewest signatures that the wallet allows. */
import type { Hex } from "viem";
import type { Overview } from "../api/proxy.ts";
import { formatUsdc } from "../amounts.ts";
import { depositTexts as texts, walletTexts } from "../text.ts";
import type { Tools } from "./acting.ts";
import type { Log, Step } from "./contracts.ts";
import { WalletProblem } from "./problems.ts";

/** The terms of a deposit, as the page shows them and the wallet signs them. */
export interface Terms {
  readonly assetsUsdc: bigint;
  readonly tier: number;
  readonly smoothingBps: number;
  readonly intervalMinutes: number;
  /** The position to add to; null opens a new one. */
  readonly tokenId: bigint | null;
}

export interface Wish extends Terms {
  /** Never ask for a permit: the visitor chose to approve. */
  readonly byApproval: boolean;
}

/** Returns the fewest shares to accept: a preview less 0.1 %, rounded down. */
export function leastShares(preview: bigint): bigint {
  return (preview * 999n) / 1_000n;
}

type Way = "batch" | "permit" | "approve" | "plain";

/** Carries out a deposit; returns the position's number. Throws `WalletProblem`. */
export async function deposit(tools: Tools, overview: Overview, wish: Wish): Promise<bigint> {
  const { wallet, chain } = tools;
  const usdc = overview.contracts.usdc as Hex;
  const adapter = overview.contracts.adapter as Hex;
  const vault = overview.vault_address as Hex;
  const ask = <Answer>(contract: Step["contract"], to: Hex, name: string, values: readonly unknown[]) =>
    chain.read<Answer>(wallet.provider, { contract, to, name, values });
  tools.say(texts.looking);
  const [balance, allowance, preview, isContract] = await Promise.all([
    ask<bigint>("usdc", usdc, "balanceOf", [wallet.address]),
    ask<bigint>("usdc", usdc, "allowance", [wallet.address, adapter]),
    ask<bigint>("vault", vault, "previewDeposit", [wish.assetsUsdc]),
    chain.hasCode(wallet.provider, wallet.address),
  ]);
  if (balance < wish.assetsUsdc) throw new WalletProblem("reverted", texts.tooLittle(formatUsdc(balance)));
  const floor = leastShares(preview);
  const target =
    wish.tokenId === null ? [wish.tier, wish.smoothingBps, vault, wish.intervalMinutes] : [wish.tokenId];
  const name = wish.tokenId === null ? "open" : "deposit";
  const plain: Step = { contract: "adapter", to: adapter, name, values: [...target, wish.assetsUsdc, floor] };
  const approval: Step = { contract: "usdc", to: usdc, name: "approve", values: [adapter, wish.assetsUsdc] };
  const way = await chooseWay(tools, allowance >= wish.assetsUsdc, isContract, wish.byApproval);
  const logs = await carryOut(way);
  if (wish.tokenId !== null) return wish.tokenId;
  const created = chain.findEvent("adapter", "VaultCreated", logs);
  if (typeof created?.["tokenId"] !== "bigint") throw new WalletProblem("unknown", texts.noNumber);
  return created["tokenId"];

  async function carryOut(by: Way): Promise<readonly Log[]> {
    switch (by) {
      case "plain":
        return tools.carryOut(texts.stepDeposit, plain);
      case "batch":
        tools.say(walletTexts.confirm(texts.stepBoth));
        return chain.sendBatch(wallet.provider, wallet.address, wallet.chainId, [approval, plain], tools.signal);
      case "approve":
        await tools.carryOut(texts.stepApprove, approval);
        return tools.carryOut(texts.stepDeposit, plain);
      case "permit": {
        tools.say(walletTexts.confirm(texts.stepPermit));
        const permit = { owner: wallet.address, usdc, spender: adapter, assets: wish.assetsUsdc, chainId: wallet.chainId };
        const signed = await chain.signPermit(wallet.provider, permit, tools.signal);
        const values = [...target, wish.assetsUsdc, floor, ...signed];
        return tools.carryOut(texts.stepDeposit, { contract: "adapter", to: adapter, name: `${name}WithPermit`, values });
      }
    }
  }
}

async function chooseWay(tools: Tools, isApproved: boolean, isContract: boolean, byApproval: boolean): Promise<Way> {
  if (isApproved) return "plain";
  const { wallet, chain } = tools;
  if (await chain.canBatch(wallet.provider, wallet.address, wallet.chainId)) return "batch";
  return isContract || byApproval ? "approve" : "permit";
}
