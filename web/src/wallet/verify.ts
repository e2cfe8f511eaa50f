/** A receipt's proof, recomputed here; the root comes from the chain by the visitor's own wallet. */
import { type Hex, concatHex, encodeAbiParameters, encodeEventTopics, keccak256, stringToHex } from "viem";
import type { Abi } from "viem";
import type { Schemas } from "../api/proxy.ts";
import abi from "./abi.json" with { type: "json" };
import { type Provider, ask } from "./provider.ts";

export type Receipt = Schemas["ReceiptView"];
export type Verdict =
  | { readonly kind: "true"; readonly root: Hex; readonly txHash: Hex }
  | { readonly kind: "unsettled" }
  | { readonly kind: "false"; readonly why: "figures" | "proof" | "no_batch" | "seller" };

const LEAF = ["bytes32", ...Array<string>(2).fill("uint256"), "bytes32", ...Array<string>(8).fill("uint256")].map((type) => ({ type }));

/** Who served, from leaf version 2 on: four hashes, the grade, what paid. */
const SERVED = [...Array<string>(4).fill("bytes32"), "uint256", "uint256"].map((type) => ({ type }));
const GRADES = ["", "A", "B", "C", "D"];
const PAID_BY = ["yield", "credit"];

/** Returns what a leaf has of a seller: keccak(salt, seller). */
export function commitSeller(seller: string, salt: Hex): Hex {
  return keccak256(concatHex([salt, stringToHex(seller)]));
}

/**
 * Returns a receipt's leaf: keccak(keccak(abi.encode(fields))), as `ledger/spending/receipts.py` has it; from
 * version 2 on the version's byte stands before the fields, and who served behind them.
 */
export function leafOf(receipt: Receipt): Hex {
  const hash = (text: string): Hex => keccak256(stringToHex(text));
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
  const { served } = receipt;
  if (receipt.leaf_version !== 2 || !served) return keccak256(keccak256(encodeAbiParameters(LEAF, values)));
  const named = [served.seller_commitment, hash(served.offer_id), hash(served.host), hash(served.model)];
  const words = [BigInt(GRADES.indexOf(served.grade)), BigInt(PAID_BY.indexOf(served.paid_by))];
  const content = encodeAbiParameters([...LEAF, ...SERVED], [...values, ...named, ...words]);
  return keccak256(keccak256(concatHex(["0x02", content])));
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
  const served = receipt.served;
  if (served && commitSeller(served.seller, served.seller_salt as Hex) !== served.seller_commitment) return { kind: "false", why: "seller" };
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
