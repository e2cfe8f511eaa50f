/** Where a wallet of several owners (a Safe) carried out what one of them proposed. */
import type { Hex } from "viem";
import type { Sent } from "./following.ts";
import { type Provider, ask } from "./provider.ts";

/** A Safe's events, of every version: `ExecutionSuccess` and `ExecutionFailure` (bytes32, uint256). */
const SUCCESS = "0x442e715f626346e8c54381002da614f62bee8d27386535b2521ec8540898556e";
const FAILURE = "0x23428b18acfb3ea64b08dc0c1d296ea9c09702c09083ca5272e64d115b687d23";

/** Public nodes answer ranges of so many blocks. */
const BLOCKS_MAX = 2_000;

interface Found {
  readonly topics: readonly string[];
  readonly data: string;
  readonly transactionHash: Hex;
}

export interface Looked {
  readonly execution: { readonly hash: Hex; readonly isSuccess: boolean } | null;
  /** Where to look on. */
  readonly nextBlock: number;
}

/** Looks for an execution in one range of blocks from `fromBlock` on. Throws `WalletProblem`. */
export async function findExecution(provider: Provider, sent: Sent, fromBlock: number): Promise<Looked> {
  const head = Number(await ask<Hex>(provider, "eth_blockNumber"));
  const toBlock = Math.min(head, fromBlock + BLOCKS_MAX - 1);
  if (toBlock < fromBlock) return { execution: null, nextBlock: fromBlock };
  const range = { fromBlock: toHex(fromBlock), toBlock: toHex(toBlock) };
  const logs = await ask<readonly Found[]>(provider, "eth_getLogs", [{ address: sent.from, topics: [[SUCCESS, FAILURE]], ...range }]);
  const ours = logs.find((log) => isOf(log, sent.hash));
  // The newest block is looked at again: a reorg may put another in its place.
  if (!ours) return { execution: null, nextBlock: toBlock === head ? toBlock : toBlock + 1 };
  return { execution: { hash: ours.transactionHash, isSuccess: ours.topics[0] === SUCCESS }, nextBlock: toBlock };
}

/** A Safe's own number is a topic since version 1.4, and stands in the data before. */
function isOf(log: Found, hash: Hex): boolean {
  const number = (log.topics[1] ?? log.data.slice(0, 66)).toLowerCase();
  return number === hash.toLowerCase() || log.transactionHash.toLowerCase() === hash.toLowerCase();
}

function toHex(value: number): Hex {
  return `0x${value.toString(16)}`;
}
