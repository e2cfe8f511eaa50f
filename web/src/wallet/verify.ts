/** A receipt's proof, recomputed here; the root comes from the chain by the visitor's own wallet. */
import { type Hex, encodeAbiParameters, encodeEventTopics, keccak256, toBytes } from "viem";
import type { Abi } from "viem";
import type { Schemas } from "../api/proxy.ts";
import abi from "./abi.json" with { type: "json" };
import { type Provider, ask } from "./provider.ts";

export type Receipt = Schemas["ReceiptView"];
export type Verdict =
  | { readonly kind: "true"; readonly root: Hex; readonly txHash: Hex }
  | { readonly kind: "unsettled" }
  | { readonly kind: "false"; readonly why: "figures" | "proof" | "no_batch" };

const LEAF = ["bytes32", ...Array<string>(2).fill("uint256"), "bytes32", ...Array<string>(8).fill("uint256")].map((type) => ({ type }));

/** Returns a receipt's leaf: keccak(keccak(abi.encode(fields))), as `ledger/spending/receipts.py` has it. */
export function leafOf(receipt: Receipt): Hex {
  const hash = (text: string): Hex => keccak256(toBytes(text));
  const figures = [
    receipt.prompt_tokens,
    receipt.cached_tokens,
    receipt.completion_tokens,
    receipt.input_usdc_per_mtok,
    receipt.cached_input_usdc_per_mtok,
    receipt.output_usdc_per_mtok,
    receipt.cost_usdc,
    receipt.posted_at_s,
  ].map((figure) => BigInt(figure ?? 0));
  const values = [hash(receipt.request_id), BigInt(receipt.token_id), BigInt(receipt.key_epoch), hash(receipt.model), ...figures];
  return keccak256(keccak256(encodeAbiParameters(LEAF, values)));
}

/** Returns the root that a proof leads to; pairs are hashed in sorted order. */
export function climb(leaf: Hex, proof: readonly Hex[]): Hex {
  return proof.reduce<Hex>((node, sibling) => {
    const [left, right] = node.toLowerCase() < sibling.toLowerCase() ? [node, sibling] : [sibling, node];
    return keccak256(`0x${left.slice(2)}${right.slice(2)}`);
  }, leaf);
}

/** Tells whether the chain has settled a batch that contains this receipt. Throws `WalletProblem`. */
export async function verify(provider: Provider, position: Hex, receipt: Receipt): Promise<Verdict> {
  const settlement = receipt.settlement;
  if (receipt.state !== "settled" || !settlement || settlement.block_number === null) return { kind: "unsettled" };
  const leaf = leafOf(receipt);
  if (receipt.leaf !== null && leaf !== receipt.leaf) return { kind: "false", why: "figures" };
  const topics = encodeEventTopics({
    abi: abi.position as Abi,
    eventName: "BatchSettled",
    args: { batchId: settlement.batch_id as Hex },
  });
  const block: Hex = `0x${settlement.block_number.toString(16)}`;
  const logs = await ask<{ data: Hex; transactionHash: Hex }[]>(provider, "eth_getLogs", [
    { address: position, topics, fromBlock: block, toBlock: block },
  ]);
  const found = logs[0];
  if (!found) return { kind: "false", why: "no_batch" };
  // The event's first word without an index is the root.
  const root: Hex = `0x${found.data.slice(2, 66)}`;
  if (climb(leaf, settlement.proof as Hex[]) !== root.toLowerCase()) return { kind: "false", why: "proof" };
  return { kind: "true", root, txHash: found.transactionHash };
}
