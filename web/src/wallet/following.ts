/** What became of a transaction: mined, failed, replaced, cancelled, or never seen. Pure. */

export interface Sent {
  readonly hash: `0x${string}`;
  readonly from: `0x${string}`;
  readonly to: `0x${string}`;
  readonly data: `0x${string}`;
  /** Null where the wallet's node did not know the transaction yet. */
  readonly nonce: number | null;
  /**
   * Set where the sender is a contract: the newest block when it was asked. Its other owners may have
   * to confirm first, so what the wallet answered may be its own number and no transaction's.
   */
  readonly sinceBlock?: number | null;
  /** Several calls as one (EIP-5792): `hash` is their number, which the wallet alone knows. */
  readonly isBatch?: boolean;
}

/** What the chain says at one moment. */
export interface Sight {
  readonly receipt: { readonly status: "success" | "reverted"; readonly blockNumber: bigint } | null;
  /** Whether the node knows the transaction at all. */
  readonly isKnown: boolean;
  /** How many transactions of the sender are in blocks. */
  readonly minedNonce: number;
  /** The mined transaction with our nonce, where it was looked for and found. */
  readonly rival: Rival | null;
}

export interface Rival {
  readonly hash: `0x${string}`;
  readonly to: `0x${string}` | null;
  readonly data: `0x${string}`;
  readonly status: "success" | "reverted";
}

export type Outcome =
  | { readonly kind: "waiting" }
  | { readonly kind: "unseen" }
  | { readonly kind: "mined"; readonly hash: `0x${string}` }
  | { readonly kind: "reverted"; readonly hash: `0x${string}` }
  | { readonly kind: "cancelled" };

/**
 * Returns what a sight of the chain means.
 *
 * A transaction with our nonce and another hash is ours sped up where it does the same, else it took
 * our place. A nonce that is used by something we cannot find counts as cancelled too.
 */
export function judge(sent: Sent, sight: Sight): Outcome {
  if (sight.receipt) {
    return { kind: sight.receipt.status === "success" ? "mined" : "reverted", hash: sent.hash };
  }
  if (sent.nonce !== null && sight.minedNonce > sent.nonce) {
    const rival = sight.rival;
    const isSame = rival !== null && rival.to?.toLowerCase() === sent.to.toLowerCase() && rival.data === sent.data;
    if (!rival || !isSame) return { kind: "cancelled" };
    return { kind: rival.status === "success" ? "mined" : "reverted", hash: rival.hash };
  }
  return { kind: sight.isKnown ? "waiting" : "unseen" };
}
